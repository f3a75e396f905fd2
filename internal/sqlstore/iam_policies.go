package sqlstore

import (
	"context"
	"sort"
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iam"
	"github.com/sekisho-iot/sekisho/internal/iot"
)

func iamPolicyID(q querier, arn string) (string, error) {
	var id string
	err := q.queryRow("SELECT id FROM iam_policies WHERE arn = ?", arn).Scan(&id)
	return id, orNotFound(err, noIAMPolicy(arn))
}

func noIAMPolicy(arn string) error {
	return iot.Errorf(iot.KindNotFound, "policy", "Policy %s was not found.", arn)
}

// InsertPolicy keeps a policy with its first version. Names differ by more than case, whatever the path.
func (s *IAMStore) InsertPolicy(ctx context.Context, p iam.Policy, document string) error {
	return s.db.write(ctx, func(t *tx) error {
		n, err := affected(t.exec(`INSERT INTO iam_policies (id, arn, name, name_lower, path, description, default_version, last_version, created_ms, updated_ms)
			VALUES (?, ?, ?, ?, ?, ?, 1, 1, ?, ?) ON CONFLICT DO NOTHING`,
			p.ID, p.ARN, p.Name, strings.ToLower(p.Name), p.Path, p.Description, p.CreatedAt.UnixMilli(), p.UpdatedAt.UnixMilli()))
		if err != nil {
			return err
		}
		if n == 0 {
			return iot.Errorf(iot.KindExists, "policy", "A policy called %s already exists. Duplicate names are not allowed.", p.Name)
		}
		t.changed(iot.ChangeIAMPolicy, p.ARN)
		if err := insertIAMVersion(t, p.ID, 1, document, p.CreatedAt); err != nil {
			return err
		}
		return setIAMTags(t, p.ID, p.Tags)
	})
}

func insertIAMVersion(t *tx, id string, version int, document string, at time.Time) error {
	_, err := t.exec("INSERT INTO iam_policy_versions (policy_id, version, document, created_ms) VALUES (?, ?, ?, ?)",
		id, version, document, at.UnixMilli())
	return err
}

const iamPolicyColumns = `id, arn, name, path, description, default_version, created_ms, updated_ms,
	(SELECT count(*) FROM iam_attachments a WHERE a.policy_arn = iam_policies.arn),
	(SELECT count(*) FROM iam_roles r WHERE r.boundary = iam_policies.arn) + (SELECT count(*) FROM iam_users u WHERE u.boundary = iam_policies.arn)`

func scanIAMPolicy(row scanner) (iam.Policy, error) {
	var p iam.Policy
	var created, updated int64
	err := row.Scan(&p.ID, &p.ARN, &p.Name, &p.Path, &p.Description, &p.DefaultVersion, &created, &updated, &p.Attachments, &p.Boundaries)
	p.CreatedAt, p.UpdatedAt = time.UnixMilli(created).UTC(), time.UnixMilli(updated).UTC()
	return p, err
}

// Policy returns a policy with its tags.
func (s *IAMStore) Policy(ctx context.Context, arn string) (iam.Policy, error) {
	var p iam.Policy
	err := s.db.read(ctx, func(q querier) error {
		var err error
		p, err = scanIAMPolicy(q.queryRow("SELECT "+iamPolicyColumns+" FROM iam_policies WHERE arn = ?", arn))
		if err != nil {
			return orNotFound(err, noIAMPolicy(arn))
		}
		p.Tags, err = iamTags(q, p.ID)
		return err
	})
	return p, err
}

// Policies lists policies by ARN, without tags.
func (s *IAMStore) Policies(ctx context.Context, p iam.Page) ([]iam.Policy, error) {
	var list []iam.Policy
	err := s.db.get(ctx, func(q querier) error {
		rows, err := q.query("SELECT "+iamPolicyColumns+` FROM iam_policies
			WHERE arn > ? AND substr(path, 1, length(?)) = ? ORDER BY arn LIMIT ?`, p.After, p.PathPrefix, p.PathPrefix, p.Limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			pol, err := scanIAMPolicy(rows)
			if err != nil {
				return err
			}
			list = append(list, pol)
		}
		return rows.Err()
	})
	return list, err
}

// DeletePolicy deletes a policy that nothing uses and that has one version.
func (s *IAMStore) DeletePolicy(ctx context.Context, arn string) error {
	return s.db.write(ctx, func(t *tx) error {
		id, err := iamPolicyID(t, arn)
		if err != nil {
			return err
		}
		attached, boundaries, err := iamUsage(t, arn)
		if err != nil {
			return err
		}
		if attached+boundaries > 0 {
			return iot.Errorf(iot.KindConflict, "policy", "Cannot delete a policy attached to entities.")
		}
		var versions int
		if err := t.queryRow("SELECT count(*) FROM iam_policy_versions WHERE policy_id = ?", id).Scan(&versions); err != nil {
			return err
		}
		if versions > 1 {
			return iot.Errorf(iot.KindConflict, "policy-version", "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.")
		}
		for _, stmt := range []string{
			"DELETE FROM iam_policy_versions WHERE policy_id = ?",
			"DELETE FROM iam_tags WHERE owner_id = ?",
			"DELETE FROM iam_policies WHERE id = ?",
		} {
			if _, err := t.exec(stmt, id); err != nil {
				return err
			}
		}
		t.changed(iot.ChangeIAMPolicy, arn)
		return nil
	})
}

// Usage counts what a policy is attached to and the boundary of.
func (s *IAMStore) Usage(ctx context.Context, arn string) (attachments, boundaries int, err error) {
	err = s.db.read(ctx, func(q querier) error {
		attachments, boundaries, err = iamUsage(q, arn)
		return err
	})
	return attachments, boundaries, err
}

func iamUsage(q querier, arn string) (attachments, boundaries int, err error) {
	if err := q.queryRow("SELECT count(*) FROM iam_attachments WHERE policy_arn = ?", arn).Scan(&attachments); err != nil {
		return 0, 0, err
	}
	err = q.queryRow(`SELECT (SELECT count(*) FROM iam_roles WHERE boundary = ?) + (SELECT count(*) FROM iam_users WHERE boundary = ?)`,
		arn, arn).Scan(&boundaries)
	return attachments, boundaries, err
}

// InsertVersion adds a version under the next number.
func (s *IAMStore) InsertVersion(ctx context.Context, arn, document string, at time.Time, makeDefault bool, limit int) (iam.PolicyVersion, error) {
	v := iam.PolicyVersion{Document: document, Default: makeDefault, CreatedAt: at}
	err := s.db.write(ctx, func(t *tx) error {
		id, err := iamPolicyID(t, arn)
		if err != nil {
			return err
		}
		var n int
		if err := t.queryRow("SELECT count(*) FROM iam_policy_versions WHERE policy_id = ?", id).Scan(&n); err != nil {
			return err
		}
		if n >= limit {
			return iot.Errorf(iot.KindVersionLimit, "policy-version", "A managed policy can have up to %d versions. Before you create a new version, you must delete an existing version.", limit)
		}
		if err := t.queryRow("SELECT last_version + 1 FROM iam_policies WHERE id = ?", id).Scan(&v.Version); err != nil {
			return err
		}
		if err := insertIAMVersion(t, id, v.Version, document, at); err != nil {
			return err
		}
		if _, err := t.exec("UPDATE iam_policies SET last_version = ?, updated_ms = ? WHERE id = ?", v.Version, at.UnixMilli(), id); err != nil {
			return err
		}
		if makeDefault {
			return setIAMDefault(t, id, arn, v.Version, at)
		}
		return nil
	})
	return v, err
}

func setIAMDefault(t *tx, id, arn string, version int, at time.Time) error {
	t.changed(iot.ChangeIAMPolicy, arn)
	_, err := t.exec("UPDATE iam_policies SET default_version = ?, updated_ms = ? WHERE id = ?", version, at.UnixMilli(), id)
	return err
}

const iamVersionQuery = `SELECT v.policy_id, v.version, v.document, v.created_ms, CASE WHEN v.version = p.default_version THEN 1 ELSE 0 END
	FROM iam_policy_versions v JOIN iam_policies p ON p.id = v.policy_id WHERE p.arn = ?`

func scanIAMVersion(row scanner) (iam.PolicyVersion, error) {
	var v iam.PolicyVersion
	var ms int64
	var def int
	err := row.Scan(&v.PolicyID, &v.Version, &v.Document, &ms, &def)
	v.CreatedAt, v.Default = time.UnixMilli(ms).UTC(), def == 1
	return v, err
}

// Version returns a version; 0 is the default one.
func (s *IAMStore) Version(ctx context.Context, arn string, version int) (iam.PolicyVersion, error) {
	var v iam.PolicyVersion
	err := s.db.read(ctx, func(q querier) error {
		var err error
		v, err = iamVersion(q, arn, version)
		return err
	})
	return v, err
}

func iamVersion(q querier, arn string, version int) (iam.PolicyVersion, error) {
	if _, err := iamPolicyID(q, arn); err != nil {
		return iam.PolicyVersion{}, err
	}
	v, err := scanIAMVersion(q.queryRow(iamVersionQuery+" AND (v.version = ? OR ? = 0 AND v.version = p.default_version)", arn, version, version))
	return v, orNotFound(err, iam.NoSuchVersion(arn, version))
}

// Versions lists the versions, newest first.
func (s *IAMStore) Versions(ctx context.Context, arn string) ([]iam.PolicyVersion, error) {
	var list []iam.PolicyVersion
	err := s.db.read(ctx, func(q querier) error {
		list = nil
		if _, err := iamPolicyID(q, arn); err != nil {
			return err
		}
		rows, err := q.query(iamVersionQuery+" ORDER BY v.version DESC", arn)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			v, err := scanIAMVersion(rows)
			if err != nil {
				return err
			}
			list = append(list, v)
		}
		return rows.Err()
	})
	return list, err
}

// DeleteVersion deletes a version that is not the default.
func (s *IAMStore) DeleteVersion(ctx context.Context, arn string, version int) error {
	return s.db.write(ctx, func(t *tx) error {
		v, err := iamVersion(t, arn, version)
		if err != nil {
			return err
		}
		if v.Default {
			return iot.Errorf(iot.KindConflict, "policy-version", "Cannot delete the default version of a policy.")
		}
		_, err = t.exec(`DELETE FROM iam_policy_versions WHERE version = ? AND policy_id = (SELECT id FROM iam_policies WHERE arn = ?)`, version, arn)
		return err
	})
}

// SetDefaultVersion puts a version in force.
func (s *IAMStore) SetDefaultVersion(ctx context.Context, arn string, version int, at time.Time) error {
	return s.db.write(ctx, func(t *tx) error {
		id, err := iamPolicyID(t, arn)
		if err != nil {
			return err
		}
		if _, err := iamVersion(t, arn, version); err != nil {
			return err
		}
		return setIAMDefault(t, id, arn, version, at)
	})
}

// Entities lists who uses a policy, in the order of iam.EntityKey.
func (s *IAMStore) Entities(ctx context.Context, arn string) ([]iam.Entity, error) {
	var list []iam.Entity
	err := s.db.get(ctx, func(q querier) error {
		rows, err := q.query(`SELECT 1, r.name, r.id, 0 FROM iam_attachments a JOIN iam_roles r ON r.id = a.holder_id WHERE a.policy_arn = ?
			UNION ALL SELECT 2, u.name, u.id, 0 FROM iam_attachments a JOIN iam_users u ON u.id = a.holder_id WHERE a.policy_arn = ?
			UNION ALL SELECT 3, g.name, g.id, 0 FROM iam_attachments a JOIN iam_groups g ON g.id = a.holder_id WHERE a.policy_arn = ?
			UNION ALL SELECT 1, name, id, 1 FROM iam_roles WHERE boundary = ?
			UNION ALL SELECT 2, name, id, 1 FROM iam_users WHERE boundary = ?`, arn, arn, arn, arn, arn)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var e iam.Entity
			var kind uint8
			var boundary int
			if err := rows.Scan(&kind, &e.Name, &e.ID, &boundary); err != nil {
				return err
			}
			e.Kind, e.Boundary = iam.HolderKind(kind), boundary == 1
			list = append(list, e)
		}
		return rows.Err()
	})
	sort.Slice(list, func(i, j int) bool { return iam.EntityKey(list[i]) < iam.EntityKey(list[j]) })
	return list, err
}
