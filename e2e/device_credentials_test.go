//go:build e2e

package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sekisho-iot/sekisho/e2e/process"
	"github.com/sekisho-iot/sekisho/internal/agent/clock"
	"github.com/sekisho-iot/sekisho/internal/agent/config"
	"github.com/sekisho-iot/sekisho/internal/agent/credential"
	"github.com/sekisho-iot/sekisho/internal/servertest"
)

// enrolled is a device of s that may write below its name in bucket, enrolled by
// the command into the folder that is returned.
func enrolled(t *testing.T, s *server) (bin, dir, thing, bucket string) {
	t.Helper()
	bin, err := process.Binary()
	check(t, err)
	bucket = s.bucket(t)
	role, roleARN := s.role(t, trustCredentials(), document(allow("s3:PutObject", "arn:aws:s3:::"+bucket+"/${credentials-iot:ThingName}/*")))
	alias := unique("alias")
	_, err = s.iot.CreateRoleAlias(t.Context(), &iot.CreateRoleAliasInput{RoleAlias: &alias, RoleArn: &roleARN})
	check(t, err)
	_, err = s.iam.GetRole(t.Context(), &iam.GetRoleInput{RoleName: &role})
	check(t, err)
	thing, dir = unique("camera"), filepath.Join(t.TempDir(), "out")
	runIn(t, t.TempDir(), s.environ(), bin, "enroll", thing, "--role-alias", alias, "--out", dir)
	return bin, dir, thing, bucket
}

// deviceEnv is a device's shell: no key of an administrator's in it.
func (s *server) deviceEnv(extra ...string) []string {
	return append(process.CleanEnv(), append([]string{
		"AWS_ENDPOINT_URL=" + s.Env["AWS_ENDPOINT_URL"], "AWS_CA_BUNDLE=" + s.Env["SEKISHO_ROOT_CA"], "AWS_REGION=" + region,
		"AWS_DEFAULT_REGION=" + region, "AWS_EC2_METADATA_DISABLED=true", "AWS_SHARED_CREDENTIALS_FILE=/nonexistent",
	}, extra...)...)
}

// requests is how often the credential endpoint was asked, by the server's metrics.
func (s *server) requests(t *testing.T) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.Env["AWS_ENDPOINT_URL"]+"/_sekisho/metrics", http.NoBody)
	check(t, err)
	res, err := http.DefaultClient.Do(req)
	check(t, err)
	defer shut(t, res.Body)
	b, err := io.ReadAll(res.Body)
	check(t, err)
	n := 0
	for _, m := range regexp.MustCompile(`(?m)^sekisho_api_request_duration_seconds_count\{operation="AssumeRoleWithCertificate",.*\} (\d+)$`).FindAllSubmatch(b, -1) {
		k, err := strconv.Atoi(string(m[1]))
		check(t, err)
		n += k
	}
	return n
}

// TestCredentialProcess: AWS CLI calls in parallel, each of which runs the
// helper, make one request; and a revoked certificate ends it.
func TestCredentialProcess(t *testing.T) {
	t.Parallel()
	need(t, "aws")
	s := start(t)
	bin, dir, thing, bucket := enrolled(t, s)
	conf := filepath.Join(t.TempDir(), "config")
	cache := filepath.Join(t.TempDir(), "cache")
	check(t, os.WriteFile(conf, fmt.Appendf(nil, "[profile device]\ncredential_process = %s device credentials --config %s/device.json --cache %s\n", bin, dir, cache), 0o600))
	env := s.deviceEnv("AWS_CONFIG_FILE="+conf, "AWS_PROFILE=device")
	file := filepath.Join(t.TempDir(), "photo")
	check(t, os.WriteFile(file, []byte("hello"), 0o600))
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() {
			if out, stderr, err := try(t, t.TempDir(), env, "aws", "s3", "cp", file, fmt.Sprintf("s3://%s/%s/photo%d", bucket, thing, i)); err != nil {
				t.Errorf("aws s3 cp: %v\n%s%s", err, out, stderr)
			}
		})
	}
	wg.Wait()
	if n := s.requests(t); n != 1 {
		t.Errorf("the credential endpoint was asked %d times", n)
	}
	for i := range 2 {
		_, err := s.s3.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &bucket, Key: aws.String(fmt.Sprintf("%s/photo%d", thing, i))})
		check(t, err)
	}
	// The helper alone, as bin/sekisho-device, twenty at a time with no cache yet.
	alone := filepath.Join(filepath.Dir(bin), "sekisho-device")
	fresh := filepath.Join(t.TempDir(), "fresh")
	for range 20 {
		wg.Go(func() {
			if out := runIn(t, t.TempDir(), process.CleanEnv(), alone, "credentials", "--config", filepath.Join(dir, "device.json"), "--cache", fresh); !json.Valid([]byte(out)) {
				t.Errorf("printed %q", out)
			}
		})
	}
	wg.Wait()
	if n := s.requests(t); n != 2 {
		t.Errorf("the credential endpoint was asked %d times for two caches", n)
	}
	_, err := s.iot.UpdateCertificate(t.Context(), &iot.UpdateCertificateInput{CertificateId: certificateOf(t, dir), NewStatus: iottypes.CertificateStatusRevoked})
	check(t, err)
	_, stderr, err := try(t, t.TempDir(), process.CleanEnv(), bin, "device", "credentials", "--config", filepath.Join(dir, "device.json"), "--cache", filepath.Join(t.TempDir(), "new"))
	wantExit(t, err, 1)
	if !strings.Contains(stderr, "enrol the device again") {
		t.Errorf("said %q", stderr)
	}
}

func certificateOf(t *testing.T, dir string) *string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "device.json"))
	check(t, err)
	var v struct{ CertificateID string }
	check(t, json.Unmarshal(b, &v))
	return &v.CertificateID
}

// TestContainerCredentials: what --serve prints is all that AWS SDKs need.
func TestContainerCredentials(t *testing.T) {
	t.Parallel()
	need(t, "aws")
	need(t, "python3")
	s := start(t)
	bin, dir, thing, bucket := enrolled(t, s)
	cmd := exec.CommandContext(t.Context(), bin, "device", "credentials", "--config", filepath.Join(dir, "device.json"),
		"--cache", filepath.Join(t.TempDir(), "cache"), "--serve", "--listen", "127.0.0.1:0")
	cmd.Env = process.CleanEnv()
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	lines := bufio.NewScanner(out)
	env := s.deviceEnv("BUCKET="+bucket, "PYTHONDONTWRITEBYTECODE=1")
	var vars []string
	for len(vars) < 2 && lines.Scan() {
		kv, ok := strings.CutPrefix(strings.ReplaceAll(lines.Text(), `"`, ""), "export ")
		if !ok {
			t.Errorf("printed %q", lines.Text())
		}
		vars = append(vars, kv)
	}
	env = append(env, vars...)
	runIn(t, t.TempDir(), env, "sh", "-c", "echo "+thing+"/boto3 | python3 "+testdata(t, "container.py"))
	runIn(t, t.TempDir(), env, "aws", "s3api", "put-object", "--bucket", bucket, "--key", thing+"/cli")
	if n := s.requests(t); n != 1 {
		t.Errorf("the credential endpoint was asked %d times", n)
	}
	check(t, cmd.Process.Signal(syscall.SIGTERM))
	check(t, cmd.Wait())
	for _, key := range []string{"boto3", "cli"} {
		_, err := s.s3.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &bucket, Key: aws.String(thing + "/" + key)})
		check(t, err)
	}
	_, file, _ := strings.Cut(vars[1], "=")
	if _, err := os.Stat(file); err == nil || !strings.Contains(file, "token") {
		t.Errorf("token file %s was left", file)
	}
	if strings.Contains(log.String(), "ASIA") {
		t.Errorf("logged: %s", &log)
	}
}

// clockSkew is as far as clients and server may be apart for S3, and a little less.
const clockSkew = 14 * time.Minute

// TestCredentialExpiry: clients that live longer than their credentials do not
// notice. The server's clock is moved from 14 minutes behind to 14 ahead, which
// is longer than the session of 15 lasts, and the device's with it.
func TestCredentialExpiry(t *testing.T) {
	t.Parallel()
	need(t, "aws")
	need(t, "python3")
	s := servertest.Start(t)
	s.Fleet()
	roleARN := s.NewRole("short", servertest.TrustDevices, servertest.OwnPrefix)
	_, err := s.IoT.CreateRoleAlias(t.Context(), &iot.CreateRoleAliasInput{RoleAlias: aws.String("short"), RoleArn: &roleARN, CredentialDurationSeconds: aws.Int32(900)})
	check(t, err)
	d := s.Enrol("camera-1")
	uri, tokenFile, provider := serveCredentials(t, s, d)
	s.Clock.Move(-clockSkew)

	token, err := os.ReadFile(tokenFile)
	check(t, err)
	session, err := provider.Get(t.Context())
	check(t, err)
	put := func(p aws.CredentialsProvider, key string) error {
		_, err := s.S3As(p).PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(servertest.Bucket), Key: &key, Body: strings.NewReader("x")})
		return err
	}
	old := credentials.NewStaticCredentialsProvider(session.AccessKeyID, session.SecretAccessKey, session.SessionToken)
	check(t, put(old, "camera-1/static1"))
	// As the SDK's own configuration has it.
	sdk := aws.NewCredentialsCache(endpointcreds.New(uri, func(o *endpointcreds.Options) { o.AuthorizationToken = string(token) }),
		func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = 5 * time.Minute })
	check(t, put(sdk, "camera-1/go1"))
	env := append(process.CleanEnv(),
		"AWS_ENDPOINT_URL=https://"+s.APIAddr(), "AWS_CA_BUNDLE="+filepath.Join(s.Data, "pki", "root-ca.pem"), "AWS_DEFAULT_REGION="+servertest.Region,
		"AWS_EC2_METADATA_DISABLED=true", "AWS_SHARED_CREDENTIALS_FILE=/nonexistent", "AWS_CONFIG_FILE=/nonexistent",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI="+uri, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE="+tokenFile,
		"BUCKET="+servertest.Bucket, "PYTHONDONTWRITEBYTECODE=1")
	boto3 := longLived(t, env)
	if id := boto3("camera-1/boto3-1"); id != session.AccessKeyID {
		t.Errorf("boto3 has %s, want %s", id, session.AccessKeyID)
	}
	cli := func(key string) {
		t.Helper()
		runIn(t, t.TempDir(), env, "aws", "s3api", "put-object", "--bucket", servertest.Bucket, "--key", key)
	}
	cli("camera-1/cli1")

	s.Clock.Move(2 * clockSkew)
	if code := servertest.Code(put(old, "camera-1/static2")); code != "ExpiredToken" {
		t.Errorf("the first session: %q, want ExpiredToken", code)
	}
	check(t, put(sdk, "camera-1/go2"))
	if id := boto3("camera-1/boto3-2"); id == session.AccessKeyID || !strings.HasPrefix(id, "ASIA") {
		t.Errorf("boto3 has %s after the end of %s", id, session.AccessKeyID)
	}
	cli("camera-1/cli2")
}

// serveCredentials is `device credentials --serve` for a device whose clock is the server's.
func serveCredentials(t *testing.T, s *servertest.Server, d *servertest.Device) (uri, tokenFile string, p *credential.Provider) {
	t.Helper()
	dir := t.TempDir()
	key, err := x509.MarshalPKCS8PrivateKey(d.Certificate.PrivateKey)
	check(t, err)
	conf, err := json.Marshal(config.Config{
		Thing: d.Thing, RoleAlias: "short", Endpoints: config.Endpoints{Credentials: s.DeviceAddr()},
		Certificate: "cert.pem", PrivateKey: "key.pem", RootCA: filepath.Join(s.Data, "pki", "root-ca.pem"),
	})
	check(t, err)
	for name, b := range map[string][]byte{
		"cert.pem":    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: d.Certificate.Certificate[0]}),
		"key.pem":     pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		"device.json": conf,
	} {
		check(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
	}
	c, err := config.Load(filepath.Join(dir, "device.json"))
	check(t, err)
	k := clock.New(s.Clock.Now)
	e, err := credential.NewEndpoint(c, k, nil)
	check(t, err)
	t.Cleanup(e.Close)
	cache, err := credential.OpenCache(filepath.Join(dir, "cache"), e.ID())
	check(t, err)
	p = credential.NewProvider(credential.Options{Endpoint: e, Cache: cache, Clock: k, Logger: slog.New(slog.DiscardHandler), Patience: time.Second, Ahead: true})
	t.Cleanup(p.Close)
	tokenFile = filepath.Join(dir, "token")
	token, err := credential.TokenFile(tokenFile, rand.Reader)
	check(t, err)
	web := httptest.NewServer(credential.NewHandler(p, token))
	t.Cleanup(web.Close)
	return web.URL + credential.Path, tokenFile, p
}

// longLived starts a boto3 client and returns what has it put an object.
func longLived(t *testing.T, env []string) func(key string) (accessKeyID string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
	cmd := exec.CommandContext(ctx, "python3", testdata(t, "container.py"))
	cmd.Env = env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	check(t, err)
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	lines := bufio.NewScanner(out)
	t.Cleanup(func() {
		defer cancel()
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("boto3: %v\n%s", err, &stderr)
		}
	})
	return func(key string) string {
		t.Helper()
		if _, err := io.WriteString(in, key+"\n"); err != nil {
			t.Fatal(err)
		}
		if !lines.Scan() {
			t.Fatalf("boto3 ended: %s", &stderr)
		}
		return lines.Text()
	}
}
