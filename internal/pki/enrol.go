package pki

import (
	"context"
	"crypto/x509"

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
// certificate in, and what was deleted or revoked stays outside: KindDenied, and
// KindExists where it is registered meanwhile. KindNotFound says that it is no
// business of any such CA.
//
// See https://docs.aws.amazon.com/iot/latest/developerguide/auto-register-device-cert.html.
func (c *Certificates) Enrol(ctx context.Context, cert *x509.Certificate) (Enrolment, error) {
	nobody := iot.Errorf(iot.KindNotFound, "ca-certificate", "no active CA certificate with automatic registration has signed it")
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
		r, err := c.newRecord(cert, PendingActivation, ca.Mode)
		if err != nil {
			return Enrolment{}, err
		}
		r.CAID = ca.ID
		return Enrolment{Record: r, ARN: c.ARN(r.ID)}, c.store.EnrolCertificate(ctx, r)
	}
	return Enrolment{}, nobody
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
