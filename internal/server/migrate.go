package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/sekisho-iot/sekisho/internal/sqlstore"
)

// movedSuffix marks the file of a database that went to PostgreSQL.
const movedSuffix = ".moved"

// Migration says what Migrate did.
type Migration struct {
	sqlstore.Copied
	KeptAs string // where the folder's old database is now
}

// Migrate copies a database: from a data folder to PostgreSQL, from there to
// the folder that it belongs to, or from one PostgreSQL database to another.
// from and to are a folder or a URL each. No server may run on either, the
// target must be empty, and a migration that fails leaves it so. The source is
// brought to the newest schema first; otherwise it stays as it is.
func Migrate(ctx context.Context, from, to string, random io.Reader) (Migration, error) {
	for _, side := range []string{from, to} {
		if isPostgres(side) {
			if err := sqlstore.CheckURL(side); err != nil {
				return Migration{}, usagef("%s: %v", redactURL(side), err)
			}
		} else if !exists(filepath.Join(side, adminFile)) {
			return Migration{}, usagef("%s is no data folder of a server", side)
		}
	}
	switch {
	case isPostgres(from) && isPostgres(to):
		return betweenServers(ctx, from, to)
	case isPostgres(to):
		return toServer(ctx, from, to, random)
	case isPostgres(from):
		return toFolder(ctx, from, to)
	}
	return Migration{}, usagef("one of --from and --to has to be a postgres:// URL: a data folder as a whole is copied while no server runs on it")
}

// betweenServers leaves the folder's id to the new database alone, so that no
// server takes up the old one again. It does so while the old one is still
// claimed: who waits for it may be a server that a supervisor restarts.
func betweenServers(ctx context.Context, from, to string) (m Migration, err error) {
	source, err := sqlstore.Open(ctx, sqlstore.Config{URL: from})
	if err != nil {
		return m, fmt.Errorf("--from: %w", err)
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	if m.Copied, err = copyInto(ctx, source, sqlstore.Config{URL: to}, nil); err != nil {
		return m, err
	}
	return m, source.SetSetting(context.WithoutCancel(ctx), boundSetting, "moved") // the copy is there already
}

func toServer(ctx context.Context, dir, url string, random io.Reader) (m Migration, err error) {
	lock, err := lockData(dir)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := checkWhole(&Options{Data: dir}); err != nil {
		return m, err
	}
	id, err := newBond(random)
	if err != nil {
		return m, err
	}
	path := filepath.Join(dir, databaseFile)
	m.Copied, err = copyDatabase(ctx, sqlstore.Config{Path: path}, sqlstore.Config{URL: url}, map[string]string{boundSetting: id})
	if err != nil {
		return m, err
	}
	if err := writeBond(dir, id); err != nil {
		return m, err
	}
	m.KeptAs = path + movedSuffix
	for n := 2; exists(m.KeptAs); n++ {
		m.KeptAs = fmt.Sprintf("%s%s.%d", path, movedSuffix, n)
	}
	return m, os.Rename(path, m.KeptAs)
}

func toFolder(ctx context.Context, url, dir string) (m Migration, err error) {
	lock, err := lockData(dir)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := checkWhole(&Options{Data: dir, Database: url}); err != nil {
		return m, err
	}
	path := filepath.Join(dir, databaseFile)
	fresh := path + ".new"
	defer func() {
		for _, suffix := range []string{"", "-wal", "-shm"} {
			_ = os.Remove(fresh + suffix) // of a copy that failed, now or earlier
		}
	}()
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return m, err
	}
	m.Copied, err = copyDatabase(ctx, sqlstore.Config{URL: url}, sqlstore.Config{Path: fresh}, map[string]string{boundSetting: ""},
		func(source *sqlstore.DB) error { return bind(ctx, &Options{Data: dir, Database: url}, source) })
	if err != nil {
		return m, err
	}
	if err := os.Rename(fresh, path); err != nil {
		return m, err
	}
	return m, os.Remove(filepath.Join(dir, boundFile))
}

// copyDatabase opens both, which no server may have, and copies unless one of checks forbids.
func copyDatabase(ctx context.Context, from, to sqlstore.Config, settings map[string]string, checks ...func(source *sqlstore.DB) error) (done sqlstore.Copied, err error) {
	source, err := sqlstore.Open(ctx, from)
	if err != nil {
		return done, fmt.Errorf("--from: %w", err)
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	for _, check := range checks {
		if err := check(source); err != nil {
			return done, err
		}
	}
	return copyInto(ctx, source, to, settings)
}

func copyInto(ctx context.Context, source *sqlstore.DB, to sqlstore.Config, settings map[string]string) (done sqlstore.Copied, err error) {
	target, err := sqlstore.Open(ctx, to)
	if err != nil {
		return done, fmt.Errorf("--to: %w", err)
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	if done, err = sqlstore.Copy(ctx, source, target, settings); errors.Is(err, sqlstore.ErrNotEmpty) {
		err = fmt.Errorf("--to: %w", err)
	}
	return done, err
}
