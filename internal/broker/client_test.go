package broker_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/broker"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// rules are access rules that a test changes: what is denied, by certificate,
// action and name; "*" stands for any.
type rules struct {
	mu     sync.Mutex // guards the fields below
	denied map[string]bool
	gone   map[string]bool
	denies []string
	asked  int
}

func newRules() *rules { return &rules{denied: map[string]bool{}, gone: map[string]bool{}} }

func (r *rules) deny(words ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range words {
		r.denied[w] = true
	}
}

func (r *rules) revoke(certificate string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone[certificate] = true
}

// Principal implements broker.Access.
func (r *rules) Principal(_ context.Context, p *broker.Peer, clientID string) (broker.Principal, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone[string(p.Certificate)] {
		return nil, iot.Errorf(iot.KindDenied, "certificate", "revoked")
	}
	return &ruled{r, string(p.Certificate), clientID}, nil
}

type ruled struct {
	rules       *rules
	certificate string
	client      string
}

func (p *ruled) ID() string            { return p.certificate }
func (p *ruled) Thing() (string, bool) { return p.client, false }

func (p *ruled) Decide(q *broker.Request) broker.Verdict {
	r := p.rules
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	no := r.denied[fmt.Sprintf("%s %s %s", p.certificate, q.Action, q.Name)] || r.denied[fmt.Sprintf("%s %s *", p.certificate, q.Action)]
	return broker.Verdict{Allowed: !no, Lasting: true}
}

func (p *ruled) Deny(q *broker.Request, reason string) {
	r := p.rules
	r.mu.Lock()
	defer r.mu.Unlock()
	r.denies = append(r.denies, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", p.certificate, q.Action, q.Name, reason)))
}

// house is a broker under test.
type house struct {
	*broker.Broker
	tb    testing.TB
	addr  string
	clock *fakeClock
	rules *rules
	stop  func()
	cert  string
	mu    sync.Mutex // guards cert
}

// open runs a broker until the test ends.
func open(tb testing.TB, change ...func(*broker.Config)) *house {
	tb.Helper()
	h := &house{tb: tb, clock: &fakeClock{now: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)}, rules: newRules(), cert: "cert"}
	cfg := broker.Config{
		Profile: broker.AWS, Limits: broker.AWSLimits(), Loops: 2, Access: h.rules,
		Logger: slog.New(slog.DiscardHandler), Now: h.clock.Now, Rand: rand.Reader,
	}
	cfg.Limits.ConnectRate = 0
	for _, c := range change {
		c(&cfg)
	}
	var err error
	h.Broker, err = broker.New(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	h.addr = l.Addr().String()
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			h.mu.Lock()
			p := broker.Peer{SourceIP: "127.0.0.1", Certificate: iot.CertificateID(h.cert)}
			h.mu.Unlock()
			h.Attach(c, broker.Attachment{Peer: p})
		}
	})
	h.stop = sync.OnceFunc(func() {
		_ = l.Close()
		wg.Wait()
		if err := h.Close(); err != nil {
			tb.Error(err)
		}
	})
	tb.Cleanup(h.stop)
	return h
}

// client is a device.
type client struct {
	tb      testing.TB
	conn    net.Conn
	version mqtt.Version
	in      []byte
	id      uint16
}

// dial connects without a CONNECT, as the owner of a certificate.
func (h *house) dial(certificate string) *client {
	h.tb.Helper()
	h.mu.Lock()
	h.cert = certificate
	h.mu.Unlock()
	c, err := new(net.Dialer).DialContext(h.tb.Context(), "tcp", h.addr)
	if err != nil {
		h.tb.Fatal(err)
	}
	h.tb.Cleanup(func() { _ = c.Close() })
	return &client{tb: h.tb, conn: c, version: mqtt.V5}
}

// connect connects with MQTT 5; a session is kept for an hour where keep is set.
func (h *house) connect(certificate, id string, keep bool, change ...func(*mqtt.Connect)) (*client, mqtt.Connack) {
	h.tb.Helper()
	c := h.dial(certificate)
	p := &mqtt.Connect{Version: mqtt.V5, ClientID: []byte(id), CleanStart: !keep, KeepAlive: 600}
	if keep {
		p.Properties, _ = p.Properties.Add(mqtt.Property{ID: mqtt.SessionExpiryInterval, Number: 3600})
	}
	for _, f := range change {
		f(p)
	}
	c.version = p.Version
	c.send(p)
	ack, ok := c.read().(*mqtt.Connack)
	if !ok {
		h.tb.Fatal("no CONNACK")
	}
	return c, *ack
}

func (c *client) send(p mqtt.Packet) {
	c.tb.Helper()
	b, err := p.Append(nil, c.version)
	if err != nil {
		c.tb.Fatal(err)
	}
	c.write(b)
}

func (c *client) write(b []byte) {
	c.tb.Helper()
	_ = c.conn.SetWriteDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.conn.Write(b); err != nil {
		c.tb.Fatal(err)
	}
}

// read returns the next packet, nil at the end.
func (c *client) read() mqtt.Packet {
	c.tb.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	p, err := c.next()
	if err != nil {
		c.tb.Fatal(err)
	}
	return p
}

func (c *client) next() (mqtt.Packet, error) {
	for {
		n, err := mqtt.Frame(c.in, 0)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			frame := bytes.Clone(c.in[:n])
			c.in = c.in[n:]
			p := mqtt.New(mqtt.TypeOf(frame))
			return p, p.Decode(&mqtt.Decoder{Version: c.version, From: mqtt.Server}, frame)
		}
		var b [4096]byte
		n, err = c.conn.Read(b[:])
		if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
			return nil, err
		}
		if err != nil {
			return nil, nil //nolint:nilerr // the end
		}
		c.in = append(c.in, b[:n]...)
	}
}

// quiet fails if anything but the end of the connection comes soon.
func (c *client) quiet() {
	c.tb.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if p, err := c.next(); err == nil && p != nil {
		c.tb.Fatalf("came: %+v", p)
	}
}

// ended waits for the end and returns the code of the DISCONNECT before it, 0 for none.
func (c *client) ended() uint8 {
	c.tb.Helper()
	code := mqtt.ReasonCode(0)
	for {
		switch p := c.read().(type) {
		case nil:
			return uint8(code)
		case *mqtt.Disconnect:
			code = p.Code
		}
	}
}

func (c *client) subscribe(filter string, qos mqtt.QoS) uint8 {
	c.tb.Helper()
	c.id++
	c.send(&mqtt.Subscribe{ID: c.id, Subscriptions: []mqtt.Subscription{{
		Filter: mqtt.Filter{Text: []byte(filter)}, Options: mqtt.SubscribeOptions(qos),
	}}})
	ack, ok := c.read().(*mqtt.Suback)
	if !ok {
		c.tb.Fatal("no SUBACK")
	}
	return uint8(ack.Codes[0])
}

// publish publishes with QoS 1 and returns the code of the answer.
func (c *client) publish(topic, payload string, change ...func(*mqtt.Publish)) uint8 {
	c.tb.Helper()
	c.id++
	p := &mqtt.Publish{QoS: 1, ID: c.id, Topic: []byte(topic), Payload: []byte(payload)}
	for _, f := range change {
		f(p)
	}
	c.send(p)
	ack, ok := c.read().(*mqtt.Ack)
	if !ok || ack.ID != c.id {
		c.tb.Fatalf("no PUBACK of %d: %+v", c.id, ack)
	}
	return uint8(ack.Code)
}

// receive returns the next message, and acknowledges it.
func (c *client) receive() *mqtt.Publish {
	c.tb.Helper()
	p, ok := c.read().(*mqtt.Publish)
	if !ok {
		c.tb.Fatal("no PUBLISH")
	}
	if p.QoS == 1 {
		c.write(mqtt.AppendAck(nil, mqtt.TypePuback, p.ID))
	}
	return p
}

func (c *client) wants(topic, payload string) {
	c.tb.Helper()
	if p := c.receive(); string(p.Topic) != topic || string(p.Payload) != payload {
		c.tb.Fatalf("received %s %q, want %s %q", p.Topic, p.Payload, topic, payload)
	}
}
