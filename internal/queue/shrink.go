package queue

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	bolt "go.etcd.io/bbolt"
)

const (
	// shrinkFrom is the size in bytes below which a file is left as it is.
	shrinkFrom = 32 << 20
	// shrinkMax bounds the bytes that are copied while batches wait: some tenths
	// of a second.
	shrinkMax = 32 << 20
	// shrinkRetry is how many commits go by before a shrink that failed is tried
	// again.
	shrinkRetry = 1000
)

// shrink gives the space of a file that is mostly free back: the engine uses
// free pages again, but its file never gets smaller. What is kept is copied to
// a new file that takes the old one's place. Only the committer calls it, so
// that nothing is written meanwhile.
func (s *Store) shrink() {
	if s.shrinkN > 0 {
		s.shrinkN--
		return
	}
	if !s.copying.TryLock() {
		return
	}
	defer s.copying.Unlock()
	size, live, err := s.usage()
	if s.broken != nil || err != nil || size < s.tuning.shrinkFrom || live > shrinkMax || live > size/4 {
		return
	}
	if err := s.rewrite(); err != nil {
		s.shrinkN = shrinkRetry
		s.log.Debug("queue file not shrunk", slog.Int64("bytes", size), slog.Any("error", err))
		return
	}
	s.log.Debug("queue file shrunk", slog.Int64("bytes_before", size), slog.Int64("bytes_kept", live))
}

// usage is the bytes of the file, and those of pages in use.
func (s *Store) usage() (size, live int64, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		size = tx.Size()
		return nil
	})
	st := s.db.Stats()
	free := int64(st.FreePageN+st.PendingPageN) * int64(s.db.Info().PageSize)
	return size, size - free, err
}

func (s *Store) rewrite() error {
	// Left by a shrink that failed.
	_ = os.Remove(s.path(tempName))
	db, err := s.openEngine(tempName)
	if err != nil {
		return err
	}
	db.NoSync = true // publish syncs once
	err = bolt.Compact(db, s.db, 4<<20)
	if err != nil {
		return errors.Join(err, db.Close())
	}
	if db, err = s.publish(db); err != nil {
		return err
	}
	s.mu.Lock()
	old := s.db
	s.db = db
	s.mu.Unlock()
	if err := old.Close(); err != nil {
		return fmt.Errorf("close the old file: %w", err)
	}
	return nil
}
