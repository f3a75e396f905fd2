package server

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
)

// alpnHTTP is what device clients offer for HTTP on a port that also speaks MQTT.
const alpnHTTP = "x-amzn-http-ca"

// serveALPNHTTP makes srv speak HTTP/1.1 to clients that negotiated
// x-amzn-http-ca: net/http drops a protocol that it does not know by name.
func serveALPNHTTP(srv *http.Server) {
	// A table of one's own turns HTTP/2 off, unless it is asked for by name.
	srv.Protocols = new(http.Protocols)
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	srv.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	if srv.Protocols == nil {
		// A map without h2 would turn HTTP/2 off.
		srv.Protocols = new(http.Protocols)
		srv.Protocols.SetHTTP1(true)
		srv.Protocols.SetHTTP2(true)
	}
	srv.TLSNextProto[alpnHTTP] = func(outer *http.Server, conn *tls.Conn, h http.Handler) {
		state := conn.ConnectionState()
		inner := &http.Server{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.TLS = &state
				h.ServeHTTP(w, r)
			}),
			ReadHeaderTimeout: outer.ReadHeaderTimeout,
			IdleTimeout:       outer.IdleTimeout,
			MaxHeaderBytes:    outer.MaxHeaderBytes,
			BaseContext:       outer.BaseContext,
			ConnContext:       outer.ConnContext,
			ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
		}
		l := &oneConn{addr: conn.LocalAddr(), closed: make(chan struct{})}
		l.conn = &hiddenTLS{Conn: conn, listener: l}
		_ = inner.Serve(l)
	}
}

// hiddenTLS keeps the inner server from looking at the negotiated protocol again.
type hiddenTLS struct {
	net.Conn
	listener *oneConn
}

// Close ends the connection and the listener that gave it.
func (h *hiddenTLS) Close() error {
	h.listener.end()
	return h.Conn.Close()
}

// oneConn is a listener that gives one connection and then waits for it to end.
type oneConn struct {
	addr   net.Addr
	mu     sync.Mutex // guards conn
	conn   net.Conn
	once   sync.Once
	closed chan struct{}
}

// Accept gives the connection, then blocks until it is closed.
func (o *oneConn) Accept() (net.Conn, error) {
	o.mu.Lock()
	c := o.conn
	o.conn = nil
	o.mu.Unlock()
	if c != nil {
		return c, nil
	}
	<-o.closed
	return nil, net.ErrClosed
}

func (o *oneConn) end() { o.once.Do(func() { close(o.closed) }) }

// Close ends the wait in Accept.
func (o *oneConn) Close() error {
	o.end()
	return nil
}

// Addr is the local address of the connection.
func (o *oneConn) Addr() net.Addr { return o.addr }
