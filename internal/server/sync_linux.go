package server

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// syncTree makes all files below a folder durable: at once, not one by one,
// since there may be a million.
func syncTree(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the folder that the operator named
	if err != nil {
		return err
	}
	if err := errors.Join(unix.Syncfs(int(d.Fd())), d.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
