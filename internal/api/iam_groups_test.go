package api_test

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	awssts "github.com/aws/aws-sdk-go-v2/service/sts"
)

func statementOf(effect, action, resource string) *string {
	return new(`{"Version":"2012-10-17","Statement":{"Effect":"` + effect + `","Action":"` + action + `","Resource":"` + resource + `"}}`)
}

// newUser creates a user with a key and returns a client of it, and the key's id.
func (s *iamServer) newUser(name string, doc *string) (aws.Config, string) {
	s.t.Helper()
	ctx, admin := s.t.Context(), s.admin()
	_, err := admin.CreateUser(ctx, &awsiam.CreateUserInput{UserName: &name})
	noError(s.t, err)
	if doc != nil {
		_, err = admin.PutUserPolicy(ctx, &awsiam.PutUserPolicyInput{UserName: &name, PolicyName: new("main"), PolicyDocument: doc})
		noError(s.t, err)
	}
	k, err := admin.CreateAccessKey(ctx, &awsiam.CreateAccessKeyInput{UserName: &name})
	noError(s.t, err)
	return s.config(*k.AccessKey.AccessKeyId, *k.AccessKey.SecretAccessKey, ""), *k.AccessKey.AccessKeyId
}

// What a group may, its members may: from the moment that they are in it, and
// until they are out.
func TestIAMGroups(t *testing.T) {
	t.Parallel()
	s := newIAMServer(t)
	c, ctx := s.admin(), t.Context()
	cfg, _ := s.newUser("bob", nil)
	bob := awsiam.NewFromConfig(cfg)
	listUsers := func() error { _, err := bob.ListUsers(ctx, &awsiam.ListUsersInput{}); return err }
	g, err := c.CreateGroup(ctx, &awsiam.CreateGroupInput{GroupName: new("ops"), Path: new("/x/")})
	noError(t, err)
	if *g.Group.Arn != accountARN+"group/x/ops" || len(*g.Group.GroupId) != 21 || (*g.Group.GroupId)[:4] != "AGPA" {
		t.Errorf("created %+v", g.Group)
	}
	_, err = c.CreateGroup(ctx, &awsiam.CreateGroupInput{GroupName: new("OPS")})
	wantCode(t, err, "EntityAlreadyExists", 409)
	_, err = c.PutGroupPolicy(ctx, &awsiam.PutGroupPolicyInput{GroupName: new("ops"), PolicyName: new("p"), PolicyDocument: statementOf("Allow", "iam:ListUsers", "*")})
	noError(t, err)
	wantCode(t, listUsers(), "AccessDenied", 403)
	_, err = c.AddUserToGroup(ctx, &awsiam.AddUserToGroupInput{GroupName: new("ops"), UserName: new("bob")})
	noError(t, err)
	noError(t, listUsers())
	_, err = c.AddUserToGroup(ctx, &awsiam.AddUserToGroupInput{GroupName: new("ops"), UserName: new("none")})
	wantCode(t, err, "NoSuchEntity", 404)
	// A Deny of a group's managed policy is one of the user's.
	denies, err := c.CreatePolicy(ctx, &awsiam.CreatePolicyInput{PolicyName: new("denies"), PolicyDocument: statementOf("Deny", "iam:List*", "*")})
	noError(t, err)
	_, err = c.AttachGroupPolicy(ctx, &awsiam.AttachGroupPolicyInput{GroupName: new("ops"), PolicyArn: denies.Policy.Arn})
	noError(t, err)
	wantCode(t, listUsers(), "AccessDenied", 403)
	_, err = c.UpdateGroup(ctx, &awsiam.UpdateGroupInput{GroupName: new("ops"), NewGroupName: new("staff"), NewPath: new("/")})
	noError(t, err)
	wantCode(t, listUsers(), "AccessDenied", 403)
	attached, err := c.ListAttachedGroupPolicies(ctx, &awsiam.ListAttachedGroupPoliciesInput{GroupName: new("staff")})
	noError(t, err)
	names, err := c.ListGroupPolicies(ctx, &awsiam.ListGroupPoliciesInput{GroupName: new("staff")})
	noError(t, err)
	doc, err := c.GetGroupPolicy(ctx, &awsiam.GetGroupPolicyInput{GroupName: new("staff"), PolicyName: new("p")})
	noError(t, err)
	if len(attached.AttachedPolicies) != 1 || len(names.PolicyNames) != 1 || *doc.GroupName != "staff" {
		t.Errorf("the group has %v, %v, %v", attached.AttachedPolicies, names.PolicyNames, doc)
	}
	used, err := c.ListEntitiesForPolicy(ctx, &awsiam.ListEntitiesForPolicyInput{PolicyArn: denies.Policy.Arn, EntityFilter: iamtypes.EntityTypeGroup})
	noError(t, err)
	if len(used.PolicyGroups) != 1 || *used.PolicyGroups[0].GroupName != "staff" {
		t.Errorf("used by %+v", used)
	}
	_, err = c.DetachGroupPolicy(ctx, &awsiam.DetachGroupPolicyInput{GroupName: new("staff"), PolicyArn: denies.Policy.Arn})
	noError(t, err)
	noError(t, listUsers())
	got, err := c.GetGroup(ctx, &awsiam.GetGroupInput{GroupName: new("staff")})
	noError(t, err)
	if len(got.Users) != 1 || *got.Users[0].UserName != "bob" || *got.Group.Arn != accountARN+"group/staff" || *got.Group.GroupId != *g.Group.GroupId {
		t.Errorf("got %+v", got)
	}
	of, err := c.ListGroupsForUser(ctx, &awsiam.ListGroupsForUserInput{UserName: new("bob")})
	noError(t, err)
	all, err := c.ListGroups(ctx, &awsiam.ListGroupsInput{})
	noError(t, err)
	if len(of.Groups) != 1 || len(all.Groups) != 1 || *all.Groups[0].GroupName != "staff" {
		t.Errorf("groups %+v, of the user %+v", all.Groups, of.Groups)
	}
	_, err = c.DeleteGroup(ctx, &awsiam.DeleteGroupInput{GroupName: new("staff")})
	wantCode(t, err, "DeleteConflict", 409)
	_, err = c.DeleteUser(ctx, &awsiam.DeleteUserInput{UserName: new("bob")})
	wantCode(t, err, "DeleteConflict", 409)
	_, err = c.RemoveUserFromGroup(ctx, &awsiam.RemoveUserFromGroupInput{GroupName: new("staff"), UserName: new("bob")})
	noError(t, err)
	wantCode(t, listUsers(), "AccessDenied", 403)
	_, err = c.DeleteGroupPolicy(ctx, &awsiam.DeleteGroupPolicyInput{GroupName: new("staff"), PolicyName: new("p")})
	noError(t, err)
	_, err = c.DeleteGroup(ctx, &awsiam.DeleteGroupInput{GroupName: new("staff")})
	noError(t, err)
}

// A user that is renamed keeps id, keys and policies, and is authorised by the new name at once.
func TestIAMRenameUser(t *testing.T) {
	t.Parallel()
	s := newIAMServer(t)
	c, ctx := s.admin(), t.Context()
	cfg, _ := s.newUser("bob", statementOf("Allow", "iam:GetUser", accountARN+"user/${aws:username}"))
	before, err := c.GetUser(ctx, &awsiam.GetUserInput{UserName: new("bob")})
	noError(t, err)
	me := awssts.NewFromConfig(cfg)
	_, err = me.GetCallerIdentity(ctx, &awssts.GetCallerIdentityInput{})
	noError(t, err)
	_, err = c.UpdateUser(ctx, &awsiam.UpdateUserInput{UserName: new("bob"), NewUserName: new("rob")})
	noError(t, err)
	who, err := me.GetCallerIdentity(ctx, &awssts.GetCallerIdentityInput{})
	noError(t, err)
	if *who.Arn != accountARN+"user/rob" || *who.UserId != *before.User.UserId {
		t.Errorf("renamed to %+v", who)
	}
	got, err := awsiam.NewFromConfig(cfg).GetUser(ctx, &awsiam.GetUserInput{})
	noError(t, err)
	if *got.User.UserName != "rob" {
		t.Errorf("the user is %+v", got.User)
	}
	// Both names have to be allowed.
	cfg, _ = s.newUser("eve", statementOf("Allow", "iam:UpdateUser", accountARN+"user/rob"))
	eve := awsiam.NewFromConfig(cfg)
	_, err = eve.UpdateUser(ctx, &awsiam.UpdateUserInput{UserName: new("rob"), NewUserName: new("admin")})
	wantCode(t, err, "AccessDenied", 403)
	_, err = eve.UpdateUser(ctx, &awsiam.UpdateUserInput{UserName: new("rob"), NewPath: new("/admins/")})
	wantCode(t, err, "AccessDenied", 403)
	_, err = eve.UpdateUser(ctx, &awsiam.UpdateUserInput{UserName: new("eve"), NewUserName: new("rob")})
	wantCode(t, err, "AccessDenied", 403)
	_, err = c.UpdateUser(ctx, &awsiam.UpdateUserInput{UserName: new("eve"), NewUserName: new("rob")})
	wantCode(t, err, "EntityAlreadyExists", 409)
}

func TestIAMLastUsed(t *testing.T) {
	t.Parallel()
	s := newIAMServer(t)
	c, ctx := s.admin(), t.Context()
	cfg, key := s.newUser("bob", nil)
	got, err := c.GetAccessKeyLastUsed(ctx, &awsiam.GetAccessKeyLastUsedInput{AccessKeyId: &key})
	noError(t, err)
	if *got.UserName != "bob" || *got.AccessKeyLastUsed.ServiceName != "N/A" || got.AccessKeyLastUsed.LastUsedDate != nil {
		t.Errorf("before its first use it is %+v", got.AccessKeyLastUsed)
	}
	_, err = awssts.NewFromConfig(cfg).GetCallerIdentity(ctx, &awssts.GetCallerIdentityInput{})
	noError(t, err)
	got, err = c.GetAccessKeyLastUsed(ctx, &awsiam.GetAccessKeyLastUsedInput{AccessKeyId: &key})
	noError(t, err)
	if u := got.AccessKeyLastUsed; u.LastUsedDate == nil || time.Since(*u.LastUsedDate) > time.Minute || *u.ServiceName != "sts" || *u.Region != "us-east-1" {
		t.Errorf("used, it is %+v", u)
	}
	_, err = c.GetAccessKeyLastUsed(ctx, &awsiam.GetAccessKeyLastUsedInput{AccessKeyId: new("AKIAUNKNOWNUNKNOWN22")})
	wantCode(t, err, "NoSuchEntity", 404)
	_, err = c.CreateRole(ctx, &awsiam.CreateRoleInput{RoleName: new("r"), AssumeRolePolicyDocument: new(accountTrust)})
	noError(t, err)
	role, err := c.GetRole(ctx, &awsiam.GetRoleInput{RoleName: new("r")})
	noError(t, err)
	if role.Role.RoleLastUsed == nil || role.Role.RoleLastUsed.LastUsedDate != nil {
		t.Errorf("before its first use the role is %+v", role.Role.RoleLastUsed)
	}
	session, err := awssts.NewFromConfig(s.config(adminID, adminSecret, "")).AssumeRole(ctx, &awssts.AssumeRoleInput{RoleArn: role.Role.Arn, RoleSessionName: new("work")})
	noError(t, err)
	_, err = awssts.NewFromConfig(s.config(*session.Credentials.AccessKeyId, *session.Credentials.SecretAccessKey, *session.Credentials.SessionToken)).GetCallerIdentity(ctx, &awssts.GetCallerIdentityInput{})
	noError(t, err)
	role, err = c.GetRole(ctx, &awsiam.GetRoleInput{RoleName: new("r")})
	noError(t, err)
	if u := role.Role.RoleLastUsed; u.LastUsedDate == nil || *u.Region != "us-east-1" {
		t.Errorf("used, the role is %+v", u)
	}
}

func TestIAMInstanceProfiles(t *testing.T) {
	t.Parallel()
	s := newIAMServer(t)
	c, ctx := s.admin(), t.Context()
	p, err := c.CreateInstanceProfile(ctx, &awsiam.CreateInstanceProfileInput{InstanceProfileName: new("p"), Tags: []iamtypes.Tag{{Key: new("team"), Value: new("blue")}}})
	noError(t, err)
	if *p.InstanceProfile.Arn != accountARN+"instance-profile/p" || p.InstanceProfile.Roles == nil || len(p.InstanceProfile.Tags) != 1 {
		t.Errorf("created %+v", p.InstanceProfile)
	}
	_, err = c.CreateRole(ctx, &awsiam.CreateRoleInput{RoleName: new("r"), AssumeRolePolicyDocument: new(accountTrust)})
	noError(t, err)
	// The role is handed over, which needs iam:PassRole (security rule 8).
	add := &awsiam.AddRoleToInstanceProfileInput{InstanceProfileName: new("p"), RoleName: new("r")}
	for _, try := range []struct {
		name, pass string
		allowed    bool
	}{
		{"none", "", false},
		{"other", `,{"Effect":"Allow","Action":"iam:PassRole","Resource":"` + accountARN + `role/other"}`, false},
		{"service", `,{"Effect":"Allow","Action":"iam:PassRole","Resource":"*","Condition":{"StringEquals":{"iam:PassedToService":"lambda.amazonaws.com"}}}`, false},
		{"able", `,{"Effect":"Allow","Action":"iam:PassRole","Resource":"` + accountARN + `role/r","Condition":{"StringEquals":{"iam:PassedToService":"ec2.amazonaws.com"},"ArnEquals":{"iam:AssociatedResourceArn":"` + accountARN + `instance-profile/p"}}}`, true},
	} {
		cfg, _ := s.newUser(try.name, new(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:AddRoleToInstanceProfile","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/team":"blue"}}}`+try.pass+`]}`))
		_, err := awsiam.NewFromConfig(cfg).AddRoleToInstanceProfile(ctx, add)
		if try.allowed {
			noError(t, err)
		} else {
			wantCode(t, err, "AccessDenied", 403)
		}
	}
	_, err = c.AddRoleToInstanceProfile(ctx, add)
	wantCode(t, err, "LimitExceeded", 409)
	got, err := c.GetInstanceProfile(ctx, &awsiam.GetInstanceProfileInput{InstanceProfileName: new("p")})
	noError(t, err)
	of, err := c.ListInstanceProfilesForRole(ctx, &awsiam.ListInstanceProfilesForRoleInput{RoleName: new("r")})
	noError(t, err)
	all, err := c.ListInstanceProfiles(ctx, &awsiam.ListInstanceProfilesInput{})
	noError(t, err)
	if len(got.InstanceProfile.Roles) != 1 || *got.InstanceProfile.Roles[0].RoleName != "r" || len(of.InstanceProfiles) != 1 || len(all.InstanceProfiles) != 1 {
		t.Errorf("got %+v, %+v, %+v", got.InstanceProfile, of, all)
	}
	_, err = c.TagInstanceProfile(ctx, &awsiam.TagInstanceProfileInput{InstanceProfileName: new("p"), Tags: []iamtypes.Tag{{Key: new("a"), Value: new("b")}}})
	noError(t, err)
	_, err = c.UntagInstanceProfile(ctx, &awsiam.UntagInstanceProfileInput{InstanceProfileName: new("p"), TagKeys: []string{"team"}})
	noError(t, err)
	tags, err := c.ListInstanceProfileTags(ctx, &awsiam.ListInstanceProfileTagsInput{InstanceProfileName: new("p")})
	noError(t, err)
	if len(tags.Tags) != 1 || *tags.Tags[0].Key != "a" {
		t.Errorf("tags %+v", tags.Tags)
	}
	_, err = c.DeleteRole(ctx, &awsiam.DeleteRoleInput{RoleName: new("r")})
	wantCode(t, err, "DeleteConflict", 409)
	_, err = c.DeleteInstanceProfile(ctx, &awsiam.DeleteInstanceProfileInput{InstanceProfileName: new("p")})
	wantCode(t, err, "DeleteConflict", 409)
	_, err = c.RemoveRoleFromInstanceProfile(ctx, &awsiam.RemoveRoleFromInstanceProfileInput{InstanceProfileName: new("p"), RoleName: new("r")})
	noError(t, err)
	_, err = c.DeleteInstanceProfile(ctx, &awsiam.DeleteInstanceProfileInput{InstanceProfileName: new("p")})
	noError(t, err)
	_, err = c.GetInstanceProfile(ctx, &awsiam.GetInstanceProfileInput{InstanceProfileName: new("p")})
	wantCode(t, err, "NoSuchEntity", 404)
}
