//go:build e2e

package e2e_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"
)

// aws runs one AWS CLI command and decodes what it prints.
func (s *server) aws(t *testing.T, args ...string) map[string]any {
	t.Helper()
	out := runIn(t, t.TempDir(), s.environ(), "aws", args...)
	if out == "" {
		return nil
	}
	var v map[string]any
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("aws %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return v
}

// awsFails runs one AWS CLI command that must be refused with the given words.
func (s *server) awsFails(t *testing.T, words []string, args ...string) {
	t.Helper()
	_, stderr, err := try(t, t.TempDir(), s.environ("AWS_MAX_ATTEMPTS=1"), "aws", args...)
	if err == nil {
		t.Errorf("aws %s: not refused", strings.Join(args, " "))
	}
	for _, w := range words {
		if !strings.Contains(stderr, w) {
			t.Errorf("aws %s: %q lacks %q", strings.Join(args, " "), stderr, w)
		}
	}
}

func TestCLIEndpoints(t *testing.T) {
	t.Parallel()
	need(t, "aws")
	for typ, want := range map[string]string{
		"iot:Data-ATS": "localhost", "iot:Jobs": "localhost",
		"iot:CredentialProvider": shared.credentialEndpoint(),
	} {
		if got := shared.aws(t, "iot", "describe-endpoint", "--endpoint-type", typ)["endpointAddress"]; got != want {
			t.Errorf("%s: %v, want %s", typ, got, want)
		}
	}
	shared.awsFails(t, []string{"(InvalidRequestException)"}, "iot", "describe-endpoint", "--endpoint-type", "iot:Moon")
	who := shared.aws(t, "sts", "get-caller-identity")
	if who["Arn"] != "arn:aws:iam::000000000000:root" || who["Account"] != "000000000000" {
		t.Errorf("caller identity %v", who)
	}
}

func TestCLITags(t *testing.T) {
	t.Parallel()
	need(t, "aws")
	name := unique("policy")
	arn, ok := shared.aws(t, "iot", "create-policy", "--policy-name", name, "--policy-document", *document(allow("iot:Connect", "*")),
		"--tags", "Key=team,Value=blue", "Key=site,Value=osaka")["policyArn"].(string)
	if !ok {
		t.Fatal("no policyArn")
	}
	shared.aws(t, "iot", "tag-resource", "--resource-arn", arn, "--tags", "Key=team,Value=red", "Key=tier,Value=1")
	shared.aws(t, "iot", "untag-resource", "--resource-arn", arn, "--tag-keys", "site")
	tags, err := shared.iot.ListTagsForResource(t.Context(), &iot.ListTagsForResourceInput{ResourceArn: &arn})
	check(t, err)
	got := map[string]string{}
	for _, tag := range tags.Tags {
		got[*tag.Key] = *tag.Value
	}
	if len(got) != 2 || got["team"] != "red" || got["tier"] != "1" {
		t.Errorf("tags %v", got)
	}
	shared.awsFails(t, []string{"(ResourceNotFoundException)"}, "iot", "list-tags-for-resource", "--resource-arn", arn+"x")
}

func TestCLIPagination(t *testing.T) {
	t.Parallel()
	need(t, "aws")
	attribute := unique("a")
	var want []string
	for range 7 {
		name := unique("page")
		want = append(want, name)
		_, err := shared.iot.CreateThing(t.Context(), &iot.CreateThingInput{ThingName: &name, AttributePayload: &iottypes.AttributePayload{Attributes: map[string]string{"batch": attribute}}})
		check(t, err)
	}
	names := func(v map[string]any) (out []string) {
		things, _ := v["things"].([]any)
		for _, e := range things {
			if m, ok := e.(map[string]any); ok {
				name, _ := m["thingName"].(string)
				out = append(out, name)
			}
		}
		return out
	}
	filter := []string{"iot", "list-things", "--attribute-name", "batch", "--attribute-value", attribute}
	all := names(shared.aws(t, append(filter, "--page-size", "2")...))
	slices.Sort(want)
	if sorted := slices.Sorted(slices.Values(all)); !slices.Equal(sorted, want) {
		t.Errorf("in pages of 2: %v, want %v", sorted, want)
	}
	first := shared.aws(t, append(filter, "--max-items", "3", "--page-size", "3")...)
	token, _ := first["NextToken"].(string)
	rest := shared.aws(t, append(filter, "--starting-token", token)...)
	if got := append(names(first), names(rest)...); !slices.Equal(got, all) {
		t.Errorf("three and the rest: %v, want %v", got, all)
	}
	shared.awsFails(t, []string{"(InvalidRequestException)"}, "iot", "list-things", "--no-paginate", "--next-token", "bm90IGEgdG9rZW4")
}

func TestCLINotBuilt(t *testing.T) {
	t.Parallel()
	need(t, "aws")
	shared.awsFails(t, []string{"(NotImplemented)", "ListJobs"}, "iot", "list-jobs")
	shared.awsFails(t, []string{"(NotImplemented)", "DeleteFunction"}, "lambda", "delete-function", "--function-name", "x")
}

func TestCLIRefusals(t *testing.T) {
	t.Parallel()
	need(t, "aws")
	shared.awsFails(t, []string{"(InvalidSignatureException)", "region"}, "iot", "list-things", "--region", "eu-west-1")
	shared.awsFails(t, []string{"(ResourceNotFoundException)"}, "iot", "describe-thing", "--thing-name", "nothing-here")
	shared.awsFails(t, []string{"(MalformedPolicyException)", "Statement"}, "iot", "create-policy", "--policy-name", unique("p"), "--policy-document", `{"Version":"2012-10-17","Statement":[{"Effect":"Perhaps"}]}`)
	shared.awsFails(t, []string{"(MalformedPolicyDocument)"}, "iam", "create-role", "--role-name", unique("r"), "--assume-role-policy-document", "{}")
	shared.awsFails(t, []string{"(NoSuchEntity)"}, "iam", "get-role", "--role-name", "nobody")
	for _, c := range []struct{ key, words, service, call string }{
		{"AKIAIOSFODNN7EXAMPLE", "(UnrecognizedClientException)", "iot", "list-things"},
		{shared.Env["AWS_ACCESS_KEY_ID"], "(InvalidSignatureException)", "iot", "list-things"},
		{"AKIAIOSFODNN7EXAMPLE", "(InvalidClientTokenId)", "sts", "get-caller-identity"},
		{shared.Env["AWS_ACCESS_KEY_ID"], "(SignatureDoesNotMatch)", "sts", "get-caller-identity"},
	} {
		_, stderr, err := try(t, t.TempDir(), shared.environ("AWS_ACCESS_KEY_ID="+c.key, "AWS_SECRET_ACCESS_KEY=wrong"), "aws", c.service, c.call)
		if err == nil || !strings.Contains(stderr, c.words) {
			t.Errorf("%s %s with a wrong secret: %v %s, want %s", c.service, c.call, err, stderr, c.words)
		}
	}
}

// TestCLIS3 moves files with the high-level commands, over HTTPS.
func TestCLIS3(t *testing.T) {
	t.Parallel()
	need(t, "aws")
	bucket := unique("bucket")
	env := shared.environ("AWS_ENDPOINT_URL=" + shared.httpsEndpoint(t, "127.0.0.1"))
	dir := t.TempDir()
	aws := func(args ...string) string { return runIn(t, dir, env, "aws", args...) }
	check(t, os.Mkdir(filepath.Join(dir, "up"), 0o700))
	check(t, os.WriteFile(filepath.Join(dir, "up", "small"), []byte("small"), 0o600))
	check(t, os.WriteFile(filepath.Join(dir, "up", "large"), make([]byte, 20<<20), 0o600))
	aws("s3", "mb", "s3://"+bucket)
	aws("s3", "sync", "--no-progress", "up", "s3://"+bucket+"/dir")
	if out := aws("s3", "ls", "--recursive", "s3://"+bucket); !strings.Contains(out, " dir/small") || !strings.Contains(out, " 20971520 dir/large") {
		t.Errorf("ls: %s", out)
	}
	aws("s3", "mv", "--no-progress", "s3://"+bucket+"/dir/small", "s3://"+bucket+"/moved")
	aws("s3", "cp", "--no-progress", "--recursive", "s3://"+bucket, "down")
	if fileSum(t, filepath.Join(dir, "down", "dir", "large")) != fileSum(t, filepath.Join(dir, "up", "large")) {
		t.Error("the large file came back changed")
	}
	if b, err := os.ReadFile(filepath.Join(dir, "down", "moved")); err != nil || string(b) != "small" {
		t.Errorf("moved: %q, %v", b, err)
	}
	aws("s3", "rb", "--force", "s3://"+bucket)
}
