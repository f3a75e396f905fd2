package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const lockFile = "lock"

// dataLock keeps a second server out of the data folder for as long as this one lives.
type dataLock struct{ f *os.File }

func lockData(dir string) (*dataLock, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the folder that the operator named
	if err != nil {
		return nil, fmt.Errorf("data folder %s: %w", dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close() //nolint:errcheck // nothing was written
		if errors.Is(err, syscall.EWOULDBLOCK) {
			b := make([]byte, 32)
			n, _ := f.Read(b)
			return nil, fmt.Errorf("data folder %s is in use by another sekisho (process %s): stop it, or give another --data",
				dir, strings.TrimSpace(string(b[:n])))
		}
		return nil, fmt.Errorf("lock data folder %s: %w", dir, err)
	}
	if err := f.Truncate(0); err == nil {
		_, _ = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	return &dataLock{f: f}, nil
}

// Close lets go; the file stays, since removing it would let two servers hold one lock each.
func (l *dataLock) Close() error { return l.f.Close() }

// makeDataDir creates the data folder 0700, and refuses one that others can write to.
func makeDataDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	st, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	if !st.IsDir() {
		return fmt.Errorf("data folder %s is not a folder", dir)
	}
	if st.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a folder needs x
			return fmt.Errorf("data folder %s is open to other users and cannot be closed: %w", dir, err)
		}
	}
	return nil
}
