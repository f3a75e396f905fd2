package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/registry"
	"github.com/sekisho-iot/sekisho/internal/sqlstore"
)

// matches is what a search should find, told thing by thing.
func matches(q *registry.Query, d *registry.ThingDocument) bool {
	some := func(n *registry.Query) bool { return matches(n, d) }
	switch q.Op {
	case registry.QueryAnd:
		return !slices.ContainsFunc(q.Nodes, func(n *registry.Query) bool { return !matches(n, d) })
	case registry.QueryOr:
		return slices.ContainsFunc(q.Nodes, some)
	case registry.QueryNot:
		return !matches(q.Nodes[0], d)
	case registry.QueryIs:
	}
	t := q.Term
	is := func(s string) bool {
		s = strings.ToLower(s)
		if t.Range != nil {
			return t.Range.Match(s)
		}
		return t.Pattern.Match(s)
	}
	named := func() bool {
		return slices.ContainsFunc(d.Groups, func(g iot.ThingGroupName) bool { return is(string(g)) })
	}
	switch t.Field {
	case registry.FieldThingName:
		return is(string(d.Name))
	case registry.FieldThingID:
		return is(d.ID)
	case registry.FieldThingType:
		return d.TypeName != "" && is(d.TypeName)
	case registry.FieldThingGroup:
		return named()
	case registry.FieldAttribute:
		v, ok := d.Attributes[t.Attribute]
		return ok && is(v)
	case registry.FieldConnected:
		return d.Connectivity != nil && is(strconv.FormatBool(d.Connectivity.Connected))
	case registry.FieldConnectedAt:
		return d.Connectivity != nil && is(strconv.FormatInt(d.Connectivity.Since.UnixMilli(), 10))
	case registry.FieldAny:
	}
	if is(string(d.Name)) || is(d.ID) || d.TypeName != "" && is(d.TypeName) || named() {
		return true
	}
	for _, v := range d.Attributes {
		if is(v) {
			return true
		}
	}
	return false
}

// searches compares what is found with what should be, for queries made at random too.
func searches(t *testing.T, open Opener) {
	t.Helper()
	s := open(t, nil).Registry()
	all := searchable(t, s)
	queries := []string{
		"*", "pump", "x?", "thingName:*", "thingName:PUMP-1", "thingName:pump*", "thingName:*-1", "thingName:p*-1?", "thingName:(pump-1* AND -pump-11)",
		"thingTypeName:a*", "thingTypeName:*", "thingGroupNames:G1", "thingGroupNames:g*", "thingGroupNames:none", "NOT thingGroupNames:*",
		"attributes.site:X1", "attributes.site:x*", "attributes.site:*", "attributes.Site:*", "attributes.site:?1", "attributes.site:*1",
		"attributes.n:[5 TO 10]", "attributes.n:{5 TO 10}", "attributes.n:[* TO 7}", "attributes.n>17", "attributes.n<=-1", `attributes.n:["1" TO "2"]`,
		`attributes.site:["x1" TO "x3"]`, "attributes.site:x1 AND attributes.n<5 NOT attributes.n:3", "NOT attributes.site:x1", "-attributes.site:x1 -attributes.site:x2",
		"attributes.site:x1 OR attributes.site:x2 thingName:pump*", "(attributes.site:x1 OR thingTypeName:alpha) AND NOT (thingGroupNames:g1 OR attributes.n>3)",
		"connectivity.connected:true", "connectivity.connected:false", "connectivity.connected:*", "NOT connectivity.connected:*",
		fmt.Sprint("connectivity.timestamp : [", day().UnixMilli()+3, " TO ", day().UnixMilli()+6, "]"), fmt.Sprint("connectivity.timestamp>", day().UnixMilli()+5),
		"thingId:id-pump-1", "thingId:id-v*", `attributes.w:"50%"`, `attributes.w:50\_*`, "thingName:[pump-1 TO pump-3]", `attributes.site:none`,
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		queries = append(queries, randomQuery(r, 3))
	}
	found := 0
	for _, text := range queries {
		q, err := registry.ParseQuery(text)
		if err != nil {
			if len(text) > 100 || strings.Contains(err.Error(), "wildcard") || strings.Contains(err.Error(), "terms") {
				continue
			}
			t.Fatalf("%s: %v", text, err)
		}
		var want, got []string
		for i := range all {
			if matches(q, &all[i]) {
				want = append(want, string(all[i].Name))
			}
		}
		from := ""
		for {
			list, next, err := s.SearchThings(t.Context(), q, from, 7)
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			for _, d := range list {
				got = append(got, string(d.Name))
			}
			if from = next; next == "" || len(got) > len(all) {
				break
			}
		}
		if found += len(got); !slices.Equal(got, want) {
			t.Errorf("%s: found %v, want %v", text, got, want)
		}
	}
	if found < 1000 {
		t.Errorf("the queries found %d things in all", found)
	}
	list, _, err := s.SearchThings(t.Context(), parsed(t, "thingName:pump-1"), "", 9)
	if err != nil || len(list) != 1 || list[0].ID != "id-pump-1" || list[0].Attributes["site"] != "x1" || !slices.Equal(list[0].Groups, []iot.ThingGroupName{"G1"}) ||
		list[0].Connectivity == nil || list[0].Connectivity.Connected || list[0].Connectivity.Reason != "r" {
		t.Errorf("%+v, %v", list, err)
	}
}

func parsed(t *testing.T, query string) *registry.Query {
	t.Helper()
	q, err := registry.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// searchable makes sixty things that have something in common.
func searchable(t *testing.T, s *sqlstore.RegistryStore) []registry.ThingDocument {
	t.Helper()
	ctx := t.Context()
	for _, n := range []string{"Alpha", "beta"} {
		if _, err := s.CreateThingType(ctx, registry.ThingType{Name: n, ID: n, CreatedAt: day()}, nil); err != nil {
			t.Fatal(err)
		}
	}
	newThingGroups(t, s, [2]string{"G1"}, [2]string{"g2", "G1"}, [2]string{"h"})
	var all []registry.ThingDocument
	var states []registry.Connectivity
	for i := range 60 {
		name := fmt.Sprint([]string{"pump-", "Pump-", "valve-"}[i%3], i)
		if i == 1 {
			name = "pump-1"
		}
		x := newThing(name, map[string]string{"n": fmt.Sprint(i - 5)})
		switch i % 4 {
		case 0:
			x.TypeName, x.Attributes["site"] = "Alpha", fmt.Sprint("X", i%5)
		case 1:
			x.TypeName, x.Attributes["site"] = "beta", fmt.Sprint("x", i%5)
		case 2:
			x.Attributes["w"] = []string{"50_", "501", "=", "1.5"}[i/4%4]
		}
		if _, err := s.CreateThing(ctx, x); err != nil {
			t.Fatal(err)
		}
		d := registry.ThingDocument{Thing: x}
		if g := []iot.ThingGroupName{"", "G1", "g2", "h"}[i%4]; g != "" {
			if _, err := s.ChangeMembership(ctx, x.Name, []iot.ThingGroupName{g}, nil, 9, day()); err != nil {
				t.Fatal(err)
			}
			d.Groups = []iot.ThingGroupName{g}
		}
		if i < 10 {
			d.Connectivity = &registry.Connectivity{Thing: x.Name, Connected: i%2 == 0, Since: day().Add(time.Duration(i) * time.Millisecond), Reason: "r"}
			states = append(states, *d.Connectivity)
		}
		all = append(all, d)
	}
	states = append(states, registry.Connectivity{Thing: "none", Connected: true, Since: day()})
	if err := s.SetConnectivity(ctx, states); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(all, func(a, b registry.ThingDocument) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return all
}

func randomQuery(r *rand.Rand, depth int) string {
	one := func(list ...string) string { return list[r.IntN(len(list))] }
	if depth == 0 || r.IntN(3) == 0 {
		return one("attributes.site:x1", "attributes.site:x*", "attributes.n>3", "attributes.n:[0 TO 20]", "thingName:pump*", "thingName:pump-1", "thingName:v*-?",
			"thingTypeName:alpha", "thingTypeName:b*", "thingGroupNames:g1", "thingGroupNames:g*", "connectivity.connected:true", "x3", "attributes.w:*")
	}
	switch r.IntN(3) {
	case 0:
		return "NOT (" + randomQuery(r, depth-1) + ")"
	case 1:
		return "(" + randomQuery(r, depth-1) + ") " + one("AND ", "", "NOT ", "-") + "(" + randomQuery(r, depth-1) + ")"
	}
	return "(" + randomQuery(r, depth-1) + " OR " + randomQuery(r, depth-1) + ")"
}

func indexConfigurations(t *testing.T, open Opener) {
	t.Helper()
	s, ctx := open(t, nil).Registry(), t.Context()
	if c, err := s.IndexingConfiguration(ctx); err != nil || c.Things != "OFF" || c.Connectivity != "OFF" || c.CustomFields != nil {
		t.Errorf("%+v, %v", c, err)
	}
	set := registry.IndexingConfiguration{Things: "REGISTRY", Connectivity: "STATUS", CustomFields: []registry.IndexField{{Name: "attributes.a", Type: "Number"}, {Name: "attributes.b", Type: "String"}}}
	for range 2 {
		if err := s.SetIndexingConfiguration(ctx, set); err != nil {
			t.Fatal(err)
		}
	}
	if c, err := s.IndexingConfiguration(ctx); err != nil || c.Things != "REGISTRY" || c.Connectivity != "STATUS" || !slices.Equal(c.CustomFields, set.CustomFields) {
		t.Errorf("%+v, %v", c, err)
	}
	searchable(t, s)
	count := func(query string) int {
		list, _, err := s.SearchThings(ctx, parsed(t, query), "", 100)
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	if n := count("connectivity.connected:true"); n != 5 {
		t.Errorf("%d connected", n)
	}
	if err := s.ClearConnectivity(ctx, day(), "gone"); err != nil {
		t.Fatal(err)
	}
	if n, m := count("connectivity.connected:true"), count("connectivity.connected:false"); n != 0 || m != 10 {
		t.Errorf("%d connected and %d not", n, m)
	}
	set.Connectivity = "OFF"
	if err := s.SetIndexingConfiguration(ctx, set); err != nil {
		t.Fatal(err)
	}
	if n := count("connectivity.connected:*"); n != 0 {
		t.Errorf("%d things of which something is known", n)
	}
}
