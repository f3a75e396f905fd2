package registry

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// ThingGroup is a static group of things. Things in it, and in the groups below
// it, inherit the policies attached to it.
type ThingGroup struct {
	Name        iot.ThingGroupName
	ID          string // a UUID; a group of the same name made later has another
	Parent      iot.ThingGroupName
	Above       []GroupRef // from the root to the parent
	Description string
	Attributes  map[string]string
	Version     int64
	CreatedAt   time.Time
}

// GroupRef names a group and which one of that name it is.
type GroupRef struct {
	Name iot.ThingGroupName
	ID   string
}

// NewThingGroup is what CreateThingGroup is asked for.
type NewThingGroup struct {
	Name        string
	Parent      string
	Description string
	Attributes  map[string]string
	Tags        []Tag
}

// ThingGroupUpdate is what UpdateThingGroup is asked for.
type ThingGroupUpdate struct {
	Description     *string           // nil leaves it
	Attributes      *AttributePayload // nil leaves them
	ExpectedVersion *int64
}

// GroupFilter selects groups.
type GroupFilter struct {
	Parent    iot.ThingGroupName // "" for every hierarchy
	Prefix    string             // how the name begins
	Recursive bool               // groups below the children of Parent too
}

// MembershipChange is what ChangeMembership changed.
type MembershipChange struct {
	ThingID        string
	Added, Removed []GroupRef
}

// The quotas of https://docs.aws.amazon.com/general/latest/gr/iot-core.html.
const (
	maxGroupDepth       = 7
	maxGroupsOfThing    = 10
	maxGroupAttributes  = 50
	maxPoliciesPerGroup = 2
)

// ThingGroupARN returns the ARN of a thing group.
func (r *Registry) ThingGroupARN(name iot.ThingGroupName) iot.ARN {
	return iot.NewARN("iot", r.region, r.account, "thinggroup/"+string(name))
}

// CreateThingGroup makes a group. One of that name with the same settings is returned as it is.
func (r *Registry) CreateThingGroup(ctx context.Context, n NewThingGroup) (*ThingGroup, error) {
	if err := checkGroupName("thingGroupName", n.Name); err != nil {
		return nil, err
	}
	if n.Parent != "" {
		if err := checkGroupName("parentGroupName", n.Parent); err != nil {
			return nil, err
		}
	}
	if err := checkDescription("thing-group", n.Description); err != nil {
		return nil, err
	}
	if err := CheckTags(n.Tags); err != nil {
		return nil, err
	}
	attributes := map[string]string{}
	mergeAttributes(attributes, n.Attributes)
	if err := checkGroupAttributes(n.Attributes, attributes); err != nil {
		return nil, err
	}
	id, err := iot.NewUUID(r.rand)
	if err != nil {
		return nil, err
	}
	g := &ThingGroup{
		Name: iot.ThingGroupName(n.Name), ID: id, Parent: iot.ThingGroupName(n.Parent), Description: n.Description,
		Attributes: attributes, Version: 1, CreatedAt: r.clock(),
	}
	kept, err := r.groups.CreateThingGroup(ctx, g, n.Tags, maxGroupDepth)
	if err != nil {
		return nil, err
	}
	if kept.ID != id && (kept.Parent != g.Parent || kept.Description != g.Description || !maps.Equal(kept.Attributes, attributes)) {
		e := iot.Errorf(iot.KindExists, "thing-group", "Thing group %s already exists in account %s with different properties", n.Name, r.account)
		e.ID, e.ARN = kept.ID, string(r.ThingGroupARN(kept.Name))
		return nil, e
	}
	if kept.ID == id {
		r.emitThingGroup(ctx, "created", kept)
	}
	return kept, nil
}

// UpdateThingGroup changes a group and returns its new version.
func (r *Registry) UpdateThingGroup(ctx context.Context, name string, u ThingGroupUpdate) (int64, error) {
	if err := checkGroupName("thingGroupName", name); err != nil {
		return 0, err
	}
	if u.Description != nil {
		if err := checkDescription("thing-group", *u.Description); err != nil {
			return 0, err
		}
	}
	var after *ThingGroup
	err := r.groups.ChangeThingGroup(ctx, iot.ThingGroupName(name), func(g *ThingGroup) error {
		if err := checkGroupVersion(g, u.ExpectedVersion); err != nil {
			return err
		}
		if u.Description != nil {
			g.Description = *u.Description
		}
		if p := u.Attributes; p != nil {
			if !p.Merge {
				g.Attributes = map[string]string{}
			}
			mergeAttributes(g.Attributes, p.Attributes)
			if err := checkGroupAttributes(p.Attributes, g.Attributes); err != nil {
				return err
			}
		}
		g.Version++
		after = g
		return nil
	})
	if err != nil {
		return 0, err
	}
	r.emitThingGroup(ctx, "updated", after)
	return after.Version, nil
}

// DeleteThingGroup deletes a group that has no groups below it; its things are
// no longer in it. That it does not exist is no error.
func (r *Registry) DeleteThingGroup(ctx context.Context, name string, expectedVersion *int64) error {
	if err := checkGroupName("thingGroupName", name); err != nil {
		return err
	}
	var gone *ThingGroup
	err := r.groups.DeleteThingGroup(ctx, iot.ThingGroupName(name), r.ThingGroupARN(iot.ThingGroupName(name)), func(g *ThingGroup) error {
		gone = g
		return checkGroupVersion(g, expectedVersion)
	})
	if iot.IsKind(err, iot.KindNotFound) {
		return nil
	}
	if err == nil {
		r.emitThingGroup(ctx, "deleted", gone)
	}
	return err
}

// ThingGroup describes a group.
func (r *Registry) ThingGroup(ctx context.Context, name string) (*ThingGroup, error) {
	if err := checkGroupName("thingGroupName", name); err != nil {
		return nil, err
	}
	return r.groups.ThingGroup(ctx, iot.ThingGroupName(name))
}

// ThingGroups lists groups by name, and the token of the next page.
func (r *Registry) ThingGroups(ctx context.Context, f GroupFilter, p Page) ([]iot.ThingGroupName, string, error) {
	for what, name := range map[string]string{"parentGroup": string(f.Parent), "namePrefixFilter": f.Prefix} {
		if name != "" {
			if err := checkGroupName(what, name); err != nil {
				return nil, "", err
			}
		}
	}
	scope := "thing-groups\x00" + string(f.Parent) + "\x00" + f.Prefix
	if f.Recursive {
		scope += "\x00recursive"
	}
	return listPage(scope, p, func(after string, limit int) ([]iot.ThingGroupName, error) {
		return r.groups.ThingGroups(ctx, f, iot.ThingGroupName(after), limit)
	}, func(n iot.ThingGroupName) string { return string(n) })
}

// ChangeMembership adds a thing to groups and removes it from others, all or nothing.
func (r *Registry) ChangeMembership(ctx context.Context, thing string, add, remove []string) error {
	if err := checkThingName(thing); err != nil {
		return err
	}
	names := func(in []string) ([]iot.ThingGroupName, error) {
		out := make([]iot.ThingGroupName, len(in))
		for i, n := range in {
			if err := checkGroupName("thingGroupName", n); err != nil {
				return nil, err
			}
			out[i] = iot.ThingGroupName(n)
		}
		slices.Sort(out)
		return slices.Compact(out), nil
	}
	to, err := names(add)
	if err != nil {
		return err
	}
	from, err := names(remove)
	if err != nil {
		return err
	}
	for _, n := range to {
		if slices.Contains(from, n) {
			return iot.Errorf(iot.KindInvalid, "thing-group", "Thing group %s is both to be added and to be removed", n)
		}
	}
	c, err := r.groups.ChangeMembership(ctx, iot.ThingName(thing), to, from, maxGroupsOfThing, r.clock())
	if err != nil {
		return err
	}
	r.emitMembership(ctx, thing, &c)
	return nil
}

// GroupsOfThing lists the groups that a thing itself is in, by name, and the token of the next page.
func (r *Registry) GroupsOfThing(ctx context.Context, thing string, p Page) ([]iot.ThingGroupName, string, error) {
	if err := checkThingName(thing); err != nil {
		return nil, "", err
	}
	return listPage("groups-of-thing\x00"+thing, p, func(after string, limit int) ([]iot.ThingGroupName, error) {
		return r.groups.GroupsOfThing(ctx, iot.ThingName(thing), iot.ThingGroupName(after), limit)
	}, func(n iot.ThingGroupName) string { return string(n) })
}

// ThingsInGroup lists the things of a group, and with recursive of all groups
// below it, by name, and the token of the next page.
func (r *Registry) ThingsInGroup(ctx context.Context, group string, recursive bool, p Page) ([]iot.ThingName, string, error) {
	if err := checkGroupName("thingGroupName", group); err != nil {
		return nil, "", err
	}
	scope := "things-in-group\x00" + group
	if recursive {
		scope += "\x00recursive"
	}
	return listPage(scope, p, func(after string, limit int) ([]iot.ThingName, error) {
		return r.groups.ThingsInGroup(ctx, iot.ThingGroupName(group), recursive, iot.ThingName(after), limit)
	}, func(n iot.ThingName) string { return string(n) })
}

// GroupOf returns the name of the group that is given by name, by ARN, or by both alike.
func (r *Registry) GroupOf(name, arn string) (string, error) {
	return nameOf("thing-group", name, arn, string(r.ThingGroupARN("")))
}

// ThingOf returns the name of the thing that is given by name, by ARN, or by both alike.
func (r *Registry) ThingOf(name, arn string) (string, error) {
	return nameOf("thing", name, arn, string(r.ThingARN("")))
}

func nameOf(resource, name, arn, prefix string) (string, error) {
	if arn == "" {
		if name == "" {
			return "", iot.Errorf(iot.KindInvalid, resource, "Either the name or the ARN of the %s must be given", strings.ReplaceAll(resource, "-", " "))
		}
		return name, nil
	}
	n, ok := strings.CutPrefix(arn, prefix)
	if !ok || name != "" && name != n {
		return "", iot.Errorf(iot.KindInvalid, resource, "Invalid ARN: %.256s", arn)
	}
	return n, nil
}

func checkGroupName(field, name string) error {
	if !iot.ValidThingName(name) {
		return iot.Errorf(iot.KindInvalid, "thing-group", "1 validation error detected: Value at '%s' failed to satisfy constraint: "+
			"Member must satisfy regular expression pattern: [a-zA-Z0-9:_-]+, with a length of 1 to 128", field)
	}
	return nil
}

func checkGroupVersion(g *ThingGroup, expected *int64) error {
	if expected != nil && *expected != g.Version {
		return iot.Errorf(iot.KindVersionConflict, "thing-group", "The version for thing group %s does not match the expected version.", g.Name)
	}
	return nil
}

func checkGroupAttributes(given, result map[string]string) error {
	if err := checkAttributeText(given); err != nil {
		return err
	}
	if len(result) > maxGroupAttributes {
		return iot.Errorf(iot.KindInvalid, "thing-group", "A thing group cannot have more than %d attributes", maxGroupAttributes)
	}
	return nil
}
