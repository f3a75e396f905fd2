package sqlstore

import (
	"context"
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/registry"
)

// CreatePolicy keeps a policy with its first version, or answers KindExists.
func (s *RegistryStore) CreatePolicy(ctx context.Context, p registry.Policy, document string, tags []registry.Tag) error {
	return s.db.write(ctx, func(x *tx) error {
		n, err := affected(x.exec(`INSERT INTO iot_policies (name, generation_id, default_version, last_version, created_ms, updated_ms)
			VALUES (?, ?, 1, 1, ?, ?) ON CONFLICT (name) DO NOTHING`,
			string(p.Name), p.GenerationID, p.CreatedAt.UnixMilli(), p.UpdatedAt.UnixMilli()))
		if err != nil {
			return err
		}
		if n == 0 {
			return iot.Errorf(iot.KindExists, "policy", "Policy %s exists", p.Name)
		}
		x.changed(iot.ChangeIoTPolicy, string(p.Name))
		if err := insertPolicyVersion(x, p.Name, 1, document, p.CreatedAt); err != nil {
			return err
		}
		return insertTags(x, "policy/"+string(p.Name), tags)
	})
}

func insertPolicyVersion(x *tx, name iot.PolicyName, version int64, document string, at time.Time) error {
	_, err := x.exec("INSERT INTO iot_policy_versions (policy_name, version, document, created_ms) VALUES (?, ?, ?, ?)",
		string(name), version, document, at.UnixMilli())
	return err
}

// AddPolicyVersion gives v the next id and keeps it.
func (s *RegistryStore) AddPolicyVersion(ctx context.Context, name iot.PolicyName, v registry.PolicyVersion, limit int) (registry.PolicyVersion, error) {
	err := s.db.write(ctx, func(x *tx) error {
		if err := policyMustExist(x, name); err != nil {
			return err
		}
		var last int64
		var n int
		if err := x.queryRow(`SELECT p.last_version, (SELECT count(*) FROM iot_policy_versions v WHERE v.policy_name = p.name)
			FROM iot_policies p WHERE p.name = ?`, string(name)).Scan(&last, &n); err != nil {
			return err
		}
		if n >= limit {
			return iot.Errorf(iot.KindVersionLimit, "policy-version", "The policy %s already has the maximum number of versions (%d)", name, limit)
		}
		v.ID = last + 1
		if err := insertPolicyVersion(x, name, v.ID, v.Document, v.CreatedAt); err != nil {
			return err
		}
		if _, err := x.exec("UPDATE iot_policies SET last_version = ?, updated_ms = ? WHERE name = ?",
			v.ID, v.CreatedAt.UnixMilli(), string(name)); err != nil {
			return err
		}
		if v.Default {
			return setDefaultVersion(x, name, v.ID, v.CreatedAt)
		}
		return nil
	})
	return v, err
}

func setDefaultVersion(x *tx, name iot.PolicyName, version int64, at time.Time) error {
	x.changed(iot.ChangeIoTPolicy, string(name))
	_, err := x.exec("UPDATE iot_policies SET default_version = ?, updated_ms = ? WHERE name = ?", version, at.UnixMilli(), string(name))
	return err
}

// DeletePolicyVersion deletes a version that is not the default one.
func (s *RegistryStore) DeletePolicyVersion(ctx context.Context, name iot.PolicyName, version int64, at time.Time) error {
	return s.db.write(ctx, func(x *tx) error {
		_, v, err := policyVersion(x, name, version)
		if err != nil {
			return err
		}
		if v.Default {
			return iot.Errorf(iot.KindInvalid, "policy-version", "Cannot delete the default version of a policy")
		}
		if _, err := x.exec("DELETE FROM iot_policy_versions WHERE policy_name = ? AND version = ?", string(name), version); err != nil {
			return err
		}
		_, err = x.exec("UPDATE iot_policies SET updated_ms = ? WHERE name = ?", at.UnixMilli(), string(name))
		return err
	})
}

// SetDefaultPolicyVersion puts another version in force.
func (s *RegistryStore) SetDefaultPolicyVersion(ctx context.Context, name iot.PolicyName, version int64, at time.Time) error {
	return s.db.write(ctx, func(x *tx) error {
		if _, _, err := policyVersion(x, name, version); err != nil {
			return err
		}
		return setDefaultVersion(x, name, version, at)
	})
}

// DeletePolicy deletes a policy that has one version and no target.
func (s *RegistryStore) DeletePolicy(ctx context.Context, name iot.PolicyName) error {
	return s.db.write(ctx, func(x *tx) error {
		if err := policyMustExist(x, name); err != nil {
			return err
		}
		var targets, versions int
		if err := x.queryRow("SELECT count(*) FROM iot_policy_targets WHERE policy_name = ?", string(name)).Scan(&targets); err != nil {
			return err
		}
		if targets > 0 {
			return iot.Errorf(iot.KindConflict, "policy",
				"The policy cannot be deleted as the policy is attached to one or more principals (name=%s)", name)
		}
		if err := x.queryRow("SELECT count(*) FROM iot_policy_versions WHERE policy_name = ?", string(name)).Scan(&versions); err != nil {
			return err
		}
		if versions > 1 {
			return iot.Errorf(iot.KindConflict, "policy",
				"Cannot delete the policy because it has one or more policy versions attached to it (name=%s)", name)
		}
		if _, err := x.exec("DELETE FROM iot_policies WHERE name = ?", string(name)); err != nil {
			return err
		}
		x.changed(iot.ChangeIoTPolicy, string(name))
		return deleteTags(x, "policy/"+string(name))
	})
}

// PolicyVersion returns a policy and one version; 0 is the default one.
func (s *RegistryStore) PolicyVersion(ctx context.Context, name iot.PolicyName, version int64) (registry.Policy, registry.PolicyVersion, error) {
	var p registry.Policy
	var v registry.PolicyVersion
	err := s.db.get(ctx, func(q querier) error {
		var err error
		p, v, err = policyVersion(q, name, version)
		return err
	})
	return p, v, err
}

func policyVersion(q querier, name iot.PolicyName, version int64) (p registry.Policy, v registry.PolicyVersion, err error) {
	p.Name = name
	var created, updated, at int64
	const columns = `SELECT p.generation_id, p.default_version, p.created_ms, p.updated_ms, v.version, v.document, v.created_ms
		FROM iot_policies p JOIN iot_policy_versions v ON v.policy_name = p.name WHERE p.name = ? AND v.version = `
	which, args := "p.default_version", []any{string(name)}
	if version != 0 {
		which, args = "?", append(args, version)
	}
	err = q.queryRow(columns+which, args...).Scan(&p.GenerationID, &p.DefaultVersion, &created, &updated, &v.ID, &v.Document, &at)
	if noRows(err) {
		if err := policyMustExist(q, name); err != nil {
			return p, v, err
		}
		return p, v, iot.Errorf(iot.KindNotFound, "policy-version", "Policy version not found (name=%s, version=%d)", name, version)
	}
	p.CreatedAt, p.UpdatedAt, v.CreatedAt = unixMilli(created), unixMilli(updated), unixMilli(at)
	v.Default = v.ID == p.DefaultVersion
	return p, v, err
}

// PolicyVersions lists newest first.
func (s *RegistryStore) PolicyVersions(ctx context.Context, name iot.PolicyName) ([]registry.PolicyVersion, error) {
	var list []registry.PolicyVersion
	err := s.db.read(ctx, func(q querier) error {
		err := policyMustExist(q, name)
		if err != nil {
			return err
		}
		list, err = collect(q, func(scan func(...any) error) (registry.PolicyVersion, error) {
			var v registry.PolicyVersion
			var at, def int64
			err := scan(&v.ID, &at, &def)
			v.CreatedAt, v.Default = unixMilli(at), v.ID == def
			return v, err
		}, `SELECT v.version, v.created_ms, p.default_version FROM iot_policy_versions v JOIN iot_policies p ON p.name = v.policy_name
			WHERE v.policy_name = ? ORDER BY v.version DESC`, string(name))
		return err
	})
	return list, err
}

// Policies lists by creation.
func (s *RegistryStore) Policies(ctx context.Context, after registry.Created, ascending bool, limit int) ([]registry.Policy, error) {
	where, args := createdAfter("name", after.At, after.ID, ascending)
	var list []registry.Policy
	err := s.db.get(ctx, func(q querier) error {
		var err error
		list, err = collect(q, func(scan func(...any) error) (registry.Policy, error) {
			var p registry.Policy
			var created, updated int64
			err := scan(&p.Name, &p.GenerationID, &p.DefaultVersion, &created, &updated)
			p.CreatedAt, p.UpdatedAt = unixMilli(created), unixMilli(updated)
			return p, err
		}, "SELECT name, generation_id, default_version, created_ms, updated_ms FROM iot_policies"+where, append(args, limit)...)
		return err
	})
	return list, err
}

// createdAfter is the end of a query that lists by created_ms and then by the
// column id, from after the place given; the zero time is the start.
func createdAfter(id string, at time.Time, after string, ascending bool) (clause string, args []any) {
	cmp, dir := "<", " DESC"
	if ascending {
		cmp, dir = ">", ""
	}
	if !at.IsZero() {
		clause = " WHERE (created_ms " + cmp + " ? OR (created_ms = ? AND " + id + " " + cmp + " ?))"
		args = []any{at.UnixMilli(), at.UnixMilli(), after}
	}
	return clause + " ORDER BY created_ms" + dir + ", " + id + dir + " LIMIT ?", args
}

// AttachPolicy attaches unless it is attached.
func (s *RegistryStore) AttachPolicy(ctx context.Context, name iot.PolicyName, target iot.ARN, limit int, at time.Time) error {
	return s.db.write(ctx, func(x *tx) error {
		if err := policyMustExist(x, name); err != nil {
			return err
		}
		if err := targetMustExist(x, target); err != nil {
			return err
		}
		n, err := affected(x.exec(`INSERT INTO iot_policy_targets (policy_name, target, attached_ms) VALUES (?, ?, ?)
			ON CONFLICT (policy_name, target) DO NOTHING`, string(name), string(target), at.UnixMilli()))
		if err != nil || n == 0 {
			return err
		}
		targetChanged(x, target)
		var attached int
		if err := x.queryRow("SELECT count(*) FROM iot_policy_targets WHERE target = ?", string(target)).Scan(&attached); err != nil {
			return err
		}
		if attached > limit {
			return iot.Errorf(iot.KindLimit, "policy", "The maximum number of policies that can be attached to %s is %d", target, limit)
		}
		return nil
	})
}

// DetachPolicy detaches; that it is not attached is no error.
func (s *RegistryStore) DetachPolicy(ctx context.Context, name iot.PolicyName, target iot.ARN) error {
	return s.db.write(ctx, func(x *tx) error {
		if err := policyMustExist(x, name); err != nil {
			return err
		}
		n, err := affected(x.exec("DELETE FROM iot_policy_targets WHERE policy_name = ? AND target = ?", string(name), string(target)))
		if n > 0 {
			targetChanged(x, target)
		}
		return err
	})
}

// groupOf returns the group that a target is the ARN of.
func groupOf(target iot.ARN) (iot.ThingGroupName, bool) {
	_, name, ok := strings.Cut(string(target), ":thinggroup/")
	return iot.ThingGroupName(name), ok
}

func targetMustExist(q querier, target iot.ARN) error {
	if g, ok := groupOf(target); ok {
		return groupMustExist(q, g)
	}
	return certificateMustExist(q, target)
}

func targetChanged(x *tx, target iot.ARN) {
	if g, ok := groupOf(target); ok {
		x.changed(iot.ChangeThingGroup, string(g))
		return
	}
	x.changed(iot.ChangePrincipal, string(target))
}

// AttachedPolicies lists the policies of a target, which must exist.
func (s *RegistryStore) AttachedPolicies(ctx context.Context, target iot.ARN, after iot.PolicyName, limit int) ([]iot.PolicyName, error) {
	var list []iot.PolicyName
	err := s.db.read(ctx, func(q querier) error {
		err := targetMustExist(q, target)
		if err != nil {
			return err
		}
		list, err = attachedPolicies(q, target, after, limit)
		return err
	})
	return list, err
}

func attachedPolicies(q querier, target iot.ARN, after iot.PolicyName, limit int) ([]iot.PolicyName, error) {
	return collect(q, scanName[iot.PolicyName], `SELECT policy_name FROM iot_policy_targets
		WHERE target = ? AND policy_name > ? ORDER BY policy_name LIMIT ?`, string(target), string(after), limit)
}

// PolicyTargets lists what a policy is attached to.
func (s *RegistryStore) PolicyTargets(ctx context.Context, name iot.PolicyName, after iot.ARN, limit int) ([]iot.ARN, error) {
	var list []iot.ARN
	err := s.db.read(ctx, func(q querier) error {
		err := policyMustExist(q, name)
		if err != nil {
			return err
		}
		list, err = collect(q, scanName[iot.ARN], `SELECT target FROM iot_policy_targets
			WHERE policy_name = ? AND target > ? ORDER BY target LIMIT ?`, string(name), string(after), limit)
		return err
	})
	return list, err
}

func scanName[T ~string](scan func(...any) error) (T, error) {
	var v T
	err := scan(&v)
	return v, err
}

func policyMustExist(q querier, name iot.PolicyName) error {
	return mustExist(q, iot.Errorf(iot.KindNotFound, "policy", "Policy not found (name=%s)", name),
		"SELECT count(*) FROM iot_policies WHERE name = ?", string(name))
}
