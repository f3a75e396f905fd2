package broker_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/broker"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/mqtt"
	"github.com/sekisho-iot/sekisho/internal/queue"
)

// gatedAccess judges when the gate is opened.
type gatedAccess struct {
	broker.Access
	asked, gate chan struct{}
}

func (a *gatedAccess) Principal(ctx context.Context, p *broker.Peer, id string) (broker.Principal, error) {
	a.asked <- struct{}{}
	<-a.gate
	return a.Access.Principal(ctx, p, id)
}

// within fails the test if f takes long.
func within(tb testing.TB, what string, f func()) {
	tb.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		tb.Fatal(what + " hangs")
	}
}

// A client of a stream that leaves while it is judged leaves nothing behind.
func TestLeavesWhileJudged(t *testing.T) {
	t.Parallel()
	a := &gatedAccess{asked: make(chan struct{}, 1), gate: make(chan struct{})}
	h := open(t, func(c *broker.Config) { a.Access, c.Access, c.Streams = c.Access, a, true })
	p := mqtt.Connect{Version: mqtt.V5, ClientID: []byte("c"), CleanStart: true}
	connect, err := p.Append(nil, mqtt.V5)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := net.Pipe()
	h.Attach(theirs, broker.Attachment{Early: connect}) // as a WebSocket's, behind its handshake
	<-a.asked
	_ = ours.Close()
	settle := func() { // nothing says that the end of a socket was seen
		for range 50 {
			h.Nudge()
			time.Sleep(time.Millisecond)
		}
	}
	settle()
	close(a.gate)
	settle()
	within(t, "Close", h.stop)
}

// selfSigned is the configuration of a TLS server.
func selfSigned(tb testing.TB) *tls.Config {
	tb.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		tb.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}}, MinVersion: tls.VersionTLS12}
}

// secured connects over TLS.
func (h *house) secured(cfg *tls.Config) net.Conn {
	h.tb.Helper()
	l, err := new(net.ListenConfig).Listen(h.tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		h.tb.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // nothing follows from it
	raw, err := new(net.Dialer).DialContext(h.tb.Context(), "tcp", l.Addr().String())
	if err != nil {
		h.tb.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		h.tb.Fatal(err)
	}
	client := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	h.tb.Cleanup(func() { _ = client.Close() })
	failed := make(chan error, 1)
	go func() { failed <- client.HandshakeContext(h.tb.Context()) }()
	server := tls.Server(broker.NewSocket(accepted, nil), cfg)
	if err := server.HandshakeContext(h.tb.Context()); err != nil {
		h.tb.Fatal(err)
	}
	if err := <-failed; err != nil {
		h.tb.Fatal(err)
	}
	h.Attach(server, broker.Attachment{Peer: broker.Peer{Certificate: "tls"}})
	return client
}

// What a client of TLS sends behind its CONNECT in one breath is not touched by
// the loop that the connection leaves.
func TestFloodBehindConnect(t *testing.T) {
	t.Parallel()
	h := open(t, func(c *broker.Config) { c.StockTLS = true })
	cfg := selfSigned(t)
	for i := range 8 {
		conn := h.secured(cfg)
		p := mqtt.Connect{Version: mqtt.V5, ClientID: fmt.Append(nil, "flood", i), CleanStart: true}
		all, err := p.Append(nil, mqtt.V5)
		if err != nil {
			t.Fatal(err)
		}
		const pings = 400_000
		all = append(all, bytes.Repeat(mqtt.AppendPing(nil, mqtt.TypePingreq), pings)...)
		go func() { _, _ = conn.Write(all) }()
		c := &client{tb: t, conn: conn, version: mqtt.V5}
		if _, ok := c.read().(*mqtt.Connack); !ok {
			t.Fatal("no CONNACK")
		}
		for range pings {
			if _, ok := c.read().(*mqtt.Ping); !ok {
				t.Fatal("no PINGRESP")
			}
		}
	}
}

// Connections and sessions that have ended are not kept for the timers that they had.
func TestTimersKeepNothing(t *testing.T) {
	t.Parallel()
	h := open(t)
	const n = 400
	round := func(keep bool) {
		for i := range n {
			c, _ := h.connect("a", fmt.Sprint("c", i), keep, func(p *mqtt.Connect) { p.KeepAlive = 1200 })
			_ = c.conn.Close()
		}
	}
	for range 3 {
		round(true)
		round(false)
	}
	for range 70 {
		h.clock.advance(time.Second)
		h.Nudge()
	}
	if got := h.Timers(); got > 20 {
		t.Errorf("%d timers are left of clients that are gone", got)
	}
}

// heldStore commits when it is let, and can fail.
type heldStore struct {
	broker.Store
	mu   sync.Mutex // guards the fields below
	held []func()
	hold bool
}

func (s *heldStore) Commit(b *queue.Batch, done func(error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.hold {
		s.Store.Commit(b, done)
		return
	}
	s.held = append(s.held, func() { s.Store.Commit(b, done) })
}

func (s *heldStore) set(hold bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold = hold
	for _, f := range s.held {
		f()
	}
	s.held = nil
}

func ack(id uint16) []byte { return mqtt.AppendAck(nil, mqtt.TypePuback, id) }

// A client that acknowledges a message and ends its session in one breath takes
// nothing from the others who wait for the message.
func TestEndOfASessionLeavesTheMessagesOfOthers(t *testing.T) {
	t.Parallel()
	s := &heldStore{Store: store(t, t.TempDir())}
	h := open(t, with(s), func(c *broker.Config) { c.Loops = 1 })
	away, _ := h.connect("a", "away", true)
	away.subscribe("t", 1)
	away.send(&mqtt.Disconnect{})
	away.ended()
	thief, _ := h.connect("b", "thief", true)
	thief.subscribe("t", 1)
	pub, _ := h.connect("c", "pub", false)
	for i := range 5 {
		pub.publish("t", fmt.Sprint(i))
	}
	var ids []uint16
	for range 5 {
		p, ok := thief.read().(*mqtt.Publish)
		if !ok {
			t.Fatal("no PUBLISH")
		}
		ids = append(ids, p.ID)
	}
	s.set(true)
	bye := mqtt.Disconnect{}
	bye.Properties, _ = bye.Properties.Add(mqtt.Property{ID: mqtt.SessionExpiryInterval, Number: 0})
	last, _ := bye.Append(nil, mqtt.V5)
	var all []byte
	for _, id := range ids[:4] {
		all = append(all, ack(id)...)
	}
	thief.write(append(all, last...))
	thief.ended()
	h.Nudge()
	time.Sleep(50 * time.Millisecond)
	s.set(false)
	for range 20 {
		h.Nudge()
		time.Sleep(time.Millisecond)
	}
	away, ok := h.connect("a", "away", true)
	if !ok.SessionPresent {
		t.Fatal("no session")
	}
	for i := range 5 {
		away.wants("t", fmt.Sprint(i))
	}
}

// What all sessions of a filter refused is kept for the member of a shared
// subscription nevertheless.
func TestSharedSubscriptionBehindFullSessions(t *testing.T) {
	t.Parallel()
	h := open(t, with(store(t, t.TempDir())), func(c *broker.Config) { c.Loops, c.Limits.QueuedMessages = 1, 1 })
	for i := range 2 {
		c, _ := h.connect("a", fmt.Sprint("full", i), true)
		c.subscribe("fill", 1)
		c.subscribe("t", 1)
		c.send(&mqtt.Disconnect{})
		c.ended()
	}
	c, _ := h.connect("a", "member", true)
	c.subscribe("$share/g/t", 1)
	c.send(&mqtt.Disconnect{})
	c.ended()
	pub, _ := h.connect("b", "pub", false)
	pub.publish("fill", "x")
	pub.publish("t", "1")
	c, _ = h.connect("a", "member", true)
	c.wants("t", "1")
}

// moody is an access that has trouble for a while.
type moody struct {
	broker.Access
	failing atomic.Bool
}

func (m *moody) Principal(ctx context.Context, p *broker.Peer, id string) (broker.Principal, error) {
	if m.failing.Load() {
		return nil, errors.New("no answer")
	}
	return m.Access.Principal(ctx, p, id)
}

// A connection that ends because it cannot be judged anew takes no message with it.
func TestNoMessageIsLostToTheJudgement(t *testing.T) {
	t.Parallel()
	for _, stored := range []bool{false, true} {
		m := &moody{}
		change := []func(*broker.Config){func(c *broker.Config) { m.Access, c.Access, c.Loops, c.Limits.Inflight = c.Access, m, 1, 1 }}
		if stored {
			change = append(change, with(store(t, t.TempDir())))
		}
		h := open(t, change...)
		sub, _ := h.connect("a", "sub", true)
		sub.subscribe("t", 1)
		pub, _ := h.connect("b", "pub", false)
		for i := range 3 {
			pub.publish("t", fmt.Sprint(i))
		}
		p, ok := sub.read().(*mqtt.Publish)
		if !ok {
			t.Fatal("no PUBLISH")
		}
		m.failing.Store(true)
		// The change is not swept before the acknowledgement makes room.
		done := make(chan struct{})
		h.Hold(func() {
			h.Invalidate(iot.Change{Kind: iot.ChangeAll})
			sub.write(ack(p.ID))
			time.Sleep(20 * time.Millisecond)
			close(done)
		})
		<-done
		if code := sub.ended(); code != uint8(mqtt.ServerBusy) {
			t.Fatal(code)
		}
		m.failing.Store(false)
		sub, _ = h.connect("a", "sub", true)
		for i := 1; i < 3; i++ {
			sub.wants("t", fmt.Sprint(i))
		}
	}
}

// A session whose new connection does not want it kept still gets its messages in order.
func TestOrderOfASessionThatIsNotKeptAnyMore(t *testing.T) {
	t.Parallel()
	h := open(t, with(store(t, t.TempDir())))
	sub, _ := h.connect("a", "sub", true)
	sub.subscribe("t", 1)
	sub.send(&mqtt.Disconnect{})
	sub.ended()
	pub, _ := h.connect("b", "pub", false)
	const n = 400
	for i := range n {
		pub.publish("t", fmt.Sprint(i))
	}
	sub, _ = h.connect("a", "sub", true, func(p *mqtt.Connect) { p.Properties = nil })
	for i := range n {
		pub.publish("t", fmt.Sprint(n+i))
	}
	for i := range 2 * n {
		sub.wants("t", fmt.Sprint(i))
	}
}

// A client that asks and does not read the answers is not read, and nothing of
// it is lost.
func TestAsksAndDoesNotRead(t *testing.T) {
	t.Parallel()
	h := open(t, func(c *broker.Config) { c.Limits.Output = 256 << 10 })
	c, _ := h.connect("a", "c", false)
	pings := bytes.Repeat(mqtt.AppendPing(nil, mqtt.TypePingreq), 32<<20)
	_ = c.conn.SetWriteDeadline(time.Now().Add(2 * time.Second))
	n, err := c.conn.Write(pings)
	if err == nil {
		t.Fatalf("%d bytes of questions were taken, with none of the answers read", n)
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	if n, err := io.CopyN(io.Discard, c.conn, int64(n/2*2)); err != nil {
		t.Errorf("%d bytes of answers: %v", n, err)
	}
}

// A DISCONNECT counts that comes with the good-bye of its WebSocket.
func TestWebSocketGoodBye(t *testing.T) {
	t.Parallel()
	h := open(t)
	sub, _ := h.connect("a", "sub", false)
	sub.subscribe("will", 1)
	ours, theirs := net.Pipe()
	defer ours.Close() //nolint:errcheck // nothing follows from it
	h.Attach(theirs, broker.Attachment{WebSocket: true})
	c := &client{tb: t, conn: newWebSocket(ours), version: mqtt.V5}
	hello, _ := (&mqtt.Connect{
		Version: mqtt.V5, ClientID: []byte("ws"), CleanStart: true, HasWill: true, Will: mqtt.Will{Topic: []byte("will"), QoS: 1},
	}).Append(nil, mqtt.V5)
	if _, err := ours.Write(frame(0x82, hello)); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.read().(*mqtt.Connack); !ok {
		t.Fatal("no CONNACK")
	}
	bye, _ := (&mqtt.Disconnect{}).Append(nil, mqtt.V5)
	if _, err := ours.Write(append(frame(0x82, bye), frame(0x88, []byte{3, 0xe8})...)); err != nil {
		t.Fatal(err)
	}
	if c.read() != nil {
		t.Error("the connection goes on")
	}
	sub.quiet()
}

// What cannot be a name in the store is refused, and takes nothing of others with it.
func TestNamesThatTheStoreCannotKeep(t *testing.T) {
	t.Parallel()
	s := store(t, t.TempDir())
	h := open(t, with(s), standard)
	long := bytes.Repeat([]byte{'n'}, 40_000)
	sub, _ := h.connect("a", "sub", true)
	sub.subscribe("t", 1)
	pub, _ := h.connect("b", "pub", false)
	c := h.dial("c")
	p := &mqtt.Connect{Version: mqtt.V5, ClientID: long}
	p.Properties, _ = p.Properties.Add(mqtt.Property{ID: mqtt.SessionExpiryInterval, Number: 3600})
	c.send(p)
	if ack, ok := c.read().(*mqtt.Connack); ok && ack.Code == 0 {
		t.Error("a client identifier that cannot be kept is accepted")
	}
	c, _ = h.connect("c", "c", false)
	c.send(&mqtt.Publish{QoS: 1, ID: 1, Retain: true, Topic: long, Payload: []byte("x")})
	if a, ok := c.read().(*mqtt.Ack); !ok || a.Code.Failed() {
		t.Errorf("a retained message of a long topic: %v", a)
	}
	if code := pub.publish("t", "x"); code != 0 {
		t.Error(code)
	}
	h.stop()
	h = open(t, with(s), standard)
	if _, err := h.Retained(string(long)); err != nil {
		t.Error(err)
	}
}

// Whoever publishes while the broker is closed gets an answer.
func TestPublishWhileItCloses(t *testing.T) {
	t.Parallel()
	for range 20 {
		h := open(t)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for h.Publish(context.WithoutCancel(t.Context()), &broker.Message{Topic: "t", QoS: 1}) == nil {
					continue
				}
			})
		}
		h.stop()
		within(t, "Publish", wg.Wait)
	}
}

func standard(c *broker.Config) {
	c.Profile, c.Limits, c.Loops = broker.Standard, broker.StandardLimits(), 1
}

func qos2(id uint16, payload string) *mqtt.Publish {
	return &mqtt.Publish{QoS: 2, ID: id, Topic: []byte("t"), Payload: []byte(payload)}
}

// answered reads acknowledgements until that of a type and identifier.
func (c *client) answered(t mqtt.PacketType, id uint16) uint8 {
	c.tb.Helper()
	a, ok := c.read().(*mqtt.Ack)
	if !ok || a.Type != t || a.ID != id {
		c.tb.Fatalf("came %+v, want %v %d", a, t, id)
	}
	return uint8(a.Code)
}

// A QoS 2 message, and its end, are on disk before they are answered.
func TestQoS2IsKeptBeforeItIsAnswered(t *testing.T) {
	t.Parallel()
	s := &heldStore{Store: store(t, t.TempDir())}
	h := open(t, with(s), standard)
	sub, _ := h.connect("s", "sub", true)
	sub.subscribe("t", 1)
	c, _ := h.connect("a", "c", true)
	s.set(true)
	for i := range uint16(60) { // within the receive maximum of 100
		c.send(qos2(i+1, "x"))
	}
	c.quiet()
	_ = c.conn.Close()
	c, _ = h.connect("a", "c", true)
	again := qos2(1, "x")
	again.Dup = true
	c.send(again)
	c.quiet()
	s.set(false)
	c.answered(mqtt.TypePubrec, 1)
	s.set(true)
	c.send(&mqtt.Ack{Type: mqtt.TypePubrel, ID: 1})
	c.quiet()
	s.set(false)
	c.answered(mqtt.TypePubcomp, 1)
	for range 60 {
		sub.wants("t", "x")
	}
	sub.quiet()
}

// failingStore fails while it is told to.
type failingStore struct {
	broker.Store
	failing atomic.Bool
}

func (s *failingStore) Commit(b *queue.Batch, done func(error)) {
	if s.failing.Load() {
		go done(errors.New("disk full"))
		return
	}
	s.Store.Commit(b, done)
}

// A QoS 2 message that could not be kept was not received.
func TestQoS2ThatCouldNotBeKept(t *testing.T) {
	t.Parallel()
	s := &failingStore{Store: store(t, t.TempDir())}
	h := open(t, with(s), standard)
	c, _ := h.connect("a", "c", true)
	s.failing.Store(true)
	c.send(qos2(1, "lost"))
	if code := c.answered(mqtt.TypePubrec, 1); code < 0x80 {
		t.Fatal("PUBREC claims that the message is safe")
	}
	s.failing.Store(false)
	sub, _ := h.connect("s", "sub", false)
	sub.subscribe("t", 1)
	c.send(qos2(1, "another"))
	if code := c.answered(mqtt.TypePubrec, 1); code >= 0x80 {
		t.Fatal(code)
	}
	sub.wants("t", "another")
}

// What a session kept is gone with it, though it was not to be kept any more.
func TestReceivedOfASessionThatIsNotKeptAnyMore(t *testing.T) {
	t.Parallel()
	s := store(t, t.TempDir())
	h := open(t, with(s), standard)
	c, _ := h.connect("a", "c", true)
	c.send(qos2(1, "x"))
	c.answered(mqtt.TypePubrec, 1)
	c, _ = h.connect("a", "c", true, func(p *mqtt.Connect) { p.Properties = nil })
	c.send(&mqtt.Ack{Type: mqtt.TypePubrel, ID: 1})
	c.answered(mqtt.TypePubcomp, 1)
	c.send(&mqtt.Disconnect{})
	c.ended()
	h.stop()
	if err := s.Scan(nil, nil, 0, func(k, _ []byte) error { return fmt.Errorf("left: %q", k) }); err != nil {
		t.Error(err)
	}
}

// A will is published once, restart or not, and its session ends when it was to.
func TestWillIsPublishedOnce(t *testing.T) {
	t.Parallel()
	s := store(t, t.TempDir())
	h := open(t, with(s))
	c, _ := h.connect("a", "c", true, func(p *mqtt.Connect) {
		p.HasWill, p.Will = true, mqtt.Will{Topic: []byte("will"), Retain: true, Payload: []byte("gone")}
		p.Will.Properties, _ = p.Will.Properties.Add(mqtt.Property{ID: mqtt.WillDelayInterval, Number: 60})
	})
	_ = c.conn.Close()
	for range 120 {
		h.clock.advance(time.Second)
		h.Nudge()
	}
	if _, err := h.Retained("will"); err != nil {
		t.Fatal(err)
	}
	if err := h.Publish(t.Context(), &broker.Message{Topic: "will", Retain: true}); err != nil {
		t.Fatal(err)
	}
	h.stop()
	now := h.clock.Now()
	h = open(t, with(s), func(c *broker.Config) { c.Now = func() time.Time { return now } })
	h.Nudge()
	h.Nudge()
	if r, err := h.Retained("will"); err == nil {
		t.Errorf("the will was published again: %+v", r)
	}
}

// A client that is denied all it asks for does not fill the log.
func TestDenialsDoNotFloodTheLog(t *testing.T) {
	t.Parallel()
	h := open(t)
	h.rules.deny("a iot:Publish *")
	c, _ := h.connect("a", "c", false)
	for i := range 300 {
		if code := c.publish(fmt.Sprint("t", i), "x"); code != uint8(mqtt.NotAuthorized) {
			t.Fatal(code)
		}
	}
	h.rules.mu.Lock()
	defer h.rules.mu.Unlock()
	if n := len(h.rules.denies); n != 100 {
		t.Errorf("%d lines", n)
	}
}

// In the standard profile, too, subscriptions are bounded: in number, in levels
// and in one packet.
func TestSubscriptionsAreBounded(t *testing.T) {
	t.Parallel()
	h := open(t, standard)
	c, _ := h.connect("a", "c", false)
	if code := c.subscribe("a"+strings.Repeat("/a", 1022)+"/+", 1); code != 1 {
		t.Errorf("a filter of 1024 levels: %#x", code)
	}
	for sent := 1; sent < 10_000; {
		p := &mqtt.Subscribe{ID: 1}
		for ; len(p.Subscriptions) < 1000 && sent < 10_000; sent++ {
			p.Subscriptions = append(p.Subscriptions, mqtt.Subscription{Filter: mqtt.Filter{Text: fmt.Append(nil, "t", sent)}})
		}
		c.send(p)
		if _, ok := c.read().(*mqtt.Suback); !ok {
			t.Fatal("no SUBACK")
		}
	}
	if code := c.subscribe("more", 1); code < 0x80 {
		t.Errorf("the 10,001st subscription: %#x", code)
	}
	c.send(&mqtt.Subscribe{ID: 1, Subscriptions: []mqtt.Subscription{{Filter: mqtt.Filter{Text: []byte(strings.Repeat("/", 1024))}}}})
	if _, ok := c.read().(*mqtt.Suback); ok {
		t.Error("a filter of 1025 levels is taken")
	}
}
