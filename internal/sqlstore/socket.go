package sqlstore

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// socket is a connection to a database server that gives up on an answer which
// does not come, and can be asked whether the other side has closed it.
// Statements run without a deadline of their own (see conn.forever).
type socket struct {
	net.Conn
	raw syscall.RawConn

	mu     sync.Mutex // guards the fields below and the setting of deadlines
	limit  time.Duration
	last   bool // no answer is waited for longer than lastLimit
	theirs bool // a deadline was set by the driver, and holds
}

func dialPostgres(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 3 * time.Second, Count: 3}}
	c, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	s := &socket{Conn: c}
	if sc, ok := c.(syscall.Conn); ok {
		if s.raw, err = sc.SyscallConn(); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return s, nil
}

// setLimit bounds how long a read or write may take from now on; 0 means no bound.
func (s *socket) setLimit(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = d
}

// hurry is for a database that is being closed: who reads or writes now has
// little time left, and so has whoever comes later.
func (s *socket) hurry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = true
	if !s.theirs {
		_ = s.Conn.SetDeadline(time.Now().Add(lastLimit)) //nolint:forbidigo // sockets know no other clock
	}
}

func (s *socket) arm(set func(time.Time) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.theirs {
		return nil
	}
	limit := s.limit
	if s.last {
		limit = lastLimit
	}
	if limit == 0 {
		return set(time.Time{})
	}
	return set(time.Now().Add(limit)) //nolint:forbidigo // sockets know no other clock
}

// Read reads within the limit.
func (s *socket) Read(b []byte) (int, error) {
	if err := s.arm(s.SetReadDeadline); err != nil {
		return 0, err
	}
	return s.Conn.Read(b)
}

// Write writes within the limit.
func (s *socket) Write(b []byte) (int, error) {
	if err := s.arm(s.SetWriteDeadline); err != nil {
		return 0, err
	}
	return s.Conn.Write(b)
}

// SetDeadline sets a deadline that goes before the limit.
func (s *socket) SetDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.theirs = !t.IsZero()
	return s.Conn.SetDeadline(t)
}

// pending reports whether something is to be read, which on an idle connection
// is its end, or a word about it.
func (s *socket) pending() bool {
	if s.raw == nil {
		return true
	}
	var err error
	var b [1]byte
	if e := s.raw.Control(func(fd uintptr) {
		_, _, err = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	}); e != nil {
		return true
	}
	return !errors.Is(err, syscall.EAGAIN)
}
