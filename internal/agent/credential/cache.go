package credential

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// lockTimeout is how long a process waits for another that renews the session.
// It is more than that one may take.
const (
	lockTimeout = 30 * time.Second
	lockPoll    = 20 * time.Millisecond
)

// cacheVersion is that of the file's format; another one's files are as good as none.
const cacheVersion = 1

// maxCacheFile is more than any session takes.
const maxCacheFile = 64 << 10

// Cache keeps one device's session on disk, for all processes of one user. The
// folder has mode 0700 and the files 0600; what anybody else could have written
// or could read is refused.
type Cache struct {
	dir, file, lockFile string
}

// OpenCache makes the folder where it is missing. id tells sessions that must
// not be mixed up from each other, see Endpoint.ID.
func OpenCache(dir, id string) (*Cache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the cache folder: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return nil, fmt.Errorf("look at the cache folder: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("cache folder %s is no folder: name another by --cache", dir)
	}
	if err := private(dir, info, 0o700); err != nil {
		return nil, err
	}
	c := &Cache{dir: dir, file: filepath.Join(dir, "creds-"+id+".json")}
	c.lockFile = c.file + ".lock"
	return c, nil
}

// private refuses a file that is another user's, or that others may use.
func private(path string, info fs.FileInfo, mode fs.FileMode) error {
	if !own(info) {
		return fmt.Errorf("%s belongs to another user: give it to the one that runs this, or name another folder by --cache", path)
	}
	if got := info.Mode().Perm(); enforced && got != mode {
		return fmt.Errorf("%s has mode %04o, so others may have seen or changed the credentials in it: `chmod %04o %s` once you know that nobody did", path, got, mode, path)
	}
	return nil
}

// open opens a file of the cache, and no link.
func open(path string, flag int) (*os.File, error) {
	f, err := os.OpenFile(path, flag|noFollow, 0o600) //nolint:gosec // below the folder that was checked
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", path)
	}
	if err == nil {
		err = private(path, info, 0o600)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

type cached struct {
	Version         int       `json:"version"`
	AccessKeyID     string    `json:"accessKeyId"`
	SecretAccessKey string    `json:"secretAccessKey"`
	SessionToken    string    `json:"sessionToken"`
	Expiration      time.Time `json:"expiration"`
	Obtained        time.Time `json:"obtained"`
	Fetched         time.Time `json:"fetched"`
}

// read returns the session on disk, nil where there is none that can be read.
func (c *Cache) read() (*Session, error) {
	f, err := open(c.file, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // nothing was kept
	}
	if err != nil {
		return nil, fmt.Errorf("read the cache: %w", err)
	}
	defer f.Close() //nolint:errcheck // nothing was written
	b, err := io.ReadAll(io.LimitReader(f, maxCacheFile))
	if err != nil {
		return nil, fmt.Errorf("read the cache: %w", err)
	}
	var v cached
	if json.Unmarshal(b, &v) != nil || v.Version != cacheVersion {
		return nil, nil //nolint:nilnil // damaged or another version's: it is written anew
	}
	s := &Session{
		AccessKeyID: v.AccessKeyID, SecretAccessKey: v.SecretAccessKey, SessionToken: v.SessionToken,
		Expiration: v.Expiration, Obtained: v.Obtained, Fetched: v.Fetched,
	}
	if !s.complete() {
		return nil, nil //nolint:nilnil // as above
	}
	return s, nil
}

// write replaces the session on disk, all or nothing. The lock must be held.
func (c *Cache) write(s *Session) error {
	b, err := json.Marshal(cached{cacheVersion, s.AccessKeyID, s.SecretAccessKey, s.SessionToken, s.Expiration, s.Obtained, s.Fetched}) //nolint:gosec // what the cache is for
	if err != nil {
		return err
	}
	return replace(c.file, b)
}

// replace writes a file that only its owner may read beside the old one, and
// puts it in the old one's place.
func replace(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path) //nolint:gosec // where the caller wants it
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name())) //nolint:gosec // made above
	}
	return syncDir(filepath.Dir(path))
}

// purge forgets the session. The lock must be held; its file stays.
func (c *Cache) purge() error {
	if err := os.Remove(c.file); err != nil && !errors.Is(err, fs.ErrNotExist) { //nolint:gosec // below the folder that was checked
		return fmt.Errorf("purge the cache: %w", err)
	}
	return nil
}

// lock waits until no other process renews the session.
func (c *Cache) lock(ctx context.Context) (unlock func() error, err error) {
	f, err := open(c.lockFile, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, fmt.Errorf("lock the cache: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		held, err := tryLock(f)
		switch {
		case err != nil:
			return nil, errors.Join(fmt.Errorf("lock %s: %w", c.lockFile, err), f.Close())
		case held:
			return f.Close, nil // which gives the lock back
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("%w: another process has been renewing them for %s and holds %s: %w", ErrUnavailable, lockTimeout, c.lockFile, ctx.Err()), f.Close())
		}
	}
}
