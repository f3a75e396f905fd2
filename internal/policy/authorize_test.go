package policy_test

import (
	"os"
	"strings"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/policy"
)

func compile(tb testing.TB, use policy.Use, src string) *policy.Policy {
	tb.Helper()
	p, err := policy.Compile(use, "test", []byte(src))
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// tenStatementsRequest is with the shape of a device's role in the field: variables,
// wildcards and conditions in every place.
func tenStatementsRequest(tb testing.TB) (*policy.Grants, *policy.Request) {
	tb.Helper()
	tenStatements, err := os.ReadFile("testdata/ten-statements.json")
	if err != nil {
		tb.Fatal(err)
	}
	g := &policy.Grants{
		Identity: policy.Set{compile(tb, policy.Identity, string(tenStatements))},
	}
	r := &policy.Request{
		Action:   "s3:PutObject",
		Resource: "arn:aws:s3:::data/thing_x/2026/01/02/image.jpg",
		Principal: policy.Principal{
			Account: "000000000000",
			ARN:     "arn:aws:sts::000000000000:assumed-role/s3_role/0123",
			RoleARN: "arn:aws:iam::000000000000:role/s3_role",
			UserID:  "AROAEXAMPLEEXAMPLE:0123",
		},
		Keys: policy.KeyMap{
			"credentials-iot:thingname":     policy.One("thing_x"),
			"credentials-iot:thingtypename": policy.One("camera"),
			"aws:securetransport":           policy.One("true"),
			"aws:sourceip":                  policy.One("10.1.2.3"),
			"aws:tokenissuetime":            policy.One("2026-01-02T03:04:05Z"),
			"aws:tagkeys":                   policy.Many([]string{"b", "c"}),
			"s3:max-keys":                   policy.One("10"),
			"s3:prefix":                     policy.One("thing_x/"),
		},
	}
	return g, r
}

func TestAuthorizeDoesNotAllocate(t *testing.T) {
	g, r := tenStatementsRequest(t)
	for _, action := range []string{"s3:PutObject", "s3:GetObject", "s3:ListBucket", "s3:DeleteObject", "sts:AssumeRole"} {
		for _, arn := range []string{"arn:aws:s3:::data/thing_x/a", "arn:aws:s3:::data/other/a", "arn:aws:s3:::archive/none/a", "arn:aws:s3:::data"} {
			r.Action, r.Resource = action, arn
			if n := testing.AllocsPerRun(100, func() { g.Authorize(r) }); n != 0 {
				t.Errorf("%s on %s: %v allocations", action, arn, n)
			}
		}
	}
}

func TestCorpusDoesNotAllocate(t *testing.T) {
	for file, cases := range readCorpus(t) {
		for _, c := range cases {
			if c.Want == "malformed" || c.source() == nil {
				continue
			}
			p, r := policy.Set{compile(t, c.use(), string(c.source()))}, c.request()
			if n := testing.AllocsPerRun(1, func() { p.Evaluate(r) }); n != 0 {
				t.Errorf("%s/%s: %v allocations", file, c.Name, n)
			}
		}
	}
}

func BenchmarkAuthorize(b *testing.B) {
	g, r := tenStatementsRequest(b)
	if d := g.Authorize(r); !d.Allowed() {
		b.Fatal(g.Explain(r))
	}
	b.ReportAllocs()
	for b.Loop() {
		g.Authorize(r)
	}
}

// BenchmarkWildcardAttack is the worst that a pattern can ask of the matcher:
// the product of its length and the resource's.
func BenchmarkWildcardAttack(b *testing.B) {
	pattern := strings.Repeat("*a", 200) + "*" + strings.Repeat("a?", 200) + "b*"
	s := policy.Set{compile(b, policy.Identity, `{"Statement":{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::`+pattern+`"}}`)}
	r := &policy.Request{Action: "s3:GetObject", Resource: "arn:aws:s3:::" + strings.Repeat("a", 1000)}
	b.ReportAllocs()
	for b.Loop() {
		s.Evaluate(r)
	}
}

// A value that is a wildcard of MQTT opens no topic filter to a caller of IAM,
// and closes the one that it is.
func TestSubscribeByVariable(t *testing.T) {
	t.Parallel()
	const filter = "arn:aws:iot:us-east-1:123456789012:topicfilter/"
	team := `"Action":"iot:*","Resource":"` + filter + `${aws:PrincipalTag/team}/x"`
	own := policy.Set{compile(t, policy.Identity, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow",`+team+`}]}`)}
	not := policy.Set{compile(t, policy.Identity, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny",`+team+`}]}`)}
	for _, c := range []struct {
		action, team string
		own, not     policy.Effect
	}{
		{"iot:Subscribe", "red", policy.Allow, policy.ExplicitDeny},
		{"iot:Subscribe", "+", policy.ImplicitDeny, policy.ExplicitDeny},
		{"iot:Publish", "+", policy.Allow, policy.ExplicitDeny},
	} {
		r := &policy.Request{Action: c.action, Resource: filter + c.team + "/x", Keys: policy.KeyMap{"aws:principaltag/team": policy.One(c.team)}}
		for what, g := range map[string]policy.Grants{"own": {Identity: own}, "not": {Identity: not}} {
			want := c.own
			if what == "not" {
				want = c.not
			}
			if got := g.Authorize(r).Effect; got != want {
				t.Errorf("%s of %s, %s: %v, want %v", c.action, c.team, what, got, want)
			}
			if applies := len(own[0].Applying(r, policy.Allow)) > 0; applies != (c.own == policy.Allow) {
				t.Errorf("%s of %s applies: %v", c.action, c.team, applies)
			}
		}
		if x := own.Explain(r).String(); c.own == policy.ImplicitDeny && !strings.Contains(x, "its value holds one of") {
			t.Errorf("it is explained by %s", x)
		}
	}
}
