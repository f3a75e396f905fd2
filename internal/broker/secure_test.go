package broker

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"testing"
	"time"
)

func serverConfig(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{
		Certificates:           []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		SessionTicketsDisabled: true, MinVersion: tls.VersionTLS12,
	}
}

// handshake returns both ends of a TLS connection over a watched socket.
func handshake(t *testing.T, client *tls.Config) (near, far *tls.Conn) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	client.InsecureSkipVerify = true
	near = tls.Client(c, client)
	gate := NewGate(1)
	socket := NewSocket(s, gate)
	far = tls.Server(socket, socket.Watch(serverConfig(t)))
	done := make(chan error, 1)
	go func() { done <- near.HandshakeContext(t.Context()) }()
	gate.Enter()
	err = far.HandshakeContext(t.Context())
	gate.Leave()
	socket.Ungate()
	if err = errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	_ = near.SetDeadline(time.Now().Add(10 * time.Second))
	return near, far
}

func newTestBroker(t *testing.T, cfg Config) *Broker {
	t.Helper()
	cfg.Limits, cfg.Loops, cfg.Logger, cfg.Now, cfg.Rand = AWSLimits(), 1, slog.New(slog.DiscardHandler), time.Now, rand.Reader
	b, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// TestSecured has what can be carried on by records of our own so, and the
// rest by crypto/tls: and what came with the handshake is not lost.
func TestSecured(t *testing.T) {
	t.Parallel()
	if !pollable {
		return // nothing is parked
	}
	chacha := &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256}}
	for name, tc := range map[string]struct {
		client *tls.Config
		cfg    Config
		read   bool // before it is parked
		lean   bool
	}{
		"1.3":       {client: &tls.Config{}, lean: true},
		"1.2":       {client: &tls.Config{MaxVersion: tls.VersionTLS12}, lean: true},
		"ChaCha20":  {client: chacha},
		"stock":     {client: &tls.Config{}, cfg: Config{StockTLS: true}},
		"stock 1.2": {client: &tls.Config{MaxVersion: tls.VersionTLS12}, cfg: Config{StockTLS: true}},
		"read":      {client: &tls.Config{}, read: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			near, far := handshake(t, tc.client)
			b := newTestBroker(t, tc.cfg)
			if tc.read {
				_, _ = near.Write([]byte("x"))
				_, _ = io.ReadFull(far, make([]byte, 1))
			}
			c := &conn{loop: &loop{b: b}}
			if !b.park(c, far) {
				t.Fatal("not parked")
			}
			if _, ok := c.tls.(lean); ok != tc.lean {
				t.Fatalf("carried on by a %T", c.tls)
			}
			exchange(t, near, c)
			c.tls.closeWrite(c.loop)
			c.writeCipher()
			if _, err := near.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("after close_notify: %v", err)
			}
			_ = near.CloseWrite()
			if _, err := await(c); !errors.Is(err, io.EOF) {
				t.Errorf("after the peer's close_notify: %v", err)
			}
		})
	}
}

// await reads until something comes.
func await(c *conn) (string, error) {
	b := make([]byte, readSize)
	for {
		n, err := c.tls.read(c, b)
		if !isAgain(err) {
			return string(b[:n]), err
		}
		time.Sleep(time.Millisecond)
	}
}

func exchange(t *testing.T, near *tls.Conn, c *conn) {
	t.Helper()
	_, err := near.Write([]byte("ping"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := await(c); got != "ping" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
	if err := c.tls.seal(c.loop, []byte("pong")); err != nil {
		t.Fatal(err)
	}
	c.writeCipher()
	b := make([]byte, 4)
	if _, err := io.ReadFull(near, b); string(b) != "pong" || err != nil {
		t.Fatalf("%q, %v", b, err)
	}
}

// TestUnwatched are connections that are not parked: crypto/tls reads on where
// the handshake has ended, what came with it first.
func TestUnwatched(t *testing.T) {
	t.Parallel()
	near, far := handshake(t, &tls.Config{})
	unwatch(far)
	if s := far.NetConn().(*Socket); s.watch != nil {
		t.Error("secrets are kept")
	}
	_, _ = near.Write([]byte("ping"))
	b := make([]byte, 4)
	if _, err := io.ReadFull(far, b); string(b) != "ping" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}
