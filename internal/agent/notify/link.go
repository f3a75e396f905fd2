package notify

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// looks is how often, while patience lasts, a link is looked at whether anything moves.
const looks = 8

// grace is how long a write may go on after it was told to stop, which paho does not
// tell it.
const grace = 2 * time.Second

var errLost = errors.New("the connection was lost before the acknowledgement")

// link is a connection that tells those who wait for something to come of it when
// it is closed, or silent. One that cannot be written to is closed.
type link struct {
	net.Conn
	writing atomic.Int32
	moved   atomic.Uint64 // writes and reads

	mu      sync.Mutex // guards what follows
	closed  bool
	waiting map[*wait]bool
}

// wait is one that waits. Its link's mutex guards it.
type wait struct {
	timer *time.Timer
	last  uint64 // link.moved
	still int    // looks since it changed
	end   func(error)
}

func newLink(c net.Conn) *link { return &link{Conn: c, waiting: map[*wait]bool{}} }

// Read reads.
func (l *link) Read(b []byte) (int, error) {
	n, err := l.Conn.Read(b)
	if n > 0 {
		l.moved.Add(1)
	}
	return n, err
}

// Write writes.
func (l *link) Write(b []byte) (int, error) {
	l.writing.Add(1)
	n, err := l.Conn.Write(b)
	l.moved.Add(1)
	l.writing.Add(-1)
	if err != nil {
		_ = l.Close()
	}
	return n, err
}

// Close ends the connection and the waits.
func (l *link) Close() error { return l.closeFor(errLost) }

func (l *link) closeFor(reason error) error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	for w := range l.waiting {
		w.timer.Stop()
		w.end(reason)
	}
	clear(l.waiting)
	l.closed = true
	l.mu.Unlock()
	return l.Conn.Close()
}

// abandon ends the connection if it takes long to write what is being written.
func (l *link) abandon() {
	time.AfterFunc(grace, func() {
		if l.writing.Load() > 0 {
			_ = l.Close()
		}
	})
}

func (l *link) isOpen() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.closed
}

// watch calls end when the link is closed, unless stop is called before; and
// closes it when nothing moves on it for patience. It reports whether it is open.
func (l *link) watch(patience time.Duration, end func(error)) (stop func(), open bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, false
	}
	w := &wait{last: l.moved.Load(), end: end}
	l.waiting[w] = true
	w.timer = time.AfterFunc(patience/looks, func() { l.look(w, patience) })
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		w.timer.Stop()
		delete(l.waiting, w)
	}, true
}

func (l *link) look(w *wait, patience time.Duration) {
	l.mu.Lock()
	if !l.waiting[w] {
		l.mu.Unlock()
		return
	}
	if moved := l.moved.Load(); moved != w.last || l.writing.Load() > 0 {
		w.last, w.still = moved, 0
	} else {
		w.still++
	}
	silent := w.still >= looks
	if !silent {
		w.timer.Reset(patience / looks)
	}
	l.mu.Unlock()
	if silent {
		_ = l.closeFor(fmt.Errorf("no acknowledgement came for %v: the connection is given up", patience.Round(time.Second)))
	}
}
