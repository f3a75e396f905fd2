package pki

import (
	"context"
	"crypto/dsa" //nolint:staticcheck // what AWS IoT refuses has to be known
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"strings"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// maxPEM is the most characters of a certificate, as in the API model.
const maxPEM = 65536

// parseCertificate reads one certificate in PEM, whose key and signature
// algorithm are among those of
// https://docs.aws.amazon.com/iot/latest/developerguide/x509-client-certs.html.
// what names it in errors.
func parseCertificate(text, what string) (*x509.Certificate, error) {
	if text == "" || len(text) > maxPEM {
		return nil, invalidCertificate("the %s must have 1 to %d characters", what, maxPEM)
	}
	block, rest := pem.Decode([]byte(strings.TrimSpace(text) + "\n"))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, invalidCertificate("the %s is not in PEM format", what)
	}
	if len(strings.TrimSpace(string(rest))) > 0 {
		return nil, invalidCertificate("something follows the %s: there must be one alone", what)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, invalidCertificate("the %s does not parse", what)
	}
	if why := weakKey(cert.PublicKey); why != "" {
		return nil, invalidCertificate("the %s: %s", what, why)
	}
	switch cert.SignatureAlgorithm { //nolint:exhaustive // the rest is refused
	case x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA, x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
		x509.DSAWithSHA256, x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512:
		return cert, nil
	}
	return nil, invalidCertificate("the signature algorithm of the %s is not supported: %s", what, cert.SignatureAlgorithm)
}

// weakKey says why a key is not accepted: RSA has 2048 to 4096 bits, and the
// curves are P-256, P-384 and P-521. Beyond 4096 bits RSA only costs.
func weakKey(public any) string {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < 2048 || n > 4096 {
			return "an RSA key must have 2048 to 4096 bits"
		}
		return ""
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
			return ""
		}
		return "the curve of its key must be P-256, P-384 or P-521"
	case *dsa.PublicKey:
		return "its key must be RSA or ECC, not DSA"
	}
	return "its key must be RSA or ECC"
}

func invalidCertificate(format string, args ...any) error {
	e := iot.Errorf(iot.KindInvalid, "certificate-validation", format, args...)
	e.Message = "The certificate is not valid: " + e.Message
	return e
}

// Registration is a certificate from elsewhere that is to be registered.
type Registration struct {
	Certificate string // PEM
	CA          string // PEM of the registered CA that signed it; "" to find it
	Status      Status // "" means Inactive
}

// Register registers a certificate that a registered and active CA has signed,
// in the CA's mode.
func (c *Certificates) Register(ctx context.Context, in *Registration) (iot.CertificateID, error) {
	cert, status, err := parseRegistration(in)
	if err != nil {
		return "", err
	}
	ca, err := c.signerOf(ctx, cert, in.CA)
	if err != nil {
		return "", err
	}
	if ca.Status != Active {
		return "", stateError("The CA certificate is not ACTIVE.", ca.ID)
	}
	now := c.now()
	if now.After(ca.NotAfter) || now.Before(ca.NotBefore) {
		return "", invalidCertificate("the CA certificate has expired, or is not valid yet")
	}
	return c.register(ctx, cert, status, ca.Mode, ca.ID)
}

// RegisterWithoutCA registers a certificate, whoever signed it. That is in mode
// SNI_ONLY.
func (c *Certificates) RegisterWithoutCA(ctx context.Context, in *Registration) (iot.CertificateID, error) {
	cert, status, err := parseRegistration(in)
	if err != nil {
		return "", err
	}
	return c.register(ctx, cert, status, ModeSNIOnly, "")
}

func parseRegistration(in *Registration) (*x509.Certificate, Status, error) {
	status := in.Status
	switch status {
	case "":
		status = Inactive
	case Active, Inactive, Revoked:
	case PendingTransfer, PendingActivation, RegisterInactive:
		return nil, "", iot.Errorf(iot.KindInvalid, "certificate", "A certificate cannot be registered as %s", status)
	default:
		return nil, "", iot.Errorf(iot.KindInvalid, "certificate", "Invalid certificate status: %.64q", string(status))
	}
	cert, err := parseCertificate(in.Certificate, "certificate")
	return cert, status, err
}

func (c *Certificates) register(ctx context.Context, cert *x509.Certificate, status Status, mode Mode, ca iot.CertificateID) (iot.CertificateID, error) {
	r, err := c.newRecord(cert, status, mode)
	if err != nil {
		return "", err
	}
	r.CAID = ca
	return r.ID, c.withARN(c.store.InsertCertificate(ctx, r), c.ARN(r.ID))
}

// Deleted reports whether a certificate in PEM, or its twin, is not registered
// but was: it was deleted here, and somebody may have meant it.
func (c *Certificates) Deleted(ctx context.Context, text string) (bool, error) {
	cert, err := parseCertificate(text, "certificate")
	if err != nil {
		return false, err
	}
	_, err = c.store.Certificate(ctx, CertificateID(cert.Raw))
	if !iot.IsKind(err, iot.KindNotFound) {
		return false, err
	}
	serial, _ := tombstoneKeys(cert)
	return c.store.Buried(ctx, serial, "")
}

// signerOf finds the registered CA that signed a certificate: the one named, or
// the only one.
func (c *Certificates) signerOf(ctx context.Context, cert *x509.Certificate, named string) (issuerCA, error) {
	found, err := c.signers(ctx, cert)
	if err != nil {
		return issuerCA{}, err
	}
	if named != "" {
		ca, err := parseCertificate(named, "CA certificate")
		if err != nil {
			return issuerCA{}, err
		}
		if !signedBy(cert, ca) {
			return issuerCA{}, invalidCertificate("it is not signed by the CA certificate given")
		}
		id := CertificateID(ca.Raw)
		for _, f := range found {
			if f.ID == id {
				return f, nil
			}
		}
		return issuerCA{}, invalidCertificate("the CA certificate given is not registered")
	}
	switch len(found) {
	case 0:
		return issuerCA{}, invalidCertificate("no registered CA certificate has signed it")
	case 1:
		return found[0], nil
	}
	return issuerCA{}, iot.Errorf(iot.KindConflict, "certificate-conflict",
		"Several registered CA certificates with the same subject and public key have signed it: give caCertificatePem")
}
