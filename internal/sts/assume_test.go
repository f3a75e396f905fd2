package sts_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iam"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
	"github.com/sekisho-iot/sekisho/internal/sts"
)

func trust(principal, action, more string) string {
	return `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + principal + `"},"Action":` + action + more + `}}`
}

func (w *world) user(name, doc string) *sts.Identity {
	w.tb.Helper()
	_, err := w.iam.CreateUser(w.tb.Context(), iam.CreateUserInput{Name: name})
	ok(w.tb, err)
	if doc != "" {
		ok(w.tb, w.iam.PutInlinePolicy(w.tb.Context(), iam.Holder{Kind: iam.UserHolder, Name: name}, "inline", doc))
	}
	k, _, err := w.iam.CreateAccessKey(w.tb.Context(), name)
	ok(w.tb, err)
	return w.caller(k.ID, "")
}

func roleARN(name string) string { return "arn:aws:iam::" + account + ":role/" + name }

// Who may assume a role of the same account: its trust policy must allow, and
// the caller's own policies too unless that names the caller directly.
func TestWhoMayAssume(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const assume = `"sts:AssumeRole"`
	bob := w.user("bob", "")
	able := w.user("able", allowAll)
	barred := w.user("barred", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"sts:AssumeRole","Resource":"*"}]}`)
	w.user("nobody", "")
	w.role("for-account", trust(account, assume, ""), allowAll)
	w.role("for-bob", trust("arn:aws:iam::"+account+":user/bob", assume, ""), allowAll)
	w.role("for-nobody", trust("arn:aws:iam::"+account+":user/nobody", assume, ""), allowAll)
	w.role("external", trust(account, assume, `,"Condition":{"StringEquals":{"sts:ExternalId":"e-1"}}`), allowAll)
	w.role("named", trust(account, assume, `,"Condition":{"StringLike":{"sts:RoleSessionName":"bob-*"}}`), allowAll)
	w.role("tagging", trust(account, `["sts:AssumeRole","sts:TagSession"]`, `,"Condition":{"StringEquals":{"aws:RequestTag/team":"blue"}}`), allowAll)
	admin := w.caller(adminKey, "")
	external, wrong := "e-1", "e-2"
	for _, c := range []struct {
		what    string
		caller  *sts.Identity
		in      sts.AssumeRoleInput
		allowed bool
	}{
		{"account trusted, caller able", able, sts.AssumeRoleInput{RoleARN: roleARN("for-account")}, true},
		{"account trusted, caller without policies", bob, sts.AssumeRoleInput{RoleARN: roleARN("for-account")}, false},
		{"account trusted, caller barred", barred, sts.AssumeRoleInput{RoleARN: roleARN("for-account")}, false},
		{"caller named", bob, sts.AssumeRoleInput{RoleARN: roleARN("for-bob")}, true},
		{"another named, caller able", able, sts.AssumeRoleInput{RoleARN: roleARN("for-bob")}, false},
		{"administrator, account trusted", admin, sts.AssumeRoleInput{RoleARN: roleARN("for-account")}, true},
		{"administrator, another trusted", admin, sts.AssumeRoleInput{RoleARN: roleARN("for-nobody")}, false},
		{"no such role", able, sts.AssumeRoleInput{RoleARN: roleARN("none")}, false},
		{"another account's role", able, sts.AssumeRoleInput{RoleARN: "arn:aws:iam::210987654321:role/for-account"}, false},
		{"another path", able, sts.AssumeRoleInput{RoleARN: roleARN("x/for-account")}, false},
		{"external id", able, sts.AssumeRoleInput{RoleARN: roleARN("external"), ExternalID: &external}, true},
		{"wrong external id", able, sts.AssumeRoleInput{RoleARN: roleARN("external"), ExternalID: &wrong}, false},
		{"no external id", able, sts.AssumeRoleInput{RoleARN: roleARN("external")}, false},
		{"session name", able, sts.AssumeRoleInput{RoleARN: roleARN("named"), SessionName: "bob-1"}, true},
		{"other session name", able, sts.AssumeRoleInput{RoleARN: roleARN("named"), SessionName: "eve-1"}, false},
		{"tags without sts:TagSession", able, sts.AssumeRoleInput{RoleARN: roleARN("for-account"), Tags: []sts.Tag{{Key: "team", Value: "blue"}}}, false},
		{"tags", able, sts.AssumeRoleInput{RoleARN: roleARN("tagging"), Tags: []sts.Tag{{Key: "Team", Value: "blue"}}}, true},
		{"wrong tags", able, sts.AssumeRoleInput{RoleARN: roleARN("tagging"), Tags: []sts.Tag{{Key: "team", Value: "red"}}}, false},
		{"source identity without its permission", able, sts.AssumeRoleInput{RoleARN: roleARN("for-account"), SourceIdentity: "bob"}, false},
	} {
		if c.in.SessionName == "" {
			c.in.SessionName = "session"
		}
		got, err := w.sts.AssumeRole(t.Context(), c.caller, c.caller, c.in)
		if c.allowed {
			if err != nil {
				t.Errorf("%s: %v", c.what, err)
			} else if i := w.caller(got.AccessKeyID, got.SessionToken); i.Principal.ARN != got.ARN || i.Principal.UserID != got.ID {
				t.Errorf("%s: the session is %+v, announced as %s %s", c.what, i.Principal, got.ARN, got.ID)
			}
			continue
		}
		wantKind(t, err, iot.KindDenied)
		if err == nil || !strings.Contains(err.Error(), "User: "+c.caller.Principal.ARN+" is not authorized to perform: sts:") || !strings.HasSuffix(err.Error(), " on resource: "+c.in.RoleARN) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

func TestAssumeLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.role("r", trust(account, `["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]`, ""), allowAll)
	admin := w.caller(adminKey, "")
	long, short := 3601, 899
	many := make([]sts.Tag, 51)
	for i := range many {
		many[i] = sts.Tag{Key: fmt.Sprint("k", i)}
	}
	big := `{"Version":"2012-10-17","Statement":[`
	for i := range 14 {
		big += fmt.Sprintf(`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::%064x/*"},`, (i+3)*(i+5)*7919*1048583)
	}
	big = strings.TrimSuffix(big, ",") + `]}`
	for _, c := range []struct {
		what string
		in   sts.AssumeRoleInput
		kind iot.Kind
	}{
		{"no role", sts.AssumeRoleInput{SessionName: "ok"}, iot.KindInvalid},
		{"no ARN", sts.AssumeRoleInput{RoleARN: "just-a-name-and-more-text", SessionName: "ok"}, iot.KindInvalid},
		{"no session name", sts.AssumeRoleInput{RoleARN: roleARN("r")}, iot.KindInvalid},
		{"short session name", sts.AssumeRoleInput{RoleARN: roleARN("r"), SessionName: "x"}, iot.KindInvalid},
		{"bad session name", sts.AssumeRoleInput{RoleARN: roleARN("r"), SessionName: "a/b"}, iot.KindInvalid},
		{"short duration", sts.AssumeRoleInput{RoleARN: roleARN("r"), SessionName: "ok", DurationSeconds: &short}, iot.KindInvalid},
		{"over the role's duration", sts.AssumeRoleInput{RoleARN: roleARN("r"), SessionName: "ok", DurationSeconds: &long}, iot.KindInvalid},
		{"bad session policy", sts.AssumeRoleInput{RoleARN: roleARN("r"), SessionName: "ok", Policy: `{"Statement":1}`}, iot.KindMalformed},
		{"session policy too long", sts.AssumeRoleInput{RoleARN: roleARN("r"), SessionName: "ok", Policy: strings.Repeat(" ", 2049)}, iot.KindInvalid},
		{"missing managed policy", sts.AssumeRoleInput{RoleARN: roleARN("r"), SessionName: "ok", PolicyARNs: []string{"arn:aws:iam::aws:policy/None"}}, iot.KindInvalid},
		{"many managed policies", sts.AssumeRoleInput{RoleARN: roleARN("r"), SessionName: "ok", PolicyARNs: make([]string, 11)}, iot.KindInvalid},
		{"many tags", sts.AssumeRoleInput{RoleARN: roleARN("r"), SessionName: "ok", Tags: many}, iot.KindInvalid},
		{"a tag twice", sts.AssumeRoleInput{RoleARN: roleARN("r"), SessionName: "ok", Tags: []sts.Tag{{Key: "a"}, {Key: "A"}}}, iot.KindInvalid},
		{"a reserved tag", sts.AssumeRoleInput{RoleARN: roleARN("r"), SessionName: "ok", Tags: []sts.Tag{{Key: "aws:x"}}}, iot.KindInvalid},
		{"transitive key that is no tag", sts.AssumeRoleInput{RoleARN: roleARN("r"), SessionName: "ok", TransitiveTagKeys: []string{"x"}}, iot.KindInvalid},
		{"too much to seal", sts.AssumeRoleInput{RoleARN: roleARN("r"), SessionName: "ok", Tags: bigTags()}, iot.KindTooLarge},
	} {
		_, err := w.sts.AssumeRole(t.Context(), admin, admin, c.in)
		if !iot.IsKind(err, c.kind) {
			t.Errorf("%s: %v, want %v", c.what, err, c.kind)
		}
	}
	got, err := w.sts.AssumeRole(t.Context(), admin, admin, sts.AssumeRoleInput{RoleARN: roleARN("r"), SessionName: "ok", Policy: big, Tags: []sts.Tag{{Key: "a", Value: "b"}}})
	ok(t, err)
	if got.PackedSize < 1 || got.PackedSize > 100 || len(got.SessionToken) > 2048 {
		t.Errorf("packed to %d %%, a token of %d", got.PackedSize, len(got.SessionToken))
	}
}

// bigTags do not fit into a token. Their values do not repeat.
func bigTags() []sts.Tag {
	tags := make([]sts.Tag, 40)
	for i := range tags {
		tags[i] = sts.Tag{Key: fmt.Sprint("key-", i), Value: strings.Repeat(fmt.Sprint(i), 60)}
	}
	return tags
}

func allowed(i *sts.Identity, action, resource string) bool {
	return i.Grants.Authorize(&policy.Request{Action: action, Resource: resource, Principal: i.Principal, Keys: i}).Allowed()
}

func TestSessionPolicies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.role("r", trust(account, `"sts:*"`, ""), `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}`)
	p, err := w.iam.CreatePolicy(ctx, iam.CreatePolicyInput{Name: "get", Document: `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}}`})
	ok(t, err)
	admin := w.caller(adminKey, "")
	got, err := w.sts.AssumeRole(ctx, admin, admin, sts.AssumeRoleInput{
		RoleARN: roleARN("r"), SessionName: "limited", PolicyARNs: []string{p.ARN},
		Policy: `{ "Version": "2012-10-17", "Statement": { "Effect": "Allow", "Action": ["s3:PutObject","iot:*"], "Resource": "arn:aws:s3:::b/*" } }`,
	})
	ok(t, err)
	check := func(action string, want bool) {
		t.Helper()
		if allowed(w.caller(got.AccessKeyID, got.SessionToken), action, "arn:aws:s3:::b/k") != want {
			t.Errorf("%s is not %v", action, want)
		}
	}
	check("s3:PutObject", true)
	check("s3:GetObject", true)
	check("s3:DeleteObject", false) // the role may, the session may not
	check("iot:Publish", false)     // the session may, the role may not
	// A managed session policy counts as it is now; without it nothing is certain.
	_, err = w.iam.CreatePolicyVersion(ctx, p.ARN, `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"s3:GetObject","Resource":"*"}}`, true)
	ok(t, err)
	check("s3:GetObject", false)
	ok(t, w.iam.DeletePolicyVersion(ctx, p.ARN, "v1"))
	ok(t, w.iam.DeletePolicy(ctx, p.ARN))
	_, err = w.auth.Authenticate(ctx, got.AccessKeyID, got.SessionToken)
	wantKind(t, err, iot.KindDenied)
}

func TestChaining(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	for _, r := range []string{"one", "two"} {
		w.role(r, trust(account, `["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]`, ""), allowAll)
		longest := 43200
		ok(t, w.iam.UpdateRole(ctx, r, nil, &longest))
	}
	admin := w.caller(adminKey, "")
	long := 43200
	first, err := w.sts.AssumeRole(ctx, admin, admin, sts.AssumeRoleInput{
		RoleARN: roleARN("one"), SessionName: "first", DurationSeconds: &long, SourceIdentity: "alice",
		Tags: []sts.Tag{{Key: "team", Value: "blue"}, {Key: "mood", Value: "good"}}, TransitiveTagKeys: []string{"team"},
	})
	ok(t, err)
	if !first.Expiration.Equal(w.clock.Add(12 * time.Hour)) {
		t.Errorf("expires at %v", first.Expiration)
	}
	one := w.caller(first.AccessKeyID, first.SessionToken)
	if one.Lookup("aws:principaltag/Team").One != "blue" || one.Lookup("aws:sourceidentity").One != "alice" {
		t.Errorf("tags %v, source identity %q", one.Tags, one.SourceIdentity)
	}
	_, err = w.sts.AssumeRole(ctx, one, one, sts.AssumeRoleInput{RoleARN: roleARN("two"), SessionName: "second", DurationSeconds: &long})
	wantKind(t, err, iot.KindInvalid)
	_, err = w.sts.AssumeRole(ctx, one, one, sts.AssumeRoleInput{RoleARN: roleARN("two"), SessionName: "second", Tags: []sts.Tag{{Key: "TEAM", Value: "red"}}})
	wantKind(t, err, iot.KindInvalid)
	_, err = w.sts.AssumeRole(ctx, one, one, sts.AssumeRoleInput{RoleARN: roleARN("two"), SessionName: "second", SourceIdentity: "bob"})
	wantKind(t, err, iot.KindDenied)
	second, err := w.sts.AssumeRole(ctx, one, one, sts.AssumeRoleInput{RoleARN: roleARN("two"), SessionName: "second"})
	ok(t, err)
	two := w.caller(second.AccessKeyID, second.SessionToken)
	if two.Lookup("aws:principaltag/team").One != "blue" || two.Lookup("aws:principaltag/mood").Set || two.SourceIdentity != "alice" {
		t.Errorf("tags %v, source identity %q", two.Tags, two.SourceIdentity)
	}
	// The role in between is part of the lineage.
	ok(t, w.iam.DeleteInlinePolicy(ctx, iam.Holder{Kind: iam.RoleHolder, Name: "one"}, "inline"))
	ok(t, w.iam.DeleteRole(ctx, "one"))
	_, err = w.auth.Authenticate(ctx, second.AccessKeyID, second.SessionToken)
	wantKind(t, err, iot.KindDenied)
}
