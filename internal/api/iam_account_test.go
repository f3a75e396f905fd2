package api_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
)

func TestIAMAccountAlias(t *testing.T) {
	t.Parallel()
	s := newIAMServer(t)
	c, ctx := s.admin(), t.Context()
	list := func() []string {
		t.Helper()
		out, err := c.ListAccountAliases(ctx, &awsiam.ListAccountAliasesInput{})
		noError(t, err)
		return out.AccountAliases
	}
	if got := list(); got == nil || len(got) != 0 {
		t.Errorf("aliases %v", got)
	}
	for _, bad := range []string{"ab", "A-b", "a--b", "-ab", "ab-", strings.Repeat("a", 64)} {
		_, err := c.CreateAccountAlias(ctx, &awsiam.CreateAccountAliasInput{AccountAlias: &bad})
		wantCode(t, err, "ValidationError", 400)
	}
	for _, alias := range []string{"plant-7", "plant-8"} { // the second replaces the first
		_, err := c.CreateAccountAlias(ctx, &awsiam.CreateAccountAliasInput{AccountAlias: &alias})
		noError(t, err)
		if got := list(); !slices.Equal(got, []string{alias}) {
			t.Errorf("aliases %v", got)
		}
	}
	_, err := c.DeleteAccountAlias(ctx, &awsiam.DeleteAccountAliasInput{AccountAlias: new("plant-7")})
	wantCode(t, err, "NoSuchEntity", 404)
	_, err = c.DeleteAccountAlias(ctx, &awsiam.DeleteAccountAliasInput{AccountAlias: new("plant-8")})
	noError(t, err)
	if got := list(); len(got) != 0 {
		t.Errorf("aliases %v", got)
	}
}

// Everything that decides comes in pages of one, and once each.
func TestIAMAuthorizationDetails(t *testing.T) {
	t.Parallel()
	s := newIAMServer(t)
	c, ctx := s.admin(), t.Context()
	s.newUser("bob", statementOf("Allow", "s3:*", "*"))
	s.newUser("amy", nil)
	_, err := c.CreateGroup(ctx, &awsiam.CreateGroupInput{GroupName: new("ops")})
	noError(t, err)
	_, err = c.AddUserToGroup(ctx, &awsiam.AddUserToGroupInput{GroupName: new("ops"), UserName: new("bob")})
	noError(t, err)
	_, err = c.CreateRole(ctx, &awsiam.CreateRoleInput{RoleName: new("r"), AssumeRolePolicyDocument: new(accountTrust), Tags: []iamtypes.Tag{{Key: new("a"), Value: new("b")}}})
	noError(t, err)
	_, err = c.CreateInstanceProfile(ctx, &awsiam.CreateInstanceProfileInput{InstanceProfileName: new("i")})
	noError(t, err)
	_, err = c.AddRoleToInstanceProfile(ctx, &awsiam.AddRoleToInstanceProfileInput{InstanceProfileName: new("i"), RoleName: new("r")})
	noError(t, err)
	p, err := c.CreatePolicy(ctx, &awsiam.CreatePolicyInput{PolicyName: new("p"), PolicyDocument: statementOf("Allow", "s3:*", "*")})
	noError(t, err)
	_, err = c.CreatePolicyVersion(ctx, &awsiam.CreatePolicyVersionInput{PolicyArn: p.Policy.Arn, PolicyDocument: statementOf("Allow", "iot:*", "*")})
	noError(t, err)
	_, err = c.AttachRolePolicy(ctx, &awsiam.AttachRolePolicyInput{RoleName: new("r"), PolicyArn: p.Policy.Arn})
	noError(t, err)
	var names []string
	pages := 0
	all := awsiam.GetAccountAuthorizationDetailsOutput{}
	for pager := awsiam.NewGetAccountAuthorizationDetailsPaginator(c, &awsiam.GetAccountAuthorizationDetailsInput{MaxItems: new(int32(1))}); pager.HasMorePages(); pages++ {
		page, err := pager.NextPage(ctx)
		noError(t, err)
		for _, u := range page.UserDetailList {
			names = append(names, *u.UserName)
		}
		for _, g := range page.GroupDetailList {
			names = append(names, *g.GroupName)
		}
		for _, r := range page.RoleDetailList {
			names = append(names, *r.RoleName)
		}
		for _, p := range page.Policies {
			names = append(names, *p.PolicyName)
		}
		all.UserDetailList = append(all.UserDetailList, page.UserDetailList...)
		all.RoleDetailList = append(all.RoleDetailList, page.RoleDetailList...)
		all.Policies = append(all.Policies, page.Policies...)
	}
	if got := strings.Join(names[:5], " "); got != "amy bob ops r p" || pages != len(names) || len(names) != 11 {
		t.Errorf("%d pages: %v", pages, names)
	}
	bob, role, pol := all.UserDetailList[1], all.RoleDetailList[0], all.Policies[0]
	doc, err := url.PathUnescape(*bob.UserPolicyList[0].PolicyDocument)
	if err != nil || doc != *statementOf("Allow", "s3:*", "*") || !slices.Equal(bob.GroupList, []string{"ops"}) {
		t.Errorf("bob is %+v", bob)
	}
	if len(role.InstanceProfileList) != 1 || len(role.AttachedManagedPolicies) != 1 || *role.AttachedManagedPolicies[0].PolicyName != "p" || len(role.Tags) != 1 {
		t.Errorf("the role is %+v", role)
	}
	if len(pol.PolicyVersionList) != 2 || *pol.PolicyVersionList[0].VersionId != "v2" || *pol.AttachmentCount != 1 {
		t.Errorf("the policy is %+v", pol)
	}
	some, err := c.GetAccountAuthorizationDetails(ctx, &awsiam.GetAccountAuthorizationDetailsInput{Filter: []iamtypes.EntityType{iamtypes.EntityTypeGroup, iamtypes.EntityTypeLocalManagedPolicy}})
	noError(t, err)
	if len(some.GroupDetailList) != 1 || len(some.Policies) != 1 || len(some.UserDetailList)+len(some.RoleDetailList) != 0 || some.IsTruncated {
		t.Errorf("filtered to %+v", some)
	}
	summary, err := c.GetAccountSummary(ctx, &awsiam.GetAccountSummaryInput{})
	noError(t, err)
	for name, want := range map[string]int32{"Users": 2, "Groups": 1, "Roles": 1, "Policies": 1, "PolicyVersionsInUse": 2, "InstanceProfiles": 1, "AccountAccessKeysPresent": 1, "AccessKeysPerUserQuota": 2, "GroupsPerUserQuota": 10} {
		if summary.SummaryMap[name] != want {
			t.Errorf("%s is %d, want %d", name, summary.SummaryMap[name], want)
		}
	}
}

func TestIAMOIDCProviders(t *testing.T) {
	t.Parallel()
	s := newIAMServer(t)
	c, ctx := s.admin(), t.Context()
	thumb := strings.Repeat("0a", 20)
	made, err := c.CreateOpenIDConnectProvider(ctx, &awsiam.CreateOpenIDConnectProviderInput{
		Url: new("https://id.example.com/tenant"), ClientIDList: []string{"app", "app", "other"}, ThumbprintList: []string{thumb},
		Tags: []iamtypes.Tag{{Key: new("team"), Value: new("blue")}},
	})
	noError(t, err)
	arn := made.OpenIDConnectProviderArn
	if *arn != accountARN+"oidc-provider/id.example.com/tenant" {
		t.Errorf("created %s", *arn)
	}
	_, err = c.CreateOpenIDConnectProvider(ctx, &awsiam.CreateOpenIDConnectProviderInput{Url: new("https://id.example.com/tenant")})
	wantCode(t, err, "EntityAlreadyExists", 409)
	for _, bad := range []string{"http://id.example.com", "https://", "https://id.example.com:8443", "https://id.example.com?x=1", "https://a@id.example.com", "https://id.example.com/\nx"} {
		_, err = c.CreateOpenIDConnectProvider(ctx, &awsiam.CreateOpenIDConnectProviderInput{Url: &bad})
		wantCode(t, err, "InvalidInput", 400)
	}
	for range 2 {
		_, err = c.AddClientIDToOpenIDConnectProvider(ctx, &awsiam.AddClientIDToOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, ClientID: new("third")})
		noError(t, err)
		_, err = c.RemoveClientIDFromOpenIDConnectProvider(ctx, &awsiam.RemoveClientIDFromOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, ClientID: new("app")})
		noError(t, err)
	}
	other := strings.Repeat("0B", 20)
	_, err = c.UpdateOpenIDConnectProviderThumbprint(ctx, &awsiam.UpdateOpenIDConnectProviderThumbprintInput{OpenIDConnectProviderArn: arn, ThumbprintList: []string{other}})
	noError(t, err)
	_, err = c.UpdateOpenIDConnectProviderThumbprint(ctx, &awsiam.UpdateOpenIDConnectProviderThumbprintInput{OpenIDConnectProviderArn: arn, ThumbprintList: []string{strings.Repeat("x", 40)}})
	wantCode(t, err, "ValidationError", 400)
	_, err = c.TagOpenIDConnectProvider(ctx, &awsiam.TagOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, Tags: []iamtypes.Tag{{Key: new("a"), Value: new("b")}}})
	noError(t, err)
	_, err = c.UntagOpenIDConnectProvider(ctx, &awsiam.UntagOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, TagKeys: []string{"team"}})
	noError(t, err)
	tags, err := c.ListOpenIDConnectProviderTags(ctx, &awsiam.ListOpenIDConnectProviderTagsInput{OpenIDConnectProviderArn: arn})
	noError(t, err)
	got, err := c.GetOpenIDConnectProvider(ctx, &awsiam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn})
	noError(t, err)
	if *got.Url != "id.example.com/tenant" || fmt.Sprint(got.ClientIDList, got.ThumbprintList) != "[other third] ["+other+"]" || len(got.Tags) != 1 || len(tags.Tags) != 1 {
		t.Errorf("got %+v, tags %+v", got, tags.Tags)
	}
	list, err := c.ListOpenIDConnectProviders(ctx, &awsiam.ListOpenIDConnectProvidersInput{})
	noError(t, err)
	if len(list.OpenIDConnectProviderList) != 1 || *list.OpenIDConnectProviderList[0].Arn != *arn {
		t.Errorf("listed %+v", list)
	}
	for range 2 {
		_, err = c.DeleteOpenIDConnectProvider(ctx, &awsiam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn})
		noError(t, err)
	}
	_, err = c.GetOpenIDConnectProvider(ctx, &awsiam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn})
	wantCode(t, err, "NoSuchEntity", 404)
	_, err = c.TagOpenIDConnectProvider(ctx, &awsiam.TagOpenIDConnectProviderInput{OpenIDConnectProviderArn: new(accountARN + "role/some-role-name"), Tags: []iamtypes.Tag{{Key: new("a"), Value: new("b")}}})
	wantCode(t, err, "InvalidInput", 400)
}
