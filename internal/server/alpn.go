package server

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
)

// alpnHTTP is what device clients offer for HTTP on a port that also speaks MQTT.
const alpnHTTP = "x-amzn-http-ca"

// serveALPNHTTP makes srv speak HTTP/1.1 to clients that negotiated
// x-amzn-http-ca: net/http drops a protocol that it does not know by name. Such
// a connection gets an inner server of its own, which stops with srv.
func serveALPNHTTP(srv *http.Server) {
	if srv.TLSNextProto == nil {
		srv.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	}
	if srv.Protocols == nil {
		// A map without h2 would turn HTTP/2 off.
		srv.Protocols = new(http.Protocols)
		srv.Protocols.SetHTTP1(true)
		srv.Protocols.SetHTTP2(true)
	}
	inner := &innerServers{live: map[*http.Server]struct{}{}}
	srv.RegisterOnShutdown(inner.shutdown)
	srv.TLSNextProto[alpnHTTP] = inner.serve
}

// innerServers are those of the connections that are open.
type innerServers struct {
	mu       sync.Mutex // guards live and stopping
	live     map[*http.Server]struct{}
	stopping bool
}

// serve speaks HTTP/1.1 on conn and returns when the connection has ended:
// net/http closes it then.
func (i *innerServers) serve(outer *http.Server, conn *tls.Conn, h http.Handler) {
	state := conn.ConnectionState()
	inner := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.TLS = &state
			h.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: outer.ReadHeaderTimeout,
		ReadTimeout:       outer.ReadTimeout,
		WriteTimeout:      outer.WriteTimeout,
		IdleTimeout:       outer.IdleTimeout,
		MaxHeaderBytes:    outer.MaxHeaderBytes,
		BaseContext:       outer.BaseContext,
		ConnContext:       outer.ConnContext,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	if !i.add(inner) {
		return
	}
	defer i.remove(inner)
	l := &oneConn{addr: conn.LocalAddr(), closed: make(chan struct{}), ended: make(chan struct{})}
	l.conn = &hiddenTLS{Conn: conn, ended: sync.OnceFunc(func() { close(l.ended) }), listener: l}
	_ = inner.Serve(l)
	if l.given() { // a request may be under way after a shutdown has closed the listener
		<-l.ended
	}
}

func (i *innerServers) add(s *http.Server) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.stopping {
		i.live[s] = struct{}{}
	}
	return !i.stopping
}

func (i *innerServers) remove(s *http.Server) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.live, s)
}

// shutdown closes the connections that are idle at once, and the others after
// their request or the common limit.
func (i *innerServers) shutdown() {
	i.mu.Lock()
	i.stopping = true
	var all []*http.Server
	for s := range i.live {
		all = append(all, s)
	}
	i.mu.Unlock()
	var wg sync.WaitGroup
	for _, s := range all {
		wg.Go(func() { _ = stopHTTP(context.Background(), s) })
	}
	wg.Wait()
}

// hiddenTLS keeps the inner server from looking at the negotiated protocol again.
type hiddenTLS struct {
	net.Conn
	ended    func()
	listener *oneConn
}

// Close ends the connection and the listener that gave it.
func (h *hiddenTLS) Close() error {
	defer h.ended()
	h.listener.end()
	return h.Conn.Close()
}

// oneConn is a listener that gives one connection and then waits for it to end.
type oneConn struct {
	addr   net.Addr
	mu     sync.Mutex // guards conn
	conn   net.Conn   // nil once it was given
	once   sync.Once
	closed chan struct{} // the listener is
	ended  chan struct{} // the connection is
}

// Accept gives the connection, then blocks until the listener is closed.
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

func (o *oneConn) given() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.conn == nil
}

func (o *oneConn) end() { o.once.Do(func() { close(o.closed) }) }

// Close ends the wait in Accept.
func (o *oneConn) Close() error {
	o.end()
	return nil
}

// Addr is the local address of the connection.
func (o *oneConn) Addr() net.Addr { return o.addr }
