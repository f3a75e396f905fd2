package storetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/registry"
	"github.com/sekisho-iot/sekisho/internal/sqlstore"
)

func thingTypes(t *testing.T, open Opener) {
	t.Helper()
	s, ctx := open(t, nil).Registry(), t.Context()
	first := registry.ThingType{Name: "pump", ID: "1", Description: "d", Searchable: []string{"a", "b"}, CreatedAt: day()}
	if kept, err := s.CreateThingType(ctx, first, []registry.Tag{{Key: "k"}}); err != nil || kept.ID != "1" {
		t.Fatal(kept, err)
	}
	if kept, err := s.CreateThingType(ctx, registry.ThingType{Name: "pump", ID: "2"}, nil); err != nil || kept.ID != "1" || kept.Description != "d" || !slices.Equal(kept.Searchable, first.Searchable) {
		t.Errorf("a second CreateThingType kept %+v, %v", kept, err)
	}
	typed := newThing("t", nil)
	typed.TypeName = "pump"
	if _, err := s.CreateThing(ctx, typed); err != nil {
		t.Fatal(err)
	}
	err := s.ChangeThingType(ctx, "pump", func(x *registry.ThingType) error {
		x.DeprecatedAt, x.Searchable, x.Description = day(), []string{"c"}, ""
		return nil
	})
	got, gotErr := s.ThingType(ctx, "pump")
	if err != nil || gotErr != nil || !got.DeprecatedAt.Equal(day()) || !got.CreatedAt.Equal(day()) || !slices.Equal(got.Searchable, []string{"c"}) || got.Description != "" {
		t.Errorf("changed to %+v, %v, %v", got, err, gotErr)
	}
	if _, err := s.CreateThing(ctx, typed); err != nil {
		t.Errorf("a thing that is there may have a deprecated type: %v", err)
	}
	other := newThing("o", nil)
	other.TypeName = "pump"
	if _, err := s.CreateThing(ctx, other); !iot.IsKind(err, iot.KindInvalid) {
		t.Errorf("a thing with a deprecated type: %v", err)
	}
	if _, err := s.Thing(ctx, "o"); !iot.IsKind(err, iot.KindNotFound) {
		t.Errorf("the refused thing: %v", err)
	}
	other.TypeName = "none"
	if _, err := s.CreateThing(ctx, other); !iot.IsKind(err, iot.KindNotFound) {
		t.Errorf("a thing with no such type: %v", err)
	}
	set := func(thing, typ string) error {
		return s.ChangeThing(ctx, iot.ThingName(thing), func(x *registry.Thing) error { x.TypeName = typ; return nil })
	}
	boom := errors.New("boom")
	for _, used := range []bool{true, false} {
		err := s.DeleteThingType(ctx, "pump", func(_ *registry.ThingType, is bool) error {
			if is != used {
				t.Errorf("used: %v, want %v", is, used)
			}
			return boom
		})
		if !errors.Is(err, boom) {
			t.Errorf("a forbidden DeleteThingType: %v", err)
		}
		if err := set("t", ""); err != nil {
			t.Error(err)
		}
	}
	if err := set("t", "pump"); !iot.IsKind(err, iot.KindInvalid) {
		t.Errorf("a thing given a deprecated type: %v", err)
	}
	for _, n := range []string{"pu", "pump-2", "q"} {
		if _, err := s.CreateThingType(ctx, registry.ThingType{Name: n, ID: n, CreatedAt: day()}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		prefix, after string
		limit         int
		want          []string
	}{
		{"", "", 9, []string{"pu", "pump", "pump-2", "q"}},
		{"pump", "", 9, []string{"pump", "pump-2"}},
		{"pu", "pu", 1, []string{"pump"}},
	} {
		list, err := s.ThingTypes(ctx, c.prefix, c.after, c.limit)
		var names []string
		for i := range list {
			names = append(names, list[i].Name)
		}
		if err != nil || !slices.Equal(names, c.want) {
			t.Errorf("%+v: %v, %v", c, names, err)
		}
	}
	if err := s.DeleteThingType(ctx, "pump", func(*registry.ThingType, bool) error { return nil }); err != nil {
		t.Error(err)
	}
	for _, err := range []error{s.DeleteThingType(ctx, "pump", nil), s.ChangeThingType(ctx, "pump", nil)} {
		if !iot.IsKind(err, iot.KindNotFound) {
			t.Errorf("the deleted type: %v", err)
		}
	}
	if _, err := s.Tags(ctx, "thingtype/pump"); !iot.IsKind(err, iot.KindNotFound) {
		t.Errorf("tags of the deleted type: %v", err)
	}
}

const groupARN = "arn:aws:iot:us-east-1:000000000000:thinggroup/"

// newThingGroups makes groups, each "name" or "name<parent".
func newThingGroups(t *testing.T, s *sqlstore.RegistryStore, groups ...[2]string) {
	t.Helper()
	for _, g := range groups {
		if _, err := s.CreateThingGroup(t.Context(), newThingGroup(g[0], g[1]), nil, 7); err != nil {
			t.Fatal(g, err)
		}
	}
}

func newThingGroup(name, parent string) *registry.ThingGroup {
	return &registry.ThingGroup{
		Name: iot.ThingGroupName(name), ID: "id-" + name, Parent: iot.ThingGroupName(parent), Attributes: map[string]string{"n": name}, Version: 1, CreatedAt: day(),
	}
}

func thingGroups(t *testing.T, open Opener) {
	t.Helper()
	changes := map[iot.Change]int{}
	s, ctx := open(t, func(c iot.Change) { changes[c]++ }).Registry(), t.Context()
	newThingGroups(t, s, [2]string{"a"}, [2]string{"b", "a"}, [2]string{"c", "b"}, [2]string{"ab"})
	for _, parent := range []string{"none", "x"} {
		if _, err := s.CreateThingGroup(ctx, newThingGroup("x", parent), nil, 7); !iot.IsKind(err, iot.KindNotFound) {
			t.Errorf("a group below %s: %v", parent, err)
		}
	}
	if _, err := s.CreateThingGroup(ctx, newThingGroup("d", "c"), nil, 3); !iot.IsKind(err, iot.KindInvalid) {
		t.Errorf("a group too deep: %v", err)
	}
	other := newThingGroup("c", "")
	other.ID = "other"
	kept, err := s.CreateThingGroup(ctx, other, nil, 7)
	if err != nil || kept.ID != "id-c" || kept.Parent != "b" || !slices.Equal(kept.Above, []registry.GroupRef{{Name: "a", ID: "id-a"}, {Name: "b", ID: "id-b"}}) {
		t.Errorf("a second CreateThingGroup kept %+v, %v", kept, err)
	}
	err = s.ChangeThingGroup(ctx, "c", func(g *registry.ThingGroup) error {
		g.Description, g.Attributes, g.Version = "d", map[string]string{"x": "y"}, 2
		return nil
	})
	got, gotErr := s.ThingGroup(ctx, "c")
	if err != nil || gotErr != nil || got.Description != "d" || got.Version != 2 || !maps.Equal(got.Attributes, map[string]string{"x": "y"}) || !got.CreatedAt.Equal(day()) {
		t.Errorf("changed to %+v, %v, %v", got, err, gotErr)
	}
	for name, c := range map[string]struct {
		f     registry.GroupFilter
		after iot.ThingGroupName
		limit int
		want  []iot.ThingGroupName
	}{
		"all":      {f: registry.GroupFilter{Recursive: true}, limit: 9, want: []iot.ThingGroupName{"a", "ab", "b", "c"}},
		"roots":    {limit: 9, want: []iot.ThingGroupName{"a", "ab"}},
		"children": {f: registry.GroupFilter{Parent: "a"}, limit: 9, want: []iot.ThingGroupName{"b"}},
		"below":    {f: registry.GroupFilter{Parent: "a", Recursive: true}, limit: 9, want: []iot.ThingGroupName{"b", "c"}},
		"prefix":   {f: registry.GroupFilter{Prefix: "a", Recursive: true}, limit: 9, want: []iot.ThingGroupName{"a", "ab"}},
		"page":     {f: registry.GroupFilter{Recursive: true}, after: "a", limit: 2, want: []iot.ThingGroupName{"ab", "b"}},
	} {
		if list, err := s.ThingGroups(ctx, c.f, c.after, c.limit); err != nil || !slices.Equal(list, c.want) {
			t.Errorf("%s: %v, %v", name, list, err)
		}
	}
	if _, err := s.ThingGroups(ctx, registry.GroupFilter{Parent: "none"}, "", 9); !iot.IsKind(err, iot.KindNotFound) {
		t.Errorf("children of nothing: %v", err)
	}
	if err := s.CreatePolicy(ctx, newPolicy("p", day()), "d", nil); err != nil {
		t.Fatal(err)
	}
	if err := s.AttachPolicy(ctx, "p", groupARN+"c", 2, day()); err != nil {
		t.Fatal(err)
	}
	if err := s.AttachPolicy(ctx, "p", groupARN+"none", 2, day()); !iot.IsKind(err, iot.KindNotFound) {
		t.Errorf("a policy on nothing: %v", err)
	}
	if err := s.DeleteThingGroup(ctx, "a", groupARN+"a", func(*registry.ThingGroup) error { return nil }); !iot.IsKind(err, iot.KindInvalid) {
		t.Errorf("deleting a group with children: %v", err)
	}
	boom := errors.New("boom")
	if err := s.DeleteThingGroup(ctx, "c", groupARN+"c", func(*registry.ThingGroup) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("a forbidden DeleteThingGroup: %v", err)
	}
	if err := s.DeleteThingGroup(ctx, "c", groupARN+"c", func(g *registry.ThingGroup) error { return nil }); err != nil {
		t.Error(err)
	}
	if l, err := s.PolicyTargets(ctx, "p", "", 9); err != nil || len(l) != 0 {
		t.Errorf("targets after the group is gone: %v, %v", l, err)
	}
	for _, err := range []error{s.DeleteThingGroup(ctx, "c", groupARN+"c", nil), s.ChangeThingGroup(ctx, "c", nil)} {
		if !iot.IsKind(err, iot.KindNotFound) {
			t.Errorf("the deleted group: %v", err)
		}
	}
	if n := changes[iot.Change{Kind: iot.ChangeThingGroup, ID: "c"}]; n != 2 {
		t.Errorf("the group was announced %d times, want 2: a policy and its end", n)
	}
}

func memberships(t *testing.T, open Opener) {
	t.Helper()
	changes := map[iot.Change]int{}
	s, ctx := open(t, func(c iot.Change) { changes[c]++ }).Registry(), t.Context()
	newThingGroups(t, s, [2]string{"a"}, [2]string{"b", "a"}, [2]string{"c", "b"}, [2]string{"z"}, [2]string{"y"})
	for i := range 4 {
		if _, err := s.CreateThing(ctx, newThing(fmt.Sprint("t", i), nil)); err != nil {
			t.Fatal(err)
		}
	}
	change := func(thing string, add, remove []iot.ThingGroupName) (registry.MembershipChange, error) {
		return s.ChangeMembership(ctx, iot.ThingName(thing), add, remove, 2, day())
	}
	type names = []iot.ThingGroupName
	c, err := change("t0", names{"c", "z"}, nil)
	if err != nil || c.ThingID != "id-t0" || !slices.Equal(c.Added, []registry.GroupRef{{Name: "c", ID: "id-c"}, {Name: "z", ID: "id-z"}}) || c.Removed != nil {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err := change("t0", names{"c"}, names{"b"}); err != nil || len(c.Added)+len(c.Removed) != 0 {
		t.Errorf("what is so already changed %+v, %v", c, err)
	}
	for what, x := range map[string]struct {
		thing       string
		add, remove names
		kind        iot.Kind
	}{
		"same hierarchy":   {"t0", names{"a"}, nil, iot.KindInvalid},
		"a group too many": {"t0", names{"y"}, nil, iot.KindInvalid},
		"no such group":    {"t0", nil, names{"z", "none"}, iot.KindNotFound},
		"nor to add":       {"t0", names{"none"}, nil, iot.KindNotFound},
		"no such thing":    {"none", names{"a"}, nil, iot.KindNotFound},
	} {
		if _, err := change(x.thing, x.add, x.remove); !iot.IsKind(err, x.kind) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if l, err := s.GroupsOfThing(ctx, "t0", "", 9); err != nil || !slices.Equal(l, names{"c", "z"}) {
		t.Errorf("after what was refused, the groups are %v, %v", l, err)
	}
	if c, err := change("t0", names{"b"}, names{"c"}); err != nil || len(c.Added) != 1 || len(c.Removed) != 1 {
		t.Errorf("a move within a hierarchy: %+v, %v", c, err)
	}
	for thing, g := range map[string]iot.ThingGroupName{"t1": "a", "t2": "c", "t3": "z"} {
		if _, err := change(thing, names{g}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for what, x := range map[string]struct {
		group     iot.ThingGroupName
		recursive bool
		after     iot.ThingName
		limit     int
		want      []iot.ThingName
	}{
		"direct":    {"a", false, "", 9, []iot.ThingName{"t1"}},
		"recursive": {"a", true, "", 9, []iot.ThingName{"t0", "t1", "t2"}},
		"page":      {"a", true, "", 2, []iot.ThingName{"t0", "t1"}},
		"next page": {"a", true, "t1", 2, []iot.ThingName{"t2"}},
	} {
		if l, err := s.ThingsInGroup(ctx, x.group, x.recursive, x.after, x.limit); err != nil || !slices.Equal(l, x.want) {
			t.Errorf("%s: %v, %v", what, l, err)
		}
	}
	if l, err := s.GroupsOfThing(ctx, "t0", "b", 9); err != nil || !slices.Equal(l, names{"z"}) {
		t.Errorf("groups after b: %v, %v", l, err)
	}
	for _, err := range []error{
		second(s.ThingsInGroup(ctx, "none", false, "", 9)), second(s.GroupsOfThing(ctx, "none", "", 9)),
	} {
		if !iot.IsKind(err, iot.KindNotFound) {
			t.Errorf("what is not there: %v", err)
		}
	}
	before := changes[iot.Change{Kind: iot.ChangeThing, ID: "t0"}]
	if err := s.DeleteThingGroup(ctx, "z", groupARN+"z", func(*registry.ThingGroup) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if n := changes[iot.Change{Kind: iot.ChangeThing, ID: "t0"}]; n != before+1 {
		t.Errorf("the end of the group was announced %d times for its member", n-before)
	}
	if l, err := s.GroupsOfThing(ctx, "t0", "", 9); err != nil || !slices.Equal(l, names{"b"}) {
		t.Errorf("groups after one is deleted: %v, %v", l, err)
	}
	if err := s.DeleteThing(ctx, "t0", func(*registry.Thing, int) error { return nil }); err != nil {
		t.Error(err)
	}
	if l, err := s.ThingsInGroup(ctx, "a", true, "", 9); err != nil || !slices.Equal(l, []iot.ThingName{"t1", "t2"}) {
		t.Errorf("things after one is deleted: %v, %v", l, err)
	}
}

func second[T any](_ T, err error) error { return err }

func exclusiveAttachments(t *testing.T, open Opener) {
	t.Helper()
	changes := map[iot.Change]int{}
	db := open(t, func(c iot.Change) { changes[c]++ })
	s, ctx := db.Registry(), t.Context()
	withCertificates(t, db)
	for _, n := range []string{"a", "b"} {
		if _, err := s.CreateThing(ctx, newThing(n, nil)); err != nil {
			t.Fatal(err)
		}
	}
	try := func(thing, cert string, typ registry.AttachmentType) error {
		a := attach(thing, cert, 7)
		a.Type = typ
		return s.AttachThing(ctx, a)
	}
	typeOf := func() registry.AttachmentType {
		list, err := s.PrincipalThings(ctx, certA, "", 9)
		if err != nil || len(list) != 1 || list[0].Incarnation != 7 {
			t.Fatal(list, err)
		}
		return list[0].Type
	}
	for i, c := range []struct {
		thing, cert string
		typ         registry.AttachmentType
		refused     bool
		now         registry.AttachmentType // of certA's only attachment
	}{
		{"a", certA, registry.ExclusiveThing, false, registry.ExclusiveThing},
		{"b", certA, "", true, registry.ExclusiveThing},
		{"b", certA, registry.NonExclusiveThing, true, registry.ExclusiveThing},
		{"b", certA, registry.ExclusiveThing, true, registry.ExclusiveThing},
		{"a", certA, "", false, registry.ExclusiveThing},
		{"a", certB, registry.ExclusiveThing, false, registry.ExclusiveThing}, // a thing may have several
		{"a", certA, registry.NonExclusiveThing, false, registry.NonExclusiveThing},
		{"b", certA, registry.ExclusiveThing, true, registry.NonExclusiveThing},
	} {
		err := try(c.thing, c.cert, c.typ)
		if c.refused != iot.IsKind(err, iot.KindInvalid) || !c.refused && err != nil {
			t.Errorf("%d: %v", i, err)
		}
		if now := typeOf(); now != c.now {
			t.Errorf("%d: the attachment is %s", i, now)
		}
	}
	if n := changes[iot.Change{Kind: iot.ChangePrincipal, ID: certA}]; n != 2 {
		t.Errorf("the principal was announced %d times, want 2: an attachment and a type", n)
	}
}

func eventConfigurations(t *testing.T, open Opener) {
	t.Helper()
	told := 0
	s, ctx := open(t, func(iot.Change) { told++ }).Registry(), t.Context()
	if c, err := s.EventConfigurations(ctx); err != nil || len(c.Enabled) != 0 || !c.CreatedAt.IsZero() {
		t.Errorf("%+v, %v", c, err)
	}
	for i, set := range []map[registry.EventType]bool{{"THING": true, "JOB": false}, {"THING": false, "THING_TYPE": true}} {
		if err := s.SetEventConfigurations(ctx, set, day().Add(time.Duration(i)*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	c, err := s.EventConfigurations(ctx)
	if want := map[registry.EventType]bool{"THING": false, "THING_TYPE": true, "JOB": false}; err != nil || !maps.Equal(c.Enabled, want) {
		t.Errorf("%+v, %v", c, err)
	}
	if !c.CreatedAt.Equal(day()) || !c.ModifiedAt.Equal(day().Add(time.Hour)) || told != 2 {
		t.Errorf("%+v, announced %d times", c, told)
	}
}
