//go:build e2e && linux

package e2e_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sekisho-iot/sekisho/e2e/process"
	"github.com/sekisho-iot/sekisho/internal/agent/config"
	sekisho "github.com/sekisho-iot/sekisho/internal/server"
	"github.com/sekisho-iot/sekisho/internal/servertest"
)

// camera is a device that may upload, and the program that runs on it.
type camera struct {
	t       *testing.T
	bin     string // sekisho-device
	dir     string // where it runs; home, out (what enroll left) and its files are below
	thing   string
	bucket  string
	alias   string
	uid     int // to run as; 0 is that of the test
	command []string
}

// newCamera enrols a device of the shared server, with two files: photo.jpg goes
// inside a message, clip.mp4 to the bucket.
func newCamera(t *testing.T) *camera {
	t.Helper()
	bin, err := process.Binary()
	check(t, err)
	c := &camera{t: t, bin: filepath.Join(filepath.Dir(bin), "sekisho-device"), dir: t.TempDir(), thing: unique("camera"), bucket: shared.bucket(t)}
	_, roleARN := shared.role(t, trustCredentials(), document(allow(
		[]string{"s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"}, "arn:aws:s3:::"+c.bucket+"/${credentials-iot:ThingName}/*")))
	c.alias, _ = shared.alias(t, roleARN)
	runIn(t, c.dir, shared.environ(), bin, "enroll", c.thing, "--role-alias", c.alias, "--uploads", c.bucket, "--out", c.path("out"))
	c.write("photo.jpg", []byte("a photo"))
	clip := make([]byte, 200<<10)
	_, _ = rand.Read(clip)
	c.write("clip.mp4", clip)
	check(t, os.Mkdir(c.path("home"), 0o700))
	c.command = c.upload("photo.jpg", "clip.mp4")
	return c
}

func (c *camera) path(name string) string { return filepath.Join(c.dir, name) }

func (c *camera) write(name string, b []byte) {
	c.t.Helper()
	check(c.t, os.WriteFile(c.path(name), b, 0o600))
}

func (c *camera) read(name string) []byte {
	c.t.Helper()
	b, err := os.ReadFile(c.path(name))
	check(c.t, err)
	return b
}

// upload is a command line that ends soon.
func (c *camera) upload(args ...string) []string {
	return append([]string{"upload", "--config", "out/device.json", "--give-up-after", "3s"}, args...)
}

// set changes a key of device.json, which may be one of the endpoints.
func (c *camera) set(key string, value any) {
	c.t.Helper()
	var v map[string]any
	check(c.t, json.Unmarshal(c.read("out/device.json"), &v))
	in := v
	if at, ok := strings.CutPrefix(key, "endpoints."); ok {
		in, key = v["endpoints"].(map[string]any), at
	}
	in[key] = value
	b, err := json.Marshal(v)
	check(c.t, err)
	c.write("out/device.json", b)
}

// run runs the agent with nothing of the operator's environment.
func (c *camera) run(args ...string) (stdout, stderr string, code int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.bin, args...)
	cmd.Dir, cmd.Env = c.dir, []string{"HOME=" + c.path("home")}
	if c.uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(c.uid), Gid: uint32(c.uid)}}
	}
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	if err := cmd.Run(); cmd.ProcessState == nil {
		c.t.Fatal(err)
	}
	c.noSecrets(o.String() + e.String())
	return o.String(), e.String(), cmd.ProcessState.ExitCode()
}

// noSecrets fails where text has any of the device's key or its credentials.
func (c *camera) noSecrets(text string) {
	c.t.Helper()
	var secrets []string
	if b, err := os.ReadFile(c.path("out/private.pem.key")); err == nil {
		for line := range strings.Lines(string(b)) {
			if line = strings.TrimSpace(line); len(line) > 30 && !strings.HasPrefix(line, "-") {
				secrets = append(secrets, line)
			}
		}
	}
	caches, err := filepath.Glob(c.path("home/.cache/sekisho/creds-*.json"))
	check(c.t, err)
	for _, f := range caches {
		b, err := os.ReadFile(f)
		check(c.t, err)
		var v map[string]any
		check(c.t, json.Unmarshal(b, &v))
		for _, key := range []string{"secretAccessKey", "sessionToken"} {
			secrets = append(secrets, v[key].(string))
		}
	}
	for _, secret := range secrets {
		if strings.Contains(text, secret) {
			c.t.Errorf("it printed a secret: %s", text)
		}
	}
}

// expect runs the command and wants this exit code and these words on standard error.
func (c *camera) expect(code int, words ...string) {
	c.t.Helper()
	stdout, stderr, got := c.run(c.command...)
	if got != code {
		c.t.Errorf("exit code %d, want %d\n%s%s", got, code, stdout, stderr)
	}
	for _, w := range words {
		if !strings.Contains(stderr, w) {
			c.t.Errorf("it did not say %q, but\n%s", w, stderr)
		}
	}
	if strings.Contains(stderr, "operation error") || strings.Contains(stderr, "goroutine") {
		c.t.Errorf("not in words of its user:\n%s", stderr)
	}
}

// goesThrough runs the command once more, for good.
func (c *camera) goesThrough() {
	c.t.Helper()
	stdout, stderr, code := c.run(c.command...)
	if code != 0 || !strings.Contains(stdout, "clip.mp4: 204800 bytes at ") || !strings.Contains(stdout, "photo.jpg: 7 bytes sent in a message") {
		c.t.Errorf("put right, exit code %d\n%s%s", code, stdout, stderr)
	}
	_, err := shared.s3.HeadObject(c.t.Context(), &s3.HeadObjectInput{Bucket: &c.bucket, Key: aws.String(c.thing + "/clip.mp4")})
	check(c.t, err)
}

// expiredPair is an expired certificate that nobody knows, and its key.
func expiredPair(t *testing.T) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "old"},
		NotBefore: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2021, 2, 3, 0, 0, 0, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	check(t, err)
	der8, err := x509.MarshalPKCS8PrivateKey(k)
	check(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der8})
}

// refusals are the ways in which a device may be wrong: what is done to it, what
// the agent must say, and how it is put right (nil: it is not, or there is nothing to).
var refusals = []struct { //nolint:gochecknoglobals // a table
	name  string
	spoil func(c *camera) (mend func())
	code  int
	words []string
}{
	{"wrong key", func(c *camera) func() {
		_, key := expiredPair(c.t)
		old := c.read("out/private.pem.key")
		c.write("out/private.pem.key", key)
		return func() { c.write("out/private.pem.key", old) }
	}, 1, []string{"private.pem.key is not the key of ", "device.pem.crt: put the pair there"}},
	{"expired certificate", func(c *camera) func() {
		cert, key := expiredPair(c.t)
		oldCert, oldKey := c.read("out/device.pem.crt"), c.read("out/private.pem.key")
		c.write("out/device.pem.crt", cert)
		c.write("out/private.pem.key", key)
		return func() {
			c.write("out/device.pem.crt", oldCert)
			c.write("out/private.pem.key", oldKey)
		}
	}, 1, []string{"expired on 2021-02-03", "enrol the device again", "the MQTT server ended the connection", "not known there, not active or expired"}},
	{"certificate of another thing", func(c *camera) func() {
		other := newCamera(c.t)
		c.set("thing", other.thing)
		return func() { c.set("thing", c.thing) }
	}, 1, []string{"not attached to thing camera-", `correct "thing" in device.json`}},
	{"no certificate", func(c *camera) func() {
		old := c.read("out/device.pem.crt")
		check(c.t, os.Remove(c.path("out/device.pem.crt")))
		return func() { c.write("out/device.pem.crt", old) }
	}, 1, []string{`"certificate" of device.json: open `, "no such file"}},
	{"root CA of another server", func(c *camera) func() {
		cert, _ := expiredPair(c.t)
		old := c.read("out/root-ca.pem")
		c.write("out/root-ca.pem", cert)
		return func() { c.write("out/root-ca.pem", old) }
	}, 1, []string{"is not the server that it should be", `check "rootCa"`, "the MQTT server is not", "could not be told and stays in the spool"}},
	{"role alias without permission", func(c *camera) func() {
		_, roleARN := shared.role(c.t, trustCredentials(), nil)
		other, _ := shared.alias(c.t, roleARN)
		c.set("roleAlias", other)
		return func() { c.set("roleAlias", c.alias) }
	}, 1, []string{"may not use role alias alias-", "iot:AssumeRoleWithCertificate", "sekisho explain --thing", "403"}},
	{"unknown role alias", func(c *camera) func() {
		c.set("roleAlias", "misspelt")
		return func() { c.set("roleAlias", c.alias) }
	}, 1, []string{"may not use role alias misspelt", `correct "roleAlias" in device.json`}},
	{"unknown role alias that the policy allows", func(c *camera) func() {
		name := unique("any")
		_, err := shared.iot.CreatePolicy(c.t.Context(), &iot.CreatePolicyInput{PolicyName: &name, PolicyDocument: document(allow("iot:AssumeRoleWithCertificate", "*"))})
		check(c.t, err)
		arn := c.certificateARN()
		_, err = shared.iot.AttachPolicy(c.t.Context(), &iot.AttachPolicyInput{PolicyName: &name, Target: &arn})
		check(c.t, err)
		c.set("roleAlias", "misspelt")
		return func() { c.set("roleAlias", c.alias) }
	}, 1, []string{"there is no role alias misspelt", `correct "roleAlias"`, "404"}},
	{"role deleted", func(c *camera) func() {
		role, roleARN := shared.role(c.t, trustCredentials(), nil)
		_, err := shared.iot.UpdateRoleAlias(c.t.Context(), &iot.UpdateRoleAliasInput{RoleAlias: &c.alias, RoleArn: &roleARN})
		check(c.t, err)
		_, err = shared.iam.DeleteRole(c.t.Context(), &iam.DeleteRoleInput{RoleName: &role})
		check(c.t, err)
		return nil
	}, 1, []string{"the server gives no credentials for role alias alias-", "trust policy"}},
	{"bucket gone", func(c *camera) func() {
		_, err := shared.s3.DeleteBucket(c.t.Context(), &s3.DeleteBucketInput{Bucket: &c.bucket})
		check(c.t, err)
		return func() {
			_, err := shared.s3.CreateBucket(c.t.Context(), &s3.CreateBucketInput{Bucket: &c.bucket})
			check(c.t, err)
		}
	}, 1, []string{"there is no bucket bucket-", `correct "bucket" in device.json or --bucket`, "404 NoSuchBucket"}},
	{"another's bucket", func(c *camera) func() {
		other := shared.bucket(c.t)
		c.set("bucket", other)
		return func() { c.set("bucket", c.bucket) }
	}, 1, []string{"must allow s3:PutObject on arn:aws:s3:::bucket-", "403 AccessDenied", "request "}},
	{"key outside of the prefix", func(c *camera) func() {
		c.set("keyTemplate", "others/{name}")
		return func() { c.set("keyTemplate", "") }
	}, 1, []string{"must allow s3:PutObject on arn:aws:s3:::bucket-", "/others/clip.mp4", "403 AccessDenied"}},
	{"topic without permission", func(c *camera) func() {
		c.set("topic", "others/upload")
		return func() { c.set("topic", "") }
	}, 1, []string{"refused the message to others/upload", "must allow iot:Publish to it"}},
	{"nobody at the endpoints", func(c *camera) func() {
		old := c.read("out/device.json")
		for _, key := range []string{"endpoints.credentials", "endpoints.mqtt"} {
			c.set(key, "127.0.0.1:1")
		}
		c.set("endpoints.s3", "http://127.0.0.1:1")
		return func() { c.write("out/device.json", old) }
	}, 1, []string{"127.0.0.1:1 does not answer", "the MQTT server does not answer", "connection refused", "the next try is in", "could not be told and stays in the spool"}},
	{"nobody at S3", func(c *camera) func() {
		c.set("endpoints.s3", "http://127.0.0.1:1")
		return func() { c.set("endpoints.s3", shared.Env["AWS_ENDPOINT_URL"]) }
	}, 1, []string{"clip.mp4: S3 at 127.0.0.1:1 does not answer", "clip.mp4: given up"}},
	{"a host that is not found", func(c *camera) func() {
		old := c.read("out/device.json")
		c.set("endpoints.mqtt", "no-such-host.invalid:8883")
		return func() { c.write("out/device.json", old) }
	}, 1, []string{"no-such-host.invalid"}},
	{"truncated config", spoilConfig(func(b []byte) []byte { return b[:len(b)/2] }), 1, []string{"device.json ends in the middle, after ", "copy it to the device again"}},
	{"empty config", spoilConfig(func([]byte) []byte { return nil }), 1, []string{"device.json is empty"}},
	{
		"misspelt key", spoilConfig(func(b []byte) []byte { return bytes.Replace(b, []byte(`"roleAlias"`), []byte(`"roleAllias"`), 1) }), 1,
		[]string{`unknown field "roleAllias": check the spelling`},
	},
	{"not JSON", spoilConfig(func([]byte) []byte { return []byte("thing: camera\n") }), 1, []string{"is not JSON (line 1)"}},
	{"an endpoint with a scheme", spoilConfig(func(b []byte) []byte {
		return bytes.Replace(b, []byte(`"mqtt": "`), []byte(`"mqtt": "https://`), 1)
	}), 1, []string{`"endpoints.mqtt" is "https://`, "HOST:PORT is needed"}},
	{"no config", func(c *camera) func() {
		check(c.t, os.Rename(c.path("out/device.json"), c.path("elsewhere")))
		return func() { check(c.t, os.Rename(c.path("elsewhere"), c.path("out/device.json"))) }
	}, 1, []string{"device.json does not exist: name the device.json that `sekisho enroll` left by --config"}},
	{"config is a folder", func(c *camera) func() {
		c.command = []string{"upload", "--config", "out", "photo.jpg", "clip.mp4"}
		return func() { c.command = c.upload("photo.jpg", "clip.mp4") }
	}, 1, []string{"out is a folder: name the device.json in it by --config"}},
	{"damaged journal", func(c *camera) func() {
		c.command = c.upload("--spool", "spool", "photo.jpg", "clip.mp4")
		// What was accepted and could not be sent stands in the journal.
		old := c.read("out/device.json")
		c.set("endpoints.mqtt", "127.0.0.1:1")
		c.set("endpoints.s3", "http://127.0.0.1:1")
		c.expect(1)
		c.write("out/device.json", old)
		b := c.read("spool/journal")
		b[20] ^= 1
		c.write("spool/journal", b)
		return func() { check(c.t, os.Rename(c.path("spool"), c.path("old-spool"))) }
	}, 1, []string{"spool/journal is damaged in line 1 (its checksum is wrong)", "Keep a copy of the folder"}},
	{"spool is no folder", func(c *camera) func() {
		c.write("spool", nil)
		c.command = c.upload("--spool", "spool", "photo.jpg", "clip.mp4")
		return func() { check(c.t, os.Remove(c.path("spool"))) }
	}, 1, []string{"spool spool cannot be used", "it is no folder: name one by --spool"}},
	{"file vanished", func(c *camera) func() {
		b := c.read("photo.jpg")
		check(c.t, os.Remove(c.path("photo.jpg")))
		return func() { c.write("photo.jpg", b) }
	}, 1, []string{"photo.jpg: no such file or directory"}},
	{"a folder as file", func(c *camera) func() {
		c.command = c.upload("home", "clip.mp4")
		return nil
	}, 1, []string{"home: not a regular file"}},
	{"no bucket", func(c *camera) func() {
		c.set("bucket", "")
		return func() { c.set("bucket", c.bucket) }
	}, 1, []string{"clip.mp4: given up", "it has 204800 bytes, too many for a message, and no bucket is set"}},
}

func spoilConfig(change func([]byte) []byte) func(*camera) func() {
	return func(c *camera) func() {
		old := c.read("out/device.json")
		c.write("out/device.json", change(old))
		return func() { c.write("out/device.json", old) }
	}
}

func (c *camera) certificateARN() string {
	c.t.Helper()
	var v struct{ CertificateARN string }
	check(c.t, json.Unmarshal(c.read("out/device.json"), &v))
	return v.CertificateARN
}

// TestDeviceRefusals: whatever is wrong with a device, the agent says what it is
// and what to do, ends with the documented code, and goes on once it is put right.
func TestDeviceRefusals(t *testing.T) {
	t.Parallel()
	for _, r := range refusals {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			c := newCamera(t)
			mend := r.spoil(c)
			c.expect(r.code, r.words...)
			if mend != nil {
				mend()
				c.goesThrough()
			}
		})
	}
}

// TestDeviceUsage: what is wrong on the command line ends with 2.
func TestDeviceUsage(t *testing.T) {
	t.Parallel()
	c := newCamera(t)
	for _, u := range []struct {
		args  []string
		words string
	}{
		{[]string{}, "Usage: sekisho-device COMMAND"},
		{[]string{"uplod"}, `there is no command "uplod"`},
		{[]string{"upload", "--config", "out/device.json"}, "an argument is missing: the files to send"},
		{[]string{"upload", "--config"}, "a value is missing after --config"},
		{c.upload("--verbose", "photo.jpg"), "there is no flag --verbose"},
		{c.upload("--inline-max", "lots", "photo.jpg"), "a number of bytes is needed, such as 51200, 50KiB or 8MiB"},
		{c.upload("--inline-max", "1MiB", "photo.jpg"), "must be 0 to 92160 bytes"},
		{c.upload("--give-up-after", "3", "photo.jpg"), "a time is needed, such as 30s, 10m or 24h"},
		{c.upload("--give-up-after", "-1s", "photo.jpg"), "must be more than nothing"},
		{c.upload("--concurrency", "many", "photo.jpg"), "a number is needed"},
		{c.upload("--concurrency", "0", "photo.jpg"), "must be 1 to 64"},
		{c.upload("--part-size", "1MiB", "photo.jpg"), "must be 5 MiB to 5 GiB"},
		{c.upload("--plain=perhaps", "photo.jpg"), "true or false is needed"},
		{c.upload("--order", "random", "photo.jpg"), "oldest or newest is needed"},
		{c.upload("--topic", "a/#", "photo.jpg"), "without wildcards"},
		{c.upload("--key", "{nothing}", "photo.jpg"), "there is no {nothing}; there are {thing} {name}"},
		{[]string{"watch", "--config", "out/device.json"}, "an argument is missing: FOLDER"},
		{[]string{"watch", "--config", "out/device.json", "a", "b"}, `"b": there is no such argument`},
		{[]string{"watch", "--config", "out/device.json", "photo.jpg"}, "photo.jpg is not a folder"},
		{[]string{"watch", "--config", "out/device.json", "--poll", "0s", "home"}, "--poll and --settle must be times"},
		{[]string{"credentials", "--config", "out/device.json", "--serve", "--listen", "0.0.0.0:0"}, "credentials are served on this machine alone"},
	} {
		c.command = u.args
		c.expect(2, u.words)
	}
}

// TestDeviceNames: a name that is not UTF-8 is refused and the other files go on,
// and what is in a name does not reach the terminal.
func TestDeviceNames(t *testing.T) {
	t.Parallel()
	c := newCamera(t)
	evil := "\x1b]0;owned\a\x1b[2J.txt"
	c.write(evil, []byte("x"))
	c.write("latin-\xe9.txt", []byte("x"))
	stdout, stderr, code := c.run(c.upload("photo.jpg", "latin-\xe9.txt", evil)...)
	if code != 1 || !strings.Contains(stderr, `latin-\xe9.txt": the name must be UTF-8: give the file another`) {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
	if !strings.Contains(stdout, "photo.jpg: 7 bytes sent") || !strings.Contains(stdout, `\x1b]0;owned\a\x1b[2J.txt: 1 bytes sent`) {
		t.Errorf("the others: %q", stdout)
	}
	if strings.ContainsAny(stdout+stderr, "\x1b\a") || !utf8.ValidString(stdout+stderr) {
		t.Errorf("printed raw: %q", stdout+stderr)
	}
}

// TestDeviceTwoAgents: the second agent on a spool says so and ends; it goes on
// when the first has ended.
func TestDeviceTwoAgents(t *testing.T) {
	t.Parallel()
	c := newCamera(t)
	check(t, os.Mkdir(c.path("in"), 0o700))
	first := exec.CommandContext(t.Context(), c.bin, "watch", "--config", "out/device.json", "--spool", "spool", "in")
	first.Dir, first.Env = c.dir, []string{"HOME=" + c.path("home")}
	check(t, first.Start())
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if b, err := os.ReadFile(c.path("spool/lock")); err == nil && len(b) > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the first agent does not lock its spool")
		}
	}
	c.command = c.upload("--spool", "spool", "photo.jpg", "clip.mp4")
	c.expect(1, fmt.Sprintf("another agent (process %d) uses the spool spool: stop it, or give this one a spool of its own by --spool", first.Process.Pid))
	check(t, first.Process.Signal(syscall.SIGTERM))
	check(t, first.Wait())
	c.goesThrough()
}

// TestDevicePermissions: what the agent's user may not read or write.
func TestDevicePermissions(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("running as another user needs root")
	}
	for _, p := range []struct {
		name, path string
		words      []string
	}{
		{"file", "photo.jpg", []string{"photo.jpg: given up: open ", "permission denied"}},
		{"config", "out/device.json", []string{"read the device's configuration: open ", "permission denied"}},
		{"key", "out/private.pem.key", []string{`"privateKey" of device.json: open `, "permission denied"}},
		{"spool", "spool", []string{"spool spool cannot be used", "let this user write there, or name another folder by --spool"}},
		{"cache", "cache", []string{"cache belongs to another user", "name another folder by --cache"}},
	} {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			c := newCamera(t)
			const nobody = 65534
			c.uid = nobody
			// Below a folder of its own, since those of tests are root's alone.
			moved, err := os.MkdirTemp("", "sekisho-e2e-nobody-") //nolint:usetesting // see above
			check(t, err)
			t.Cleanup(func() { check(t, os.RemoveAll(moved)) })
			check(t, os.CopyFS(filepath.Join(moved, "d"), os.DirFS(c.dir)))
			b, err := os.ReadFile(c.bin)
			check(t, err)
			c.bin, c.dir = filepath.Join(moved, "sekisho-device"), filepath.Join(moved, "d")
			check(t, os.WriteFile(c.bin, b, 0o755))
			for _, folder := range []string{"spool", "cache"} {
				check(t, os.Mkdir(c.path(folder), 0o700))
			}
			own := func(uid int) func(string, os.DirEntry, error) error {
				return func(path string, _ os.DirEntry, err error) error {
					if err != nil {
						return err
					}
					return os.Chown(path, uid, uid)
				}
			}
			check(t, filepath.WalkDir(moved, own(nobody)))
			check(t, os.Chmod(c.path("home"), 0o700))
			check(t, os.Chown(c.path(p.path), 0, 0))
			check(t, os.Chmod(c.path(p.path), 0o700))
			c.command = c.upload("--spool", "spool", "--cache", "cache", "photo.jpg", "clip.mp4")
			c.expect(1, p.words...)
			check(t, os.Chown(c.path(p.path), nobody, nobody))
			c.goesThrough()
		})
	}
}

// TestDeviceFullDisk: a spool that cannot be written accepts nothing, and loses
// nothing of what it has.
func TestDeviceFullDisk(t *testing.T) {
	t.Parallel()
	c := newCamera(t)
	check(t, os.Mkdir(c.path("disk"), 0o700))
	if err := syscall.Mount("tmpfs", c.path("disk"), "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("mounting a small tmpfs needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(c.path("disk"), 0); err != nil {
			t.Error(err)
		}
	})
	c.command = c.upload("--spool", "disk/spool", "photo.jpg", "clip.mp4")
	old := c.read("out/device.json")
	c.set("endpoints.mqtt", "127.0.0.1:1")
	c.expect(1, "could not be told and stays in the spool")
	c.write("out/device.json", old)
	filler, err := os.Create(c.path("disk/filler"))
	check(t, err)
	for err == nil {
		_, err = filler.Write(make([]byte, 512))
	}
	_ = filler.Close()
	var more []string
	for n := range 40 { // their records take more than the page that the journal has begun
		more = append(more, fmt.Sprintf("more-%d.txt", n))
		c.write(more[n], []byte("more"))
	}
	c.command = c.upload(append([]string{"--spool", "disk/spool"}, more...)...)
	c.expect(1, "spool disk/spool cannot be used", "no space left on device", "its disk is full: make room")
	check(t, os.Remove(c.path("disk/filler")))
	c.command = c.upload(append([]string{"--spool", "disk/spool", "photo.jpg", "clip.mp4"}, more...)...)
	c.goesThrough()
}

// TestDeviceClock: a device whose clock is off by a day uploads: the server says
// what time it is.
func TestDeviceClock(t *testing.T) {
	t.Parallel()
	for name, off := range map[string]time.Duration{"behind": 24 * time.Hour, "ahead": -24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := servertest.Start(t, func(o *sekisho.Options) {
				if now := o.Now; off < 0 { // a certificate of the future would be refused
					o.Now = func() time.Time { return now().Add(off) }
				}
			})
			// The administrator's SDKs learn the server's time by a first refusal.
			_, _ = s.IoT.ListThings(t.Context(), &iot.ListThingsInput{})
			_, _ = s.IAM.ListRoles(t.Context(), &iam.ListRolesInput{})
			_, _ = s.S3.ListBuckets(t.Context(), &s3.ListBucketsInput{})
			s.Fleet()
			d := s.Enrol("camera-1")
			_, err := s.IoT.CreatePolicy(t.Context(), &iot.CreatePolicyInput{PolicyName: aws.String("uploads"), PolicyDocument: document(allow([]string{"iot:Connect", "iot:Publish"}, "*"))})
			check(t, err)
			_, err = s.IoT.AttachPolicy(t.Context(), &iot.AttachPolicyInput{PolicyName: aws.String("uploads"), Target: &d.CertificateARN})
			check(t, err)
			if off > 0 {
				s.Clock.Move(off)
			}
			bin, err := process.Binary()
			check(t, err)
			c := &camera{t: t, bin: filepath.Join(filepath.Dir(bin), "sekisho-device"), dir: t.TempDir(), thing: d.Thing, bucket: servertest.Bucket}
			check(t, os.MkdirAll(c.path("out"), 0o700))
			check(t, os.MkdirAll(c.path("home"), 0o700))
			key, err := x509.MarshalPKCS8PrivateKey(d.Certificate.PrivateKey)
			check(t, err)
			conf, err := json.Marshal(config.Config{
				Thing: d.Thing, RoleAlias: servertest.Alias, Region: servertest.Region, Bucket: c.bucket,
				Endpoints:   config.Endpoints{Credentials: s.DeviceAddr(), MQTT: s.MQTTAddr(), S3: "https://" + s.APIAddr()},
				Certificate: "cert.pem", PrivateKey: "private.pem.key", RootCA: filepath.Join(s.Data, "pki", "root-ca.pem"),
			})
			check(t, err)
			c.write("out/cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: d.Certificate.Certificate[0]}))
			c.write("out/private.pem.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
			c.write("out/device.json", conf)
			c.write("photo.jpg", []byte("a photo"))
			c.write("clip.mp4", make([]byte, 200<<10))
			c.write("film.mp4", make([]byte, 20<<20))
			stdout, stderr, code := c.run("upload", "--config", "out/device.json", "--give-up-after", "20s", "photo.jpg", "clip.mp4", "film.mp4")
			if code != 0 {
				t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
			}
			for _, name := range []string{"clip.mp4", "film.mp4"} {
				_, _ = s.S3.ListBuckets(t.Context(), &s3.ListBucketsInput{})
				_, err := s.S3.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &c.bucket, Key: aws.String("camera-1/" + name)})
				check(t, err)
			}
		})
	}
}
