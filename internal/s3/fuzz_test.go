package s3

import (
	"strings"
	"testing"
)

// A policy that is accepted speaks of its bucket alone.
func FuzzBucketPolicy(f *testing.F) {
	for _, r := range []string{"arn:aws:s3:::bucket", "arn:aws:s3:::bucket/*", "arn:aws:s3:::buck*", "arn:aws:s3:::*", "*", "arn:aws:s3:::bucket2/x"} {
		f.Add(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"` + r + `"}}`)
	}
	f.Add(`{"Statement":[{"Effect":"Deny","Principal":{"AWS":["1"]},"NotAction":["s3:*"],"NotResource":["arn:aws:s3:::bucket"]}]}`)
	f.Fuzz(func(t *testing.T, document string) {
		p, err := compilePolicy("bucket", []byte(document))
		if err != nil {
			return
		}
		if string(p.Source()) != document || len(document) > maxPolicy {
			t.Errorf("accepted %q", document)
		}
	})
}

func TestPolicyResources(t *testing.T) {
	t.Parallel()
	for resource, want := range map[string]bool{
		"arn:aws:s3:::bucket": true, "arn:aws:s3:::bucket/": true, "arn:aws:s3:::bucket/a*b": true, "arn:aws:s3:::bucket*": true,
		"arn:aws:s3:::buck*/x": true, "arn:aws:s3:::*": true, "arn:aws:s3:::*/*": true, "*": false, "arn:aws:s3:::bucket2": false, "arn:aws:s3:::b?cket": false,
		"arn:aws:s3:::${aws:username}": false, "arn:aws:iam:::bucket": false, "bucket": false, "": false,
	} {
		if got := ofBucket(resource, "bucket"); got != want {
			t.Errorf("%q: %v", resource, got)
		}
	}
	if _, err := compilePolicy("bucket", []byte(strings.Repeat(" ", maxPolicy+1))); err == nil {
		t.Error("a policy over the limit")
	}
}
