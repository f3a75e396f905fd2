package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/sekisho-iot/sekisho/cmd/internal/cli"
	"github.com/sekisho-iot/sekisho/internal/client"
	"github.com/sekisho-iot/sekisho/internal/server"
)

const (
	demoThing    = "camera-1"
	demoBucket   = "demo-uploads"
	demoRole     = "demo-device-role"
	demoAlias    = "demo-alias"
	demoPolicy   = "own-prefix-only"
	demoFileSize = 64 << 20
	demoPartSize = 8 << 20
	demoTimeout  = 2 * time.Minute
)

// demonstration is one run of the main job, from an empty folder to a revoked certificate.
type demonstration struct {
	t       *cli.Terminal
	dir     string
	env     map[string]string
	admin   *client.Client
	region  string
	started time.Time

	device  deviceConfig
	tls     *tls.Config // with the device's certificate
	mqtt    *demoMQTT
	http    *http.Client // with the device's certificate
	session deviceSession
	s3      *s3.Client // with the device's session
}

// deviceSession is what the credential endpoint answers.
type deviceSession struct {
	AccessKeyID     string    `json:"accessKeyId"`
	SecretAccessKey string    `json:"secretAccessKey"`
	SessionToken    string    `json:"sessionToken"`
	Expiration      time.Time `json:"expiration"`
}

func demo(ctx context.Context, t *cli.Terminal, args []string) (err error) {
	fs := cli.NewFlags(t, "demo", "", "Does the whole main job in a temporary folder: starts a server, enrols a device, trades its\n"+
		"certificate for credentials, uploads a file, announces it on MQTT, is refused outside its\nprefix and topics, and is revoked.")
	if err := fs.ParseWords(args, 0); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, demoTimeout)
	defer cancel()
	dir, err := os.MkdirTemp("", "sekisho-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d := &demonstration{t: t, dir: dir, started: time.Now()}
	stop, err := d.startServer(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	for _, step := range []func(context.Context) error{
		d.prepare, d.enroll, d.fetchCredentials, d.upload, d.verify, d.announce, d.refused, d.revoke,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	fmt.Fprintf(t.Stdout, "\nAll of it worked, in %.1f s.\n", time.Since(d.started).Seconds())
	return nil
}

func (d *demonstration) say(format string, args ...any) {
	fmt.Fprintf(d.t.Stdout, "  ✓ "+format+"\n", args...)
}

func (d *demonstration) head(title string) { fmt.Fprintf(d.t.Stdout, "\n%s\n", title) }

// startServer runs this program's serve as a user would, and returns what stops it.
func (d *demonstration) startServer(ctx context.Context) (func() error, error) {
	d.head("1. A server")
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	data := filepath.Join(d.dir, "data")
	logFile, err := os.Create(filepath.Join(d.dir, "server.log"))
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, exe, //nolint:gosec // this program itself
		"serve", "--data", data, "--api-listen", "127.0.0.1:0",
		"--device-https-listen", "127.0.0.1:0", "--mqtt-listen", "127.0.0.1:0", "--console-listen", "", "--log-format", "text")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Stdout, cmd.Stderr = logFile, logFile
	// The settings of another server are not the demonstration's.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "SEKISHO_") })
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, logFile.Close())
	}
	stop := func() error {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		return errors.Join(cmd.Wait(), logFile.Close())
	}
	wait, cancel := context.WithTimeout(ctx, envWait)
	defer cancel()
	c, err := server.WaitForClient(wait, data)
	if err != nil {
		b, _ := os.ReadFile(logFile.Name())
		return nil, errors.Join(err, fmt.Errorf("the server's log:\n%s", b), stop())
	}
	d.env = map[string]string{}
	for _, v := range c.Variables() {
		d.env[v.Name] = v.Value
	}
	d.region = d.env["AWS_REGION"]
	sub := *d.t
	sub.LookupEnv = func(k string) (string, bool) { v, ok := d.env[k]; return v, ok }
	d.t = &sub
	if d.admin, err = connect(d.t); err != nil {
		return nil, errors.Join(err, stop())
	}
	d.say("runs in a temporary folder and answers on %s", d.env["AWS_ENDPOINT_URL"])
	return stop, nil
}

// prepare makes what an operator makes once: a bucket, a role and its alias.
func (d *demonstration) prepare(ctx context.Context) error {
	d.head("2. The operator: a bucket, a role that is limited to the device's own prefix, and an alias for it")
	const iamVersion = "2010-05-08"
	trust := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"credentials.iot.amazonaws.com"},"Action":"sts:AssumeRole"}}`
	access := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["s3:PutObject","s3:GetObject"],` +
		`"Resource":"arn:aws:s3:::` + demoBucket + `/${credentials-iot:ThingName}/*"}}`
	if err := d.admin.Query(ctx, "iam", iamVersion, "CreateRole", map[string]string{"RoleName": demoRole, "AssumeRolePolicyDocument": trust}); err != nil {
		return fmt.Errorf("create role: %w", err)
	}
	if err := d.admin.Query(ctx, "iam", iamVersion, "PutRolePolicy", map[string]string{
		"RoleName": demoRole, "PolicyName": demoPolicy, "PolicyDocument": access,
	}); err != nil {
		return fmt.Errorf("put role policy: %w", err)
	}
	var alias struct {
		RoleAliasARN string `json:"roleAliasArn"`
	}
	in := map[string]any{"roleArn": "arn:aws:iam::" + server.DefaultAccountID + ":role/" + demoRole}
	if err := d.admin.Call(ctx, "iot", http.MethodPost, "/role-aliases/"+demoAlias, nil, in, &alias); err != nil {
		return fmt.Errorf("create role alias: %w", err)
	}
	admin := d.s3Client(credentials.NewStaticCredentialsProvider(d.env["AWS_ACCESS_KEY_ID"], d.env["AWS_SECRET_ACCESS_KEY"], ""))
	if _, err := admin.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(demoBucket)}); err != nil {
		return fmt.Errorf("create bucket: %w", err)
	}
	d.say("bucket %s, role %s, alias %s", demoBucket, demoRole, demoAlias)
	d.say("the role allows s3:PutObject and s3:GetObject on %s/${credentials-iot:ThingName}/*", demoBucket)
	return nil
}

func (d *demonstration) s3Client(p aws.CredentialsProvider) *s3.Client {
	return s3.New(s3.Options{
		Region: d.region, Credentials: p, BaseEndpoint: aws.String(d.env["AWS_ENDPOINT_URL"]), UsePathStyle: true, RetryMaxAttempts: 1,
	})
}

func (d *demonstration) enroll(ctx context.Context) error {
	d.head("3. The device gets its identity")
	out := filepath.Join(d.dir, demoThing)
	sub := *d.t
	sub.Stdout = io.Discard
	if err := enroll(ctx, &sub, []string{demoThing, "--role-alias", demoAlias, "--out", out}); err != nil {
		return fmt.Errorf("enroll: %w", err)
	}
	b, err := os.ReadFile(filepath.Join(out, deviceFile)) //nolint:gosec // our own temporary folder
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, &d.device); err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(out, d.device.Certificate), filepath.Join(out, d.device.PrivateKey))
	if err != nil {
		return err
	}
	ca, err := os.ReadFile(filepath.Join(out, d.device.RootCA)) //nolint:gosec // our own temporary folder
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	d.tls = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, Certificates: []tls.Certificate{pair}}
	d.http = &http.Client{Transport: &http.Transport{TLSClientConfig: d.tls.Clone()}}
	d.say("sekisho enroll %s --role-alias %s", demoThing, demoAlias)
	d.say("certificate %s…, its key only in the device's folder", d.device.CertificateID[:16])
	return nil
}

// askCredentials calls the credential endpoint over mutual TLS.
func (d *demonstration) askCredentials(ctx context.Context) (status int, body []byte, err error) {
	url := "https://" + d.device.Endpoints.Credentials + "/role-aliases/" + demoAlias + "/credentials"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("X-Amzn-Iot-Thingname", demoThing)
	res, err := d.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	body, err = io.ReadAll(io.LimitReader(res.Body, 64<<10))
	return res.StatusCode, body, err
}

func (d *demonstration) fetchCredentials(ctx context.Context) error {
	d.head("4. The device trades its certificate for temporary credentials")
	status, body, err := d.askCredentials(ctx)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("credential endpoint: HTTP %d: %s", status, body)
	}
	var answer struct {
		Credentials deviceSession `json:"credentials"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("credential endpoint: %w", err)
	}
	d.session = answer.Credentials
	d.s3 = d.s3Client(credentials.NewStaticCredentialsProvider(d.session.AccessKeyID, d.session.SecretAccessKey, d.session.SessionToken))
	d.say("GET https://%s/role-aliases/%s/credentials over mutual TLS", d.device.Endpoints.Credentials, demoAlias)
	d.say("%s, good until %s", d.session.AccessKeyID, d.session.Expiration.Local().Format("15:04:05"))
	return nil
}

// content is the demonstration's file: the same bytes for every reader of it.
func content() io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{1}), demoFileSize)
}

func (d *demonstration) upload(ctx context.Context) error {
	d.head("5. It uploads a 64 MiB file to its own prefix")
	key := demoThing + "/video.mp4"
	begun := time.Now()
	mp, err := d.s3.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: aws.String(demoBucket), Key: &key})
	if err != nil {
		return fmt.Errorf("create upload: %w", err)
	}
	bar := &progressBar{w: d.t.Stdout, total: demoFileSize, live: d.t.IsTerminal}
	file, buf := content(), make([]byte, demoPartSize)
	var parts []types.CompletedPart
	for n := int32(1); ; n++ {
		size, err := io.ReadFull(file, buf)
		if errors.Is(err, io.EOF) {
			break
		}
		part, err := d.s3.UploadPart(ctx, &s3.UploadPartInput{
			Bucket: aws.String(demoBucket), Key: &key, UploadId: mp.UploadId, PartNumber: &n,
			Body: bytes.NewReader(buf[:size]), ContentLength: aws.Int64(int64(size)),
		})
		if err != nil {
			return fmt.Errorf("upload part %d: %w", n, err)
		}
		parts = append(parts, types.CompletedPart{PartNumber: aws.Int32(n), ETag: part.ETag, ChecksumCRC32: part.ChecksumCRC32})
		bar.add(int64(size))
	}
	if _, err := d.s3.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: aws.String(demoBucket), Key: &key, UploadId: mp.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	}); err != nil {
		return fmt.Errorf("complete upload: %w", err)
	}
	took := time.Since(begun)
	d.say("s3://%s/%s in %d parts, %.1f s, %.0f MiB/s, on disk before the answer", demoBucket, key, len(parts), took.Seconds(), 64/took.Seconds())
	return nil
}

// progressBar draws on one line of a terminal; elsewhere it stays silent but for its end.
type progressBar struct {
	w           io.Writer
	done, total int64
	live        bool
}

func (p *progressBar) add(n int64) {
	p.done += n
	if !p.live && p.done < p.total {
		return
	}
	const width = 40
	full := int(p.done * width / p.total)
	start, end := "\r", ""
	if !p.live {
		start = ""
	}
	if p.done >= p.total {
		end = "\n"
	}
	fmt.Fprintf(p.w, "%s    [%s%s] %3d %%%s", start, strings.Repeat("█", full), strings.Repeat("·", width-full), p.done*100/p.total, end)
}

func (d *demonstration) verify(ctx context.Context) error {
	d.head("6. The object is what was sent")
	want := sha256.New()
	if _, err := io.Copy(want, content()); err != nil {
		return err
	}
	res, err := d.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(demoBucket), Key: aws.String(demoThing + "/video.mp4")})
	if err != nil {
		return fmt.Errorf("get object: %w", err)
	}
	defer res.Body.Close()
	got := sha256.New()
	n, err := io.Copy(got, res.Body)
	if err != nil {
		return err
	}
	if n != demoFileSize || !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
		return fmt.Errorf("the object read back differs: %d bytes, SHA-256 %x", n, got.Sum(nil))
	}
	d.say("SHA-256 %s… of all %d bytes", hex.EncodeToString(got.Sum(nil))[:16], n)
	return nil
}

// put tries an upload with the device's session and returns the error code of a refusal.
func (d *demonstration) put(ctx context.Context, key string) (code string, err error) {
	_, err = d.s3.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(demoBucket), Key: &key, Body: strings.NewReader("hello")})
	if ae, ok := errors.AsType[smithy.APIError](err); ok {
		return ae.ErrorCode(), nil
	}
	return "", err
}

func (d *demonstration) refused(ctx context.Context) error {
	const other = "camera-2/stolen.mp4"
	d.head("8. It tries another device's prefix")
	code, err := d.put(ctx, other)
	if err != nil {
		return err
	}
	if code != "AccessDenied" {
		return fmt.Errorf("an upload to %s was answered %q instead of AccessDenied", other, code)
	}
	d.say("PUT s3://%s/%s: %s. Why, as the operator sees it:", demoBucket, other, code)
	var why explainAnswer
	in := explainRequest{Session: d.session.AccessKeyID, Action: "s3:PutObject", Resource: "arn:aws:s3:::" + demoBucket + "/" + other}
	if err := d.admin.Call(ctx, "sekisho", http.MethodPost, "/_sekisho/explain", nil, in, &why); err != nil {
		return fmt.Errorf("explain: %w", err)
	}
	if why.Decision == "allow" {
		return errors.New("explain says that the upload would be allowed")
	}
	for line := range strings.Lines(why.Text) {
		fmt.Fprintf(d.t.Stdout, "      %s\n", strings.TrimRight(line, "\n"))
	}
	return nil
}

func (d *demonstration) revoke(ctx context.Context) error {
	d.head("9. The certificate is revoked")
	if code, err := d.put(ctx, demoThing+"/before.txt"); err != nil || code != "" {
		return fmt.Errorf("an upload before the revocation failed: %s %w", code, err)
	}
	if err := d.admin.Call(ctx, "iot", http.MethodPut, "/certificates/"+d.device.CertificateID+"?newStatus=REVOKED", nil, nil, nil); err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	code, err := d.put(ctx, demoThing+"/after.txt")
	if err != nil {
		return err
	}
	if code != "AccessDenied" {
		return fmt.Errorf("an upload after the revocation was answered %q instead of AccessDenied", code)
	}
	d.say("the live credentials stopped working at once: PUT s3://%s/%s/after.txt: %s", demoBucket, demoThing, code)
	status, body, err := d.askCredentials(ctx)
	if err != nil {
		return err
	}
	if status != http.StatusForbidden {
		return fmt.Errorf("the credential endpoint answered a revoked certificate with HTTP %d", status)
	}
	d.say("and there are no new ones: HTTP %d %s", status, bytes.TrimSpace(body))
	return d.cutOff()
}
