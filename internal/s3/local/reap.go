package local

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/s3"
)

const (
	reapDelay  = 100 * time.Millisecond // garbage gathers that long, so that it is removed in batches
	reapBatch  = 512
	staleEvery = time.Hour
)

// reapLoop removes garbage when there is some, and gives up old uploads.
func (e *Engine) reapLoop(ctx context.Context) {
	stale := time.NewTicker(staleEvery)
	defer stale.Stop()
	delay := time.NewTimer(reapDelay)
	defer delay.Stop()
	e.wake() // an earlier process may have left some
	for {
		select {
		case <-ctx.Done():
			return
		case <-stale.C:
			e.giveUpStale(ctx)
			continue
		case <-e.kick:
		}
		delay.Reset(reapDelay)
		select {
		case <-ctx.Done():
			return
		case <-delay.C:
		}
		if err := e.reap(ctx); err != nil && ctx.Err() == nil {
			e.cfg.Log.WarnContext(ctx, "garbage stays behind", "error", err)
		}
	}
}

// reap removes the garbage that nobody reads.
//
// The removal of a name is not synced: a file that a power cut brings back
// costs space and nothing else, and file systems that keep a journal in order
// do not bring it back, since the list of garbage is synced later.
func (e *Engine) reap(ctx context.Context) error {
	for ctx.Err() == nil {
		more, err := e.reapOnce(ctx)
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// reapOnce removes a batch, and reports whether there is more to remove. It
// removes nothing while somebody holds.
func (e *Engine) reapOnce(ctx context.Context) (more bool, err error) {
	e.holds.mu.Lock()
	defer e.holds.mu.Unlock()
	if e.holds.n > 0 {
		return false, nil
	}
	list, err := e.cfg.Store.Garbage(ctx, reapBatch)
	if err != nil {
		return false, err
	}
	var gone []ID
	for _, g := range list {
		switch err := e.destroy(ctx, g); {
		case errors.Is(err, errPinned):
		case err != nil:
			return false, err
		default:
			gone = append(gone, g.ID)
		}
	}
	if len(gone) > 0 {
		e.hook("reaped")
		err = e.cfg.Store.Forget(ctx, gone)
		for _, id := range gone {
			e.pins.spare(id)
			e.manifests.Drop(id)
		}
		if err != nil {
			return false, err
		}
	}
	return len(list) == reapBatch && len(gone) > 0, nil
}

var errPinned = errors.New("being read")

func (e *Engine) destroy(ctx context.Context, g Garbage) error {
	if !g.Parts {
		return e.files.remove(g.ID)
	}
	if !e.pins.doom(g.ID) {
		return errPinned
	}
	parts, err := e.cfg.Store.Parts(ctx, g.ID, 0, s3.MaxPart)
	for i := range parts {
		if err == nil {
			err = e.files.remove(parts[i].Blob)
		}
	}
	if err != nil {
		e.pins.spare(g.ID)
	}
	return err
}

// giveUpStale aborts uploads that nobody has completed for too long.
func (e *Engine) giveUpStale(ctx context.Context) {
	before := e.cfg.Now().Add(-e.cfg.UploadAge)
	for ctx.Err() == nil {
		ids, err := e.cfg.Store.StaleUploads(ctx, before, reapBatch)
		for _, id := range ids {
			if err = e.cfg.Store.AbortUpload(ctx, id); iot.IsKind(err, iot.KindNotFound) {
				err = nil
			}
			if err != nil {
				break
			}
		}
		if err != nil && ctx.Err() == nil {
			e.cfg.Log.WarnContext(ctx, "old uploads stay behind", "error", err)
		}
		if err != nil || len(ids) == 0 {
			return
		}
		e.wake()
	}
}

// sweep removes the files of earlier generations that nothing refers to: their
// upload was cut off by the end of its process. It reads names alone, and asks
// the Store only about those of generations that no sweep has covered yet.
func (e *Engine) sweep(ctx context.Context, unswept uint32) {
	e.giveUpStale(ctx)
	removed := 0
	for i := range shardCount {
		n, err := e.sweepShard(ctx, byte(i), unswept)
		removed += n
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			e.cfg.Log.WarnContext(ctx, "orphaned data files stay behind", "error", err)
			return
		}
	}
	if err := e.cfg.Store.EndSweep(ctx, e.generation); err != nil {
		if ctx.Err() == nil {
			e.cfg.Log.WarnContext(ctx, "the sweep of data files will be repeated", "error", err)
		}
		return
	}
	if removed > 0 {
		e.cfg.Log.InfoContext(ctx, "removed data files of uploads that were cut off", "count", removed)
	}
}

func (e *Engine) sweepShard(ctx context.Context, shard byte, unswept uint32) (removed int, err error) {
	d, err := os.Open(e.files.shard(shard))
	if err != nil {
		return 0, err
	}
	defer d.Close() //nolint:errcheck // it was only read
	for ctx.Err() == nil {
		names, end := d.Readdirnames(4 * reapBatch)
		var suspects []ID
		for _, name := range names {
			if id, ok := parseID(name); ok && id.generation() >= unswept && id.generation() < e.generation {
				suspects = append(suspects, id)
			}
		}
		if len(suspects) > 0 {
			known, err := e.cfg.Store.Known(ctx, suspects)
			if err != nil {
				return removed, err
			}
			for _, id := range suspects {
				if known[id] {
					continue
				}
				if err := e.files.remove(id); err != nil {
					return removed, err
				}
				removed++
			}
		}
		if errors.Is(end, io.EOF) {
			return removed, nil
		}
		if end != nil {
			return removed, end
		}
	}
	return removed, ctx.Err()
}
