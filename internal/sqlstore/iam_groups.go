package sqlstore

import (
	"context"
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iam"
	"github.com/sekisho-iot/sekisho/internal/iot"
)

// InsertGroup keeps a new group. Names differ by more than case.
func (s *IAMStore) InsertGroup(ctx context.Context, g iam.Group) error {
	return s.db.write(ctx, func(t *tx) error {
		n, err := affected(t.exec(`INSERT INTO iam_groups (id, name, name_lower, path, arn, created_ms) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT DO NOTHING`, g.ID, g.Name, strings.ToLower(g.Name), g.Path, g.ARN, g.CreatedAt.UnixMilli()))
		if err == nil && n == 0 {
			err = iot.Errorf(iot.KindExists, "group", "Group with name %s already exists.", g.Name)
		}
		return err
	})
}

const groupColumns = "g.id, g.name, g.path, g.arn, g.created_ms"

func scanGroup(row scanner) (iam.Group, error) {
	var g iam.Group
	var ms int64
	err := row.Scan(&g.ID, &g.Name, &g.Path, &g.ARN, &ms)
	g.CreatedAt = time.UnixMilli(ms).UTC()
	return g, err
}

func (s *IAMStore) groups(ctx context.Context, query string, args ...any) ([]iam.Group, error) {
	var list []iam.Group
	err := s.db.get(ctx, func(q querier) error {
		rows, err := q.query(query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			g, err := scanGroup(rows)
			if err != nil {
				return err
			}
			list = append(list, g)
		}
		return rows.Err()
	})
	return list, err
}

// Group returns a group.
func (s *IAMStore) Group(ctx context.Context, name string) (iam.Group, error) {
	var g iam.Group
	err := s.db.get(ctx, func(q querier) error {
		var err error
		g, err = scanGroup(q.queryRow("SELECT "+groupColumns+" FROM iam_groups g WHERE g.name = ?", name))
		return orNotFound(err, iam.NoSuchGroup(name))
	})
	return g, err
}

// Groups lists groups by name.
func (s *IAMStore) Groups(ctx context.Context, p iam.Page) ([]iam.Group, error) {
	return s.groups(ctx, "SELECT "+groupColumns+` FROM iam_groups g
		WHERE g.name_lower > ? AND substr(g.path, 1, length(?)) = ? ORDER BY g.name_lower LIMIT ?`, p.After, p.PathPrefix, p.PathPrefix, p.Limit)
}

// UpdateGroup renames or moves a group.
func (s *IAMStore) UpdateGroup(ctx context.Context, name string, c iam.NameChange) error {
	return s.db.write(ctx, func(t *tx) error {
		id, err := holderID(t, iam.Holder{Kind: iam.GroupHolder, Name: name})
		if err != nil {
			return err
		}
		var other int
		if err := t.queryRow("SELECT count(*) FROM iam_groups WHERE name_lower = ? AND id <> ?", strings.ToLower(c.Name), id).Scan(&other); err != nil {
			return err
		}
		if other > 0 {
			return iot.Errorf(iot.KindExists, "group", "Group with name %s already exists.", c.Name)
		}
		if _, err := t.exec("UPDATE iam_groups SET name = ?, name_lower = ?, path = ?, arn = ? WHERE id = ?",
			c.Name, strings.ToLower(c.Name), c.Path, c.ARN, id); err != nil {
			return err
		}
		return t.membersChanged(id)
	})
}

// membersChanged announces every user in a group.
func (t *tx) membersChanged(groupID string) error {
	rows, err := t.query("SELECT u.name FROM iam_group_members m JOIN iam_users u ON u.id = m.user_id WHERE m.group_id = ?", groupID)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return err
		}
		t.changed(iot.ChangeUser, name)
	}
	return rows.Err()
}

// DeleteGroup deletes a group that has neither policies nor members.
func (s *IAMStore) DeleteGroup(ctx context.Context, name string) error {
	return s.db.write(ctx, func(t *tx) error {
		id, err := holderID(t, iam.Holder{Kind: iam.GroupHolder, Name: name})
		if err != nil {
			return err
		}
		var members int
		if err := t.queryRow("SELECT count(*) FROM iam_group_members WHERE group_id = ?", id).Scan(&members); err != nil {
			return err
		}
		if members > 0 {
			return iot.Errorf(iot.KindConflict, "group", "Cannot delete entity, must remove users from group first.")
		}
		if err := bare(t, id); err != nil {
			return err
		}
		_, err = t.exec("DELETE FROM iam_groups WHERE id = ?", id)
		return err
	})
}

// memberIDs returns the ids of a group and a user.
func memberIDs(q querier, group, user string) (groupID, userID string, err error) {
	if groupID, err = holderID(q, iam.Holder{Kind: iam.GroupHolder, Name: group}); err != nil {
		return "", "", err
	}
	userID, err = holderID(q, iam.Holder{Kind: iam.UserHolder, Name: user})
	return groupID, userID, err
}

// AddMember puts a user into a group unless it is in it.
func (s *IAMStore) AddMember(ctx context.Context, group, user string, at time.Time, limit int) error {
	return s.db.write(ctx, func(t *tx) error {
		g, u, err := memberIDs(t, group, user)
		if err != nil {
			return err
		}
		n, err := affected(t.exec(`INSERT INTO iam_group_members (group_id, user_id, added_ms) VALUES (?, ?, ?)
			ON CONFLICT (group_id, user_id) DO NOTHING`, g, u, at.UnixMilli()))
		if err != nil || n == 0 {
			return err
		}
		var all int
		if err := t.queryRow("SELECT count(*) FROM iam_group_members WHERE user_id = ?", u).Scan(&all); err != nil {
			return err
		}
		if all > limit {
			return iot.Errorf(iot.KindLimit, "group", "Cannot exceed quota for GroupsPerUser: %d", limit)
		}
		t.changed(iot.ChangeUser, user)
		return nil
	})
}

// RemoveMember takes a user out of a group.
func (s *IAMStore) RemoveMember(ctx context.Context, group, user string) error {
	return s.db.write(ctx, func(t *tx) error {
		g, u, err := memberIDs(t, group, user)
		if err != nil {
			return err
		}
		if _, err := t.exec("DELETE FROM iam_group_members WHERE group_id = ? AND user_id = ?", g, u); err != nil {
			return err
		}
		t.changed(iot.ChangeUser, user)
		return nil
	})
}

// Members lists the users in a group by name, without tags.
func (s *IAMStore) Members(ctx context.Context, group string, p iam.Page) ([]iam.User, error) {
	var list []iam.User
	err := s.db.read(ctx, func(q querier) error {
		list = nil
		id, err := holderID(q, iam.Holder{Kind: iam.GroupHolder, Name: group})
		if err != nil {
			return err
		}
		rows, err := q.query(`SELECT u.id, u.name, u.path, u.arn, u.boundary, u.created_ms
			FROM iam_group_members m JOIN iam_users u ON u.id = m.user_id
			WHERE m.group_id = ? AND u.name_lower > ? ORDER BY u.name_lower LIMIT ?`, id, p.After, p.Limit)
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

// GroupsOf lists the groups of a user by name.
func (s *IAMStore) GroupsOf(ctx context.Context, user string) ([]iam.Group, error) {
	var list []iam.Group
	err := s.db.read(ctx, func(q querier) error {
		list = nil
		id, err := holderID(q, iam.Holder{Kind: iam.UserHolder, Name: user})
		if err != nil {
			return err
		}
		rows, err := q.query("SELECT "+groupColumns+` FROM iam_group_members m JOIN iam_groups g ON g.id = m.group_id
			WHERE m.user_id = ? ORDER BY g.name_lower`, id)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			g, err := scanGroup(rows)
			if err != nil {
				return err
			}
			list = append(list, g)
		}
		return rows.Err()
	})
	return list, err
}
