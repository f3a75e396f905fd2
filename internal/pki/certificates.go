package pki

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/internal/cache"
	"github.com/sekisho-iot/sekisho/internal/iot"
)

// Config is what Certificates are made of.
type Config struct {
	Store     Store
	CAs       CAStore
	Authority *Authority
	Keys      *KeyPool
	Account   iot.AccountID
	Region    string
	Now       func() time.Time
	Rand      io.Reader
	Cached    int // certificates held in memory; 0 means 10,000
}

// Certificates is the register of device certificates.
type Certificates struct {
	store     Store
	cas       CAStore
	authority *Authority
	keys      *KeyPool
	account   iot.AccountID
	region    string
	now       func() time.Time
	rand      io.Reader
	cached    *cache.Cache[iot.CertificateID, *Certificate]
	issuers   *cache.Cache[string, []issuerCA] // by subject
}

// cachedIssuers bounds the subjects of CA certificates, asked for by strangers, that are remembered.
const cachedIssuers = 1000

// New returns the register over its store.
func New(cfg Config) *Certificates {
	if cfg.Cached == 0 {
		cfg.Cached = 10_000
	}
	c := &Certificates{
		store: cfg.Store, cas: cfg.CAs, authority: cfg.Authority, keys: cfg.Keys,
		account: cfg.Account, region: cfg.Region, now: cfg.Now, rand: cfg.Rand,
	}
	c.cached = cache.New(cfg.Cached, c.load)
	c.issuers = cache.New(cachedIssuers, c.loadIssuers)
	return c
}

// ARN returns the ARN of a certificate.
func (c *Certificates) ARN(id iot.CertificateID) iot.ARN {
	return iot.NewARN("iot", c.region, c.account, "cert/"+string(id))
}

// Issued is a certificate that was just made, and its keys where we made them.
type Issued struct {
	ID         iot.CertificateID
	PEM        string
	PublicKey  string // PEM
	PrivateKey string // PEM; told once, never kept
}

// CreateKeysAndCertificate makes an RSA key and a certificate for it.
func (c *Certificates) CreateKeysAndCertificate(ctx context.Context, active bool) (Issued, error) {
	key, err := c.keys.Key()
	if err != nil {
		return Issued{}, fmt.Errorf("make a key: %w", err)
	}
	issued, err := c.issue(ctx, nil, key.Public(), active)
	if err != nil {
		return Issued{}, err
	}
	return withKeys(issued, key)
}

func withKeys(i Issued, key *rsa.PrivateKey) (Issued, error) {
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return Issued{}, fmt.Errorf("encode the public key: %w", err)
	}
	i.PublicKey = string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))
	i.PrivateKey = string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	return i, nil
}

// CreateCertificateFromCSR makes a certificate for the subject and key of a
// request in PEM; the same request gives another certificate each time.
func (c *Certificates) CreateCertificateFromCSR(ctx context.Context, csr string, active bool) (Issued, error) {
	req, err := parseCSR(csr)
	if err != nil {
		return Issued{}, err
	}
	var subject []byte
	if len(req.Subject.Names) > 0 {
		subject = req.RawSubject
	}
	return c.issue(ctx, subject, req.PublicKey, active)
}

// issue signs and keeps a certificate; a nil subject means AWS IoT's own.
func (c *Certificates) issue(ctx context.Context, rawSubject []byte, public crypto.PublicKey, active bool) (Issued, error) {
	serial, err := newSerial(c.rand)
	if err != nil {
		return Issued{}, err
	}
	t := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "AWS IoT Certificate"},
		RawSubject:            rawSubject,
		NotBefore:             c.now().Add(-backdate),
		NotAfter:              endOfTime(),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	by := c.authority.devices
	der, err := x509.CreateCertificate(c.rand, t, by.cert, public, by.key)
	if err != nil {
		return Issued{}, fmt.Errorf("sign the certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return Issued{}, fmt.Errorf("sign the certificate: %w", err)
	}
	status := Inactive
	if active {
		status = Active
	}
	r, err := c.newRecord(cert, status, ModeDefault)
	if err != nil {
		return Issued{}, err
	}
	if err := c.store.InsertCertificate(ctx, r); err != nil {
		return Issued{}, err
	}
	return Issued{ID: r.ID, PEM: EncodePEM(der)}, nil
}

func (c *Certificates) newRecord(cert *x509.Certificate, status Status, mode Mode) (Record, error) {
	generation, err := iot.NewUUID(c.rand)
	if err != nil {
		return Record{}, err
	}
	now := c.clock()
	r := Record{
		ID: CertificateID(cert.Raw), DER: cert.Raw, Status: status, Epoch: 1, Mode: mode, Owner: c.account,
		GenerationID: generation, CustomerVersion: 1, CreatedAt: now, UpdatedAt: now,
		NotBefore: cert.NotBefore, NotAfter: cert.NotAfter,
	}
	r.IssuerSerial, r.PublicKey = tombstoneKeys(cert)
	return r, nil
}

// EncodePEM returns a certificate in PEM.
func EncodePEM(der []byte) string { return string(encodeCertificates(der)) }

func (c *Certificates) clock() time.Time { return c.now().UTC().Truncate(time.Millisecond) }

// Describe returns a certificate as it is kept.
func (c *Certificates) Describe(ctx context.Context, id string) (Record, error) {
	cid, err := ParseID(id)
	if err != nil {
		return Record{}, err
	}
	return c.store.Certificate(ctx, cid)
}

// SetStatus gives a certificate another status. What a session saw ends with
// the epoch: leaving ACTIVE and entering it again revives nothing.
func (c *Certificates) SetStatus(ctx context.Context, id string, status Status) error {
	cid, err := ParseID(id)
	if err != nil {
		return err
	}
	switch status {
	case Active, Inactive, Revoked:
	case PendingTransfer, PendingActivation, RegisterInactive:
		return iot.Errorf(iot.KindInvalid, "certificate", "The status %s cannot be set through UpdateCertificate", status)
	default:
		return iot.Errorf(iot.KindInvalid, "certificate", "Invalid certificate status: %.64q", string(status))
	}
	return c.store.ChangeCertificate(ctx, cid, func(r *Record) error {
		if r.Status == PendingTransfer {
			return stateError("The certificate is being transferred.", cid)
		}
		if r.Status == status {
			return nil
		}
		if r.Status == Active || status == Active {
			r.Epoch++
		}
		r.Status = status
		r.CustomerVersion++
		r.UpdatedAt = c.clock()
		return nil
	})
}

// Delete deletes a certificate that is not active and has no thing. Its
// policies are detached where force says so, else it must have none.
func (c *Certificates) Delete(ctx context.Context, id string, force bool) error {
	cid, err := ParseID(id)
	if err != nil {
		return err
	}
	arn := c.ARN(cid)
	return c.store.DeleteCertificate(ctx, cid, arn, c.clock(), func(r Record, things, policies int) error {
		switch {
		case r.Status == Active:
			return stateError("Certificate must be deactivated (not ACTIVE) before deletion.", cid)
		case r.Status == PendingTransfer:
			return stateError("The certificate is being transferred.", cid)
		case things > 0:
			return iot.Errorf(iot.KindConflict, "certificate", "Things must be detached before deletion (arn: %s)", arn)
		case policies > 0 && !force:
			return iot.Errorf(iot.KindConflict, "certificate", "Certificate policies must be detached before deletion (arn: %s)", arn)
		}
		return nil
	})
}

func stateError(text string, id iot.CertificateID) error {
	e := iot.Errorf(iot.KindState, "certificate", "%s Id: %s", text, id)
	e.ID = string(id)
	return e
}

// List lists certificates by creation, without DER, and the marker of the next page.
func (c *Certificates) List(ctx context.Context, ascending bool, limit int, marker string) ([]Record, string, error) {
	return listRecords("certificates", ascending, limit, marker, func(p *page) ([]Record, error) {
		return c.store.Certificates(ctx, p.at, p.after, ascending, p.limit+1)
	})
}

// Expiring counts the active certificates that end after one time and by
// another, and returns the first of them, without DER.
func (c *Certificates) Expiring(ctx context.Context, after, by time.Time, limit int) (n int, first []Record, err error) {
	return c.store.Expiring(ctx, after, by, limit)
}

// Lookup returns what decisions about a certificate need, from memory where it is.
func (c *Certificates) Lookup(ctx context.Context, id iot.CertificateID) (*Certificate, error) {
	return c.cached.Get(ctx, id)
}

// LookupDER finds the certificate that a peer showed. That the fingerprint is
// equal means that every byte is.
func (c *Certificates) LookupDER(ctx context.Context, der []byte) (*Certificate, error) {
	return c.Lookup(ctx, CertificateID(der))
}

// Buried reports whether a certificate must not enrol by itself: it, or its
// key, was deleted or revoked before.
func (c *Certificates) Buried(ctx context.Context, cert *x509.Certificate) (bool, error) {
	serial, key := tombstoneKeys(cert)
	return c.store.Buried(ctx, serial, key)
}

func (c *Certificates) load(ctx context.Context, id iot.CertificateID) (*Certificate, error) {
	r, err := c.store.Certificate(ctx, id)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(r.DER)
	if err != nil {
		return nil, fmt.Errorf("parse stored certificate %s: %w", id, err)
	}
	return &Certificate{
		ID: r.ID, ARN: c.ARN(r.ID), Status: r.Status, Epoch: r.Epoch, NotBefore: cert.NotBefore, NotAfter: cert.NotAfter,
		Facts: NewFacts(string(r.ID), cert),
	}, nil
}

// Invalidate forgets what a change concerns.
func (c *Certificates) Invalidate(ch iot.Change) {
	if ch.Kind == iot.ChangeCertificate {
		c.cached.Drop(iot.CertificateID(ch.ID))
	}
	if ch.Kind == iot.ChangeCA || ch.Kind == iot.ChangeAll {
		c.issuers.Clear()
	}
	if ch.Kind == iot.ChangeAll {
		c.cached.Clear()
	}
}

// ParseID accepts an id as the API model does: 64 hex digits, perhaps after 0x.
func ParseID(s string) (iot.CertificateID, error) {
	id := strings.ToLower(strings.TrimPrefix(s, "0x"))
	if !iot.ValidCertificateID(id) {
		return "", iot.Errorf(iot.KindInvalid, "certificate", "1 validation error detected: Value at 'certificateId' failed to satisfy constraint: "+
			"Member must satisfy regular expression pattern: (0x)?[a-fA-F0-9]+, with a length of 64")
	}
	return iot.CertificateID(id), nil
}
