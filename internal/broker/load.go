package broker

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
	"github.com/sekisho-iot/sekisho/internal/queue"
)

// pageSize is how many entries of a queue are read at once.
const pageSize = 128

// load reads on in the part of the session's queue that is not in memory.
func (s *session) load() {
	if s.loading || !s.spilled || s.conn == nil || s.gone {
		return
	}
	l := s.loop
	seqs := slices.Clone(s.backlog.after(s.loadAfter, pageSize))
	if len(seqs) == 0 {
		s.spilled = false
		return
	}
	s.loading = true
	p := &page{s: s, round: s.loads, settled: s.batch <= l.writing.done}
	l.b.reading.Go(func() {
		l.b.readers <- struct{}{}
		defer func() { <-l.b.readers }()
		p.err = p.read(l.b, seqs)
		l.post(p)
	})
}

// page is a part of a queue that was read.
type page struct {
	s       *session
	round   uint32
	settled bool // all of it could be seen
	entries []*entry
	missing []uint64 // entries that were not kept: their batch failed
	err     error
}

// open implements mail.
func (p *page) open(l *loop) {
	s := p.s
	if s.gone || s.conn == nil || p.round != s.loads {
		return
	}
	s.loading = false
	if p.err != nil {
		l.b.log.Error("mqtt queue could not be read",
			slog.String("client_id", clip(s.id)), slog.Any("error", p.err))
		s.conn.endWith(mqtt.ServerBusy, "SERVER_ERROR", "")
		return
	}
	for _, seq := range p.missing {
		s.backlog.remove(seq)
	}
	for _, e := range p.entries {
		s.loadAfter = e.seq
		if s.suspect > 0 { // its client may have seen it before the server was killed
			s.suspect--
			e.dup = true
		}
		s.waiting.push(e)
	}
	if len(p.entries) == 0 && len(p.missing) == 0 && s.batch > l.writing.done {
		l.writing.waiting = append(l.writing.waiting, s)
		return
	}
	s.spilled = len(s.backlog.after(s.loadAfter, 1)) > 0
	s.pump()
}

// read reads entries, up to one that cannot be seen yet.
func (p *page) read(b *Broker, seqs []uint64) error {
	var named []*storedEntry
	for _, seq := range seqs {
		x, err := b.readEntry(seq, true)
		switch {
		case errors.Is(err, errMissing) && p.settled:
			p.missing = append(p.missing, seq)
			continue
		case errors.Is(err, errMissing):
			return b.readMessages(p.entries, named)
		case err != nil:
			return err
		}
		p.entries = append(p.entries, &x.entry)
		if x.name != 0 {
			named = append(named, x)
		}
	}
	return b.readMessages(p.entries, named)
}

// readEntry reads one entry, errMissing for none.
func (b *Broker) readEntry(seq uint64, whole bool) (x *storedEntry, err error) {
	err = b.store.Scan(numberKey(nil, keyQueue, seq), nil, 1, func(k, v []byte) error {
		_, stored, err := decodeQueued(v, whole)
		if err != nil {
			return fmt.Errorf("entry %x: %w", k, err)
		}
		stored.seq = seq
		x = &stored
		return nil
	})
	if err == nil && x == nil {
		err = errMissing
	}
	return x, err
}

// decodeQueued reads an entry and the key of the session that it is for.
func decodeQueued(v []byte, whole bool) (key uint64, x storedEntry, err error) {
	if len(v) < 8 {
		return 0, x, errRecord
	}
	x, err = decodeEntry(v[8:], whole)
	return binary.BigEndian.Uint64(v), x, err
}

// readMessages reads the messages that entries name.
func (b *Broker) readMessages(list []*entry, named []*storedEntry) error {
	bySeq := make(map[uint64]*entry, len(list))
	for _, e := range list {
		bySeq[e.seq] = e
	}
	for _, x := range named {
		m, err := b.readMessage(x.name)
		if errors.Is(err, errMissing) { // one message is lost, not the queue behind it
			b.log.Error("mqtt message is lost", slog.Uint64("id", x.name), slog.Any("error", err))
			m, err = &message{expires: 1, stored: x.name}, nil
		}
		if err != nil {
			return err
		}
		bySeq[x.seq].m = m
	}
	return nil
}

var errMissing = errors.New("a stored message is missing")

func (b *Broker) readMessage(id uint64) (m *message, err error) {
	key := numberKey(nil, keyMessage, id)
	err = b.store.Scan(key, nil, 1, func(_, v []byte) error {
		m, err = decodeMessage(v)
		return err
	})
	if err == nil && m == nil {
		err = errMissing
	}
	if m != nil {
		m.stored = id
	}
	return m, err
}

// discard deletes entries, and the messages that nothing else names.
func (l *loop) discard(seqs []uint64) {
	if l.ending { // the next start finds that they are nobody's
		return
	}
	l.b.reading.Go(func() {
		l.b.readers <- struct{}{}
		defer func() { <-l.b.readers }()
		for part := range slices.Chunk(seqs, discardSize) {
			names, err := l.b.namesOf(part)
			if err != nil {
				l.b.log.Error("mqtt queue could not be read", slog.Any("error", err))
			}
			l.post(mailFunc(func(l *loop) {
				w := &l.writing
				for _, seq := range part {
					w.op(queue.Delete, numberKey(w.room(9), keyQueue, seq), nil)
				}
				for _, id := range names {
					l.dropReference(id)
				}
			}))
		}
	})
}

// discardSize is how many entries are deleted at once.
const discardSize = 1024

// namesOf returns the messages that entries name.
func (b *Broker) namesOf(seqs []uint64) (names []uint64, err error) {
	for _, seq := range seqs {
		x, e := b.readEntry(seq, false)
		switch {
		case errors.Is(e, errMissing):
		case e != nil:
			err = e
		case x.name != 0:
			names = append(names, x.name)
		}
	}
	return names, err
}

// restore reads back what the store kept. The loops do not run yet.
func (b *Broker) restore() error {
	now, up, _ := b.seconds(b.cfg.Now())
	byKey := map[uint64]*session{}
	var ended []*session
	err := b.store.Scan([]byte{keySession}, nil, 0, func(k, v []byte) error {
		s, err := b.restoreSession(string(k[1:]), v, up)
		if err != nil {
			return err
		}
		byKey[s.key] = s
		if s.expires != 0 && s.expires <= now || !s.persistent.Load() {
			ended = append(ended, s)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read sessions: %w", err)
	}
	if err := errors.Join(b.restoreWills(up), b.restoreQueues(byKey), b.restoreReceived(byKey), b.restoreRetained(), b.sweepMessages()); err != nil {
		return err
	}
	for _, s := range byKey {
		s.arm()
	}
	for _, s := range ended {
		s.loop.endSession(s)
	}
	return nil
}

func (b *Broker) restoreSession(id string, v []byte, now int64) (*session, error) {
	var r sessionRecord
	if err := json.Unmarshal(v, &r); err != nil {
		return nil, fmt.Errorf("session %q: %w", id, err)
	}
	l := b.loopOf(id)
	s := &session{loop: l, id: id, key: r.Key, uuid: r.ID, version: r.Version, expiry: r.Expiry, recorded: true}
	s.persistent.Store(r.Expiry > 0)
	if r.Left == 0 { // it was there when the server ended
		r.Left = now
		s.suspect = b.cfg.Limits.Inflight
	}
	if r.Expiry != neverExpires {
		s.expires = r.Left + int64(r.Expiry)
	}
	for _, sub := range r.Subs {
		s.add(sub.Filter, mqtt.SubscribeOptions(sub.Options), sub.ID)
	}
	l.sessions[id] = s
	b.sessions.Add(1)
	return s, nil
}

func (b *Broker) restoreWills(now int64) error {
	err := b.store.Scan([]byte{keyWill}, nil, 0, func(k, v []byte) error {
		id := string(k[1:])
		s := b.loopOf(id).sessions[id]
		if s == nil {
			w := &b.loops[0].writing
			w.op(queue.Delete, append(w.room(len(k)), k...), nil)
			return nil
		}
		var r willRecord
		if err := json.Unmarshal(v, &r); err != nil {
			return fmt.Errorf("of %q: %w", id, err)
		}
		w, err := r.will()
		if err != nil {
			return fmt.Errorf("of %q: %w", id, err)
		}
		if w.at == 0 { // its client was cut off when the server ended
			left := now
			if s.expires != 0 {
				left = s.expires - int64(s.expiry)
			}
			w.at = left + int64(min(w.delay, s.expiry))
		}
		s.will, s.willKept = w, true
		return nil
	})
	if err != nil {
		return fmt.Errorf("read wills: %w", err)
	}
	return nil
}

func (b *Broker) restoreQueues(byKey map[uint64]*session) error {
	err := b.store.Scan([]byte{keyQueue}, nil, 0, func(k, v []byte) error {
		if len(k) != 9 {
			return errRecord
		}
		seq := binary.BigEndian.Uint64(k[1:])
		b.seqs.Store(max(b.seqs.Load(), seq))
		key, x, err := decodeQueued(v, false)
		if err != nil {
			return fmt.Errorf("entry %d: %w", seq, err)
		}
		s := byKey[key]
		if s == nil { // its session ended while the server did
			w := &b.loops[0].writing
			w.op(queue.Delete, append(w.room(9), k...), nil)
			return nil
		}
		s.backlog.push(seq)
		s.keptBytes += x.size
		s.spilled = true
		if x.name != 0 {
			b.references.count[x.name]++
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read queues: %w", err)
	}
	return nil
}

func (b *Broker) restoreReceived(byKey map[uint64]*session) error {
	err := b.store.Scan([]byte{keyReceived}, nil, 0, func(k, _ []byte) error {
		if len(k) != 11 {
			return errRecord
		}
		s := byKey[binary.BigEndian.Uint64(k[1:])]
		if s == nil {
			return nil
		}
		if s.received == nil {
			s.received = map[uint16]struct{}{}
		}
		s.received[binary.BigEndian.Uint16(k[9:])] = struct{}{}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read received messages: %w", err)
	}
	return nil
}

func (b *Broker) restoreRetained() error {
	err := b.store.Scan([]byte{keyRetained}, nil, 0, func(k, v []byte) error {
		r := recordReader{b: v}
		modified := time.UnixMilli(r.varint())
		m, err := decodeMessage(r.b)
		if err != nil || r.bad {
			return fmt.Errorf("retained %q: %w", k[1:], errRecord)
		}
		b.retained.set(string(m.topic), &retained{m: m, modified: modified})
		return nil
	})
	if err != nil {
		return fmt.Errorf("read retained messages: %w", err)
	}
	return nil
}

// sweepMessages deletes the messages that nothing names, and finds out which
// ids are taken.
func (b *Broker) sweepMessages() error {
	err := b.store.Scan([]byte{keyMessage}, nil, 0, func(k, _ []byte) error {
		if len(k) != 9 {
			return errRecord
		}
		id := binary.BigEndian.Uint64(k[1:])
		if b.references.count[id] == 0 {
			w := &b.loops[0].writing
			w.op(queue.Delete, numberKey(w.room(9), keyMessage, id), nil)
		}
		b.ids.Store(max(b.ids.Load(), id))
		return nil
	})
	if err != nil {
		return fmt.Errorf("read messages: %w", err)
	}
	return nil
}
