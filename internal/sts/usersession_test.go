package sts_test

import (
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iam"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
	"github.com/sekisho-iot/sekisho/internal/sts"
)

const allowS3 = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}`

func (w *world) sessionOf(caller *sts.Identity, seconds *int) *sts.Identity {
	w.tb.Helper()
	c, err := w.sts.SessionToken(caller, seconds)
	ok(w.tb, err)
	return w.caller(c.AccessKeyID, c.SessionToken)
}

// A session of GetSessionToken is its user, of whatever policies the user has
// by now, and hangs on the key that it was made with.
func TestSessionToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	bob := w.user("bob", allowS3)
	c, err := w.sts.SessionToken(bob, nil)
	ok(t, err)
	if !c.Expiration.Equal(w.clock.Add(12 * time.Hour)) {
		t.Errorf("expires at %v", c.Expiration)
	}
	s := w.caller(c.AccessKeyID, c.SessionToken)
	if s.Kind != sts.UserSession || s.Principal != bob.Principal || s.SecretAccessKey != c.SecretAccessKey || !allowed(s, "s3:GetObject", "*") {
		t.Errorf("the session is %+v", s)
	}
	for key, want := range map[string]string{
		"aws:username": "bob", "aws:userid": bob.Principal.UserID, "aws:principaltype": "User",
		"aws:tokenissuetime": "2026-03-01T12:00:00Z", "aws:multifactorauthpresent": "false",
	} {
		if got := s.Lookup(key); got.One != want {
			t.Errorf("%s is %+v, want %q", key, got, want)
		}
	}
	if _, err := w.sts.SessionToken(s, nil); !iot.IsKind(err, iot.KindDenied) {
		t.Errorf("a session opened another: %v", err)
	}
	ok(t, w.iam.PutInlinePolicy(ctx, iam.Holder{Kind: iam.UserHolder, Name: "bob"}, "inline", `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}`))
	if allowed(w.caller(c.AccessKeyID, c.SessionToken), "s3:GetObject", "*") {
		t.Error("a change of the user's policy is not in force")
	}
	for _, status := range []string{"Inactive", "Active"} { // what ended does not come back
		ok(t, w.iam.UpdateAccessKey(ctx, "bob", bob.AccessKeyID, status))
		_, err = w.auth.Authenticate(ctx, c.AccessKeyID, c.SessionToken)
		wantKind(t, err, iot.KindDenied)
	}
}

func TestSessionTokenDurations(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob, root := w.user("bob", ""), w.caller(adminKey, "")
	long, tooLong, tooShort := 129600, 129601, 899
	if s := w.sessionOf(bob, &long); s.ExpiresAt.Sub(w.clock) != 36*time.Hour {
		t.Errorf("expires at %v", s.ExpiresAt)
	}
	// The account root's last an hour at most, and are the root's.
	for _, seconds := range []*int{nil, &long} {
		if s := w.sessionOf(root, seconds); s.ExpiresAt.Sub(w.clock) != time.Hour || !s.Grants.Root || s.Principal != root.Principal {
			t.Errorf("the root's session is %+v", s)
		}
	}
	for _, seconds := range []*int{&tooLong, &tooShort} {
		_, err := w.sts.SessionToken(bob, seconds)
		wantKind(t, err, iot.KindInvalid)
	}
}

// A role that is assumed with the session of a user is no link of a chain, yet
// it has the key in its lineage.
func TestRoleOfUserSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.role("r", trust(account, `"sts:AssumeRole"`, ""), allowAll)
	longest, hours := 43200, 7200
	ok(t, w.iam.UpdateRole(ctx, "r", nil, &longest))
	bob := w.user("bob", allowAll)
	s := w.sessionOf(bob, nil)
	got, err := w.sts.AssumeRole(ctx, s, s, sts.AssumeRoleInput{RoleARN: roleARN("r"), SessionName: "work", DurationSeconds: &hours})
	ok(t, err)
	role := w.caller(got.AccessKeyID, got.SessionToken)
	if role.Kind != sts.RoleSession || role.ExpiresAt.Sub(w.clock) != 2*time.Hour {
		t.Errorf("the role's session is %+v", role)
	}
	_, err = w.sts.AssumeRole(ctx, role, role, sts.AssumeRoleInput{RoleARN: roleARN("r"), SessionName: "chained", DurationSeconds: &hours})
	wantKind(t, err, iot.KindInvalid)
	ok(t, w.iam.DeleteAccessKey(ctx, "bob", bob.AccessKeyID))
	_, err = w.auth.Authenticate(ctx, got.AccessKeyID, got.SessionToken)
	wantKind(t, err, iot.KindDenied)
}

func TestFederationToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	bob := w.user("bob", allowS3)
	got, err := w.sts.FederationToken(ctx, bob, sts.FederationTokenInput{
		Name: "guest", Tags: []sts.Tag{{Key: "team", Value: "blue"}},
		Policy: `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["s3:GetObject","iot:Publish"],"Resource":"*"}}`,
	})
	ok(t, err)
	if got.ARN != "arn:aws:sts::"+account+":federated-user/guest" || got.ID != account+":guest" || got.PackedSize < 1 {
		t.Errorf("made %+v", got)
	}
	f := w.caller(got.AccessKeyID, got.SessionToken)
	if f.Principal.ARN != got.ARN || f.Principal.UserID != got.ID || f.Lookup("aws:principaltag/team").One != "blue" || f.Lookup("aws:username").Set || f.Lookup("aws:userid").One != got.ID {
		t.Errorf("the federated user is %+v", f)
	}
	for action, want := range map[string]bool{"s3:GetObject": true, "s3:PutObject": false, "iot:Publish": false} {
		if allowed(f, action, "*") != want {
			t.Errorf("%s is not %v", action, want)
		}
	}
	// Without session policies it may nothing but what a resource policy gives it by name.
	bare, err := w.sts.FederationToken(ctx, bob, sts.FederationTokenInput{Name: "bare"})
	ok(t, err)
	b := w.caller(bare.AccessKeyID, bare.SessionToken)
	for principal, want := range map[string]bool{bare.ARN: true, "arn:aws:iam::" + account + ":user/bob": false, account: false} {
		p, err := policy.Compile(policy.Resource, "bucket", []byte(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"`+principal+`"},"Action":"s3:*","Resource":"*"}}`))
		ok(t, err)
		b.Grants.Resource = p
		if allowed(b, "s3:GetObject", "*") != want {
			t.Errorf("a resource policy for %s does not decide %v", principal, want)
		}
	}
	w.role("r", trust("*", `"sts:AssumeRole"`, ""), allowAll)
	_, err = w.sts.AssumeRole(ctx, f, f, sts.AssumeRoleInput{RoleARN: roleARN("r"), SessionName: "work"})
	wantKind(t, err, iot.KindDenied)
	_, err = w.sts.FederationToken(ctx, f, sts.FederationTokenInput{Name: "more"})
	wantKind(t, err, iot.KindDenied)
	root := w.caller(adminKey, "")
	r, err := w.sts.FederationToken(ctx, root, sts.FederationTokenInput{Name: "root", Policy: allowS3})
	ok(t, err)
	if f := w.caller(r.AccessKeyID, r.SessionToken); !allowed(f, "s3:GetObject", "*") || allowed(f, "iam:ListUsers", "*") {
		t.Error("the root's federated user may not do what its policy says")
	}
	for what, in := range map[string]sts.FederationTokenInput{
		"no name": {}, "a long name": {Name: "abcdefghijklmnopqrstuvwxyz0123456"}, "a bad name": {Name: "a/b"},
		"many policies": {Name: "ok", PolicyARNs: make([]string, 11)}, "a missing policy": {Name: "ok", PolicyARNs: []string{"arn:aws:iam::aws:policy/None"}},
		"a reserved tag": {Name: "ok", Tags: []sts.Tag{{Key: "aws:x"}}}, "a short duration": {Name: "ok", DurationSeconds: new(int)},
	} {
		if _, err := w.sts.FederationToken(ctx, bob, in); !iot.IsKind(err, iot.KindInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err = w.sts.FederationToken(ctx, bob, sts.FederationTokenInput{Name: "ok", Policy: "{"})
	wantKind(t, err, iot.KindMalformed)
}

func TestAccountOf(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob := w.user("bob", "")
	s := w.sessionOf(bob, nil)
	for key, known := range map[string]bool{bob.AccessKeyID: true, adminKey: true, s.AccessKeyID: true, "AKIAUNKNOWNUNKNOWN22": false, "ASIAUNKNOWNUNKNOWN22": false, "short": false, "AKIA/UNKNOWN/UNKNOWN": false} {
		got, err := w.auth.AccountOf(t.Context(), key)
		if known && (err != nil || got != account) || !known && !iot.IsKind(err, iot.KindInvalid) {
			t.Errorf("%s: %s, %v", key, got, err)
		}
	}
}
