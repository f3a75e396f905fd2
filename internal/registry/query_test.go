package registry_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/registry"
)

// written is a query with every operator and bound spelled out.
func written(q *registry.Query) string {
	var parts []string
	for _, n := range q.Nodes {
		parts = append(parts, written(n))
	}
	switch q.Op {
	case registry.QueryAnd:
		return "(" + strings.Join(parts, " & ") + ")"
	case registry.QueryOr:
		return "(" + strings.Join(parts, " | ") + ")"
	case registry.QueryNot:
		return "!" + parts[0]
	case registry.QueryIs:
	}
	t := q.Term
	s := fmt.Sprint(t.Field)
	if t.Field == registry.FieldAttribute {
		s = t.Attribute
	}
	if r := t.Range; r != nil {
		kind := "text"
		if r.Numeric {
			kind = "number"
		}
		return fmt.Sprintf("%s %s %t %q..%q %t", s, kind, r.WithLow, r.Low, r.High, r.WithHigh)
	}
	return s + "=" + strings.NewReplacer(string(registry.WildMany), "*", string(registry.WildOne), "?").Replace(string(t.Pattern))
}

func TestParseQuery(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		"abc":                         "0=abc",
		`"New \"York"`:                `0=new "york`,
		"thingName:MyThing":           "1=mything",
		"thingName : my*":             "1=my*",
		"thingName:*my":               "1=*my",
		"thingName:ab?":               "1=ab?",
		"attributes.a.b-c:75":         "a.b-c=75",
		"attributes.Site:x":           "Site=x",
		`attributes.a\:b:x`:           "a:b=x",
		`attributes.u:a\:b\*`:         "u=a:b*",
		"attributes.a:[75 TO 80]":     `a number true "75".."80" true`,
		"attributes.a:{75 TO 80]":     `a number false "75".."80" true`,
		"attributes.a:[-1.5 TO *}":    `a number true "-1.5".."" false`,
		`attributes.a:["Ab" TO "cd"]`: `a text true "ab".."cd" true`,
		`attributes.a:["1" TO 2]`:     `a text true "1".."2" true`,
		"attributes.a<5":              `a number false "".."5" false`,
		"attributes.a <= 5":           `a number false "".."5" true`,
		"attributes.a:>=5":            `a number true "5".."" false`,
		"attributes.a>x":              `a text false "x".."" false`,
		"a b":                         "(0=a & 0=b)",
		"a AND b OR c d":              "((0=a & 0=b) | (0=c & 0=d))",
		"a AND NOT b":                 "(0=a & !0=b)",
		"a NOT b":                     "(0=a & !0=b)",
		"NOT NOT a":                   "!!0=a",
		"-a -b":                       "(!0=a & !0=b)",
		"a-b":                         "0=a-b",
		"ANDROID ORANGE NOTE":         "(0=android & 0=orange & 0=note)",
		"and or":                      "(0=and & 0=or)",
		"thingName:(tv* AND -plasma)": "(1=tv* & !1=plasma)",
		"thingTypeName:(a OR (b c))":  "(3=a | (3=b & 3=c))",
		"registry.thingGroupNames:g":  "4=g",
		"thingName:[a TO 5]":          `1 text true "a".."5" true`,
		"connectivity.connected:TRUE": "6=true",
		"connectivity.timestamp:1557": `7 number true "1557".."1557" true`,
		"connectivity.timestamp>1557": `7 number false "1557".."" false`,
		"attributes.attr1:abc AND attributes.attr2<5 NOT attributes.attr3>10": `(attr1=abc & attr2 number false "".."5" false & !attr3 number false "10".."" false)`,
	} {
		q, err := registry.ParseQuery(query)
		if err != nil {
			t.Errorf("%s: %v", query, err)
			continue
		}
		if got := written(q); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	for _, query := range []string{
		"", " ", "AND", "a AND", "OR a", "NOT", "-", "(a", "a)", "()", "thingName:", "thingName:()", "shadow.reported.x:1", "thingname:x", "attributes.:x",
		`"a`, `""`, `a\`, `"a\`, "attributes.a:[1 TO 2", "attributes.a:[1 2]", "attributes.a:[1 TO", "attributes.a:[", "attributes.a:[a* TO b]", "attributes.a<", "attributes.a<*",
		"[1 TO 2]", "<5", "thingName:a:b", "a/b", "a,b", "a#b", "é", "a\x00b", "a\x01b", "thingName:(attributes.a:1)", "*a *b", "thingName:?a attributes.x:*b",
		"connectivity.connected:maybe", "connectivity.connected:t*", "connectivity.timestamp:x", "connectivity.timestamp:1*", "connectivity.timestamp>x",
		strings.Repeat("a", 1001), strings.Repeat("a ", 13), strings.Repeat("(", 25) + "a" + strings.Repeat(")", 25), strings.Repeat("-", 30) + "a", "*" + strings.Repeat("a", 100),
	} {
		q, err := registry.ParseQuery(query)
		if err == nil {
			t.Errorf("%.40q is read as %s", query, written(q))
			continue
		}
		wantKind(t, query, err, iot.KindInvalid, "query")
	}
}

func TestQueryPatterns(t *testing.T) {
	t.Parallel()
	for pattern, c := range map[string]struct{ yes, no []string }{
		"ab":       {[]string{"ab"}, []string{"", "a", "abc", "xab"}},
		"a*":       {[]string{"a", "abc"}, []string{"", "ba"}},
		"*a*b*":    {[]string{"ab", "xaxbx", "aab"}, []string{"ba", "a"}},
		"a?c":      {[]string{"abc"}, []string{"ac", "abbc"}},
		"*ab":      {[]string{"ab", "aab", "abab"}, []string{"aba"}},
		"a**?":     {[]string{"ab", "abb"}, []string{"a"}},
		"?*?":      {[]string{"ab", "abc"}, []string{"a"}},
		"*aaab*ab": {[]string{"aaaabab", "aaabab"}, []string{"aaab"}},
	} {
		p := registry.QueryPattern(strings.NewReplacer("*", string(registry.WildMany), "?", string(registry.WildOne)).Replace(pattern))
		for _, s := range c.yes {
			if !p.Match(s) {
				t.Errorf("%s does not match %q", pattern, s)
			}
		}
		for _, s := range c.no {
			if p.Match(s) {
				t.Errorf("%s matches %q", pattern, s)
			}
		}
	}
}

// FuzzParseQuery: what is read stays within its limits, and what it is written as in full is read alike.
func FuzzParseQuery(f *testing.F) {
	for _, s := range []string{"a AND NOT (b OR -c)", "thingName:(tv* AND -plasma)", "attributes.a:{1 TO *]", `"a\"b" x\:y`, "attributes.a >= 5", "connectivity.connected:true"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		q, err := registry.ParseQuery(s)
		if err != nil {
			if !iot.IsKind(err, iot.KindInvalid) {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		terms := 0
		var walk func(q *registry.Query)
		walk = func(q *registry.Query) {
			for _, n := range q.Nodes {
				walk(n)
			}
			switch q.Op {
			case registry.QueryIs:
				terms++
				if q.Term == nil || len(q.Nodes) > 0 || (q.Term.Range == nil) == (q.Term.Pattern == "") {
					t.Errorf("%q has the term %+v", s, q)
				}
			case registry.QueryNot:
				if len(q.Nodes) != 1 {
					t.Errorf("%q negates %d", s, len(q.Nodes))
				}
			case registry.QueryAnd, registry.QueryOr:
				if len(q.Nodes) < 2 {
					t.Errorf("%q joins %d", s, len(q.Nodes))
				}
			}
		}
		walk(q)
		if terms == 0 || terms > 12 {
			t.Errorf("%q has %d terms", s, terms)
		}
		again, err := registry.ParseQuery("(" + s + ")")
		if len(s) <= 98 && (err != nil && !strings.Contains(err.Error(), "nested") || err == nil && written(again) != written(q)) {
			t.Errorf("(%q) is read otherwise: %v", s, err)
		}
	})
}
