package sqlstore

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// maxBatch bounds how many writes share one commit, and so how long the first of them waits.
const maxBatch = 256

// tx is one caller's part of a grouped transaction. It reads its own writes.
type tx struct {
	*conn
	changes []iot.Change
}

// changed has a change announced once the transaction is committed.
func (t *tx) changed(kind iot.ChangeKind, id string) {
	t.changes = append(t.changes, iot.Change{Kind: kind, ID: id})
}

type request struct {
	fn   func(*tx) error
	t    tx
	err  error
	done chan struct{}
}

// write runs fn in a transaction and returns when it is on disk and announced.
// Concurrent writers share one commit; each fn has a savepoint of its own, so
// an error of one undoes that one alone. fn may be run a second time when the
// transaction that it was part of failed as a whole: it must depend on nothing
// but the database, and must not block.
func (d *DB) write(ctx context.Context, fn func(t *tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r := &request{fn: fn, done: make(chan struct{})}
	select {
	case <-d.closing:
		return ErrClosed
	default:
	}
	select {
	case d.requests <- r:
	case <-ctx.Done():
		return ctx.Err()
	case <-d.closing:
		return ErrClosed
	}
	select {
	case <-r.done:
	case <-d.done: // closed; the last batch may still have held it
		select {
		case <-r.done:
		default:
			return ErrClosed
		}
	}
	return r.err
}

func (d *DB) writeLoop() {
	defer close(d.done)
	batch := make([]*request, 0, maxBatch)
	for {
		batch = batch[:0]
		select {
		case r := <-d.requests:
			batch = append(batch, r)
		case <-d.closing:
			// Nobody can be added now but by a race that write itself resolves.
			select {
			case r := <-d.requests:
				batch = append(batch, r)
			default:
				return
			}
		}
	more:
		for len(batch) < maxBatch {
			select {
			case r := <-d.requests:
				batch = append(batch, r)
			default:
				break more
			}
		}
		d.runBatch(batch)
	}
}

// runBatch commits all of batch together; when the transaction itself fails,
// each one is tried alone, so that only the one at fault sees the failure.
func (d *DB) runBatch(batch []*request) {
	err := d.commitTogether(batch)
	if err != nil && len(batch) > 1 {
		for _, r := range batch {
			r.t.changes = nil
			r.err = d.commitTogether([]*request{r})
		}
	} else if err != nil {
		batch[0].err = err
	}
	for _, r := range batch {
		if r.err == nil && d.onChange != nil {
			for _, c := range r.t.changes {
				d.onChange(c)
			}
		}
		close(r.done)
	}
}

// commitTogether runs the batch in one transaction. Errors of single requests
// stay with them; the error it returns is the transaction's own, and then nothing is kept.
func (d *DB) commitTogether(batch []*request) error {
	w := d.writer
	if _, err := w.exec("BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	ok := 0
	for _, r := range batch {
		r.t = tx{conn: w}
		r.err = nil
		if err := runOne(w, r); err != nil {
			_, _ = w.exec("ROLLBACK")
			return err
		}
		if r.err == nil {
			ok++
		}
	}
	if ok == 0 {
		_, _ = w.exec("ROLLBACK")
		return nil
	}
	if _, err := w.exec("COMMIT"); err != nil {
		_, _ = w.exec("ROLLBACK")
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// runOne runs one request in its savepoint. The error it returns is one of the
// connection, which the whole transaction shares.
func runOne(w *conn, r *request) error {
	if _, err := w.exec("SAVEPOINT one"); err != nil {
		return fmt.Errorf("savepoint: %w", err)
	}
	r.err = call(r)
	if r.err != nil {
		if _, err := w.exec("ROLLBACK TO one"); err != nil {
			return fmt.Errorf("%w (after: %w)", err, r.err)
		}
	}
	if _, err := w.exec("RELEASE one"); err != nil {
		return fmt.Errorf("release: %w", err)
	}
	return nil
}

// call keeps a panic of one caller's function from ending the writer for all.
func call(r *request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in a write: %v", p)
		}
	}()
	return r.fn(&r.t)
}

// affected returns how many rows a statement changed.
func affected(res sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}
