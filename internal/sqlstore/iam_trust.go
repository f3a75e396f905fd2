package sqlstore

import (
	"context"
	"strings"

	"github.com/sekisho-iot/sekisho/internal/iam"
	"github.com/sekisho-iot/sekisho/internal/iot"
)

// findTrusted finds the ids of whom a trust policy names. One that does not
// exist is refused.
func findTrusted(q querier, list []iam.TrustedPrincipal) ([]iam.TrustedPrincipal, error) {
	found := make([]iam.TrustedPrincipal, len(list))
	for i, p := range list {
		id, err := principalID(q, p.Name)
		if err != nil {
			return nil, err
		}
		found[i] = iam.TrustedPrincipal{Name: p.Name, ID: id}
	}
	return found, nil
}

// principalID returns the id of the user or role of an ARN or unique id, and of
// a session's ARN that of the role.
func principalID(q querier, name string) (string, error) {
	query, arg := "SELECT id FROM iam_roles WHERE id = ?", name
	switch {
	case strings.HasPrefix(name, "AIDA"):
		query = "SELECT id FROM iam_users WHERE id = ?"
	case strings.HasPrefix(name, "arn:aws:sts:"):
		_, role, _ := strings.Cut(name, ":assumed-role/")
		query = "SELECT id FROM iam_roles WHERE name = ?"
		arg, _, _ = strings.Cut(role, "/")
	case strings.Contains(name, ":user/"):
		query = "SELECT id FROM iam_users WHERE name = ? AND arn = ?"
	case strings.Contains(name, ":role/"):
		query = "SELECT id FROM iam_roles WHERE name = ? AND arn = ?"
	}
	args := []any{arg}
	if strings.HasSuffix(query, "arn = ?") {
		args = []any{name[strings.LastIndexByte(name, '/')+1:], name}
	}
	var id string
	err := q.queryRow(query, args...).Scan(&id)
	return id, orNotFound(err, iam.NoSuchPrincipal(name))
}

func setTrusted(t *tx, roleID string, list []iam.TrustedPrincipal) error {
	if _, err := t.exec("DELETE FROM iam_trust_principals WHERE role_id = ?", roleID); err != nil {
		return err
	}
	for _, p := range list {
		if _, err := t.exec("INSERT INTO iam_trust_principals (role_id, principal, principal_id) VALUES (?, ?, ?)", roleID, p.Name, p.ID); err != nil {
			return err
		}
	}
	return nil
}

func setTrust(t *tx, roleID, doc string, list []iam.TrustedPrincipal) error {
	found, err := findTrusted(t, list)
	if err != nil {
		return err
	}
	if _, err := t.exec("UPDATE iam_roles SET trust = ?, pinned = 1 WHERE id = ?", doc, roleID); err != nil {
		return err
	}
	return setTrusted(t, roleID, found)
}

func trusted(q querier, roleID string) ([]iam.TrustedPrincipal, error) {
	rows, err := q.query(`SELECT p.principal, p.principal_id, COALESCE(u.arn, r.arn, '') FROM iam_trust_principals p
		LEFT JOIN iam_users u ON u.id = p.principal_id LEFT JOIN iam_roles r ON r.id = p.principal_id
		WHERE p.role_id = ? ORDER BY p.principal`, roleID)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []iam.TrustedPrincipal
	for rows.Next() {
		var p iam.TrustedPrincipal
		if err := rows.Scan(&p.Name, &p.ID, &p.ARN); err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, rows.Err()
}

// Unpinned lists roles from before trusted principals were kept.
func (s *IAMStore) Unpinned(ctx context.Context) ([]iam.Role, error) {
	return s.roles(ctx, "WHERE pinned = 0 ORDER BY name_lower")
}

// PinRole keeps whom the trust policy of an unpinned role names.
func (s *IAMStore) PinRole(ctx context.Context, name string, list []iam.TrustedPrincipal) error {
	return s.db.write(ctx, func(t *tx) error {
		id, err := holderID(t, iam.Holder{Kind: iam.RoleHolder, Name: name})
		if err != nil {
			return err
		}
		n, err := affected(t.exec("UPDATE iam_roles SET pinned = 1 WHERE id = ? AND pinned = 0", id))
		if err != nil || n == 0 {
			return err
		}
		found := make([]iam.TrustedPrincipal, len(list))
		for i, p := range list {
			found[i].Name = p.Name
			found[i].ID, err = principalID(t, p.Name)
			if err != nil && !iot.IsKind(err, iot.KindMalformed) {
				return err
			}
		}
		t.changed(iot.ChangeRole, name)
		return setTrusted(t, id, found)
	})
}
