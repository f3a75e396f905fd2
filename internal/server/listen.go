package server

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/sekisho-iot/sekisho/internal/broker"
)

const (
	firstByteTimeout = 10 * time.Second
	crowdedTimeout   = time.Second // likewise, while half of the places are taken
	maxUndecided     = 1024        // connections that have not sent their first byte
	tlsRecordType    = 0x16        // a TLS handshake record
)

// splitListener serves HTTP and HTTPS on one port, told apart by the first byte.
type splitListener struct {
	net.Listener
	tls         *tls.Config
	refusePlain bool

	conns  chan net.Conn
	slots  chan struct{}
	ctx    context.Context //nolint:containedctx // ends with the listener, whose Accept has no context of its own
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
}

func newSplitListener(l net.Listener, conf *tls.Config, refusePlain bool) *splitListener {
	ctx, cancel := context.WithCancelCause(context.Background())
	s := &splitListener{
		Listener: l, tls: conf, refusePlain: refusePlain,
		conns: make(chan net.Conn), slots: make(chan struct{}, min(maxUndecided, connLimit()/2)),
		ctx: ctx, cancel: cancel,
	}
	s.wg.Go(s.acceptLoop)
	return s
}

func (s *splitListener) acceptLoop() {
	failures := 0
	for {
		c, err := s.Listener.Accept()
		if err != nil && passing(err) && pause(s.ctx, &failures) {
			continue
		}
		if err != nil {
			s.cancel(err)
			return
		}
		failures = 0
		select {
		case s.slots <- struct{}{}:
		case <-s.ctx.Done():
			_ = c.Close()
			return
		}
		s.wg.Go(func() {
			defer func() { <-s.slots }()
			s.decide(c)
		})
	}
}

// passing reports whether accepting may work again: a flood of connections
// takes the last file descriptor, and gives it back.
func passing(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// pause waits a little longer after every failure in a row, and reports whether
// ctx goes on.
func pause(ctx context.Context, failures *int) bool {
	t := time.NewTimer(min(5*time.Millisecond<<min(*failures, 8), time.Second))
	defer t.Stop()
	*failures++
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// decide reads the first byte and hands the connection on.
func (s *splitListener) decide(c net.Conn) {
	stop := context.AfterFunc(s.ctx, func() { _ = c.Close() })
	defer stop()
	var first [1]byte
	patience := firstByteTimeout
	if len(s.slots) > cap(s.slots)/2 {
		patience = crowdedTimeout
	}
	_ = c.SetReadDeadline(deadline(patience))
	if n, err := c.Read(first[:]); n != 1 || err != nil {
		_ = c.Close()
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		_ = c.Close()
		return
	}
	var out net.Conn = &peekedConn{TCPConn: tcp, first: first[0], pending: true}
	switch {
	case first[0] == tlsRecordType:
		// Over a socket that the broker can park, if it becomes a WebSocket.
		out = tls.Server(broker.NewSocket(out, nil), s.tls)
	case s.refusePlain:
		_ = c.SetDeadline(deadline(firstByteTimeout))
		_, _ = c.Write([]byte(plainRefusal))
		_ = c.Close()
		return
	}
	select {
	case s.conns <- out:
	case <-s.ctx.Done():
		_ = c.Close()
	}
}

const plainRefusal = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n" +
	"This port speaks HTTPS; plain HTTP is served only on loopback, or with --insecure-http.\n"

// deadline is a moment on the network's clock, which is the kernel's and never a test's.
func deadline(d time.Duration) time.Time {
	return time.Now().Add(d) //nolint:forbidigo // socket deadlines are wall-clock
}

// Accept returns the next connection whose kind is known: *tls.Conn or plain.
func (s *splitListener) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.ctx.Done():
		return nil, context.Cause(s.ctx)
	}
}

// Close stops accepting and waits for the connections that are undecided.
func (s *splitListener) Close() error {
	s.cancel(net.ErrClosed)
	err := s.Listener.Close()
	s.wg.Wait()
	return err
}

// peekedConn gives the first byte back. It embeds the TCP connection so that
// net/http still finds ReadFrom, and with it sendfile, and the broker File.
type peekedConn struct {
	*net.TCPConn
	first   byte
	pending bool
}

// Read returns the byte that was peeked, then what follows.
func (p *peekedConn) Read(b []byte) (int, error) {
	if p.pending && len(b) > 0 {
		p.pending = false
		b[0] = p.first
		return 1, nil
	}
	return p.TCPConn.Read(b)
}
