package api

import (
	"context"

	m "github.com/sekisho-iot/sekisho/internal/api/model/iam"
	"github.com/sekisho-iot/sekisho/internal/iam"
	"github.com/sekisho-iot/sekisho/internal/policy"
)

// profileOp is a row about one instance profile.
func profileOp[In, Out any](r *iamRows, name string, profile func(*In) *string, handle func(context.Context, *Call, *In) (*Out, error)) Operation {
	o := iamOp(name, func(c *Call, in *In) string {
		return c.mustKnow(r.svc.ProfileARN(c.HTTP.Context(), deref(profile(in))))
	}, handle)
	return withKeys(o, func(c *Call, in *In) policy.Keys { return r.aboutProfile(c, profile(in), iamKeys{}) })
}

func (r *iamRows) aboutProfile(c *Call, name *string, k iamKeys) *iamKeys {
	p, err := r.svc.InstanceProfile(c.HTTP.Context(), deref(name))
	c.couldNotRead(err)
	for _, t := range p.Tags {
		k.resourceTags = append(k.resourceTags, [2]string{t.Key, t.Value})
	}
	return &k
}

func (r *iamRows) profileRows() []Operation {
	create := iamOp("CreateInstanceProfile", func(c *Call, in *m.CreateInstanceProfileInput) string {
		return iamARN(c, "instance-profile", in.Path, deref(in.InstanceProfileName))
	}, r.createProfile)
	return append([]Operation{
		withKeys(create, func(_ *Call, in *m.CreateInstanceProfileInput) policy.Keys { return tagged(in.Tags, iamKeys{}) }),
		profileOp(r, "GetInstanceProfile", func(in *m.GetInstanceProfileInput) *string { return in.InstanceProfileName },
			func(ctx context.Context, _ *Call, in *m.GetInstanceProfileInput) (*m.GetInstanceProfileOutput, error) {
				p, err := r.svc.InstanceProfile(ctx, deref(in.InstanceProfileName))
				if err != nil {
					return nil, err
				}
				out, err := r.profileOut(ctx, p)
				if err != nil {
					return nil, err
				}
				out.Tags = iamTagList(p.Tags)
				return &m.GetInstanceProfileOutput{InstanceProfile: out}, nil
			}),
		iamOp("ListInstanceProfiles", func(c *Call, in *m.ListInstanceProfilesInput) string {
			return iamARN(c, "instance-profile", in.PathPrefix, "")
		}, func(ctx context.Context, _ *Call, in *m.ListInstanceProfilesInput) (*m.ListInstanceProfilesOutput, error) {
			list, marker, err := r.svc.InstanceProfiles(ctx, iam.ListOptions{PathPrefix: deref(in.PathPrefix), Marker: deref(in.Marker), MaxItems: in.MaxItems})
			if err != nil {
				return nil, err
			}
			out, err := r.profilesOut(ctx, list)
			return &m.ListInstanceProfilesOutput{InstanceProfiles: out, IsTruncated: new(marker != ""), Marker: markerOut(marker)}, err
		}),
		roleOp(r, "ListInstanceProfilesForRole", func(in *m.ListInstanceProfilesForRoleInput) *string { return in.RoleName },
			func(ctx context.Context, _ *Call, in *m.ListInstanceProfilesForRoleInput) (*m.ListInstanceProfilesForRoleOutput, error) {
				list, marker, err := r.svc.ProfilesOfRole(ctx, deref(in.RoleName), iam.ListOptions{Marker: deref(in.Marker), MaxItems: in.MaxItems})
				if err != nil {
					return nil, err
				}
				out, err := r.profilesOut(ctx, list)
				return &m.ListInstanceProfilesForRoleOutput{InstanceProfiles: out, IsTruncated: new(marker != ""), Marker: markerOut(marker)}, err
			}),
		profileOp(r, "DeleteInstanceProfile", func(in *m.DeleteInstanceProfileInput) *string { return in.InstanceProfileName },
			func(ctx context.Context, _ *Call, in *m.DeleteInstanceProfileInput) (*m.DeleteInstanceProfileOutput, error) {
				return nil, r.svc.DeleteInstanceProfile(ctx, deref(in.InstanceProfileName))
			}),
		profileOp(r, "AddRoleToInstanceProfile", func(in *m.AddRoleToInstanceProfileInput) *string { return in.InstanceProfileName }, r.addProfileRole),
		profileOp(r, "RemoveRoleFromInstanceProfile", func(in *m.RemoveRoleFromInstanceProfileInput) *string { return in.InstanceProfileName },
			func(ctx context.Context, _ *Call, in *m.RemoveRoleFromInstanceProfileInput) (*m.RemoveRoleFromInstanceProfileOutput, error) {
				return nil, r.svc.RemoveRoleFromInstanceProfile(ctx, deref(in.InstanceProfileName), deref(in.RoleName))
			}),
	}, r.profileTagRows()...)
}

func (r *iamRows) profileTagRows() []Operation {
	return []Operation{
		withKeys(profileOp(r, "TagInstanceProfile", func(in *m.TagInstanceProfileInput) *string { return in.InstanceProfileName },
			func(ctx context.Context, _ *Call, in *m.TagInstanceProfileInput) (*m.TagInstanceProfileOutput, error) {
				return nil, r.svc.Tag(ctx, iam.TagOwner{Profile: deref(in.InstanceProfileName)}, iamTagsIn(in.Tags))
			}), func(c *Call, in *m.TagInstanceProfileInput) policy.Keys {
			return tagged(in.Tags, *r.aboutProfile(c, in.InstanceProfileName, iamKeys{}))
		}),
		withKeys(profileOp(r, "UntagInstanceProfile", func(in *m.UntagInstanceProfileInput) *string { return in.InstanceProfileName },
			func(ctx context.Context, _ *Call, in *m.UntagInstanceProfileInput) (*m.UntagInstanceProfileOutput, error) {
				return nil, r.svc.Untag(ctx, iam.TagOwner{Profile: deref(in.InstanceProfileName)}, in.TagKeys)
			}), func(c *Call, in *m.UntagInstanceProfileInput) policy.Keys {
			return r.aboutProfile(c, in.InstanceProfileName, iamKeys{tagKeys: in.TagKeys})
		}),
		profileOp(r, "ListInstanceProfileTags", func(in *m.ListInstanceProfileTagsInput) *string { return in.InstanceProfileName },
			func(ctx context.Context, _ *Call, in *m.ListInstanceProfileTagsInput) (*m.ListInstanceProfileTagsOutput, error) {
				tags, marker, err := r.svc.Tags(ctx, iam.TagOwner{Profile: deref(in.InstanceProfileName)}, iam.ListOptions{Marker: deref(in.Marker), MaxItems: in.MaxItems})
				if err != nil {
					return nil, err
				}
				return &m.ListInstanceProfileTagsOutput{Tags: iamTagList(tags), IsTruncated: new(marker != ""), Marker: markerOut(marker)}, nil
			}),
	}
}

func (r *iamRows) createProfile(ctx context.Context, _ *Call, in *m.CreateInstanceProfileInput) (*m.CreateInstanceProfileOutput, error) {
	p, err := r.svc.CreateInstanceProfile(ctx, deref(in.InstanceProfileName), deref(in.Path), iamTagsIn(in.Tags))
	if err != nil {
		return nil, err
	}
	out, err := r.profileOut(ctx, p)
	if err != nil {
		return nil, err
	}
	out.Tags = iamTagsOut(p.Tags)
	return &m.CreateInstanceProfileOutput{InstanceProfile: out}, nil
}

// addProfileRole hands the role over to machines: who does so has to be allowed
// to pass it (security rule 8).
func (r *iamRows) addProfileRole(ctx context.Context, c *Call, in *m.AddRoleToInstanceProfileInput) (*m.AddRoleToInstanceProfileOutput, error) {
	profile := c.mustKnow(r.svc.ProfileARN(ctx, deref(in.InstanceProfileName)))
	role := c.mustKnow(r.svc.RoleARN(ctx, deref(in.RoleName)))
	if err := c.Authorize(ctx, "iam:PassRole", role, passRole{"ec2.amazonaws.com", profile}); err != nil {
		return nil, err
	}
	return nil, r.svc.AddRoleToInstanceProfile(ctx, deref(in.InstanceProfileName), deref(in.RoleName))
}

func (r *iamRows) profileOut(ctx context.Context, p iam.InstanceProfile) (*m.InstanceProfile, error) {
	out := &m.InstanceProfile{
		Path: &p.Path, InstanceProfileName: &p.Name, InstanceProfileId: &p.ID, Arn: &p.ARN, CreateDate: &p.CreatedAt, Roles: []m.Role{},
	}
	if p.RoleName == "" {
		return out, nil
	}
	role, err := r.svc.Role(ctx, p.RoleName)
	if err != nil {
		return nil, err
	}
	out.Roles = append(out.Roles, *roleOut(role))
	return out, nil
}

func (r *iamRows) profilesOut(ctx context.Context, list []iam.InstanceProfile) ([]m.InstanceProfile, error) {
	out := make([]m.InstanceProfile, len(list))
	for i, p := range list {
		one, err := r.profileOut(ctx, p)
		if err != nil {
			return nil, err
		}
		out[i] = *one
	}
	return out, nil
}
