package pki_test

import (
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/pki"
)

func selfSigned(t *testing.T, tmpl *x509.Certificate) *x509.Certificate {
	t.Helper()
	key, err := ecKeyOf(elliptic.P256())
	if err != nil {
		t.Fatal(err)
	}
	tmpl.NotBefore, tmpl.NotAfter = time.Unix(0, 0), time.Unix(1e9, 0)
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func attribute(n int, v string) pkix.AttributeTypeAndValue {
	return pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, n}, Value: v}
}

// TestFacts follows https://docs.aws.amazon.com/iot/latest/developerguide/cert-policy-variables.html.
func TestFacts(t *testing.T) {
	t.Parallel()
	uri, err := url.Parse("urn:pump:1")
	if err != nil {
		t.Fatal(err)
	}
	issuerAlternative, err := asn1.Marshal([]asn1.RawValue{{Class: 2, Tag: 2, Bytes: []byte("ca.example.com")}, {Class: 2, Tag: 9, Bytes: []byte("x")}})
	if err != nil {
		t.Fatal(err)
	}
	cert := selfSigned(t, &x509.Certificate{
		SerialNumber: big.NewInt(0xabc),
		Subject: pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{
			attribute(3, "pump-1"), attribute(6, "JP"), attribute(10, "Example Corp"), attribute(10, "AnyCompany"), attribute(11, "a"), attribute(11, "b"),
			attribute(11, "c"), attribute(11, "d"), attribute(11, "e"), attribute(11, "f"), attribute(8, "Tokyo"), attribute(5, "987"), attribute(12, "T"),
			attribute(4, "S"), attribute(42, "G"), attribute(43, "I"), attribute(65, strings.Repeat("p", 1025)), attribute(44, "2"), attribute(46, "dq"), attribute(7, "city"),
		}},
		DNSNames: []string{"a.example.com", "b.example.com"}, EmailAddresses: []string{"a@example.com"}, IPAddresses: []net.IP{{192, 0, 2, 1}}, URIs: []*url.URL{uri},
		ExtraExtensions: []pkix.Extension{{Id: []int{2, 5, 29, 18}, Value: issuerAlternative}},
	})
	f := pki.NewFacts("id", cert)
	for key, want := range map[string]string{
		"iot:certificateid": "id", "iot:certificate.serialnumber": "0abc",
		"iot:certificate.subject.commonname": "pump-1", "iot:certificate.subject.commonname.0": "pump-1", "iot:certificate.subject.commonname.1": "",
		"iot:certificate.subject.organization": "Example Corp", "iot:certificate.subject.organization.1": "AnyCompany", "iot:certificate.subject.organization.2": "",
		"iot:certificate.subject.organizationalunit.4": "e", "iot:certificate.subject.organizationalunit.5": "",
		"iot:certificate.subject.country": "JP", "iot:certificate.subject.state": "Tokyo", "iot:certificate.subject.serialnumber": "987",
		"iot:certificate.subject.title": "T", "iot:certificate.subject.surname": "S", "iot:certificate.subject.givenname": "G",
		"iot:certificate.subject.initials": "I", "iot:certificate.subject.pseudonym": "", "iot:certificate.subject.generationqualifier": "2",
		"iot:certificate.subject.distinguishednamequalifier": "dq", "iot:certificate.subject.locality": "", "iot:certificate.issuer.commonname": "pump-1",
		"iot:certificate.subject.alternativename.dnsname": "a.example.com", "iot:certificate.subject.alternativename.dnsname.1": "b.example.com",
		"iot:certificate.subject.alternativename.rfc822name": "a@example.com", "iot:certificate.subject.alternativename.ipaddress": "192.0.2.1",
		"iot:certificate.subject.alternativename.uniformresourceidentifier": "urn:pump:1", "iot:certificate.subject.alternativename.directoryname": "",
		"iot:certificate.issuer.alternativename.dnsname": "ca.example.com",
	} {
		got := f.Lookup(key)
		if got.One != want || got.Set != (want != "") || got.Set == (got.Why != "") {
			t.Errorf("%s: %+v, want %q", key, got, want)
		}
	}
	if got := f.Lookup("iot:certificate.subject.organization.list"); !slices.Equal(got.Many, []string{"Example Corp", "AnyCompany"}) {
		t.Errorf("list %+v", got)
	}
	available := f.Lookup("iot:certificate.availablekeys").Many
	for name, want := range map[string]bool{
		"iot:Certificate.Subject.CommonName": true, "iot:Certificate.Issuer.Organization": true, "iot:Certificate.Subject.AlternativeName.DNSName": true,
		"iot:Certificate.SerialNumber": true, "iot:Certificate.Subject.Pseudonym": false, "iot:CertificateId": false,
	} {
		if slices.Contains(available, name) != want {
			t.Errorf("available keys hold %s: %v", name, !want)
		}
	}
}

func FuzzFacts(f *testing.F) {
	f.Add([]byte{0x30, 0}, []byte{0x30, 0x05, 0x82, 3, 'a', '.', 'b'})
	f.Fuzz(func(_ *testing.T, name, extension []byte) {
		pki.NewFacts("id", &x509.Certificate{
			RawIssuer: name, RawSubject: name, SerialNumber: big.NewInt(1),
			Extensions: []pkix.Extension{{Id: []int{2, 5, 29, 17}, Value: extension}},
		}).Lookup("iot:certificate.availablekeys")
	})
}

func FuzzSigningRequest(f *testing.F) {
	f.Add(rsa1024CSR)
	f.Add("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n")
	f.Fuzz(func(t *testing.T, text string) {
		if csr, err := pki.ParseCSR(text); (csr == nil) == (err == nil) {
			t.Errorf("%v, %v", csr, err)
		}
	})
}
