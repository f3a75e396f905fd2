package servertest_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"

	"github.com/sekisho-iot/sekisho/internal/servertest"
)

// A tag whose key only looks like another one's, or has it in other letters,
// does not stand in for it.
func TestSecurityRule1_TagsThatLookAlike(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	ctx := t.Context()
	tag := func(key, value string) iamtypes.Tag { return iamtypes.Tag{Key: &key, Value: &value} }
	for _, name := range []string{"pawn", "other"} {
		_, err := s.IAM.CreateUser(ctx, &iam.CreateUserInput{UserName: &name})
		must(t, err)
	}
	c := iam.NewFromConfig(s.Config(s.NewUser("ann", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:*","Resource":"*"},
		{"Effect":"Deny","Action":"iam:*","Resource":"*","Condition":{"StringEquals":{"aws:RequestTag/access":"admin"}}},
		{"Effect":"Deny","Action":"iam:TagUser","Resource":"*","Condition":{"ForAnyValue:StringEquals":{"aws:TagKeys":["access","Access"]}}}]}`)))
	// U+017F folds to s without being one.
	_, err := c.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("queen"), Tags: []iamtypes.Tag{tag("acce\u017fs", "none"), tag("access", "admin")}})
	wantCode(t, err, "AccessDenied")
	_, err = c.TagUser(ctx, &iam.TagUserInput{UserName: aws.String("pawn"), Tags: []iamtypes.Tag{tag("acce\u017fs", "admin")}})
	if err == nil {
		_, err = s.IAM.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: aws.String("pawn"), PolicyName: aws.String("p"), PolicyDocument: aws.String(
			`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalTag/access":"admin"}}}]}`)})
		must(t, err)
		key, err := s.IAM.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String("pawn")})
		must(t, err)
		_, err = iam.NewFromConfig(s.Config(keyOf(key))).ListUsers(ctx, nil)
		wantCode(t, err, "AccessDenied")
	}
	// Tags of AWS IoT differ by case.
	things := iot.NewFromConfig(s.Config(s.NewUser("bob", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"iot:TagResource","Resource":"*"},
		{"Effect":"Deny","Action":"iot:TagResource","Resource":"*","Condition":{"ForAnyValue:StringEquals":{"aws:TagKeys":"team"}}},
		{"Effect":"Allow","Action":"iot:DeletePolicy","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/team":"red"}}}]}`)))
	made, err := s.IoT.CreatePolicy(ctx, &iot.CreatePolicyInput{
		PolicyName: aws.String("blue"), PolicyDocument: aws.String(everything),
		Tags: []iottypes.Tag{{Key: aws.String("team"), Value: aws.String("blue")}},
	})
	must(t, err)
	_, err = things.TagResource(ctx, &iot.TagResourceInput{ResourceArn: made.PolicyArn, Tags: []iottypes.Tag{{Key: aws.String("TEAM"), Value: aws.String("red")}}})
	must(t, err)
	_, err = things.DeletePolicy(ctx, &iot.DeletePolicyInput{PolicyName: aws.String("blue")})
	wantCode(t, err, "AccessDeniedException")
}

func keyOf(k *iam.CreateAccessKeyOutput) aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(*k.AccessKey.AccessKeyId, *k.AccessKey.SecretAccessKey, "")
}
