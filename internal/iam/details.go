package iam

import (
	"context"
	"slices"
	"strings"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// Details is a page of all that decides who may do what.
type Details struct {
	Users    []UserDetail
	Groups   []GroupDetail
	Roles    []RoleDetail
	Policies []PolicyDetail
}

// UserDetail is a user with all that it has.
type UserDetail struct {
	User
	Held
	Groups []string // names
}

// GroupDetail is a group with all that it has.
type GroupDetail struct {
	Group
	Held
}

// RoleDetail is a role with all that it has.
type RoleDetail struct {
	Role
	Held
	Profiles []InstanceProfile
}

// PolicyDetail is a managed policy with all its versions, the newest first.
type PolicyDetail struct {
	Policy
	Versions []PolicyVersion
}

// section is one kind of what Details lists, in the order of its keys.
type section struct {
	filter string
	list   func(ctx context.Context, after string, limit int) ([]entry, error)
}

// entry is one item of a section; add reads it into the page.
type entry struct {
	key string
	add func(ctx context.Context, d *Details) error
}

// Details pages users, groups, roles and policies, in that order. A filter of
// none means all kinds.
func (s *Service) Details(ctx context.Context, filter []string, o ListOptions) (*Details, string, error) {
	const scope = "details"
	p, err := page(scope, o)
	if err != nil {
		return nil, "", err
	}
	sections := []section{
		{"User", s.userEntries},
		{"Group", s.groupEntries},
		{"Role", s.roleEntries},
		{"LocalManagedPolicy", s.policyEntries},
		{"AWSManagedPolicy", s.builtinEntries},
	}
	for _, f := range filter {
		if !slices.ContainsFunc(sections, func(n section) bool { return n.filter == f }) {
			return nil, "", constraint(f, "filter", "satisfy enum value set: [User, Role, Group, LocalManagedPolicy, AWSManagedPolicy]")
		}
	}
	from, after, _ := strings.Cut(p.After, " ")
	d := &Details{}
	room := p.Limit - 1
	last := ""
	for _, n := range sections {
		if len(filter) > 0 && !slices.Contains(filter, n.filter) || from != "" && n.filter != from {
			continue
		}
		entries, err := n.list(ctx, after, room+1)
		if err != nil {
			return nil, "", err
		}
		from, after = "", ""
		for _, e := range entries {
			if room == 0 {
				return d, iot.PageToken("iam."+scope, last), nil
			}
			// What has gone since it was listed is left out.
			if err := e.add(ctx, d); err != nil && !iot.IsKind(err, iot.KindNotFound) {
				return nil, "", err
			}
			room, last = room-1, n.filter+" "+e.key
		}
	}
	return d, "", nil
}

func (s *Service) userEntries(ctx context.Context, after string, limit int) ([]entry, error) {
	list, err := s.store.Users(ctx, Page{After: after, Limit: limit})
	entries := make([]entry, len(list))
	for i, u := range list {
		entries[i] = entry{strings.ToLower(u.Name), func(ctx context.Context, d *Details) error {
			u, err := s.store.User(ctx, u.Name)
			if err != nil {
				return err
			}
			held, err := s.store.Held(ctx, Holder{UserHolder, u.Name})
			if err != nil {
				return err
			}
			groups, err := s.store.GroupsOf(ctx, u.Name)
			if err != nil {
				return err
			}
			one := UserDetail{User: u, Held: held}
			for _, g := range groups {
				one.Groups = append(one.Groups, g.Name)
			}
			d.Users = append(d.Users, one)
			return nil
		}}
	}
	return entries, err
}

func (s *Service) groupEntries(ctx context.Context, after string, limit int) ([]entry, error) {
	list, err := s.store.Groups(ctx, Page{After: after, Limit: limit})
	entries := make([]entry, len(list))
	for i, g := range list {
		entries[i] = entry{groupKey(g), func(ctx context.Context, d *Details) error {
			held, err := s.store.Held(ctx, Holder{GroupHolder, g.Name})
			if err == nil {
				d.Groups = append(d.Groups, GroupDetail{g, held})
			}
			return err
		}}
	}
	return entries, err
}

func (s *Service) roleEntries(ctx context.Context, after string, limit int) ([]entry, error) {
	list, err := s.store.Roles(ctx, Page{After: after, Limit: limit})
	entries := make([]entry, len(list))
	for i, r := range list {
		entries[i] = entry{strings.ToLower(r.Name), func(ctx context.Context, d *Details) error {
			r, err := s.Role(ctx, r.Name)
			if err != nil {
				return err
			}
			held, err := s.store.Held(ctx, Holder{RoleHolder, r.Name})
			if err != nil {
				return err
			}
			profiles, err := s.store.ProfilesOfRole(ctx, r.Name)
			if err == nil {
				d.Roles = append(d.Roles, RoleDetail{r, held, profiles})
			}
			return err
		}}
	}
	return entries, err
}

func (s *Service) policyEntries(ctx context.Context, after string, limit int) ([]entry, error) {
	list, err := s.store.Policies(ctx, Page{After: after, Limit: limit})
	entries := make([]entry, len(list))
	for i, p := range list {
		entries[i] = entry{p.ARN, func(ctx context.Context, d *Details) error {
			p, err := s.store.Policy(ctx, p.ARN)
			if err != nil {
				return err
			}
			versions, err := s.store.Versions(ctx, p.ARN)
			if err == nil {
				d.Policies = append(d.Policies, PolicyDetail{p, versions})
			}
			return err
		}}
	}
	return entries, err
}

func (s *Service) builtinEntries(_ context.Context, after string, limit int) ([]entry, error) {
	var entries []entry
	for _, b := range s.builtinAfter(after) {
		if len(entries) == limit {
			break
		}
		entries = append(entries, entry{b.ARN, func(ctx context.Context, d *Details) error {
			p, err := s.withUsage(ctx, b)
			if err == nil {
				d.Policies = append(d.Policies, PolicyDetail{p, []PolicyVersion{b.version()}})
			}
			return err
		}})
	}
	return entries, nil
}
