package policy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/policy"
)

const pinned = `{"Version":"2012-10-17","Statement":[
 {"Effect":"Allow","Principal":{"AWS":["arn:aws:iam::123456789012:user/bob","arn:aws:iam::123456789012:role/r"],"Service":"x.amazonaws.com"},"Action":"sts:AssumeRole"},
 {"Effect":"Allow","Principal":{"AWS":"arn:aws:sts::123456789012:assumed-role/r/work"},"Action":"sts:AssumeRole"},
 {"Effect":"Allow","Principal":{"AWS":["AIDAABCDEFGHIJKLMNOPQ","arn:aws:iam::210987654321:user/bob","arn:aws:iam::123456789012:role/r"]},"Action":"sts:TagSession",
  "Condition":{"StringEquals":{"aws:PrincipalArn":"arn:aws:iam::123456789012:user/bob"}}},
 {"Effect":"Deny","Principal":{"AWS":"arn:aws:iam::123456789012:user/eve"},"Action":"sts:AssumeRole"}]}`

func TestPin(t *testing.T) {
	t.Parallel()
	p := compile(t, policy.Trust, pinned)
	want := []string{
		"arn:aws:iam::123456789012:user/bob", "arn:aws:iam::123456789012:role/r", "arn:aws:sts::123456789012:assumed-role/r/work",
		"AIDAABCDEFGHIJKLMNOPQ", "arn:aws:iam::123456789012:user/eve",
	}
	if got := p.NamedPrincipals("123456789012"); !slices.Equal(got, want) {
		t.Errorf("it names %v", got)
	}
	q := p.Pin(map[string]string{want[0]: "AIDABOB", want[1]: "AROAR", want[2]: "AROAR", want[4]: ""})
	user := func(name, id string) policy.Principal {
		return policy.Principal{Account: "123456789012", ARN: "arn:aws:iam::123456789012:user/" + name, UserID: id}
	}
	session := func(name, id string) policy.Principal {
		return policy.Principal{Account: "123456789012", ARN: "arn:aws:sts::123456789012:assumed-role/r/" + name, RoleARN: want[1], UserID: id + ":" + name}
	}
	for _, c := range []struct {
		what   string
		who    policy.Principal
		before policy.Effect
		after  policy.Effect
	}{
		{"the user", user("bob", "AIDABOB"), policy.Allow, policy.Allow},
		{"another of the name", user("bob", "AIDAOTHER"), policy.Allow, policy.ImplicitDeny},
		{"the user, renamed", user("rob", "AIDABOB"), policy.ImplicitDeny, policy.Allow},
		{"the role", session("any", "AROAR"), policy.Allow, policy.Allow},
		{"another role of the name", session("work", "AROAOTHER"), policy.Allow, policy.ImplicitDeny},
		{"a denied one who is gone", user("eve", "AIDAEVE"), policy.ExplicitDeny, policy.ImplicitDeny},
	} {
		r := &policy.Request{Action: "sts:AssumeRole", Resource: want[1], Principal: c.who}
		if got := (policy.Set{p}).Evaluate(r).Effect; got != c.before {
			t.Errorf("%s: %v before", c.what, got)
		}
		if got := (policy.Set{q}).Evaluate(r).Effect; got != c.after {
			t.Errorf("%s: %v after", c.what, got)
		}
	}
	stranger := user("none", "AIDANONE")
	x := policy.Set{q}.Explain(&policy.Request{Action: "sts:AssumeRole", Resource: want[1], Principal: stranger})
	if !strings.Contains(x.String(), "user/bob (id AIDABOB)") {
		t.Errorf("it is explained by %s", x)
	}
}

func TestRename(t *testing.T) {
	t.Parallel()
	p := compile(t, policy.Trust, pinned)
	got := string(p.Rename(map[string]string{"arn:aws:iam::123456789012:user/bob": "AIDABOB", "arn:aws:sts::123456789012:assumed-role/r/work": `"q"`}))
	want := strings.Replace(strings.Replace(pinned, "arn:aws:iam::123456789012:user/bob", "AIDABOB", 1), "arn:aws:sts::123456789012:assumed-role/r/work", `\"q\"`, 1)
	if got != want {
		t.Errorf("renamed to %s", got)
	}
	one := compile(t, policy.Resource, `{"Statement":{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*"}}`)
	if len(one.NamedPrincipals("123456789012")) != 0 || string(one.Rename(nil)) != string(one.Source()) {
		t.Error("everyone is named")
	}
}
