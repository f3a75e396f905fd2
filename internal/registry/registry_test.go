package registry_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/pki"
	"github.com/sekisho-iot/sekisho/internal/policy"
	"github.com/sekisho-iot/sekisho/internal/registry"
	"github.com/sekisho-iot/sekisho/internal/sqlstore"
)

const (
	idA   = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	certA = "arn:aws:iot:eu-west-1:123456789012:cert/" + idA
	allow = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}}`
	deny  = `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"iot:Connect","Resource":"*"}}`
)

// counted counts what the read side asks of the store.
type counted struct {
	*sqlstore.RegistryStore
	reads *atomic.Int64
}

func (c counted) Attached(ctx context.Context, p iot.ARN) (registry.Attached, error) {
	c.reads.Add(1)
	return c.RegistryStore.Attached(ctx, p)
}

func (c counted) Thing(ctx context.Context, n iot.ThingName) (*registry.Thing, error) {
	c.reads.Add(1)
	return c.RegistryStore.Thing(ctx, n)
}

func (c counted) PolicyVersion(ctx context.Context, n iot.PolicyName, v int64) (registry.Policy, registry.PolicyVersion, error) {
	c.reads.Add(1)
	return c.RegistryStore.PolicyVersion(ctx, n, v)
}

func newRegistry(tb testing.TB) (*registry.Registry, *atomic.Int64) {
	tb.Helper()
	clock := time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.UTC)
	return newRegistryWith(tb, registry.Config{Now: func() time.Time { return clock }})
}

// newRegistryWith has the clock and the way out of events from cfg.
func newRegistryWith(tb testing.TB, cfg registry.Config) (*registry.Registry, *atomic.Int64) {
	tb.Helper()
	var r *registry.Registry
	db, err := sqlstore.Open(tb.Context(), sqlstore.Config{
		Path: filepath.Join(tb.TempDir(), "test.db"), OnChange: func(c iot.Change) { r.Invalidate(c) },
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	})
	s := counted{db.Registry(), &atomic.Int64{}}
	clock := cfg.Now()
	cfg.Things, cfg.Policies, cfg.Tags, cfg.Types, cfg.Groups, cfg.Events, cfg.Index = s, s, s, s, s, s, s
	cfg.Account, cfg.Region, cfg.Rand = "123456789012", "eu-west-1", rand.Reader
	r = registry.New(cfg)
	for i := range 3 {
		id := strings.Repeat(string(rune('a'+i)), 64)
		err := db.Certificates().InsertCertificate(tb.Context(), pki.Record{
			ID: iot.CertificateID(id), DER: []byte(id), Status: pki.Active, Epoch: 1, CustomerVersion: 1,
			CreatedAt: clock, UpdatedAt: clock, NotBefore: clock, NotAfter: clock,
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
	return r, s.reads
}

func wantKind(t *testing.T, what string, err error, k iot.Kind, resource string) {
	t.Helper()
	e, ok := errors.AsType[*iot.Error](err)
	if !ok || e.Kind != k || e.Resource != resource || e.Message == "" {
		t.Errorf("%s: %v, want %s %s with a message", what, err, k, resource)
	}
}

func TestCreateThingIsIdempotent(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t)
	ctx := t.Context()
	first, err := r.CreateThing(ctx, registry.NewThing{Name: "pump-1", Attributes: map[string]string{"site": "x", "none": ""}})
	if err != nil || len(first.ID) != 36 || first.Version != 1 || !maps.Equal(first.Attributes, map[string]string{"site": "x"}) {
		t.Fatalf("%+v, %v", first, err)
	}
	again, err := r.CreateThing(ctx, registry.NewThing{Name: "pump-1", Attributes: map[string]string{"site": "x"}})
	if err != nil || again.ID != first.ID {
		t.Errorf("%+v, %v", again, err)
	}
	_, err = r.CreateThing(ctx, registry.NewThing{Name: "pump-1"})
	wantKind(t, "other settings", err, iot.KindExists, "thing")
	if e, _ := errors.AsType[*iot.Error](err); e.ID != first.ID || e.ARN != "arn:aws:iot:eu-west-1:123456789012:thing/pump-1" {
		t.Errorf("resource id and ARN: %+v", e)
	}
	_, err = r.CreateThing(ctx, registry.NewThing{Name: "x", TypeName: "pump"})
	wantKind(t, "a type", err, iot.KindNotFound, "thing-type")
	_, err = r.CreateThing(ctx, registry.NewThing{Name: "x", BillingGroup: "b"})
	wantKind(t, "a billing group", err, iot.KindNotFound, "billing-group")
}

func TestThingInputIsBounded(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t)
	for name, n := range map[string]registry.NewThing{
		"empty name":     {},
		"space":          {Name: "a b"},
		"long name":      {Name: strings.Repeat("a", 129)},
		"slash":          {Name: "a/b"},
		"attribute name": {Name: "a", Attributes: map[string]string{"a b": "c"}},
		"value":          {Name: "a", Attributes: map[string]string{"a": "b c"}},
		"long value":     {Name: "a", Attributes: map[string]string{"a": strings.Repeat("v", 801)}},
		"four":           {Name: "a", Attributes: map[string]string{"a": "1", "b": "1", "c": "1", "d": "1"}},
	} {
		_, err := r.CreateThing(t.Context(), n)
		wantKind(t, name, err, iot.KindInvalid, "thing")
	}
	n := registry.NewThing{Name: strings.Repeat("Z", 128), Attributes: map[string]string{"a.b,@/:#-": "=[]_.,@/:#-", "c": strings.Repeat("v", 800)}}
	if _, err := r.CreateThing(t.Context(), n); err != nil {
		t.Error(err)
	}
}

func TestUpdateThing(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t)
	ctx := t.Context()
	if _, err := r.CreateThing(ctx, registry.NewThing{Name: "a", Attributes: map[string]string{"x": "1", "y": "2"}}); err != nil {
		t.Fatal(err)
	}
	version := func(n int64) *int64 { return &n }
	for i, c := range []struct {
		u    registry.ThingUpdate
		kind iot.Kind // KindInternal: accepted
		want map[string]string
	}{
		{u: registry.ThingUpdate{Attributes: &registry.AttributePayload{Merge: true, Attributes: map[string]string{"x": "", "z": "3"}}}, want: map[string]string{"y": "2", "z": "3"}},
		{u: registry.ThingUpdate{ExpectedVersion: version(1)}, kind: iot.KindVersionConflict, want: map[string]string{"y": "2", "z": "3"}},
		{u: registry.ThingUpdate{ExpectedVersion: version(2)}, want: map[string]string{"y": "2", "z": "3"}},
		{u: registry.ThingUpdate{Attributes: &registry.AttributePayload{Merge: true, Attributes: map[string]string{"p": "1", "q": "1"}}}, kind: iot.KindInvalid, want: map[string]string{"y": "2", "z": "3"}},
		{u: registry.ThingUpdate{Attributes: &registry.AttributePayload{Attributes: map[string]string{"q": "4"}}, RemoveType: true}, want: map[string]string{"q": "4"}},
		{u: registry.ThingUpdate{TypeName: "t"}, kind: iot.KindNotFound, want: map[string]string{"q": "4"}},
		{u: registry.ThingUpdate{TypeName: "t", RemoveType: true}, kind: iot.KindInvalid, want: map[string]string{"q": "4"}},
		{u: registry.ThingUpdate{Attributes: &registry.AttributePayload{}}, want: map[string]string{}},
	} {
		err := r.UpdateThing(ctx, "a", c.u)
		if (c.kind == iot.KindInternal) != (err == nil) || err != nil && !iot.IsKind(err, c.kind) {
			t.Errorf("%d: %v, want %s", i, err, c.kind)
		}
		got, err := r.Thing(ctx, "a")
		if err != nil || !maps.Equal(got.Attributes, c.want) {
			t.Errorf("%d: attributes %v, %v, want %v", i, got.Attributes, err, c.want)
		}
	}
	if got, err := r.Thing(ctx, "a"); err != nil || got.Version != 5 {
		t.Errorf("version %d, %v, want 5", got.Version, err)
	}
	wantKind(t, "missing", r.UpdateThing(ctx, "none", registry.ThingUpdate{}), iot.KindNotFound, "thing")
}

func TestDeleteThing(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t)
	ctx := t.Context()
	two := int64(2)
	if err := r.DeleteThing(ctx, "none", &two); err != nil {
		t.Errorf("deleting what is not there: %v", err)
	}
	if _, err := r.CreateThing(ctx, registry.NewThing{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	if err := r.AttachThingPrincipal(ctx, "a", certA, ""); err != nil {
		t.Fatal(err)
	}
	wantKind(t, "expected version", r.DeleteThing(ctx, "a", &two), iot.KindVersionConflict, "thing")
	wantKind(t, "attached", r.DeleteThing(ctx, "a", nil), iot.KindInvalid, "thing")
	if err := r.DetachThingPrincipal(ctx, "a", certA); err != nil {
		t.Fatal(err)
	}
	if err := r.DeleteThing(ctx, "a", nil); err != nil {
		t.Error(err)
	}
	_, err := r.Thing(ctx, "a")
	wantKind(t, "deleted", err, iot.KindNotFound, "thing")
}

func TestListings(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t)
	ctx := t.Context()
	for i := range 7 {
		name := fmt.Sprintf("t%d", i)
		if _, err := r.CreateThing(ctx, registry.NewThing{Name: name}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.CreatePolicy(ctx, name, allow, nil); err != nil {
			t.Fatal(err)
		}
		if err := r.AttachThingPrincipal(ctx, name, certA, registry.NonExclusiveThing); err != nil {
			t.Fatal(err)
		}
		if err := r.AttachPolicy(ctx, name, certA); err != nil {
			t.Fatal(err)
		}
	}
	for name, page := range map[string]func(registry.Page) (int, string, error){
		"things": func(p registry.Page) (int, string, error) {
			l, next, err := r.Things(ctx, registry.ThingFilter{}, p)
			return len(l), next, err
		},
		"policies": func(p registry.Page) (int, string, error) {
			l, next, err := r.Policies(ctx, false, p)
			return len(l), next, err
		},
		"principal things": func(p registry.Page) (int, string, error) {
			l, next, err := r.PrincipalThings(ctx, certA, "", p)
			return len(l), next, err
		},
		"attached policies": func(p registry.Page) (int, string, error) {
			l, next, err := r.AttachedPolicies(ctx, certA, false, p)
			return len(l), next, err
		},
	} {
		var sizes []int
		p := registry.Page{Limit: 3}
		for {
			n, next, err := page(p)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			sizes = append(sizes, n)
			if next == "" || len(sizes) > 9 {
				break
			}
			p.Token = next
		}
		if !slices.Equal(sizes, []int{3, 3, 1}) {
			t.Errorf("%s: pages of %v", name, sizes)
		}
		for _, bad := range []registry.Page{{Token: "x"}, {Token: p.Token[:len(p.Token)-4]}, {Limit: 251}, {Limit: -1}} {
			if _, _, err := page(bad); !iot.IsKind(err, iot.KindInvalid) {
				t.Errorf("%s: page %+v: %v", name, bad, err)
			}
		}
	}
	l, _, err := r.ThingPrincipals(ctx, "t1", registry.ExclusiveThing, registry.Page{})
	if err != nil || len(l) != 0 {
		t.Errorf("exclusive principals: %v, %v", l, err)
	}
}

func TestPrincipalsAndTargets(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t)
	ctx := t.Context()
	if _, err := r.CreateThing(ctx, registry.NewThing{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.CreatePolicy(ctx, "p", allow, nil); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		principal string
		kind      iot.Kind
	}{
		"empty":          {"", iot.KindInvalid},
		"other region":   {strings.Replace(certA, "eu-west-1", "us-east-1", 1), iot.KindInvalid},
		"other account":  {strings.Replace(certA, "123456789012", "000000000000", 1), iot.KindInvalid},
		"upper case":     {strings.ToUpper(certA), iot.KindInvalid},
		"trailing":       {certA + "a", iot.KindInvalid},
		"long":           {strings.Repeat("a", 3000), iot.KindInvalid},
		"not registered": {"arn:aws:iot:eu-west-1:123456789012:cert/" + strings.Repeat("0", 64), iot.KindNotFound},
		"cognito":        {"eu-west-1:01234567-89ab-cdef-0123-456789abcdef", iot.KindNotBuilt},
	} {
		for what, err := range map[string]error{
			"thing": r.AttachThingPrincipal(ctx, "a", c.principal, ""), "policy": r.AttachPolicy(ctx, "p", c.principal),
		} {
			if !iot.IsKind(err, c.kind) {
				t.Errorf("%s, %s: %v, want %s", name, what, err, c.kind)
			}
		}
	}
	err := r.AttachPolicy(ctx, "p", "arn:aws:iot:eu-west-1:123456789012:thinggroup/g")
	wantKind(t, "group", err, iot.KindNotFound, "thing-group")
	wantKind(t, "other type", r.AttachThingPrincipal(ctx, "a", certA, "X"), iot.KindInvalid, "thing")
	wantKind(t, "no policy", r.AttachPolicy(ctx, "none", certA), iot.KindNotFound, "policy")
	wantKind(t, "no thing", r.AttachThingPrincipal(ctx, "none", certA, ""), iot.KindNotFound, "thing")
	for i := range 11 {
		name := fmt.Sprintf("p%d", i)
		if _, _, err := r.CreatePolicy(ctx, name, allow, nil); err != nil {
			t.Fatal(err)
		}
		if err := r.AttachPolicy(ctx, name, certA); (err != nil) != (i == 10) || err != nil && !iot.IsKind(err, iot.KindLimit) {
			t.Errorf("policy %d: %v", i+1, err)
		}
	}
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t)
	ctx := t.Context()
	for name, doc := range map[string]string{
		"empty": "", "no JSON": "{", "unknown effect": strings.Replace(allow, "Allow", "Permit", 1), "UTF-8": allow + "\xff",
		"2049 characters": `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:Connect","Resource":"` + strings.Repeat("a", 2049-91) + `"}}`,
	} {
		_, _, err := r.CreatePolicy(ctx, "p", doc, nil)
		wantKind(t, name, err, iot.KindMalformed, "policy")
	}
	spaced := strings.Replace(allow, ":", ":"+strings.Repeat(" \n", 2000), 1)
	p, v, err := r.CreatePolicy(ctx, "p", spaced, []registry.Tag{{Key: "k", Value: "v"}})
	if err != nil || v.ID != 1 || p.DefaultVersion != 1 || v.Document != spaced {
		t.Fatalf("%+v, %+v, %v", p, v, err)
	}
	_, _, err = r.CreatePolicy(ctx, "p", allow, nil)
	wantKind(t, "again", err, iot.KindExists, "policy")
	if e, _ := errors.AsType[*iot.Error](err); e.ARN != "arn:aws:iot:eu-west-1:123456789012:policy/p" || e.ID != "p" {
		t.Errorf("%+v", e)
	}
	for i := range 4 {
		if v, err := r.CreatePolicyVersion(ctx, "p", deny, i == 3); err != nil || v.ID != int64(i+2) {
			t.Errorf("%+v, %v", v, err)
		}
	}
	_, err = r.CreatePolicyVersion(ctx, "p", deny, true)
	wantKind(t, "sixth version", err, iot.KindVersionLimit, "policy-version")
	wantKind(t, "default version", r.DeletePolicyVersion(ctx, "p", "5"), iot.KindInvalid, "policy-version")
	for _, bad := range []string{"", "0", "-1", "01", "v1", "99999999999999999999"} {
		wantKind(t, bad, r.SetDefaultPolicyVersion(ctx, "p", bad), iot.KindInvalid, "policy-version")
	}
	wantKind(t, "versions", r.DeletePolicy(ctx, "p"), iot.KindConflict, "policy")
	for _, n := range []string{"1", "2", "3", "4"} {
		if err := r.DeletePolicyVersion(ctx, "p", n); err != nil {
			t.Error(err)
		}
	}
	wantKind(t, "deleted version", r.SetDefaultPolicyVersion(ctx, "p", "1"), iot.KindNotFound, "policy-version")
	if err := r.DeletePolicy(ctx, "p"); err != nil {
		t.Error(err)
	}
	_, _, err = r.Policy(ctx, "p")
	wantKind(t, "deleted", err, iot.KindNotFound, "policy")
	_, _, err = r.Policy(ctx, "a/b")
	wantKind(t, "name", err, iot.KindInvalid, "policy")
}

func TestTags(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t)
	ctx := t.Context()
	const arn = "arn:aws:iot:eu-west-1:123456789012:policy/p"
	if _, _, err := r.CreatePolicy(ctx, "p", allow, []registry.Tag{{Key: "k", Value: "v"}}); err != nil {
		t.Fatal(err)
	}
	many := make([]registry.Tag, 50)
	for i := range many {
		many[i].Key = fmt.Sprintf("k%d", i)
	}
	for name, c := range map[string]struct {
		tags []registry.Tag
		kind iot.Kind
	}{
		"empty key": {[]registry.Tag{{}}, iot.KindInvalid}, "long key": {[]registry.Tag{{Key: strings.Repeat("é", 129)}}, iot.KindInvalid},
		"long value": {[]registry.Tag{{Key: "a", Value: strings.Repeat("é", 257)}}, iot.KindInvalid}, "reserved": {[]registry.Tag{{Key: "AWS:x"}}, iot.KindInvalid},
		"twice": {[]registry.Tag{{Key: "a"}, {Key: "a"}}, iot.KindInvalid}, "character": {[]registry.Tag{{Key: "a*"}}, iot.KindInvalid},
		"too many in one": {append(many, registry.Tag{Key: "x"}), iot.KindLimit}, "too many in all": {many, iot.KindLimit},
	} {
		wantKind(t, name, r.TagResource(ctx, arn, c.tags), c.kind, "tag")
	}
	if err := r.TagResource(ctx, arn, []registry.Tag{{Key: strings.Repeat("é", 128), Value: strings.Repeat("é", 256)}}); err != nil {
		t.Error(err)
	}
	if err := r.UntagResource(ctx, arn, []string{"k", "none"}); err != nil {
		t.Error(err)
	}
	if got, err := r.Tags(ctx, arn); err != nil || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
	wantKind(t, "no ARN", r.TagResource(ctx, "p", nil), iot.KindInvalid, "arn")
	wantKind(t, "other account", r.TagResource(ctx, "arn:aws:iot:eu-west-1:000000000000:policy/p", nil), iot.KindInvalid, "arn")
	wantKind(t, "missing", r.TagResource(ctx, arn+"x", nil), iot.KindNotFound, "resource")
}

func decide(ctx context.Context, t *testing.T, r *registry.Registry, clientID string) policy.Effect {
	t.Helper()
	p, err := r.Principal(ctx, certA)
	if err != nil {
		t.Error(err)
		return policy.ImplicitDeny
	}
	k := &registry.Keys{ClientID: clientID}
	k.Thing, k.NoThing = p.ForClient(clientID)
	req := policy.Request{Action: "iot:Connect", Resource: "arn:aws:iot:eu-west-1:123456789012:client/" + clientID, Keys: k}
	return p.Policies.Evaluate(&req).Effect
}

func TestChangesAreInForceWhenTheyReturn(t *testing.T) {
	t.Parallel()
	r, reads := newRegistry(t)
	ctx := t.Context()
	own := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:Connect","Resource":"*",
		"Condition":{"StringEquals":{"iot:Connection.Thing.Attributes[site]":"x"}}}}`
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	step := func(what string, want policy.Effect) {
		t.Helper()
		if got := decide(ctx, t, r, "a"); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
		before := reads.Load()
		decide(ctx, t, r, "a")
		if n := reads.Load() - before; n != 0 {
			t.Errorf("%s: a warm decision read the store %d times", what, n)
		}
	}
	step("nothing", policy.ImplicitDeny)
	_, err := r.CreateThing(ctx, registry.NewThing{Name: "a", Attributes: map[string]string{"site": "x"}})
	must(err)
	_, _, err = r.CreatePolicy(ctx, "own", own, nil)
	must(err)
	must(r.AttachPolicy(ctx, "own", certA))
	step("policy without thing", policy.ImplicitDeny)
	must(r.AttachThingPrincipal(ctx, "a", certA, ""))
	step("policy and thing", policy.Allow)
	must(r.UpdateThing(ctx, "a", registry.ThingUpdate{Attributes: &registry.AttributePayload{Attributes: map[string]string{"site": "y"}}}))
	step("attribute changed", policy.ImplicitDeny)
	_, err = r.CreatePolicyVersion(ctx, "own", allow, false)
	must(err)
	step("a version that is not the default", policy.ImplicitDeny)
	must(r.SetDefaultPolicyVersion(ctx, "own", "2"))
	step("another default version", policy.Allow)
	_, _, err = r.CreatePolicy(ctx, "no", deny, nil)
	must(err)
	must(r.AttachPolicy(ctx, "no", certA))
	step("a deny attached", policy.ExplicitDeny)
	must(r.DetachPolicy(ctx, "no", certA))
	step("and detached", policy.Allow)
	must(r.DetachPolicy(ctx, "own", certA))
	step("all detached", policy.ImplicitDeny)
}

func TestReattachingIsAnotherAttachment(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t)
	ctx := t.Context()
	seen := map[int64]bool{}
	for range 3 {
		if _, err := r.CreateThing(ctx, registry.NewThing{Name: "a"}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := r.AttachThingPrincipal(ctx, "a", certA, ""); err != nil {
				t.Fatal(err)
			}
		}
		p, err := r.Principal(ctx, certA)
		if err != nil || p.Thing("a") == nil {
			t.Fatal(p, err)
		}
		n := p.Thing("a").Incarnation
		if seen[n] || n <= 0 {
			t.Errorf("incarnation %d", n)
		}
		seen[n] = true
		if err := r.DetachThingPrincipal(ctx, "a", certA); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWarmPrincipalAllocatesNothing(t *testing.T) {
	r, _ := newRegistry(t)
	ctx := t.Context()
	if _, err := r.Principal(ctx, certA); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = r.Principal(ctx, certA) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestARegistryWithoutRandomnessRefuses(t *testing.T) {
	t.Parallel()
	r := registry.New(registry.Config{Things: (*sqlstore.RegistryStore)(nil), Rand: bytes.NewReader(nil), Now: time.Now})
	if _, err := r.CreateThing(t.Context(), registry.NewThing{Name: "a"}); err == nil {
		t.Error("a thing without an id")
	}
}
