package sqlstore

import (
	"context"
	"slices"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/registry"
)

var _ registry.GroupStore = (*RegistryStore)(nil)

// CreateThingGroup keeps g unless there is a group of that name, and returns the one that is kept.
func (s *RegistryStore) CreateThingGroup(ctx context.Context, g *registry.ThingGroup, tags []registry.Tag, depth int) (*registry.ThingGroup, error) {
	var kept *registry.ThingGroup
	err := s.db.write(ctx, func(x *tx) error {
		n, err := affected(x.exec(`INSERT INTO thing_groups (name, id, parent, description, version, created_ms)
			VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING`,
			string(g.Name), g.ID, string(g.Parent), g.Description, g.Version, g.CreatedAt.UnixMilli()))
		if err != nil {
			return err
		}
		if n == 0 {
			kept, err = thingGroup(x, g.Name)
			return err
		}
		if err := insertAncestors(x, g, depth); err != nil {
			return err
		}
		if err := insertGroupAttributes(x, g); err != nil {
			return err
		}
		if err := insertTags(x, "thinggroup/"+string(g.Name), tags); err != nil {
			return err
		}
		kept, err = thingGroup(x, g.Name)
		return err
	})
	return kept, err
}

// insertAncestors puts a group that has just been made into its hierarchy.
func insertAncestors(x *tx, g *registry.ThingGroup, depth int) error {
	if _, err := x.exec("INSERT INTO thing_group_ancestors (group_name, ancestor, distance) VALUES (?, ?, 0)", string(g.Name), string(g.Name)); err != nil {
		return err
	}
	if g.Parent == "" {
		return nil
	}
	if g.Parent == g.Name { // it is there by now
		return noThingGroup(g.Parent)
	}
	n, err := affected(x.exec(`INSERT INTO thing_group_ancestors (group_name, ancestor, distance)
		SELECT ?, ancestor, distance + 1 FROM thing_group_ancestors WHERE group_name = ?`, string(g.Name), string(g.Parent)))
	if err != nil {
		return err
	}
	if n == 0 {
		return noThingGroup(g.Parent)
	}
	if int(n)+1 > depth {
		return iot.Errorf(iot.KindInvalid, "thing-group", "A hierarchy of thing groups can be at most %d groups deep", depth)
	}
	return nil
}

// ChangeThingGroup has change alter the group, and keeps what it left.
func (s *RegistryStore) ChangeThingGroup(ctx context.Context, name iot.ThingGroupName, change func(g *registry.ThingGroup) error) error {
	return s.db.write(ctx, func(x *tx) error {
		g, err := thingGroup(x, name)
		if err != nil {
			return err
		}
		if err := change(g); err != nil {
			return err
		}
		if _, err := x.exec("UPDATE thing_groups SET description = ?, version = ? WHERE name = ?", g.Description, g.Version, string(name)); err != nil {
			return err
		}
		if _, err := x.exec("DELETE FROM thing_group_attributes WHERE group_name = ?", string(name)); err != nil {
			return err
		}
		return insertGroupAttributes(x, g)
	})
}

// maxToldApart bounds how many changes a deletion announces one by one.
const maxToldApart = 1000

// DeleteThingGroup deletes a group that has none below it.
func (s *RegistryStore) DeleteThingGroup(ctx context.Context, name iot.ThingGroupName, arn iot.ARN, check func(g *registry.ThingGroup) error) error {
	return s.db.write(ctx, func(x *tx) error {
		g, err := thingGroup(x, name)
		if err != nil {
			return err
		}
		if err := check(g); err != nil {
			return err
		}
		var children int
		if err := x.queryRow("SELECT count(*) FROM thing_groups WHERE parent = ?", string(name)).Scan(&children); err != nil {
			return err
		}
		if children > 0 {
			return iot.Errorf(iot.KindInvalid, "thing-group", "Cannot delete thing group %s: there are thing groups below it", name)
		}
		if _, err := x.exec("DELETE FROM iot_policy_targets WHERE target = ?", string(arn)); err != nil {
			return err
		}
		members, err := collect(x, scanName[string], "SELECT thing_name FROM thing_group_members WHERE group_name = ? LIMIT ?", string(name), maxToldApart+1)
		if err != nil {
			return err
		}
		if len(members) > maxToldApart {
			members = nil
			x.changed(iot.ChangeAll, "")
		}
		for _, m := range members {
			x.changed(iot.ChangeThing, m)
		}
		if _, err := x.exec("DELETE FROM thing_groups WHERE name = ?", string(name)); err != nil {
			return err
		}
		x.changed(iot.ChangeThingGroup, string(name))
		return deleteTags(x, "thinggroup/"+string(name))
	})
}

// ThingGroup returns a group.
func (s *RegistryStore) ThingGroup(ctx context.Context, name iot.ThingGroupName) (*registry.ThingGroup, error) {
	var g *registry.ThingGroup
	err := s.db.read(ctx, func(q querier) (err error) {
		g, err = thingGroup(q, name)
		return err
	})
	return g, err
}

// ThingGroups lists by name.
func (s *RegistryStore) ThingGroups(ctx context.Context, f registry.GroupFilter, after iot.ThingGroupName, limit int) ([]iot.ThingGroupName, error) {
	query, args := "SELECT name FROM thing_groups WHERE name > ? AND name >= ? AND name < ?", []any{string(after), f.Prefix, afterPrefix(f.Prefix)}
	switch {
	case f.Parent != "" && f.Recursive:
		query += " AND name IN (SELECT a.group_name FROM thing_group_ancestors a WHERE a.ancestor = ? AND a.distance > 0)"
		args = append(args, string(f.Parent))
	case f.Parent != "" || !f.Recursive:
		query += " AND parent = ?"
		args = append(args, string(f.Parent))
	}
	var list []iot.ThingGroupName
	err := s.db.read(ctx, func(q querier) error {
		if f.Parent != "" {
			if err := groupMustExist(q, f.Parent); err != nil {
				return err
			}
		}
		var err error
		list, err = collect(q, scanName[iot.ThingGroupName], query+" ORDER BY name LIMIT ?", append(args, limit)...)
		return err
	})
	return list, err
}

// ChangeMembership adds a thing to groups and removes it from others, all or nothing.
func (s *RegistryStore) ChangeMembership(ctx context.Context, name iot.ThingName, add, remove []iot.ThingGroupName, limit int, at time.Time) (registry.MembershipChange, error) {
	var c registry.MembershipChange
	err := s.db.write(ctx, func(x *tx) error {
		c = registry.MembershipChange{}
		t, err := thing(x, name)
		if err != nil {
			return err
		}
		c.ThingID = t.ID
		for _, g := range remove { // first: a thing may move within a hierarchy
			ref, err := groupRef(x, g)
			if err != nil {
				return err
			}
			n, err := affected(x.exec("DELETE FROM thing_group_members WHERE thing_name = ? AND group_name = ?", string(name), string(g)))
			if err != nil {
				return err
			}
			if n > 0 {
				c.Removed = append(c.Removed, ref)
			}
		}
		for _, g := range add {
			added, ref, err := addMember(x, name, g, at)
			if err != nil {
				return err
			}
			if added {
				c.Added = append(c.Added, ref)
			}
		}
		var n int
		if err := x.queryRow("SELECT count(*) FROM thing_group_members WHERE thing_name = ?", string(name)).Scan(&n); err != nil {
			return err
		}
		if n > limit && len(c.Added) > 0 {
			return iot.Errorf(iot.KindInvalid, "thing-group", "A thing can be in at most %d thing groups", limit)
		}
		if len(c.Added)+len(c.Removed) > 0 {
			x.changed(iot.ChangeThing, string(name))
		}
		return nil
	})
	return c, err
}

func addMember(x *tx, name iot.ThingName, g iot.ThingGroupName, at time.Time) (added bool, ref registry.GroupRef, err error) {
	if ref, err = groupRef(x, g); err != nil {
		return false, ref, err
	}
	var root string
	if err := x.queryRow("SELECT ancestor FROM thing_group_ancestors WHERE group_name = ? ORDER BY distance DESC LIMIT 1", string(g)).Scan(&root); err != nil {
		return false, ref, err
	}
	n, err := affected(x.exec(`INSERT INTO thing_group_members (thing_name, root, group_name, added_ms) VALUES (?, ?, ?, ?)
		ON CONFLICT (thing_name, root) DO NOTHING`, string(name), root, string(g), at.UnixMilli()))
	if err != nil || n > 0 {
		return n > 0, ref, err
	}
	var in string
	if err := x.queryRow("SELECT group_name FROM thing_group_members WHERE thing_name = ? AND root = ?", string(name), root).Scan(&in); err != nil {
		return false, ref, err
	}
	if in != string(g) {
		return false, ref, iot.Errorf(iot.KindInvalid, "thing-group", "Cannot add thing %s to thing group %s: it is in thing group %s of the same hierarchy", name, g, in)
	}
	return false, ref, nil
}

// GroupsOfThing lists the groups that a thing itself is in.
func (s *RegistryStore) GroupsOfThing(ctx context.Context, name iot.ThingName, after iot.ThingGroupName, limit int) ([]iot.ThingGroupName, error) {
	var list []iot.ThingGroupName
	err := s.db.read(ctx, func(q querier) error {
		err := mustExist(q, noThing(name), "SELECT count(*) FROM things WHERE name = ?", string(name))
		if err != nil {
			return err
		}
		list, err = groupsOfThing(q, name, after, limit)
		return err
	})
	return list, err
}

func groupsOfThing(q querier, name iot.ThingName, after iot.ThingGroupName, limit int) ([]iot.ThingGroupName, error) {
	return collect(q, scanName[iot.ThingGroupName], `SELECT group_name FROM thing_group_members
		WHERE thing_name = ? AND group_name > ? ORDER BY group_name LIMIT ?`, string(name), string(after), limit)
}

// ThingsInGroup lists the things of a group, and with recursive of all groups below it.
func (s *RegistryStore) ThingsInGroup(ctx context.Context, group iot.ThingGroupName, recursive bool, after iot.ThingName, limit int) ([]iot.ThingName, error) {
	var list []iot.ThingName
	err := s.db.read(ctx, func(q querier) error {
		if err := groupMustExist(q, group); err != nil {
			return err
		}
		groups := []iot.ThingGroupName{group}
		if recursive {
			var err error
			groups, err = collect(q, scanName[iot.ThingGroupName], "SELECT group_name FROM thing_group_ancestors WHERE ancestor = ?", string(group))
			if err != nil {
				return err
			}
		}
		// A page of each, out of the index: a thing is in one group of the hierarchy.
		for _, g := range groups {
			part, err := collect(q, scanName[iot.ThingName], `SELECT thing_name FROM thing_group_members
				WHERE group_name = ? AND thing_name > ? ORDER BY thing_name LIMIT ?`, string(g), string(after), limit)
			if err != nil {
				return err
			}
			list = append(list, part...)
			slices.Sort(list)
			list = list[:min(len(list), limit)]
		}
		return nil
	})
	return list, err
}

func thingGroup(q querier, name iot.ThingGroupName) (*registry.ThingGroup, error) {
	g := &registry.ThingGroup{Name: name, Attributes: map[string]string{}}
	var created int64
	err := q.queryRow("SELECT id, parent, description, version, created_ms FROM thing_groups WHERE name = ?", string(name)).
		Scan(&g.ID, &g.Parent, &g.Description, &g.Version, &created)
	if noRows(err) {
		return nil, noThingGroup(name)
	}
	if err != nil {
		return nil, err
	}
	g.CreatedAt = unixMilli(created)
	if g.Above, err = collect(q, func(scan func(...any) error) (registry.GroupRef, error) {
		var r registry.GroupRef
		err := scan(&r.Name, &r.ID)
		return r, err
	}, `SELECT g.name, g.id FROM thing_group_ancestors a JOIN thing_groups g ON g.name = a.ancestor
		WHERE a.group_name = ? AND a.distance > 0 ORDER BY a.distance DESC`, string(name)); err != nil {
		return nil, err
	}
	_, err = collect(q, func(scan func(...any) error) (struct{}, error) {
		var name, value string
		err := scan(&name, &value)
		g.Attributes[name] = value
		return struct{}{}, err
	}, "SELECT name, value FROM thing_group_attributes WHERE group_name = ?", string(name))
	return g, err
}

func groupRef(q querier, name iot.ThingGroupName) (registry.GroupRef, error) {
	r := registry.GroupRef{Name: name}
	err := q.queryRow("SELECT id FROM thing_groups WHERE name = ?", string(name)).Scan(&r.ID)
	if noRows(err) {
		return r, noThingGroup(name)
	}
	return r, err
}

func insertGroupAttributes(x *tx, g *registry.ThingGroup) error {
	for name, value := range g.Attributes {
		if _, err := x.exec("INSERT INTO thing_group_attributes (group_name, name, value) VALUES (?, ?, ?)", string(g.Name), name, value); err != nil {
			return err
		}
	}
	return nil
}

func noThingGroup(name iot.ThingGroupName) error {
	return iot.Errorf(iot.KindNotFound, "thing-group", "Thing group %s cannot be found.", name)
}

func groupMustExist(q querier, name iot.ThingGroupName) error {
	return mustExist(q, noThingGroup(name), "SELECT count(*) FROM thing_groups WHERE name = ?", string(name))
}
