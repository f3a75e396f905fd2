// Package pace limits how many bytes a second the agent sends, over all of its
// connections together, and gives up on a connection that takes or brings none.
//
// Invariant: over any time, no more was sent than the rate allows and one burst.
package pace

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// burst is what may be sent at once, and so how finely the pace is kept.
const burst = 32 << 10

// silence is how long nothing may move on a connection that is read from. It is
// longer than what a server may take to answer, and than MQTT lets pass between
// two pings.
const silence = 3 * time.Minute

// Limiter shares a rate among connections.
type Limiter struct {
	rate float64 // bytes a second; none: no limit
	now  func() time.Time

	mu   sync.Mutex // guards next
	next time.Time  // when all that was granted has been paid for
}

// New makes a limiter of bytes a second; 0 is no limit.
func New(bytesPerSecond int64, now func() time.Time) *Limiter {
	return &Limiter{rate: float64(bytesPerSecond), now: now}
}

// grant says how long to wait before n bytes, at most a burst, may be sent.
func (l *Limiter) grant(n int) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if l.next.Before(now) {
		l.next = now
	}
	wait := l.next.Sub(now)
	l.next = l.next.Add(time.Duration(float64(n) / l.rate * float64(time.Second)))
	return wait
}

// Dial opens a TCP connection that keeps the pace. A write that makes no headway
// for stall fails, and so does a read while nothing moves in either direction for
// three minutes.
func (l *Limiter) Dial(ctx context.Context, address string, stall time.Duration) (net.Conn, error) {
	d := net.Dialer{Timeout: stall}
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return l.limit(c, stall), nil
}

func (l *Limiter) limit(c net.Conn, stall time.Duration) *conn {
	return &conn{Conn: c, limiter: l, stall: stall, closed: make(chan struct{})}
}

type conn struct {
	net.Conn
	limiter *Limiter
	stall   time.Duration
	once    sync.Once
	closed  chan struct{}
}

// Read reads.
func (c *conn) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(c.limiter.now().Add(silence)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

// Write sends b in bursts, each when it is due.
func (c *conn) Write(b []byte) (int, error) {
	sent := 0
	for {
		piece := b[sent:min(len(b), sent+burst)]
		if c.limiter.rate > 0 {
			if err := c.wait(c.limiter.grant(len(piece))); err != nil {
				return sent, err
			}
		}
		n, err := c.headway(piece)
		sent += n
		if err != nil || sent == len(b) {
			return sent, err
		}
	}
}

// headway writes b, however slowly the peer takes it.
func (c *conn) headway(b []byte) (int, error) {
	sent := 0
	for {
		now := c.limiter.now()
		// One that reads meanwhile waits for an answer to this.
		if err := errors.Join(c.SetWriteDeadline(now.Add(c.stall)), c.SetReadDeadline(now.Add(silence))); err != nil {
			return sent, err
		}
		n, err := c.Conn.Write(b[sent:])
		sent += n
		if err == nil || n == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return sent, err
		}
	}
}

func (c *conn) wait(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	if err := c.SetReadDeadline(c.limiter.now().Add(d + silence)); err != nil {
		return err
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-c.closed:
		return net.ErrClosed
	}
}

// Close ends the connection and a write that waits for its turn.
func (c *conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
