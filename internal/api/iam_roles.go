package api

import (
	"context"

	m "github.com/sekisho-iot/sekisho/internal/api/model/iam"
	"github.com/sekisho-iot/sekisho/internal/iam"
	"github.com/sekisho-iot/sekisho/internal/policy"
)

func roleHolder(name *string) iam.Holder {
	return iam.Holder{Kind: iam.RoleHolder, Name: deref(name)}
}

// roleOp is a row about one role.
func roleOp[In, Out any](r *iamRows, name string, role func(*In) *string, handle func(context.Context, *Call, *In) (*Out, error)) Operation {
	o := iamOp(name, func(c *Call, in *In) string { return r.roleARN(c, role(in)) }, handle)
	return withKeys(o, func(c *Call, in *In) policy.Keys { return r.aboutRole(c, role(in), iamKeys{}) })
}

func (r *iamRows) roleRows() []Operation {
	create := iamOp("CreateRole", func(c *Call, in *m.CreateRoleInput) string { return iamARN(c, "role", in.Path, deref(in.RoleName)) }, r.createRole)
	return append([]Operation{
		withKeys(create, func(_ *Call, in *m.CreateRoleInput) policy.Keys {
			return tagged(in.Tags, iamKeys{boundary: in.PermissionsBoundary})
		}),
		roleOp(r, "GetRole", func(in *m.GetRoleInput) *string { return in.RoleName },
			func(ctx context.Context, _ *Call, in *m.GetRoleInput) (*m.GetRoleOutput, error) {
				role, err := r.svc.Role(ctx, deref(in.RoleName))
				if err != nil {
					return nil, err
				}
				out := roleOut(role)
				if out.RoleLastUsed, err = r.roleLastUsed(ctx, role.ID); err != nil {
					return nil, err
				}
				return &m.GetRoleOutput{Role: out}, nil
			}),
		iamOp("ListRoles", func(c *Call, in *m.ListRolesInput) string { return iamARN(c, "role", in.PathPrefix, "") }, r.listRoles),
		roleOp(r, "UpdateRole", func(in *m.UpdateRoleInput) *string { return in.RoleName },
			func(ctx context.Context, _ *Call, in *m.UpdateRoleInput) (*m.UpdateRoleOutput, error) {
				return nil, r.svc.UpdateRole(ctx, deref(in.RoleName), in.Description, intOf(in.MaxSessionDuration))
			}),
		roleOp(r, "UpdateRoleDescription", func(in *m.UpdateRoleDescriptionInput) *string { return in.RoleName }, r.updateRoleDescription),
		roleOp(r, "UpdateAssumeRolePolicy", func(in *m.UpdateAssumeRolePolicyInput) *string { return in.RoleName },
			func(ctx context.Context, _ *Call, in *m.UpdateAssumeRolePolicyInput) (*m.UpdateAssumeRolePolicyOutput, error) {
				return nil, r.svc.UpdateAssumeRolePolicy(ctx, deref(in.RoleName), deref(in.PolicyDocument))
			}),
		roleOp(r, "DeleteRole", func(in *m.DeleteRoleInput) *string { return in.RoleName },
			func(ctx context.Context, _ *Call, in *m.DeleteRoleInput) (*m.DeleteRoleOutput, error) {
				return nil, r.svc.DeleteRole(ctx, deref(in.RoleName))
			}),
		withKeys(iamOp("TagRole", func(c *Call, in *m.TagRoleInput) string { return r.roleARN(c, in.RoleName) },
			func(ctx context.Context, _ *Call, in *m.TagRoleInput) (*m.TagRoleOutput, error) {
				return nil, r.svc.Tag(ctx, iam.TagOwner{Holder: roleHolder(in.RoleName)}, iamTagsIn(in.Tags))
			}), func(c *Call, in *m.TagRoleInput) policy.Keys {
			return tagged(in.Tags, *r.aboutRole(c, in.RoleName, iamKeys{}))
		}),
		withKeys(iamOp("UntagRole", func(c *Call, in *m.UntagRoleInput) string { return r.roleARN(c, in.RoleName) },
			func(ctx context.Context, _ *Call, in *m.UntagRoleInput) (*m.UntagRoleOutput, error) {
				return nil, r.svc.Untag(ctx, iam.TagOwner{Holder: roleHolder(in.RoleName)}, in.TagKeys)
			}), func(c *Call, in *m.UntagRoleInput) policy.Keys {
			return r.aboutRole(c, in.RoleName, iamKeys{tagKeys: in.TagKeys})
		}),
		roleOp(r, "ListRoleTags", func(in *m.ListRoleTagsInput) *string { return in.RoleName },
			func(ctx context.Context, _ *Call, in *m.ListRoleTagsInput) (*m.ListRoleTagsOutput, error) {
				tags, marker, err := r.svc.Tags(ctx, iam.TagOwner{Holder: roleHolder(in.RoleName)}, iam.ListOptions{Marker: deref(in.Marker), MaxItems: in.MaxItems})
				if err != nil {
					return nil, err
				}
				return &m.ListRoleTagsOutput{Tags: iamTagList(tags), IsTruncated: new(marker != ""), Marker: markerOut(marker)}, nil
			}),
	}, r.rolePolicyRows()...)
}

func (r *iamRows) rolePolicyRows() []Operation {
	return []Operation{
		withKeys(iamOp("AttachRolePolicy", func(c *Call, in *m.AttachRolePolicyInput) string { return r.roleARN(c, in.RoleName) },
			func(ctx context.Context, _ *Call, in *m.AttachRolePolicyInput) (*m.AttachRolePolicyOutput, error) {
				return nil, r.svc.AttachPolicy(ctx, roleHolder(in.RoleName), deref(in.PolicyArn))
			}), func(c *Call, in *m.AttachRolePolicyInput) policy.Keys {
			return r.aboutRole(c, in.RoleName, iamKeys{policyARN: in.PolicyArn})
		}),
		withKeys(iamOp("DetachRolePolicy", func(c *Call, in *m.DetachRolePolicyInput) string { return r.roleARN(c, in.RoleName) },
			func(ctx context.Context, _ *Call, in *m.DetachRolePolicyInput) (*m.DetachRolePolicyOutput, error) {
				return nil, r.svc.DetachPolicy(ctx, roleHolder(in.RoleName), deref(in.PolicyArn))
			}), func(c *Call, in *m.DetachRolePolicyInput) policy.Keys {
			return r.aboutRole(c, in.RoleName, iamKeys{policyARN: in.PolicyArn})
		}),
		roleOp(r, "ListAttachedRolePolicies", func(in *m.ListAttachedRolePoliciesInput) *string { return in.RoleName },
			func(ctx context.Context, _ *Call, in *m.ListAttachedRolePoliciesInput) (*m.ListAttachedRolePoliciesOutput, error) {
				list, marker, err := r.attached(ctx, roleHolder(in.RoleName), iam.ListOptions{PathPrefix: deref(in.PathPrefix), Marker: deref(in.Marker), MaxItems: in.MaxItems})
				if err != nil {
					return nil, err
				}
				return &m.ListAttachedRolePoliciesOutput{AttachedPolicies: list, IsTruncated: new(marker != ""), Marker: markerOut(marker)}, nil
			}),
		withKeys(iamOp("PutRolePermissionsBoundary", func(c *Call, in *m.PutRolePermissionsBoundaryInput) string { return r.roleARN(c, in.RoleName) },
			func(ctx context.Context, _ *Call, in *m.PutRolePermissionsBoundaryInput) (*m.PutRolePermissionsBoundaryOutput, error) {
				return nil, r.svc.PutBoundary(ctx, roleHolder(in.RoleName), deref(in.PermissionsBoundary))
			}), func(c *Call, in *m.PutRolePermissionsBoundaryInput) policy.Keys {
			return r.aboutRole(c, in.RoleName, iamKeys{boundary: in.PermissionsBoundary})
		}),
		roleOp(r, "DeleteRolePermissionsBoundary", func(in *m.DeleteRolePermissionsBoundaryInput) *string { return in.RoleName },
			func(ctx context.Context, _ *Call, in *m.DeleteRolePermissionsBoundaryInput) (*m.DeleteRolePermissionsBoundaryOutput, error) {
				return nil, r.svc.DeleteBoundary(ctx, roleHolder(in.RoleName))
			}),
		roleOp(r, "PutRolePolicy", func(in *m.PutRolePolicyInput) *string { return in.RoleName },
			func(ctx context.Context, _ *Call, in *m.PutRolePolicyInput) (*m.PutRolePolicyOutput, error) {
				return nil, r.svc.PutInlinePolicy(ctx, roleHolder(in.RoleName), deref(in.PolicyName), deref(in.PolicyDocument))
			}),
		roleOp(r, "GetRolePolicy", func(in *m.GetRolePolicyInput) *string { return in.RoleName },
			func(ctx context.Context, _ *Call, in *m.GetRolePolicyInput) (*m.GetRolePolicyOutput, error) {
				doc, err := r.svc.InlinePolicy(ctx, roleHolder(in.RoleName), deref(in.PolicyName))
				if err != nil {
					return nil, err
				}
				return &m.GetRolePolicyOutput{RoleName: in.RoleName, PolicyName: in.PolicyName, PolicyDocument: escapeDocument(doc)}, nil
			}),
		roleOp(r, "DeleteRolePolicy", func(in *m.DeleteRolePolicyInput) *string { return in.RoleName },
			func(ctx context.Context, _ *Call, in *m.DeleteRolePolicyInput) (*m.DeleteRolePolicyOutput, error) {
				return nil, r.svc.DeleteInlinePolicy(ctx, roleHolder(in.RoleName), deref(in.PolicyName))
			}),
		roleOp(r, "ListRolePolicies", func(in *m.ListRolePoliciesInput) *string { return in.RoleName },
			func(ctx context.Context, _ *Call, in *m.ListRolePoliciesInput) (*m.ListRolePoliciesOutput, error) {
				names, marker, err := r.svc.InlinePolicies(ctx, roleHolder(in.RoleName), iam.ListOptions{Marker: deref(in.Marker), MaxItems: in.MaxItems})
				if err != nil {
					return nil, err
				}
				return &m.ListRolePoliciesOutput{PolicyNames: names, IsTruncated: new(marker != ""), Marker: markerOut(marker)}, nil
			}),
	}
}

func intOf(n *int32) *int {
	if n == nil {
		return nil
	}
	return new(int(*n))
}

func (r *iamRows) attached(ctx context.Context, h iam.Holder, o iam.ListOptions) ([]m.AttachedPolicy, string, error) {
	list, marker, err := r.svc.AttachedPolicies(ctx, h, o)
	if err != nil {
		return nil, "", err
	}
	out := make([]m.AttachedPolicy, len(list))
	for i, a := range list {
		out[i] = m.AttachedPolicy{PolicyName: new(a.Name), PolicyArn: new(a.ARN)}
	}
	return out, marker, nil
}

func (r *iamRows) roleLastUsed(ctx context.Context, id string) (*m.RoleLastUsed, error) {
	use, used, err := r.uses.Last(ctx, id)
	if err != nil || !used {
		return &m.RoleLastUsed{}, err
	}
	return &m.RoleLastUsed{LastUsedDate: &use.At, Region: &use.Region}, nil
}

func roleOut(r iam.Role) *m.Role {
	out := &m.Role{
		Path: &r.Path, RoleName: &r.Name, RoleId: &r.ID, Arn: &r.ARN, CreateDate: &r.CreatedAt,
		AssumeRolePolicyDocument: escapeDocument(r.Trust),
		MaxSessionDuration:       new(int32(r.MaxSessionDuration)), //nolint:gosec // at most 43200
		PermissionsBoundary:      boundaryOut(r.Boundary),
		Tags:                     iamTagsOut(r.Tags),
	}
	if r.Description != "" {
		out.Description = &r.Description
	}
	return out
}

func (r *iamRows) createRole(ctx context.Context, _ *Call, in *m.CreateRoleInput) (*m.CreateRoleOutput, error) {
	role, err := r.svc.CreateRole(ctx, iam.CreateRoleInput{
		Name: deref(in.RoleName), Path: deref(in.Path), Description: deref(in.Description),
		Trust: deref(in.AssumeRolePolicyDocument), Boundary: deref(in.PermissionsBoundary),
		MaxSessionDuration: intOf(in.MaxSessionDuration), Tags: iamTagsIn(in.Tags),
	})
	if err != nil {
		return nil, err
	}
	return &m.CreateRoleOutput{Role: roleOut(role)}, nil
}

func (r *iamRows) updateRoleDescription(ctx context.Context, _ *Call, in *m.UpdateRoleDescriptionInput) (*m.UpdateRoleDescriptionOutput, error) {
	if in.Description == nil {
		in.Description = new("")
	}
	if err := r.svc.UpdateRole(ctx, deref(in.RoleName), in.Description, nil); err != nil {
		return nil, err
	}
	role, err := r.svc.Role(ctx, deref(in.RoleName))
	if err != nil {
		return nil, err
	}
	return &m.UpdateRoleDescriptionOutput{Role: roleOut(role)}, nil
}

func (r *iamRows) listRoles(ctx context.Context, _ *Call, in *m.ListRolesInput) (*m.ListRolesOutput, error) {
	list, marker, err := r.svc.Roles(ctx, iam.ListOptions{PathPrefix: deref(in.PathPrefix), Marker: deref(in.Marker), MaxItems: in.MaxItems})
	if err != nil {
		return nil, err
	}
	out := &m.ListRolesOutput{Roles: make([]m.Role, len(list)), IsTruncated: new(marker != ""), Marker: markerOut(marker)}
	for i, role := range list {
		out.Roles[i] = *roleOut(role)
		out.Roles[i].PermissionsBoundary = nil // listings leave it out
	}
	return out, nil
}
