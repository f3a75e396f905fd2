package sqlstore

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"sort"
	"strconv"
	"strings"
)

// migrations holds NNNN_name.sql, applied in order, each once and in one
// transaction, and never changed after a release.
//
//go:embed migrations/*.sql
var migrations embed.FS

// migrate brings the schema to the newest version. A database that is newer
// than this program is refused.
func migrate(ctx context.Context, c *conn) error {
	if _, err := c.c.ExecContext(ctx, c.dialect.schema(`CREATE TABLE IF NOT EXISTS schema_migrations (
		version bigint PRIMARY KEY, name text NOT NULL)`)); err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	have := map[int]bool{}
	newest := 0
	rows, err := c.c.QueryContext(ctx, "SELECT version FROM schema_migrations")
	if err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var v int
		if err := rows.Scan(&v); err != nil {
			return fmt.Errorf("read schema version: %w", err)
		}
		have[v] = true
		newest = max(newest, v)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return fmt.Errorf("list migrations: %w", err)
	}
	sort.Strings(names)
	latest := 0
	for _, name := range names {
		v, err := migrationVersion(name)
		if err != nil {
			return err
		}
		latest = v
		if have[v] {
			continue
		}
		if err := apply(ctx, c, v, name); err != nil {
			return fmt.Errorf("migration %s: %w", name, err)
		}
	}
	if newest > latest {
		return fmt.Errorf("the database has schema %d, written by a newer version; this program knows up to %d", newest, latest)
	}
	return nil
}

func migrationVersion(name string) (int, error) {
	base := strings.TrimPrefix(name, "migrations/")
	num, _, ok := strings.Cut(base, "_")
	v, err := strconv.Atoi(num)
	if !ok || err != nil {
		return 0, fmt.Errorf("migration %s: the name must be NNNN_title.sql", name)
	}
	return v, nil
}

func apply(ctx context.Context, c *conn, version int, name string) error {
	src, err := migrations.ReadFile(name)
	if err != nil {
		return err
	}
	t, err := c.c.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer t.Rollback() //nolint:errcheck // after a commit it has nothing to do
	if _, err := t.ExecContext(ctx, c.dialect.schema(string(src))); err != nil {
		return err
	}
	if _, err := t.ExecContext(ctx, c.dialect.placeholders("INSERT INTO schema_migrations (version, name) VALUES (?, ?)"), version, name); err != nil {
		return err
	}
	return t.Commit()
}
