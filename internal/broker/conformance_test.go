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
	"sync/atomic"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/broker"
	"github.com/sekisho-iot/sekisho/internal/broker/conformance"
	"github.com/sekisho-iot/sekisho/internal/mqtt"
	"github.com/sekisho-iot/sekisho/internal/queue"
)

// variant is a broker that the scripts run against, and how they connect.
type variant struct {
	name      string
	profile   broker.Profile
	streams   bool // as where nothing can be polled
	webSocket bool
	stored    bool // the broker keeps sessions, queues and retained messages on disk
}

func variants() []variant {
	return []variant{
		{name: "aws", profile: broker.AWS},
		{name: "standard", profile: broker.Standard},
		{name: "aws stored", profile: broker.AWS, stored: true},
		{name: "standard stored", profile: broker.Standard, stored: true},
		{name: "streams", profile: broker.Standard, streams: true},
		{name: "websocket", profile: broker.Standard, webSocket: true},
		{name: "websocket streams", profile: broker.AWS, webSocket: true, streams: true},
	}
}

// profileName is what scripts call the profile.
func (x *variant) profileName() string {
	if x.profile == broker.AWS {
		return "aws"
	}
	return "standard"
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
	gate := make(chan struct{}, 32)
	var outcomes []outcome
	for _, s := range scripts(t) {
		for _, x := range variants() {
			if !s.Runs(x.profileName()) || s.Restarts() && !x.stored {
				continue
			}
			for _, v := range s.Versions {
				o := outcome{fmt.Sprintf("%s %s %s", x.name, s.Title(), v), make(chan error, 1)}
				outcomes = append(outcomes, o)
				go func() {
					gate <- struct{}{}
					defer func() { <-gate }()
					o.err <- x.run(t.Context(), t.TempDir(), &s, v)
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

// run runs a script against a broker of its own.
func (x *variant) run(ctx context.Context, dir string, s *conformance.Script, v mqtt.Version) error {
	srv, err := x.newServer(dir, s.Limits)
	if err != nil {
		return err
	}
	if err := srv.start(ctx); err != nil {
		return err
	}
	err = s.Run(ctx, v, &conformance.Target{
		Conditions: []string{x.profileName()},
		Dial:       srv.dial,
		Clock:      func(d time.Duration) error { srv.clock.advance(d); srv.broker.Nudge(); return nil },
		Gone:       srv.gone,
		Restart:    func(ctx context.Context) error { return errors.Join(srv.stop(), srv.start(ctx)) },
		Timeout:    5 * time.Second,
		Quiet:      60 * time.Millisecond,
	})
	return errors.Join(err, srv.stop())
}

// server serves a broker over TCP. Time stands still but for the script's clock
// steps, and begins late in a second; a client may connect as often as it likes
// unless the script says otherwise.
type server struct {
	*variant
	dir       string
	cfg       broker.Config
	clock     *fakeClock
	open      counter
	store     *queue.Store
	broker    *broker.Broker
	listener  net.Listener
	accepting sync.WaitGroup
}

func (x *variant) newServer(dir string, named map[string]int) (*server, error) {
	limits, err := limitsOf(x.profile, named)
	if err != nil {
		return nil, err
	}
	clock := &fakeClock{now: time.Date(2027, 1, 1, 0, 0, 0, 900_000_000, time.UTC)}
	s := &server{variant: x, dir: dir, clock: clock, cfg: broker.Config{
		Profile: x.profile, Streams: x.streams, Limits: limits, Loops: 2, Access: guard{},
		Logger: slog.New(slog.DiscardHandler), Now: clock.Now, Rand: rand.Reader,
	}}
	s.cfg.Observer = &s.open
	return s, nil
}

func (s *server) start(ctx context.Context) (err error) {
	if s.stored {
		if s.store, err = queue.Open(s.dir, queue.Options{Fast: true}); err != nil {
			return err
		}
		s.cfg.Store = s.store
	}
	if s.broker, err = broker.New(ctx, s.cfg); err != nil {
		return err
	}
	if s.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return err
	}
	s.accepting.Go(s.attach)
	return nil
}

// stop ends it, as SIGTERM does.
func (s *server) stop() error {
	_ = s.listener.Close()
	s.accepting.Wait()
	err := s.broker.Close()
	if s.stored {
		err = errors.Join(err, s.store.Close())
	}
	return err
}

// gone waits until the broker has noticed that a connection was dropped.
func (s *server) gone(drop func()) error {
	before := s.open.n.Load()
	drop()
	for range 5000 {
		if s.open.n.Load() < before {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return errors.New("the broker does not notice that the connection is gone")
}

// counter is an observer that counts connections.
type counter struct{ n atomic.Int64 }

func (c *counter) Connection(delta int)   { c.n.Add(int64(delta)) }
func (*counter) Refused(string)           {}
func (*counter) Disconnected(string)      {}
func (*counter) Messages(_, _ *[3]uint64) {}
func (*counter) Limit(string)             {}
func (*counter) Dropped(string)           {}
func (*counter) Deny(string)              {}

// attach hands over what connects until the listener ends.
func (s *server) attach() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.broker.Attach(c, broker.Attachment{Peer: broker.Peer{SourceIP: "127.0.0.1"}, WebSocket: s.webSocket})
	}
}

func (s *server) dial(ctx context.Context) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", s.listener.Addr().String())
	if err == nil && s.webSocket {
		return newWebSocket(c), nil
	}
	return c, err
}

// TestWebSocketText sends a CONNECT in a text message, which ends the connection.
func TestWebSocketText(t *testing.T) {
	t.Parallel()
	srv, err := (&variant{webSocket: true}).newServer(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for first, answered := range map[byte]bool{0x82: true, 0x81: false} {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", srv.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(frame(first, []byte("\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a"))); err != nil {
			t.Fatal(err)
		}
		n, err := newWebSocket(c).Read(make([]byte, 4))
		if (err == nil && n > 0) != answered {
			t.Errorf("first byte %#x: %d bytes, %v", first, n, err)
		}
		_ = c.Close()
	}
	if err := srv.stop(); err != nil {
		t.Error(err)
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
