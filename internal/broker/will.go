package broker

import "github.com/sekisho-iot/sekisho/internal/mqtt"

// will is the message that is published when a client is lost.
type will struct {
	m      *message
	expiry uint32 // message expiry interval
	timed  bool   // whether there is one
	delay  uint32 // seconds
	at     int64  // when it is due, in Unix seconds
}

func newWill(w *mqtt.Will, b *Broker) (*will, error) {
	if limit := b.cfg.Limits.Payload; limit > 0 && len(w.Payload) > limit {
		return nil, &mqtt.Error{Code: mqtt.PacketTooLarge, Detail: "will payload over the limit"}
	}
	m := newMessage(w.Topic, w.Payload, w.Properties)
	m.qos, m.retain = w.QoS, w.Retain
	x, timed := w.Properties.Find(mqtt.MessageExpiryInterval)
	return &will{m: m, expiry: x.Number, timed: timed, delay: w.Properties.Number(mqtt.WillDelayInterval, 0)}, nil
}

// willOf publishes the will of a session that its client has left, now or when
// its delay or the session ends.
func (l *loop) willOf(s *session, w *will) {
	if w.delay == 0 || !s.persistent.Load() {
		l.publishWill(s, w)
		return
	}
	w.at = l.up + int64(min(w.delay, s.expiry))
	s.will = w
}

// publishWill publishes a will. It was allowed when the client connected.
func (l *loop) publishWill(s *session, w *will) {
	m := *w.m
	if w.timed {
		m.expires = l.expiry(m.props)
	}
	l.later = append(l.later, laterMessage{m: &m, from: s})
}

// laterMessage is a message of the broker's own, which is published when what
// is under way has been dealt with.
type laterMessage struct {
	m      *message
	from   *session
	peer   *Peer // of who published it, for taps
	waiter *waiter
}

// publishLater publishes what has come up.
func (l *loop) publishLater() {
	for len(l.later) > 0 {
		list := l.later
		l.later = nil
		for i := range list {
			l.publishMessage(&list[i])
		}
	}
}

func (l *loop) publishMessage(x *laterMessage) {
	o := &l.current
	*o = outgoing{heap: x.m, expires: x.m.expires, waiter: x.waiter}
	o.Topic, o.Payload, o.Properties, o.QoS, o.Retain = x.m.topic, x.m.payload, x.m.props, x.m.qos, x.m.retain
	r := l.route(o.Topic)
	if x.peer != nil && len(r.taps) > 0 {
		l.tap(o, r, &Published{Certificate: x.peer.Certificate, Peer: x.peer})
	}
	l.hand(o, r, o.Retain && !ingested(o.Topic))
	if x.waiter != nil {
		x.waiter.release(l, nil)
	}
}
