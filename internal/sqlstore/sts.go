package sqlstore

import (
	"context"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/registry"
	"github.com/sekisho-iot/sekisho/internal/sts"
)

// STSStore keeps role aliases.
type STSStore struct{ db *DB }

// STS returns the store of the sts services.
func (d *DB) STS() *STSStore { return &STSStore{db: d} }

var _ sts.AliasStore = (*STSStore)(nil)

func noAlias(name string) error {
	return iot.Errorf(iot.KindNotFound, "role-alias", "Role alias %s does not exist", name)
}

// InsertAlias keeps a new role alias and its tags.
func (s *STSStore) InsertAlias(ctx context.Context, a sts.RoleAlias, tags []sts.Tag) error {
	return s.db.write(ctx, func(t *tx) error {
		n, err := affected(t.exec(`INSERT INTO role_aliases (name, role_arn, duration, created_ms, updated_ms) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (name) DO NOTHING`, a.Name, a.RoleARN, a.Duration, a.CreatedAt.UnixMilli(), a.UpdatedAt.UnixMilli()))
		if err != nil {
			return err
		}
		if n == 0 {
			return &iot.Error{Kind: iot.KindExists, Resource: "role-alias", Message: "Role alias " + a.Name + " already exists", ID: a.Name}
		}
		t.changed(iot.ChangeRoleAlias, a.Name)
		list := make([]registry.Tag, len(tags))
		for i, g := range tags {
			list[i] = registry.Tag{Key: g.Key, Value: g.Value}
		}
		return insertTags(t, "rolealias/"+a.Name, list)
	})
}

const aliasColumns = "name, role_arn, duration, created_ms, updated_ms"

func scanAlias(row scanner) (sts.RoleAlias, error) {
	var a sts.RoleAlias
	var created, updated int64
	err := row.Scan(&a.Name, &a.RoleARN, &a.Duration, &created, &updated)
	a.CreatedAt, a.UpdatedAt = time.UnixMilli(created).UTC(), time.UnixMilli(updated).UTC()
	return a, err
}

// Alias returns a role alias.
func (s *STSStore) Alias(ctx context.Context, name string) (sts.RoleAlias, error) {
	var a sts.RoleAlias
	err := s.db.get(ctx, func(q querier) error {
		var err error
		a, err = scanAlias(q.queryRow("SELECT "+aliasColumns+" FROM role_aliases WHERE name = ?", name))
		return orNotFound(err, noAlias(name))
	})
	return a, err
}

// Aliases lists role aliases by name.
func (s *STSStore) Aliases(ctx context.Context, after string, ascending bool, limit int) ([]sts.RoleAlias, error) {
	query := "SELECT " + aliasColumns + " FROM role_aliases WHERE name > ? ORDER BY name LIMIT ?"
	args := []any{after, limit}
	if !ascending {
		query = "SELECT " + aliasColumns + " FROM role_aliases WHERE name < ? OR ? = '' ORDER BY name DESC LIMIT ?"
		args = []any{after, after, limit}
	}
	var list []sts.RoleAlias
	err := s.db.get(ctx, func(q querier) error {
		rows, err := q.query(query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			a, err := scanAlias(rows)
			if err != nil {
				return err
			}
			list = append(list, a)
		}
		return rows.Err()
	})
	return list, err
}

// UpdateAlias changes what c names.
func (s *STSStore) UpdateAlias(ctx context.Context, name string, c sts.AliasChange, at time.Time) error {
	return s.db.write(ctx, func(t *tx) error {
		a, err := scanAlias(t.queryRow("SELECT "+aliasColumns+" FROM role_aliases WHERE name = ?", name))
		if err != nil {
			return orNotFound(err, noAlias(name))
		}
		if c.RoleARN != nil {
			a.RoleARN = *c.RoleARN
		}
		if c.Duration != nil {
			a.Duration = *c.Duration
		}
		t.changed(iot.ChangeRoleAlias, name)
		_, err = t.exec("UPDATE role_aliases SET role_arn = ?, duration = ?, updated_ms = ? WHERE name = ?",
			a.RoleARN, a.Duration, at.UnixMilli(), name)
		return err
	})
}

// DeleteAlias deletes a role alias and its tags.
func (s *STSStore) DeleteAlias(ctx context.Context, name string) error {
	return s.db.write(ctx, func(t *tx) error {
		n, err := affected(t.exec("DELETE FROM role_aliases WHERE name = ?", name))
		if err != nil {
			return err
		}
		if n == 0 {
			return noAlias(name)
		}
		t.changed(iot.ChangeRoleAlias, name)
		return deleteTags(t, "rolealias/"+name)
	})
}
