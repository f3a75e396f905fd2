package broker

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
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
	s.loading = true
	p := &page{s: s, round: s.loads, after: s.loadAfter, last: s.seq, settled: s.batch <= l.writing.done}
	key := s.key
	l.b.reading.Go(func() {
		l.b.readers <- struct{}{}
		defer func() { <-l.b.readers }()
		p.entries, p.err = l.b.readQueue(key, p.after)
		l.post(p)
	})
}

// page is a part of a queue that was read.
type page struct {
	s       *session
	round   uint32
	after   uint64
	last    uint64 // the newest entry when reading began
	settled bool   // all of them could be seen
	entries []*entry
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
	for _, e := range p.entries {
		s.loadAfter = e.seq
		if s.suspect > 0 { // its client may have seen it before the server was killed
			s.suspect--
			e.dup = true
		}
		s.waiting.push(e)
	}
	switch {
	case len(p.entries) == pageSize:
	case p.settled && s.seq == p.last:
		s.spilled = false
	case len(p.entries) == 0 && s.batch > l.writing.done:
		l.writing.waiting = append(l.writing.waiting, s)
		return
	}
	s.pump()
}

// readQueue reads a page of a queue.
func (b *Broker) readQueue(key, after uint64) ([]*entry, error) {
	var list []*entry
	var named []*storedEntry
	prefix := numberKey(nil, keyQueue, key)
	err := b.store.Scan(prefix, numberKey(nil, keyQueue, key, after), pageSize, func(k, v []byte) error {
		x, err := decodeEntry(v, true)
		if err != nil {
			return fmt.Errorf("entry %x: %w", k, err)
		}
		x.seq = binary.BigEndian.Uint64(k[len(prefix):])
		list = append(list, &x.entry)
		if x.name != 0 {
			named = append(named, &x)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return list, b.readMessages(list, named)
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

// discard deletes a queue, and the messages that nothing else names.
func (l *loop) discard(key uint64) {
	if l.ending { // the next start finds that it is nobody's
		return
	}
	l.b.reading.Go(func() {
		l.b.readers <- struct{}{}
		defer func() { <-l.b.readers }()
		var names []uint64
		err := l.b.store.Scan(numberKey(nil, keyQueue, key), nil, 0, func(_, v []byte) error {
			if x, err := decodeEntry(v, false); err == nil && x.name != 0 {
				names = append(names, x.name)
			}
			return nil
		})
		l.post(mailFunc(func(l *loop) {
			if err != nil {
				l.b.log.Error("mqtt queue could not be read", slog.Any("error", err))
			}
			for _, id := range names {
				l.dropReference(id)
			}
			w := &l.writing
			w.op(queue.DeletePrefix, numberKey(w.room(9), keyQueue, key), nil)
		}))
	})
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
	strays := map[uint64]bool{}
	err := b.store.Scan([]byte{keyQueue}, nil, 0, func(k, v []byte) error {
		if len(k) != 17 {
			return errRecord
		}
		key, seq := binary.BigEndian.Uint64(k[1:]), binary.BigEndian.Uint64(k[9:])
		s := byKey[key]
		if s == nil {
			strays[key] = true
			return nil
		}
		x, err := decodeEntry(v, false)
		if err != nil {
			return err
		}
		s.seq = seq
		s.keptCount++
		s.keptBytes += x.size
		s.spilled = true
		if x.name != 0 {
			b.references.count[x.name]++
		}
		return nil
	})
	for key := range strays { // their session ended while the server did
		w := &b.loops[0].writing
		w.op(queue.DeletePrefix, numberKey(w.room(9), keyQueue, key), nil)
	}
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
