package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	awssts "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

type decodedDenial struct {
	Allowed, ExplicitDeny bool
	MatchedStatements     struct {
		Items []struct{ StatementID, Effect, SourcePolicyID string }
	}
	Context struct {
		Principal        struct{ ID, Name, ARN string }
		Action, Resource string
		Conditions       struct {
			Items []struct {
				Key    string
				Values struct{ Items []struct{ Value string } }
			}
		}
	}
	Explanation string
}

// A denial says why to those who may decode its message, and to nobody else.
func TestDecodeAuthorizationMessage(t *testing.T) {
	t.Parallel()
	s := newIAMServer(t)
	ctx := t.Context()
	cfg, _ := s.newUser("bob", new(`{"Version":"2012-10-17","Statement":[
		{"Sid":"Some","Effect":"Allow","Action":"iam:GetRole","Resource":"`+accountARN+`role/bob-*"},
		{"Sid":"NoUsers","Effect":"Deny","Action":"iam:*User*","Resource":"*","Condition":{"StringEquals":{"aws:username":"bob"}}}]}`))
	bob, admin := awsiam.NewFromConfig(cfg), awssts.NewFromConfig(s.config(adminID, adminSecret, ""))
	message := func(err error) (string, string) {
		t.Helper()
		e, ok := errors.AsType[smithy.APIError](err)
		if !ok || e.ErrorCode() != "AccessDenied" {
			t.Fatalf("the error is %v", err)
		}
		open, sealed, ok := strings.Cut(e.ErrorMessage(), " Encoded authorization failure message: ")
		if !ok || sealed == "" || strings.ContainsAny(sealed, " \n") {
			t.Fatalf("the message is %q", e.ErrorMessage())
		}
		return open, sealed
	}
	decode := func(sealed string) (d decodedDenial) {
		t.Helper()
		out, err := admin.DecodeAuthorizationMessage(ctx, &awssts.DecodeAuthorizationMessageInput{EncodedMessage: &sealed})
		noError(t, err)
		noError(t, json.Unmarshal([]byte(*out.DecodedMessage), &d))
		return d
	}
	_, err := bob.GetRole(ctx, &awsiam.GetRoleInput{RoleName: new("other")})
	open, sealed := message(err)
	if open != "User: "+accountARN+"user/bob is not authorized to perform: iam:GetRole on resource: "+accountARN+"role/other" {
		t.Errorf("the caller is told %q", open)
	}
	d := decode(sealed)
	if d.Allowed || d.ExplicitDeny || len(d.MatchedStatements.Items) != 0 || d.Context.Action != "iam:GetRole" || d.Context.Resource != accountARN+"role/other" ||
		d.Context.Principal.Name != "bob" || d.Context.Principal.ARN != accountARN+"user/bob" || !strings.HasPrefix(d.Context.Principal.ID, "AIDA") {
		t.Errorf("decoded %+v", d)
	}
	if !strings.Contains(d.Explanation, "role/bob-*") {
		t.Errorf("explained by %q", d.Explanation)
	}
	_, err = bob.GetUser(ctx, &awsiam.GetUserInput{})
	_, sealed = message(err)
	d = decode(sealed)
	if !d.ExplicitDeny || len(d.MatchedStatements.Items) != 1 || d.MatchedStatements.Items[0].StatementID != "NoUsers" || d.MatchedStatements.Items[0].Effect != "DENY" {
		t.Errorf("decoded %+v", d)
	}
	if c := d.Context.Conditions.Items; len(c) != 1 || c[0].Key != "aws:username" || c[0].Values.Items[0].Value != "bob" {
		t.Errorf("conditions %+v", c)
	}
	_, err = awssts.NewFromConfig(cfg).DecodeAuthorizationMessage(ctx, &awssts.DecodeAuthorizationMessageInput{EncodedMessage: &sealed})
	wantCode(t, err, "AccessDenied", 403)
	for _, bad := range []string{"x", sealed[1:], "B" + sealed[1:]} {
		_, err = admin.DecodeAuthorizationMessage(ctx, &awssts.DecodeAuthorizationMessageInput{EncodedMessage: &bad})
		wantCode(t, err, "InvalidAuthorizationMessageException", 400)
	}
}

// However much there is to say, the message stays within the limit of the API.
func TestLongDenial(t *testing.T) {
	t.Parallel()
	s := newIAMServer(t)
	ctx := t.Context()
	cfg, _ := s.newUser("bob", nil)
	for n := range 10 {
		var statements []string
		for i := range 20 {
			statements = append(statements, fmt.Sprintf(`{"Effect":"Allow","Action":"iam:GetRole","Resource":"%srole/%x-*"}`, accountARN, (n*20+i+3)*7919*1048583*104729))
		}
		p, err := s.admin().CreatePolicy(ctx, &awsiam.CreatePolicyInput{PolicyName: new(fmt.Sprint("p", n)), PolicyDocument: new(`{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`)})
		noError(t, err)
		_, err = s.admin().AttachUserPolicy(ctx, &awsiam.AttachUserPolicyInput{UserName: new("bob"), PolicyArn: p.Policy.Arn})
		noError(t, err)
	}
	_, err := awsiam.NewFromConfig(cfg).GetRole(ctx, &awsiam.GetRoleInput{RoleName: new("r")})
	wantCode(t, err, "AccessDenied", 403)
	if e, ok := errors.AsType[smithy.APIError](err); !ok || len(e.ErrorMessage()) > 11<<10 || !strings.Contains(e.ErrorMessage(), "Encoded authorization failure message: ") {
		t.Errorf("the message is %v", err)
	}
}
