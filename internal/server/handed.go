package server

import (
	"crypto/tls"
	"net"
	"sync"
)

// handedListener gives an http.Server the connections whose handshake is done.
type handedListener struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	close  func()
}

func newHandedListener(addr net.Addr) *handedListener {
	l := &handedListener{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
	l.close = sync.OnceFunc(func() { close(l.closed) })
	return l
}

// hand gives a connection to the server, or closes it where that has stopped.
func (l *handedListener) hand(c *tls.Conn) {
	var conn net.Conn = c
	if c.ConnectionState().NegotiatedProtocol == alpnHTTP {
		conn = &httpByALPN{Conn: c}
	}
	select {
	case l.conns <- conn:
	case <-l.closed:
		_ = c.Close()
	}
}

// Accept returns the next connection.
func (l *handedListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends the wait in Accept.
func (l *handedListener) Close() error {
	l.close()
	return nil
}

// Addr is the address of one of the ports.
func (l *handedListener) Addr() net.Addr { return l.addr }

// httpByALPN is a connection that negotiated x-amzn-http-ca. net/http drops
// a *tls.Conn whose protocol it does not know; of this one it asks nothing but
// the ConnectionState.
type httpByALPN struct{ *tls.Conn }

// tlsConn is the connection that was handed to an http.Server, as it was before.
func tlsConn(c net.Conn) net.Conn {
	if h, ok := c.(*httpByALPN); ok {
		return h.Conn
	}
	return c
}
