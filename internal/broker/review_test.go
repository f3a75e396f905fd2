package broker_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/broker"
	"github.com/sekisho-iot/sekisho/internal/mqtt"
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
			time.Sleep(time.Millisecond) //nolint:forbidigo // see above
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
	client := tls.Client(raw, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // a test's certificate
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
