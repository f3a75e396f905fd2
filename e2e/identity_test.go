//go:build e2e

package e2e_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// TestIdentityBoto3 runs testdata/identity.py, over plain HTTP and over TLS.
func TestIdentityBoto3(t *testing.T) {
	t.Parallel()
	need(t, "python3")
	for _, endpoint := range []string{shared.Env["AWS_ENDPOINT_URL"], shared.httpsEndpoint(t, "127.0.0.1")} {
		t.Run(endpoint[:5], func(t *testing.T) {
			t.Parallel()
			env := shared.environ("PYTHONDONTWRITEBYTECODE=1", "AWS_ENDPOINT_URL="+endpoint, "BUCKET="+shared.bucket(t), "PREFIX="+unique("identity"))
			runIn(t, t.TempDir(), env, "python3", testdata(t, "identity.py"))
		})
	}
}

// TestIdentityCLI is what an operator types.
func TestIdentityCLI(t *testing.T) {
	t.Parallel()
	need(t, "aws")
	group, user := unique("group"), unique("user")
	shared.aws(t, "iam", "create-group", "--group-name", group)
	shared.aws(t, "iam", "create-user", "--user-name", user)
	shared.aws(t, "iam", "attach-group-policy", "--group-name", group, "--policy-arn", "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess")
	shared.aws(t, "iam", "add-user-to-group", "--group-name", group, "--user-name", user)
	arn := "arn:aws:iam::000000000000:user/" + user
	out := shared.aws(t, "iam", "simulate-principal-policy", "--policy-source-arn", arn, "--action-names", "s3:GetObject", "s3:PutObject")
	var decisions []string
	results, _ := out["EvaluationResults"].([]any)
	for _, r := range results {
		m, _ := r.(map[string]any)
		d, _ := m["EvalDecision"].(string)
		decisions = append(decisions, d)
	}
	if strings.Join(decisions, " ") != "allowed implicitDeny" {
		t.Errorf("simulated %v", out)
	}
	session, _ := shared.aws(t, "sts", "get-session-token")["Credentials"].(map[string]any)
	if id, _ := session["AccessKeyId"].(string); !strings.HasPrefix(id, "ASIA") {
		t.Errorf("the session is %v", session)
	}
	details := shared.aws(t, "iam", "get-account-authorization-details", "--filter", "Group")
	if groups, _ := details["GroupDetailList"].([]any); len(groups) == 0 {
		t.Errorf("the details are %v", details)
	}
	shared.aws(t, "iam", "remove-user-from-group", "--group-name", group, "--user-name", user)
	shared.awsFails(t, []string{"(DeleteConflict)"}, "iam", "delete-group", "--group-name", group)
}

// TestDerivedSessionsEndWithTheCertificate: a role that a device's session
// assumed, and one that that session assumed, end at its revocation.
func TestDerivedSessionsEndWithTheCertificate(t *testing.T) {
	t.Parallel()
	_, roleARN := shared.role(t, trustCredentials(), document(allow("*", "*")))
	alias, aliasARN := shared.alias(t, roleARN)
	d := shared.device(t, aliasARN)
	bucket := shared.bucket(t)
	trust := document(map[string]any{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": map[string]string{"AWS": roleARN}})
	_, next := shared.role(t, trust, document(allow("*", "*")))
	trust = document(map[string]any{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": map[string]string{"AWS": next}})
	_, last := shared.role(t, trust, document(allow("*", "*")))
	session := d.session(t, alias)
	for _, arn := range []string{next, last} {
		got, err := sts.NewFromConfig(shared.config(session)).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &arn, RoleSessionName: aws.String("derived")})
		check(t, err)
		c := got.Credentials
		session = credentials.NewStaticCredentialsProvider(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken)
		_, err = sts.NewFromConfig(shared.config(session)).GetSessionToken(t.Context(), &sts.GetSessionTokenInput{})
		if err == nil || !strings.Contains(err.Error(), "AccessDenied") {
			t.Errorf("a session opened one of its own: %v", err)
		}
	}
	c := s3.NewFromConfig(shared.config(session))
	put := func() error {
		_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: aws.String("k"), Body: strings.NewReader("x")})
		return err
	}
	check(t, put())
	d.setStatus(t, iottypes.CertificateStatusRevoked)
	if err := put(); err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("after the revocation: %v", err)
	}
	_, err := iam.NewFromConfig(shared.config(session)).ListUsers(t.Context(), &iam.ListUsersInput{})
	if err == nil {
		t.Error("the derived session lists users after the revocation")
	}
}
