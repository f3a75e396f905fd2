package s3

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
)

// maxPolicy is the size limit of a bucket policy: 20 KB.
const maxPolicy = 20 << 10

// compilePolicy compiles a bucket's policy and checks what S3 demands beyond
// the language: only S3 actions, and only resources of this bucket.
func compilePolicy(bucket string, src []byte) (*policy.Policy, error) {
	if len(src) > maxPolicy {
		return nil, malformedPolicy("Normalized policy document exceeds the maximum allowed size of %d bytes", maxPolicy)
	}
	if !bytes.HasPrefix(src, []byte("{")) {
		return nil, malformedPolicy("Policies must be valid JSON and the first byte must be '{'")
	}
	p, err := policy.Compile(policy.Resource, "bucket policy of "+bucket, src)
	if err != nil {
		return nil, err
	}
	var doc struct{ Statement oneOrMany[policyStatement] }
	if err := json.Unmarshal(src, &doc); err != nil {
		return nil, malformedPolicy("Policies must be valid JSON and the first byte must be '{'")
	}
	for _, s := range doc.Statement {
		for _, a := range append(s.Action, s.NotAction...) {
			if service, _, _ := strings.Cut(a, ":"); a != "*" && !strings.EqualFold(service, "s3") {
				return nil, malformedPolicy("Policy has invalid action")
			}
		}
		for _, r := range append(s.Resource, s.NotResource...) {
			if !ofBucket(r, bucket) {
				return nil, malformedPolicy("Policy has invalid resource")
			}
		}
	}
	return p, nil
}

type policyStatement struct{ Action, NotAction, Resource, NotResource oneOrMany[string] }

// oneOrMany reads a JSON value or a list of such values.
type oneOrMany[T any] []T

// UnmarshalJSON reads either form.
func (o *oneOrMany[T]) UnmarshalJSON(b []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(b), []byte("[")) {
		return json.Unmarshal(b, (*[]T)(o))
	}
	var one T
	if err := json.Unmarshal(b, &one); err != nil {
		return err
	}
	*o = []T{one}
	return nil
}

// ofBucket reports whether a resource pattern names the bucket or keys of it.
// The bucket's part may hold wildcards as long as it can mean this bucket.
func ofBucket(resource, bucket string) bool {
	rest, ok := strings.CutPrefix(resource, "arn:aws:s3:::")
	if !ok {
		return false
	}
	name, _, _ := strings.Cut(rest, "/")
	if strings.HasSuffix(name, "*") && !strings.ContainsAny(name[:len(name)-1], "*?$") {
		return strings.HasPrefix(bucket, name[:len(name)-1])
	}
	return name == bucket
}

func malformedPolicy(format string, args ...any) error {
	return iot.Errorf(iot.KindMalformed, "policy", format, args...)
}
