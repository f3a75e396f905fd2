package registry_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
	"github.com/sekisho-iot/sekisho/internal/registry"
)

func ok(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func errOf[T any](_ T, err error) error { return err }

func TestThingTypes(t *testing.T) {
	t.Parallel()
	clock := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r, _ := newRegistryWith(t, registry.Config{Now: func() time.Time { return clock }})
	ctx := t.Context()
	describe := "pumps"
	properties := registry.ThingTypeProperties{Description: &describe, Searchable: []string{"site", "line", "site"}}
	made, err := r.CreateThingType(ctx, "pump", properties, nil)
	if err != nil || len(made.ID) != 36 || !slices.Equal(made.Searchable, []string{"line", "site"}) {
		t.Fatalf("%+v, %v", made, err)
	}
	if again, err := r.CreateThingType(ctx, "pump", properties, nil); err != nil || again.ID != made.ID {
		t.Errorf("the same again: %+v, %v", again, err)
	}
	wantKind(t, "other settings", errOf(r.CreateThingType(ctx, "pump", registry.ThingTypeProperties{}, nil)), iot.KindExists, "thing-type")
	long := strings.Repeat("d", 2029)
	newline := "a\nb"
	for what, err := range map[string]error{
		"name":        errOf(r.CreateThingType(ctx, "a b", registry.ThingTypeProperties{}, nil)),
		"searchable":  errOf(r.CreateThingType(ctx, "x", registry.ThingTypeProperties{Searchable: []string{"a", "b", "c", "d"}}, nil)),
		"attribute":   errOf(r.CreateThingType(ctx, "x", registry.ThingTypeProperties{Searchable: []string{"a b"}}, nil)),
		"description": errOf(r.CreateThingType(ctx, "x", registry.ThingTypeProperties{Description: &long}, nil)),
		"control":     errOf(r.CreateThingType(ctx, "x", registry.ThingTypeProperties{Description: &newline}, nil)),
		"prefix":      errOf3(r.ThingTypes(ctx, "a b", registry.Page{})),
		"a thing's":   errOf(r.CreateThing(ctx, registry.NewThing{Name: "x", TypeName: "a b"})),
		"an update's": r.UpdateThing(ctx, "x", registry.ThingUpdate{TypeName: "a b"}),
		"not yet":     r.DeleteThingType(ctx, "pump"),
	} {
		wantKind(t, what, err, iot.KindInvalid, "thing-type")
	}
	many := map[string]string{}
	for i := range 51 {
		many[fmt.Sprint("a", i)] = "1"
	}
	wantKind(t, "51 attributes", errOf(r.CreateThing(ctx, registry.NewThing{Name: "t", TypeName: "pump", Attributes: many})), iot.KindInvalid, "thing")
	delete(many, "a50")
	ok(t, errOf(r.CreateThing(ctx, registry.NewThing{Name: "t", TypeName: "pump", Attributes: many})))
	wantKind(t, "removing the type of a thing with 50 attributes", r.UpdateThing(ctx, "t", registry.ThingUpdate{RemoveType: true}), iot.KindInvalid, "thing")
	ok(t, errOf(r.CreateThing(ctx, registry.NewThing{Name: "u"})), r.DeprecateThingType(ctx, "pump", false))
	wantKind(t, "giving a deprecated type", r.UpdateThing(ctx, "u", registry.ThingUpdate{TypeName: "pump"}), iot.KindInvalid, "thing-type")
	ok(t, r.UpdateThing(ctx, "t", registry.ThingUpdate{TypeName: "pump"})) // it has it already
	clock = clock.Add(4 * time.Minute)
	ok(t, r.DeprecateThingType(ctx, "pump", false), r.UpdateThing(ctx, "t", registry.ThingUpdate{RemoveType: true, Attributes: &registry.AttributePayload{}}))
	wantKind(t, "after four minutes", r.DeleteThingType(ctx, "pump"), iot.KindInvalid, "thing-type")
	ok(t, r.DeprecateThingType(ctx, "pump", true), r.UpdateThing(ctx, "u", registry.ThingUpdate{TypeName: "pump"}), r.DeprecateThingType(ctx, "pump", false))
	clock = clock.Add(5 * time.Minute)
	wantKind(t, "with a thing", r.DeleteThingType(ctx, "pump"), iot.KindInvalid, "thing-type")
	ok(t, r.DeleteThing(ctx, "u", nil), r.DeleteThingType(ctx, "pump"))
	wantKind(t, "deleted", r.DeleteThingType(ctx, "pump"), iot.KindNotFound, "thing-type")
}

func errOf3[T, U any](_ T, _ U, err error) error { return err }

// connects reports whether the policies for a client of certA allow it to connect.
func connects(t *testing.T, r *registry.Registry, client string) bool {
	t.Helper()
	p, err := r.Principal(t.Context(), certA)
	ok(t, err)
	thing, _ := p.ForClient(client)
	return p.PoliciesFor(thing).Evaluate(&policy.Request{Action: "iot:Connect", Resource: "arn:aws:iot:eu-west-1:123456789012:client/" + client, Keys: &registry.Keys{}}).Allowed()
}

const groupPrefix = "arn:aws:iot:eu-west-1:123456789012:thinggroup/"

// TestPoliciesAreInherited attaches to groups, above and below: each change is
// in force when its call has returned.
func TestPoliciesAreInherited(t *testing.T) {
	t.Parallel()
	r, reads := newRegistry(t)
	ctx := t.Context()
	for _, n := range []string{"a", "b"} {
		ok(t, errOf(r.CreateThing(ctx, registry.NewThing{Name: n})), r.AttachThingPrincipal(ctx, n, certA, ""))
	}
	ok(t, errOf3(r.CreatePolicy(ctx, "allow", allow, nil)), errOf3(r.CreatePolicy(ctx, "deny", deny, nil)))
	for _, g := range []registry.NewThingGroup{{Name: "root"}, {Name: "mid", Parent: "root"}, {Name: "leaf", Parent: "mid"}} {
		ok(t, errOf(r.CreateThingGroup(ctx, g)))
	}
	want := func(what string, a, other bool) {
		t.Helper()
		if connects(t, r, "a") != a || connects(t, r, "b") != other || connects(t, r, "else") != other {
			t.Errorf("%s: a %v, b %v, another client %v", what, connects(t, r, "a"), connects(t, r, "b"), connects(t, r, "else"))
		}
	}
	want("nothing", false, false)
	ok(t, r.AttachPolicy(ctx, "allow", groupPrefix+"root"))
	want("a policy on a group without things", false, false)
	ok(t, r.ChangeMembership(ctx, "a", []string{"leaf"}, nil))
	want("a thing in the group below", true, false)
	ok(t, r.AttachPolicy(ctx, "deny", groupPrefix+"mid"))
	want("a denial in between", false, false)
	ok(t, r.AttachPolicy(ctx, "allow", certA))
	want("a policy of the certificate's own", false, true)
	ok(t, r.ChangeMembership(ctx, "a", []string{"root"}, []string{"leaf"}))
	want("moved up", true, true)
	ok(t, r.DetachPolicy(ctx, "allow", certA))
	want("the group's alone", true, false)
	before := reads.Load()
	want("out of memory", true, false)
	if n := reads.Load() - before; n != 0 {
		t.Errorf("%d reads of the store for decisions that are in memory", n)
	}
	ok(t, errOf(r.CreatePolicyVersion(ctx, "allow", deny, true)))
	want("another version", false, false)
	ok(t, r.SetDefaultPolicyVersion(ctx, "allow", "1"))
	want("the version before", true, false)
	ok(t, r.DetachPolicy(ctx, "allow", groupPrefix+"root"))
	want("detached from the group", false, false)
	ok(t, r.AttachPolicy(ctx, "allow", groupPrefix+"root"), r.ChangeMembership(ctx, "a", []string{"leaf"}, []string{"root"}),
		r.DetachPolicy(ctx, "deny", groupPrefix+"mid"))
	want("down again", true, false)
	ok(t, r.DeleteThingGroup(ctx, "leaf", nil))
	want("the group is gone", false, false)
	ok(t, errOf(r.CreateThingGroup(ctx, registry.NewThingGroup{Name: "leaf", Parent: "mid"})))
	want("a group of its name", false, false)
	ok(t, r.ChangeMembership(ctx, "a", []string{"leaf"}, nil), r.DetachThingPrincipal(ctx, "a", certA))
	want("the thing is detached", false, false)
}

// TestExclusiveThing: whatever a client calls itself, and where it says nothing,
// it is the one thing, with what that inherits.
func TestExclusiveThing(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t)
	ctx := t.Context()
	ok(t, errOf(r.CreateThing(ctx, registry.NewThing{Name: "a"})), errOf(r.CreateThing(ctx, registry.NewThing{Name: "b"})),
		errOf3(r.CreatePolicy(ctx, "allow", allow, nil)), errOf3(r.CreatePolicy(ctx, "deny", deny, nil)),
		errOf(r.CreateThingGroup(ctx, registry.NewThingGroup{Name: "g"})), r.AttachPolicy(ctx, "deny", groupPrefix+"g"),
		r.AttachPolicy(ctx, "allow", certA), r.ChangeMembership(ctx, "a", []string{"g"}, nil), r.AttachThingPrincipal(ctx, "a", certA, ""))
	if connects(t, r, "a") || !connects(t, r, "x") {
		t.Error("an attachment that is not exclusive is the client's whose ID is the thing's name")
	}
	ok(t, r.AttachThingPrincipal(ctx, "a", certA, registry.ExclusiveThing))
	if connects(t, r, "a") || connects(t, r, "x") || connects(t, r, "") {
		t.Error("a client escaped the denial of its thing's group")
	}
	p, err := r.Principal(ctx, certA)
	ok(t, err)
	if thing, _ := p.ForClient("b"); thing == nil || thing.Name != "a" {
		t.Errorf("the thing is %+v", thing)
	}
	wantKind(t, "another thing", r.AttachThingPrincipal(ctx, "b", certA, ""), iot.KindInvalid, "thing")
}

func TestEffectivePolicies(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t)
	ctx := t.Context()
	for _, n := range []string{"own", "root", "leaf"} {
		ok(t, errOf3(r.CreatePolicy(ctx, n, allow, nil)))
	}
	ok(t, errOf(r.CreateThing(ctx, registry.NewThing{Name: "a"})), errOf(r.CreateThingGroup(ctx, registry.NewThingGroup{Name: "root"})),
		errOf(r.CreateThingGroup(ctx, registry.NewThingGroup{Name: "leaf", Parent: "root"})), r.ChangeMembership(ctx, "a", []string{"leaf"}, nil),
		r.AttachPolicy(ctx, "own", certA), r.AttachPolicy(ctx, "own", groupPrefix+"leaf"), r.AttachPolicy(ctx, "root", groupPrefix+"root"), r.AttachPolicy(ctx, "leaf", groupPrefix+"leaf"))
	wantKind(t, "a third policy", r.AttachPolicy(ctx, "root", groupPrefix+"leaf"), iot.KindLimit, "policy")
	names := func(list []registry.EffectivePolicy, err error) string {
		ok(t, err)
		var s []string
		for _, p := range list {
			if p.Document != allow {
				t.Errorf("the document of %s is %q", p.Name, p.Document)
			}
			s = append(s, string(p.Name))
		}
		return strings.Join(s, " ")
	}
	for _, c := range []struct{ principal, thing, want string }{
		{certA, "", "own"}, {certA, "a", "leaf own root"}, {"", "a", "leaf own root"},
	} {
		if got := names(r.EffectivePolicies(ctx, c.principal, c.thing)); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
	ok(t, r.AttachThingPrincipal(ctx, "a", certA, registry.ExclusiveThing))
	if got := names(r.EffectivePolicies(ctx, certA, "")); got != "leaf own root" {
		t.Errorf("exclusive: %s", got)
	}
	wantKind(t, "no thing", errOf(r.EffectivePolicies(ctx, certA, "none")), iot.KindNotFound, "thing")
	var pages []iot.PolicyName
	p := registry.Page{Limit: 1}
	for {
		list, next, err := r.AttachedPolicies(ctx, groupPrefix+"leaf", true, p)
		ok(t, err)
		pages = append(pages, list...)
		if p.Token = next; next == "" {
			break
		}
	}
	if !slices.Equal(pages, []iot.PolicyName{"leaf", "own", "root"}) {
		t.Errorf("recursive: %v", pages)
	}
	if list, _, err := r.AttachedPolicies(ctx, groupPrefix+"leaf", false, registry.Page{}); err != nil || !slices.Equal(list, []iot.PolicyName{"leaf", "own"}) {
		t.Errorf("of the group itself: %v, %v", list, err)
	}
}

func TestThingGroupInput(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t)
	ctx := t.Context()
	parent := ""
	for i := range 7 {
		name := fmt.Sprint("g", i)
		ok(t, errOf(r.CreateThingGroup(ctx, registry.NewThingGroup{Name: name, Parent: parent})))
		parent = name
	}
	attributes := map[string]string{}
	for i := range 51 {
		attributes[fmt.Sprint("a", i)] = "1"
	}
	two := int64(2)
	description := "a\x00b"
	for what, err := range map[string]error{
		"depth":       errOf(r.CreateThingGroup(ctx, registry.NewThingGroup{Name: "g7", Parent: parent})),
		"name":        errOf(r.CreateThingGroup(ctx, registry.NewThingGroup{Name: "a b"})),
		"parent":      errOf(r.CreateThingGroup(ctx, registry.NewThingGroup{Name: "a", Parent: "a b"})),
		"attributes":  errOf(r.CreateThingGroup(ctx, registry.NewThingGroup{Name: "a", Attributes: attributes})),
		"description": errOf(r.UpdateThingGroup(ctx, "g0", registry.ThingGroupUpdate{Description: &description})),
		"prefix":      errOf3(r.ThingGroups(ctx, registry.GroupFilter{Prefix: "a b"}, registry.Page{})),
		"both":        r.ChangeMembership(ctx, "t", []string{"g0"}, []string{"g0"}),
		"children":    r.DeleteThingGroup(ctx, "g0", nil),
		"no name":     errOf(r.GroupOf("", "")),
		"other ARN":   errOf(r.GroupOf("g0", groupPrefix+"g1")),
	} {
		wantKind(t, what, err, iot.KindInvalid, "thing-group")
	}
	wantKind(t, "version", errOf(r.UpdateThingGroup(ctx, "g0", registry.ThingGroupUpdate{ExpectedVersion: &two})), iot.KindVersionConflict, "thing-group")
	wantKind(t, "version", r.DeleteThingGroup(ctx, "g6", &two), iot.KindVersionConflict, "thing-group")
	ok(t, r.DeleteThingGroup(ctx, "none", nil))
	v, err := r.UpdateThingGroup(ctx, "g0", registry.ThingGroupUpdate{Attributes: &registry.AttributePayload{Attributes: map[string]string{"x": "1"}}})
	if err != nil || v != 2 {
		t.Errorf("version %d, %v", v, err)
	}
	wantKind(t, "other settings", errOf(r.CreateThingGroup(ctx, registry.NewThingGroup{Name: "g0"})), iot.KindExists, "thing-group")
	ok(t, errOf(r.CreateThing(ctx, registry.NewThing{Name: "t"})))
	var roots []string
	for i := range 11 {
		roots = append(roots, fmt.Sprint("r", i))
		ok(t, errOf(r.CreateThingGroup(ctx, registry.NewThingGroup{Name: roots[i]})))
	}
	wantKind(t, "eleven groups", r.ChangeMembership(ctx, "t", roots, nil), iot.KindInvalid, "thing-group")
	ok(t, r.ChangeMembership(ctx, "t", roots[:10], nil))
}

// TestEvents compares what is published with what AWS documents.
func TestEvents(t *testing.T) {
	t.Parallel()
	clock := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var mu sync.Mutex
	var topics []string
	payloads := map[string]map[string]any{}
	r, _ := newRegistryWith(t, registry.Config{Now: func() time.Time { return clock }, Publish: func(_ context.Context, topic string, payload []byte) {
		mu.Lock()
		defer mu.Unlock()
		topics = append(topics, topic)
		var p map[string]any
		if err := json.Unmarshal(payload, &p); err != nil {
			t.Error(err)
		}
		if id, _ := p["eventId"].(string); len(id) != 36 || p["timestamp"] != float64(clock.UnixMilli()) {
			t.Errorf("%s: %s", topic, payload)
		}
		payloads[topic] = p
	}})
	ctx := t.Context()
	ok(t, errOf(r.CreateThing(ctx, registry.NewThing{Name: "silent"})))
	if len(topics) != 0 {
		t.Errorf("published %v although nothing is enabled", topics)
	}
	all := map[registry.EventType]bool{"THING": true, "THING_GROUP": true, "THING_TYPE": true, "THING_GROUP_MEMBERSHIP": true, "THING_GROUP_HIERARCHY": true, "THING_TYPE_ASSOCIATION": true}
	ok(t, r.SetEventConfigurations(ctx, all))
	wantKind(t, "certificates", r.SetEventConfigurations(ctx, map[registry.EventType]bool{"CERTIFICATE": true}), iot.KindNotBuilt, "event-configuration")
	wantKind(t, "unknown", r.SetEventConfigurations(ctx, map[registry.EventType]bool{"X": true}), iot.KindInvalid, "event-configuration")
	if c, err := r.EventConfigurations(ctx); err != nil || len(c.Enabled) != 11 || !c.Enabled["THING"] || c.Enabled["JOB"] {
		t.Errorf("%+v, %v", c, err)
	}
	ok(t, errOf(r.CreateThingType(ctx, "pump", registry.ThingTypeProperties{Searchable: []string{"site"}}, nil)),
		errOf(r.CreateThing(ctx, registry.NewThing{Name: "a", TypeName: "pump", Attributes: map[string]string{"site": "x"}})),
		errOf(r.CreateThing(ctx, registry.NewThing{Name: "a", TypeName: "pump", Attributes: map[string]string{"site": "x"}})), // tells nothing
		errOf(r.CreateThingGroup(ctx, registry.NewThingGroup{Name: "root", Description: "d"})),
		errOf(r.CreateThingGroup(ctx, registry.NewThingGroup{Name: "leaf", Parent: "root"})),
		r.ChangeMembership(ctx, "a", []string{"leaf"}, nil), r.ChangeMembership(ctx, "a", []string{"leaf"}, nil), r.ChangeMembership(ctx, "a", nil, []string{"leaf"}),
		errOf(r.UpdateThingGroup(ctx, "leaf", registry.ThingGroupUpdate{})), r.DeleteThingGroup(ctx, "leaf", nil),
		r.UpdateThing(ctx, "a", registry.ThingUpdate{RemoveType: true}), r.DeleteThing(ctx, "a", nil), r.DeleteThing(ctx, "a", nil), r.DeprecateThingType(ctx, "pump", false))
	clock = clock.Add(5 * time.Minute)
	ok(t, r.DeleteThingType(ctx, "pump"))
	want := []string{
		"thingType/pump/created", "thing/a/created", "thingTypeAssociation/thing/a/thingType/pump/added", "thingGroup/root/created",
		"thingGroup/leaf/created", "thingGroupHierarchy/thingGroup/root/childThingGroup/leaf/added",
		"thingGroupMembership/thingGroup/leaf/thing/a/added", "thingGroupMembership/thingGroup/leaf/thing/a/removed",
		"thingGroup/leaf/updated", "thingGroup/leaf/deleted", "thingGroupHierarchy/thingGroup/root/childThingGroup/leaf/removed",
		"thing/a/updated", "thingTypeAssociation/thing/a/thingType/pump/removed", "thing/a/deleted", "thingType/pump/updated", "thingType/pump/deleted",
	}
	for i := range want {
		want[i] = "$aws/events/" + want[i]
	}
	if !slices.Equal(topics, want) {
		t.Errorf("published\n%s\nwant\n%s", strings.Join(topics, "\n"), strings.Join(want, "\n"))
	}
	for topic, members := range map[string]string{
		"thing/a/created":         `{"eventType":"THING_EVENT","operation":"CREATED","accountId":"123456789012","thingName":"a","versionNumber":1,"thingTypeName":"pump","attributes":{"site":"x"}}`,
		"thing/a/deleted":         `{"operation":"DELETED","versionNumber":2,"thingTypeName":null}`,
		"thingType/pump/updated":  `{"eventType":"THING_TYPE_EVENT","operation":"UPDATED","thingTypeName":"pump","isDeprecated":true,"searchableAttributes":["site"],"deprecationDate":"2026-01-02T03:04:05Z"}`,
		"thingGroup/root/created": `{"eventType":"THING_GROUP_EVENT","thingGroupName":"root","versionNumber":1,"parentGroupName":null,"parentGroupId":null,"description":"d","rootToParentThingGroups":null}`,
		"thingGroupMembership/thingGroup/leaf/thing/a/added":               `{"eventType":"THING_GROUP_MEMBERSHIP_EVENT","operation":"ADDED","groupArn":"` + groupPrefix + `leaf","thingArn":"arn:aws:iot:eu-west-1:123456789012:thing/a"}`,
		"thingTypeAssociation/thing/a/thingType/pump/removed":              `{"eventType":"THING_TYPE_ASSOCIATION_EVENT","operation":"REMOVED","thingName":"a","thingTypeName":"pump"}`,
		"thingGroupHierarchy/thingGroup/root/childThingGroup/leaf/removed": `{"eventType":"THING_GROUP_HIERARCHY_EVENT","operation":"REMOVED","thingGroupName":"root","childGroupName":"leaf"}`,
	} {
		var m map[string]any
		ok(t, json.Unmarshal([]byte(members), &m))
		for k, v := range m {
			if got, _ := json.Marshal(payloads["$aws/events/"+topic][k]); string(got) != mustJSON(t, v) {
				t.Errorf("%s: %s is %s, want %s", topic, k, got, mustJSON(t, v))
			}
		}
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	ok(t, err)
	return string(b)
}

// TestGroupChangesAreInForceUnderLoad has readers fill the memory while groups
// come and go: who changed something sees it at once, and no reader fails.
func TestGroupChangesAreInForceUnderLoad(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t)
	ctx := t.Context()
	ok(t, errOf(r.CreateThing(ctx, registry.NewThing{Name: "a"})), r.AttachThingPrincipal(ctx, "a", certA, ""),
		errOf3(r.CreatePolicy(ctx, "allow", allow, nil)), errOf3(r.CreatePolicy(ctx, "deny", deny, nil)), r.AttachPolicy(ctx, "allow", certA),
		errOf(r.CreateThingGroup(ctx, registry.NewThingGroup{Name: "root"})))
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := r.Principal(ctx, certA); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 20 {
		ok(t, errOf(r.CreateThingGroup(ctx, registry.NewThingGroup{Name: "leaf", Parent: "root"})), r.ChangeMembership(ctx, "a", []string{"leaf"}, nil),
			r.AttachPolicy(ctx, "deny", groupPrefix+[]string{"leaf", "root"}[i%2]))
		if connects(t, r, "a") {
			t.Error("a denial was attached to the group, yet it is allowed")
		}
		if i%3 == 0 {
			ok(t, r.ChangeMembership(ctx, "a", nil, []string{"leaf"}))
		}
		ok(t, r.DeleteThingGroup(ctx, "leaf", nil))
		if !connects(t, r, "a") {
			t.Error("the group is gone, yet its denial is not")
		}
		ok(t, r.DetachPolicy(ctx, "deny", groupPrefix+"root"))
	}
	close(stop)
	readers.Wait()
}
