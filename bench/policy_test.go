//go:build bench

package bench_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"github.com/sekisho-iot/sekisho/internal/policy"
)

// keys are those of a device's session.
type keys struct{ thing string }

func (k keys) Lookup(key string) policy.Values {
	switch key {
	case "credentials-iot:thingname":
		return policy.One(k.thing)
	case "aws:securetransport":
		return policy.One("true")
	}
	return policy.Absent("")
}

// policy measures one decision: a role with a few statements as roles have
// them, one with ten that have variables and conditions, beside the same in
// Cedar, and one with two hundred.
func (s *settings) policy(context.Context, string) error {
	rows := [][]string{{"policy", "a decision", "allocations"}}
	for _, c := range []struct {
		name       string
		statements []string
	}{
		{"3 statements, variable, condition", []string{
			`{"Effect":"Deny","Action":"s3:*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"false"}}}`,
			`{"Effect":"Allow","Action":["s3:ListBucket","s3:GetBucketLocation"],"Resource":"arn:aws:s3:::uploads"}`,
			`{"Effect":"Allow","Action":["s3:PutObject","s3:GetObject"],"Resource":"arn:aws:s3:::uploads/${credentials-iot:ThingName}/*"}`,
		}},
		{"200 statements, the last allows", append(slice(199, func(i int) string {
			return fmt.Sprintf(`{"Effect":"Allow","Action":"s3:Get*","Resource":"arn:aws:s3:::other-%d/*"}`, i)
		}), `{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::uploads/*/f?le"}`)},
	} {
		p, err := policy.Compile(policy.Identity, "bench", []byte(`{"Version":"2012-10-17","Statement":[`+strings.Join(c.statements, ",")+`]}`))
		if err != nil {
			return err
		}
		set := policy.Set{p}
		r := &policy.Request{Action: "s3:PutObject", Resource: "arn:aws:s3:::uploads/thing_x/file", Keys: keys{"thing_x"}}
		if !set.Evaluate(r).Allowed() {
			return fmt.Errorf("%s: not allowed", c.name)
		}
		result := testing.Benchmark(func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				set.Evaluate(r)
			}
		})
		rows = append(rows, []string{c.name, fmt.Sprintf("%d ns", result.NsPerOp()), fmt.Sprint(result.AllocsPerOp())})
	}
	ours, err := tenStatements()
	if err != nil {
		return err
	}
	theirs, err := tenInCedar()
	if err != nil {
		return err
	}
	for _, c := range []struct {
		name   string
		decide func()
	}{{"10 statements with variables and conditions", ours}, {"the same in cedar-go 1.9.2", theirs}} {
		result := testing.Benchmark(func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.decide()
			}
		})
		rows = append(rows, []string{c.name, fmt.Sprintf("%d ns", result.NsPerOp()), fmt.Sprint(result.AllocsPerOp())})
	}
	table("Policy (goal: ≤ 1 µs, 0 allocations)", rows...)
	return nil
}

// tenStatements decides as a server does, with all that a request brings.
func tenStatements() (decide func(), err error) {
	src, err := os.ReadFile("../internal/policy/testdata/ten-statements.json")
	if err != nil {
		return nil, err
	}
	p, err := policy.Compile(policy.Identity, "bench", src)
	if err != nil {
		return nil, err
	}
	grants := &policy.Grants{Identity: policy.Set{p}}
	r := &policy.Request{
		Action: "s3:PutObject", Resource: "arn:aws:s3:::data/thing_x/2026/01/02/image.jpg",
		Principal: policy.Principal{Account: "000000000000", ARN: "arn:aws:sts::000000000000:assumed-role/s3_role/0123", RoleARN: "arn:aws:iam::000000000000:role/s3_role"},
		Keys: policy.KeyMap{
			"credentials-iot:thingname": policy.One("thing_x"), "credentials-iot:thingtypename": policy.One("camera"),
			"aws:securetransport": policy.One("true"), "aws:sourceip": policy.One("10.1.2.3"), "aws:tokenissuetime": policy.One("2026-01-02T03:04:05Z"),
			"aws:tagkeys": policy.Many([]string{"b", "c"}), "s3:max-keys": policy.One("10"), "s3:prefix": policy.One("thing_x/"),
		},
	}
	if d := grants.Authorize(r); !d.Allowed() {
		return nil, errors.New("not allowed by the ten statements")
	}
	return func() { grants.Authorize(r) }, nil
}

// tenInCedar decides the same request by the same rules in Cedar.
func tenInCedar() (decide func(), err error) {
	src, err := os.ReadFile("testdata/ten-statements.cedar")
	if err != nil {
		return nil, err
	}
	set, err := cedar.NewPolicySetFromBytes("ten-statements.cedar", src)
	if err != nil {
		return nil, err
	}
	address, err := types.ParseIPAddr("10.1.2.3")
	if err != nil {
		return nil, err
	}
	device, object := cedar.NewEntityUID("Session", "thing_x"), cedar.NewEntityUID("Object", "image")
	put, get := cedar.NewEntityUID("Action", "PutObject"), cedar.NewEntityUID("Action", "GetObject")
	entities := cedar.EntityMap{
		device: {UID: device, Attributes: cedar.NewRecord(cedar.RecordMap{"thing": cedar.String("thing_x"), "thingType": cedar.String("camera"), "team": cedar.String("none")})},
		object: {UID: object, Attributes: cedar.NewRecord(cedar.RecordMap{"bucket": cedar.String("data"), "first": cedar.String("thing_x"), "key": cedar.String("thing_x/2026/01/02/image.jpg")})},
		put:    {UID: put},
		get:    {UID: get, Parents: cedar.NewEntityUIDSet(cedar.NewEntityUID("Action", "Get"))},
	}
	request := cedar.Request{Principal: device, Action: put, Resource: object, Context: cedar.NewRecord(cedar.RecordMap{
		"secureTransport": cedar.True, "sourceIp": address, "tokenIssueTime": cedar.Long(1767322985),
		"tagKeys": cedar.NewSet(cedar.String("b"), cedar.String("c")), "maxKeys": cedar.Long(10), "prefix": cedar.String("thing_x"),
	})}
	if d, why := cedar.Authorize(set, entities, request); d != cedar.Allow || len(why.Errors) > 0 {
		return nil, fmt.Errorf("not allowed in Cedar: %v", why)
	}
	return func() { cedar.Authorize(set, entities, request) }, nil
}

func slice(n int, f func(int) string) (out []string) {
	for i := range n {
		out = append(out, f(i))
	}
	return out
}
