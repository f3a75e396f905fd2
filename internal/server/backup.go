package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sekisho-iot/sekisho/internal/api"
	"github.com/sekisho-iot/sekisho/internal/backup"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/queue"
	"github.com/sekisho-iot/sekisho/internal/s3/local"
	"github.com/sekisho-iot/sekisho/internal/sqlstore"
)

const (
	pkiDir       = "pki"
	backupPrefix = ".backup-" // of the folder in the data folder that a backup under way copies to
)

// backups makes sealed copies of the data folder while the server runs.
type backups struct {
	s      *Server
	engine *local.Engine
	queue  *queue.Store
	busy   sync.Mutex // held while one is under way
}

// removeStaleBackups removes what the backup of a killed server left.
func removeStaleBackups(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, backupPrefix+"*"))
	for _, path := range left {
		err = errors.Join(err, os.RemoveAll(path))
	}
	return err
}

// Begin implements api.Backups.
//
// The order makes the copy consistent. From before the database is copied until
// all is sent no data file is removed, so that each that the copy names is
// there; the key ring is read after it, with no rotation between, so that it
// holds every key that something in the copy is sealed with.
func (b *backups) Begin(ctx context.Context) (_ api.BackupCopy, err error) {
	if !b.busy.TryLock() {
		return nil, iot.Errorf(iot.KindBusy, "backup", "A backup is under way already.")
	}
	c := &backupCopy{b: b, began: b.s.opts.Now()}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	o := &b.s.opts
	if err := b.room(); err != nil {
		return nil, err
	}
	c.release = b.engine.Hold()
	if c.dir, err = os.MkdirTemp(o.Data, backupPrefix); err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	b.s.rotation.Lock()
	defer b.s.rotation.Unlock()
	if err := b.copyDatabase(ctx, c.database()); err != nil {
		return nil, err
	}
	if err := b.queue.Copy(c.queue()); err != nil {
		return nil, err
	}
	if err := c.readSmall(o.Data); err != nil {
		return nil, err
	}
	c.manifest = backup.Manifest{
		Format: backup.Format, Version: o.Version, Created: c.began.UTC().Truncate(time.Second), Region: o.Region, AccountID: o.AccountID,
	}
	c.manifest.Objects, c.manifest.Bytes, err = sqlstore.CountDataFiles(ctx, c.database())
	for _, path := range []string{c.database(), c.queue()} {
		if st, e := os.Stat(path); e == nil {
			c.manifest.Bytes += st.Size()
		}
	}
	return c, err
}

// copyDatabase makes a copy that SQLite reads, wherever the database is: what is
// restored has its database in the folder.
func (b *backups) copyDatabase(ctx context.Context, to string) error {
	if b.s.opts.Database == "" {
		return sqlstore.CopyFile(ctx, filepath.Join(b.s.opts.Data, databaseFile), to)
	}
	target, err := sqlstore.Open(ctx, sqlstore.Config{Path: to, Fast: true})
	if err != nil {
		return err
	}
	_, err = sqlstore.Copy(ctx, b.s.db, target, map[string]string{boundSetting: ""})
	return errors.Join(err, target.Close())
}

// room refuses a backup whose copies of the database and of the queues would fill the disk.
func (b *backups) room() error {
	var need int64
	for _, name := range []string{databaseFile, databaseFile + "-wal", filepath.Join(queueDir, queue.FileName)} {
		if st, err := os.Stat(filepath.Join(b.s.opts.Data, name)); err == nil {
			need += st.Size()
		}
	}
	if left := max(b.s.disk.left.Load(), 0); left < need && !b.s.disk.off() {
		return iot.Errorf(iot.KindBusy, "backup",
			"The backup needs %d MiB for a moment on the disk of the data folder, which has %d MiB left above its reserve.", need>>20+1, left>>20)
	}
	return nil
}

// backupCopy is a backup under way: copies of what changes, and a hold on what does not.
type backupCopy struct {
	b        *backups
	began    time.Time
	dir      string
	release  func()
	manifest backup.Manifest
	small    []smallFile // keys, certificates
	once     sync.Once
}

type smallFile struct {
	name string
	data []byte
}

func (c *backupCopy) database() string { return filepath.Join(c.dir, databaseFile) }
func (c *backupCopy) queue() string    { return filepath.Join(c.dir, queue.FileName) }

// maxSmall bounds what is read into memory of one file.
const maxSmall = 1 << 20

// readSmall reads what is replaced as a whole.
func (c *backupCopy) readSmall(dir string) error {
	names := []string{keyRingFile, adminFile}
	entries, err := os.ReadDir(filepath.Join(dir, pkiDir))
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	for _, e := range entries {
		if e.Type().IsRegular() && !strings.HasPrefix(e.Name(), ".") { // half written
			names = append(names, pkiDir+"/"+e.Name())
		}
	}
	for _, name := range names {
		f, err := os.Open(filepath.Join(dir, name)) //nolint:gosec // our own data folder
		if err != nil {
			return fmt.Errorf("backup: %w", err)
		}
		data, err := io.ReadAll(io.LimitReader(f, maxSmall+1))
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("backup: %w", err)
		}
		if len(data) > maxSmall {
			return fmt.Errorf("backup: %s has more than %d bytes", name, maxSmall)
		}
		c.small = append(c.small, smallFile{name, data})
	}
	return nil
}

// Send implements api.BackupCopy.
func (c *backupCopy) Send(ctx context.Context, w io.Writer, recipient string) error {
	sealed, err := backup.SealFor(w, recipient)
	if err != nil {
		return err
	}
	a, err := backup.NewWriter(sealed, &c.manifest)
	if err != nil {
		return err
	}
	for _, f := range c.small {
		if err := a.File(f.name, int64(len(f.data)), bytes.NewReader(f.data)); err != nil {
			return err
		}
	}
	if err := addFile(a, databaseFile, c.database()); err != nil {
		return err
	}
	if err := addFile(a, queueDir+"/"+queue.FileName, c.queue()); err != nil {
		return err
	}
	err = sqlstore.DataFiles(ctx, c.database(), func(id local.ID, size int64) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		f, err := c.b.engine.DataFile(id)
		if err != nil {
			return err
		}
		return errors.Join(addOpen(a, objectsDir+"/"+local.DataFileName(id), f, size), f.Close())
	})
	if err := errors.Join(err); err != nil {
		return err
	}
	if err := errors.Join(a.Close(), sealed.Close()); err != nil {
		return err
	}
	c.b.s.log.LogAttrs(ctx, slog.LevelInfo, "backup sent",
		slog.Int64("objects", c.manifest.Objects), slog.Int64("bytes", c.manifest.Bytes),
		slog.Duration("took", c.b.s.opts.Now().Sub(c.began)))
	return nil
}

func addFile(a *backup.Writer, name, path string) error {
	f, err := os.Open(path) //nolint:gosec // our own data folder
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err == nil {
		err = addOpen(a, name, f, st.Size())
	}
	return errors.Join(err, f.Close())
}

// addOpen refuses a file that is not as long as it is to be: what is damaged on
// the disk must not be found out when the backup is needed.
func addOpen(a *backup.Writer, name string, f *os.File, size int64) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.Size() != size {
		return fmt.Errorf("backup: %s has %d bytes, it should have %d", name, st.Size(), size)
	}
	return a.File(name, size, f)
}

// Close implements api.BackupCopy.
func (c *backupCopy) Close() {
	c.once.Do(func() {
		if c.release != nil {
			c.release()
		}
		if c.dir != "" {
			if err := os.RemoveAll(c.dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
				c.b.s.log.Warn("the copies of a backup stay behind until the next start", slog.Any("error", err))
			}
		}
		c.b.busy.Unlock()
	})
}
