package broker

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// readable reads what the peer sent and handles it.
func (c *conn) readable() {
	for range readTurns {
		n, err := c.read()
		if n > 0 {
			c.feed(n)
		}
		if c.state == stateClosed {
			return
		}
		switch {
		case err == nil && (c.tls == nil || !c.tls.hides()): // the rest, if any, is announced again
			return
		case err == nil && (c.paused || c.state == stateJudged):
			return
		case err == nil:
		case isAgain(err):
			return
		default:
			c.lost(err)
			return
		}
	}
	c.more()
}

func isAgain(err error) bool {
	var a again
	return errors.As(err, &a)
}

// more has the connection read on at the next tick, whether or not its
// descriptor is announced: TLS has taken more than was asked of it.
func (c *conn) more() {
	if !c.again && c.state != stateClosed && c.state != stateJudged { // one that is judged leaves this loop
		c.again = true
		c.loop.again = append(c.loop.again, c)
	}
}

// read reads behind what is there of a packet, into the loop's buffer, or into
// the connection's own where a large packet is under way.
func (c *conn) read() (int, error) {
	l := c.loop
	if len(c.in) >= readSize {
		c.in = grow(c.in, readSize)
		l.data = c.in
	} else {
		l.data = append(l.buffer[:0], c.in...)
	}
	b := l.data[len(l.data) : len(l.data)+readSize]
	if c.tls == nil {
		return readFD(c.fd, b)
	}
	n, err := c.tls.read(c, b)
	if len(l.cipher) > 0 { // an alert, or the answer to a key update
		c.writeCipher()
	}
	return n, err
}

// grow returns b with room for n more bytes.
func grow(b []byte, n int) []byte {
	if cap(b)-len(b) >= n {
		return b
	}
	return append(make([]byte, 0, max(2*cap(b), len(b)+n)), b...)
}

// feed handles n bytes behind those in loop.data.
func (c *conn) feed(n int) {
	l := c.loop
	data := l.data[:len(l.data)+n]
	if n > 0 {
		c.lastSeen = l.up
	}
	if c.state == stateLinger {
		c.in = nil
		return
	}
	if c.ws != nil {
		k, err := c.ws.unwrap(c, data[len(l.data):])
		data = data[:len(l.data)+k]
		if err != nil {
			c.end(err)
			return
		}
	}
	c.keepRest(data, c.packets(data))
	if c.ws != nil && c.ws.closed {
		c.lost(nil) // what came before the good-bye was handled
	}
}

// keepRest keeps what is the beginning of a packet, or was not handled yet.
func (c *conn) keepRest(data []byte, used int) {
	rest := data[used:]
	own := cap(data) > 0 && &data[:1][0] != &c.loop.buffer[0]
	switch {
	case c.state == stateClosed || c.state == stateLinger || len(rest) == 0:
		c.in = nil
	case own && len(rest) >= readSize:
		c.in = append(data[:0], rest...)
	default:
		c.in = append(make([]byte, 0, max(len(rest), 256)), rest...)
	}
}

// reread handles what was left over, then reads.
func (c *conn) reread() {
	if len(c.in) > 0 && !c.paused {
		c.loop.data = append(c.loop.buffer[:0], c.in...)
		if len(c.in) >= readSize {
			c.loop.data = c.in
		}
		c.in = nil
		c.keepRest(c.loop.data, c.packets(c.loop.data))
	}
	switch {
	case c.state == stateClosed || c.state == stateJudged || c.paused:
	case c.stream != nil:
		c.stream.resume()
	default:
		c.readable()
	}
}

// output returns the buffer that packets for the client are appended to. What
// is appended goes out at the end of the tick.
func (c *conn) output() []byte {
	if c.out == nil {
		c.out = c.loop.buffers.get()
	}
	if !c.dirty {
		c.dirty = true
		c.loop.dirty = append(c.loop.dirty, c)
	}
	return c.out
}

// appended is called after something large was appended.
func (c *conn) appended() {
	if len(c.out) >= flushAt && !c.blocked {
		c.flush()
	}
}

// flush writes what waits, as far as the socket takes it.
func (c *conn) flush() {
	if len(c.out) == 0 && !c.ws.answers() || c.blocked || c.state == stateClosed {
		return
	}
	l := c.loop
	data := c.out
	if c.ws != nil {
		l.frame = c.ws.wrap(l.frame[:0], data)
		data = l.frame
	}
	if c.tls != nil {
		err := c.tls.seal(l, data)
		c.release()
		if err != nil {
			c.lost(err)
			return
		}
		c.writeCipher()
		return
	}
	n, err := c.write(data)
	switch {
	case err != nil:
		c.lost(err)
	case n == len(data):
		c.release()
	case c.ws != nil: // half a frame is out
		c.cipher = append([]byte(nil), data[n:]...)
		c.release()
		c.block()
	default:
		c.out = c.out[:copy(c.out, data[n:])]
		c.block()
	}
}

// release gives the output buffer back.
func (c *conn) release() {
	if c.out != nil {
		c.loop.buffers.put(c.out)
		c.out = nil
	}
}

// writeCipher writes the records in loop.cipher.
func (c *conn) writeCipher() {
	l := c.loop
	data := l.cipher
	l.cipher = l.cipher[:0]
	if len(c.cipher) > 0 {
		c.cipher = append(c.cipher, data...)
		return
	}
	n, err := c.write(data)
	if err != nil {
		c.lost(err)
	} else if n < len(data) {
		c.cipher = append([]byte(nil), data[n:]...)
		c.block()
	}
}

// write writes to the peer and returns how much it took.
func (c *conn) write(b []byte) (int, error) {
	if c.stream != nil {
		return c.stream.write(b)
	}
	n, err := writeFD(c.fd, b)
	if n > 0 {
		c.progress = c.loop.sec
	}
	return n, err
}

// writeFD writes as much as the socket takes.
func writeFD(fd int, b []byte) (n int, err error) {
	for len(b) > 0 {
		k, err := unix.Write(fd, b)
		if k > 0 {
			n += k
			b = b[k:]
		}
		switch {
		case err == nil || errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return n, nil
		default:
			return n, err
		}
	}
	return n, nil
}

// block waits until the socket takes more.
func (c *conn) block() {
	if c.blocked {
		return
	}
	c.blocked = true
	c.progress = c.loop.sec
	c.poll()
	c.arm(c.loop.sec + 1)
}

// poll tells the poller what the connection waits for.
func (c *conn) poll() {
	if c.fd >= 0 {
		_ = c.loop.poll.change(c.fd, !c.paused, c.blocked)
	}
}

// writable goes on writing.
func (c *conn) writable() {
	if !c.blocked {
		return
	}
	if len(c.cipher) > 0 {
		n, err := c.write(c.cipher)
		if err != nil {
			c.lost(err)
			return
		}
		if n < len(c.cipher) {
			c.cipher = c.cipher[:copy(c.cipher, c.cipher[n:])]
			return
		}
		c.cipher = nil
	}
	c.blocked = false
	c.flush()
	if c.state == stateClosed || c.blocked {
		return
	}
	c.poll()
	if c.session != nil {
		c.session.pump()
	}
	c.resume()
}

// roomy reports whether the client reads what it is sent.
func (c *conn) roomy() bool {
	return !c.blocked || len(c.out)+len(c.cipher) <= c.loop.b.cfg.Limits.Output/2
}

// pause stops reading: what the client sent already has to be dealt with first.
func (c *conn) pause() {
	if !c.paused {
		c.paused = true
		c.poll()
	}
}

// resume reads on, if nothing stands against it.
func (c *conn) resume() {
	if !c.paused || c.state != stateOpen || len(c.acks) > c.loop.b.cfg.Limits.Inflight || c.held > maxHeld || !c.roomy() || c.throttled() {
		return
	}
	c.paused = false
	c.poll()
	c.more()
}

// say appends a packet, if it is not larger than the client takes.
func (c *conn) say(p mqtt.Packet) bool {
	out, err := p.Append(c.output(), c.version)
	if err != nil || c.tooLarge(len(out)-len(c.out)) {
		return false
	}
	c.out = out
	return true
}

// tooLarge reports whether the client takes no packet of n bytes.
func (c *conn) tooLarge(n int) bool { return c.maxPacket > 0 && n > int(c.maxPacket) }
