//go:build bench

package bench_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

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
// them, and one with two hundred.
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
	table("Policy", rows...)
	return nil
}

func slice(n int, f func(int) string) (out []string) {
	for i := range n {
		out = append(out, f(i))
	}
	return out
}
