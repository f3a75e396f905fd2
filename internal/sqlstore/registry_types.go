package sqlstore

import (
	"context"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/registry"
)

var _ registry.ThingTypeStore = (*RegistryStore)(nil)

// CreateThingType keeps t unless there is a type of that name, and returns the one that is kept.
func (s *RegistryStore) CreateThingType(ctx context.Context, t registry.ThingType, tags []registry.Tag) (registry.ThingType, error) {
	kept := t
	err := s.db.write(ctx, func(x *tx) error {
		n, err := affected(x.exec(`INSERT INTO thing_types (name, id, description, created_ms, deprecated_ms) VALUES (?, ?, ?, ?, 0)
			ON CONFLICT (name) DO NOTHING`, t.Name, t.ID, t.Description, t.CreatedAt.UnixMilli()))
		if err != nil {
			return err
		}
		if n == 0 {
			kept, err = thingType(x, t.Name)
			return err
		}
		kept = t
		if err := insertSearchable(x, &t); err != nil {
			return err
		}
		return insertTags(x, "thingtype/"+t.Name, tags)
	})
	return kept, err
}

// ChangeThingType has change alter the type, and keeps what it left.
func (s *RegistryStore) ChangeThingType(ctx context.Context, name string, change func(t *registry.ThingType) error) error {
	return s.db.write(ctx, func(x *tx) error {
		t, err := thingType(x, name)
		if err != nil {
			return err
		}
		if err := change(&t); err != nil {
			return err
		}
		deprecated := int64(0)
		if t.Deprecated() {
			deprecated = t.DeprecatedAt.UnixMilli()
		}
		if _, err := x.exec("UPDATE thing_types SET description = ?, deprecated_ms = ? WHERE name = ?", t.Description, deprecated, name); err != nil {
			return err
		}
		if _, err := x.exec("DELETE FROM thing_type_searchable WHERE type_name = ?", name); err != nil {
			return err
		}
		return insertSearchable(x, &t)
	})
}

// DeleteThingType deletes the type and its tags unless check forbids.
func (s *RegistryStore) DeleteThingType(ctx context.Context, name string, check func(t *registry.ThingType, used bool) error) error {
	return s.db.write(ctx, func(x *tx) error {
		t, err := thingType(x, name)
		if err != nil {
			return err
		}
		var used int
		if err := x.queryRow("SELECT count(*) FROM (SELECT name FROM things WHERE type_name = ? LIMIT 1) AS one", name).Scan(&used); err != nil {
			return err
		}
		if err := check(&t, used > 0); err != nil {
			return err
		}
		if _, err := x.exec("DELETE FROM thing_types WHERE name = ?", name); err != nil {
			return err
		}
		return deleteTags(x, "thingtype/"+name)
	})
}

// ThingType returns a type.
func (s *RegistryStore) ThingType(ctx context.Context, name string) (registry.ThingType, error) {
	var t registry.ThingType
	err := s.db.read(ctx, func(q querier) (err error) {
		t, err = thingType(q, name)
		return err
	})
	return t, err
}

// ThingTypes lists by name those whose names begin with prefix.
func (s *RegistryStore) ThingTypes(ctx context.Context, prefix, after string, limit int) ([]registry.ThingType, error) {
	var list []registry.ThingType
	err := s.db.read(ctx, func(q querier) (err error) {
		list, err = collect(q, scanThingType, `SELECT name, id, description, created_ms, deprecated_ms FROM thing_types
			WHERE name > ? AND name >= ? AND name < ? ORDER BY name LIMIT ?`, after, prefix, afterPrefix(prefix), limit)
		for i := range list {
			if err == nil {
				err = readSearchable(q, &list[i])
			}
		}
		return err
	})
	return list, err
}

// afterPrefix is more than every name that begins with prefix: names are ASCII.
func afterPrefix(prefix string) string { return prefix + "\x7f" }

func thingType(q querier, name string) (registry.ThingType, error) {
	list, err := collect(q, scanThingType, "SELECT name, id, description, created_ms, deprecated_ms FROM thing_types WHERE name = ?", name)
	if err != nil {
		return registry.ThingType{}, err
	}
	if len(list) == 0 {
		return registry.ThingType{}, iot.Errorf(iot.KindNotFound, "thing-type", "Thing type %s not found", name)
	}
	return list[0], readSearchable(q, &list[0])
}

func scanThingType(scan func(...any) error) (registry.ThingType, error) {
	var t registry.ThingType
	var created, deprecated int64
	err := scan(&t.Name, &t.ID, &t.Description, &created, &deprecated)
	t.CreatedAt = unixMilli(created)
	if deprecated != 0 {
		t.DeprecatedAt = unixMilli(deprecated)
	}
	return t, err
}

func readSearchable(q querier, t *registry.ThingType) (err error) {
	t.Searchable, err = collect(q, scanName[string], "SELECT name FROM thing_type_searchable WHERE type_name = ? ORDER BY name", t.Name)
	return err
}

func insertSearchable(x *tx, t *registry.ThingType) error {
	for _, n := range t.Searchable {
		if _, err := x.exec("INSERT INTO thing_type_searchable (type_name, name) VALUES (?, ?)", t.Name, n); err != nil {
			return err
		}
	}
	return nil
}

// typeMustTake accepts a type that things can be given; "" is none.
func typeMustTake(q querier, name string) error {
	if name == "" {
		return nil
	}
	t, err := thingType(q, name)
	if err != nil {
		return err
	}
	if t.Deprecated() {
		return iot.Errorf(iot.KindInvalid, "thing-type", "Thing type %s is deprecated since %s: things cannot be given it",
			name, t.DeprecatedAt.Format(time.RFC3339))
	}
	return nil
}
