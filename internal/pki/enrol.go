package pki

import (
	"context"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"slices"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// Enrolment is a certificate that registered itself.
type Enrolment struct {
	Record
	ARN iot.ARN
}

// Enrol registers the certificate that a peer proved to hold and that nobody
// registered, where a registered CA that signed it is active and registers
// automatically; it is PENDING_ACTIVATION then. Such a CA is all that lets a
// certificate in, and only as a client, and what was deleted or revoked stays outside: KindDenied, and
// KindExists where it is registered meanwhile. KindNotFound says that it is no
// business of any such CA.
//
// See https://docs.aws.amazon.com/iot/latest/developerguide/auto-register-device-cert.html.
func (c *Certificates) Enrol(ctx context.Context, cert *x509.Certificate) (Enrolment, error) {
	var refused error = iot.Errorf(iot.KindNotFound, "ca-certificate", "no active CA certificate with automatic registration has signed it")
	found, err := c.signers(ctx, cert)
	if err != nil {
		return Enrolment{}, err
	}
	now := c.now()
	for _, ca := range found {
		if ca.Status != Active || !ca.AutoRegistration || now.Before(ca.NotBefore) || now.After(ca.NotAfter) {
			continue
		}
		if _, err := parseCertificate(EncodePEM(cert.Raw), "certificate"); err != nil {
			return Enrolment{}, denied(err.Error())
		}
		if now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
			return Enrolment{}, denied("the certificate has expired, or is not valid yet")
		}
		if err := vouches(ca.cert, cert, now); err != nil {
			refused = denied(err.Error()) // another CA certificate of the same key may
			continue
		}
		r, err := c.newRecord(cert, PendingActivation, ca.Mode)
		if err != nil {
			return Enrolment{}, err
		}
		r.CAID = ca.ID
		return Enrolment{Record: r, ARN: c.ARN(r.ID)}, c.store.EnrolCertificate(ctx, r)
	}
	return Enrolment{}, refused
}

// vouches reports whether a CA's signature says that a certificate is a client's:
// not a CA's or a server's, and within what constrains the CA itself (RFC 5280,
// sections 4.2.1.10 and 4.2.1.12). Subject names of kinds that nobody here reads
// may be critical, as IEEE 802.1AR has them.
func vouches(ca, cert *x509.Certificate, now time.Time) error {
	if cert.IsCA {
		return errors.New("it is the certificate of a CA")
	}
	leaf := *cert
	leaf.UnhandledCriticalExtensions = slices.DeleteFunc(slices.Clone(cert.UnhandledCriticalExtensions), isSubjectAltName)
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err
}

// Pending returns a certificate that registered itself, waits for its
// activation, and still could register; else KindNotFound.
func (c *Certificates) Pending(ctx context.Context, id iot.CertificateID) (Enrolment, error) {
	r, err := c.store.Certificate(ctx, id)
	if err != nil {
		return Enrolment{}, err
	}
	if r.Status != PendingActivation || r.CAID == "" {
		return Enrolment{}, iot.Errorf(iot.KindNotFound, "certificate", "it does not wait for its activation")
	}
	ca, err := c.cas.CA(ctx, r.CAID)
	if err == nil && (ca.Status != Active || !ca.AutoRegistration) {
		err = iot.Errorf(iot.KindNotFound, "ca-certificate", "its CA certificate registers nothing any more")
	}
	return Enrolment{Record: r, ARN: c.ARN(id)}, err
}

func denied(why string) error {
	return iot.Errorf(iot.KindDenied, "certificate", "%s", why)
}

func isSubjectAltName(id asn1.ObjectIdentifier) bool {
	return id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17})
}
