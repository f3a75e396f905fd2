package servertest_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iot"

	"github.com/sekisho-iot/sekisho/internal/awsimport"
	"github.com/sekisho-iot/sekisho/internal/servertest"
)

// An imported role gets no policy, and no boundary, that only has the name of the
// one that it had: what the target calls so may allow more.
func TestSecurityRule1_ImportOfOthersPolicies(t *testing.T) {
	t.Parallel()
	source, target := servertest.Start(t), servertest.Start(t)
	ctx := t.Context()
	managed := func(s *servertest.Server, name, document string) *string {
		out, err := s.IAM.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: &name, PolicyDocument: &document})
		must(t, err)
		return out.Policy.Arn
	}
	edge, grant := managed(source, "edge", servertest.OwnPrefix), managed(source, "grant", servertest.OwnPrefix)
	managed(target, "edge", everything)
	managed(target, "grant", everything)
	bounded := source.NewRole("bounded", servertest.TrustDevices, everything)
	_, err := source.IAM.PutRolePermissionsBoundary(ctx, &iam.PutRolePermissionsBoundaryInput{RoleName: aws.String("bounded"), PermissionsBoundary: edge})
	must(t, err)
	granted := source.NewRole("granted", servertest.TrustDevices, servertest.OwnPrefix)
	_, err = source.IAM.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String("granted"), PolicyArn: grant})
	must(t, err)
	for alias, role := range map[string]string{"a": bounded, "b": granted} {
		_, err := source.IoT.CreateRoleAlias(ctx, &iot.CreateRoleAliasInput{RoleAlias: &alias, RoleArn: &role})
		must(t, err)
	}
	var out bytes.Buffer
	_, err = awsimport.Run(ctx, awsimport.Config{Source: source.Config(servertest.Admin()), Target: target.Config(servertest.Admin()), Out: &out})
	must(t, err)
	if _, err := target.IAM.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String("bounded")}); servertest.Code(err) != "NoSuchEntity" {
		t.Errorf("a role under another boundary was made: %v", err)
	}
	got, err := target.IAM.ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: aws.String("granted")})
	must(t, err)
	if len(got.AttachedPolicies) > 0 {
		t.Errorf("attached: %s", *got.AttachedPolicies[0].PolicyName)
	}
	for _, line := range []string{
		"skip      role bounded: its permissions boundary is not at the target, or says something else there\n",
		"skip      policy of role granted: grant: the IAM policy is not at the target, or says something else there\n",
		"skip      role alias a: its role bounded is not at the target\n", "create    role alias b\n", "differs   IAM policy edge: it says something else\n",
	} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("%q is missing in\n%s", line, &out)
		}
	}
}
