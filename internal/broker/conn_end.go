package broker

import (
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

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
