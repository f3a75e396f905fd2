package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"

	"github.com/sekisho-iot/sekisho/internal/s3/local"
)

// CopyFile writes an SQLite database as it is at one moment into a new file,
// while its server goes on writing.
func CopyFile(ctx context.Context, from, to string) (err error) {
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the server's own folder
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return fmt.Errorf("copy database: %w", err)
	}
	return withFile(ctx, from, "rw", func(c *sql.Conn) error {
		if _, err := c.ExecContext(ctx, "VACUUM INTO ?", to); err != nil {
			return fmt.Errorf("copy database: %w", err)
		}
		return nil
	})
}

// withFile opens a database file beside whoever else has it open.
func withFile(ctx context.Context, path, mode string, fn func(c *sql.Conn) error) (err error) {
	if _, err := os.Stat(path); err != nil { // SQLite would make it
		return fmt.Errorf("open database: %w", err)
	}
	q := url.Values{"mode": {mode}, "_pragma": {"busy_timeout(10000)", "temp_store(MEMORY)", "cache_size(-8000)"}}
	pool, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+q.Encode())
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	c, err := pool.Conn(ctx)
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	return fn(c)
}

// CheckFile reports whether an SQLite database is sound, and no newer than this
// program. A server may be using it.
func CheckFile(ctx context.Context, path string) error {
	return withFile(ctx, path, "rw", func(c *sql.Conn) error {
		var answer string
		if err := c.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&answer); err != nil {
			return fmt.Errorf("check database: %w", err)
		}
		if answer != "ok" {
			return fmt.Errorf("check database: it is damaged: %s", answer)
		}
		var have int
		if err := c.QueryRowContext(ctx, "SELECT coalesce(max(version), 0) FROM schema_migrations").Scan(&have); err != nil {
			return fmt.Errorf("check database: %w", err)
		}
		latest, err := latestMigration()
		if err != nil {
			return err
		}
		if have > latest {
			return fmt.Errorf("the database has schema %d, written by a newer version; this program knows up to %d", have, latest)
		}
		return nil
	})
}

func latestMigration() (int, error) {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return 0, fmt.Errorf("list migrations: %w", err)
	}
	latest := 0
	for _, name := range names {
		v, err := migrationVersion(name)
		if err != nil {
			return 0, err
		}
		latest = max(latest, v)
	}
	return latest, nil
}

// dataFiles are the data files that must be there. The parts of an upload that
// is garbage may be gone already.
const dataFiles = `SELECT version AS id, size FROM s3_objects WHERE layout = 0
	UNION ALL SELECT blob, size FROM s3_parts WHERE upload NOT IN (SELECT id FROM s3_garbage WHERE parts = 1)`

// DataFiles calls fn with every data file that a database file names, and its size.
func DataFiles(ctx context.Context, path string, fn func(id local.ID, size int64) error) error {
	return withFile(ctx, path, "ro", func(c *sql.Conn) error {
		rows, err := c.QueryContext(ctx, dataFiles)
		if err != nil {
			return fmt.Errorf("list data files: %w", err)
		}
		defer rows.Close()
		for rows.Next() {
			var raw sql.RawBytes
			var size int64
			if err := rows.Scan(&raw, &size); err != nil {
				return fmt.Errorf("list data files: %w", err)
			}
			var id local.ID
			if copy(id[:], raw) != len(id) || len(raw) != len(id) {
				return fmt.Errorf("list data files: an id of %d bytes", len(raw))
			}
			if err := fn(id, size); err != nil {
				return err
			}
		}
		return rows.Err()
	})
}

// CountDataFiles is how many DataFiles names, and the sum of their sizes.
func CountDataFiles(ctx context.Context, path string) (n, bytes int64, err error) {
	err = withFile(ctx, path, "ro", func(c *sql.Conn) error {
		return c.QueryRowContext(ctx, "SELECT count(*), coalesce(sum(size), 0) FROM ("+dataFiles+") AS files").Scan(&n, &bytes)
	})
	return n, bytes, err
}
