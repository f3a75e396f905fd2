package queue

import (
	"errors"
	"fmt"
	"os"

	bolt "go.etcd.io/bbolt"
)

// FileName is what the store's file is called in its folder.
const FileName = fileName

// Copy writes the store as it is at one moment into a new file. What is
// committed meanwhile may wait for the end of it: the file must be on a disk,
// not at the end of a network.
func (s *Store) Copy(path string) (err error) {
	// The committer would wait for the end of the copy before it could put a
	// smaller file in the place of the one that is read.
	s.copying.Lock()
	defer s.copying.Unlock()
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return ErrClosed
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the server's own folder
	if err != nil {
		return fmt.Errorf("copy queue store: %w", err)
	}
	err = s.db.View(func(tx *bolt.Tx) error {
		_, err := tx.WriteTo(f)
		return err
	})
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("copy queue store: %w", err)
	}
	return nil
}

// Check reports whether the file can be opened and its pages fit together.
func Check(path string) error {
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		return fmt.Errorf("open queue store: %w", err)
	}
	err = db.View(func(tx *bolt.Tx) error {
		if tx.Bucket(bucketName()) == nil {
			return errors.New("it is not a queue store")
		}
		var first error
		for err := range tx.Check() { // to its end, which is the end of its goroutine
			if first == nil {
				first = err
			}
		}
		return first
	})
	return errors.Join(err, db.Close())
}
