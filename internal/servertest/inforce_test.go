package servertest_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/sekisho-iot/sekisho/internal/servertest"
)

// What takes a user's permissions away is in force when its call returns, for the
// user's key and for the sessions made with it.
func TestSecurityRule1_UsersInForceAtOnce(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	ctx := t.Context()
	const (
		tagged = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalTag/team":"red"}}}]}`
		named  = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"StringLike":{"aws:username":"ann-*"}}}]}`
		denied = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`
	)
	made := func(name, document string) *string {
		out, err := s.IAM.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: &name, PolicyDocument: &document})
		must(t, err)
		return out.Policy.Arn
	}
	nothing := made("nothing", denied)
	for name, c := range map[string]struct {
		document string // of the group's managed policy
		end      func(user, group, arn *string) error
	}{
		"out-of-group": {everything, func(user, group, _ *string) error {
			_, err := s.IAM.RemoveUserFromGroup(ctx, &iam.RemoveUserFromGroupInput{UserName: user, GroupName: group})
			return err
		}},
		"detached": {everything, func(_, group, arn *string) error {
			_, err := s.IAM.DetachGroupPolicy(ctx, &iam.DetachGroupPolicyInput{GroupName: group, PolicyArn: arn})
			return err
		}},
		"inline-deny": {everything, func(_, group, _ *string) error {
			_, err := s.IAM.PutGroupPolicy(ctx, &iam.PutGroupPolicyInput{GroupName: group, PolicyName: aws.String("no"), PolicyDocument: aws.String(denied)})
			return err
		}},
		"attached-deny": {everything, func(_, group, _ *string) error {
			_, err := s.IAM.AttachGroupPolicy(ctx, &iam.AttachGroupPolicyInput{GroupName: group, PolicyArn: nothing})
			return err
		}},
		"into-group": {everything, func(user, group, _ *string) error {
			other := aws.String(*group + "-other")
			_, err := s.IAM.CreateGroup(ctx, &iam.CreateGroupInput{GroupName: other})
			must(t, err)
			_, err = s.IAM.AttachGroupPolicy(ctx, &iam.AttachGroupPolicyInput{GroupName: other, PolicyArn: nothing})
			must(t, err)
			_, err = s.IAM.AddUserToGroup(ctx, &iam.AddUserToGroupInput{UserName: user, GroupName: other})
			return err
		}},
		"renamed-group": {everything, func(_, group, arn *string) error {
			to := aws.String(*group + "-now")
			_, err := s.IAM.UpdateGroup(ctx, &iam.UpdateGroupInput{GroupName: group, NewGroupName: to})
			must(t, err)
			_, err = s.IAM.DetachGroupPolicy(ctx, &iam.DetachGroupPolicyInput{GroupName: to, PolicyArn: arn})
			return err
		}},
		"version": {everything, func(_, _, arn *string) error {
			_, err := s.IAM.CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{PolicyArn: arn, PolicyDocument: aws.String(denied), SetAsDefault: true})
			return err
		}},
		"boundary": {everything, func(user, _, _ *string) error {
			_, err := s.IAM.PutUserPermissionsBoundary(ctx, &iam.PutUserPermissionsBoundaryInput{UserName: user, PermissionsBoundary: nothing})
			return err
		}},
		"retagged": {tagged, func(user, _, _ *string) error {
			_, err := s.IAM.TagUser(ctx, &iam.TagUserInput{UserName: user, Tags: []iamtypes.Tag{{Key: aws.String("TEAM"), Value: aws.String("blue")}}})
			return err
		}},
		"untagged": {tagged, func(user, _, _ *string) error {
			_, err := s.IAM.UntagUser(ctx, &iam.UntagUserInput{UserName: user, TagKeys: []string{"team"}})
			return err
		}},
		"renamed": {named, func(user, _, _ *string) error {
			_, err := s.IAM.UpdateUser(ctx, &iam.UpdateUserInput{UserName: user, NewUserName: aws.String("was-" + *user)})
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			user, group, arn := aws.String("ann-"+name), aws.String("group-"+name), made("policy-"+name, c.document)
			_, err := s.IAM.CreateGroup(ctx, &iam.CreateGroupInput{GroupName: group})
			must(t, err)
			_, err = s.IAM.AttachGroupPolicy(ctx, &iam.AttachGroupPolicyInput{GroupName: group, PolicyArn: arn})
			must(t, err)
			_, err = s.IAM.CreateUser(ctx, &iam.CreateUserInput{UserName: user, Tags: []iamtypes.Tag{{Key: aws.String("team"), Value: aws.String("red")}}})
			must(t, err)
			_, err = s.IAM.AddUserToGroup(ctx, &iam.AddUserToGroupInput{GroupName: group, UserName: user})
			must(t, err)
			k, err := s.IAM.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: user})
			must(t, err)
			key := credentials.NewStaticCredentialsProvider(*k.AccessKey.AccessKeyId, *k.AccessKey.SecretAccessKey, "")
			got, err := sts.NewFromConfig(s.Config(key)).GetSessionToken(ctx, nil)
			must(t, err)
			session := credentials.NewStaticCredentialsProvider(*got.Credentials.AccessKeyId, *got.Credentials.SecretAccessKey, *got.Credentials.SessionToken)
			clients := []*s3.Client{s.S3As(key), s.S3As(session)}
			for _, c := range clients {
				must(t, put(t, c, name))
			}
			must(t, c.end(user, group, arn))
			for _, c := range clients {
				wantCode(t, put(t, c, name), "AccessDenied")
			}
		})
	}
}
