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
	const title = "QoS 1 to offline persistent sessions, 64 publishers over mutual TLS, all cores"
	rows := [][]string{{"", "offline sessions", "unacknowledged messages of a publisher", "acknowledged", "goal", "CPU a message"}}
	for i, f := range []func() (*target, error){
		func() (*target, error) { return m.serve(ctx, allCores) },
		func() (*target, error) { return m.mosquitto(ctx, true, true, allCores) },
	} {
		t, err := f()
		if err != nil {
			return err
		}
		if t == nil {
			continue
		}
		more, err := m.durableOn(ctx, t)
		if err = errors.Join(err, t.stop()); err != nil {
			return err
		}
		for _, r := range more {
			row := []string{t.name + ", on disk before PUBACK", fmt.Sprint(r.sessions), fmt.Sprint(r.window), perSecond(&r.contestant), "≥ 15000/s", micro2(r.cpu())}
			if i > 0 {
				row[0], row[4] = t.name+", in memory", ""
			} else {
				m.goal(fmt.Sprintf("%s, %d sessions, %d at a time", title, r.sessions, r.window), median(r.rates()) >= 15_000, row[3], row[4])
			}
			rows = append(rows, row)
		}
	}
	table(title, rows...)
	return nil
}

type durableFigure struct {
	contestant
	sessions, window int
}

func (m *mqttBench) durableOn(ctx context.Context, t *target) (figures []durableFigure, err error) {
	for _, sessions := range []int{64, 1000} {
		if err := t.leaveSessions(ctx, sessions); err != nil {
			return nil, err
		}
		for _, window := range []int{1, 10} {
			g, err := joinDurable(ctx, t, shape{name: "durable", pubs: 64, window: window, qos: 1}, sessions)
			if err != nil {
				return nil, err
			}
			figure := durableFigure{sessions: sessions, window: window}
			for round := range 3 {
				l, err := g.stored(m.turn())
				if err != nil {
					return nil, errors.Join(err, g.close())
				}
				if round > 0 {
					figure.loads = append(figure.loads, l)
				}
			}
			if err := g.close(); err != nil {
				return nil, err
			}
			figures = append(figures, figure)
		}
	}
	return figures, nil
}

// leaveSessions makes persistent sessions, each with a subscription of its own, and leaves them.
func (t *target) leaveSessions(ctx context.Context, n int) error {
	thing := t.take(n)
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
