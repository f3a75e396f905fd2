//go:build bench

package bench_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// durable measures publishers whose every message is for one offline
// persistent session of its own.
func (m *mqttBench) durable(ctx context.Context) error {
	if m.mqttServer == "bare" {
		return errors.New("the bare broker stores nothing")
	}
	const title, publishers, want = "QoS 1 to offline persistent sessions, 64 publishers over mutual TLS, on disk before PUBACK", 64, 15_000
	t, err := m.serve(ctx, oneCore)
	if err != nil {
		return err
	}
	rows := [][]string{{"offline sessions", "unacknowledged messages of a publisher", "acknowledged", "goal", "CPU a message"}}
	for _, sessions := range []int{64, 1000} {
		base := t.take(sessions)
		if err := t.leaveSessions(ctx, sessions, base); err != nil {
			return errors.Join(err, t.stop())
		}
		for _, window := range []int{1, 10} {
			g, err := joinDurable(ctx, t, shape{name: "durable", pubs: publishers, window: window, qos: 1}, sessions)
			if err != nil {
				return errors.Join(err, t.stop())
			}
			var c contestant
			for round := range 3 {
				l, err := g.stored(m.turn())
				if err != nil {
					return errors.Join(err, g.close(), t.stop())
				}
				if round > 0 {
					c.loads = append(c.loads, l)
				}
			}
			if err := g.close(); err != nil {
				return errors.Join(err, t.stop())
			}
			row := []string{fmt.Sprint(sessions), fmt.Sprint(window), perSecond(&c), fmt.Sprintf("≥ %d/s", want), micro2(c.cpu())}
			m.goal(fmt.Sprintf("%s, %d sessions, %d at a time", title, sessions, window), median(c.rates()) >= want, row[2], row[3])
			rows = append(rows, row)
		}
	}
	table(title, rows...)
	return t.stop()
}

// leaveSessions makes persistent sessions, each with a subscription of its own, and leaves them.
func (t *target) leaveSessions(ctx context.Context, n int, thing func(int) int) error {
	return each(ctx, n, 16, func(ctx context.Context, i int) error {
		c, err := t.dial(ctx, session{thing: thing(i), persistent: true})
		if err != nil {
			return err
		}
		if err := c.subscribe(fmt.Sprintf("bench/to-%d-of-%d/+", i, n), 1); err != nil {
			return err
		}
		return c.bye()
	})
}

// joinDurable connects publishers whose messages go to the sessions in turn.
func joinDurable(ctx context.Context, t *target, s shape, sessions int) (*group, error) {
	g, err := join(ctx, t, s)
	if err != nil {
		return nil, err
	}
	for i, m := range g.conns {
		for to := i; to < sessions; to += s.pubs {
			p := mqtt.Publish{QoS: 1, ID: 1, Topic: fmt.Appendf(nil, "bench/to-%d-of-%d/%s", to, sessions, m.client.id), Payload: make([]byte, payloadSize)}
			frame, err := p.Append(nil, mqtt.V311)
			if err != nil {
				return nil, errors.Join(err, g.close())
			}
			m.frames = append(m.frames, frame)
		}
	}
	return g, nil
}

// stored keeps the windows full for d and counts what was acknowledged.
func (g *group) stored(d time.Duration) (load, error) {
	var l load
	err := onThread(func() error {
		before, err := g.target.cpu()
		if err != nil {
			return err
		}
		begun, n := time.Now(), g.acknowledged()
		for time.Since(begun) < d {
			for _, p := range g.conns {
				for p.sent-p.acked < g.window {
					p.frame = p.frames[p.sent%len(p.frames)]
					p.id = len(p.frame) - payloadSize - 2
					p.publish(g.qos)
					g.touch(p)
				}
			}
			if err := g.step(1000); err != nil {
				return err
			}
		}
		n = g.acknowledged() - n
		took := time.Since(begun)
		after, err := g.target.cpu()
		l = load{rate: float64(n) / took.Seconds(), cpu: (after - before) / time.Duration(max(n, 1))}
		return errors.Join(err, g.drain())
	})
	return l, err
}

func (g *group) acknowledged() (n int) {
	for _, p := range g.publishers() {
		n += p.acked
	}
	return n
}
