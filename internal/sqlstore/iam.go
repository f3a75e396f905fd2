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

// IAMStore keeps roles, users, access keys and policies.
type IAMStore struct{ db *DB }

// IAM returns the store of the iam service.
func (d *DB) IAM() *IAMStore { return &IAMStore{db: d} }

var _ iam.Store = (*IAMStore)(nil)

func noRole(name string) error {
	return iot.Errorf(iot.KindNotFound, "role", "The role with name %s cannot be found.", name)
}

func noUser(name string) error {
	return iot.Errorf(iot.KindNotFound, "user", "The user with name %s cannot be found.", name)
}

func noKey(id string) error {
	return iot.Errorf(iot.KindNotFound, "access-key", "The Access Key with id %s cannot be found.", id)
}

// orNotFound turns the absence of a row into what is missing.
func orNotFound(err, missing error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return missing
	}
	return err
}

// holderID returns the unique id behind a holder's name.
func holderID(q querier, h iam.Holder) (string, error) {
	query, missing := "SELECT id FROM iam_roles WHERE name = ?", noRole(h.Name)
	switch h.Kind {
	case iam.UserHolder:
		query, missing = "SELECT id FROM iam_users WHERE name = ?", noUser(h.Name)
	case iam.GroupHolder:
		query, missing = "SELECT id FROM iam_groups WHERE name = ?", iam.NoSuchGroup(h.Name)
	case iam.RoleHolder:
	}
	var id string
	err := q.queryRow(query, h.Name).Scan(&id)
	return id, orNotFound(err, missing)
}

// holderChanged announces what a change of a holder's policies concerns: of a
// group, every member.
func (t *tx) holderChanged(h iam.Holder) error {
	switch h.Kind {
	case iam.UserHolder:
		t.changed(iot.ChangeUser, h.Name)
	case iam.GroupHolder:
		id, err := holderID(t, h)
		if err != nil {
			return err
		}
		return t.membersChanged(id)
	case iam.RoleHolder:
		t.changed(iot.ChangeRole, h.Name)
	}
	return nil
}

// InsertRole keeps a new role. Names differ by more than case.
func (s *IAMStore) InsertRole(ctx context.Context, r iam.Role) error {
	return s.db.write(ctx, func(t *tx) error {
		if err := mustBeAttachable(t, r.Boundary); err != nil {
			return err
		}
		trusted, err := findTrusted(t, r.Trusted)
		if err != nil {
			return err
		}
		n, err := affected(t.exec(`INSERT INTO iam_roles (id, name, name_lower, path, arn, description, max_session, trust, boundary, created_ms, pinned)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1) ON CONFLICT DO NOTHING`,
			r.ID, r.Name, strings.ToLower(r.Name), r.Path, r.ARN, r.Description, r.MaxSessionDuration, r.Trust, r.Boundary, r.CreatedAt.UnixMilli()))
		if err != nil {
			return err
		}
		if n == 0 {
			return iot.Errorf(iot.KindExists, "role", "Role with name %s already exists.", r.Name)
		}
		t.changed(iot.ChangeRole, r.Name)
		if err := setTrusted(t, r.ID, trusted); err != nil {
			return err
		}
		return setIAMTags(t, r.ID, r.Tags)
	})
}

// mustBeAttachable refuses a managed policy of this account that does not exist.
func mustBeAttachable(q querier, arn string) error {
	if arn == "" || strings.HasPrefix(arn, "arn:aws:iam::aws:") {
		return nil
	}
	_, err := iamPolicyID(q, arn)
	if iot.IsKind(err, iot.KindNotFound) {
		return iam.NotAttachable(arn)
	}
	return err
}

const roleColumns = "id, name, path, arn, description, max_session, trust, boundary, created_ms"

type scanner interface{ Scan(dest ...any) error }

func scanRole(row scanner) (iam.Role, error) {
	var r iam.Role
	var ms int64
	err := row.Scan(&r.ID, &r.Name, &r.Path, &r.ARN, &r.Description, &r.MaxSessionDuration, &r.Trust, &r.Boundary, &ms)
	r.CreatedAt = time.UnixMilli(ms).UTC()
	return r, err
}

// Role returns a role with its tags.
func (s *IAMStore) Role(ctx context.Context, name string) (iam.Role, error) {
	var r iam.Role
	err := s.db.read(ctx, func(q querier) error {
		var err error
		r, err = scanRole(q.queryRow("SELECT "+roleColumns+" FROM iam_roles WHERE name = ?", name))
		if err != nil {
			return orNotFound(err, noRole(name))
		}
		if r.Trusted, err = trusted(q, r.ID); err != nil {
			return err
		}
		r.Tags, err = iamTags(q, r.ID)
		return err
	})
	return r, err
}

// RoleName returns the name of the role with an id.
func (s *IAMStore) RoleName(ctx context.Context, id string) (string, error) {
	var name string
	err := s.db.get(ctx, func(q querier) error {
		err := q.queryRow("SELECT name FROM iam_roles WHERE id = ?", id).Scan(&name)
		return orNotFound(err, iot.Errorf(iot.KindNotFound, "role", "The role with id %s cannot be found.", id))
	})
	return name, err
}

// Roles lists roles by name, without tags.
func (s *IAMStore) Roles(ctx context.Context, p iam.Page) ([]iam.Role, error) {
	return s.roles(ctx, `WHERE name_lower > ? AND substr(path, 1, length(?)) = ? ORDER BY name_lower LIMIT ?`,
		p.After, p.PathPrefix, p.PathPrefix, p.Limit)
}

// roles lists the roles of a snapshot that where picks, without tags.
func (s *IAMStore) roles(ctx context.Context, where string, args ...any) ([]iam.Role, error) {
	var list []iam.Role
	err := s.db.read(ctx, func(q querier) error {
		var err error
		if list, err = scanRoles(q, where, args...); err != nil {
			return err
		}
		for i := range list {
			if list[i].Trusted, err = trusted(q, list[i].ID); err != nil {
				return err
			}
		}
		return nil
	})
	return list, err
}

func scanRoles(q querier, where string, args ...any) ([]iam.Role, error) {
	rows, err := q.query("SELECT "+roleColumns+" FROM iam_roles "+where, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []iam.Role
	for rows.Next() {
		r, err := scanRole(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, rows.Err()
}

// UpdateRole changes what c names.
func (s *IAMStore) UpdateRole(ctx context.Context, name string, c iam.RoleChange) error {
	return s.db.write(ctx, func(t *tx) error {
		id, err := holderID(t, iam.Holder{Kind: iam.RoleHolder, Name: name})
		if err != nil {
			return err
		}
		if c.Description != nil {
			if _, err := t.exec("UPDATE iam_roles SET description = ? WHERE id = ?", *c.Description, id); err != nil {
				return err
			}
		}
		if c.MaxSessionDuration != nil {
			if _, err := t.exec("UPDATE iam_roles SET max_session = ? WHERE id = ?", *c.MaxSessionDuration, id); err != nil {
				return err
			}
		}
		if c.Trust != nil {
			if err := setTrust(t, id, *c.Trust, c.Trusted); err != nil {
				return err
			}
		}
		t.changed(iot.ChangeRole, name)
		return nil
	})
}

// SetBoundary sets or takes away a holder's boundary.
func (s *IAMStore) SetBoundary(ctx context.Context, h iam.Holder, arn string) error {
	return s.db.write(ctx, func(t *tx) error {
		id, err := holderID(t, h)
		if err != nil {
			return err
		}
		if err := mustBeAttachable(t, arn); err != nil {
			return err
		}
		query := "UPDATE iam_roles SET boundary = ? WHERE id = ?"
		if h.Kind == iam.UserHolder {
			query = "UPDATE iam_users SET boundary = ? WHERE id = ?"
		}
		if _, err := t.exec(query, arn, id); err != nil {
			return err
		}
		return t.holderChanged(h)
	})
}

// bare refuses to delete a holder that still has policies.
func bare(q querier, id string) error {
	var attached, inline int
	if err := q.queryRow("SELECT count(*) FROM iam_attachments WHERE holder_id = ?", id).Scan(&attached); err != nil {
		return err
	}
	if attached > 0 {
		return iot.Errorf(iot.KindConflict, "policy", "Cannot delete entity, must detach all policies first.")
	}
	if err := q.queryRow("SELECT count(*) FROM iam_inline_policies WHERE holder_id = ?", id).Scan(&inline); err != nil {
		return err
	}
	if inline > 0 {
		return iot.Errorf(iot.KindConflict, "policy", "Cannot delete entity, must delete policies first.")
	}
	return nil
}

// DeleteRole deletes a role that has no policies.
func (s *IAMStore) DeleteRole(ctx context.Context, name string) error {
	return s.db.write(ctx, func(t *tx) error {
		id, err := holderID(t, iam.Holder{Kind: iam.RoleHolder, Name: name})
		if err != nil {
			return err
		}
		if err := bare(t, id); err != nil {
			return err
		}
		var profiles int
		if err := t.queryRow("SELECT count(*) FROM iam_instance_profiles WHERE role_id = ?", id).Scan(&profiles); err != nil {
			return err
		}
		if profiles > 0 {
			return iot.Errorf(iot.KindConflict, "instance-profile", "Cannot delete entity, must remove roles from instance profile first.")
		}
		for _, stmt := range []string{
			"DELETE FROM iam_trust_principals WHERE role_id = ?",
			"DELETE FROM iam_roles WHERE id = ?",
			"DELETE FROM iam_tags WHERE owner_id = ?",
			"DELETE FROM iam_last_used WHERE id = ?",
		} {
			if _, err := t.exec(stmt, id); err != nil {
				return err
			}
		}
		t.changed(iot.ChangeRole, name)
		return nil
	})
}

// PutInline embeds a policy or replaces it.
func (s *IAMStore) PutInline(ctx context.Context, h iam.Holder, p iam.InlinePolicy, limit int) error {
	return s.db.write(ctx, func(t *tx) error {
		id, err := holderID(t, h)
		if err != nil {
			return err
		}
		list, err := inlinePolicies(t, id)
		if err != nil {
			return err
		}
		size := iam.DocumentSize(p.Document)
		for _, other := range list {
			if other.Name != p.Name {
				size += iam.DocumentSize(other.Document)
			}
		}
		if size > limit {
			return iot.Errorf(iot.KindLimit, "policy-size", "Maximum policy size of %d bytes exceeded for %s %s", limit, h.Kind, h.Name)
		}
		if _, err := t.exec(`INSERT INTO iam_inline_policies (holder_id, name, document) VALUES (?, ?, ?)
			ON CONFLICT (holder_id, name) DO UPDATE SET document = excluded.document`, id, p.Name, p.Document); err != nil {
			return err
		}
		return t.holderChanged(h)
	})
}

func inlinePolicies(q querier, id string) ([]iam.InlinePolicy, error) {
	rows, err := q.query("SELECT name, document FROM iam_inline_policies WHERE holder_id = ? ORDER BY name", id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []iam.InlinePolicy
	for rows.Next() {
		var p iam.InlinePolicy
		if err := rows.Scan(&p.Name, &p.Document); err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, rows.Err()
}

// DeleteInline removes an embedded policy.
func (s *IAMStore) DeleteInline(ctx context.Context, h iam.Holder, name string) error {
	return s.db.write(ctx, func(t *tx) error {
		id, err := holderID(t, h)
		if err != nil {
			return err
		}
		n, err := affected(t.exec("DELETE FROM iam_inline_policies WHERE holder_id = ? AND name = ?", id, name))
		if err != nil {
			return err
		}
		if n == 0 {
			return iam.NoSuchInline(h, name)
		}
		return t.holderChanged(h)
	})
}

// Attach attaches a managed policy unless it is attached.
func (s *IAMStore) Attach(ctx context.Context, h iam.Holder, arn string, at time.Time, limit int) error {
	return s.db.write(ctx, func(t *tx) error {
		id, err := holderID(t, h)
		if err != nil {
			return err
		}
		if err := mustBeAttachable(t, arn); err != nil {
			return err
		}
		n, err := affected(t.exec(`INSERT INTO iam_attachments (holder_id, policy_arn, attached_ms) VALUES (?, ?, ?)
			ON CONFLICT (holder_id, policy_arn) DO NOTHING`, id, arn, at.UnixMilli()))
		if err != nil || n == 0 {
			return err
		}
		var all int
		if err := t.queryRow("SELECT count(*) FROM iam_attachments WHERE holder_id = ?", id).Scan(&all); err != nil {
			return err
		}
		if all > limit {
			kind := h.Kind.String()
			return iot.Errorf(iot.KindLimit, "policy", "Cannot exceed quota for PoliciesPer%s: %d", strings.ToUpper(kind[:1])+kind[1:], limit)
		}
		return t.holderChanged(h)
	})
}

// Detach detaches a managed policy.
func (s *IAMStore) Detach(ctx context.Context, h iam.Holder, arn string) error {
	return s.db.write(ctx, func(t *tx) error {
		id, err := holderID(t, h)
		if err != nil {
			return err
		}
		n, err := affected(t.exec("DELETE FROM iam_attachments WHERE holder_id = ? AND policy_arn = ?", id, arn))
		if err != nil {
			return err
		}
		if n == 0 {
			return iot.Errorf(iot.KindNotFound, "policy", "Policy %s was not found.", arn)
		}
		return t.holderChanged(h)
	})
}

// Held returns what hangs on a holder.
func (s *IAMStore) Held(ctx context.Context, h iam.Holder) (iam.Held, error) {
	var held iam.Held
	err := s.db.read(ctx, func(q querier) error {
		held = iam.Held{}
		var err error
		if held.ID, err = holderID(q, h); err != nil {
			return err
		}
		if held.Inline, err = inlinePolicies(q, held.ID); err != nil {
			return err
		}
		rows, err := q.query("SELECT policy_arn FROM iam_attachments WHERE holder_id = ? ORDER BY policy_arn", held.ID)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var arn string
			if err := rows.Scan(&arn); err != nil {
				return err
			}
			held.Attached = append(held.Attached, arn)
		}
		return rows.Err()
	})
	return held, err
}

// SetTags adds and replaces tags.
func (s *IAMStore) SetTags(ctx context.Context, o iam.TagOwner, tags []iam.Tag, limit int) error {
	return s.db.write(ctx, func(t *tx) error {
		id, err := tagOwnerID(t, o)
		if err != nil {
			return err
		}
		if err := setIAMTags(t, id, tags); err != nil {
			return err
		}
		var all int
		if err := t.queryRow("SELECT count(*) FROM iam_tags WHERE owner_id = ?", id).Scan(&all); err != nil {
			return err
		}
		if all > limit {
			return iot.Errorf(iot.KindLimit, "tag", "The number of tags has reached the maximum limit.")
		}
		return t.tagsChanged(o)
	})
}

// DeleteTags removes tags by key, whatever its case.
func (s *IAMStore) DeleteTags(ctx context.Context, o iam.TagOwner, keys []string) error {
	return s.db.write(ctx, func(t *tx) error {
		id, err := tagOwnerID(t, o)
		if err != nil {
			return err
		}
		for _, k := range keys {
			if _, err := t.exec("DELETE FROM iam_tags WHERE owner_id = ? AND name_lower = ?", id, strings.ToLower(k)); err != nil {
				return err
			}
		}
		return t.tagsChanged(o)
	})
}

func tagOwnerID(q querier, o iam.TagOwner) (string, error) {
	switch {
	case o.PolicyARN != "":
		return iamPolicyID(q, o.PolicyARN)
	case o.Profile != "":
		return profileID(q, o.Profile)
	case o.ProviderARN != "":
		p, err := providerRow(q, o.ProviderARN)
		return p.ARN, err
	}
	return holderID(q, o.Holder)
}

func (t *tx) tagsChanged(o iam.TagOwner) error {
	if o.Holder == (iam.Holder{}) {
		return nil
	}
	return t.holderChanged(o.Holder)
}

func setIAMTags(t *tx, id string, tags []iam.Tag) error {
	for _, g := range tags {
		if _, err := t.exec(`INSERT INTO iam_tags (owner_id, name_lower, name, value) VALUES (?, ?, ?, ?)
			ON CONFLICT (owner_id, name_lower) DO UPDATE SET name = excluded.name, value = excluded.value`,
			id, strings.ToLower(g.Key), g.Key, g.Value); err != nil {
			return err
		}
	}
	return nil
}

func iamTags(q querier, id string) ([]iam.Tag, error) {
	rows, err := q.query("SELECT name, value FROM iam_tags WHERE owner_id = ? ORDER BY name_lower", id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var tags []iam.Tag
	for rows.Next() {
		var g iam.Tag
		if err := rows.Scan(&g.Key, &g.Value); err != nil {
			return nil, err
		}
		tags = append(tags, g)
	}
	return tags, rows.Err()
}
