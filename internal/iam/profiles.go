package iam

import (
	"context"
	"strings"
	"time"
)

const maxProfileName = 128

// InstanceProfile is a name that machines know a role by.
type InstanceProfile struct {
	ID, Name, Path string
	ARN            string
	RoleName       string // "" for none
	CreatedAt      time.Time
	Tags           []Tag
}

// ProfileStore keeps instance profiles.
type ProfileStore interface {
	InsertProfile(ctx context.Context, p InstanceProfile) error
	Profile(ctx context.Context, name string) (InstanceProfile, error)
	Profiles(ctx context.Context, p Page) ([]InstanceProfile, error)
	// DeleteProfile refuses one that has a role.
	DeleteProfile(ctx context.Context, name string) error
	// AddProfileRole refuses a second role.
	AddProfileRole(ctx context.Context, profile, role string) error
	RemoveProfileRole(ctx context.Context, profile, role string) error
	// ProfilesOfRole lists the profiles of a role by name.
	ProfilesOfRole(ctx context.Context, role string) ([]InstanceProfile, error)
}

// CreateInstanceProfile creates an instance profile.
func (s *Service) CreateInstanceProfile(ctx context.Context, name, path string, tags []Tag) (InstanceProfile, error) {
	if err := checkName(name, "instanceProfileName", maxProfileName); err != nil {
		return InstanceProfile{}, err
	}
	if path == "" {
		path = "/"
	}
	if err := checkPath(path); err != nil {
		return InstanceProfile{}, err
	}
	if err := checkTags(tags); err != nil {
		return InstanceProfile{}, err
	}
	id, err := newID(s.random, profilePrefix, 17)
	if err != nil {
		return InstanceProfile{}, err
	}
	p := InstanceProfile{ID: id, Name: name, Path: path, ARN: s.arn("instance-profile" + path + name), CreatedAt: s.stamp(), Tags: tags}
	return p, s.store.InsertProfile(ctx, p)
}

// InstanceProfile returns an instance profile by name.
func (s *Service) InstanceProfile(ctx context.Context, name string) (InstanceProfile, error) {
	if err := checkName(name, "instanceProfileName", maxProfileName); err != nil {
		return InstanceProfile{}, err
	}
	return s.store.Profile(ctx, name)
}

// ProfileARN is RoleARN for instance profiles.
func (s *Service) ProfileARN(ctx context.Context, name string) (string, error) {
	p, err := s.InstanceProfile(ctx, name)
	if err != nil {
		return s.arn("instance-profile/" + name), err
	}
	return p.ARN, nil
}

// InstanceProfiles lists instance profiles by name.
func (s *Service) InstanceProfiles(ctx context.Context, o ListOptions) ([]InstanceProfile, string, error) {
	p, err := page("profiles", o)
	if err != nil {
		return nil, "", err
	}
	list, err := s.store.Profiles(ctx, p)
	if err != nil {
		return nil, "", err
	}
	list, marker := cut("profiles", p, list, profileKey)
	return list, marker, nil
}

func profileKey(p InstanceProfile) string { return strings.ToLower(p.Name) }

// DeleteInstanceProfile deletes an instance profile that has no role any more.
func (s *Service) DeleteInstanceProfile(ctx context.Context, name string) error {
	if err := checkName(name, "instanceProfileName", maxProfileName); err != nil {
		return err
	}
	return s.store.DeleteProfile(ctx, name)
}

// AddRoleToInstanceProfile gives an instance profile its one role.
func (s *Service) AddRoleToInstanceProfile(ctx context.Context, profile, role string) error {
	if err := checkProfileRole(profile, role); err != nil {
		return err
	}
	return s.store.AddProfileRole(ctx, profile, role)
}

// RemoveRoleFromInstanceProfile takes its role from an instance profile.
func (s *Service) RemoveRoleFromInstanceProfile(ctx context.Context, profile, role string) error {
	if err := checkProfileRole(profile, role); err != nil {
		return err
	}
	return s.store.RemoveProfileRole(ctx, profile, role)
}

func checkProfileRole(profile, role string) error {
	if err := checkName(profile, "instanceProfileName", maxProfileName); err != nil {
		return err
	}
	return checkName(role, "roleName", maxRoleName)
}

// ProfilesOfRole lists the instance profiles of a role by name.
func (s *Service) ProfilesOfRole(ctx context.Context, role string, o ListOptions) ([]InstanceProfile, string, error) {
	if err := checkName(role, "roleName", maxRoleName); err != nil {
		return nil, "", err
	}
	p, err := page("profiles-of", o)
	if err != nil {
		return nil, "", err
	}
	list, err := s.store.ProfilesOfRole(ctx, role)
	if err != nil {
		return nil, "", err
	}
	list, marker := slice("profiles-of", p, list, profileKey)
	return list, marker, nil
}
