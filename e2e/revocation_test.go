//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// live is a device's session in use on one kept-alive connection.
type live struct {
	*device
	role   string
	alias  string
	bucket string
	s3     *s3.Client
	conf   aws.Config
}

func newLive(t *testing.T, host string) *live {
	t.Helper()
	l := &live{bucket: shared.bucket(t)}
	role, roleARN := shared.role(t, trustCredentials(), document(allow("s3:*", "*")))
	alias, aliasARN := shared.alias(t, roleARN)
	l.role, l.alias, l.device = role, alias, shared.device(t, aliasARN)
	l.conf = shared.config(l.session(t, alias))
	l.conf.BaseEndpoint = aws.String(shared.Env["AWS_ENDPOINT_URL"])
	if host != "" {
		l.conf.BaseEndpoint = aws.String(shared.httpsEndpoint(t, host))
	}
	tr := shared.transport()
	tr.MaxConnsPerHost = 1
	l.conf.HTTPClient = &http.Client{Transport: tr, Timeout: time.Minute}
	l.s3 = s3.NewFromConfig(l.conf, pathStyle)
	check(t, put(t, shared.s3, l.bucket, "read"))
	return l
}

// use reads an object and then writes it, and says whether the read went over
// the connection of before. (An answer to a PUT may overtake its body, and then
// a client gives the connection up by itself.)
func (l *live) use(t *testing.T) (reused bool, err error) {
	t.Helper()
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }})
	out, err := l.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: &l.bucket, Key: aws.String("read")})
	if err == nil {
		shut(t, out.Body)
		return reused, put(t, l.s3, l.bucket, "written")
	}
	wantDenied(t, "PUT", second(l.s3.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &l.bucket, Key: aws.String("written")})))
	return reused, err
}

// TestRevocation: whatever takes the device's right away stops a live session
// with the next request on the same connection, and nothing revives it.
func TestRevocation(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		stop    func(*testing.T, *live)
		restore func(*testing.T, *live) // nil: there is no way back
		revives bool                    // whether restore gives the same session its right back
	}{
		{
			"revocation",
			func(t *testing.T, l *live) { l.setStatus(t, iottypes.CertificateStatusRevoked) },
			func(t *testing.T, l *live) {
				_, _ = l.s.iot.UpdateCertificate(t.Context(), &iot.UpdateCertificateInput{CertificateId: &l.certID, NewStatus: iottypes.CertificateStatusActive})
			}, false,
		},
		{
			"deactivation",
			func(t *testing.T, l *live) { l.setStatus(t, iottypes.CertificateStatusInactive) },
			func(t *testing.T, l *live) { l.setStatus(t, iottypes.CertificateStatusActive) }, false,
		},
		{
			"detachment of the thing",
			func(t *testing.T, l *live) { l.detachThing(t) },
			func(t *testing.T, l *live) { l.attachThing(t) }, false,
		},
		{
			"deletion of the certificate",
			func(t *testing.T, l *live) { l.delete(t) }, nil, false,
		},
		{
			"the thing made anew",
			func(t *testing.T, l *live) {
				l.detachThing(t)
				_, err := l.s.iot.DeleteThing(t.Context(), &iot.DeleteThingInput{ThingName: &l.thing})
				check(t, err)
				_, err = l.s.iot.CreateThing(t.Context(), &iot.CreateThingInput{ThingName: &l.thing})
				check(t, err)
				l.attachThing(t)
			}, nil, false,
		},
		{
			"removal of the role's policy",
			func(t *testing.T, l *live) {
				_, err := l.s.iam.DeleteRolePolicy(t.Context(), &iam.DeleteRolePolicyInput{RoleName: &l.role, PolicyName: aws.String("inline")})
				check(t, err)
			},
			func(t *testing.T, l *live) {
				_, err := l.s.iam.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: &l.role, PolicyName: aws.String("inline"), PolicyDocument: document(allow("s3:*", "*"))})
				check(t, err)
			}, true,
		},
		{
			"the role made anew",
			func(t *testing.T, l *live) {
				_, err := l.s.iam.DeleteRolePolicy(t.Context(), &iam.DeleteRolePolicyInput{RoleName: &l.role, PolicyName: aws.String("inline")})
				check(t, err)
				_, err = l.s.iam.DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: &l.role})
				check(t, err)
				_, err = l.s.iam.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &l.role, AssumeRolePolicyDocument: trustCredentials()})
				check(t, err)
				_, err = l.s.iam.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: &l.role, PolicyName: aws.String("inline"), PolicyDocument: document(allow("s3:*", "*"))})
				check(t, err)
			}, nil, false,
		},
	} {
		for _, host := range []string{"", "127.0.0.1"} {
			t.Run(c.name+map[string]string{"": " over http", "127.0.0.1": " over https"}[host], func(t *testing.T) {
				t.Parallel()
				l := newLive(t, host)
				_, err := l.use(t)
				check(t, err)
				c.stop(t, l)
				stopped := time.Now()
				reused, err := l.use(t)
				wantDenied(t, "the next request", err)
				if took := time.Since(stopped); !reused || took > time.Second {
					t.Errorf("connection reused: %t, refused after %s", reused, took)
				}
				if c.restore == nil {
					return
				}
				c.restore(t, l)
				reused, err = l.use(t)
				if c.revives {
					check(t, err)
				} else {
					wantDenied(t, "a request after it was restored", err)
				}
				if !reused {
					t.Error("the connection was not kept")
				}
			})
		}
	}
}

// TestRevocationManagedPolicy: a managed policy's detachment and a new default
// version count from the next request on, too.
func TestRevocationManagedPolicy(t *testing.T) {
	t.Parallel()
	l := newLive(t, "127.0.0.1")
	check(t, second(l.s.iam.DeleteRolePolicy(t.Context(), &iam.DeleteRolePolicyInput{RoleName: &l.role, PolicyName: aws.String("inline")})))
	p, err := l.s.iam.CreatePolicy(t.Context(), &iam.CreatePolicyInput{PolicyName: aws.String(unique("policy")), PolicyDocument: document(allow("s3:*", "*"))})
	check(t, err)
	_, err = l.use(t)
	wantDenied(t, "before it is attached", err)
	check(t, second(l.s.iam.AttachRolePolicy(t.Context(), &iam.AttachRolePolicyInput{RoleName: &l.role, PolicyArn: p.Policy.Arn})))
	_, err = l.use(t)
	check(t, err)
	check(t, second(l.s.iam.CreatePolicyVersion(t.Context(), &iam.CreatePolicyVersionInput{PolicyArn: p.Policy.Arn, SetAsDefault: true, PolicyDocument: document(allow("s3:ListBucket", "*"))})))
	_, err = l.use(t)
	wantDenied(t, "after the narrower version", err)
	check(t, second(l.s.iam.SetDefaultPolicyVersion(t.Context(), &iam.SetDefaultPolicyVersionInput{PolicyArn: p.Policy.Arn, VersionId: aws.String("v1")})))
	_, err = l.use(t)
	check(t, err)
	check(t, second(l.s.iam.DetachRolePolicy(t.Context(), &iam.DetachRolePolicyInput{RoleName: &l.role, PolicyArn: p.Policy.Arn})))
	reused, err := l.use(t)
	wantDenied(t, "after the detachment", err)
	if !reused {
		t.Error("the connection was not kept")
	}
}

// TestRevocationDuringUpload: an upload that began before the revocation does
// not commit after it, and a multipart upload does not complete.
func TestRevocationDuringUpload(t *testing.T) {
	t.Parallel()
	l := newLive(t, "127.0.0.1")
	part := make([]byte, 5<<20)
	_, _ = rand.Read(part)
	upload, err := l.s3.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &l.bucket, Key: aws.String("parts")})
	check(t, err)
	sent, err := l.s3.UploadPart(t.Context(), &s3.UploadPartInput{Bucket: &l.bucket, Key: aws.String("parts"), UploadId: upload.UploadId, PartNumber: aws.Int32(1), Body: bytes.NewReader(part)})
	check(t, err)

	url, err := s3.NewPresignClient(l.s3).PresignPutObject(t.Context(), &s3.PutObjectInput{Bucket: &l.bucket, Key: aws.String("slow")})
	check(t, err)
	r, w := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), url.Method, url.URL, r)
	check(t, err)
	req.ContentLength = int64(2 * len(part))
	result := make(chan error, 1)
	var status int
	var body bytes.Buffer
	go func() {
		res, err := l.conf.HTTPClient.Do(req)
		if err == nil {
			status = res.StatusCode
			_, _ = body.ReadFrom(res.Body)
			_ = res.Body.Close()
		}
		_ = r.CloseWithError(errors.New("answered"))
		result <- err
	}()
	_, err = w.Write(part)
	check(t, err)
	l.setStatus(t, iottypes.CertificateStatusRevoked)
	_, _ = w.Write(part)
	_ = w.Close()
	select {
	case err := <-result:
		check(t, err)
	case <-time.After(30 * time.Second):
		t.Fatal("the upload does not end")
	}
	if status != http.StatusForbidden || !bytes.Contains(body.Bytes(), []byte("<Code>AccessDenied</Code>")) {
		t.Errorf("the upload ended with %d %s", status, body.String())
	}
	_, err = l.s3.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{
		Bucket: &l.bucket, Key: aws.String("parts"), UploadId: upload.UploadId,
		MultipartUpload: &s3types.CompletedMultipartUpload{Parts: []s3types.CompletedPart{{PartNumber: aws.Int32(1), ETag: sent.ETag}}},
	})
	wantDenied(t, "CompleteMultipartUpload", err)
	for _, key := range []string{"slow", "parts"} {
		_, err = shared.s3.HeadObject(context.WithoutCancel(t.Context()), &s3.HeadObjectInput{Bucket: &l.bucket, Key: aws.String(key)})
		if err == nil {
			t.Errorf("%s is there", key)
		}
	}
}

// second drops an output that nobody needs.
func second[T any](_ T, err error) error { return err }
