package pki_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/pki"
)

// testCA is a CA of somebody else.
type testCA struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  string
}

func newCA(t *testing.T, key crypto.Signer, change func(*x509.Certificate)) *testCA {
	t.Helper()
	c := &x509.Certificate{
		SerialNumber: serialNumber(t), Subject: pkix.Name{CommonName: "Plant CA"}, NotBefore: day().Add(-time.Hour), NotAfter: day().AddDate(5, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if change != nil {
		change(c)
	}
	ca := &testCA{key: key}
	ca.pem, ca.cert = sign(t, c, c, key.Public(), key)
	return ca
}

// issue signs a certificate for a common name.
func (ca *testCA) issue(t *testing.T, name string, public crypto.PublicKey, change func(*x509.Certificate)) (string, *x509.Certificate) {
	t.Helper()
	c := &x509.Certificate{SerialNumber: serialNumber(t), Subject: pkix.Name{CommonName: name}, NotBefore: day().Add(-time.Hour), NotAfter: day().AddDate(1, 0, 0)}
	if change != nil {
		change(c)
	}
	return sign(t, c, ca.cert, public, ca.key)
}

func sign(t *testing.T, c, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) (string, *x509.Certificate) {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return pki.EncodePEM(der), cert
}

func serialNumber(t *testing.T) *big.Int {
	t.Helper()
	n, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// day is when the clock of these tests begins.
func day() time.Time { return newClock().now() }

func mustRegisterCA(t *testing.T, certs *pki.Certificates, in pki.CARegistration) iot.CertificateID {
	t.Helper()
	r, err := certs.RegisterCA(t.Context(), &in)
	if err != nil {
		t.Fatal(err)
	}
	return r.ID
}

// wantKind checks an error's kind and resource.
func wantKind(t *testing.T, what string, err error, kind iot.Kind, resource string) {
	t.Helper()
	e, ok := err.(*iot.Error) //nolint:errorlint // services return it as it is
	if !ok || e.Kind != kind || e.Resource != resource || e.Message == "" {
		t.Errorf("%s: %v, want %s %s", what, err, kind, resource)
	}
}

func TestRegisterCA(t *testing.T) {
	t.Parallel()
	certs, _, _ := newCertificates(t)
	ctx := t.Context()
	ca := newCA(t, ecKey(t, elliptic.P384()), nil)
	other := newCA(t, ecKey(t, elliptic.P256()), nil)
	code, err := certs.RegistrationCode(ctx)
	if err != nil || !iot.ValidCertificateID(code) {
		t.Fatalf("code %q, %v", code, err)
	}
	if again, err := certs.RegistrationCode(ctx); err != nil || again != code {
		t.Errorf("the code changed: %q, %v", again, err)
	}
	key := ecKey(t, elliptic.P256()).Public()
	proof, _ := ca.issue(t, code, key, nil)
	foreign, _ := other.issue(t, code, key, nil)
	wrong, _ := ca.issue(t, code[1:], key, nil)
	old, _ := ca.issue(t, code, key, func(c *x509.Certificate) { c.NotAfter = day().Add(-time.Minute) })
	for what, c := range map[string]struct {
		in       pki.CARegistration
		resource string
	}{
		"no proof":          {pki.CARegistration{Certificate: ca.pem}, "ca-certificate"},
		"needless proof":    {pki.CARegistration{Certificate: ca.pem, Verification: proof, Mode: pki.ModeSNIOnly}, "ca-certificate"},
		"mode":              {pki.CARegistration{Certificate: ca.pem, Verification: proof, Mode: "X"}, "ca-certificate"},
		"foreign proof":     {pki.CARegistration{Certificate: ca.pem, Verification: foreign}, "certificate-validation"},
		"wrong code":        {pki.CARegistration{Certificate: ca.pem, Verification: wrong}, "registration-code"},
		"old proof":         {pki.CARegistration{Certificate: ca.pem, Verification: old}, "certificate-validation"},
		"proof is garbage":  {pki.CARegistration{Certificate: ca.pem, Verification: "x"}, "certificate-validation"},
		"CA is garbage":     {pki.CARegistration{Certificate: "x", Mode: pki.ModeSNIOnly}, "certificate-validation"},
		"empty":             {pki.CARegistration{Mode: pki.ModeSNIOnly}, "certificate-validation"},
		"two":               {pki.CARegistration{Certificate: ca.pem + other.pem, Mode: pki.ModeSNIOnly}, "certificate-validation"},
		"a certificate":     {pki.CARegistration{Certificate: proof, Mode: pki.ModeSNIOnly}, "certificate-validation"},
		"expired":           {pki.CARegistration{Certificate: newCA(t, ca.key, func(c *x509.Certificate) { c.NotAfter = day().Add(-time.Minute) }).pem, Mode: pki.ModeSNIOnly}, "certificate-validation"},
		"key usage":         {pki.CARegistration{Certificate: newCA(t, ca.key, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }).pem, Mode: pki.ModeSNIOnly}, "certificate-validation"},
		"curve":             {pki.CARegistration{Certificate: newCA(t, ecKey(t, elliptic.P224()), nil).pem, Mode: pki.ModeSNIOnly}, "certificate-validation"},
		"no basicConstrain": {pki.CARegistration{Certificate: newCA(t, ca.key, func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = false, false }).pem, Mode: pki.ModeSNIOnly}, "certificate-validation"},
	} {
		_, err := certs.RegisterCA(ctx, &c.in)
		wantKind(t, what, err, iot.KindInvalid, c.resource)
	}
	id := mustRegisterCA(t, certs, pki.CARegistration{Certificate: ca.pem, Verification: proof})
	_, err = certs.RegisterCA(ctx, &pki.CARegistration{Certificate: ca.pem, Mode: pki.ModeSNIOnly})
	wantKind(t, "twice", err, iot.KindExists, "ca-certificate")
	if e := err.(*iot.Error); e.ID != string(id) || e.ARN != string(certs.CAARN(id)) { //nolint:errorlint,forcetypeassert // as above
		t.Errorf("%+v", e)
	}
	d, err := certs.DescribeCA(ctx, string(id))
	if err != nil || d.Status != pki.Inactive || d.Mode != pki.ModeDefault || d.AutoRegistration || d.CustomerVersion != 1 || pki.EncodePEM(d.DER) != ca.pem {
		t.Errorf("%+v, %v", d, err)
	}
	if err := certs.DeleteRegistrationCode(ctx); err != nil {
		t.Error(err)
	}
	wantKind(t, "no code", certs.DeleteRegistrationCode(ctx), iot.KindNotFound, "registration-code")
	if next, err := certs.RegistrationCode(ctx); err != nil || next == code {
		t.Errorf("the deleted code came back: %v", err)
	}
}

func TestCALife(t *testing.T) {
	t.Parallel()
	certs, _, _ := newCertificates(t)
	ctx := t.Context()
	key := ecKey(t, elliptic.P521())
	var last iot.CertificateID
	for range 10 {
		last = mustRegisterCA(t, certs, pki.CARegistration{Certificate: newCA(t, key, nil).pem, Mode: pki.ModeSNIOnly, Active: true, AutoRegister: true})
	}
	_, err := certs.RegisterCA(ctx, &pki.CARegistration{Certificate: newCA(t, key, nil).pem, Mode: pki.ModeSNIOnly})
	wantKind(t, "the eleventh of a subject", err, iot.KindLimit, "ca-certificate")
	seen, marker := map[iot.CertificateID]bool{}, ""
	for range 4 {
		list, next, err := certs.ListCAs(ctx, true, 3, marker)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list {
			seen[r.ID] = true
		}
		marker = next
	}
	if len(seen) != 10 || marker != "" {
		t.Errorf("%d listed, marker %q", len(seen), marker)
	}
	if _, _, err := certs.ListCAs(ctx, true, 251, ""); !iot.IsKind(err, iot.KindInvalid) {
		t.Error(err)
	}
	id := string(last)
	wantKind(t, "deleting an active one", certs.DeleteCA(ctx, id), iot.KindState, "certificate")
	wantKind(t, "status", certs.UpdateCA(ctx, id, pki.CAUpdate{Status: new(pki.Revoked)}), iot.KindInvalid, "ca-certificate")
	for range 2 {
		if err := certs.UpdateCA(ctx, "0x"+strings.ToUpper(id), pki.CAUpdate{Status: new(pki.Inactive), AutoRegister: new(false)}); err != nil {
			t.Fatal(err)
		}
	}
	if d, err := certs.DescribeCA(ctx, id); err != nil || d.Status != pki.Inactive || d.AutoRegistration || d.CustomerVersion != 2 {
		t.Errorf("%+v, %v", d, err)
	}
	if err := certs.DeleteCA(ctx, id); err != nil {
		t.Error(err)
	}
	for what, err := range map[string]error{
		"describe": second(certs.DescribeCA(ctx, id)), "update": certs.UpdateCA(ctx, id, pki.CAUpdate{}), "delete": certs.DeleteCA(ctx, id),
	} {
		wantKind(t, what, err, iot.KindNotFound, "ca-certificate")
	}
}

func TestRegister(t *testing.T) {
	t.Parallel()
	certs, _, _ := newCertificates(t)
	ctx := t.Context()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ca := newCA(t, rsaKey, nil)
	caID := mustRegisterCA(t, certs, pki.CARegistration{Certificate: ca.pem, Mode: pki.ModeSNIOnly})
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		text, cert := ca.issue(t, "pump", ecKey(t, curve).Public(), nil)
		_, err := certs.Register(ctx, &pki.Registration{Certificate: text})
		wantKind(t, "CA not active", err, iot.KindState, "certificate")
		if err := certs.UpdateCA(ctx, string(caID), pki.CAUpdate{Status: new(pki.Active)}); err != nil {
			t.Fatal(err)
		}
		id, err := certs.Register(ctx, &pki.Registration{Certificate: text, CA: ca.pem, Status: pki.Active})
		if err != nil {
			t.Fatal(err)
		}
		found, err := certs.LookupDER(ctx, cert.Raw)
		if err != nil || found.ID != id || found.Status != pki.Active {
			t.Errorf("%+v, %v", found, err)
		}
		if d, err := certs.Describe(ctx, string(id)); err != nil || d.CAID != caID || d.Mode != pki.ModeSNIOnly || pki.EncodePEM(d.DER) != text {
			t.Errorf("%+v, %v", d, err)
		}
		_, err = certs.RegisterWithoutCA(ctx, &pki.Registration{Certificate: text})
		wantKind(t, "twice", err, iot.KindExists, "certificate")
		if e := err.(*iot.Error); e.ID != string(id) || e.ARN != string(certs.ARN(id)) { //nolint:errorlint,forcetypeassert // as above
			t.Errorf("%+v", e)
		}
		if err := certs.UpdateCA(ctx, string(caID), pki.CAUpdate{Status: new(pki.Inactive)}); err != nil {
			t.Fatal(err)
		}
	}
	if list, next, err := certs.ListByCA(ctx, string(caID), false, 2, ""); err != nil || len(list) != 2 || next == "" {
		t.Errorf("%d of the CA, %v", len(list), err)
	}
	if list, _, err := certs.ListByCA(ctx, strings.Repeat("0", 64), false, 2, ""); err != nil || len(list) != 0 {
		t.Errorf("%d of no CA, %v", len(list), err)
	}
	// Whoever signed it, and whether it is valid yet, does not matter without a CA.
	stranger := newCA(t, ecKey(t, elliptic.P256()), func(c *x509.Certificate) { c.Subject.CommonName = "Somebody" })
	text, _ := stranger.issue(t, "pump", rsaKey.Public(), func(c *x509.Certificate) { c.NotBefore, c.NotAfter = day().AddDate(1, 0, 0), day().AddDate(2, 0, 0) })
	id, err := certs.RegisterWithoutCA(ctx, &pki.Registration{Certificate: text, Status: pki.Active})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := certs.Lookup(ctx, id); err != nil {
		t.Error(err)
	} else if ok, why := c.Usable(day()); ok || why != "the certificate is not valid yet" {
		t.Errorf("usable: %v, %s", ok, why)
	}
}

func TestRegisterRefuses(t *testing.T) {
	t.Parallel()
	certs, _, c := newCertificates(t)
	ctx := t.Context()
	key := ecKey(t, elliptic.P256())
	ca, twin := newCA(t, key, nil), newCA(t, key, nil) // one subject, one key
	stranger := newCA(t, ecKey(t, elliptic.P256()), nil)
	for _, text := range []string{ca.pem, twin.pem} {
		mustRegisterCA(t, certs, pki.CARegistration{Certificate: text, Mode: pki.ModeSNIOnly, Active: true})
	}
	text, _ := ca.issue(t, "pump", ecKey(t, elliptic.P256()).Public(), nil)
	strange, _ := stranger.issue(t, "pump", ecKey(t, elliptic.P256()).Public(), nil)
	weak, _ := ca.issue(t, "pump", ecKey(t, elliptic.P224()).Public(), nil)
	invalid, conflict := iot.KindInvalid, iot.KindConflict
	for what, x := range map[string]struct {
		in       pki.Registration
		kind     iot.Kind
		resource string
	}{
		"ambiguous":          {pki.Registration{Certificate: text}, conflict, "certificate-conflict"},
		"pending transfer":   {pki.Registration{Certificate: text, Status: pki.PendingTransfer}, invalid, "certificate"},
		"pending activation": {pki.Registration{Certificate: text, Status: pki.PendingActivation}, invalid, "certificate"},
		"no status":          {pki.Registration{Certificate: text, Status: "active"}, invalid, "certificate"},
		"garbage":            {pki.Registration{Certificate: "x"}, invalid, "certificate-validation"},
		"no certificate":     {pki.Registration{}, invalid, "certificate-validation"},
		"foreign":            {pki.Registration{Certificate: strange}, invalid, "certificate-validation"},
		"foreign CA":         {pki.Registration{Certificate: strange, CA: stranger.pem}, invalid, "certificate-validation"},
		"other CA":           {pki.Registration{Certificate: text, CA: stranger.pem}, invalid, "certificate-validation"},
		"CA garbage":         {pki.Registration{Certificate: text, CA: "x"}, invalid, "certificate-validation"},
		"weak":               {pki.Registration{Certificate: weak, CA: ca.pem}, invalid, "certificate-validation"},
		"RSA 1024 CSR":       {pki.Registration{Certificate: rsa1024CSR}, invalid, "certificate-validation"},
	} {
		_, err := certs.Register(ctx, &x.in)
		wantKind(t, what, err, x.kind, x.resource)
	}
	if _, err := certs.Register(ctx, &pki.Registration{Certificate: text, CA: twin.pem}); err != nil {
		t.Errorf("with the CA named: %v", err)
	}
	c.at = c.at.AddDate(6, 0, 0)
	late, _ := ca.issue(t, "pump", key.Public(), nil)
	_, err := certs.Register(ctx, &pki.Registration{Certificate: late, CA: ca.pem})
	wantKind(t, "expired CA", err, invalid, "certificate-validation")
}

// flipped is a certificate with the other signature that ECDSA has for it.
func flipped(t *testing.T, cert *x509.Certificate, order *big.Int) *x509.Certificate {
	t.Helper()
	var outer struct {
		TBS, Algorithm asn1.RawValue
		Signature      asn1.BitString
	}
	var sig struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(cert.Raw, &outer); err != nil {
		t.Fatal(err)
	}
	if _, err := asn1.Unmarshal(outer.Signature.Bytes, &sig); err != nil {
		t.Fatal(err)
	}
	sig.S.Sub(order, sig.S)
	b, err := asn1.Marshal(sig)
	if err != nil {
		t.Fatal(err)
	}
	outer.Signature = asn1.BitString{Bytes: b, BitLength: 8 * len(b)}
	if b, err = asn1.Marshal(outer); err != nil {
		t.Fatal(err)
	}
	twin, err := x509.ParseCertificate(b)
	if err != nil {
		t.Fatal(err)
	}
	return twin
}

func TestEnrol(t *testing.T) {
	t.Parallel()
	certs, _, c := newCertificates(t)
	ctx := t.Context()
	ca := newCA(t, ecKey(t, elliptic.P256()), nil)
	_, cert := ca.issue(t, "pump", ecKey(t, elliptic.P256()).Public(), nil)
	enrol := func(cert *x509.Certificate) error { _, err := certs.Enrol(ctx, cert); return err }
	wantKind(t, "no CA", enrol(cert), iot.KindNotFound, "ca-certificate")
	caID := string(mustRegisterCA(t, certs, pki.CARegistration{Certificate: ca.pem, Mode: pki.ModeSNIOnly}))
	wantKind(t, "inactive CA", enrol(cert), iot.KindNotFound, "ca-certificate")
	update := func(u pki.CAUpdate) {
		t.Helper()
		if err := certs.UpdateCA(ctx, caID, u); err != nil {
			t.Fatal(err)
		}
	}
	update(pki.CAUpdate{Status: new(pki.Active)})
	wantKind(t, "CA without automatic registration", enrol(cert), iot.KindNotFound, "ca-certificate")
	update(pki.CAUpdate{AutoRegister: new(true)})
	_, expired := ca.issue(t, "pump", cert.PublicKey, func(c *x509.Certificate) { c.NotAfter = day().Add(-time.Second) })
	wantKind(t, "expired", enrol(expired), iot.KindDenied, "certificate")
	_, weak := ca.issue(t, "pump", ecKey(t, elliptic.P224()).Public(), nil)
	wantKind(t, "weak key", enrol(weak), iot.KindDenied, "certificate")

	e, err := certs.Enrol(ctx, cert)
	if err != nil || e.Status != pki.PendingActivation || string(e.CAID) != caID || e.ID != pki.CertificateID(cert.Raw) || e.ARN != certs.ARN(e.ID) {
		t.Fatalf("%+v, %v", e, err)
	}
	wantKind(t, "twice", enrol(cert), iot.KindExists, "certificate")
	if p, err := certs.Pending(ctx, e.ID); err != nil || p.ID != e.ID {
		t.Errorf("pending: %v", err)
	}
	n := elliptic.P256().Params().N
	wantKind(t, "twin of one that waits", enrol(flipped(t, cert, n)), iot.KindDenied, "certificate")
	_, next := ca.issue(t, "pump", cert.PublicKey, nil)
	if err := enrol(next); err != nil {
		t.Errorf("the same key again: %v", err)
	}
	if err := certs.SetStatus(ctx, string(e.ID), pki.Revoked); err != nil {
		t.Fatal(err)
	}
	if _, err := certs.Pending(ctx, e.ID); !iot.IsKind(err, iot.KindNotFound) {
		t.Errorf("pending though revoked: %v", err)
	}
	_, third := ca.issue(t, "pump", cert.PublicKey, nil)
	wantKind(t, "twin of a revoked one", enrol(flipped(t, cert, n)), iot.KindDenied, "certificate")
	wantKind(t, "its key", enrol(third), iot.KindDenied, "certificate")
	deleted := func(want bool) {
		t.Helper()
		for what, x := range map[string]*x509.Certificate{"itself": cert, "its twin": flipped(t, cert, n)} {
			if is, err := certs.Deleted(ctx, pki.EncodePEM(x.Raw)); err != nil || is != (want || what == "its twin") {
				t.Errorf("%s deleted: %v, %v", what, is, err)
			}
		}
	}
	deleted(false)
	if err := certs.Delete(ctx, string(e.ID), true); err != nil {
		t.Fatal(err)
	}
	deleted(true)
	if is, err := certs.Deleted(ctx, pki.EncodePEM(third.Raw)); err != nil || is {
		t.Errorf("another one of its key is deleted: %v, %v", is, err)
	}
	wantKind(t, "deleted", enrol(cert), iot.KindDenied, "certificate")
	wantKind(t, "twin of a deleted one", enrol(flipped(t, cert, n)), iot.KindDenied, "certificate")
	_, fresh := ca.issue(t, "pump2", ecKey(t, elliptic.P256()).Public(), nil)
	c.at = c.at.AddDate(6, 0, 0)
	wantKind(t, "expired CA", enrol(fresh), iot.KindNotFound, "ca-certificate")
}

// Registering as revoked buries.
func TestRegisterRevoked(t *testing.T) {
	t.Parallel()
	certs, _, _ := newCertificates(t)
	ca := newCA(t, ecKey(t, elliptic.P256()), nil)
	text, cert := ca.issue(t, "pump", ecKey(t, elliptic.P256()).Public(), nil)
	if _, err := certs.RegisterWithoutCA(t.Context(), &pki.Registration{Certificate: text, Status: pki.Revoked}); err != nil {
		t.Fatal(err)
	}
	if is, err := certs.Buried(t.Context(), flipped(t, cert, elliptic.P256().Params().N)); err != nil || !is {
		t.Errorf("buried: %v, %v", is, err)
	}
}

func FuzzParseCertificate(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a"}, NotAfter: time.Unix(1<<31, 0)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pki.EncodePEM(der))
	f.Add("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n")
	f.Fuzz(func(t *testing.T, text string) {
		cert, err := pki.ParseCertificate(text, "certificate")
		if err != nil {
			if !iot.IsKind(err, iot.KindInvalid) {
				t.Errorf("%v", err)
			}
			return
		}
		again, err := pki.ParseCertificate(pki.EncodePEM(cert.Raw), "certificate")
		if err != nil || !again.Equal(cert) {
			t.Errorf("what was read does not read again: %v", err)
		}
	})
}
