//go:build bench

package bench_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// handshakes measures what it costs to connect: TCP, mutual TLS, CONNECT, and
// the end.
func (m *mqttBench) handshakes(ctx context.Context) error {
	const title, want, at = "Full mutual-TLS handshakes (TLS 1.3, P-256, X25519) with CONNECT, one core", 1200, 16
	rows := [][]string{{"", "CPU a connection", "a second and core", "goal", "measured, with the clients on the other core"}}
	for i, f := range []func() (*target, error){
		func() (*target, error) { return m.serve(ctx, oneCore) },
		func() (*target, error) { return m.mosquitto(ctx, true, true, oneCore) },
	} {
		t, err := f()
		if err != nil {
			return err
		}
		if t == nil {
			continue
		}
		var c contestant
		for round := range max(m.rounds/2, 1) + 1 {
			l, err := t.connects(ctx, m.turn()*2, at)
			if err != nil {
				return errors.Join(err, t.stop())
			}
			if round > 0 {
				c.loads = append(c.loads, l)
			}
		}
		if err := t.stop(); err != nil {
			return err
		}
		rate := float64(time.Second) / float64(max(c.cpu(), 1))
		row := []string{t.name, micro(c.cpu()), fmt.Sprintf("%.0f", rate), "", perSecond(&c)}
		if i == 0 {
			row[3] = fmt.Sprintf("≥ %d", want)
			m.goal(title, rate >= want, row[2], row[3])
		}
		rows = append(rows, row)
	}
	table(title, rows...)
	return nil
}

// connects has clients connect and leave again for d.
func (t *target) connects(ctx context.Context, d time.Duration, clients int) (load, error) {
	before, err := t.cpu()
	if err != nil {
		return load{}, err
	}
	begun := time.Now()
	thing := t.take(t.fleet - t.fleet/8) // others are live
	var n atomic.Int64
	err = each(ctx, clients, clients, func(ctx context.Context, _ int) error {
		for time.Since(begun) < d {
			c, err := t.dial(ctx, session{thing: thing(int(n.Add(1)) % (t.fleet - t.fleet/8))})
			if err != nil {
				return err
			}
			_ = c.bye()
		}
		return nil
	})
	took := time.Since(begun)
	after, err2 := t.cpu()
	done := max(n.Load(), 1)
	return load{rate: float64(done) / took.Seconds(), cpu: (after - before) / time.Duration(done)}, errors.Join(err, err2)
}

// stormEnv makes this binary a crowd of clients; its value is a stormTask.
const stormEnv = "SEKISHO_BENCH_STORM"

type stormTask struct {
	Addr, Fleet, Roots string // a file of stormThings, a file of the server's roots
	First, Clients     int
}

type stormThing struct{ Key, Certificate []byte }

// stormChild connects and leaves until its standard input ends, then prints
// how often it did.
func stormChild() error {
	var task stormTask
	if err := json.Unmarshal([]byte(os.Getenv(stormEnv)), &task); err != nil {
		return err
	}
	// Whoever measures latency on the same processor goes first.
	tasks, err := os.ReadDir("/proc/self/task")
	for _, t := range tasks {
		tid, _ := strconv.Atoi(t.Name())
		err = errors.Join(err, unix.Setpriority(unix.PRIO_PROCESS, tid, 19))
	}
	b, err1 := os.ReadFile(task.Fleet)
	roots, err2 := os.ReadFile(task.Roots)
	var things []stormThing
	if err := errors.Join(err, err1, err2, json.Unmarshal(b, &things)); err != nil {
		return err
	}
	t := &target{name: "storm", addr: task.Addr, pid: os.Getpid(), fleet: len(things), roots: rootsOf(roots)}
	t.certificate = func(i int) tls.Certificate {
		key, _ := x509.ParsePKCS8PrivateKey(things[i].Key) // ours; a bad one fails the handshake
		return tls.Certificate{Certificate: [][]byte{things[i].Certificate}, PrivateKey: key}
	}
	fmt.Println("ready")
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	var next, done, failed atomic.Int64
	_ = each(ctx, task.Clients, task.Clients, func(ctx context.Context, _ int) error {
		for ctx.Err() == nil {
			// The two before First are the pair whose latency is measured.
			n := int(next.Add(1)) % (len(things) - 2)
			c, err := t.dial(ctx, session{thing: (task.First + n) % len(things)})
			if err == nil {
				err = c.bye()
			}
			if err == nil {
				done.Add(1)
			} else if ctx.Err() == nil && failed.Add(1) == 1 {
				fmt.Fprintln(os.Stderr, "storm:", err)
			}
		}
		return nil
	})
	fmt.Println(done.Load(), failed.Load())
	return nil
}

// storm measures the latency of a live pair while others connect.
func (m *mqttBench) storm(ctx context.Context) error {
	const clients, rate = 64, 200
	title := fmt.Sprintf("QoS 1 latency at %d/s while %d clients connect over and over (mutual TLS, one core)", rate, clients)
	rows := [][]string{{"", "p50", "p99", "largest", "p99 at rest", "connections", "refused or failed"}}
	var p99 []time.Duration
	for _, f := range []func() (*target, error){
		func() (*target, error) { return m.serve(ctx, oneCore) },
		func() (*target, error) { return m.mosquitto(ctx, true, true, oneCore) },
	} {
		t, err := f()
		if err != nil {
			return err
		}
		if t == nil {
			continue
		}
		row, p, err := m.stormOn(ctx, t, clients, rate)
		if err = errors.Join(err, t.stop()); err != nil {
			return err
		}
		rows, p99 = append(rows, row), append(p99, p)
	}
	table(title, rows...)
	if len(p99) == 2 {
		m.goal(title, p99[0] <= p99[1], "p99 "+micro(p99[0]), "≤ mosquitto's "+micro(p99[1]))
	}
	return nil
}

func (m *mqttBench) stormOn(ctx context.Context, t *target, clients, rate int) (row []string, p99 time.Duration, err error) {
	g, err := join(ctx, t, shape{name: "storm", pubs: 1, subs: 1, qos: 1})
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	rest, err := g.pace(m.turn(), rate)
	if err != nil {
		return nil, 0, err
	}
	task := stormTask{Addr: t.addr, Fleet: filepath.Join(m.dir, "fleet.json"), Roots: m.serverCert, First: t.next, Clients: clients}
	var things []stormThing
	for i := range m.keys {
		key, err := x509.MarshalPKCS8PrivateKey(m.keys[i])
		if err != nil {
			return nil, 0, err
		}
		things = append(things, stormThing{Key: key, Certificate: t.certificate(i).Certificate[0]})
	}
	b, err := json.Marshal(things)
	if err == nil {
		err = os.WriteFile(task.Fleet, b, 0o600)
	}
	if err != nil {
		return nil, 0, err
	}
	_, _, stop, err := self(ctx, filepath.Join(m.dir, "storm.log"), stormEnv, task)
	if err != nil {
		return nil, 0, err
	}
	begun := time.Now()
	if _, err = g.pace(m.turn(), rate); err != nil { // until the storm is at full strength
		_, err2 := stop()
		return nil, 0, errors.Join(err, err2)
	}
	took, err := g.pace(m.turn()*time.Duration(m.rounds+1), rate)
	seconds := time.Since(begun).Seconds()
	out, err2 := stop()
	if err := errors.Join(err, err2); err != nil {
		return nil, 0, err
	}
	var done, failed int
	if _, err := fmt.Sscan(out, &done, &failed); err != nil {
		return nil, 0, fmt.Errorf("the storm said %q: %w", out, err)
	}
	p99 = quantile(took, 0.99)
	return []string{
		t.name, micro(quantile(took, 0.5)), micro(p99), micro(quantile(took, 1)), micro(quantile(rest, 0.99)),
		fmt.Sprintf("%.0f/s", float64(done)/seconds), fmt.Sprint(failed),
	}, p99, nil
}
