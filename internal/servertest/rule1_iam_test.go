package servertest_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/sekisho-iot/sekisho/internal/servertest"
)

// A Deny by the tags of a user or a managed policy holds for every operation on it.
func TestSecurityRule1_DenyByTag(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	ctx := t.Context()
	tags := []iamtypes.Tag{{Key: aws.String("Guarded"), Value: aws.String("yes")}}
	_, err := s.IAM.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("boss"), Tags: tags})
	must(t, err)
	key, err := s.IAM.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String("boss")})
	must(t, err)
	id := key.AccessKey.AccessKeyId
	made, err := s.IAM.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("edge"), PolicyDocument: aws.String(servertest.OwnPrefix), Tags: tags})
	must(t, err)
	arn, boss := made.Policy.Arn, aws.String("boss")
	c := iam.NewFromConfig(s.Config(s.NewUser("ann", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:*","Resource":"*"},
		{"Effect":"Deny","Action":"iam:*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/guarded":"yes"}}}]}`)))
	for name, try := range map[string]func() error{
		"CreateAccessKey": func() error {
			_, err := c.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: boss})
			return err
		},
		"ListAccessKeys": func() error {
			_, err := c.ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: boss})
			return err
		},
		"UpdateAccessKey": func() error {
			_, err := c.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{UserName: boss, AccessKeyId: id, Status: iamtypes.StatusTypeInactive})
			return err
		},
		"DeleteAccessKey": func() error {
			_, err := c.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: boss, AccessKeyId: id})
			return err
		},
		"GetAccessKeyLastUsed": func() error {
			_, err := c.GetAccessKeyLastUsed(ctx, &iam.GetAccessKeyLastUsedInput{AccessKeyId: id})
			return err
		},
		"GetUser": func() error { _, err := c.GetUser(ctx, &iam.GetUserInput{UserName: boss}); return err },
		"CreatePolicyVersion": func() error {
			_, err := c.CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{PolicyArn: arn, PolicyDocument: aws.String(everything), SetAsDefault: true})
			return err
		},
		"SetDefaultPolicyVersion": func() error {
			_, err := c.SetDefaultPolicyVersion(ctx, &iam.SetDefaultPolicyVersionInput{PolicyArn: arn, VersionId: aws.String("v1")})
			return err
		},
		"TagPolicy": func() error {
			_, err := c.TagPolicy(ctx, &iam.TagPolicyInput{PolicyArn: arn, Tags: []iamtypes.Tag{{Key: aws.String("guarded"), Value: aws.String("no")}}})
			return err
		},
		"UntagPolicy": func() error {
			_, err := c.UntagPolicy(ctx, &iam.UntagPolicyInput{PolicyArn: arn, TagKeys: []string{"guarded"}})
			return err
		},
		"GetPolicy": func() error { _, err := c.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: arn}); return err },
		"GetPolicyVersion": func() error {
			_, err := c.GetPolicyVersion(ctx, &iam.GetPolicyVersionInput{PolicyArn: arn, VersionId: aws.String("v1")})
			return err
		},
		"ListPolicyVersions": func() error {
			_, err := c.ListPolicyVersions(ctx, &iam.ListPolicyVersionsInput{PolicyArn: arn})
			return err
		},
		"ListPolicyTags": func() error { _, err := c.ListPolicyTags(ctx, &iam.ListPolicyTagsInput{PolicyArn: arn}); return err },
		"ListEntitiesForPolicy": func() error {
			_, err := c.ListEntitiesForPolicy(ctx, &iam.ListEntitiesForPolicyInput{PolicyArn: arn})
			return err
		},
		"DeletePolicyVersion": func() error {
			_, err := c.DeletePolicyVersion(ctx, &iam.DeletePolicyVersionInput{PolicyArn: arn, VersionId: aws.String("v2")})
			return err
		},
		"UpdateUser": func() error {
			_, err := c.UpdateUser(ctx, &iam.UpdateUserInput{UserName: boss, NewUserName: aws.String("was-boss")})
			return err
		},
	} {
		if code := servertest.Code(try()); code != "AccessDenied" {
			t.Errorf("%s: %q", name, code)
		}
	}
	_, err = c.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: arn})
	wantCode(t, err, "AccessDenied")
	// Who is guarded is so from itself, too.
	_, err = s.IAM.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: boss, PolicyName: aws.String("p"), PolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:*","Resource":"*","Condition":{"StringNotEquals":{"iam:ResourceTag/Guarded":"yes"}}}]}`)})
	must(t, err)
	own := iam.NewFromConfig(s.Config(credentials.NewStaticCredentialsProvider(*id, *key.AccessKey.SecretAccessKey, "")))
	_, err = own.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{})
	wantCode(t, err, "AccessDenied")
	_, err = own.GetUser(ctx, &iam.GetUserInput{})
	wantCode(t, err, "AccessDenied")
	// Who may touch only what is theirs by tag may rename it as well.
	mine := iam.NewFromConfig(s.Config(s.NewUser("bob", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"iam:UpdateUser","Resource":"*","Condition":{"StringEquals":{"iam:ResourceTag/guarded":"yes"}}}]}`)))
	_, err = mine.UpdateUser(ctx, &iam.UpdateUserInput{UserName: boss, NewUserName: aws.String("chief")})
	must(t, err)
}
