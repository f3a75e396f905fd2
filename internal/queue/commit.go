package queue

import (
	"bytes"
	"fmt"
	"log/slog"
	"sync"

	bolt "go.etcd.io/bbolt"
)

// pending is a batch on its way.
type pending struct {
	batch *Batch
	size  int
	done  func(error)
	err   error
}

// Commit has the batch applied after all that were committed before it, and
// calls done, from a goroutine of the store, when it is on disk or has failed
// for good. Dones are called one after another, in the order of their batches,
// and may call Commit. It does not block but where more than Options.MaxWaiting
// is under way. The batch belongs to the store until done is called. After
// Close, done gets ErrClosed.
func (s *Store) Commit(b *Batch, done func(error)) {
	p := pending{batch: b, size: b.size(), done: done, err: b.check()}
	if !s.in.put(p) {
		// Not from here: the caller may hold what done takes.
		go done(ErrClosed)
	}
}

// commitAll is the committer.
func (s *Store) commitAll() {
	defer s.out.close()
	for {
		group, last := s.in.take()
		if group == nil {
			return
		}
		err := s.apply(group)
		s.report(err)
		bytes := 0
		for i := range group {
			bytes += group[i].size
			group[i].batch = nil
			if group[i].err == nil {
				group[i].err = err
			}
		}
		s.in.release(bytes)
		s.out.put(group)
		if last {
			s.shrink()
		}
	}
}

// apply makes one transaction of the batches that are sound.
func (s *Store) apply(group []pending) error {
	if s.broken != nil {
		return s.broken
	}
	tx, err := s.db.Begin(true)
	if err != nil {
		return fmt.Errorf("commit to queue store: %w", err)
	}
	if err = applyGroup(tx, group); err == nil {
		err = tx.Commit()
	} else {
		_ = tx.Rollback() // of a transaction that is open: it cannot fail
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("commit to queue store: %w", err)
	if unsafeToGoOn(err) {
		s.broken = fmt.Errorf("closed to writes until it is opened again: %w", err)
	}
	return err
}

func applyGroup(tx *bolt.Tx, group []pending) error {
	b := tx.Bucket(bucketName())
	b.FillPercent = fill
	for i := range group {
		if group[i].err != nil {
			continue
		}
		ops := group[i].batch.Ops
		for j := range ops {
			if err := applyOp(b, &ops[j]); err != nil {
				return err
			}
		}
	}
	return nil
}

func applyOp(b *bolt.Bucket, o *Op) error {
	switch o.Kind {
	case Set:
		return b.Put(o.Key, o.Value)
	case Delete:
		return b.Delete(o.Key)
	case DeletePrefix:
		return deletePrefix(b, o.Key)
	}
	return fmt.Errorf("operation of unknown kind %d", o.Kind) // check has refused it
}

// deletePrefix collects keys before it deletes them, for a cursor loses its
// place in a page that changes.
func deletePrefix(b *bolt.Bucket, prefix []byte) error {
	keys := make([][]byte, 0, 64)
	from := prefix
	for {
		keys = keys[:0]
		c := b.Cursor()
		for k, _ := c.Seek(from); k != nil && bytes.HasPrefix(k, prefix) && len(keys) < 4096; k, _ = c.Next() {
			keys = append(keys, k)
		}
		if len(keys) == 0 {
			return nil
		}
		for _, k := range keys {
			if err := b.Delete(k); err != nil {
				return err
			}
		}
		from = keys[len(keys)-1]
	}
}

// report logs the first failure and the first success after it.
func (s *Store) report(err error) {
	switch {
	case err != nil && !s.failing:
		s.log.Error("queue store cannot write", slog.Any("error", err))
	case err == nil && s.failing:
		s.log.Info("queue store writes again")
	}
	s.failing = err != nil
}

// inbox holds what waits for the committer.
type inbox struct {
	mu      sync.Mutex // guards all below
	filled  sync.Cond
	room    sync.Cond
	max     int
	bytes   int // of what waits and what the committer has taken
	waiting []pending
	closed  bool
}

func (q *inbox) init(limit int) {
	q.max = limit
	q.filled.L, q.room.L = &q.mu, &q.mu
}

// put blocks until there is room; false means that the inbox is closed.
func (q *inbox) put(p pending) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.closed && q.bytes > 0 && q.bytes+p.size > q.max {
		q.room.Wait()
	}
	if q.closed {
		return false
	}
	q.bytes += p.size
	q.waiting = append(q.waiting, p)
	q.filled.Signal()
	return true
}

// take waits for something, and tells whether it is all there is; nil is the end.
func (q *inbox) take() (group []pending, all bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) == 0 && !q.closed {
		q.filled.Wait()
	}
	n, size := 0, 0
	for n < len(q.waiting) && (n == 0 || size+q.waiting[n].size <= maxGroup) {
		size += q.waiting[n].size
		n++
	}
	group, q.waiting = q.waiting[:n:n], q.waiting[n:]
	if n == 0 {
		return nil, true
	}
	return group, len(q.waiting) == 0
}

func (q *inbox) release(size int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.bytes -= size
	q.room.Broadcast()
}

func (q *inbox) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.filled.Broadcast()
	q.room.Broadcast()
}

// outbox holds what is to be acknowledged, by a goroutine of its own: a done
// that waits for room must not keep the committer from making it.
type outbox struct {
	mu     sync.Mutex // guards all below
	filled sync.Cond
	groups [][]pending
	closed bool
}

func (q *outbox) init() { q.filled.L = &q.mu }

func (q *outbox) put(group []pending) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.groups = append(q.groups, group)
	q.filled.Signal()
}

func (q *outbox) take() [][]pending {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.groups) == 0 && !q.closed {
		q.filled.Wait()
	}
	groups := q.groups
	q.groups = nil
	return groups
}

func (q *outbox) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.filled.Signal()
}

func (q *outbox) callAll() {
	for {
		groups := q.take()
		if groups == nil {
			return
		}
		for _, g := range groups {
			for i := range g {
				g[i].done(g[i].err)
				g[i] = pending{}
			}
		}
	}
}
