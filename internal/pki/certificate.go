package pki

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// Status is the status of a certificate.
type Status string

// The statuses of certificates. Only an active one authenticates.
const (
	Active            Status = "ACTIVE"
	Inactive          Status = "INACTIVE"
	Revoked           Status = "REVOKED"
	PendingTransfer   Status = "PENDING_TRANSFER"
	PendingActivation Status = "PENDING_ACTIVATION"
	RegisterInactive  Status = "REGISTER_INACTIVE" // deprecated
)

// Mode says how a certificate was registered.
type Mode string

// The modes of certificates.
const (
	ModeDefault Mode = "DEFAULT"
	ModeSNIOnly Mode = "SNI_ONLY"
)

// Record is a certificate as it is kept.
type Record struct {
	ID              iot.CertificateID
	DER             []byte
	Status          Status
	Epoch           int64 // rises whenever the certificate enters or leaves ACTIVE, and across deletion
	Mode            Mode
	CAID            iot.CertificateID // "" but for certificates of a registered CA
	Owner           iot.AccountID
	GenerationID    string
	CustomerVersion int64
	CreatedAt       time.Time
	UpdatedAt       time.Time
	NotBefore       time.Time
	NotAfter        time.Time

	// What tombstones know a certificate by, in hex.
	IssuerSerial string // SHA-256 of issuer and serial number
	PublicKey    string // SHA-256 of the SubjectPublicKeyInfo, as we encode it
}

// Store keeps certificates. It answers iot.KindNotFound where one does not exist.
type Store interface {
	// InsertCertificate keeps a certificate, its epoch above that of its
	// tombstone where there is one, and buries it where it is revoked;
	// KindExists where it is kept already.
	InsertCertificate(ctx context.Context, r Record) error
	// EnrolCertificate keeps a certificate that registers itself, as
	// InsertCertificate does, unless its CA is not active, not kept or does not
	// register by itself any more, or the certificate or its key was buried, or
	// another one has its issuer and serial: KindDenied, all in one transaction.
	EnrolCertificate(ctx context.Context, r Record) error
	Certificate(ctx context.Context, id iot.CertificateID) (Record, error)
	// Certificates lists by creation, without DER, from after the place given.
	Certificates(ctx context.Context, at time.Time, after iot.CertificateID, ascending bool, limit int) ([]Record, error)
	// CertificatesByCA lists those of a CA likewise.
	CertificatesByCA(ctx context.Context, ca iot.CertificateID, at time.Time, after iot.CertificateID, ascending bool, limit int) ([]Record, error)
	// Expiring counts the active certificates that end after one time and by
	// another, and returns the first of them, without DER.
	Expiring(ctx context.Context, after, by time.Time, limit int) (n int, first []Record, err error)
	// ChangeCertificate has change alter status, epoch, version and date, in
	// its transaction and perhaps twice, and buries the certificate where it is revoked then.
	ChangeCertificate(ctx context.Context, id iot.CertificateID, change func(r *Record) error) error
	// DeleteCertificate deletes and buries the certificate unless check, given
	// how many things and policies hang on its ARN, forbids; policies are detached.
	DeleteCertificate(ctx context.Context, id iot.CertificateID, arn iot.ARN, at time.Time, check func(r Record, things, policies int) error) error
	// Buried reports whether a deleted or revoked certificate had that issuer and serial, or that key.
	Buried(ctx context.Context, issuerSerial, publicKey string) (bool, error)
}

// Certificate is what decisions about a certificate are made by. It is shared
// and must not be changed.
type Certificate struct {
	ID        iot.CertificateID
	ARN       iot.ARN
	Status    Status
	Epoch     int64
	NotBefore time.Time
	NotAfter  time.Time
	Facts     *Facts
}

// Usable says whether the certificate authenticates at that time, and if not, why.
func (c *Certificate) Usable(now time.Time) (ok bool, why string) {
	switch {
	case c.Status != Active:
		return false, "the certificate is " + string(c.Status)
	case now.Before(c.NotBefore):
		return false, "the certificate is not valid yet"
	case now.After(c.NotAfter):
		return false, "the certificate has expired"
	}
	return true, ""
}

// CertificateID returns the id of a certificate: its fingerprint.
func CertificateID(der []byte) iot.CertificateID {
	sum := sha256.Sum256(der)
	return iot.CertificateID(hex.EncodeToString(sum[:]))
}

// tombstoneKeys are what a certificate is known by after its end.
func tombstoneKeys(c *x509.Certificate) (issuerSerial, publicKey string) {
	h := sha256.New()
	h.Write(c.RawIssuer)
	h.Write([]byte{0})
	h.Write([]byte(serialHex(c)))
	spki, err := x509.MarshalPKIXPublicKey(c.PublicKey)
	if err != nil { // of a kind that no door accepts
		spki = c.RawSubjectPublicKeyInfo
	}
	key := sha256.Sum256(spki) // not as it is written: one key has several encodings that parse
	return hex.EncodeToString(h.Sum(nil)), hex.EncodeToString(key[:])
}
