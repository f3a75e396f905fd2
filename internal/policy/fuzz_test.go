package policy_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
)

// FuzzCompile compiles anything; what compiles is valid JSON, decides without
// a panic, explains what it decided, and allows nothing that it also denies.
func FuzzCompile(f *testing.F) {
	for _, cases := range readCorpus(f) {
		for _, c := range cases {
			if src := c.source(); src != nil {
				r := c.request()
				f.Add(uint8(c.use()), src, r.Action, r.Resource, "value")
			}
		}
	}
	f.Fuzz(func(t *testing.T, use uint8, src []byte, action, resource, value string) {
		p, err := policy.Compile(policy.Use(use%4), "fuzz", src)
		if n := policy.CompactLen(src); n > len(src) {
			t.Errorf("%d characters in %d bytes", n, len(src))
		}
		if err != nil {
			if !iot.IsKind(err, iot.KindMalformed) {
				t.Errorf("not a malformed document: %v", err)
			}
			return
		}
		if !json.Valid(src) {
			t.Error("compiled what is not JSON")
		}
		for _, keys := range []policy.Keys{nil, everyKey{policy.One(value)}, everyKey{policy.Many([]string{value, resource})}, everyKey{policy.Absent(value)}} {
			r := &policy.Request{
				Action: action, Resource: resource, Keys: keys,
				Principal: policy.Principal{Account: "111122223333", ARN: value, UserID: value, Service: action},
			}
			d := policy.Set{p}.Evaluate(r)
			if x := (policy.Set{p}).Explain(r); x.Decision != d || x.String() == "" {
				t.Errorf("decided %v, explained %s", d, x)
			}
			// A boundary takes the exceptions out of a Deny with NotPrincipal.
			bounded := !slices.ContainsFunc(p.Statements(), func(s policy.StatementInfo) bool { return strings.HasPrefix(s.Principal, "all but ") })
			g := policy.Grants{Identity: policy.Set{p}, Boundary: policy.Set{p}, HasBoundary: bounded, Session: policy.Set{p}, HasSession: true, Resource: p}
			if x := g.Explain(r); x.Decision != g.Authorize(r) || x.Decision.Allowed() != d.Allowed() {
				t.Errorf("alone %v, in every layer %v", d, x.Decision)
			}
		}
	})
}

// everyKey answers every key alike.
type everyKey struct{ v policy.Values }

func (k everyKey) Lookup(string) policy.Values { return k.v }

// FuzzMatch holds the matcher against a naive one, in which ~ stands for a variable.
func FuzzMatch(f *testing.F) {
	for _, s := range [][3]string{
		{"*a*a*a*b", "aaaaaaaaaaaaaaaa", ""},
		{"a?c*~*d", "abcxvalued", "value"},
		{"~", "value", "value"},
		{"*~?", "value\xffé", "value"},
		{"?*?", "関所", ""},
		{"*~~*?a", "*?*?za", "*?"},
		{"aba*aba", "ababa", ""},
		{"*?b*c", "ab\xe9\xa2c", ""},
	} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, glob, text, value string) {
		if !utf8.ValidString(glob) || !utf8.ValidString(value) || strings.ContainsAny(glob, "${}") ||
			strings.Count(glob, "~") > 16 || len(glob) > 64 || len(text) > 256 {
			t.Skip()
		}
		src, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": map[string]any{
			"Effect": "Allow", "Action": "*", "Resource": "arn:aws:s3:::" + strings.ReplaceAll(glob, "~", "${a:b}"),
		}})
		if err != nil {
			t.Fatal(err)
		}
		r := &policy.Request{Action: "s3:X", Resource: "arn:aws:s3:::" + text, Keys: everyKey{policy.One(value)}}
		got := policy.Set{compile(t, policy.Identity, string(src))}.Evaluate(r).Allowed()
		if want := naiveMatch(glob, text, value); got != want {
			t.Errorf("%q on %q with %q: got %v, want %v", glob, text, value, got, want)
		}
	})
}

// naiveMatch follows every way to match at once: reached[i] says that the
// pattern so far can end at byte i.
func naiveMatch(glob, text, value string) bool {
	reached := make([]bool, len(text)+1)
	reached[0] = true
	for _, c := range glob {
		next := make([]bool, len(text)+1)
		for i := range reached {
			if !reached[i] {
				continue
			}
			_, size := utf8.DecodeRuneInString(text[i:])
			switch {
			case c == '*':
				for j := i; j < len(text); j += size {
					next[j] = true
					_, size = utf8.DecodeRuneInString(text[j:])
				}
				next[len(text)] = true
			case c == '~' && strings.HasPrefix(text[i:], value):
				next[i+len(value)] = true
			case c == '?' && i < len(text), c != '~' && c != '?' && strings.HasPrefix(text[i:], string(c)):
				next[i+size] = true
			}
		}
		reached = next
	}
	return reached[len(text)]
}
