//go:build e2e

package e2e_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"
)

// The credential endpoint's messages.
const (
	badCertificate = "Certificate is invalid on this endpoint"
	badThing       = "Invalid thing name passed"
	accessDenied   = "Access Denied"
	noAlias        = "Role alias does not exist"
	noRole         = "Unable to assume the role, or the role to assume does not exist"
	tooLong        = "The requested CredentialDurationSeconds exceeds the MaxSessionDuration set for the role"
)

// TestCredentialErrors asks the credential endpoint with curl for every row of
// its error table, over HTTP/1.1 and HTTP/2.
func TestCredentialErrors(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	s := shared
	roleName, roleARN := s.role(t, trustCredentials(), nil)
	good, goodARN := s.alias(t, roleARN)
	wide := "arn:aws:iot:" + region + ":000000000000:rolealias/*"
	d := s.device(t, wide)
	narrow := s.device(t, goodARN)
	unarmed := s.device(t)
	other := s.device(t, wide)
	inactive := s.device(t, wide)
	inactive.setStatus(t, iottypes.CertificateStatusInactive)
	revoked := s.device(t, wide)
	revoked.setStatus(t, iottypes.CertificateStatusRevoked)
	deleted := s.device(t, wide)
	deleted.delete(t)
	foreign := selfSigned(t, time.Now().Add(time.Hour))
	expired := selfSigned(t, time.Now().Add(-time.Hour))

	missingRole, missingRoleARN := s.role(t, trustCredentials(), nil)
	noRoleAlias, _ := s.alias(t, missingRoleARN)
	_, err := s.iam.DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: &missingRole})
	check(t, err)

	distrusted := func(principal string, condition map[string]any) string {
		st := map[string]any{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": map[string]string{"Service": principal}}
		if condition != nil {
			st["Condition"] = condition
		}
		_, arn := s.role(t, document(st), nil)
		alias, _ := s.alias(t, arn)
		return alias
	}
	wrongPrincipal := distrusted("iot.amazonaws.com", nil)
	wrongAccount := distrusted("credentials.iot.amazonaws.com", map[string]any{"StringEquals": map[string]string{"aws:SourceAccount": "111111111111"}})
	rightSource := distrusted("credentials.iot.amazonaws.com", map[string]any{
		"StringEquals": map[string]string{"aws:SourceAccount": "000000000000"},
		"ArnLike":      map[string]string{"aws:SourceArn": "arn:aws:iot:" + region + ":000000000000:*"},
	})

	longAlias := unique("alias")
	_, err = s.iot.CreateRoleAlias(t.Context(), &iot.CreateRoleAliasInput{RoleAlias: &longAlias, RoleArn: &roleARN, CredentialDurationSeconds: aws.Int32(43200)})
	check(t, err)

	is := func(thing string) []string { return []string{"-H", "x-amzn-iot-thingname: " + thing} }
	cases := []struct {
		name    string
		dev     *device
		alias   string
		args    []string
		status  int
		message string // "" for credentials
	}{
		{"credentials", d, good, is(d.thing), 200, ""},
		{"header in another case", d, good, []string{"-H", "X-Amzn-IoT-ThingName: " + d.thing}, 200, ""},
		{"no thing header", d, good, nil, 200, ""},
		{"trust by source", d, rightSource, is(d.thing), 200, ""},
		{"narrow policy", narrow, good, is(narrow.thing), 200, ""},
		{"no client certificate", &device{s: s}, good, is(d.thing), 403, badCertificate},
		{"unknown certificate", foreign, good, nil, 403, badCertificate},
		{"expired certificate", expired, good, nil, 403, badCertificate},
		{"inactive certificate", inactive, good, is(inactive.thing), 403, badCertificate},
		{"revoked certificate", revoked, good, is(revoked.thing), 403, badCertificate},
		{"deleted certificate", deleted, good, nil, 403, badCertificate},
		{"bad certificate before bad thing", inactive, good, is("nobody"), 403, badCertificate},
		{"another's thing", d, good, is(other.thing), 403, badThing},
		{"thing that does not exist", d, good, is("nobody"), 403, badThing},
		{"thing name out of pattern", d, good, is("no body/../x"), 403, badThing},
		{"thing name in another case", d, good, is(strings.ToUpper(d.thing)), 403, badThing},
		{"empty thing header", d, good, []string{"-H", "x-amzn-iot-thingname;"}, 403, badThing},
		{"repeated header", d, good, append(is(d.thing), is(d.thing)...), 403, badThing},
		{"repeated header with a lie", d, good, append(is(d.thing), is(other.thing)...), 403, badThing},
		{"two names in one header", d, good, is(d.thing + ", " + other.thing), 403, badThing},
		{"bad thing before policy", unarmed, good, is(other.thing), 403, badThing},
		{"no policy", unarmed, good, is(unarmed.thing), 403, accessDenied},
		{"policy before alias", narrow, "nothing", is(narrow.thing), 403, accessDenied},
		{"alias in another case", d, strings.ToUpper(good), is(d.thing), 404, noAlias},
		{"unknown alias", d, "nothing", is(d.thing), 404, noAlias},
		{"unknown alias, no thing", d, "nothing", nil, 404, noAlias},
		{"role gone", d, noRoleAlias, is(d.thing), 400, noRole},
		{"trust names another service", d, wrongPrincipal, is(d.thing), 400, noRole},
		{"trust condition fails", d, wrongAccount, is(d.thing), 400, noRole},
		{"longer than the role allows", d, longAlias, is(d.thing), 400, tooLong},
	}
	t.Run("table", func(t *testing.T) { // ends when its parallel rows have
		for _, version := range []string{"--http1.1", "--http2"} {
			for _, c := range cases {
				t.Run(version[2:]+" "+c.name, func(t *testing.T) {
					t.Parallel()
					a := c.dev.curl(t, s.credentialsURL(c.alias), append([]string{version}, c.args...)...)
					a.want(t, version, c.status, c.message)
				})
			}
		}
	})

	_, err = s.iam.UpdateRole(t.Context(), &iam.UpdateRoleInput{RoleName: &roleName, MaxSessionDuration: aws.Int32(43200)})
	check(t, err)
	var body struct{ Credentials sessionCredentials }
	a := d.curl(t, s.credentialsURL(longAlias))
	check(t, json.Unmarshal([]byte(a.body), &body))
	if left := time.Until(body.Credentials.Expiration); left < 11*time.Hour+55*time.Minute || left > 12*time.Hour+time.Minute {
		t.Errorf("a session of 43200 s ends in %s", left)
	}
}

// TestCredentialServerName says under which names the endpoint answers.
func TestCredentialServerName(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	_, roleARN := shared.role(t, trustCredentials(), nil)
	alias, aliasARN := shared.alias(t, roleARN)
	d := shared.device(t, aliasARN)
	_, port, err := net.SplitHostPort(shared.credentialEndpoint())
	check(t, err)
	path := ":" + port + "/role-aliases/" + alias + "/credentials"
	// curl sends no server name for an address.
	d.curl(t, "https://127.0.0.1"+path).want(t, "", 200, "")
	a := d.curl(t, "https://device.example.com"+path, "--insecure", "--resolve", "device.example.com:"+port+":127.0.0.1")
	a.want(t, "", 403, badCertificate)
	for _, version := range []string{"--tlsv1.3", "--tls-max"} {
		args := []string{version}
		if version == "--tls-max" {
			args = []string{"--tls-max", "1.2"}
		}
		d.curl(t, shared.credentialsURL(alias), args...).want(t, "", 200, "")
	}
	if a := d.curl(t, "https://localhost:"+port+"/"); a.status != 404 {
		t.Errorf("GET /: %d %s", a.status, a.body)
	}
	if a := d.curl(t, shared.credentialsURL(alias), "-X", "POST", "-d", "{}"); a.status < 400 || a.status >= 500 {
		t.Errorf("POST: %d %s", a.status, a.body)
	}
}

// TestCredentialALPN: HTTP under every protocol name that device clients offer.
func TestCredentialALPN(t *testing.T) {
	t.Parallel()
	_, roleARN := shared.role(t, trustCredentials(), nil)
	alias, aliasARN := shared.alias(t, roleARN)
	d := shared.device(t, aliasARN)
	for _, protocol := range []string{"", "http/1.1", "h2", "x-amzn-http-ca"} {
		client := d.clientALPN(t, protocol)
		for range 2 {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, shared.credentialsURL(alias), http.NoBody)
			check(t, err)
			res, err := exchange(client, req)
			if err != nil {
				t.Errorf("ALPN %q: %v", protocol, err)
				break
			}
			if res.status != http.StatusOK || (res.major == 2) != (protocol == "h2") {
				t.Errorf("ALPN %q: %+v", protocol, res)
			}
		}
	}
}

// clientALPN offers one protocol alone.
func (d *device) clientALPN(t *testing.T, protocol string) *http.Client {
	t.Helper()
	client := d.client()
	tr, ok := client.Transport.(*http.Transport)
	if !ok {
		t.Fatal("not the transport that it was made with")
	}
	conf := tr.TLSClientConfig
	conf.ServerName = "localhost"
	if protocol != "" {
		conf.NextProtos = []string{protocol}
	}
	if protocol == "x-amzn-http-ca" {
		tr.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			raw, err := tr.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			c := tls.Client(raw, conf)
			err = c.HandshakeContext(ctx)
			if got := c.ConnectionState().NegotiatedProtocol; err == nil && got != protocol {
				t.Errorf("negotiated %q, want %q", got, protocol)
			}
			return struct{ net.Conn }{c}, err // net/http does not know the name
		}
	}
	tr.ForceAttemptHTTP2 = protocol == "h2"
	return client
}

// TestCredentialKeepAlive: the certificate's status is judged per request, on a
// connection whose handshake was long ago.
func TestCredentialKeepAlive(t *testing.T) {
	t.Parallel()
	_, roleARN := shared.role(t, trustCredentials(), nil)
	alias, aliasARN := shared.alias(t, roleARN)
	for _, h2 := range []bool{false, true} {
		d := shared.device(t, aliasARN)
		client := d.client()
		client.Transport.(*http.Transport).ForceAttemptHTTP2 = h2
		steps := []struct {
			do     func()
			status int
		}{
			{func() {}, 200},
			{func() { d.setStatus(t, iottypes.CertificateStatusInactive) }, 403},
			{func() { d.setStatus(t, iottypes.CertificateStatusActive) }, 200},
			{func() { d.detachPolicy(t) }, 403},
			{func() { d.attachPolicy(t) }, 200},
			{func() { d.setStatus(t, iottypes.CertificateStatusRevoked) }, 403},
		}
		for i, step := range steps {
			step.do()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, shared.credentialsURL(alias), http.NoBody)
			check(t, err)
			req, reused := traceReuse(req)
			res, err := exchange(client, req)
			check(t, err)
			if res.status != step.status || (i > 0 && !reused()) || (res.major == 2) != h2 {
				t.Errorf("step %d: %+v, connection reused: %t; want %d", i, res, reused(), step.status)
			}
		}
	}
}

// answer is what curl got.
type answer struct {
	status  int
	version string
	header  http.Header
	body    string
}

// curl asks with the device's certificate, or with none where it has none.
func (d *device) curl(t *testing.T, url string, args ...string) answer {
	t.Helper()
	dir := t.TempDir()
	all := []string{
		"--silent", "--show-error", "--max-time", "20", "--cacert", d.s.Env["SEKISHO_ROOT_CA"],
		"--dump-header", filepath.Join(dir, "header"), "--output", filepath.Join(dir, "body"), "--write-out", "%{http_code} %{http_version}",
	}
	if d.dir != "" {
		all = append(all, "--cert", d.certFile(), "--key", d.keyFile())
	}
	out := runIn(t, dir, os.Environ(), "curl", append(append(all, args...), url)...)
	var a answer
	var status string
	status, a.version, _ = strings.Cut(out, " ")
	check(t, json.Unmarshal([]byte(status), &a.status))
	b, err := os.ReadFile(filepath.Join(dir, "body"))
	check(t, err)
	a.body = string(b)
	b, err = os.ReadFile(filepath.Join(dir, "header"))
	check(t, err)
	a.header = http.Header{}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok {
			a.header.Add(textproto.CanonicalMIMEHeaderKey(k), strings.TrimSpace(v))
		}
	}
	return a
}

var (
	uuid    = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	success = regexp.MustCompile(`^\{"credentials":\{"accessKeyId":"ASIA[A-Z0-9]{16}","secretAccessKey":"[^"]{40}","sessionToken":"[^"]+","expiration":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"\}\}$`)
)

func redacted(body string) string {
	return regexp.MustCompile(`[A-Za-z0-9+/=]{30,}`).ReplaceAllString(body, "…")
}

// want asserts status, exact body and headers; the message "" means credentials.
func (a answer) want(t *testing.T, version string, status int, message string) {
	t.Helper()
	if a.status != status {
		t.Errorf("status %d, want %d; body %s", a.status, status, redacted(a.body))
	}
	if message != "" && a.body != `{"message":"`+message+`"}` {
		t.Errorf("body %s, want the message %q", redacted(a.body), message)
	}
	if message == "" && !success.MatchString(a.body) {
		t.Errorf("body %s does not look like credentials", redacted(a.body))
	}
	if v := map[string]string{"--http1.1": "1.1", "--http2": "2"}[version]; v != "" && v != a.version {
		t.Errorf("HTTP version %s, want %s", a.version, v)
	}
	if id := a.header.Get("x-amzn-RequestId"); !uuid.MatchString(id) {
		t.Errorf("x-amzn-RequestId %q", id)
	}
	if ct := a.header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("Content-Type %q", ct)
	}
	typ, set := a.header.Get("x-amzn-ErrorType"), message != ""
	if (typ != "") != set || (status == 403 && typ != "AccessDeniedException") {
		t.Errorf("x-amzn-ErrorType %q with status %d", typ, status)
	}
}

// selfSigned is a device whose certificate nobody registered.
func selfSigned(t *testing.T, notAfter time.Time) *device {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "stranger"},
		NotBefore: notAfter.Add(-24 * time.Hour), NotAfter: notAfter, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	check(t, err)
	d := &device{s: shared, dir: t.TempDir()}
	check(t, os.WriteFile(d.certFile(), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	check(t, os.WriteFile(d.keyFile(), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
	return d
}

// delete removes the device's certificate altogether.
func (d *device) delete(t *testing.T) {
	t.Helper()
	d.setStatus(t, iottypes.CertificateStatusInactive)
	d.detachThing(t)
	_, err := d.s.iot.DeleteCertificate(t.Context(), &iot.DeleteCertificateInput{CertificateId: &d.certID, ForceDelete: true})
	check(t, err)
}

func (d *device) detachThing(t *testing.T) {
	t.Helper()
	_, err := d.s.iot.DetachThingPrincipal(t.Context(), &iot.DetachThingPrincipalInput{ThingName: &d.thing, Principal: &d.certARN})
	check(t, err)
}

func (d *device) attachThing(t *testing.T) {
	t.Helper()
	_, err := d.s.iot.AttachThingPrincipal(t.Context(), &iot.AttachThingPrincipalInput{ThingName: &d.thing, Principal: &d.certARN})
	check(t, err)
}

func (d *device) detachPolicy(t *testing.T) {
	t.Helper()
	_, err := d.s.iot.DetachPolicy(t.Context(), &iot.DetachPolicyInput{PolicyName: &d.policy, Target: &d.certARN})
	check(t, err)
}

func (d *device) attachPolicy(t *testing.T) {
	t.Helper()
	_, err := d.s.iot.AttachPolicy(t.Context(), &iot.AttachPolicyInput{PolicyName: &d.policy, Target: &d.certARN})
	check(t, err)
}
