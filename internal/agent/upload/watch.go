package upload

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

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

// How much of a folder is worked on at a time: what is in the spool is in memory
// as well, and files may be many.
const (
	chosenMax  = 8192 // paths, by one look
	freshMax   = 1024 // records in the spool that have not failed yet
	recordsMax = 4096 // all of them
	roomPause  = 20 * time.Millisecond
	roomWait   = time.Second
	lookShare  = 10 // looks take no more than one part of so many of the time
)

// seen is a file as the last look found it.
type seen struct {
	size, modTime int64
	since         int64 // for how long it has been so
	look          uint64
}

// watch is the state of a Watch.
type watch struct {
	Watcher

	a        *Agent
	looks    uint64
	taken    time.Time          // when files were last taken into the spool
	files    map[spool.Key]seen // that are not settled, or not accepted yet
	most     int                // of files since the map was made
	troubles map[string]string  // by path: what was told of it
}

// chosen is a file to be taken.
type chosen struct {
	path    string
	size    int64
	modTime time.Time
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
	s := &watch{Watcher: w, a: a, files: map[spool.Key]seen{}, troubles: map[string]string{}}
	for ctx.Err() == nil {
		began := a.Now()
		files, err := s.look()
		if err != nil {
			s.trouble(w.Dir, err)
		}
		next := a.Now().Add(max(w.Poll, lookShare*a.Now().Sub(began)))
		if !s.hand(ctx, files, next, out) {
			break
		}
		pause(ctx, next.Sub(a.Now()))
	}
	return nil
}

// hand takes files into the spool as there is room, until it is time for another
// look. It reports whether ctx still goes on.
func (w *watch) hand(ctx context.Context, files []chosen, until time.Time, out chan<- spool.Record) bool {
	for len(files) > 0 {
		all, fresh := w.a.spool.Load()
		n := min(len(files), freshMax-fresh, recordsMax-all)
		// Many are taken by one write to the spool, unless that takes long to come.
		now := w.a.Now()
		if n < min(len(files), freshMax/2) && (n <= 0 || now.Sub(w.taken) < roomWait) {
			if !now.Before(until) {
				return true
			}
			pause(ctx, roomPause)
			if ctx.Err() != nil {
				return false
			}
			continue
		}
		for _, r := range w.take(files[:n]) {
			select {
			case out <- r:
			case <-ctx.Done():
				return false
			}
		}
		files = files[n:]
		w.taken = w.a.Now()
	}
	return ctx.Err() == nil
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// trouble tells of a path's problem once, and again when it is another.
func (w *watch) trouble(path string, err error) {
	if w.troubles[path] != err.Error() {
		w.troubles[path] = err.Error()
		w.a.tell(Event{Kind: Trouble, Err: err})
	}
}

// look goes through the folder once and returns those to take, the first ones first.
func (w *watch) look() ([]chosen, error) {
	now := w.a.Now()
	w.looks++
	var found []chosen
	err := filepath.WalkDir(w.Dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && path == w.Dir:
			return err
		case err != nil:
			w.trouble(path, err)
			return nil
		case path != w.Dir && unfinished(d.Name()):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case !d.Type().IsRegular():
			return nil
		case !utf8.ValidString(path):
			w.trouble(path, notUTF8(path))
			return nil
		}
		info, err := d.Info()
		if err != nil { // it went away meanwhile
			return nil //nolint:nilerr // which is nothing to tell
		}
		if w.settled(path, info, now) {
			if found = append(found, chosen{path, info.Size(), info.ModTime()}); len(found) == 2*chosenMax {
				found = w.first(found)
			}
		}
		return nil
	})
	for key, s := range w.files {
		if s.look != w.looks {
			delete(w.files, key)
		}
	}
	if w.most = max(w.most, len(w.files)); w.most > 1024 && len(w.files) < w.most/4 { // a map does not shrink by itself
		fewer := make(map[spool.Key]seen, len(w.files))
		maps.Copy(fewer, w.files)
		w.files, w.most = fewer, len(fewer)
	}
	return w.first(found), err
}

// first is the files that go first, in order, as many as are kept.
func (w *watch) first(files []chosen) []chosen {
	slices.SortFunc(files, func(a, b chosen) int {
		c := a.modTime.Compare(b.modTime)
		if w.a.settings.NewestFirst {
			c = -c
		}
		return cmp.Or(c, strings.Compare(a.path, b.path))
	})
	return files[:min(len(files), chosenMax)]
}

// settled reports whether a file is whole, as far as can be seen, and not in the spool.
func (w *watch) settled(path string, info fs.FileInfo, now time.Time) bool {
	if r, ok := w.a.spool.Find(path); ok && (r.State == spool.Pending || r.Same(info.Size(), info.ModTime())) {
		return false // it is on its way, and looked after there
	}
	// After that: one that arrives between the two is remembered.
	if w.a.spool.Remembers(path, info.Size(), info.ModTime()) {
		return false
	}
	key, is := spool.KeyOf(path), seen{size: info.Size(), modTime: info.ModTime().UnixNano(), since: now.UnixNano(), look: w.looks}
	was, ok := w.files[key]
	if ok && was.size == is.size && was.modTime == is.modTime {
		is.since = was.since
	}
	w.files[key] = is
	return time.Duration(now.UnixNano()-is.since) >= w.Settle
}

func notUTF8(path string) error {
	return fmt.Errorf("%q: the name must be UTF-8: give the file another", path)
}

func (w *watch) take(files []chosen) []spool.Record {
	take := make([]File, 0, len(files))
	for _, f := range files {
		if info, err := os.Lstat(f.path); err != nil || info.Size() != f.size || !info.ModTime().Equal(f.modTime) {
			continue // the next look sees what has become of it
		}
		name, err := filepath.Rel(w.Dir, f.path)
		if err != nil {
			w.trouble(f.path, err)
			continue
		}
		take = append(take, File{Path: f.path, Name: filepath.ToSlash(name), Delete: w.Delete, Keep: true})
	}
	records, problems := w.a.Accept(take)
	for _, err := range problems {
		if pe, ok := errors.AsType[*fs.PathError](err); ok {
			w.trouble(pe.Path, err)
		} else {
			w.trouble(err.Error(), err)
		}
	}
	for i := range records {
		delete(w.files, spool.KeyOf(records[i].Path))
		delete(w.troubles, records[i].Path)
	}
	return records
}
