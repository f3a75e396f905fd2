package iam

import (
	"context"
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

const (
	maxGroupName     = 128
	maxGroupsOfUser  = 10
	maxInlineOfGroup = 5120
)

// Group is a group of users. Its policies are those of its members too.
type Group struct {
	ID, Name, Path string
	ARN            string
	CreatedAt      time.Time
}

// NameChange is what UpdateUser and UpdateGroup set: all of it.
type NameChange struct{ Name, Path, ARN string }

// GroupStore keeps groups and who is in them.
type GroupStore interface {
	InsertGroup(ctx context.Context, g Group) error
	Group(ctx context.Context, name string) (Group, error)
	Groups(ctx context.Context, p Page) ([]Group, error)
	UpdateGroup(ctx context.Context, name string, c NameChange) error
	// DeleteGroup refuses a group that still has policies or members.
	DeleteGroup(ctx context.Context, name string) error
	// AddMember is idempotent. It refuses more than limit groups of one user.
	AddMember(ctx context.Context, group, user string, at time.Time, limit int) error
	// RemoveMember is idempotent.
	RemoveMember(ctx context.Context, group, user string) error
	// Members lists users by name.
	Members(ctx context.Context, group string, p Page) ([]User, error)
	// GroupsOf lists the groups of a user by name.
	GroupsOf(ctx context.Context, user string) ([]Group, error)
}

// CreateGroup creates a group.
func (s *Service) CreateGroup(ctx context.Context, name, path string) (Group, error) {
	if err := checkName(name, "groupName", maxGroupName); err != nil {
		return Group{}, err
	}
	if path == "" {
		path = "/"
	}
	if err := checkPath(path); err != nil {
		return Group{}, err
	}
	id, err := newID(s.random, groupPrefix, 17)
	if err != nil {
		return Group{}, err
	}
	g := Group{ID: id, Name: name, Path: path, ARN: s.arn("group" + path + name), CreatedAt: s.stamp()}
	return g, s.store.InsertGroup(ctx, g)
}

// Group returns a group by name.
func (s *Service) Group(ctx context.Context, name string) (Group, error) {
	if err := checkName(name, "groupName", maxGroupName); err != nil {
		return Group{}, err
	}
	return s.store.Group(ctx, name)
}

// GroupARN is RoleARN for groups.
func (s *Service) GroupARN(ctx context.Context, name string) (string, error) {
	g, err := s.Group(ctx, name)
	if err != nil {
		return s.arn("group/" + name), err
	}
	return g.ARN, nil
}

// Groups lists groups by name.
func (s *Service) Groups(ctx context.Context, o ListOptions) ([]Group, string, error) {
	p, err := page("groups", o)
	if err != nil {
		return nil, "", err
	}
	list, err := s.store.Groups(ctx, p)
	if err != nil {
		return nil, "", err
	}
	list, marker := cut("groups", p, list, groupKey)
	return list, marker, nil
}

func groupKey(g Group) string { return strings.ToLower(g.Name) }

// UpdateGroup renames or moves a group; nil leaves a field alone.
func (s *Service) UpdateGroup(ctx context.Context, name string, newName, newPath *string) error {
	g, err := s.Group(ctx, name)
	if err != nil {
		return err
	}
	c := NameChange{Name: g.Name, Path: g.Path}
	if err := c.set(newName, newPath, "newGroupName", maxGroupName); err != nil {
		return err
	}
	c.ARN = s.arn("group" + c.Path + c.Name)
	return s.store.UpdateGroup(ctx, name, c)
}

func (c *NameChange) set(name, path *string, member string, limit int) error {
	if name != nil {
		if err := checkName(*name, member, limit); err != nil {
			return err
		}
		c.Name = *name
	}
	if path != nil {
		if err := checkPath(*path); err != nil {
			return err
		}
		c.Path = *path
	}
	return nil
}

// UpdateUser renames or moves a user; nil leaves a field alone. The user keeps
// its id, its keys and what trusts it.
func (s *Service) UpdateUser(ctx context.Context, name string, newName, newPath *string) error {
	u, err := s.User(ctx, name)
	if err != nil {
		return err
	}
	c := NameChange{Name: u.Name, Path: u.Path}
	if err := c.set(newName, newPath, "newUserName", maxUserName); err != nil {
		return err
	}
	c.ARN = s.arn("user" + c.Path + c.Name)
	return s.store.UpdateUser(ctx, name, c)
}

// DeleteGroup deletes a group that has neither policies nor members any more.
func (s *Service) DeleteGroup(ctx context.Context, name string) error {
	if err := checkName(name, "groupName", maxGroupName); err != nil {
		return err
	}
	return s.store.DeleteGroup(ctx, name)
}

// AddUserToGroup gives a user the policies of a group; doing it again does nothing.
func (s *Service) AddUserToGroup(ctx context.Context, group, user string) error {
	if err := checkMember(group, user); err != nil {
		return err
	}
	return s.store.AddMember(ctx, group, user, s.stamp(), maxGroupsOfUser)
}

// RemoveUserFromGroup is the opposite of AddUserToGroup.
func (s *Service) RemoveUserFromGroup(ctx context.Context, group, user string) error {
	if err := checkMember(group, user); err != nil {
		return err
	}
	return s.store.RemoveMember(ctx, group, user)
}

func checkMember(group, user string) error {
	if err := checkName(group, "groupName", maxGroupName); err != nil {
		return err
	}
	return checkName(user, "userName", maxUserName)
}

// Members lists the users in a group by name.
func (s *Service) Members(ctx context.Context, group string, o ListOptions) ([]User, string, error) {
	if err := checkName(group, "groupName", maxGroupName); err != nil {
		return nil, "", err
	}
	p, err := page("members", o)
	if err != nil {
		return nil, "", err
	}
	list, err := s.store.Members(ctx, group, p)
	if err != nil {
		return nil, "", err
	}
	list, marker := cut("members", p, list, func(u User) string { return strings.ToLower(u.Name) })
	return list, marker, nil
}

// GroupsOf lists the groups of a user by name.
func (s *Service) GroupsOf(ctx context.Context, user string, o ListOptions) ([]Group, string, error) {
	if err := checkName(user, "userName", maxUserName); err != nil {
		return nil, "", err
	}
	p, err := page("groups-of", o)
	if err != nil {
		return nil, "", err
	}
	list, err := s.store.GroupsOf(ctx, user)
	if err != nil {
		return nil, "", err
	}
	list, marker := slice("groups-of", p, list, groupKey)
	return list, marker, nil
}

// NoSuchGroup is the error for a group that does not exist.
func NoSuchGroup(name string) *iot.Error {
	return iot.Errorf(iot.KindNotFound, "group", "The group with name %s cannot be found.", name)
}
