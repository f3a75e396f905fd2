package api_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	awssts "github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/sekisho-iot/sekisho/internal/api"
	"github.com/sekisho-iot/sekisho/internal/iam"
	core "github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
	"github.com/sekisho-iot/sekisho/internal/sqlstore"
	"github.com/sekisho-iot/sekisho/internal/sts"
)

const (
	adminID      = "AKIAADMINADMINADMIN1"
	adminSecret  = "administrators-secret"
	accountTrust = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + iotAccount + `"},"Action":["sts:AssumeRole","sts:TagSession"]}}`
	accountARN   = "arn:aws:iam::" + iotAccount + ":"
)

// directory is iam as sts asks it; there are no devices here.
type directory struct{ *iam.Service }

func (d directory) Role(ctx context.Context, name string) (sts.Role, error) {
	r, err := d.RoleGrants(ctx, name)
	return sts.Role(r), err
}

func (d directory) RoleByID(ctx context.Context, id string) (sts.Role, error) {
	r, err := d.RoleGrantsByID(ctx, id)
	return sts.Role(r), err
}

func (d directory) AccessKey(ctx context.Context, id string) (sts.AccessKey, error) {
	k, err := d.KeyGrants(ctx, id)
	return sts.AccessKey(k), err
}

func (directory) Certificate(context.Context, core.CertificateID, time.Time) (sts.Certificate, error) {
	return sts.Certificate{}, core.Errorf(core.KindNotFound, "certificate", "no certificate")
}

func (directory) Attachment(context.Context, core.CertificateID, string) (sts.Attachment, bool, error) {
	return sts.Attachment{}, false, nil
}

func (directory) Policies(context.Context, sts.Device, string, time.Time) (policy.Set, policy.Keys, error) {
	return nil, nil, errors.New("there are no devices")
}

type iamServer struct {
	t   *testing.T
	url string
}

func newIAMServer(t *testing.T) *iamServer {
	t.Helper()
	var svc atomic.Pointer[iam.Service]
	dir := t.TempDir()
	db, err := sqlstore.Open(t.Context(), sqlstore.Config{Path: filepath.Join(dir, "test.db"), Fast: true, OnChange: func(c core.Change) { svc.Load().Invalidate(c) }})
	noError(t, err)
	t.Cleanup(func() { noError(t, db.Close()) })
	log := slog.New(slog.DiscardHandler)
	ring, err := sts.OpenKeyRing(filepath.Join(dir, "keys.json"), rand.Reader, time.Now)
	noError(t, err)
	s, err := iam.New(iam.Config{Account: iotAccount, Store: db.IAM(), Sealer: ring.Sealer(sts.ForAccessKeys), Now: time.Now, Random: rand.Reader, Logger: log})
	noError(t, err)
	svc.Store(s)
	noError(t, s.EnsureAdmin(t.Context(), adminID, adminSecret))
	cfg := sts.Config{Account: iotAccount, Region: "us-east-1", Keys: ring, Directory: directory{s}, Devices: directory{s}, Now: time.Now}
	auth, messages := sts.NewAuthenticator(cfg), sts.NewMessages(ring, time.Now)
	uses := iam.NewUses(t.Context(), db.IAM(), log)
	t.Cleanup(func() { noError(t, uses.Close()) })
	h, err := api.New(api.Options{
		Services:      []api.Service{api.IAM(s, uses), api.STS(sts.NewAssumer(cfg, log), auth, messages)},
		Authenticator: auth, Uses: uses, Denials: messages, Account: iotAccount, Region: "us-east-1",
		Logger: log, Now: time.Now, Rand: rand.Reader,
	})
	noError(t, err)
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return &iamServer{t: t, url: srv.URL}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *iamServer) config(key, secret, token string) aws.Config {
	return aws.Config{
		Region: "us-east-1", BaseEndpoint: &s.url, Credentials: credentials.NewStaticCredentialsProvider(key, secret, token),
		Retryer: func() aws.Retryer { return aws.NopRetryer{} },
	}
}

func (s *iamServer) admin() *awsiam.Client {
	return awsiam.NewFromConfig(s.config(adminID, adminSecret, ""))
}

func wantCode(t *testing.T, err error, code string, status int) {
	t.Helper()
	e, ok := errors.AsType[smithy.APIError](err)
	if !ok || e.ErrorCode() != code {
		t.Errorf("the error is %v, want %s", err, code)
		return
	}
	if r, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && r.HTTPStatusCode() != status {
		t.Errorf("%s has status %d, want %d", code, r.HTTPStatusCode(), status)
	}
}

// The calls of Terraform for a role, a policy and their attachment.
func TestIAMRolesAndPolicies(t *testing.T) {
	t.Parallel()
	s := newIAMServer(t)
	c := s.admin()
	ctx := t.Context()
	_, err := c.GetRole(ctx, &awsiam.GetRoleInput{RoleName: new("r")})
	wantCode(t, err, "NoSuchEntity", 404)
	created, err := c.CreateRole(ctx, &awsiam.CreateRoleInput{
		RoleName: new("r"), Path: new("/x/"), AssumeRolePolicyDocument: new(accountTrust), Description: new("a & b"),
		Tags: []iamtypes.Tag{{Key: new("team"), Value: new("blue")}},
	})
	noError(t, err)
	if *created.Role.Arn != accountARN+"role/x/r" || len(*created.Role.RoleId) != 21 {
		t.Errorf("created %+v", created.Role)
	}
	_, err = c.CreateRole(ctx, &awsiam.CreateRoleInput{RoleName: new("r"), AssumeRolePolicyDocument: new(accountTrust)})
	wantCode(t, err, "EntityAlreadyExists", 409)
	_, err = c.CreateRole(ctx, &awsiam.CreateRoleInput{RoleName: new("q"), AssumeRolePolicyDocument: new("{")})
	wantCode(t, err, "MalformedPolicyDocument", 400)
	_, err = c.CreateRole(ctx, &awsiam.CreateRoleInput{RoleName: new("a b"), AssumeRolePolicyDocument: new(accountTrust)})
	wantCode(t, err, "ValidationError", 400)
	got, err := c.GetRole(ctx, &awsiam.GetRoleInput{RoleName: new("r")})
	noError(t, err)
	doc, err := url.PathUnescape(*got.Role.AssumeRolePolicyDocument)
	if err != nil || doc != accountTrust || strings.ContainsAny(*got.Role.AssumeRolePolicyDocument, `+{" *`) {
		t.Errorf("the trust policy came as %s", *got.Role.AssumeRolePolicyDocument)
	}
	if *got.Role.MaxSessionDuration != 3600 || *got.Role.Description != "a & b" || len(got.Role.Tags) != 1 || got.Role.CreateDate.IsZero() {
		t.Errorf("got %+v", got.Role)
	}
	p, err := c.CreatePolicy(ctx, &awsiam.CreatePolicyInput{PolicyName: new("p"), PolicyDocument: new(strings.Replace(accountTrust, `"Principal":{"AWS":"`+iotAccount+`"}`, `"Resource":"*"`, 1))})
	noError(t, err)
	_, err = c.AttachRolePolicy(ctx, &awsiam.AttachRolePolicyInput{RoleName: new("r"), PolicyArn: p.Policy.Arn})
	noError(t, err)
	_, err = c.AttachRolePolicy(ctx, &awsiam.AttachRolePolicyInput{RoleName: new("r"), PolicyArn: new("arn:aws:iam::aws:policy/Nope")})
	wantCode(t, err, "NoSuchEntity", 404)
	attached, err := c.ListAttachedRolePolicies(ctx, &awsiam.ListAttachedRolePoliciesInput{RoleName: new("r")})
	noError(t, err)
	if len(attached.AttachedPolicies) != 1 || *attached.AttachedPolicies[0].PolicyArn != *p.Policy.Arn || attached.IsTruncated {
		t.Errorf("attached %+v", attached)
	}
	pol, err := c.GetPolicy(ctx, &awsiam.GetPolicyInput{PolicyArn: p.Policy.Arn})
	noError(t, err)
	if *pol.Policy.AttachmentCount != 1 || *pol.Policy.DefaultVersionId != "v1" || !pol.Policy.IsAttachable {
		t.Errorf("the policy is %+v", pol.Policy)
	}
	v, err := c.GetPolicyVersion(ctx, &awsiam.GetPolicyVersionInput{PolicyArn: p.Policy.Arn, VersionId: new("v1")})
	noError(t, err)
	if doc, err := url.PathUnescape(*v.PolicyVersion.Document); err != nil || !strings.Contains(doc, `"Resource":"*"`) {
		t.Errorf("the document is %s, %v", doc, err)
	}
	_, err = c.DeletePolicy(ctx, &awsiam.DeletePolicyInput{PolicyArn: p.Policy.Arn})
	wantCode(t, err, "DeleteConflict", 409)
	_, err = c.DeleteRole(ctx, &awsiam.DeleteRoleInput{RoleName: new("r")})
	wantCode(t, err, "DeleteConflict", 409)
	_, err = c.CreatePolicyVersion(ctx, &awsiam.CreatePolicyVersionInput{PolicyArn: p.Policy.Arn, PolicyDocument: new(accountTrust)})
	wantCode(t, err, "MalformedPolicyDocument", 400) // a trust policy is no identity policy
	profiles, err := c.ListInstanceProfilesForRole(ctx, &awsiam.ListInstanceProfilesForRoleInput{RoleName: new("r")})
	noError(t, err)
	names, err := c.ListRolePolicies(ctx, &awsiam.ListRolePoliciesInput{RoleName: new("r")})
	noError(t, err)
	if len(profiles.InstanceProfiles) != 0 || len(names.PolicyNames) != 0 {
		t.Errorf("a bare role has %v and %v", profiles, names)
	}
	_, err = c.DetachRolePolicy(ctx, &awsiam.DetachRolePolicyInput{RoleName: new("r"), PolicyArn: p.Policy.Arn})
	noError(t, err)
	_, err = c.DeletePolicy(ctx, &awsiam.DeletePolicyInput{PolicyArn: p.Policy.Arn})
	noError(t, err)
	for _, n := range []string{"a", "b", "c"} {
		_, err := c.CreateRole(ctx, &awsiam.CreateRoleInput{RoleName: &n, AssumeRolePolicyDocument: new(accountTrust)})
		noError(t, err)
	}
	var roles []string
	for pages := awsiam.NewListRolesPaginator(c, &awsiam.ListRolesInput{MaxItems: new(int32(3))}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		noError(t, err)
		for _, r := range page.Roles {
			roles = append(roles, *r.RoleName)
		}
	}
	if strings.Join(roles, "") != "abcr" {
		t.Errorf("listed %v", roles)
	}
}

// What stands in an answer, and what does not, where there is nothing to tell:
// clients of dynamic languages index the members that AWS always sends.
func TestIAMEmptyMembers(t *testing.T) {
	t.Parallel()
	s := newIAMServer(t)
	c, ctx := s.admin(), t.Context()
	_, err := c.CreateRole(ctx, &awsiam.CreateRoleInput{RoleName: new("r"), AssumeRolePolicyDocument: new(accountTrust)})
	noError(t, err)
	const allow = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}`
	made, err := c.CreatePolicy(ctx, &awsiam.CreatePolicyInput{PolicyName: new("p"), PolicyDocument: new(allow), Description: new("d")})
	noError(t, err)
	if made.Policy.Description != nil || made.Policy.Tags != nil {
		t.Errorf("CreatePolicy answers %+v", made.Policy)
	}
	got, err := c.GetPolicy(ctx, &awsiam.GetPolicyInput{PolicyArn: made.Policy.Arn})
	noError(t, err)
	if aws.ToString(got.Policy.Description) != "d" || got.Policy.Tags == nil {
		t.Errorf("GetPolicy answers %+v", got.Policy)
	}
	tags, err := c.ListPolicyTags(ctx, &awsiam.ListPolicyTagsInput{PolicyArn: made.Policy.Arn})
	noError(t, err)
	roleTags, err := c.ListRoleTags(ctx, &awsiam.ListRoleTagsInput{RoleName: new("r")})
	noError(t, err)
	if tags.Tags == nil || roleTags.Tags == nil {
		t.Error("a listing of no tags lacks its list")
	}
	for _, filter := range []iamtypes.EntityType{"", iamtypes.EntityTypeGroup, iamtypes.EntityTypeRole} {
		e, err := c.ListEntitiesForPolicy(ctx, &awsiam.ListEntitiesForPolicyInput{PolicyArn: made.Policy.Arn, EntityFilter: filter})
		noError(t, err)
		if e.PolicyGroups == nil || e.PolicyRoles == nil || e.PolicyUsers == nil {
			t.Errorf("filter %q: %+v", filter, e)
		}
	}
}

// The calls by which Terraform changes roles and users in place.
func TestIAMChangesInPlace(t *testing.T) {
	t.Parallel()
	s := newIAMServer(t)
	c, ctx := s.admin(), t.Context()
	const admins, readers = "arn:aws:iam::aws:policy/AdministratorAccess", "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"
	_, err := c.CreateRole(ctx, &awsiam.CreateRoleInput{RoleName: new("r"), AssumeRolePolicyDocument: new(accountTrust), Description: new("old")})
	noError(t, err)
	_, err = c.CreateUser(ctx, &awsiam.CreateUserInput{UserName: new("u"), Tags: []iamtypes.Tag{{Key: new("a"), Value: new("1")}}})
	noError(t, err)
	described, err := c.UpdateRoleDescription(ctx, &awsiam.UpdateRoleDescriptionInput{RoleName: new("r"), Description: new("new")})
	noError(t, err)
	if aws.ToString(described.Role.Description) != "new" || *described.Role.RoleName != "r" {
		t.Errorf("the role is %+v", described.Role)
	}
	_, err = c.UpdateRoleDescription(ctx, &awsiam.UpdateRoleDescriptionInput{RoleName: new("none"), Description: new("new")})
	wantCode(t, err, "NoSuchEntity", 404)
	_, err = c.PutRolePermissionsBoundary(ctx, &awsiam.PutRolePermissionsBoundaryInput{RoleName: new("r"), PermissionsBoundary: new(readers)})
	noError(t, err)
	_, err = c.PutRolePermissionsBoundary(ctx, &awsiam.PutRolePermissionsBoundaryInput{RoleName: new("r"), PermissionsBoundary: new(readers + "None")})
	wantCode(t, err, "NoSuchEntity", 404)
	role, err := c.GetRole(ctx, &awsiam.GetRoleInput{RoleName: new("r")})
	noError(t, err)
	if b := role.Role.PermissionsBoundary; b == nil || *b.PermissionsBoundaryArn != readers {
		t.Errorf("the boundary is %+v", b)
	}
	_, err = c.TagUser(ctx, &awsiam.TagUserInput{UserName: new("u"), Tags: []iamtypes.Tag{{Key: new("b"), Value: new("2")}}})
	noError(t, err)
	_, err = c.UntagUser(ctx, &awsiam.UntagUserInput{UserName: new("u"), TagKeys: []string{"a"}})
	noError(t, err)
	tags, err := c.ListUserTags(ctx, &awsiam.ListUserTagsInput{UserName: new("u")})
	noError(t, err)
	if len(tags.Tags) != 1 || *tags.Tags[0].Key != "b" {
		t.Errorf("the user has %+v", tags.Tags)
	}
	groups, err := c.ListGroupsForUser(ctx, &awsiam.ListGroupsForUserInput{UserName: new("u")})
	noError(t, err)
	if groups.Groups == nil || len(groups.Groups) != 0 {
		t.Errorf("groups %+v", groups)
	}
	_, err = c.ListGroupsForUser(ctx, &awsiam.ListGroupsForUserInput{UserName: new("none")})
	wantCode(t, err, "NoSuchEntity", 404)

	// A boundary is in force at once, for a key that is in use already too.
	_, err = c.AttachUserPolicy(ctx, &awsiam.AttachUserPolicyInput{UserName: new("u"), PolicyArn: new(admins)})
	noError(t, err)
	k, err := c.CreateAccessKey(ctx, &awsiam.CreateAccessKeyInput{UserName: new("u")})
	noError(t, err)
	u := awsiam.NewFromConfig(s.config(*k.AccessKey.AccessKeyId, *k.AccessKey.SecretAccessKey, ""))
	_, err = u.ListRoles(ctx, &awsiam.ListRolesInput{})
	noError(t, err)
	_, err = c.PutUserPermissionsBoundary(ctx, &awsiam.PutUserPermissionsBoundaryInput{UserName: new("u"), PermissionsBoundary: new(readers)})
	noError(t, err)
	_, err = u.ListRoles(ctx, &awsiam.ListRolesInput{})
	wantCode(t, err, "AccessDenied", 403)
	_, err = u.DeleteUserPermissionsBoundary(ctx, &awsiam.DeleteUserPermissionsBoundaryInput{UserName: new("u")})
	wantCode(t, err, "AccessDenied", 403)
	_, err = c.DeleteUserPermissionsBoundary(ctx, &awsiam.DeleteUserPermissionsBoundaryInput{UserName: new("u")})
	noError(t, err)
	_, err = u.ListRoles(ctx, &awsiam.ListRolesInput{})
	noError(t, err)

	// iam:PermissionsBoundary is the boundary that is set, else the one that stands; tags of users count too.
	_, err = c.DetachUserPolicy(ctx, &awsiam.DetachUserPolicyInput{UserName: new("u"), PolicyArn: new(admins)})
	noError(t, err)
	_, err = c.PutUserPolicy(ctx, &awsiam.PutUserPolicyInput{UserName: new("u"), PolicyName: new("p"), PolicyDocument: new(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["iam:AttachRolePolicy","iam:PutRolePermissionsBoundary"],"Resource":"*","Condition":{"StringEquals":{"iam:PermissionsBoundary":"` + readers + `"}}},
		{"Effect":"Allow","Action":"iam:ListUserPolicies","Resource":"*","Condition":{"StringEquals":{"iam:ResourceTag/b":"2"}}}]}`)})
	noError(t, err)
	_, err = u.AttachRolePolicy(ctx, &awsiam.AttachRolePolicyInput{RoleName: new("r"), PolicyArn: new(admins)})
	noError(t, err)
	_, err = u.PutRolePermissionsBoundary(ctx, &awsiam.PutRolePermissionsBoundaryInput{RoleName: new("r"), PermissionsBoundary: new(admins)})
	wantCode(t, err, "AccessDenied", 403)
	_, err = u.DeleteRolePermissionsBoundary(ctx, &awsiam.DeleteRolePermissionsBoundaryInput{RoleName: new("r")})
	wantCode(t, err, "AccessDenied", 403)
	_, err = u.ListUserPolicies(ctx, &awsiam.ListUserPoliciesInput{UserName: new("u")})
	noError(t, err)
	_, err = c.DeleteRolePermissionsBoundary(ctx, &awsiam.DeleteRolePermissionsBoundaryInput{RoleName: new("r")})
	noError(t, err)
	_, err = u.AttachRolePolicy(ctx, &awsiam.AttachRolePolicyInput{RoleName: new("r"), PolicyArn: new(readers)})
	wantCode(t, err, "AccessDenied", 403)
}

// IAM's own operations are subject to policies: by path, by the policy that is attached, by tags.
func TestIAMIsAuthorized(t *testing.T) {
	t.Parallel()
	s := newIAMServer(t)
	admin := s.admin()
	ctx := t.Context()
	_, err := admin.CreateUser(ctx, &awsiam.CreateUserInput{UserName: new("bob")})
	noError(t, err)
	_, err = admin.PutUserPolicy(ctx, &awsiam.PutUserPolicyInput{UserName: new("bob"), PolicyName: new("p"), PolicyDocument: new(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["iam:CreateRole","iam:GetRole"],"Resource":"` + accountARN + `role/bob/*"},
		{"Effect":"Allow","Action":"iam:AttachRolePolicy","Resource":"` + accountARN + `role/bob/*","Condition":{"ArnEquals":{"iam:PolicyARN":"arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"}}},
		{"Effect":"Allow","Action":["iam:GetUser","iam:CreateAccessKey","iam:ListAccessKeys"],"Resource":"` + accountARN + `user/${aws:username}"}]}`)})
	noError(t, err)
	k, err := admin.CreateAccessKey(ctx, &awsiam.CreateAccessKeyInput{UserName: new("bob")})
	noError(t, err)
	bob := awsiam.NewFromConfig(s.config(*k.AccessKey.AccessKeyId, *k.AccessKey.SecretAccessKey, ""))
	_, err = bob.CreateRole(ctx, &awsiam.CreateRoleInput{RoleName: new("r"), Path: new("/bob/"), AssumeRolePolicyDocument: new(accountTrust)})
	noError(t, err)
	_, err = bob.CreateRole(ctx, &awsiam.CreateRoleInput{RoleName: new("q"), AssumeRolePolicyDocument: new(accountTrust)})
	wantCode(t, err, "AccessDenied", 403)
	if err == nil || !strings.Contains(err.Error(), "User: "+accountARN+"user/bob is not authorized to perform: iam:CreateRole on resource: "+accountARN+"role/q") {
		t.Errorf("refused with %v", err)
	}
	_, err = bob.GetRole(ctx, &awsiam.GetRoleInput{RoleName: new("r")}) // its path counts, though it is not named
	noError(t, err)
	_, err = bob.AttachRolePolicy(ctx, &awsiam.AttachRolePolicyInput{RoleName: new("r"), PolicyArn: new("arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess")})
	noError(t, err)
	_, err = bob.AttachRolePolicy(ctx, &awsiam.AttachRolePolicyInput{RoleName: new("r"), PolicyArn: new("arn:aws:iam::aws:policy/AdministratorAccess")})
	wantCode(t, err, "AccessDenied", 403)
	me, err := bob.GetUser(ctx, &awsiam.GetUserInput{})
	noError(t, err)
	if *me.User.UserName != "bob" {
		t.Errorf("bob is %+v", me.User)
	}
	keys, err := bob.ListAccessKeys(ctx, &awsiam.ListAccessKeysInput{})
	noError(t, err)
	if len(keys.AccessKeyMetadata) != 1 || *keys.AccessKeyMetadata[0].UserName != "bob" {
		t.Errorf("bob has %+v", keys.AccessKeyMetadata)
	}
	_, err = bob.ListUsers(ctx, &awsiam.ListUsersInput{})
	wantCode(t, err, "AccessDenied", 403)
	root, err := admin.GetUser(ctx, &awsiam.GetUserInput{})
	noError(t, err)
	if *root.User.Arn != accountARN+"root" || *root.User.UserId != iotAccount {
		t.Errorf("root is %+v", root.User)
	}
	_, err = admin.UpdateAccessKey(ctx, &awsiam.UpdateAccessKeyInput{UserName: new("bob"), AccessKeyId: k.AccessKey.AccessKeyId, Status: iamtypes.StatusTypeInactive})
	noError(t, err)
	_, err = bob.GetUser(ctx, &awsiam.GetUserInput{})
	wantCode(t, err, "InvalidClientTokenId", 403)
}

func TestSTSRows(t *testing.T) {
	t.Parallel()
	s := newIAMServer(t)
	ctx := t.Context()
	_, err := s.admin().CreateRole(ctx, &awsiam.CreateRoleInput{RoleName: new("r"), Path: new("/x/"), AssumeRolePolicyDocument: new(accountTrust)})
	noError(t, err)
	c := awssts.NewFromConfig(s.config(adminID, adminSecret, ""))
	me, err := c.GetCallerIdentity(ctx, &awssts.GetCallerIdentityInput{})
	noError(t, err)
	if *me.Arn != accountARN+"root" || *me.Account != iotAccount || *me.UserId != iotAccount {
		t.Errorf("the administrator is %+v", me)
	}
	got, err := c.AssumeRole(ctx, &awssts.AssumeRoleInput{
		RoleArn: new(accountARN + "role/x/r"), RoleSessionName: new("work"), DurationSeconds: new(int32(900)),
		Policy: new(`{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}`),
		Tags:   []ststypes.Tag{{Key: new("a"), Value: new("b")}},
	})
	noError(t, err)
	packed := *got.PackedPolicySize //nolint:staticcheck // clients of today read it
	if left := time.Until(*got.Credentials.Expiration); left < 890*time.Second || left > 900*time.Second || packed < 1 {
		t.Errorf("assumed %+v", got)
	}
	session := awssts.NewFromConfig(s.config(*got.Credentials.AccessKeyId, *got.Credentials.SecretAccessKey, *got.Credentials.SessionToken))
	me, err = session.GetCallerIdentity(ctx, &awssts.GetCallerIdentityInput{}) // needs no permission
	noError(t, err)
	if *me.Arn != "arn:aws:sts::"+iotAccount+":assumed-role/r/work" || *me.Arn != *got.AssumedRoleUser.Arn || *me.UserId != *got.AssumedRoleUser.AssumedRoleId {
		t.Errorf("the session is %+v, announced as %+v", me, got.AssumedRoleUser)
	}
	_, err = session.AssumeRole(ctx, &awssts.AssumeRoleInput{RoleArn: new(accountARN + "role/x/r"), RoleSessionName: new("more")})
	wantCode(t, err, "AccessDenied", 403)
	_, err = c.AssumeRole(ctx, &awssts.AssumeRoleInput{RoleArn: new(accountARN + "role/none"), RoleSessionName: new("work")})
	wantCode(t, err, "AccessDenied", 403)
	_, err = c.AssumeRole(ctx, &awssts.AssumeRoleInput{RoleArn: new(accountARN + "role/x/r"), RoleSessionName: new("work"), DurationSeconds: new(int32(7200))})
	wantCode(t, err, "ValidationError", 400)
	_, err = c.AssumeRole(ctx, &awssts.AssumeRoleInput{RoleArn: new(accountARN + "role/x/r"), RoleSessionName: new("work"), Policy: new(`{"Statement":[]`)})
	wantCode(t, err, "MalformedPolicyDocument", 400)
	big := strings.Repeat("0123456789abcdef", 16)
	var tags []ststypes.Tag
	for i := range 50 {
		tags = append(tags, ststypes.Tag{Key: new(strings.Repeat("k", i+1)), Value: &big})
	}
	_, err = c.AssumeRole(ctx, &awssts.AssumeRoleInput{RoleArn: new(accountARN + "role/x/r"), RoleSessionName: new("work"), Tags: tags})
	wantCode(t, err, "PackedPolicyTooLarge", 400)
	stolen := awssts.NewFromConfig(s.config(adminID, adminSecret, *got.Credentials.SessionToken))
	_, err = stolen.GetCallerIdentity(ctx, &awssts.GetCallerIdentityInput{})
	wantCode(t, err, "InvalidClientTokenId", 403)
}

// The sessions of users: what they are, and what AWS keeps them from.
func TestUserSessions(t *testing.T) {
	t.Parallel()
	s := newIAMServer(t)
	ctx := t.Context()
	admin := s.admin()
	_, err := admin.CreateUser(ctx, &awsiam.CreateUserInput{UserName: new("bob")})
	noError(t, err)
	_, err = admin.PutUserPolicy(ctx, &awsiam.PutUserPolicyInput{UserName: new("bob"), PolicyName: new("p"), PolicyDocument: new(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iam:*","sts:AssumeRole","sts:GetAccessKeyInfo"],"Resource":"*"},
		{"Effect":"Allow","Action":"sts:GetFederationToken","Resource":"arn:aws:sts::*:federated-user/guest-*"},
		{"Effect":"Allow","Action":"sts:TagSession","Resource":"*","Condition":{"ForAllValues:StringEquals":{"aws:TagKeys":["team"]}}}]}`)})
	noError(t, err)
	_, err = admin.CreateRole(ctx, &awsiam.CreateRoleInput{RoleName: new("r"), AssumeRolePolicyDocument: new(accountTrust)})
	noError(t, err)
	k, err := admin.CreateAccessKey(ctx, &awsiam.CreateAccessKeyInput{UserName: new("bob")})
	noError(t, err)
	bob := awssts.NewFromConfig(s.config(*k.AccessKey.AccessKeyId, *k.AccessKey.SecretAccessKey, ""))
	got, err := bob.GetSessionToken(ctx, &awssts.GetSessionTokenInput{})
	noError(t, err)
	cfg := s.config(*got.Credentials.AccessKeyId, *got.Credentials.SecretAccessKey, *got.Credentials.SessionToken)
	session := awssts.NewFromConfig(cfg)
	me, err := session.GetCallerIdentity(ctx, &awssts.GetCallerIdentityInput{})
	noError(t, err)
	if *me.Arn != accountARN+"user/bob" {
		t.Errorf("the session is %s", *me.Arn)
	}
	_, err = session.AssumeRole(ctx, &awssts.AssumeRoleInput{RoleArn: new(accountARN + "role/r"), RoleSessionName: new("work")})
	noError(t, err)
	_, err = session.GetSessionToken(ctx, &awssts.GetSessionTokenInput{})
	wantCode(t, err, "AccessDenied", 403)
	_, err = session.GetAccessKeyInfo(ctx, &awssts.GetAccessKeyInfoInput{AccessKeyId: k.AccessKey.AccessKeyId})
	wantCode(t, err, "AccessDenied", 403)
	_, err = awsiam.NewFromConfig(cfg).ListUsers(ctx, &awsiam.ListUsersInput{})
	wantCode(t, err, "InvalidClientTokenId", 403)
	_, err = bob.GetSessionToken(ctx, &awssts.GetSessionTokenInput{SerialNumber: new("arn:aws:iam::" + iotAccount + ":mfa/x"), TokenCode: new("123456")})
	wantCode(t, err, "AccessDenied", 403)
	for _, id := range []*string{k.AccessKey.AccessKeyId, got.Credentials.AccessKeyId} {
		info, err := bob.GetAccessKeyInfo(ctx, &awssts.GetAccessKeyInfoInput{AccessKeyId: id})
		noError(t, err)
		if *info.Account != iotAccount {
			t.Errorf("%s is of %s", *id, *info.Account)
		}
	}
	_, err = bob.GetAccessKeyInfo(ctx, &awssts.GetAccessKeyInfoInput{AccessKeyId: new("AKIAUNKNOWNUNKNOWN22")})
	wantCode(t, err, "ValidationError", 400)

	guest, err := bob.GetFederationToken(ctx, &awssts.GetFederationTokenInput{Name: new("guest-1"), Tags: []ststypes.Tag{{Key: new("team"), Value: new("blue")}}})
	noError(t, err)
	if *guest.FederatedUser.Arn != "arn:aws:sts::"+iotAccount+":federated-user/guest-1" || *guest.FederatedUser.FederatedUserId != iotAccount+":guest-1" {
		t.Errorf("the guest is %+v", guest.FederatedUser)
	}
	_, err = bob.GetFederationToken(ctx, &awssts.GetFederationTokenInput{Name: new("other")})
	wantCode(t, err, "AccessDenied", 403)
	_, err = bob.GetFederationToken(ctx, &awssts.GetFederationTokenInput{Name: new("guest-1"), Tags: []ststypes.Tag{{Key: new("x"), Value: new("y")}}})
	wantCode(t, err, "AccessDenied", 403)
	cfg = s.config(*guest.Credentials.AccessKeyId, *guest.Credentials.SecretAccessKey, *guest.Credentials.SessionToken)
	_, err = awsiam.NewFromConfig(cfg).ListUsers(ctx, &awsiam.ListUsersInput{})
	wantCode(t, err, "InvalidClientTokenId", 403)
	_, err = awssts.NewFromConfig(cfg).AssumeRole(ctx, &awssts.AssumeRoleInput{RoleArn: new(accountARN + "role/r"), RoleSessionName: new("work")})
	wantCode(t, err, "AccessDenied", 403)
}
