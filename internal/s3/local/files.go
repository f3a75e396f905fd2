package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// shardCount folders hold the data files; they are made once, at first start.
const shardCount = 64

// files are the data files, each in the folder that its ID chooses.
type files struct {
	dir  string
	sync bool

	mu      sync.Mutex // guards folders
	folders [shardCount]*os.File
}

func openFiles(dir string, sync bool) (*files, error) {
	f := &files{dir: dir, sync: sync}
	made := false
	for i := range shardCount {
		err := os.Mkdir(f.shard(byte(i)), 0o700)
		if errors.Is(err, fs.ErrNotExist) {
			if err = os.MkdirAll(dir, 0o700); err == nil {
				err = os.Mkdir(f.shard(byte(i)), 0o700)
			}
		}
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("make data folders: %w", err)
		}
		made = true
	}
	if made && sync {
		for _, p := range []string{dir, filepath.Dir(dir)} {
			if err := syncFolder(p); err != nil {
				return nil, err
			}
		}
	}
	return f, nil
}

func syncFolder(path string) error {
	d, err := os.Open(path) //nolint:gosec // our own data folder
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}

func (f *files) shard(b byte) string {
	const hex = "0123456789abcdef"
	return filepath.Join(f.dir, string([]byte{hex[b>>4], hex[b&15]}))
}

func (f *files) path(id ID) string { return f.shard(id.shard()) + "/" + id.String() }

func (f *files) create(id ID) (*os.File, error) {
	return os.OpenFile(f.path(id), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

func (f *files) open(id ID) (*os.File, error) {
	return os.Open(f.path(id))
}

// finish makes a written file durable, its name included, and closes it.
func (f *files) finish(id ID, file *os.File) error {
	if f.sync {
		if err := file.Sync(); err != nil {
			_ = file.Close()
			return fmt.Errorf("sync data file: %w", err)
		}
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("close data file: %w", err)
	}
	return f.syncName(id)
}

// syncName makes the name of a data file durable.
func (f *files) syncName(id ID) error {
	if !f.sync {
		return nil
	}
	d, err := f.folder(id.shard())
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}

func (f *files) folder(b byte) (*os.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if d := f.folders[b]; d != nil {
		return d, nil
	}
	d, err := os.Open(f.shard(b))
	if err != nil {
		return nil, fmt.Errorf("open folder: %w", err)
	}
	f.folders[b] = d
	return d, nil
}

// link gives the bytes of one data file a second name of their own.
func (f *files) link(from, to ID) error {
	if err := os.Link(f.path(from), f.path(to)); err != nil {
		return fmt.Errorf("link data file: %w", err)
	}
	return f.syncName(to)
}

// remove removes a data file; one that is gone already is as good.
func (f *files) remove(id ID) error {
	if err := os.Remove(f.path(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove data file: %w", err)
	}
	return nil
}

func (f *files) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var err error
	for i, d := range f.folders {
		if d != nil {
			err = errors.Join(err, d.Close())
			f.folders[i] = nil
		}
	}
	return err
}
