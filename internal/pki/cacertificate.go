package pki

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// CARecord is a registered CA certificate as it is kept. Its status is Active
// or Inactive.
type CARecord struct {
	ID               iot.CertificateID
	DER              []byte
	Status           Status
	AutoRegistration bool
	Mode             Mode
	Owner            iot.AccountID
	GenerationID     string
	CustomerVersion  int64
	CreatedAt        time.Time
	UpdatedAt        time.Time
	NotBefore        time.Time
	NotAfter         time.Time
	Subject          string // SHA-256 of the DER of the subject, in hex
}

// Tag is a name and a value on a CA certificate.
type Tag struct{ Key, Value string }

// CAStore keeps CA certificates and the registration code. It answers
// iot.KindNotFound where one does not exist.
type CAStore interface {
	// InsertCA keeps a CA certificate with its tags unless check, given how many
	// have the same subject, forbids; KindExists where it is kept already.
	InsertCA(ctx context.Context, r CARecord, tags []Tag, check func(sameSubject int) error) error
	CA(ctx context.Context, id iot.CertificateID) (CARecord, error)
	// CAs lists by creation, without DER, from after the place given.
	CAs(ctx context.Context, at time.Time, after iot.CertificateID, ascending bool, limit int) ([]CARecord, error)
	// CAsBySubject returns all with that subject, the oldest first.
	CAsBySubject(ctx context.Context, subject string) ([]CARecord, error)
	// ChangeCA has change alter status, auto registration, version and date, in
	// its transaction and perhaps twice.
	ChangeCA(ctx context.Context, id iot.CertificateID, change func(r *CARecord) error) error
	// DeleteCA deletes unless check forbids.
	DeleteCA(ctx context.Context, id iot.CertificateID, check func(r CARecord) error) error
	// RegistrationCode returns the code of the account, and keeps fresh as it where there is none.
	RegistrationCode(ctx context.Context, account iot.AccountID, fresh string) (string, error)
	DeleteRegistrationCode(ctx context.Context, account iot.AccountID) error
}

// maxSameSubject is how many CA certificates of one subject an account may
// register. See https://docs.aws.amazon.com/iot/latest/apireference/API_RegisterCACertificate.html.
const maxSameSubject = 10

// CAARN returns the ARN of a CA certificate.
func (c *Certificates) CAARN(id iot.CertificateID) iot.ARN {
	return iot.NewARN("iot", c.region, c.account, "cacert/"+string(id))
}

// RegistrationCode returns the code that a verification certificate must have
// as its common name; it is made where there is none.
func (c *Certificates) RegistrationCode(ctx context.Context) (string, error) {
	var b [32]byte
	if _, err := io.ReadFull(c.rand, b[:]); err != nil {
		return "", fmt.Errorf("read randomness: %w", err)
	}
	return c.cas.RegistrationCode(ctx, c.account, hex.EncodeToString(b[:]))
}

// DeleteRegistrationCode deletes the code.
func (c *Certificates) DeleteRegistrationCode(ctx context.Context) error {
	return c.cas.DeleteRegistrationCode(ctx, c.account)
}

// CARegistration is what RegisterCACertificate is asked for.
type CARegistration struct {
	Certificate  string // PEM
	Verification string // PEM; proves the possession of the CA's key; "" in mode SNI_ONLY
	Mode         Mode   // "" means DEFAULT
	Active       bool
	AutoRegister bool
	Tags         []Tag
}

// RegisterCA registers a CA certificate, whose certificates can be registered then.
func (c *Certificates) RegisterCA(ctx context.Context, in *CARegistration) (CARecord, error) {
	ca, err := parseCertificate(in.Certificate, "CA certificate")
	if err != nil {
		return CARecord{}, err
	}
	if err := c.checkCA(ca); err != nil {
		return CARecord{}, err
	}
	mode, err := c.proveCA(ctx, in, ca)
	if err != nil {
		return CARecord{}, err
	}
	generation, err := iot.NewUUID(c.rand)
	if err != nil {
		return CARecord{}, err
	}
	now := c.clock()
	r := CARecord{
		ID: CertificateID(ca.Raw), DER: ca.Raw, Status: Inactive, AutoRegistration: in.AutoRegister, Mode: mode, Owner: c.account,
		GenerationID: generation, CustomerVersion: 1, CreatedAt: now, UpdatedAt: now,
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, Subject: nameSum(ca.RawSubject),
	}
	if in.Active {
		r.Status = Active
	}
	err = c.cas.InsertCA(ctx, r, in.Tags, func(sameSubject int) error {
		if sameSubject >= maxSameSubject {
			return iot.Errorf(iot.KindLimit, "ca-certificate", "At most %d CA certificates with the same subject can be registered", maxSameSubject)
		}
		return nil
	})
	return r, c.withARN(err, c.CAARN(r.ID))
}

// proveCA checks that who registers a CA certificate holds its key, where the
// mode asks for it.
func (c *Certificates) proveCA(ctx context.Context, in *CARegistration, ca *x509.Certificate) (Mode, error) {
	switch in.Mode {
	case ModeSNIOnly:
		if in.Verification != "" {
			return "", iot.Errorf(iot.KindInvalid, "ca-certificate", "verificationCertificate must be empty in certificate mode SNI_ONLY")
		}
		return ModeSNIOnly, nil
	case ModeDefault, "":
		if in.Verification == "" {
			return "", iot.Errorf(iot.KindInvalid, "ca-certificate", "verificationCertificate is needed unless the certificate mode is SNI_ONLY")
		}
	default:
		return "", iot.Errorf(iot.KindInvalid, "ca-certificate", "Invalid certificate mode: %.64q", string(in.Mode))
	}
	v, err := parseCertificate(in.Verification, "verification certificate")
	if err != nil {
		return "", err
	}
	if !signedBy(v, ca) {
		return "", invalidCertificate("the verification certificate is not signed by the CA certificate")
	}
	if c.now().After(v.NotAfter) {
		return "", invalidCertificate("the verification certificate has expired")
	}
	code, err := c.RegistrationCode(ctx)
	if err != nil {
		return "", err
	}
	if v.Subject.CommonName != code {
		return "", iot.Errorf(iot.KindInvalid, "registration-code", "The common name of the verification certificate is not the registration code")
	}
	return ModeDefault, nil
}

// checkCA accepts what can sign certificates now.
func (c *Certificates) checkCA(ca *x509.Certificate) error {
	switch {
	case !ca.BasicConstraintsValid || !ca.IsCA:
		return invalidCertificate("the CA certificate does not have the basicConstraints extension with CA true")
	case ca.KeyUsage != 0 && ca.KeyUsage&x509.KeyUsageCertSign == 0:
		return invalidCertificate("the keyUsage extension of the CA certificate lacks keyCertSign")
	case c.now().After(ca.NotAfter):
		return invalidCertificate("the CA certificate has expired")
	}
	return nil
}

// DescribeCA returns a CA certificate as it is kept.
func (c *Certificates) DescribeCA(ctx context.Context, id string) (CARecord, error) {
	cid, err := ParseID(id)
	if err != nil {
		return CARecord{}, err
	}
	return c.cas.CA(ctx, cid)
}

// CAUpdate is what UpdateCACertificate changes; what is nil stays.
type CAUpdate struct {
	Status       *Status
	AutoRegister *bool
}

// UpdateCA changes a CA certificate. One that is not active registers nothing
// more; certificates that were registered before are not concerned.
func (c *Certificates) UpdateCA(ctx context.Context, id string, u CAUpdate) error {
	cid, err := ParseID(id)
	if err != nil {
		return err
	}
	if s := u.Status; s != nil && *s != Active && *s != Inactive {
		return iot.Errorf(iot.KindInvalid, "ca-certificate", "Invalid CA certificate status: %.64q", string(*s))
	}
	return c.cas.ChangeCA(ctx, cid, func(r *CARecord) error {
		status, auto := r.Status, r.AutoRegistration
		if u.Status != nil {
			status = *u.Status
		}
		if u.AutoRegister != nil {
			auto = *u.AutoRegister
		}
		if status == r.Status && auto == r.AutoRegistration {
			return nil
		}
		r.Status, r.AutoRegistration = status, auto
		r.CustomerVersion++
		r.UpdatedAt = c.clock()
		return nil
	})
}

// DeleteCA deletes a CA certificate that is not active. Its certificates stay.
func (c *Certificates) DeleteCA(ctx context.Context, id string) error {
	cid, err := ParseID(id)
	if err != nil {
		return err
	}
	return c.cas.DeleteCA(ctx, cid, func(r CARecord) error {
		if r.Status == Active {
			return stateError("The CA certificate must be deactivated (not ACTIVE) before deletion.", cid)
		}
		return nil
	})
}

// caPage is how many CA certificates are listed where nobody says.
const caPage = 25

// ListCAs lists CA certificates by creation, without DER, and the marker of the next page.
func (c *Certificates) ListCAs(ctx context.Context, ascending bool, limit int, marker string) ([]CARecord, string, error) {
	if limit == 0 {
		limit = caPage
	}
	p, err := parsePage("ca-certificates", ascending, limit, marker)
	if err != nil {
		return nil, "", err
	}
	list, err := c.cas.CAs(ctx, p.at, p.after, ascending, p.limit+1)
	if err != nil || len(list) <= p.limit {
		return list, "", err
	}
	last := &list[p.limit-1]
	return list[:p.limit], p.next(last.CreatedAt, last.ID), nil
}

// ListByCA lists the certificates that were registered with a CA certificate.
func (c *Certificates) ListByCA(ctx context.Context, ca string, ascending bool, limit int, marker string) ([]Record, string, error) {
	cid, err := ParseID(ca)
	if err != nil {
		return nil, "", err
	}
	return listRecords("certificates of "+string(cid), ascending, limit, marker, func(p *page) ([]Record, error) {
		return c.store.CertificatesByCA(ctx, cid, p.at, p.after, ascending, p.limit+1)
	})
}

// issuerCA is a registered CA certificate, ready to check signatures.
type issuerCA struct {
	CARecord
	cert *x509.Certificate
}

// loadIssuers returns the CA certificates of a subject.
func (c *Certificates) loadIssuers(ctx context.Context, subject string) ([]issuerCA, error) {
	records, err := c.cas.CAsBySubject(ctx, subject)
	if err != nil {
		return nil, err
	}
	list := make([]issuerCA, len(records))
	for i, r := range records {
		cert, err := x509.ParseCertificate(r.DER)
		if err != nil {
			return nil, fmt.Errorf("parse stored CA certificate %s: %w", r.ID, err)
		}
		list[i] = issuerCA{CARecord: r, cert: cert}
	}
	return list, nil
}

// signers are the registered CA certificates that signed a certificate.
func (c *Certificates) signers(ctx context.Context, cert *x509.Certificate) ([]issuerCA, error) {
	all, err := c.issuers.Get(ctx, nameSum(cert.RawIssuer))
	if err != nil {
		return nil, err
	}
	var found []issuerCA
	for _, ca := range all {
		if signedBy(cert, ca.cert) {
			found = append(found, ca)
		}
	}
	return found, nil
}

// signedBy reports whether a CA signed a certificate, and may.
func signedBy(cert, ca *x509.Certificate) bool {
	return string(cert.RawIssuer) == string(ca.RawSubject) && cert.CheckSignatureFrom(ca) == nil
}

func nameSum(rawName []byte) string {
	sum := sha256.Sum256(rawName)
	return hex.EncodeToString(sum[:])
}

// withARN completes the error that says that a certificate is there already.
func (c *Certificates) withARN(err error, arn iot.ARN) error {
	if e, ok := err.(*iot.Error); ok && e.Kind == iot.KindExists { //nolint:errorlint // stores return it as it is
		e.ARN = string(arn)
	}
	return err
}
