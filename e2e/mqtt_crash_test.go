//go:build e2e

package e2e_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// The load of the crash test.
const (
	crashPublishers  = 4
	crashSubscribers = 1000
	crashAway        = 10 // every tenth subscriber is away while messages are published
	crashWindow      = 16 // messages of a publisher that are not acknowledged yet
)

// crashPublisher publishes numbers to a topic of its own, and remembers which
// were acknowledged.
type crashPublisher struct {
	device *device
	number int
	next   uint64   // never published yet
	acked  []uint64 // in order
}

func (p *crashPublisher) topic() string { return "crash/" + strconv.Itoa(p.number) }

// run publishes until the server is gone. What was not acknowledged by then is
// not sent again.
func (p *crashPublisher) run(ctx context.Context, addr string, acks *atomic.Int64) error {
	l, err := p.device.dial(ctx, addr)
	if err != nil {
		return err
	}
	defer l.Close() //nolint:errcheck // the server may be gone
	if ack, err := l.connect(session{id: "publisher-" + strconv.Itoa(p.number)}); err != nil || ack.Code != 0 {
		return errors.Join(fmt.Errorf("publisher: CONNACK %#x", byte(ack.Code)), err)
	}
	first := p.next // has packet identifier 1
	for acked := first; ctx.Err() == nil; {
		for ; p.next < acked+crashWindow; p.next++ {
			m := mqtt.Publish{QoS: 1, ID: uint16(p.next-first)%60000 + 1, Topic: []byte(p.topic()), Payload: binary.BigEndian.AppendUint64(nil, p.next)}
			if err := l.send(&m); err != nil {
				p.next++ // the server may have got it
				return nil
			}
		}
		frame, err := l.read(20 * time.Second)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return errors.New("publisher: no PUBACK in 20 s")
		}
		if err != nil {
			return nil
		}
		var ack mqtt.Ack
		if err := ack.Decode(&l.decoder, frame); err != nil {
			return err
		}
		if want := uint16(acked-first)%60000 + 1; ack.ID != want {
			return fmt.Errorf("publisher: PUBACK of %d, want %d: they are out of order", ack.ID, want)
		}
		p.acked = append(p.acked, acked)
		acked++
		acks.Add(1)
	}
	return nil
}

// crashSubscriber has a persistent session and checks what it is sent.
type crashSubscriber struct {
	device *device
	id     string
	known  bool // the server has its session

	mu   sync.Mutex // guards what follows
	seen [crashPublishers]map[uint64]bool
	top  [crashPublishers]uint64 // the largest number that was seen, and one
	link *link
	err  error
	dups int
}

// attend connects and, in the background, receives until the connection ends.
func (s *crashSubscriber) attend(ctx context.Context, addr string, wg *sync.WaitGroup) error {
	l, err := s.device.dial(ctx, addr)
	if err != nil {
		return err
	}
	ack, err := l.connect(session{id: s.id, keep: true, keepAlive: 600})
	if err != nil || ack.Code != 0 || ack.SessionPresent != s.known {
		return errors.Join(fmt.Errorf("%s: CONNACK %#x, session present %t, want %t", s.id, byte(ack.Code), ack.SessionPresent, s.known), err, l.Close())
	}
	if !s.known {
		if codes, err := l.subscribe(1, "crash/+"); err != nil || codes[0] != 1 {
			return fmt.Errorf("%s: SUBACK %v, %w", s.id, codes, err)
		}
		s.known = true
	}
	s.link = l
	wg.Go(func() { s.receive(l) })
	return nil
}

func (s *crashSubscriber) receive(l *link) {
	defer l.Close()                    //nolint:errcheck // the server may be gone
	var before [crashPublishers]uint64 // on this connection: the last number, and one
	for {
		p, err := l.receive(10 * time.Minute)
		if err != nil {
			return
		}
		if err := s.take(&p, &before); err != nil {
			s.mu.Lock()
			s.err = errors.Join(s.err, err)
			s.mu.Unlock()
			return
		}
	}
}

// take notes a message. On one connection the numbers of a publisher only grow;
// one that is new is larger than all that were ever seen.
func (s *crashSubscriber) take(m *mqtt.Publish, before *[crashPublishers]uint64) error {
	var number int
	if _, err := fmt.Sscanf(string(m.Topic), "crash/%d", &number); err != nil || number >= crashPublishers || len(m.Payload) != 8 || m.QoS != 1 {
		return fmt.Errorf("%s: got QoS %d %s %x", s.id, m.QoS, m.Topic, m.Payload)
	}
	n := binary.BigEndian.Uint64(m.Payload)
	if n < before[number] {
		return fmt.Errorf("%s: %s: %d after %d on one connection", s.id, m.Topic, n, before[number]-1)
	}
	before[number] = n + 1
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen[number][n] {
		s.dups++
		return nil
	}
	if n < s.top[number] {
		return fmt.Errorf("%s: %s: %d for the first time after %d", s.id, m.Topic, n, s.top[number]-1)
	}
	if s.seen[number] == nil {
		s.seen[number] = map[uint64]bool{}
	}
	s.seen[number][n] = true
	s.top[number] = n + 1
	return nil
}

// lacks returns how many acknowledged messages have not come.
func (s *crashSubscriber) lacks(publishers []*crashPublisher) (n int, first string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range publishers {
		for _, number := range p.acked {
			if !s.seen[p.number][number] {
				if n == 0 {
					first = fmt.Sprintf("%s lacks %d of %s", s.id, number, p.topic())
				}
				n++
			}
		}
	}
	return n, first, s.err
}

// TestCrashMQTT kills the server in the middle of a stream of QoS 1 to 1,000
// persistent sessions, starts it again, and has every acknowledged message
// delivered to every one of them, in the order of its publisher.
// SEKISHO_E2E_CRASH_ROUNDS sets how often (default 2).
func TestCrashMQTT(t *testing.T) {
	t.Parallel()
	rounds := 2
	if v := os.Getenv("SEKISHO_E2E_CRASH_ROUNDS"); v != "" {
		var err error
		rounds, err = strconv.Atoi(v)
		check(t, err)
	}
	s := start(t, "--mqtt-connect-rate", "0")
	d := s.device(t)
	d.grant(t, everything())
	var publishers []*crashPublisher
	for n := range crashPublishers {
		publishers = append(publishers, &crashPublisher{device: d, number: n})
	}
	var subscribers []*crashSubscriber
	for n := range crashSubscribers {
		subscribers = append(subscribers, &crashSubscriber{device: d, id: fmt.Sprintf("subscriber-%d", n)})
	}
	var wg sync.WaitGroup
	s.attendAll(t, subscribers, &wg)
	for round := range rounds {
		var away []*crashSubscriber
		for i := round % crashAway; i < len(subscribers); i += crashAway {
			away = append(away, subscribers[i])
			check(t, subscribers[i].link.Close())
		}
		begun := time.Now()
		acked := s.stream(t, publishers)
		streamed := time.Since(begun)
		wg.Wait()
		begun = time.Now()
		check(t, s.Restart(t.Context()))
		ready := time.Since(begun)
		s.connect()
		s.attendAll(t, subscribers, &wg)
		begun = time.Now()
		awaitAll(t, subscribers, publishers)
		dups := 0
		for _, sub := range subscribers {
			dups += sub.dups
		}
		t.Logf("round %d: %d acknowledged in %s, %d sessions away, ready again after %s, all delivered %s after the last had connected; %d delivered twice so far", round, acked,
			streamed.Round(time.Millisecond), len(away), ready.Round(time.Millisecond), time.Since(begun).Round(time.Millisecond), dups)
		if t.Failed() {
			break
		}
	}
	for _, sub := range subscribers {
		_ = sub.link.Close()
	}
	wg.Wait()
}

// attendAll connects every subscriber.
func (s *server) attendAll(t *testing.T, subscribers []*crashSubscriber, wg *sync.WaitGroup) {
	t.Helper()
	addr := s.mqttAddr(t, "mqtt")
	errs := make(chan error, len(subscribers))
	limit := make(chan struct{}, 32)
	var dialling sync.WaitGroup
	for _, sub := range subscribers {
		dialling.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			if err := sub.attend(t.Context(), addr, wg); err != nil {
				errs <- err
			}
		})
	}
	dialling.Wait()
	if len(errs) > 0 {
		t.Fatalf("%d subscribers could not connect, one by: %v", len(errs), <-errs)
	}
}

// stream has the publishers publish for a while, kills the server while they do,
// and returns how many messages were acknowledged.
func (s *server) stream(t *testing.T, publishers []*crashPublisher) int64 {
	t.Helper()
	addr := s.mqttAddr(t, "mqtt")
	var acks atomic.Int64
	var wg sync.WaitGroup
	for _, p := range publishers {
		wg.Go(func() {
			if err := p.run(t.Context(), addr, &acks); err != nil {
				t.Error(err)
			}
		})
	}
	awaitAcks(t, &acks, int64(100+rand.IntN(300)))
	check(t, s.Kill())
	wg.Wait()
	return acks.Load()
}

// awaitAll waits until every subscriber has all that was acknowledged.
func awaitAll(t *testing.T, subscribers []*crashSubscriber, publishers []*crashPublisher) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for _, sub := range subscribers {
		for {
			n, first, err := sub.lacks(publishers)
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s, the first of %d messages that it lacks", first, n)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}
