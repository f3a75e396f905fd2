package broker

import (
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// streamChunk is how much a stream reads at once, and streamQueue how much
// waits to be written by it.
const (
	streamChunk = 4 << 10
	streamQueue = 256 << 10
)

// stream carries a connection without a descriptor that could be polled, by
// two goroutines: one that reads, and hands on a chunk when the one before was
// dealt with, and one that writes.
type stream struct {
	c    *conn
	nc   net.Conn
	home atomic.Pointer[loop] // where mail goes; it sends it on if need be
	next chan struct{}        // one more chunk may be read
	owed bool                 // the loop's: a chunk was handled and the next not asked for

	mu        sync.Mutex // guards the fields below
	wake      *sync.Cond
	pending   []byte
	full      bool // a write was refused: say when there is room
	finishing bool // our side ends when all is written
	leaving   bool // and the whole connection
	closed    bool
}

func newStream(c *conn, nc net.Conn) *stream {
	s := &stream{c: c, nc: nc, next: make(chan struct{}, 1)}
	s.wake = sync.NewCond(&s.mu)
	return s
}

// start begins to read and write.
func (s *stream) start(l *loop, wg *sync.WaitGroup) {
	s.home.Store(l)
	wg.Go(s.read)
	wg.Go(s.send)
}

// chunk is mail: what was read.
type chunk struct {
	c    *conn
	data []byte
	err  error
}

// open implements mail.
func (x *chunk) open(l *loop) {
	c := x.c
	if c.loop != l {
		c.loop.post(x)
		return
	}
	switch {
	case c.state == stateClosed:
	case x.err != nil:
		c.lost(x.err)
	default:
		c.stream.owed = true
		c.take(x.data)
	}
}

// take handles what a stream has read.
func (c *conn) take(data []byte) {
	l := c.loop
	if c.state == stateJudged || c.paused {
		c.in = append(c.in, data...) // one chunk: no other was asked for
		return
	}
	if len(c.in)+len(data) > cap(l.buffer) {
		l.data = grow(c.in, len(data))
	} else {
		l.data = append(l.buffer[:0], c.in...)
	}
	c.in = nil
	copy(l.data[len(l.data):len(l.data)+len(data)], data)
	c.feed(len(data))
	if c.state != stateClosed && !c.paused && c.state != stateJudged {
		c.stream.resume()
	}
}

func (s *stream) read() {
	buf := make([]byte, streamChunk)
	for {
		n, err := s.nc.Read(buf)
		if n > 0 {
			if !s.home.Load().post(&chunk{c: s.c, data: bytes.Clone(buf[:n])}) {
				return
			}
			if _, ok := <-s.next; !ok {
				return
			}
		}
		if err != nil {
			s.home.Load().post(&chunk{c: s.c, err: err})
			return
		}
	}
}

// resume lets the next chunk be read.
func (s *stream) resume() {
	if s.owed {
		s.owed = false
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.closed {
			s.next <- struct{}{}
		}
	}
}

// write takes what is to be written, as far as there is room.
func (s *stream) write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := max(0, min(len(b), streamQueue-len(s.pending)))
	s.pending = append(s.pending, b[:n]...)
	s.full = n < len(b)
	s.wake.Signal()
	return n, nil
}

func (s *stream) send() {
	var out []byte
	for {
		s.mu.Lock()
		for len(s.pending) == 0 && !s.finishing && !s.leaving && !s.closed {
			s.wake.Wait()
		}
		out, s.pending = s.pending, out[:0]
		closed, leaving, finishing, full := s.closed, s.leaving && len(out) == 0, s.finishing && len(out) == 0, s.full
		s.full = false
		s.mu.Unlock()
		switch {
		case closed:
			return
		case leaving:
			s.close()
			return
		case finishing:
			s.closeWrite()
			s.waitForEnd()
			return
		}
		if _, err := s.nc.Write(out); err != nil { // reading says so, too
			s.waitForEnd()
			return
		}
		if full {
			s.home.Load().post(&drained{s.c})
		}
		if cap(out) > streamChunk {
			out = nil
		}
	}
}

// drained is mail: a stream has room again.
type drained struct{ c *conn }

// open implements mail.
func (x *drained) open(l *loop) {
	c := x.c
	switch {
	case c.loop != l:
		c.loop.post(x)
	case c.state != stateClosed:
		c.progress = l.sec
		c.writable()
	}
}

func (s *stream) closeWrite() {
	if c, ok := s.nc.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
}

// finish ends our side when all is written.
func (s *stream) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finishing = true
	s.wake.Signal()
}

// waitForEnd waits until the loop closes the connection.
func (s *stream) waitForEnd() {
	s.mu.Lock()
	for !s.closed && !s.leaving {
		s.wake.Wait()
	}
	s.mu.Unlock()
	s.close()
}

// leave ends the connection when all is written, or soon.
func (s *stream) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving = true
	s.wake.Signal()
	_ = s.nc.SetWriteDeadline(time.Now().Add(lingerTime * time.Second)) //nolint:forbidigo // socket deadlines are wall-clock
}

// close ends the connection at once.
func (s *stream) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	close(s.next)
	s.wake.Signal()
	_ = s.nc.Close()
}
