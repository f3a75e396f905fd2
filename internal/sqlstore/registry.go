package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/registry"
)

// RegistryStore keeps things, attachments, IoT policies and tags.
type RegistryStore struct{ db *DB }

// Registry returns the registry's store.
func (d *DB) Registry() *RegistryStore { return &RegistryStore{db: d} }

var (
	_ registry.ThingStore  = (*RegistryStore)(nil)
	_ registry.PolicyStore = (*RegistryStore)(nil)
	_ registry.TagStore    = (*RegistryStore)(nil)
)

func unixMilli(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// CreateThing keeps t unless there is a thing of that name, and returns the one that is kept.
func (s *RegistryStore) CreateThing(ctx context.Context, t *registry.Thing) (*registry.Thing, error) {
	var kept *registry.Thing
	err := s.db.write(ctx, func(x *tx) error {
		n, err := affected(x.exec(`INSERT INTO things (name, id, type_name, version, created_ms, updated_ms)
			VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING`,
			string(t.Name), t.ID, t.TypeName, t.Version, t.CreatedAt.UnixMilli(), t.UpdatedAt.UnixMilli()))
		if err != nil {
			return err
		}
		if n == 0 {
			kept, err = thing(x, t.Name)
			return err
		}
		if err := typeMustTake(x, t.TypeName); err != nil {
			return err
		}
		kept = t
		x.changed(iot.ChangeThing, string(t.Name))
		return insertAttributes(x, t)
	})
	return kept, err
}

// ChangeThing has change alter the thing, and keeps what it left.
func (s *RegistryStore) ChangeThing(ctx context.Context, name iot.ThingName, change func(t *registry.Thing) error) error {
	return s.db.write(ctx, func(x *tx) error {
		t, err := thing(x, name)
		if err != nil {
			return err
		}
		typeBefore := t.TypeName
		if err := change(t); err != nil {
			return err
		}
		if t.TypeName != typeBefore {
			if err := typeMustTake(x, t.TypeName); err != nil {
				return err
			}
		}
		if _, err := x.exec("UPDATE things SET type_name = ?, version = ?, updated_ms = ? WHERE name = ?",
			t.TypeName, t.Version, t.UpdatedAt.UnixMilli(), string(name)); err != nil {
			return err
		}
		if _, err := x.exec("DELETE FROM thing_attributes WHERE thing_name = ?", string(name)); err != nil {
			return err
		}
		x.changed(iot.ChangeThing, string(name))
		return insertAttributes(x, t)
	})
}

// DeleteThing deletes the thing, its attributes and its tags unless check forbids.
func (s *RegistryStore) DeleteThing(ctx context.Context, name iot.ThingName, check func(t *registry.Thing, principals int) error) error {
	return s.db.write(ctx, func(x *tx) error {
		t, err := thing(x, name)
		if err != nil {
			return err
		}
		var principals int
		if err := x.queryRow("SELECT count(*) FROM thing_principals WHERE thing_name = ?", string(name)).Scan(&principals); err != nil {
			return err
		}
		if err := check(t, principals); err != nil {
			return err
		}
		if _, err := x.exec("DELETE FROM things WHERE name = ?", string(name)); err != nil {
			return err
		}
		x.changed(iot.ChangeThing, string(name))
		return deleteTags(x, "thing/"+string(name))
	})
}

// Thing returns a thing.
func (s *RegistryStore) Thing(ctx context.Context, name iot.ThingName) (*registry.Thing, error) {
	var t *registry.Thing
	err := s.db.read(ctx, func(q querier) error {
		var err error
		t, err = thing(q, name)
		return err
	})
	return t, err
}

// Things lists by name.
func (s *RegistryStore) Things(ctx context.Context, f registry.ThingFilter, after iot.ThingName, limit int) ([]*registry.Thing, error) {
	if f.AttributeName != "" {
		return s.thingsByAttribute(ctx, f, after, limit)
	}
	where, args := "name > ?", []any{string(after)}
	if f.TypeName != "" {
		where, args = "type_name = ? AND "+where, append([]any{f.TypeName}, args...)
	}
	var list []*registry.Thing
	err := s.db.read(ctx, func(q querier) error {
		var err error
		list, err = collect(q, scanThing, "SELECT name, id, type_name, version, created_ms, updated_ms FROM things WHERE "+where+
			" ORDER BY name LIMIT ?", append(args, limit)...)
		if err != nil {
			return err
		}
		for _, t := range list {
			if err := readAttributes(q, t); err != nil {
				return err
			}
		}
		return nil
	})
	return list, err
}

// AttachThing attaches unless it is attached.
func (s *RegistryStore) AttachThing(ctx context.Context, a registry.Attachment) error {
	return s.db.write(ctx, func(x *tx) error {
		if err := mustExist(x, noThing(a.Thing), "SELECT count(*) FROM things WHERE name = ?", string(a.Thing)); err != nil {
			return err
		}
		if err := certificateMustExist(x, a.Principal); err != nil {
			return err
		}
		// Two are enough to see whether any is another than the one asked for.
		have, err := principalThings(x, a.Principal, "", 2)
		if err != nil {
			return err
		}
		for i := range have {
			if have[i].Thing != a.Thing && (have[i].Type == registry.ExclusiveThing || a.Type == registry.ExclusiveThing) {
				return iot.Errorf(iot.KindInvalid, "thing", "The principal is attached to thing %s: an exclusive attachment must be the only one of its principal", have[i].Thing)
			}
		}
		typ := a.Type
		if typ == "" {
			typ = registry.NonExclusiveThing
		}
		n, err := affected(x.exec(`INSERT INTO thing_principals (thing_name, principal, incarnation, type, attached_ms)
			VALUES (?, ?, ?, ?, ?) ON CONFLICT (thing_name, principal) DO NOTHING`,
			string(a.Thing), string(a.Principal), a.Incarnation, string(typ), a.AttachedAt.UnixMilli()))
		if err == nil && n == 0 && a.Type != "" {
			n, err = affected(x.exec("UPDATE thing_principals SET type = ? WHERE thing_name = ? AND principal = ? AND type <> ?",
				string(typ), string(a.Thing), string(a.Principal), string(typ)))
		}
		if n > 0 {
			x.changed(iot.ChangePrincipal, string(a.Principal))
		}
		return err
	})
}

// DetachThing detaches; that it is not attached is no error.
func (s *RegistryStore) DetachThing(ctx context.Context, name iot.ThingName, principal iot.ARN) error {
	return s.db.write(ctx, func(x *tx) error {
		if err := mustExist(x, noThing(name), "SELECT count(*) FROM things WHERE name = ?", string(name)); err != nil {
			return err
		}
		n, err := affected(x.exec("DELETE FROM thing_principals WHERE thing_name = ? AND principal = ?", string(name), string(principal)))
		if n > 0 {
			x.changed(iot.ChangePrincipal, string(principal))
		}
		return err
	})
}

// ThingPrincipals lists what is attached to a thing.
func (s *RegistryStore) ThingPrincipals(ctx context.Context, name iot.ThingName, after iot.ARN, limit int) ([]registry.Attachment, error) {
	var list []registry.Attachment
	err := s.db.read(ctx, func(q querier) error {
		missing := iot.Errorf(iot.KindNotFound, "thing", "Failed to list principals for thing %s because the thing does not exist in your account", name)
		err := mustExist(q, missing, "SELECT count(*) FROM things WHERE name = ?", string(name))
		if err != nil {
			return err
		}
		list, err = collect(q, scanAttachment, `SELECT thing_name, principal, incarnation, type, attached_ms FROM thing_principals
			WHERE thing_name = ? AND principal > ? ORDER BY principal LIMIT ?`, string(name), string(after), limit)
		return err
	})
	return list, err
}

// PrincipalThings lists the things of a certificate, which must exist.
func (s *RegistryStore) PrincipalThings(ctx context.Context, principal iot.ARN, after iot.ThingName, limit int) ([]registry.Attachment, error) {
	var list []registry.Attachment
	err := s.db.read(ctx, func(q querier) error {
		err := certificateMustExist(q, principal)
		if err != nil {
			return err
		}
		list, err = principalThings(q, principal, after, limit)
		return err
	})
	return list, err
}

func principalThings(q querier, principal iot.ARN, after iot.ThingName, limit int) ([]registry.Attachment, error) {
	return collect(q, scanAttachment, `SELECT thing_name, principal, incarnation, type, attached_ms FROM thing_principals
		WHERE principal = ? AND thing_name > ? ORDER BY thing_name LIMIT ?`, string(principal), string(after), limit)
}

// maxAttached bounds what is held in memory per principal.
const maxAttached = 10_000

// Attached returns everything that hangs on a principal.
func (s *RegistryStore) Attached(ctx context.Context, principal iot.ARN) (registry.Attached, error) {
	var a registry.Attached
	err := s.db.read(ctx, func(q querier) error {
		var err error
		if a.Things, err = principalThings(q, principal, "", maxAttached); err != nil {
			return err
		}
		a.Policies, err = attachedPolicies(q, principal, "", maxAttached)
		return err
	})
	return a, err
}

func thing(q querier, name iot.ThingName) (*registry.Thing, error) {
	list, err := collect(q, scanThing, "SELECT name, id, type_name, version, created_ms, updated_ms FROM things WHERE name = ?", string(name))
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, noThing(name)
	}
	return list[0], readAttributes(q, list[0])
}

func scanThing(scan func(...any) error) (*registry.Thing, error) {
	t := &registry.Thing{}
	var created, updated int64
	err := scan(&t.Name, &t.ID, &t.TypeName, &t.Version, &created, &updated)
	t.CreatedAt, t.UpdatedAt = unixMilli(created), unixMilli(updated)
	return t, err
}

func readAttributes(q querier, t *registry.Thing) error {
	t.Attributes = map[string]string{}
	_, err := collect(q, func(scan func(...any) error) (struct{}, error) {
		var name, value string
		err := scan(&name, &value)
		t.Attributes[name] = value
		return struct{}{}, err
	}, "SELECT name, value FROM thing_attributes WHERE thing_name = ?", string(t.Name))
	return err
}

func insertAttributes(x *tx, t *registry.Thing) error {
	for name, value := range t.Attributes {
		var number any // NULL for what is none
		if n, ok := registry.ParseNumber(value); ok {
			number = n
		}
		if _, err := x.exec("INSERT INTO thing_attributes (thing_name, name, value, number) VALUES (?, ?, ?, ?)", string(t.Name), name, value, number); err != nil {
			return err
		}
	}
	return nil
}

func scanAttachment(scan func(...any) error) (registry.Attachment, error) {
	var a registry.Attachment
	var at int64
	err := scan(&a.Thing, &a.Principal, &a.Incarnation, &a.Type, &at)
	a.AttachedAt = unixMilli(at)
	return a, err
}

func noThing(name iot.ThingName) error {
	return iot.Errorf(iot.KindNotFound, "thing", "Thing %s cannot be found.", name)
}

// certificateMustExist accepts the ARN of a certificate that is there.
func certificateMustExist(q querier, arn iot.ARN) error {
	_, id, _ := strings.Cut(string(arn), ":cert/")
	return mustExist(q, iot.Errorf(iot.KindNotFound, "principal", "The certificate given in the principal does not exist."),
		"SELECT count(*) FROM certificates WHERE id = ?", id)
}

// mustExist answers missing where the count that query selects is zero.
func mustExist(q querier, missing error, query string, args ...any) error {
	var n int
	if err := q.queryRow(query, args...).Scan(&n); err != nil {
		return err
	}
	if n == 0 {
		return missing
	}
	return nil
}

// collect reads all rows of a query.
func collect[T any](q querier, scan func(func(...any) error) (T, error), query string, args ...any) (list []T, err error) {
	rows, err := q.query(query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		v, err := scan(rows.Scan)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, rows.Err()
}

// SetTags adds tags or replaces their values.
func (s *RegistryStore) SetTags(ctx context.Context, resource string, tags []registry.Tag, limit int) error {
	return s.db.write(ctx, func(x *tx) error {
		if err := resourceMustExist(x, resource); err != nil {
			return err
		}
		if err := insertTags(x, resource, tags); err != nil {
			return err
		}
		var n int
		if err := x.queryRow("SELECT count(*) FROM iot_tags WHERE resource = ?", resource).Scan(&n); err != nil {
			return err
		}
		if n > limit {
			return iot.Errorf(iot.KindLimit, "tag", "A resource can have at most %d tags", limit)
		}
		return nil
	})
}

// RemoveTags removes tags by name.
func (s *RegistryStore) RemoveTags(ctx context.Context, resource string, names []string) error {
	return s.db.write(ctx, func(x *tx) error {
		if err := resourceMustExist(x, resource); err != nil {
			return err
		}
		for _, n := range names {
			if _, err := x.exec("DELETE FROM iot_tags WHERE resource = ? AND name = ?", resource, n); err != nil {
				return err
			}
		}
		return nil
	})
}

// Tags lists by name.
func (s *RegistryStore) Tags(ctx context.Context, resource string) ([]registry.Tag, error) {
	var list []registry.Tag
	err := s.db.read(ctx, func(q querier) error {
		err := resourceMustExist(q, resource)
		if err != nil {
			return err
		}
		list, err = collect(q, func(scan func(...any) error) (registry.Tag, error) {
			var t registry.Tag
			err := scan(&t.Key, &t.Value)
			return t, err
		}, "SELECT name, value FROM iot_tags WHERE resource = ? ORDER BY name", resource)
		return err
	})
	return list, err
}

// insertTags adds tags to a resource of the IoT service, named as the last
// part of its ARN; whoever makes one with tags calls it.
func insertTags(x *tx, resource string, tags []registry.Tag) error {
	for _, t := range tags {
		if _, err := x.exec(`INSERT INTO iot_tags (resource, name, value) VALUES (?, ?, ?)
			ON CONFLICT (resource, name) DO UPDATE SET value = excluded.value`, resource, t.Key, t.Value); err != nil {
			return err
		}
	}
	return nil
}

// deleteTags removes all tags of a resource; whoever deletes one calls it.
func deleteTags(x *tx, resource string) error {
	_, err := x.exec("DELETE FROM iot_tags WHERE resource = ?", resource)
	return err
}

// resourceMustExist accepts the last part of the ARN of something of the IoT service that is there.
func resourceMustExist(q querier, resource string) error {
	missing := iot.Errorf(iot.KindNotFound, "resource", "Resource %s does not exist", resource)
	typ, name, _ := strings.Cut(resource, "/")
	switch typ {
	case "thing":
		return mustExist(q, missing, "SELECT count(*) FROM things WHERE name = ?", name)
	case "thingtype":
		return mustExist(q, missing, "SELECT count(*) FROM thing_types WHERE name = ?", name)
	case "thinggroup":
		return mustExist(q, missing, "SELECT count(*) FROM thing_groups WHERE name = ?", name)
	case "cert":
		return mustExist(q, missing, "SELECT count(*) FROM certificates WHERE id = ?", name)
	case "cacert":
		return mustExist(q, missing, "SELECT count(*) FROM ca_certificates WHERE id = ?", name)
	case "policy":
		return mustExist(q, missing, "SELECT count(*) FROM iot_policies WHERE name = ?", name)
	case "rolealias":
		return mustExist(q, missing, "SELECT count(*) FROM role_aliases WHERE name = ?", name)
	}
	return missing
}

func noRows(err error) bool { return errors.Is(err, sql.ErrNoRows) }
