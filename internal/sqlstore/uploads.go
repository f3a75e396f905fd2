package sqlstore

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"math"
	"strings"

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
	if u.Checksum == "" {
		u.Checksum = checksumOfETag(r.ETag)
	}
	return addUploads(x, []uploads.Record{u})
}

// checksumOfETag is what an object has whose client sent no checksum: the MD5 of
// its bytes, or that of the MD5s of its parts and how many there are; "" for
// another ETag.
func checksumOfETag(tag string) string {
	sum, parts, composite := strings.Cut(tag, "-")
	b, err := hex.DecodeString(sum)
	if err != nil || len(b) == 0 {
		return ""
	}
	if sum = base64.StdEncoding.EncodeToString(b); composite {
		return "MD5:COMPOSITE:" + sum + "-" + parts
	}
	return "MD5:FULL_OBJECT:" + sum
}

// uploadOwner is whom records are counted for: a thing, or a certificate that
// was no thing's.
type uploadOwner struct{ thing, certificate string }

func ownerOf(thing, certificate string) uploadOwner {
	if thing != "" {
		certificate = ""
	}
	return uploadOwner{thing, certificate}
}

// uploadCounts is by how much the numbers of records change.
type uploadCounts map[uploadOwner]int64

// addUploads keeps records, but for those that repeat one.
func addUploads(x *tx, list []uploads.Record) error {
	var last int64
	if err := x.queryRow("SELECT last FROM uploads_state WHERE id = 1").Scan(&last); err != nil {
		return err
	}
	before, counts := last, uploadCounts{}
	for i := range list {
		u := list[i]
		repeated, err := replaceUploads(x, &u, counts)
		if err != nil {
			return err
		}
		if repeated {
			continue
		}
		last++
		counts[ownerOf(u.Thing, string(u.Certificate))]++
		x.changed(iot.ChangeUpload, u.Thing)
		if _, err := x.exec(`INSERT INTO uploads (`+recordColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			last, u.Thing, string(u.Certificate), string(u.Door), string(u.Status), u.Bucket, []byte(u.Key), u.Topic, u.Name, u.Size,
			u.SHA256, u.Checksum, u.UploadID, u.Reason, u.Started.UnixMilli(), u.Finished.UnixMilli()); err != nil {
			return err
		}
	}
	if last == before {
		return nil
	}
	if _, err := x.exec("UPDATE uploads_state SET last = ? WHERE id = 1", last); err != nil {
		return err
	}
	return counts.keep(x)
}

// keep adds the counts to those that are kept.
func (c uploadCounts) keep(x *tx) error {
	var all int64
	for o, n := range c {
		if n == 0 {
			continue
		}
		all += n
		if _, err := x.exec(`INSERT INTO uploads_kept (thing, certificate, kept) VALUES (?, ?, ?)
			ON CONFLICT (thing, certificate) DO UPDATE SET kept = uploads_kept.kept + excluded.kept`, o.thing, o.certificate, n); err != nil {
			return err
		}
		if n > 0 {
			continue
		}
		if _, err := x.exec("DELETE FROM uploads_kept WHERE thing = ? AND certificate = ? AND kept <= 0", o.thing, o.certificate); err != nil {
			return err
		}
	}
	_, err := x.exec("UPDATE uploads_state SET kept = kept + ? WHERE id = 1", all)
	return err
}

// remove deletes records by a condition, counts them, and returns how many there were.
func (c uploadCounts) remove(x *tx, condition string, args ...any) (n int64, err error) {
	rows, err := x.query("DELETE FROM uploads WHERE "+condition+" RETURNING thing, certificate", args...)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var thing, certificate string
		if err := rows.Scan(&thing, &certificate); err != nil {
			return n, err
		}
		c[ownerOf(thing, certificate)]--
		n++
	}
	return n, rows.Err()
}

// replaceUploads removes the records that the new one takes the place of, and
// reports whether it repeats one instead.
func replaceUploads(x *tx, u *uploads.Record, counts uploadCounts) (repeated bool, err error) {
	if u.UploadID != "" {
		have, err := scanUploadRecord(x.queryRow("SELECT "+recordColumns+` FROM uploads
			WHERE certificate = ? AND upload_id = ? AND upload_id <> '' ORDER BY status LIMIT 1`, string(u.Certificate), u.UploadID))
		switch {
		case errors.Is(err, sql.ErrNoRows):
		case err != nil:
			return false, err
		case repeatsUpload(&have, u):
			return true, nil
		default:
			if u.Door == uploads.DoorDevice && have.Bucket != "" {
				u.Door, u.Bucket, u.Key = have.Door, have.Bucket, have.Key
			}
			if _, err := counts.remove(x, "certificate = ? AND upload_id = ? AND upload_id <> ''", string(u.Certificate), u.UploadID); err != nil {
				return false, err
			}
		}
	}
	if u.Bucket != "" {
		_, err = counts.remove(x, "certificate = ? AND bucket = ? AND key = ? AND status = 'failed'", string(u.Certificate), u.Bucket, []byte(u.Key))
	}
	return false, err
}

// repeatsUpload reports whether an upload of an id that is kept already adds
// nothing to that: the same bytes, or a failure after it was completed, or the
// same message of a failure.
func repeatsUpload(have, u *uploads.Record) bool {
	if have.Status == uploads.Failed {
		return u.Status == uploads.Failed && u.Topic != "" && have.Topic == u.Topic && have.Name == u.Name && have.Size == u.Size &&
			have.SHA256 == u.SHA256 && have.Reason == u.Reason
	}
	return u.Status == uploads.Failed || have.Size == u.Size && have.SHA256 == u.SHA256 && have.Checksum == u.Checksum &&
		have.Bucket == u.Bucket && have.Key == u.Key && have.Name == u.Name
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
	return s.db.write(ctx, func(x *tx) error { return addUploads(x, list) })
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
func (s *UploadStore) Unannounced(ctx context.Context, after int64, limit int) ([]uploads.Record, error) {
	return s.records(ctx, "SELECT "+recordColumns+` FROM uploads
		WHERE number > (SELECT announced FROM uploads_state WHERE id = 1) AND number > ? ORDER BY number LIMIT ?`, after, limit)
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

// Prune removes what is too old or too much. What that is, readers look up: of
// the records it takes an index, and of the things one pass over their counts.
func (s *UploadStore) Prune(ctx context.Context, r uploads.Retention, limit int) (gone int64, err error) {
	over, err := s.overUploads(ctx, &r)
	if err != nil || !over.any() {
		return 0, err
	}
	err = s.db.write(ctx, func(x *tx) error {
		counts := uploadCounts{}
		gone = 0
		remove := func(n int64, where string, args ...any) error {
			if n = min(n, int64(limit)-gone); n <= 0 {
				return nil
			}
			n, err := counts.remove(x, "number IN (SELECT number FROM uploads "+where+" LIMIT ?)", append(args, n)...)
			gone += n
			return err
		}
		if over.old {
			if err := remove(int64(limit), "WHERE finished_ms < ? ORDER BY finished_ms", r.Since.UnixMilli()); err != nil {
				return err
			}
		}
		for o, n := range over.owners {
			where, value := "WHERE thing = ? ORDER BY number", o.thing
			if o.thing == "" {
				where, value = "WHERE thing = '' AND certificate = ? ORDER BY number", o.certificate
			}
			if err := remove(n, where, value); err != nil {
				return err
			}
		}
		if gone == 0 {
			if err := remove(over.all, "ORDER BY number"); err != nil {
				return err
			}
		}
		return counts.keep(x)
	})
	return gone, err
}

// uploadsOver is what there is too much of.
type uploadsOver struct {
	old    bool
	owners uploadCounts
	all    int64
}

func (o *uploadsOver) any() bool { return o.old || len(o.owners) > 0 || o.all > 0 }

func (s *UploadStore) overUploads(ctx context.Context, r *uploads.Retention) (over uploadsOver, err error) {
	over.owners = uploadCounts{}
	err = s.db.read(ctx, func(q querier) error {
		clear(over.owners)
		if !r.Since.IsZero() {
			var number int64
			err := q.queryRow("SELECT number FROM uploads WHERE finished_ms < ? ORDER BY finished_ms LIMIT 1", r.Since.UnixMilli()).Scan(&number)
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return err
			}
			over.old = err == nil
		}
		if r.All > 0 {
			if err := q.queryRow("SELECT kept - ? FROM uploads_state WHERE id = 1", r.All).Scan(&over.all); err != nil {
				return err
			}
		}
		if r.PerThing == 0 {
			return nil
		}
		rows, err := q.query("SELECT thing, certificate, kept - ? FROM uploads_kept WHERE kept > ? LIMIT 100", r.PerThing, r.PerThing)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var o uploadOwner
			var n int64
			if err := rows.Scan(&o.thing, &o.certificate, &n); err != nil {
				return err
			}
			over.owners[o] = n
		}
		return rows.Err()
	})
	return over, err
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
