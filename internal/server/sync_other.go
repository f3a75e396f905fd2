//go:build !linux

package server

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// syncTree makes all files below a folder durable.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		f, err := os.Open(path) //nolint:gosec // below the folder that the operator named
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}
