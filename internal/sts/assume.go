package sts

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
)

// Limits of AssumeRole: the STS API model.
const (
	minDuration       = 900
	maxDuration       = 43200
	defaultDuration   = 3600
	maxChained        = 3600 // of a role assumed with the credentials of a role
	maxSessionPolicy  = 2048
	maxSessionARNs    = 10
	maxSessionTags    = 50
	maxExternalID     = 1224
	minSessionName    = 2
	maxSessionNameLen = 64
)

// AssumeRoleInput is what AssumeRole takes.
type AssumeRoleInput struct {
	RoleARN           string
	SessionName       string
	Policy            string
	PolicyARNs        []string
	DurationSeconds   *int
	ExternalID        *string
	SourceIdentity    string
	Tags              []Tag
	TransitiveTagKeys []string
}

// AssumedRole is a new role session.
type AssumedRole struct {
	Credentials
	ARN            string // of the session
	ID             string // role id and session name
	PackedSize     int    // percent; 0 where no policies or tags were passed
	SourceIdentity string
}

// Assumer is AssumeRole.
type Assumer struct {
	cfg Config
	log *slog.Logger
}

// NewAssumer returns the service.
func NewAssumer(cfg Config, log *slog.Logger) *Assumer { return &Assumer{cfg: cfg, log: log} }

// AssumeRole opens a session of a role for the caller. request answers the keys
// of the request, the caller's among them. Both the role's trust policy and,
// unless that names the caller directly, the caller's own policies must allow
// it; a role that does not exist is refused with the same words.
func (a *Assumer) AssumeRole(ctx context.Context, caller *Identity, request policy.Keys, in AssumeRoleInput) (AssumedRole, error) {
	if err := checkAssume(&in); err != nil {
		return AssumedRole{}, err
	}
	if caller.Kind == FederatedSession {
		return AssumedRole{}, a.denied(ctx, caller, assumeRole, in.RoleARN, "federated users may not assume roles")
	}
	tags, err := mergeTags(caller, in.Tags, in.TransitiveTagKeys)
	if err != nil {
		return AssumedRole{}, err
	}
	role, err := a.authorize(ctx, caller, request, &in, tags)
	if err != nil {
		return AssumedRole{}, err
	}
	seconds, err := duration(caller, &in, &role)
	if err != nil {
		return AssumedRole{}, err
	}
	managed, err := a.checkPolicies(ctx, in.Policy, in.PolicyARNs)
	if err != nil {
		return AssumedRole{}, err
	}
	now := a.cfg.Now().Unix()
	c := &claims{
		RoleID: role.ID, SessionName: in.SessionName, Issued: now, Expires: now + int64(seconds),
		SourceIdentity: in.SourceIdentity, Tags: tags, Policy: in.Policy, Managed: managed,
	}
	c.descend(caller)
	cred, packed, err := a.cfg.Keys.issue(c)
	if err != nil {
		return AssumedRole{}, err
	}
	return AssumedRole{
		Credentials:    cred,
		ARN:            sessionARN(a.cfg.Account, role.Name, in.SessionName),
		ID:             role.ID + ":" + in.SessionName,
		PackedSize:     packed,
		SourceIdentity: in.SourceIdentity,
	}, nil
}

// descend puts the whole lineage of the caller into the claims of its child.
func (c *claims) descend(caller *Identity) {
	p := caller.session
	if p == nil {
		c.KeyID, c.KeyEpoch = caller.AccessKeyID, caller.who.keyEpoch
		if !caller.Grants.Root {
			c.UserID = caller.Principal.UserID
		}
		return
	}
	c.Derived = true
	if c.Parents = p.Parents; p.RoleID != "" {
		c.Parents = append(append(make([]string, 0, len(p.Parents)+1), p.Parents...), p.RoleID)
	}
	c.KeyID, c.KeyEpoch, c.UserID = p.KeyID, p.KeyEpoch, p.UserID
	c.Certificate, c.Epoch = p.Certificate, p.Epoch
	c.ThingName, c.ThingID, c.ThingType, c.Incarnation = p.ThingName, p.ThingID, p.ThingType, p.Incarnation
	c.Subscriber, c.NetworkPath = p.Subscriber, p.NetworkPath
}

func duration(caller *Identity, in *AssumeRoleInput, role *Role) (int, error) {
	seconds := defaultDuration
	if in.DurationSeconds != nil {
		seconds = *in.DurationSeconds
	}
	if caller.Kind == RoleSession && seconds > maxChained {
		return 0, invalid("The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining")
	}
	if time.Duration(seconds)*time.Second > role.MaxSessionDuration {
		return 0, invalid("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	return seconds, nil
}

// authorize finds the role and asks its trust policy and the caller's grants
// for every permission that the request needs.
func (a *Assumer) authorize(ctx context.Context, caller *Identity, request policy.Keys, in *AssumeRoleInput, tags []Tag) (Role, error) {
	name, ok := roleNameOf(in.RoleARN, a.cfg.Account)
	var role Role
	var err error
	if ok {
		role, err = a.cfg.Directory.Role(ctx, name)
		ok = err == nil && role.ARN == in.RoleARN
	}
	if err != nil && !iot.IsKind(err, iot.KindNotFound) {
		return Role{}, err
	}
	if !ok {
		return Role{}, a.denied(ctx, caller, assumeRole, in.RoleARN, "there is no such role in this account")
	}
	// caller.SourceIdentity can never be replaced.
	if caller.SourceIdentity != "" && in.SourceIdentity != "" && in.SourceIdentity != caller.SourceIdentity {
		return Role{}, a.denied(ctx, caller, "sts:SetSourceIdentity", in.RoleARN, "the calling session has another source identity")
	}
	if in.SourceIdentity == "" {
		in.SourceIdentity = caller.SourceIdentity
	}
	actions := append(make([]string, 0, 3), assumeRole)
	if len(tags) > 0 {
		actions = append(actions, "sts:TagSession")
	}
	if in.SourceIdentity != "" {
		actions = append(actions, "sts:SetSourceIdentity")
	}
	grants := caller.Grants
	grants.Resource = role.Trust
	keys := newAssumeKeys(request, in, tags, &role)
	for _, action := range actions {
		r := policy.Request{Action: action, Resource: role.ARN, Principal: caller.Principal, Keys: keys}
		if !grants.Authorize(&r).Allowed() {
			return Role{}, a.denied(ctx, caller, action, in.RoleARN, grants.Explain(&r).String())
		}
	}
	return role, nil
}

func (a *Assumer) denied(ctx context.Context, caller *Identity, action, resource, why string) error {
	a.log.LogAttrs(ctx, slog.LevelWarn, "request denied",
		slog.String("principal", caller.Principal.ARN),
		slog.String("action", action),
		slog.String("resource", clip(resource)),
		slog.String("explanation", why))
	return iot.Errorf(iot.KindDenied, "role", "User: %s is not authorized to perform: %s on resource: %s",
		caller.Principal.ARN, action, clip(resource))
}

// checkPolicies compiles the session policy, finds the managed ones, and returns
// those as claims have them.
func (a *Assumer) checkPolicies(ctx context.Context, doc string, arns []string) ([]string, error) {
	if doc != "" {
		if _, err := policy.Compile(policy.Identity, sessionPolicyName, []byte(doc)); err != nil {
			return nil, err
		}
	}
	managed := make([]string, len(arns))
	for i, arn := range arns {
		_, id, err := a.cfg.Directory.ManagedPolicy(ctx, arn)
		if iot.IsKind(err, iot.KindNotFound) {
			return nil, invalid("Policy %s does not exist or is not attachable.", clip(arn))
		}
		if err != nil {
			return nil, err
		}
		managed[i] = id + " " + arn
	}
	return managed, nil
}

func invalid(format string, args ...any) error {
	return iot.Errorf(iot.KindInvalid, "request", format, args...)
}

func constraint(value, member, format string, args ...any) error {
	return invalid("1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: Member must %s",
		clip(value), member, fmt.Sprintf(format, args...))
}

// checkPassed judges the sizes of what may be passed to a session.
func checkPassed(doc string, arns []string, tags []Tag) error {
	switch {
	case utf8.RuneCountInString(doc) > maxSessionPolicy:
		return constraint(doc, "policy", "have length less than or equal to %d", maxSessionPolicy)
	case len(arns) > maxSessionARNs:
		return constraint(fmt.Sprint(len(arns)), "policyArns", "have length less than or equal to %d", maxSessionARNs)
	case len(tags) > maxSessionTags:
		return constraint(fmt.Sprint(len(tags)), "tags", "have length less than or equal to %d", maxSessionTags)
	}
	return nil
}

// checkAssume judges the request's grammar.
func checkAssume(in *AssumeRoleInput) error {
	switch {
	case in.RoleARN == "":
		return invalid("1 validation error detected: Value null at 'roleArn' failed to satisfy constraint: Member must not be null")
	case len(in.RoleARN) < 20:
		return constraint(in.RoleARN, "roleArn", "have length greater than or equal to 20")
	case len(in.RoleARN) > 2048:
		return constraint(in.RoleARN, "roleArn", "have length less than or equal to 2048")
	case len(in.TransitiveTagKeys) > maxSessionTags:
		return constraint(fmt.Sprint(len(in.TransitiveTagKeys)), "transitiveTagKeys", "have length less than or equal to %d", maxSessionTags)
	}
	if err := checkPassed(in.Policy, in.PolicyARNs, in.Tags); err != nil {
		return err
	}
	if p, err := iot.ParseARN(in.RoleARN); err != nil || p.Service != "iam" || !strings.HasPrefix(p.Resource, "role/") {
		return invalid("%s is invalid", clip(in.RoleARN))
	}
	if in.SessionName == "" {
		return invalid("1 validation error detected: Value null at 'roleSessionName' failed to satisfy constraint: Member must not be null")
	}
	if err := checkSessionName(in.SessionName, "roleSessionName"); err != nil {
		return err
	}
	if in.SourceIdentity != "" {
		if err := checkSessionName(in.SourceIdentity, "sourceIdentity"); err != nil {
			return err
		}
	}
	if d := in.DurationSeconds; d != nil && (*d < minDuration || *d > maxDuration) {
		return constraint(fmt.Sprint(*d), "durationSeconds", "have value between %d and %d", minDuration, maxDuration)
	}
	if e := in.ExternalID; e != nil && (len(*e) < 2 || len(*e) > maxExternalID || !checkChars(*e, "_+=,.@:/-")) {
		return constraint(*e, "externalId", `satisfy regular expression pattern: [\w+=,.@:\/-]* and have length between 2 and %d`, maxExternalID)
	}
	return nil
}

func checkSessionName(s, member string) error {
	if len(s) < minSessionName {
		return constraint(s, member, "have length greater than or equal to %d", minSessionName)
	}
	if len(s) > maxSessionNameLen {
		return constraint(s, member, "have length less than or equal to %d", maxSessionNameLen)
	}
	if !checkChars(s, "_+=,.@-") {
		return constraint(s, member, `satisfy regular expression pattern: [\w+=,.@-]*`)
	}
	return nil
}

// mergeTags adds the caller's transitive tags to those of the request.
func mergeTags(caller *Identity, tags []Tag, transitive []string) ([]Tag, error) {
	merged := make([]Tag, 0, len(tags))
	find := func(key string) *Tag {
		for i := range merged {
			if policy.SameTagKey(merged[i].Key, key) {
				return &merged[i]
			}
		}
		return nil
	}
	for _, t := range tags {
		if err := checkTag(t); err != nil {
			return nil, err
		}
		if find(t.Key) != nil {
			return nil, invalid("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		}
		merged = append(merged, Tag{Key: t.Key, Value: t.Value})
	}
	for _, key := range transitive {
		t := find(key)
		if t == nil {
			return nil, invalid("The specified transitive tag key must be included in the requested tags.")
		}
		t.Transitive = true
	}
	for _, t := range caller.Tags {
		if !t.Transitive {
			continue
		}
		if find(t.Key) != nil {
			return nil, invalid("One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session.")
		}
		merged = append(merged, t)
	}
	if len(merged) > maxSessionTags {
		return nil, constraint(fmt.Sprint(len(merged)), "tags", "have length less than or equal to %d", maxSessionTags)
	}
	return merged, nil
}

func checkTag(t Tag) error {
	n := utf8.RuneCountInString(t.Key)
	if n < 1 || n > 128 || !tagText(t.Key) {
		return constraint(t.Key, "tags.member.key", `satisfy regular expression pattern: [\p{L}\p{Z}\p{N}_.:/=+\-@]+`)
	}
	if utf8.RuneCountInString(t.Value) > 256 || !tagText(t.Value) {
		return constraint(t.Value, "tags.member.value", `satisfy regular expression pattern: [\p{L}\p{Z}\p{N}_.:/=+\-@]*`)
	}
	if len(t.Key) >= 4 && strings.EqualFold(t.Key[:4], "aws:") {
		return invalid("Tag keys that begin with aws: are reserved for AWS use.")
	}
	return nil
}

func tagText(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, c := range s {
		if !unicode.In(c, unicode.L, unicode.Z, unicode.N) && !strings.ContainsRune("_.:/=+-@", c) {
			return false
		}
	}
	return true
}

// assumeKeys adds to the keys of a request what AssumeRole says.
type assumeKeys struct {
	request    policy.Keys
	in         *AssumeRoleInput
	tags       []Tag
	role       *Role
	tagKeys    []string
	transitive []string
}

func newAssumeKeys(request policy.Keys, in *AssumeRoleInput, tags []Tag, role *Role) *assumeKeys {
	k := &assumeKeys{request: request, in: in, tags: tags, role: role}
	for _, t := range tags {
		k.tagKeys = append(k.tagKeys, t.Key)
		if t.Transitive {
			k.transitive = append(k.transitive, t.Key)
		}
	}
	return k
}

// Lookup implements policy.Keys.
func (k *assumeKeys) Lookup(key string) policy.Values {
	switch key {
	case "sts:externalid":
		if k.in.ExternalID == nil {
			return policy.Absent("the request has no ExternalId")
		}
		return policy.One(*k.in.ExternalID)
	case "sts:rolesessionname":
		return policy.One(k.in.SessionName)
	case "sts:sourceidentity":
		return present(k.in.SourceIdentity, "the request has no SourceIdentity")
	case "aws:tagkeys":
		return list(k.tagKeys, "the request has no tags")
	case "sts:transitivetagkeys":
		return list(k.transitive, "the request has no transitive tags")
	}
	if name, ok := strings.CutPrefix(key, "aws:requesttag/"); ok {
		for _, t := range k.tags {
			if policy.SameTagKey(t.Key, name) {
				return policy.One(t.Value)
			}
		}
		return policy.Absent("the request has no such tag")
	}
	name, ok := strings.CutPrefix(key, "iam:resourcetag/")
	if !ok {
		name, ok = strings.CutPrefix(key, "aws:resourcetag/")
	}
	if ok {
		for _, t := range k.role.Tags {
			if policy.SameTagKey(t[0], name) {
				return policy.One(t[1])
			}
		}
		return policy.Absent("the role has no such tag")
	}
	return k.request.Lookup(key)
}

func list(ss []string, why string) policy.Values {
	if len(ss) == 0 {
		return policy.Absent(why)
	}
	return policy.Many(ss)
}
