package spool

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// tryLock takes the lock of a file unless another process has it. It lies beyond
// the file's bytes, which others may read.
func tryLock(f *os.File) (bool, error) {
	at := &windows.Overlapped{OffsetHigh: 1}
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, at)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return false, nil
	}
	return err == nil, err
}

// replace puts the new journal in the place of the one that is open, which
// Windows allows of closed files alone.
func replace(from, to string, open **os.File, by *os.File) error {
	if err := errors.Join((*open).Close(), by.Close(), os.Rename(from, to)); err != nil {
		return err
	}
	f, err := os.OpenFile(to, os.O_RDWR|os.O_APPEND, 0o600)
	*open = f
	return err
}

// syncDir does nothing: a rename is in NTFS's own journal.
func syncDir(string) error { return nil }
