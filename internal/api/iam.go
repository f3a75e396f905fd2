package api

import (
	"context"
	"net/url"
	"slices"
	"strconv"
	"strings"

	m "github.com/sekisho-iot/sekisho/internal/api/model/iam"
	"github.com/sekisho-iot/sekisho/internal/iam"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
)

// IAM is the service of roles, users and policies. Actions and resources are
// those of the service authorization reference for IAM.
func IAM(svc *iam.Service, uses *iam.Uses) Service {
	r := &iamRows{svc: svc, uses: uses}
	return Service{Name: "iam", Operations: slices.Concat(
		r.roleRows(), r.policyRows(), r.userRows(), r.groupRows(), r.profileRows(), r.simulatorRows(),
		r.accountRows(), r.oidcRows(),
	)}
}

type iamRows struct {
	svc  *iam.Service
	uses *iam.Uses
}

// iamOp is a row whose action is called like the operation.
func iamOp[In, Out any](name string, resource func(*Call, *In) string, handle func(context.Context, *Call, *In) (*Out, error)) Operation {
	return op(name, "iam:"+name, resource, handle)
}

func (r *iamRows) roleARN(c *Call, name *string) string {
	return c.mustKnow(r.svc.RoleARN(c.HTTP.Context(), deref(name)))
}

func (r *iamRows) userARN(c *Call, name *string) string {
	return c.mustKnow(r.svc.UserARN(c.HTTP.Context(), deref(name)))
}

// iamARN names what is still to be created, or a path of it.
func iamARN(c *Call, kind string, path *string, name string) string {
	p := deref(path)
	if !strings.HasPrefix(p, "/") {
		p = "/" + p
	}
	return "arn:aws:iam::" + string(c.Account) + ":" + kind + p + name
}

// iamKeys are the condition keys of IAM's own operations. The zero value of a
// field leaves its key absent.
type iamKeys struct {
	policyARN, boundary *string
	tags                []m.Tag
	tagKeys             []string
	resourceTags        [][2]string
}

// Lookup implements policy.Keys.
func (k *iamKeys) Lookup(key string) policy.Values {
	switch key {
	case "iam:policyarn":
		return headerValue(deref(k.policyARN), "the request names no policy ARN")
	case "iam:permissionsboundary":
		return headerValue(deref(k.boundary), "neither the request nor its resource has a permissions boundary")
	case "aws:tagkeys":
		if len(k.tagKeys) == 0 {
			return policy.Absent("the request has no tags")
		}
		return policy.Many(k.tagKeys)
	}
	if name, ok := strings.CutPrefix(key, "aws:requesttag/"); ok {
		for _, t := range k.tags {
			if policy.SameTagKey(deref(t.Key), name) {
				return policy.One(deref(t.Value))
			}
		}
		return policy.Absent("the request has no such tag")
	}
	name, ok := strings.CutPrefix(key, "iam:resourcetag/")
	if !ok {
		name, ok = strings.CutPrefix(key, "aws:resourcetag/")
	}
	if ok {
		for _, t := range k.resourceTags {
			if policy.SameTagKey(t[0], name) {
				return policy.One(t[1])
			}
		}
		return policy.Absent("the resource has no such tag")
	}
	return policy.Values{}
}

func tagged(tags []m.Tag, k iamKeys) *iamKeys {
	k.tags = tags
	for _, t := range tags {
		k.tagKeys = append(k.tagKeys, deref(t.Key))
	}
	return &k
}

// about adds what there is to know of a role or user. A boundary that the
// request sets goes before the one that stands.
func (r *iamRows) about(c *Call, h iam.Holder, k iamKeys) *iamKeys {
	tags, boundary, err := r.svc.HolderKeys(c.HTTP.Context(), h)
	c.couldNotRead(err)
	k.resourceTags = tags
	if k.boundary == nil && boundary != "" {
		k.boundary = &boundary
	}
	return &k
}

func (r *iamRows) aboutRole(c *Call, name *string, k iamKeys) *iamKeys {
	return r.about(c, roleHolder(name), k)
}

func (r *iamRows) aboutUser(c *Call, name *string, k iamKeys) *iamKeys {
	return r.about(c, userHolder(name), k)
}

// escapeDocument encodes a document as IAM returns them, by RFC 3986.
func escapeDocument(doc string) *string {
	return new(strings.ReplaceAll(url.QueryEscape(doc), "+", "%20"))
}

func iamTagsIn(tags []m.Tag) []iam.Tag {
	list := make([]iam.Tag, len(tags))
	for i, t := range tags {
		list[i] = iam.Tag{Key: deref(t.Key), Value: deref(t.Value)}
	}
	return list
}

// iamTagsOut renders tags for answers that leave them out where there are none.
func iamTagsOut(tags []iam.Tag) []m.Tag {
	if len(tags) == 0 {
		return nil
	}
	return iamTagList(tags)
}

func iamTagList(tags []iam.Tag) []m.Tag {
	list := make([]m.Tag, len(tags))
	for i, t := range tags {
		list[i] = m.Tag{Key: new(t.Key), Value: new(t.Value)}
	}
	return list
}

// markerOut is the marker of a listing, absent at its end.
func markerOut(marker string) *string {
	if marker == "" {
		return nil
	}
	return &marker
}

func boundaryOut(arn string) *m.AttachedPermissionsBoundary {
	if arn == "" {
		return nil
	}
	return &m.AttachedPermissionsBoundary{PermissionsBoundaryType: new("Policy"), PermissionsBoundaryArn: &arn}
}

// policyOp is a row about one managed policy.
func policyOp[In, Out any](r *iamRows, name string, arn func(*In) *string, handle func(context.Context, *Call, *In) (*Out, error)) Operation {
	o := iamOp(name, func(_ *Call, in *In) string { return deref(arn(in)) }, handle)
	return withKeys(o, func(c *Call, in *In) policy.Keys { return r.aboutPolicy(c, arn(in), iamKeys{}) })
}

func (r *iamRows) aboutPolicy(c *Call, arn *string, k iamKeys) *iamKeys {
	p, err := r.svc.Policy(c.HTTP.Context(), deref(arn))
	c.couldNotRead(err)
	for _, t := range p.Tags {
		k.resourceTags = append(k.resourceTags, [2]string{t.Key, t.Value})
	}
	return &k
}

func (r *iamRows) policyRows() []Operation {
	create := iamOp("CreatePolicy", func(c *Call, in *m.CreatePolicyInput) string {
		return iamARN(c, "policy", in.Path, deref(in.PolicyName))
	}, r.createPolicy)
	return []Operation{
		withKeys(create, func(_ *Call, in *m.CreatePolicyInput) policy.Keys { return tagged(in.Tags, iamKeys{}) }),
		policyOp(r, "GetPolicy", func(in *m.GetPolicyInput) *string { return in.PolicyArn },
			func(ctx context.Context, _ *Call, in *m.GetPolicyInput) (*m.GetPolicyOutput, error) {
				p, err := r.svc.Policy(ctx, deref(in.PolicyArn))
				if err != nil {
					return nil, err
				}
				out := policyOut(p)
				out.Description, out.Tags = optional(p.Description), iamTagList(p.Tags)
				return &m.GetPolicyOutput{Policy: out}, nil
			}),
		iamOp("ListPolicies", func(c *Call, in *m.ListPoliciesInput) string { return iamARN(c, "policy", in.PathPrefix, "") }, r.listPolicies),
		policyOp(r, "DeletePolicy", func(in *m.DeletePolicyInput) *string { return in.PolicyArn },
			func(ctx context.Context, _ *Call, in *m.DeletePolicyInput) (*m.DeletePolicyOutput, error) {
				return nil, r.svc.DeletePolicy(ctx, deref(in.PolicyArn))
			}),
		policyOp(r, "CreatePolicyVersion", func(in *m.CreatePolicyVersionInput) *string { return in.PolicyArn },
			func(ctx context.Context, _ *Call, in *m.CreatePolicyVersionInput) (*m.CreatePolicyVersionOutput, error) {
				v, err := r.svc.CreatePolicyVersion(ctx, deref(in.PolicyArn), deref(in.PolicyDocument), deref(in.SetAsDefault))
				if err != nil {
					return nil, err
				}
				return &m.CreatePolicyVersionOutput{PolicyVersion: versionOut(v, false)}, nil
			}),
		policyOp(r, "GetPolicyVersion", func(in *m.GetPolicyVersionInput) *string { return in.PolicyArn },
			func(ctx context.Context, _ *Call, in *m.GetPolicyVersionInput) (*m.GetPolicyVersionOutput, error) {
				v, err := r.svc.PolicyVersion(ctx, deref(in.PolicyArn), deref(in.VersionId))
				if err != nil {
					return nil, err
				}
				return &m.GetPolicyVersionOutput{PolicyVersion: versionOut(v, true)}, nil
			}),
		policyOp(r, "ListPolicyVersions", func(in *m.ListPolicyVersionsInput) *string { return in.PolicyArn }, r.listPolicyVersions),
		policyOp(r, "DeletePolicyVersion", func(in *m.DeletePolicyVersionInput) *string { return in.PolicyArn },
			func(ctx context.Context, _ *Call, in *m.DeletePolicyVersionInput) (*m.DeletePolicyVersionOutput, error) {
				return nil, r.svc.DeletePolicyVersion(ctx, deref(in.PolicyArn), deref(in.VersionId))
			}),
		policyOp(r, "SetDefaultPolicyVersion", func(in *m.SetDefaultPolicyVersionInput) *string { return in.PolicyArn },
			func(ctx context.Context, _ *Call, in *m.SetDefaultPolicyVersionInput) (*m.SetDefaultPolicyVersionOutput, error) {
				return nil, r.svc.SetDefaultPolicyVersion(ctx, deref(in.PolicyArn), deref(in.VersionId))
			}),
		policyOp(r, "ListEntitiesForPolicy", func(in *m.ListEntitiesForPolicyInput) *string { return in.PolicyArn }, r.listEntities),
		withKeys(policyOp(r, "TagPolicy", func(in *m.TagPolicyInput) *string { return in.PolicyArn },
			func(ctx context.Context, _ *Call, in *m.TagPolicyInput) (*m.TagPolicyOutput, error) {
				return nil, r.svc.Tag(ctx, policyOwner(in.PolicyArn), iamTagsIn(in.Tags))
			}), func(c *Call, in *m.TagPolicyInput) policy.Keys {
			return tagged(in.Tags, *r.aboutPolicy(c, in.PolicyArn, iamKeys{}))
		}),
		withKeys(policyOp(r, "UntagPolicy", func(in *m.UntagPolicyInput) *string { return in.PolicyArn },
			func(ctx context.Context, _ *Call, in *m.UntagPolicyInput) (*m.UntagPolicyOutput, error) {
				return nil, r.svc.Untag(ctx, policyOwner(in.PolicyArn), in.TagKeys)
			}), func(c *Call, in *m.UntagPolicyInput) policy.Keys {
			return r.aboutPolicy(c, in.PolicyArn, iamKeys{tagKeys: in.TagKeys})
		}),
		policyOp(r, "ListPolicyTags", func(in *m.ListPolicyTagsInput) *string { return in.PolicyArn },
			func(ctx context.Context, _ *Call, in *m.ListPolicyTagsInput) (*m.ListPolicyTagsOutput, error) {
				tags, marker, err := r.svc.Tags(ctx, policyOwner(in.PolicyArn), iam.ListOptions{Marker: deref(in.Marker), MaxItems: in.MaxItems})
				if err != nil {
					return nil, err
				}
				return &m.ListPolicyTagsOutput{Tags: iamTagList(tags), IsTruncated: new(marker != ""), Marker: markerOut(marker)}, nil
			}),
	}
}

// policyOwner names a policy for tags. An ARN that is missing must not become a role.
func policyOwner(arn *string) iam.TagOwner {
	if deref(arn) == "" {
		return iam.TagOwner{PolicyARN: "-"}
	}
	return iam.TagOwner{PolicyARN: *arn}
}

func iamVersionID(n int) *string { return new("v" + strconv.Itoa(n)) }

// policyOut renders a policy as listings do, without description and tags.
func policyOut(p iam.Policy) *m.Policy {
	return &m.Policy{
		PolicyName: &p.Name, PolicyId: &p.ID, Arn: &p.ARN, Path: &p.Path,
		DefaultVersionId: iamVersionID(p.DefaultVersion), AttachmentCount: new(int32(p.Attachments)), //nolint:gosec // few
		PermissionsBoundaryUsageCount: new(int32(p.Boundaries)), IsAttachable: new(true), //nolint:gosec // few
		CreateDate: &p.CreatedAt, UpdateDate: &p.UpdatedAt,
	}
}

func versionOut(v iam.PolicyVersion, document bool) *m.PolicyVersion {
	out := &m.PolicyVersion{VersionId: iamVersionID(v.Version), IsDefaultVersion: &v.Default, CreateDate: &v.CreatedAt}
	if document {
		out.Document = escapeDocument(v.Document)
	}
	return out
}

func (r *iamRows) createPolicy(ctx context.Context, _ *Call, in *m.CreatePolicyInput) (*m.CreatePolicyOutput, error) {
	p, err := r.svc.CreatePolicy(ctx, iam.CreatePolicyInput{
		Name: deref(in.PolicyName), Path: deref(in.Path), Description: deref(in.Description),
		Document: deref(in.PolicyDocument), Tags: iamTagsIn(in.Tags),
	})
	if err != nil {
		return nil, err
	}
	out := policyOut(p)
	out.Tags = iamTagsOut(p.Tags) // the description is for GetPolicy alone
	return &m.CreatePolicyOutput{Policy: out}, nil
}

func (r *iamRows) listPolicies(ctx context.Context, _ *Call, in *m.ListPoliciesInput) (*m.ListPoliciesOutput, error) {
	f := iam.PolicyFilter{Scope: deref(in.Scope), OnlyAttached: deref(in.OnlyAttached), Usage: deref(in.PolicyUsageFilter)}
	list, marker, err := r.svc.Policies(ctx, f, iam.ListOptions{PathPrefix: deref(in.PathPrefix), Marker: deref(in.Marker), MaxItems: in.MaxItems})
	if err != nil {
		return nil, err
	}
	out := &m.ListPoliciesOutput{Policies: make([]m.Policy, len(list)), IsTruncated: new(marker != ""), Marker: markerOut(marker)}
	for i, p := range list {
		out.Policies[i] = *policyOut(p)
	}
	return out, nil
}

func (r *iamRows) listPolicyVersions(ctx context.Context, _ *Call, in *m.ListPolicyVersionsInput) (*m.ListPolicyVersionsOutput, error) {
	list, marker, err := r.svc.PolicyVersions(ctx, deref(in.PolicyArn), iam.ListOptions{Marker: deref(in.Marker), MaxItems: in.MaxItems})
	if err != nil {
		return nil, err
	}
	out := &m.ListPolicyVersionsOutput{Versions: make([]m.PolicyVersion, len(list)), IsTruncated: new(marker != ""), Marker: markerOut(marker)}
	for i, v := range list {
		out.Versions[i] = *versionOut(v, false)
	}
	return out, nil
}

func (r *iamRows) listEntities(ctx context.Context, _ *Call, in *m.ListEntitiesForPolicyInput) (*m.ListEntitiesForPolicyOutput, error) {
	var kind iam.HolderKind
	out := &m.ListEntitiesForPolicyOutput{
		IsTruncated: new(false), PolicyGroups: []m.PolicyGroup{}, PolicyUsers: []m.PolicyUser{}, PolicyRoles: []m.PolicyRole{},
	}
	switch deref(in.EntityFilter) {
	case "":
	case "Role":
		kind = iam.RoleHolder
	case "User":
		kind = iam.UserHolder
	case "Group":
		kind = iam.GroupHolder
	case "LocalManagedPolicy", "AWSManagedPolicy":
		return out, nil // policies have none attached
	default:
		return nil, iot.Errorf(iot.KindInvalid, "validation", "1 validation error detected: Value at 'entityFilter' failed to satisfy constraint: Member must satisfy enum value set: [User, Role, Group, LocalManagedPolicy, AWSManagedPolicy]")
	}
	list, marker, err := r.svc.Entities(ctx, deref(in.PolicyArn), kind, deref(in.PolicyUsageFilter),
		iam.ListOptions{PathPrefix: deref(in.PathPrefix), Marker: deref(in.Marker), MaxItems: in.MaxItems})
	if err != nil {
		return nil, err
	}
	out.IsTruncated, out.Marker = new(marker != ""), markerOut(marker)
	for _, e := range list {
		switch e.Kind {
		case iam.UserHolder:
			out.PolicyUsers = append(out.PolicyUsers, m.PolicyUser{UserName: new(e.Name), UserId: new(e.ID)})
		case iam.GroupHolder:
			out.PolicyGroups = append(out.PolicyGroups, m.PolicyGroup{GroupName: new(e.Name), GroupId: new(e.ID)})
		case iam.RoleHolder:
			out.PolicyRoles = append(out.PolicyRoles, m.PolicyRole{RoleName: new(e.Name), RoleId: new(e.ID)})
		}
	}
	return out, nil
}
