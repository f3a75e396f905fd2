package registry

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
)

// Policy is an AWS IoT policy without its documents.
type Policy struct {
	Name           iot.PolicyName
	GenerationID   string
	DefaultVersion int64
	CreatedAt      time.Time
	UpdatedAt      time.Time
}

// PolicyVersion is one document of a policy.
type PolicyVersion struct {
	ID        int64 // 1, 2, …; never given twice
	Document  string
	Default   bool
	CreatedAt time.Time
}

// The quotas of https://docs.aws.amazon.com/general/latest/gr/iot-core.html.
const (
	maxPolicyCharacters  = 2048 // white space not counted
	maxPolicyBytes       = 404_600
	maxPolicyVersions    = 5
	maxPoliciesPerTarget = 10
)

// CreatePolicy makes a policy whose first version is its default.
func (r *Registry) CreatePolicy(ctx context.Context, name, document string, tags []Tag) (Policy, PolicyVersion, error) {
	if err := r.checkPolicy(name, document); err != nil {
		return Policy{}, PolicyVersion{}, err
	}
	if err := CheckTags(tags); err != nil {
		return Policy{}, PolicyVersion{}, err
	}
	id, err := iot.NewUUID(r.rand)
	if err != nil {
		return Policy{}, PolicyVersion{}, err
	}
	now := r.clock()
	p := Policy{Name: iot.PolicyName(name), GenerationID: id, DefaultVersion: 1, CreatedAt: now, UpdatedAt: now}
	err = r.policies.CreatePolicy(ctx, p, document, tags)
	if iot.IsKind(err, iot.KindExists) {
		e := iot.Errorf(iot.KindExists, "policy", "Policy cannot be created - name already exists (name=%s)", name)
		e.ID, e.ARN = name, string(r.PolicyARN(p.Name))
		err = e
	}
	return p, PolicyVersion{ID: 1, Document: document, Default: true, CreatedAt: now}, err
}

// CreatePolicyVersion adds a version, as the default one or not.
func (r *Registry) CreatePolicyVersion(ctx context.Context, name, document string, setAsDefault bool) (PolicyVersion, error) {
	if err := r.checkPolicy(name, document); err != nil {
		return PolicyVersion{}, err
	}
	return r.policies.AddPolicyVersion(ctx, iot.PolicyName(name), PolicyVersion{
		Document: document, Default: setAsDefault, CreatedAt: r.clock(),
	}, maxPolicyVersions)
}

// DeletePolicyVersion deletes a version that is not the default one.
func (r *Registry) DeletePolicyVersion(ctx context.Context, name, version string) error {
	n, err := checkPolicyVersion(name, version)
	if err != nil {
		return err
	}
	return r.policies.DeletePolicyVersion(ctx, iot.PolicyName(name), n, r.clock())
}

// SetDefaultPolicyVersion puts another version in force.
func (r *Registry) SetDefaultPolicyVersion(ctx context.Context, name, version string) error {
	n, err := checkPolicyVersion(name, version)
	if err != nil {
		return err
	}
	return r.policies.SetDefaultPolicyVersion(ctx, iot.PolicyName(name), n, r.clock())
}

// DeletePolicy deletes a policy that has one version and is attached to nothing.
func (r *Registry) DeletePolicy(ctx context.Context, name string) error {
	if err := checkPolicyName(name); err != nil {
		return err
	}
	return r.policies.DeletePolicy(ctx, iot.PolicyName(name))
}

// Policy returns a policy and its default version.
func (r *Registry) Policy(ctx context.Context, name string) (Policy, PolicyVersion, error) {
	if err := checkPolicyName(name); err != nil {
		return Policy{}, PolicyVersion{}, err
	}
	return r.policies.PolicyVersion(ctx, iot.PolicyName(name), 0)
}

// PolicyVersion returns a policy and one of its versions.
func (r *Registry) PolicyVersion(ctx context.Context, name, version string) (Policy, PolicyVersion, error) {
	n, err := checkPolicyVersion(name, version)
	if err != nil {
		return Policy{}, PolicyVersion{}, err
	}
	return r.policies.PolicyVersion(ctx, iot.PolicyName(name), n)
}

// PolicyVersions lists the versions of a policy, newest first, without documents.
func (r *Registry) PolicyVersions(ctx context.Context, name string) ([]PolicyVersion, error) {
	if err := checkPolicyName(name); err != nil {
		return nil, err
	}
	return r.policies.PolicyVersions(ctx, iot.PolicyName(name))
}

// Policies lists policies by creation, and the token of the next page.
func (r *Registry) Policies(ctx context.Context, ascending bool, p Page) ([]Policy, string, error) {
	scope := "policies\x00" + strconv.FormatBool(ascending)
	return listPage(scope, p, func(after string, limit int) ([]Policy, error) {
		at, err := parseCreated(after)
		if err != nil {
			return nil, err
		}
		return r.policies.Policies(ctx, at, ascending, limit)
	}, func(p Policy) string { return Created{At: p.CreatedAt, ID: string(p.Name)}.String() })
}

// AttachPolicy attaches a policy to a certificate or a thing group. That it is attached is no error.
func (r *Registry) AttachPolicy(ctx context.Context, name, target string) error {
	arn, err := r.checkTarget(name, target)
	if err != nil {
		return err
	}
	limit := maxPoliciesPerTarget
	if _, group := r.groupTarget(arn); group {
		limit = maxPoliciesPerGroup
	}
	return r.policies.AttachPolicy(ctx, iot.PolicyName(name), arn, limit, r.clock())
}

// CheckPrincipal accepts what a policy is attached to by the older operations,
// which know principals alone.
func (r *Registry) CheckPrincipal(principal string) error {
	_, err := r.parsePrincipal(principal)
	return err
}

// groupTarget returns the group that an ARN names.
func (r *Registry) groupTarget(arn iot.ARN) (iot.ThingGroupName, bool) {
	name, ok := strings.CutPrefix(string(arn), string(r.ThingGroupARN("")))
	return iot.ThingGroupName(name), ok && iot.ValidThingName(name)
}

// DetachPolicy detaches a policy. That it is not attached is no error.
func (r *Registry) DetachPolicy(ctx context.Context, name, target string) error {
	arn, err := r.checkTarget(name, target)
	if err != nil {
		return err
	}
	return r.policies.DetachPolicy(ctx, iot.PolicyName(name), arn)
}

// AttachedPolicies lists the policies of a target by name, and the token of the
// next page; with recursive those that a group has from the groups above it, too.
func (r *Registry) AttachedPolicies(ctx context.Context, target string, recursive bool, p Page) ([]iot.PolicyName, string, error) {
	arn, err := r.parseTarget(target)
	if err != nil {
		return nil, "", err
	}
	if group, ok := r.groupTarget(arn); ok && recursive {
		return listPage("inherited-policies\x00"+target, p, func(after string, limit int) ([]iot.PolicyName, error) {
			list, err := r.inherited.Get(ctx, group)
			if err != nil {
				return nil, err
			}
			i, found := slices.BinarySearch(list, iot.PolicyName(after))
			if found {
				i++
			}
			return list[i:min(len(list), i+limit)], nil
		}, func(n iot.PolicyName) string { return string(n) })
	}
	return listPage("attached-policies\x00"+target, p, func(after string, limit int) ([]iot.PolicyName, error) {
		return r.policies.AttachedPolicies(ctx, arn, iot.PolicyName(after), limit)
	}, func(n iot.PolicyName) string { return string(n) })
}

// PolicyTargets lists what a policy is attached to, and the token of the next page.
func (r *Registry) PolicyTargets(ctx context.Context, name string, p Page) ([]iot.ARN, string, error) {
	if err := checkPolicyName(name); err != nil {
		return nil, "", err
	}
	return listPage("policy-targets\x00"+name, p, func(after string, limit int) ([]iot.ARN, error) {
		return r.policies.PolicyTargets(ctx, iot.PolicyName(name), iot.ARN(after), limit)
	}, func(a iot.ARN) string { return string(a) })
}

func (r *Registry) checkTarget(name, target string) (iot.ARN, error) {
	if err := checkPolicyName(name); err != nil {
		return "", err
	}
	return r.parseTarget(target)
}

func (r *Registry) parseTarget(s string) (iot.ARN, error) {
	if _, ok := r.groupTarget(iot.ARN(s)); ok {
		return iot.ARN(s), nil
	}
	arn, err := r.parsePrincipal(s)
	if iot.IsKind(err, iot.KindInvalid) {
		return "", iot.Errorf(iot.KindInvalid, "target", "Invalid target: %.256s", s)
	}
	return arn, err
}

// checkPolicy judges a name and a document that is to be kept.
func (r *Registry) checkPolicy(name, document string) error {
	if err := checkPolicyName(name); err != nil {
		return err
	}
	if len(document) > maxPolicyBytes || !utf8.ValidString(document) {
		return iot.Errorf(iot.KindMalformed, "policy", "The policy document is too long or is not UTF-8")
	}
	n := 0
	for _, c := range document {
		if !unicode.IsSpace(c) {
			n++
		}
	}
	if n > maxPolicyCharacters {
		return iot.Errorf(iot.KindMalformed, "policy",
			"The policy document has %d characters without white space; the limit is %d", n, maxPolicyCharacters)
	}
	_, err := policy.Compile(policy.IoT, string(r.PolicyARN(iot.PolicyName(name))), []byte(document))
	return err
}

func checkPolicyName(name string) error {
	if !iot.ValidIoTPolicyName(name) {
		return iot.Errorf(iot.KindInvalid, "policy", "1 validation error detected: Value at 'policyName' failed to satisfy constraint: "+
			`Member must satisfy regular expression pattern: [\w+=,.@-]+, with a length of 1 to 128`)
	}
	return nil
}

func checkPolicyVersion(name, version string) (int64, error) {
	if err := checkPolicyName(name); err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(version, 10, 64)
	if err != nil || n < 1 || strconv.FormatInt(n, 10) != version {
		return 0, iot.Errorf(iot.KindInvalid, "policy-version", "Invalid policy version id: %.32q", version)
	}
	return n, nil
}

// String is the place as page tokens carry it.
func (c Created) String() string {
	return strconv.FormatInt(c.At.UnixMilli(), 10) + " " + c.ID
}

// parseCreated is the inverse of Created's String; "" is the start.
func parseCreated(s string) (Created, error) {
	if s == "" {
		return Created{}, nil
	}
	for i := range len(s) {
		if s[i] != ' ' {
			continue
		}
		ms, err := strconv.ParseInt(s[:i], 10, 64)
		if err != nil {
			break
		}
		return Created{At: time.UnixMilli(ms).UTC(), ID: s[i+1:]}, nil
	}
	return Created{}, iot.Errorf(iot.KindInvalid, "page-token", "Invalid pagination token")
}

// CompiledPolicy returns the default version of a policy as decisions use it.
func (r *Registry) CompiledPolicy(ctx context.Context, name string) (*policy.Policy, error) {
	if err := checkPolicyName(name); err != nil {
		return nil, err
	}
	return r.compiled.Get(ctx, iot.PolicyName(name))
}

// EffectivePolicy is a policy that decides, and its default version.
type EffectivePolicy struct {
	Name     iot.PolicyName
	Document string
}

// EffectivePolicies returns what decides about a principal that is associated
// with a thing: its own policies, and those that the thing inherits. Either may
// be ""; the thing of a principal that has an exclusive attachment is that one.
func (r *Registry) EffectivePolicies(ctx context.Context, principal, thing string) ([]EffectivePolicy, error) {
	var names []iot.PolicyName
	if principal != "" {
		arn, err := r.parsePrincipal(principal)
		if err != nil {
			return nil, err
		}
		if names, err = r.policies.AttachedPolicies(ctx, arn, "", maxPage); err != nil {
			return nil, err
		}
		p, err := r.Principal(ctx, arn)
		if err != nil {
			return nil, err
		}
		if t := p.Exclusive(); t != nil && thing == "" {
			thing = string(t.Name)
		}
	}
	if thing != "" {
		if err := checkThingName(thing); err != nil {
			return nil, err
		}
		t, err := r.loadThing(ctx, iot.ThingName(thing))
		if err != nil {
			return nil, err
		}
		if names, err = r.withInherited(ctx, names, t.groups); err != nil {
			return nil, err
		}
	}
	slices.Sort(names)
	list := make([]EffectivePolicy, len(names))
	for i, n := range names {
		_, v, err := r.policies.PolicyVersion(ctx, n, 0)
		if err != nil {
			return nil, err
		}
		list[i] = EffectivePolicy{Name: n, Document: v.Document}
	}
	return list, nil
}
