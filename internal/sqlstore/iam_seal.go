package sqlstore

import (
	"context"

	"github.com/sekisho-iot/sekisho/internal/iam"
)

// SealedKeys lists id and Sealed of every access key.
func (s *IAMStore) SealedKeys(ctx context.Context, after string, limit int) ([]iam.AccessKey, error) {
	var list []iam.AccessKey
	err := s.db.get(ctx, func(q querier) error {
		list = list[:0]
		rows, err := q.query("SELECT id, sealed FROM iam_access_keys WHERE id > ? ORDER BY id LIMIT ?", after, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var k iam.AccessKey
			if err := rows.Scan(&k.ID, &k.Sealed); err != nil {
				return err
			}
			list = append(list, k)
		}
		return rows.Err()
	})
	return list, err
}

// ReplaceSealed replaces sealed secrets of keys, those that have not changed.
func (s *IAMStore) ReplaceSealed(ctx context.Context, list []iam.Resealed) error {
	return s.db.write(ctx, func(t *tx) error {
		for _, r := range list {
			if _, err := t.exec("UPDATE iam_access_keys SET sealed = ? WHERE id = ? AND sealed = ?", r.Is, r.ID, r.Was); err != nil {
				return err
			}
		}
		return nil
	})
}
