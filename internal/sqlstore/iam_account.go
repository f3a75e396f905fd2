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

// InsertProvider keeps a new OIDC provider.
func (s *IAMStore) InsertProvider(ctx context.Context, p iam.OIDCProvider) error {
	return s.db.write(ctx, func(t *tx) error {
		n, err := affected(t.exec(`INSERT INTO iam_oidc_providers (arn, url, client_ids, thumbprints, created_ms) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT DO NOTHING`, p.ARN, p.URL, lines(p.ClientIDs), lines(p.Thumbprints), p.CreatedAt.UnixMilli()))
		if err != nil {
			return err
		}
		if n == 0 {
			return iot.Errorf(iot.KindExists, "oidc-provider", "Provider with url https://%s already exists.", p.URL)
		}
		return setIAMTags(t, p.ARN, p.Tags)
	})
}

// lines joins values that hold no line ends.
func lines(list []string) string { return strings.Join(list, "\n") }

func fromLines(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}

const providerColumns = "arn, url, client_ids, thumbprints, created_ms"

func scanProvider(row scanner) (iam.OIDCProvider, error) {
	var p iam.OIDCProvider
	var ids, thumbprints string
	var ms int64
	err := row.Scan(&p.ARN, &p.URL, &ids, &thumbprints, &ms)
	p.ClientIDs, p.Thumbprints, p.CreatedAt = fromLines(ids), fromLines(thumbprints), time.UnixMilli(ms).UTC()
	return p, err
}

func providerRow(q querier, arn string) (iam.OIDCProvider, error) {
	p, err := scanProvider(q.queryRow("SELECT "+providerColumns+" FROM iam_oidc_providers WHERE arn = ?", arn))
	return p, orNotFound(err, iam.NoSuchProvider(arn))
}

// Provider returns an OIDC provider with its tags.
func (s *IAMStore) Provider(ctx context.Context, arn string) (iam.OIDCProvider, error) {
	var p iam.OIDCProvider
	err := s.db.read(ctx, func(q querier) error {
		var err error
		if p, err = providerRow(q, arn); err != nil {
			return err
		}
		p.Tags, err = iamTags(q, arn)
		return err
	})
	return p, err
}

// Providers lists all OIDC providers by ARN, without tags.
func (s *IAMStore) Providers(ctx context.Context) ([]iam.OIDCProvider, error) {
	var list []iam.OIDCProvider
	err := s.db.get(ctx, func(q querier) error {
		rows, err := q.query("SELECT " + providerColumns + " FROM iam_oidc_providers ORDER BY arn")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			p, err := scanProvider(rows)
			if err != nil {
				return err
			}
			list = append(list, p)
		}
		return rows.Err()
	})
	return list, err
}

// UpdateProvider replaces client IDs and thumbprints.
func (s *IAMStore) UpdateProvider(ctx context.Context, arn string, change func(*iam.OIDCProvider) error) error {
	return s.db.write(ctx, func(t *tx) error {
		p, err := providerRow(t, arn)
		if err != nil {
			return err
		}
		if err := change(&p); err != nil {
			return err
		}
		_, err = t.exec("UPDATE iam_oidc_providers SET client_ids = ?, thumbprints = ? WHERE arn = ?", lines(p.ClientIDs), lines(p.Thumbprints), arn)
		return err
	})
}

// DeleteProvider deletes an OIDC provider, if there is one.
func (s *IAMStore) DeleteProvider(ctx context.Context, arn string) error {
	return s.db.write(ctx, func(t *tx) error {
		if _, err := t.exec("DELETE FROM iam_oidc_providers WHERE arn = ?", arn); err != nil {
			return err
		}
		_, err := t.exec("DELETE FROM iam_tags WHERE owner_id = ?", arn)
		return err
	})
}

const aliasSetting = "account-alias"

// AccountAlias returns the account's alias, "" for none.
func (s *IAMStore) AccountAlias(ctx context.Context) (string, error) {
	var alias string
	err := s.db.get(ctx, func(q querier) error {
		err := q.queryRow("SELECT value FROM settings WHERE name = ?", aliasSetting).Scan(&alias)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	return alias, err
}

// SetAccountAlias replaces the account's alias; "" takes it away.
func (s *IAMStore) SetAccountAlias(ctx context.Context, alias string) error {
	return s.db.write(ctx, func(t *tx) error {
		if alias == "" {
			_, err := t.exec("DELETE FROM settings WHERE name = ?", aliasSetting)
			return err
		}
		_, err := t.exec(`INSERT INTO settings (name, value) VALUES (?, ?)
			ON CONFLICT (name) DO UPDATE SET value = excluded.value`, aliasSetting, alias)
		return err
	})
}

// Count counts what the account has.
func (s *IAMStore) Count(ctx context.Context) (iam.Counts, error) {
	var n iam.Counts
	err := s.db.read(ctx, func(q querier) error {
		return q.queryRow(`SELECT (SELECT count(*) FROM iam_users), (SELECT count(*) FROM iam_groups), (SELECT count(*) FROM iam_roles),
			(SELECT count(*) FROM iam_policies), (SELECT count(*) FROM iam_policy_versions), (SELECT count(*) FROM iam_instance_profiles),
			(SELECT count(*) FROM iam_oidc_providers), (SELECT count(*) FROM iam_access_keys WHERE user_id = '')`).Scan(
			&n.Users, &n.Groups, &n.Roles, &n.Policies, &n.Versions, &n.InstanceProfiles, &n.Providers, &n.RootKeys)
	})
	return n, err
}
