//go:build unix

package spool

import (
	"errors"
	"os"
	"syscall"
)

// tryLock takes the lock of a file unless another process has it. It ends with
// the process, however that ends.
func tryLock(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

// replace puts the new journal in the place of the one that is open.
func replace(from, to string, open **os.File, by *os.File) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	old := *open
	*open = by
	return old.Close()
}

func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the spool's own folder
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
