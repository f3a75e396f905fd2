package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// maxBatch bounds how many writes share one commit, and so how long the first of them waits.
const maxBatch = 256

// tx is one caller's part of a grouped transaction. It reads its own writes.
type tx struct {
	*conn
	changes []iot.Change
	wrote   bool // so that failing now would leave something to undo
}

// query marks what may change something: a DELETE with RETURNING.
func (t *tx) query(query string, args ...any) (*sql.Rows, error) {
	t.wrote = t.wrote || !strings.HasPrefix(query, "SELECT")
	return t.conn.query(query, args...)
}

func (t *tx) queryRow(query string, args ...any) row {
	t.wrote = t.wrote || !strings.HasPrefix(query, "SELECT")
	return t.conn.queryRow(query, args...)
}

func (t *tx) exec(query string, args ...any) (sql.Result, error) {
	res, err := t.conn.exec(query, args...)
	if err != nil {
		t.wrote = true // or it cannot be known
		return res, err
	}
	n, err := res.RowsAffected()
	t.wrote = t.wrote || n > 0 || err != nil
	return res, nil
}

// changed has a change announced once the transaction is committed.
func (t *tx) changed(kind iot.ChangeKind, id string) {
	t.changes = append(t.changes, iot.Change{Kind: kind, ID: id})
}

type request struct {
	fn   func(*tx) error
	t    tx
	err  error
	who  any // what Watch made of the caller
	done chan struct{}
}

// write runs fn in a transaction and returns when it is on disk and announced.
// Concurrent writers share one commit; an error of one undoes that one alone.
// fn may be run again when the transaction that it was part of did not stand:
// it must depend on nothing but the database, and must not block.
func (d *DB) write(ctx context.Context, fn func(t *tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r := &request{fn: fn, done: make(chan struct{})}
	if d.watch != nil {
		r.who = d.watch.Caller(ctx)
	}
	select {
	case <-d.closing:
		return ErrClosed
	case <-d.lost:
		return d.lostErr
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

func (d *DB) writeLoop(ctx context.Context) {
	defer close(d.done)
	beat, stop := d.dialect.heartbeat()
	defer stop()
	batch := make([]*request, 0, maxBatch)
	for {
		batch = batch[:0]
		select {
		case r := <-d.requests:
			batch = append(batch, r)
		case <-beat:
			d.checkWriter(ctx)
			continue
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
		d.runWatched(ctx, batch)
	}
}

// runBatch commits all of batch together; when the transaction itself fails,
// each one is tried alone, so that only the one at fault sees the failure.
func (d *DB) runBatch(ctx context.Context, batch []*request) {
	err := d.commitSurely(ctx, batch)
	if err != nil && len(batch) > 1 && !d.isLost() && !errors.Is(err, ErrUnknownOutcome) {
		for _, r := range batch {
			r.t.changes = nil
			if err := d.commitSurely(ctx, []*request{r}); err != nil {
				r.err = err // else it is what the request itself came to
			}
		}
	} else if err != nil {
		for _, r := range batch {
			r.err = err
		}
	}
	for _, r := range batch {
		if (r.err == nil || errors.Is(r.err, ErrUnknownOutcome)) && d.onChange != nil {
			for _, c := range r.t.changes {
				d.onChange(c)
			}
		}
		close(r.done)
	}
}

// errUndo says that one request failed after it had changed something.
var errUndo = errors.New("a write is to be undone alone")

// commitTogether runs the batch in one transaction. Errors of single requests
// stay with them; the error it returns is the transaction's own, and then
// nothing is kept, unless it is of the commit and the connection is gone.
//
// Savepoints cost a question to the database each, and nearly no write needs
// one: most that fail have changed nothing yet. So the batch is tried without.
func (d *DB) commitTogether(batch []*request) error {
	err := d.transact(batch, runOne)
	if !errors.Is(err, errUndo) {
		return err
	}
	if len(batch) == 1 && batch[0].err != nil { // all of it was undone
		return nil
	}
	return d.transact(batch, runInSavepoint)
}

func (d *DB) transact(batch []*request, run func(*conn, *request) error) error {
	w := d.writer
	if err := d.dialect.begin(w); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	ok := 0
	for _, r := range batch {
		r.t = tx{conn: w}
		if err := run(w, r); err != nil {
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
	if err := d.dialect.commit(w); err != nil {
		if !w.gone() {
			_, _ = w.exec("ROLLBACK")
		}
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// runOne runs one request. The error it returns concerns the whole transaction.
func runOne(w *conn, r *request) error {
	r.err = call(r)
	if w.gone() {
		return errors.Join(errors.New("the connection to the database was lost"), r.err)
	}
	if w.dialect.failed(w) {
		return errUndo
	}
	if r.err == nil {
		return nil
	}
	// An error of the database's may have ended the transaction.
	if _, ours := errors.AsType[*iot.Error](r.err); r.t.wrote || !ours {
		return errUndo
	}
	return nil
}

// runInSavepoint is runOne where something may have to be undone.
func runInSavepoint(w *conn, r *request) error {
	if _, err := w.exec("SAVEPOINT one"); err != nil {
		return fmt.Errorf("savepoint: %w", err)
	}
	r.err = call(r)
	if r.err != nil {
		if _, err := w.exec("ROLLBACK TO SAVEPOINT one"); err != nil {
			return fmt.Errorf("%w (after: %w)", err, r.err)
		}
	}
	if _, err := w.exec("RELEASE SAVEPOINT one"); err != nil {
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
