//go:build bench

package bench_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// link is the TCP connection of a client. Parked, it is a bare descriptor that
// the load generator polls: reads answer emptyError, writes are collected.
type link struct {
	*net.TCPConn
	fd  int    // -1 until it is parked
	in  []byte // read and not yet taken; TLS reads its records in small pieces
	buf []byte
	out []byte
}

type emptyError struct{}

func (emptyError) Error() string   { return "nothing to read" }
func (emptyError) Timeout() bool   { return true }
func (emptyError) Temporary() bool { return true }

func (l *link) Read(b []byte) (int, error) {
	if l.fd < 0 {
		return l.TCPConn.Read(b)
	}
	if len(l.in) == 0 {
		n, err := readRaw(l.fd, l.buf)
		if err != nil {
			return 0, err
		}
		l.in = l.buf[:n]
	}
	n := copy(b, l.in)
	l.in = l.in[n:]
	return n, nil
}

func readRaw(fd int, b []byte) (int, error) {
	for {
		n, err := unix.Read(fd, b)
		switch {
		case n > 0:
			return n, nil
		case err == nil:
			return 0, io.EOF
		case errors.Is(err, unix.EAGAIN):
			return 0, emptyError{}
		case !errors.Is(err, unix.EINTR):
			return 0, err
		}
	}
}

func (l *link) Write(b []byte) (int, error) {
	if l.fd < 0 {
		return l.TCPConn.Write(b)
	}
	l.out = append(l.out, b...)
	return len(b), nil
}

func (l *link) Close() error {
	if l.fd < 0 {
		return l.TCPConn.Close()
	}
	return unix.Close(l.fd)
}

// client is one MQTT connection.
type client struct {
	id   string
	link *link
	conn net.Conn // link, or TLS over it
}

// session says how a client connects.
type session struct {
	thing      int // of the fleet: its name is the client ID
	persistent bool
}

// dial connects, and returns once the CONNACK has come.
func (t *target) dial(ctx context.Context, s session) (*client, error) {
	c, err := t.open(ctx, s.thing)
	if err != nil {
		return nil, fmt.Errorf("%s: connect: %w", t.name, err)
	}
	if err := c.connect(s); err != nil {
		_ = c.conn.Close()
		return nil, fmt.Errorf("%s: %s: %w", t.name, c.id, err)
	}
	return c, nil
}

// open makes the TCP and the TLS connection. Source addresses differ, so that
// no pair of addresses runs out of ports.
func (t *target) open(ctx context.Context, thing int) (*client, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+thing%16))}}
	tcp, err := d.DialContext(ctx, "tcp", t.addr)
	if err != nil {
		return nil, err
	}
	c := &client{id: thingName(thing), link: &link{TCPConn: tcp.(*net.TCPConn), fd: -1}}
	c.conn = c.link
	if t.certificate == nil {
		return c, nil
	}
	secure := tls.Client(c.link, t.tls(thing))
	c.conn = secure
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = tcp.Close()
		return nil, err
	}
	return c, nil
}

// tls is what a device speaks: classical key exchange, as mosquitto's OpenSSL does.
func (t *target) tls(thing int) *tls.Config {
	return &tls.Config{
		RootCAs: t.roots, ServerName: "localhost", MinVersion: tls.VersionTLS13,
		Certificates: []tls.Certificate{t.certificate(thing)}, DynamicRecordSizingDisabled: true,
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256},
	}
}

func (c *client) connect(s session) error {
	p := mqtt.Connect{Version: mqtt.V311, CleanStart: !s.persistent, ClientID: []byte(c.id), KeepAlive: 1200}
	var ack mqtt.Connack
	if err := c.exchange(&p, &ack); err != nil {
		return err
	}
	if ack.Code != 0 {
		return errors.New("CONNACK: " + fmt.Sprintf("%#x", byte(ack.Code)))
	}
	return nil
}

func (c *client) subscribe(filter string, qos mqtt.QoS) error {
	f, err := mqtt.ParseFilter([]byte(filter), &mqtt.Limits{})
	if err != nil {
		return err
	}
	p := mqtt.Subscribe{ID: 1, Subscriptions: []mqtt.Subscription{{Filter: f, Options: mqtt.SubscribeOptions(qos)}}}
	var ack mqtt.Suback
	if err := c.exchange(&p, &ack); err != nil {
		return fmt.Errorf("%s: subscribe: %w", c.id, err)
	}
	if ack.Codes[0].Failed() {
		return errors.New(c.id + ": SUBACK for " + filter + ": " + fmt.Sprintf("%#x", byte(ack.Codes[0])))
	}
	return nil
}

// exchange sends a packet and reads the one that answers it.
func (c *client) exchange(p, answer mqtt.Packet) error {
	b, err := p.Append(nil, mqtt.V311)
	if err != nil {
		return err
	}
	if err := c.link.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	if _, err := c.conn.Write(b); err != nil {
		return err
	}
	var buf [256]byte
	for n := 0; ; {
		k, err := c.conn.Read(buf[n:])
		if err != nil {
			return err
		}
		n += k
		end, err := mqtt.Frame(buf[:n], len(buf))
		if err != nil {
			return err
		}
		if end == n {
			return answer.Decode(&mqtt.Decoder{Version: mqtt.V311, From: mqtt.Server}, buf[:n])
		}
		if end > 0 {
			return errors.New("more packets than were asked for")
		}
	}
}

// bye sends DISCONNECT and waits for the server to close.
func (c *client) bye() error {
	_ = c.link.SetDeadline(time.Now().Add(5 * time.Second))
	_, err := c.conn.Write([]byte{byte(mqtt.TypeDisconnect) << 4, 0})
	if err == nil {
		// An end of TLS that was not announced is an end as well.
		_, _ = io.Copy(io.Discard, c.conn)
	}
	_ = c.link.Close()
	return err
}

// park takes the descriptor from package net.
func (c *client) park() error {
	f, err := c.link.File()
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // a duplicate
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	_ = c.link.SetDeadline(time.Time{})
	_ = c.link.TCPConn.Close()
	c.link.fd, c.link.buf = fd, make([]byte, 64<<10)
	return unix.SetNonblock(fd, true)
}

// each runs f for 0 to n-1, some at a time, until one fails.
func each(ctx context.Context, n, workers int, f func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range next {
				if err := f(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := 0; i < n && ctx.Err() == nil; i++ {
		next <- i
	}
	close(next)
	wg.Wait()
	return context.Cause(ctx)
}

func thingName(i int) string { return fmt.Sprintf("thing-%05d", i) }

// rootsOf reads a PEM file's certificates.
func rootsOf(pem []byte) *x509.CertPool {
	p := x509.NewCertPool()
	p.AppendCertsFromPEM(pem)
	return p
}
