package queue

import (
	"errors"
	"os"

	bolt "go.etcd.io/bbolt"
)

// Transactions is how many transactions the file has seen.
func (s *Store) Transactions() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := 0
	_ = s.db.View(func(tx *bolt.Tx) error { n = tx.ID(); return nil })
	return n
}

// OpenWith opens a store whose files are opened by openFile.
func OpenWith(dir string, openFile func(string, int, os.FileMode) (*os.File, error)) (*Store, error) {
	return open(dir, Options{}, tuning{openFile: openFile, shrinkFrom: shrinkFrom})
}

// OpenFrugal opens a store that gives space back from 4 MiB on.
func OpenFrugal(dir string) (*Store, error) {
	return open(dir, Options{Fast: true}, tuning{openFile: os.OpenFile, shrinkFrom: 4 << 20})
}

// Check has the engine check its file.
func (s *Store) Check() error {
	return s.db.View(func(tx *bolt.Tx) error {
		var errs []error
		for err := range tx.Check() {
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
}
