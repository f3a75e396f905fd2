package iam_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iam"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
	"github.com/sekisho-iot/sekisho/internal/sqlstore"
)

const (
	account  = "123456789012"
	trust    = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"credentials.iot.amazonaws.com"},"Action":"sts:AssumeRole"}}`
	getOnly  = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}}`
	allowAll = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`
	admins   = "arn:aws:iam::aws:policy/AdministratorAccess"
)

// seal marks what it seals with the context, to see that both come back together.
type seal struct{}

func (seal) Seal(plain, context []byte) ([]byte, error) {
	return append(append([]byte{}, context...), plain...), nil
}

func (seal) Open(sealed, context []byte) ([]byte, error) {
	if !strings.HasPrefix(string(sealed), string(context)) {
		return nil, errors.New("sealed for another context")
	}
	return sealed[len(context):], nil
}

func newService(t *testing.T) *iam.Service {
	t.Helper()
	var svc atomic.Pointer[iam.Service]
	db, err := sqlstore.Open(t.Context(), sqlstore.Config{Path: filepath.Join(t.TempDir(), "test.db"), Fast: true, OnChange: func(c iot.Change) {
		svc.Load().Invalidate(c)
	}})
	ok(t, err)
	t.Cleanup(func() { ok(t, db.Close()) })
	s, err := iam.New(iam.Config{
		Account: account, Store: db.IAM(), Sealer: seal{}, Random: rand.Reader, Logger: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 999, time.UTC) },
	})
	ok(t, err)
	svc.Store(s)
	return s
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, err error, k iot.Kind, message string) {
	t.Helper()
	e, is := errors.AsType[*iot.Error](err)
	if !is || e.Kind != k || !strings.Contains(e.Message, message) {
		t.Errorf("the error is %v, want %v with %q", err, k, message)
	}
}

func role(name string) iam.Holder { return iam.Holder{Kind: iam.RoleHolder, Name: name} }

func allows(set policy.Set, action string) bool {
	return set.Evaluate(&policy.Request{Action: action, Resource: "arn:aws:s3:::b/k", Keys: policy.KeyMap{}}).Allowed()
}

func TestCreateRole(t *testing.T) {
	t.Parallel()
	s := newService(t)
	ctx := t.Context()
	r, err := s.CreateRole(ctx, iam.CreateRoleInput{Name: "r", Path: "/a/b/", Trust: trust, Description: "étage"})
	ok(t, err)
	if len(r.ID) != 21 || !strings.HasPrefix(r.ID, "AROA") || r.ARN != "arn:aws:iam::123456789012:role/a/b/r" || r.MaxSessionDuration != 3600 ||
		!r.CreatedAt.Equal(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)) {
		t.Errorf("created %+v", r)
	}
	short, long := 3599, 43201
	tags := make([]iam.Tag, 51)
	for _, c := range []struct {
		what    string
		in      iam.CreateRoleInput
		kind    iot.Kind
		message string
	}{
		{"the same name", iam.CreateRoleInput{Name: "R", Trust: trust}, iot.KindExists, "Role with name R already exists."},
		{"no name", iam.CreateRoleInput{Trust: trust}, iot.KindInvalid, "'roleName'"},
		{"long name", iam.CreateRoleInput{Name: strings.Repeat("a", 65), Trust: trust}, iot.KindInvalid, "less than or equal to 64"},
		{"bad name", iam.CreateRoleInput{Name: "a/b", Trust: trust}, iot.KindInvalid, "alphanumeric"},
		{"bad path", iam.CreateRoleInput{Name: "x", Path: "a", Trust: trust}, iot.KindInvalid, "path"},
		{"short session", iam.CreateRoleInput{Name: "x", Trust: trust, MaxSessionDuration: &short}, iot.KindInvalid, "3600"},
		{"long session", iam.CreateRoleInput{Name: "x", Trust: trust, MaxSessionDuration: &long}, iot.KindInvalid, "43200"},
		{"no trust", iam.CreateRoleInput{Name: "x"}, iot.KindInvalid, "assumeRolePolicyDocument"},
		{"trust with a resource", iam.CreateRoleInput{Name: "x", Trust: strings.Replace(trust, `"Action"`, `"Resource":"*","Action"`, 1)}, iot.KindMalformed, ""},
		{"trust that is no JSON", iam.CreateRoleInput{Name: "x", Trust: "{"}, iot.KindMalformed, ""},
		{"large trust", iam.CreateRoleInput{Name: "x", Trust: strings.Replace(trust, `"Effect"`, `"Sid":"`+strings.Repeat("a", 2048)+`","Effect"`, 1)}, iot.KindLimit, "ACLSizePerRole"},
		{"unknown boundary", iam.CreateRoleInput{Name: "x", Trust: trust, Boundary: "arn:aws:iam::aws:policy/Nope"}, iot.KindNotFound, "Policy arn:aws:iam::aws:policy/Nope does not exist or is not attachable."},
		{"many tags", iam.CreateRoleInput{Name: "x", Trust: trust, Tags: tags}, iot.KindInvalid, "50"},
		{"a tag twice", iam.CreateRoleInput{Name: "x", Trust: trust, Tags: []iam.Tag{{Key: "a"}, {Key: "A"}}}, iot.KindInvalid, "Duplicate"},
		{"a reserved tag", iam.CreateRoleInput{Name: "x", Trust: trust, Tags: []iam.Tag{{Key: "AWS:a"}}}, iot.KindInvalid, "reserved"},
	} {
		_, err := s.CreateRole(ctx, c.in)
		if e, is := errors.AsType[*iot.Error](err); !is || e.Kind != c.kind || !strings.Contains(e.Message, c.message) {
			t.Errorf("%s: %v, want %v with %q", c.what, err, c.kind, c.message)
		}
	}
	// White space does not count.
	_, err = s.CreateRole(ctx, iam.CreateRoleInput{Name: "spacious", Trust: strings.Replace(trust, "{", "{"+strings.Repeat(" \n", 2000), 1)})
	ok(t, err)
}

func TestDocumentSize(t *testing.T) {
	t.Parallel()
	for doc, want := range map[string]int{"": 0, " { } ": 2, `{"a b" : "\" c"}`: 14, `"é"`: 3, `"\`: 2, "\"": 1} {
		if got := iam.DocumentSize(doc); got != want {
			t.Errorf("%q counts %d, want %d", doc, got, want)
		}
	}
}

// What is built in reads as AWS has it, and nothing else of AWS's exists.
func TestBuiltinPolicies(t *testing.T) {
	t.Parallel()
	s := newService(t)
	ctx := t.Context()
	_, err := s.CreateRole(ctx, iam.CreateRoleInput{Name: "r", Trust: trust, Boundary: admins})
	ok(t, err)
	for arn, version := range map[string]string{
		admins: "v1",
		"arn:aws:iam::aws:policy/AmazonS3FullAccess":                       "v2",
		"arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess":                   "v3",
		"arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole": "v1",
		"arn:aws:iam::aws:policy/AWSIoTFullAccess":                         "v2",
		"arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore":             "v2",
	} {
		p, err := s.Policy(ctx, arn)
		ok(t, err)
		v, err := s.PolicyVersion(ctx, arn, version)
		ok(t, err)
		if p.ARN != arn || fmt.Sprint("v", p.DefaultVersion) != version || !v.Default || !strings.Contains(v.Document, "2012-10-17") || !strings.HasSuffix(arn, p.Path+p.Name) {
			t.Errorf("%s is %+v", arn, p)
		}
		ok(t, s.AttachPolicy(ctx, role("r"), arn))
		wantError(t, s.DeletePolicy(ctx, arn), iot.KindDenied, "")
		_, err = s.CreatePolicyVersion(ctx, arn, allowAll, true)
		wantError(t, err, iot.KindDenied, "")
		wantError(t, s.Tag(ctx, iam.TagOwner{PolicyARN: arn}, []iam.Tag{{Key: "a"}}), iot.KindInvalid, "")
	}
	const nope = "arn:aws:iam::aws:policy/AmazonEC2FullAccess"
	wantError(t, s.AttachPolicy(ctx, role("r"), nope), iot.KindNotFound, "Policy "+nope+" does not exist or is not attachable.")
	wantError(t, s.AttachPolicy(ctx, role("r"), "arn:aws:iam::210987654321:policy/x"), iot.KindNotFound, "")
	p, err := s.Policy(ctx, admins)
	ok(t, err)
	if p.Attachments != 1 || p.Boundaries != 1 {
		t.Errorf("used %d and %d times", p.Attachments, p.Boundaries)
	}
	list, _, err := s.AttachedPolicies(ctx, role("r"), iam.ListOptions{PathPrefix: "/service-role/"})
	ok(t, err)
	if len(list) != 1 || list[0].Name != "AWSLambdaBasicExecutionRole" {
		t.Errorf("listed %v", list)
	}
}

// A change of anything that a decision depends on is in force when the call returns.
func TestReadSideFollowsChanges(t *testing.T) {
	t.Parallel()
	s := newService(t)
	ctx := t.Context()
	first, err := s.CreateRole(ctx, iam.CreateRoleInput{Name: "r", Trust: trust})
	ok(t, err)
	check := func(action string, want bool) {
		t.Helper()
		g, err := s.RoleGrantsByID(ctx, first.ID)
		ok(t, err)
		if allows(g.Identity, action) != want {
			t.Errorf("%s is not %v", action, want)
		}
	}
	check("s3:GetObject", false)
	ok(t, s.PutInlinePolicy(ctx, role("r"), "p", getOnly))
	check("s3:GetObject", true)
	ok(t, s.DeleteInlinePolicy(ctx, role("r"), "p"))
	check("s3:GetObject", false)
	p, err := s.CreatePolicy(ctx, iam.CreatePolicyInput{Name: "p", Document: getOnly})
	ok(t, err)
	ok(t, s.AttachPolicy(ctx, role("r"), p.ARN))
	check("s3:GetObject", true)
	_, err = s.CreatePolicyVersion(ctx, p.ARN, strings.Replace(getOnly, "GetObject", "PutObject", 1), true)
	ok(t, err)
	check("s3:GetObject", false)
	check("s3:PutObject", true)
	ok(t, s.SetDefaultPolicyVersion(ctx, p.ARN, "v1"))
	check("s3:GetObject", true)
	ok(t, s.DetachPolicy(ctx, role("r"), p.ARN))
	check("s3:GetObject", false)
	trusted := func(service string) bool {
		g, err := s.RoleGrants(ctx, "r")
		ok(t, err)
		return policy.Set{g.Trust}.Evaluate(&policy.Request{Action: "sts:AssumeRole", Principal: policy.Principal{Service: service}, Keys: policy.KeyMap{}}).Allowed()
	}
	if !trusted("credentials.iot.amazonaws.com") || trusted("iot.amazonaws.com") {
		t.Error("the trust policy decides wrongly")
	}
	ok(t, s.UpdateAssumeRolePolicy(ctx, "r", strings.Replace(trust, "credentials.iot", "iot", 1)))
	if trusted("credentials.iot.amazonaws.com") || !trusted("iot.amazonaws.com") {
		t.Error("the new trust policy is not in force")
	}
	ok(t, s.DeleteRole(ctx, "r"))
	_, err = s.RoleGrantsByID(ctx, first.ID)
	wantError(t, err, iot.KindNotFound, "")
	_, err = s.CreateRole(ctx, iam.CreateRoleInput{Name: "r", Trust: trust})
	ok(t, err)
	_, err = s.RoleGrants(ctx, "r")
	ok(t, err)
	_, err = s.RoleGrantsByID(ctx, first.ID)
	wantError(t, err, iot.KindNotFound, "")
}

func TestAccessKeys(t *testing.T) {
	t.Parallel()
	s := newService(t)
	ctx := t.Context()
	u, err := s.CreateUser(ctx, iam.CreateUserInput{Name: "bob"})
	ok(t, err)
	k, secret, err := s.CreateAccessKey(ctx, "bob")
	ok(t, err)
	if len(k.ID) != 20 || !strings.HasPrefix(k.ID, "AKIA") || len(secret) != 40 {
		t.Errorf("made %s with a secret of %d", k.ID, len(secret))
	}
	g, err := s.KeyGrants(ctx, k.ID)
	ok(t, err)
	if g.Secret != secret || !g.Active || g.Root || g.UserID != u.ID || g.UserARN != u.ARN {
		t.Errorf("the key is %+v", g)
	}
	ok(t, s.AttachPolicy(ctx, iam.Holder{Kind: iam.UserHolder, Name: "bob"}, admins))
	if g, err = s.KeyGrants(ctx, k.ID); err != nil || !allows(g.Identity, "s3:GetObject") {
		t.Errorf("an attached policy is not in force: %v", err)
	}
	ok(t, s.UpdateAccessKey(ctx, "bob", k.ID, "Inactive"))
	if g, err = s.KeyGrants(ctx, k.ID); err != nil || g.Active {
		t.Errorf("deactivated, it is active: %v", err)
	}
	wantError(t, s.UpdateAccessKey(ctx, "bob", k.ID, "active"), iot.KindInvalid, "status")
	ok(t, s.DeleteAccessKey(ctx, "bob", k.ID))
	_, err = s.KeyGrants(ctx, k.ID)
	wantError(t, err, iot.KindNotFound, "")
	ok(t, s.EnsureAdmin(ctx, "AKIAADMINADMINADMIN1", "secret-secret"))
	if g, err = s.KeyGrants(ctx, "AKIAADMINADMINADMIN1"); err != nil || !g.Root || g.Secret != "secret-secret" {
		t.Errorf("the administrator is %+v, %v", g, err)
	}
	wantError(t, s.EnsureAdmin(ctx, "short", "secret-secret"), iot.KindInvalid, "accessKeyId")
	_, _, err = s.CreateAccessKey(ctx, "nobody")
	wantError(t, err, iot.KindNotFound, "")
}

func TestListings(t *testing.T) {
	t.Parallel()
	s := newService(t)
	ctx := t.Context()
	var want []string
	for i := range 7 {
		name := fmt.Sprint("p", i)
		_, err := s.CreatePolicy(ctx, iam.CreatePolicyInput{Name: name, Document: allowAll})
		ok(t, err)
		want = append(want, name)
	}
	_, err := s.CreateRole(ctx, iam.CreateRoleInput{Name: "r", Trust: trust})
	ok(t, err)
	for _, p := range []string{"p1", "p5"} {
		ok(t, s.AttachPolicy(ctx, role("r"), "arn:aws:iam::123456789012:policy/"+p))
	}
	ok(t, s.AttachPolicy(ctx, role("r"), admins))
	want = append(want, "AWSIoTFullAccess", "AdministratorAccess", "AmazonS3FullAccess", "AmazonS3ReadOnlyAccess", "AmazonSSMManagedInstanceCore", "AWSLambdaBasicExecutionRole")
	three := int32(3)
	collect := func(f iam.PolicyFilter) []string {
		var names []string
		for marker := ""; ; {
			list, next, err := s.Policies(ctx, f, iam.ListOptions{Marker: marker, MaxItems: &three})
			ok(t, err)
			for _, p := range list {
				names = append(names, p.Name)
			}
			if marker = next; next == "" {
				return names
			}
		}
	}
	if got := collect(iam.PolicyFilter{}); !slices.Equal(got, want) {
		t.Errorf("listed %v", got)
	}
	if got := collect(iam.PolicyFilter{Scope: "Local"}); !slices.Equal(got, want[:7]) {
		t.Errorf("listed %v", got)
	}
	if got := collect(iam.PolicyFilter{OnlyAttached: true}); !slices.Equal(got, []string{"p1", "p5", "AdministratorAccess"}) {
		t.Errorf("listed %v", got)
	}
	_, _, err = s.Policies(ctx, iam.PolicyFilter{}, iam.ListOptions{Marker: "forged"})
	wantError(t, err, iot.KindInvalid, "Marker")
	zero := int32(0)
	_, _, err = s.Roles(ctx, iam.ListOptions{MaxItems: &zero})
	wantError(t, err, iot.KindInvalid, "maxItems")
	for i := range 4 {
		_, err := s.CreatePolicyVersion(ctx, "arn:aws:iam::123456789012:policy/p0", allowAll, i == 1)
		ok(t, err)
	}
	var versions []int
	for marker := ""; ; {
		list, next, err := s.PolicyVersions(ctx, "arn:aws:iam::123456789012:policy/p0", iam.ListOptions{Marker: marker, MaxItems: &three})
		ok(t, err)
		for _, v := range list {
			versions = append(versions, v.Version)
		}
		if marker = next; next == "" {
			break
		}
	}
	if !slices.Equal(versions, []int{5, 4, 3, 2, 1}) {
		t.Errorf("listed %v", versions)
	}
	for _, bad := range []string{"", "1", "v0", "v01", "vx", "v9999999999"} {
		_, err := s.PolicyVersion(ctx, admins, bad)
		wantError(t, err, iot.KindInvalid, "versionId")
	}
	_, err = s.PolicyVersion(ctx, admins, "v2")
	wantError(t, err, iot.KindNotFound, "Policy "+admins+" version v2 does not exist")
}

func FuzzDocumentSize(f *testing.F) {
	f.Add(`{"a": "\" b"}`)
	f.Fuzz(func(t *testing.T, doc string) {
		if n := iam.DocumentSize(doc); n < 0 || n > len(doc)+1 {
			t.Errorf("%q counts %d", doc, n)
		}
	})
}
