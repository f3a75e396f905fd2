package iam

import (
	"context"
	"strconv"
	"strings"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

const maxVersions = 5

// CreatePolicyInput is what CreatePolicy takes.
type CreatePolicyInput struct {
	Name, Path, Description string
	Document                string
	Tags                    []Tag
}

// CreatePolicy creates a managed policy; its document is version v1.
func (s *Service) CreatePolicy(ctx context.Context, in CreatePolicyInput) (Policy, error) {
	if err := checkName(in.Name, "policyName", maxPolicyName); err != nil {
		return Policy{}, err
	}
	if in.Path == "" {
		in.Path = "/"
	}
	if err := checkPath(in.Path); err != nil {
		return Policy{}, err
	}
	if err := checkDescription(in.Description); err != nil {
		return Policy{}, err
	}
	if err := checkTags(in.Tags); err != nil {
		return Policy{}, err
	}
	arn := s.arn("policy" + in.Path + in.Name)
	if err := s.checkManaged(arn, in.Document); err != nil {
		return Policy{}, err
	}
	id, err := newID(s.random, policyPrefix, 17)
	if err != nil {
		return Policy{}, err
	}
	at := s.stamp()
	p := Policy{
		ID: id, ARN: arn, Name: in.Name, Path: in.Path, Description: in.Description,
		DefaultVersion: 1, CreatedAt: at, UpdatedAt: at, Tags: in.Tags,
	}
	if err := s.store.InsertPolicy(ctx, p, in.Document); err != nil {
		return Policy{}, err
	}
	return p, nil
}

// Policy returns a managed policy by its ARN.
func (s *Service) Policy(ctx context.Context, arn string) (Policy, error) {
	if err := checkPolicyARN(arn); err != nil {
		return Policy{}, err
	}
	if b, ok := s.builtin[arn]; ok {
		return s.withUsage(ctx, b)
	}
	return s.store.Policy(ctx, arn)
}

func (s *Service) withUsage(ctx context.Context, b *builtinPolicy) (Policy, error) {
	p := b.Policy
	var err error
	p.Attachments, p.Boundaries, err = s.store.Usage(ctx, p.ARN)
	return p, err
}

// PolicyFilter narrows ListPolicies.
type PolicyFilter struct {
	Scope        string // All, AWS or Local; "" means All
	OnlyAttached bool
	Usage        string // PermissionsPolicy, PermissionsBoundary or "" for both
}

// Policies lists managed policies by ARN: this account's, then AWS's.
func (s *Service) Policies(ctx context.Context, f PolicyFilter, o ListOptions) ([]Policy, string, error) {
	switch f.Scope {
	case "", "All", "AWS", "Local":
	default:
		return nil, "", constraint(f.Scope, "scope", "satisfy enum value set: [All, AWS, Local]")
	}
	p, err := page("policies", o)
	if err != nil {
		return nil, "", err
	}
	var list []Policy
	if f.Scope != "AWS" {
		if list, err = s.localPolicies(ctx, f, p); err != nil {
			return nil, "", err
		}
	}
	if f.Scope != "Local" {
		for _, b := range s.builtinAfter(p.After) {
			if len(list) == p.Limit {
				break
			}
			if !strings.HasPrefix(b.Path, p.PathPrefix) {
				continue
			}
			pol, err := s.withUsage(ctx, b)
			if err != nil {
				return nil, "", err
			}
			if f.admits(pol) {
				list = append(list, pol)
			}
		}
	}
	list, marker := cut("policies", p, list, func(p Policy) string { return p.ARN })
	return list, marker, nil
}

func (s *Service) localPolicies(ctx context.Context, f PolicyFilter, p Page) ([]Policy, error) {
	var list []Policy
	for {
		batch, err := s.store.Policies(ctx, p)
		if err != nil {
			return nil, err
		}
		for _, pol := range batch {
			if f.admits(pol) && len(list) < p.Limit {
				list = append(list, pol)
			}
		}
		if len(batch) < p.Limit || len(list) == p.Limit {
			return list, nil
		}
		p.After = batch[len(batch)-1].ARN
	}
}

func (f PolicyFilter) admits(p Policy) bool {
	used := p.Attachments + p.Boundaries
	switch f.Usage {
	case "PermissionsPolicy":
		used = p.Attachments
	case "PermissionsBoundary":
		used = p.Boundaries
	}
	return used > 0 || !f.OnlyAttached && f.Usage == ""
}

// DeletePolicy deletes a managed policy and its default version.
func (s *Service) DeletePolicy(ctx context.Context, arn string) error {
	if err := s.ownPolicy(arn); err != nil {
		return err
	}
	return s.store.DeletePolicy(ctx, arn)
}

// ownPolicy refuses what is not a policy of this account.
func (s *Service) ownPolicy(arn string) error {
	if err := checkPolicyARN(arn); err != nil {
		return err
	}
	if strings.HasPrefix(arn, awsPolicyPrefix) {
		return iot.Errorf(iot.KindDenied, "policy", "Policy is outside your own account.")
	}
	return nil
}

// CreatePolicyVersion adds a document under the next version number.
func (s *Service) CreatePolicyVersion(ctx context.Context, arn, doc string, makeDefault bool) (PolicyVersion, error) {
	if err := s.ownPolicy(arn); err != nil {
		return PolicyVersion{}, err
	}
	if err := s.checkManaged(arn, doc); err != nil {
		return PolicyVersion{}, err
	}
	return s.store.InsertVersion(ctx, arn, doc, s.stamp(), makeDefault, maxVersions)
}

// PolicyVersion returns one version, named as in "v3".
func (s *Service) PolicyVersion(ctx context.Context, arn, version string) (PolicyVersion, error) {
	if err := checkPolicyARN(arn); err != nil {
		return PolicyVersion{}, err
	}
	n, err := parseVersion(version)
	if err != nil {
		return PolicyVersion{}, err
	}
	if b, ok := s.builtin[arn]; ok {
		if n != b.DefaultVersion {
			return PolicyVersion{}, NoSuchVersion(arn, n)
		}
		return b.version(), nil
	}
	return s.store.Version(ctx, arn, n)
}

func (b *builtinPolicy) version() PolicyVersion {
	return PolicyVersion{Version: b.DefaultVersion, Document: b.document, Default: true, CreatedAt: b.UpdatedAt}
}

// NoSuchVersion is the error for a version that a policy does not have.
func NoSuchVersion(arn string, version int) *iot.Error {
	return iot.Errorf(iot.KindNotFound, "policy", "Policy %s version v%d does not exist or is not attachable.", arn, version)
}

// PolicyVersions lists the versions of a policy, newest first.
func (s *Service) PolicyVersions(ctx context.Context, arn string, o ListOptions) ([]PolicyVersion, string, error) {
	if err := checkPolicyARN(arn); err != nil {
		return nil, "", err
	}
	p, err := page("versions", o)
	if err != nil {
		return nil, "", err
	}
	if b, ok := s.builtin[arn]; ok {
		return []PolicyVersion{b.version()}, "", nil
	}
	list, err := s.store.Versions(ctx, arn)
	if err != nil {
		return nil, "", err
	}
	// The order of keys must be ascending while versions descend.
	list, marker := slice("versions", p, list, func(v PolicyVersion) string {
		n := strconv.Itoa(1<<31 - 1 - v.Version)
		return strings.Repeat("0", 10-len(n)) + n
	})
	return list, marker, nil
}

// DeletePolicyVersion deletes a version that is not the default.
func (s *Service) DeletePolicyVersion(ctx context.Context, arn, version string) error {
	if err := s.ownPolicy(arn); err != nil {
		return err
	}
	n, err := parseVersion(version)
	if err != nil {
		return err
	}
	return s.store.DeleteVersion(ctx, arn, n)
}

// SetDefaultPolicyVersion puts a version in force everywhere at once.
func (s *Service) SetDefaultPolicyVersion(ctx context.Context, arn, version string) error {
	if err := s.ownPolicy(arn); err != nil {
		return err
	}
	n, err := parseVersion(version)
	if err != nil {
		return err
	}
	return s.store.SetDefaultVersion(ctx, arn, n, s.stamp())
}

// parseVersion reads "v3". A suffix as in "v3.abc" is part of AWS's grammar but of no version of ours.
func parseVersion(s string) (int, error) {
	if s == "" {
		return 0, missing("versionId")
	}
	digits, ok := strings.CutPrefix(s, "v")
	n, err := strconv.Atoi(digits)
	if !ok || err != nil || n < 1 || digits[0] < '1' || len(digits) > 9 {
		return 0, constraint(s, "versionId", `satisfy regular expression pattern: v[1-9][0-9]*(\.[A-Za-z0-9-]*)?`)
	}
	return n, nil
}

// Entities lists the roles and users that use a policy.
func (s *Service) Entities(ctx context.Context, arn string, kind HolderKind, usage string, o ListOptions) ([]Entity, string, error) {
	if _, err := s.Policy(ctx, arn); err != nil {
		return nil, "", err
	}
	p, err := page("entities", o)
	if err != nil {
		return nil, "", err
	}
	all, err := s.store.Entities(ctx, arn)
	if err != nil {
		return nil, "", err
	}
	list := all[:0]
	for _, e := range all {
		wanted := (kind == 0 || e.Kind == kind) && (usage == "" || e.Boundary == (usage == "PermissionsBoundary"))
		if wanted {
			list = append(list, e)
		}
	}
	list, marker := slice("entities", p, list, func(e Entity) string { return EntityKey(e) })
	return list, marker, nil
}

// EntityKey orders entities; stores list them by it.
func EntityKey(e Entity) string {
	k := e.Kind.String() + "/" + e.ID
	if e.Boundary {
		k += "/boundary"
	}
	return k
}
