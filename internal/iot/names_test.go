package iot

import (
	"errors"
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 128)
	for _, c := range []struct {
		name  string
		valid func(string) bool
		good  []string
		bad   []string
	}{
		{"thing", ValidThingName, []string{"a", "A-9:_", long}, []string{"", "a b", "a/b", "a+", "é", "a\x00", long + "a"}},
		{"IoT policy", ValidIoTPolicyName, []string{"a", "A-9_+=,.@", long}, []string{"", "a b", "a/b", "a:b", long + "a"}},
		{"role alias", ValidRoleAlias, []string{"a", "A-9_=,@", long}, []string{"", "a.b", "a+b", "a/b", long + "a"}},
		{"certificate id", ValidCertificateID, []string{strings.Repeat("0f", 32)}, []string{"", strings.Repeat("0F", 32), strings.Repeat("0g", 32), strings.Repeat("0f", 33)}},
		{"account id", ValidAccountID, []string{"000000000000", "123456789012"}, []string{"", "12345678901", "1234567890123", "12345678901x"}},
	} {
		for _, s := range c.good {
			if !c.valid(s) {
				t.Errorf("%s %q is refused", c.name, s)
			}
		}
		for _, s := range c.bad {
			if c.valid(s) {
				t.Errorf("%s %q is accepted", c.name, s)
			}
		}
	}
}

func TestARN(t *testing.T) {
	t.Parallel()
	p, err := ParseARN(string(NewARN("iot", "eu-west-1", "123456789012", "topic/a:b/c")))
	if err != nil || p.Partition != "aws" || p.Service != "iot" || p.Region != "eu-west-1" || p.Account != "123456789012" {
		t.Errorf("%+v, %v", p, err)
	}
	if typ, name := p.ResourceID(); typ != "topic" || name != "a:b/c" {
		t.Errorf("%q %q", typ, name)
	}
	for _, s := range []string{"", "arn", "arn:aws:s3", "arn:aws:iam::1:", "urn:aws:iam::1:x", "arn::iam::1:x", "arn:aws:::1:x"} {
		if _, err := ParseARN(s); !IsKind(err, KindInvalid) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestError(t *testing.T) {
	t.Parallel()
	cause := errors.New("disk full")
	e := &Error{Kind: KindConflict, Resource: "bucket", Message: "not empty", Err: cause}
	if got, want := e.Error(), "conflict bucket: not empty: disk full"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if !errors.Is(e, cause) || !IsKind(e, KindConflict) || IsKind(e, KindNotFound) || IsKind(cause, KindInternal) || IsKind(nil, KindInternal) {
		t.Error("kinds and causes are mixed up")
	}
	for k := KindInternal; k <= KindBusy; k++ {
		if strings.HasPrefix(k.String(), "kind-") {
			t.Errorf("kind %d has no name", k)
		}
	}
	if got := Kind(200).String(); got != "kind-200" {
		t.Error(got)
	}
}
