package iam

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
)

// RoleGrants is what decisions need of a role. It is shared: nothing in it may be changed.
type RoleGrants struct {
	ID, Name, ARN      string
	MaxSessionDuration time.Duration
	Trust              *policy.Policy
	Identity           policy.Set
	Boundary           policy.Set
	HasBoundary        bool
	Tags               [][2]string // key and value
}

// KeyGrants is what decisions need of a long-term access key and its holder.
type KeyGrants struct {
	ID, Secret  string
	Active      bool
	Epoch       int64 // another one whenever Active changes
	Root        bool
	UserID      string // "" for the root
	UserName    string
	UserARN     string
	Identity    policy.Set
	Boundary    policy.Set
	HasBoundary bool
	Tags        [][2]string
}

type userGrants struct {
	id, arn     string
	identity    policy.Set
	boundary    policy.Set
	hasBoundary bool
	tags        [][2]string
}

type keyRecord struct {
	secret           string
	active           bool
	epoch            int64
	userID, userName string
}

// RoleGrants returns a role by name, out of memory once it is known.
func (s *Service) RoleGrants(ctx context.Context, name string) (RoleGrants, error) {
	r, err := s.roles.Get(ctx, name)
	if err != nil {
		return RoleGrants{}, err
	}
	return *r, nil
}

// RoleGrantsByID returns the role that has this unique id, whatever its name.
func (s *Service) RoleGrantsByID(ctx context.Context, id string) (RoleGrants, error) {
	name, err := s.roleNames.Get(ctx, id)
	if err != nil {
		return RoleGrants{}, err
	}
	r, err := s.roles.Get(ctx, name)
	if err != nil {
		return RoleGrants{}, err
	}
	if r.ID != id { // deleted, and another one created under the name
		s.roleNames.Drop(id)
		return RoleGrants{}, iot.Errorf(iot.KindNotFound, "role", "The role with id %s cannot be found.", id)
	}
	return *r, nil
}

// RoleARN returns the ARN by which a request about a role is authorised: that of
// the role, or with an error what it would be: KindNotFound or KindInvalid where
// there is none. After any other error nothing may be decided by it.
func (s *Service) RoleARN(ctx context.Context, name string) (string, error) {
	err := checkName(name, "roleName", maxRoleName)
	if err == nil {
		var r *RoleGrants
		if r, err = s.roles.Get(ctx, name); err == nil {
			return r.ARN, nil
		}
	}
	return s.arn("role/" + name), err
}

// UserARN is RoleARN for users.
func (s *Service) UserARN(ctx context.Context, name string) (string, error) {
	err := checkName(name, "userName", maxUserName)
	if err == nil {
		var u *userGrants
		if u, err = s.users.Get(ctx, name); err == nil {
			return u.arn, nil
		}
	}
	return s.arn("user/" + name), err
}

// HolderKeys returns what condition keys tell of a role or user: its tags and
// the ARN of its boundary.
func (s *Service) HolderKeys(ctx context.Context, h Holder) (tags [][2]string, boundary string, err error) {
	if err := h.check(); err != nil {
		return nil, "", err
	}
	var set policy.Set
	if h.Kind == UserHolder {
		u, err := s.users.Get(ctx, h.Name)
		if err != nil {
			return nil, "", err
		}
		tags, set = u.tags, u.boundary
	} else {
		r, err := s.roles.Get(ctx, h.Name)
		if err != nil {
			return nil, "", err
		}
		tags, set = r.Tags, r.Boundary
	}
	if len(set) > 0 {
		boundary = set[0].Name()
	}
	return tags, boundary, nil
}

// KeyGrants returns an access key with its holder, out of memory once it is known.
func (s *Service) KeyGrants(ctx context.Context, id string) (KeyGrants, error) {
	k, u, err := s.keyUser(ctx, id)
	if k != nil && (iot.IsKind(err, iot.KindNotFound) || err == nil && u.id != k.userID) {
		s.keys.Drop(id) // the user may have been renamed since the key was read
		k, u, err = s.keyUser(ctx, id)
	}
	switch {
	case err != nil:
		return KeyGrants{}, err
	case u.id != k.userID:
		return KeyGrants{}, iot.Errorf(iot.KindNotFound, "access-key", "The Access Key with id %s cannot be found.", id)
	}
	return KeyGrants{
		ID: id, Secret: k.secret, Active: k.active, Epoch: k.epoch, Root: k.userID == "",
		UserID: u.id, UserName: k.userName, UserARN: u.arn,
		Identity: u.identity, Boundary: u.boundary, HasBoundary: u.hasBoundary, Tags: u.tags,
	}, nil
}

// keyUser returns a key and its user, who for the account root is nobody but its ARN.
func (s *Service) keyUser(ctx context.Context, id string) (*keyRecord, *userGrants, error) {
	k, err := s.keys.Get(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	if k.userID == "" {
		return k, s.root, nil
	}
	u, err := s.users.Get(ctx, k.userName)
	return k, u, err
}

// managedPolicy is the default version of a managed policy.
type managedPolicy struct {
	*policy.Policy
	id string
}

// ManagedPolicy returns the compiled default version of a managed policy, and
// the policy's unique id.
func (s *Service) ManagedPolicy(ctx context.Context, arn string) (p *policy.Policy, id string, err error) {
	m, err := s.documents.Get(ctx, arn)
	return m.Policy, m.id, err
}

func (s *Service) loadDocument(ctx context.Context, arn string) (managedPolicy, error) {
	if b, ok := s.builtin[arn]; ok {
		return managedPolicy{b.compiled, b.ID}, nil
	}
	if !strings.HasPrefix(arn, s.arn("policy/")) {
		return managedPolicy{}, NotAttachable(arn)
	}
	v, err := s.store.Version(ctx, arn, 0)
	if err != nil {
		return managedPolicy{}, err
	}
	p, err := policy.Compile(policy.Identity, arn, []byte(v.Document))
	if err != nil {
		return managedPolicy{}, fmt.Errorf("compile stored policy %s version %d: %w", arn, v.Version, err)
	}
	return managedPolicy{p, v.PolicyID}, nil
}

func (s *Service) loadRoleName(ctx context.Context, id string) (string, error) {
	return s.store.RoleName(ctx, id)
}

func (s *Service) loadRole(ctx context.Context, name string) (*RoleGrants, error) {
	r, err := s.store.Role(ctx, name)
	if err != nil {
		return nil, err
	}
	trust, err := compileTrust(&r)
	if err != nil {
		return nil, fmt.Errorf("compile stored trust policy of %s: %w", name, err)
	}
	g := &RoleGrants{
		ID: r.ID, Name: r.Name, ARN: r.ARN,
		MaxSessionDuration: time.Duration(r.MaxSessionDuration) * time.Second,
		Trust:              trust,
		Tags:               pairs(r.Tags),
	}
	if g.Identity, err = s.policiesOf(ctx, Holder{RoleHolder, name}, r.ID); err != nil {
		return nil, err
	}
	g.Boundary, g.HasBoundary, err = s.boundaryOf(ctx, r.Boundary)
	return g, err
}

func (s *Service) loadUser(ctx context.Context, name string) (*userGrants, error) {
	u, err := s.store.User(ctx, name)
	if err != nil {
		return nil, err
	}
	g := &userGrants{id: u.ID, arn: u.ARN, tags: pairs(u.Tags)}
	if g.identity, err = s.policiesOf(ctx, Holder{UserHolder, name}, u.ID); err != nil {
		return nil, err
	}
	if g.identity, err = s.withGroups(ctx, name, g.identity); err != nil {
		return nil, err
	}
	g.boundary, g.hasBoundary, err = s.boundaryOf(ctx, u.Boundary)
	return g, err
}

// withGroups adds the policies of a user's groups. A group that goes while it
// is read fails the whole, and is not there the next time.
func (s *Service) withGroups(ctx context.Context, user string, set policy.Set) (policy.Set, error) {
	groups, err := s.store.GroupsOf(ctx, user)
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		more, err := s.policiesOf(ctx, Holder{GroupHolder, g.Name}, g.ID)
		if err != nil { // its kind would be taken for the user's
			return nil, fmt.Errorf("load policies of user %s: %s", user, err.Error())
		}
		set = append(set, more...)
	}
	return set, nil
}

func (s *Service) loadKey(ctx context.Context, id string) (*keyRecord, error) {
	k, err := s.store.Key(ctx, id)
	if err != nil {
		return nil, err
	}
	secret, err := s.sealer.Open(k.Sealed, []byte(k.ID))
	if err != nil { // Reseal may have sealed it anew since it was read, and the old key be gone
		if k, err = s.store.Key(ctx, id); err != nil {
			return nil, err
		}
		secret, err = s.sealer.Open(k.Sealed, []byte(k.ID))
	}
	if err != nil {
		return nil, fmt.Errorf("open the secret of access key %s: %w", id, err)
	}
	return &keyRecord{secret: string(secret), active: k.Active, epoch: k.Epoch, userID: k.UserID, userName: k.UserName}, nil
}

// policiesOf compiles what is embedded in and attached to the holder with this
// id. A policy that cannot be had fails the whole: what is missing might have
// been a Deny.
func (s *Service) policiesOf(ctx context.Context, h Holder, id string) (policy.Set, error) {
	held, err := s.store.Held(ctx, h)
	if err != nil {
		return nil, err
	}
	if held.ID != id {
		return nil, fmt.Errorf("load policies of %s %s: it was replaced meanwhile", h.Kind, h.Name)
	}
	set := make(policy.Set, 0, len(held.Inline)+len(held.Attached))
	for _, in := range held.Inline {
		p, err := policy.Compile(policy.Identity, inlineName(h, in.Name), []byte(in.Document))
		if err != nil {
			return nil, fmt.Errorf("compile stored %s: %w", inlineName(h, in.Name), err)
		}
		set = append(set, p)
	}
	for _, arn := range held.Attached {
		p, err := s.documents.Get(ctx, arn)
		if err != nil { // its kind would be taken for the holder's
			return nil, fmt.Errorf("load policy of %s %s: %s", h.Kind, h.Name, err.Error())
		}
		set = append(set, p.Policy)
	}
	return set, nil
}

func (s *Service) boundaryOf(ctx context.Context, arn string) (policy.Set, bool, error) {
	if arn == "" {
		return nil, false, nil
	}
	p, err := s.documents.Get(ctx, arn)
	if err != nil {
		return nil, true, fmt.Errorf("load boundary: %s", err.Error())
	}
	return policy.Set{p.Policy}, true, nil
}

func pairs(tags []Tag) [][2]string {
	if len(tags) == 0 {
		return nil
	}
	list := make([][2]string, len(tags))
	for i, t := range tags {
		list[i] = [2]string{t.Key, t.Value}
	}
	return list
}
