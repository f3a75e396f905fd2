package server

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/sekisho-iot/sekisho/internal/sqlstore"
)

// A PostgreSQL database and the data folder whose keys and objects it knows
// belong together: with another folder no secret could be opened, and objects
// that no row names would be removed. Both hold the same random id: the folder
// in boundFile, the database as the setting boundSetting.
const (
	boundFile    = "database"
	boundSetting = "data-folder"
)

// databaseConfig is where the database is.
func (o *Options) databaseConfig() sqlstore.Config {
	if o.Database != "" {
		return sqlstore.Config{URL: o.Database}
	}
	return sqlstore.Config{Path: filepath.Join(o.Data, databaseFile)}
}

func isPostgres(s string) bool {
	return strings.HasPrefix(s, "postgres://") || strings.HasPrefix(s, "postgresql://")
}

// checkWhole refuses a folder that has lost its database or its master key, or
// whose database is another one than is asked for. With a new one of either, no
// access key would work, the one in admin.json included.
func checkWhole(o *Options) error {
	if exists(filepath.Join(o.Data, restoreDir)) {
		return fmt.Errorf("data folder %s is what a restore left that did not come to its end: empty it, and restore again", o.Data)
	}
	bound, err := boundTo(o.Data)
	if err != nil {
		return err
	}
	own := exists(filepath.Join(o.Data, databaseFile))
	switch {
	case o.Database == "" && bound != "":
		return fmt.Errorf("data folder %s belongs to a PostgreSQL database: give its URL as --database, or bring it back with `sekisho migrate`", o.Data)
	case o.Database != "" && own && bound != "":
		return fmt.Errorf("data folder %s has a %s though it belongs to a PostgreSQL database: if a migration to PostgreSQL was interrupted, "+
			"move %s away; if one back from it was, remove the file %s", o.Data, databaseFile, databaseFile, boundFile)
	case o.Database != "" && own:
		return fmt.Errorf("data folder %s has a database of its own: bring it over with `sekisho migrate --from %s --to URL` first", o.Data, o.Data)
	}
	if !exists(filepath.Join(o.Data, adminFile)) {
		return nil // a first start, which makes all of it
	}
	needed := []string{databaseFile, keyRingFile}
	if o.Database != "" {
		needed = []string{boundFile, keyRingFile}
	}
	for _, name := range needed {
		if !exists(filepath.Join(o.Data, name)) {
			return fmt.Errorf("%s is missing from data folder %s: put it back, or give another --data to begin anew", name, o.Data)
		}
	}
	return nil
}

// exists reports whether there is such a file; one that cannot be looked at is there.
func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// boundTo returns the id of the database that a folder belongs to, "" for none.
func boundTo(dir string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dir, boundFile)) //nolint:gosec // the folder that the operator named
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(b)), err
}

// bind makes folder and database belong together at the first start, and sees
// to it at every other that they do.
func bind(ctx context.Context, o *Options, db *sqlstore.DB) error {
	if o.Database == "" {
		return nil
	}
	id, err := boundTo(o.Data)
	if err != nil {
		return err
	}
	kept, err := db.Setting(ctx, boundSetting)
	if err != nil {
		return err
	}
	other := fmt.Errorf("the database of --database %s belongs to another data folder than %s: start with that one, or use another database",
		redactURL(o.Database), o.Data)
	switch {
	case kept != "" && kept != id:
		return other
	case kept != "":
		return nil
	case exists(filepath.Join(o.Data, adminFile)):
		return fmt.Errorf("the database of --database %s is not the one that data folder %s belongs to: it is empty", redactURL(o.Database), o.Data)
	}
	if id == "" {
		if id, err = newBond(o.Rand); err != nil {
			return err
		}
		if err := writeBond(o.Data, id); err != nil {
			return err
		}
	}
	if kept, err = db.FixSetting(ctx, boundSetting, id); err == nil && kept != id {
		err = other
	}
	return err
}

func newBond(random io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", err
	}
	return hex.EncodeToString(b[:]), nil
}

func writeBond(dir, id string) error {
	return writeFile(filepath.Join(dir, boundFile), []byte(id+"\n"), 0o600)
}

// watchDatabase cuts every client off when the database is not this server's
// any more: what is in memory may be out of date, revocations among it.
func (s *Server) watchDatabase(ctx context.Context, failed chan<- error) {
	quit, done := make(chan struct{}), make(chan struct{})
	s.stop(func() error {
		close(quit)
		<-done
		return nil
	})
	go func() {
		defer close(done)
		select {
		case <-quit:
			return
		case <-s.db.Lost():
		}
		err := s.db.LostBecause()
		s.log.ErrorContext(ctx, "the database is lost: every client is cut off", slog.Any("error", err))
		_ = s.api.Close()
		_ = s.device.Close()
		_ = s.broker.Close()
		select {
		case failed <- err:
		case <-quit:
		}
	}()
}
