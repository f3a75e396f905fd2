package iam

import (
	"context"
	"fmt"
	"strings"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
)

// Limits of MaxSessionDuration in seconds.
const (
	MinSessionDuration     = 3600
	MaxSessionDuration     = 43200
	DefaultSessionDuration = 3600
)

// CreateRoleInput is what CreateRole takes. Zero values mean the defaults.
type CreateRoleInput struct {
	Name, Path, Description string
	Trust                   string
	Boundary                string // ARN
	MaxSessionDuration      *int
	Tags                    []Tag
}

// CreateRole creates a role.
func (s *Service) CreateRole(ctx context.Context, in CreateRoleInput) (Role, error) {
	if err := checkName(in.Name, "roleName", maxRoleName); err != nil {
		return Role{}, err
	}
	if in.Path == "" {
		in.Path = "/"
	}
	r := Role{Name: in.Name, Path: in.Path, Description: in.Description, MaxSessionDuration: DefaultSessionDuration, Trust: in.Trust, Boundary: in.Boundary, Tags: in.Tags}
	if in.MaxSessionDuration != nil {
		r.MaxSessionDuration = *in.MaxSessionDuration
	}
	var err error
	if r.Trusted, err = s.checkRole(ctx, r); err != nil {
		return Role{}, err
	}
	id, err := newID(s.random, rolePrefix, 17)
	if err != nil {
		return Role{}, err
	}
	r.ID, r.ARN, r.CreatedAt = id, s.arn("role"+r.Path+r.Name), s.stamp()
	if err := s.store.InsertRole(ctx, r); err != nil {
		return Role{}, err
	}
	return r, nil
}

// checkRole judges a new role and returns whom its trust policy names.
func (s *Service) checkRole(ctx context.Context, r Role) ([]TrustedPrincipal, error) {
	if err := checkPath(r.Path); err != nil {
		return nil, err
	}
	if err := checkDescription(r.Description); err != nil {
		return nil, err
	}
	if err := checkSessionDuration(r.MaxSessionDuration); err != nil {
		return nil, err
	}
	if err := checkTags(r.Tags); err != nil {
		return nil, err
	}
	trusted, err := s.checkTrust(r.Name, r.Trust)
	if err != nil {
		return nil, err
	}
	return trusted, s.checkBoundary(ctx, r.Boundary)
}

func checkSessionDuration(d int) error {
	if d < MinSessionDuration {
		return constraint(fmt.Sprint(d), "maxSessionDuration", "have value greater than or equal to %d", MinSessionDuration)
	}
	if d > MaxSessionDuration {
		return constraint(fmt.Sprint(d), "maxSessionDuration", "have value less than or equal to %d", MaxSessionDuration)
	}
	return nil
}

func (s *Service) checkBoundary(ctx context.Context, arn string) error {
	if arn == "" {
		return nil
	}
	if err := checkPolicyARN(arn); err != nil {
		return err
	}
	_, err := s.documents.Get(ctx, arn)
	return attachable(arn, err)
}

// PutBoundary sets the permissions boundary of a role or user.
func (s *Service) PutBoundary(ctx context.Context, h Holder, arn string) error {
	if err := h.check(); err != nil {
		return err
	}
	if arn == "" {
		return missing("permissionsBoundary")
	}
	if err := s.checkBoundary(ctx, arn); err != nil {
		return err
	}
	return s.store.SetBoundary(ctx, h, arn)
}

// DeleteBoundary takes the permissions boundary of a role or user away, if it has one.
func (s *Service) DeleteBoundary(ctx context.Context, h Holder) error {
	if err := h.check(); err != nil {
		return err
	}
	return s.store.SetBoundary(ctx, h, "")
}

// Role returns a role by its name.
func (s *Service) Role(ctx context.Context, name string) (Role, error) {
	if err := checkName(name, "roleName", maxRoleName); err != nil {
		return Role{}, err
	}
	r, err := s.store.Role(ctx, name)
	return shown(r), err
}

// Roles lists roles by name. The marker is "" at the end.
func (s *Service) Roles(ctx context.Context, o ListOptions) ([]Role, string, error) {
	p, err := page("roles", o)
	if err != nil {
		return nil, "", err
	}
	list, err := s.store.Roles(ctx, p)
	if err != nil {
		return nil, "", err
	}
	for i := range list {
		list[i] = shown(list[i])
	}
	list, marker := cut("roles", p, list, func(r Role) string { return strings.ToLower(r.Name) })
	return list, marker, nil
}

// UpdateRole changes a role's description or longest session; nil leaves it alone.
func (s *Service) UpdateRole(ctx context.Context, name string, description *string, maxDuration *int) error {
	if err := checkName(name, "roleName", maxRoleName); err != nil {
		return err
	}
	if description != nil {
		if err := checkDescription(*description); err != nil {
			return err
		}
	}
	if maxDuration != nil {
		if err := checkSessionDuration(*maxDuration); err != nil {
			return err
		}
	}
	return s.store.UpdateRole(ctx, name, RoleChange{Description: description, MaxSessionDuration: maxDuration})
}

// UpdateAssumeRolePolicy replaces a role's trust policy.
func (s *Service) UpdateAssumeRolePolicy(ctx context.Context, name, doc string) error {
	if err := checkName(name, "roleName", maxRoleName); err != nil {
		return err
	}
	trusted, err := s.checkTrust(name, doc)
	if err != nil {
		return err
	}
	return s.store.UpdateRole(ctx, name, RoleChange{Trust: &doc, Trusted: trusted})
}

// PinTrust finds out whom the trust policies mean that were written before
// their principals were kept. It has to run before anybody asks.
func (s *Service) PinTrust(ctx context.Context) error {
	roles, err := s.store.Unpinned(ctx)
	if err != nil {
		return fmt.Errorf("list roles: %w", err)
	}
	for _, r := range roles {
		p, err := policy.Compile(policy.Trust, trustName(r.Name), []byte(r.Trust))
		if err != nil {
			return fmt.Errorf("compile stored trust policy of %s: %w", r.Name, err)
		}
		if err := s.store.PinRole(ctx, r.Name, s.trusted(p)); err != nil {
			return fmt.Errorf("keep whom role %s trusts: %w", r.Name, err)
		}
	}
	return nil
}

// DeleteRole deletes a role that has no policies any more.
func (s *Service) DeleteRole(ctx context.Context, name string) error {
	if err := checkName(name, "roleName", maxRoleName); err != nil {
		return err
	}
	return s.store.DeleteRole(ctx, name)
}

// Tag adds or replaces the tags of a role, user, policy or instance profile.
func (s *Service) Tag(ctx context.Context, o TagOwner, tags []Tag) error {
	if err := s.checkOwner(o); err != nil {
		return err
	}
	if err := checkTags(tags); err != nil {
		return err
	}
	if err := s.ownTags(o); err != nil {
		return err
	}
	return s.store.SetTags(ctx, o, tags, maxTags)
}

// Untag removes tags by key; keys that are not there do not matter.
func (s *Service) Untag(ctx context.Context, o TagOwner, keys []string) error {
	if err := s.checkOwner(o); err != nil {
		return err
	}
	if len(keys) > maxTags {
		return constraint("tagKeys", "tagKeys", "have length less than or equal to %d", maxTags)
	}
	for i, k := range keys {
		if err := checkTagKey(k, fmt.Sprintf("tagKeys.%d.member", i+1)); err != nil {
			return err
		}
	}
	if err := s.ownTags(o); err != nil {
		return err
	}
	return s.store.DeleteTags(ctx, o, keys)
}

// Tags pages the tags of a role, user, policy or instance profile.
func (s *Service) Tags(ctx context.Context, o TagOwner, list ListOptions) ([]Tag, string, error) {
	if err := s.checkOwner(o); err != nil {
		return nil, "", err
	}
	p, err := page("tags", list)
	if err != nil {
		return nil, "", err
	}
	var tags []Tag
	switch {
	case o.ProviderARN != "":
		var p OIDCProvider
		p, err = s.store.Provider(ctx, o.ProviderARN)
		tags = p.Tags
	case o.Profile != "":
		var p InstanceProfile
		p, err = s.store.Profile(ctx, o.Profile)
		tags = p.Tags
	case o.PolicyARN != "":
		var pol Policy
		pol, err = s.Policy(ctx, o.PolicyARN)
		tags = pol.Tags
	case o.Kind == UserHolder:
		var u User
		u, err = s.store.User(ctx, o.Name)
		tags = u.Tags
	default:
		var r Role
		r, err = s.store.Role(ctx, o.Name)
		tags = r.Tags
	}
	if err != nil {
		return nil, "", err
	}
	tags, marker := slice("tags", p, tags, func(t Tag) string { return strings.ToLower(t.Key) })
	return tags, marker, nil
}

func (s *Service) checkOwner(o TagOwner) error {
	if o.ProviderARN != "" {
		return s.checkProviderARN(o.ProviderARN)
	}
	if o.Profile != "" {
		return checkName(o.Profile, "instanceProfileName", maxProfileName)
	}
	if o.PolicyARN != "" {
		return checkPolicyARN(o.PolicyARN)
	}
	return o.check()
}

// ownTags refuses to change the tags of AWS's own policies.
func (s *Service) ownTags(o TagOwner) error {
	if o.PolicyARN != "" && strings.HasPrefix(o.PolicyARN, awsPolicyPrefix) {
		return iot.Errorf(iot.KindInvalid, "input", "You cannot tag or untag AWS managed policies.")
	}
	return nil
}

func (h Holder) check() error {
	switch h.Kind {
	case UserHolder:
		return checkName(h.Name, "userName", maxUserName)
	case GroupHolder:
		return checkName(h.Name, "groupName", maxGroupName)
	case RoleHolder:
	}
	return checkName(h.Name, "roleName", maxRoleName)
}
