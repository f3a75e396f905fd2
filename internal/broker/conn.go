package broker

import (
	"errors"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// state is how far a connection has come.
type state uint8

const (
	stateNew    state = iota // waits for CONNECT
	stateJudged              // its CONNECT is being judged
	stateOpen                // has a session
	stateLinger              // was told why it ends; what still comes is thrown away
	stateClosed              // is gone
)

const (
	flushAt     = 32 << 10 // bytes of output that are written before the tick ends
	readSize    = 64 << 10 // bytes that one read takes at most
	readTurns   = 8        // reads of one TLS connection before others have their turn
	stallTime   = 30       // seconds that a peer may read nothing of what waits for it
	slowTime    = 5        // and with more than half of Limits.Output waiting
	lingerTime  = 2        // seconds that an ended connection is given to read why
	verdictsMax = 256      // verdicts that a connection remembers
)

// conn is a connection. Only its loop touches it, but for what Attach sets.
type conn struct {
	loop    *loop
	at      int     // its place in loop.conns
	fd      int     // -1 for a stream
	tls     secure  // nil without
	stream  *stream // instead of a descriptor
	ws      *websocket
	session *session
	peer    *Peer

	state     state
	version   mqtt.Version
	dirty     bool // is in loop.dirty
	blocked   bool // the socket takes nothing more at the moment
	paused    bool // nothing is read until others are done
	again     bool // is in loop.again
	noProblem bool // the client wants no reason strings
	maxPacket uint32
	window    int   // QoS 1 and 2 messages that may be on the way to the client
	keepAlive int64 // seconds; 0 for none
	lastSeen  int64 // when something came, in Unix seconds
	deadline  int64 // when a connection that is not open ends
	progress  int64 // when the socket took something
	denied    int64 // when a denial was logged
	deniedAt  int64 // and in which second there were denials
	denials   int   // that many

	timer *connTimer

	in     []byte // the beginning of a packet
	out    []byte // packets that wait to be written
	cipher []byte // and TLS records

	principal  Principal
	generation uint64 // of access when principal was made
	judgement  uint64 // changes with principal; no two of a loop are the same
	verdicts   map[string]verdicts
	memo       memo

	aliases  []string          // what the client's topic aliases stand for
	ours     map[string]uint16 // topic aliases towards the client
	aliasMax uint16            // how many it takes
	acks     []pendingAck
	ackFirst uint64 // the number of acks[0]
	will     *will
	rate     *bucket // of packets; nil without a limit
	bytes    *bucket // of bytes
}

// memo is the verdict and route of the last PUBLISH: most clients publish to
// one topic.
type memo struct {
	topic     string
	judgement uint64
	allowed   verdicts
	route     *route
}

// decoder returns how packets of the client are read.
func (c *conn) decoder() *mqtt.Decoder { return c.loop.b.decoder(c.version) }

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

// packets handles the whole packets that data begins with and returns how many
// bytes they were.
func (c *conn) packets(data []byte) (used int) {
	limit := c.loop.b.cfg.Limits.PacketSize
	for !c.paused && c.state <= stateOpen && c.state != stateJudged {
		n, err := mqtt.Frame(data[used:], limit)
		if err == nil && n > 0 {
			frame := data[used : used+n]
			used += n
			if c.state == stateNew {
				c.connect(frame)
				continue
			}
			if err = c.packet(frame); err == nil && c.blocked && !c.roomy() {
				c.pause() // a client that asks and does not read the answers
			}
		} else if n == 0 && err == nil {
			break
		}
		if err != nil {
			c.end(err)
			break
		}
	}
	return used
}

// packet handles one packet of an open connection. An error ends it.
func (c *conn) packet(frame []byte) error {
	switch t := mqtt.TypeOf(frame); t {
	case mqtt.TypePublish:
		return c.publish(frame)
	case mqtt.TypePuback, mqtt.TypePubrec, mqtt.TypePubrel, mqtt.TypePubcomp:
		return c.acknowledged(frame)
	case mqtt.TypePingreq:
		if err := c.loop.ping.Decode(c.decoder(), frame); err != nil {
			return err
		}
		c.out = mqtt.AppendPing(c.output(), mqtt.TypePingresp)
		return nil
	case mqtt.TypeSubscribe:
		return c.subscribe(frame)
	case mqtt.TypeUnsubscribe:
		return c.unsubscribe(frame)
	case mqtt.TypeDisconnect:
		return c.disconnect(frame)
	case mqtt.TypeConnect:
		return &mqtt.Error{Code: mqtt.ProtocolError, Detail: "second CONNECT"}
	case mqtt.TypeAuth:
		if err := new(mqtt.Auth).Decode(c.decoder(), frame); err != nil {
			return err
		}
		return &mqtt.Error{Code: mqtt.ProtocolError, Detail: "AUTH without an authentication method"}
	case mqtt.TypeConnack, mqtt.TypeSuback, mqtt.TypeUnsuback, mqtt.TypePingresp:
		return &mqtt.Error{Code: mqtt.ProtocolError, Detail: "packet of a server"}
	default:
		return &mqtt.Error{Code: mqtt.MalformedPacket, Detail: "packet type 0"}
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
	if !c.paused || c.state != stateOpen || len(c.acks) > c.loop.b.cfg.Limits.Inflight || !c.roomy() || c.throttled() {
		return
	}
	c.paused = false
	c.poll()
	c.more()
}

// connTimer is a connection's place in the wheel of its loop.
type connTimer struct {
	c    *conn // nil once the connection has left the loop
	wait int64 // when it is to look again
}

func newConnTimer(c *conn) *connTimer { return &connTimer{c: c} }

func (t *connTimer) stop() { t.c = nil }

// due implements timer.
func (t *connTimer) due() int64 {
	if t.c == nil || t.c.state == stateClosed {
		return 0
	}
	return t.wait
}

// fire implements timer.
func (t *connTimer) fire(l *loop) {
	t.wait = 0
	t.c.look(l)
}

// arm has the timer look at the connection at that second, if it does not earlier.
func (c *conn) arm(at int64) {
	if t := c.timer; t.wait == 0 || at < t.wait {
		t.wait = at
		c.loop.wheel.add(t, at)
	}
}

// look ends what has waited too long.
func (c *conn) look(l *loop) {
	next := int64(0)
	by := func(at int64) {
		if next == 0 || at < next {
			next = at
		}
	}
	switch c.state {
	case stateNew, stateJudged, stateLinger:
		if l.sec >= c.deadline {
			c.expire()
			return
		}
		by(c.deadline)
	case stateOpen:
		if !c.watch(by) {
			return
		}
	case stateClosed:
		return
	}
	if next != 0 {
		c.arm(max(min(next, l.sec+lookAhead), l.sec+1))
	}
}

// expire ends a connection that did not get as far as it should have.
func (c *conn) expire() {
	if c.state == stateNew {
		c.loop.b.observer.Limit("connect_timeout")
	}
	c.close("CLIENT_ERROR")
}

// watch looks after an open connection; false says that it was ended.
func (c *conn) watch(by func(int64)) bool {
	l := c.loop
	if c.keepAlive > 0 && !c.paused { // what a paused one sent is not read
		at := c.lastSeen + c.keepAlive + (c.keepAlive+1)/2
		if l.sec >= at {
			c.endWith(mqtt.KeepAliveTimeout, "MQTT_KEEP_ALIVE_TIMEOUT", "nothing came within one and a half keep-alive intervals")
			return false
		}
		by(at)
	}
	if until := c.peer.Until; !until.IsZero() {
		if !l.now.Before(until) {
			c.endWith(mqtt.MaximumConnectTime, "WEBSOCKET_TTL_EXPIRATION", "the credentials of the connection have ended")
			return false
		}
		by(l.sec + int64(until.Sub(l.now)/time.Second) + 1)
	}
	if c.blocked {
		limit := int64(stallTime)
		if !c.roomy() {
			limit = slowTime
		}
		if l.sec-c.progress >= limit {
			l.b.observer.Limit("slow_reader")
			c.endWith(mqtt.QuotaExceeded, "SERVER_INITIATED_DISCONNECT", "the client does not read what it is sent")
			return false
		}
		by(l.sec + 1)
	}
	if c.throttled() {
		by(l.sec + 1)
	} else {
		c.resume()
	}
	if c.session.redelivered != nil { // its rate may allow more
		c.session.pump()
	}
	return c.state == stateOpen
}

// lost ends a connection whose peer is gone.
func (c *conn) lost(err error) {
	_ = err // what a peer does to its connection is no news
	c.close("CONNECTION_LOST")
}

// end ends a connection because of what the client sent.
func (c *conn) end(err error) {
	code := mqtt.CodeOf(err)
	reason := "CLIENT_ERROR"
	switch code { //nolint:exhaustive // the others are errors of the client
	case mqtt.NotAuthorized:
		reason = "AUTH_ERROR"
	case mqtt.ServerUnavailable, mqtt.UnspecifiedError, mqtt.ImplementationSpecificError:
		reason = "SERVER_ERROR"
	}
	if c.state == stateOpen {
		c.loop.b.log.Info("mqtt connection ended",
			slog.String("client_id", clip(c.session.id)), slog.String("source", c.peer.SourceIP), slog.String("reason", err.Error()))
	}
	c.endWith(code, reason, err.Error())
}

// endWith tells the client why its connection ends, as far as its version can
// say so, and ends it.
func (c *conn) endWith(code mqtt.ReasonCode, reason, detail string) {
	if c.state == stateClosed || c.state == stateLinger {
		return
	}
	told := false
	if c.state == stateOpen && c.version == mqtt.V5 && code.In(mqtt.TypeDisconnect, mqtt.Server) {
		d := mqtt.Disconnect{Code: code}
		if !c.noProblem {
			d.Properties = reasonString(detail)
		}
		if told = c.say(&d); !told {
			told = c.say(&mqtt.Disconnect{Code: code})
		}
	}
	c.finish(told, reason)
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

// reasonString is a reason for people; none for "".
func reasonString(detail string) (p mqtt.Properties) {
	if detail != "" {
		p, _ = p.Add(mqtt.Property{ID: mqtt.ReasonString, Value: []byte(clip(detail))})
	}
	return p
}

// finish ends a connection, after the client has read what it was told.
func (c *conn) finish(told bool, reason string) {
	c.flush()
	if c.state == stateClosed {
		return
	}
	if !told || c.blocked {
		if c.tls != nil && !c.blocked { // it is the end, and no cut
			c.tls.closeWrite(c.loop)
			c.writeCipher()
		}
		c.close(reason)
		return
	}
	// A socket that is closed with something unread is reset, and what was
	// written last is lost: wait until the peer closes.
	c.depart(reason)
	c.state = stateLinger
	c.deadline = c.loop.sec + lingerTime
	c.paused = false
	c.in = nil
	c.hangUp()
	if c.state == stateLinger {
		c.poll()
		c.arm(c.deadline)
	}
}

// hangUp ends our side of the connection.
func (c *conn) hangUp() {
	if c.ws != nil {
		c.cipher = append(c.cipher, closeFrame...)
	}
	l := c.loop
	if c.tls != nil {
		if len(c.cipher) > 0 {
			frame := c.cipher
			c.cipher = nil
			_ = c.tls.seal(l, frame)
		}
		c.tls.closeWrite(l)
		c.writeCipher()
	} else if len(c.cipher) > 0 {
		_, _ = c.write(c.cipher)
		c.cipher = nil
	}
	switch {
	case c.state == stateClosed:
	case c.stream != nil:
		c.stream.finish()
	default:
		_ = unix.Shutdown(c.fd, unix.SHUT_WR)
	}
}

// close ends the connection at once.
func (c *conn) close(reason string) {
	if c.state == stateClosed {
		return
	}
	c.depart(reason)
	c.state = stateClosed
	c.release()
	c.in, c.cipher = nil, nil
	c.timer.stop() // the wheel would keep it
	l := c.loop
	l.drop(c)
	l.b.open.Add(-1)
	if c.timer != nil { // else the wheel would hold on to it
		c.timer.stop()
	}
	if c.stream != nil {
		c.stream.leave()
		return
	}
	l.poll.remove(c.fd)
	l.byFD[c.fd] = nil
	_ = unix.Close(c.fd)
	c.fd = -1
}

// abandon ends a connection that is no loop's.
func (c *conn) abandon() {
	c.loop.b.open.Add(-1)
	c.state = stateClosed
	if c.stream != nil {
		c.stream.close()
	} else {
		_ = unix.Close(c.fd)
	}
}

// clip bounds a text that goes to a client.
func clip(s string) string {
	if len(s) > 200 {
		return s[:200]
	}
	return s
}

// tooLarge reports whether the client takes no packet of n bytes.
func (c *conn) tooLarge(n int) bool { return c.maxPacket > 0 && n > int(c.maxPacket) }
