//go:build !windows

package credential

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// What the system offers to keep a file private.
const (
	enforced = true
	noFollow = syscall.O_NOFOLLOW
)

func own(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

// tryLock takes the lock on an open file, which ends with it.
func tryLock(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
		return false, nil
	}
	return err == nil, err
}

// syncDir makes a rename last.
func syncDir(dir string) error {
	f, err := os.Open(dir) //nolint:gosec // a folder that we write to
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
