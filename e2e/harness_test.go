//go:build e2e

package e2e_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/sekisho-iot/sekisho/e2e/process"
)

const region = "ap-northeast-1"

// shared is the server that every test uses which needs none of its own.
var shared *server //nolint:gochecknoglobals // TestMain starts it, and ends it after the last test

// server is a running Sekisho with administrator clients on it.
type server struct {
	*process.Server
	roots *x509.CertPool
	iam   *iam.Client
	iot   *iot.Client
	sts   *sts.Client
	s3    *s3.Client // path style
}

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sekisho-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	shared, err = open(process.Start(ctx, filepath.Join(dir, "data"), "--region", region))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	exit, err := shared.Stop()
	if err != nil || exit != 0 {
		fmt.Fprintf(os.Stderr, "shared server: exit code %d, %v\n", exit, err)
		code = 1
	}
	if code != 0 {
		fmt.Fprintf(os.Stderr, "shared server's log ends:\n%s\n", shared.Tail(10))
	}
	return code
}

// open adds the administrator's clients to a started server.
func open(p *process.Server, err error) (*server, error) {
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(p.Env["SEKISHO_ROOT_CA"])
	if err != nil {
		return nil, err
	}
	s := &server{Server: p, roots: x509.NewCertPool()}
	if !s.roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", p.Env["SEKISHO_ROOT_CA"])
	}
	s.connect()
	return s, nil
}

// connect makes the clients anew; the ports of a restarted server differ.
func (s *server) connect() {
	c := s.config(credentials.NewStaticCredentialsProvider(s.Env["AWS_ACCESS_KEY_ID"], s.Env["AWS_SECRET_ACCESS_KEY"], ""))
	s.iam, s.iot, s.sts = iam.NewFromConfig(c), iot.NewFromConfig(c), sts.NewFromConfig(c)
	s.s3 = s3.NewFromConfig(c, pathStyle)
}

func pathStyle(o *s3.Options) { o.UsePathStyle = true }

func (s *server) config(p aws.CredentialsProvider) aws.Config {
	return aws.Config{
		Region:       region,
		Credentials:  p,
		BaseEndpoint: aws.String(s.Env["AWS_ENDPOINT_URL"]),
		HTTPClient:   &http.Client{Transport: s.transport(), Timeout: 2 * time.Minute},
		Retryer:      func() aws.Retryer { return aws.NopRetryer{} },
	}
}

// transport trusts our root CA alone and resolves every name under localhost
// to 127.0.0.1, as browsers do and as not every libc does.
func (s *server) transport() *http.Transport {
	var d net.Dialer
	return &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: s.roots},
		MaxIdleConnsPerHost: 64, ExpectContinueTimeout: time.Second, // as the SDK's own
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			host, port, err := net.SplitHostPort(addr)
			if err == nil && (host == "localhost" || strings.HasSuffix(host, ".localhost")) {
				addr = net.JoinHostPort("127.0.0.1", port)
			}
			return d.DialContext(ctx, network, addr)
		},
	}
}

// httpsEndpoint is the API port by TLS under the given host name.
func (s *server) httpsEndpoint(t testing.TB, host string) string {
	t.Helper()
	e, err := s.Endpoints()
	check(t, err)
	_, port, err := net.SplitHostPort(e["api"])
	check(t, err)
	return "https://" + net.JoinHostPort(host, port)
}

// start runs a server for one test alone and ends it with the test.
func start(t *testing.T, extra ...string) *server {
	t.Helper()
	return startIn(t, filepath.Join(t.TempDir(), "data"), extra...)
}

func startIn(t *testing.T, dir string, extra ...string) *server {
	t.Helper()
	s, err := open(process.Start(t.Context(), dir, append([]string{"--region", region}, extra...)...))
	check(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("server's log ends:\n%s", s.Tail(15))
		}
		if err := s.Kill(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// environ is what a shell has after `eval "$(sekisho env)"`, with extra
// NAME=value entries that win.
func (s *server) environ(extra ...string) []string {
	env := process.CleanEnv()
	for k, v := range s.Env {
		env = append(env, k+"="+v)
	}
	return append(env, extra...)
}

// runIn runs a program in dir and fails the test unless it exits 0.
func runIn(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	out, errOut, err := try(t, dir, env, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, errOut)
	}
	return out
}

// try runs a program for at most three minutes.
func try(t *testing.T, dir string, env []string, name string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, env
	cmd.WaitDelay = 5 * time.Second
	var o, e strings.Builder
	cmd.Stdout, cmd.Stderr = &o, &e
	err = cmd.Run()
	return o.String(), e.String(), err
}

// testdata is the absolute path of a file in testdata.
func testdata(t *testing.T, name string) string {
	t.Helper()
	p, err := filepath.Abs(filepath.Join("testdata", name))
	check(t, err)
	return p
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// unique is a name that no other test uses, with a prefix that says whose it is.
func unique(prefix string) string {
	b := make([]byte, 5)
	_, _ = rand.Read(b)
	return prefix + "-" + hex.EncodeToString(b)
}

// document renders an IAM or IoT policy with the given statements.
func document(statements ...map[string]any) *string {
	b, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": statements})
	if err != nil {
		panic(err)
	}
	return aws.String(string(b))
}

func allow(action, resource any) map[string]any {
	return map[string]any{"Effect": "Allow", "Action": action, "Resource": resource}
}

// trustCredentials is the trust policy that every role of a role alias needs.
func trustCredentials() *string {
	return document(map[string]any{
		"Effect": "Allow", "Action": "sts:AssumeRole",
		"Principal": map[string]string{"Service": "credentials.iot.amazonaws.com"},
	})
}

// role makes a role with one inline policy and returns its name and ARN.
func (s *server) role(t testing.TB, trust, inline *string) (name, arn string) {
	t.Helper()
	name = unique("role")
	out, err := s.iam.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: trust})
	check(t, err)
	if inline != nil {
		_, err = s.iam.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: &name, PolicyName: aws.String("inline"), PolicyDocument: inline})
		check(t, err)
	}
	return name, *out.Role.Arn
}

// alias makes a role alias of 900 s.
func (s *server) alias(t testing.TB, roleARN string) (name, arn string) {
	t.Helper()
	name = unique("alias")
	out, err := s.iot.CreateRoleAlias(t.Context(), &iot.CreateRoleAliasInput{RoleAlias: &name, RoleArn: &roleARN, CredentialDurationSeconds: aws.Int32(900)})
	check(t, err)
	return name, *out.RoleAliasArn
}

// bucket makes a bucket.
func (s *server) bucket(t testing.TB) string {
	t.Helper()
	name := unique("bucket")
	_, err := s.s3.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name})
	check(t, err)
	return name
}

// device is a thing with an active certificate.
type device struct {
	s       *server
	thing   string
	certID  string
	certARN string
	policy  string // IoT policy attached to the certificate; "" for none
	dir     string // device.pem.crt and private.pem.key
	cert    tls.Certificate
}

// device enrols a thing. The IoT policy allows iot:AssumeRoleWithCertificate on
// the given resources; none means no policy at all.
func (s *server) device(t testing.TB, roleAliasARNs ...string) *device {
	t.Helper()
	d := &device{s: s, thing: unique("thing"), dir: t.TempDir()}
	_, err := s.iot.CreateThing(t.Context(), &iot.CreateThingInput{ThingName: &d.thing})
	check(t, err)
	out, err := s.iot.CreateKeysAndCertificate(t.Context(), &iot.CreateKeysAndCertificateInput{SetAsActive: true})
	check(t, err)
	d.certID, d.certARN = *out.CertificateId, *out.CertificateArn
	check(t, os.WriteFile(d.certFile(), []byte(*out.CertificatePem), 0o600))
	check(t, os.WriteFile(d.keyFile(), []byte(*out.KeyPair.PrivateKey), 0o600))
	d.cert, err = tls.X509KeyPair([]byte(*out.CertificatePem), []byte(*out.KeyPair.PrivateKey))
	check(t, err)
	_, err = s.iot.AttachThingPrincipal(t.Context(), &iot.AttachThingPrincipalInput{ThingName: &d.thing, Principal: &d.certARN})
	check(t, err)
	if len(roleAliasARNs) > 0 {
		d.policy = unique("policy")
		_, err = s.iot.CreatePolicy(t.Context(), &iot.CreatePolicyInput{PolicyName: &d.policy, PolicyDocument: document(allow("iot:AssumeRoleWithCertificate", roleAliasARNs))})
		check(t, err)
		_, err = s.iot.AttachPolicy(t.Context(), &iot.AttachPolicyInput{PolicyName: &d.policy, Target: &d.certARN})
		check(t, err)
	}
	return d
}

func (d *device) certFile() string { return filepath.Join(d.dir, "device.pem.crt") }
func (d *device) keyFile() string  { return filepath.Join(d.dir, "private.pem.key") }

func (d *device) setStatus(t testing.TB, status iottypes.CertificateStatus) {
	t.Helper()
	_, err := d.s.iot.UpdateCertificate(t.Context(), &iot.UpdateCertificateInput{CertificateId: &d.certID, NewStatus: status})
	check(t, err)
}

// client speaks HTTP to the credential endpoint with the device's certificate.
func (d *device) client() *http.Client {
	tr := d.s.transport()
	tr.TLSClientConfig.Certificates = []tls.Certificate{d.cert}
	return &http.Client{Transport: tr, Timeout: 30 * time.Second}
}

// session fetches credentials as aws-sdk-go-v2 wants them.
func (d *device) session(t testing.TB, alias string) aws.CredentialsProvider {
	t.Helper()
	c, err := d.fetch(t.Context(), alias)
	check(t, err)
	return credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken)
}

// sessionCredentials is the body of a 200 from the credential endpoint.
type sessionCredentials struct {
	AccessKeyID     string    `json:"accessKeyId"`
	SecretAccessKey string    `json:"secretAccessKey"`
	SessionToken    string    `json:"sessionToken"`
	Expiration      time.Time `json:"expiration"`
}

func (d *device) fetch(ctx context.Context, alias string) (sessionCredentials, error) {
	var body struct {
		Credentials sessionCredentials `json:"credentials"`
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.s.credentialsURL(alias), http.NoBody)
	if err != nil {
		return body.Credentials, err
	}
	if d.thing != "" {
		req.Header.Set("x-amzn-iot-thingname", d.thing)
	}
	res, err := d.client().Do(req)
	if err != nil {
		return body.Credentials, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return body.Credentials, fmt.Errorf("credential endpoint: %s", res.Status)
	}
	return body.Credentials, json.NewDecoder(res.Body).Decode(&body)
}

func (s *server) credentialsURL(alias string) string {
	return "https://" + s.credentialEndpoint() + "/role-aliases/" + alias + "/credentials"
}

// need fails the test where one of the programs, all of which install.sh sees
// to, is not on the machine.
func need(t *testing.T, programs ...string) {
	t.Helper()
	missing := slices.DeleteFunc(slices.Clone(programs), func(p string) bool {
		_, err := exec.LookPath(p)
		return err == nil
	})
	if len(missing) > 0 {
		t.Fatalf("not on this machine: %s (make clients installs it)", strings.Join(missing, ", "))
	}
}

// traceReuse reports, after the request was answered, whether it went over a
// connection that an earlier one had left.
func traceReuse(req *http.Request) (*http.Request, func() bool) {
	var reused bool
	trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }}
	return req.WithContext(httptrace.WithClientTrace(req.Context(), trace)), func() bool { return reused }
}

// shut closes what a test has read.
func shut(t testing.TB, c io.Closer) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// credentialEndpoint is what DescribeEndpoint must answer: the public host,
// with the port that is really bound.
func (s *server) credentialEndpoint() string {
	_, port, _ := cutLast(s.Env["SEKISHO_CREDENTIAL_ENDPOINT"], ":")
	return "localhost:" + port
}

// exchanged is what a test looks at of an answer.
type exchanged struct {
	status int
	major  int // of the HTTP version
}

// exchange sends a request and reads the answer to its end.
func exchange(c *http.Client, req *http.Request) (exchanged, error) {
	res, err := c.Do(req)
	if err != nil {
		return exchanged{}, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return exchanged{res.StatusCode, res.ProtoMajor}, err
}
