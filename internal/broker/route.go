package broker

import (
	"slices"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// maxRoutes is how many topics a loop remembers the way of.
const maxRoutes = 8192

// route is where messages to one topic go, as one loop sees it.
type route struct {
	generation uint64   // of the subscriptions
	targets    []target // sessions of this loop
	durable    int      // of them, persistent ones that take QoS 1 or 2
	loops      []remote // others that have sessions
	groups     []*group // shared subscriptions, wherever their members are
	taps       []*Tap
}

// remote is another loop that has sessions for a topic.
type remote struct {
	*loop
	durable bool // some of them are persistent: what they must keep is waited for
}

// target is a session that gets the messages of a topic.
type target struct {
	s       *session
	qos     mqtt.QoS
	keep    bool // retain as published
	ids     []uint32
	noLocal bool    // one of its subscriptions does not want its own messages
	own     *target // how it gets its own by the others; nil for not at all

	judgement uint64 // the conn.judgement that receive is of; 0 for none
	receive   bool
}

// route finds where messages to a topic go.
func (l *loop) route(topic []byte) *route {
	generation := l.b.subscriptions.Load()
	r := l.routes[string(topic)]
	if r != nil && r.generation == generation {
		return r
	}
	if r == nil {
		if len(l.routes) >= maxRoutes {
			clear(l.routes)
		}
		r = new(route)
		l.routes[string(topic)] = r
	}
	*r = l.newRoute(topic)
	r.generation = generation
	return r
}

// forgetRoutes drops the routes that are no longer right: they hold sessions
// that may be gone.
func (l *loop) forgetRoutes() {
	generation := l.b.subscriptions.Load()
	for topic, r := range l.routes {
		if r.generation != generation {
			*r = route{} // the last one of a connection, perhaps
			delete(l.routes, topic)
		}
	}
}

// newRoute goes through the trees.
func (l *loop) newRoute(topic []byte) (r route) {
	if ingested(topic) {
		return r
	}
	places := map[*session]int{}
	l.subs.match(topic, func(sub *subscription) { r.add(sub, places) })
	for i := range r.targets {
		if t := &r.targets[i]; t.qos > 0 && t.s.persistent.Load() {
			r.durable++
		}
	}
	for _, other := range l.b.loops {
		if other == l {
			continue
		}
		if found, durable := other.wants(topic); found {
			r.loops = append(r.loops, remote{other, durable})
		}
	}
	r.groups = l.b.groups.match(topic)
	r.taps = l.b.tapped(topic)
	return r
}

// wants reports whether the loop has sessions for a topic, and persistent ones.
// Other loops ask.
func (l *loop) wants(topic []byte) (found, durable bool) {
	l.subs.mu.RLock()
	defer l.subs.mu.RUnlock()
	l.subs.match(topic, func(sub *subscription) {
		found = true
		durable = durable || sub.session.persistent.Load()
	})
	return found, durable
}

// add adds a subscription. A session that matches by several gets one message.
func (r *route) add(sub *subscription, places map[*session]int) {
	t := sub.target()
	i, found := places[sub.session]
	if !found {
		i = len(r.targets)
		places[sub.session] = i
		r.targets = append(r.targets, t)
	}
	have := &r.targets[i]
	switch own := have.own; {
	case sub.options.NoLocal():
		if !have.noLocal && found {
			before := *have
			have.own = &before
		}
		have.noLocal = true
	case own != nil:
		own.join(&t)
	case have.noLocal:
		have.own = &t
	}
	if found {
		have.join(&t)
	}
}

// target is the session as the subscription alone would have it.
func (sub *subscription) target() target {
	t := target{s: sub.session, qos: sub.options.QoS(), keep: sub.options.RetainAsPublished()}
	if sub.id != 0 {
		t.ids = []uint32{sub.id}
	}
	return t
}

// join adds what another subscription of the session asks for.
func (t *target) join(other *target) {
	t.qos = max(t.qos, other.qos)
	t.keep = t.keep || other.keep
	t.ids = append(slices.Clip(t.ids), other.ids...)
}

// outgoing is a message on its way through a loop.
type outgoing struct {
	mqtt.Publish
	expires int64
	from    *session // who published it; nil for the server
	heap    *message // the same, once something has to keep it
	waiter  *waiter  // who waits until it is safe
	stored  bool     // it is sent because it is retained
	held    int      // bytes that wait for a tap

	templates [6]mqtt.Template
	have      uint8 // a bit for each template
}

// message returns the message in memory of its own.
func (o *outgoing) message() *message {
	if o.heap == nil {
		o.heap = newMessage(o.Topic, o.Payload, o.Properties)
		o.heap.qos, o.heap.retain, o.heap.expires = o.QoS, o.Retain, o.expires
	}
	return o.heap
}

// keepsRetain reports whether the message goes to t with RETAIN.
func (o *outgoing) keepsRetain(t *target) bool { return o.stored || o.Retain && t.keep }

// view makes a message in memory ready for sending. It is good until the next view.
func (l *loop) view(m *message) *outgoing {
	o := &l.viewed
	*o = outgoing{heap: m, expires: m.expires}
	o.Topic, o.Payload, o.Properties, o.QoS, o.Retain = m.topic, m.payload, m.props, m.qos, m.retain
	return o
}

// delivery is how one session gets a message.
type delivery struct {
	qos         mqtt.QoS
	id          uint16
	retain, dup bool
	ids         []uint32
}

// send appends a PUBLISH to what goes to the client. It returns false for a
// message that is larger than the client takes.
func (c *conn) send(o *outgoing, d *delivery) bool {
	l := c.loop
	if len(d.ids) > 0 || c.aliasMax > 0 {
		to := l.delivery(o, c.version, d.qos)
		c.aliasFor(o, &to)
		to.ID, to.Dup, to.Retain, to.SubscriptionIDs, to.MaximumPacketSize = d.id, d.dup, d.retain, d.ids, c.maxPacket
		out, err := o.AppendTo(c.output(), &to)
		c.out = out
		if err != nil {
			if to.TopicAlias != 0 && !to.Aliased { // the client has not heard of it
				delete(c.ours, string(o.Topic))
			}
			l.b.dropped(c.session, "packet_too_large")
			return false
		}
	} else {
		t := l.template(o, c.version, d.qos)
		if c.tooLarge(t.Len()) || t.Len() == 0 {
			l.b.dropped(c.session, "packet_too_large")
			return false
		}
		c.out = t.AppendTo(c.output(), d.id, d.dup, d.retain)
	}
	l.delivered[d.qos]++
	c.appended()
	return true
}

// aliasFor gives the topic an alias, if the client takes any more; it does
// without the name of one that it knows.
func (c *conn) aliasFor(o *outgoing, to *mqtt.Delivery) {
	if c.aliasMax == 0 {
		return
	}
	if n, known := c.ours[string(o.Topic)]; known {
		to.TopicAlias, to.Aliased = n, true
		return
	}
	if len(c.ours) < int(c.aliasMax) {
		if c.ours == nil {
			c.ours = map[string]uint16{}
		}
		to.TopicAlias = uint16(len(c.ours) + 1) //nolint:gosec // bounded by aliasMax
		c.ours[string(o.Topic)] = to.TopicAlias
	}
}

func (l *loop) delivery(o *outgoing, v mqtt.Version, qos mqtt.QoS) mqtt.Delivery {
	d := mqtt.Delivery{Version: v, QoS: qos, ID: 1}
	if o.expires != 0 && v == mqtt.V5 {
		d.HasExpiry = true
		d.Expiry = uint32(max(0, o.expires-l.up)) //nolint:gosec // made from 32 bits
	}
	return d
}

// template encodes a message once for all who get it in the same way.
func (l *loop) template(o *outgoing, v mqtt.Version, qos mqtt.QoS) mqtt.Template {
	i := int(qos)
	if v == mqtt.V5 {
		i += 3
	}
	if o.have&(1<<i) == 0 {
		d := l.delivery(o, v, qos)
		t, err := o.Template(l.encoded[i], &d)
		if err != nil {
			t = mqtt.Template{}
		} else {
			l.encoded[i] = t.Bytes()[:0]
		}
		o.templates[i] = t
		o.have |= 1 << i
	}
	return o.templates[i]
}
