package sts_test

import (
	"strings"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/iam"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/sts"
)

func (w *world) assume(caller *sts.Identity, role string) (*sts.Identity, error) {
	w.tb.Helper()
	got, err := w.sts.AssumeRole(w.tb.Context(), caller, caller, sts.AssumeRoleInput{RoleARN: roleARN(role), SessionName: "work"})
	if err != nil {
		return nil, err
	}
	return w.caller(got.AccessKeyID, got.SessionToken), nil
}

func (w *world) deleteUser(i *sts.Identity, name string) {
	w.tb.Helper()
	ctx := w.tb.Context()
	ok(w.tb, w.iam.DeleteAccessKey(ctx, name, i.AccessKeyID))
	err := w.iam.DeleteInlinePolicy(ctx, iam.Holder{Kind: iam.UserHolder, Name: name}, "inline")
	if err != nil && !iot.IsKind(err, iot.KindNotFound) {
		w.tb.Fatal(err)
	}
	ok(w.tb, w.iam.DeleteUser(ctx, name))
}

func (w *world) deleteRole(name string) {
	w.tb.Helper()
	ok(w.tb, w.iam.DeleteInlinePolicy(w.tb.Context(), iam.Holder{Kind: iam.RoleHolder, Name: name}, "inline"))
	ok(w.tb, w.iam.DeleteRole(w.tb.Context(), name))
}

// A trust policy means the users, roles and sessions that it named when it was
// written. Another one of the same name is a stranger.
func TestSecurityRule4_TrustIsNoName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	const assume = `"sts:AssumeRole"`
	bob := w.user("bob", "")
	w.role("between", trust(account, assume, ""), allowAll)
	user := "arn:aws:iam::" + account + ":user/bob"
	session := "arn:aws:sts::" + account + ":assumed-role/between/work"
	w.role("for-bob", trust(user, assume, ""), allowAll)
	w.role("for-role", trust(roleARN("between"), assume, ""), allowAll)
	w.role("for-session", trust(session, assume, ""), allowAll)
	w.role("for-id", trust(bob.Principal.UserID, assume, ""), allowAll)
	admin := w.caller(adminKey, "")
	between, err := w.assume(admin, "between")
	ok(t, err)
	for _, c := range []struct {
		caller *sts.Identity
		role   string
	}{{bob, "for-bob"}, {bob, "for-id"}, {w.sessionOf(bob, nil), "for-bob"}, {between, "for-role"}, {between, "for-session"}} {
		if _, err := w.assume(c.caller, c.role); err != nil {
			t.Errorf("%s: %v", c.role, err)
		}
	}
	// The user goes on under another name, and whoever takes the old one is nobody.
	rob := "rob"
	ok(t, w.iam.UpdateUser(ctx, "bob", &rob, nil))
	if _, err := w.assume(w.caller(bob.AccessKeyID, ""), "for-bob"); err != nil {
		t.Errorf("renamed: %v", err)
	}
	impostor := w.user("bob", "")
	_, err = w.assume(impostor, "for-bob")
	wantKind(t, err, iot.KindDenied)
	shown := func(role string) string {
		t.Helper()
		r, err := w.iam.Role(ctx, role)
		ok(t, err)
		list, _, err := w.iam.Roles(ctx, iam.ListOptions{})
		ok(t, err)
		for _, other := range list {
			if other.Name == role && other.Trust != r.Trust {
				t.Errorf("listed as %s, got as %s", other.Trust, r.Trust)
			}
		}
		return r.Trust
	}
	if doc := shown("for-bob"); doc != trust("arn:aws:iam::"+account+":user/rob", assume, "") {
		t.Errorf("renamed, the trust policy is %s", doc)
	}
	w.deleteUser(bob, "rob")
	if doc := shown("for-bob"); doc != trust(bob.Principal.UserID, assume, "") {
		t.Errorf("deleted, the trust policy is %s", doc)
	}
	w.deleteUser(impostor, "bob")
	again := w.user("bob", "")
	w.deleteRole("between")
	w.role("between", trust(account, assume, ""), allowAll)
	newBetween, err := w.assume(admin, "between")
	ok(t, err)
	for _, c := range []struct {
		caller *sts.Identity
		role   string
	}{{again, "for-bob"}, {again, "for-id"}, {newBetween, "for-role"}, {newBetween, "for-session"}} {
		_, err := w.assume(c.caller, c.role)
		wantKind(t, err, iot.KindDenied)
	}
	// Writing the policy again means the one who is there now.
	ok(t, w.iam.UpdateAssumeRolePolicy(ctx, "for-bob", trust(user, assume, "")))
	if _, err := w.assume(again, "for-bob"); err != nil {
		t.Error(err)
	}
	if doc := shown("for-bob"); doc != trust(user, assume, "") {
		t.Errorf("written again, the trust policy is %s", doc)
	}
}

func TestTrustInNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	const assume = `"sts:AssumeRole"`
	w.user("bob", "")
	w.role("r", trust(account, assume, ""), allowAll)
	for _, principal := range []string{
		"arn:aws:iam::" + account + ":user/none", "arn:aws:iam::" + account + ":user/x/bob", "arn:aws:iam::" + account + ":user/BOB",
		roleARN("none"), roleARN("self"), roleARN("x/r"), "arn:aws:sts::" + account + ":assumed-role/none/work",
		"AIDAAAAAAAAAAAAAAAAAA", "AROAAAAAAAAAAAAAAAAAA",
	} {
		want := `Invalid principal in policy: "AWS":"` + principal + `"`
		_, err := w.iam.CreateRole(ctx, iam.CreateRoleInput{Name: "self", Trust: trust(principal, assume, "")})
		wantKind(t, err, iot.KindMalformed)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", principal, err)
		}
		wantKind(t, w.iam.UpdateAssumeRolePolicy(ctx, "r", trust(principal, assume, "")), iot.KindMalformed)
	}
	// A role may trust itself once it is there. Of other accounts nothing is known.
	ok(t, w.iam.UpdateAssumeRolePolicy(ctx, "r", trust(roleARN("r"), assume, "")))
	ok(t, w.iam.UpdateAssumeRolePolicy(ctx, "r", trust("arn:aws:iam::210987654321:role/theirs", assume, "")))
}
