package broker_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/broker"
	"github.com/sekisho-iot/sekisho/internal/broker/conformance"
	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// variants are the brokers that the scripts run against.
func variants() map[string]broker.Config {
	return map[string]broker.Config{
		"aws":      {Profile: broker.AWS},
		"standard": {Profile: broker.Standard},
		"streams":  {Profile: broker.Standard, Streams: true}, // as where nothing can be polled
	}
}

// outcome is that of one run of a script.
type outcome struct {
	name string
	err  chan error
}

// TestConformance runs the packet scripts of testdata/conformance against the
// broker in both profiles. They wait more than they work, so many run at once.
func TestConformance(t *testing.T) {
	t.Parallel()
	all := scripts(t)
	gate := make(chan struct{}, 32)
	var outcomes []outcome
	for name, cfg := range variants() {
		profile := map[broker.Profile]string{broker.AWS: "aws", broker.Standard: "standard"}[cfg.Profile]
		for i := range all {
			s := &all[i]
			if !s.Runs(profile) {
				continue
			}
			for _, v := range s.Versions {
				o := outcome{fmt.Sprintf("%s %s %s", name, s.Title(), v), make(chan error, 1)}
				outcomes = append(outcomes, o)
				go func() {
					gate <- struct{}{}
					defer func() { <-gate }()
					o.err <- inProcess(t.Context(), cfg, s, v, profile)
				}()
			}
		}
	}
	for _, o := range outcomes {
		t.Run(o.name, func(t *testing.T) {
			if err := <-o.err; err != nil {
				t.Error(err)
			}
		})
	}
}

func scripts(tb testing.TB) []conformance.Script {
	tb.Helper()
	all, err := conformance.Load(os.DirFS("testdata/conformance"))
	if err != nil {
		tb.Fatal(err)
	}
	return all
}

// inProcess runs a script against a broker of its own, over TCP. Time stands
// still but for the script's clock steps; a client may connect as often as it
// likes unless the script says otherwise.
func inProcess(ctx context.Context, cfg broker.Config, s *conformance.Script, v mqtt.Version, profile string) error {
	limits, err := limitsOf(cfg.Profile, s.Limits)
	if err != nil {
		return err
	}
	clock := &fakeClock{now: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)}
	cfg.Limits, cfg.Loops, cfg.Access = limits, 2, guard{}
	cfg.Logger, cfg.Now, cfg.Rand = slog.New(slog.DiscardHandler), clock.Now, rand.Reader
	b, err := broker.New(ctx, cfg)
	if err != nil {
		return err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(err, b.Close())
	}
	var accepting sync.WaitGroup
	accepting.Go(func() { attach(b, l) })
	err = s.Run(ctx, v, &conformance.Target{
		Conditions: []string{profile},
		Dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
		},
		Clock:   func(d time.Duration) error { clock.advance(d); b.Nudge(); return nil },
		Timeout: 5 * time.Second,
		Quiet:   60 * time.Millisecond,
	})
	_ = l.Close()
	accepting.Wait()
	return errors.Join(err, b.Close())
}

// attach hands over what connects until the listener ends.
func attach(b *broker.Broker, l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		b.Attach(c, broker.Attachment{Peer: broker.Peer{SourceIP: "127.0.0.1"}})
	}
}

func limitsOf(profile broker.Profile, named map[string]int) (broker.Limits, error) {
	l := broker.AWSLimits()
	if profile == broker.Standard {
		l = broker.StandardLimits()
	}
	l.ConnectRate = 0
	for name, n := range named {
		switch name {
		case "connect_rate":
			l.ConnectRate = float64(n)
		case "inflight":
			l.Inflight = n
		case "packet_size":
			l.PacketSize = n
		case "topic_aliases":
			l.TopicAliases = n
		case "subscriptions":
			l.Subscriptions = n
		default:
			return l, fmt.Errorf("no limit %q", name)
		}
	}
	return l, nil
}

// fakeClock tells a time that only advances when it is told to.
type fakeClock struct {
	mu  sync.Mutex // guards now
	now time.Time
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// guard is the access of conformance scripts: everything is allowed but the
// client identifier "denied" and what topics say they are denied: below
// deny/publish/, deny/retain/, deny/subscribe/ and deny/receive/.
type guard struct{}

func (guard) Principal(context.Context, *broker.Peer, string) (broker.Principal, error) {
	return guard{}, nil
}

func (guard) ID() string { return "conformance" }

func (guard) Thing() (name string, exclusive bool) { return "", false }

func (guard) Deny(*broker.Request, string) {}

func (guard) Decide(r *broker.Request) broker.Verdict {
	prefix := map[broker.Action]string{
		broker.Connect: "denied", broker.Publish: "deny/publish/", broker.RetainPublish: "deny/retain/",
		broker.Subscribe: "deny/subscribe/", broker.Receive: "deny/receive/",
	}[r.Action]
	return broker.Verdict{Allowed: !strings.HasPrefix(r.Name, prefix), Lasting: true}
}
