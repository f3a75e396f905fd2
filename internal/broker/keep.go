package broker

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"log/slog"
	"sync"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
	"github.com/sekisho-iot/sekisho/internal/queue"
)

// The keys of the store: a letter for the kind, then the name.
const (
	keySession  = 's' // client ID: sessionRecord
	keyWill     = 'w' // client ID: willRecord
	keyQueue    = 'q' // sequence number: session key, entry
	keyMessage  = 'm' // id: message that several entries name
	keyReceived = 'i' // session key, packet identifier: QoS 2 message that is not released
	keyRetained = 'r' // topic, or as much as a key takes: when it was retained, message
)

// The flags of a stored entry.
const (
	entryQoS    = 3
	entryRetain = 1 << 2
	entryDup    = 1 << 3
	entryFreed  = 1 << 4
	entryNamed  = 1 << 5 // the message is stored under an id
	entryFlight = 1 << 6 // with its packet identifier
)

// sessionRecord is a session as the store has it.
type sessionRecord struct {
	Key     uint64       `json:"key"`
	ID      [16]byte     `json:"id"` // sessionIdentifier
	Version mqtt.Version `json:"version"`
	Expiry  uint32       `json:"expiry"`
	Left    int64        `json:"left,omitempty"` // when its client left, in Unix seconds; 0 while it is there
	Subs    []subRecord  `json:"subs,omitempty"`
}

// willRecord is the will of the session's connection, or the one that waits
// for its delay since the client left.
type willRecord struct {
	Message []byte `json:"message"`
	Expiry  uint32 `json:"expiry,omitempty"`
	Timed   bool   `json:"timed,omitempty"`
	Delay   uint32 `json:"delay,omitempty"`
	At      int64  `json:"at,omitempty"`
}

// record is the will as the store has it.
func (w *will) record() *willRecord {
	return &willRecord{Message: w.m.encode(nil), Expiry: w.expiry, Timed: w.timed, Delay: w.delay, At: w.at}
}

func (r *willRecord) will() (*will, error) {
	m, err := decodeMessage(r.Message)
	return &will{m: m, expiry: r.Expiry, timed: r.Timed, delay: r.Delay, at: r.At}, err
}

type subRecord struct {
	Filter  string `json:"f"`
	Options byte   `json:"o,omitempty"`
	ID      uint32 `json:"i,omitempty"`
}

// references counts the entries that name each stored message.
type references struct {
	mu    sync.Mutex // guards count
	count map[uint64]int32
}

func (r *references) add(id uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count[id]++
}

// drop reports whether that was the last reference.
func (r *references) drop(id uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count[id]--
	if r.count[id] > 0 {
		return false
	}
	delete(r.count, id)
	return true
}

// writing is what a loop has to write at the end of the tick.
type writing struct {
	batch   *queue.Batch
	arena   []byte
	waiters []*waiter
	number  uint64 // of the batch that is being filled
	done    uint64 // of the newest batch that is on disk, or has failed
	under   int    // batches that are under way
	waiting []*session
}

// room returns n bytes that stay as they are until the batch is written.
func (w *writing) room(n int) []byte {
	if cap(w.arena)-len(w.arena) < n {
		w.arena = make([]byte, 0, max(n, 32<<10))
	}
	b := w.arena[len(w.arena):len(w.arena):min(len(w.arena)+n, cap(w.arena))]
	w.arena = w.arena[:len(w.arena)+n]
	return b
}

func (w *writing) op(kind queue.OpKind, key, value []byte) {
	if w.batch == nil {
		w.batch = new(queue.Batch)
		w.number++
	}
	w.batch.Ops = append(w.batch.Ops, queue.Op{Kind: kind, Key: key, Value: value})
}

// wait has a waiter wait for the batch.
func (w *writing) wait(x *waiter) {
	if x == nil || len(w.waiters) > 0 && w.waiters[len(w.waiters)-1] == x {
		return
	}
	x.hold()
	w.waiters = append(w.waiters, x)
}

func numberKey(b []byte, kind byte, numbers ...uint64) []byte {
	b = append(b, kind)
	for _, n := range numbers {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return b
}

// keep has the store keep a message for a persistent session.
func (l *loop) keep(s *session, e *entry, o *outgoing) {
	e.seq = l.b.seqs.Add(1)
	if e.m.stored != 0 {
		l.b.references.add(e.m.stored)
	}
	l.writeEntry(s, e)
	s.backlog.push(e.seq)
	s.keptBytes += e.m.size()
	l.writing.wait(o.waiter)
}

// writeEntry writes an entry as it is.
func (l *loop) writeEntry(s *session, e *entry) {
	w := &l.writing
	value := binary.BigEndian.AppendUint64(w.room(72+10*len(e.ids)+e.messageSize()), s.key)
	w.op(queue.Set, numberKey(w.room(9), keyQueue, e.seq), e.encode(value))
	s.batch, s.touched = w.number, w.number
}

func (e *entry) messageSize() int {
	if e.m.stored != 0 || e.freed {
		return 8
	}
	return int(e.m.size())
}

func (e *entry) encode(b []byte) []byte {
	flags := byte(e.qos)
	if e.retain {
		flags |= entryRetain
	}
	if e.dup {
		flags |= entryDup
	}
	if e.freed {
		flags |= entryFreed
	}
	if e.m.stored != 0 {
		flags |= entryNamed
	}
	if e.id != 0 {
		flags |= entryFlight
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, uint64(e.m.size())) //nolint:gosec // a size
	if e.id != 0 {
		b = binary.BigEndian.AppendUint16(b, e.id)
	}
	b = binary.AppendUvarint(b, uint64(len(e.ids)))
	for _, id := range e.ids {
		b = binary.AppendUvarint(b, uint64(id))
	}
	switch {
	case e.freed:
		return b
	case e.m.stored != 0:
		return binary.BigEndian.AppendUint64(b, e.m.stored)
	}
	return e.m.encode(b)
}

// storedEntry is an entry as it stands in the store.
type storedEntry struct {
	entry
	size int64
	name uint64 // of the message, 0 where it stands in the entry
}

func decodeEntry(b []byte, whole bool) (x storedEntry, err error) {
	r := recordReader{b: b}
	flags := r.byte()
	x.qos = mqtt.QoS(flags & entryQoS)
	x.retain, x.dup, x.freed = flags&entryRetain != 0, flags&entryDup != 0, flags&entryFreed != 0
	x.size = int64(r.uvarint()) //nolint:gosec // a size
	if flags&entryFlight != 0 {
		if id := r.bytes(2); id != nil {
			x.id = binary.BigEndian.Uint16(id)
		}
	}
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		return x, errRecord
	}
	for range n {
		x.ids = append(x.ids, uint32(r.uvarint())) //nolint:gosec // made from 32 bits
	}
	if flags&entryNamed != 0 && !x.freed {
		if id := r.bytes(8); id != nil {
			x.name = binary.BigEndian.Uint64(id)
		}
	}
	switch {
	case r.bad:
		return x, errRecord
	case x.freed:
		x.m = &message{}
	case x.name == 0 && whole:
		x.m, err = decodeMessage(r.b)
	}
	return x, err
}

// keepOnce has the store keep a message that goes to several persistent
// sessions of this loop, under an id that their entries name.
func (l *loop) keepOnce(o *outgoing) (release func()) {
	m := *o.message()
	m.stored = l.b.ids.Add(1)
	o.heap = &m
	w := &l.writing
	l.b.references.add(m.stored)
	w.op(queue.Set, numberKey(w.room(9), keyMessage, m.stored), m.encode(w.room(int(m.size()))))
	return func() { l.dropReference(m.stored) }
}

func (l *loop) dropReference(id uint64) {
	if l.b.references.drop(id) {
		w := &l.writing
		w.op(queue.Delete, numberKey(w.room(9), keyMessage, id), nil)
	}
}

// forget has the store forget a message that has arrived, or never will.
func (s *session) forget(e *entry) {
	if e.seq == 0 {
		return
	}
	l := s.loop
	w := &l.writing
	w.op(queue.Delete, numberKey(w.room(9), keyQueue, e.seq), nil)
	s.touched = w.number
	s.backlog.remove(e.seq)
	s.keptBytes -= e.m.size()
	if e.m.stored != 0 {
		l.dropReference(e.m.stored)
	}
}

// keepFlight notes under which identifier a QoS 2 message is on its way.
func (l *loop) keepFlight(s *session, e *entry, id uint16) {
	if e == nil || e.seq == 0 || e.qos != 2 || e.id == id {
		return
	}
	e.id = id
	l.writeEntry(s, e)
}

// keepReleased notes that a QoS 2 message was received.
func (l *loop) keepReleased(s *session, f *flight) {
	e := f.e
	if e == nil || e.seq == 0 || e.freed {
		return
	}
	if e.m.stored != 0 {
		l.dropReference(e.m.stored)
	}
	s.keptBytes -= e.m.size()
	e.m = new(message) // it is not sent again
	s.keptBytes += e.m.size()
	e.id, e.freed = f.id, true
	l.writeEntry(s, e)
}

func receivedKey(b []byte, key uint64, id uint16) []byte {
	return binary.BigEndian.AppendUint16(numberKey(b, keyReceived, key), id)
}

// keepReceived notes a QoS 2 message of the client.
func (l *loop) keepReceived(s *session, id uint16, x *waiter) {
	if !s.kept() {
		return
	}
	w := &l.writing
	w.op(queue.Set, receivedKey(w.room(11), s.key, id), nil)
	w.wait(x)
}

// forgetReceived notes that it was released.
func (l *loop) forgetReceived(s *session, id uint16, x *waiter) {
	if s.recorded {
		w := &l.writing
		w.op(queue.Delete, receivedKey(w.room(11), s.key, id), nil)
		w.wait(x)
	}
}

// retainedKey is a topic's. One that is longer than a key may be ends in its hash.
func retainedKey(b []byte, topic string) []byte {
	b = append(b, keyRetained)
	if len(topic) < queue.MaxKey {
		return append(b, topic...)
	}
	sum := sha256.Sum256([]byte(topic))
	return append(append(b, topic[:queue.MaxKey-1-len(sum)]...), sum[:]...)
}

// keepRetained has the store keep, or forget, a retained message.
func (l *loop) keepRetained(topic string, x *retained, o *outgoing) {
	if l.b.store == nil {
		return
	}
	w := &l.writing
	key := retainedKey(w.room(1+min(len(topic), queue.MaxKey)), topic)
	if x == nil {
		w.op(queue.Delete, key, nil)
	} else {
		value := binary.AppendVarint(w.room(20+int(x.m.size())), x.modified.UnixMilli())
		w.op(queue.Set, key, x.m.encode(value))
	}
	w.wait(o.waiter)
	l.submit() // under the lock: the order of two loops' changes is that of the messages
}

// keepSession has the session written as it is at the end of the tick.
func (l *loop) keepSession(s *session) {
	if l.b.store == nil || s.key == 0 {
		return
	}
	if !s.unsaved {
		s.unsaved, s.recorded = true, true
		l.unsaved = append(l.unsaved, s)
	}
}

// keepSessionFor has a waiter wait for it.
func (l *loop) keepSessionFor(s *session, w *waiter) {
	l.keepSession(s)
	l.writing.wait(w)
}

// writeSession writes a session's record.
func (l *loop) writeSession(s *session) {
	r := sessionRecord{Key: s.key, ID: s.uuid, Version: s.version, Expiry: s.expiry}
	if s.conn == nil {
		r.Left = l.up
		if s.expires != 0 {
			r.Left = s.expires - int64(s.expiry)
		}
	}
	for _, sub := range s.subs.list {
		r.Subs = append(r.Subs, subRecord{Filter: sub.filter, Options: byte(sub.options), ID: sub.id})
	}
	value, err := json.Marshal(&r)
	if err != nil { // it holds nothing that could not be written
		l.b.log.Error("mqtt session record", slog.Any("error", err))
		return
	}
	l.writing.op(queue.Set, s.named(keySession), value)
}

// named is the session's key of a kind that goes by client ID.
func (s *session) named(kind byte) []byte {
	return append(append(s.loop.writing.room(1+len(s.id)), kind), s.id...)
}

// keepWill has the store keep the will of a persistent session: of its
// connection, or the one that waits for its delay. nil is for none.
func (l *loop) keepWill(s *session, w *will) {
	switch {
	case l.b.store == nil:
	case w != nil && s.persistent.Load():
		value, err := json.Marshal(w.record())
		if err != nil { // it holds nothing that could not be written
			l.b.log.Error("mqtt will record", slog.Any("error", err))
			return
		}
		s.willKept = true
		l.writing.op(queue.Set, s.named(keyWill), value)
	case s.willKept:
		s.willKept = false
		l.writing.op(queue.Delete, s.named(keyWill), nil)
	}
}

// forgetSession has the store forget a session and what it kept for it.
func (l *loop) forgetSession(s *session) {
	if !s.recorded {
		return
	}
	w := &l.writing
	w.op(queue.Delete, s.named(keySession), nil)
	w.op(queue.DeletePrefix, numberKey(w.room(9), keyReceived, s.key), nil)
	if s.backlog.len() > 0 {
		l.discardOf(s)
	}
}

// discardOf deletes the queue of a session that has ended. It is read for that,
// when it can be read as it is: an entry that was forgotten must not be met
// again, and none that was made be missed.
func (l *loop) discardOf(s *session) {
	if w := &l.writing; s.touched > w.done {
		w.waiting = append(w.waiting, s)
		return
	}
	l.discard(s.backlog.after(0, s.backlog.len()))
}

// submit hands what was written in this tick to the store.
func (l *loop) submit() {
	w := &l.writing
	for _, s := range l.unsaved {
		if s.unsaved = false; !s.gone {
			l.writeSession(s)
		}
	}
	l.unsaved = l.unsaved[:0]
	if w.batch == nil {
		return
	}
	batch, waiters, number := w.batch, w.waiters, w.number
	w.batch, w.waiters, w.arena = nil, nil, nil
	w.under++
	l.b.store.Commit(batch, func(err error) { l.post(&committed{waiters: waiters, number: number, err: err}) })
}

// committed is the news that a batch is on disk, or has failed.
type committed struct {
	waiters []*waiter
	number  uint64
	err     error
}

// open implements mail.
func (x *committed) open(l *loop) {
	w := &l.writing
	w.under--
	w.done = x.number
	if x.err != nil {
		l.b.observer.Dropped("store_failed")
		l.b.log.Error("mqtt store", slog.Any("error", x.err))
	}
	for _, waiting := range x.waiters {
		waiting.release(l, x.err)
	}
	if list := w.waiting; len(list) > 0 {
		w.waiting = nil
		for _, s := range list {
			if s.gone {
				l.discardOf(s)
			} else {
				s.load()
			}
		}
	}
}
