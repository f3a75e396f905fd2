package api

import (
	"context"

	m "github.com/sekisho-iot/sekisho/internal/api/model/iam"
	"github.com/sekisho-iot/sekisho/internal/iam"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
)

func userHolder(name *string) iam.Holder {
	return iam.Holder{Kind: iam.UserHolder, Name: deref(name)}
}

// userOp is a row about one user, who must be named.
func userOp[In, Out any](r *iamRows, name string, user func(*In) *string, handle func(context.Context, *Call, *In) (*Out, error)) Operation {
	o := iamOp(name, func(c *Call, in *In) string { return r.userARN(c, user(in)) }, handle)
	return withKeys(o, func(c *Call, in *In) policy.Keys { return r.aboutUser(c, user(in), iamKeys{}) })
}

// selfOp is a row about the caller where no user is named.
func selfOp[In, Out any](r *iamRows, name string, user func(*In) *string, handle func(context.Context, string, *In) (*Out, error)) Operation {
	return aboutSelf(r, iamOp(name, func(c *Call, in *In) string {
		if u := user(in); u != nil {
			return r.userARN(c, u)
		}
		return c.Identity.Principal.ARN
	}, func(ctx context.Context, c *Call, in *In) (*Out, error) {
		who, err := callerOr(c, user(in))
		if err != nil {
			return nil, err
		}
		return handle(ctx, who, in)
	}), user)
}

// aboutSelf gives a row the keys of the user that is named, else of the caller.
func aboutSelf[In any](r *iamRows, o Operation, user func(*In) *string) Operation {
	return withKeys(o, func(c *Call, in *In) policy.Keys {
		if who, err := callerOr(c, user(in)); err == nil && who != "" {
			return r.aboutUser(c, &who, iamKeys{})
		}
		return &iamKeys{}
	})
}

// callerOr returns the user that is named, else the caller's name, which is ""
// for the account root.
func callerOr(c *Call, name *string) (string, error) {
	if name != nil {
		if *name == "" {
			return "", iot.Errorf(iot.KindInvalid, "validation", "1 validation error detected: Value '' at 'userName' failed to satisfy constraint: Member must have length greater than or equal to 1")
		}
		return *name, nil
	}
	if c.Identity.Grants.Root {
		return "", nil
	}
	if v := c.Identity.Lookup("aws:username"); v.Set {
		return v.One, nil
	}
	return "", iot.Errorf(iot.KindInvalid, "validation", "Must specify userName when calling with non-User credentials")
}

func (r *iamRows) userRows() []Operation {
	create := iamOp("CreateUser", func(c *Call, in *m.CreateUserInput) string { return iamARN(c, "user", in.Path, deref(in.UserName)) }, r.createUser)
	rows := []Operation{
		withKeys(create, func(_ *Call, in *m.CreateUserInput) policy.Keys {
			return tagged(in.Tags, iamKeys{boundary: in.PermissionsBoundary})
		}),
		aboutSelf(r, iamOp("GetUser", func(c *Call, in *m.GetUserInput) string {
			if in.UserName != nil {
				return r.userARN(c, in.UserName)
			}
			return c.Identity.Principal.ARN
		}, r.getUser), func(in *m.GetUserInput) *string { return in.UserName }),
		iamOp("ListUsers", func(c *Call, in *m.ListUsersInput) string { return iamARN(c, "user", in.PathPrefix, "") }, r.listUsers),
		userOp(r, "DeleteUser", func(in *m.DeleteUserInput) *string { return in.UserName },
			func(ctx context.Context, _ *Call, in *m.DeleteUserInput) (*m.DeleteUserOutput, error) {
				return nil, r.svc.DeleteUser(ctx, deref(in.UserName))
			}),
		userOp(r, "UpdateUser", func(in *m.UpdateUserInput) *string { return in.UserName },
			func(ctx context.Context, c *Call, in *m.UpdateUserInput) (*m.UpdateUserOutput, error) {
				if err := r.mayBecome(ctx, c, "iam:UpdateUser", "user", in.NewPath, in.NewUserName, in.UserName); err != nil {
					return nil, err
				}
				return nil, r.svc.UpdateUser(ctx, deref(in.UserName), in.NewUserName, in.NewPath)
			}),
		withKeys(iamOp("PutUserPermissionsBoundary", func(c *Call, in *m.PutUserPermissionsBoundaryInput) string { return r.userARN(c, in.UserName) },
			func(ctx context.Context, _ *Call, in *m.PutUserPermissionsBoundaryInput) (*m.PutUserPermissionsBoundaryOutput, error) {
				return nil, r.svc.PutBoundary(ctx, userHolder(in.UserName), deref(in.PermissionsBoundary))
			}), func(c *Call, in *m.PutUserPermissionsBoundaryInput) policy.Keys {
			return r.aboutUser(c, in.UserName, iamKeys{boundary: in.PermissionsBoundary})
		}),
		userOp(r, "DeleteUserPermissionsBoundary", func(in *m.DeleteUserPermissionsBoundaryInput) *string { return in.UserName },
			func(ctx context.Context, _ *Call, in *m.DeleteUserPermissionsBoundaryInput) (*m.DeleteUserPermissionsBoundaryOutput, error) {
				return nil, r.svc.DeleteBoundary(ctx, userHolder(in.UserName))
			}),
	}
	rows = append(append(rows, r.userTagRows()...), r.keyRows()...)
	return append(rows, r.userPolicyRows()...)
}

func (r *iamRows) userTagRows() []Operation {
	return []Operation{
		withKeys(iamOp("TagUser", func(c *Call, in *m.TagUserInput) string { return r.userARN(c, in.UserName) },
			func(ctx context.Context, _ *Call, in *m.TagUserInput) (*m.TagUserOutput, error) {
				return nil, r.svc.Tag(ctx, iam.TagOwner{Holder: userHolder(in.UserName)}, iamTagsIn(in.Tags))
			}), func(c *Call, in *m.TagUserInput) policy.Keys {
			return tagged(in.Tags, *r.aboutUser(c, in.UserName, iamKeys{}))
		}),
		withKeys(iamOp("UntagUser", func(c *Call, in *m.UntagUserInput) string { return r.userARN(c, in.UserName) },
			func(ctx context.Context, _ *Call, in *m.UntagUserInput) (*m.UntagUserOutput, error) {
				return nil, r.svc.Untag(ctx, iam.TagOwner{Holder: userHolder(in.UserName)}, in.TagKeys)
			}), func(c *Call, in *m.UntagUserInput) policy.Keys {
			return r.aboutUser(c, in.UserName, iamKeys{tagKeys: in.TagKeys})
		}),
		userOp(r, "ListUserTags", func(in *m.ListUserTagsInput) *string { return in.UserName },
			func(ctx context.Context, _ *Call, in *m.ListUserTagsInput) (*m.ListUserTagsOutput, error) {
				tags, marker, err := r.svc.Tags(ctx, iam.TagOwner{Holder: userHolder(in.UserName)}, iam.ListOptions{Marker: deref(in.Marker), MaxItems: in.MaxItems})
				if err != nil {
					return nil, err
				}
				return &m.ListUserTagsOutput{Tags: iamTagList(tags), IsTruncated: new(marker != ""), Marker: markerOut(marker)}, nil
			}),
	}
}

func (r *iamRows) keyRows() []Operation {
	return []Operation{
		selfOp(r, "CreateAccessKey", func(in *m.CreateAccessKeyInput) *string { return in.UserName },
			func(ctx context.Context, who string, _ *m.CreateAccessKeyInput) (*m.CreateAccessKeyOutput, error) {
				k, secret, err := r.svc.CreateAccessKey(ctx, who)
				if err != nil {
					return nil, err
				}
				return &m.CreateAccessKeyOutput{AccessKey: &m.AccessKey{
					UserName: &k.UserName, AccessKeyId: &k.ID, Status: keyStatus(k.Active), SecretAccessKey: &secret, CreateDate: &k.CreatedAt,
				}}, nil
			}),
		selfOp(r, "ListAccessKeys", func(in *m.ListAccessKeysInput) *string { return in.UserName },
			func(ctx context.Context, who string, in *m.ListAccessKeysInput) (*m.ListAccessKeysOutput, error) {
				list, marker, err := r.svc.AccessKeys(ctx, who, iam.ListOptions{Marker: deref(in.Marker), MaxItems: in.MaxItems})
				if err != nil {
					return nil, err
				}
				out := &m.ListAccessKeysOutput{AccessKeyMetadata: make([]m.AccessKeyMetadata, len(list)), IsTruncated: new(marker != ""), Marker: markerOut(marker)}
				for i, k := range list {
					out.AccessKeyMetadata[i] = m.AccessKeyMetadata{UserName: &k.UserName, AccessKeyId: &k.ID, Status: keyStatus(k.Active), CreateDate: &k.CreatedAt}
				}
				return out, nil
			}),
		selfOp(r, "UpdateAccessKey", func(in *m.UpdateAccessKeyInput) *string { return in.UserName },
			func(ctx context.Context, who string, in *m.UpdateAccessKeyInput) (*m.UpdateAccessKeyOutput, error) {
				return nil, r.svc.UpdateAccessKey(ctx, who, deref(in.AccessKeyId), deref(in.Status))
			}),
		selfOp(r, "DeleteAccessKey", func(in *m.DeleteAccessKeyInput) *string { return in.UserName },
			func(ctx context.Context, who string, in *m.DeleteAccessKeyInput) (*m.DeleteAccessKeyOutput, error) {
				return nil, r.svc.DeleteAccessKey(ctx, who, deref(in.AccessKeyId))
			}),
		withKeys(iamOp("GetAccessKeyLastUsed", func(c *Call, in *m.GetAccessKeyLastUsedInput) string {
			// The owner is not named; a key that is unknown is nobody's.
			owner := r.keyOwner(c, in)
			if owner == "" {
				return "*"
			}
			return r.userARN(c, &owner)
		}, r.getAccessKeyLastUsed), func(c *Call, in *m.GetAccessKeyLastUsedInput) policy.Keys {
			if owner := r.keyOwner(c, in); owner != "" {
				return r.aboutUser(c, &owner, iamKeys{})
			}
			return &iamKeys{}
		}),
	}
}

func (r *iamRows) keyOwner(c *Call, in *m.GetAccessKeyLastUsedInput) string {
	owner, err := r.svc.KeyOwner(c.HTTP.Context(), deref(in.AccessKeyId))
	c.couldNotRead(err)
	return owner
}

// getAccessKeyLastUsed answers for a key that was never used what AWS does.
func (r *iamRows) getAccessKeyLastUsed(ctx context.Context, _ *Call, in *m.GetAccessKeyLastUsedInput) (*m.GetAccessKeyLastUsedOutput, error) {
	owner, err := r.svc.KeyOwner(ctx, deref(in.AccessKeyId))
	if err != nil {
		return nil, err
	}
	use, used, err := r.uses.Last(ctx, *in.AccessKeyId)
	if err != nil {
		return nil, err
	}
	out := &m.GetAccessKeyLastUsedOutput{UserName: &owner, AccessKeyLastUsed: &m.AccessKeyLastUsed{ServiceName: new("N/A"), Region: new("N/A")}}
	if used {
		out.AccessKeyLastUsed = &m.AccessKeyLastUsed{LastUsedDate: &use.At, ServiceName: &use.Service, Region: &use.Region}
	}
	return out, nil
}

func (r *iamRows) userPolicyRows() []Operation {
	return []Operation{
		withKeys(iamOp("AttachUserPolicy", func(c *Call, in *m.AttachUserPolicyInput) string { return r.userARN(c, in.UserName) },
			func(ctx context.Context, _ *Call, in *m.AttachUserPolicyInput) (*m.AttachUserPolicyOutput, error) {
				return nil, r.svc.AttachPolicy(ctx, userHolder(in.UserName), deref(in.PolicyArn))
			}), func(c *Call, in *m.AttachUserPolicyInput) policy.Keys {
			return r.aboutUser(c, in.UserName, iamKeys{policyARN: in.PolicyArn})
		}),
		withKeys(iamOp("DetachUserPolicy", func(c *Call, in *m.DetachUserPolicyInput) string { return r.userARN(c, in.UserName) },
			func(ctx context.Context, _ *Call, in *m.DetachUserPolicyInput) (*m.DetachUserPolicyOutput, error) {
				return nil, r.svc.DetachPolicy(ctx, userHolder(in.UserName), deref(in.PolicyArn))
			}), func(c *Call, in *m.DetachUserPolicyInput) policy.Keys {
			return r.aboutUser(c, in.UserName, iamKeys{policyARN: in.PolicyArn})
		}),
		userOp(r, "ListAttachedUserPolicies", func(in *m.ListAttachedUserPoliciesInput) *string { return in.UserName },
			func(ctx context.Context, _ *Call, in *m.ListAttachedUserPoliciesInput) (*m.ListAttachedUserPoliciesOutput, error) {
				list, marker, err := r.attached(ctx, userHolder(in.UserName), iam.ListOptions{PathPrefix: deref(in.PathPrefix), Marker: deref(in.Marker), MaxItems: in.MaxItems})
				if err != nil {
					return nil, err
				}
				return &m.ListAttachedUserPoliciesOutput{AttachedPolicies: list, IsTruncated: new(marker != ""), Marker: markerOut(marker)}, nil
			}),
		userOp(r, "PutUserPolicy", func(in *m.PutUserPolicyInput) *string { return in.UserName },
			func(ctx context.Context, _ *Call, in *m.PutUserPolicyInput) (*m.PutUserPolicyOutput, error) {
				return nil, r.svc.PutInlinePolicy(ctx, userHolder(in.UserName), deref(in.PolicyName), deref(in.PolicyDocument))
			}),
		userOp(r, "GetUserPolicy", func(in *m.GetUserPolicyInput) *string { return in.UserName },
			func(ctx context.Context, _ *Call, in *m.GetUserPolicyInput) (*m.GetUserPolicyOutput, error) {
				doc, err := r.svc.InlinePolicy(ctx, userHolder(in.UserName), deref(in.PolicyName))
				if err != nil {
					return nil, err
				}
				return &m.GetUserPolicyOutput{UserName: in.UserName, PolicyName: in.PolicyName, PolicyDocument: escapeDocument(doc)}, nil
			}),
		userOp(r, "DeleteUserPolicy", func(in *m.DeleteUserPolicyInput) *string { return in.UserName },
			func(ctx context.Context, _ *Call, in *m.DeleteUserPolicyInput) (*m.DeleteUserPolicyOutput, error) {
				return nil, r.svc.DeleteInlinePolicy(ctx, userHolder(in.UserName), deref(in.PolicyName))
			}),
		userOp(r, "ListUserPolicies", func(in *m.ListUserPoliciesInput) *string { return in.UserName },
			func(ctx context.Context, _ *Call, in *m.ListUserPoliciesInput) (*m.ListUserPoliciesOutput, error) {
				names, marker, err := r.svc.InlinePolicies(ctx, userHolder(in.UserName), iam.ListOptions{Marker: deref(in.Marker), MaxItems: in.MaxItems})
				if err != nil {
					return nil, err
				}
				return &m.ListUserPoliciesOutput{PolicyNames: names, IsTruncated: new(marker != ""), Marker: markerOut(marker)}, nil
			}),
	}
}

func keyStatus(active bool) *string {
	if active {
		return new("Active")
	}
	return new("Inactive")
}

func userOut(u iam.User) *m.User {
	return &m.User{
		Path: &u.Path, UserName: &u.Name, UserId: &u.ID, Arn: &u.ARN, CreateDate: &u.CreatedAt,
		PermissionsBoundary: boundaryOut(u.Boundary), Tags: iamTagsOut(u.Tags),
	}
}

func (r *iamRows) createUser(ctx context.Context, _ *Call, in *m.CreateUserInput) (*m.CreateUserOutput, error) {
	u, err := r.svc.CreateUser(ctx, iam.CreateUserInput{
		Name: deref(in.UserName), Path: deref(in.Path), Boundary: deref(in.PermissionsBoundary), Tags: iamTagsIn(in.Tags),
	})
	if err != nil {
		return nil, err
	}
	return &m.CreateUserOutput{User: userOut(u)}, nil
}

func (r *iamRows) getUser(ctx context.Context, c *Call, in *m.GetUserInput) (*m.GetUserOutput, error) {
	name, err := callerOr(c, in.UserName)
	if err != nil {
		return nil, err
	}
	if name == "" { // the account root, as AWS shows it
		created, err := r.svc.RootCreated(ctx)
		if err != nil {
			return nil, err
		}
		return &m.GetUserOutput{User: &m.User{
			Path: new("/"), UserId: new(string(c.Account)), UserName: new(""), Arn: new(c.Identity.Principal.ARN), CreateDate: &created,
		}}, nil
	}
	u, err := r.svc.User(ctx, name)
	if err != nil {
		return nil, err
	}
	return &m.GetUserOutput{User: userOut(u)}, nil
}

func (r *iamRows) listUsers(ctx context.Context, _ *Call, in *m.ListUsersInput) (*m.ListUsersOutput, error) {
	list, marker, err := r.svc.Users(ctx, iam.ListOptions{PathPrefix: deref(in.PathPrefix), Marker: deref(in.Marker), MaxItems: in.MaxItems})
	if err != nil {
		return nil, err
	}
	out := &m.ListUsersOutput{Users: make([]m.User, len(list)), IsTruncated: new(marker != ""), Marker: markerOut(marker)}
	for i, u := range list {
		out.Users[i] = *userOut(u)
		out.Users[i].PermissionsBoundary = nil // listings leave it out
	}
	return out, nil
}
