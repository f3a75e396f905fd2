package broker

import (
	"sync"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// forwarded is a message for another loop. Its bytes are in the arena of its
// forwards.
type forwarded struct {
	at, topic, payload, props uint32 // where it begins, and how long its parts are
	qos                       mqtt.QoS
	retain                    bool
	expires                   int64
	from                      *session
	waiter                    *waiter
	member                    *member // nil for all sessions that match
}

// member is the member of a shared subscription that a message is for.
type member struct {
	*target
	group *group
	tried []*session
}

// forwards is what one loop hands to another in a tick.
type forwards struct {
	list  []forwarded
	arena []byte
	pool  *sync.Pool
}

// maxArena is the largest arena that is used again.
const maxArena = 256 << 10

// forward has another loop give the message to its sessions, or to one member
// of a shared subscription. wait says that it may have to be kept there.
func (l *loop) forward(other *loop, o *outgoing, m *member, wait bool) {
	f := l.outbox[other.index]
	if f == nil {
		f = l.b.forwards.Get().(*forwards) //nolint:forcetypeassert // what New puts there
		l.outbox[other.index] = f
	}
	x := forwarded{
		at: uint32(len(f.arena)), topic: uint32(len(o.Topic)), payload: uint32(len(o.Payload)), props: uint32(len(o.Properties)), //nolint:gosec // a tick reads far less
		qos: o.QoS, retain: o.Retain, expires: o.expires, from: o.from, member: m,
	}
	f.arena = append(append(append(f.arena, o.Topic...), o.Payload...), o.Properties...)
	if o.waiter != nil && wait {
		x.waiter = o.waiter
		o.waiter.hold()
	}
	f.list = append(f.list, x)
	if len(f.arena) >= maxArena { // a long tick
		l.sendForwards(other.index)
	}
}

// sendForwards hands over what there is for a loop.
func (l *loop) sendForwards(i int) {
	if f := l.outbox[i]; f != nil {
		l.outbox[i] = nil
		l.b.loops[i].post(f)
	}
}

// open implements mail.
func (f *forwards) open(l *loop) {
	for i := range f.list {
		x := &f.list[i]
		o := &l.current
		*o = outgoing{expires: x.expires, from: x.from, waiter: x.waiter}
		b := f.arena[x.at:]
		o.Topic, b = b[:x.topic:x.topic], b[x.topic:]
		o.Payload, b = b[:x.payload:x.payload], b[x.payload:]
		o.Properties = mqtt.Properties(b[:x.props:x.props])
		o.QoS, o.Retain = x.qos, x.retain
		if m := x.member; m != nil {
			l.giveMember(o, m.group, m.target, m.tried)
		} else {
			l.give(o, l.route(o.Topic))
		}
		if x.waiter != nil {
			x.waiter.release(l, nil)
		}
	}
	clear(f.list)
	f.list, f.arena = f.list[:0], f.arena[:0]
	if cap(f.arena) <= 2*maxArena {
		f.pool.Put(f)
	}
}
