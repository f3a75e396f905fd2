//go:build bench

package bench_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

const payloadSize = 256

// shape is who publishes to whom. Every subscriber hears every publisher.
type shape struct {
	name       string
	pubs, subs int
	window     int // messages of one publisher that are under way
	batch      int // how many it waits for until it sends again
	qos        mqtt.QoS
}

// group is the connections of a shape to one broker, driven by one thread that
// polls them: nothing but the sockets may cost the generator time.
type group struct {
	shape
	target *target
	epoll  int
	conns  []*member // publishers, then subscribers
	dirty  []*member
	chunk  []byte
	events []unix.EpollEvent
	heard  func(payload []byte) // for each delivery, if latency is measured
}

// member is one connection of a group.
type member struct {
	*client
	at      int // index in conns
	events  uint32
	isDirty bool
	rest    []byte // the beginning of a packet
	packets []byte // to be sent

	// of a publisher
	frame               []byte
	frames              [][]byte // where messages take turns
	id                  int      // where the packet identifier is in frame
	sent, acked, passed int      // passed: delivered to every subscriber

	// of a subscriber
	got []int // by publisher
}

// topic carries the publisher's place in the group where the generator finds
// it without looking for it, and its thing, which the policy asks for.
func topic(slot, thing int) string { return fmt.Sprintf("bench/%03d/%s", slot, thingName(thing)) }

const topicSlot = len("bench/")

// join connects a group.
func join(ctx context.Context, t *target, s shape) (*group, error) {
	g := &group{shape: s, target: t, chunk: make([]byte, 256<<10), events: make([]unix.EpollEvent, 256)}
	var err error
	if g.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	n, base := s.pubs+s.subs, t.take(s.pubs+s.subs)
	g.conns = make([]*member, n)
	err = each(ctx, n, 16, func(ctx context.Context, i int) (err error) {
		m := &member{at: i}
		if m.client, err = t.dial(ctx, session{thing: base(i)}); err == nil {
			g.conns[i] = m
		}
		return err
	})
	if err != nil {
		return nil, errors.Join(err, g.close())
	}
	for i, m := range g.conns {
		if i < s.pubs {
			err = m.prepare(i, base(i), s.qos)
		} else {
			m.got = make([]int, s.pubs)
			filter := topic(0, base(0))
			if s.pubs > 1 {
				filter = "bench/+/+"
			}
			err = m.subscribe(filter, s.qos)
		}
		if err = errors.Join(err, m.park()); err == nil {
			m.events = unix.EPOLLIN
			err = unix.EpollCtl(g.epoll, unix.EPOLL_CTL_ADD, m.link.fd, &unix.EpollEvent{Events: m.events, Fd: int32(i)})
		}
		if err != nil {
			return nil, errors.Join(err, g.close())
		}
	}
	return g, nil
}

func (m *member) prepare(slot, thing int, qos mqtt.QoS) (err error) {
	name := topic(slot, thing)
	p := mqtt.Publish{QoS: qos, Topic: []byte(name), Payload: make([]byte, payloadSize)}
	if qos > 0 {
		p.ID = 1
	}
	m.frame, err = p.Append(nil, mqtt.V311)
	m.id = len(m.frame) - payloadSize - 2
	return err
}

func (g *group) close() error {
	var errs []error
	for _, m := range g.conns {
		if m != nil {
			errs = append(errs, m.conn.Close())
		}
	}
	return errors.Join(append(errs, unix.Close(g.epoll))...)
}

func (g *group) publishers() []*member  { return g.conns[:g.pubs] }
func (g *group) subscribers() []*member { return g.conns[g.pubs:] }

// onThread runs f on a thread of its own.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		done <- f()
	}()
	return <-done
}

// burst keeps every publisher's window full for d, then waits for the last
// message: a message lost is an error.
func (g *group) burst(d time.Duration) (load, error) {
	var l load
	err := onThread(func() error {
		before, err := g.target.cpu()
		if err != nil {
			return err
		}
		begun, n := time.Now(), g.deliveries()
		for time.Since(begun) < d {
			g.fill()
			if err := g.step(1000); err != nil {
				return err
			}
		}
		if err := g.drain(); err != nil {
			return err
		}
		after, err := g.target.cpu()
		n = g.deliveries() - n
		l = load{rate: float64(n) / time.Since(begun).Seconds(), cpu: (after - before) / time.Duration(max(n, 1))}
		return err
	})
	return l, err
}

// drain waits until everything has been delivered and acknowledged.
func (g *group) drain() error {
	for last := time.Now(); ; {
		missing, before := g.missing(), g.deliveries()+g.acknowledged()
		if missing == 0 {
			return nil
		}
		if err := g.step(100); err != nil {
			return err
		}
		if g.deliveries()+g.acknowledged() != before {
			last = time.Now()
		}
		if time.Since(last) > 10*time.Second {
			return fmt.Errorf("%s: %s QoS %d: %d deliveries or acknowledgements are missing", g.target.name, g.name, g.qos, missing)
		}
	}
}

func (g *group) missing() (n int) {
	for i, p := range g.publishers() {
		if g.qos > 0 {
			n += p.sent - p.acked
		}
		for _, s := range g.subscribers() {
			n += p.sent - s.got[i]
		}
	}
	return n
}

func (g *group) deliveries() (n int) {
	for _, s := range g.subscribers() {
		for _, k := range s.got {
			n += k
		}
	}
	return n
}

// fill has publishers send what their windows allow.
func (g *group) fill() {
	for i, p := range g.publishers() {
		p.passed = p.sent
		for _, s := range g.subscribers() {
			p.passed = min(p.passed, s.got[i])
		}
		if g.qos > 0 {
			p.passed = min(p.passed, p.acked)
		}
		if k := g.window - (p.sent - p.passed); k >= g.batch {
			for range k {
				p.publish(g.qos)
			}
			g.touch(p)
		}
	}
}

func (m *member) publish(qos mqtt.QoS) {
	start := len(m.packets)
	m.packets = append(m.packets, m.frame...)
	if qos > 0 {
		binary.BigEndian.PutUint16(m.packets[start+m.id:], uint16(m.sent%65535)+1)
	}
	m.sent++
}

func (g *group) touch(m *member) {
	if !m.isDirty {
		m.isDirty = true
		g.dirty = append(g.dirty, m)
	}
}

// step sends what is to be sent and takes in what has come.
func (g *group) step(wait int) error {
	for _, m := range g.dirty {
		m.isDirty = false
		if err := g.flush(m); err != nil {
			return g.broken(m, err)
		}
	}
	g.dirty = g.dirty[:0]
	n, err := unix.EpollWait(g.epoll, g.events, wait)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return err
	}
	for _, e := range g.events[:max(n, 0)] {
		if e.Fd < 0 {
			continue // the pacing timer
		}
		m := g.conns[e.Fd]
		if e.Events&unix.EPOLLOUT != 0 {
			g.touch(m)
		}
		if e.Events&^unix.EPOLLOUT != 0 {
			if err := g.receive(m); err != nil {
				return g.broken(m, err)
			}
		}
	}
	return nil
}

func (g *group) broken(m *member, err error) error {
	return fmt.Errorf("%s: %s QoS %d: connection %s: %w", g.target.name, g.name, g.qos, m.client.id, err)
}

func (g *group) flush(m *member) error {
	if len(m.packets) > 0 {
		if m.conn == m.link {
			m.link.out = append(m.link.out, m.packets...)
		} else if _, err := m.conn.Write(m.packets); err != nil {
			return err
		}
		m.packets = m.packets[:0]
	}
	out := m.link.out
	for len(out) > 0 {
		n, err := unix.Write(m.link.fd, out)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		out = out[max(n, 0):]
	}
	m.link.out = m.link.out[:copy(m.link.out, out)]
	events := uint32(unix.EPOLLIN)
	if len(out) > 0 {
		events |= unix.EPOLLOUT
	}
	if events == m.events {
		return nil
	}
	m.events = events
	return unix.EpollCtl(g.epoll, unix.EPOLL_CTL_MOD, m.link.fd, &unix.EpollEvent{Events: events, Fd: int32(m.at)})
}

// receive takes in what a connection has.
func (g *group) receive(m *member) error {
	for {
		at := copy(g.chunk, m.rest)
		var n int
		var err error
		if m.conn == m.link {
			n, err = readRaw(m.link.fd, g.chunk[at:])
		} else {
			n, err = m.conn.Read(g.chunk[at:])
		}
		if errors.Is(err, emptyError{}) {
			return nil
		}
		if err != nil {
			return err
		}
		b := g.chunk[:at+n]
		for {
			k, err := mqtt.Frame(b, 0)
			if err != nil {
				return err
			}
			if k == 0 {
				break
			}
			if err := g.packet(m, b[:k]); err != nil {
				return err
			}
			b = b[k:]
		}
		m.rest = append(m.rest[:0], b...)
		if m.conn == m.link && at+n < len(g.chunk) {
			return nil // there is no more; the poll says if there is
		}
	}
}

func (g *group) packet(m *member, f []byte) error {
	switch t := mqtt.TypeOf(f); t { //nolint:exhaustive // a client of these shapes is sent no other
	case mqtt.TypePuback:
		m.acked++
	case mqtt.TypePublish:
		at := 2
		for i := 1; f[i] >= 0x80; i++ {
			at++
		}
		end := at + 2 + int(binary.BigEndian.Uint16(f[at:]))
		slot := f[at+2+topicSlot:]
		m.got[int(slot[0]-'0')*100+int(slot[1]-'0')*10+int(slot[2]-'0')]++
		if f[0]>>1&3 > 0 {
			m.packets = append(m.packets, byte(mqtt.TypePuback)<<4, 2, f[end], f[end+1])
			g.touch(m)
			end += 2
		}
		if g.heard != nil {
			g.heard(f[end:])
		}
	default:
		return fmt.Errorf("unexpected %s", t)
	}
	return nil
}

// pace has the first publisher send rate messages a second for d, whatever
// comes back, and returns how long each took to its last subscriber.
func (g *group) pace(d time.Duration, rate int) (took []time.Duration, err error) {
	begun := time.Now()
	g.heard = func(b []byte) {
		took = append(took, time.Since(begun)-time.Duration(binary.BigEndian.Uint64(b)))
	}
	defer func() { g.heard = nil }()
	timer, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, err
	}
	defer unix.Close(timer) //nolint:errcheck // nothing was written
	tick := unix.NsecToTimespec(int64(time.Second) / int64(rate))
	if err := unix.TimerfdSettime(timer, 0, &unix.ItimerSpec{Interval: tick, Value: tick}, nil); err != nil {
		return nil, err
	}
	if err := unix.EpollCtl(g.epoll, unix.EPOLL_CTL_ADD, timer, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: -1}); err != nil {
		return nil, err
	}
	p := g.conns[0]
	err = onThread(func() error {
		for time.Since(begun) < d {
			var due [8]byte
			if _, err := readRaw(timer, due[:]); err == nil {
				for range binary.NativeEndian.Uint64(due[:]) {
					binary.BigEndian.PutUint64(p.frame[len(p.frame)-payloadSize:], uint64(time.Since(begun)))
					p.publish(g.qos)
				}
				g.touch(p)
			}
			if err := g.step(1000); err != nil {
				return err
			}
		}
		// It would wake the poll again and again.
		if err := unix.EpollCtl(g.epoll, unix.EPOLL_CTL_DEL, timer, nil); err != nil {
			return err
		}
		return g.drain()
	})
	return took, err
}
