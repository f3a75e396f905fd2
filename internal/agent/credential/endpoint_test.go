//go:build !windows

package credential_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sekisho-iot/sekisho/internal/agent/clock"
	"github.com/sekisho-iot/sekisho/internal/agent/config"
	"github.com/sekisho-iot/sekisho/internal/agent/credential"
	"github.com/sekisho-iot/sekisho/internal/server"
	"github.com/sekisho-iot/sekisho/internal/servertest"
)

// camera is a device with its files, as enroll leaves them.
type camera struct {
	t      *testing.T
	dir    string
	config config.Config
}

func newCamera(t *testing.T, s *servertest.Server, d *servertest.Device) *camera {
	t.Helper()
	root, err := os.ReadFile(filepath.Join(s.Data, server.RootCAFile))
	if err != nil {
		t.Fatal(err)
	}
	c := &camera{t: t, dir: t.TempDir(), config: config.Config{
		Thing: d.Thing, RoleAlias: servertest.Alias, Endpoints: config.Endpoints{Credentials: s.DeviceAddr()},
		Certificate: "device.pem.crt", PrivateKey: "private.pem.key", RootCA: "root-ca.pem",
	}}
	key, err := x509.MarshalPKCS8PrivateKey(d.Certificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	c.write("device.pem.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: d.Certificate.Certificate[0]}))
	c.write("private.pem.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	c.write("root-ca.pem", root)
	return c
}

func (c *camera) write(name string, b []byte) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, name), b, 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// open is a process of this device, whose clock is now.
func (c *camera) open(now func() time.Time) *credential.Provider {
	c.t.Helper()
	b, err := json.Marshal(c.config)
	if err != nil {
		c.t.Fatal(err)
	}
	c.write("device.json", b)
	conf, err := config.Load(filepath.Join(c.dir, "device.json"))
	if err != nil {
		c.t.Fatal(err)
	}
	k := clock.New(now)
	e, err := credential.NewEndpoint(conf, k, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(e.Close)
	return open(c.t, filepath.Join(c.dir, "cache"), e, func(o *credential.Options) { o.Clock = k })
}

// fails wants Get to fail with these words.
func (c *camera) fails(words ...string) {
	c.t.Helper()
	s, err := c.open(time.Now).Get(c.t.Context())
	if err == nil {
		c.t.Fatalf("got %s", s)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			c.t.Errorf("%v lacks %q", err, w)
		}
	}
}

func put(s *servertest.Server, key string, c *credential.Session) error {
	p := credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken)
	_, err := s.S3As(p).PutObject(context.Background(), &s3.PutObjectInput{Bucket: aws.String(servertest.Bucket), Key: &key, Body: strings.NewReader("x")})
	return err
}

// The real endpoint: credentials that work, kept; a revoked certificate purges
// them; a server that is down does not.
func TestRealEndpoint(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	d := s.Enrol("camera-1")
	c := newCamera(t, s, d)
	first, err := c.open(s.Clock.Now).Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := put(s, "camera-1/photo", first); err != nil {
		t.Fatal(err)
	}
	if servertest.Code(put(s, "camera-2/photo", first)) != "AccessDenied" {
		t.Error("another's prefix is open")
	}
	again := func() string {
		t.Helper()
		got, err := c.open(s.Clock.Now).Get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return got.AccessKeyID
	}
	if again() != first.AccessKeyID {
		t.Error("the server was asked twice")
	}
	s.Clock.Move(43 * time.Minute)
	renewed, err := c.open(s.Clock.Now).Get(t.Context())
	if err != nil || renewed.Offset() != 0 {
		t.Errorf("the server's time is not the one that sessions end by: off by %v, %v", renewed, err)
	}
	second := again()
	if second == first.AccessKeyID {
		t.Error("not renewed with 17 minutes left")
	}
	s.Clock.Move(46 * time.Minute)
	s.Restart(func() { // 14 minutes are left, and the server is down
		if again() != second {
			t.Error("what is left is not given out while the server is down")
		}
	})
	c.config.Endpoints.Credentials = s.DeviceAddr() // of another port; so of another cache file, too
	third := again()
	s.Clock.Move(-89 * time.Minute) // the administrator's requests are signed by the real clock
	_, err = s.IoT.UpdateCertificate(t.Context(), &iot.UpdateCertificateInput{CertificateId: &d.CertificateID, NewStatus: iottypes.CertificateStatusRevoked})
	if err != nil {
		t.Fatal(err)
	}
	s.Clock.Move(89 * time.Minute)
	if again() != third {
		t.Error("asked before its time")
	}
	s.Clock.Move(43 * time.Minute)
	before := c.kept()
	_, err = c.open(s.Clock.Now).Get(t.Context())
	if e, ok := errors.AsType[*credential.RefusedError](err); !ok || e.Status != 403 || !strings.Contains(err.Error(), "enrol the device again") {
		t.Errorf("a revoked certificate: %v", err)
	}
	if c.kept() != before-1 {
		t.Error("the cache was not purged")
	}
}

// kept counts the sessions on disk.
func (c *camera) kept() int {
	c.t.Helper()
	list, err := fs.Glob(os.DirFS(filepath.Join(c.dir, "cache")), "creds-*.json")
	if err != nil {
		c.t.Fatal(err)
	}
	return len(list)
}

// A device whose clock is off reaches the server all the same, and says when its
// credentials end in its own time.
func TestClockIsOff(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	d := s.Enrol("camera-1")
	for _, off := range []time.Duration{-24 * time.Hour, -3 * time.Hour, -10 * time.Minute, 0, 10 * time.Minute, 24 * time.Hour} {
		c := newCamera(t, s, d)
		device := func() time.Time { return time.Now().Add(off) }
		first, err := c.open(device).Get(t.Context())
		if err != nil {
			t.Errorf("off by %s: %v", off, err)
			continue
		}
		if got := (first.Offset() + off).Abs(); got > 3*time.Second || off == 0 && first.Offset() != 0 {
			t.Errorf("off by %s, measured as %s", off, -first.Offset())
		}
		if left := first.LocalExpiration().Sub(device()); left < 59*time.Minute || left > 61*time.Minute {
			t.Errorf("off by %s: %s are left by its own clock", off, left)
		}
		again, err := c.open(device).Get(t.Context())
		if err != nil || again.AccessKeyID != first.AccessKeyID {
			t.Errorf("off by %s: not kept: %v", off, err)
		}
	}
	// Three days before the server's certificate was made: that is no clock to forgive.
	c := newCamera(t, s, d)
	_, err := c.open(func() time.Time { return time.Now().Add(-72 * time.Hour) }).Get(t.Context())
	if err == nil || !strings.Contains(err.Error(), "set its clock") {
		t.Errorf("off by three days: %v", err)
	}
}

// What is wrong is said, and what to do.
func TestEndpointRefuses(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	d := s.Enrol("camera-1")
	other := s.Enrol("camera-2")

	c := newCamera(t, s, d)
	c.config.RoleAlias = "nobody"
	c.fails("there is no role alias nobody", `404 "Role alias does not exist"`)

	c = newCamera(t, s, d)
	c.config.Thing = other.Thing
	c.fails("not attached to thing camera-2", `403 "Invalid thing name passed"`)

	c = newCamera(t, s, d)
	_, err := s.IoT.DetachPolicy(t.Context(), &iot.DetachPolicyInput{PolicyName: aws.String(servertest.Policy), Target: &d.CertificateARN})
	if err != nil {
		t.Fatal(err)
	}
	c.fails("may not use role alias fleet-alias", "sekisho explain --thing camera-1", `403 "Access Denied"`)

	c = newCamera(t, s, other)
	now := time.Now()
	c.selfSigned(now.Add(-48*time.Hour), now.Add(-24*time.Hour))
	c.fails("the certificate of camera-2 expired on "+now.Add(-24*time.Hour).UTC().Format(time.DateOnly)+": enrol the device again", "403")
	c.selfSigned(now.Add(-time.Hour), now.Add(time.Hour))
	c.fails("does not accept this device's certificate", "403")

	c = newCamera(t, s, other)
	_, port, _ := strings.Cut(s.DeviceAddr(), ":")
	c.config.Endpoints.Credentials = "127.0.0.2:" + port
	c.fails("no new credentials", "does not answer")
	c.config.Endpoints.Credentials = s.APIAddr() // no credentials there
	c.fails("")
}

// selfSigned replaces the certificate by one that nobody issued.
func (c *camera) selfSigned(from, to time.Time) {
	c.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		c.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		c.t.Fatal(err)
	}
	c.write("device.pem.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	c.write("private.pem.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

// Answers of servers that are not what they should be.
func TestEndpointAnswers(t *testing.T) {
	t.Parallel()
	answer := struct {
		status int
		header http.Header
		body   string
	}{}
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Amzn-Iot-Thingname") != "camera-1" || r.URL.Path != "/role-aliases/fleet-alias/credentials" {
			t.Errorf("%s %v", r.URL, r.Header)
		}
		maps.Copy(w.Header(), answer.header)
		w.WriteHeader(answer.status)
		_, _ = w.Write([]byte(answer.body))
	}))
	defer web.Close()
	c := &camera{t: t, dir: t.TempDir(), config: config.Config{
		Thing: "camera-1", RoleAlias: servertest.Alias, Endpoints: config.Endpoints{Credentials: web.Listener.Addr().String()},
		Certificate: "device.pem.crt", PrivateKey: "private.pem.key", RootCA: "root-ca.pem",
	}}
	c.selfSigned(time.Now(), time.Now().Add(time.Hour))
	c.write("root-ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}))

	whole := func(expiration string) string {
		return `{"credentials":{"accessKeyId":"ASIA1","secretAccessKey":"hidden","sessionToken":"hidden","expiration":"` + expiration + `"}}`
	}
	soon := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	for _, a := range []struct {
		status  int
		body    string
		want    string
		refused bool
	}{
		{200, "", "sent are none", false},
		{200, "<html>hidden", "sent are none", false},
		{200, `{"credentials":{}}`, "sent are none", false},
		{200, strings.Replace(whole(soon), "sessionToken", "token", 1), "sent are none", false},
		{200, whole("tomorrow"), "sent are none", false},
		{200, whole(time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)), "have expired already", false},
		{200, strings.Repeat(" ", 1<<20) + whole(soon), "sent are none", false},
		{302, "", "answered 302", false},
		{429, `{"message":"Rate exceeded"}`, `answered 429 "Rate exceeded": try again later`, false},
		{500, `{"message":"` + strings.Repeat("x", 1000) + `"}`, strings.Repeat("x", 200) + `":`, false},
		{503, "hidden", "answered 503", false},
		{400, `{"message":"Unable to assume the role"}`, "trust policy", true},
		{401, "", "401", true},
	} {
		answer.status, answer.body = a.status, a.body
		answer.header = http.Header{"Location": {"https://127.0.0.1:1/"}}
		_, err := c.open(time.Now).Get(t.Context())
		if err == nil || !strings.Contains(err.Error(), a.want) || strings.Contains(err.Error(), "hidden") || errors.Is(err, credential.ErrUnavailable) == a.refused {
			t.Errorf("%d %.80s: %v", a.status, a.body, err)
		}
	}
	answer.status, answer.body, answer.header = 200, whole(soon), http.Header{"Date": {"yesterday"}}
	if got, err := c.open(time.Now).Get(t.Context()); err != nil || got.Offset() != 0 || got.SecretAccessKey != "hidden" {
		t.Errorf("without a date: %v, %v", got, err)
	}
}
