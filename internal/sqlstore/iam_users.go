package sqlstore

import (
	"context"
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iam"
	"github.com/sekisho-iot/sekisho/internal/iot"
)

// InsertUser keeps a new user. Names differ by more than case.
func (s *IAMStore) InsertUser(ctx context.Context, u iam.User) error {
	return s.db.write(ctx, func(t *tx) error {
		if err := mustBeAttachable(t, u.Boundary); err != nil {
			return err
		}
		n, err := affected(t.exec(`INSERT INTO iam_users (id, name, name_lower, path, arn, boundary, created_ms)
			VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			u.ID, u.Name, strings.ToLower(u.Name), u.Path, u.ARN, u.Boundary, u.CreatedAt.UnixMilli()))
		if err != nil {
			return err
		}
		if n == 0 {
			return iot.Errorf(iot.KindExists, "user", "User with name %s already exists.", u.Name)
		}
		t.changed(iot.ChangeUser, u.Name)
		return setIAMTags(t, u.ID, u.Tags)
	})
}

const userColumns = "id, name, path, arn, boundary, created_ms"

func scanUser(row scanner) (iam.User, error) {
	var u iam.User
	var ms int64
	err := row.Scan(&u.ID, &u.Name, &u.Path, &u.ARN, &u.Boundary, &ms)
	u.CreatedAt = time.UnixMilli(ms).UTC()
	return u, err
}

// User returns a user with its tags.
func (s *IAMStore) User(ctx context.Context, name string) (iam.User, error) {
	var u iam.User
	err := s.db.read(ctx, func(q querier) error {
		var err error
		u, err = scanUser(q.queryRow("SELECT "+userColumns+" FROM iam_users WHERE name = ?", name))
		if err != nil {
			return orNotFound(err, noUser(name))
		}
		u.Tags, err = iamTags(q, u.ID)
		return err
	})
	return u, err
}

// Users lists users by name, without tags.
func (s *IAMStore) Users(ctx context.Context, p iam.Page) ([]iam.User, error) {
	var list []iam.User
	err := s.db.get(ctx, func(q querier) error {
		rows, err := q.query("SELECT "+userColumns+` FROM iam_users
			WHERE name_lower > ? AND substr(path, 1, length(?)) = ? ORDER BY name_lower LIMIT ?`,
			p.After, p.PathPrefix, p.PathPrefix, p.Limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			u, err := scanUser(rows)
			if err != nil {
				return err
			}
			list = append(list, u)
		}
		return rows.Err()
	})
	return list, err
}

// UpdateUser renames or moves a user.
func (s *IAMStore) UpdateUser(ctx context.Context, name string, c iam.NameChange) error {
	return s.db.write(ctx, func(t *tx) error {
		id, err := holderID(t, iam.Holder{Kind: iam.UserHolder, Name: name})
		if err != nil {
			return err
		}
		var other int
		if err := t.queryRow("SELECT count(*) FROM iam_users WHERE name_lower = ? AND id <> ?", strings.ToLower(c.Name), id).Scan(&other); err != nil {
			return err
		}
		if other > 0 {
			return iot.Errorf(iot.KindExists, "user", "User with name %s already exists.", c.Name)
		}
		if _, err := t.exec("UPDATE iam_users SET name = ?, name_lower = ?, path = ?, arn = ? WHERE id = ?",
			c.Name, strings.ToLower(c.Name), c.Path, c.ARN, id); err != nil {
			return err
		}
		// Keys first: one that is remembered with the old name would find nobody.
		if err := t.keysChanged(id); err != nil {
			return err
		}
		t.changed(iot.ChangeUser, name)
		t.changed(iot.ChangeUser, c.Name)
		return nil
	})
}

// keysChanged announces every key of a user: they are remembered with its name.
func (t *tx) keysChanged(userID string) error {
	rows, err := t.query("SELECT id FROM iam_access_keys WHERE user_id = ?", userID)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return err
		}
		t.changed(iot.ChangeAccessKey, id)
	}
	return rows.Err()
}

// DeleteUser deletes a user that has neither policies nor keys.
func (s *IAMStore) DeleteUser(ctx context.Context, name string) error {
	return s.db.write(ctx, func(t *tx) error {
		id, err := holderID(t, iam.Holder{Kind: iam.UserHolder, Name: name})
		if err != nil {
			return err
		}
		var keys int
		if err := t.queryRow("SELECT count(*) FROM iam_access_keys WHERE user_id = ?", id).Scan(&keys); err != nil {
			return err
		}
		if keys > 0 {
			return iot.Errorf(iot.KindConflict, "access-key", "Cannot delete entity, must delete access keys first.")
		}
		if err := bare(t, id); err != nil {
			return err
		}
		var groups int
		if err := t.queryRow("SELECT count(*) FROM iam_group_members WHERE user_id = ?", id).Scan(&groups); err != nil {
			return err
		}
		if groups > 0 {
			return iot.Errorf(iot.KindConflict, "group", "Cannot delete entity, must remove user from groups first.")
		}
		if _, err := t.exec("DELETE FROM iam_users WHERE id = ?", id); err != nil {
			return err
		}
		if _, err := t.exec("DELETE FROM iam_tags WHERE owner_id = ?", id); err != nil {
			return err
		}
		t.changed(iot.ChangeUser, name)
		return nil
	})
}

// InsertKey keeps a new access key.
func (s *IAMStore) InsertKey(ctx context.Context, k iam.AccessKey, limit int) error {
	return s.db.write(ctx, func(t *tx) error {
		if k.UserID != "" { // the user may have gone since it was looked up
			if id, err := holderID(t, iam.Holder{Kind: iam.UserHolder, Name: k.UserName}); err != nil {
				return err
			} else if id != k.UserID {
				return noUser(k.UserName)
			}
		}
		n, err := affected(t.exec(`INSERT INTO iam_access_keys (id, user_id, active, sealed, created_ms) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (id) DO NOTHING`, k.ID, k.UserID, flag(k.Active), k.Sealed, k.CreatedAt.UnixMilli()))
		if err != nil {
			return err
		}
		if n == 0 {
			return iot.Errorf(iot.KindExists, "access-key", "Access key %s already exists.", k.ID)
		}
		if limit > 0 {
			var all int
			if err := t.queryRow("SELECT count(*) FROM iam_access_keys WHERE user_id = ?", k.UserID).Scan(&all); err != nil {
				return err
			}
			if all > limit {
				return iot.Errorf(iot.KindLimit, "access-key", "Cannot exceed quota for AccessKeysPerUser: %d", limit)
			}
		}
		t.changed(iot.ChangeAccessKey, k.ID)
		return nil
	})
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

const keyQuery = `SELECT k.id, k.user_id, COALESCE(u.name, ''), k.active, k.epoch, k.sealed, k.created_ms
	FROM iam_access_keys k LEFT JOIN iam_users u ON u.id = k.user_id`

func scanKey(row scanner) (iam.AccessKey, error) {
	var k iam.AccessKey
	var active int
	var ms int64
	err := row.Scan(&k.ID, &k.UserID, &k.UserName, &active, &k.Epoch, &k.Sealed, &ms)
	k.Active, k.CreatedAt = active == 1, time.UnixMilli(ms).UTC()
	return k, err
}

// Key returns an access key.
func (s *IAMStore) Key(ctx context.Context, id string) (iam.AccessKey, error) {
	var k iam.AccessKey
	err := s.db.get(ctx, func(q querier) error {
		var err error
		k, err = scanKey(q.queryRow(keyQuery+" WHERE k.id = ?", id))
		return orNotFound(err, noKey(id))
	})
	return k, err
}

// keyUser returns the id of a user, "" for the root.
func keyUser(q querier, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	return holderID(q, iam.Holder{Kind: iam.UserHolder, Name: name})
}

// Keys lists the access keys of a user by id.
func (s *IAMStore) Keys(ctx context.Context, userName string) ([]iam.AccessKey, error) {
	var list []iam.AccessKey
	err := s.db.read(ctx, func(q querier) error {
		list = nil
		user, err := keyUser(q, userName)
		if err != nil {
			return err
		}
		rows, err := q.query(keyQuery+" WHERE k.user_id = ? ORDER BY k.id", user)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			k, err := scanKey(rows)
			if err != nil {
				return err
			}
			list = append(list, k)
		}
		return rows.Err()
	})
	return list, err
}

// SetKeyStatus activates or deactivates a key of a user.
func (s *IAMStore) SetKeyStatus(ctx context.Context, userName, id string, active bool) error {
	return s.db.write(ctx, func(t *tx) error {
		return t.changeKey(userName, id, "UPDATE iam_access_keys SET epoch = epoch + CASE WHEN active = ? THEN 0 ELSE 1 END, active = ? WHERE user_id = ? AND id = ?",
			flag(active), flag(active))
	})
}

// DeleteKey deletes a key of a user.
func (s *IAMStore) DeleteKey(ctx context.Context, userName, id string) error {
	return s.db.write(ctx, func(t *tx) error {
		if err := t.changeKey(userName, id, "DELETE FROM iam_access_keys WHERE user_id = ? AND id = ?"); err != nil {
			return err
		}
		_, err := t.exec("DELETE FROM iam_last_used WHERE id = ?", id)
		return err
	})
}

func (t *tx) changeKey(userName, id, stmt string, args ...any) error {
	user, err := keyUser(t, userName)
	if err != nil {
		return err
	}
	n, err := affected(t.exec(stmt, append(append([]any{}, args...), user, id)...))
	if err != nil {
		return err
	}
	if n == 0 {
		return noKey(id)
	}
	t.changed(iot.ChangeAccessKey, id)
	return nil
}
