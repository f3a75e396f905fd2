package queue

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
)

// ErrClosed is what a store that is closed answers.
var ErrClosed = errors.New("queue: store is closed")

// Options are the settings of a Store; the zero value serves.
type Options struct {
	// Fast leaves out fsync: what a crash of the machine loses is then open.
	Fast bool
	// MaxWaiting is how many bytes of batches may wait before Commit blocks; 64
	// MiB if 0. A batch that is larger waits until it is alone.
	MaxWaiting int
	// Log hears of failures once when they begin and once when they end, and at
	// level debug of what the engine does. Nothing is logged if it is nil.
	Log *slog.Logger
}

// Store is ordered keys with values in one file, written by a single goroutine
// that makes one durable transaction of all that waits.
type Store struct {
	dir  string
	fast bool
	log  *slog.Logger

	tuning tuning

	in  inbox
	out outbox
	end sync.WaitGroup

	copying sync.Mutex // held by Copy, and tried by shrink; taken before mu

	mu     sync.RWMutex // guards db, which the committer alone changes, and closed
	db     *bolt.DB
	closed bool

	// The committer's own.
	broken  error // why nothing can be written any more until the next Open
	failing bool
	shrinkN int // commits to go before a shrink that failed is tried again
}

const (
	fileName = "queue.db"
	tempName = "queue.db.new"
	openName = "queue.open" // there while the file has no free list

	defaultMaxWaiting = 64 << 20
	// maxGroup bounds the pages that one transaction holds in memory.
	maxGroup = 8 << 20
	// fill is how full pages get: queues grow at their ends, so that little room
	// is needed for what comes between.
	fill = 0.9
)

func bucketName() []byte { return []byte("queue") }

// Open opens the store in the folder, which is made if it is not there. One
// process at a time has a store open.
func Open(dir string, o Options) (*Store, error) {
	return open(dir, o, tuning{openFile: os.OpenFile, shrinkFrom: shrinkFrom})
}

// tuning is what tests set otherwise.
type tuning struct {
	openFile   func(name string, flag int, mode os.FileMode) (*os.File, error)
	shrinkFrom int64
}

func open(dir string, o Options, t tuning) (*Store, error) {
	s := &Store{dir: dir, fast: o.Fast, log: o.Log, tuning: t}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make queue folder: %w", err)
	}
	if err := s.openStore(); err != nil {
		return nil, fmt.Errorf("open queue store: %w", err)
	}
	if err := os.WriteFile(s.path(openName), nil, 0o600); err != nil {
		s.log.Debug("queue file not marked as open", slog.Any("error", err)) // costs time at the next start alone
	}
	s.shrink()
	if s.broken != nil {
		return nil, errors.Join(s.broken, s.db.Close())
	}
	s.in.init(cmp.Or(o.MaxWaiting, defaultMaxWaiting))
	s.out.init()
	s.end.Go(s.commitAll)
	s.end.Go(s.out.callAll)
	return s, nil
}

// openStore opens the store's file. A new one gets its name when it is whole, so
// that a crash leaves none that cannot be opened.
func (s *Store) openStore() error {
	if err := os.Remove(s.path(tempName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	_, err := os.Lstat(s.path(fileName))
	if err == nil {
		s.readAhead()
		s.db, err = s.openEngine(fileName)
		return err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	db, err := s.openEngine(tempName)
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucket(bucketName())
		return err
	})
	if err != nil {
		return errors.Join(err, db.Close())
	}
	s.db, err = s.publish(db)
	return err
}

// readAhead has the system read the file in one go if it was not closed: the
// engine then looks at each page to find the free ones, and would wait for each.
func (s *Store) readAhead() {
	if _, err := os.Lstat(s.path(openName)); err != nil {
		return
	}
	f, err := os.Open(s.path(fileName))
	if err != nil {
		return // the engine says it better
	}
	defer f.Close() //nolint:errcheck // nothing follows from it
	for buf := make([]byte, 1<<20); err == nil; {
		_, err = f.Read(buf)
	}
}

// openEngine opens a file with the free list kept in memory alone: written, it
// would cost every commit 8 bytes for each free page of a file that was large
// once.
func (s *Store) openEngine(name string) (*bolt.DB, error) {
	// The engine gets no logger: it would be called for every key, with the key.
	return bolt.Open(s.path(name), 0o600, &bolt.Options{
		Timeout:        time.Second,
		NoSync:         s.fast,
		NoGrowSync:     s.fast,
		NoFreelistSync: true,
		FreelistType:   bolt.FreelistMapType,
		OpenFile:       s.tuning.openFile,
	})
}

// publish closes the new file, gives it the store's name and opens it by that.
// It fails either with the old file, if there was one, still in its place, or
// with s.broken set.
func (s *Store) publish(db *bolt.DB) (*bolt.DB, error) {
	if !s.fast {
		if err := db.Sync(); err != nil {
			return nil, errors.Join(fmt.Errorf("sync new file: %w", err), db.Close())
		}
	}
	if err := db.Close(); err != nil {
		return nil, err
	}
	if err := os.Rename(s.path(tempName), s.path(fileName)); err != nil {
		return nil, err
	}
	err := s.syncFolder()
	if err == nil {
		db, err = s.openEngine(fileName)
	}
	if err != nil {
		// What is written to the file that is open might be lost.
		s.broken = fmt.Errorf("closed to writes until it is opened again: %w", err)
		return nil, s.broken
	}
	return db, nil
}

func (s *Store) syncFolder() error {
	if s.fast {
		return nil
	}
	d, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }

// Close waits until all that was handed to Commit is on disk or has failed and
// every done has returned. A done must not call it.
func (s *Store) Close() error {
	s.in.close()
	s.end.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if s.broken == nil {
		s.keepFreeList()
	}
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close queue store: %w", err)
	}
	return nil
}

// keepFreeList writes the list of free pages for the next Open, which would
// have to read the whole file without it. It does if this fails.
func (s *Store) keepFreeList() {
	s.db.NoFreelistSync = false
	err := s.db.Update(func(*bolt.Tx) error { return nil })
	if err == nil {
		err = os.Remove(s.path(openName))
	}
	if err != nil {
		s.log.Debug("free list of queue file not written", slog.Any("error", err))
	}
}

// A Scan reads the store in pieces of this size: a read that lasted as long as
// fn takes would keep old pages from being used again, and the file from
// growing.
const (
	chunkEntries = 256
	chunkBytes   = 64 << 10
)

// Scan calls fn with the entries whose keys begin with prefix and come after
// the key after (nil: from the first), in order, at most limit of them (0: all).
// Keys and values are valid only until fn returns. What was committed before
// the call and acknowledged is seen, what is committed while it runs may be; fn
// may call Commit and Scan. An error of fn ends the scan and is returned as it
// is.
func (s *Store) Scan(prefix, after []byte, limit int, fn func(key, value []byte) error) error {
	var c chunk
	for more := true; more; {
		want := chunkEntries
		if limit > 0 {
			want = min(want, limit)
		}
		var err error
		if more, err = s.read(&c, prefix, after, want); err != nil {
			return fmt.Errorf("scan queue store: %w", err)
		}
		for i := range c.n {
			if err := fn(c.entry(i)); err != nil {
				return err
			}
		}
		if limit > 0 {
			limit -= c.n
			more = more && limit > 0
		}
		if more {
			key, _ := c.entry(c.n - 1)
			after = bytes.Clone(key)
		}
	}
	return nil
}

// chunk is a few entries, copied.
type chunk struct {
	buf  []byte
	ends [2 * chunkEntries]int
	n    int
}

func (c *chunk) entry(i int) (key, value []byte) {
	start, mid, end := 0, c.ends[2*i], c.ends[2*i+1]
	if i > 0 {
		start = c.ends[2*i-1]
	}
	return c.buf[start:mid:mid], c.buf[mid:end:end]
}

func (c *chunk) add(k, v []byte) {
	c.buf = append(c.buf, k...)
	c.ends[2*c.n] = len(c.buf)
	c.buf = append(c.buf, v...)
	c.ends[2*c.n+1] = len(c.buf)
	c.n++
}

// read fills c with at most want entries and tells whether more may follow.
func (s *Store) read(c *chunk, prefix, after []byte, want int) (bool, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return false, ErrClosed
	}
	c.buf, c.n = c.buf[:0], 0
	more := false
	err := s.db.View(func(tx *bolt.Tx) error {
		cur := tx.Bucket(bucketName()).Cursor()
		k, v := seekAfter(cur, prefix, after)
		for ; k != nil && bytes.HasPrefix(k, prefix); k, v = cur.Next() {
			if c.n == want || c.n > 0 && len(c.buf) > chunkBytes {
				more = true
				return nil
			}
			c.add(k, v)
		}
		return nil
	})
	return more, err
}

func seekAfter(cur *bolt.Cursor, prefix, after []byte) (key, value []byte) {
	if bytes.Compare(after, prefix) < 0 {
		return cur.Seek(prefix)
	}
	k, v := cur.Seek(after)
	if after != nil && bytes.Equal(k, after) {
		return cur.Next()
	}
	return k, v
}

// unsafeToGoOn tells a failed fsync, after which nobody knows which pages are on
// disk, from a write that did not take place. The engine returns the bare error
// of the one, and a path error of the other.
func unsafeToGoOn(err error) bool {
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return false
	}
	_, ok := errors.AsType[syscall.Errno](err)
	return ok
}
