package storetest

import (
	"testing"

	"github.com/sekisho-iot/sekisho/internal/iam"
	"github.com/sekisho-iot/sekisho/internal/iot"
)

func iamTrust(t *testing.T, open Opener) {
	t.Helper()
	s := open(t, nil).IAM()
	ctx := t.Context()
	bob := newUser("bob")
	must(t, s.InsertUser(ctx, bob))
	must(t, s.InsertRole(ctx, newRole("other")))
	other := newRole("other")
	session := "arn:aws:sts::000000000000:assumed-role/other/s"
	r := newRole("r")
	for _, name := range []string{bob.ARN, other.ARN, session, bob.ID, other.ID} {
		r.Trusted = append(r.Trusted, iam.TrustedPrincipal{Name: name})
	}
	must(t, s.InsertRole(ctx, r))
	want := map[string]iam.TrustedPrincipal{
		bob.ARN:   {Name: bob.ARN, ID: bob.ID, ARN: bob.ARN},
		other.ARN: {Name: other.ARN, ID: other.ID, ARN: other.ARN},
		session:   {Name: session, ID: other.ID, ARN: other.ARN},
		bob.ID:    {Name: bob.ID, ID: bob.ID, ARN: bob.ARN},
		other.ID:  {Name: other.ID, ID: other.ID, ARN: other.ARN},
	}
	check := func() {
		t.Helper()
		got, err := s.Role(ctx, "r")
		must(t, err)
		list, err := s.Roles(ctx, iam.Page{After: "other", Limit: 1})
		must(t, err)
		if len(got.Trusted) != len(want) || len(list) != 1 || len(list[0].Trusted) != len(want) {
			t.Fatalf("it trusts %v, listed as %v", got.Trusted, list)
		}
		for i, p := range got.Trusted {
			if p != want[p.Name] || list[0].Trusted[i] != p {
				t.Errorf("it trusts %+v, want %+v", p, want[p.Name])
			}
		}
	}
	check()
	must(t, s.DeleteUser(ctx, "bob"))
	again := bob
	again.ID = "AIDABOBAGAIN"
	must(t, s.InsertUser(ctx, again))
	want[bob.ARN], want[bob.ID] = iam.TrustedPrincipal{Name: bob.ARN, ID: bob.ID}, iam.TrustedPrincipal{Name: bob.ID, ID: bob.ID}
	check()
	bad := newRole("bad")
	doc := "{}"
	for _, name := range []string{bob.ARN + "x", "arn:aws:iam::000000000000:user/x/bob", other.ARN + "x", "arn:aws:sts::000000000000:assumed-role/none/s", bob.ID, "AROANONE"} {
		bad.Trusted = []iam.TrustedPrincipal{{Name: name}}
		message := `Invalid principal in policy: "AWS":"` + name + `"`
		kind(t, s.InsertRole(ctx, bad), iot.KindMalformed, message)
		kind(t, s.UpdateRole(ctx, "r", iam.RoleChange{Trust: &doc, Trusted: bad.Trusted}), iot.KindMalformed, message)
	}
	check()
	must(t, s.UpdateRole(ctx, "r", iam.RoleChange{Trust: &doc, Trusted: []iam.TrustedPrincipal{{Name: bob.ARN}}}))
	want = map[string]iam.TrustedPrincipal{bob.ARN: {Name: bob.ARN, ID: again.ID, ARN: bob.ARN}}
	check()
	if list, err := s.Unpinned(ctx); err != nil || len(list) != 0 {
		t.Errorf("unpinned are %v, %v", list, err)
	}
	must(t, s.PinRole(ctx, "r", nil)) // it is pinned already
	check()
	kind(t, s.PinRole(ctx, "none", nil), iot.KindNotFound, "")
	must(t, s.DeleteRole(ctx, "r"))
}
