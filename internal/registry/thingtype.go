package registry

import (
	"context"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// ThingType describes things that have something in common.
type ThingType struct {
	Name        string
	ID          string
	Description string
	// Searchable are the attributes that ListThings finds things of the type
	// by, in order; a thing without a type is found by all that it has.
	Searchable   []string
	CreatedAt    time.Time
	DeprecatedAt time.Time // zero while it is not
}

// Deprecated reports whether things can no longer be given the type.
func (t *ThingType) Deprecated() bool { return !t.DeprecatedAt.IsZero() }

// ThingTypeProperties is what CreateThingType and UpdateThingType are asked for;
// nil leaves as it is.
type ThingTypeProperties struct {
	Description *string
	Searchable  []string
}

const (
	maxSearchable  = 3
	maxDescription = 2028 // characters
	deprecatedFor  = 5 * time.Minute
)

// ThingTypeARN returns the ARN of a thing type.
func (r *Registry) ThingTypeARN(name string) iot.ARN {
	return iot.NewARN("iot", r.region, r.account, "thingtype/"+name)
}

// CreateThingType makes a type. One of that name with the same settings is returned as it is.
func (r *Registry) CreateThingType(ctx context.Context, name string, p ThingTypeProperties, tags []Tag) (ThingType, error) {
	if err := checkThingTypeName(name); err != nil {
		return ThingType{}, err
	}
	if err := CheckTags(tags); err != nil {
		return ThingType{}, err
	}
	t := ThingType{Name: name, CreatedAt: r.clock()}
	if err := p.apply(&t); err != nil {
		return ThingType{}, err
	}
	id, err := iot.NewUUID(r.rand)
	if err != nil {
		return ThingType{}, err
	}
	t.ID = id
	kept, err := r.types.CreateThingType(ctx, t, tags)
	if err != nil {
		return ThingType{}, err
	}
	if kept.ID != id && (kept.Description != t.Description || !slices.Equal(kept.Searchable, t.Searchable)) {
		e := iot.Errorf(iot.KindExists, "thing-type", "Thing type %s already exists in account %s with different properties", name, r.account)
		e.ID, e.ARN = kept.ID, string(r.ThingTypeARN(name))
		return ThingType{}, e
	}
	if kept.ID == id {
		r.emitThingType(ctx, "created", &kept)
	}
	return kept, nil
}

// apply sets what is given, as it is kept.
func (p *ThingTypeProperties) apply(t *ThingType) error {
	if p.Description != nil {
		if err := checkDescription("thing-type", *p.Description); err != nil {
			return err
		}
		t.Description = *p.Description
	}
	if p.Searchable == nil {
		return nil
	}
	names := slices.Clone(p.Searchable)
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) > maxSearchable {
		return iot.Errorf(iot.KindInvalid, "thing-type", "A thing type can have at most %d searchable attributes", maxSearchable)
	}
	for _, n := range names {
		if !validAttributeName(n) {
			return iot.Errorf(iot.KindInvalid, "thing-type", "Invalid attribute name: %.128q", n)
		}
	}
	t.Searchable = names
	return nil
}

// UpdateThingType changes a type.
func (r *Registry) UpdateThingType(ctx context.Context, name string, p ThingTypeProperties) error {
	return r.changeThingType(ctx, name, "updated", func(t *ThingType) (bool, error) { return true, p.apply(t) })
}

// DeprecateThingType makes a type one that things cannot be given, or with undo
// takes that back.
func (r *Registry) DeprecateThingType(ctx context.Context, name string, undo bool) error {
	return r.changeThingType(ctx, name, "updated", func(t *ThingType) (bool, error) {
		switch {
		case undo == !t.Deprecated(): // a second call does not begin the five minutes anew
			return false, nil
		case undo:
			t.DeprecatedAt = time.Time{}
		default:
			t.DeprecatedAt = r.clock()
		}
		return true, nil
	})
}

func (r *Registry) changeThingType(ctx context.Context, name, event string, change func(*ThingType) (bool, error)) error {
	if err := checkThingTypeName(name); err != nil {
		return err
	}
	var after ThingType
	changed := false
	err := r.types.ChangeThingType(ctx, name, func(t *ThingType) (err error) {
		changed, err = change(t)
		after = *t
		return err
	})
	if err == nil && changed {
		r.emitThingType(ctx, event, &after)
	}
	return err
}

// DeleteThingType deletes a type that no thing has, five minutes after it was deprecated.
func (r *Registry) DeleteThingType(ctx context.Context, name string) error {
	if err := checkThingTypeName(name); err != nil {
		return err
	}
	var gone ThingType
	err := r.types.DeleteThingType(ctx, name, func(t *ThingType, used bool) error {
		gone = *t
		switch {
		case !t.Deprecated():
			return iot.Errorf(iot.KindInvalid, "thing-type", "Cannot delete thing type %s: it must be deprecated first", name)
		case r.now().Sub(t.DeprecatedAt) < deprecatedFor:
			return iot.Errorf(iot.KindInvalid, "thing-type", "Cannot delete thing type %s: it can be deleted %d minutes after it was deprecated", name, deprecatedFor/time.Minute)
		case used:
			return iot.Errorf(iot.KindInvalid, "thing-type", "Cannot delete thing type %s: there are things of that type", name)
		}
		return nil
	})
	if err == nil {
		r.emitThingType(ctx, "deleted", &gone)
	}
	return err
}

// ThingType describes a type.
func (r *Registry) ThingType(ctx context.Context, name string) (ThingType, error) {
	if err := checkThingTypeName(name); err != nil {
		return ThingType{}, err
	}
	return r.types.ThingType(ctx, name)
}

// ThingTypes lists the types whose names begin with prefix by name, and the token of the next page.
func (r *Registry) ThingTypes(ctx context.Context, prefix string, p Page) ([]ThingType, string, error) {
	if prefix != "" {
		if err := checkThingTypeName(prefix); err != nil {
			return nil, "", err
		}
	}
	return listPage("thing-types\x00"+prefix, p, func(after string, limit int) ([]ThingType, error) {
		return r.types.ThingTypes(ctx, prefix, after, limit)
	}, func(t ThingType) string { return t.Name })
}

func checkThingTypeName(name string) error {
	if !iot.ValidThingName(name) {
		return iot.Errorf(iot.KindInvalid, "thing-type", "1 validation error detected: Value at 'thingTypeName' failed to satisfy constraint: "+
			"Member must satisfy regular expression pattern: [a-zA-Z0-9:_-]+, with a length of 1 to 128")
	}
	return nil
}

// checkDescription accepts printable text: [\p{Graph}\x20]*.
func checkDescription(resource, s string) error {
	if utf8.RuneCountInString(s) <= maxDescription && utf8.ValidString(s) && !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return nil
	}
	return iot.Errorf(iot.KindInvalid, resource, "A description is printable text of at most %d characters", maxDescription)
}
