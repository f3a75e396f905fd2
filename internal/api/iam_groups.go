package api

import (
	"context"

	m "github.com/sekisho-iot/sekisho/internal/api/model/iam"
	"github.com/sekisho-iot/sekisho/internal/iam"
	"github.com/sekisho-iot/sekisho/internal/policy"
)

func groupHolder(name *string) iam.Holder {
	return iam.Holder{Kind: iam.GroupHolder, Name: deref(name)}
}

// groupOp is a row about one group.
func groupOp[In, Out any](r *iamRows, name string, group func(*In) *string, handle func(context.Context, *Call, *In) (*Out, error)) Operation {
	return iamOp(name, func(c *Call, in *In) string { return r.groupARN(c, group(in)) }, handle)
}

func (r *iamRows) groupARN(c *Call, name *string) string {
	return c.mustKnow(r.svc.GroupARN(c.HTTP.Context(), deref(name)))
}

func (r *iamRows) groupRows() []Operation {
	return append([]Operation{
		iamOp("CreateGroup", func(c *Call, in *m.CreateGroupInput) string { return iamARN(c, "group", in.Path, deref(in.GroupName)) },
			func(ctx context.Context, _ *Call, in *m.CreateGroupInput) (*m.CreateGroupOutput, error) {
				g, err := r.svc.CreateGroup(ctx, deref(in.GroupName), deref(in.Path))
				if err != nil {
					return nil, err
				}
				return &m.CreateGroupOutput{Group: groupOut(g)}, nil
			}),
		groupOp(r, "GetGroup", func(in *m.GetGroupInput) *string { return in.GroupName }, r.getGroup),
		iamOp("ListGroups", func(c *Call, in *m.ListGroupsInput) string { return iamARN(c, "group", in.PathPrefix, "") },
			func(ctx context.Context, _ *Call, in *m.ListGroupsInput) (*m.ListGroupsOutput, error) {
				list, marker, err := r.svc.Groups(ctx, iam.ListOptions{PathPrefix: deref(in.PathPrefix), Marker: deref(in.Marker), MaxItems: in.MaxItems})
				if err != nil {
					return nil, err
				}
				return &m.ListGroupsOutput{Groups: groupsOut(list), IsTruncated: new(marker != ""), Marker: markerOut(marker)}, nil
			}),
		groupOp(r, "UpdateGroup", func(in *m.UpdateGroupInput) *string { return in.GroupName },
			func(ctx context.Context, c *Call, in *m.UpdateGroupInput) (*m.UpdateGroupOutput, error) {
				if err := r.mayBecome(ctx, c, "iam:UpdateGroup", "group", in.NewPath, in.NewGroupName, in.GroupName); err != nil {
					return nil, err
				}
				return nil, r.svc.UpdateGroup(ctx, deref(in.GroupName), in.NewGroupName, in.NewPath)
			}),
		groupOp(r, "DeleteGroup", func(in *m.DeleteGroupInput) *string { return in.GroupName },
			func(ctx context.Context, _ *Call, in *m.DeleteGroupInput) (*m.DeleteGroupOutput, error) {
				return nil, r.svc.DeleteGroup(ctx, deref(in.GroupName))
			}),
		groupOp(r, "AddUserToGroup", func(in *m.AddUserToGroupInput) *string { return in.GroupName },
			func(ctx context.Context, _ *Call, in *m.AddUserToGroupInput) (*m.AddUserToGroupOutput, error) {
				return nil, r.svc.AddUserToGroup(ctx, deref(in.GroupName), deref(in.UserName))
			}),
		groupOp(r, "RemoveUserFromGroup", func(in *m.RemoveUserFromGroupInput) *string { return in.GroupName },
			func(ctx context.Context, _ *Call, in *m.RemoveUserFromGroupInput) (*m.RemoveUserFromGroupOutput, error) {
				return nil, r.svc.RemoveUserFromGroup(ctx, deref(in.GroupName), deref(in.UserName))
			}),
		userOp(r, "ListGroupsForUser", func(in *m.ListGroupsForUserInput) *string { return in.UserName },
			func(ctx context.Context, _ *Call, in *m.ListGroupsForUserInput) (*m.ListGroupsForUserOutput, error) {
				list, marker, err := r.svc.GroupsOf(ctx, deref(in.UserName), iam.ListOptions{Marker: deref(in.Marker), MaxItems: in.MaxItems})
				if err != nil {
					return nil, err
				}
				return &m.ListGroupsForUserOutput{Groups: groupsOut(list), IsTruncated: new(marker != ""), Marker: markerOut(marker)}, nil
			}),
	}, r.groupPolicyRows()...)
}

// mayBecome asks for the action on what a user or group is to be called, as IAM
// does on what it is called now (IAM user guide, renaming an IAM user). The row's
// condition keys are those of both.
func (r *iamRows) mayBecome(ctx context.Context, c *Call, action, kind string, newPath, newName, oldName *string) error {
	name, path := newName, newPath
	if name == nil {
		name = oldName
	}
	if path == nil {
		var err error
		if path, err = r.pathOf(ctx, kind, oldName); err != nil {
			return err
		}
	}
	return c.Authorize(ctx, action, iamARN(c, kind, path, deref(name)), c.keys.extra)
}

func (r *iamRows) pathOf(ctx context.Context, kind string, name *string) (*string, error) {
	if kind == "group" {
		g, err := r.svc.Group(ctx, deref(name))
		return &g.Path, err
	}
	u, err := r.svc.User(ctx, deref(name))
	return &u.Path, err
}

func (r *iamRows) getGroup(ctx context.Context, _ *Call, in *m.GetGroupInput) (*m.GetGroupOutput, error) {
	g, err := r.svc.Group(ctx, deref(in.GroupName))
	if err != nil {
		return nil, err
	}
	list, marker, err := r.svc.Members(ctx, g.Name, iam.ListOptions{Marker: deref(in.Marker), MaxItems: in.MaxItems})
	if err != nil {
		return nil, err
	}
	out := &m.GetGroupOutput{Group: groupOut(g), Users: make([]m.User, len(list)), IsTruncated: new(marker != ""), Marker: markerOut(marker)}
	for i, u := range list {
		out.Users[i] = *userOut(u)
		out.Users[i].PermissionsBoundary = nil // listings leave it out
	}
	return out, nil
}

func groupOut(g iam.Group) *m.Group {
	return &m.Group{Path: &g.Path, GroupName: &g.Name, GroupId: &g.ID, Arn: &g.ARN, CreateDate: &g.CreatedAt}
}

func groupsOut(list []iam.Group) []m.Group {
	out := make([]m.Group, len(list))
	for i, g := range list {
		out[i] = *groupOut(g)
	}
	return out
}

func (r *iamRows) groupPolicyRows() []Operation {
	return []Operation{
		withKeys(groupOp(r, "AttachGroupPolicy", func(in *m.AttachGroupPolicyInput) *string { return in.GroupName },
			func(ctx context.Context, _ *Call, in *m.AttachGroupPolicyInput) (*m.AttachGroupPolicyOutput, error) {
				return nil, r.svc.AttachPolicy(ctx, groupHolder(in.GroupName), deref(in.PolicyArn))
			}), func(_ *Call, in *m.AttachGroupPolicyInput) policy.Keys { return &iamKeys{policyARN: in.PolicyArn} }),
		withKeys(groupOp(r, "DetachGroupPolicy", func(in *m.DetachGroupPolicyInput) *string { return in.GroupName },
			func(ctx context.Context, _ *Call, in *m.DetachGroupPolicyInput) (*m.DetachGroupPolicyOutput, error) {
				return nil, r.svc.DetachPolicy(ctx, groupHolder(in.GroupName), deref(in.PolicyArn))
			}), func(_ *Call, in *m.DetachGroupPolicyInput) policy.Keys { return &iamKeys{policyARN: in.PolicyArn} }),
		groupOp(r, "ListAttachedGroupPolicies", func(in *m.ListAttachedGroupPoliciesInput) *string { return in.GroupName },
			func(ctx context.Context, _ *Call, in *m.ListAttachedGroupPoliciesInput) (*m.ListAttachedGroupPoliciesOutput, error) {
				list, marker, err := r.attached(ctx, groupHolder(in.GroupName), iam.ListOptions{PathPrefix: deref(in.PathPrefix), Marker: deref(in.Marker), MaxItems: in.MaxItems})
				if err != nil {
					return nil, err
				}
				return &m.ListAttachedGroupPoliciesOutput{AttachedPolicies: list, IsTruncated: new(marker != ""), Marker: markerOut(marker)}, nil
			}),
		groupOp(r, "PutGroupPolicy", func(in *m.PutGroupPolicyInput) *string { return in.GroupName },
			func(ctx context.Context, _ *Call, in *m.PutGroupPolicyInput) (*m.PutGroupPolicyOutput, error) {
				return nil, r.svc.PutInlinePolicy(ctx, groupHolder(in.GroupName), deref(in.PolicyName), deref(in.PolicyDocument))
			}),
		groupOp(r, "GetGroupPolicy", func(in *m.GetGroupPolicyInput) *string { return in.GroupName },
			func(ctx context.Context, _ *Call, in *m.GetGroupPolicyInput) (*m.GetGroupPolicyOutput, error) {
				doc, err := r.svc.InlinePolicy(ctx, groupHolder(in.GroupName), deref(in.PolicyName))
				if err != nil {
					return nil, err
				}
				return &m.GetGroupPolicyOutput{GroupName: in.GroupName, PolicyName: in.PolicyName, PolicyDocument: escapeDocument(doc)}, nil
			}),
		groupOp(r, "DeleteGroupPolicy", func(in *m.DeleteGroupPolicyInput) *string { return in.GroupName },
			func(ctx context.Context, _ *Call, in *m.DeleteGroupPolicyInput) (*m.DeleteGroupPolicyOutput, error) {
				return nil, r.svc.DeleteInlinePolicy(ctx, groupHolder(in.GroupName), deref(in.PolicyName))
			}),
		groupOp(r, "ListGroupPolicies", func(in *m.ListGroupPoliciesInput) *string { return in.GroupName },
			func(ctx context.Context, _ *Call, in *m.ListGroupPoliciesInput) (*m.ListGroupPoliciesOutput, error) {
				names, marker, err := r.svc.InlinePolicies(ctx, groupHolder(in.GroupName), iam.ListOptions{Marker: deref(in.Marker), MaxItems: in.MaxItems})
				if err != nil {
					return nil, err
				}
				return &m.ListGroupPoliciesOutput{PolicyNames: names, IsTruncated: new(marker != ""), Marker: markerOut(marker)}, nil
			}),
	}
}
