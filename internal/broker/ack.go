package broker

import (
	"log/slog"
	"sync/atomic"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// waiter counts what has to be on disk before something is acknowledged.
type waiter struct {
	holds  atomic.Int32
	failed atomic.Pointer[error]
	c      *conn
	number uint64 // of the acknowledgement
	id     uint16 // of the QoS 2 message that it is of; 0 for another
	done   func(err error)
}

// err is why what it waited for is not safe; nil where it is.
func (w *waiter) err() error {
	if p := w.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// newWaiter returns a waiter for an acknowledgement to c. One that held
// nothing is used again.
func (l *loop) newWaiter(c *conn) *waiter {
	w := l.idleWaiter
	if w == nil {
		w = new(waiter)
	}
	l.idleWaiter = nil
	w.c, w.id = c, 0
	return w
}

func (w *waiter) hold() { w.holds.Add(1) }

// settled reports whether there is nothing to wait for.
func (w *waiter) settled() bool { return w.holds.Load() == 0 }

// release takes one hold back; the last one lets the acknowledgement go.
func (w *waiter) release(l *loop, err error) {
	if err != nil {
		failed := err
		w.failed.CompareAndSwap(nil, &failed)
	}
	if w.holds.Add(-1) > 0 {
		return
	}
	switch {
	case w.done != nil:
		w.done(w.err())
	case w.c == nil:
	case w.c.loop == l:
		w.c.settle(w)
	default:
		home := &l.settles[w.c.loop.index]
		*home = append(*home, w)
	}
}

// pendingAck is an answer that waits for the store, or for one before it:
// acknowledgements are sent in the order of what they acknowledge [MQTT-4.6.0-2].
type pendingAck struct {
	kind   mqtt.PacketType
	id     uint16
	code   mqtt.ReasonCode
	waiter *waiter // nil where it only waits for those before
	packet []byte  // instead of an acknowledgement: SUBACK, UNSUBACK
	then   func()  // is called after it was sent
	held   int     // bytes of the message that wait for a tap
	ready  bool
}

// awaitAck has an answer wait for its turn.
func (c *conn) awaitAck(a pendingAck) {
	if a.waiter != nil {
		a.waiter.number = c.ackFirst + uint64(len(c.acks))
		a.ready = a.waiter.settled()
	} else {
		a.ready = true
	}
	c.acks = append(c.acks, a)
	c.held += a.held
	if len(c.acks) > 2*c.loop.b.cfg.Limits.Inflight || c.held > maxHeld {
		c.pause()
	}
	c.answerReady()
}

// settles is mail: what answers of this loop's connections waited for in others.
type settles []*waiter

// open implements mail.
func (list settles) open(*loop) {
	for _, w := range list {
		w.c.settle(w)
	}
}

// settle is called when what an answer waited for is on disk, or is lost.
func (c *conn) settle(w *waiter) {
	if c.state != stateOpen && w.err() != nil {
		c.unreceive(w)
	}
	if c.state != stateOpen || w.number < c.ackFirst || !w.settled() {
		return
	}
	a := &c.acks[w.number-c.ackFirst]
	a.ready = true
	c.answerReady()
}

// answerReady sends the answers whose turn it is.
func (c *conn) answerReady() {
	n, answered := 0, false
	for n < len(c.acks) && c.acks[n].ready {
		a := c.acks[n]
		n++
		c.acks[n-1] = pendingAck{}
		c.held -= a.held
		answered = true
		if a.waiter != nil && a.waiter.err() != nil {
			c.acks, c.ackFirst = c.acks[n:], c.ackFirst+uint64(n)
			c.unsafe(a)
			if c.state != stateOpen {
				return
			}
			n = 0
			continue
		}
		if a.packet != nil {
			c.out = append(c.output(), a.packet...)
		} else {
			c.reply(a.kind, a.id, a.code)
		}
		if a.then != nil {
			a.then()
		}
		if c.state != stateOpen {
			return
		}
	}
	c.acks, c.ackFirst = c.acks[n:], c.ackFirst+uint64(n)
	if len(c.acks) == 0 {
		c.acks = nil
	}
	if answered {
		c.resume()
	}
}

// unreceive takes a QoS 2 message back that could not be kept: the client sends
// it again, or gives its identifier to another.
func (c *conn) unreceive(w *waiter) {
	if s := c.session; w.id != 0 && !s.gone {
		delete(s.received, w.id)
		c.loop.forgetReceived(s, w.id, nil)
	}
}

// unsafe answers what could not be kept. 3.1.1 can only close, so that the
// client tries again.
func (c *conn) unsafe(a pendingAck) {
	code := mqtt.UnspecifiedError
	if err := a.waiter.err(); iot.IsKind(err, iot.KindBusy) { // whose tap says so once, not for each message
		code = mqtt.QuotaExceeded
		c.loop.b.observer.Limit("tap")
	} else {
		c.loop.b.log.Error("mqtt message could not be kept", slog.String("client_id", clip(c.session.id)), slog.Any("error", err))
	}
	c.unreceive(a.waiter)
	if c.version == mqtt.V5 && a.packet == nil && a.kind != mqtt.TypePubcomp {
		c.reply(a.kind, a.id, code)
		return
	}
	c.endWith(mqtt.ServerBusy, "SERVER_ERROR", "what was sent could not be kept")
}

// answer sends an acknowledgement when those before it were sent.
func (c *conn) answer(t mqtt.PacketType, id uint16, code mqtt.ReasonCode) {
	if len(c.acks) == 0 {
		c.reply(t, id, code)
		return
	}
	c.awaitAck(pendingAck{kind: t, id: id, code: code})
}

// reply appends an acknowledgement.
func (c *conn) reply(t mqtt.PacketType, id uint16, code mqtt.ReasonCode) {
	if code == mqtt.Success || c.version != mqtt.V5 {
		c.out = mqtt.AppendAck(c.output(), t, id)
	} else {
		a := mqtt.Ack{Type: t, ID: id, Code: code}
		if out, err := a.Append(c.output(), c.version); err == nil {
			c.out = out
		}
	}
}

// remember notes that a QoS 2 message was received, until it is released.
func (c *conn) remember(o *outgoing, id uint16) {
	s := c.session
	if s.received == nil {
		s.received = map[uint16]struct{}{}
	}
	s.received[id] = struct{}{}
	o.waiter.id = id
	c.loop.keepReceived(s, id, o.waiter)
}

// acknowledged handles PUBACK, PUBREC, PUBREL and PUBCOMP.
func (c *conn) acknowledged(frame []byte) error {
	a := &c.loop.ack
	if err := a.Decode(c.decoder(), frame); err != nil {
		return err
	}
	s := c.session
	if a.Type != mqtt.TypePuback && c.loop.b.cfg.Profile == AWS {
		return &mqtt.Error{Code: mqtt.ProtocolError, Detail: a.Type.String() + " without QoS 2"}
	}
	if a.Type == mqtt.TypePubrel {
		return c.pubrel(a)
	}
	i := s.flights.find(a.ID)
	if i >= s.flights.n-s.unsent {
		i = -1 // it was not sent again yet
	}
	if i < 0 {
		return c.unknown(a)
	}
	f := s.flights.at(i)
	switch {
	case (a.Type == mqtt.TypePuback) == (f.qos == 2):
		return &mqtt.Error{Code: mqtt.ProtocolError, Detail: a.Type.String() + " of a message of another QoS"}
	case a.Type == mqtt.TypePubrec && !a.Code.Failed():
		f.released = true
		c.loop.keepReleased(s, f)
		c.answer(mqtt.TypePubrel, a.ID, mqtt.Success)
		return nil
	case a.Type == mqtt.TypePubcomp && !f.released:
		return &mqtt.Error{Code: mqtt.ProtocolError, Detail: "PUBCOMP before PUBREC"}
	}
	e := f.e
	s.land(i)
	if e != nil {
		s.forget(e)
	}
	if s.waiting.len() > 0 || s.unsent > 0 || s.spilled {
		s.pump()
	}
	return nil
}

// unknown answers an acknowledgement of what is not on its way.
func (c *conn) unknown(a *mqtt.Ack) error {
	if a.Type == mqtt.TypePubrec { // of an earlier connection
		c.answer(mqtt.TypePubrel, a.ID, c.notFound())
	}
	return nil
}

func (c *conn) notFound() mqtt.ReasonCode {
	if c.version == mqtt.V5 {
		return mqtt.PacketIdentifierNotFound
	}
	return mqtt.Success
}

// pubrel releases a QoS 2 message.
func (c *conn) pubrel(a *mqtt.Ack) error {
	s := c.session
	if _, ok := s.received[a.ID]; !ok {
		c.answer(mqtt.TypePubcomp, a.ID, c.notFound())
		return nil
	}
	delete(s.received, a.ID)
	w := &waiter{c: c} // another message may have the identifier after PUBCOMP
	c.loop.forgetReceived(s, a.ID, w)
	c.awaitAck(pendingAck{kind: mqtt.TypePubcomp, id: a.ID, waiter: w})
	return nil
}
