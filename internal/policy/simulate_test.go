package policy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/policy"
)

func at(p *policy.Policy, n int) (from, to policy.Position) {
	place := p.StatementPositions()[n]
	return place[0], place[1]
}

// The places are those that IAM gives for AdministratorAccess.
func TestStatementPosition(t *testing.T) {
	t.Parallel()
	administrator := "{\n  \"Version\": \"2012-10-17\",\n  \"Statement\": [\n    {\n      \"Effect\": \"Allow\",\n      \"Action\": \"*\",\n      \"Resource\": \"*\"\n    }\n  ]\n}"
	two := `{"Statement":[{"Sid":"é","Effect":"Allow","Action":"*","Resource":"*"}, {"Effect":"Deny","Action":"*","Resource":"*"}]}`
	two = strings.Replace(two, `"Sid":"é",`, "", 1)
	for _, c := range []struct {
		doc      string
		n        int
		from, to policy.Position
	}{
		{administrator, 0, policy.Position{Line: 3, Column: 17}, policy.Position{Line: 8, Column: 6}},
		{two, 0, policy.Position{Line: 1, Column: 15}, policy.Position{Line: 1, Column: 61}},
		{two, 1, policy.Position{Line: 1, Column: 62}, policy.Position{Line: 1, Column: 108}},
		{`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`, 0, policy.Position{Line: 1, Column: 37}, policy.Position{Line: 1, Column: 83}},
		{`{"Id":"ü","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`, 0, policy.Position{Line: 1, Column: 23}, policy.Position{Line: 1, Column: 69}},
	} {
		from, to := at(compile(t, policy.Identity, c.doc), c.n)
		if from != c.from || to != c.to {
			t.Errorf("%s: statement %d from %v to %v, want %v to %v", c.doc, c.n, from, to, c.from, c.to)
		}
	}
}

func TestContextKeys(t *testing.T) {
	t.Parallel()
	p := compile(t, policy.Identity, `{"Version":"2012-10-17","Statement":[
 {"Effect":"Allow","Action":"s3:GetObject","Resource":["arn:aws:s3:::b/${aws:username}/*","arn:aws:s3:::b/${ aws:PrincipalTag/Team , 'x'}"],
  "Condition":{"StringLike":{"s3:prefix":"${aws:UserName}-${aws:userid}","aws:Referer":"x"},"ArnLike":{"aws:SourceArn":"arn:aws:s3:::${s3:prefix}"},"Bool":{"AWS:SecureTransport":"true"}}},
 {"Effect":"Deny","Action":"iot:*","Resource":"*","Condition":{"Null":{"aws:TokenIssueTime":"true"}}}]}`)
	want := []string{"aws:username", "aws:PrincipalTag/Team", "s3:prefix", "aws:userid", "aws:Referer", "aws:SourceArn", "AWS:SecureTransport", "aws:TokenIssueTime"}
	if got := p.ContextKeys(); !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) {
		t.Errorf("it asks for %q", got)
	}
	r := &policy.Request{Action: "s3:GetObject", Resource: "*", Keys: policy.KeyMap{
		"aws:username": policy.One("bob"), "aws:principaltag/Team": policy.One(""), "aws:securetransport": policy.One("true"), "s3:prefix": policy.Absent("no"),
	}}
	if got := p.MissingKeys(r); !slices.Equal(slices.Sorted(slices.Values(got)), []string{"aws:Referer", "aws:SourceArn", "aws:userid", "s3:prefix"}) {
		t.Errorf("it misses %q", got)
	}
	r.Action = "sts:GetCallerIdentity"
	if got := p.MissingKeys(r); len(got) != 0 {
		t.Errorf("of no statement it misses %q", got)
	}
}

func TestApplying(t *testing.T) {
	t.Parallel()
	p := compile(t, policy.Identity, `{"Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"},{"Effect":"Deny","Action":"s3:Put*","Resource":"*"},
		{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::b"},{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}`)
	r := &policy.Request{Action: "s3:PutObject", Resource: "arn:aws:s3:::b"}
	if allow, deny := p.Applying(r, policy.Allow), p.Applying(r, policy.ExplicitDeny); !slices.Equal(allow, []int{0, 2}) || !slices.Equal(deny, []int{1}) {
		t.Errorf("allow %v, deny %v", allow, deny)
	}
}
