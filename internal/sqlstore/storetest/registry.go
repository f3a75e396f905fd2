package storetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/registry"
	"github.com/sekisho-iot/sekisho/internal/sqlstore"
)

// Opener opens an empty database, closed when the test ends. What it passes
// to announced is told every change; announced may be nil.
type Opener func(t *testing.T, announced func(iot.Change)) *sqlstore.DB

func day() time.Time { return time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC) }

// RunRegistry runs the suite of the registry's store.
func RunRegistry(t *testing.T, open Opener) {
	t.Helper()
	t.Run("things", func(t *testing.T) { t.Parallel(); things(t, open) })
	t.Run("thing listings", func(t *testing.T) { t.Parallel(); thingListings(t, open) })
	t.Run("thing types", func(t *testing.T) { t.Parallel(); thingTypes(t, open) })
	t.Run("thing groups", func(t *testing.T) { t.Parallel(); thingGroups(t, open) })
	t.Run("memberships", func(t *testing.T) { t.Parallel(); memberships(t, open) })
	t.Run("exclusive attachments", func(t *testing.T) { t.Parallel(); exclusiveAttachments(t, open) })
	t.Run("searches", func(t *testing.T) { t.Parallel(); searches(t, open) })
	t.Run("index configurations", func(t *testing.T) { t.Parallel(); indexConfigurations(t, open) })
	t.Run("event configurations", func(t *testing.T) { t.Parallel(); eventConfigurations(t, open) })
	t.Run("attachments", func(t *testing.T) { t.Parallel(); attachments(t, open) })
	t.Run("policies", func(t *testing.T) { t.Parallel(); policies(t, open) })
	t.Run("policy targets", func(t *testing.T) { t.Parallel(); policyTargets(t, open) })
	t.Run("tags", func(t *testing.T) { t.Parallel(); tags(t, open) })
}

func newThing(name string, attributes map[string]string) *registry.Thing {
	return &registry.Thing{
		Name: iot.ThingName(name), ID: "id-" + name, Attributes: attributes, Version: 1, CreatedAt: day(), UpdatedAt: day(),
	}
}

func things(t *testing.T, open Opener) {
	t.Helper()
	var log []iot.Change
	s := open(t, func(c iot.Change) { log = append(log, c) }).Registry()
	ctx := t.Context()
	first := newThing("a", map[string]string{"site": "x"})
	if kept, err := s.CreateThing(ctx, first); err != nil || kept.ID != "id-a" {
		t.Fatal(kept, err)
	}
	other := newThing("a", nil)
	other.ID = "other"
	if kept, err := s.CreateThing(ctx, other); err != nil || kept.ID != "id-a" || kept.Attributes["site"] != "x" {
		t.Errorf("a second CreateThing kept %+v, %v", kept, err)
	}
	err := s.ChangeThing(ctx, "a", func(c *registry.Thing) error {
		c.Attributes = map[string]string{"line": "3"}
		c.Version++
		c.UpdatedAt = day().Add(time.Hour)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	if err := s.ChangeThing(ctx, "a", func(c *registry.Thing) error { c.Version = 99; return boom }); !errors.Is(err, boom) {
		t.Errorf("a change that fails answered %v", err)
	}
	got, err := s.Thing(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	if got.Version != 2 || len(got.Attributes) != 1 || got.Attributes["line"] != "3" ||
		!got.CreatedAt.Equal(day()) || !got.UpdatedAt.Equal(day().Add(time.Hour)) {
		t.Errorf("the changed thing is %+v", got)
	}
	if err := s.DeleteThing(ctx, "a", func(*registry.Thing, int) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("a forbidden DeleteThing answered %v", err)
	}
	if err := s.DeleteThing(ctx, "a", func(x *registry.Thing, n int) error {
		if x.Version != 2 || n != 0 {
			t.Errorf("check was given %+v and %d principals", x, n)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Thing(ctx, "a"); !iot.IsKind(err, iot.KindNotFound) {
		t.Errorf("the deleted thing: %v", err)
	}
	if err := s.ChangeThing(ctx, "a", nil); !iot.IsKind(err, iot.KindNotFound) {
		t.Errorf("changing the deleted thing: %v", err)
	}
	if err := s.DeleteThing(ctx, "a", nil); !iot.IsKind(err, iot.KindNotFound) {
		t.Errorf("deleting the deleted thing: %v", err)
	}
	want := iot.Change{Kind: iot.ChangeThing, ID: "a"}
	if !slices.Equal(log, []iot.Change{want, want, want}) {
		t.Errorf("announced %v", log)
	}
}

func thingListings(t *testing.T, open Opener) {
	t.Helper()
	s := open(t, nil).Registry()
	ctx := t.Context()
	if _, err := s.CreateThingType(ctx, registry.ThingType{Name: "pump", ID: "i", Searchable: []string{"n"}, CreatedAt: day()}, nil); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		x := newThing(fmt.Sprintf("t%d", i), map[string]string{"site": fmt.Sprintf("s%d", i%2), "n": fmt.Sprint(i)})
		if i == 7 {
			x.TypeName = "pump"
		}
		if _, err := s.CreateThing(ctx, x); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		f     registry.ThingFilter
		after iot.ThingName
		limit int
		want  []string
	}{
		"all of a page":     {limit: 3, want: []string{"t0", "t1", "t2"}},
		"after":             {after: "t7", limit: 9, want: []string{"t8", "t9"}},
		"attribute name":    {f: registry.ThingFilter{AttributeName: "site"}, after: "t7", limit: 9, want: []string{"t8", "t9"}},
		"attribute value":   {f: registry.ThingFilter{AttributeName: "site", AttributeValue: "s1"}, limit: 3, want: []string{"t1", "t3", "t5"}},
		"attribute prefix":  {f: registry.ThingFilter{AttributeName: "site", AttributeValue: "s", Prefix: true}, limit: 2, want: []string{"t0", "t1"}},
		"no such value":     {f: registry.ThingFilter{AttributeName: "site", AttributeValue: "S1"}, limit: 3},
		"type":              {f: registry.ThingFilter{TypeName: "pump"}, limit: 3, want: []string{"t7"}},
		"typed, searchable": {f: registry.ThingFilter{AttributeName: "n", AttributeValue: "7"}, limit: 3, want: []string{"t7"}},
		"typed, not so":     {f: registry.ThingFilter{AttributeName: "site", AttributeValue: "s1"}, after: "t5", limit: 3, want: []string{"t9"}},
		"type and value":    {f: registry.ThingFilter{TypeName: "pump", AttributeName: "n", AttributeValue: "6"}, limit: 3},
	} {
		list, err := s.Things(ctx, c.f, c.after, c.limit)
		var got []string
		for _, x := range list {
			got = append(got, string(x.Name))
			if x.Attributes["n"] != string(x.Name[1:]) {
				t.Errorf("%s: attributes of %s are %v", name, x.Name, x.Attributes)
			}
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v, want %v", name, got, err, c.want)
		}
	}
}

const (
	certA = "arn:aws:iot:us-east-1:000000000000:cert/aaaa"
	certB = "arn:aws:iot:us-east-1:000000000000:cert/bbbb"
)

func withCertificates(t *testing.T, db *sqlstore.DB) {
	t.Helper()
	for _, id := range []string{"aaaa", "bbbb"} {
		if err := db.Certificates().InsertCertificate(t.Context(), record(id)); err != nil {
			t.Fatal(err)
		}
	}
}

func attach(thing, cert string, n int64) registry.Attachment {
	return registry.Attachment{
		Thing: iot.ThingName(thing), Principal: iot.ARN(cert), Type: registry.NonExclusiveThing, Incarnation: n, AttachedAt: day(),
	}
}

func attachments(t *testing.T, open Opener) {
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
	for _, a := range []registry.Attachment{attach("a", certA, 1), attach("b", certA, 2), attach("a", certB, 3), attach("a", certA, 9)} {
		if err := s.AttachThing(ctx, a); err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range []registry.Attachment{attach("none", certA, 1), attach("a", "arn:aws:iot:us-east-1:000000000000:cert/none", 1)} {
		if err := s.AttachThing(ctx, a); !iot.IsKind(err, iot.KindNotFound) {
			t.Errorf("attaching %s to %s: %v", a.Principal, a.Thing, err)
		}
	}
	got, err := s.Attached(ctx, certA)
	if want := []registry.Attachment{attach("a", certA, 1), attach("b", certA, 2)}; err != nil || !slices.Equal(got.Things, want) {
		t.Errorf("attached: %+v, %v; the second attach must not give a new incarnation", got, err)
	}
	list, err := s.ThingPrincipals(ctx, "a", "", 9)
	if err != nil || len(list) != 2 || list[0].Principal != certA || list[1].Principal != certB {
		t.Errorf("principals: %+v, %v", list, err)
	}
	if list, err = s.ThingPrincipals(ctx, "a", certA, 1); err != nil || len(list) != 1 || list[0].Principal != certB {
		t.Errorf("principals after the first: %+v, %v", list, err)
	}
	if list, err = s.PrincipalThings(ctx, certA, "a", 9); err != nil || len(list) != 1 || list[0].Thing != "b" {
		t.Errorf("things after the first: %+v, %v", list, err)
	}
	if _, err := s.PrincipalThings(ctx, "arn:aws:iot:us-east-1:000000000000:cert/none", "", 9); !iot.IsKind(err, iot.KindNotFound) {
		t.Errorf("things of a certificate that is not there: %v", err)
	}
	for range 2 {
		if err := s.DetachThing(ctx, "a", certA); err != nil {
			t.Errorf("detach: %v", err)
		}
	}
	if err := s.DetachThing(ctx, "none", certA); !iot.IsKind(err, iot.KindNotFound) {
		t.Errorf("detach from a thing that is not there: %v", err)
	}
	if n := changes[iot.Change{Kind: iot.ChangePrincipal, ID: certA}]; n != 3 {
		t.Errorf("the principal was announced %d times, want 3: two attachments and a detachment", n)
	}
	err = s.DeleteThing(ctx, "a", func(_ *registry.Thing, principals int) error {
		if principals != 1 {
			t.Errorf("%d principals, want 1", principals)
		}
		return iot.Errorf(iot.KindInvalid, "thing", "no")
	})
	if !iot.IsKind(err, iot.KindInvalid) {
		t.Error(err)
	}
}

func newPolicy(name string, at time.Time) registry.Policy {
	return registry.Policy{Name: iot.PolicyName(name), GenerationID: "g-" + name, DefaultVersion: 1, CreatedAt: at, UpdatedAt: at}
}

func policies(t *testing.T, open Opener) {
	t.Helper()
	changes := map[iot.Change]int{}
	s := open(t, func(c iot.Change) { changes[c]++ }).Registry()
	ctx := t.Context()
	if err := s.CreatePolicy(ctx, newPolicy("p", day()), "v1", nil); err != nil {
		t.Fatal(err)
	}
	if err := s.CreatePolicy(ctx, newPolicy("p", day()), "v1", nil); !iot.IsKind(err, iot.KindExists) {
		t.Errorf("a second CreatePolicy: %v", err)
	}
	for i, d := range []bool{false, true} {
		v, err := s.AddPolicyVersion(ctx, "p", registry.PolicyVersion{Document: fmt.Sprintf("v%d", i+2), Default: d, CreatedAt: day()}, 3)
		if err != nil || v.ID != int64(i+2) {
			t.Errorf("version %+v, %v", v, err)
		}
	}
	if _, err := s.AddPolicyVersion(ctx, "p", registry.PolicyVersion{Document: "v4"}, 3); !iot.IsKind(err, iot.KindVersionLimit) {
		t.Errorf("a version too many: %v", err)
	}
	if _, v, err := s.PolicyVersion(ctx, "p", 0); err != nil || v.ID != 3 || v.Document != "v3" || !v.Default {
		t.Errorf("the default version is %+v, %v", v, err)
	}
	if err := s.DeletePolicyVersion(ctx, "p", 3, day()); !iot.IsKind(err, iot.KindInvalid) {
		t.Errorf("deleting the default version: %v", err)
	}
	if err := s.DeletePolicyVersion(ctx, "p", 2, day()); err != nil {
		t.Error(err)
	}
	if v, err := s.AddPolicyVersion(ctx, "p", registry.PolicyVersion{Document: "v4"}, 3); err != nil || v.ID != 4 {
		t.Errorf("the id of a deleted version was given again: %+v, %v", v, err)
	}
	if err := s.SetDefaultPolicyVersion(ctx, "p", 1, day().Add(time.Hour)); err != nil {
		t.Error(err)
	}
	for _, err := range []error{
		s.SetDefaultPolicyVersion(ctx, "p", 2, day()), s.DeletePolicyVersion(ctx, "p", 2, day()), s.DeletePolicy(ctx, "none"),
		s.SetDefaultPolicyVersion(ctx, "none", 1, day()),
	} {
		if !iot.IsKind(err, iot.KindNotFound) {
			t.Errorf("what is not there: %v", err)
		}
	}
	list, err := s.PolicyVersions(ctx, "p")
	if err != nil || len(list) != 3 || list[0].ID != 4 || list[2].ID != 1 || !list[2].Default || list[0].Default {
		t.Errorf("versions %+v, %v", list, err)
	}
	if p, v, err := s.PolicyVersion(ctx, "p", 1); err != nil || v.Document != "v1" || !p.UpdatedAt.Equal(day().Add(time.Hour)) {
		t.Errorf("version 1: %+v, %+v, %v", p, v, err)
	}
	if err := s.DeletePolicy(ctx, "p"); !iot.IsKind(err, iot.KindConflict) {
		t.Errorf("deleting a policy with versions: %v", err)
	}
	for i := range 3 {
		if err := s.CreatePolicy(ctx, newPolicy(fmt.Sprintf("q%d", i), day().Add(time.Duration(i/2)*time.Minute)), "d", nil); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		after     registry.Created
		ascending bool
		want      []string
	}{
		"oldest first":  {ascending: true, want: []string{"p", "q0", "q1", "q2"}},
		"newest first":  {want: []string{"q2", "q1", "q0", "p"}},
		"after, oldest": {after: registry.Created{At: day(), ID: "q0"}, ascending: true, want: []string{"q1", "q2"}},
		"after, newest": {after: registry.Created{At: day(), ID: "q0"}, want: []string{"p"}},
	} {
		list, err := s.Policies(ctx, c.after, c.ascending, 9)
		var got []string
		for _, p := range list {
			got = append(got, string(p.Name))
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v, want %v", name, got, err, c.want)
		}
	}
	if n := changes[iot.Change{Kind: iot.ChangeIoTPolicy, ID: "p"}]; n != 3 {
		t.Errorf("the policy was announced %d times, want 3: made and two defaults", n)
	}
}

func policyTargets(t *testing.T, open Opener) {
	t.Helper()
	changes := map[iot.Change]int{}
	db := open(t, func(c iot.Change) { changes[c]++ })
	s, ctx := db.Registry(), t.Context()
	withCertificates(t, db)
	for _, n := range []string{"p", "q", "r"} {
		if err := s.CreatePolicy(ctx, newPolicy(n, day()), "d", nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []iot.PolicyName{"q", "p", "p"} {
		if err := s.AttachPolicy(ctx, n, certA, 2, day()); err != nil {
			t.Errorf("attach %s: %v", n, err)
		}
	}
	if err := s.AttachPolicy(ctx, "r", certA, 2, day()); !iot.IsKind(err, iot.KindLimit) {
		t.Errorf("a policy too many: %v", err)
	}
	if err := s.AttachPolicy(ctx, "p", certB, 2, day()); err != nil {
		t.Error(err)
	}
	for _, err := range []error{
		s.AttachPolicy(ctx, "none", certA, 2, day()), s.DetachPolicy(ctx, "none", certA),
		s.AttachPolicy(ctx, "p", "arn:aws:iot:us-east-1:000000000000:cert/none", 2, day()),
	} {
		if !iot.IsKind(err, iot.KindNotFound) {
			t.Errorf("what is not there: %v", err)
		}
	}
	if got, err := s.AttachedPolicies(ctx, certA, "", 9); err != nil || !slices.Equal(got, []iot.PolicyName{"p", "q"}) {
		t.Errorf("attached %v, %v", got, err)
	}
	if got, err := s.AttachedPolicies(ctx, certA, "p", 9); err != nil || !slices.Equal(got, []iot.PolicyName{"q"}) {
		t.Errorf("attached after p: %v, %v", got, err)
	}
	if got, err := s.PolicyTargets(ctx, "p", "", 9); err != nil || !slices.Equal(got, []iot.ARN{certA, certB}) {
		t.Errorf("targets %v, %v", got, err)
	}
	if a, err := s.Attached(ctx, certA); err != nil || !slices.Equal(a.Policies, []iot.PolicyName{"p", "q"}) {
		t.Errorf("attached %v, %v", a, err)
	}
	if err := s.DeletePolicy(ctx, "p"); !iot.IsKind(err, iot.KindConflict) {
		t.Errorf("deleting an attached policy: %v", err)
	}
	for range 2 {
		if err := s.DetachPolicy(ctx, "q", certA); err != nil {
			t.Errorf("detach: %v", err)
		}
	}
	if err := s.DeletePolicy(ctx, "q"); err != nil {
		t.Error(err)
	}
	if n := changes[iot.Change{Kind: iot.ChangePrincipal, ID: certA}]; n != 3 {
		t.Errorf("the principal was announced %d times, want 3", n)
	}
}

func tags(t *testing.T, open Opener) {
	t.Helper()
	db := open(t, nil)
	s, ctx := db.Registry(), t.Context()
	withCertificates(t, db)
	if err := s.CreatePolicy(ctx, newPolicy("p", day()), "d", []registry.Tag{{Key: "b", Value: "1"}}); err != nil {
		t.Fatal(err)
	}
	if err := s.SetTags(ctx, "policy/p", []registry.Tag{{Key: "b", Value: "2"}, {Key: "a"}}, 2); err != nil {
		t.Error(err)
	}
	if err := s.SetTags(ctx, "policy/p", []registry.Tag{{Key: "c"}}, 2); !iot.IsKind(err, iot.KindLimit) {
		t.Errorf("a tag too many: %v", err)
	}
	if got, err := s.Tags(ctx, "policy/p"); err != nil || !slices.Equal(got, []registry.Tag{{Key: "a"}, {Key: "b", Value: "2"}}) {
		t.Errorf("tags %v, %v", got, err)
	}
	if err := s.RemoveTags(ctx, "policy/p", []string{"b", "none"}); err != nil {
		t.Error(err)
	}
	if err := s.SetTags(ctx, "cert/aaaa", []registry.Tag{{Key: "k"}}, 2); err != nil {
		t.Error(err)
	}
	for _, r := range []string{"policy/none", "thing/none", "cert/none", "rule/x"} {
		if _, err := s.Tags(ctx, r); !iot.IsKind(err, iot.KindNotFound) {
			t.Errorf("tags of %s: %v", r, err)
		}
	}
	if err := s.DeletePolicy(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	if err := s.CreatePolicy(ctx, newPolicy("p", day()), "d", nil); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Tags(ctx, "policy/p"); err != nil || len(got) != 0 {
		t.Errorf("a policy made anew has the tags of the one before: %v, %v", got, err)
	}
}
