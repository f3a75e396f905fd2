package registry

import (
	"context"
	"maps"
	"strconv"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// Thing is an entry of the registry.
type Thing struct {
	Name       iot.ThingName
	ID         string // a UUID; a thing of the same name made later has another
	TypeName   string
	Attributes map[string]string
	Version    int64
	CreatedAt  time.Time
	UpdatedAt  time.Time
}

// ThingFilter selects things; an empty field does not.
type ThingFilter struct {
	AttributeName  string
	AttributeValue string
	Prefix         bool // AttributeValue is only how the value begins
	TypeName       string
}

// NewThing is what CreateThing is asked for.
type NewThing struct {
	Name         string
	TypeName     string
	BillingGroup string
	Attributes   map[string]string
}

// AttributePayload is how UpdateThing changes attributes.
type AttributePayload struct {
	Attributes map[string]string // an empty value removes the attribute
	Merge      bool              // keep the attributes that are not named
}

// ThingUpdate is what UpdateThing is asked for.
type ThingUpdate struct {
	TypeName        string
	RemoveType      bool
	Attributes      *AttributePayload // nil leaves them
	ExpectedVersion *int64
}

// CreateThing makes a thing. One of that name with the same settings is returned as it is.
func (r *Registry) CreateThing(ctx context.Context, n NewThing) (*Thing, error) {
	if err := checkThingName(n.Name); err != nil {
		return nil, err
	}
	if n.BillingGroup != "" {
		return nil, iot.Errorf(iot.KindNotFound, "billing-group", "Billing group %s not found", n.BillingGroup)
	}
	attributes := map[string]string{}
	mergeAttributes(attributes, n.Attributes)
	if err := checkAttributes(n.Attributes, attributes, n.TypeName); err != nil {
		return nil, err
	}
	if n.TypeName != "" {
		if err := checkThingTypeName(n.TypeName); err != nil {
			return nil, err
		}
	}
	id, err := iot.NewUUID(r.rand)
	if err != nil {
		return nil, err
	}
	now := r.clock()
	t := &Thing{Name: iot.ThingName(n.Name), ID: id, TypeName: n.TypeName, Attributes: attributes, Version: 1, CreatedAt: now, UpdatedAt: now}
	kept, err := r.things.CreateThing(ctx, t)
	if err != nil {
		return nil, err
	}
	if kept.ID != id && (kept.TypeName != n.TypeName || !maps.Equal(kept.Attributes, attributes)) {
		e := iot.Errorf(iot.KindExists, "thing", "Thing %s already exists in account %s with different attributes", n.Name, r.account)
		e.ID, e.ARN = kept.ID, string(r.ThingARN(kept.Name))
		return nil, e
	}
	if kept.ID == id {
		r.emitThing(ctx, "created", kept)
		r.emitTypeOf(ctx, kept, "")
	}
	return kept, nil
}

// UpdateThing changes a thing and raises its version.
func (r *Registry) UpdateThing(ctx context.Context, name string, u ThingUpdate) error {
	if err := checkThingName(name); err != nil {
		return err
	}
	if u.TypeName != "" && u.RemoveType {
		return iot.Errorf(iot.KindInvalid, "thing", "A thing type cannot be set and removed in one request")
	}
	if u.TypeName != "" {
		if err := checkThingTypeName(u.TypeName); err != nil {
			return err
		}
	}
	var after *Thing
	typeBefore := ""
	err := r.things.ChangeThing(ctx, iot.ThingName(name), func(t *Thing) error {
		if err := checkVersion(t, u.ExpectedVersion); err != nil {
			return err
		}
		typeBefore = t.TypeName
		switch {
		case u.RemoveType:
			t.TypeName = ""
		case u.TypeName != "":
			t.TypeName = u.TypeName
		}
		if p := u.Attributes; p != nil {
			if !p.Merge || t.Attributes == nil {
				t.Attributes = map[string]string{}
			}
			mergeAttributes(t.Attributes, p.Attributes)
			if err := checkAttributeText(p.Attributes); err != nil {
				return err
			}
		}
		if err := checkAttributes(nil, t.Attributes, t.TypeName); err != nil {
			return err
		}
		t.Version++
		t.UpdatedAt = r.clock()
		after = t
		return nil
	})
	if err == nil {
		r.emitThing(ctx, "updated", after)
		r.emitTypeOf(ctx, after, typeBefore)
	}
	return err
}

// DeleteThing deletes a thing. That it does not exist is no error.
func (r *Registry) DeleteThing(ctx context.Context, name string, expectedVersion *int64) error {
	if err := checkThingName(name); err != nil {
		return err
	}
	var gone *Thing
	err := r.things.DeleteThing(ctx, iot.ThingName(name), func(t *Thing, principals int) error {
		gone = t
		if err := checkVersion(t, expectedVersion); err != nil {
			return err
		}
		if principals > 0 {
			return iot.Errorf(iot.KindInvalid, "thing", "Cannot delete. Thing %s is still attached to one or more principals", name)
		}
		return nil
	})
	if iot.IsKind(err, iot.KindNotFound) {
		return nil
	}
	if err == nil {
		r.emitThing(ctx, "deleted", gone)
	}
	return err
}

// Thing describes a thing.
func (r *Registry) Thing(ctx context.Context, name string) (*Thing, error) {
	if err := checkThingName(name); err != nil {
		return nil, err
	}
	return r.things.Thing(ctx, iot.ThingName(name))
}

// Things lists things by name, and the token of the next page.
func (r *Registry) Things(ctx context.Context, f ThingFilter, p Page) ([]*Thing, string, error) {
	if f.AttributeName == "" && (f.AttributeValue != "" || f.Prefix) {
		return nil, "", iot.Errorf(iot.KindInvalid, "thing", "attributeName must be given with attributeValue")
	}
	if f.AttributeName != "" && !validAttributeName(f.AttributeName) || !validAttributeValue(f.AttributeValue) {
		return nil, "", iot.Errorf(iot.KindInvalid, "thing", "The attribute to filter by is out of its grammar")
	}
	if f.TypeName != "" && !iot.ValidThingName(f.TypeName) {
		return nil, "", iot.Errorf(iot.KindInvalid, "thing", "Invalid thing type name: %s", f.TypeName)
	}
	scope := "things\x00" + strconv.FormatBool(f.Prefix) + f.AttributeName + "\x00" + f.AttributeValue + "\x00" + f.TypeName
	return listPage(scope, p, func(after string, limit int) ([]*Thing, error) {
		return r.things.Things(ctx, f, iot.ThingName(after), limit)
	}, func(t *Thing) string { return string(t.Name) })
}

func checkThingName(name string) error {
	if !iot.ValidThingName(name) {
		return iot.Errorf(iot.KindInvalid, "thing", "1 validation error detected: Value at 'thingName' failed to satisfy constraint: "+
			"Member must satisfy regular expression pattern: [a-zA-Z0-9:_-]+, with a length of 1 to 128")
	}
	return nil
}

func checkVersion(t *Thing, expected *int64) error {
	if expected != nil && *expected != t.Version {
		return iot.Errorf(iot.KindVersionConflict, "thing", "The version for thing %s does not match the expected version.", t.Name)
	}
	return nil
}

func mergeAttributes(into, from map[string]string) {
	for name, value := range from {
		if value == "" {
			delete(into, name)
			continue
		}
		into[name] = value
	}
}

// checkAttributes judges what was given, and how many there would be.
func checkAttributes(given, result map[string]string, typeName string) error {
	if err := checkAttributeText(given); err != nil {
		return err
	}
	limit := 3
	if typeName != "" {
		limit = 50
	}
	if len(result) > limit {
		return iot.Errorf(iot.KindInvalid, "thing", "A thing cannot have more than %d attributes", limit)
	}
	return nil
}

func checkAttributeText(given map[string]string) error {
	for name, value := range given {
		if !validAttributeName(name) {
			return iot.Errorf(iot.KindInvalid, "thing", "Invalid attribute name: %q", name)
		}
		if !validAttributeValue(value) {
			return iot.Errorf(iot.KindInvalid, "thing", "Invalid value of attribute %s", name)
		}
	}
	return nil
}

func validAttributeName(s string) bool {
	return s != "" && len(s) <= 128 && all(s, "_.,@/:#-")
}

func validAttributeValue(s string) bool {
	return len(s) <= 800 && all(s, "_.,@/:#=[]-")
}

// all reports whether s is of letters, digits and the extra characters only.
func all(s, extra string) bool {
next:
	for i := range len(s) {
		c := s[i]
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
			continue
		}
		for j := range len(extra) {
			if extra[j] == c {
				continue next
			}
		}
		return false
	}
	return true
}
