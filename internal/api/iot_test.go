package api_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/sekisho-iot/sekisho/internal/api"
	core "github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/pki"
	"github.com/sekisho-iot/sekisho/internal/policy"
	"github.com/sekisho-iot/sekisho/internal/registry"
	"github.com/sekisho-iot/sekisho/internal/sqlstore"
	"github.com/sekisho-iot/sekisho/internal/sts"
)

const (
	iotAccount = "123456789012"
	iotARN     = "arn:aws:iot:us-east-1:" + iotAccount + ":"
	iotAllow   = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}}`
)

// callers knows the keys of a test: root, and users with one policy each.
type callers map[string]policy.Grants

func (c callers) Authenticate(_ context.Context, key, _ string) (*sts.Identity, error) {
	g, ok := c[key]
	if !ok {
		return nil, core.Errorf(core.KindUnknownKey, "access-key", "no such key")
	}
	return &sts.Identity{
		Principal: policy.Principal{Account: iotAccount, ARN: "arn:aws:iam::" + iotAccount + ":user/" + key}, Grants: g,
		AccessKeyID: key, SecretAccessKey: "secret-of-" + key,
	}, nil
}

func (callers) Recheck(_ context.Context, id *sts.Identity) (*sts.Identity, error) { return id, nil }

// iotServer is the service on a real database, behind the real pipeline.
type iotServer struct {
	*httptest.Server
	endpoint atomic.Pointer[api.DeviceEndpoint]
	users    callers
	certs    *pki.Certificates
	tags     failingTags
}

// failingTags is a tag store that can be made to fail.
type failingTags struct {
	registry.TagStore
	broken atomic.Bool
}

// Tags implements registry.TagStore.
func (f *failingTags) Tags(ctx context.Context, resource string) ([]registry.Tag, error) {
	if f.broken.Load() {
		return nil, errors.New("disk I/O error")
	}
	return f.TagStore.Tags(ctx, resource)
}

func newIoTServer(t *testing.T) *iotServer {
	t.Helper()
	dir := t.TempDir()
	var reg *registry.Registry
	var certs *pki.Certificates
	var aliases *sts.RoleAliases
	db, err := sqlstore.Open(t.Context(), sqlstore.Config{Path: filepath.Join(dir, "test.db"), OnChange: func(c core.Change) {
		reg.Invalidate(c)
		certs.Invalidate(c)
		aliases.Invalidate(c)
	}})
	if err != nil {
		t.Fatal(err)
	}
	authority, err := pki.Open(dir, time.Now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := pki.NewKeyPool(1, time.Hour, rand.Reader, nil)
	store := db.Registry()
	s := &iotServer{users: callers{"root": {Root: true}}, tags: failingTags{TagStore: store}}
	reg = registry.New(registry.Config{Things: store, Policies: store, Tags: &s.tags, Types: store, Groups: store, Events: store, Index: store, Account: iotAccount, Region: "us-east-1", Now: time.Now, Rand: rand.Reader})
	certs = pki.New(pki.Config{Store: db.Certificates(), CAs: db.Certificates(), Authority: authority, Keys: keys, Account: iotAccount, Region: "us-east-1", Now: time.Now, Rand: rand.Reader})
	aliases = sts.NewRoleAliases(iotAccount, "us-east-1", db.STS(), time.Now)
	s.certs = certs
	s.endpoint.Store(&api.DeviceEndpoint{Host: "iot.example.com", CredentialPort: 8443})
	h, err := api.New(api.Options{
		Services:      []api.Service{api.IoT(reg, certs, aliases, func() api.DeviceEndpoint { return *s.endpoint.Load() })},
		Authenticator: s.users, Account: iotAccount, Region: "us-east-1", PublicHosts: []string{"localhost"},
		Logger: slog.New(slog.DiscardHandler), Now: time.Now, Rand: rand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Server = httptest.NewServer(h)
	t.Cleanup(func() {
		s.Close()
		keys.Close()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// client signs as a user, who is made with the given IAM policy if there is one.
func (s *iotServer) client(t *testing.T, user, document string) *iot.Client {
	t.Helper()
	if document != "" {
		p, err := policy.Compile(policy.Identity, user, []byte(document))
		if err != nil {
			t.Fatal(err)
		}
		s.users[user] = policy.Grants{Identity: policy.Set{p}}
	}
	return iot.New(iot.Options{
		Region: "us-east-1", BaseEndpoint: &s.URL, RetryMaxAttempts: 1, HTTPClient: s.Client(),
		Credentials: credentials.NewStaticCredentialsProvider(user, "secret-of-"+user, ""),
	})
}

// wantError checks status, code and that there is a message.
func wantError(t *testing.T, what string, err error, status int, code string) {
	t.Helper()
	var r *smithyhttp.ResponseError
	var a smithy.APIError
	if !errors.As(err, &r) || !errors.As(err, &a) || r.HTTPStatusCode() != status || a.ErrorCode() != code || a.ErrorMessage() == "" {
		t.Errorf("%s: %v, want %d %s with a message", what, err, status, code)
	}
}

func must[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestIoTThings(t *testing.T) {
	t.Parallel()
	s := newIoTServer(t)
	c, ctx := s.client(t, "root", ""), t.Context()
	in := &iot.CreateThingInput{ThingName: aws.String("pump:1"), AttributePayload: &types.AttributePayload{Attributes: map[string]string{"site": "x"}}}
	made := must[*iot.CreateThingOutput](t)(c.CreateThing(ctx, in))
	if *made.ThingArn != iotARN+"thing/pump:1" || *made.ThingName != "pump:1" || len(*made.ThingId) != 36 {
		t.Errorf("%+v", made)
	}
	if again := must[*iot.CreateThingOutput](t)(c.CreateThing(ctx, in)); *again.ThingId != *made.ThingId {
		t.Error("the same thing was made twice")
	}
	_, err := c.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String("pump:1")})
	wantError(t, "other settings", err, 409, "ResourceAlreadyExistsException")
	if e, ok := errors.AsType[*types.ResourceAlreadyExistsException](err); !ok || *e.ResourceArn != *made.ThingArn || *e.ResourceId != *made.ThingId {
		t.Errorf("%+v", e)
	}
	got := must[*iot.DescribeThingOutput](t)(c.DescribeThing(ctx, &iot.DescribeThingInput{ThingName: in.ThingName}))
	if *got.DefaultClientId != "pump:1" || got.Version != 1 || got.Attributes["site"] != "x" || got.ThingTypeName != nil || *got.ThingArn != *made.ThingArn {
		t.Errorf("%+v", got)
	}
	must[*iot.UpdateThingOutput](t)(c.UpdateThing(ctx, &iot.UpdateThingInput{
		ThingName: in.ThingName, ExpectedVersion: aws.Int64(1),
		AttributePayload: &types.AttributePayload{Merge: true, Attributes: map[string]string{"line": "3"}},
	}))
	_, err = c.UpdateThing(ctx, &iot.UpdateThingInput{ThingName: in.ThingName, ExpectedVersion: aws.Int64(1)})
	wantError(t, "version", err, 409, "VersionConflictException")
	_, err = c.DescribeThing(ctx, &iot.DescribeThingInput{ThingName: aws.String("none")})
	wantError(t, "missing", err, 404, "ResourceNotFoundException")
	_, err = c.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String("a b")})
	wantError(t, "name", err, 400, "InvalidRequestException")
	for _, n := range []string{"a", "b", "c"} {
		must[*iot.CreateThingOutput](t)(c.CreateThing(ctx, &iot.CreateThingInput{ThingName: &n}))
	}
	var names []string
	pages := iot.NewListThingsPaginator(c, &iot.ListThingsInput{MaxResults: aws.Int32(3)})
	for pages.HasMorePages() {
		for _, x := range must[*iot.ListThingsOutput](t)(pages.NextPage(ctx)).Things {
			names = append(names, *x.ThingName)
		}
	}
	if !slices.Equal(names, []string{"a", "b", "c", "pump:1"}) {
		t.Errorf("listed %v", names)
	}
	found := must[*iot.ListThingsOutput](t)(c.ListThings(ctx, &iot.ListThingsInput{AttributeName: aws.String("line"), AttributeValue: aws.String("3")}))
	if len(found.Things) != 1 || found.Things[0].Version != 2 || found.Things[0].Attributes["site"] != "x" || found.NextToken != nil {
		t.Errorf("%+v", found)
	}
	_, err = c.ListThings(ctx, &iot.ListThingsInput{NextToken: aws.String("forged")})
	wantError(t, "token", err, 400, "InvalidRequestException")
	for range 2 {
		must[*iot.DeleteThingOutput](t)(c.DeleteThing(ctx, &iot.DeleteThingInput{ThingName: in.ThingName}))
	}
}

func TestIoTCertificatesAndAttachments(t *testing.T) {
	t.Parallel()
	s := newIoTServer(t)
	c, ctx := s.client(t, "root", ""), t.Context()
	made := must[*iot.CreateKeysAndCertificateOutput](t)(c.CreateKeysAndCertificate(ctx, &iot.CreateKeysAndCertificateInput{SetAsActive: true}))
	if *made.CertificateArn != iotARN+"cert/"+*made.CertificateId {
		t.Errorf("ARN %s", *made.CertificateArn)
	}
	if _, err := tls.X509KeyPair([]byte(*made.CertificatePem), []byte(*made.KeyPair.PrivateKey)); err != nil {
		t.Error(err)
	}
	d := must[*iot.DescribeCertificateOutput](t)(c.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: made.CertificateId})).CertificateDescription
	if d.Status != types.CertificateStatusActive || *d.CertificatePem != *made.CertificatePem || *d.OwnedBy != iotAccount || *d.CustomerVersion != 1 ||
		d.CertificateMode != types.CertificateModeDefault || d.Validity.NotAfter.Year() != 2049 || d.GenerationId == nil || time.Since(*d.CreationDate).Abs() > time.Minute {
		t.Errorf("%+v", d)
	}
	thing, pol := aws.String("a"), aws.String("p")
	must[*iot.CreateThingOutput](t)(c.CreateThing(ctx, &iot.CreateThingInput{ThingName: thing}))
	must[*iot.CreatePolicyOutput](t)(c.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: pol, PolicyDocument: aws.String(iotAllow)}))
	for range 2 {
		must[*iot.AttachThingPrincipalOutput](t)(c.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: thing, Principal: made.CertificateArn}))
		must[*iot.AttachPolicyOutput](t)(c.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: pol, Target: made.CertificateArn}))
	}
	if l := must[*iot.ListThingPrincipalsOutput](t)(c.ListThingPrincipals(ctx, &iot.ListThingPrincipalsInput{ThingName: thing})); !slices.Equal(l.Principals, []string{*made.CertificateArn}) {
		t.Errorf("%v", l.Principals)
	}
	if l := must[*iot.ListPrincipalThingsOutput](t)(c.ListPrincipalThings(ctx, &iot.ListPrincipalThingsInput{Principal: made.CertificateArn})); !slices.Equal(l.Things, []string{"a"}) {
		t.Errorf("%v", l.Things)
	}
	if l := must[*iot.ListAttachedPoliciesOutput](t)(c.ListAttachedPolicies(ctx, &iot.ListAttachedPoliciesInput{Target: made.CertificateArn, PageSize: aws.Int32(250)})); len(l.Policies) != 1 || *l.Policies[0].PolicyArn != iotARN+"policy/p" {
		t.Errorf("%v", l.Policies)
	}
	if l := must[*iot.ListTargetsForPolicyOutput](t)(c.ListTargetsForPolicy(ctx, &iot.ListTargetsForPolicyInput{PolicyName: pol})); !slices.Equal(l.Targets, []string{*made.CertificateArn}) {
		t.Errorf("%v", l.Targets)
	}
	if l := must[*iot.ListThingPrincipalsV2Output](t)(c.ListThingPrincipalsV2(ctx, &iot.ListThingPrincipalsV2Input{ThingName: thing})); len(l.ThingPrincipalObjects) != 1 || l.ThingPrincipalObjects[0].ThingPrincipalType != types.ThingPrincipalTypeNonExclusiveThing {
		t.Errorf("%v", l.ThingPrincipalObjects)
	}
	if l := must[*iot.ListPrincipalThingsV2Output](t)(c.ListPrincipalThingsV2(ctx, &iot.ListPrincipalThingsV2Input{Principal: made.CertificateArn, ThingPrincipalType: types.ThingPrincipalTypeExclusiveThing})); len(l.PrincipalThingObjects) != 0 {
		t.Errorf("%v", l.PrincipalThingObjects)
	}
	if l := must[*iot.GetEffectivePoliciesOutput](t)(c.GetEffectivePolicies(ctx, &iot.GetEffectivePoliciesInput{Principal: made.CertificateArn, ThingName: thing})); len(l.EffectivePolicies) != 1 || *l.EffectivePolicies[0].PolicyDocument != iotAllow {
		t.Errorf("%v", l.EffectivePolicies)
	}
	_, err := c.ListThingPrincipals(ctx, &iot.ListThingPrincipalsInput{ThingName: aws.String("none")})
	wantError(t, "principals of no thing", err, 404, "ResourceNotFoundException")
	if err != nil && !strings.Contains(err.Error(), "Failed to list principals for thing none because the thing does not exist in your account") {
		t.Error(err)
	}
	_, err = c.DeleteThing(ctx, &iot.DeleteThingInput{ThingName: thing})
	wantError(t, "thing with a principal", err, 400, "InvalidRequestException")
	_, err = c.DeletePolicy(ctx, &iot.DeletePolicyInput{PolicyName: pol})
	wantError(t, "attached policy", err, 409, "DeleteConflictException")
	del := &iot.DeleteCertificateInput{CertificateId: made.CertificateId}
	_, err = c.DeleteCertificate(ctx, del)
	wantError(t, "active certificate", err, 406, "CertificateStateException")
	must[*iot.UpdateCertificateOutput](t)(c.UpdateCertificate(ctx, &iot.UpdateCertificateInput{CertificateId: made.CertificateId, NewStatus: types.CertificateStatusInactive}))
	_, err = c.UpdateCertificate(ctx, &iot.UpdateCertificateInput{CertificateId: made.CertificateId, NewStatus: types.CertificateStatusPendingActivation})
	wantError(t, "pending", err, 400, "InvalidRequestException")
	_, err = c.DeleteCertificate(ctx, &iot.DeleteCertificateInput{CertificateId: made.CertificateId, ForceDelete: true})
	wantError(t, "certificate with a thing", err, 409, "DeleteConflictException")
	must[*iot.DetachThingPrincipalOutput](t)(c.DetachThingPrincipal(ctx, &iot.DetachThingPrincipalInput{ThingName: thing, Principal: made.CertificateArn}))
	_, err = c.DeleteCertificate(ctx, del)
	wantError(t, "certificate with a policy", err, 409, "DeleteConflictException")
	del.ForceDelete = true
	must[*iot.DeleteCertificateOutput](t)(c.DeleteCertificate(ctx, del))
	_, err = c.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: made.CertificateId})
	wantError(t, "deleted", err, 404, "ResourceNotFoundException")
	must[*iot.DeletePolicyOutput](t)(c.DeletePolicy(ctx, &iot.DeletePolicyInput{PolicyName: pol}))
	_, err = c.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: thing, Principal: aws.String("x")})
	wantError(t, "principal", err, 400, "InvalidRequestException")
	_, err = c.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: thing, Principal: made.CertificateArn, ThingPrincipalType: "X"})
	wantError(t, "attachment type", err, 400, "InvalidRequestException")
}

// TestIoTOldPolicyOperations runs the names that AttachPolicy and its kin had before.
func TestIoTOldPolicyOperations(t *testing.T) {
	t.Parallel()
	s := newIoTServer(t)
	c, ctx := s.client(t, "root", ""), t.Context()
	arn := must[*iot.CreateKeysAndCertificateOutput](t)(c.CreateKeysAndCertificate(ctx, &iot.CreateKeysAndCertificateInput{})).CertificateArn
	name := aws.String("p")
	must[*iot.CreatePolicyOutput](t)(c.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: name, PolicyDocument: aws.String(iotAllow)}))
	must[*iot.AttachPrincipalPolicyOutput](t)(c.AttachPrincipalPolicy(ctx, &iot.AttachPrincipalPolicyInput{PolicyName: name, Principal: arn}))                                                   //nolint:staticcheck // the old name is what is tested
	if l := must[*iot.ListPrincipalPoliciesOutput](t)(c.ListPrincipalPolicies(ctx, &iot.ListPrincipalPoliciesInput{Principal: arn})); len(l.Policies) != 1 || *l.Policies[0].PolicyName != "p" { //nolint:staticcheck // the old name is what is tested
		t.Errorf("%v", l.Policies)
	}
	if l := must[*iot.ListPolicyPrincipalsOutput](t)(c.ListPolicyPrincipals(ctx, &iot.ListPolicyPrincipalsInput{PolicyName: name})); !slices.Equal(l.Principals, []string{*arn}) { //nolint:staticcheck // the old name is what is tested
		t.Errorf("%v", l.Principals)
	}
	must[*iot.DetachPrincipalPolicyOutput](t)(c.DetachPrincipalPolicy(ctx, &iot.DetachPrincipalPolicyInput{PolicyName: name, Principal: arn})) //nolint:staticcheck // the old name is what is tested
	must[*iot.DeletePolicyOutput](t)(c.DeletePolicy(ctx, &iot.DeletePolicyInput{PolicyName: name}))
}

func TestIoTCertificateFromCSR(t *testing.T) {
	t.Parallel()
	s := newIoTServer(t)
	c, ctx := s.client(t, "root", ""), t.Context()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "pump"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	csr := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	ids := map[string]bool{}
	for range 3 {
		made := must[*iot.CreateCertificateFromCsrOutput](t)(c.CreateCertificateFromCsr(ctx, &iot.CreateCertificateFromCsrInput{CertificateSigningRequest: &csr}))
		ids[*made.CertificateId] = true
	}
	n := 0
	pages := iot.NewListCertificatesPaginator(c, &iot.ListCertificatesInput{PageSize: aws.Int32(2), AscendingOrder: true})
	for pages.HasMorePages() {
		for _, k := range must[*iot.ListCertificatesOutput](t)(pages.NextPage(ctx)).Certificates {
			n++
			if !ids[*k.CertificateId] || k.Status != types.CertificateStatusInactive {
				t.Errorf("%+v", k)
			}
		}
	}
	if n != 3 || len(ids) != 3 {
		t.Errorf("%d listed, %d made", n, len(ids))
	}
	_, err = c.CreateCertificateFromCsr(ctx, &iot.CreateCertificateFromCsrInput{CertificateSigningRequest: aws.String("hello")})
	wantError(t, "bad request", err, 400, "InvalidRequestException")
}

func TestIoTPolicies(t *testing.T) {
	t.Parallel()
	s := newIoTServer(t)
	c, ctx := s.client(t, "root", ""), t.Context()
	name, doc := aws.String("p"), aws.String(iotAllow)
	made := must[*iot.CreatePolicyOutput](t)(c.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: name, PolicyDocument: doc, Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("a")}}}))
	if *made.PolicyArn != iotARN+"policy/p" || *made.PolicyVersionId != "1" || *made.PolicyDocument != iotAllow {
		t.Errorf("%+v", made)
	}
	_, err := c.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: name, PolicyDocument: doc})
	wantError(t, "again", err, 409, "ResourceAlreadyExistsException")
	_, err = c.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: aws.String("q"), PolicyDocument: aws.String("{")})
	wantError(t, "malformed", err, 400, "MalformedPolicyException")
	for range 4 {
		must[*iot.CreatePolicyVersionOutput](t)(c.CreatePolicyVersion(ctx, &iot.CreatePolicyVersionInput{PolicyName: name, PolicyDocument: doc}))
	}
	_, err = c.CreatePolicyVersion(ctx, &iot.CreatePolicyVersionInput{PolicyName: name, PolicyDocument: doc})
	wantError(t, "sixth", err, 409, "VersionsLimitExceededException")
	must[*iot.SetDefaultPolicyVersionOutput](t)(c.SetDefaultPolicyVersion(ctx, &iot.SetDefaultPolicyVersionInput{PolicyName: name, PolicyVersionId: aws.String("3")}))
	_, err = c.DeletePolicyVersion(ctx, &iot.DeletePolicyVersionInput{PolicyName: name, PolicyVersionId: aws.String("3")})
	wantError(t, "default version", err, 400, "InvalidRequestException")
	p := must[*iot.GetPolicyOutput](t)(c.GetPolicy(ctx, &iot.GetPolicyInput{PolicyName: name}))
	if *p.DefaultVersionId != "3" || *p.PolicyDocument != iotAllow || p.GenerationId == nil {
		t.Errorf("%+v", p)
	}
	v := must[*iot.GetPolicyVersionOutput](t)(c.GetPolicyVersion(ctx, &iot.GetPolicyVersionInput{PolicyName: name, PolicyVersionId: aws.String("2")}))
	if v.IsDefaultVersion || *v.PolicyVersionId != "2" {
		t.Errorf("%+v", v)
	}
	versions := must[*iot.ListPolicyVersionsOutput](t)(c.ListPolicyVersions(ctx, &iot.ListPolicyVersionsInput{PolicyName: name})).PolicyVersions
	_, err = c.DeletePolicy(ctx, &iot.DeletePolicyInput{PolicyName: name})
	wantError(t, "versions", err, 409, "DeleteConflictException")
	for _, v := range versions {
		if !v.IsDefaultVersion {
			must[*iot.DeletePolicyVersionOutput](t)(c.DeletePolicyVersion(ctx, &iot.DeletePolicyVersionInput{PolicyName: name, PolicyVersionId: v.VersionId}))
		}
	}
	if l := must[*iot.ListPoliciesOutput](t)(c.ListPolicies(ctx, &iot.ListPoliciesInput{})); len(l.Policies) != 1 || l.NextMarker != nil {
		t.Errorf("%+v", l)
	}
	must[*iot.DeletePolicyOutput](t)(c.DeletePolicy(ctx, &iot.DeletePolicyInput{PolicyName: name}))
	_, err = c.DetachPolicy(ctx, &iot.DetachPolicyInput{PolicyName: name, Target: aws.String(iotARN + "cert/" + strings.Repeat("a", 64))})
	wantError(t, "missing policy", err, 404, "ResourceNotFoundException")
}

func TestIoTRoleAliasesNeedPassRole(t *testing.T) {
	t.Parallel()
	s := newIoTServer(t)
	root, ctx := s.client(t, "root", ""), t.Context()
	limited := s.client(t, "limited", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["iot:CreateRoleAlias","iot:UpdateRoleAlias"],"Resource":"*"},
		{"Effect":"Allow","Action":"iam:PassRole","Resource":"arn:aws:iam::123456789012:role/device-*",
		 "Condition":{"StringEquals":{"iam:PassedToService":"credentials.iot.amazonaws.com"}}}]}`)
	alias, role, other := aws.String("a=,@-"), aws.String("arn:aws:iam::123456789012:role/device-role"), aws.String("arn:aws:iam::123456789012:role/admin")
	_, err := limited.CreateRoleAlias(ctx, &iot.CreateRoleAliasInput{RoleAlias: alias, RoleArn: other})
	wantError(t, "a role that may not be passed", err, 403, "AccessDeniedException")
	made := must[*iot.CreateRoleAliasOutput](t)(limited.CreateRoleAlias(ctx, &iot.CreateRoleAliasInput{
		RoleAlias: alias, RoleArn: role, CredentialDurationSeconds: aws.Int32(900), Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}},
	}))
	if *made.RoleAliasArn != iotARN+"rolealias/a=,@-" {
		t.Errorf("%+v", made)
	}
	_, err = limited.UpdateRoleAlias(ctx, &iot.UpdateRoleAliasInput{RoleAlias: alias, RoleArn: other})
	wantError(t, "and not be put in its place", err, 403, "AccessDeniedException")
	must[*iot.UpdateRoleAliasOutput](t)(limited.UpdateRoleAlias(ctx, &iot.UpdateRoleAliasInput{RoleAlias: alias, CredentialDurationSeconds: aws.Int32(1800)}))
	d := must[*iot.DescribeRoleAliasOutput](t)(root.DescribeRoleAlias(ctx, &iot.DescribeRoleAliasInput{RoleAlias: alias})).RoleAliasDescription
	if *d.RoleArn != *role || *d.CredentialDurationSeconds != 1800 || *d.Owner != iotAccount || *d.RoleAliasArn != *made.RoleAliasArn {
		t.Errorf("%+v", d)
	}
	_, err = root.CreateRoleAlias(ctx, &iot.CreateRoleAliasInput{RoleAlias: alias, RoleArn: role})
	wantError(t, "again", err, 409, "ResourceAlreadyExistsException")
	_, err = root.CreateRoleAlias(ctx, &iot.CreateRoleAliasInput{RoleAlias: aws.String("b"), RoleArn: role, CredentialDurationSeconds: aws.Int32(899)})
	wantError(t, "duration", err, 400, "InvalidRequestException")
	if l := must[*iot.ListRoleAliasesOutput](t)(root.ListRoleAliases(ctx, &iot.ListRoleAliasesInput{})); !slices.Equal(l.RoleAliases, []string{*alias}) {
		t.Errorf("%v", l.RoleAliases)
	}
	if tags := must[*iot.ListTagsForResourceOutput](t)(root.ListTagsForResource(ctx, &iot.ListTagsForResourceInput{ResourceArn: made.RoleAliasArn})); len(tags.Tags) != 1 {
		t.Errorf("%v", tags.Tags)
	}
	must[*iot.DeleteRoleAliasOutput](t)(root.DeleteRoleAlias(ctx, &iot.DeleteRoleAliasInput{RoleAlias: alias}))
	_, err = root.DescribeRoleAlias(ctx, &iot.DescribeRoleAliasInput{RoleAlias: alias})
	wantError(t, "deleted", err, 404, "ResourceNotFoundException")
	must[*iot.CreateRoleAliasOutput](t)(root.CreateRoleAlias(ctx, &iot.CreateRoleAliasInput{RoleAlias: alias, RoleArn: role}))
	if tags := must[*iot.ListTagsForResourceOutput](t)(root.ListTagsForResource(ctx, &iot.ListTagsForResourceInput{ResourceArn: made.RoleAliasArn})); len(tags.Tags) != 0 {
		t.Errorf("an alias made anew has the tags of the one before: %v", tags.Tags)
	}
}

func TestIoTDescribeEndpoint(t *testing.T) {
	t.Parallel()
	s := newIoTServer(t)
	c, ctx := s.client(t, "root", ""), t.Context()
	for _, x := range []struct {
		typ, host string
		port      int
		want      string // "" for a refusal
	}{
		{"", "iot.example.com", 8443, "iot.example.com"},
		{"iot:Data", "iot.example.com", 8443, "iot.example.com"},
		{"iot:Data-ATS", "iot.example.com", 443, "iot.example.com"},
		{"iot:Jobs", "iot.example.com", 8443, "iot.example.com"},
		{"iot:CredentialProvider", "iot.example.com", 8443, "iot.example.com:8443"},
		{"iot:CredentialProvider", "iot.example.com", 443, "iot.example.com"},
		{"iot:CredentialProvider", "2001:db8::1", 8443, "[2001:db8::1]:8443"},
		{"iot:CredentialProvider", "iot.example.com", 0, ""},
		{"iot:DeviceAdvisor", "iot.example.com", 8443, ""},
		{"iot:data", "iot.example.com", 8443, ""},
	} {
		s.endpoint.Store(&api.DeviceEndpoint{Host: x.host, CredentialPort: x.port})
		in := &iot.DescribeEndpointInput{}
		if x.typ != "" {
			in.EndpointType = &x.typ
		}
		got, err := c.DescribeEndpoint(ctx, in)
		switch {
		case x.want == "":
			wantError(t, x.typ, err, 400, "InvalidRequestException")
		case err != nil || *got.EndpointAddress != x.want:
			t.Errorf("%+v: %v, %v", x, got, err)
		}
	}
}

func TestIoTTags(t *testing.T) {
	t.Parallel()
	s := newIoTServer(t)
	root, ctx := s.client(t, "root", ""), t.Context()
	for _, n := range []string{"p", "q"} {
		must[*iot.CreatePolicyOutput](t)(root.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: &n, PolicyDocument: aws.String(iotAllow)}))
	}
	arn := aws.String(iotARN + "policy/p")
	team := []types.Tag{{Key: aws.String("team"), Value: aws.String("a")}}
	must[*iot.TagResourceOutput](t)(root.TagResource(ctx, &iot.TagResourceInput{ResourceArn: arn, Tags: team}))
	user := s.client(t, "user", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["iot:GetPolicy","iot:ListTagsForResource"],"Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/team":"a"}}},
		{"Effect":"Allow","Action":["iot:CreatePolicy","iot:TagResource"],"Resource":"*","Condition":{"StringEquals":{"aws:RequestTag/team":"a"},"ForAllValues:StringEquals":{"aws:TagKeys":"team"}}}]}`)
	must[*iot.GetPolicyOutput](t)(user.GetPolicy(ctx, &iot.GetPolicyInput{PolicyName: aws.String("p")}))
	_, err := user.GetPolicy(ctx, &iot.GetPolicyInput{PolicyName: aws.String("q")})
	wantError(t, "a resource without the tag", err, 403, "AccessDeniedException")
	must[*iot.CreatePolicyOutput](t)(user.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: aws.String("r"), PolicyDocument: aws.String(iotAllow), Tags: team}))
	_, err = user.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: aws.String("s"), PolicyDocument: aws.String(iotAllow)})
	wantError(t, "a request without the tag", err, 403, "AccessDeniedException")
	_, err = user.TagResource(ctx, &iot.TagResourceInput{ResourceArn: arn, Tags: append(team, types.Tag{Key: aws.String("x"), Value: aws.String("")})})
	wantError(t, "another tag", err, 403, "AccessDeniedException")
	must[*iot.UntagResourceOutput](t)(root.UntagResource(ctx, &iot.UntagResourceInput{ResourceArn: arn, TagKeys: []string{"team"}}))
	_, err = user.GetPolicy(ctx, &iot.GetPolicyInput{PolicyName: aws.String("p")})
	wantError(t, "the tag removed", err, 403, "AccessDeniedException")
	_, err = root.ListTagsForResource(ctx, &iot.ListTagsForResourceInput{ResourceArn: aws.String(iotARN + "policy/none")})
	wantError(t, "missing", err, 404, "ResourceNotFoundException")
	_, err = root.TagResource(ctx, &iot.TagResourceInput{ResourceArn: aws.String("policy/p"), Tags: team})
	wantError(t, "no ARN", err, 400, "InvalidRequestException")
}

// TestIoTDenyByTagHoldsWhenTagsCannotBeRead: what could not be read might have been a Deny.
func TestIoTDenyByTagHoldsWhenTagsCannotBeRead(t *testing.T) {
	t.Parallel()
	s := newIoTServer(t)
	root, ctx := s.client(t, "root", ""), t.Context()
	must[*iot.CreatePolicyOutput](t)(root.CreatePolicy(ctx, &iot.CreatePolicyInput{
		PolicyName: aws.String("p"), PolicyDocument: aws.String(iotAllow),
		Tags: []types.Tag{{Key: aws.String("locked"), Value: aws.String("yes")}},
	}))
	user := s.client(t, "user", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"},
		{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/locked":"yes"}}}]}`)
	in := &iot.GetPolicyInput{PolicyName: aws.String("p")}
	_, err := user.GetPolicy(ctx, in)
	wantError(t, "denied by its tag", err, 403, "AccessDeniedException")
	s.tags.broken.Store(true)
	_, err = user.GetPolicy(ctx, in)
	wantError(t, "tags that cannot be read", err, 500, "InternalFailureException")
	s.tags.broken.Store(false)
	_, err = user.GetPolicy(ctx, in)
	wantError(t, "tags that can be read again", err, 403, "AccessDeniedException")
}

// TestIoTDenyHoldsForEverySpellingOfAnID: a policy names certificates by their canonical id.
func TestIoTDenyHoldsForEverySpellingOfAnID(t *testing.T) {
	t.Parallel()
	s := newIoTServer(t)
	root, ctx := s.client(t, "root", ""), t.Context()
	made := must[*iot.CreateKeysAndCertificateOutput](t)(root.CreateKeysAndCertificate(ctx, &iot.CreateKeysAndCertificateInput{SetAsActive: true}))
	user := s.client(t, "user", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"},
		{"Effect":"Deny","Action":"iot:UpdateCertificate","Resource":"`+*made.CertificateArn+`"}]}`)
	for _, id := range []string{*made.CertificateId, strings.ToUpper(*made.CertificateId)} {
		_, err := user.UpdateCertificate(ctx, &iot.UpdateCertificateInput{CertificateId: &id, NewStatus: types.CertificateStatusRevoked})
		wantError(t, id, err, 403, "AccessDeniedException")
	}
}

func TestIoTRowsAreAuthorized(t *testing.T) {
	t.Parallel()
	s := newIoTServer(t)
	nobody, ctx := s.client(t, "nobody", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}`), t.Context()
	name, id := aws.String("a"), aws.String(strings.Repeat("a", 64))
	arn := aws.String(iotARN + "cert/" + *id)
	calls := map[string]func() error{
		"CreateThing": func() error { _, err := nobody.CreateThing(ctx, &iot.CreateThingInput{ThingName: name}); return err },
		"UpdateThing": func() error { _, err := nobody.UpdateThing(ctx, &iot.UpdateThingInput{ThingName: name}); return err },
		"DeleteThing": func() error { _, err := nobody.DeleteThing(ctx, &iot.DeleteThingInput{ThingName: name}); return err },
		"DescribeThing": func() error {
			_, err := nobody.DescribeThing(ctx, &iot.DescribeThingInput{ThingName: name})
			return err
		},
		"ListThings": func() error { _, err := nobody.ListThings(ctx, &iot.ListThingsInput{}); return err },
		"AttachPolicy": func() error {
			_, err := nobody.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: name, Target: arn})
			return err
		},
		"DetachPolicy": func() error {
			_, err := nobody.DetachPolicy(ctx, &iot.DetachPolicyInput{PolicyName: name, Target: arn})
			return err
		},
		"CreateKeys": func() error {
			_, err := nobody.CreateKeysAndCertificate(ctx, &iot.CreateKeysAndCertificateInput{})
			return err
		},
		"DescribeCert": func() error {
			_, err := nobody.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: id})
			return err
		},
		"DescribeEndp":  func() error { _, err := nobody.DescribeEndpoint(ctx, &iot.DescribeEndpointInput{}); return err },
		"ListRoleAlias": func() error { _, err := nobody.ListRoleAliases(ctx, &iot.ListRoleAliasesInput{}); return err },
		"ListPrincThing": func() error {
			_, err := nobody.ListPrincipalThings(ctx, &iot.ListPrincipalThingsInput{Principal: arn})
			return err
		},
	}
	for what, call := range calls {
		wantError(t, what, call(), 403, "AccessDeniedException")
	}
	_, err := s.client(t, "stranger", "").ListThings(ctx, &iot.ListThingsInput{})
	wantError(t, "an unknown key", err, 403, "UnrecognizedClientException")
}
