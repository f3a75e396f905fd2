package servertest_test

import (
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/sekisho-iot/sekisho/internal/servertest"
)

const roleARN = "arn:aws:iam::" + servertest.Account + ":role/"

// An operator of devices hands over only the roles that they may pass.
func TestSecurityRule8_PassRole(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	ctx := t.Context()
	s.NewRole("admin", servertest.TrustDevices, everything)
	allowed := s.NewRole("allowed", servertest.TrustDevices, servertest.OwnPrefix)
	p := s.NewUser("operator", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"iot:*","Resource":"*"},
		{"Effect":"Allow","Action":"iam:PassRole","Resource":"arn:aws:iam::000000000000:role/allowed*","Condition":{"StringEquals":{"iam:PassedToService":"credentials.iot.amazonaws.com"}}}]}`)
	c := iot.NewFromConfig(s.Config(p))
	_, err := c.CreateRoleAlias(ctx, &iot.CreateRoleAliasInput{RoleAlias: aws.String("mine"), RoleArn: &allowed})
	must(t, err)
	for _, arn := range []string{
		roleARN + "admin", roleARN + "allowed/admin", roleARN + "allowed/../admin", roleARN + "allowed//admin", " " + roleARN + "admin", roleARN + "*", roleARN + "ALLOWED",
		"arn:aws:iam::111111111111:role/allowed", "arn:aws-cn:iam::" + servertest.Account + ":role/allowed", "arn:aws:iam:us-east-1:" + servertest.Account + ":role/allowed-x",
	} {
		// Passing is refused, or what is passed gives nothing.
		_, err := c.CreateRoleAlias(ctx, &iot.CreateRoleAliasInput{RoleAlias: aws.String("theirs"), RoleArn: &arn})
		if err == nil {
			if a := s.Enrol("d").Ask("theirs"); a.Status == 200 {
				t.Errorf("a device got credentials of %s", arn)
			}
			_, err = c.DeleteRoleAlias(ctx, &iot.DeleteRoleAliasInput{RoleAlias: aws.String("theirs")})
			must(t, err)
		}
		_, err = c.UpdateRoleAlias(ctx, &iot.UpdateRoleAliasInput{RoleAlias: aws.String("mine"), RoleArn: &arn})
		if err == nil && arn != roleARN+"allowed/admin" && arn != roleARN+"allowed/../admin" && arn != roleARN+"allowed//admin" {
			t.Errorf("the alias was pointed to %s", arn)
		}
	}
	// Without iam:PassRole nothing at all is handed over; the duration is not a role.
	none := iot.NewFromConfig(s.Config(s.NewUser("junior", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}`)))
	_, err = none.CreateRoleAlias(ctx, &iot.CreateRoleAliasInput{RoleAlias: aws.String("theirs"), RoleArn: &allowed})
	wantCode(t, err, "AccessDeniedException")
	_, err = none.UpdateRoleAlias(ctx, &iot.UpdateRoleAliasInput{RoleAlias: aws.String("mine"), RoleArn: &allowed})
	wantCode(t, err, "AccessDeniedException")
	_, err = none.UpdateRoleAlias(ctx, &iot.UpdateRoleAliasInput{RoleAlias: aws.String("mine"), CredentialDurationSeconds: aws.Int32(900)})
	must(t, err)
}

// Who may use IAM a little cannot become more than they are.
func TestSecurityRule1_Escalation(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	ctx := t.Context()
	s.NewUser("boss", everything)
	s.NewRole("admin", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000000:user/boss"},"Action":"sts:AssumeRole"}]}`, everything)
	_, err := s.IAM.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("all"), PolicyDocument: aws.String(everything)})
	must(t, err)
	p := s.NewUser("ann", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["iam:*AccessKey*","iam:Put*Policy","iam:Attach*Policy","iam:CreatePolicyVersion","iam:UpdateAssumeRolePolicy","iam:GetUser"],"Resource":["arn:aws:iam::000000000000:user/ann-*","arn:aws:iam::000000000000:role/ann-*","arn:aws:iam::000000000000:policy/ann-*"]},
		{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}]}`)
	c := iam.NewFromConfig(s.Config(p))
	root := retrieve(t, servertest.Admin()).AccessKeyID
	all := aws.String("arn:aws:iam::" + servertest.Account + ":policy/all")
	for name, try := range map[string]func() error{
		"own key": func() error { _, err := c.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{}); return err },
		"the boss's key": func() error {
			_, err := c.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String("boss")})
			return err
		},
		"own policy": func() error {
			_, err := c.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: aws.String("ann"), PolicyName: aws.String("x"), PolicyDocument: aws.String(everything)})
			return err
		},
		"attach": func() error {
			_, err := c.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: aws.String("ann"), PolicyArn: all})
			return err
		},
		"attach to role": func() error {
			_, err := c.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String("admin"), PolicyArn: all})
			return err
		},
		"role's policy": func() error {
			_, err := c.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("admin"), PolicyName: aws.String("x"), PolicyDocument: aws.String(everything)})
			return err
		},
		"trust": func() error {
			_, err := c.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: aws.String("admin"), PolicyDocument: aws.String(trustAccount)})
			return err
		},
		"another version": func() error {
			_, err := c.CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{PolicyArn: all, PolicyDocument: aws.String(everything), SetAsDefault: true})
			return err
		},
		"deactivate root": func() error {
			_, err := c.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{AccessKeyId: &root, Status: iamtypes.StatusTypeInactive})
			return err
		},
		"root's key by another name": func() error {
			_, err := c.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: aws.String("ann-x"), AccessKeyId: &root})
			if code := servertest.Code(err); code == "NoSuchEntity" {
				return errDenied
			}
			return err
		},
		"assume": func() error {
			_, err := sts.NewFromConfig(s.Config(p)).AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String(roleARN + "admin"), RoleSessionName: aws.String("boss")})
			return err
		},
	} {
		if err := try(); err == nil || servertest.Code(err) != "AccessDenied" && !errors.Is(err, errDenied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, put(t, s.S3, "root/works")) // the administrator's key does
}

type denied struct{}

func (denied) Error() string { return "denied" }

var errDenied error = denied{}

// A deny by tag, boundary or path holds whatever spelling is used.
func TestSecurityRule1_DenyBySpelling(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	ctx := t.Context()
	d := s.Enrol("pump")
	c := iot.NewFromConfig(s.Config(s.NewUser("ann", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},
		{"Effect":"Deny","Action":"*","Resource":["`+d.CertificateARN+`","arn:aws:iot:ap-northeast-1:000000000000:thing/pump","arn:aws:iot:ap-northeast-1:000000000000:policy/fleet-policy"]}]}`)))
	upper := []byte(d.CertificateID)
	for i, b := range upper {
		if b >= 'a' && b <= 'f' {
			upper[i] = b - 'a' + 'A'
		}
	}
	for _, id := range []string{d.CertificateID, string(upper), "0x" + d.CertificateID, "0x" + string(upper), "0X" + d.CertificateID} {
		arn := "arn:aws:iot:ap-northeast-1:000000000000:cert/" + id
		_, err := c.UpdateCertificate(ctx, &iot.UpdateCertificateInput{CertificateId: &id, NewStatus: iottypes.CertificateStatusInactive})
		if err == nil {
			t.Errorf("UpdateCertificate %s", id)
		}
		if _, err := c.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: aws.String("other"), Principal: &arn}); err == nil {
			t.Errorf("AttachThingPrincipal %s", arn)
		}
		if _, err := c.DetachPolicy(ctx, &iot.DetachPolicyInput{PolicyName: aws.String(servertest.Policy), Target: &arn}); err == nil {
			t.Errorf("DetachPolicy %s", arn)
		}
		if _, err := c.DetachThingPrincipal(ctx, &iot.DetachThingPrincipalInput{ThingName: aws.String("pump"), Principal: &arn}); err == nil {
			t.Errorf("DetachThingPrincipal %s", arn)
		}
		if _, err := c.TagResource(ctx, &iot.TagResourceInput{ResourceArn: &arn, Tags: []iottypes.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}); err == nil {
			t.Errorf("TagResource %s", arn)
		}
	}
	wantAnswer(t, d.Ask(servertest.Alias), 200, "")
	for _, target := range []string{"/things/pump", "/things/pump/", "/things/%70ump", "/things/pump?thingName=other", "/things/./pump", "/things//pump", "/things/x%2F..%2Fpump"} {
		keys := s.NewUser("user"+safeName(target), `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"*","Resource":"arn:aws:iot:ap-northeast-1:000000000000:thing/pump"}]}`)
		if status, body := s.Do(keys, servertest.Request{Method: "GET", Target: target, Service: "iot"}); status/100 != 4 {
			t.Errorf("%s: %d %s", target, status, body)
		}
	}
}

func safeName(target string) string {
	name := []byte{}
	for i := range len(target) {
		if c := target[i]; c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			name = append(name, c)
		} else {
			name = append(name, '-')
		}
	}
	return string(name)
}

// Who administers only roles under a boundary cannot lift it, nor touch others.
func TestSecurityRule1_Boundary(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	ctx := t.Context()
	made, err := s.IAM.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("edge"), PolicyDocument: aws.String(everything)})
	must(t, err)
	edge := *made.Policy.Arn
	c := iam.NewFromConfig(s.Config(s.NewUser("delegate", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["iam:CreateRole","iam:PutRolePolicy","iam:AttachRolePolicy","iam:DeleteRolePolicy"],"Resource":"*","Condition":{"StringEquals":{"iam:PermissionsBoundary":"`+edge+`"}}},
		{"Effect":"Allow","Action":"iam:*RolePermissionsBoundary","Resource":"*"},
		{"Effect":"Deny","Action":"iam:DeleteRolePermissionsBoundary","Resource":"*","Condition":{"StringEquals":{"iam:PermissionsBoundary":"`+edge+`"}}},
		{"Effect":"Deny","Action":"iam:PutRolePermissionsBoundary","Resource":"*","Condition":{"StringNotEquals":{"iam:PermissionsBoundary":"`+edge+`"}}}]}`)))
	create := func(name string, boundary *string) error {
		_, err := c.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: aws.String(trustAccount), PermissionsBoundary: boundary})
		return err
	}
	write := func(role string) error {
		_, err := c.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: &role, PolicyName: aws.String("x"), PolicyDocument: aws.String(everything)})
		return err
	}
	wantCode(t, create("loose", nil), "AccessDenied")
	wantCode(t, create("loose", aws.String("arn:aws:iam::aws:policy/AdministratorAccess")), "AccessDenied")
	must(t, create("held", &edge))
	must(t, write("held"))
	wantCode(t, write(servertest.Role), "AccessDenied")
	_, err = c.DeleteRolePermissionsBoundary(ctx, &iam.DeleteRolePermissionsBoundaryInput{RoleName: aws.String("held")})
	wantCode(t, err, "AccessDenied")
	_, err = c.PutRolePermissionsBoundary(ctx, &iam.PutRolePermissionsBoundaryInput{RoleName: aws.String("held"), PermissionsBoundary: aws.String("arn:aws:iam::aws:policy/AdministratorAccess")})
	wantCode(t, err, "AccessDenied")
}
