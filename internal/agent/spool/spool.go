package spool

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	journalFile = "journal"
	lockFile    = "lock"
	compactFrom = 4096 // lines; a shorter journal is left as it is
)

// LockedError says that another agent uses the spool.
type LockedError struct {
	Dir, PID string
}

// Error names the agent that is there.
func (e *LockedError) Error() string {
	who := "another agent"
	if e.PID != "" {
		who += " (process " + e.PID + ")"
	}
	return fmt.Sprintf("%s uses the spool %s: stop it, or give this one a spool of its own by --spool", who, e.Dir)
}

// Spool is an open spool folder. Its methods may be called from several goroutines.
type Spool struct {
	dir  string
	lock *os.File

	mu      sync.Mutex // guards what follows
	journal *os.File
	size    int64 // of the journal's whole lines
	lines   int
	compact int    // lines from which on it is written anew
	written uint64 // batches written
	records map[string]Record
	paths   map[string]string // of records: path to ID
	done    map[Key]version   // those to be remembered

	syncing sync.Mutex // held while the journal is synced; taken before mu
	synced  uint64     // batches on disk; guarded by syncing
}

// Open opens the spool in dir, which is made if need be. It fails with a
// LockedError where another agent has it open.
func Open(dir string) (_ *Spool, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, unusable(dir, err)
	}
	lock, err := acquire(dir)
	if err != nil {
		return nil, err
	}
	s := &Spool{dir: dir, lock: lock, compact: compactFrom, records: map[string]Record{}, paths: map[string]string{}, done: map[Key]version{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if err := s.load(); err != nil {
		return nil, err
	}
	if s.lines > len(s.records)+len(s.done) {
		// On a full disk the journal is good as it is: what it holds may yet be sent.
		if err := s.rewrite(); err != nil && !errors.Is(err, syscall.ENOSPC) {
			return nil, err
		}
	}
	return s, nil
}

// unusable says why a folder cannot be a spool, and what to do.
func unusable(dir string, err error) error {
	advice := "see to it, or name another folder by --spool"
	switch {
	case errors.Is(err, errClosed):
		return err
	case errors.Is(err, fs.ErrPermission):
		advice = "let this user write there, or name another folder by --spool"
	case errors.Is(err, syscall.ENOTDIR):
		advice = "it is no folder: name one by --spool"
	case errors.Is(err, syscall.ENOSPC):
		advice = "its disk is full: make room"
	}
	return fmt.Errorf("spool %s cannot be used: %w: %s", dir, err, advice)
}

func acquire(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the folder that the operator named
	if err != nil {
		return nil, unusable(dir, err)
	}
	held, err := tryLock(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("spool: lock %s: %w", path, err), f.Close())
	}
	if !held {
		pid, _ := os.ReadFile(path) //nolint:gosec // as above
		return nil, errors.Join(&LockedError{Dir: dir, PID: strings.TrimSpace(string(pid))}, f.Close())
	}
	if err := f.Truncate(0); err == nil {
		_, _ = fmt.Fprintln(f, os.Getpid()) // for the message alone
	}
	return f, nil
}

// Close leaves the spool to another agent.
func (s *Spool) Close() error {
	s.syncing.Lock()
	defer s.syncing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock == nil {
		return nil
	}
	var err error
	if s.journal != nil {
		err = errors.Join(s.journal.Sync(), s.journal.Close())
	}
	err = errors.Join(err, s.lock.Close())
	s.lock, s.journal = nil, nil
	return err
}

// Accept takes new records; when it returns, they are on disk.
func (s *Spool) Accept(records ...Record) error { return s.append(true, records) }

// Save writes what has become of a record. With durable it returns when that is
// on disk; without, a power loss may undo it, but nothing less.
func (s *Spool) Save(r *Record, durable bool) error { return s.append(durable, []Record{*r}) }

// Records returns what is not done, in the order of acceptance.
func (s *Spool) Records() []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Record, 0, len(s.records))
	for _, r := range s.records {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b Record) int {
		if c := a.Accepted.Compare(b.Accepted); c != 0 {
			return c
		}
		return strings.Compare(a.Path+a.ID, b.Path+b.ID)
	})
	return all
}

// Find returns the record of a path that is not done.
func (s *Spool) Find(path string) (Record, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, ok := s.paths[path]
	return s.records[id], ok
}

// Remembers reports whether the path is remembered as done with this size and time.
func (s *Spool) Remembers(path string, size int64, modified time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.done[KeyOf(path)]
	return ok && v == version{size, modified.UnixNano()}
}

// Load is how many records are not done, and how many of them have not failed.
func (s *Spool) Load() (all, fresh int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.records {
		if r.FailingSince.IsZero() {
			fresh++
		}
	}
	return len(s.records), fresh
}

// Key stands for a path where there are too many to keep.
type Key [16]byte

// KeyOf is the key of a path.
func KeyOf(path string) Key {
	sum := sha256.Sum256([]byte(path))
	return Key(sum[:len(Key{})])
}

// version is what a file was when it was sent.
type version struct{ size, modTime int64 }

func (s *Spool) append(durable bool, records []Record) error {
	if len(records) == 0 {
		return nil
	}
	batch, err := s.write(records)
	if err != nil {
		return unusable(s.dir, err)
	}
	if !durable {
		return nil
	}
	return s.sync(batch)
}

// sync returns when the batch is on disk. Those who wait share the next sync.
func (s *Spool) sync(batch uint64) error {
	s.syncing.Lock()
	defer s.syncing.Unlock()
	if s.synced >= batch {
		return nil
	}
	s.mu.Lock()
	journal, upTo := s.journal, s.written
	s.mu.Unlock()
	if journal == nil {
		return errClosed
	}
	if err := journal.Sync(); err != nil {
		return unusable(s.dir, err)
	}
	s.synced = upTo
	return nil
}

// errClosed is of a spool that was left to another agent.
var errClosed = errors.New("spool: closed")

func (s *Spool) apply(r *Record) {
	if r.State != Done {
		if _, known := s.records[r.ID]; !known {
			s.paths[r.Path] = r.ID // the newest has the path, whatever becomes of an older one
		}
		s.records[r.ID] = *r
		return
	}
	delete(s.records, r.ID)
	if s.paths[r.Path] == r.ID {
		delete(s.paths, r.Path)
	}
	if r.Keep {
		s.done[KeyOf(r.Path)] = versionOf(r)
	}
}

func versionOf(r *Record) version { return version{r.Size, r.ModTime.UnixNano()} }

// gone reports whether there is nothing at a path any longer.
func gone(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}
