package upload

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/internal/agent/spool"
)

// Watcher finds files in a folder and those below it.
type Watcher struct {
	Dir    string
	Delete bool          // files are deleted when they have arrived
	Poll   time.Duration // between two looks
	// Settle is for how long a file must not have changed before it is taken.
	Settle time.Duration
}

// unfinished are endings of names that programs give to files which they still
// write. They take the name away when the file is whole.
func unfinished(name string) bool {
	if strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~") {
		return true
	}
	return slices.Contains([]string{".tmp", ".part", ".partial", ".crdownload", ".swp"}, strings.ToLower(filepath.Ext(name)))
}

// seen is a file as the last look found it.
type seen struct {
	size    int64
	modTime time.Time
	since   time.Time // for how long it has been so
}

// Watch takes what comes into the folder into the spool and hands it to out,
// until ctx ends.
func (a *Agent) Watch(ctx context.Context, w Watcher, out chan<- spool.Record) error {
	dir, err := filepath.Abs(w.Dir)
	if err != nil {
		return err
	}
	w.Dir = dir
	if info, err := os.Stat(dir); err != nil {
		return err
	} else if !info.IsDir() {
		return fmt.Errorf("%s is not a folder", dir)
	}
	files := map[string]seen{}
	troubles := map[string]string{}
	for {
		taken, err := a.look(w, files, troubles)
		if err != nil {
			a.trouble(troubles, w.Dir, err)
		}
		for _, r := range taken {
			select {
			case out <- r:
			case <-ctx.Done():
				return nil
			}
		}
		t := time.NewTimer(w.Poll)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil
		}
	}
}

// trouble tells of a path's problem once, and again when it is another.
func (a *Agent) trouble(told map[string]string, path string, err error) {
	if told[path] != err.Error() {
		told[path] = err.Error()
		a.tell(Event{Kind: Trouble, Err: err})
	}
}

// look goes through the folder once and returns what it took.
func (a *Agent) look(w Watcher, files map[string]seen, troubles map[string]string) ([]spool.Record, error) {
	now := a.Now()
	present := map[string]bool{}
	var take []File
	err := filepath.WalkDir(w.Dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && path == w.Dir:
			return err
		case err != nil:
			a.trouble(troubles, path, err)
			return nil
		case path != w.Dir && unfinished(d.Name()):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case !d.Type().IsRegular():
			return nil
		}
		info, err := d.Info()
		if err != nil { // it went away meanwhile
			return nil //nolint:nilerr // which is nothing to tell
		}
		present[path] = true
		if a.settled(w, files, path, info, now) {
			name, err := filepath.Rel(w.Dir, path)
			if err != nil {
				return err
			}
			take = append(take, File{Path: path, Name: filepath.ToSlash(name), Delete: w.Delete, Keep: true})
		}
		return nil
	})
	for path := range files {
		if !present[path] {
			delete(files, path)
		}
	}
	return a.take(take, files, troubles), err
}

// settled reports whether a file is whole, as far as can be seen, and not in the spool.
func (a *Agent) settled(w Watcher, files map[string]seen, path string, info fs.FileInfo, now time.Time) bool {
	if r, ok := a.spool.Find(path); ok && (r.State == spool.Pending || r.Same(info.Size(), info.ModTime())) {
		return false // it is on its way, and looked after there
	}
	was, ok := files[path]
	if !ok || was.size != info.Size() || !was.modTime.Equal(info.ModTime()) {
		files[path] = seen{info.Size(), info.ModTime(), now}
		return w.Settle <= 0
	}
	return now.Sub(was.since) >= w.Settle
}

func (a *Agent) take(take []File, files map[string]seen, troubles map[string]string) []spool.Record {
	records, problems := a.Accept(take)
	for _, err := range problems {
		if pe, ok := errors.AsType[*fs.PathError](err); ok {
			a.trouble(troubles, pe.Path, err)
		} else {
			a.trouble(troubles, err.Error(), err)
		}
	}
	for i := range records {
		delete(files, records[i].Path)
		delete(troubles, records[i].Path)
	}
	return records
}
