package broker

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// neverExpires is the session expiry interval of a session that does not end.
const neverExpires = 1<<32 - 1

// session is what a client has between its connections. It belongs to the loop
// that its client ID hashes to.
type session struct {
	loop    *loop
	id      string
	key     uint64 // its name in the store; 0 while it is not persistent
	conn    *conn  // nil while the client is away
	version mqtt.Version
	gone    bool
	online  atomic.Bool // for those who choose a member of a shared subscription

	uuid        [16]byte // sessionIdentifier of lifecycle events
	number      int      // versionNumber of lifecycle events
	lastConnect time.Time

	persistent atomic.Bool
	recorded   bool   // the store has heard of it
	unsaved    bool   // and is about to be written
	willKept   bool   // the store has a will
	expiry     uint32 // seconds that it outlives its connection
	expires    int64  // when it ends, in Unix seconds; 0 while the client is there, or for never
	wait       int64  // when the timer is to look
	will       *will  // that waits for its delay

	subs     subscriptions
	received map[uint16]struct{} // QoS 2 messages of the client that are not released yet

	// Messages for the client: those on the way, in the order of sending, then
	// those in memory, then those that the store alone has, after loadAfter.
	nextID      uint16
	flights     flights
	unsent      int // of flights: those of an earlier connection that are still to be sent again
	waiting     ring
	spilled     bool
	loading     bool
	loads       uint32 // changes when what is being loaded is no longer wanted
	loadAfter   uint64
	backlog     backlog // messages in the store
	keptBytes   int64   // and their bytes
	suspect     int     // of the first of them, which the client may have seen already
	batch       uint64  // the newest that has an entry of it
	touched     uint64  // the newest that has any change of its queue
	redelivered *bucket
}

// entry is a message that waits for one session.
type entry struct {
	m      *message
	ids    []uint32 // subscription identifiers
	seq    uint64   // in the store; 0 where it is not kept
	id     uint16   // its packet identifier, where it was on its way before a restart
	qos    mqtt.QoS
	retain bool
	dup    bool // may have been sent before
	freed  bool // QoS 2: was received, PUBREL is to be sent
	shared bool // the message is in memory as a retained one
}

// size is what the entry makes wait in memory.
func (e *entry) size() int64 {
	if e.shared {
		return messageOverhead
	}
	return e.m.size()
}

// subscription is one topic filter of a session.
type subscription struct {
	session *session
	filter  string // as it was sent
	topic   string // without $share/NAME/
	group   *group // nil where it is not shared
	options mqtt.SubscribeOptions
	id      uint32 // subscription identifier; 0 for none
}

// subscriptions are those of a session: most have few.
type subscriptions struct {
	list   []*subscription
	byName map[string]*subscription // once there are many
}

// manySubscriptions is from how many on they are looked up in a map.
const manySubscriptions = 16

func (x *subscriptions) find(filter string) *subscription {
	if x.byName != nil {
		return x.byName[filter]
	}
	for _, sub := range x.list {
		if sub.filter == filter {
			return sub
		}
	}
	return nil
}

func (x *subscriptions) add(sub *subscription) {
	if x.list == nil {
		x.list = make([]*subscription, 0, 1)
	}
	x.list = append(x.list, sub)
	switch {
	case x.byName != nil:
		x.byName[sub.filter] = sub
	case len(x.list) > manySubscriptions:
		x.byName = make(map[string]*subscription, 2*manySubscriptions)
		for _, sub := range x.list {
			x.byName[sub.filter] = sub
		}
	}
}

func (x *subscriptions) remove(sub *subscription) {
	x.list = without(x.list, sub)
	delete(x.byName, sub.filter)
}

// ring is a queue of entries.
type ring struct {
	list  []*entry
	first int
	bytes int64
}

func (r *ring) len() int { return len(r.list) - r.first }

func (r *ring) push(e *entry) {
	r.list = append(r.list, e)
	r.bytes += e.size()
}

func (r *ring) peek() *entry { return r.list[r.first] }

func (r *ring) pop() {
	e := r.list[r.first]
	r.list[r.first] = nil
	r.first++
	r.bytes -= e.size()
	switch {
	case r.first == len(r.list):
		*r = ring{}
	case r.first >= 64 && r.first*2 >= len(r.list):
		r.list = append(make([]*entry, 0, len(r.list)-r.first+64), r.list[r.first:]...)
		r.first = 0
	}
}

// packetID returns an identifier that no message on the way has.
func (s *session) packetID() uint16 {
	for {
		s.nextID++
		if s.nextID == 0 {
			continue
		}
		if !s.flights.taken(s.nextID) {
			return s.nextID
		}
		s.flights.mixed = true // those behind the oldest may be in the way, too
	}
}

// land takes a message out of those on the way.
func (s *session) land(i int) {
	if i >= s.flights.n-s.unsent {
		s.unsent--
	}
	s.flights.remove(i)
}

// open reports whether another message may be sent at once.
func (s *session) open() bool {
	return s.flights.n < s.conn.window && s.waiting.len() == 0 && !s.spilled && s.unsent == 0 && s.conn.roomy()
}

// full reports whether no further message may wait for the session.
func (s *session) full() bool {
	l := &s.loop.b.cfg.Limits
	count, bytes := s.waiting.len(), s.waiting.bytes
	if s.kept() || s.spilled {
		count, bytes = s.backlog.len(), s.keptBytes
	}
	return l.QueuedMessages > 0 && count >= l.QueuedMessages || l.QueuedBytes > 0 && bytes >= l.QueuedBytes
}

// kept reports whether messages for the session are kept in the store.
func (s *session) kept() bool { return s.persistent.Load() && s.loop.b.store != nil }

// inMemory is how many messages of a persistent session wait in memory.
const inMemory = 256

// offer gives a message of QoS 1 or 2 to a session: at once, or when the
// client has acknowledged others. e is nil where nothing keeps the message yet.
func (s *session) offer(o *outgoing, t *target, qos mqtt.QoS, e *entry) {
	c := s.conn
	if c != nil && s.open() {
		id := s.packetID()
		if e == nil && s.persistent.Load() {
			e = s.newEntry(o, t, qos) // memory alone keeps it
		}
		s.flights.push(flight{id: id, qos: qos, e: e}) // before it is sent, which may end the connection
		if c.send(o, &delivery{qos: qos, id: id, retain: o.keepsRetain(t), ids: t.ids}) {
			s.loop.keepFlight(s, e, id)
			return
		}
		s.land(s.flights.n - 1)
		if e != nil {
			s.forget(e)
		}
		return
	}
	if e != nil && e.seq != 0 && (c == nil || s.spilled || s.waiting.len() >= inMemory) {
		if !s.spilled {
			s.spilled = true
			s.loadAfter = e.seq - 1
		}
		return
	}
	if e == nil {
		if s.full() {
			s.overflow()
			return
		}
		e = s.newEntry(o, t, qos)
	}
	s.waiting.push(e)
	if c != nil && !s.persistent.Load() && s.waiting.bytes > int64(s.loop.b.cfg.Limits.Output) {
		s.loop.b.observer.Limit("slow_reader")
		c.endWith(mqtt.QuotaExceeded, "SERVER_INITIATED_DISCONNECT", "the client does not acknowledge what it is sent")
	}
}

// overflow drops a message for which there is no room.
func (s *session) overflow() {
	s.loop.b.observer.Limit("queued_messages")
	s.loop.b.dropped(s, "queue_full")
}

func (s *session) newEntry(o *outgoing, t *target, qos mqtt.QoS) *entry {
	return &entry{m: o.message(), ids: t.ids, qos: qos, retain: o.keepsRetain(t), shared: o.stored}
}

// pump sends what waits, as far as the client takes it.
func (s *session) pump() {
	c := s.conn
	if c == nil || c.state != stateOpen {
		return
	}
	for s.unsent > 0 && s.flights.n-s.unsent < c.window && c.roomy() {
		f := s.flights.at(s.flights.n - s.unsent)
		s.unsent--
		c.sendAgain(f)
		if c.state != stateOpen {
			return
		}
	}
	for s.unsent == 0 && s.waiting.len() > 0 && s.flights.n < c.window && c.roomy() {
		if !s.mayRedeliver() {
			return
		}
		e := s.waiting.peek()
		allowed := e.freed || e.m.expired(s.loop.sec) || c.mayReceive(e.m.topic)
		if c.state != stateOpen { // judged anew, and ended: the message waits on
			return
		}
		s.waiting.pop()
		s.sendEntry(e, allowed)
		if c.state != stateOpen {
			return
		}
	}
	if s.spilled && s.waiting.len() < inMemory/2 {
		s.load()
	}
}

// mayRedeliver is the limit on stored messages a second.
func (s *session) mayRedeliver() bool {
	rate := s.loop.b.cfg.Limits.RedeliveryRate
	if rate == 0 || !s.persistent.Load() {
		return true
	}
	if s.redelivered == nil {
		s.redelivered = newBucket(rate, s.loop.now)
	}
	if s.redelivered.empty(s.loop.now) {
		s.conn.arm(s.loop.sec + 1)
		return false
	}
	s.redelivered.take(1)
	return true
}

// sendEntry sends a message that waited.
func (s *session) sendEntry(e *entry, allowed bool) {
	c, l := s.conn, s.loop
	o := l.view(e.m)
	switch {
	case e.freed:
		s.flights.mixed = true
		s.flights.push(flight{id: e.id, qos: 2, released: true, e: e})
		c.out = mqtt.AppendAck(c.output(), mqtt.TypePubrel, e.id)
		return
	case e.m.expired(l.sec):
		l.b.dropped(s, "expired")
	case !allowed:
		l.b.dropped(s, "receive_denied")
	default:
		if e.qos == 0 {
			c.send(o, &delivery{retain: e.retain, ids: e.ids})
			return
		}
		id := e.id
		if id == 0 || s.flights.find(id) >= 0 {
			id = s.packetID()
		} else {
			s.flights.mixed = true
		}
		s.flights.push(flight{id: id, qos: e.qos, e: e}) // as in offer
		if c.send(o, &delivery{qos: e.qos, id: id, retain: e.retain, dup: e.dup, ids: e.ids}) {
			l.keepFlight(s, e, id)
			return
		}
		s.land(s.flights.n - 1)
	}
	s.forget(e)
}

// sendAgain sends a message of an earlier connection again.
func (c *conn) sendAgain(f *flight) {
	if f.released {
		c.out = mqtt.AppendAck(c.output(), mqtt.TypePubrel, f.id)
		return
	}
	e := f.e
	o := c.loop.view(e.m)
	s, id := c.session, f.id
	switch allowed := c.mayReceive(o.Topic); {
	case c.state != stateOpen: // judged anew, and ended
	case !allowed || !c.send(o, &delivery{qos: e.qos, id: id, retain: e.retain, dup: true, ids: e.ids}):
		if i := s.flights.find(id); i >= 0 {
			s.land(i)
		}
		s.forget(e)
	}
}

// leave has the session go on without its connection.
func (s *session) leave() {
	s.online.Store(false)
	s.conn = nil
	s.unsent = s.flights.n
	if !s.kept() {
		return
	}
	for _, e := range s.waiting.list[s.waiting.first:] {
		if e.seq != 0 { // the store has it, too, and those behind it
			s.spilled, s.loadAfter = true, e.seq-1
			break
		}
	}
	s.waiting = ring{}
	s.loads++ // what is being loaded is for nobody
	s.loading = false
}

// due implements timer.
func (s *session) due() int64 {
	if s.gone {
		return 0
	}
	return s.wait
}

// arm has the timer look at the session when its will or its end is due.
func (s *session) arm() {
	at := s.expires
	if s.will != nil && (at == 0 || s.will.at < at) {
		at = s.will.at
	}
	if at == 0 {
		return
	}
	at = min(at, s.loop.sec+lookAhead)
	if s.wait == 0 || at < s.wait {
		s.wait = at
		s.loop.wheel.add(s, at)
	}
}

// fire implements timer.
func (s *session) fire(l *loop) {
	s.wait = 0
	if s.gone || s.conn != nil {
		return
	}
	if s.will != nil && l.sec >= s.will.at {
		w := s.will
		s.will = nil
		l.publishWill(s, w)
		l.keepWill(s, nil) // or a restart would publish it again
	}
	if s.expires != 0 && l.sec >= s.expires {
		l.endSession(s)
		return
	}
	s.arm()
}

// newSession makes a session.
func (l *loop) newSession(id string) (*session, error) {
	var b [24]byte
	if _, err := io.ReadFull(l.b.cfg.Rand, b[:]); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	if limit := int64(l.b.cfg.Limits.Sessions); l.b.sessions.Add(1) > limit && limit > 0 {
		l.b.sessions.Add(-1)
		l.b.observer.Limit("sessions")
		return nil, &mqtt.Error{Code: mqtt.QuotaExceeded, Detail: "too many sessions"}
	}
	s := &session{loop: l, id: id, key: binary.BigEndian.Uint64(b[16:]) | 1}
	copy(s.uuid[:], b[:16])
	s.uuid[6], s.uuid[8] = s.uuid[6]&0x0f|0x40, s.uuid[8]&0x3f|0x80
	if p, ok := l.past[l.b.hash(id)]; ok {
		delete(l.past, l.b.hash(id))
		s.lastConnect = time.Unix(0, p.connected)
		if l.sec-p.left < forgetAfter {
			s.number = int(p.number) + 1
		}
	}
	l.sessions[id] = s
	return s, nil
}

// endSession ends a session whose client is away.
func (l *loop) endSession(s *session) {
	if s.gone {
		return
	}
	s.gone = true
	l.keepWill(s, nil)
	if s.will != nil {
		w := s.will
		s.will = nil
		l.publishWill(s, w)
	}
	if len(s.subs.list) > 0 {
		for _, sub := range s.subs.list {
			s.unlink(sub)
		}
		s.subs = subscriptions{}
		l.b.subscriptions.Add(1)
	}
	l.forgetSession(s)
	if l.sessions[s.id] == s {
		delete(l.sessions, s.id)
		l.b.sessions.Add(-1)
	}
	if len(l.past) < maxPast && !s.lastConnect.IsZero() {
		l.past[l.b.hash(s.id)] = past{number: int32(s.number), left: l.sec, connected: s.lastConnect.UnixNano()} //nolint:gosec // of an hour
	}
}

// setPersistent says whether the session outlives its connection.
func (s *session) setPersistent(yes bool) {
	if s.persistent.Swap(yes) != yes && len(s.subs.list) > 0 {
		s.loop.b.subscriptions.Add(1) // routes count them
	}
}

// past is what is remembered of a client without a session.
type past struct {
	left      int64 // in Unix seconds
	connected int64 // in Unix nanoseconds
	number    int32
}

const (
	maxPast     = 100_000
	forgetAfter = 3600 // seconds until versionNumber begins anew
)

// lastConnect is when a client connected last; zero if that is long ago.
func (l *loop) lastConnect(id string) time.Time {
	if s := l.sessions[id]; s != nil {
		return s.lastConnect
	}
	p, ok := l.past[l.b.hash(id)]
	if !ok {
		return time.Time{}
	}
	return time.Unix(0, p.connected)
}

// forgetPast forgets the clients that have been away for long.
func (l *loop) forgetPast() {
	for id, p := range l.past {
		if l.sec-p.left >= forgetAfter {
			delete(l.past, id)
		}
	}
}
