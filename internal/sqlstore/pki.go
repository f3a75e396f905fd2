package sqlstore

import (
	"context"
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
	return s.db.write(ctx, func(x *tx) error {
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
		return nil
	})
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
	var list []pki.Record
	err := s.db.get(ctx, func(q querier) error {
		var err error
		list, err = collect(q, func(scan func(...any) error) (pki.Record, error) { return scanCertificate(scan) },
			"SELECT "+certificateColumns+" FROM certificates"+where, append(args, limit)...)
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
