package sqlstore

import (
	"context"
	"errors"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// Watch sees the transactions that write. Its methods must not block.
type Watch interface {
	// Caller returns what Committed is told of the caller of a write, nil for nothing.
	Caller(ctx context.Context) any
	// Committed is told of the writes that shared a transaction: the callers of
	// some of them, whether anything of them was kept, and whether one failed
	// by the database's fault.
	Committed(ctx context.Context, began, ended time.Time, callers []any, writes int, kept, failed bool)
}

// runWatched is runBatch, watched.
func (d *DB) runWatched(ctx context.Context, batch []*request) {
	if d.watch == nil {
		d.runBatch(ctx, batch)
		return
	}
	began := d.now()
	d.runBatch(ctx, batch)
	var callers []any
	kept, failed := false, false
	for _, r := range batch {
		if r.who != nil {
			callers = append(callers, r.who)
		}
		kept = kept || r.err == nil
		if _, ours := errors.AsType[*iot.Error](r.err); r.err != nil && !ours {
			failed = true
		}
	}
	d.watch.Committed(ctx, began, d.now(), callers, len(batch), kept, failed)
}
