package policy_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
)

func TestCompileRefusesWhatIsTooLarge(t *testing.T) {
	t.Parallel()
	values := strings.Repeat(`"a",`, 1<<16)
	for want, src := range map[string]string{
		"document: longer than 1048576 bytes": strings.Repeat(" ", 1<<20+1),
		"document: not valid UTF-8":           "{\"Id\":\"\xff\"}",
		"Id[65534]: more than 65536 values":   `{"Id":[` + values + `1]}`,
		"nested deeper than 16":               `{"Id":{"a":{"b":` + strings.Repeat(`[`, 20),
	} {
		_, err := policy.Compile(policy.Identity, "test", []byte(src))
		if !iot.IsKind(err, iot.KindMalformed) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestPolicyOutline(t *testing.T) {
	t.Parallel()
	src := []byte(`{"Version":"2012-10-17","Statement":[
		{"Sid":"One","Effect":"Allow","Action":["s3:Get*","S3:List*"],"NotResource":"arn:aws:s3:::b/${aws:username}",
		 "Principal":{"AWS":["*","111122223333","arn:aws:iam::111122223333:user/anna","arn:aws:iam::111122223333:role/dev","AIDAANNAANNAANNAANNA"],
		  "Service":"iot.amazonaws.com","Federated":"id.example.com","CanonicalUser":"` + strings.Repeat("0", 64) + `"}},
		{"Effect":"Deny","NotAction":"s3:*","Resource":"*","NotPrincipal":"*"}]}`)
	p, err := policy.Compile(policy.Resource, "bucket policy of b", src)
	if err != nil {
		t.Fatal(err)
	}
	if p.Name() != "bucket policy of b" || p.Use() != policy.Resource || string(p.Source()) != string(src) {
		t.Errorf("name %q, use %s, source %s", p.Name(), p.Use(), p.Source())
	}
	src[0] = 'x'
	if p.Source()[0] != '{' {
		t.Error("the policy shares the caller's bytes")
	}
	want := []policy.StatementInfo{
		{
			Sid: "One", Effect: policy.Allow, Actions: []string{"s3:Get*", "S3:List*"},
			Resources: []string{"arn:aws:s3:::b/${aws:username}"}, NotResource: true,
			Principal: "*, account 111122223333, arn:aws:iam::111122223333:user/anna, arn:aws:iam::111122223333:role/dev, id AIDAANNAANNAANNAANNA, service iot.amazonaws.com, federated id.example.com, canonical user " + strings.Repeat("0", 64),
		},
		{Effect: policy.ExplicitDeny, Actions: []string{"s3:*"}, NotAction: true, Resources: []string{"*"}, Principal: "all but *"},
	}
	if got := p.Statements(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestDecisionJSON(t *testing.T) {
	t.Parallel()
	s := policy.Set{compile(t, policy.Identity, `{"Statement":[
		{"Sid":"Get","Effect":"Allow","Action":"s3:Get*","Resource":"*"},
		{"Effect":"Deny","Action":"s3:Put*","Resource":"*"},
		{"Sid":"Sts","Effect":"Allow","Action":"sts:*","Resource":"arn:aws:iam::1:role/x"}]}`)}
	for action, want := range map[string]string{
		"s3:GetObject": `{"decision":{"effect":"allow","policy":"test","statement":0,"sid":"Get"},"layer":"identity","reason":"allowed by statement 0 (Sid Get) of the identity policy test","action":"s3:GetObject","resource":"r","principal":"nobody"}`,
		"s3:PutObject": `{"decision":{"effect":"explicitDeny","policy":"test","statement":1},"layer":"identity","reason":"explicitly denied by statement 1 of the identity policy test","action":"s3:PutObject","resource":"r","principal":"nobody"}`,
		"sts:X":        `{"decision":{"effect":"implicitDeny"},"layer":"identity","reason":"no identity policy allows it; the nearest missed by its resource","action":"sts:X","resource":"r","principal":"nobody","nearMisses":[{"layer":"identity","policy":"test","statement":2,"sid":"Sts","misses":[{"kind":"resource","wants":"arn:aws:iam::1:role/x","has":"r"}]}]}`,
	} {
		got, err := json.Marshal(s.Explain(&policy.Request{Action: action, Resource: "r"}))
		if err != nil || string(got) != want {
			t.Errorf("got  %s, %v\nwant %s", got, err, want)
		}
	}
	if sid := (policy.Decision{}).Sid(); sid != "" {
		t.Errorf("an implicit deny has the Sid %q", sid)
	}
}

func TestNormalizeKey(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]string{
		"aws:SourceIp":                             "aws:sourceip",
		"aws:PrincipalTag/Team/A":                  "aws:principaltag/Team/A",
		"iot:Connection.Thing.Attributes[Site]":    "iot:connection.thing.attributes[Site]",
		"iot:Connection.Thing.Attributes[A].List":  "iot:connection.thing.attributes[A].list",
		"iot:Connection.Thing.Attributes[A/B].X/Y": "iot:connection.thing.attributes[A/B].x/Y",
		"iot:Attributes[Open":                      "iot:attributes[Open",
	} {
		if got := policy.NormalizeKey(key); got != want {
			t.Errorf("%s: got %s, want %s", key, got, want)
		}
	}
}

func TestKeyChain(t *testing.T) {
	t.Parallel()
	chain := policy.KeyChain{
		policy.KeyMap{"a:x": policy.One("1"), "a:y": policy.Absent("first")},
		policy.KeyMap{"a:x": policy.One("2"), "a:z": policy.Many(nil), "a:y": policy.Absent("second")},
	}
	for key, want := range map[string]policy.Values{
		"a:x": policy.One("1"), "a:y": policy.Absent("first"), "a:z": policy.Many([]string{}), "a:none": {},
	} {
		if got := chain.Lookup(key); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", key, got, want)
		}
	}
	if v := policy.Many(nil); v.Many == nil {
		t.Error("a multi-valued key without values reads as single-valued")
	}
}

func TestCompactLen(t *testing.T) {
	t.Parallel()
	for src, want := range map[string]int{
		"":                       0,
		" { } \t\r\n":            2,
		`{ "a b" : "c\" d" }`:    15,
		`"\\" "x y"`:             9,
		`"関所" : 1`:               6,
		"\"\xff\"":               3,
		`{"Id": "a  b", "x":[]}`: 20,
	} {
		if got := policy.CompactLen([]byte(src)); got != want {
			t.Errorf("%s: got %d, want %d", src, got, want)
		}
	}
}

func TestSameTagKey(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"", "", true},
		{"Team", "tEAM", true},
		{"team", "team", true},
		{"team", "teams", false},
		{"team", "", false},
		{"\u00c4rger", "\u00e4rger", true},
		{"access", "acce\u017fs", false}, // though they are equal under Unicode's folding
		{"a\xff", "a\xff", true},
	} {
		if policy.SameTagKey(c.a, c.b) != c.same || policy.SameTagKey(c.b, c.a) != c.same {
			t.Errorf("%q and %q", c.a, c.b)
		}
	}
}
