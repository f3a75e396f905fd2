package sqlstore

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"math"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/s3"
	"github.com/sekisho-iot/sekisho/internal/s3/local"
	"github.com/sekisho-iot/sekisho/internal/uploads"
)

// UploadStore keeps the ledger of uploads.
type UploadStore struct{ db *DB }

// Uploads returns the store of the ledger.
func (d *DB) Uploads() *UploadStore { return &UploadStore{db: d} }

var (
	_ uploads.Store     = (*UploadStore)(nil)
	_ uploads.DoorStore = (*UploadStore)(nil)
)

// recordObject keeps the record of a device's object with the object.
func recordObject(x *tx, bucket *s3.Bucket, r *local.Record) error {
	o := r.Origin
	if o == nil {
		return nil
	}
	u := uploads.Record{
		Thing: o.Thing, Certificate: o.Certificate, Door: uploads.DoorS3, Status: uploads.Completed,
		Bucket: bucket.Name, Key: r.Key, Size: r.Size, SHA256: o.SHA256, Checksum: r.Checksum, UploadID: o.UploadID,
		Started: o.Began, Finished: r.Modified,
	}
	if o.OverMQTT {
		u.Door = uploads.DoorMQTT
	}
	if sum := s3.ParseChecksum(r.Checksum); u.SHA256 == "" && sum.Algorithm == s3.AlgorithmSHA256 && sum.Type == s3.FullObject {
		if b, err := base64.StdEncoding.DecodeString(sum.Value); err == nil {
			u.SHA256 = hex.EncodeToString(b)
		}
	}
	return addUpload(x, &u)
}

// addUpload keeps a record, unless it repeats one.
func addUpload(x *tx, u *uploads.Record) error {
	if u.UploadID != "" {
		repeated, err := repeatsUpload(x, u)
		if err != nil || repeated {
			return err
		}
		if _, err := x.exec("DELETE FROM uploads WHERE certificate = ? AND upload_id = ? AND upload_id <> ''",
			string(u.Certificate), u.UploadID); err != nil {
			return err
		}
	}
	if u.Bucket != "" {
		if _, err := x.exec("DELETE FROM uploads WHERE certificate = ? AND bucket = ? AND key = ? AND status = 'failed'",
			string(u.Certificate), u.Bucket, []byte(u.Key)); err != nil {
			return err
		}
	}
	if _, err := x.exec("UPDATE uploads_state SET last = last + 1 WHERE id = 1"); err != nil {
		return err
	}
	x.changed(iot.ChangeUpload, u.Thing)
	_, err := x.exec(`INSERT INTO uploads (number, thing, certificate, door, status, bucket, key, topic, name, size,
		sha256, checksum, upload_id, reason, started_ms, finished_ms)
		SELECT last, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM uploads_state WHERE id = 1`,
		u.Thing, string(u.Certificate), string(u.Door), string(u.Status), u.Bucket, []byte(u.Key), u.Topic, u.Name, u.Size,
		u.SHA256, u.Checksum, u.UploadID, u.Reason, u.Started.UnixMilli(), u.Finished.UnixMilli())
	return err
}

// repeatsUpload reports whether a completed upload of this id is kept already:
// with the same bytes, or at all where this one failed.
func repeatsUpload(x *tx, u *uploads.Record) (bool, error) {
	have, err := scanUploadRecord(x.queryRow("SELECT "+recordColumns+` FROM uploads
		WHERE certificate = ? AND upload_id = ? AND upload_id <> '' AND status = 'completed' LIMIT 1`, string(u.Certificate), u.UploadID))
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return u.Status == uploads.Failed || have.Size == u.Size && have.SHA256 == u.SHA256 && have.Checksum == u.Checksum &&
		have.Bucket == u.Bucket && have.Key == u.Key && have.Name == u.Name, err
}

const recordColumns = `number, thing, certificate, door, status, bucket, key, topic, name, size,
	sha256, checksum, upload_id, reason, started_ms, finished_ms`

func scanUploadRecord(row scanner) (uploads.Record, error) {
	var u uploads.Record
	var key []byte
	var started, finished int64
	err := row.Scan(&u.Number, &u.Thing, &u.Certificate, &u.Door, &u.Status, &u.Bucket, &key, &u.Topic, &u.Name, &u.Size,
		&u.SHA256, &u.Checksum, &u.UploadID, &u.Reason, &started, &finished)
	u.Key, u.Started, u.Finished = string(key), unixMilli(started), unixMilli(finished)
	return u, err
}

// Add keeps records.
func (s *UploadStore) Add(ctx context.Context, list []uploads.Record) error {
	return s.db.write(ctx, func(x *tx) error {
		for i := range list {
			if err := addUpload(x, &list[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// List returns records, the newest first.
func (s *UploadStore) List(ctx context.Context, q uploads.Query) ([]uploads.Record, error) {
	query, args := "SELECT "+recordColumns+" FROM uploads WHERE number < ?", []any{q.Before}
	if q.Before == 0 {
		args[0] = int64(math.MaxInt64)
	}
	for _, c := range []struct {
		text  string
		value any
		given bool
	}{
		{" AND thing = ?", q.Thing, q.Thing != ""},
		{" AND status = ?", string(q.Status), q.Status != ""},
		{" AND finished_ms >= ?", q.Since.UnixMilli(), !q.Since.IsZero()},
		{" AND finished_ms < ?", q.Until.UnixMilli(), !q.Until.IsZero()},
	} {
		if c.given {
			query += c.text
			args = append(args, c.value)
		}
	}
	return s.records(ctx, query+" ORDER BY number DESC LIMIT ?", append(args, q.Limit)...)
}

// Unannounced returns records whose event was not published.
func (s *UploadStore) Unannounced(ctx context.Context, limit int) ([]uploads.Record, error) {
	return s.records(ctx, "SELECT "+recordColumns+` FROM uploads
		WHERE number > (SELECT announced FROM uploads_state WHERE id = 1) ORDER BY number LIMIT ?`, limit)
}

func (s *UploadStore) records(ctx context.Context, query string, args ...any) ([]uploads.Record, error) {
	var page []uploads.Record
	err := s.db.get(ctx, func(q querier) error {
		page = page[:0]
		rows, err := q.query(query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			u, err := scanUploadRecord(rows)
			if err != nil {
				return err
			}
			page = append(page, u)
		}
		return rows.Err()
	})
	return page, err
}

// Announced notes how far events were published.
func (s *UploadStore) Announced(ctx context.Context, number int64) error {
	return s.db.write(ctx, func(x *tx) error {
		_, err := x.exec("UPDATE uploads_state SET announced = ? WHERE id = 1 AND announced < ?", number, number)
		return err
	})
}

// Prune removes what is too old or too much.
func (s *UploadStore) Prune(ctx context.Context, before time.Time, keep int64, limit int) (int64, error) {
	var over int64 // counted by a reader: it takes a while, and writers wait for each other
	err := s.db.get(ctx, func(q querier) error {
		err := q.queryRow("SELECT number FROM uploads ORDER BY number DESC LIMIT 1 OFFSET ?", keep).Scan(&over)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	var gone int64
	err = s.db.write(ctx, func(x *tx) error {
		old, err := affected(x.exec(`DELETE FROM uploads WHERE number IN (
			SELECT number FROM uploads WHERE finished_ms < ? ORDER BY finished_ms LIMIT ?)`, before.UnixMilli(), limit))
		if err != nil {
			return err
		}
		more, err := affected(x.exec(`DELETE FROM uploads WHERE number IN (
			SELECT number FROM uploads WHERE number <= ? ORDER BY number LIMIT ?)`, over, limit))
		gone = old + more
		return err
	})
	return gone, err
}

// Door returns where uploads by MQTT go, the zero setting for nowhere.
func (s *UploadStore) Door(ctx context.Context) (uploads.DoorSetting, error) {
	var d uploads.DoorSetting
	err := s.db.get(ctx, func(q querier) error {
		err := q.queryRow("SELECT role_alias, bucket FROM upload_door WHERE id = 1").Scan(&d.RoleAlias, &d.Bucket)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	return d, err
}

// SetDoor sets where uploads by MQTT go; the zero setting is nowhere.
func (s *UploadStore) SetDoor(ctx context.Context, d uploads.DoorSetting) error {
	return s.db.write(ctx, func(x *tx) error {
		if d == (uploads.DoorSetting{}) {
			_, err := x.exec("DELETE FROM upload_door WHERE id = 1")
			return err
		}
		_, err := x.exec(`INSERT INTO upload_door (id, role_alias, bucket) VALUES (1, ?, ?)
			ON CONFLICT (id) DO UPDATE SET role_alias = excluded.role_alias, bucket = excluded.bucket`, d.RoleAlias, d.Bucket)
		return err
	})
}
