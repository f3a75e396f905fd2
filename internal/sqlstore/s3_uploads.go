package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/s3"
	"github.com/sekisho-iot/sekisho/internal/s3/local"
)

// CreateUpload begins an upload.
func (s *ObjectStore) CreateUpload(ctx context.Context, bucket *s3.Bucket, u *local.Upload) error {
	return s.db.write(ctx, func(x *tx) error {
		if err := bucketExists(x, bucket); err != nil {
			return err
		}
		_, err := x.exec(`INSERT INTO s3_uploads (id, bucket, key, initiated, revision, headers, checksum_algorithm, checksum_type)
			VALUES (?, ?, ?, ?, 0, ?, ?, ?)`,
			u.ID[:], bucket.ID, []byte(u.Key), u.Initiated.UnixMilli(), u.Headers, string(u.Algorithm), string(u.ChecksumType))
		return err
	})
}

const uploadColumns = "id, bucket, key, initiated, revision, headers, checksum_algorithm, checksum_type"

func scanUpload(scan func(...any) error) (local.Upload, error) {
	var u local.Upload
	var id, key []byte
	var initiated int64
	err := scan(&id, &u.Bucket, &key, &initiated, &u.Revision, &u.Headers, &u.Algorithm, &u.ChecksumType)
	copy(u.ID[:], id)
	u.Key = string(key)
	u.Initiated = unixMilli(initiated)
	return u, err
}

// Upload returns an upload under way.
func (s *ObjectStore) Upload(ctx context.Context, bucket int64, key string, id local.ID) (local.Upload, error) {
	var u local.Upload
	err := s.db.get(ctx, func(q querier) (err error) {
		u, err = scanUpload(q.queryRow("SELECT "+uploadColumns+" FROM s3_uploads WHERE id = ?", id[:]).Scan)
		if errors.Is(err, sql.ErrNoRows) || err == nil && (u.Bucket != bucket || u.Key != key) {
			return s3.NoSuchUpload()
		}
		return err
	})
	return u, err
}

// PutPart stores a part of an upload under way.
func (s *ObjectStore) PutPart(ctx context.Context, upload local.ID, p *local.Part) error {
	return s.db.write(ctx, func(x *tx) error {
		n, err := affected(x.exec("UPDATE s3_uploads SET revision = revision + 1 WHERE id = ?", upload[:]))
		if err != nil {
			return err
		}
		if n == 0 {
			return s3.NoSuchUpload()
		}
		if _, err := x.exec("INSERT INTO s3_garbage (id, parts) SELECT blob, 0 FROM s3_parts WHERE upload = ? AND number = ?",
			upload[:], p.Number); err != nil {
			return err
		}
		_, err = x.exec(`INSERT INTO s3_parts (upload, number, blob, size, etag, modified, checksum) VALUES (?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (upload, number) DO UPDATE SET blob = excluded.blob, size = excluded.size, etag = excluded.etag,
			modified = excluded.modified, checksum = excluded.checksum`,
			upload[:], p.Number, p.Blob[:], p.Size, p.ETag, p.Modified.UnixMilli(), p.Checksum)
		return err
	})
}

// Parts returns parts in order.
func (s *ObjectStore) Parts(ctx context.Context, upload local.ID, after, limit int) ([]local.Part, error) {
	var parts []local.Part
	err := s.db.get(ctx, func(q querier) error {
		parts = parts[:0]
		rows, err := q.query(`SELECT number, blob, size, etag, modified, checksum FROM s3_parts
			WHERE upload = ? AND number > ? ORDER BY number LIMIT ?`, upload[:], after, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var p local.Part
			var blob sql.RawBytes
			var modified int64
			if err := rows.Scan(&p.Number, &blob, &p.Size, &p.ETag, &modified, &p.Checksum); err != nil {
				return err
			}
			copy(p.Blob[:], blob)
			p.Modified = unixMilli(modified)
			parts = append(parts, p)
		}
		return rows.Err()
	})
	return parts, err
}

// CompleteUpload makes an upload the object under its key.
func (s *ObjectStore) CompleteUpload(ctx context.Context, bucket *s3.Bucket, c *local.Completion) error {
	return s.db.write(ctx, func(x *tx) error {
		var revision int64
		err := x.queryRow("SELECT revision FROM s3_uploads WHERE id = ?", c.Upload.ID[:]).Scan(&revision)
		if errors.Is(err, sql.ErrNoRows) {
			return s3.NoSuchUpload()
		}
		if err != nil {
			return err
		}
		if revision != c.Upload.Revision {
			return iot.Errorf(iot.KindVersionConflict, "upload", "parts were stored meanwhile")
		}
		if err := replaceObject(x, bucket, &c.Record, c.If); err != nil {
			return err
		}
		if err := recordObject(x, bucket, &c.Record); err != nil {
			return err
		}
		if _, err := x.exec("DELETE FROM s3_uploads WHERE id = ?", c.Upload.ID[:]); err != nil {
			return err
		}
		for _, number := range c.Drop {
			if _, err := x.exec("INSERT INTO s3_garbage (id, parts) SELECT blob, 0 FROM s3_parts WHERE upload = ? AND number = ?",
				c.Upload.ID[:], number); err != nil {
				return err
			}
			if _, err := x.exec("DELETE FROM s3_parts WHERE upload = ? AND number = ?", c.Upload.ID[:], number); err != nil {
				return err
			}
		}
		return nil
	})
}

// AbortUpload makes an upload garbage.
func (s *ObjectStore) AbortUpload(ctx context.Context, id local.ID) error {
	return s.db.write(ctx, func(x *tx) error {
		n, err := affected(x.exec("DELETE FROM s3_uploads WHERE id = ?", id[:]))
		if err != nil {
			return err
		}
		if n == 0 {
			return s3.NoSuchUpload()
		}
		_, err = x.exec("INSERT INTO s3_garbage (id, parts) VALUES (?, 1)", id[:])
		return err
	})
}

// ScanUploads returns uploads ordered by key and id.
func (s *ObjectStore) ScanUploads(ctx context.Context, bucket int64, from string, after local.ID, to string, limit int) ([]local.Upload, error) {
	var page []local.Upload
	err := s.db.get(ctx, func(q querier) error {
		page = page[:0]
		query := "SELECT " + uploadColumns + " FROM s3_uploads WHERE bucket = ? AND (key, id) > (?, ?)"
		args := []any{bucket, []byte(from), after[:]}
		if to != "" {
			query += " AND key < ?"
			args = append(args, []byte(to))
		}
		rows, err := q.query(query+" ORDER BY bucket, key, id LIMIT ?", append(args, limit)...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			u, err := scanUpload(rows.Scan)
			if err != nil {
				return err
			}
			page = append(page, u)
		}
		return rows.Err()
	})
	return page, err
}

// StaleUploads returns uploads that began before the time.
func (s *ObjectStore) StaleUploads(ctx context.Context, before time.Time, limit int) ([]local.ID, error) {
	return s.ids(ctx, "SELECT id FROM s3_uploads WHERE initiated < ? ORDER BY initiated LIMIT ?", before.UnixMilli(), limit)
}

func (s *ObjectStore) ids(ctx context.Context, query string, args ...any) ([]local.ID, error) {
	var ids []local.ID
	err := s.db.get(ctx, func(q querier) error {
		ids = ids[:0]
		rows, err := q.query(query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var b sql.RawBytes
			if err := rows.Scan(&b); err != nil {
				return err
			}
			var id local.ID
			copy(id[:], b)
			ids = append(ids, id)
		}
		return rows.Err()
	})
	return ids, err
}

// BeginGeneration starts a generation.
func (s *ObjectStore) BeginGeneration(ctx context.Context) (current, unswept uint32, err error) {
	err = s.db.write(ctx, func(x *tx) error {
		if _, err := x.exec("UPDATE s3_generation SET current = current + 1 WHERE id = 1"); err != nil {
			return err
		}
		return x.queryRow("SELECT current, unswept FROM s3_generation WHERE id = 1").Scan(&current, &unswept)
	})
	return current, unswept, err
}

// EndSweep records that nothing of an earlier generation is left over.
func (s *ObjectStore) EndSweep(ctx context.Context, generation uint32) error {
	return s.db.write(ctx, func(x *tx) error {
		_, err := x.exec("UPDATE s3_generation SET unswept = ? WHERE id = 1", generation)
		return err
	})
}

// Known returns which data files belong to something.
func (s *ObjectStore) Known(ctx context.Context, blobs []local.ID) (map[local.ID]bool, error) {
	const chunk = 200
	known := make(map[local.ID]bool, len(blobs))
	marks := "(" + strings.Repeat("?, ", chunk-1) + "?)"
	for len(blobs) > 0 {
		n := min(chunk, len(blobs))
		args := make([]any, chunk)
		for i := range args { // one statement for every length: the last one repeats
			args[i] = blobs[min(i, n-1)][:]
		}
		blobs = blobs[n:]
		for _, query := range []string{
			"SELECT version FROM s3_objects WHERE version IN " + marks,
			"SELECT blob FROM s3_parts WHERE blob IN " + marks,
			"SELECT id FROM s3_garbage WHERE id IN " + marks,
		} {
			ids, err := s.ids(ctx, query, args...)
			if err != nil {
				return nil, err
			}
			for _, id := range ids {
				known[id] = true
			}
		}
	}
	return known, nil
}

// Garbage returns entries of the list of garbage, oldest data first.
func (s *ObjectStore) Garbage(ctx context.Context, limit int) ([]local.Garbage, error) {
	var list []local.Garbage
	err := s.db.get(ctx, func(q querier) error {
		list = list[:0]
		rows, err := q.query("SELECT id, parts FROM s3_garbage ORDER BY id LIMIT ?", limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var g local.Garbage
			var id sql.RawBytes
			if err := rows.Scan(&id, &g.Parts); err != nil {
				return err
			}
			copy(g.ID[:], id)
			list = append(list, g)
		}
		return rows.Err()
	})
	return list, err
}

// Forget removes entries from the list of garbage, and their rows of parts.
func (s *ObjectStore) Forget(ctx context.Context, ids []local.ID) error {
	return s.db.write(ctx, func(x *tx) error {
		for _, id := range ids {
			if _, err := x.exec("DELETE FROM s3_parts WHERE upload IN (SELECT id FROM s3_garbage WHERE id = ? AND parts = 1)", id[:]); err != nil {
				return err
			}
			if _, err := x.exec("DELETE FROM s3_garbage WHERE id = ?", id[:]); err != nil {
				return err
			}
		}
		return nil
	})
}
