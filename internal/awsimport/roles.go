package awsimport

import (
	"context"
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/iot"
)

const (
	kindAlias      = "role alias"
	kindRole       = "role"
	kindRolePolicy = "policy of role"
	kindIAMPolicy  = "IAM policy"
)

// roleAliases copies role aliases, each after its role and the role's policies.
// There are few.
func (m *importer) roleAliases(ctx context.Context) error {
	pages := iot.NewListRoleAliasesPaginator(m.src.iot, &iot.ListRoleAliasesInput{PageSize: aws.Int32(250)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, name := range page.RoleAliases {
			i := Item{Kind: kindAlias, Name: name}
			m.roleAlias(ctx, &i)
			m.add(&i)
		}
	}
	return nil
}

func (m *importer) roleAlias(ctx context.Context, i *Item) {
	want, err := m.src.iot.DescribeRoleAlias(ctx, &iot.DescribeRoleAliasInput{RoleAlias: &i.Name})
	if err != nil {
		i.fail("the source", err)
		return
	}
	a := want.RoleAliasDescription
	arn := aws.ToString(a.RoleArn)
	role, known := m.roles[arn]
	if !known {
		role = Item{Kind: kindRole, Name: path.Base(arn)}
		m.role(ctx, &role, arn)
		m.add(&role)
		m.roles[arn] = role
		// A role that differs is somebody else's, perhaps: its policies are left alone.
		if role.Outcome == Created || role.Outcome == Unchanged {
			m.rolePolicies(ctx, role.Name, role.Outcome == Created && m.dryRun)
		}
	}
	if role.Outcome == Skipped || role.Outcome == Failed {
		i.skip("its role %s is not at the target", role.Name)
		return
	}
	arn = m.rewrite.text(arn)
	have, err := m.dst.iot.DescribeRoleAlias(ctx, &iot.DescribeRoleAliasInput{RoleAlias: &i.Name})
	switch {
	case notFound(err):
		m.create(i, func() error {
			_, err := m.dst.iot.CreateRoleAlias(ctx, &iot.CreateRoleAliasInput{RoleAlias: &i.Name, RoleArn: &arn, CredentialDurationSeconds: a.CredentialDurationSeconds})
			return err
		})
	case err != nil:
		i.fail("the target", err)
	case aws.ToString(have.RoleAliasDescription.RoleArn) != arn:
		i.differ("it stands for role %s", aws.ToString(have.RoleAliasDescription.RoleArn))
	case aws.ToInt32(have.RoleAliasDescription.CredentialDurationSeconds) != aws.ToInt32(a.CredentialDurationSeconds):
		i.differ("its credentials last %d seconds", aws.ToInt32(have.RoleAliasDescription.CredentialDurationSeconds))
	default:
		i.Outcome = Unchanged
	}
}

// role copies a role, without its policies.
func (m *importer) role(ctx context.Context, i *Item, arn string) {
	if !strings.HasPrefix(arn, "arn:"+m.src.Partition+":iam::"+m.src.ID+":role/") {
		i.skip("it is not of the source's account: %s", arn)
		return
	}
	out, err := m.src.iam.GetRole(ctx, &iam.GetRoleInput{RoleName: &i.Name})
	if err != nil {
		i.fail("the source", err)
		return
	}
	want := out.Role
	trust, err := m.decode(want.AssumeRolePolicyDocument)
	if err != nil {
		i.fail("the source", err)
		return
	}
	boundary := ""
	if want.PermissionsBoundary != nil {
		boundary = m.rewrite.text(m.managedPolicy(ctx, aws.ToString(want.PermissionsBoundary.PermissionsBoundaryArn)))
		if boundary == "" {
			i.skip("its permissions boundary is not at the target, or says something else there")
			return
		}
	}
	have, err := m.dst.iam.GetRole(ctx, &iam.GetRoleInput{RoleName: &i.Name})
	switch {
	case notFound(err):
		m.create(i, func() error { return m.createRole(ctx, want, trust, boundary) })
	case err != nil:
		i.fail("the target", err)
	default:
		m.compareRole(i, have.Role, want, trust, boundary)
	}
}

func (m *importer) createRole(ctx context.Context, r *iamtypes.Role, trust, boundary string) error {
	in := &iam.CreateRoleInput{
		RoleName: r.RoleName, Path: r.Path, Description: r.Description, AssumeRolePolicyDocument: &trust, MaxSessionDuration: r.MaxSessionDuration, Tags: r.Tags,
	}
	if boundary != "" {
		in.PermissionsBoundary = &boundary
	}
	_, err := m.dst.iam.CreateRole(ctx, in)
	return err
}

func (m *importer) compareRole(i *Item, have, want *iamtypes.Role, trust, boundary string) {
	is := ""
	if have.PermissionsBoundary != nil {
		is = aws.ToString(have.PermissionsBoundary.PermissionsBoundaryArn)
	}
	document, err := url.PathUnescape(aws.ToString(have.AssumeRolePolicyDocument))
	switch {
	case err != nil || !sameDocument(document, trust):
		i.differ("its trust policy says something else")
	case aws.ToInt32(have.MaxSessionDuration) != aws.ToInt32(want.MaxSessionDuration):
		i.differ("its sessions last up to %d seconds", aws.ToInt32(have.MaxSessionDuration))
	case aws.ToString(have.Path) != aws.ToString(want.Path):
		i.differ("its path is %s", aws.ToString(have.Path))
	case is != boundary:
		i.differ("its permissions boundary is another one")
	default:
		i.Outcome = Unchanged
	}
}

// decode returns a document of IAM, which comes escaped, in the target's terms.
func (m *importer) decode(document *string) (string, error) {
	s, err := url.PathUnescape(aws.ToString(document))
	if err != nil {
		return "", fmt.Errorf("a policy document is not escaped as it should be: %w", err)
	}
	return m.rewrite.document(s), nil
}

// rolePolicies copies the inline policies of a role and attaches the managed
// ones. planned says that the role is not there, though it will be.
func (m *importer) rolePolicies(ctx context.Context, role string, planned bool) {
	failed := func(name, what string, err error) {
		i := Item{Kind: kindRolePolicy, Name: role + ": " + name}
		i.fail(what, err)
		m.add(&i)
	}
	inline := iam.NewListRolePoliciesPaginator(m.src.iam, &iam.ListRolePoliciesInput{RoleName: &role})
	for inline.HasMorePages() {
		page, err := inline.NextPage(ctx)
		if err != nil {
			failed("inline", "the source", err)
			break
		}
		for _, name := range page.PolicyNames {
			i := Item{Kind: kindRolePolicy, Name: role + ": " + name}
			m.inlinePolicy(ctx, &i, role, name, planned)
			m.add(&i)
		}
	}
	attached := map[string]bool{}
	if !planned {
		list := iam.NewListAttachedRolePoliciesPaginator(m.dst.iam, &iam.ListAttachedRolePoliciesInput{RoleName: &role})
		for list.HasMorePages() {
			page, err := list.NextPage(ctx)
			if err != nil {
				failed("managed", "the target", err)
				return
			}
			for _, p := range page.AttachedPolicies {
				attached[aws.ToString(p.PolicyArn)] = true
			}
		}
	}
	list := iam.NewListAttachedRolePoliciesPaginator(m.src.iam, &iam.ListAttachedRolePoliciesInput{RoleName: &role})
	for list.HasMorePages() {
		page, err := list.NextPage(ctx)
		if err != nil {
			failed("managed", "the source", err)
			return
		}
		for _, p := range page.AttachedPolicies {
			i := Item{Kind: kindRolePolicy, Name: role + ": " + aws.ToString(p.PolicyName)}
			switch arn := m.managedPolicy(ctx, aws.ToString(p.PolicyArn)); {
			case arn == "":
				i.skip("the IAM policy is not at the target, or says something else there")
			case attached[arn]:
				i.Outcome = Unchanged
			default:
				m.create(&i, func() error {
					_, err := m.dst.iam.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: &role, PolicyArn: &arn})
					return err
				})
			}
			m.add(&i)
		}
	}
}

func (m *importer) inlinePolicy(ctx context.Context, i *Item, role, name string, planned bool) {
	want, err := m.src.iam.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: &role, PolicyName: &name})
	if err != nil {
		i.fail("the source", err)
		return
	}
	document, err := m.decode(want.PolicyDocument)
	if err != nil {
		i.fail("the source", err)
		return
	}
	if !planned {
		have, err := m.dst.iam.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: &role, PolicyName: &name})
		if err == nil {
			i.Outcome = Unchanged
			if is, err := url.PathUnescape(aws.ToString(have.PolicyDocument)); err != nil || !sameDocument(is, document) {
				i.differ("it says something else")
			}
			return
		}
		if !notFound(err) {
			i.fail("the target", err)
			return
		}
	}
	m.create(i, func() error {
		_, err := m.dst.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: &role, PolicyName: &name, PolicyDocument: &document})
		return err
	})
}

// managedPolicy sees to it that a managed policy is at the target, in its
// default version, and returns its ARN there; "" where it could not be, or where
// the name stands for something else, which may allow more. One of
// AWS's own that the target does not have becomes one of the account.
func (m *importer) managedPolicy(ctx context.Context, arn string) string {
	to := m.rewrite.text(arn)
	have, err := m.dst.iam.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: &to})
	ofAWS := strings.Contains(arn, ":iam::aws:policy/")
	if ofAWS && err == nil {
		return to
	}
	if ofAWS && notFound(err) {
		to = "arn:" + m.dst.Partition + ":iam::" + m.dst.ID + ":policy/" + path.Base(arn)
		have, err = m.dst.iam.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: &to})
	}
	if there, done := m.managed[to]; done {
		if there {
			return to
		}
		return ""
	}
	i := Item{Kind: kindIAMPolicy, Name: path.Base(arn)}
	m.copyManaged(ctx, &i, arn, to, have, err)
	if ofAWS && i.Outcome == Created {
		i.Why = "AWS's policy of that name is not there, so it becomes one of the account"
	}
	m.add(&i)
	m.managed[to] = i.Outcome == Created || i.Outcome == Unchanged
	if !m.managed[to] {
		return ""
	}
	return to
}

// copyManaged makes a managed policy; have is what the target answered about it.
func (m *importer) copyManaged(ctx context.Context, i *Item, from, to string, have *iam.GetPolicyOutput, err error) {
	want, document, readErr := readManaged(ctx, m.src.iam, from)
	if readErr != nil {
		i.fail("the source", readErr)
		return
	}
	document = m.rewrite.document(document)
	if err == nil {
		_, is, err := readManaged(ctx, m.dst.iam, aws.ToString(have.Policy.Arn))
		switch {
		case err != nil:
			i.fail("the target", err)
		case !sameDocument(is, document):
			i.differ("it says something else")
		default:
			i.Outcome = Unchanged
		}
		return
	}
	if !notFound(err) {
		i.fail("the target", err)
		return
	}
	in := &iam.CreatePolicyInput{PolicyName: want.PolicyName, PolicyDocument: &document, Description: want.Description, Path: want.Path}
	if !strings.HasSuffix(to, ":policy"+aws.ToString(want.Path)+i.Name) {
		in.Path = nil
	}
	m.create(i, func() error {
		_, err := m.dst.iam.CreatePolicy(ctx, in)
		return err
	})
}

func readManaged(ctx context.Context, c *iam.Client, arn string) (*iamtypes.Policy, string, error) {
	p, err := c.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: &arn})
	if err != nil {
		return nil, "", err
	}
	v, err := c.GetPolicyVersion(ctx, &iam.GetPolicyVersionInput{PolicyArn: &arn, VersionId: p.Policy.DefaultVersionId})
	if err != nil {
		return nil, "", err
	}
	document, err := url.PathUnescape(aws.ToString(v.PolicyVersion.Document))
	return p.Policy, document, err
}
