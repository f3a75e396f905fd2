package sqlstore

import (
	"context"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/pki"
	"github.com/sekisho-iot/sekisho/internal/registry"
)

var _ pki.CAStore = (*CertificateStore)(nil)

const caColumns = `id, status, auto_registration, mode, owner, generation_id, customer_version,
	created_ms, updated_ms, not_before_ms, not_after_ms, subject`

func noCA(id iot.CertificateID) error {
	return iot.Errorf(iot.KindNotFound, "ca-certificate", "The CA certificate does not exist. Id: %s", id)
}

// InsertCA keeps a CA certificate with its tags unless check forbids.
func (s *CertificateStore) InsertCA(ctx context.Context, r pki.CARecord, tags []pki.Tag, check func(sameSubject int) error) error {
	return s.db.write(ctx, func(x *tx) error {
		var same int
		if err := x.queryRow("SELECT count(*) FROM ca_certificates WHERE subject = ? AND id <> ?", r.Subject, string(r.ID)).Scan(&same); err != nil {
			return err
		}
		if err := check(same); err != nil {
			return err
		}
		n, err := affected(x.exec("INSERT INTO ca_certificates (der, "+caColumns+`)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
			r.DER, string(r.ID), string(r.Status), flag(r.AutoRegistration), string(r.Mode), string(r.Owner), r.GenerationID, r.CustomerVersion,
			r.CreatedAt.UnixMilli(), r.UpdatedAt.UnixMilli(), r.NotBefore.UnixMilli(), r.NotAfter.UnixMilli(), r.Subject))
		if err != nil {
			return err
		}
		if n == 0 {
			e := iot.Errorf(iot.KindExists, "ca-certificate", "The CA certificate is already registered")
			e.ID = string(r.ID)
			return e
		}
		x.changed(iot.ChangeCA, string(r.ID))
		list := make([]registry.Tag, len(tags))
		for i, g := range tags {
			list[i] = registry.Tag(g)
		}
		return insertTags(x, "cacert/"+string(r.ID), list)
	})
}

// CA returns a CA certificate.
func (s *CertificateStore) CA(ctx context.Context, id iot.CertificateID) (pki.CARecord, error) {
	var r pki.CARecord
	err := s.db.get(ctx, func(q querier) error {
		var err error
		r, err = caCertificate(q, id)
		return err
	})
	return r, err
}

// CAs lists by creation, without DER.
func (s *CertificateStore) CAs(ctx context.Context, at time.Time, after iot.CertificateID, ascending bool, limit int) ([]pki.CARecord, error) {
	where, args := createdAfter("id", at, string(after), ascending)
	var list []pki.CARecord
	err := s.db.get(ctx, func(q querier) error {
		var err error
		list, err = collect(q, func(scan func(...any) error) (pki.CARecord, error) { return scanCA(scan) },
			"SELECT "+caColumns+" FROM ca_certificates"+where, append(args, limit)...)
		return err
	})
	return list, err
}

// CAsBySubject returns all with that subject, the oldest first.
func (s *CertificateStore) CAsBySubject(ctx context.Context, subject string) ([]pki.CARecord, error) {
	var list []pki.CARecord
	err := s.db.get(ctx, func(q querier) error {
		var err error
		list, err = collect(q, func(scan func(...any) error) (pki.CARecord, error) {
			var der []byte
			r, err := scanCA(func(dest ...any) error { return scan(append(dest, &der)...) })
			r.DER = der
			return r, err
		}, "SELECT "+caColumns+", der FROM ca_certificates WHERE subject = ? ORDER BY created_ms, id", subject)
		return err
	})
	return list, err
}

// ChangeCA has change alter a CA certificate.
func (s *CertificateStore) ChangeCA(ctx context.Context, id iot.CertificateID, change func(r *pki.CARecord) error) error {
	return s.db.write(ctx, func(x *tx) error {
		r, err := caCertificate(x, id)
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
		x.changed(iot.ChangeCA, string(id))
		_, err = x.exec("UPDATE ca_certificates SET status = ?, auto_registration = ?, customer_version = ?, updated_ms = ? WHERE id = ?",
			string(r.Status), flag(r.AutoRegistration), r.CustomerVersion, r.UpdatedAt.UnixMilli(), string(id))
		return err
	})
}

// DeleteCA deletes a CA certificate unless check forbids.
func (s *CertificateStore) DeleteCA(ctx context.Context, id iot.CertificateID, check func(r pki.CARecord) error) error {
	return s.db.write(ctx, func(x *tx) error {
		r, err := caCertificate(x, id)
		if err != nil {
			return err
		}
		if err := check(r); err != nil {
			return err
		}
		if _, err := x.exec("DELETE FROM ca_certificates WHERE id = ?", string(id)); err != nil {
			return err
		}
		x.changed(iot.ChangeCA, string(id))
		return deleteTags(x, "cacert/"+string(id))
	})
}

// RegistrationCode returns the code of the account; fresh becomes it where there is none.
func (s *CertificateStore) RegistrationCode(ctx context.Context, account iot.AccountID, fresh string) (string, error) {
	code := ""
	const query = "SELECT code FROM registration_codes WHERE account = ?"
	err := s.db.get(ctx, func(q querier) error { return q.queryRow(query, string(account)).Scan(&code) })
	if !noRows(err) {
		return code, err
	}
	err = s.db.write(ctx, func(x *tx) error {
		if _, err := x.exec("INSERT INTO registration_codes (account, code) VALUES (?, ?) ON CONFLICT (account) DO NOTHING", string(account), fresh); err != nil {
			return err
		}
		return x.queryRow(query, string(account)).Scan(&code)
	})
	return code, err
}

// DeleteRegistrationCode deletes the code of the account.
func (s *CertificateStore) DeleteRegistrationCode(ctx context.Context, account iot.AccountID) error {
	return s.db.write(ctx, func(x *tx) error {
		n, err := affected(x.exec("DELETE FROM registration_codes WHERE account = ?", string(account)))
		if err == nil && n == 0 {
			err = iot.Errorf(iot.KindNotFound, "registration-code", "There is no registration code")
		}
		return err
	})
}

func caCertificate(q querier, id iot.CertificateID) (pki.CARecord, error) {
	var der []byte
	row := q.queryRow("SELECT "+caColumns+", der FROM ca_certificates WHERE id = ?", string(id))
	r, err := scanCA(func(dest ...any) error { return row.Scan(append(dest, &der)...) })
	if noRows(err) {
		return r, noCA(id)
	}
	r.DER = der
	return r, err
}

func scanCA(scan func(...any) error) (pki.CARecord, error) {
	var r pki.CARecord
	var auto, created, updated, from, to int64
	err := scan(&r.ID, &r.Status, &auto, &r.Mode, &r.Owner, &r.GenerationID, &r.CustomerVersion, &created, &updated, &from, &to, &r.Subject)
	r.AutoRegistration = auto != 0
	r.CreatedAt, r.UpdatedAt, r.NotBefore, r.NotAfter = unixMilli(created), unixMilli(updated), unixMilli(from), unixMilli(to)
	return r, err
}
