package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iam"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/sqlstore"
)

const everything = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`

// RunIAM runs the suite of the IAM store.
func RunIAM(t *testing.T, open Opener) {
	t.Helper()
	t.Run("roles", func(t *testing.T) { t.Parallel(); iamRoles(t, open) })
	t.Run("users and keys", func(t *testing.T) { t.Parallel(); iamUsers(t, open) })
	t.Run("sealed secrets", func(t *testing.T) { t.Parallel(); iamSealed(t, open) })
	t.Run("policies", func(t *testing.T) { t.Parallel(); iamPolicies(t, open) })
	t.Run("grants", func(t *testing.T) { t.Parallel(); iamGrants(t, open) })
	t.Run("tags", func(t *testing.T) { t.Parallel(); iamTags(t, open) })
	t.Run("groups", func(t *testing.T) { t.Parallel(); iamGroups(t, open) })
	t.Run("renamed users", func(t *testing.T) { t.Parallel(); iamRenamed(t, open) })
	t.Run("instance profiles", func(t *testing.T) { t.Parallel(); iamProfiles(t, open) })
	t.Run("trusted principals", func(t *testing.T) { t.Parallel(); iamTrust(t, open) })
	t.Run("OIDC providers", func(t *testing.T) { t.Parallel(); iamProviders(t, open) })
	t.Run("account", func(t *testing.T) { t.Parallel(); iamAccount(t, open) })
	t.Run("last uses", func(t *testing.T) { t.Parallel(); iamUses(t, open) })
}

func newRole(name string) iam.Role {
	return iam.Role{
		ID: "AROA" + strings.ToUpper(name), Name: name, Path: "/p/", ARN: "arn:aws:iam::000000000000:role/p/" + name,
		MaxSessionDuration: 3600, Trust: "{}", CreatedAt: day(),
	}
}

func newUser(name string) iam.User {
	return iam.User{ID: "AIDA" + strings.ToUpper(name), Name: name, Path: "/", ARN: "arn:aws:iam::000000000000:user/" + name, CreatedAt: day()}
}

func newManaged(name string) iam.Policy {
	return iam.Policy{
		ID: "ANPA" + strings.ToUpper(name), ARN: "arn:aws:iam::000000000000:policy/" + name, Name: name, Path: "/",
		DefaultVersion: 1, CreatedAt: day(), UpdatedAt: day(),
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func kind(t *testing.T, err error, k iot.Kind, message string) {
	t.Helper()
	e, ok := errors.AsType[*iot.Error](err)
	if !ok || e.Kind != k || message != "" && e.Message != message {
		t.Errorf("the error is %v, want %v %q", err, k, message)
	}
}

func iamRoles(t *testing.T, open Opener) {
	t.Helper()
	var log []iot.Change
	s := open(t, func(c iot.Change) { log = append(log, c) }).IAM()
	ctx := t.Context()
	r := newRole("one")
	r.Tags = []iam.Tag{{Key: "K", Value: "v"}}
	r.Description = "d"
	must(t, s.InsertRole(ctx, r))
	got, err := s.Role(ctx, "one")
	must(t, err)
	if got.ID != r.ID || got.ARN != r.ARN || got.Description != "d" || !got.CreatedAt.Equal(day()) || !slices.Equal(got.Tags, r.Tags) {
		t.Errorf("kept %+v", got)
	}
	other := newRole("ONE")
	other.ID = "AROAOTHER"
	kind(t, s.InsertRole(ctx, other), iot.KindExists, "Role with name ONE already exists.")
	_, err = s.Role(ctx, "ONE")
	kind(t, err, iot.KindNotFound, "The role with name ONE cannot be found.")
	bounded := newRole("bounded")
	bounded.Boundary = "arn:aws:iam::000000000000:policy/none"
	kind(t, s.InsertRole(ctx, bounded), iot.KindNotFound, "")
	if name, err := s.RoleName(ctx, r.ID); err != nil || name != "one" {
		t.Errorf("the name of %s is %q, %v", r.ID, name, err)
	}
	d, m, trust := "", 7200, `{"a":1}`
	must(t, s.UpdateRole(ctx, "one", iam.RoleChange{Description: &d, MaxSessionDuration: &m, Trust: &trust}))
	kind(t, s.UpdateRole(ctx, "none", iam.RoleChange{}), iot.KindNotFound, "")
	got, err = s.Role(ctx, "one")
	must(t, err)
	if got.Description != "" || got.MaxSessionDuration != 7200 || got.Trust != trust {
		t.Errorf("changed to %+v", got)
	}
	for _, n := range []string{"b", "A", "c"} {
		must(t, s.InsertRole(ctx, newRole(n)))
	}
	list, err := s.Roles(ctx, iam.Page{PathPrefix: "/p", After: "a", Limit: 2})
	must(t, err)
	if len(list) != 2 || list[0].Name != "b" || list[1].Name != "c" {
		t.Errorf("listed %+v", list)
	}
	if list, err := s.Roles(ctx, iam.Page{PathPrefix: "/q", Limit: 9}); err != nil || len(list) != 0 {
		t.Errorf("another path holds %v, %v", list, err)
	}
	h := iam.Holder{Kind: iam.RoleHolder, Name: "one"}
	must(t, s.PutInline(ctx, h, iam.InlinePolicy{Name: "p", Document: everything}, 1000))
	must(t, s.Attach(ctx, h, "arn:aws:iam::aws:policy/AdministratorAccess", day(), 10))
	kind(t, s.DeleteRole(ctx, "one"), iot.KindConflict, "Cannot delete entity, must detach all policies first.")
	must(t, s.Detach(ctx, h, "arn:aws:iam::aws:policy/AdministratorAccess"))
	kind(t, s.DeleteRole(ctx, "one"), iot.KindConflict, "Cannot delete entity, must delete policies first.")
	must(t, s.DeleteInline(ctx, h, "p"))
	log = nil
	must(t, s.DeleteRole(ctx, "one"))
	if !slices.Equal(log, []iot.Change{{Kind: iot.ChangeRole, ID: "one"}}) {
		t.Errorf("announced %v", log)
	}
	kind(t, s.DeleteRole(ctx, "one"), iot.KindNotFound, "")
	_, err = s.RoleName(ctx, r.ID)
	kind(t, err, iot.KindNotFound, "")
	must(t, s.InsertRole(ctx, newRole("one")))
	if got, err := s.Role(ctx, "one"); err != nil || len(got.Tags) != 0 {
		t.Errorf("a new role of an old name has %v, %v", got.Tags, err)
	}
}

func iamUsers(t *testing.T, open Opener) {
	t.Helper()
	var log []iot.Change
	s := open(t, func(c iot.Change) { log = append(log, c) }).IAM()
	ctx := t.Context()
	bob := newUser("bob")
	must(t, s.InsertUser(ctx, bob))
	kind(t, s.InsertUser(ctx, newUser("Bob")), iot.KindExists, "User with name Bob already exists.")
	for _, n := range []string{"amy", "Zoe"} {
		must(t, s.InsertUser(ctx, newUser(n)))
	}
	list, err := s.Users(ctx, iam.Page{Limit: 9})
	must(t, err)
	if len(list) != 3 || list[0].Name != "amy" || list[2].Name != "Zoe" {
		t.Errorf("listed %+v", list)
	}
	key := func(id string, u iam.User) iam.AccessKey {
		return iam.AccessKey{ID: id, UserID: u.ID, UserName: u.Name, Active: true, Sealed: []byte{0, 1, 255}, CreatedAt: day()}
	}
	must(t, s.InsertKey(ctx, key("K1", bob), 2))
	must(t, s.InsertKey(ctx, key("K2", bob), 2))
	kind(t, s.InsertKey(ctx, key("K3", bob), 2), iot.KindLimit, "Cannot exceed quota for AccessKeysPerUser: 2")
	kind(t, s.InsertKey(ctx, key("K2", bob), 0), iot.KindExists, "")
	kind(t, s.InsertKey(ctx, key("K4", iam.User{ID: "AIDAOLD", Name: "bob"}), 2), iot.KindNotFound, "")
	must(t, s.InsertKey(ctx, key("ROOT", iam.User{}), 0))
	k, err := s.Key(ctx, "K1")
	must(t, err)
	if k.UserName != "bob" || k.UserID != bob.ID || !k.Active || string(k.Sealed) != "\x00\x01\xff" {
		t.Errorf("kept %+v", k)
	}
	log = nil
	must(t, s.SetKeyStatus(ctx, "bob", "K1", false))
	if !slices.Equal(log, []iot.Change{{Kind: iot.ChangeAccessKey, ID: "K1"}}) {
		t.Errorf("announced %v", log)
	}
	must(t, s.SetKeyStatus(ctx, "bob", "K1", false)) // nothing changes
	if again, err := s.Key(ctx, "K1"); err != nil || again.Active || again.Epoch != k.Epoch+1 {
		t.Errorf("deactivated, it is %+v, %v", again, err)
	}
	kind(t, s.SetKeyStatus(ctx, "amy", "K1", true), iot.KindNotFound, "")
	kind(t, s.DeleteKey(ctx, "", "K1"), iot.KindNotFound, "")
	if keys, err := s.Keys(ctx, ""); err != nil || len(keys) != 1 || keys[0].ID != "ROOT" || keys[0].UserName != "" {
		t.Errorf("the root has %v, %v", keys, err)
	}
	kind(t, s.DeleteUser(ctx, "bob"), iot.KindConflict, "Cannot delete entity, must delete access keys first.")
	must(t, s.DeleteKey(ctx, "bob", "K1"))
	must(t, s.DeleteKey(ctx, "bob", "K2"))
	_, err = s.Key(ctx, "K1")
	kind(t, err, iot.KindNotFound, "The Access Key with id K1 cannot be found.")
	must(t, s.DeleteUser(ctx, "bob"))
	_, err = s.User(ctx, "bob")
	kind(t, err, iot.KindNotFound, "The user with name bob cannot be found.")
	_, err = s.Keys(ctx, "bob")
	kind(t, err, iot.KindNotFound, "")
}

func iamPolicies(t *testing.T, open Opener) {
	t.Helper()
	var log []iot.Change
	s := open(t, func(c iot.Change) { log = append(log, c) }).IAM()
	ctx := t.Context()
	p := newManaged("a")
	must(t, s.InsertPolicy(ctx, p, "first"))
	kind(t, s.InsertPolicy(ctx, newManaged("A"), "x"), iot.KindExists, "A policy called A already exists. Duplicate names are not allowed.")
	for want := 2; want <= 5; want++ {
		log = nil
		v, err := s.InsertVersion(ctx, p.ARN, fmt.Sprint("document ", want), day(), want == 3, 5)
		must(t, err)
		if v.Version != want || (len(log) > 0) != (want == 3) {
			t.Errorf("version %d was announced by %v", v.Version, log)
		}
	}
	_, err := s.InsertVersion(ctx, p.ARN, "sixth", day(), false, 5)
	kind(t, err, iot.KindVersionLimit, "")
	kind(t, s.DeleteVersion(ctx, p.ARN, 3), iot.KindConflict, "Cannot delete the default version of a policy.")
	must(t, s.DeleteVersion(ctx, p.ARN, 5))
	kind(t, s.DeleteVersion(ctx, p.ARN, 5), iot.KindNotFound, "Policy "+p.ARN+" version v5 does not exist or is not attachable.")
	if v, err := s.InsertVersion(ctx, p.ARN, "sixth", day().Add(time.Hour), false, 5); err != nil || v.Version != 6 {
		t.Errorf("a number was used again: %+v, %v", v, err)
	}
	if v, err := s.Version(ctx, p.ARN, 0); err != nil || v.Version != 3 || v.Document != "document 3" || !v.Default {
		t.Errorf("the default is %+v, %v", v, err)
	}
	must(t, s.SetDefaultVersion(ctx, p.ARN, 1, day()))
	kind(t, s.SetDefaultVersion(ctx, p.ARN, 9, day()), iot.KindNotFound, "")
	versions, err := s.Versions(ctx, p.ARN)
	must(t, err)
	if len(versions) != 5 || versions[0].Version != 6 || versions[4].Version != 1 || !versions[4].Default {
		t.Errorf("listed %+v", versions)
	}
	must(t, s.InsertRole(ctx, newRole("r")))
	b := newUser("u")
	b.Boundary = p.ARN
	must(t, s.InsertUser(ctx, b))
	h := iam.Holder{Kind: iam.RoleHolder, Name: "r"}
	must(t, s.Attach(ctx, h, p.ARN, day(), 10))
	got, err := s.Policy(ctx, p.ARN)
	must(t, err)
	if got.Attachments != 1 || got.Boundaries != 1 || got.DefaultVersion != 1 {
		t.Errorf("the policy is %+v", got)
	}
	entities, err := s.Entities(ctx, p.ARN)
	must(t, err)
	if len(entities) != 2 || entities[0].Name != "r" || entities[0].Boundary || entities[1].Name != "u" || !entities[1].Boundary {
		t.Errorf("used by %+v", entities)
	}
	kind(t, s.DeletePolicy(ctx, p.ARN), iot.KindConflict, "Cannot delete a policy attached to entities.")
	must(t, s.Detach(ctx, h, p.ARN))
	kind(t, s.DeletePolicy(ctx, p.ARN), iot.KindConflict, "Cannot delete a policy attached to entities.")
	user := iam.Holder{Kind: iam.UserHolder, Name: "u"}
	must(t, s.SetBoundary(ctx, user, ""))
	must(t, s.SetBoundary(ctx, h, p.ARN))
	kind(t, s.DeletePolicy(ctx, p.ARN), iot.KindConflict, "Cannot delete a policy attached to entities.")
	kind(t, s.SetBoundary(ctx, h, p.ARN+"-none"), iot.KindNotFound, "")
	kind(t, s.SetBoundary(ctx, iam.Holder{Kind: iam.UserHolder, Name: "none"}, p.ARN), iot.KindNotFound, "")
	r, err := s.Role(ctx, "r")
	must(t, err)
	u, err := s.User(ctx, "u")
	must(t, err)
	if r.Boundary != p.ARN || u.Boundary != "" {
		t.Errorf("the boundaries are %q and %q", r.Boundary, u.Boundary)
	}
	must(t, s.SetBoundary(ctx, h, ""))
	must(t, s.DeleteUser(ctx, "u"))
	if err := s.DeletePolicy(ctx, p.ARN); !iot.IsKind(err, iot.KindConflict) || !strings.Contains(err.Error(), "more than one version") {
		t.Errorf("deleting with versions: %v", err)
	}
	for _, v := range []int{2, 3, 4, 6} {
		must(t, s.DeleteVersion(ctx, p.ARN, v))
	}
	must(t, s.DeletePolicy(ctx, p.ARN))
	_, err = s.Policy(ctx, p.ARN)
	kind(t, err, iot.KindNotFound, "Policy "+p.ARN+" was not found.")
	for _, n := range []string{"c", "b", "d"} {
		must(t, s.InsertPolicy(ctx, newManaged(n), "x"))
	}
	if list, err := s.Policies(ctx, iam.Page{After: newManaged("b").ARN, Limit: 1}); err != nil || len(list) != 1 || list[0].Name != "c" {
		t.Errorf("listed %+v, %v", list, err)
	}
}

func iamGrants(t *testing.T, open Opener) {
	t.Helper()
	var log []iot.Change
	s := open(t, func(c iot.Change) { log = append(log, c) }).IAM()
	ctx := t.Context()
	must(t, s.InsertRole(ctx, newRole("x")))
	must(t, s.InsertUser(ctx, newUser("x")))
	role, user := iam.Holder{Kind: iam.RoleHolder, Name: "x"}, iam.Holder{Kind: iam.UserHolder, Name: "x"}
	log = nil
	must(t, s.PutInline(ctx, role, iam.InlinePolicy{Name: "b", Document: "[1, 2]"}, 10))
	must(t, s.PutInline(ctx, role, iam.InlinePolicy{Name: "a", Document: "[3, 4]"}, 10))
	kind(t, s.PutInline(ctx, role, iam.InlinePolicy{Name: "c", Document: "1"}, 10), iot.KindLimit, "Maximum policy size of 10 bytes exceeded for role x")
	must(t, s.PutInline(ctx, role, iam.InlinePolicy{Name: "a", Document: "[5, 6]"}, 10))
	must(t, s.PutInline(ctx, user, iam.InlinePolicy{Name: "a", Document: "{}"}, 10))
	kind(t, s.DeleteInline(ctx, role, "c"), iot.KindNotFound, "The role policy with name c cannot be found.")
	const admin, mine = "arn:aws:iam::aws:policy/AdministratorAccess", "arn:aws:iam::000000000000:policy/mine"
	kind(t, s.Attach(ctx, role, mine, day(), 1), iot.KindNotFound, "Policy "+mine+" does not exist or is not attachable.")
	must(t, s.InsertPolicy(ctx, newManaged("mine"), "x"))
	must(t, s.Attach(ctx, role, mine, day(), 1))
	must(t, s.Attach(ctx, role, mine, day(), 1))
	kind(t, s.Attach(ctx, role, admin, day(), 1), iot.KindLimit, "Cannot exceed quota for PoliciesPerRole: 1")
	kind(t, s.Detach(ctx, role, admin), iot.KindNotFound, "Policy "+admin+" was not found.")
	must(t, s.Attach(ctx, user, admin, day(), 1))
	held, err := s.Held(ctx, role)
	must(t, err)
	want := iam.Held{ID: "AROAX", Inline: []iam.InlinePolicy{{Name: "a", Document: "[5, 6]"}, {Name: "b", Document: "[1, 2]"}}, Attached: []string{mine}}
	if held.ID != want.ID || !slices.Equal(held.Inline, want.Inline) || !slices.Equal(held.Attached, want.Attached) {
		t.Errorf("the role holds %+v", held)
	}
	for _, c := range log {
		if c.ID != "x" && c.ID != mine || c.Kind != iot.ChangeRole && c.Kind != iot.ChangeUser && c.Kind != iot.ChangeIAMPolicy {
			t.Errorf("announced %+v", c)
		}
	}
	if len(log) != 7 { // three for the role's policies, its attachment, the user's two, and the new policy
		t.Errorf("announced %v", log)
	}
	_, err = s.Held(ctx, iam.Holder{Kind: iam.RoleHolder, Name: "none"})
	kind(t, err, iot.KindNotFound, "")
}

func iamTags(t *testing.T, open Opener) {
	t.Helper()
	s := open(t, nil).IAM()
	ctx := t.Context()
	must(t, s.InsertRole(ctx, newRole("r")))
	must(t, s.InsertPolicy(ctx, newManaged("p"), "x"))
	role, pol := iam.TagOwner{Holder: iam.Holder{Kind: iam.RoleHolder, Name: "r"}}, iam.TagOwner{PolicyARN: newManaged("p").ARN}
	for _, o := range []iam.TagOwner{role, pol} {
		must(t, s.SetTags(ctx, o, []iam.Tag{{Key: "a", Value: "1"}, {Key: "b", Value: "2"}}, 2))
		must(t, s.SetTags(ctx, o, []iam.Tag{{Key: "A", Value: "3"}}, 2))
		kind(t, s.SetTags(ctx, o, []iam.Tag{{Key: "c"}}, 2), iot.KindLimit, "")
		must(t, s.DeleteTags(ctx, o, []string{"B", "none"}))
	}
	r, err := s.Role(ctx, "r")
	must(t, err)
	p, err := s.Policy(ctx, newManaged("p").ARN)
	must(t, err)
	if want := []iam.Tag{{Key: "A", Value: "3"}}; !slices.Equal(r.Tags, want) || !slices.Equal(p.Tags, want) {
		t.Errorf("the role has %v, the policy %v", r.Tags, p.Tags)
	}
	kind(t, s.SetTags(ctx, iam.TagOwner{PolicyARN: "arn:x"}, nil, 2), iot.KindNotFound, "")
}

var _ iam.Store = (*sqlstore.IAMStore)(nil)
