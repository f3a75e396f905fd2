package broker

import (
	"slices"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// publish handles a PUBLISH.
func (c *conn) publish(frame []byte) error {
	l := c.loop
	o := &l.current
	*o = outgoing{}
	p := &o.Publish
	if err := p.Decode(c.decoder(), frame); err != nil {
		return err
	}
	l.received[p.QoS]++
	c.takeRate(len(frame))
	if err := c.acceptable(p); err != nil {
		if p.QoS == 2 && c.version != mqtt.V5 && l.b.cfg.Profile == AWS { // AWS lets it fall, without an answer
			l.b.observer.Dropped("qos2")
			return nil
		}
		return err
	}
	if len(p.Properties) > 0 {
		if err := c.publishProperties(o); err != nil {
			return err
		}
	}
	if p.QoS == 2 {
		if _, again := c.session.received[p.ID]; again {
			o.waiter = &waiter{c: c} // what was received may not be on disk yet
			l.keepReceived(c.session, p.ID, o.waiter)
			c.awaitAck(pendingAck{kind: mqtt.TypePubrec, id: p.ID, waiter: o.waiter})
			return nil
		}
	}
	allowed, refused := c.mayPublish(p)
	if !allowed {
		return c.refusePublish(p, refused)
	}
	if p.Retain && p.QoS > 0 && !l.b.mayRetain(string(p.Topic), len(p.Payload), len(p.Properties)) {
		l.b.observer.Limit("retained_messages")
		return c.refusePublish(p, mqtt.QuotaExceeded)
	}
	if p.QoS > 0 && l.b.full() && c.mustKeep(p) {
		l.b.observer.Limit("disk")
		return c.refusePublish(p, mqtt.QuotaExceeded)
	}
	o.from = c.session
	c.distribute(o)
	return nil
}

// mustKeep reports whether a message takes room on the disk: a retained one
// does, and one for a persistent session.
func (c *conn) mustKeep(p *mqtt.Publish) bool {
	if p.Retain && len(p.Payload) > 0 && !ingested(p.Topic) {
		return true
	}
	r := c.route(p.Topic)
	return r.durable > 0 || len(r.groups) > 0 || slices.ContainsFunc(r.loops, func(other remote) bool { return other.durable })
}

// full reports whether what can be refused must not be kept.
func (b *Broker) full() bool { return b.cfg.Full != nil && b.store != nil && b.cfg.Full() }

// acceptable judges what the limits and the profile say of a PUBLISH.
func (c *conn) acceptable(p *mqtt.Publish) error {
	limits := &c.loop.b.cfg.Limits
	switch {
	case limits.Payload > 0 && len(p.Payload) > limits.Payload:
		c.loop.b.observer.Limit("payload")
		return &mqtt.Error{Code: mqtt.PacketTooLarge, Detail: "payload over the limit"}
	case p.QoS == 2 && c.loop.b.cfg.Profile == AWS:
		return &mqtt.Error{Code: mqtt.QoSNotSupported, Detail: "QoS 2 is not supported"}
	case p.QoS > 0 && c.version == mqtt.V5 && len(c.acks)+len(c.session.received) >= limits.Inflight && c.unanswered() >= limits.Inflight:
		if _, again := c.session.received[p.ID]; again {
			return nil
		}
		c.loop.b.observer.Limit("receive_maximum")
		return &mqtt.Error{Code: mqtt.ReceiveMaximumExceeded, Detail: "more messages than the receive maximum are not acknowledged"}
	}
	return nil
}

// unanswered is how many messages the client waits for the end of.
func (c *conn) unanswered() int {
	n := len(c.session.received)
	for i := range c.acks {
		if c.acks[i].kind == mqtt.TypePuback {
			n++
		}
	}
	return n
}

// publishProperties takes the topic alias and the expiry out of the properties.
func (c *conn) publishProperties(o *outgoing) error {
	p := &o.Publish
	l := c.loop
	if alias, ok := p.Properties.Find(mqtt.TopicAlias); ok {
		if err := c.alias(p, int(alias.Number)); err != nil {
			return err
		}
	}
	o.expires = l.expiry(p.Properties)
	return nil
}

// expiry returns when a message with these properties expires, 0 for never.
func (l *loop) expiry(p mqtt.Properties) int64 {
	x, ok := p.Find(mqtt.MessageExpiryInterval)
	if !ok {
		return 0
	}
	n := int64(x.Number)
	if limit := int64(l.b.cfg.Limits.MessageExpiry.Seconds()); limit > 0 {
		n = min(max(n, 1), limit)
	}
	return l.up + n
}

// alias sets the topic of a PUBLISH that has a topic alias.
func (c *conn) alias(p *mqtt.Publish, n int) error {
	if n > c.loop.b.cfg.Limits.TopicAliases {
		return &mqtt.Error{Code: mqtt.TopicAliasInvalid, Detail: "topic alias over the maximum"}
	}
	if len(p.Topic) > 0 {
		for len(c.aliases) < n {
			c.aliases = append(c.aliases, "")
		}
		if c.aliases[n-1] != string(p.Topic) {
			c.aliases[n-1] = string(p.Topic)
		}
		return nil
	}
	if n > len(c.aliases) || c.aliases[n-1] == "" {
		return &mqtt.Error{Code: mqtt.ProtocolError, Detail: "topic alias that stands for nothing"}
	}
	p.Topic = append(c.loop.topic[:0], c.aliases[n-1]...)
	c.loop.topic = p.Topic
	return nil
}

// distribute gives a message that was allowed to everyone who is to have it,
// and acknowledges it.
func (c *conn) distribute(o *outgoing) {
	l := c.loop
	p := &o.Publish
	if p.QoS > 0 {
		o.waiter = l.newWaiter(c)
	}
	if p.QoS == 2 {
		c.remember(o, p.ID)
	}
	retain := p.Retain && !ingested(p.Topic)
	r := c.route(p.Topic)
	if len(r.taps) > 0 {
		c.tap(o, r)
	}
	if p.QoS == 0 {
		l.hand(o, r, retain)
		return
	}
	// Others may be done with it before all have been given it.
	elsewhere := len(r.loops)+len(r.groups) > 0
	if elsewhere {
		o.waiter.hold()
	}
	l.hand(o, r, retain)
	settled := o.waiter.settled()
	if elsewhere {
		settled = o.waiter.holds.Add(-1) == 0
	}
	t := mqtt.TypePuback
	if p.QoS == 2 {
		t = mqtt.TypePubrec
	}
	code := mqtt.Success
	if c.version == mqtt.V5 && len(r.targets)+len(r.loops)+len(r.groups) == 0 && l.b.cfg.Profile == Standard {
		code = mqtt.NoMatchingSubscribers
	}
	if settled && len(c.acks) == 0 && o.waiter.err() == nil {
		l.idleWaiter = o.waiter
		c.reply(t, p.ID, code)
		return
	}
	c.awaitAck(pendingAck{kind: t, id: p.ID, code: code, waiter: o.waiter, held: o.held})
}

// route finds where messages to a topic go, by the last one's if it is the same.
func (c *conn) route(topic []byte) *route {
	if c.memo.topic != string(topic) {
		return c.loop.route(topic)
	}
	if r := c.memo.route; r != nil && r.generation == c.loop.b.subscriptions.Load() {
		return r
	}
	c.memo.route = c.loop.route(topic)
	return c.memo.route
}

// hand gives a message to the sessions of this loop, the loops of others, the
// members of shared subscriptions, and the retained store.
func (l *loop) hand(o *outgoing, r *route, retain bool) {
	if retain {
		l.retain(o)
	}
	if len(r.targets) > 0 {
		l.give(o, r)
	}
	for _, other := range r.loops {
		l.forward(other.loop, o, nil, other.durable)
	}
	for _, g := range r.groups {
		l.share(o, g)
	}
}

// give gives a message to the sessions of this loop.
func (l *loop) give(o *outgoing, r *route) {
	if o.QoS > 0 && r.durable > 1 && l.b.store != nil {
		plain := o.message()
		release := l.keepOnce(o)
		defer func() {
			release()
			o.heap = plain // what is kept from now on has to be kept anew
		}()
	}
	generation := l.b.access.Load()
	for i := range r.targets {
		t := &r.targets[i]
		l.giveTo(o, t, generation)
	}
}

// giveTo gives a message to one session.
func (l *loop) giveTo(o *outgoing, t *target, generation uint64) {
	s := t.s
	if t.noLocal && o.from == s {
		t = t.own
	}
	if s.gone || t == nil {
		return
	}
	c := s.conn
	if c != nil {
		if c.generation != generation {
			c.refresh()
		}
		if c.state != stateOpen {
			c = nil
		} else if !c.receives(o, t) {
			return
		}
	}
	qos := min(o.QoS, t.qos)
	if qos > 0 {
		l.giveSafely(o, t, qos)
		return
	}
	switch {
	case c == nil:
		return // a QoS 0 message is not kept
	case !c.roomy() && o.stored && !s.full(): // it asked for all of them at once
		s.waiting.push(s.newEntry(o, t, 0))
	case !c.roomy():
		l.b.dropped(s, "slow_reader")
	default:
		c.send(o, &delivery{retain: o.keepsRetain(t), ids: t.ids})
	}
}

// giveSafely gives a message of QoS 1 or 2 to a session, by way of the store
// if it is persistent.
func (l *loop) giveSafely(o *outgoing, t *target, qos mqtt.QoS) {
	s := t.s
	if !s.persistent.Load() && !s.spilled { // behind what the store has, it has to wait there
		if s.conn != nil {
			s.offer(o, t, qos, nil)
		}
		return
	}
	if l.b.store == nil {
		s.offer(o, t, qos, nil)
		return
	}
	if s.full() {
		s.overflow()
		return
	}
	if o.from == nil && s.conn == nil && l.b.full() { // the server's own: nobody would send it again
		l.b.dropped(s, "disk_full")
		return
	}
	e := s.newEntry(o, t, qos)
	l.keep(s, e, o)
	s.offer(o, t, qos, e)
}

// receives reports whether the connection may get the message, by what is
// known of the route if possible.
func (c *conn) receives(o *outgoing, t *target) bool {
	if t.judgement == c.judgement {
		if !t.receive {
			c.loop.b.dropped(c.session, "receive_denied")
		}
		return t.receive
	}
	v := c.judge(Receive, string(o.Topic))
	if v.Lasting {
		t.judgement, t.receive = c.judgement, v.Allowed
	}
	if !v.Allowed {
		c.loop.b.dropped(c.session, "receive_denied")
	}
	return v.Allowed
}

// refusePublish answers a PUBLISH that is not allowed: MQTT 5 can say so, and
// in 3.1.1 the connection ends.
func (c *conn) refusePublish(p *mqtt.Publish, code mqtt.ReasonCode) error {
	if c.version != mqtt.V5 || p.QoS == 0 {
		return &mqtt.Error{Code: code, Detail: "the message may not be published"}
	}
	t := mqtt.TypePuback
	if p.QoS == 2 {
		t = mqtt.TypePubrec
	}
	c.answer(t, p.ID, code)
	return nil
}
