package servertest_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sekisho-iot/sekisho/internal/servertest"
)

// A stolen device tries every way of writing another's key.
func TestSecurityRule1_OthersKeys(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	p := s.Enrol("pump").Session()
	s.Enrol("valve")
	must(t, put(t, s.S3, "valve/secret"))
	for _, target := range []string{
		"/fleet/valve/secret", "/fleet/pump/../valve/secret", "/fleet/pump/%2E%2E/valve/secret", "/fleet/pump%2F..%2Fvalve%2Fsecret",
		"/fleet//valve/secret", "/fleet/./valve/secret", "/fleet%2Fvalve%2Fsecret", "//fleet/valve/secret", "/fleet/pump%00/../../valve/secret",
		"/fleet/valve%2Fsecret", "/fleet/%76alve/secret", "/fleet/valve/secret?versionId=null", "/fleet/PUMP/secret", "/fleet/pump",
		"/fleet/pump%5C..%5Cvalve", "/fleet/pumpx/secret", "/fleet/*/secret", "/fleet/$%7Bcredentials-iot:ThingName%7D/x",
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete} {
			for _, presign := range []bool{false, true} {
				q := servertest.Request{Method: method, Target: target, Presign: presign}
				if presign {
					q.Target += map[bool]string{true: "&", false: "?"}[strings.Contains(target, "?")] + "X-Amz-Expires=60"
				}
				status, body := s.Do(p, q)
				own := strings.HasPrefix(target, "/fleet/pump/") || strings.HasPrefix(target, "/fleet/pump%2F")
				if own && (status == http.StatusOK || status == http.StatusNoContent || status == http.StatusNotFound || status == http.StatusForbidden) {
					continue // a key below pump/, dots and all: keys are not paths
				}
				if status/100 != 4 {
					t.Errorf("%s %s: %d %s", method, target, status, body)
				}
			}
		}
	}
	out, err := s.S3.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(servertest.Bucket), Key: aws.String("valve/secret")})
	must(t, err)
	defer out.Body.Close()
	if b, _ := io.ReadAll(out.Body); string(b) != "data" {
		t.Errorf("the other's object is %q", b)
	}
}

// The operations that name a second object, or many, are refused object by object.
func TestSecurityRule1_SecondObjects(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	ctx, bucket := t.Context(), aws.String(servertest.Bucket)
	c := s.S3As(s.Enrol("pump").Session())
	must(t, put(t, s.S3, "valve/secret"))
	must(t, put(t, c, "pump/own"))
	for _, source := range []string{
		"fleet/valve/secret", "/fleet/valve/secret", "fleet%2Fvalve%2Fsecret", "fleet/pump/own,fleet/valve/secret", "fleet/%76alve/secret",
		"fleet/valve/secret?versionId=null", "fleet/pump/own?versionId=../valve/secret", "//fleet/valve/secret", "fleet//valve/secret",
		"arn:aws:s3:ap-northeast-1:000000000000:accesspoint/x/object/valve/secret", "arn%3Aaws%3As3%3A::fleet/valve/secret", "fleet/pump/../valve/secret",
	} {
		_, err := c.CopyObject(ctx, &s3.CopyObjectInput{Bucket: bucket, Key: aws.String("pump/copy"), CopySource: &source})
		if err == nil {
			t.Errorf("copied %s", source)
		}
	}
	up, err := c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: bucket, Key: aws.String("pump/big")})
	must(t, err)
	_, err = c.UploadPartCopy(ctx, &s3.UploadPartCopyInput{Bucket: bucket, Key: aws.String("pump/big"), UploadId: up.UploadId, PartNumber: aws.Int32(1), CopySource: aws.String("fleet/valve/secret")})
	wantCode(t, err, "AccessDenied")
	gone, err := c.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: bucket, Delete: &s3types.Delete{Objects: []s3types.ObjectIdentifier{
		{Key: aws.String("valve/secret")}, {Key: aws.String("pump/own")}, {Key: aws.String("pump/../valve/secret")},
	}}})
	must(t, err)
	if len(gone.Errors) != 1 || *gone.Errors[0].Key != "valve/secret" || *gone.Errors[0].Code != "AccessDenied" {
		t.Errorf("%+v", gone)
	}
	must(t, head(t, s.S3, "valve/secret"))
}

func head(t *testing.T, c *s3.Client, key string) error {
	t.Helper()
	_, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(servertest.Bucket), Key: &key})
	return err
}

// An upload belongs to its bucket and key: its id opens no other.
func TestSecurityRule1_OthersUploads(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	ctx, bucket := t.Context(), aws.String(servertest.Bucket)
	pump, valve := s.S3As(s.Enrol("pump").Session()), s.S3As(s.Enrol("valve").Session())
	up, err := valve.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: bucket, Key: aws.String("valve/big")})
	must(t, err)
	for _, key := range []string{"valve/big", "pump/big"} {
		want := map[string]string{"valve/big": "AccessDenied", "pump/big": "NoSuchUpload"}[key]
		_, err = pump.UploadPart(ctx, &s3.UploadPartInput{Bucket: bucket, Key: &key, UploadId: up.UploadId, PartNumber: aws.Int32(1), Body: strings.NewReader("x")})
		wantCode(t, err, want)
		_, err = pump.ListParts(ctx, &s3.ListPartsInput{Bucket: bucket, Key: &key, UploadId: up.UploadId})
		wantCode(t, err, want)
		_, err = pump.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: bucket, Key: &key, UploadId: up.UploadId})
		wantCode(t, err, want)
		_, err = pump.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
			Bucket: bucket, Key: &key, UploadId: up.UploadId,
			MultipartUpload: &s3types.CompletedMultipartUpload{Parts: []s3types.CompletedPart{{PartNumber: aws.Int32(1), ETag: aws.String("x")}}},
		})
		wantCode(t, err, want)
	}
	_, err = pump.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: bucket})
	wantCode(t, err, "AccessDenied")
	_, err = pump.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket})
	wantCode(t, err, "AccessDenied")
	_, err = valve.ListParts(ctx, &s3.ListPartsInput{Bucket: bucket, Key: aws.String("valve/big"), UploadId: up.UploadId})
	must(t, err)
}

// What was signed is what is served: nothing that decides may be added, changed,
// doubled or left out of the signature afterwards.
func TestSecurityRule1_Tampering(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	p := s.Enrol("pump").Session()
	must(t, put(t, s.S3As(p), "pump/own"))
	must(t, put(t, s.S3, "valve/secret"))
	header := func(k string, v ...string) func(*http.Request) { return func(r *http.Request) { r.Header[k] = v } }
	query := func(add string) func(*http.Request) { return func(r *http.Request) { r.URL.RawQuery += add } }
	base := servertest.Request{Method: http.MethodGet, Target: "/fleet/pump/own?X-Amz-Expires=60"}
	for name, tc := range map[string]struct {
		tamper  func(*http.Request)
		presign []bool
	}{
		"unsigned acl":            {header("X-Amz-Acl", "public-read"), []bool{true, false}},
		"unsigned copy source":    {header("X-Amz-Copy-Source", "fleet/valve/secret"), []bool{true, false}},
		"unsigned token header":   {header("X-Amz-Security-Token", "x"), []bool{true}},
		"unsigned payload header": {header("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD"), []bool{true}},
		"two payload headers":     {header("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD", "UNSIGNED-PAYLOAD"), []bool{false}},
		"two dates":               {header("X-Amz-Date", "20260101T000000Z", "20260101T000000Z"), []bool{false}},
		"another method":          {func(r *http.Request) { r.Method = http.MethodDelete }, []bool{true, false}},
		"another host":            {func(r *http.Request) { r.Host = "valve.localhost" }, []bool{true, false}},
		"no host":                 {func(r *http.Request) { r.Host = "x" }, []bool{true, false}},
		"another path":            {func(r *http.Request) { r.URL.Path, r.URL.RawPath = "/fleet/valve/secret", "" }, []bool{true, false}},
		"a sub-resource":          {query("&acl"), []bool{true, false}},
		"a version":               {query("&versionId=null"), []bool{true, false}},
		"another response type":   {query("&response-content-type=text/html"), []bool{true, false}},
		"a second signature":      {query("&X-Amz-Signature=00"), []bool{true}},
		"a second expiry":         {query("&X-Amz-Expires=604800"), []bool{true}},
		"a second credential":     {query("&X-Amz-Credential=x"), []bool{true}},
		"both mechanisms":         {header("Authorization", "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature="+strings.Repeat("0", 64)), []bool{true}},
		"two authorizations": {func(r *http.Request) {
			r.Header["Authorization"] = append(r.Header["Authorization"], r.Header["Authorization"][0])
		}, []bool{false}},
		"presigned and authorised": {query("&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=00"), []bool{false}},
	} {
		for _, presign := range tc.presign {
			q := base
			q.Presign, q.AfterSigning = presign, tc.tamper
			if status, body := s.Do(p, q); status/100 != 4 {
				t.Errorf("%s, presigned %t: %d %s", name, presign, status, body)
			}
		}
	}
	for _, presign := range []bool{true, false} { // untouched it is served
		q := base
		q.Presign = presign
		if status, body := s.Do(p, q); status != http.StatusOK {
			t.Errorf("presigned %t: %d %s", presign, status, body)
		}
	}
	// An override of the method is no method.
	q := base
	q.AfterSigning = header("X-Http-Method-Override", http.MethodDelete)
	if status, _ := s.Do(p, q); status != http.StatusOK {
		t.Error(status)
	}
	must(t, head(t, s.S3, "pump/own"))
}

// A signature counts for the service, region and day of its scope alone.
func TestSecurityRule1_Scopes(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	admin := servertest.Admin()
	for _, tc := range []struct {
		service, region, method, target string
		age                             time.Duration
	}{
		{service: "s3", method: "GET", target: "/things"},                               // S3's bucket "things", not IoT's list
		{service: "iot", method: "GET", target: "/fleet/pump/own"},                      // no such operation of IoT
		{service: "iam", method: "GET", target: "/?Action=GetCallerIdentity"},           // STS's
		{service: "sts", method: "GET", target: "/?Action=ListUsers"},                   // IAM's
		{service: "sekisho", method: "GET", target: "/things"},                          //
		{service: "iot", method: "GET", target: "/_sekisho/info"},                       //
		{service: "nonsense", method: "GET", target: "/fleet"},                          //
		{service: "s3", region: "eu-west-1", method: "GET", target: "/fleet"},           //
		{service: "iot", region: "us-east-1", method: "GET", target: "/things"},         //
		{service: "iot", method: "GET", target: "/things", age: 6 * time.Minute},        //
		{service: "iot", method: "GET", target: "/things", age: -6 * time.Minute},       //
		{service: "s3", method: "GET", target: "/fleet", age: 16 * time.Minute},         //
		{service: "s3", method: "GET", target: "/fleet", age: -16 * time.Minute},        //
		{service: "iot", method: "GET", target: "/things//x"},                           // signers disagree on it
		{service: "iot", method: "GET", target: "/policies/../things"},                  //
		{service: "iotdevicegateway", method: "GET", target: "/things"},                 //
		{service: "sts", method: "POST", target: "/?Action=GetCallerIdentity&Action=x"}, //
	} {
		q := servertest.Request{Method: tc.method, Target: tc.target, Service: tc.service, Region: tc.region, Time: s.Clock.Now().Add(-tc.age)}
		if status, body := s.Do(admin, q); status/100 != 4 {
			t.Errorf("%s in %q %s %s, %s old: %d %s", tc.service, tc.region, tc.method, tc.target, tc.age, status, body)
		}
	}
	for _, service := range []string{"iam", "sts"} { // these live in us-east-1 too
		action := map[string]string{"iam": "ListUsers&Version=2010-05-08", "sts": "GetCallerIdentity&Version=2011-06-15"}[service]
		if status, body := s.Do(admin, servertest.Request{Method: "GET", Target: "/?Action=" + action, Service: service, Region: "us-east-1"}); status != http.StatusOK {
			t.Errorf("%s: %d %s", service, status, body)
		}
	}
}

// Nobody may do anything without credentials, but what a bucket's policy opens.
func TestSecurityRule1_Anonymous(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	must(t, put(t, s.S3, "public/a"))
	for _, q := range []servertest.Request{
		{Method: "GET", Target: "/"},
		{Method: "GET", Target: "/fleet"},
		{Method: "GET", Target: "/fleet/public/a"},
		{Method: "PUT", Target: "/fleet/public/b", Body: "x"},
		{Method: "PUT", Target: "/mine"},
		{Method: "DELETE", Target: "/fleet/public/a"},
		{Method: "GET", Target: "/fleet?policy"},
		{Method: "PUT", Target: "/fleet?policy", Body: "{}"},
		{Method: "GET", Target: "/fleet?uploads"},
		{Method: "GET", Target: "/things"},
		{Method: "GET", Target: "/_sekisho/info"},
		{Method: "GET", Target: "/_sekisho/admin.json"},
		{Method: "POST", Target: "/_sekisho/explain", Body: "{}"},
		{Method: "POST", Target: "/", Body: "Action=ListUsers", Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}},
		{Method: "POST", Target: "/", Body: "Action=AssumeRole&Version=2011-06-15", Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}},
		{Method: "POST", Target: "/", Header: http.Header{"X-Amz-Target": {"AWSCognitoIdentityService.ListIdentityPools"}}},
		{Method: "POST", Target: "/fleet?delete", Body: "<Delete><Object><Key>public/a</Key></Object></Delete>"},
	} {
		if status, body := s.Do(nil, q); status/100 != 4 {
			t.Errorf("%s %s: %d %s", q.Method, q.Target, status, body)
		}
	}
	before := len(s.Log.Denials())
	flood := "<Delete>" + strings.Repeat("<Object><Key>public/a</Key></Object>", 1000) + "</Delete>"
	if status, _ := s.Do(nil, servertest.Request{Method: "POST", Target: "/fleet?delete", Body: flood}); status != 403 || len(s.Log.Denials()) != before+1 {
		t.Errorf("a stranger's request: %d, with %d lines of log", status, len(s.Log.Denials())-before)
	}
	_, err := s.S3.PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{Bucket: aws.String(servertest.Bucket), Policy: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::fleet/public/*"}]}`)})
	must(t, err)
	for target, want := range map[string]int{
		"/fleet/public/a": 200, "/fleet/private/a": 403, "/fleet/public/../private/a": 403, "/fleet/public/missing": 403, "/fleet": 403,
		"/fleet/public/a?response-content-type=text/html": 400,
	} {
		if status, body := s.Do(nil, servertest.Request{Method: "GET", Target: target}); status != want {
			t.Errorf("%s: %d %s", target, status, body)
		}
	}
}

// A denial tells the operator why, and the caller no more than AWS does.
func TestSecurityRule1_DenialsExplained(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	c := s.S3As(s.Enrol("pump").Session())
	err := put(t, c, "valve/x\r\nlevel=INFO msg=\"request allowed\"\x1b[2J")
	wantCode(t, err, "AccessDenied")
	for _, word := range []string{"fleet-role", "policy", "Statement", "inline", "main", "credentials-iot"} {
		if strings.Contains(strings.ReplaceAll(err.Error(), "User: arn:aws:sts::000000000000:assumed-role/fleet-role", ""), word) {
			t.Errorf("the caller is told of %q: %v", word, err)
		}
	}
	found := false
	for _, d := range s.Log.Denials() {
		explanation, _ := d["explanation"].(string)
		resource, _ := d["resource"].(string)
		found = found || d["action"] == "s3:PutObject" && strings.Contains(resource, "valve/x") && strings.Contains(explanation, "inline policy main of role fleet-role")
	}
	if !found {
		t.Errorf("the log does not explain it:\n%s", s.Log)
	}
	for line := range strings.Lines(s.Log.String()) {
		if !strings.HasPrefix(line, `{"time":`) || strings.ContainsAny(line[:len(line)-1], "\r\x1b") {
			t.Errorf("a line was forged: %q", line)
		}
	}
}

// A presigned URL's age is that of its signature: no signed header may say otherwise.
func TestSecurityRule1_SignatureAge(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	_, err := s.S3.PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{Bucket: aws.String(servertest.Bucket), Policy: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::fleet/*","Condition":{"NumericGreaterThan":{"s3:signatureAge":"60000"}}}]}`)})
	must(t, err)
	p := s.Enrol("pump").Session()
	must(t, put(t, s.S3As(p), "pump/x"))
	q := servertest.Request{
		Method: http.MethodGet, Target: "/fleet/pump/x?X-Amz-Expires=3600", Presign: true,
		Header: http.Header{"X-Amz-Date": {s.Clock.Now().Add(time.Hour).UTC().Format("20060102T150405Z")}},
	}
	r := s.Signed(p, q)
	fresh := s.Signed(p, servertest.Request{Method: http.MethodGet, Target: "/fleet/pump/x?X-Amz-Expires=3600", Presign: true})
	if status := send(t, s, fresh); status != http.StatusOK {
		t.Error(status)
	}
	s.Clock.Move(2 * time.Minute)
	for _, old := range []*http.Request{r, fresh} {
		if status := send(t, s, old); status/100 != 4 {
			t.Error(status)
		}
	}
}

func send(t *testing.T, s *servertest.Server, r *http.Request) int {
	t.Helper()
	res, err := s.Transport().RoundTrip(r.Clone(context.WithoutCancel(r.Context())))
	must(t, err)
	_ = res.Body.Close()
	return res.StatusCode
}
