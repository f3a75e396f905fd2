//go:build bench

package bench_test

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// idlePlain measures 10,000 connections without TLS.
func (m *mqttBench) idlePlain(ctx context.Context) error {
	return m.idle(ctx, "without TLS", 10_000, 2,
		func() (*target, error) { return m.bare(ctx, 1, false, oneCore) },
		func() (*target, error) { return m.mosquitto(ctx, false, false, oneCore) })
}

// idleTLS measures 5,000 connections, each with a certificate of its own.
func (m *mqttBench) idleTLS(ctx context.Context) error {
	return m.idle(ctx, "with mutual TLS", m.things, 16,
		func() (*target, error) { return m.serve(ctx, oneCore) },
		func() (*target, error) { return m.mosquitto(ctx, true, true, oneCore) })
}

func (m *mqttBench) idle(ctx context.Context, how string, n int, limit float64, start ...func() (*target, error)) error {
	const quiet = 5 * time.Second
	title := fmt.Sprintf("%d idle connections %s, after %s of quiet", n, how, quiet)
	rows := [][]string{{"a connection", "has sent", "RSS", "PSS", "private", "goal (RSS)", "connected in"}}
	for i, f := range start {
		t, err := f()
		if err != nil {
			return err
		}
		if t == nil {
			continue
		}
		more, err := m.idleOf(ctx, t, n, quiet)
		if err = errors.Join(err, t.stop()); err != nil {
			return err
		}
		for _, r := range more {
			want := ""
			if i == 0 {
				want = fmt.Sprintf("≤ %.0f KB", limit)
				m.goal(title+", having sent "+r.sent, r.rss <= limit, kilo(r.rss), want)
			}
			rows = append(rows, []string{t.name, r.sent, kilo(r.rss), kilo(r.pss), kilo(r.private), want, r.took})
		}
	}
	table(title, rows...)
	return nil
}

func kilo(v float64) string { return fmt.Sprintf("%.2f KB", v) }

// idleFigure is in KB a connection.
type idleFigure struct {
	sent, took        string
	rss, pss, private float64
}

// idleOf measures after CONNECT, and after one SUBSCRIBE more.
func (m *mqttBench) idleOf(ctx context.Context, t *target, n int, quiet time.Duration) (figures []idleFigure, err error) {
	time.Sleep(time.Second)
	before, err := memoryOf(t.pid)
	if err != nil {
		return nil, err
	}
	clients := make([]*client, n)
	defer func() {
		for _, c := range clients {
			if c != nil {
				_ = c.conn.Close()
			}
		}
	}()
	measure := func(sent string, f func(ctx context.Context, i int) error) error {
		begun := time.Now()
		if err := each(ctx, n, 16, f); err != nil {
			return err
		}
		took := time.Since(begun)
		time.Sleep(quiet)
		after, err := memoryOf(t.pid)
		per := func(a, b int64) float64 { return float64(a-b) / float64(n) / (1 << 10) }
		figures = append(figures, idleFigure{
			sent: sent, took: fmt.Sprintf("%.1f s", took.Seconds()),
			rss: per(after.rss, before.rss), pss: per(after.pss, before.pss), private: per(after.private, before.private),
		})
		return err
	}
	thing := t.take(n)
	err = measure("CONNECT", func(ctx context.Context, i int) (err error) {
		clients[i], err = t.dial(ctx, session{thing: thing(i)})
		return err
	})
	if err != nil {
		return nil, err
	}
	err = measure("CONNECT, SUBSCRIBE", func(_ context.Context, i int) error {
		return clients[i].subscribe(topic(0, thing(i)), 1)
	})
	return figures, err
}
