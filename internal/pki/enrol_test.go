package pki_test

import (
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/pki"
)

// A CA lets in what it says is a client, and as far as it was trusted itself.
func TestEnrolPurpose(t *testing.T) {
	t.Parallel()
	certs, _, _ := newCertificates(t)
	server := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	unknown := []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 1}, Critical: true, Value: []byte{5, 0}}}
	otherName := []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: []byte{0x30, 9, 0xa0, 7, 6, 1, 42, 0xa0, 2, 5, 0}}}
	ca := func(name string, change func(*x509.Certificate)) *testCA {
		ca := newCA(t, ecKey(t, elliptic.P256()), func(c *x509.Certificate) {
			c.Subject.CommonName = name
			change(c)
		})
		mustRegisterCA(t, certs, pki.CARegistration{Certificate: ca.pem, Mode: pki.ModeSNIOnly, Active: true, AutoRegister: true})
		return ca
	}
	open := ca("open", func(*x509.Certificate) {})
	for _, x := range []struct {
		what string
		ca   *testCA
		leaf func(*x509.Certificate)
		in   bool
	}{
		{"any purpose", open, nil, true},
		{"clients and servers", open, func(c *x509.Certificate) { c.ExtKeyUsage = both }, true},
		{"a server's", open, func(c *x509.Certificate) { c.ExtKeyUsage = server }, false},
		{"a CA's", open, func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }, false},
		{"a critical extension", open, func(c *x509.Certificate) { c.ExtraExtensions = unknown }, false},
		{"names of another kind", open, func(c *x509.Certificate) { c.ExtraExtensions = otherName }, true},
		{"a CA of servers", ca("servers", func(c *x509.Certificate) { c.ExtKeyUsage = server }), nil, false},
		{"a CA with a critical extension", ca("odd", func(c *x509.Certificate) { c.ExtraExtensions = unknown }), nil, false},
		{"a name within constraints", ca("within", func(c *x509.Certificate) {
			c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"plant.example"}
		}), func(c *x509.Certificate) { c.DNSNames = []string{"pump.plant.example"} }, true},
		{"a name beyond constraints", ca("beyond", func(c *x509.Certificate) {
			c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"plant.example"}
		}), func(c *x509.Certificate) { c.DNSNames = []string{"pump.other.example"} }, false},
	} {
		_, cert := x.ca.issue(t, x.what, ecKey(t, elliptic.P256()).Public(), x.leaf)
		switch _, err := certs.Enrol(t.Context(), cert); {
		case x.in && err != nil:
			t.Errorf("%s: %v", x.what, err)
		case !x.in:
			wantKind(t, x.what, err, iot.KindDenied, "certificate")
		}
	}
	// Nor does the CA's own certificate, which has signed itself.
	_, err := certs.Enrol(t.Context(), open.cert)
	wantKind(t, "the CA itself", err, iot.KindDenied, "certificate")
}

// A key that was buried is known however it is written.
func TestEnrolSameKeyInOtherBytes(t *testing.T) {
	t.Parallel()
	certs, _, _ := newCertificates(t)
	ca := newCA(t, ecKey(t, elliptic.P256()), nil)
	mustRegisterCA(t, certs, pki.CARegistration{Certificate: ca.pem, Mode: pki.ModeSNIOnly, Active: true, AutoRegister: true})
	key := ecKey(t, elliptic.P256()).Public()
	_, first := ca.issue(t, "pump", key, nil)
	e, err := certs.Enrol(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	if err := certs.SetStatus(t.Context(), string(e.ID), pki.Revoked); err != nil {
		t.Fatal(err)
	}
	_, second := ca.issue(t, "pump", key, nil)
	_, err = certs.Enrol(t.Context(), ca.reworded(t, second))
	wantKind(t, "its key in other bytes", err, iot.KindDenied, "certificate")
}

// reworded signs a certificate anew, its key with something behind the algorithm
// that parsers overlook.
func (ca *testCA) reworded(t *testing.T, cert *x509.Certificate) *x509.Certificate {
	t.Helper()
	parts := func(der []byte) (list []asn1.RawValue) {
		t.Helper()
		if _, err := asn1.Unmarshal(der, &list); err != nil {
			t.Fatal(err)
		}
		return list
	}
	join := func(list ...asn1.RawValue) []byte {
		t.Helper()
		der, err := asn1.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	tbs := parts(cert.RawTBSCertificate)
	key := parts(tbs[6].FullBytes)
	key[0] = asn1.RawValue{FullBytes: join(append(parts(key[0].FullBytes), asn1.NullRawValue)...)}
	tbs[6] = asn1.RawValue{FullBytes: join(key...)}
	signed := join(tbs...)
	sum := sha256.Sum256(signed)
	signature, err := ca.key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	bits, err := asn1.Marshal(asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)})
	if err != nil {
		t.Fatal(err)
	}
	again, err := x509.ParseCertificate(join(asn1.RawValue{FullBytes: signed}, tbs[2], asn1.RawValue{FullBytes: bits}))
	if err != nil {
		t.Fatal(err)
	}
	if string(again.RawSubjectPublicKeyInfo) == string(cert.RawSubjectPublicKeyInfo) {
		t.Fatal("the key is written as before")
	}
	return again
}
