package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"os"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the "sqlite" driver, pure Go
)

// sqlite is the dialect that queries and migrations are written in.
type sqlite struct{}

func openSQLite(cfg Config) (dialect, *sql.DB, error) {
	// SQLite would make it readable to all, and gives its log the mode of the file.
	f, err := os.OpenFile(cfg.Path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, err
	}
	if err := errors.Join(f.Chmod(0o600), f.Close()); err != nil {
		return nil, nil, err
	}
	pool, err := sql.Open("sqlite", sqliteName(cfg))
	return sqlite{}, pool, err
}

func sqliteName(cfg Config) string {
	name := "file:" + (&url.URL{Path: cfg.Path}).EscapedPath()
	sync := "FULL"
	if cfg.Fast {
		sync = "NORMAL"
	}
	q := url.Values{"_pragma": {
		"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(" + sync + ")", "foreign_keys(ON)",
		"cache_size(-8000)", "temp_store(MEMORY)", "wal_autocheckpoint(2000)", "journal_size_limit(67108864)",
	}}
	return name + "?" + q.Encode()
}

// claim has nothing to do: the data folder's lock guards the file.
func (sqlite) claim(context.Context, *conn) error { return nil }

func (sqlite) prepareConn(context.Context, *conn) error { return nil }

func (sqlite) prepareReader(ctx context.Context, c *conn) error {
	// What is read often is in the memory of the services: a storm of devices
	// that are looked up once must not leave pages behind in every reader.
	_, err := c.c.ExecContext(ctx, "PRAGMA query_only=ON; PRAGMA cache_size=-2000")
	return err
}

func (sqlite) begin(c *conn) error {
	_, err := c.exec("BEGIN IMMEDIATE")
	return err
}

func (sqlite) failed(*conn) bool { return false }

func (sqlite) commit(c *conn) error {
	_, err := c.exec("COMMIT")
	return err
}

func (sqlite) snapshot() string { return "BEGIN" }

func (sqlite) placeholders(query string) string { return query }

func (sqlite) schema(source string) string { return source }

func (sqlite) explain(err error) error { return err }

func (sqlite) heartbeat() (<-chan time.Time, func()) { return nil, func() {} }

func (sqlite) retake(context.Context, *conn) error { return nil }

func (sqlite) pending() bool { return false }

func (sqlite) committed(*conn) (bool, error) { return false, nil }

func (sqlite) catalog() catalog {
	return catalog{
		tables:     "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'",
		columns:    "SELECT name FROM pragma_table_info(?) ORDER BY cid",
		references: `SELECT m.name, f."table" FROM sqlite_schema m JOIN pragma_foreign_key_list(m.name) f WHERE m.type = 'table'`,
	}
}

// patient lets rows of a table refer to later ones until the commit.
func (sqlite) patient(c *conn) error {
	_, err := c.c.ExecContext(c.forever, "PRAGMA defer_foreign_keys=ON")
	return err
}

func (sqlite) load(ctx context.Context, c *conn, table string, columns []string, rows *sql.Rows) error {
	insert := "INSERT INTO " + table + " (" + strings.Join(columns, ", ") + ") VALUES (?" + strings.Repeat(", ?", len(columns)-1) + ")"
	row := newAnyRow(len(columns))
	for rows.Next() {
		if err := row.scan(ctx, rows); err != nil {
			return err
		}
		if _, err := c.exec(insert, row.values...); err != nil {
			return err
		}
	}
	return rows.Err()
}
