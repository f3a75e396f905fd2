package api

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	iammodel "github.com/sekisho-iot/sekisho/internal/api/model/iam"
	iotmodel "github.com/sekisho-iot/sekisho/internal/api/model/iot"
	s3model "github.com/sekisho-iot/sekisho/internal/api/model/s3"
	stsmodel "github.com/sekisho-iot/sekisho/internal/api/model/sts"
	"github.com/sekisho-iot/sekisho/internal/awsapi"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
	"github.com/sekisho-iot/sekisho/internal/sts"
)

const (
	rootKey    = "AKIAROOTROOTROOTROOT"
	userKey    = "AKIAUSERUSERUSERUSER"
	testSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	region     = "eu-west-1"
	userARN    = "arn:aws:iam::123456789012:user/U"
)

func testTime() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// people is an Authenticator of a few keys.
type people struct {
	policy  *policy.Policy // of the user
	recheck error
}

func (p *people) Authenticate(_ context.Context, accessKeyID, token string) (*sts.Identity, error) {
	id := &sts.Identity{
		AccessKeyID: accessKeyID, SecretAccessKey: testSecret,
		Principal: policy.Principal{Account: "123456789012", ARN: userARN, UserID: "AIDA"},
	}
	switch {
	case token == "bad":
		return nil, iot.Errorf(iot.KindBadToken, "", "bad token")
	case token == "old":
		return nil, iot.Errorf(iot.KindExpired, "", "expired")
	case token == "revoked":
		return nil, iot.Errorf(iot.KindDenied, "", "The certificate is revoked")
	case token == "broken":
		return nil, errors.New("the disk is on fire")
	case accessKeyID == rootKey:
		id.Principal.ARN, id.Grants.Root = "arn:aws:iam::123456789012:root", true
	case accessKeyID == userKey:
		id.Grants.Identity = policy.Set{p.policy}
	default:
		return nil, iot.Errorf(iot.KindUnknownKey, "", "no such key")
	}
	return id, nil
}

func (p *people) Recheck(_ context.Context, id *sts.Identity) (*sts.Identity, error) {
	return id, p.recheck
}

// seen is what an Observer and a log were told.
type seen struct {
	mu    sync.Mutex
	lines []string
	log   bytes.Buffer
}

func (s *seen) Observe(service, operation string, status int, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, fmt.Sprintf("%s %s %d %s", service, operation, status, d))
}

func (s *seen) Deny(service, action string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, "deny "+service+" "+action)
}

func (s *seen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(p)
}

func (s *seen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n") + "\n" + s.log.String()
}

type fixture struct {
	*Handler
	people *people
	seen   *seen
	plain  *httptest.Server
	secure *httptest.Server
}

func mustPolicy(tb testing.TB, use policy.Use, src string) *policy.Policy {
	tb.Helper()
	p, err := policy.Compile(use, "test policy", []byte(src))
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{seen: &seen{}, people: &people{policy: mustPolicy(t, policy.Identity, `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"iot:DescribeThing","Resource":"arn:aws:iot:eu-west-1:123456789012:thing/mine-*"},
		{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::bucket/mine/*"},
		{"Effect":"Allow","Action":"s3:ListBucket","Resource":"*","Condition":{"StringEquals":{"s3:prefix":"mine/"}}}]}`)}}
	h, err := New(Options{
		Services: testServices(t), Authenticator: f.people, Account: "123456789012", Region: region,
		PublicHosts: []string{"gate.example", "192.0.2.1"},
		Own:         http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "own "+r.URL.Path) }),
		MQTT: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusSwitchingProtocols)
			f.seen.Observe("mqtt", fmt.Sprint(IdentityOf(r.Context()) != nil), 0, 0)
		}),
		Observer: f.seen, Logger: slog.New(slog.NewTextHandler(f.seen, nil)), Now: testTime, Rand: rand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	f.Handler = h
	f.plain = httptest.NewServer(h)
	f.secure = httptest.NewTLSServer(h)
	f.secure.Client().Transport.(*http.Transport).ExpectContinueTimeout = time.Minute
	t.Cleanup(f.plain.Close)
	t.Cleanup(f.secure.Close)
	return f
}

// testServices is one small service of each protocol.
func testServices(tb testing.TB) []Service {
	tb.Helper()
	open := mustPolicy(tb, policy.Resource, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::public/*"}}`)
	thing := func(c *Call, in *iotmodel.DescribeThingInput) string {
		return string(iot.NewARN("iot", c.Region, c.Account, "thing/"+*in.ThingName))
	}
	object := func(bucket, key *string) string { return "arn:aws:s3:::" + *bucket + "/" + *key }
	return []Service{
		{Name: "iot", Operations: []Operation{
			op("DescribeThing", "iot:DescribeThing", thing,
				func(ctx context.Context, c *Call, in *iotmodel.DescribeThingInput) (*iotmodel.DescribeThingOutput, error) {
					switch *in.ThingName {
					case "mine-none":
						return nil, &iot.Error{Kind: iot.KindExists, Resource: "thing", Message: "exists", ID: "id", ARN: "arn:x"}
					case "panic":
						panic("at the disco")
					case "mine-broken":
						return nil, errors.New("secret detail of the disk")
					case "mine-further":
						return nil, c.Authorize(ctx, "iam:PassRole", "arn:aws:iam::123456789012:role/R", policy.KeyMap{"iam:passedtoservice": policy.One("x")})
					case "mine-revoked":
						return nil, c.Recheck(ctx)
					}
					return &iotmodel.DescribeThingOutput{ThingName: in.ThingName}, nil
				}),
		}},
		{Name: "iam", Operations: []Operation{
			op("GetRole", "iam:GetRole", nil, func(_ context.Context, _ *Call, in *iammodel.GetRoleInput) (*iammodel.GetRoleOutput, error) {
				return nil, iot.Errorf(iot.KindNotFound, "role", "The role with name %s cannot be found.", *in.RoleName)
			}),
		}},
		{Name: "sts", Operations: []Operation{
			withoutAuthorization(op("GetCallerIdentity", "", nil,
				func(_ context.Context, c *Call, _ *stsmodel.GetCallerIdentityInput) (*stsmodel.GetCallerIdentityOutput, error) {
					return &stsmodel.GetCallerIdentityOutput{Arn: aws.String(c.Identity.Principal.ARN)}, nil
				})),
		}},
		{
			Name: "s3",
			ResourcePolicy: func(_ context.Context, resource string) (*policy.Policy, error) {
				switch {
				case strings.HasPrefix(resource, "arn:aws:s3:::public/"):
					return open, nil
				case strings.HasPrefix(resource, "arn:aws:s3:::broken/"):
					return nil, errors.New("no policy today")
				}
				return nil, nil
			},
			Operations: []Operation{
				op("PutObject", "s3:PutObject", func(_ *Call, in *s3model.PutObjectInput) string { return object(in.Bucket, in.Key) },
					func(_ context.Context, c *Call, in *s3model.PutObjectInput) (*s3model.PutObjectOutput, error) {
						n, err := io.Copy(io.Discard, in.Body)
						if err != nil {
							return nil, err
						}
						return &s3model.PutObjectOutput{ETag: aws.String(strconv.FormatInt(n, 10) + c.Body.Trailer().Get("X-Amz-Checksum-Crc32"))}, nil
					}),
				anonymously(op("GetObject", "s3:GetObject", func(_ *Call, in *s3model.GetObjectInput) string { return object(in.Bucket, in.Key) },
					func(_ context.Context, c *Call, in *s3model.GetObjectInput) (*s3model.GetObjectOutput, error) {
						if strings.HasSuffix(*in.Key, "cut") {
							c.Writer.Header().Set("Content-Length", "100")
							_, _ = c.Writer.Write([]byte("begun"))
							return nil, errors.New("disk gone")
						}
						_, _ = c.Writer.(io.ReaderFrom).ReadFrom(strings.NewReader(*in.Bucket + " " + *in.Key))
						return nil, nil
					})),
				withKeys(op("ListObjectsV2", "s3:ListBucket", func(_ *Call, in *s3model.ListObjectsV2Input) string { return "arn:aws:s3:::" + *in.Bucket },
					func(_ context.Context, _ *Call, _ *s3model.ListObjectsV2Input) (*s3model.ListObjectsV2Output, error) {
						return nil, nil
					}), func(_ *Call, in *s3model.ListObjectsV2Input) policy.Keys {
					if in.Prefix == nil {
						return policy.KeyMap{"s3:prefix": policy.Absent("the request has no prefix")}
					}
					return policy.KeyMap{"s3:prefix": policy.One(*in.Prefix)}
				}),
				op("PutBucketPolicy", "s3:PutBucketPolicy", nil,
					func(_ context.Context, _ *Call, in *s3model.PutBucketPolicyInput) (*s3model.PutBucketPolicyOutput, error) {
						return nil, iot.Errorf(iot.KindMalformed, "policy", "got %s", *in.Policy)
					}),
			},
		},
		{Name: ownService, Operations: []Operation{
			at(http.MethodPost, "/_sekisho/echo", op("Echo", "sekisho:Echo", nil,
				func(_ context.Context, _ *Call, in *struct{ Text string }) (*struct{ Text string }, error) {
					return in, nil
				})),
		}},
	}
}

// ask is one request of a test. The zero value is a GET signed by root for S3.
type ask struct {
	service, method, target, host, body string
	key, token, region                  string
	header                              http.Header
	hash                                string // x-amz-content-sha256
	unsigned, secure, presign           bool
	chunked                             bool // no Content-Length
	time                                time.Time
	tamper                              func(*http.Request)
}

// reply is an answer's head.
type reply struct {
	StatusCode int
	Header     http.Header
}

func (f *fixture) do(t *testing.T, a ask) (reply, string) {
	t.Helper()
	res, err := f.try(t, a)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header}, string(body)
}

func orElse(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

func (f *fixture) try(t *testing.T, a ask) (*http.Response, error) {
	t.Helper()
	server := f.plain
	if a.secure {
		server = f.secure
	}
	r, err := http.NewRequestWithContext(t.Context(), orElse(a.method, http.MethodGet), server.URL+orElse(a.target, "/"), strings.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	if a.chunked {
		r.ContentLength = -1
	}
	r.Host = orElse(a.host, r.URL.Host)
	maps.Copy(r.Header, a.header)
	if a.time.IsZero() {
		a.time = testTime()
	}
	service := orElse(a.service, "s3")
	hash := a.hash
	if hash == "" {
		hash = awsapi.HashOf([]byte(a.body))
	}
	if a.hash != "" || service == "s3" && !a.presign && !a.unsigned {
		r.Header.Set("X-Amz-Content-Sha256", hash)
	}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = service == "s3" })
	creds := aws.Credentials{AccessKeyID: orElse(a.key, rootKey), SecretAccessKey: testSecret, SessionToken: a.token}
	switch {
	case a.unsigned:
	case a.presign:
		q := r.URL.Query()
		q.Set("X-Amz-Expires", "60")
		r.URL.RawQuery = q.Encode()
		if service == "s3" {
			hash = "UNSIGNED-PAYLOAD"
		}
		signed, _, err := signer.PresignHTTP(t.Context(), creds, r, hash, service, orElse(a.region, region), a.time)
		if err != nil {
			t.Fatal(err)
		}
		if r.URL, err = url.Parse(signed); err != nil {
			t.Fatal(err)
		}
	default:
		if err := signer.SignHTTP(t.Context(), creds, r, hash, service, orElse(a.region, region), a.time); err != nil {
			t.Fatal(err)
		}
	}
	if a.tamper != nil {
		a.tamper(r)
	}
	return server.Client().Do(r)
}

// codeOf reads an error's code from an answer of any protocol.
func codeOf(res reply, body string) string {
	if code := res.Header.Get("X-Amzn-Errortype"); code != "" {
		return code
	}
	var j struct {
		Type string `json:"__type"`
	}
	if json.Unmarshal([]byte(body), &j) == nil && j.Type != "" {
		return j.Type
	}
	var x struct {
		Code  string
		Error struct{ Code string }
	}
	if xml.Unmarshal([]byte(body), &x) == nil {
		return x.Code + x.Error.Code
	}
	return ""
}

func form(values ...string) string {
	q := url.Values{}
	for i := 0; i < len(values); i += 2 {
		q.Set(values[i], values[i+1])
	}
	return q.Encode()
}

func formHeader() http.Header {
	return http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}}
}

func target(name string) http.Header {
	return http.Header{"X-Amz-Target": {name}, "Content-Type": {"application/x-amz-json-1.1"}}
}

func TestCalls(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	caller := form("Action", "GetCallerIdentity", "Version", "2011-06-15")
	role := form("Action", "GetRole", "Version", "2010-05-08", "RoleName", "R")
	tests := []struct {
		name   string
		ask    ask
		status int
		code   string // of an error, else something that the answer holds
	}{
		{"iot", ask{service: "iot", target: "/things/T"}, 200, `"thingName":"T"`},
		{"iot by a user", ask{service: "iot", target: "/things/mine-1", key: userKey}, 200, `"thingName":"mine-1"`},
		{"iot denied", ask{service: "iot", target: "/things/other", key: userKey}, 403, "AccessDeniedException"},
		{"iot denied inside the handler", ask{service: "iot", target: "/things/mine-further", key: userKey}, 403, "AccessDeniedException"},
		{"iot error", ask{service: "iot", target: "/things/mine-none"}, 409, "ResourceAlreadyExistsException"},
		{"iot panic", ask{service: "iot", target: "/things/panic"}, 500, "InternalFailureException"},
		{"iot broken", ask{service: "iot", target: "/things/mine-broken"}, 500, "InternalFailureException"},
		{"iot not built", ask{service: "iot", target: "/thing-types/x", method: "POST", body: "{}"}, 501, "NotImplemented"},
		{"iot unknown", ask{service: "iot", target: "/no/such/thing/at/all"}, 404, "UnknownOperationException"},
		{"iot other method", ask{service: "iot", target: "/things/T", method: "OPTIONS"}, 404, "UnknownOperationException"},
		{"iot with dots", ask{service: "iot", target: "/things/../things/T"}, 404, "UnknownOperationException"},
		{"iot with a hash", ask{service: "iot", target: "/things/T", hash: awsapi.HashOf(nil)}, 200, `"thingName":"T"`},
		{"iot with another body's hash", ask{service: "iot", target: "/things/T", body: "x", hash: awsapi.HashOf(nil)}, 403, "InvalidSignatureException"},
		{"iot with another body", ask{service: "iot", target: "/things/T", tamper: func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader("x")), 1 }}, 403, "InvalidSignatureException"},
		{"iot body too large", ask{service: "iot", target: "/things/T", method: "POST", body: strings.Repeat("x", 1<<20+1)}, 413, "RequestEntityTooLargeException"},
		{"iot body too large, unannounced", ask{service: "iot", target: "/things/T", method: "POST", body: strings.Repeat("x", 1<<20+1), tamper: func(r *http.Request) { r.ContentLength = -1 }}, 413, "RequestEntityTooLargeException"},
		{"iot presigned", ask{service: "iot", target: "/things/T", presign: true}, 200, `"thingName":"T"`},
		{"iot in another region", ask{service: "iot", target: "/things/T", region: "us-east-1"}, 403, "InvalidSignatureException"},
		{"iot-data not built", ask{service: "iotdata", target: "/topics/a", method: "POST"}, 501, "NotImplemented"},
		{"iot-data as a gateway", ask{service: "iotdevicegateway", target: "/topics/a", method: "POST"}, 501, "NotImplemented"},
		{"jobs not built", ask{service: "iot-jobs-data", target: "/things/T/jobs"}, 501, "NotImplemented"},
		{"lambda not built", ask{service: "lambda", target: "/2015-03-31/functions/"}, 501, "NotImplemented"},
		{"unknown service", ask{service: "ec2", target: "/"}, 403, "SignatureDoesNotMatch"},
		{"sts", ask{service: "sts", method: "POST", body: caller, header: formHeader()}, 200, "<Arn>arn:aws:iam::123456789012:root</Arn>"},
		{"sts in us-east-1", ask{service: "sts", method: "POST", body: caller, header: formHeader(), region: "us-east-1"}, 200, "<Arn>"},
		{"sts in another region", ask{service: "sts", method: "POST", body: caller, header: formHeader(), region: "us-west-2"}, 403, "SignatureDoesNotMatch"},
		{"sts presigned", ask{service: "sts", target: "/?" + caller, presign: true}, 200, "<Arn>"},
		{"sts unknown action", ask{service: "sts", method: "POST", body: form("Action", "Nap"), header: formHeader()}, 400, "InvalidAction"},
		{"sts action of iam", ask{service: "sts", method: "POST", body: role, header: formHeader()}, 400, "InvalidAction"},
		{"sts not built", ask{service: "sts", method: "POST", body: form("Action", "GetSessionToken"), header: formHeader()}, 501, "NotImplemented"},
		{"sts unsigned", ask{method: "POST", body: caller, header: formHeader(), unsigned: true}, 403, "MissingAuthenticationToken"},
		{"sts unsigned by nature", ask{method: "POST", body: form("Action", "AssumeRoleWithWebIdentity", "Version", "2011-06-15"), header: formHeader(), unsigned: true}, 501, "NotImplemented"},
		{"unsigned form of nobody's", ask{method: "POST", body: "a=b", header: formHeader(), unsigned: true}, 403, "MissingAuthenticationToken"},
		{"unsigned form too large", ask{method: "POST", body: strings.Repeat("x", 1<<20+1), header: formHeader(), unsigned: true}, 413, "RequestEntityTooLarge"},
		{"iam", ask{service: "iam", method: "POST", body: role, header: formHeader(), region: "us-east-1"}, 404, "NoSuchEntity"},
		{"iam denied", ask{service: "iam", method: "POST", body: role, header: formHeader(), key: userKey}, 403, "AccessDenied"},
		{"iam member missing", ask{service: "iam", method: "POST", body: form("Action", "GetRole"), header: formHeader()}, 400, "ValidationError"},
		{"iam unsigned", ask{method: "POST", body: role, header: formHeader(), unsigned: true}, 403, "MissingAuthenticationToken"},
		{"cognito unsigned by nature", ask{method: "POST", body: "{}", header: target("AWSCognitoIdentityService.GetId"), unsigned: true}, 501, "NotImplemented"},
		{"cognito unsigned", ask{method: "POST", body: "{}", header: target("AWSCognitoIdentityService.ListIdentityPools"), unsigned: true}, 400, "MissingAuthenticationTokenException"},
		{"cognito unsigned too large", ask{method: "POST", body: strings.Repeat("x", 1<<20+1), header: target("AWSCognitoIdentityService.GetId"), unsigned: true}, 413, "RequestEntityTooLargeException"},
		{"cognito unknown", ask{service: "cognito-identity", method: "POST", body: "{}", header: target("AWSCognitoIdentityService.Nap")}, 400, "UnknownOperationException"},
		{"nobody's target", ask{method: "POST", body: "{}", header: target("Nobody.Nap"), unsigned: true}, 400, "MissingAuthenticationTokenException"},
		{"secrets not built", ask{service: "secretsmanager", method: "POST", body: "{}", header: target("secretsmanager.GetSecretValue")}, 501, "NotImplemented"},
		{"cloudformation not built", ask{service: "cloudformation", method: "POST", body: form("Action", "DescribeStacks"), header: formHeader()}, 501, "NotImplemented"},
		{"own", ask{service: "sekisho", method: "POST", target: "/_sekisho/echo", body: `{"Text":"hi"}`}, 200, `{"Text":"hi"}`},
		{"own denied", ask{service: "sekisho", method: "POST", target: "/_sekisho/echo", key: userKey}, 403, "AccessDeniedException"},
		{"own with unknown fields", ask{service: "sekisho", method: "POST", target: "/_sekisho/echo", body: `{"Test":"hi"}`}, 400, "SerializationException"},
		{"own with two documents", ask{service: "sekisho", method: "POST", target: "/_sekisho/echo", body: `{}{}`}, 400, "SerializationException"},
		{"own, unknown", ask{service: "sekisho", target: "/_sekisho/x"}, 404, "UnknownOperationException"},
		{"own, unsigned", ask{unsigned: true, target: "/_sekisho/healthz"}, 200, "own /_sekisho/healthz"},
		{"own row, unsigned", ask{unsigned: true, method: "POST", target: "/_sekisho/echo"}, 403, "MissingAuthenticationTokenException"},
		{"own, malformed signature", ask{unsigned: true, target: "/_sekisho/x", header: http.Header{"Authorization": {"AWS4-HMAC-SHA256 x"}}}, 400, "IncompleteSignatureException"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f.expect(t, tc.ask, tc.status, tc.code)
		})
	}
}

func (f *fixture) expect(t *testing.T, a ask, status int, want string) {
	t.Helper()
	res, body := f.do(t, a)
	if res.StatusCode != status {
		t.Fatalf("status %d, want %d: %s", res.StatusCode, status, body)
	}
	if res.Header.Get("X-Amzn-Requestid")+res.Header.Get("X-Amz-Request-Id") == "" && !strings.HasPrefix(body, "own ") {
		t.Errorf("no request id in %v", res.Header)
	}
	if status < 300 {
		if !strings.Contains(body+res.Header.Get("Etag"), want) {
			t.Errorf("answer %q, want %q", body, want)
		}
		return
	}
	if code := codeOf(res, body); code != want {
		t.Errorf("code %q, want %q: %s", code, want, body)
	}
	if strings.Contains(body, "disk") || strings.Contains(body, "disco") || strings.Contains(body, testSecret) {
		t.Errorf("the answer tells too much: %s", body)
	}
}

func TestS3Calls(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const unsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
	chunked := http.Header{
		"X-Amz-Decoded-Content-Length": {"5"}, "X-Amz-Trailer": {"x-amz-checksum-crc32"}, "Content-Encoding": {"aws-chunked"},
	}
	const chunks = "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n"
	tests := []struct {
		name   string
		ask    ask
		status int
		want   string
	}{
		{"get", ask{target: "/bucket/a//b/../c%2F%20%28d%29"}, 200, "bucket a//b/../c/ (d)"},
		{"get, virtual host", ask{target: "/k/x", host: "bucket.localhost:4566"}, 200, "bucket k/x"},
		{"get, virtual host in the region", ask{target: "//k", host: "my.bucket.s3.eu-west-1.gate.example"}, 200, "my.bucket /k"},
		{"get below our own path of a virtual host", ask{target: "/_sekisho/healthz", host: "public.gate.example", unsigned: true}, 200, "public _sekisho/healthz"},
		{"get in us-east-1", ask{target: "/bucket/k", region: "us-east-1"}, 200, "bucket k"},
		{"get in another region", ask{target: "/bucket/k", region: "us-west-2"}, 400, "AuthorizationHeaderMalformed"},
		{"anonymous", ask{target: "/public/k", unsigned: true}, 200, "public k"},
		{"anonymous, closed bucket", ask{target: "/bucket/k", unsigned: true}, 403, "AccessDenied"},
		{"anonymous put", ask{method: "PUT", target: "/public/k", unsigned: true}, 403, "AccessDenied"},
		{"anonymous, not built", ask{target: "/public?website", unsigned: true}, 501, "NotImplemented"},
		{"anonymous with signed chunks", ask{method: "PUT", target: "/public/k", unsigned: true, hash: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"}, 400, "InvalidRequest"},
		{"broken bucket policy", ask{target: "/broken/k"}, 500, "InternalError"},
		{"put", ask{method: "PUT", target: "/bucket/mine/k", body: "hello", key: userKey}, 200, "5"},
		{"put elsewhere", ask{method: "PUT", target: "/bucket/theirs/k", body: "hello", key: userKey}, 403, "AccessDenied"},
		{"put another body", ask{method: "PUT", target: "/bucket/k", body: "hello", tamper: func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("jello")) }}, 400, "XAmzContentSHA256Mismatch"},
		{"put presigned", ask{method: "PUT", target: "/bucket/k", body: "hello", presign: true}, 200, "5"},
		{"presigned past its time", ask{target: "/bucket/k", presign: true, time: testTime().Add(-2 * time.Minute)}, 403, "AccessDenied"},
		{"presigned, not SigV4", ask{unsigned: true, target: "/b/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a&X-Amz-Signature=b"}, 400, "AuthorizationQueryParametersError"},
		{"put unsigned payload", ask{method: "PUT", target: "/bucket/k", body: "hello", hash: "UNSIGNED-PAYLOAD"}, 200, "5"},
		{"put unsigned payload over TLS", ask{method: "PUT", target: "/bucket/k", body: "hello", hash: "UNSIGNED-PAYLOAD", secure: true}, 200, "5"},
		{"put with a trailer", ask{method: "PUT", target: "/bucket/k", body: chunks, hash: unsignedTrailer, header: chunked, secure: true}, 200, "5AAAA"},
		{"put with a trailer over HTTP", ask{method: "PUT", target: "/bucket/k", body: chunks, hash: unsignedTrailer, header: chunked}, 200, "5AAAA"},
		{"put with a trailer, cut", ask{method: "PUT", target: "/bucket/k", body: chunks[:9], hash: unsignedTrailer, header: chunked, secure: true}, 400, "IncompleteBody"},
		{"put with a trailer, no length", ask{method: "PUT", target: "/bucket/k", body: chunks, hash: unsignedTrailer, secure: true}, 411, "MissingContentLength"},
		{"list", ask{target: "/bucket?list-type=2&prefix=mine/", key: userKey}, 200, "ListBucketResult"},
		{"list elsewhere", ask{target: "/bucket?list-type=2&prefix=theirs/", key: userKey}, 403, "AccessDenied"},
		{"list without a prefix", ask{target: "/bucket?list-type=2", key: userKey}, 403, "AccessDenied"},
		{"document", ask{method: "PUT", target: "/bucket?policy", body: "{}"}, 400, "MalformedPolicy"},
		{"document too large", ask{method: "PUT", target: "/bucket?policy", body: strings.Repeat("x", 4<<20+1)}, 400, "MaxMessageLengthExceeded"},
		{"document too large, unannounced", ask{method: "PUT", target: "/bucket?policy", body: strings.Repeat("x", 4<<20+1), chunked: true}, 400, "MaxMessageLengthExceeded"},
		{"put, chunked by HTTP", ask{method: "PUT", target: "/bucket/k", body: "hello", chunked: true}, 200, "5"},
		{"document changed", ask{method: "PUT", target: "/bucket?policy", body: "{}", tamper: func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("[]")) }}, 400, "XAmzContentSHA256Mismatch"},
		{"not built", ask{target: "/bucket?website"}, 501, "NotImplemented"},
		{"skewed", ask{target: "/bucket/k", time: testTime().Add(16 * time.Minute)}, 403, "RequestTimeTooSkewed"},
		{"within the skew", ask{target: "/bucket/k", time: testTime().Add(14 * time.Minute)}, 200, "bucket k"},
		{"header not signed", ask{target: "/bucket/k", tamper: func(r *http.Request) { r.Header.Set("X-Amz-Acl", "private") }}, 403, "AccessDenied"},
		{"SigV2", ask{unsigned: true, target: "/bucket/k", header: http.Header{"Authorization": {"AWS AKID:sig"}}}, 400, "InvalidRequest"},
		{"other method", ask{method: "PATCH", target: "/bucket/k"}, 405, "MethodNotAllowed"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f.expect(t, tc.ask, tc.status, tc.want)
		})
	}
	t.Run("the region is named", func(t *testing.T) {
		t.Parallel()
		if _, body := f.do(t, ask{target: "/bucket/k", region: "us-west-2"}); !strings.Contains(body, "<Region>eu-west-1</Region>") {
			t.Error(body)
		}
	})
	t.Run("an answer that cannot be finished is cut", func(t *testing.T) {
		t.Parallel()
		res, err := f.try(t, ask{target: "/bucket/cut"})
		if err != nil {
			return
		}
		defer func() { _ = res.Body.Close() }()
		if body, err := io.ReadAll(res.Body); err == nil {
			t.Errorf("%q looks whole", body)
		}
	})
	t.Run("the unsigned header is named", func(t *testing.T) {
		t.Parallel()
		if _, body := f.do(t, ask{target: "/bucket/k", tamper: func(r *http.Request) { r.Header.Set("X-Amz-Acl", "x") }}); !strings.Contains(body, "<HeadersNotSigned>x-amz-acl</HeadersNotSigned>") {
			t.Error(body)
		}
	})
}

// The table of identity.md section 1.
func TestAuthenticationErrors(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	caller := form("Action", "GetCallerIdentity")
	services := map[string]ask{
		"query":    {service: "sts", method: "POST", body: caller, header: formHeader()},
		"restjson": {service: "iot", target: "/things/T"},
		"json":     {service: "secretsmanager", method: "POST", body: "{}", header: target("secretsmanager.GetSecretValue")},
		"s3":       {target: "/bucket/k"},
	}
	skewed := func(a *ask) { a.time = testTime().Add(-20 * time.Minute) }
	for _, tc := range []struct {
		name                      string
		change                    func(*ask)
		query, restjson, json, s3 string
	}{
		{"expired token", func(a *ask) { a.token = "old" }, "403 ExpiredToken", "403 ExpiredTokenException", "400 ExpiredTokenException", "400 ExpiredToken"},
		{"unknown key", func(a *ask) { a.key = "AKIANOBODY" }, "403 InvalidClientTokenId", "403 UnrecognizedClientException", "400 UnrecognizedClientException", "403 InvalidAccessKeyId"},
		{"bad token", func(a *ask) { a.token = "bad" }, "403 InvalidClientTokenId", "403 UnrecognizedClientException", "400 UnrecognizedClientException", "400 InvalidToken"},
		{"wrong signature", func(a *ask) { a.tamper = func(r *http.Request) { r.Header.Set("X-Amz-Date", "20260301T120001Z") } }, "403 SignatureDoesNotMatch", "403 InvalidSignatureException", "400 InvalidSignatureException", "403 SignatureDoesNotMatch"},
		{"clock skew", skewed, "403 SignatureDoesNotMatch", "403 InvalidSignatureException", "400 InvalidSignatureException", "403 RequestTimeTooSkewed"},
		{"revoked", func(a *ask) { a.token = "revoked" }, "403 AccessDenied", "403 AccessDeniedException", "400 AccessDeniedException", "403 AccessDenied"},
		{"unsigned", func(a *ask) { a.unsigned = true }, "403 MissingAuthenticationToken", "403 AccessDenied", "400 MissingAuthenticationTokenException", "403 AccessDenied"},
		{"malformed", func(a *ask) {
			a.tamper = func(r *http.Request) {
				r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "Signature=", "Signature=x", 1))
			}
		}, "400 IncompleteSignature", "400 IncompleteSignatureException", "400 IncompleteSignatureException", "400 AuthorizationHeaderMalformed"},
		{"broken", func(a *ask) { a.token = "broken" }, "500 InternalFailure", "500 InternalFailureException", "500 InternalFailure", "500 InternalError"},
	} {
		for protocol, want := range map[string]string{"query": tc.query, "restjson": tc.restjson, "json": tc.json, "s3": tc.s3} {
			a := services[protocol]
			tc.change(&a)
			res, body := f.do(t, a)
			if got := strconv.Itoa(res.StatusCode) + " " + codeOf(res, body); got != want {
				t.Errorf("%s, %s: %s, want %s: %s", tc.name, protocol, got, want, body)
			}
		}
	}
	f.people.recheck = iot.Errorf(iot.KindDenied, "", "revoked meanwhile")
	f.expect(t, ask{service: "iot", target: "/things/mine-revoked"}, 403, "AccessDeniedException")
}

func TestEveryOperationAnswers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	all, err := Operations(testServices(t))
	if err != nil {
		t.Fatal(err)
	}
	built := 0
	for _, o := range all {
		if o.Built {
			built++
		}
	}
	if len(all) < 800 || built != 8 {
		t.Errorf("%d operations, %d of them built", len(all), built)
	}
	for _, b := range f.services {
		for i := range b.Operations {
			o := &b.Operations[i]
			if b.rows[o.Name] != nil || o.Unrouted {
				continue
			}
			a, ok := askFor(b.Service, o)
			if !ok {
				continue
			}
			res, body := f.do(t, a)
			named := a.method == http.MethodHead || codeOf(res, body) == "NotImplemented" && strings.Contains(body, "The operation "+o.Name+" of "+b.Name)
			if res.StatusCode != http.StatusNotImplemented || !named {
				t.Errorf("%s %s: %d %s", b.Name, o.Name, res.StatusCode, body)
			}
			if o.NoAuth {
				continue
			}
			a.tamper = func(r *http.Request) {
				r.Header.Set("Authorization", r.Header.Get("Authorization")[:len(r.Header.Get("Authorization"))-1]+"g")
			}
			if res, body := f.do(t, a); res.StatusCode != 400 {
				t.Errorf("%s %s with a bad signature: %d %s", b.Name, o.Name, res.StatusCode, body)
			}
		}
	}
}

// askFor is a request that names the operation and holds nothing else.
func askFor(s *awsapi.Service, o *awsapi.Operation) (ask, bool) {
	a := ask{service: s.SigningName, method: o.Method, header: http.Header{}}
	switch s.Protocol {
	case awsapi.Query:
		a.method, a.body, a.header = http.MethodPost, form("Action", o.Name, "Version", s.APIVersion), formHeader()
	case awsapi.AWSJSON:
		a.method, a.body, a.header = http.MethodPost, "{}", target(s.TargetPrefix+"."+o.Name)
	case awsapi.RESTJSON, awsapi.RESTXML:
		path, query, _ := strings.Cut(o.URI, "?")
		parts := strings.Split(path, "/")
		for i, p := range parts {
			if strings.HasPrefix(p, "{") {
				parts[i] = "label"
			}
		}
		q := []string{query}
		for _, k := range o.RequiredQuery {
			q = append(q, k+"=1")
		}
		for _, h := range o.RequiredHeaders {
			a.header.Set(h, "1")
		}
		a.target = strings.Join(parts, "/") + "?" + strings.Trim(strings.Join(q, "&"), "&")
		if strings.Contains(a.target, "//") {
			return a, false
		}
	}
	return a, true
}

func TestDenialsAreLoggedAndExplained(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	res, body := f.do(t, ask{service: "iot", target: "/things/other", key: userKey})
	if want := "User: " + userARN + " is not authorized to perform: iot:DescribeThing on resource: arn:aws:iot:eu-west-1:123456789012:thing/other"; !strings.Contains(body, want) {
		t.Errorf("the caller reads %s", body)
	}
	log := f.seen.text()
	for _, want := range []string{
		"deny iot iot:DescribeThing", "iot DescribeThing 403", "request_id=" + res.Header.Get("X-Amzn-Requestid"),
		"principal=" + userARN, "action=iot:DescribeThing", "thing/mine-*",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("no %q in:\n%s", want, log)
		}
	}
	if strings.Contains(body, "mine-") {
		t.Error("the caller learns the policy")
	}
	_, _ = f.do(t, ask{target: "/bucket/k", key: "AKIANOBODY"})
	if log := f.seen.text(); !strings.Contains(log, "access_key_id=AKIANOBODY") {
		t.Errorf("no word of the unknown key in:\n%s", log)
	}
	_, _ = f.do(t, ask{service: "iot", region: "us-west-2", target: "/things/other", key: userKey})
	if log := f.seen.text(); !strings.Contains(log, `region \"us-west-2\", this server is eu-west-1`) || !strings.Contains(log, "method=GET path=/things/other") {
		t.Errorf("no word of the wrong region in:\n%s", log)
	}
}

func TestMQTTOverWebSocket(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	upgrade := http.Header{"Upgrade": {"websocket"}, "Connection": {"keep-alive, Upgrade"}}
	for _, a := range []ask{
		{service: "iotdevicegateway", target: "/mqtt", presign: true, header: upgrade},
		{service: "iotdevicegateway", target: "/mqtt", presign: true, header: upgrade, tamper: func(r *http.Request) {
			r.URL.RawQuery += "&X-Amz-Security-Token=appended"
		}},
		{unsigned: true, target: "/mqtt", header: upgrade},
	} {
		res, err := f.try(t, a)
		if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
			t.Errorf("%v, %v", res, err)
		}
		if res != nil {
			_ = res.Body.Close()
		}
	}
	if log := f.seen.text(); strings.Count(log, "mqtt true") != 2 || strings.Count(log, "mqtt false") != 1 {
		t.Error(log)
	}
	f.mqtt = nil
	f.expect(t, ask{unsigned: true, target: "/mqtt", header: upgrade}, 501, "NotImplemented")
	f.expect(t, ask{unsigned: true, target: "/mqtt?list-type=2"}, 403, "AccessDenied") // a bucket of that name
}

func TestRequestKeys(t *testing.T) {
	t.Parallel()
	c := &Call{
		Service: "iot", Region: region, Now: testTime(), Identity: &sts.Identity{},
		HTTP: &http.Request{RemoteAddr: "[2001:db8::1]:99", Header: http.Header{"User-Agent": {"ua"}}, TLS: &tls.ConnectionState{}},
	}
	c.keys.init(c)
	c.keys.extra = policy.KeyMap{"x:y": policy.One("z"), "aws:sourceip": policy.One("forged")}
	for key, want := range map[string]string{
		"aws:sourceip": "2001:db8::1", "aws:securetransport": "true", "aws:currenttime": "2026-03-01T12:00:00Z", "aws:epochtime": "1772366400",
		"aws:useragent": "ua", "aws:requestedregion": region, "aws:viaawsservice": "false", "x:y": "z",
		"aws:sourcevpce": "", "aws:referer": "", "aws:userid": "",
	} {
		if v := c.keys.Lookup(key); v.One != want || v.Set != (want != "") {
			t.Errorf("%s is %+v, want %q", key, v, want)
		}
	}
	c.Service = "iam"
	c.HTTP = c.HTTP.WithContext(WithSourceVpce(t.Context(), "vpce-1"))
	c.keys = requestKeys{}
	c.keys.init(c)
	for key, want := range map[string]string{"aws:sourcevpce": "vpce-1", "aws:sourceip": "", "aws:requestedregion": "us-east-1"} {
		if v := c.keys.Lookup(key); v.One != want {
			t.Errorf("%s is %+v, want %q", key, v, want)
		}
	}
}

func TestRequestKeysDoNotAllocate(t *testing.T) { //nolint:paralleltest // AllocsPerRun counts everybody's
	c := &Call{Now: testTime(), HTTP: &http.Request{RemoteAddr: "192.0.2.1:9"}}
	c.keys.init(c)
	if n := testing.AllocsPerRun(10, func() { c.keys.Lookup("aws:currenttime"); c.keys.Lookup("aws:sourceip") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestBucketFromHost(t *testing.T) {
	t.Parallel()
	h := newHosts([]string{"Gate.example", "10.0.0.1", ""}, region)
	for host, want := range map[string]string{
		"localhost": "", "localhost:4566": "", "b.localhost": "b", "b.localhost:1": "b", "my.b.localhost": "my.b", "B.LOCALHOST": "b",
		"gate.example": "", "b.gate.example": "b", "s3.eu-west-1.gate.example": "", "b.s3.eu-west-1.gate.example:443": "b",
		"s3.gate.example": "", "b.s3.gate.example.": "b", "127.0.0.1:80": "", "10.0.0.1": "", "b.10.0.0.1": "",
		"[::1]:80": "", "other.example": "", "": "", ".localhost": "", "notlocalhost": "",
	} {
		if got, ok := h.bucket(host); got != want || ok != (want != "") {
			t.Errorf("%q names %q, %t; want %q", host, got, ok, want)
		}
	}
}

func TestNewRefusesBadRows(t *testing.T) {
	t.Parallel()
	row := op("DescribeThing", "iot:DescribeThing", nil,
		func(context.Context, *Call, *iotmodel.DescribeThingInput) (*iotmodel.DescribeThingOutput, error) {
			return nil, nil
		})
	named := func(name string) Operation { o := row; o.Name = name; return o }
	wrong := op("DescribeThing", "iot:DescribeThing", nil,
		func(context.Context, *Call, *struct{ X int }) (*struct{}, error) { return nil, nil })
	noAction := row
	noAction.Action = ""
	for name, services := range map[string][]Service{
		"unknown service":   {{Name: "iut"}},
		"service twice":     {{Name: "iot"}, {Name: "iot"}},
		"unknown operation": {{Name: "iot", Operations: []Operation{named("DescribeThink")}}},
		"no shapes":         {{Name: "iot", Operations: []Operation{named("CreateOTAUpdate")}}},
		"row twice":         {{Name: "iot", Operations: []Operation{row, row}}},
		"wrong types":       {{Name: "iot", Operations: []Operation{wrong}}},
		"no action":         {{Name: "iot", Operations: []Operation{noAction}}},
		"no handler":        {{Name: "iot", Operations: []Operation{{Name: "DescribeThing", Action: "x"}}}},
		"own without path":  {{Name: ownService, Operations: []Operation{row}}},
	} {
		if _, err := New(Options{Services: services}); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, err := Operations(services); err == nil {
			t.Errorf("%s: listed", name)
		}
	}
	h, err := New(Options{Services: nil, Rand: strings.NewReader(""), Now: testTime, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/b/k", http.NoBody))
	if w.Code != http.StatusInternalServerError {
		t.Errorf("without randomness: %d", w.Code)
	}
}

// A client that waits for 100 Continue sends nothing when it is refused.
func TestExpectContinueIsAnsweredLate(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	sent := &countingReader{r: strings.NewReader(strings.Repeat("x", 1<<20))}
	res, _ := f.do(t, ask{
		method: "PUT", target: "/bucket/theirs/k", key: userKey, secure: true, hash: "UNSIGNED-PAYLOAD",
		header: http.Header{"Expect": {"100-continue"}},
		tamper: func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(sent), 1<<20 },
	})
	if res.StatusCode != http.StatusForbidden || sent.n != 0 {
		t.Errorf("status %d after %d bytes", res.StatusCode, sent.n)
	}
}

type countingReader struct {
	r io.Reader
	n int
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}
