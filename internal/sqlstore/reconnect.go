package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// grace is how long a database server may be away before this one gives up.
const grace = 10 * time.Second

var (
	// ErrTaken says that another server works on the database.
	ErrTaken = errors.New("another sekisho has this database")

	errReplaced = fmt.Errorf("%w: it came while this one's connection was lost", ErrTaken)

	// ErrUnknownOutcome says that a write may have taken effect or not: the
	// connection broke while it was being committed, and no other could be made to ask.
	ErrUnknownOutcome = errors.New("the database did not say whether it kept the change")
)

// unreachable is what callers get while the database cannot be reached.
func unreachable(err error) error {
	return &iot.Error{Kind: iot.KindBusy, Message: "The database cannot be reached", Err: err}
}

// Lost is closed when the database cannot be used any more: it was away for
// too long, or another server has it. What the caches hold may be out of date
// from then on, so that the whole server has to end.
func (d *DB) Lost() <-chan struct{} { return d.lost }

// LostBecause says why, once Lost is closed.
func (d *DB) LostBecause() error {
	<-d.lost
	return d.lostErr
}

func (d *DB) isLost() bool {
	select {
	case <-d.lost:
		return true
	default:
		return false
	}
}

// commitSurely commits batch together. Where the connection is lost on the way
// it makes another, which tells what became of the commit, and tries once more.
func (d *DB) commitSurely(ctx context.Context, batch []*request) error {
	if d.isLost() {
		return d.lostErr
	}
	if !d.writer.alive() {
		if err := d.reconnect(ctx); err != nil {
			return err
		}
	}
	for again := false; ; again = true {
		err := d.commitTogether(batch)
		if err == nil || !d.writer.gone() {
			return err
		}
		if e := d.reconnect(ctx); e != nil {
			if d.dialect.pending() {
				return fmt.Errorf("%w: %w", ErrUnknownOutcome, e)
			}
			return e
		}
		done, e := d.dialect.committed(d.writer)
		if e != nil || done {
			return e
		}
		if again {
			return unreachable(err)
		}
	}
}

// checkWriter looks after the writer's connection while nobody writes, since
// losing it is losing the claim on the database.
func (d *DB) checkWriter(ctx context.Context) {
	if d.isLost() || d.writer.alive() && d.writer.ping() == nil {
		return
	}
	_ = d.reconnect(ctx) // or the database is lost, and callers hear of it
}

// reconnect replaces the writer's connection. When that fails the database is lost.
func (d *DB) reconnect(ctx context.Context) error {
	_ = d.writer.close()
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	var last error
	for {
		c, err := d.newConn(ctx)
		if err == nil {
			if err = d.dialect.retake(ctx, c); err == nil {
				d.writer = c
				return nil
			}
			_ = c.close()
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		if errors.Is(err, errReplaced) {
			break
		}
		if wait(ctx, 50*time.Millisecond) != nil {
			break
		}
	}
	d.lostErr = unreachable(fmt.Errorf("the connection to the database was lost: %w", last))
	close(d.lost)
	return d.lostErr
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
