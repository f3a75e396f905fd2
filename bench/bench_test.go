//go:build bench

package bench_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/e2e/process"
)

const (
	region      = "us-east-1"
	connections = 8
)

// settings come from the command line.
type settings struct {
	parts  string
	rounds int
	round  time.Duration

	fleet int // devices of the part devices

	mqtt        string // scenarios of the part mqtt
	mqttProfile string
	mqttServer  string
}

func TestMain(m *testing.M) {
	if os.Getenv(bareEnv) != "" {
		os.Exit(serveBare())
	}
	for env, task := range map[string]func() error{bareMQTTEnv: bareMQTT, stormEnv: stormChild} {
		if os.Getenv(env) == "" {
			continue
		}
		if err := task(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	var s settings
	flag.StringVar(&s.parts, "parts", "start,policy,credentials,devices,control,search,s3,mqtt,agent", "what to measure")
	flag.IntVar(&s.rounds, "rounds", 5, "rounds of each comparison, in turns")
	flag.DurationVar(&s.round, "round", 3*time.Second, "length of a round")
	flag.IntVar(&s.fleet, "fleet", 100_000, "devices of the part devices")
	flag.StringVar(&s.mqtt, "mqtt", defaultScenarios, "scenarios of the part mqtt; 1to1, 50to1 and 1to100 are parts of plain")
	flag.StringVar(&s.mqttProfile, "mqttprofile", "", "file for a CPU profile of the bare broker; leaves mosquitto out")
	flag.StringVar(&s.mqttServer, "mqttserver", "serve", "what speaks TLS in the part mqtt: bin/sekisho serve, or the bare broker")
	flag.Parse()
	dir, err := os.MkdirTemp("", "sekisho-bench-")
	if err == nil {
		err = errors.Join(s.run(dir), os.RemoveAll(dir))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	_ = m
}

func (s *settings) run(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 55*time.Minute)
	defer cancel()
	fmt.Printf("%s, %s/%s, %d cores, %d connections, median of %d rounds of %s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), connections, s.rounds, s.round)
	for part := range strings.SplitSeq(s.parts, ",") {
		run, ok := map[string]func(context.Context, string) error{
			"start": s.start, "policy": s.policy, "credentials": s.credentials, "s3": s.s3, "mqtt": s.mqttPart, "agent": s.agent, "control": s.control, "devices": s.devices, "search": s.search,
		}[part]
		if !ok {
			return fmt.Errorf("no part is called %q", part)
		}
		folder := filepath.Join(dir, part)
		if err := os.Mkdir(folder, 0o700); err != nil {
			return err
		}
		if err := run(ctx, folder); err != nil {
			return fmt.Errorf("%s: %w", part, err)
		}
	}
	return nil
}

// table prints one Markdown table.
func table(title string, rows ...[]string) {
	fmt.Printf("\n### %s\n\n", title)
	for i, row := range rows {
		fmt.Printf("| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			fmt.Printf("|%s\n", strings.Repeat(" --- |", len(row)))
		}
	}
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 1 {
		return v[n/2]
	} else if n > 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return 0
}

// load is one round: how many calls per second, and what they cost the server.
type load struct {
	rate float64       // calls per second
	cpu  time.Duration // of the server, per call
}

// drive runs call on every connection until the round is over.
func drive(ctx context.Context, d time.Duration, pid int, call func(ctx context.Context, worker int) error) (load, error) {
	before, err := process.CPU(pid)
	if err != nil {
		return load{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	var n atomic.Int64
	errs := make([]error, connections)
	begun := time.Now()
	for w := range connections {
		wg.Go(func() {
			for time.Since(begun) < d && errs[w] == nil {
				errs[w] = call(ctx, w)
				n.Add(1)
			}
		})
	}
	wg.Wait()
	took := time.Since(begun)
	after, err := process.CPU(pid)
	calls := max(n.Load(), 1)
	return load{rate: float64(calls) / took.Seconds(), cpu: (after - before) / time.Duration(calls)}, errors.Join(errors.Join(errs...), err)
}

// contestant is one side of a comparison.
type contestant struct {
	name  string
	pid   int
	call  func(ctx context.Context, worker int) error
	loads []load
}

func (c *contestant) rates() (v []float64) {
	for _, l := range c.loads {
		v = append(v, l.rate)
	}
	return v
}

func (c *contestant) cpu() time.Duration {
	var v []float64
	for _, l := range c.loads {
		v = append(v, float64(l.cpu))
	}
	return time.Duration(median(v))
}

// compare runs the sides in turns, a short round of each first to warm up.
func (s *settings) compare(ctx context.Context, sides ...*contestant) error {
	for i := range s.rounds + 1 {
		for _, c := range sides {
			d := s.round
			if i == 0 {
				d = min(d, time.Second)
			}
			l, err := drive(ctx, d, c.pid, c.call)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if i > 0 {
				c.loads = append(c.loads, l)
			}
		}
	}
	return nil
}

// ratio is the median of the rounds' ratios of rates.
func ratio(a, b *contestant) float64 {
	var v []float64
	for i := range a.loads {
		v = append(v, a.loads[i].rate/b.loads[i].rate)
	}
	return median(v)
}

func micro(d time.Duration) string {
	return fmt.Sprintf("%.0f µs", float64(d)/float64(time.Microsecond))
}
