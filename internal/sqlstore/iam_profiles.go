package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iam"
	"github.com/sekisho-iot/sekisho/internal/iot"
)

func noProfile(name string) error {
	return iot.Errorf(iot.KindNotFound, "instance-profile", "Instance Profile %s cannot be found.", name)
}

func profileID(q querier, name string) (string, error) {
	var id string
	err := q.queryRow("SELECT id FROM iam_instance_profiles WHERE name = ?", name).Scan(&id)
	return id, orNotFound(err, noProfile(name))
}

// InsertProfile keeps a new instance profile. Names differ by more than case.
func (s *IAMStore) InsertProfile(ctx context.Context, p iam.InstanceProfile) error {
	return s.db.write(ctx, func(t *tx) error {
		n, err := affected(t.exec(`INSERT INTO iam_instance_profiles (id, name, name_lower, path, arn, role_id, created_ms)
			VALUES (?, ?, ?, ?, ?, '', ?) ON CONFLICT DO NOTHING`,
			p.ID, p.Name, strings.ToLower(p.Name), p.Path, p.ARN, p.CreatedAt.UnixMilli()))
		if err != nil {
			return err
		}
		if n == 0 {
			return iot.Errorf(iot.KindExists, "instance-profile", "Instance Profile %s already exists.", p.Name)
		}
		return setIAMTags(t, p.ID, p.Tags)
	})
}

const profileQuery = `SELECT p.id, p.name, p.path, p.arn, COALESCE(r.name, ''), p.created_ms
	FROM iam_instance_profiles p LEFT JOIN iam_roles r ON r.id = p.role_id`

func scanProfile(row scanner) (iam.InstanceProfile, error) {
	var p iam.InstanceProfile
	var ms int64
	err := row.Scan(&p.ID, &p.Name, &p.Path, &p.ARN, &p.RoleName, &ms)
	p.CreatedAt = time.UnixMilli(ms).UTC()
	return p, err
}

// Profile returns an instance profile with its tags.
func (s *IAMStore) Profile(ctx context.Context, name string) (iam.InstanceProfile, error) {
	var p iam.InstanceProfile
	err := s.db.read(ctx, func(q querier) error {
		var err error
		p, err = scanProfile(q.queryRow(profileQuery+" WHERE p.name = ?", name))
		if err != nil {
			return orNotFound(err, noProfile(name))
		}
		p.Tags, err = iamTags(q, p.ID)
		return err
	})
	return p, err
}

func listProfiles(q querier, query string, args ...any) ([]iam.InstanceProfile, error) {
	rows, err := q.query(query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []iam.InstanceProfile
	for rows.Next() {
		p, err := scanProfile(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, rows.Err()
}

// Profiles lists instance profiles by name, without tags.
func (s *IAMStore) Profiles(ctx context.Context, p iam.Page) ([]iam.InstanceProfile, error) {
	var list []iam.InstanceProfile
	err := s.db.get(ctx, func(q querier) error {
		var err error
		list, err = listProfiles(q, profileQuery+` WHERE p.name_lower > ? AND substr(p.path, 1, length(?)) = ? ORDER BY p.name_lower LIMIT ?`,
			p.After, p.PathPrefix, p.PathPrefix, p.Limit)
		return err
	})
	return list, err
}

// ProfilesOfRole lists the instance profiles of a role by name, without tags.
func (s *IAMStore) ProfilesOfRole(ctx context.Context, role string) ([]iam.InstanceProfile, error) {
	var list []iam.InstanceProfile
	err := s.db.read(ctx, func(q querier) error {
		id, err := holderID(q, iam.Holder{Kind: iam.RoleHolder, Name: role})
		if err != nil {
			return err
		}
		list, err = listProfiles(q, profileQuery+" WHERE p.role_id = ? ORDER BY p.name_lower", id)
		return err
	})
	return list, err
}

// DeleteProfile deletes an instance profile without a role.
func (s *IAMStore) DeleteProfile(ctx context.Context, name string) error {
	return s.db.write(ctx, func(t *tx) error {
		p, err := scanProfile(t.queryRow(profileQuery+" WHERE p.name = ?", name))
		if err != nil {
			return orNotFound(err, noProfile(name))
		}
		if p.RoleName != "" {
			return iot.Errorf(iot.KindConflict, "instance-profile", "Cannot delete entity, must remove roles from instance profile first.")
		}
		if _, err := t.exec("DELETE FROM iam_tags WHERE owner_id = ?", p.ID); err != nil {
			return err
		}
		_, err = t.exec("DELETE FROM iam_instance_profiles WHERE id = ?", p.ID)
		return err
	})
}

// AddProfileRole gives an instance profile its role.
func (s *IAMStore) AddProfileRole(ctx context.Context, profile, role string) error {
	return s.db.write(ctx, func(t *tx) error {
		p, err := scanProfile(t.queryRow(profileQuery+" WHERE p.name = ?", profile))
		if err != nil {
			return orNotFound(err, noProfile(profile))
		}
		id, err := holderID(t, iam.Holder{Kind: iam.RoleHolder, Name: role})
		if err != nil {
			return err
		}
		if p.RoleName != "" {
			return iot.Errorf(iot.KindLimit, "instance-profile", "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1")
		}
		_, err = t.exec("UPDATE iam_instance_profiles SET role_id = ? WHERE id = ?", id, p.ID)
		return err
	})
}

// RemoveProfileRole takes its role from an instance profile.
func (s *IAMStore) RemoveProfileRole(ctx context.Context, profile, role string) error {
	return s.db.write(ctx, func(t *tx) error {
		p, err := scanProfile(t.queryRow(profileQuery+" WHERE p.name = ?", profile))
		if err != nil {
			return orNotFound(err, noProfile(profile))
		}
		if p.RoleName != role {
			return noRole(role)
		}
		_, err = t.exec("UPDATE iam_instance_profiles SET role_id = '' WHERE id = ?", p.ID)
		return err
	})
}

// SaveUses keeps last uses that are newer than those kept.
func (s *IAMStore) SaveUses(ctx context.Context, uses []iam.Use) error {
	return s.db.write(ctx, func(t *tx) error {
		for _, u := range uses {
			var exists int
			if err := t.queryRow("SELECT (SELECT count(*) FROM iam_access_keys WHERE id = ?) + (SELECT count(*) FROM iam_roles WHERE id = ?)",
				u.ID, u.ID).Scan(&exists); err != nil {
				return err
			}
			if exists == 0 {
				continue
			}
			if _, err := t.exec(`INSERT INTO iam_last_used (id, used_ms, service, region) VALUES (?, ?, ?, ?)
				ON CONFLICT (id) DO UPDATE SET used_ms = excluded.used_ms, service = excluded.service, region = excluded.region
				WHERE excluded.used_ms >= iam_last_used.used_ms`, u.ID, u.At.UnixMilli(), u.Service, u.Region); err != nil {
				return err
			}
		}
		return nil
	})
}

// LastUse returns the last use of a key or a role.
func (s *IAMStore) LastUse(ctx context.Context, id string) (u iam.Use, used bool, err error) {
	err = s.db.get(ctx, func(q querier) error {
		var ms int64
		u = iam.Use{ID: id}
		err := q.queryRow("SELECT used_ms, service, region FROM iam_last_used WHERE id = ?", id).Scan(&ms, &u.Service, &u.Region)
		used, u.At = err == nil, time.UnixMilli(ms).UTC()
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	return u, used, err
}
