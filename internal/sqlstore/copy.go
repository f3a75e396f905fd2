package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// ErrNotEmpty says that the target of a copy holds something already.
var ErrNotEmpty = errors.New("the target is not empty")

// Copied says what Copy has copied.
type Copied struct {
	Tables int
	Rows   int64
}

// Copy fills an empty database with everything that another one holds, in one
// transaction: it is all there, or nothing is. Both have the newest schema,
// since they are open. The settings are set in the copy, or left out where the
// value is "".
func Copy(ctx context.Context, from, to *DB, settings map[string]string) (Copied, error) {
	var done Copied
	kept := false
	err := from.read(ctx, func(q querier) error {
		source := q.(*conn) //nolint:forcetypeassert // of read
		if err := source.dialect.patient(source); err != nil {
			return err
		}
		err := to.write(ctx, func(x *tx) error {
			var err error
			done, err = copyAll(ctx, source, x.conn, settings)
			return err
		})
		kept = err == nil
		return err
	})
	if kept { // whatever became of the source's connection since
		err = nil
	}
	return done, err
}

func copyAll(ctx context.Context, from, to *conn, settings map[string]string) (Copied, error) {
	var done Copied
	if err := to.dialect.patient(to); err != nil {
		return done, err
	}
	defer to.setLimit(answerLimit)
	tables, err := inOrder(to)
	if err != nil {
		return done, err
	}
	theirs, err := inOrder(from)
	if err != nil {
		return done, err
	}
	if !slices.Equal(slices.Sorted(slices.Values(tables)), slices.Sorted(slices.Values(theirs))) {
		return done, errors.New("the two databases do not have the same tables")
	}
	if err := mustBeEmpty(to, tables); err != nil {
		return done, err
	}
	for _, table := range slices.Backward(tables) {
		if _, err := to.exec("DELETE FROM " + table); err != nil { // of what migrations put there
			return done, err
		}
	}
	for _, table := range tables {
		n, err := copyTable(ctx, from, to, table)
		if err != nil {
			return done, fmt.Errorf("copy %s: %w", table, err)
		}
		done.Tables++
		done.Rows += n
	}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if _, err := to.exec("DELETE FROM settings WHERE name = ?", name); err != nil {
			return done, err
		}
		if v := settings[name]; v != "" {
			if _, err := to.exec("INSERT INTO settings (name, value) VALUES (?, ?)", name, v); err != nil {
				return done, err
			}
		}
	}
	return done, nil
}

func copyTable(ctx context.Context, from, to *conn, table string) (int64, error) {
	columns, err := names(to, to.dialect.catalog().columns, table)
	if err != nil {
		return 0, err
	}
	theirs, err := names(from, from.dialect.catalog().columns, table)
	if err != nil {
		return 0, err
	}
	if !slices.Equal(slices.Sorted(slices.Values(columns)), slices.Sorted(slices.Values(theirs))) {
		return 0, errors.New("the columns differ")
	}
	rows, err := from.query("SELECT " + strings.Join(columns, ", ") + " FROM " + table)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	if err := to.dialect.load(ctx, to, table, columns, rows); err != nil {
		return 0, err
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return 0, err
	}
	had, err := count(from, table)
	if err != nil {
		return 0, err
	}
	has, err := count(to, table)
	if err == nil && had != has {
		err = fmt.Errorf("%d of %d rows arrived", has, had)
	}
	return has, err
}

func count(c *conn, table string) (n int64, err error) {
	err = c.queryRow("SELECT count(*) FROM " + table).Scan(&n)
	return n, err
}

// mustBeEmpty fails where a table holds rows, but for those that migrations make.
func mustBeEmpty(c *conn, tables []string) error {
	made := map[string]bool{}
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	for _, name := range files {
		src, err := migrations.ReadFile(name)
		if err != nil {
			return err
		}
		for _, m := range regexp.MustCompile(`(?i)INSERT INTO (\w+)`).FindAllSubmatch(src, -1) {
			made[string(m[1])] = true
		}
	}
	for _, table := range tables {
		n, err := count(c, table)
		if err != nil {
			return err
		}
		if n > 0 && !made[table] {
			return fmt.Errorf("%w: %s has %d rows", ErrNotEmpty, table, n)
		}
	}
	return nil
}

// inOrder returns the tables to copy, each after those that it refers to.
func inOrder(c *conn) ([]string, error) {
	all, err := names(c, c.dialect.catalog().tables)
	if err != nil {
		return nil, err
	}
	slices.Sort(all)
	refers := map[string][]string{}
	rows, err := c.query(c.dialect.catalog().references)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var table, other string
		if err := rows.Scan(&table, &other); err != nil {
			return nil, err
		}
		refers[table] = append(refers[table], other)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	var order []string
	seen := map[string]bool{"schema_migrations": true, "server_claim": true} // each database's own
	var visit func(table string)
	visit = func(table string) {
		if seen[table] {
			return
		}
		seen[table] = true
		for _, other := range refers[table] {
			visit(other)
		}
		order = append(order, table)
	}
	for _, table := range all {
		visit(table)
	}
	return order, nil
}

// names runs a query of one column of names.
func names(c *conn, query string, args ...any) ([]string, error) {
	rows, err := c.query(query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		list = append(list, name)
	}
	return list, rows.Err()
}

// anyRow scans rows whose columns it knows nothing of.
type anyRow struct {
	values []any
	dest   []any
}

func newAnyRow(columns int) *anyRow {
	r := &anyRow{values: make([]any, columns), dest: make([]any, columns)}
	for i := range r.values {
		r.dest[i] = &r.values[i]
	}
	return r
}

// scan reads a row until ctx ends, which no statement hears of. Of an empty blob SQLite's driver makes nil bytes, which
// PostgreSQL's takes for NULL.
func (r *anyRow) scan(ctx context.Context, rows *sql.Rows) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := rows.Scan(r.dest...)
	for i, v := range r.values {
		if b, ok := v.([]byte); ok && b == nil {
			r.values[i] = []byte{}
		}
	}
	return err
}
