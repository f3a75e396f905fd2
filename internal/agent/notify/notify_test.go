package notify_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/packets"

	"github.com/sekisho-iot/sekisho/internal/agent/notify"
)

// broker is a server that takes what it is sent, and behaves by its hooks.
type broker struct {
	t     *testing.T
	tls   *tls.Config
	trust *x509.CertPool

	// wrap changes the client's end of connection n, counted from 1.
	wrap func(n int, c net.Conn) net.Conn
	// mute reports whether a message of connection n is not to be acknowledged.
	mute func(n int) bool

	group sync.WaitGroup
	mu    sync.Mutex // guards what follows
	conns []net.Conn
	got   []string // payloads, as often as they came
}

func newBroker(t *testing.T) *broker {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "broker"}, DNSNames: []string{"broker"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1e6 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	b := &broker{t: t, tls: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, trust: x509.NewCertPool()}
	b.trust.AddCert(cert)
	return b
}

func (b *broker) dial(context.Context, string) (net.Conn, error) {
	client, server := net.Pipe()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.conns = append(b.conns, server)
	n := len(b.conns)
	b.group.Go(func() { b.serve(n, tls.Server(server, b.tls)) })
	if b.wrap != nil {
		return b.wrap(n, client), nil
	}
	return client, nil
}

func (b *broker) serve(n int, c net.Conn) {
	defer c.Close() //nolint:errcheck // a pipe
	for {
		p, err := packets.ReadPacket(c)
		if err != nil {
			return
		}
		var answer *packets.ControlPacket
		switch p.Type {
		case packets.CONNECT:
			answer = packets.NewControlPacket(packets.CONNACK)
		case packets.PINGREQ:
			answer = packets.NewControlPacket(packets.PINGRESP)
		case packets.PUBLISH:
			m := p.Content.(*packets.Publish) //nolint:forcetypeassert // it is one
			b.mu.Lock()
			b.got = append(b.got, string(m.Payload[:min(10, len(m.Payload))]))
			b.mu.Unlock()
			if b.mute != nil && b.mute(n) {
				continue
			}
			answer = packets.NewControlPacket(packets.PUBACK)
			answer.Content.(*packets.Puback).PacketID = m.PacketID //nolint:forcetypeassert // it is one
		default:
			return
		}
		if _, err := answer.WriteTo(c); err != nil {
			return
		}
	}
}

// run calls f with a Notifier that speaks to the broker.
func run(t *testing.T, change func(*broker), f func(b *broker, n *notify.Notifier)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t)
		if change != nil {
			change(b)
		}
		n := notify.New(notify.Config{Address: "broker:8883", ClientID: "camera", TLS: &tls.Config{RootCAs: b.trust}, Dial: b.dial})
		f(b, n)
		if err := n.Close(t.Context()); err != nil {
			t.Error(err)
		}
		b.group.Wait()
		time.Sleep(time.Hour) // for timers of paho's
	})
}

func publish(t *testing.T, n *notify.Notifier, patience time.Duration, payload string) (time.Duration, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	begun := time.Now()
	err := n.Publish(ctx, "file/upload", []byte(payload))
	return time.Since(begun), err
}

func (b *broker) heard() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.got, " ")
}

func TestPublish(t *testing.T) {
	t.Parallel()
	run(t, nil, func(b *broker, n *notify.Notifier) {
		t := b.t
		for _, m := range []string{"one", "two"} {
			if _, err := publish(t, n, 30*time.Second, m); err != nil {
				t.Error(err)
			}
		}
		if b.heard() != "one two" || len(b.conns) != 1 {
			t.Errorf("%s over %d connections", b.heard(), len(b.conns))
		}
	})
}

// A peer that says nothing more, on a connection that stays open.
func TestSilence(t *testing.T) {
	t.Parallel()
	run(t, func(b *broker) { b.mute = func(n int) bool { return n == 1 } }, func(b *broker, n *notify.Notifier) {
		t := b.t
		took, err := publish(t, n, 16*time.Second, "one")
		if err == nil || !strings.Contains(err.Error(), "acknowledgement") || took < 14*time.Second || took > 20*time.Second {
			t.Errorf("%v after %v", err, took)
		}
		if took, err = publish(t, n, 16*time.Second, "one"); err != nil || took > 5*time.Second {
			t.Errorf("again: %v after %v", err, took)
		}
		if b.heard() != "one one" || len(b.conns) != 2 {
			t.Errorf("%s over %d connections", b.heard(), len(b.conns))
		}
	})
}

// slow is a connection that takes a second for each kilobyte.
type slow struct {
	net.Conn
	on     *atomic.Bool
	closed chan struct{}
}

func (s slow) Close() error {
	close(s.closed)
	return s.Conn.Close()
}

func (s slow) Write(b []byte) (int, error) {
	if !s.on.Load() {
		return s.Conn.Write(b)
	}
	select {
	case <-time.After(time.Duration(len(b)) * time.Second / 1024):
		return s.Conn.Write(b)
	case <-s.closed:
		return 0, net.ErrClosed
	}
}

// slowly makes connections slow once on is set. The first message and the first
// ping must be over by then: what waits for a mutex would stop the test's clock.
func slowly(on *atomic.Bool) func(*broker) {
	return func(b *broker) {
		b.wrap = func(_ int, c net.Conn) net.Conn { return slow{c, on, make(chan struct{})} }
	}
}

// A message that takes longer than the patience is sent once all the same.
func TestSlow(t *testing.T) {
	t.Parallel()
	var on atomic.Bool
	run(t, slowly(&on), func(b *broker, n *notify.Notifier) {
		t := b.t
		if _, err := publish(t, n, 30*time.Second, "first"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		on.Store(true)
		took, err := publish(t, n, 30*time.Second, strings.Repeat("0123456789", 5000))
		if err != nil || took < 40*time.Second {
			t.Errorf("%v after %v", err, took)
		}
		if b.heard() != "first 0123456789" {
			t.Errorf("it was sent as %s", b.heard())
		}
	})
}

// broken is a connection that cannot be written to from some write on, while its
// other direction is open.
type broken struct {
	net.Conn
	good *int
}

var errBroken = errors.New("broken")

func (b broken) Write(p []byte) (int, error) {
	if *b.good--; *b.good < 0 {
		return 0, errBroken
	}
	return b.Conn.Write(p)
}

func TestBrokenWrite(t *testing.T) {
	t.Parallel()
	first := func(b *broker) {
		b.wrap = func(n int, c net.Conn) net.Conn {
			good := 1000
			if n == 1 {
				good = 5 // handshake, CONNECT, the first ping
			}
			return broken{c, &good}
		}
	}
	run(t, first, func(b *broker, n *notify.Notifier) {
		t := b.t
		for i := range 20 {
			took, err := publish(t, n, 30*time.Second, "m")
			if took > 3*time.Second {
				t.Errorf("message %d took %v: %v", i, took, err)
			}
		}
		if len(b.conns) != 2 {
			t.Errorf("%d connections", len(b.conns))
		}
	})
}

// The end of the connection before the acknowledgement is known at once.
func TestLost(t *testing.T) {
	t.Parallel()
	run(t, func(b *broker) { b.mute = func(n int) bool { return n == 1 } }, func(b *broker, n *notify.Notifier) {
		t := b.t
		time.AfterFunc(2*time.Second, func() { _ = b.conns[0].Close() })
		if took, err := publish(t, n, 30*time.Second, "one"); err == nil || took > 3*time.Second {
			t.Errorf("%v after %v", err, took)
		}
		if took, err := publish(t, n, 30*time.Second, "one"); err != nil || took > 5*time.Second {
			t.Errorf("again: %v after %v", err, took)
		}
	})
}

// One that is told to stop does not wait.
func TestStop(t *testing.T) {
	t.Parallel()
	run(t, func(b *broker) { b.mute = func(int) bool { return true } }, func(b *broker, n *notify.Notifier) {
		t := b.t
		ctx, stop := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, stop)
		begun := time.Now()
		if err := n.Publish(ctx, "file/upload", []byte("one")); !errors.Is(err, context.Canceled) || time.Since(begun) > 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
	})
}

// Two that use one client ID end each other's connections, which must not be all
// that they do.
func TestFight(t *testing.T) {
	t.Parallel()
	run(t, nil, func(b *broker, n *notify.Notifier) {
		t := b.t
		if _, err := publish(t, n, 30*time.Second, "one"); err != nil {
			t.Error(err)
		}
		begun := time.Now()
		for time.Since(begun) < time.Minute {
			b.mu.Lock()
			for _, c := range b.conns {
				_ = c.Close()
			}
			b.mu.Unlock()
			time.Sleep(10 * time.Millisecond)
		}
		if count := len(b.conns); count < 30 || count > 90 {
			t.Errorf("%d connections in a minute", count)
		}
	})
}

// One that is told to stop in the middle of a long message does not finish it.
func TestStopSlow(t *testing.T) {
	t.Parallel()
	var on atomic.Bool
	run(t, slowly(&on), func(b *broker, n *notify.Notifier) {
		t := b.t
		if _, err := publish(t, n, 30*time.Second, "first"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		on.Store(true)
		ctx, stop := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, stop)
		begun := time.Now()
		err := n.Publish(ctx, "file/upload", make([]byte, 100<<10))
		if !errors.Is(err, context.Canceled) || time.Since(begun) > 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
	})
}
