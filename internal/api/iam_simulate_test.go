package api_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

func contextEntry(name, kind string, values ...string) types.ContextEntry {
	return types.ContextEntry{ContextKeyName: &name, ContextKeyType: types.ContextKeyTypeEnum(kind), ContextKeyValues: values}
}

// decisions renders results as "action resource decision source…".
func decisions(list []types.EvaluationResult) string {
	var lines []string
	for _, r := range list {
		line := fmt.Sprintf("%s %s %s", *r.EvalActionName, *r.EvalResourceName, r.EvalDecision)
		for _, s := range r.MatchedStatements {
			line += fmt.Sprintf(" %s@%d:%d-%d:%d", *s.SourcePolicyId, s.StartPosition.Line, s.StartPosition.Column, s.EndPosition.Line, s.EndPosition.Column)
		}
		if len(r.MissingContextValues) > 0 {
			line += " missing " + strings.Join(r.MissingContextValues, ",")
		}
		if b := r.PermissionsBoundaryDecisionDetail; b != nil {
			line += fmt.Sprint(" boundary ", b.AllowedByPermissionsBoundary)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func TestSimulateCustomPolicy(t *testing.T) {
	t.Parallel()
	s := newIAMServer(t)
	c, ctx := s.admin(), t.Context()
	const (
		read  = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:Get*","Resource":"arn:aws:s3:::b/*"}]}`
		own   = "{\n \"Version\": \"2012-10-17\",\n \"Statement\": [\n  {\"Effect\":\"Allow\",\"Action\":\"s3:*\",\"Resource\":\"*\",\n   \"Condition\":{\"IpAddress\":{\"aws:SourceIp\":\"10.0.0.0/8\"}}},\n  {\"Effect\":\"Deny\",\"Action\":\"s3:DeleteObject\",\"Resource\":\"*\",\"Condition\":{\"ForAnyValue:StringEquals\":{\"aws:TagKeys\":\"x\"}}}]}"
		named = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + accountARN + `user/bob"},"Action":"s3:PutObject","Resource":"arn:aws:s3:::b/*"}]}`
	)
	for _, x := range []struct {
		what string
		in   awsiam.SimulateCustomPolicyInput
		want string
	}{
		{"two actions, one resource each", awsiam.SimulateCustomPolicyInput{
			PolicyInputList: []string{read}, ActionNames: []string{"s3:GetObject", "s3:PutObject"}, ResourceArns: []string{"arn:aws:s3:::b/k", "arn:aws:s3:::c/k"},
		}, "s3:GetObject arn:aws:s3:::b/k allowed PolicyInputList.1@1:38-1:105\ns3:GetObject arn:aws:s3:::c/k implicitDeny\ns3:PutObject arn:aws:s3:::b/k implicitDeny\ns3:PutObject arn:aws:s3:::c/k implicitDeny"},
		{"a key is missing", awsiam.SimulateCustomPolicyInput{
			PolicyInputList: []string{own}, ActionNames: []string{"s3:PutObject"},
		}, "s3:PutObject * implicitDeny missing aws:SourceIp"},
		{"keys are given", awsiam.SimulateCustomPolicyInput{
			PolicyInputList: []string{own}, ActionNames: []string{"s3:DeleteObject", "s3:PutObject"},
			ContextEntries: []types.ContextEntry{contextEntry("AWS:sourceip", "ip", "10.1.2.3"), contextEntry("aws:TagKeys", "stringList", "y", "x")},
		}, "s3:DeleteObject * explicitDeny PolicyInputList.1@5:61-6:123\ns3:PutObject * allowed PolicyInputList.1@3:16-5:60"},
		{"a boundary", awsiam.SimulateCustomPolicyInput{
			PolicyInputList: []string{own}, PermissionsBoundaryPolicyInputList: []string{read}, ActionNames: []string{"s3:GetObject", "s3:PutObject"},
			ResourceArns: []string{"arn:aws:s3:::b/k"}, ContextEntries: []types.ContextEntry{contextEntry("aws:SourceIp", "ip", "10.1.2.3")},
		}, "s3:GetObject arn:aws:s3:::b/k allowed PolicyInputList.1@3:16-5:60 PermissionsBoundaryPolicyInputList.1@1:38-1:105 boundary true\ns3:PutObject arn:aws:s3:::b/k implicitDeny boundary false"},
		{"a resource policy that names the caller, boundary or not", awsiam.SimulateCustomPolicyInput{
			PolicyInputList: []string{read}, PermissionsBoundaryPolicyInputList: []string{read}, ActionNames: []string{"s3:PutObject"},
			ResourceArns: []string{"arn:aws:s3:::b/k"}, ResourcePolicy: new(named), CallerArn: new(accountARN + "user/bob"),
		}, "s3:PutObject arn:aws:s3:::b/k allowed ResourcePolicy.1@1:38-1:167 boundary false"},
		{"and that names another", awsiam.SimulateCustomPolicyInput{
			PolicyInputList: []string{read}, ActionNames: []string{"s3:PutObject"},
			ResourceArns: []string{"arn:aws:s3:::b/k"}, ResourcePolicy: new(named), CallerArn: new(accountARN + "user/eve"),
		}, "s3:PutObject arn:aws:s3:::b/k implicitDeny"},
	} {
		got, err := c.SimulateCustomPolicy(ctx, &x.in)
		if err != nil {
			t.Errorf("%s: %v", x.what, err)
			continue
		}
		if text := decisions(got.EvaluationResults); text != x.want {
			t.Errorf("%s:\n%s\nwant\n%s", x.what, text, x.want)
		}
		for _, r := range got.EvaluationResults {
			if len(x.in.ResourceArns) > 0 && (len(r.ResourceSpecificResults) != 1 || string(r.ResourceSpecificResults[0].EvalResourceDecision) != string(r.EvalDecision)) {
				t.Errorf("%s: by resource %+v", x.what, r.ResourceSpecificResults)
			}
		}
	}
	for what, in := range map[string]awsiam.SimulateCustomPolicyInput{
		"a bad policy":       {PolicyInputList: []string{`{"Statement":1}`}, ActionNames: []string{"s3:GetObject"}},
		"a wildcard action":  {PolicyInputList: []string{read}, ActionNames: []string{"s3:*"}},
		"no action":          {PolicyInputList: []string{read}, ActionNames: []string{"GetObject"}},
		"no caller":          {PolicyInputList: []string{read}, ActionNames: []string{"s3:GetObject"}, ResourcePolicy: new(named)},
		"a role as caller":   {PolicyInputList: []string{read}, ActionNames: []string{"s3:GetObject"}, CallerArn: new(accountARN + "role/r")},
		"another's resource": {PolicyInputList: []string{read}, ActionNames: []string{"s3:GetObject"}, ResourceOwner: new("arn:aws:iam::210987654321:root")},
		"a scenario":         {PolicyInputList: []string{read}, ActionNames: []string{"s3:GetObject"}, ResourceHandlingOption: new("EC2-VPC-InstanceStore")},
		"two values of one":  {PolicyInputList: []string{read}, ActionNames: []string{"s3:GetObject"}, ContextEntries: []types.ContextEntry{contextEntry("aws:SourceIp", "string", "x", "y")}},
		"a bad boundary":     {PolicyInputList: []string{read}, ActionNames: []string{"s3:GetObject"}, PermissionsBoundaryPolicyInputList: []string{"x"}},
	} {
		_, err := c.SimulateCustomPolicy(ctx, &in)
		t.Log(what)
		wantCode(t, err, "InvalidInput", 400)
	}
}

// Who may simulate learns nothing of users by naming them as callers.
func TestSimulatedCallerIsNotLookedUp(t *testing.T) {
	t.Parallel()
	s := newIAMServer(t)
	c, ctx := s.admin(), t.Context()
	_, err := c.CreateUser(ctx, &awsiam.CreateUserInput{UserName: new("bob"), Tags: []types.Tag{{Key: new("team"), Value: new("blue")}}})
	noError(t, err)
	in := &awsiam.SimulateCustomPolicyInput{
		PolicyInputList: []string{`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalTag/team":"blue"}}}}`},
		ActionNames:     []string{"s3:GetObject"}, CallerArn: new(accountARN + "user/bob"),
	}
	got, err := c.SimulateCustomPolicy(ctx, in)
	noError(t, err)
	if text := decisions(got.EvaluationResults); text != "s3:GetObject * implicitDeny missing aws:PrincipalTag/team" {
		t.Errorf("simulated %s", text)
	}
	principal, err := c.SimulatePrincipalPolicy(ctx, &awsiam.SimulatePrincipalPolicyInput{PolicySourceArn: in.CallerArn, PolicyInputList: in.PolicyInputList, ActionNames: in.ActionNames})
	noError(t, err)
	if principal.EvaluationResults[0].EvalDecision != types.PolicyEvaluationDecisionTypeAllowed {
		t.Errorf("simulated %s", decisions(principal.EvaluationResults))
	}
}

func TestSimulatePages(t *testing.T) {
	t.Parallel()
	s := newIAMServer(t)
	in := &awsiam.SimulateCustomPolicyInput{PolicyInputList: []string{*statementOf("Allow", "s3:*", "*")}, MaxItems: new(int32(4))}
	for i := range 5 {
		in.ActionNames = append(in.ActionNames, fmt.Sprint("s3:Action", i))
		in.ResourceArns = append(in.ResourceArns, fmt.Sprint("arn:aws:s3:::b/", i))
	}
	var got []string
	pages := 0
	for p := awsiam.NewSimulateCustomPolicyPaginator(s.admin(), in); p.HasMorePages(); pages++ {
		page, err := p.NextPage(t.Context())
		noError(t, err)
		for _, r := range page.EvaluationResults {
			got = append(got, *r.EvalActionName+*r.EvalResourceName)
		}
	}
	if len(got) != 25 || pages != 7 || !slices.IsSorted(got) || len(slices.Compact(got)) != 25 {
		t.Errorf("%d pages: %v", pages, got)
	}
	_, err := s.admin().SimulateCustomPolicy(t.Context(), &awsiam.SimulateCustomPolicyInput{PolicyInputList: in.PolicyInputList, ActionNames: in.ActionNames, Marker: new("x")})
	wantCode(t, err, "ValidationError", 400)
}

// What is simulated is what is decided: the user's own policies, its groups',
// its boundary and its tags.
func TestSimulatePrincipalPolicy(t *testing.T) {
	t.Parallel()
	s := newIAMServer(t)
	c, ctx := s.admin(), t.Context()
	cfg, _ := s.newUser("bob", new(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iam:GetUser","Resource":"`+accountARN+`user/${aws:username}"}}`))
	_, err := c.CreateGroup(ctx, &awsiam.CreateGroupInput{GroupName: new("ops")})
	noError(t, err)
	_, err = c.PutGroupPolicy(ctx, &awsiam.PutGroupPolicyInput{GroupName: new("ops"), PolicyName: new("list"), PolicyDocument: statementOf("Allow", "iam:List*", "*")})
	noError(t, err)
	_, err = c.AddUserToGroup(ctx, &awsiam.AddUserToGroupInput{GroupName: new("ops"), UserName: new("bob")})
	noError(t, err)
	edge, err := c.CreatePolicy(ctx, &awsiam.CreatePolicyInput{PolicyName: new("edge"), PolicyDocument: new(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["iam:GetUser","iam:ListUsers"],"Resource":"*"}}`)})
	noError(t, err)
	_, err = c.PutUserPermissionsBoundary(ctx, &awsiam.PutUserPermissionsBoundaryInput{UserName: new("bob"), PermissionsBoundary: edge.Policy.Arn})
	noError(t, err)
	in := &awsiam.SimulatePrincipalPolicyInput{
		PolicySourceArn: new(accountARN + "user/bob"), ActionNames: []string{"iam:GetUser", "iam:ListUsers", "iam:ListRoles"}, ResourceArns: []string{accountARN + "user/bob"},
	}
	got, err := c.SimulatePrincipalPolicy(ctx, in)
	noError(t, err)
	arn := accountARN + "user/bob"
	want := "iam:GetUser " + arn + " allowed user_bob_main@1:37-1:138 edge@1:37-1:111 boundary true\n" +
		"iam:ListUsers " + arn + " allowed group_ops_list@1:37-1:91 edge@1:37-1:111 boundary true\n" +
		"iam:ListRoles " + arn + " implicitDeny boundary false"
	if text := decisions(got.EvaluationResults); text != want {
		t.Errorf("simulated\n%s\nwant\n%s", text, want)
	}
	bob := awsiam.NewFromConfig(cfg)
	_, err = bob.GetUser(ctx, &awsiam.GetUserInput{UserName: new("bob")})
	noError(t, err)
	_, err = bob.ListUsers(ctx, &awsiam.ListUsersInput{})
	noError(t, err)
	_, err = bob.ListRoles(ctx, &awsiam.ListRolesInput{})
	wantCode(t, err, "AccessDenied", 403)
	in.PolicyInputList = []string{*statementOf("Deny", "iam:GetUser", "*")}
	got, err = c.SimulatePrincipalPolicy(ctx, in)
	noError(t, err)
	if got.EvaluationResults[0].EvalDecision != types.PolicyEvaluationDecisionTypeExplicitDeny {
		t.Errorf("with a Deny: %s", decisions(got.EvaluationResults))
	}
	for arn, code := range map[string]string{accountARN + "user/none": "NoSuchEntity", accountARN + "user/x/bob": "NoSuchEntity", accountARN + "policy/edge": "InvalidInput", "arn:aws:iam::210987654321:user/bob": "InvalidInput"} {
		_, err := c.SimulatePrincipalPolicy(ctx, &awsiam.SimulatePrincipalPolicyInput{PolicySourceArn: &arn, ActionNames: []string{"s3:GetObject"}})
		wantCode(t, err, code, map[string]int{"NoSuchEntity": 404, "InvalidInput": 400}[code])
	}
	keys, err := c.GetContextKeysForPrincipalPolicy(ctx, &awsiam.GetContextKeysForPrincipalPolicyInput{PolicySourceArn: &arn, PolicyInputList: []string{
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"true"},"StringEquals":{"AWS:UserName":"x"}}}}`,
	}})
	noError(t, err)
	if !slices.Equal(keys.ContextKeyNames, []string{"aws:SecureTransport", "aws:username"}) {
		t.Errorf("keys %v", keys.ContextKeyNames)
	}
	custom, err := c.GetContextKeysForCustomPolicy(ctx, &awsiam.GetContextKeysForCustomPolicyInput{PolicyInputList: []string{*statementOf("Allow", "*", "*")}})
	noError(t, err)
	if custom.ContextKeyNames == nil || len(custom.ContextKeyNames) != 0 {
		t.Errorf("keys %v", custom.ContextKeyNames)
	}
}
