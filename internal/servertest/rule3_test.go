package servertest_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"

	"github.com/sekisho-iot/sekisho/internal/servertest"
)

const badCertificate = "Certificate is invalid on this endpoint"

func wantAnswer(t *testing.T, a servertest.Answer, status int, message string) {
	t.Helper()
	if a.Status != status || a.Message != message {
		t.Errorf("got %d %q, want %d %q", a.Status, a.Message, status, message)
	}
}

// Old protocols, tickets and resumption are not to be had on the device port.
func TestSecurityRule3_NoResumption(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	d := s.Enrol("pump")
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
		for _, addr := range []string{s.DeviceAddr(), s.APIAddr()} {
			c := d.TLS()
			c.MinVersion, c.MaxVersion = tls.VersionTLS10, version
			if conn, err := (&tls.Dialer{Config: c}).DialContext(t.Context(), "tcp", addr); err == nil {
				_ = conn.Close()
				t.Errorf("%s spoke %s", addr, tls.VersionName(version))
			}
		}
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, alpn := range []string{"http/1.1", "x-amzn-http-ca"} {
			c := d.TLS()
			c.MinVersion, c.MaxVersion, c.NextProtos = version, version, []string{alpn}
			tickets := &countingCache{ClientSessionCache: tls.NewLRUClientSessionCache(8)}
			c.ClientSessionCache = tickets
			for range 2 {
				dialled, err := (&tls.Dialer{Config: c}).DialContext(t.Context(), "tcp", s.DeviceAddr())
				must(t, err)
				conn := dialled.(*tls.Conn)
				_, err = io.WriteString(conn, "GET /role-aliases/"+servertest.Alias+"/credentials HTTP/1.1\r\nHost: localhost\r\n\r\n")
				must(t, err)
				res, err := http.ReadResponse(bufio.NewReader(conn), nil)
				must(t, err)
				if res.StatusCode != http.StatusOK || conn.ConnectionState().DidResume {
					t.Errorf("%s %s: %d, resumed %t", tls.VersionName(version), alpn, res.StatusCode, conn.ConnectionState().DidResume)
				}
				_ = res.Body.Close()
				_ = conn.Close()
			}
			if tickets.put > 0 {
				t.Errorf("%s %s: %d tickets", tls.VersionName(version), alpn, tickets.put)
			}
		}
	}
}

type countingCache struct {
	tls.ClientSessionCache
	put int
}

func (c *countingCache) Put(key string, s *tls.ClientSessionState) {
	if s != nil {
		c.put++
	}
	c.ClientSessionCache.Put(key, s)
}

// The certificate's status and expiry are judged on every request of a connection.
func TestSecurityRule3_KeptAlive(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	d := s.Enrol("pump")
	wantAnswer(t, d.Ask(servertest.Alias), 200, "")
	for _, status := range []iottypes.CertificateStatus{iottypes.CertificateStatusInactive, iottypes.CertificateStatusRevoked} {
		setStatus(t, s, d, status)
		wantAnswer(t, d.Ask(servertest.Alias), 403, badCertificate)
		setStatus(t, s, d, iottypes.CertificateStatusActive)
		wantAnswer(t, d.Ask(servertest.Alias), 200, "")
	}
	s.Clock.Move(30 * 365 * 24 * time.Hour)
	wantAnswer(t, d.Ask(servertest.Alias), 403, badCertificate)
}

// Other certificates, chains and names than the registered one get nowhere.
func TestSecurityRule3_Impostors(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	d, other := s.Enrol("pump"), s.Enrol("valve")
	leaf, err := x509.ParseCertificate(d.Certificate.Certificate[0])
	must(t, err)
	own := func(template *x509.Certificate, parent *x509.Certificate, public, signer any) []byte {
		der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
		must(t, err)
		return der
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	must(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	same := &x509.Certificate{SerialNumber: leaf.SerialNumber, RawSubject: leaf.RawSubject, NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter, ExtKeyUsage: leaf.ExtKeyUsage}
	root := *same
	root.IsCA, root.BasicConstraintsValid, root.Subject, root.RawSubject = true, true, pkix.Name{CommonName: "Sekisho root"}, nil
	for name, certificate := range map[string]tls.Certificate{
		"same names, own key":               {Certificate: [][]byte{own(same, same, key.Public(), key)}, PrivateKey: key},
		"same key, signed by itself":        {Certificate: [][]byte{own(same, same, d.Certificate.PrivateKey.(*ecdsa.PrivateKey).Public(), d.Certificate.PrivateKey)}, PrivateKey: d.Certificate.PrivateKey},
		"a CA":                              {Certificate: [][]byte{own(&root, &root, key.Public(), key)}, PrivateKey: key},
		"Ed25519":                           {Certificate: [][]byte{own(same, same, edwards.Public(), edwards)}, PrivateKey: edwards},
		"RSA 1024":                          {Certificate: [][]byte{own(same, same, small.Public(), small)}, PrivateKey: small},
		"own leaf, then the registered one": {Certificate: [][]byte{own(same, same, key.Public(), key), d.Certificate.Certificate[0]}, PrivateKey: key},
		"an ECDSA twin":                     {Certificate: [][]byte{twin(t, leaf)}, PrivateKey: d.Certificate.PrivateKey},
	} {
		c := d.TLS()
		c.Certificates = []tls.Certificate{certificate}
		a := d.AskOver(c, servertest.Alias)
		if a.Status == 0 && strings.Contains(a.Message, "tls") {
			continue // not even a handshake
		}
		if a.Status != 403 || a.Message != badCertificate {
			t.Errorf("%s: %+v", name, a)
		}
	}
	stolen := d.TLS() // the certificate, which is no secret, without its key
	stolen.Certificates = []tls.Certificate{{Certificate: d.Certificate.Certificate, PrivateKey: other.Certificate.PrivateKey}}
	if a := d.AskOver(stolen, servertest.Alias); a.Status != 0 {
		t.Errorf("without the key: %+v", a)
	}
	none := d.TLS()
	none.Certificates = nil
	wantAnswer(t, d.AskOver(none, servertest.Alias), 403, badCertificate)
	foreign := d.TLS()
	foreign.ServerName, foreign.InsecureSkipVerify = "evil.example", true
	wantAnswer(t, d.AskOver(foreign, servertest.Alias), 403, badCertificate)
	long := d.TLS() // after the registered leaf a chain may follow
	long.Certificates[0].Certificate = append([][]byte{leaf.Raw}, other.Certificate.Certificate[0])
	wantAnswer(t, d.AskOver(long, servertest.Alias), 200, "")
}

// twin is the certificate with the other of its two valid ECDSA signatures.
func twin(t *testing.T, c *x509.Certificate) []byte {
	t.Helper()
	var parts struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}
	_, err := asn1.Unmarshal(c.Raw, &parts)
	must(t, err)
	var sig struct{ R, S *big.Int }
	_, err = asn1.Unmarshal(parts.Signature.Bytes, &sig)
	must(t, err)
	sig.S.Sub(elliptic.P256().Params().N, sig.S)
	raw, err := asn1.Marshal(sig)
	must(t, err)
	parts.Signature = asn1.BitString{Bytes: raw, BitLength: 8 * len(raw)}
	der, err := asn1.Marshal(parts)
	must(t, err)
	if string(der) == string(c.Raw) {
		t.Fatal("the twin is the same")
	}
	return der
}

// What a device says of its thing and alias is checked against the register.
func TestSecurityRule1_LyingDevice(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	d := s.Enrol("pump")
	s.Enrol("valve")
	const badThing = "Invalid thing name passed"
	header := "x-amzn-iot-thingname"
	for _, name := range []string{"valve", "*", "pump,valve", "pump ", "PUMP", "", "${iot:Connection.Thing.ThingName}", "pump/../valve", strings.Repeat("x", 4096), "p\u00fcmp"} {
		if a := d.Ask(servertest.Alias, header, name); strings.TrimSpace(name) == "pump" {
			wantAnswer(t, a, 200, "") // HTTP knows no spaces around a value
		} else {
			wantAnswer(t, a, 403, badThing)
		}
	}
	wantAnswer(t, d.Ask(servertest.Alias, header, "pump", header, "pump"), 403, badThing)
	wantAnswer(t, d.Ask(servertest.Alias, header, "pump", header, "valve"), 403, badThing)
	for _, alias := range []string{"*", "other", "fleet-alias%2F", strings.Repeat("a", 300), "%2A", "fleet-alias%00"} {
		if a := d.Ask(alias); a.Status != 404 {
			t.Errorf("%s: %+v", alias, a)
		}
	}
}

// CSRs get no extension through, and weak or odd keys nothing at all.
func TestSecurityRule2_CSR(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	csr := func(t *testing.T, template *x509.CertificateRequest, key any) string {
		t.Helper()
		der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
		must(t, err)
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	}
	wish := csr(t, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 0x03, 0x01, 0x01, 0xff}}},
	}, key)
	out, err := s.IoT.CreateCertificateFromCsr(t.Context(), &iot.CreateCertificateFromCsrInput{CertificateSigningRequest: &wish, SetAsActive: true})
	must(t, err)
	block, _ := pem.Decode([]byte(*out.CertificatePem))
	c, err := x509.ParseCertificate(block.Bytes)
	must(t, err)
	if c.IsCA || len(c.DNSNames) > 0 || len(c.ExtKeyUsage) != 1 || c.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth {
		t.Errorf("%+v", c)
	}
	// It is no server certificate to a client that trusts our root.
	pool := x509.NewCertPool()
	root, err := os.ReadFile(filepath.Join(s.Data, "pki", "root-ca.pem"))
	must(t, err)
	pool.AppendCertsFromPEM(root)
	if _, err := c.Verify(x509.VerifyOptions{Roots: pool, DNSName: "localhost", CurrentTime: s.Clock.Now()}); err == nil {
		t.Error("a device certificate passes for a server's")
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	must(t, err)
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	must(t, err)
	for name, pem := range map[string]string{
		"RSA 1024": csr(t, &x509.CertificateRequest{}, small), "Ed25519": csr(t, &x509.CertificateRequest{}, edwards), "P-224": csr(t, &x509.CertificateRequest{}, p224),
		"broken": strings.Replace(wish, "A", "B", 1), "empty": " ",
	} {
		_, err := s.IoT.CreateCertificateFromCsr(t.Context(), &iot.CreateCertificateFromCsrInput{CertificateSigningRequest: &pem})
		if code := servertest.Code(err); code != "InvalidRequestException" {
			t.Errorf("%s: %s", name, code)
		}
	}
}

// A second server on the same folder is refused, and leaves the first alone.
func TestSecurityRule7_OneServer(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	err := servertest.StartAgain(t, s)
	if err == nil || !strings.Contains(err.Error(), "in use by another sekisho") || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("%v", err)
	}
	must(t, put(t, s.S3, "still/here"))
	if _, err := os.Stat(filepath.Join(s.Data, "endpoints.json")); err != nil {
		t.Error(err)
	}
}
