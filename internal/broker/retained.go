package broker

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// retainedStore holds the retained messages, by topic and, for subscriptions
// with wildcards, by its levels.
type retainedStore struct {
	mu     sync.RWMutex // guards the fields below
	exact  map[string]*retained
	bytes  int64
	levels bool // the profile sends them to subscriptions with wildcards
	root   level
}

// retained is one retained message.
type retained struct {
	m        *message
	modified time.Time
}

// level is a level of the topics that have retained messages.
type level struct {
	children map[string]*level
	here     *retained
}

// retain keeps a message as the retained one of its topic, or removes it if it
// is empty.
func (l *loop) retain(o *outgoing) {
	b := l.b
	r := &b.retained
	r.mu.Lock()
	defer r.mu.Unlock()
	topic := string(o.Topic)
	if len(o.Payload) == 0 {
		if _, ok := r.exact[topic]; ok {
			r.remove(topic)
			l.keepRetained(topic, nil, o)
		}
		return
	}
	if b.full() { // QoS 0, or of the server's own: others were refused
		b.observer.Dropped("disk_full")
		return
	}
	m := o.message()
	if !r.room(topic, m.size(), &b.cfg.Limits) {
		b.observer.Limit("retained_messages")
		b.observer.Dropped("retained_full")
		return
	}
	x := &retained{m: m, modified: l.now}
	r.set(topic, x)
	l.keepRetained(topic, x, o)
}

// room reports whether a message of so many bytes may be retained.
func (r *retainedStore) room(topic string, size int64, limits *Limits) bool {
	n, bytes := len(r.exact)+1, r.bytes+size
	if old := r.exact[topic]; old != nil {
		n, bytes = n-1, bytes-old.m.size()
	}
	return (limits.Retained == 0 || n <= limits.Retained) && (limits.RetainedBytes == 0 || bytes <= limits.RetainedBytes)
}

// mayRetain reports whether there is room for a message with so many bytes of
// payload and properties.
func (b *Broker) mayRetain(topic string, payload, properties int) bool {
	if payload == 0 || ingested([]byte(topic)) {
		return true
	}
	r := &b.retained
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.room(topic, int64(len(topic)+payload+properties+messageOverhead), &b.cfg.Limits)
}

func (r *retainedStore) set(topic string, x *retained) {
	if old := r.exact[topic]; old != nil {
		r.bytes -= old.m.size()
	}
	r.bytes += x.m.size()
	r.exact[topic] = x
	if !r.levels {
		return
	}
	n := &r.root
	for name := range strings.SplitSeq(topic, "/") {
		child := n.children[name]
		if child == nil {
			if n.children == nil {
				n.children = map[string]*level{}
			}
			child = new(level)
			n.children[name] = child
		}
		n = child
	}
	n.here = x
}

func (r *retainedStore) remove(topic string) {
	r.bytes -= r.exact[topic].m.size()
	delete(r.exact, topic)
	if r.levels {
		r.root.remove(topic, true)
	}
}

func (n *level) remove(topic string, more bool) {
	if !more {
		n.here = nil
		return
	}
	name, rest, more := strings.Cut(topic, "/")
	child := n.children[name]
	if child == nil {
		return
	}
	if child.remove(rest, more); child.here == nil && len(child.children) == 0 {
		delete(n.children, name)
	}
}

// matching returns the retained messages that a subscription gets, by topic.
func (r *retainedStore) matching(filter string, p Profile, now int64) []*message {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var list []*message
	take := func(x *retained) {
		if x != nil && !x.m.expired(now) {
			list = append(list, x.m)
		}
	}
	if !strings.ContainsAny(filter, "+#") {
		take(r.exact[filter])
		return list
	}
	if p == AWS { // AWS sends them to exact filters alone
		return nil
	}
	r.root.match(filter, true, true, take)
	slices.SortFunc(list, func(a, b *message) int { return strings.Compare(string(a.topic), string(b.topic)) })
	return list
}

func (n *level) match(filter string, more, first bool, take func(*retained)) {
	if !more {
		take(n.here)
		return
	}
	name, rest, more := strings.Cut(filter, "/")
	switch name {
	case "#":
		n.all(first, take)
	case "+":
		for k, child := range n.children {
			if !first || !strings.HasPrefix(k, "$") {
				child.match(rest, more, false, take)
			}
		}
	default:
		if child := n.children[name]; child != nil {
			child.match(rest, more, false, take)
		}
	}
}

// all takes the level and everything below it.
func (n *level) all(first bool, take func(*retained)) {
	if !first {
		take(n.here)
	}
	for k, child := range n.children {
		if !first || !strings.HasPrefix(k, "$") {
			child.all(false, take)
		}
	}
}

// sendRetained sends the retained messages of subscriptions that were made.
func (l *loop) sendRetained(s *session, fresh []newSubscription) {
	for _, sub := range fresh {
		handling := sub.options.RetainHandling()
		if sub.group != nil || handling == 2 || handling == 1 && sub.existed {
			continue
		}
		for _, m := range l.b.retained.matching(sub.topic, l.b.cfg.Profile, l.sec) {
			o := l.view(m)
			o.stored = true
			t := sub.target()
			l.giveTo(o, &t, l.b.access.Load())
			if s.conn == nil {
				return
			}
		}
	}
}

// Retained returns the retained message of a topic, iot.KindNotFound for none.
func (b *Broker) Retained(topic string) (Retained, error) {
	r := &b.retained
	r.mu.RLock()
	defer r.mu.RUnlock()
	x := r.exact[topic]
	if x == nil || x.m.expired(b.now()) {
		return Retained{}, iot.Errorf(iot.KindNotFound, "retained-message", "No retained message on topic %s", topic)
	}
	return x.public(), nil
}

func (x *retained) public() Retained {
	return Retained{
		Topic: string(x.m.topic), Payload: x.m.payload, QoS: min(x.m.qos, mqtt.QoS(2)), Properties: x.m.props, Modified: x.modified,
	}
}

// ListRetained lists retained messages by topic, from the one after the given topic.
func (b *Broker) ListRetained(after string, limit int) []Retained {
	r := &b.retained
	r.mu.RLock()
	defer r.mu.RUnlock()
	now := b.now()
	var first []string // the first topics after the given one, in order
	for topic, x := range r.exact {
		if topic <= after && after != "" || x.m.expired(now) || len(first) == limit && topic > first[limit-1] {
			continue
		}
		i, _ := slices.BinarySearch(first, topic)
		first = slices.Insert(first, i, topic)
		first = first[:min(len(first), limit)]
	}
	list := make([]Retained, len(first))
	for i, topic := range first {
		list[i] = r.exact[topic].public()
	}
	return list
}

// forgetRetained removes the retained messages that have expired.
func (l *loop) forgetRetained() {
	r := &l.b.retained
	r.mu.Lock()
	defer r.mu.Unlock()
	for topic, x := range r.exact {
		if x.m.expired(l.sec) {
			r.remove(topic)
			l.keepRetained(topic, nil, &outgoing{})
		}
	}
}
