package broker

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
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
	out    *[]byte // where ciphertext goes; the loop's
}

// NewSocket returns a socket over c. Who runs the handshake has entered the
// gate, which the socket leaves while it waits for its peer; nil means none.
func NewSocket(c net.Conn, gate Gate) *Socket { return &Socket{Conn: c, gate: gate, fd: -1} }

// Ungate ends the part of the gate in the socket's life: its handshake is done.
func (s *Socket) Ungate() { s.gate = nil }

// again is what a read of a parked socket answers where there is nothing. To
// crypto/tls it is a passing failure, after which a connection may be read on.
type again struct{}

func (again) Error() string   { return "nothing to read yet" }
func (again) Timeout() bool   { return true }
func (again) Temporary() bool { return true }

// Read implements net.Conn.
func (s *Socket) Read(b []byte) (int, error) {
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
	if s.parked.Load() {
		return nil
	}
	return s.Conn.Close()
}

// SetDeadline implements net.Conn. A parked socket never blocks, and has none;
// crypto/tls sets one before it says goodbye.
func (s *Socket) SetDeadline(t time.Time) error {
	if s.parked.Load() {
		return nil
	}
	return s.Conn.SetDeadline(t)
}

// SetReadDeadline is like SetDeadline.
func (s *Socket) SetReadDeadline(t time.Time) error {
	if s.parked.Load() {
		return nil
	}
	return s.Conn.SetReadDeadline(t)
}

// SetWriteDeadline is like SetDeadline.
func (s *Socket) SetWriteDeadline(t time.Time) error {
	if s.parked.Load() {
		return nil
	}
	return s.Conn.SetWriteDeadline(t)
}

// errNoDescriptor says that a connection has none that could be polled.
var errNoDescriptor = errors.New("the connection has no descriptor")

// detach takes the descriptor out of the hands of package net.
func detach(c net.Conn) (int, error) {
	f, ok := c.(interface{ File() (*os.File, error) })
	if !ok {
		return -1, errNoDescriptor
	}
	file, err := f.File()
	if err != nil {
		return -1, err
	}
	defer file.Close() //nolint:errcheck // a duplicate
	fd, err := unix.FcntlInt(file.Fd(), syscall.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
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
