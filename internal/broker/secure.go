package broker

import (
	"crypto/tls"
	"net"

	"github.com/sekisho-iot/sekisho/internal/tlsrecord"
)

// secure is a TLS connection that is parked: it neither blocks nor writes, and
// what it has for the peer is appended to the loop's cipher.
type secure interface {
	// read reads what the peer has sent: again{} for nothing.
	read(c *conn, b []byte) (int, error)
	seal(l *loop, data []byte) error
	closeWrite(l *loop)
	// hides reports whether it may have taken more from the socket than read has given out.
	hides() bool
}

// secured returns how a TLS connection goes on whose descriptor was taken: by
// records of our own, and without the *tls.Conn, where that is possible.
func (b *Broker) secured(t *tls.Conn, s *Socket, fd int) secure {
	if s.watch != nil && !b.cfg.StockTLS {
		state := t.ConnectionState()
		records, early := s.watch.Take(&state)
		s.watch = nil
		if records != nil {
			return lean{records}
		}
		s.early = early
	}
	s.Unwatch()
	s.fd, s.Conn = fd, nil
	s.parked.Store(true)
	return &stock{conn: t, sock: s}
}

// unwatch leaves a connection to crypto/tls.
func unwatch(nc net.Conn) {
	if t, ok := nc.(*tls.Conn); ok {
		if s, ok := t.NetConn().(*Socket); ok {
			s.Unwatch()
		}
	}
}

// stock is a connection that crypto/tls carries on.
type stock struct {
	conn *tls.Conn
	sock *Socket
}

func (s *stock) read(c *conn, b []byte) (int, error) {
	s.sock.out = &c.loop.cipher
	return s.conn.Read(b)
}

func (s *stock) seal(l *loop, data []byte) error {
	s.sock.out = &l.cipher
	_, err := s.conn.Write(data)
	return err
}

func (s *stock) closeWrite(l *loop) {
	s.sock.out = &l.cipher
	_ = s.conn.CloseWrite()
}

func (s *stock) hides() bool { return true }

// lean is a connection whose records are ours.
type lean struct{ records *tlsrecord.Conn }

func (x lean) read(c *conn, b []byte) (int, error) {
	n := x.records.Pending(b)
	k, failed := readFD(c.fd, b[n:])
	n, out, err := x.records.Open(b[:n+k], c.loop.cipher)
	c.loop.cipher = out
	switch {
	case n > 0: // an error comes again
		return n, nil
	case err != nil:
		return 0, err
	case failed == nil: // half a record, or one that carries nothing
		return 0, again{}
	}
	return 0, failed
}

func (x lean) seal(l *loop, data []byte) (err error) {
	l.cipher, err = x.records.Seal(l.cipher, data)
	return err
}

func (x lean) closeWrite(l *loop) { l.cipher = x.records.Close(l.cipher) }

func (x lean) hides() bool { return x.records.Ended() }
