package servertest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/sekisho-iot/sekisho/internal/servertest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	if got := servertest.Code(err); got != code {
		t.Fatalf("got %q, want %q", got, code)
	}
}

func retrieve(t *testing.T, p aws.CredentialsProvider) aws.Credentials {
	t.Helper()
	k, err := p.Retrieve(t.Context())
	must(t, err)
	return k
}

func setStatus(t *testing.T, s *servertest.Server, d *servertest.Device, status iottypes.CertificateStatus) {
	t.Helper()
	_, err := s.IoT.UpdateCertificate(t.Context(), &iot.UpdateCertificateInput{CertificateId: &d.CertificateID, NewStatus: status})
	must(t, err)
}

// Every pairing of key, secret and token but the right one is refused.
func TestSecurityRule4_SwappedTokens(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	a, b := retrieve(t, s.Enrol("a").Session()), retrieve(t, s.Enrol("b").Session())
	admin := retrieve(t, servertest.Admin())
	flipped := []byte(a.SessionToken)
	flipped[len(flipped)/2] ^= 1
	for name, k := range map[string]aws.Credentials{
		"another's token":           {AccessKeyID: a.AccessKeyID, SecretAccessKey: a.SecretAccessKey, SessionToken: b.SessionToken},
		"another's key":             {AccessKeyID: b.AccessKeyID, SecretAccessKey: a.SecretAccessKey, SessionToken: a.SessionToken},
		"no token":                  {AccessKeyID: a.AccessKeyID, SecretAccessKey: a.SecretAccessKey},
		"long-term key, any token":  {AccessKeyID: admin.AccessKeyID, SecretAccessKey: admin.SecretAccessKey, SessionToken: a.SessionToken},
		"one bit of the token":      {AccessKeyID: a.AccessKeyID, SecretAccessKey: a.SecretAccessKey, SessionToken: string(flipped)},
		"the token, with a newline": {AccessKeyID: a.AccessKeyID, SecretAccessKey: a.SecretAccessKey, SessionToken: a.SessionToken[:8] + " " + a.SessionToken[8:]},
		"another's secret":          {AccessKeyID: a.AccessKeyID, SecretAccessKey: b.SecretAccessKey, SessionToken: a.SessionToken},
	} {
		p := credentials.NewStaticCredentialsProvider(k.AccessKeyID, k.SecretAccessKey, k.SessionToken)
		for _, presign := range []bool{false, true} {
			status, body := s.Do(p, servertest.Request{
				Method: http.MethodGet, Target: "/fleet/a/x?X-Amz-Expires=60", Presign: presign,
			})
			if status/100 != 4 {
				t.Errorf("%s, presigned %t: %d %s", name, presign, status, body)
			}
		}
	}
	// The token of a, in header and query at once.
	p := credentials.NewStaticCredentialsProvider(a.AccessKeyID, a.SecretAccessKey, a.SessionToken)
	status, _ := s.Do(p, servertest.Request{Method: http.MethodGet, Target: "/fleet/a/x?X-Amz-Expires=60", Presign: true, AfterSigning: func(r *http.Request) {
		r.Header.Set("X-Amz-Security-Token", b.SessionToken)
	}})
	if status/100 != 4 {
		t.Errorf("two tokens: %d", status)
	}
}

// What a session hangs on ends it, on kept-alive connections, and nothing that
// is done afterwards revives it.
func TestSecurityRule4_NothingRevives(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	ctx := t.Context()
	for name, end := range map[string]func(t *testing.T, d *servertest.Device){
		"reactivated": func(t *testing.T, d *servertest.Device) {
			t.Helper()
			setStatus(t, s, d, iottypes.CertificateStatusInactive)
			setStatus(t, s, d, iottypes.CertificateStatusActive)
		},
		"revoked, then active": func(t *testing.T, d *servertest.Device) {
			t.Helper()
			setStatus(t, s, d, iottypes.CertificateStatusRevoked)
			setStatus(t, s, d, iottypes.CertificateStatusActive)
		},
		"reattached": func(t *testing.T, d *servertest.Device) {
			t.Helper()
			_, err := s.IoT.DetachThingPrincipal(ctx, &iot.DetachThingPrincipalInput{ThingName: &d.Thing, Principal: &d.CertificateARN})
			must(t, err)
			_, err = s.IoT.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: &d.Thing, Principal: &d.CertificateARN})
			must(t, err)
		},
		"thing recreated": func(t *testing.T, d *servertest.Device) {
			t.Helper()
			_, err := s.IoT.DetachThingPrincipal(ctx, &iot.DetachThingPrincipalInput{ThingName: &d.Thing, Principal: &d.CertificateARN})
			must(t, err)
			_, err = s.IoT.DeleteThing(ctx, &iot.DeleteThingInput{ThingName: &d.Thing})
			must(t, err)
			_, err = s.IoT.CreateThing(ctx, &iot.CreateThingInput{ThingName: &d.Thing})
			must(t, err)
			_, err = s.IoT.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: &d.Thing, Principal: &d.CertificateARN})
			must(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := s.Enrol("thing-" + strings.NewReplacer(" ", "-", ",", "").Replace(name))
			c := s.S3As(d.Session())
			must(t, put(t, c, d.Thing+"/x"))
			end(t, d)
			wantCode(t, put(t, c, d.Thing+"/x"), "AccessDenied")
			if !strings.Contains(name, "revoked") {
				must(t, put(t, s.S3As(d.Session()), d.Thing+"/x")) // a new session is good
			}
		})
	}
}

// A recreated role of the same name is another role.
func TestSecurityRule4_RecreatedRole(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	ctx := t.Context()
	c := s.S3As(s.Enrol("pump").Session())
	must(t, put(t, c, "pump/x"))
	_, err := s.IAM.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: aws.String(servertest.Role), PolicyName: aws.String("main")})
	must(t, err)
	wantCode(t, put(t, c, "pump/x"), "AccessDenied")
	_, err = s.IAM.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: aws.String(servertest.Role)})
	must(t, err)
	s.NewRole(servertest.Role, servertest.TrustDevices, servertest.OwnPrefix)
	wantCode(t, put(t, c, "pump/x"), "AccessDenied")
}

// A session under a managed policy ends with that policy, whatever is called so later.
func TestSecurityRule4_RecreatedPolicy(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	ctx := t.Context()
	s.NewRole("first", trustAccount, everything)
	edge := func(document string) *string {
		made, err := s.IAM.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("edge"), PolicyDocument: &document})
		must(t, err)
		return made.Policy.Arn
	}
	arn := edge(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"},{"Effect":"Deny","Action":"s3:*","Resource":"arn:aws:s3:::*/secret"}]}`)
	caller := sts.NewFromConfig(s.Config(s.NewUser("ann", everything)))
	under := []ststypes.PolicyDescriptorType{{Arn: arn}}
	role, err := caller.AssumeRole(ctx, &sts.AssumeRoleInput{
		RoleArn: aws.String("arn:aws:iam::" + servertest.Account + ":role/first"), RoleSessionName: aws.String("held"), PolicyArns: under,
	})
	must(t, err)
	federated, err := caller.GetFederationToken(ctx, &sts.GetFederationTokenInput{Name: aws.String("guest"), PolicyArns: under})
	must(t, err)
	var clients []*s3.Client
	for _, k := range []*ststypes.Credentials{role.Credentials, federated.Credentials} {
		c := s.S3As(credentials.NewStaticCredentialsProvider(*k.AccessKeyId, *k.SecretAccessKey, *k.SessionToken))
		must(t, put(t, c, "open"))
		wantCode(t, put(t, c, "secret"), "AccessDenied")
		clients = append(clients, c)
	}
	_, err = s.IAM.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: arn})
	must(t, err)
	for _, c := range clients {
		wantCode(t, put(t, c, "open"), "AccessDenied")
	}
	edge(everything)
	for _, c := range clients {
		wantCode(t, put(t, c, "open"), "AccessDenied")
		wantCode(t, put(t, c, "secret"), "AccessDenied")
	}
}

// assume opens a session of a role that everybody in the account may assume.
func assume(t *testing.T, s *servertest.Server, p aws.CredentialsProvider, role string) aws.CredentialsProvider {
	t.Helper()
	out, err := sts.NewFromConfig(s.Config(p)).AssumeRole(t.Context(), &sts.AssumeRoleInput{
		RoleArn: aws.String("arn:aws:iam::" + servertest.Account + ":role/" + role), RoleSessionName: aws.String("derived"),
	})
	must(t, err)
	k := out.Credentials
	return credentials.NewStaticCredentialsProvider(*k.AccessKeyId, *k.SecretAccessKey, *k.SessionToken)
}

const (
	trustAccount = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000000:root"},"Action":"sts:AssumeRole"}]}`
	everything   = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`
)

// Sessions that were derived from a device's, twice over, end with its certificate.
func TestSecurityRule4_Lineage(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	ctx := t.Context()
	s.NewRole("first", trustAccount, everything)
	s.NewRole("second", trustAccount, everything)
	_, err := s.IAM.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String(servertest.Role), PolicyName: aws.String("assume"), PolicyDocument: aws.String(everything)})
	must(t, err)
	d := s.Enrol("pump")
	first := assume(t, s, d.Session(), "first")
	second := assume(t, s, first, "second")
	c := s.S3As(second)
	must(t, put(t, c, "anything"))
	setStatus(t, s, d, iottypes.CertificateStatusInactive)
	setStatus(t, s, d, iottypes.CertificateStatusActive)
	wantCode(t, put(t, c, "anything"), "AccessDenied")
	wantCode(t, put(t, s.S3As(first), "anything"), "AccessDenied")
}

// A session made with a user's access key ends when the key is deactivated,
// and activating the key again does not bring it back.
func TestSecurityRule4_ReactivatedKey(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	ctx := t.Context()
	s.NewRole("first", trustAccount, everything)
	s.NewRole("second", trustAccount, everything)
	user := s.NewUser("ann", everything)
	session := assume(t, s, user, "first")
	c, chained := s.S3As(session), s.S3As(assume(t, s, session, "second"))
	must(t, put(t, c, "x"))
	id := retrieve(t, user).AccessKeyID
	for _, status := range []iamtypes.StatusType{iamtypes.StatusTypeInactive, iamtypes.StatusTypeActive} {
		_, err := s.IAM.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{UserName: aws.String("ann"), AccessKeyId: &id, Status: status})
		must(t, err)
		wantCode(t, put(t, c, "x"), "AccessDenied")
		wantCode(t, put(t, chained, "x"), "AccessDenied")
	}
	must(t, put(t, s.S3As(user), "x")) // the key itself is good again
	must(t, put(t, s.S3As(assume(t, s, user, "first")), "x"))
}

// A session of GetSessionToken or GetFederationToken, and a role assumed with
// one, are nothing without their own keys, and end with the key at the root.
func TestSecurityRule4_UserSessions(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	ctx := t.Context()
	s.NewRole("first", trustAccount, everything)
	user := s.NewUser("ann", everything)
	c := sts.NewFromConfig(s.Config(user))
	own, err := c.GetSessionToken(ctx, &sts.GetSessionTokenInput{})
	must(t, err)
	guest, err := c.GetFederationToken(ctx, &sts.GetFederationTokenInput{Name: aws.String("guest"), Policy: aws.String(everything)})
	must(t, err)
	session := credentials.NewStaticCredentialsProvider(*own.Credentials.AccessKeyId, *own.Credentials.SecretAccessKey, *own.Credentials.SessionToken)
	federated := credentials.NewStaticCredentialsProvider(*guest.Credentials.AccessKeyId, *guest.Credentials.SecretAccessKey, *guest.Credentials.SessionToken)
	derived := assume(t, s, session, "first")
	all := []aws.CredentialsProvider{session, federated, derived}
	for _, p := range all {
		must(t, put(t, s.S3As(p), "x"))
	}
	// Each token with each other key, and with the user's own.
	for i, p := range append(all, user) {
		for j, q := range all {
			if i == j {
				continue
			}
			k, token := retrieve(t, p), retrieve(t, q).SessionToken
			mixed := credentials.NewStaticCredentialsProvider(k.AccessKeyID, k.SecretAccessKey, token)
			wantCode(t, put(t, s.S3As(mixed), "x"), "InvalidToken")
		}
	}
	id := retrieve(t, user).AccessKeyID
	for _, status := range []iamtypes.StatusType{iamtypes.StatusTypeInactive, iamtypes.StatusTypeActive} {
		_, err := s.IAM.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{UserName: aws.String("ann"), AccessKeyId: &id, Status: status})
		must(t, err)
		for _, p := range all {
			wantCode(t, put(t, s.S3As(p), "x"), "AccessDenied")
		}
	}
}

// stalled is a body that begins, tells, and waits for leave to end.
type stalled struct {
	begun, resume chan struct{}
	reads         int
}

func (b *stalled) Read(p []byte) (int, error) {
	b.reads++
	switch b.reads {
	case 1:
		return copy(p, "first half "), nil
	case 2:
		close(b.begun)
		<-b.resume
		return copy(p, "second half"), nil
	}
	return 0, io.EOF
}

// An upload that began while it was allowed does not commit after that ended,
// whatever ended it.
func TestSecurityRule4_UploadUnderWay(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	ctx := t.Context()
	role, bucket := aws.String(servertest.Role), aws.String(servertest.Bucket)
	for name, end := range map[string]func(t *testing.T, d *servertest.Device){
		"revoked": func(t *testing.T, d *servertest.Device) {
			t.Helper()
			setStatus(t, s, d, iottypes.CertificateStatusRevoked)
		},
		"detached": func(t *testing.T, d *servertest.Device) {
			t.Helper()
			_, err := s.IoT.DetachThingPrincipal(ctx, &iot.DetachThingPrincipalInput{ThingName: &d.Thing, Principal: &d.CertificateARN})
			must(t, err)
		},
		"policy": func(t *testing.T, _ *servertest.Device) {
			t.Helper()
			_, err := s.IAM.PutRolePolicy(ctx, &iam.PutRolePolicyInput{
				RoleName: role, PolicyName: aws.String("main"),
				PolicyDocument: aws.String(strings.ReplaceAll(servertest.OwnPrefix, "Allow", "Deny")),
			})
			must(t, err)
			t.Cleanup(func() {
				_, err := s.IAM.PutRolePolicy(context.WithoutCancel(ctx), &iam.PutRolePolicyInput{RoleName: role, PolicyName: aws.String("main"), PolicyDocument: aws.String(servertest.OwnPrefix)})
				must(t, err)
			})
		},
		"bucket-policy": func(t *testing.T, _ *servertest.Device) {
			t.Helper()
			_, err := s.S3.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: bucket, Policy: aws.String(
				`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::fleet/*"}]}`)})
			must(t, err)
			t.Cleanup(func() {
				_, err := s.S3.DeleteBucketPolicy(context.WithoutCancel(ctx), &s3.DeleteBucketPolicyInput{Bucket: bucket})
				must(t, err)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := s.Enrol("upload-" + name)
			c := s.S3As(d.Session())
			key := d.Thing + "/x"
			up, err := c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: bucket, Key: &key})
			must(t, err)
			part, err := c.UploadPart(ctx, &s3.UploadPartInput{Bucket: bucket, Key: &key, UploadId: up.UploadId, PartNumber: aws.Int32(1), Body: strings.NewReader("x")})
			must(t, err)
			body := &stalled{begun: make(chan struct{}), resume: make(chan struct{})}
			failed := make(chan error, 1)
			go func() {
				r := s.Signed(d.Session(), servertest.Request{Method: http.MethodPut, Target: "/fleet/" + key, Body: "first half second half"})
				r.Body = io.NopCloser(body)
				res, err := s.Transport().RoundTrip(r)
				if err == nil {
					_ = res.Body.Close()
					err = errors.New(res.Status)
				}
				failed <- err
			}()
			select {
			case <-body.begun:
			case err := <-failed:
				t.Fatal(err)
			}
			end(t, d)
			close(body.resume)
			if err := <-failed; err == nil || !strings.Contains(err.Error(), "403") {
				t.Errorf("put: %v", err)
			}
			_, err = c.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
				Bucket: bucket, Key: &key, UploadId: up.UploadId,
				MultipartUpload: &s3types.CompletedMultipartUpload{Parts: []s3types.CompletedPart{{PartNumber: aws.Int32(1), ETag: part.ETag}}},
			})
			wantCode(t, err, "AccessDenied")
			_, err = s.S3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: bucket, Key: &key})
			if servertest.Code(err) == "" {
				t.Error("the object is there")
			}
		})
	}
}

// An expired session is expired, whatever the request says about its time.
func TestSecurityRule4_Expiry(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	p := s.Enrol("pump").Session()
	signed := servertest.Request{Method: http.MethodGet, Target: "/fleet/pump/x?X-Amz-Expires=604800", Presign: true}
	r := s.Signed(p, signed)
	s.Clock.Move(time.Hour + time.Second)
	res, err := s.Transport().RoundTrip(r)
	must(t, err)
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode/100 != 4 || !strings.Contains(string(body), "ExpiredToken") {
		t.Errorf("%d %s", res.StatusCode, body)
	}
}

// A user whose path reads like a session's ARN is that user, and not the session.
func TestSecurityRule4_PathThatReadsLikeASession(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	ctx := t.Context()
	s.NewRole("admin", trustAccount, everything)
	user, err := s.IAM.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("derived"), Path: aws.String("/:assumed-role/admin/")})
	must(t, err)
	key, err := s.IAM.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: user.User.UserName})
	must(t, err)
	s.NewRole("vault", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"`+*user.User.Arn+`"},"Action":"sts:AssumeRole"}]}`, everything)
	vault := &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::" + servertest.Account + ":role/vault"), RoleSessionName: aws.String("in")}
	session := sts.NewFromConfig(s.Config(assume(t, s, s.NewUser("ann", everything), "admin"))) // called derived, too
	_, err = session.AssumeRole(ctx, vault)
	wantCode(t, err, "AccessDenied")
	_, err = sts.NewFromConfig(s.Config(keyOf(key))).AssumeRole(ctx, vault)
	must(t, err)
	role, err := s.IAM.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String("vault")})
	must(t, err)
	if doc, _ := url.QueryUnescape(*role.Role.AssumeRolePolicyDocument); !strings.Contains(doc, *user.User.Arn) {
		t.Errorf("it trusts %s", doc)
	}
}
