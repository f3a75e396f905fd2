//go:build e2e

package e2e_test

import (
	"strings"
	"testing"

	"github.com/sekisho-iot/sekisho/e2e/process"
)

// TestBoto3Registry runs what boto3 does with the registry.
func TestBoto3Registry(t *testing.T) {
	t.Parallel()
	need(t, "python3")
	env := shared.environ("PYTHONDONTWRITEBYTECODE=1", "PREFIX="+unique("reg"))
	runIn(t, t.TempDir(), env, "python3", testdata(t, "registry.py"))
}

// TestCLIGroupPolicy attaches a policy to a group with the AWS CLI: the credential
// endpoint refuses, and explain says which policy it was.
func TestCLIGroupPolicy(t *testing.T) {
	t.Parallel()
	need(t, "aws")
	bin, err := process.Binary()
	check(t, err)
	_, roleARN := shared.role(t, trustCredentials(), document(allow("s3:*", "*")))
	alias, aliasARN := shared.alias(t, roleARN)
	d := shared.device(t, aliasARN)
	group, name := unique("group"), unique("deny")
	arn, _ := shared.aws(t, "iot", "create-thing-group", "--thing-group-name", group)["thingGroupArn"].(string)
	shared.aws(t, "iot", "create-thing-group", "--thing-group-name", group+"-sub", "--parent-group-name", group)
	shared.aws(t, "iot", "add-thing-to-thing-group", "--thing-group-name", group+"-sub", "--thing-name", d.thing)
	shared.aws(t, "iot", "create-policy", "--policy-name", name, "--policy-document",
		`{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"iot:AssumeRoleWithCertificate","Resource":"*"}}`)
	explain := func() string {
		out, stderr, _ := try(t, t.TempDir(), shared.environ(), bin, "explain", "--thing", d.thing, "--action", "iot:AssumeRoleWithCertificate", "--resource", aliasARN)
		return out + stderr
	}
	if s := explain(); !strings.HasPrefix(s, "allow") {
		t.Errorf("before: %s", s)
	}
	shared.aws(t, "iot", "attach-policy", "--policy-name", name, "--target", arn)
	if s := explain(); !strings.Contains(s, "policy/"+name) || strings.HasPrefix(s, "allow") {
		t.Errorf("after: %s", s)
	}
	if _, err := d.fetch(t.Context(), alias); err == nil {
		t.Error("credentials in spite of the group's denial")
	}
	shared.aws(t, "iot", "remove-thing-from-thing-group", "--thing-group-name", group+"-sub", "--thing-name", d.thing)
	_, err = d.fetch(t.Context(), alias)
	check(t, err)
}
