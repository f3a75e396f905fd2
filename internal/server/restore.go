package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/sekisho-iot/sekisho/internal/backup"
	"github.com/sekisho-iot/sekisho/internal/queue"
	"github.com/sekisho-iot/sekisho/internal/s3/local"
	"github.com/sekisho-iot/sekisho/internal/sqlstore"
	"github.com/sekisho-iot/sekisho/internal/sts"
)

// restoreDir is where, in the folder that it restores to, a restore puts what
// is not yet known to be whole.
const restoreDir = ".restore"

// restoreSlack is what a restored folder may take beyond the bytes of its files.
const restoreSlack = 16 << 20

// Restored says what a restore brought.
type Restored struct {
	Version   string // of the program that made the backup
	Created   time.Time
	Region    string
	AccountID string
	Objects   int64
	Bytes     int64
}

// Restore makes a data folder of the archive that r reads. The folder must be
// new or empty. It becomes a data folder when all of the archive has been read
// and found to be sound; before that, an error leaves nothing behind.
func Restore(ctx context.Context, r io.Reader, dir string, random io.Reader, now func() time.Time) (_ *Restored, err error) {
	made, err := emptyDir(dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil && made {
			_ = os.Remove(dir) // what is not empty stays
		}
	}()
	lock, err := lockData(dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(filepath.Join(dir, lockFile)) // nobody else's: the folder was empty
		}
		err = errors.Join(err, lock.Close())
	}()
	staging := filepath.Join(dir, restoreDir)
	if err := os.Mkdir(staging, 0o700); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(staging))
		}
	}()
	m, err := extract(ctx, r, dir, staging)
	if err != nil {
		return nil, err
	}
	if err := checkRestored(ctx, staging, random, now); err != nil {
		return nil, fmt.Errorf("the backup was read, but what is in it cannot be used: %w", err)
	}
	if err := syncTree(staging); err != nil {
		return nil, err
	}
	if err := moveUp(staging, dir); err != nil {
		return nil, err
	}
	return &Restored{Version: m.Version, Created: m.Created, Region: m.Region, AccountID: m.AccountID, Objects: m.Objects, Bytes: m.Bytes}, nil
}

// emptyDir makes dir, or sees that nothing is in it.
func emptyDir(dir string) (made bool, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true, makeDataDir(dir)
	}
	if err != nil {
		return false, fmt.Errorf("data folder: %w", err)
	}
	for _, e := range entries {
		if e.Name() != "lost+found" { // of a file system of its own
			return false, fmt.Errorf("data folder %s is not empty: a backup is restored to a new folder, or to an empty one", dir)
		}
	}
	return false, makeDataDir(dir)
}

func extract(ctx context.Context, r io.Reader, dir, staging string) (*backup.Manifest, error) {
	root, err := os.OpenRoot(staging)
	if err != nil {
		return nil, err
	}
	defer root.Close() //nolint:errcheck // files are closed by themselves
	return backup.Extract(&cancelable{ctx: ctx, r: r}, root, func(m *backup.Manifest) error {
		free, err := freeSpace(dir)
		if err == nil && free-restoreSlack < m.Bytes {
			return fmt.Errorf("the backup takes %d MiB, and the disk of %s has %d MiB left", m.Bytes>>20+1, dir, free>>20)
		}
		return err
	})
}

// cancelable ends with its context.
type cancelable struct {
	ctx context.Context //nolint:containedctx // of the one call that reads
	r   io.Reader
}

// Read implements io.Reader.
func (c *cancelable) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// checkRestored reports whether a server could go on from the folder.
func checkRestored(ctx context.Context, dir string, random io.Reader, now func() time.Time) error {
	for _, name := range []string{databaseFile, keyRingFile, adminFile, filepath.Join(queueDir, queue.FileName), RootCAFile} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	database := filepath.Join(dir, databaseFile)
	if err := sqlstore.CheckFile(ctx, database); err != nil {
		return err
	}
	if _, err := sts.OpenKeyRing(filepath.Join(dir, keyRingFile), random, now); err != nil {
		return err
	}
	if err := queue.Check(filepath.Join(dir, queueDir, queue.FileName)); err != nil {
		return err
	}
	return sqlstore.DataFiles(ctx, database, func(id local.ID, size int64) error {
		st, err := os.Stat(filepath.Join(dir, objectsDir, local.DataFileName(id)))
		if err == nil && st.Size() != size {
			err = fmt.Errorf("data file %s has %d bytes, it should have %d", id, st.Size(), size)
		}
		return err
	})
}

// moveUp moves what is in staging to dir, and removes staging as the last:
// until then no server takes the folder.
func moveUp(staging, dir string) error {
	entries, err := os.ReadDir(staging)
	if err != nil {
		return err
	}
	for i, e := range entries {
		if err := os.Rename(filepath.Join(staging, e.Name()), filepath.Join(dir, e.Name())); err != nil {
			for _, e := range entries[:i] {
				err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
			}
			return err
		}
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	if err := os.Remove(staging); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(path string) error {
	d, err := os.Open(path) //nolint:gosec // the folder that the operator named
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
