//go:build e2e && soak

package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iot"

	"github.com/sekisho-iot/sekisho/e2e/process"
	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// soak is a server under a mixed load.
type soak struct {
	*device
	addr  string
	until time.Time
	done  [6]atomic.Int64 // rounds of each kind of client
	names atomic.Int64
}

// name is one of many that come again and again, long after the session of
// before has expired: the server remembers for a while who was there.
func (k *soak) name(prefix string) string {
	return fmt.Sprintf("%s-%d", prefix, k.names.Add(1)%20_000)
}

// sample is what the server used at one moment. Its memory is its own alone: the
// pages of the store's file that it has mapped are the page cache's.
type sample struct {
	memory, heap, goroutines, descriptors float64
}

// TestSoakMQTT keeps a server busy with clients that come and go, persistent
// sessions, retained messages, shared subscriptions, wills and changes of
// policy, for SEKISHO_E2E_SOAK (30m unless set): nothing is lost, and what the
// server uses does not grow.
func TestSoakMQTT(t *testing.T) {
	duration := 30 * time.Minute
	if v := os.Getenv("SEKISHO_E2E_SOAK"); v != "" {
		var err error
		duration, err = time.ParseDuration(v)
		check(t, err)
	}
	s := start(t, "--mqtt-connect-rate", "0", "--mqtt-session-expiry", "5s", "--mqtt-keep-alive-min", "5s")
	d := s.device(t)
	d.grant(t, everything())
	k := &soak{device: d, addr: s.mqttAddr(t, "mqtt"), until: time.Now().Add(duration)}
	ctx, cancel := context.WithDeadline(t.Context(), k.until)
	defer cancel()
	var wg sync.WaitGroup
	failed := make(chan error, 1000)
	kinds := []func(ctx context.Context, worker int) error{k.fleeting, k.persistent, k.retained, k.shared, k.lost}
	for kind, f := range kinds {
		for worker := range 4 {
			wg.Go(func() { k.repeat(ctx, failed, kind, func() error { return f(ctx, worker) }) })
		}
	}
	wg.Go(func() { k.policies(ctx, t) })
	samples := k.watch(ctx, t, duration)
	wg.Wait()
	close(failed)
	for err := range failed {
		t.Error(err)
	}
	for i, name := range []string{"fleeting", "persistent", "retained", "shared", "lost", "policy changes"} {
		if n := k.done[i].Load(); n == 0 {
			t.Errorf("%s: not one round was finished", name)
		} else {
			t.Logf("%s: %d rounds", name, n)
		}
	}
	flat(t, samples)
}

// repeat runs one kind of client again and again.
func (k *soak) repeat(ctx context.Context, failed chan<- error, kind int, f func() error) {
	for time.Now().Before(k.until.Add(-5 * time.Second)) {
		if err := f(); err != nil {
			if ctx.Err() != nil {
				return
			}
			select {
			case failed <- fmt.Errorf("kind %d: %w", kind, err):
			default:
			}
			time.Sleep(time.Second)
			continue
		}
		k.done[kind].Add(1)
		time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
	}
}

// join connects a client.
func (k *soak) join(ctx context.Context, s session) (*link, error) {
	l, err := k.dial(ctx, k.addr)
	if err != nil {
		return nil, err
	}
	ack, err := l.connect(s)
	if err != nil || ack.Code != 0 {
		return nil, errors.Join(fmt.Errorf("CONNACK %#x", byte(ack.Code)), err, l.Close())
	}
	return l, nil
}

// expect receives messages with these payloads.
func (l *link) expect(payloads ...string) error {
	for _, want := range payloads {
		p, err := l.receive(10 * time.Second)
		if err != nil {
			return fmt.Errorf("await %q: %w", want, err)
		}
		if string(p.Payload) != want {
			return fmt.Errorf("got %q of %s, want %q", p.Payload, p.Topic, want)
		}
	}
	return nil
}

// leave says goodbye.
func (l *link) leave() error { return errors.Join(l.send(&mqtt.Disconnect{}), l.Close()) }

// fleeting connects two clients, of any version, that talk with each other and go.
func (k *soak) fleeting(ctx context.Context, worker int) error {
	version := []mqtt.Version{mqtt.V311, mqtt.V5}[rand.IntN(2)]
	sub, err := k.join(ctx, session{id: k.name("sub"), version: version})
	if err != nil {
		return err
	}
	defer sub.Close() //nolint:errcheck // it may have left
	pub, err := k.join(ctx, session{id: k.name("pub"), version: version})
	if err != nil {
		return err
	}
	defer pub.Close() //nolint:errcheck // it may have left
	if _, err := sub.subscribe(1, fmt.Sprintf("soak/fleeting/%d/#", worker)); err != nil {
		return err
	}
	for n := range 20 {
		qos := mqtt.QoS(n % 2)
		payload := fmt.Sprint(n) + strings.Repeat(".", rand.IntN(4000))
		if code, err := pub.publish(qos, false, fmt.Sprintf("soak/fleeting/%d/%d", worker, rand.IntN(1000)), payload); err != nil || code.Failed() {
			return errors.Join(fmt.Errorf("PUBACK %#x", byte(code)), err)
		}
		if err := sub.expect(payload); err != nil {
			return err
		}
	}
	return errors.Join(sub.leave(), pub.leave())
}

// persistent has a session that gets what came while it was away, and is then
// left to expire, or ended.
func (k *soak) persistent(ctx context.Context, worker int) error {
	s := session{id: k.name("persistent"), keep: true}
	topic := fmt.Sprintf("soak/persistent/%d", worker)
	l, err := k.join(ctx, s)
	if err != nil {
		return err
	}
	if _, err := l.subscribe(1, topic); err != nil {
		return errors.Join(err, l.Close())
	}
	if err := l.leave(); err != nil {
		return err
	}
	pub, err := k.join(ctx, session{id: k.name("pub")})
	if err != nil {
		return err
	}
	defer pub.Close() //nolint:errcheck // it may have left
	var want []string
	for n := range 10 {
		want = append(want, fmt.Sprint(n))
		if _, err := pub.publish(1, false, topic, want[n]); err != nil {
			return err
		}
	}
	if l, err = k.join(ctx, s); err != nil {
		return err
	}
	if err := l.expect(want...); err != nil {
		return errors.Join(err, l.Close())
	}
	if err := errors.Join(l.leave(), pub.leave()); err != nil || rand.IntN(2) == 0 {
		return err
	}
	s.keep = false
	if l, err = k.join(ctx, s); err != nil {
		return err
	}
	return l.leave()
}

// retained publishes and deletes retained messages, and asks for them.
func (k *soak) retained(ctx context.Context, worker int) error {
	l, err := k.join(ctx, session{id: k.name("retained")})
	if err != nil {
		return err
	}
	defer l.Close() //nolint:errcheck // it may have left
	topic := fmt.Sprintf("soak/retained/%d/%d", worker, rand.IntN(50))
	payload := unique("kept")
	if _, err := l.publish(1, true, topic, payload); err != nil {
		return err
	}
	if _, err := l.subscribe(1, topic); err != nil {
		return err
	}
	if err := l.expect(payload); err != nil {
		return err
	}
	if rand.IntN(2) == 0 {
		if err := l.send(&mqtt.Publish{QoS: 0, Retain: true, Topic: []byte(topic)}); err != nil {
			return err
		}
	}
	return l.leave()
}

// shared has three members of a shared subscription, one of which gets each message.
func (k *soak) shared(ctx context.Context, _ int) error {
	topic := k.name("soak/shared/x")
	var members []*link
	defer func() {
		for _, m := range members {
			_ = m.Close()
		}
	}()
	for range 3 {
		m, err := k.join(ctx, session{id: k.name("member")})
		if err != nil {
			return err
		}
		members = append(members, m)
		if _, err := m.subscribe(1, "$share/group/"+topic); err != nil {
			return err
		}
	}
	pub, err := k.join(ctx, session{id: k.name("pub")})
	if err != nil {
		return err
	}
	defer pub.Close() //nolint:errcheck // it may have left
	for range 9 {
		if _, err := pub.publish(1, false, topic, "x"); err != nil {
			return err
		}
	}
	got := 0
	for _, m := range members {
		for {
			if _, err := m.receive(300 * time.Millisecond); err != nil {
				break
			}
			got++
		}
	}
	if got != 9 {
		return fmt.Errorf("the members of a shared subscription got %d messages of 9", got)
	}
	return pub.leave()
}

// lost has a client that is lost, and one that hears its will.
func (k *soak) lost(ctx context.Context, worker int) error {
	topic := fmt.Sprintf("soak/will/%d", worker)
	l, err := k.join(ctx, session{id: k.name("heir")})
	if err != nil {
		return err
	}
	defer l.Close() //nolint:errcheck // it may have left
	if _, err := l.subscribe(1, topic); err != nil {
		return err
	}
	last := unique("will")
	x, err := k.join(ctx, session{id: k.name("lost"), will: &mqtt.Will{QoS: 1, Topic: []byte(topic), Payload: []byte(last)}})
	if err != nil {
		return err
	}
	if err := errors.Join(x.Close(), l.expect(last)); err != nil {
		return err
	}
	return l.leave()
}

// policies attaches policies to the device, which allow nothing more, and
// detaches them, so that every connection is judged anew.
func (k *soak) policies(ctx context.Context, t *testing.T) {
	name := unique("policy")
	check(t, second(k.s.iot.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: &name, PolicyDocument: document(allow("iot:Publish", "*"))})))
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		_, err1 := k.s.iot.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: &name, Target: &k.certARN})
		_, err2 := k.s.iot.DetachPolicy(ctx, &iot.DetachPolicyInput{PolicyName: &name, Target: &k.certARN})
		if err := errors.Join(err1, err2); err != nil && ctx.Err() == nil {
			t.Error(err)
			return
		}
		k.done[5].Add(1)
	}
}

// watch samples what the server uses until the end.
func (k *soak) watch(ctx context.Context, t *testing.T, d time.Duration) (samples []sample) {
	tick := time.NewTicker(d / 120)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return samples
		case <-tick.C:
		}
		memory, err := process.Anonymous(k.s.PID())
		check(t, err)
		samples = append(samples, sample{float64(memory), k.s.metric(t, "go_memstats_heap_alloc_bytes"), k.s.metric(t, "go_goroutines"), k.s.metric(t, "process_open_fds")}) //nolint:contextcheck // t's own
	}
}

// flat compares the last third of the samples with the one before.
func flat(t *testing.T, samples []sample) {
	t.Helper()
	if len(samples) < 30 {
		t.Fatalf("%d samples", len(samples))
	}
	third := len(samples) / 3
	for _, c := range []struct {
		name  string
		of    func(sample) float64
		slack float64
	}{
		{"resident bytes", func(s sample) float64 { return s.memory }, 16 << 20},
		{"heap bytes", func(s sample) float64 { return s.heap }, 16 << 20},
		{"goroutines", func(s sample) float64 { return s.goroutines }, 20},
		{"descriptors", func(s sample) float64 { return s.descriptors }, 20},
	} {
		first, middle, last := median(samples[:third], c.of), median(samples[third:2*third], c.of), median(samples[2*third:], c.of)
		t.Logf("%s, medians of the thirds: %.0f, %.0f, %.0f", c.name, first, middle, last)
		if last > middle*1.1+c.slack {
			t.Errorf("%s grow: %.0f, then %.0f", c.name, middle, last)
		}
	}
}

func median(samples []sample, of func(sample) float64) float64 {
	var list []float64
	for _, s := range samples {
		list = append(list, of(s))
	}
	slices.Sort(list)
	return list[len(list)/2]
}
