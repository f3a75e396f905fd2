package sqlstore

import (
	"context"
	"database/sql"
	"errors"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/s3"
	"github.com/sekisho-iot/sekisho/internal/s3/local"
)

// BucketStore keeps buckets and their policies.
type BucketStore struct{ db *DB }

// ObjectStore keeps what the local engine knows of objects, uploads and data files.
type ObjectStore struct{ db *DB }

// Buckets returns the store of buckets.
func (d *DB) Buckets() *BucketStore { return &BucketStore{db: d} }

// Objects returns the local engine's store.
func (d *DB) Objects() *ObjectStore { return &ObjectStore{db: d} }

var (
	_ s3.Store    = (*BucketStore)(nil)
	_ local.Store = (*ObjectStore)(nil)
)

// CreateBucket stores a bucket without a policy.
func (s *BucketStore) CreateBucket(ctx context.Context, b s3.BucketRecord) error {
	return s.db.write(ctx, func(x *tx) error {
		n, err := affected(x.exec("INSERT INTO s3_buckets (name, id, created) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING",
			b.Name, b.ID, b.Created.UnixMilli()))
		if err != nil {
			return err
		}
		if n == 0 {
			return &iot.Error{
				Kind: iot.KindExists, Resource: "bucket", ID: b.Name,
				Message: "Your previous request to create the named bucket succeeded and you already own it.",
			}
		}
		x.changed(iot.ChangeBucket, b.Name)
		return nil
	})
}

// Bucket returns one bucket.
func (s *BucketStore) Bucket(ctx context.Context, name string) (s3.BucketRecord, error) {
	b := s3.BucketRecord{Name: name}
	err := s.db.get(ctx, func(q querier) error {
		var created int64
		err := q.queryRow("SELECT id, created, policy FROM s3_buckets WHERE name = ?", name).Scan(&b.ID, &created, &b.Policy)
		b.Created = unixMilli(created)
		if errors.Is(err, sql.ErrNoRows) {
			return s3.NoSuchBucket(name)
		}
		return err
	})
	return b, err
}

// Buckets returns a page of buckets without their policies.
func (s *BucketStore) Buckets(ctx context.Context, prefix, after string, limit int) ([]s3.BucketRecord, error) {
	var page []s3.BucketRecord
	err := s.db.get(ctx, func(q querier) error {
		page = page[:0]
		rows, err := q.query(`SELECT name, id, created FROM s3_buckets
			WHERE name > ? AND name >= ? AND name < ? ORDER BY name LIMIT ?`, after, prefix, prefix+"\x7f", limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var b s3.BucketRecord
			var created int64
			if err := rows.Scan(&b.Name, &b.ID, &created); err != nil {
				return err
			}
			b.Created = unixMilli(created)
			page = append(page, b)
		}
		return rows.Err()
	})
	return page, err
}

// DeleteBucket removes an empty bucket, and its uploads with it.
func (s *BucketStore) DeleteBucket(ctx context.Context, name string, id int64) error {
	return s.db.write(ctx, func(x *tx) error {
		var one int
		err := x.queryRow("SELECT 1 FROM s3_objects WHERE bucket = ? LIMIT 1", id).Scan(&one)
		if err == nil {
			return s3.BucketNotEmpty()
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		n, err := affected(x.exec("DELETE FROM s3_buckets WHERE name = ? AND id = ?", name, id))
		if err != nil {
			return err
		}
		if n == 0 {
			return s3.NoSuchBucket(name)
		}
		x.changed(iot.ChangeBucket, name)
		if _, err := x.exec("INSERT INTO s3_garbage (id, parts) SELECT id, 1 FROM s3_uploads WHERE bucket = ?", id); err != nil {
			return err
		}
		_, err = x.exec("DELETE FROM s3_uploads WHERE bucket = ?", id)
		return err
	})
}

// SetBucketPolicy stores the document, or none.
func (s *BucketStore) SetBucketPolicy(ctx context.Context, name string, id int64, document []byte) error {
	if len(document) == 0 {
		document = nil
	}
	return s.db.write(ctx, func(x *tx) error {
		n, err := affected(x.exec("UPDATE s3_buckets SET policy = ? WHERE name = ? AND id = ?", document, name, id))
		if err != nil {
			return err
		}
		if n == 0 {
			return s3.NoSuchBucket(name)
		}
		x.changed(iot.ChangeBucket, name)
		return nil
	})
}

func bucketExists(x *tx, b *s3.Bucket) error {
	var one int
	err := x.queryRow("SELECT 1 FROM s3_buckets WHERE id = ?", b.ID).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return s3.NoSuchBucket(b.Name)
	}
	return err
}

// Object returns one row.
func (s *ObjectStore) Object(ctx context.Context, bucket int64, key string, data bool) (local.Record, error) {
	r := local.Record{Key: key}
	err := s.db.get(ctx, func(q querier) error {
		query := `SELECT version, size, etag, modified, layout, checksum, headers, NULL FROM s3_objects WHERE bucket = ? AND key = ?`
		if data {
			query = `SELECT o.version, o.size, o.etag, o.modified, o.layout, o.checksum, o.headers, i.data
				FROM s3_objects o LEFT JOIN s3_inline i ON i.version = o.version WHERE o.bucket = ? AND o.key = ?`
		}
		var version []byte
		var modified int64
		err := q.queryRow(query, bucket, []byte(key)).
			Scan(&version, &r.Size, &r.ETag, &modified, &r.Layout, &r.Checksum, &r.Headers, &r.Data)
		copy(r.Version[:], version)
		r.Modified = unixMilli(modified)
		if errors.Is(err, sql.ErrNoRows) {
			return s3.NoSuchKey()
		}
		return err
	})
	return r, err
}

// PutObject makes r the object under its key.
func (s *ObjectStore) PutObject(ctx context.Context, bucket *s3.Bucket, r *local.Record, cond s3.WriteConditions) error {
	return s.db.write(ctx, func(x *tx) error {
		if err := replaceObject(x, bucket, r, cond); err != nil {
			return err
		}
		if err := recordObject(x, bucket, r); err != nil {
			return err
		}
		if len(r.Data) == 0 {
			return nil
		}
		_, err := x.exec("INSERT INTO s3_inline (version, data) VALUES (?, ?)", r.Version[:], r.Data)
		return err
	})
}

func replaceObject(x *tx, bucket *s3.Bucket, r *local.Record, cond s3.WriteConditions) error {
	if err := bucketExists(x, bucket); err != nil {
		return err
	}
	if err := discard(x, bucket.ID, r.Key, cond); err != nil {
		return err
	}
	_, err := x.exec(`INSERT INTO s3_objects (bucket, key, version, size, etag, modified, layout, checksum, headers)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (bucket, key) DO UPDATE SET version = excluded.version, size = excluded.size, etag = excluded.etag,
		modified = excluded.modified, layout = excluded.layout, checksum = excluded.checksum, headers = excluded.headers`,
		bucket.ID, []byte(r.Key), r.Version[:], r.Size, r.ETag, r.Modified.UnixMilli(), int(r.Layout), r.Checksum, r.Headers)
	return err
}

// discard judges the conditions against the object under key, and makes its
// bytes garbage. The row itself stays for the caller to replace or remove.
func discard(x *tx, bucket int64, key string, cond s3.WriteConditions) error {
	var version []byte
	var etag string
	var layout local.Layout
	err := x.queryRow("SELECT version, etag, layout FROM s3_objects WHERE bucket = ? AND key = ?", bucket, []byte(key)).
		Scan(&version, &etag, &layout)
	if errors.Is(err, sql.ErrNoRows) {
		return cond.Check(false, "")
	}
	if err != nil {
		return err
	}
	if err := cond.Check(true, etag); err != nil {
		return err
	}
	if layout == local.Inline {
		_, err = x.exec("DELETE FROM s3_inline WHERE version = ?", version)
		return err
	}
	parts := 0
	if layout > 0 {
		parts = 1
	}
	_, err = x.exec("INSERT INTO s3_garbage (id, parts) VALUES (?, ?)", version, parts)
	return err
}

// DeleteObject removes the object under key.
func (s *ObjectStore) DeleteObject(ctx context.Context, bucket int64, key string, cond s3.WriteConditions) error {
	return s.db.write(ctx, func(x *tx) error {
		if err := discard(x, bucket, key, cond); err != nil {
			return err
		}
		_, err := x.exec("DELETE FROM s3_objects WHERE bucket = ? AND key = ?", bucket, []byte(key))
		return err
	})
}

// Scan returns rows with from <= key < to.
func (s *ObjectStore) Scan(ctx context.Context, bucket int64, from, to string, limit int) ([]local.Record, error) {
	var page []local.Record
	err := s.db.get(ctx, func(q querier) error {
		page = page[:0]
		where, args := keyRange(bucket, from, to)
		rows, err := q.query(`SELECT key, version, size, etag, modified, layout, checksum FROM s3_objects
			WHERE `+where+` ORDER BY bucket, key LIMIT ?`, append(args, limit)...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var r local.Record
			var key, version sql.RawBytes
			var modified int64
			if err := rows.Scan(&key, &version, &r.Size, &r.ETag, &modified, &r.Layout, &r.Checksum); err != nil {
				return err
			}
			r.Key = string(key)
			copy(r.Version[:], version)
			r.Modified = unixMilli(modified)
			page = append(page, r)
		}
		return rows.Err()
	})
	return page, err
}

func keyRange(bucket int64, from, to string) (where string, args []any) {
	if to == "" {
		return "bucket = ? AND key >= ?", []any{bucket, []byte(from)}
	}
	return "bucket = ? AND key >= ? AND key < ?", []any{bucket, []byte(from), []byte(to)}
}
