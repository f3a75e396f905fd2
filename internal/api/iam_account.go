package api

import (
	"context"

	m "github.com/sekisho-iot/sekisho/internal/api/model/iam"
	"github.com/sekisho-iot/sekisho/internal/iam"
)

func (r *iamRows) accountRows() []Operation {
	return []Operation{
		iamOp("CreateAccountAlias", nil,
			func(ctx context.Context, _ *Call, in *m.CreateAccountAliasInput) (*m.CreateAccountAliasOutput, error) {
				return nil, r.svc.SetAccountAlias(ctx, deref(in.AccountAlias))
			}),
		iamOp("DeleteAccountAlias", nil,
			func(ctx context.Context, _ *Call, in *m.DeleteAccountAliasInput) (*m.DeleteAccountAliasOutput, error) {
				return nil, r.svc.DeleteAccountAlias(ctx, deref(in.AccountAlias))
			}),
		iamOp("ListAccountAliases", nil,
			func(ctx context.Context, _ *Call, _ *m.ListAccountAliasesInput) (*m.ListAccountAliasesOutput, error) {
				alias, err := r.svc.AccountAlias(ctx)
				out := &m.ListAccountAliasesOutput{AccountAliases: []string{}, IsTruncated: new(false)}
				if alias != "" {
					out.AccountAliases = append(out.AccountAliases, alias)
				}
				return out, err
			}),
		iamOp("GetAccountSummary", nil,
			func(ctx context.Context, _ *Call, _ *m.GetAccountSummaryInput) (*m.GetAccountSummaryOutput, error) {
				summary, err := r.svc.Summary(ctx)
				out := &m.GetAccountSummaryOutput{SummaryMap: make(map[string]int32, len(summary))}
				for k, n := range summary {
					out.SummaryMap[k] = int32(n) //nolint:gosec // a million roles are few
				}
				return out, err
			}),
		iamOp("GetAccountAuthorizationDetails", nil, r.authorizationDetails),
	}
}

func (r *iamRows) authorizationDetails(ctx context.Context, _ *Call, in *m.GetAccountAuthorizationDetailsInput) (*m.GetAccountAuthorizationDetailsOutput, error) {
	d, marker, err := r.svc.Details(ctx, in.Filter, iam.ListOptions{Marker: deref(in.Marker), MaxItems: in.MaxItems})
	if err != nil {
		return nil, err
	}
	out := &m.GetAccountAuthorizationDetailsOutput{
		UserDetailList: []m.UserDetail{}, GroupDetailList: []m.GroupDetail{}, RoleDetailList: []m.RoleDetail{}, Policies: []m.ManagedPolicyDetail{},
		IsTruncated: new(marker != ""), Marker: markerOut(marker),
	}
	for _, u := range d.Users {
		out.UserDetailList = append(out.UserDetailList, m.UserDetail{
			Path: &u.Path, UserName: &u.Name, UserId: &u.User.ID, Arn: &u.ARN, CreateDate: &u.CreatedAt,
			UserPolicyList: inlineOut(u.Inline), AttachedManagedPolicies: heldOut(&u.Held), GroupList: namesOut(u.Groups),
			PermissionsBoundary: boundaryOut(u.Boundary), Tags: iamTagList(u.Tags),
		})
	}
	for _, g := range d.Groups {
		out.GroupDetailList = append(out.GroupDetailList, m.GroupDetail{
			Path: &g.Path, GroupName: &g.Name, GroupId: &g.Group.ID, Arn: &g.ARN, CreateDate: &g.CreatedAt,
			GroupPolicyList: inlineOut(g.Inline), AttachedManagedPolicies: heldOut(&g.Held),
		})
	}
	for _, role := range d.Roles {
		one, err := r.roleDetail(ctx, role)
		if err != nil {
			return nil, err
		}
		out.RoleDetailList = append(out.RoleDetailList, *one)
	}
	for _, p := range d.Policies {
		out.Policies = append(out.Policies, policyDetail(p))
	}
	return out, nil
}

func (r *iamRows) roleDetail(ctx context.Context, role iam.RoleDetail) (*m.RoleDetail, error) {
	used, err := r.roleLastUsed(ctx, role.Role.ID)
	if err != nil {
		return nil, err
	}
	profiles, err := r.profilesOut(ctx, role.Profiles)
	if err != nil {
		return nil, err
	}
	return &m.RoleDetail{
		Path: &role.Path, RoleName: &role.Name, RoleId: &role.Role.ID, Arn: &role.ARN, CreateDate: &role.CreatedAt,
		AssumeRolePolicyDocument: escapeDocument(role.Trust), InstanceProfileList: profiles,
		RolePolicyList: inlineOut(role.Inline), AttachedManagedPolicies: heldOut(&role.Held),
		PermissionsBoundary: boundaryOut(role.Boundary), Tags: iamTagList(role.Tags), RoleLastUsed: used,
	}, nil
}

func policyDetail(p iam.PolicyDetail) m.ManagedPolicyDetail {
	o := policyOut(p.Policy)
	one := m.ManagedPolicyDetail{
		PolicyName: o.PolicyName, PolicyId: o.PolicyId, Arn: o.Arn, Path: o.Path, DefaultVersionId: o.DefaultVersionId,
		AttachmentCount: o.AttachmentCount, PermissionsBoundaryUsageCount: o.PermissionsBoundaryUsageCount, IsAttachable: o.IsAttachable,
		Description: optional(p.Description), CreateDate: o.CreateDate, UpdateDate: o.UpdateDate, PolicyVersionList: []m.PolicyVersion{},
	}
	for _, v := range p.Versions {
		one.PolicyVersionList = append(one.PolicyVersionList, *versionOut(v, true))
	}
	return one
}

func inlineOut(list []iam.InlinePolicy) []m.PolicyDetail {
	out := make([]m.PolicyDetail, len(list))
	for i, p := range list {
		out[i] = m.PolicyDetail{PolicyName: &p.Name, PolicyDocument: escapeDocument(p.Document)}
	}
	return out
}

func heldOut(h *iam.Held) []m.AttachedPolicy {
	out := make([]m.AttachedPolicy, len(h.Attached))
	for i, a := range h.Attachments() {
		out[i] = m.AttachedPolicy{PolicyName: new(a.Name), PolicyArn: new(a.ARN)}
	}
	return out
}
