package servertest_test

import (
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/server"
	"github.com/sekisho-iot/sekisho/internal/servertest"
)

// shown is the certificate that each port presents.
func shown(t *testing.T, s *servertest.Server) (certs []*x509.Certificate) {
	t.Helper()
	c := s.TLS()
	c.InsecureSkipVerify = true
	for _, addr := range []string{s.APIAddr(), s.DeviceAddr(), s.MQTTAddr()} {
		conn, err := (&tls.Dialer{Config: c}).DialContext(t.Context(), "tcp", addr)
		must(t, err)
		certs = append(certs, conn.(*tls.Conn).ConnectionState().PeerCertificates[0])
		must(t, conn.Close())
	}
	return certs
}

// The operator's certificate is read again while the server runs, by every port.
func TestServerCertificateReload(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	write := func(name string, modified time.Time) {
		key := ecKey(t, elliptic.P256())
		c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"}, NotAfter: time.Now().AddDate(1, 0, 0)}
		der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
		must(t, err)
		secret, err := x509.MarshalPKCS8PrivateKey(key)
		must(t, err)
		must(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
		must(t, os.WriteFile(certFile, []byte(*pemOf(der)), 0o600))
		must(t, os.Chtimes(keyFile, modified, modified))
		must(t, os.Chtimes(certFile, modified, modified))
	}
	write("first", time.Now().Add(-time.Hour))
	s := servertest.Start(t, func(o *server.Options) { o.TLSCert, o.TLSKey = certFile, keyFile })
	for _, name := range []string{"first", "second", "third"} {
		if name != "first" {
			write(name, s.Clock.Now())
			s.Clock.Move(2 * time.Second)
		}
		for _, c := range shown(t, s) {
			if c.Subject.CommonName != name {
				t.Errorf("%s is shown, want %s", c.Subject.CommonName, name)
			}
		}
	}
	if n := strings.Count(s.Log.String(), "server certificate renewed"); n != 2 {
		t.Errorf("%d renewals in the log, want 2", n)
	}
}

// The server's own certificate renews itself while it runs, on every port, and
// devices go on trusting it.
func TestServerCertificateRenewal(t *testing.T) {
	t.Parallel()
	s := mqttFleet(t)
	d := s.Enrol("pump")
	before := shown(t, s)
	for range 5 {
		s.Clock.Move(200 * 24 * time.Hour)
		must(t, knock(t, d, "pump"))
		after := shown(t, s)
		for i, c := range after {
			if c.NotAfter.Before(s.Clock.Now().AddDate(0, 0, 100)) {
				t.Errorf("port %d shows one that ends at %s, at %s", i, c.NotAfter, s.Clock.Now())
			}
			if !c.Equal(after[0]) {
				t.Errorf("port %d shows another", i)
			}
		}
	}
	if shown(t, s)[0].Equal(before[0]) {
		t.Error("it is the first one still")
	}
	if m := metrics(t, s); !strings.Contains(m, `sekisho_certificate_not_after_seconds{certificate="server"}`) || !strings.Contains(m, `sekisho_device_certificates_expiring{within="30d"} 0`) {
		t.Error("no figures of certificates")
	}
}
