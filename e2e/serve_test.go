//go:build e2e

package e2e_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sekisho-iot/sekisho/e2e/process"
)

// TestDataFolderInUse: a second server on a folder says so and ends with 1.
func TestDataFolderInUse(t *testing.T) {
	t.Parallel()
	s := start(t)
	second, err := process.Start(t.Context(), filepath.Join(t.TempDir(), "other"), "--region", region)
	check(t, err)
	t.Cleanup(func() { check(t, second.Kill()) })
	bin, err := process.Binary()
	check(t, err)
	_, stderr, err := try(t, t.TempDir(), process.CleanEnv(), bin, process.Args(s.Dir)...)
	wantExit(t, err, 1)
	if !strings.Contains(stderr, s.Dir) || len(stderr) > 1000 {
		t.Errorf("the message does not say which folder, or is long: %q", stderr)
	}
	if !s.Running() || !second.Running() {
		t.Error("a server that was running has ended")
	}
	_, err = s.iot.ListThings(t.Context(), &iot.ListThingsInput{})
	check(t, err)
}

func wantExit(t *testing.T, err error, code int) {
	t.Helper()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != code {
		t.Errorf("ended with %v, want exit code %d", err, code)
	}
}

// TestServeUsage: what is wrong on the command line ends with 2 (usage) or 1,
// before anything is made.
func TestServeUsage(t *testing.T) {
	t.Parallel()
	bin, err := process.Binary()
	check(t, err)
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yaml")
	check(t, os.WriteFile(config, []byte("regoin: eu-west-1\n"), 0o600))
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"serve", "--nonsense"}, "nonsense"},
		{[]string{"serve", "--config", config}, "regoin"},
		{[]string{"serve", "--s3-durability", "never"}, "s3-durability"},
		{[]string{"serve", "--account-id", "12"}, "account-id"},
		{[]string{"serve", "--api-listen", "0.0.0.0:0"}, "public-host"},
		{[]string{"nonsense"}, "nonsense"},
	} {
		_, stderr, err := try(t, dir, process.CleanEnv(), bin, append(c.args, "--data", filepath.Join(dir, "data"))...)
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok || (exit.ExitCode() != 1 && exit.ExitCode() != 2) || !strings.Contains(stderr, c.want) {
			t.Errorf("%v: %v, %q; want it refused and %q named", c.args, err, stderr, c.want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "data", "endpoints.json")); err == nil {
		t.Error("a server was ready")
	}
}

// TestServeLifecycle: what stands in the data folder while the server runs,
// after SIGTERM, after SIGKILL; settings that are fixed at first start.
func TestServeLifecycle(t *testing.T) {
	t.Parallel()
	s := start(t)
	info, err := os.Stat(s.Dir)
	check(t, err)
	if info.Mode().Perm() != 0o700 {
		t.Errorf("the data folder has mode %v", info.Mode())
	}
	check(t, filepath.WalkDir(s.Dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Mode().Perm()&0o022 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	}))
	e, err := s.Endpoints()
	check(t, err)
	if len(e) != 3 || e["api"] == "" || e["device_https"] == "" || e["mqtt"] == "" {
		t.Errorf("endpoints.json: %v", e)
	}
	if want := "http://" + e["api"]; s.Env["AWS_ENDPOINT_URL"] != want || s.Env["AWS_REGION"] != region || s.Env["AWS_DEFAULT_REGION"] != region || s.Env["AWS_CA_BUNDLE"] != s.Env["SEKISHO_ROOT_CA"] {
		t.Errorf("env: %v", redact(s.Env))
	}
	bucket := s.bucket(t)
	check(t, put(t, s.s3, bucket, "kept"))

	code, err := s.Stop()
	check(t, err)
	if code != 0 {
		t.Errorf("after SIGTERM: exit code %d\n%s", code, s.Tail(20))
	}
	if _, err := os.Stat(filepath.Join(s.Dir, "endpoints.json")); err == nil {
		t.Error("endpoints.json is there after a clean exit")
	}
	before := s.Env["AWS_ACCESS_KEY_ID"]
	for range 2 {
		check(t, s.Restart(t.Context()))
		s.connect()
		if s.Env["AWS_ACCESS_KEY_ID"] != before {
			t.Error("the administrator's key is another")
		}
		if got := s.objectSum(t, bucket, "kept"); got != "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881" {
			t.Errorf("the object has SHA-256 %s", got)
		}
		check(t, s.Kill())
		if _, err := os.Stat(filepath.Join(s.Dir, "endpoints.json")); err != nil {
			t.Error(err) // stale: the next start removes it
		}
	}
	bin, err := process.Binary()
	check(t, err)
	_, stderr, err := try(t, t.TempDir(), process.CleanEnv(), bin, append(s.Args(), "--region", "eu-west-1")...)
	wantExit(t, err, 2)
	if !strings.Contains(stderr, region) {
		t.Errorf("another region: %q does not name the first", stderr)
	}
}

func redact(env map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range env {
		if !strings.Contains(k, "SECRET") {
			out[k] = v
		}
	}
	return out
}

// TestOwnPaths: what Sekisho serves beside the AWS APIs.
func TestOwnPaths(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/_sekisho/healthz": "", "/_sekisho/readyz": "", "/_sekisho/metrics": "# TYPE", "/_sekisho/root-ca.pem": "BEGIN CERTIFICATE",
	} {
		for _, base := range []string{shared.Env["AWS_ENDPOINT_URL"], shared.httpsEndpoint(t, "localhost")} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+path, http.NoBody)
			check(t, err)
			res, err := (&http.Client{Transport: shared.transport(), Timeout: 10 * time.Second}).Do(req)
			check(t, err)
			body, err := io.ReadAll(res.Body)
			check(t, err)
			check(t, res.Body.Close())
			if res.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
				t.Errorf("%s%s: %s %.200s", base, path, res.Status, body)
			}
		}
	}
}

// TestLogs: a denial says who, what, on what and why; no secret is ever there.
func TestLogs(t *testing.T) {
	t.Parallel()
	s := start(t, "--log-format", "json")
	bucket := s.bucket(t)
	_, roleARN := s.role(t, trustCredentials(), document(allow("s3:GetObject", "*")))
	alias, aliasARN := s.alias(t, roleARN)
	d := s.device(t, aliasARN)
	c, err := d.fetch(t.Context(), alias)
	check(t, err)
	client := s3.NewFromConfig(s.config(d.session(t, alias)), pathStyle)
	wantDenied(t, "PUT", put(t, client, bucket, "denied-key"))
	s.awsFails(t, nil, "s3api", "get-object", "--bucket", bucket, "--key", "nothing", "out")
	_, err = s.Stop()
	check(t, err)
	log, err := os.ReadFile(s.Log)
	check(t, err)
	var denial string
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, "denied-key") {
			denial = line
		}
	}
	for _, want := range []string{"s3:PutObject", "arn:aws:s3:::" + bucket + "/denied-key", d.certID, roleARN[strings.LastIndex(roleARN, "/")+1:]} {
		if !strings.Contains(denial, want) {
			t.Errorf("the denial's line %q lacks %s", denial, want)
		}
	}
	key, err := os.ReadFile(d.keyFile())
	check(t, err)
	for name, secret := range map[string]string{
		"administrator's secret": s.Env["AWS_SECRET_ACCESS_KEY"], "session's secret": c.SecretAccessKey,
		"session token": c.SessionToken, "device's private key": string(key[40:100]),
	} {
		if strings.Contains(string(log), secret) {
			t.Errorf("the log holds the %s", name)
		}
	}
	// Nor does the data folder hold what the server promised not to keep.
	check(t, filepath.WalkDir(s.Dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), string(key[40:100])) || strings.Contains(string(b), c.SecretAccessKey) {
			t.Errorf("%s holds a device's private key or a session's secret", path)
		}
		return err
	}))
}

// TestServeStop: SIGTERM ends the server with 0 within 10 s, although an upload
// is stuck and connections are kept alive.
func TestServeStop(t *testing.T) {
	t.Parallel()
	s := start(t)
	bucket := s.bucket(t)
	_, roleARN := s.role(t, trustCredentials(), nil)
	alias, aliasARN := s.alias(t, roleARN)
	d := s.device(t, aliasARN)
	_, err := d.fetch(t.Context(), alias) // leaves a connection
	check(t, err)
	for _, endpoint := range []string{"api", "device_https"} { // connections that never speak
		e, err := s.Endpoints()
		check(t, err)
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", e[endpoint])
		check(t, err)
		defer shut(t, conn)
	}
	url, err := s3.NewPresignClient(s.s3).PresignPutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: new("stuck")})
	check(t, err)
	r, w := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), url.Method, url.URL, r)
	check(t, err)
	req.ContentLength = 1 << 20
	done := make(chan error, 1)
	go func() {
		res, err := (&http.Client{Transport: s.transport()}).Do(req)
		if err == nil {
			err = res.Body.Close()
		}
		done <- err
	}()
	_, err = w.Write(make([]byte, 1000))
	check(t, err)
	begun := time.Now()
	code, err := s.Stop()
	check(t, err)
	if took := time.Since(begun); code != 0 || took > 10*time.Second {
		t.Errorf("exit code %d after %s", code, took)
	}
	check(t, w.Close())
	t.Logf("the stuck upload ended with: %v", <-done)
	check(t, s.Restart(t.Context()))
	s.connect()
	_, err = s.s3.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &bucket, Key: new("stuck")})
	wantError(t, "HEAD of what was never sent whole", err, 404, "NotFound")
}

// TestBeyondLoopback: on every interface the API port speaks HTTPS alone, and
// the certificate names the public host and what lies under it.
func TestBeyondLoopback(t *testing.T) {
	t.Parallel()
	s := start(t, "--api-listen", "0.0.0.0:0", "--public-host", "gate.example.com")
	_, port, err := net.SplitHostPort(strings.TrimPrefix(s.Env["AWS_ENDPOINT_URL"], "https://"))
	if err != nil || s.Env["AWS_ENDPOINT_URL"] != "https://gate.example.com:"+port {
		t.Fatalf("AWS_ENDPOINT_URL is %s", s.Env["AWS_ENDPOINT_URL"])
	}
	get := func(url string) (exchanged, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		check(t, err)
		tr := s.transport()
		tr.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, "127.0.0.1:"+port)
		}
		return exchange(&http.Client{Transport: tr, Timeout: 10 * time.Second}, req)
	}
	for _, host := range []string{"localhost", "127.0.0.1", "gate.example.com", "bucket.gate.example.com", "s3." + region + ".gate.example.com", "bucket.s3." + region + ".gate.example.com"} {
		if res, err := get("https://" + host + ":" + port + "/"); err != nil || res.status != http.StatusForbidden {
			t.Errorf("https://%s: %+v, %v; want the refusal of an anonymous call", host, res, err)
		}
	}
	if res, err := get("http://gate.example.com:" + port + "/_sekisho/healthz"); err == nil && res.status == http.StatusOK {
		t.Errorf("plain HTTP was answered with %+v", res)
	}
	if _, err := get("https://elsewhere.example.org:" + port + "/"); err == nil {
		t.Error("the certificate holds for a foreign name")
	}
}

// TestServeStopIdle: connections that are merely kept alive do not delay a stop.
func TestServeStopIdle(t *testing.T) {
	t.Parallel()
	s := start(t)
	_, roleARN := s.role(t, trustCredentials(), nil)
	alias, aliasARN := s.alias(t, roleARN)
	d := s.device(t, aliasARN)
	for _, protocol := range []string{"http/1.1", "h2", "x-amzn-http-ca"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.credentialsURL(alias), http.NoBody)
		check(t, err)
		check(t, second(exchange(d.clientALPN(t, protocol), req)))
	}
	begun := time.Now()
	code, err := s.Stop()
	check(t, err)
	if took := time.Since(begun); code != 0 || took > 3*time.Second {
		t.Errorf("exit code %d after %s", code, took)
	}
}
