//go:build e2e

package e2e_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// signed is a request as a client would send it, with one thing about it wrong.
type signed struct {
	service, region string
	method, path    string
	body            string
	header          map[string]string
	skew            time.Duration
	session         *sessionCredentials // nil: the administrator
	after           func(*http.Request) // changes the signed request
}

func (s *server) send(t *testing.T, r signed) (status int, header http.Header, body string) {
	t.Helper()
	if r.region == "" {
		r.region = region
	}
	req, err := http.NewRequestWithContext(t.Context(), r.method, s.Env["AWS_ENDPOINT_URL"]+r.path, strings.NewReader(r.body))
	check(t, err)
	hash := sha256.Sum256([]byte(r.body))
	sumHex := hex.EncodeToString(hash[:])
	if r.service == "s3" {
		req.Header.Set("X-Amz-Content-Sha256", sumHex)
	}
	for k, v := range r.header {
		req.Header.Set(k, v)
	}
	if r.service != "" {
		c := aws.Credentials{AccessKeyID: s.Env["AWS_ACCESS_KEY_ID"], SecretAccessKey: s.Env["AWS_SECRET_ACCESS_KEY"]}
		if r.session != nil {
			c = aws.Credentials{AccessKeyID: r.session.AccessKeyID, SecretAccessKey: r.session.SecretAccessKey, SessionToken: r.session.SessionToken}
		}
		signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = r.service == "s3" })
		check(t, signer.SignHTTP(t.Context(), c, req, sumHex, r.service, r.region, time.Now().Add(r.skew)))
	}
	if r.after != nil {
		r.after(req)
	}
	res, err := (&http.Client{Transport: s.transport(), Timeout: 30 * time.Second}).Do(req)
	check(t, err)
	defer shut(t, res.Body)
	b, err := io.ReadAll(res.Body)
	check(t, err)
	return res.StatusCode, res.Header, string(b)
}

const (
	whoAmI = "Action=GetCallerIdentity&Version=2011-06-15"
	form   = "application/x-www-form-urlencoded"
)

// TestRefusals: unsigned, wrongly signed, misdirected and skewed requests get
// the error of their service and protocol.
func TestRefusals(t *testing.T) {
	t.Parallel()
	bucket := shared.bucket(t)
	check(t, put(t, shared.s3, bucket, "k"))
	_, roleARN := shared.role(t, trustCredentials(), document(allow("s3:*", "*")))
	alias, aliasARN := shared.alias(t, roleARN)
	d := shared.device(t, aliasARN)
	one, err := d.fetch(t.Context(), alias)
	check(t, err)
	two, err := d.fetch(t.Context(), alias)
	check(t, err)
	mixed := two
	mixed.SessionToken = one.SessionToken
	untokened := one
	untokened.SessionToken = ""
	forged := one
	forged.SessionToken = one.SessionToken[:len(one.SessionToken)-8] + "AAAAAAAA"
	object := "/" + bucket + "/k"
	sts := map[string]string{"Content-Type": form}

	for _, c := range []struct {
		name    string
		request signed
		status  int
		code    string
		words   string
	}{
		{"anonymous GET of an object", signed{method: "GET", path: object}, 403, "AccessDenied", ""},
		{"anonymous list of buckets", signed{method: "GET", path: "/"}, 403, "AccessDenied", ""},
		{"unsigned query call", signed{method: "POST", path: "/", body: whoAmI, header: sts}, 403, "MissingAuthenticationToken", ""},
		{"unsigned json call", signed{method: "POST", path: "/", body: "{}", header: map[string]string{"X-Amz-Target": "secretsmanager.ListSecrets", "Content-Type": "application/x-amz-json-1.1"}}, 0, "MissingAuthenticationTokenException", ""},
		{"S3 clock 16 minutes behind", signed{service: "s3", method: "GET", path: object, skew: -16 * time.Minute}, 403, "RequestTimeTooSkewed", ""},
		{"S3 clock 16 minutes ahead", signed{service: "s3", method: "GET", path: object, skew: 16 * time.Minute}, 403, "RequestTimeTooSkewed", ""},
		{"S3 clock 14 minutes behind", signed{service: "s3", method: "GET", path: object, skew: -14 * time.Minute}, 200, "", ""},
		{"IoT clock 6 minutes behind", signed{service: "iot", method: "GET", path: "/things", skew: -6 * time.Minute}, 403, "InvalidSignatureException", "expired"},
		{"STS clock 6 minutes behind", signed{service: "sts", method: "POST", path: "/", body: whoAmI, header: sts, skew: -6 * time.Minute}, 403, "SignatureDoesNotMatch", "expired"},
		{"IoT in another region", signed{service: "iot", region: "eu-west-1", method: "GET", path: "/things"}, 403, "InvalidSignatureException", "region"},
		{"IoT in us-east-1", signed{service: "iot", region: "us-east-1", method: "GET", path: "/things"}, 403, "InvalidSignatureException", "region"},
		{"S3 in another region", signed{service: "s3", region: "eu-west-1", method: "GET", path: object}, 400, "AuthorizationHeaderMalformed", "<Region>" + region + "</Region>"},
		{"S3 in us-east-1", signed{service: "s3", region: "us-east-1", method: "GET", path: object}, 200, "", ""},
		{"STS in us-east-1", signed{service: "sts", region: "us-east-1", method: "POST", path: "/", body: whoAmI, header: sts}, 200, "", ""},
		{"S3 call signed for IoT", signed{service: "iot", method: "GET", path: object}, 0, "", ""},
		{"SigV2", signed{method: "GET", path: object, header: map[string]string{"Authorization": "AWS " + shared.Env["AWS_ACCESS_KEY_ID"] + ":c2lnbmF0dXJl", "Date": time.Now().UTC().Format(http.TimeFormat)}}, 400, "", "s3v4"},
		{"changed path", signed{service: "s3", method: "GET", path: object, after: func(r *http.Request) { r.URL.Path = "/" + bucket + "/K" }}, 403, "SignatureDoesNotMatch", ""},
		{"added x-amz header", signed{service: "s3", method: "GET", path: object, after: func(r *http.Request) { r.Header.Set("X-Amz-Acl", "public-read") }}, 403, "", ""},
		{"changed body", signed{service: "s3", method: "PUT", path: object, body: "first", after: func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("other")) }}, 400, "XAmzContentSHA256Mismatch", ""},
		{"changed body of a query call", signed{service: "sts", method: "POST", path: "/", body: whoAmI, header: sts, after: func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader(strings.Replace(whoAmI, "2011", "2012", 1)))
		}}, 403, "SignatureDoesNotMatch", ""},
		{"key and token of two sessions", signed{service: "s3", method: "GET", path: object, session: &mixed}, 400, "InvalidToken", ""},
		{"no token", signed{service: "s3", method: "GET", path: object, session: &untokened}, 403, "InvalidAccessKeyId", ""},
		{"forged token", signed{service: "s3", method: "GET", path: object, session: &forged}, 400, "InvalidToken", ""},
		{"session on the control plane", signed{service: "iot", method: "GET", path: "/things", session: &one}, 403, "AccessDeniedException", ""},
		{"unknown operation", signed{service: "iot", method: "GET", path: "/no/such/path"}, 0, "", ""},
		{"malformed JSON", signed{service: "iot", method: "POST", path: "/things/x", body: `{"attributePayload":`}, 400, "", ""},
		{"wrong type in JSON", signed{service: "iot", method: "POST", path: "/things/x", body: `{"thingTypeName":7}`}, 400, "", ""},
		{"malformed XML", signed{service: "s3", method: "POST", path: "/" + bucket + "?delete=", body: `<Delete><Object>`, header: map[string]string{"Content-MD5": "x"}}, 400, "", ""},
		{"unknown service", signed{service: "moon", method: "GET", path: "/"}, 0, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, header, body := shared.send(t, c.request)
			if status != c.status && (c.status != 0 || status < 400 || status >= 500) {
				t.Errorf("status %d, want %d; %s", status, c.status, body)
			}
			if !strings.Contains(body, c.words) {
				t.Errorf("%s lacks %q", body, c.words)
			}
			if c.code != "" && !strings.Contains(body, "<Code>"+c.code+"</Code>") && header.Get("x-amzn-ErrorType") != c.code && !strings.Contains(body, `"__type":"`+c.code+`"`) {
				t.Errorf("error %s %s, want %s", header.Get("x-amzn-ErrorType"), body, c.code)
			}
		})
	}
	if got := shared.objectSum(t, bucket, "k"); got != sum(t, strings.NewReader("x")) {
		t.Error("a refused request changed the object")
	}
}

// TestChunkedBodies: aws-chunked uploads that lie leave nothing behind.
func TestChunkedBodies(t *testing.T) {
	t.Parallel()
	bucket := shared.bucket(t)
	conf := shared.config(credentials.NewStaticCredentialsProvider(shared.Env["AWS_ACCESS_KEY_ID"], shared.Env["AWS_SECRET_ACCESS_KEY"], ""))
	conf.BaseEndpoint = aws.String(shared.httpsEndpoint(t, "127.0.0.1"))
	client := s3.NewFromConfig(conf, pathStyle)
	chunk := func(b []byte) string { return fmt.Sprintf("%x\r\n%s\r\n", len(b), b) }
	good := bytes.Repeat([]byte("sekisho "), 4096)
	for _, c := range []struct {
		name, body string
		status     int
	}{
		{"good", chunk(good) + "0\r\nx-amz-checksum-crc32:" + crc32Base64(good) + "\r\n\r\n", 200},
		{"wrong checksum", chunk(good) + "0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", 400},
		{"no trailer", chunk(good) + "0\r\n\r\n", 400},
		{"truncated", chunk(good)[:1000], 400},
		{"no last chunk", chunk(good), 400},
		{"chunk size is not a number", "zz\r\n", 400},
		{"chunk size is negative", "-5\r\nxxxxx\r\n", 400},
		{"chunk size is huge", "ffffffffffffffff\r\nx", 400},
		{"endless size line", strings.Repeat("0", 100_000), 400},
		{"more than announced", chunk(good) + chunk(good) + "0\r\nx-amz-checksum-crc32:" + crc32Base64(append(good, good...)) + "\r\n\r\n", 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			key := strings.ReplaceAll(c.name, " ", "-")
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, *conf.BaseEndpoint+"/"+bucket+"/"+key, strings.NewReader(c.body))
			check(t, err)
			req.Header.Set("Content-Encoding", "aws-chunked")
			req.Header.Set("X-Amz-Content-Sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
			req.Header.Set("X-Amz-Trailer", "x-amz-checksum-crc32")
			req.Header.Set("X-Amz-Decoded-Content-Length", fmt.Sprint(len(good)))
			signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
			who, err := conf.Credentials.Retrieve(t.Context())
			check(t, err)
			check(t, signer.SignHTTP(t.Context(), who, req, "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "s3", region, time.Now()))
			res, err := conf.HTTPClient.Do(req)
			check(t, err)
			body, _ := io.ReadAll(res.Body)
			check(t, res.Body.Close())
			if res.StatusCode != c.status {
				t.Errorf("%s %s, want %d", res.Status, body, c.status)
			}
			_, err = client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &bucket, Key: &key})
			if (err == nil) != (c.status == 200) {
				t.Errorf("HEAD afterwards: %v", err)
			}
		})
	}
}

func crc32Base64(b []byte) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(b)))
}

// TestExpectContinue: a refusal comes before the body and without delay, and an
// upload that is let through is told to continue.
func TestExpectContinue(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	bucket := shared.bucket(t)
	dir := t.TempDir()
	for _, size := range []int{3, 5 << 20} {
		file := filepath.Join(dir, fmt.Sprint(size))
		check(t, os.WriteFile(file, make([]byte, size), 0o600))
		url, err := s3.NewPresignClient(shared.s3).PresignPutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: aws.String(fmt.Sprint(size))})
		check(t, err)
		for target, want := range map[string]string{url.URL: "200", url.URL[:len(url.URL)-4] + "0000": "403"} {
			begun := time.Now()
			out := runIn(t, dir, os.Environ(), "curl", "--silent", "--show-error", "--output", filepath.Join(dir, "out"), "--write-out", "%{http_code} %{size_upload}",
				"--max-time", "30", "--expect100-timeout", "20", "--header", "Expect: 100-continue", "--upload-file", file, target)
			status, sent, _ := strings.Cut(out, " ")
			if took := time.Since(begun); status != want || took > 5*time.Second || (want == "403") != (sent == "0") {
				t.Errorf("%d bytes: %s after %s with %s bytes sent, want %s", size, status, took, sent, want)
			}
		}
	}
}
