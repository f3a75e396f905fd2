// Package faults is a bad network for tests: a TCP proxy that cuts connections,
// stalls them and spoils their bytes, at random from a seed. Its address stays
// the same whatever becomes of the server behind it.
//
// Invariant: what becomes of a connection follows from the seed and the
// connection's number alone; when it happens, from the clock.
package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Config says what is behind the proxy and how bad the network is.
type Config struct {
	// Target returns where the server is; it is asked for each connection.
	Target func() (string, error)
	Seed   uint64

	// Every is the mean time between two faults of one connection; 0 is none at all.
	Every time.Duration
	// Cut, Stall and Spoil are how often one happens rather than another.
	Cut, Stall, Spoil float64
	// SpoilWithin is how long bytes may take to come that are to be spoilt; without it
	// the next ones are, whenever they come.
	SpoilWithin time.Duration
	// ShortStall and LongStall are the bounds of a stall; short ones are more frequent.
	ShortStall, LongStall time.Duration
}

// Stats are what a proxy has done so far.
type Stats struct {
	Connections, Cuts, Stalls, Spoilt int

	Up []int64 // bytes that went to the server, by connection
}

// Proxy is one proxy that listens.
type Proxy struct {
	config   Config
	listener net.Listener
	ctx      context.Context //nolint:containedctx // ends with Close, and all that runs with it
	cancel   context.CancelFunc
	group    sync.WaitGroup
	quiet    atomic.Bool

	cuts, stalls, spoilt atomic.Int64

	mu    sync.Mutex // guards what follows
	conns []*conn
}

// Start listens on a free port of the loopback interface.
func Start(c Config) (*Proxy, error) {
	ctx, cancel := context.WithCancel(context.Background())
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		cancel()
		return nil, fmt.Errorf("fault proxy: %w", err)
	}
	p := &Proxy{config: c, listener: l, ctx: ctx, cancel: cancel}
	p.group.Go(p.accept)
	return p, nil
}

// Addr is where the proxy listens, HOST:PORT.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Quiet makes the network a good one: nothing happens any more but the end of
// stalls that have begun.
func (p *Proxy) Quiet() { p.quiet.Store(true) }

// CutAll cuts every connection.
func (p *Proxy) CutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.close()
	}
}

// Stats returns what was done so far.
func (p *Proxy) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Stats{
		Connections: len(p.conns), Cuts: int(p.cuts.Load()), Stalls: int(p.stalls.Load()), Spoilt: int(p.spoilt.Load()),
		Up: make([]int64, len(p.conns)),
	}
	for i, c := range p.conns {
		s.Up[i] = c.up.Load()
	}
	return s
}

// Close cuts all connections and returns when nothing runs any more.
func (p *Proxy) Close() error {
	err := p.listener.Close()
	p.cancel()
	p.CutAll()
	p.group.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.group.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	server, err := p.dial()
	if err != nil {
		reset(client)
		return
	}
	c := &conn{proxy: p, client: client, server: server, done: make(chan struct{})}
	p.mu.Lock()
	random := rand.New(rand.NewPCG(p.config.Seed, uint64(len(p.conns)))) //nolint:gosec // it is to be repeatable
	p.conns = append(p.conns, c)
	p.mu.Unlock()
	if p.ctx.Err() != nil {
		c.close()
	}
	var group sync.WaitGroup
	group.Go(func() { c.forward(server, client, 0) })
	group.Go(func() { c.forward(client, server, 1) })
	if p.config.Every > 0 {
		group.Go(func() { c.suffer(random) })
	}
	group.Wait()
}

func (p *Proxy) dial() (net.Conn, error) {
	address, err := p.config.Target()
	if err != nil {
		return nil, err
	}
	return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(p.ctx, "tcp", address)
}

// conn is one connection through the proxy.
type conn struct {
	proxy          *Proxy
	client, server net.Conn
	up             atomic.Int64
	spoil          [2]atomic.Bool // the next bytes in this direction
	once           sync.Once
	done           chan struct{} // closed when the connection is

	mu       sync.Mutex // guards what follows
	until    time.Time  // nothing passes before
	halfOver bool       // one direction has ended
}

// close ends both sides at once, as a lost network does.
func (c *conn) close() {
	c.once.Do(func() {
		close(c.done)
		reset(c.client)
		reset(c.server)
	})
}

func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}

// forward copies one direction. The end of one is passed on, the other may go on.
func (c *conn) forward(to, from net.Conn, direction int) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if !c.pass() {
			return
		}
		if n > 0 && c.spoil[direction].CompareAndSwap(true, false) {
			buf[n/2] ^= 0x10
			c.proxy.spoilt.Add(1)
		}
		if n > 0 {
			if direction == 0 {
				c.up.Add(int64(n))
			}
			if _, werr := to.Write(buf[:n]); werr != nil {
				c.close()
				return
			}
		}
		if errors.Is(err, io.EOF) {
			if t, ok := to.(*net.TCPConn); ok && t.CloseWrite() == nil {
				c.ended()
				return
			}
		}
		if err != nil {
			c.close()
			return
		}
	}
}

// ended closes all once both directions have ended.
func (c *conn) ended() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.halfOver {
		c.close()
	}
	c.halfOver = true
}

// pass returns when the stall is over, if there is one, and whether the
// connection is still there.
func (c *conn) pass() bool {
	for {
		c.mu.Lock()
		wait := time.Until(c.until)
		c.mu.Unlock()
		if !c.sleep(wait) {
			return false
		}
		if wait <= 0 {
			return true
		}
	}
}

func (c *conn) sleep(d time.Duration) bool {
	if d <= 0 {
		select {
		case <-c.done:
			return false
		default:
			return true
		}
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.done:
		return false
	}
}

// fault is what happens to a connection, and when after the one before.
type fault struct {
	after     time.Duration
	kind      kind
	stall     time.Duration
	direction int
}

type kind int

const (
	cut kind = iota
	stall
	spoil
)

func (c *Config) next(r *rand.Rand) fault {
	f := fault{after: time.Duration(r.ExpFloat64() * float64(c.Every))}
	switch what := r.Float64() * (c.Cut + c.Stall + c.Spoil); {
	case what < c.Cut:
		f.kind = cut
	case what < c.Cut+c.Stall:
		f.kind = stall
	default:
		f.kind = spoil
	}
	f.stall = time.Duration(float64(c.ShortStall) * math.Pow(float64(c.LongStall)/float64(c.ShortStall), r.Float64()))
	f.direction = r.IntN(2)
	return f
}

// suffer has faults happen to the connection until it ends.
func (c *conn) suffer(r *rand.Rand) {
	for {
		f := c.proxy.config.next(r)
		if !c.sleep(f.after) || !c.pass() || c.proxy.quiet.Load() {
			return
		}
		switch f.kind {
		case cut:
			c.proxy.cuts.Add(1)
			c.close()
		case stall:
			c.proxy.stalls.Add(1)
			c.mu.Lock()
			c.until = time.Now().Add(f.stall)
			c.mu.Unlock()
		case spoil:
			c.spoil[f.direction].Store(true)
			if d := c.proxy.config.SpoilWithin; d > 0 {
				if !c.sleep(d) {
					return
				}
				c.spoil[f.direction].Store(false)
			}
		}
	}
}
