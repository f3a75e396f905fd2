package sqlstore

import (
	"context"
	"database/sql"
	"errors"
)

// Setting returns a value that was fixed at first start; "" where it never was.
func (d *DB) Setting(ctx context.Context, name string) (string, error) {
	var v string
	err := d.get(ctx, func(q querier) error {
		return q.queryRow("SELECT value FROM settings WHERE name = ?", name).Scan(&v)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return v, err
}

// FixSetting keeps value under name unless there is one already, and returns the one that is kept.
func (d *DB) FixSetting(ctx context.Context, name, value string) (string, error) {
	kept := ""
	err := d.write(ctx, func(t *tx) error {
		if _, err := t.exec("INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", name, value); err != nil {
			return err
		}
		return t.queryRow("SELECT value FROM settings WHERE name = ?", name).Scan(&kept)
	})
	return kept, err
}

// SetSetting replaces the value of name.
func (d *DB) SetSetting(ctx context.Context, name, value string) error {
	return d.write(ctx, func(t *tx) error {
		_, err := t.exec("INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", name, value)
		return err
	})
}
