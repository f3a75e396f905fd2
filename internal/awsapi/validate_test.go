package awsapi

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

func TestViolations(t *testing.T) {
	t.Parallel()
	tests := []struct{ body, want string }{
		{`{"Text":"A"}`, `Value 'A' at 'text' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-z]+`},
		{`{"Text":""}`, `Value '' at 'text' failed to satisfy constraint: Member must have length greater than or equal to 1; Value '' at 'text' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-z]+`},
		{`{"Text":"abcdefghi"}`, `Value 'abcdefghi' at 'text' failed to satisfy constraint: Member must have length less than or equal to 8`},
		{`{"Text":"a\n"}`, "Value 'a\n' at 'text' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-z]+"},
		{`{"Count":0}`, `Value '0' at 'count' failed to satisfy constraint: Member must have value greater than or equal to 1`},
		{`{"Count":251}`, `Value '251' at 'count' failed to satisfy constraint: Member must have value less than or equal to 250`},
		{`{"Ratio":2.5}`, `Value '2.5' at 'ratio' failed to satisfy constraint: Member must have value less than or equal to 2`},
		{`{"Raw":"MTIzNDU="}`, `Value at 'raw' failed to satisfy constraint: Member must have length less than or equal to 4`},
		{`{"Kind":"C"}`, `Value 'C' at 'kind' failed to satisfy constraint: Member must satisfy enum value set: [A, B]`},
		{`{"Names":["a","b","c","d"]}`, `Value '[a, b, c, d]' at 'names' failed to satisfy constraint: Member must have length less than or equal to 3`},
		{`{"Names":["a","B"]}`, `Value '[a, B]' at 'names' failed to satisfy constraint: Member must satisfy constraint: [Member must have length less than or equal to 8, Member must have length greater than or equal to 1, Member must satisfy regular expression pattern: [a-z]+]`},
		{`{"Counts":[300]}`, `Value at 'counts' failed to satisfy constraint: Member must satisfy constraint: [Member must have value less than or equal to 250, Member must have value greater than or equal to 1]`},
		{`{"Nests":[{},{},{}]}`, `Value at 'nests' failed to satisfy constraint: Member must have length less than or equal to 2`},
		{`{"Nests":[{},{"Text":"A"}]}`, `Value 'A' at 'nests.2.member.text' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-z]+`},
		{`{"Lists":[["A"]]}`, `Value '[A]' at 'lists.1.member' failed to satisfy constraint: Member must satisfy constraint: [Member must have length less than or equal to 8, Member must have length greater than or equal to 1, Member must satisfy regular expression pattern: [a-z]+]`},
		{`{"Kinds":{"A":"C"}}`, `Value '{A=C}' at 'kinds' failed to satisfy constraint: Map value must satisfy constraint: [Member must satisfy enum value set: [A, B]]`},
		{`{"Kinds":{"C":"A","D":"B"}}`, `Value '{C=A, D=B}' at 'kinds' failed to satisfy constraint: Map keys must satisfy constraint: [Member must satisfy enum value set: [A, B]]`},
		{`{"Deep":{"x":{"Count":0}}}`, `Value '0' at 'deep.x.member.count' failed to satisfy constraint: Member must have value greater than or equal to 1`},
		{`{"Secret":"hunter2"}`, `Value at 'secret' failed to satisfy constraint: Member must have length greater than or equal to 8`},
		{`{"Secrets":["hunter2"]}`, `Value at 'secrets' failed to satisfy constraint: Member must satisfy constraint: [Member must have length greater than or equal to 8]`},
		{`{"Text":"` + strings.Repeat("é", 1000) + `"}`, `Value '` + strings.Repeat("é", 512) + `...' at 'text' failed to satisfy constraint: Member must have length less than or equal to 8; `},
	}
	for _, tt := range tests {
		_, err := echo(t, RESTJSON, tt.body)
		if err == nil {
			t.Errorf("%s: accepted", tt.body)
			continue
		}
		_, got, _ := strings.Cut(err.Error(), " detected: ")
		if !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s:\n%s\nwant\n%s", tt.body, got, tt.want)
		}
	}
	for _, body := range []string{`{"Nulls":[null],"NullMap":{"a":null}}`, `{"Text":"abcdefgh","Count":250}`, `{"Secret":"long enough"}`, `{"Ratio":-9}`} {
		if _, err := echo(t, RESTJSON, body); err != nil {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestMissing(t *testing.T) {
	t.Parallel()
	err := call(t, RESTJSON, http.MethodPost, "/top", "", &top{})
	e := wantFault(t, err, FaultMissing, "name")
	if e.Message != "2 validation errors detected: Value null at 'name' failed to satisfy constraint: Member must not be null; Value null at 'tags' failed to satisfy constraint: Member must not be null" {
		t.Error(e.Message)
	}
	err = call(t, RESTJSON, http.MethodPost, "/top", `{"Name":"A"}`, &top{})
	wantFault(t, err, FaultConstraint, "name")
	err = call(t, RESTJSON, http.MethodPost, "/top", `{"Name":"a","Tags":[{"Text":"A"}]}`, &top{})
	e = wantFault(t, err, FaultConstraint, "tags.1.member.text")
	if !strings.HasPrefix(e.Error(), "1 validation error detected: Value 'A' at") {
		t.Error(e.Message)
	}
}

func TestManyViolations(t *testing.T) {
	t.Parallel()
	body := `{"Deep":{"a":{"Text":"","Count":0,"Ratio":9},"b":{"Text":"","Count":0,"Ratio":9},"c":{"Text":"","Count":0,"Ratio":9},"d":{"Text":"","Count":0,"Ratio":9},"e":{"Text":"","Count":0,"Ratio":9},"f":{"Text":"","Count":0,"Ratio":9}}}`
	_, err := echo(t, RESTJSON, body)
	if e := wantFault(t, err, FaultConstraint, "deep.a.member.text"); strings.Count(e.Message, "Value") != maxViolations {
		t.Error(e.Message)
	}
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	tests := []struct{ java, yes, no string }{
		{`[a-zA-Z0-9:_-]+`, "a:b", "a b"},
		{`[\p{Graph}\x20]*`, "a b", "a\tb"},
		{`[\p{Upper}\p{Digit}_]+`, "A_1", "a"},
		{`[^\p{Cntrl}]*`, "a b", "a\x01"},
		{`[^\p{C}]+`, "a b", "a\x01"},
		{`[\u0009\u000A\u000D\u0020-\u007E\u0085\u00A0-\uD7FF\uE000-\uFFFD\u10000-\u10FFFF]+`, "a\t\U0001F600", "\x01"},
		{`(\u002F)|(\u002F[\u0021-\u007E]+\u002F)`, "/a/", "a"},
		{`^[a-z0-9]([a-z0-9]|-(?!-)){1,61}[a-z0-9]$`, "my-alias", "my--alias"},
		{`^http(s?)://.*$`, "https://x", "https://x\n"},
	}
	for _, tt := range tests {
		re, err := compilePattern(tt.java)
		if err != nil {
			t.Error(err)
			continue
		}
		if !re.MatchString(tt.yes) || re.MatchString(tt.no) {
			t.Errorf("%s: %q %t, %q %t", tt.java, tt.yes, re.MatchString(tt.yes), tt.no, re.MatchString(tt.no))
		}
	}
	if _, err := compilePattern(`(?!x)`); err == nil {
		t.Error("a look-ahead compiled")
	}
	if got := translatePattern(`\u12`); got != `\u12` {
		t.Error(got)
	}
	if _, err := regexp.Compile(translatePattern(`\u0041+`)); err != nil {
		t.Error(err)
	}
}
