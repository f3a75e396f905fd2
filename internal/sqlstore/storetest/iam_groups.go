package storetest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iam"
	"github.com/sekisho-iot/sekisho/internal/iot"
)

func newGroup(name string) iam.Group {
	return iam.Group{ID: "AGPA" + strings.ToUpper(name), Name: name, Path: "/g/", ARN: "arn:aws:iam::000000000000:group/g/" + name, CreatedAt: day()}
}

func groupNames(list []iam.Group) string {
	var names []string
	for _, g := range list {
		names = append(names, g.Name)
	}
	return strings.Join(names, " ")
}

func iamGroups(t *testing.T, open Opener) {
	t.Helper()
	var log []iot.Change
	s := open(t, func(c iot.Change) { log = append(log, c) }).IAM()
	ctx := t.Context()
	for _, n := range []string{"b", "A", "c"} {
		must(t, s.InsertGroup(ctx, newGroup(n)))
	}
	kind(t, s.InsertGroup(ctx, newGroup("B")), iot.KindExists, "Group with name B already exists.")
	if g, err := s.Group(ctx, "b"); err != nil || g != newGroup("b") {
		t.Errorf("kept %+v, %v", g, err)
	}
	_, err := s.Group(ctx, "a")
	kind(t, err, iot.KindNotFound, "The group with name a cannot be found.")
	if list, err := s.Groups(ctx, iam.Page{After: "a", PathPrefix: "/g", Limit: 9}); err != nil || groupNames(list) != "b c" {
		t.Errorf("listed %v, %v", list, err)
	}
	for _, n := range []string{"bob", "amy"} {
		must(t, s.InsertUser(ctx, newUser(n)))
	}
	for range 2 { // the second time nothing happens
		must(t, s.AddMember(ctx, "b", "bob", day(), 2))
	}
	must(t, s.AddMember(ctx, "b", "amy", day(), 2))
	must(t, s.AddMember(ctx, "A", "bob", day(), 2))
	kind(t, s.AddMember(ctx, "c", "bob", day(), 2), iot.KindLimit, "Cannot exceed quota for GroupsPerUser: 2")
	kind(t, s.AddMember(ctx, "none", "bob", day(), 2), iot.KindNotFound, "")
	kind(t, s.AddMember(ctx, "b", "none", day(), 2), iot.KindNotFound, "")
	if list, err := s.GroupsOf(ctx, "bob"); err != nil || groupNames(list) != "A b" {
		t.Errorf("bob is in %v, %v", list, err)
	}
	_, err = s.GroupsOf(ctx, "none")
	kind(t, err, iot.KindNotFound, "")
	if list, err := s.Members(ctx, "b", iam.Page{After: "amy", Limit: 9}); err != nil || len(list) != 1 || list[0].ID != newUser("bob").ID {
		t.Errorf("in the group are %v, %v", list, err)
	}
	_, err = s.Members(ctx, "none", iam.Page{Limit: 9})
	kind(t, err, iot.KindNotFound, "")

	// A change of a group's policies concerns its members.
	h := iam.Holder{Kind: iam.GroupHolder, Name: "b"}
	log = nil
	must(t, s.PutInline(ctx, h, iam.InlinePolicy{Name: "p", Document: "{}"}, 10))
	must(t, s.Attach(ctx, h, "arn:aws:iam::aws:policy/AdministratorAccess", day(), 1))
	kind(t, s.Attach(ctx, h, "arn:aws:iam::aws:policy/Other", day(), 1), iot.KindLimit, "Cannot exceed quota for PoliciesPerGroup: 1")
	for _, c := range log {
		if c.Kind != iot.ChangeUser || c.ID != "amy" && c.ID != "bob" {
			t.Errorf("announced %v", c)
		}
	}
	if len(log) != 4 {
		t.Errorf("announced %v", log)
	}
	if e, err := s.Entities(ctx, "arn:aws:iam::aws:policy/AdministratorAccess"); err != nil || len(e) != 1 || e[0].Kind != iam.GroupHolder || e[0].Name != "b" {
		t.Errorf("used by %+v, %v", e, err)
	}
	kind(t, s.UpdateGroup(ctx, "b", iam.NameChange{Name: "a"}), iot.KindExists, "Group with name a already exists.")
	kind(t, s.UpdateGroup(ctx, "none", iam.NameChange{Name: "x"}), iot.KindNotFound, "")
	must(t, s.UpdateGroup(ctx, "b", iam.NameChange{Name: "B", Path: "/", ARN: "arn:new"}))
	h.Name = "B"
	if held, err := s.Held(ctx, h); err != nil || len(held.Inline) != 1 || len(held.Attached) != 1 {
		t.Errorf("renamed, it holds %+v, %v", held, err)
	}
	kind(t, s.DeleteUser(ctx, "bob"), iot.KindConflict, "Cannot delete entity, must remove user from groups first.")
	kind(t, s.DeleteGroup(ctx, "B"), iot.KindConflict, "Cannot delete entity, must remove users from group first.")
	for range 2 {
		must(t, s.RemoveMember(ctx, "B", "bob"))
	}
	must(t, s.RemoveMember(ctx, "B", "amy"))
	must(t, s.RemoveMember(ctx, "A", "bob"))
	kind(t, s.DeleteGroup(ctx, "B"), iot.KindConflict, "Cannot delete entity, must detach all policies first.")
	must(t, s.Detach(ctx, h, "arn:aws:iam::aws:policy/AdministratorAccess"))
	must(t, s.DeleteInline(ctx, h, "p"))
	must(t, s.DeleteGroup(ctx, "B"))
	kind(t, s.DeleteGroup(ctx, "B"), iot.KindNotFound, "")
	must(t, s.DeleteUser(ctx, "bob"))
}

func iamRenamed(t *testing.T, open Opener) {
	t.Helper()
	var log []iot.Change
	s := open(t, func(c iot.Change) { log = append(log, c) }).IAM()
	ctx := t.Context()
	bob := newUser("bob")
	must(t, s.InsertUser(ctx, bob))
	must(t, s.InsertUser(ctx, newUser("amy")))
	must(t, s.InsertKey(ctx, iam.AccessKey{ID: "K1", UserID: bob.ID, UserName: "bob", Active: true, Sealed: []byte{1}, CreatedAt: day()}, 2))
	kind(t, s.UpdateUser(ctx, "bob", iam.NameChange{Name: "AMY"}), iot.KindExists, "User with name AMY already exists.")
	kind(t, s.UpdateUser(ctx, "none", iam.NameChange{Name: "x"}), iot.KindNotFound, "")
	log = nil
	must(t, s.UpdateUser(ctx, "bob", iam.NameChange{Name: "Rob", Path: "/x/", ARN: "arn:rob"}))
	if want := []iot.Change{{Kind: iot.ChangeAccessKey, ID: "K1"}, {Kind: iot.ChangeUser, ID: "bob"}, {Kind: iot.ChangeUser, ID: "Rob"}}; !slices.Equal(log, want) {
		t.Errorf("announced %v", log)
	}
	u, err := s.User(ctx, "Rob")
	must(t, err)
	if u.ID != bob.ID || u.Path != "/x/" || u.ARN != "arn:rob" {
		t.Errorf("renamed to %+v", u)
	}
	if k, err := s.Key(ctx, "K1"); err != nil || k.UserName != "Rob" || k.UserID != bob.ID {
		t.Errorf("the key is %+v, %v", k, err)
	}
	must(t, s.UpdateUser(ctx, "Rob", iam.NameChange{Name: "ROB", Path: "/", ARN: "arn:rob"})) // by case alone
}

func iamProfiles(t *testing.T, open Opener) {
	t.Helper()
	s := open(t, nil).IAM()
	ctx := t.Context()
	profile := func(name string) iam.InstanceProfile {
		return iam.InstanceProfile{ID: "AIPA" + strings.ToUpper(name), Name: name, Path: "/", ARN: "arn:" + name, CreatedAt: day()}
	}
	p := profile("p")
	p.Tags = []iam.Tag{{Key: "K", Value: "v"}}
	must(t, s.InsertProfile(ctx, p))
	must(t, s.InsertProfile(ctx, profile("q")))
	kind(t, s.InsertProfile(ctx, profile("P")), iot.KindExists, "Instance Profile P already exists.")
	must(t, s.InsertRole(ctx, newRole("r")))
	kind(t, s.AddProfileRole(ctx, "none", "r"), iot.KindNotFound, "Instance Profile none cannot be found.")
	kind(t, s.AddProfileRole(ctx, "p", "none"), iot.KindNotFound, "The role with name none cannot be found.")
	must(t, s.AddProfileRole(ctx, "p", "r"))
	kind(t, s.AddProfileRole(ctx, "p", "r"), iot.KindLimit, "")
	got, err := s.Profile(ctx, "p")
	must(t, err)
	if got.RoleName != "r" || !slices.Equal(got.Tags, p.Tags) || !got.CreatedAt.Equal(day()) || got.ID != p.ID {
		t.Errorf("kept %+v", got)
	}
	if list, err := s.Profiles(ctx, iam.Page{After: "p", Limit: 9}); err != nil || len(list) != 1 || list[0].Name != "q" {
		t.Errorf("listed %+v, %v", list, err)
	}
	if list, err := s.ProfilesOfRole(ctx, "r"); err != nil || len(list) != 1 || list[0].Name != "p" {
		t.Errorf("the role has %+v, %v", list, err)
	}
	_, err = s.ProfilesOfRole(ctx, "none")
	kind(t, err, iot.KindNotFound, "")
	must(t, s.SetTags(ctx, iam.TagOwner{Profile: "q"}, []iam.Tag{{Key: "a"}}, 9))
	kind(t, s.SetTags(ctx, iam.TagOwner{Profile: "none"}, nil, 9), iot.KindNotFound, "")
	kind(t, s.DeleteRole(ctx, "r"), iot.KindConflict, "Cannot delete entity, must remove roles from instance profile first.")
	kind(t, s.DeleteProfile(ctx, "p"), iot.KindConflict, "Cannot delete entity, must remove roles from instance profile first.")
	kind(t, s.RemoveProfileRole(ctx, "p", "other"), iot.KindNotFound, "")
	kind(t, s.RemoveProfileRole(ctx, "none", "r"), iot.KindNotFound, "")
	must(t, s.RemoveProfileRole(ctx, "p", "r"))
	must(t, s.DeleteProfile(ctx, "p"))
	kind(t, s.DeleteProfile(ctx, "p"), iot.KindNotFound, "")
	_, err = s.Profile(ctx, "p")
	kind(t, err, iot.KindNotFound, "")
	must(t, s.DeleteRole(ctx, "r"))
}

func iamUses(t *testing.T, open Opener) {
	t.Helper()
	s := open(t, nil).IAM()
	ctx := t.Context()
	must(t, s.InsertRole(ctx, newRole("r")))
	must(t, s.InsertKey(ctx, iam.AccessKey{ID: "K", Active: true, Sealed: []byte{1}, CreatedAt: day()}, 0))
	use := func(id, service string, after time.Duration) iam.Use {
		return iam.Use{ID: id, At: day().Add(after), Service: service, Region: "us-east-1"}
	}
	must(t, s.SaveUses(ctx, []iam.Use{use("K", "s3", time.Hour), use(newRole("r").ID, "iot", 0), use("GONE", "s3", 0)}))
	must(t, s.SaveUses(ctx, []iam.Use{use("K", "late", 0)}))
	if u, used, err := s.LastUse(ctx, "K"); err != nil || !used || u != use("K", "s3", time.Hour) {
		t.Errorf("kept %+v, %v, %v", u, used, err)
	}
	must(t, s.SaveUses(ctx, []iam.Use{use("K", "iot", 2*time.Hour)}))
	if u, _, err := s.LastUse(ctx, "K"); err != nil || u.Service != "iot" {
		t.Errorf("kept %+v, %v", u, err)
	}
	must(t, s.DeleteKey(ctx, "", "K"))
	must(t, s.DeleteRole(ctx, "r"))
	for _, id := range []string{"K", newRole("r").ID, "GONE"} {
		if _, used, err := s.LastUse(ctx, id); err != nil || used {
			t.Errorf("%s: %v, %v", id, used, err)
		}
	}
}
