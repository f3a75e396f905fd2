package credential

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

// Windows keeps a file private by the access list that it inherits from the
// user's own folder; modes say nothing there.
const (
	enforced = false
	noFollow = 0
)

func own(fs.FileInfo) bool { return true }

// tryLock takes the lock on an open file, which ends with it.
func tryLock(f *os.File) (bool, error) {
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &windows.Overlapped{})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return false, nil
	}
	return err == nil, err
}

// syncDir has nothing to do: a rename is in the journal.
func syncDir(string) error { return nil }
