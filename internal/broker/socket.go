package broker

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sekisho-iot/sekisho/internal/tlsrecord"
)

// Gate bounds how many handshakes use a processor at the same time. A
// handshake is outside while it waits for its peer.
type Gate chan struct{}

// NewGate returns a gate for n.
func NewGate(n int) Gate { return make(Gate, n) }

// Enter waits for a place.
func (g Gate) Enter() { g <- struct{}{} }

// Leave gives the place back.
func (g Gate) Leave() { <-g }

// Socket is a TCP connection under a TLS one. Until it is parked it is that
// TCP connection; then it is a bare descriptor that never blocks: reads answer
// errAgain, and writes are collected for the event loop.
type Socket struct {
	net.Conn
	gate   Gate // nil for none
	parked atomic.Bool
	fd     int
	out    *[]byte              // where ciphertext goes; the loop's
	watch  *tlsrecord.Handshake // nil for none
	early  []byte               // what is to be read first
	done   bool                 // the handshake is over
}

// NewSocket returns a socket over c. Who runs the handshake has entered the
// gate, which the socket leaves while it waits for its peer; nil means none.
func NewSocket(c net.Conn, gate Gate) *Socket { return &Socket{Conn: c, gate: gate, fd: -1} }

// Ungate ends the part of the gate in the socket's life: its handshake is done.
func (s *Socket) Ungate() { s.gate, s.done = nil, true }

// Watch returns the Config for the handshake of this connection alone, during
// which the socket learns what a parked connection goes on with (tlsrecord).
func (s *Socket) Watch(c *tls.Config) *tls.Config {
	s.watch = new(tlsrecord.Handshake)
	c = c.Clone()
	c.KeyLogWriter = s.watch
	return c
}

// Unwatch forgets what was learned: crypto/tls carries the connection on.
func (s *Socket) Unwatch() {
	if s.watch != nil {
		s.early = s.watch.Wipe()
		s.watch = nil
	}
}

// again is what a read of a parked socket answers where there is nothing. To
// crypto/tls it is a passing failure, after which a connection may be read on.
type again struct{}

func (again) Error() string   { return "nothing to read yet" }
func (again) Timeout() bool   { return true }
func (again) Temporary() bool { return true }

// Read implements net.Conn.
func (s *Socket) Read(b []byte) (int, error) {
	if s.done {
		s.Unwatch() // who reads it is crypto/tls
	}
	if len(s.early) > 0 {
		n := copy(b, s.early)
		s.early = s.early[n:]
		return n, nil
	}
	if s.watch != nil {
		return s.watch.Read(b, (*unwatched)(s))
	}
	return (*unwatched)(s).Read(b)
}

// unwatched is a socket under what watches it.
type unwatched Socket

// Read implements io.Reader.
func (s *unwatched) Read(b []byte) (int, error) {
	if s.parked.Load() {
		return readFD(s.fd, b)
	}
	if s.gate == nil {
		return s.Conn.Read(b)
	}
	s.gate.Leave()
	defer s.gate.Enter()
	return s.Conn.Read(b)
}

// Write implements net.Conn.
func (s *Socket) Write(b []byte) (int, error) {
	if s.watch != nil {
		if s.done {
			s.Unwatch()
		} else {
			s.watch.Sent(b)
		}
	}
	if !s.parked.Load() {
		return s.Conn.Write(b)
	}
	if s.out == nil {
		return 0, os.ErrClosed
	}
	*s.out = append(*s.out, b...)
	return len(b), nil
}

// Close implements net.Conn. The descriptor of a parked socket is the loop's to close.
func (s *Socket) Close() error {
	if s.done {
		s.Unwatch()
	}
	if s.parked.Load() {
		return nil
	}
	return s.Conn.Close()
}

// SetDeadline implements net.Conn, as the three below: a parked socket never
// blocks, and has no deadlines.
func (s *Socket) SetDeadline(t time.Time) error {
	if s.parked.Load() {
		return nil
	}
	return s.Conn.SetDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (s *Socket) SetReadDeadline(t time.Time) error {
	if s.parked.Load() {
		return nil
	}
	return s.Conn.SetReadDeadline(t)
}

// SetWriteDeadline implements net.Conn.
func (s *Socket) SetWriteDeadline(t time.Time) error {
	if s.parked.Load() {
		return nil
	}
	return s.Conn.SetWriteDeadline(t)
}

// errNoDescriptor says that a connection has none that could be polled.
var errNoDescriptor = errors.New("the connection has no descriptor")

// detach takes the descriptor out of the hands of package net.
func detach(c net.Conn) (fd int, err error) {
	f, ok := c.(syscall.Conn)
	if !ok {
		return -1, errNoDescriptor
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd = -1
	var failed error
	err = raw.Control(func(old uintptr) { fd, failed = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(err, failed); err != nil {
		return -1, err
	}
	return fd, c.Close()
}

// readFD reads what is there: again{} for nothing, io.EOF at the end.
func readFD(fd int, b []byte) (int, error) {
	for {
		n, err := unix.Read(fd, b)
		switch {
		case n > 0:
			return n, nil
		case err == nil:
			return 0, io.EOF
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return 0, again{}
		default:
			return 0, err
		}
	}
}
