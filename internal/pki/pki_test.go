package pki_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/pki"
	"github.com/sekisho-iot/sekisho/internal/sqlstore"
)

type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newClock() *clock { return &clock{time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)} }

func openAuthority(t *testing.T, dir string, c *clock) *pki.Authority {
	t.Helper()
	a, err := pki.Open(dir, c.now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newCertificates(t *testing.T) (*pki.Certificates, *pki.Authority, *clock) {
	t.Helper()
	var certs *pki.Certificates
	dir, c := t.TempDir(), newClock()
	db, err := sqlstore.Open(t.Context(), sqlstore.Config{Path: filepath.Join(dir, "test.db"), OnChange: func(ch iot.Change) { certs.Invalidate(ch) }})
	if err != nil {
		t.Fatal(err)
	}
	keys := pki.NewKeyPool(1, time.Hour, rand.Reader, nil)
	t.Cleanup(func() {
		keys.Close()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	a := openAuthority(t, dir, c)
	certs = pki.New(pki.Config{
		Store: db.Certificates(), CAs: db.Certificates(), Authority: a, Keys: keys, Account: "000000000000", Region: "us-east-1", Now: c.now, Rand: rand.Reader,
	})
	return certs, a, c
}

func parse(t *testing.T, text string) *x509.Certificate {
	t.Helper()
	block, rest := pem.Decode([]byte(text))
	if block == nil || len(rest) != 0 {
		t.Fatalf("not one PEM block: %q", text)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// intermediates are the files of the authority's folder that sign.
func intermediates(t *testing.T, a *pki.Authority) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	for _, name := range []string{"servers-ca.pem", "devices-ca.pem"} {
		b, err := os.ReadFile(filepath.Join(filepath.Dir(a.RootFile()), name))
		if err != nil || !pool.AppendCertsFromPEM(b) {
			t.Fatal(name, err)
		}
	}
	return pool
}

func TestAuthorityIsMadeOnceAndKept(t *testing.T) {
	t.Parallel()
	dir, c := t.TempDir(), newClock()
	if err := os.MkdirAll(filepath.Join(dir, "pki.new-crash", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	first, second := openAuthority(t, dir, c), openAuthority(t, dir, c)
	if !bytes.Equal(first.RootPEM(), second.RootPEM()) {
		t.Error("the root changed")
	}
	if b, err := os.ReadFile(first.RootFile()); err != nil || !bytes.Equal(b, first.RootPEM()) {
		t.Errorf("the root's file: %v", err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "pki", "*"))
	if err != nil || len(names) != 6 {
		t.Errorf("files %v, %v", names, err)
	}
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, ".key") && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", name, info.Mode())
		}
	}
	root := parse(t, string(first.RootPEM()))
	if !root.IsCA || root.NotAfter.Year() != 2049 || root.CheckSignatureFrom(root) != nil {
		t.Errorf("root: %+v", root.Subject)
	}
	if leftovers, err := filepath.Glob(filepath.Join(dir, "pki.new-*")); err != nil || len(leftovers) != 0 {
		t.Errorf("left over: %v, %v", leftovers, err)
	}
}

func TestADamagedAuthorityIsRefused(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"root-ca.pem", "devices-ca.key", "servers-ca.pem"} {
		dir, c := t.TempDir(), newClock()
		openAuthority(t, dir, c)
		if err := os.WriteFile(filepath.Join(dir, "pki", name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := pki.Open(dir, c.now, rand.Reader); err == nil {
			t.Errorf("opened with a damaged %s", name)
		}
	}
}

func TestServerCertificate(t *testing.T) {
	t.Parallel()
	dir, c := t.TempDir(), newClock()
	a := openAuthority(t, dir, c)
	get := func(a *pki.Authority, hosts ...string) *tls.Certificate {
		t.Helper()
		s, err := a.Server(hosts, "eu-west-1")
		if err != nil {
			t.Fatal(err)
		}
		cert, err := s.Certificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	first := get(a, "Things.Example.com.", "192.0.2.7", "localhost")
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(a.RootPEM())
	chain := x509.NewCertPool()
	for _, der := range first.Certificate[1:] {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		chain.AddCert(cert)
	}
	for _, name := range []string{
		"localhost", "127.0.0.1", "::1", "192.0.2.7", "things.example.com", "x.things.example.com",
		"s3.eu-west-1.things.example.com", "bucket.s3.eu-west-1.things.example.com", "bucket.localhost", "b.s3.eu-west-1.localhost",
	} {
		_, err := first.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: chain, CurrentTime: c.now()})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if first.Leaf.VerifyHostname("example.com") == nil {
		t.Error("it names a host that is not ours")
	}
	if again := get(openAuthority(t, dir, c), "things.example.com", "192.0.2.7", "localhost"); !bytes.Equal(again.Certificate[0], first.Certificate[0]) {
		t.Error("the same names made another certificate")
	}
	other := get(a, "other.example.com")
	if other.Leaf.VerifyHostname("things.example.com") == nil || other.Leaf.VerifyHostname("other.example.com") != nil {
		t.Error("other names did not make another certificate")
	}
}

func TestServerCertificateRenewsItself(t *testing.T) {
	t.Parallel()
	dir, c := t.TempDir(), newClock()
	s, err := openAuthority(t, dir, c).Server([]string{"localhost"}, "us-east-1")
	if err != nil {
		t.Fatal(err)
	}
	first, err := s.Certificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	c.at = c.at.Add(200 * 24 * time.Hour)
	if again, err := s.Certificate(nil); err != nil || again != first {
		t.Errorf("renewed too early: %v", err)
	}
	c.at = first.Leaf.NotAfter.Add(-24 * time.Hour)
	again, err := s.Certificate(nil)
	if err != nil || again == first || !again.Leaf.NotAfter.After(c.at.Add(300*24*time.Hour)) {
		t.Errorf("not renewed: %v", err)
	}
	reopened, err := openAuthority(t, dir, c).Server([]string{"localhost"}, "us-east-1")
	if err != nil {
		t.Fatal(err)
	}
	if kept, err := reopened.Certificate(nil); err != nil || !bytes.Equal(kept.Certificate[0], again.Certificate[0]) {
		t.Errorf("the renewed certificate was not kept: %v", err)
	}
}

// A disk that takes nothing keeps nobody from getting a new certificate, and
// what could not be written is written later.
func TestServerCertificateOnAFullDisk(t *testing.T) {
	t.Parallel()
	dir, c := t.TempDir(), newClock()
	s, err := openAuthority(t, dir, c).Server([]string{"localhost"}, "us-east-1")
	if err != nil {
		t.Fatal(err)
	}
	first, err := s.Certificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	obstacle := filepath.Join(dir, "pki", "server.key.new")
	if err := os.Mkdir(obstacle, 0o700); err != nil {
		t.Fatal(err)
	}
	c.at = c.at.AddDate(1, 0, 0)
	second, err := s.Certificate(nil)
	if err != nil || second == first {
		t.Fatalf("not renewed: %v", err)
	}
	if err := s.Renew(); err == nil {
		t.Error("that the certificate could not be kept is not said")
	}
	if started, err := openAuthority(t, dir, c).Server([]string{"localhost"}, "us-east-1"); err != nil {
		t.Errorf("a start: %v", err)
	} else if k, err := started.Certificate(nil); err != nil || k.Leaf.NotAfter.Before(c.at) {
		t.Errorf("what a start shows: %v", err)
	}
	if err := os.Remove(obstacle); err != nil {
		t.Fatal(err)
	}
	if err := s.Renew(); err != nil {
		t.Error(err)
	}
	if third, err := s.Certificate(nil); err != nil || third != second {
		t.Errorf("renewed once more: %v", err)
	}
	kept, err := openAuthority(t, dir, c).Server([]string{"localhost"}, "us-east-1")
	if err != nil {
		t.Fatal(err)
	}
	if k, err := kept.Certificate(nil); err != nil || !bytes.Equal(k.Certificate[0], second.Certificate[0]) {
		t.Errorf("what is on the disk is another: %v", err)
	}
}

// At the end of its issuer a certificate is not made anew with every handshake.
func TestServerCertificateEndsWithItsIssuer(t *testing.T) {
	t.Parallel()
	dir, c := t.TempDir(), newClock()
	s, err := openAuthority(t, dir, c).Server([]string{"localhost"}, "us-east-1")
	if err != nil {
		t.Fatal(err)
	}
	c.at = time.Date(2049, 11, 1, 0, 0, 0, 0, time.UTC)
	first, err := s.Certificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.Certificate(nil); err != nil || again != first {
		t.Errorf("made anew: %v", err)
	}
}

func TestCreateKeysAndCertificate(t *testing.T) {
	t.Parallel()
	certs, a, c := newCertificates(t)
	issued, err := certs.CreateKeysAndCertificate(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	cert := parse(t, issued.PEM)
	if issued.ID != pki.CertificateID(cert.Raw) || !iot.ValidCertificateID(string(issued.ID)) {
		t.Errorf("id %s", issued.ID)
	}
	if cert.Subject.String() != "CN=AWS IoT Certificate" || !cert.NotAfter.Equal(time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC)) || !cert.NotBefore.Before(c.now()) {
		t.Errorf("subject %s, valid %s to %s", cert.Subject, cert.NotBefore, cert.NotAfter)
	}
	if n := len(cert.SerialNumber.Bytes()); n != 20 || cert.SerialNumber.Sign() <= 0 {
		t.Errorf("serial of %d octets", n)
	}
	if _, err := tls.X509KeyPair([]byte(issued.PEM), []byte(issued.PrivateKey)); err != nil {
		t.Error(err)
	}
	if !strings.HasPrefix(issued.PrivateKey, "-----BEGIN RSA PRIVATE KEY-----\n") || !strings.HasPrefix(issued.PublicKey, "-----BEGIN PUBLIC KEY-----\n") {
		t.Error("the PEM types are not AWS's")
	}
	if key, ok := cert.PublicKey.(*rsa.PublicKey); !ok || key.N.BitLen() != 2048 {
		t.Errorf("key %T", cert.PublicKey)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(a.RootPEM())
	for usage, want := range map[x509.ExtKeyUsage]bool{x509.ExtKeyUsageClientAuth: true, x509.ExtKeyUsageServerAuth: false} {
		_, err := cert.Verify(x509.VerifyOptions{
			Roots: roots, Intermediates: intermediates(t, a), CurrentTime: c.now(), KeyUsages: []x509.ExtKeyUsage{usage},
		})
		if (err == nil) != want {
			t.Errorf("usage %d: %v", usage, err)
		}
	}
	r, err := certs.Describe(t.Context(), string(issued.ID))
	if err != nil || r.Status != pki.Inactive || r.CustomerVersion != 1 || len(r.GenerationID) != 36 || r.Owner != "000000000000" || r.Mode != pki.ModeDefault {
		t.Errorf("%+v, %v", r, err)
	}
}

func csr(t *testing.T, key crypto.Signer, tmpl x509.CertificateRequest) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &tmpl, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func ecKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecKeyOf(curve)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func ecKeyOf(curve elliptic.Curve) (*ecdsa.PrivateKey, error) {
	return ecdsa.GenerateKey(curve, rand.Reader)
}

func TestCreateCertificateFromCSRCopiesSubjectAndKeyOnly(t *testing.T) {
	t.Parallel()
	certs, _, _ := newCertificates(t)
	key := ecKey(t, elliptic.P384())
	req := csr(t, key, x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: "pump-1", Organization: []string{"Plant"}},
		DNSNames: []string{"iot.example.com"}, IPAddresses: []net.IP{{127, 0, 0, 1}},
		ExtraExtensions: []pkix.Extension{
			{Id: []int{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 3, 1, 1, 0xff}}, // CA:TRUE
			{Id: []int{2, 5, 29, 37}, Value: []byte{0x30, 0x0a, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1}},
		},
	})
	first, err := certs.CreateCertificateFromCSR(t.Context(), req, true)
	if err != nil {
		t.Fatal(err)
	}
	cert := parse(t, first.PEM)
	if cert.Subject.String() != "CN=pump-1,O=Plant" || !key.PublicKey.Equal(cert.PublicKey) {
		t.Errorf("subject %s", cert.Subject)
	}
	if cert.IsCA || len(cert.DNSNames)+len(cert.IPAddresses) > 0 || !slices.Equal(cert.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) {
		t.Errorf("an extension was copied: CA %v, names %v, usage %v", cert.IsCA, cert.DNSNames, cert.ExtKeyUsage)
	}
	second, err := certs.CreateCertificateFromCSR(t.Context(), req, true)
	if err != nil || second.ID == first.ID {
		t.Errorf("the same request gave the same certificate: %v", err)
	}
	if first.PrivateKey != "" {
		t.Error("a private key came out of a request")
	}
	bare, err := certs.CreateCertificateFromCSR(t.Context(), csr(t, key, x509.CertificateRequest{}), true)
	if err != nil || parse(t, bare.PEM).Subject.CommonName != "AWS IoT Certificate" {
		t.Errorf("a request without a subject: %v", err)
	}
}

func TestBadSigningRequestsAreRefused(t *testing.T) {
	t.Parallel()
	certs, _, _ := newCertificates(t)
	good := csr(t, ecKey(t, elliptic.P256()), x509.CertificateRequest{Subject: pkix.Name{CommonName: "a"}})
	block, _ := pem.Decode([]byte(good))
	forged := slices.Clone(block.Bytes)
	forged[len(forged)-1] ^= 1
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty": "", "no PEM": "hello", "long": good + strings.Repeat(" ", 4097), "two": good + good, "other type": strings.ReplaceAll(good, "CERTIFICATE REQUEST", "CERTIFICATE"),
		"truncated": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: block.Bytes[:100]})),
		"signature": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: forged})),
		"P-224":     csr(t, ecKey(t, elliptic.P224()), x509.CertificateRequest{}), "Ed25519": csr(t, ed, x509.CertificateRequest{}),
		"RSA 1024": rsa1024CSR,
	} {
		_, err := certs.CreateCertificateFromCSR(t.Context(), text, true)
		if !iot.IsKind(err, iot.KindInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	list, _, err := certs.List(t.Context(), true, 0, "")
	if err != nil || len(list) != 0 {
		t.Errorf("a refused request left %v, %v", list, err)
	}
	if _, err := certs.CreateCertificateFromCSR(t.Context(), "\n"+strings.ReplaceAll(good, "\n", "\r\n")+"\n ", true); err != nil {
		t.Errorf("white space around: %v", err)
	}
}

func TestStatusAndDeletion(t *testing.T) {
	t.Parallel()
	certs, _, c := newCertificates(t)
	ctx := t.Context()
	issued, err := certs.CreateCertificateFromCSR(ctx, csr(t, ecKey(t, elliptic.P256()), x509.CertificateRequest{}), false)
	if err != nil {
		t.Fatal(err)
	}
	id := string(issued.ID)
	cert := parse(t, issued.PEM)
	epochs := []int64{}
	for i, status := range []pki.Status{pki.Inactive, pki.Active, pki.Active, pki.Inactive, pki.Revoked, pki.Active} {
		c.at = c.at.Add(time.Minute)
		if err := certs.SetStatus(ctx, id, status); err != nil {
			t.Fatal(err)
		}
		got, err := certs.LookupDER(ctx, cert.Raw)
		if err != nil || got.Status != status || string(got.ID) != id {
			t.Errorf("step %d: %+v, %v: a change must be in force when it returns", i, got, err)
		}
		if ok, why := got.Usable(c.now()); ok != (status == pki.Active) || ok != (why == "") {
			t.Errorf("step %d: usable %v, %q", i, ok, why)
		}
		epochs = append(epochs, got.Epoch)
	}
	if want := []int64{1, 2, 2, 3, 3, 4}; !slices.Equal(epochs, want) {
		t.Errorf("epochs %v, want %v", epochs, want)
	}
	got, err := certs.Lookup(ctx, issued.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []time.Time{cert.NotAfter.Add(time.Second), cert.NotBefore.Add(-time.Second)} {
		if ok, _ := got.Usable(at); ok {
			t.Errorf("usable at %s", at)
		}
	}
	for _, s := range []pki.Status{pki.PendingActivation, pki.PendingTransfer, pki.RegisterInactive, "active", ""} {
		if err := certs.SetStatus(ctx, id, s); !iot.IsKind(err, iot.KindInvalid) {
			t.Errorf("status %q: %v", s, err)
		}
	}
	if err := certs.Delete(ctx, id, true); !iot.IsKind(err, iot.KindState) {
		t.Errorf("deleting an active certificate: %v", err)
	}
	if err := certs.SetStatus(ctx, id, pki.Inactive); err != nil {
		t.Fatal(err)
	}
	if err := certs.Delete(ctx, id, false); err != nil {
		t.Error(err)
	}
	for what, err := range map[string]error{
		"lookup": second(certs.Lookup(ctx, issued.ID)), "describe": second(certs.Describe(ctx, id)),
		"status": certs.SetStatus(ctx, id, pki.Active), "delete": certs.Delete(ctx, id, false),
	} {
		if !iot.IsKind(err, iot.KindNotFound) {
			t.Errorf("%s after deletion: %v", what, err)
		}
	}
	if buried, err := certs.Buried(ctx, cert); err != nil || !buried {
		t.Errorf("buried: %v, %v", buried, err)
	}
	for _, bad := range []string{"", "x", id + "a", strings.Repeat("g", 64)} {
		if err := certs.Delete(ctx, bad, false); !iot.IsKind(err, iot.KindInvalid) {
			t.Errorf("id %q: %v", bad, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestCertificateListing(t *testing.T) {
	t.Parallel()
	certs, _, c := newCertificates(t)
	ctx := t.Context()
	req := csr(t, ecKey(t, elliptic.P256()), x509.CertificateRequest{})
	var made []iot.CertificateID
	for i := range 5 {
		c.at = c.at.Add(time.Duration(i%2) * time.Second)
		issued, err := certs.CreateCertificateFromCSR(ctx, req, true)
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, issued.ID)
	}
	for _, ascending := range []bool{true, false} {
		var got []iot.CertificateID
		var created []time.Time
		marker := ""
		for range 9 {
			list, next, err := certs.List(ctx, ascending, 2, marker)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range list {
				got, created = append(got, r.ID), append(created, r.CreatedAt)
			}
			if marker = next; next == "" {
				break
			}
		}
		sorted := slices.IsSortedFunc(created, func(a, b time.Time) int {
			if ascending {
				return a.Compare(b)
			}
			return b.Compare(a)
		})
		slices.Sort(got)
		slices.Sort(made)
		if !slices.Equal(got, made) || !sorted {
			t.Errorf("ascending %v: %d certificates, sorted %v", ascending, len(got), sorted)
		}
	}
	for _, bad := range []struct {
		limit  int
		marker string
	}{{-1, ""}, {251, ""}, {1, "x"}, {1, iot.PageToken("certificates true", "x y")}} {
		if _, _, err := certs.List(ctx, true, bad.limit, bad.marker); !iot.IsKind(err, iot.KindInvalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestKeyPool(t *testing.T) {
	t.Parallel()
	p := pki.NewKeyPool(2, 0, rand.Reader, nil)
	for range 3 {
		k, err := p.Key()
		if err != nil || k.N.BitLen() != 2048 {
			t.Fatal(err)
		}
	}
	p.Close()
	p.Close()
	if n := p.Ready(); n > 2 {
		t.Errorf("%d keys ready", n)
	}
	if _, err := p.Key(); err != nil {
		t.Errorf("after Close: %v", err)
	}
}

// A busy process gets the few keys that are wanted soon, and the others when it rests.
func TestKeyPoolOfABusyProcess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // guards what follows
		start, busy := time.Now(), true
		var idle time.Duration // what has been used, once it rests
		p := pki.NewKeyPool(10, time.Second, rand.Reader, func() time.Duration {
			mu.Lock()
			defer mu.Unlock()
			if busy {
				return time.Since(start)
			}
			return idle
		})
		defer p.Close()
		time.Sleep(time.Minute)
		if n := p.Ready(); n != 8 {
			t.Errorf("%d keys after a busy minute, want 8", n)
		}
		mu.Lock()
		busy, idle = false, time.Since(start)
		mu.Unlock()
		time.Sleep(time.Minute)
		if n := p.Ready(); n != 10 {
			t.Errorf("%d keys after a minute of rest, want 10", n)
		}
	})
}

// rsa1024CSR was made by openssl req -newkey rsa:1024.
const rsa1024CSR = `-----BEGIN CERTIFICATE REQUEST-----
MIIBSzCBtQIBADAMMQowCAYDVQQDDAFhMIGfMA0GCSqGSIb3DQEBAQUAA4GNADCB
iQKBgQCmkTXvmErafUMGUOMCv1eKTRU/qjJYUwtEUmIRO0QEKzfsgGmsyIRQS9N5
n2uiZXM2CzBRu6KoIfLtVrhpWjQW+ebMATdfsMGfRpVQMHdJV1hIeA6LUlbyubDR
F9U/dOHUs2ongPBwywS2Wms+4DJGDBhtd8rPnzoYyyqTutSdjQIDAQABoAAwDQYJ
KoZIhvcNAQELBQADgYEAUrZBzmAPuhNDMDUHciWebQLouBPEaegwY+c28br0ODaR
Ijoql/jhAEPd/gM84/vDfPPm900ERa3S210AXnNQhvLfRBxti1B61rregHCbARSh
IrsO/xCc3jEqhMsmY2BfohpPC3+6DDi5HDbtnF7MR+HhJhB+1MzDz6afcEtfyVs=
-----END CERTIFICATE REQUEST-----
`
