package server

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writePair writes a certificate of that name and its key, as of modified.
func writePair(t *testing.T, dir, name string, modified time.Time) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: modified.Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: secret},
	} {
		writeAsOf(t, file, pem.EncodeToMemory(block), modified)
	}
	return certFile, keyFile
}

func writeAsOf(t *testing.T, file string, b []byte, modified time.Time) {
	t.Helper()
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(file, modified, modified); err != nil {
		t.Fatal(err)
	}
}

func TestCertificateFilesAreReadAgain(t *testing.T) {
	t.Parallel()
	dir, now := t.TempDir(), time.Unix(1_800_000_000, 0)
	certFile, keyFile := writePair(t, dir, "first", now)
	var said bytes.Buffer
	f, err := openCertificateFiles(certFile, keyFile, func() time.Time { return now }, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	presented := func() string {
		now = now.Add(2 * certificateCheck)
		c, err := f.Certificate(&tls.ClientHelloInfo{})
		if err != nil {
			t.Fatal(err)
		}
		return c.Leaf.Subject.CommonName
	}
	if got := presented(); got != "first" || said.Len() != 0 {
		t.Errorf("presented %q, said %q", got, said.String())
	}
	writePair(t, dir, "second", now)
	if got := presented(); got != "second" || !strings.Contains(said.String(), "server certificate renewed") {
		t.Errorf("presented %q, said %q", got, said.String())
	}
	said.Reset()
	writeAsOf(t, certFile, []byte("not a certificate"), now.Add(time.Second))
	for range 3 {
		if got := presented(); got != "second" {
			t.Errorf("presented %q while the newest is broken", got)
		}
	}
	if n := strings.Count(said.String(), "could not be read again"); n != 1 {
		t.Errorf("a broken renewal was mentioned %d times, want once: %s", n, said.String())
	}
}

func TestIPv4WildcardIsIPv4Only(t *testing.T) {
	t.Parallel()
	l, err := new(Server).listen(t.Context(), "--api-listen", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // nothing was sent
	a, err := netip.ParseAddrPort(l.Addr().String())
	if err != nil || !a.Addr().Is4() {
		t.Errorf("listens on %v", l.Addr())
	}
}
