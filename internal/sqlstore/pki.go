package sqlstore

import (
	"context"
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/pki"
)

// CertificateStore keeps certificates and their tombstones.
type CertificateStore struct{ db *DB }

// Certificates returns the certificates' store.
func (d *DB) Certificates() *CertificateStore { return &CertificateStore{db: d} }

var _ pki.Store = (*CertificateStore)(nil)

const certificateColumns = `id, status, epoch, mode, ca_id, owner, generation_id, customer_version,
	created_ms, updated_ms, not_before_ms, not_after_ms, issuer_serial, public_key`

// InsertCertificate keeps a certificate.
func (s *CertificateStore) InsertCertificate(ctx context.Context, r pki.Record) error {
	return s.db.write(ctx, func(x *tx) error { return insertCertificate(x, &r) })
}

// EnrolCertificate keeps a certificate that registers itself.
func (s *CertificateStore) EnrolCertificate(ctx context.Context, r pki.Record) error {
	return s.db.write(ctx, func(x *tx) error {
		var open, known, serial, key int
		if err := x.queryRow(`SELECT (SELECT count(*) FROM ca_certificates WHERE id = ? AND status = ? AND auto_registration = 1),
			(SELECT count(*) FROM certificates WHERE issuer_serial = ? AND id <> ?),
			(SELECT count(*) FROM certificate_tombstones WHERE issuer_serial = ?),
			(SELECT count(*) FROM certificate_tombstones WHERE public_key = ?)`,
			string(r.CAID), string(pki.Active), r.IssuerSerial, string(r.ID), r.IssuerSerial, r.PublicKey).Scan(&open, &known, &serial, &key); err != nil {
			return err
		}
		switch {
		case open == 0:
			return iot.Errorf(iot.KindDenied, "certificate", "its CA certificate registers nothing")
		case serial > 0:
			return iot.Errorf(iot.KindDenied, "certificate", "a certificate with its issuer and serial number was deleted or revoked")
		case key > 0:
			return iot.Errorf(iot.KindDenied, "certificate", "a certificate with its public key was deleted or revoked")
		case known > 0:
			return iot.Errorf(iot.KindDenied, "certificate", "another certificate with its issuer and serial number is registered")
		}
		return insertCertificate(x, &r)
	})
}

func insertCertificate(x *tx, r *pki.Record) error {
	epoch := r.Epoch
	var buried int64
	err := x.queryRow("SELECT epoch FROM certificate_tombstones WHERE id = ?", string(r.ID)).Scan(&buried)
	switch {
	case err == nil:
		epoch = max(epoch, buried+1)
	case !noRows(err):
		return err
	}
	n, err := affected(x.exec("INSERT INTO certificates (der, "+certificateColumns+`)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
		r.DER, string(r.ID), string(r.Status), epoch, string(r.Mode), string(r.CAID), string(r.Owner), r.GenerationID, r.CustomerVersion,
		r.CreatedAt.UnixMilli(), r.UpdatedAt.UnixMilli(), r.NotBefore.UnixMilli(), r.NotAfter.UnixMilli(), r.IssuerSerial, r.PublicKey))
	if err != nil {
		return err
	}
	if n == 0 {
		e := iot.Errorf(iot.KindExists, "certificate", "The certificate is already provisioned or registered")
		e.ID = string(r.ID)
		return e
	}
	x.changed(iot.ChangeCertificate, string(r.ID))
	if r.Status == pki.Revoked {
		kept := *r
		kept.Epoch = epoch
		return bury(x, kept, "revoked", r.UpdatedAt)
	}
	return nil
}

// Certificate returns a certificate.
func (s *CertificateStore) Certificate(ctx context.Context, id iot.CertificateID) (pki.Record, error) {
	var r pki.Record
	err := s.db.get(ctx, func(q querier) error {
		var err error
		r, err = certificate(q, id)
		return err
	})
	return r, err
}

// Certificates lists by creation, without DER.
func (s *CertificateStore) Certificates(ctx context.Context, at time.Time, after iot.CertificateID, ascending bool, limit int) ([]pki.Record, error) {
	where, args := createdAfter("id", at, string(after), ascending)
	return s.records(ctx, where, append(args, limit)...)
}

// CertificatesByCA lists those of a CA by creation, without DER.
func (s *CertificateStore) CertificatesByCA(ctx context.Context, ca iot.CertificateID, at time.Time, after iot.CertificateID, ascending bool, limit int,
) ([]pki.Record, error) {
	where, args := createdAfter("id", at, string(after), ascending)
	if more, ok := strings.CutPrefix(where, " WHERE "); ok {
		where = " AND " + more
	}
	return s.records(ctx, " WHERE ca_id = ?"+where, append(append([]any{string(ca)}, args...), limit)...)
}

// Expiring counts the active certificates that end in a span of time, and
// returns the first of them, without DER.
func (s *CertificateStore) Expiring(ctx context.Context, after, by time.Time, limit int) (n int, first []pki.Record, err error) {
	const where = " WHERE not_after_ms > ? AND not_after_ms <= ? AND status = ?"
	args := []any{after.UnixMilli(), by.UnixMilli(), string(pki.Active)}
	err = s.db.get(ctx, func(q querier) error {
		return q.queryRow("SELECT count(*) FROM certificates"+where, args...).Scan(&n)
	})
	if err != nil || n == 0 {
		return n, nil, err
	}
	first, err = s.records(ctx, where+" ORDER BY not_after_ms, id LIMIT ?", append(args, limit)...)
	return n, first, err
}

func (s *CertificateStore) records(ctx context.Context, rest string, args ...any) ([]pki.Record, error) {
	var list []pki.Record
	err := s.db.get(ctx, func(q querier) error {
		var err error
		list, err = collect(q, func(scan func(...any) error) (pki.Record, error) { return scanCertificate(scan) },
			"SELECT "+certificateColumns+" FROM certificates"+rest, args...)
		return err
	})
	return list, err
}

// ChangeCertificate has change alter a certificate, and buries one that is revoked.
func (s *CertificateStore) ChangeCertificate(ctx context.Context, id iot.CertificateID, change func(r *pki.Record) error) error {
	return s.db.write(ctx, func(x *tx) error {
		r, err := certificate(x, id)
		if err != nil {
			return err
		}
		before := r.CustomerVersion
		if err := change(&r); err != nil {
			return err
		}
		if r.CustomerVersion == before {
			return nil
		}
		if _, err := x.exec("UPDATE certificates SET status = ?, epoch = ?, customer_version = ?, updated_ms = ? WHERE id = ?",
			string(r.Status), r.Epoch, r.CustomerVersion, r.UpdatedAt.UnixMilli(), string(id)); err != nil {
			return err
		}
		x.changed(iot.ChangeCertificate, string(id))
		if r.Status == pki.Revoked {
			return bury(x, r, "revoked", r.UpdatedAt)
		}
		return nil
	})
}

// DeleteCertificate deletes and buries a certificate unless check forbids.
func (s *CertificateStore) DeleteCertificate(ctx context.Context, id iot.CertificateID, arn iot.ARN, at time.Time,
	check func(r pki.Record, things, policies int) error,
) error {
	return s.db.write(ctx, func(x *tx) error {
		r, err := certificate(x, id)
		if err != nil {
			return err
		}
		var things, policies int
		if err := x.queryRow(`SELECT (SELECT count(*) FROM thing_principals WHERE principal = ?),
			(SELECT count(*) FROM iot_policy_targets WHERE target = ?)`, string(arn), string(arn)).Scan(&things, &policies); err != nil {
			return err
		}
		if err := check(r, things, policies); err != nil {
			return err
		}
		if policies > 0 {
			if _, err := x.exec("DELETE FROM iot_policy_targets WHERE target = ?", string(arn)); err != nil {
				return err
			}
			x.changed(iot.ChangePrincipal, string(arn))
		}
		if err := bury(x, r, "deleted", at); err != nil {
			return err
		}
		if _, err := x.exec("DELETE FROM certificates WHERE id = ?", string(id)); err != nil {
			return err
		}
		x.changed(iot.ChangeCertificate, string(id))
		return deleteTags(x, "cert/"+string(id))
	})
}

// Buried reports whether a tombstone has that issuer and serial, or that key.
func (s *CertificateStore) Buried(ctx context.Context, issuerSerial, publicKey string) (bool, error) {
	var n int
	err := s.db.get(ctx, func(q querier) error {
		return q.queryRow(`SELECT (SELECT count(*) FROM certificate_tombstones WHERE issuer_serial = ?) +
			(SELECT count(*) FROM certificate_tombstones WHERE public_key = ?)`, issuerSerial, publicKey).Scan(&n)
	})
	return n > 0, err
}

func bury(x *tx, r pki.Record, reason string, at time.Time) error {
	_, err := x.exec(`INSERT INTO certificate_tombstones (id, epoch, issuer_serial, public_key, reason, buried_ms)
		VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET epoch = excluded.epoch, reason = excluded.reason, buried_ms = excluded.buried_ms`,
		string(r.ID), r.Epoch, r.IssuerSerial, r.PublicKey, reason, at.UnixMilli())
	return err
}

func certificate(q querier, id iot.CertificateID) (pki.Record, error) {
	var der []byte
	row := q.queryRow("SELECT "+certificateColumns+", der FROM certificates WHERE id = ?", string(id))
	r, err := scanCertificate(func(dest ...any) error { return row.Scan(append(dest, &der)...) })
	if noRows(err) {
		return r, iot.Errorf(iot.KindNotFound, "certificate", "The certificate does not exist. Id: %s", id)
	}
	r.DER = der
	return r, err
}

func scanCertificate(scan func(...any) error) (pki.Record, error) {
	var r pki.Record
	var created, updated, from, to int64
	err := scan(&r.ID, &r.Status, &r.Epoch, &r.Mode, &r.CAID, &r.Owner, &r.GenerationID, &r.CustomerVersion,
		&created, &updated, &from, &to, &r.IssuerSerial, &r.PublicKey)
	r.CreatedAt, r.UpdatedAt, r.NotBefore, r.NotAfter = unixMilli(created), unixMilli(updated), unixMilli(from), unixMilli(to)
	return r, err
}
