package server

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"

	"github.com/sekisho-iot/sekisho/internal/broker"
)

// What device clients offer as application protocols (ALPN).
const (
	alpnMQTT       = "x-amzn-mqtt-ca"
	alpnMQTTCustom = "mqtt"
	alpnHTTP       = "x-amzn-http-ca"
)

const (
	handshakeTimeout = 10 * time.Second // from accepting a connection to the end of its handshake
	maxGuests        = 1024             // handshakes under way on one port
)

// doorConfig is what a door is made of.
type doorConfig struct {
	listener net.Listener
	tls      *tls.Config
	mqtt     bool        // a client that negotiates no protocol speaks MQTT; else HTTP
	gate     broker.Gate // bounds the processors that handshakes take, not the sockets that wait for their peers
	admit    func(context.Context, *tls.Conn) (broker.Peer, bool)
	arrive   func(context.Context, *tls.Conn) // is told of what speaks HTTP
	attach   func(net.Conn, broker.Attachment)
	http     *handedListener
}

// door is a TLS port for devices. It runs handshakes, each in a goroutine of
// its own, and hands on what comes out of them: MQTT to the broker, HTTP to an
// http.Server.
type door struct {
	doorConfig
	slots  chan struct{}   // one for each handshake under way
	ctx    context.Context //nolint:containedctx // ends with the door, which serves until it is closed
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex          // guards the fields below
	guests map[*guest]struct{} // whose handshakes are under way
	closed bool
}

func newDoor(cfg doorConfig) *door {
	ctx, cancel := context.WithCancel(context.Background())
	return &door{
		doorConfig: cfg, slots: make(chan struct{}, min(maxGuests, connLimit())),
		ctx: ctx, cancel: cancel, guests: map[*guest]struct{}{},
	}
}

// start accepts in the background; what ends it before close is sent to failed.
func (d *door) start(failed chan<- error) {
	d.wg.Go(func() {
		if err := d.serve(); err != nil {
			failed <- err
		}
	})
}

func (d *door) serve() error {
	failures := 0
	for {
		select {
		case d.slots <- struct{}{}: // before accepting: a crowd waits in the kernel
		case <-d.ctx.Done():
			return nil
		}
		c, err := d.listener.Accept()
		if err == nil {
			failures = 0
			d.wg.Go(func() {
				defer func() { <-d.slots }()
				d.receive(c)
			})
			continue
		}
		<-d.slots
		if d.ctx.Err() != nil {
			return nil
		}
		if !passing(err) {
			return err
		}
		pause(d.ctx, &failures)
	}
}

// receive runs one handshake and hands the connection on.
func (d *door) receive(c net.Conn) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		_ = c.Close()
		return
	}
	g := &guest{TCPConn: tcp, until: deadline(handshakeTimeout), patience: handshakeTimeout}
	if len(d.slots) > cap(d.slots)/2 {
		g.patience = crowdedTimeout
	}
	if !d.enter(g) {
		_ = tcp.Close()
		return
	}
	conn := d.handshake(g)
	d.leave(g)
	if conn == nil {
		return
	}
	switch conn.ConnectionState().NegotiatedProtocol {
	case alpnMQTT, alpnMQTTCustom:
		d.toBroker(conn)
	case "":
		if d.mqtt {
			d.toBroker(conn)
			return
		}
		d.toHTTP(conn)
	default:
		d.toHTTP(conn)
	}
}

func (d *door) toHTTP(conn *tls.Conn) {
	d.arrive(d.ctx, conn)
	if socket, ok := conn.NetConn().(*broker.Socket); ok {
		socket.Unwatch()
	}
	d.http.hand(conn)
}

// handshake returns nil, the connection closed, where it fails. Handshakes that
// strangers break off are no news.
func (d *door) handshake(g *guest) *tls.Conn {
	_ = g.SetWriteDeadline(g.until)
	socket := broker.NewSocket(g, d.gate)
	conn := tls.Server(socket, socket.Watch(d.tls))
	d.gate.Enter()
	err := conn.Handshake() //nolint:noctx // Close ends it through the socket, without a goroutine more
	d.gate.Leave()
	socket.Ungate()
	if err == nil {
		err = g.settle()
	}
	if err != nil {
		_ = conn.Close()
		return nil
	}
	return conn
}

func (d *door) toBroker(conn *tls.Conn) {
	peer, ok := d.admit(d.ctx, conn)
	if !ok || d.ctx.Err() != nil {
		_ = conn.Close()
		return
	}
	d.attach(conn, broker.Attachment{Peer: peer})
}

func (d *door) enter(g *guest) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.guests[g] = struct{}{}
	}
	return !d.closed
}

func (d *door) leave(g *guest) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.guests, g)
}

// close stops accepting, breaks off the handshakes under way, and returns when
// the last goroutine has ended.
func (d *door) close() error {
	err := d.listener.Close()
	d.cancel()
	d.mu.Lock()
	d.closed = true
	for g := range d.guests {
		_ = g.Close()
	}
	d.mu.Unlock()
	d.wg.Wait()
	return err
}

// guest is a connection whose handshake is under way. Each wait for the peer
// has a limit of its own, and all of them together: that handshakes queue for a
// processor is not the peer's fault. It embeds the TCP connection for the
// broker, which takes the descriptor out of it.
type guest struct {
	*net.TCPConn
	until    time.Time     // for the whole handshake
	patience time.Duration // for one read
	settled  bool          // the handshake is over
}

// Read implements net.Conn.
func (g *guest) Read(b []byte) (int, error) {
	if !g.settled {
		limit := deadline(g.patience)
		if g.until.Before(limit) {
			limit = g.until
		}
		if err := g.SetReadDeadline(limit); err != nil {
			return 0, err
		}
	}
	return g.TCPConn.Read(b)
}

// settle takes the limits away.
func (g *guest) settle() error {
	g.settled = true
	return g.SetDeadline(time.Time{})
}
