package registry

import (
	"context"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// ThingStore keeps things and their attachments. Its methods answer
// iot.KindNotFound where something named does not exist. Functions passed to
// it run inside its transaction, perhaps twice.
type ThingStore interface {
	// CreateThing keeps t unless there is a thing of that name, and returns the one that is kept.
	CreateThing(ctx context.Context, t *Thing) (*Thing, error)
	// ChangeThing has change alter the thing, and keeps what it left.
	ChangeThing(ctx context.Context, name iot.ThingName, change func(t *Thing) error) error
	// DeleteThing deletes the thing unless check, given it and how many principals it has, forbids.
	DeleteThing(ctx context.Context, name iot.ThingName, check func(t *Thing, principals int) error) error
	Thing(ctx context.Context, name iot.ThingName) (*Thing, error)
	// Things lists by name, from the one after the given one.
	Things(ctx context.Context, f ThingFilter, after iot.ThingName, limit int) ([]*Thing, error)

	// AttachThing attaches unless it is attached; an attachment that is there
	// gets the type, if one is given. The thing and the certificate must exist,
	// and an exclusive attachment is the only one of its principal: KindInvalid.
	AttachThing(ctx context.Context, a Attachment) error
	DetachThing(ctx context.Context, thing iot.ThingName, principal iot.ARN) error
	ThingPrincipals(ctx context.Context, thing iot.ThingName, after iot.ARN, limit int) ([]Attachment, error)
	PrincipalThings(ctx context.Context, principal iot.ARN, after iot.ThingName, limit int) ([]Attachment, error)
	// Attached returns everything that hangs on a principal, things by name.
	Attached(ctx context.Context, principal iot.ARN) (Attached, error)
}

// ThingTypeStore keeps thing types, under the same rules. A thing that is made
// with a type, or given one, is refused with KindInvalid where it is deprecated.
type ThingTypeStore interface {
	// CreateThingType keeps t unless there is a type of that name, and returns the one that is kept.
	CreateThingType(ctx context.Context, t ThingType, tags []Tag) (ThingType, error)
	ChangeThingType(ctx context.Context, name string, change func(t *ThingType) error) error
	// DeleteThingType deletes unless check, told whether things have the type, forbids.
	DeleteThingType(ctx context.Context, name string, check func(t *ThingType, used bool) error) error
	ThingType(ctx context.Context, name string) (ThingType, error)
	// ThingTypes lists by name those whose names begin with prefix.
	ThingTypes(ctx context.Context, prefix, after string, limit int) ([]ThingType, error)
}

// GroupStore keeps static thing groups and their members, under the same rules.
type GroupStore interface {
	// CreateThingGroup keeps g unless there is a group of that name, and returns
	// the one that is kept. Its hierarchy is at most depth groups deep.
	CreateThingGroup(ctx context.Context, g *ThingGroup, tags []Tag, depth int) (*ThingGroup, error)
	ChangeThingGroup(ctx context.Context, name iot.ThingGroupName, change func(g *ThingGroup) error) error
	// DeleteThingGroup deletes a group without children unless check forbids,
	// with its memberships and what is attached to its ARN.
	DeleteThingGroup(ctx context.Context, name iot.ThingGroupName, arn iot.ARN, check func(g *ThingGroup) error) error
	ThingGroup(ctx context.Context, name iot.ThingGroupName) (*ThingGroup, error)
	// ThingGroups lists by name.
	ThingGroups(ctx context.Context, f GroupFilter, after iot.ThingGroupName, limit int) ([]iot.ThingGroupName, error)

	// ChangeMembership adds a thing to groups and removes it from others, all or
	// nothing; a thing is in at most limit groups, and in one of each hierarchy.
	// It returns what was not so before.
	ChangeMembership(ctx context.Context, thing iot.ThingName, add, remove []iot.ThingGroupName, limit int, at time.Time) (MembershipChange, error)
	GroupsOfThing(ctx context.Context, thing iot.ThingName, after iot.ThingGroupName, limit int) ([]iot.ThingGroupName, error)
	ThingsInGroup(ctx context.Context, group iot.ThingGroupName, recursive bool, after iot.ThingName, limit int) ([]iot.ThingName, error)
}

// IndexStore searches things, and keeps how.
type IndexStore interface {
	// SearchThings lists by name what matches, from the given place on. It may
	// stop early, and returns the place to go on from; "" is the end. The limit is
	// at most 100.
	SearchThings(ctx context.Context, q *Query, from string, limit int) (list []ThingDocument, next string, err error)
	IndexingConfiguration(ctx context.Context) (IndexingConfiguration, error)
	SetIndexingConfiguration(ctx context.Context, c IndexingConfiguration) error
	// SetConnectivity keeps the newest of what is said of each thing; names that no thing has are left out.
	SetConnectivity(ctx context.Context, list []Connectivity) error
	// ClearConnectivity makes every thing one that is not connected, at that time.
	ClearConnectivity(ctx context.Context, at time.Time, reason string) error
}

// EventStore keeps which events are published.
type EventStore interface {
	EventConfigurations(ctx context.Context) (EventConfigurations, error)
	SetEventConfigurations(ctx context.Context, enabled map[EventType]bool, at time.Time) error
}

// PolicyStore keeps IoT policies, their versions and targets, under the same rules.
type PolicyStore interface {
	CreatePolicy(ctx context.Context, p Policy, document string, tags []Tag) error
	// AddPolicyVersion gives v its id; a policy has at most limit versions.
	AddPolicyVersion(ctx context.Context, name iot.PolicyName, v PolicyVersion, limit int) (PolicyVersion, error)
	DeletePolicyVersion(ctx context.Context, name iot.PolicyName, version int64, at time.Time) error
	SetDefaultPolicyVersion(ctx context.Context, name iot.PolicyName, version int64, at time.Time) error
	DeletePolicy(ctx context.Context, name iot.PolicyName) error
	// PolicyVersion returns one version; version 0 is the default one.
	PolicyVersion(ctx context.Context, name iot.PolicyName, version int64) (Policy, PolicyVersion, error)
	PolicyVersions(ctx context.Context, name iot.PolicyName) ([]PolicyVersion, error)
	// Policies lists by creation.
	Policies(ctx context.Context, after Created, ascending bool, limit int) ([]Policy, error)
	TargetStore
}

// TargetStore keeps what policies are attached to.
type TargetStore interface {
	// AttachPolicy attaches unless it is attached; a target, a certificate or a
	// thing group, has at most limit policies.
	AttachPolicy(ctx context.Context, name iot.PolicyName, target iot.ARN, limit int, at time.Time) error
	DetachPolicy(ctx context.Context, name iot.PolicyName, target iot.ARN) error
	AttachedPolicies(ctx context.Context, target iot.ARN, after iot.PolicyName, limit int) ([]iot.PolicyName, error)
	PolicyTargets(ctx context.Context, name iot.PolicyName, after iot.ARN, limit int) ([]iot.ARN, error)
}

// TagStore keeps the tags of everything of the IoT service that has an ARN. A
// resource is named by the last part of its ARN, and must exist.
type TagStore interface {
	// SetTags adds or replaces; the resource has at most limit tags then.
	SetTags(ctx context.Context, resource string, tags []Tag, limit int) error
	RemoveTags(ctx context.Context, resource string, names []string) error
	// Tags lists by name.
	Tags(ctx context.Context, resource string) ([]Tag, error)
}

// Created is a place in a listing that is ordered by creation.
type Created struct {
	At time.Time // zero at the start of the listing
	ID string
}

// Attached is what hangs on a principal.
type Attached struct {
	Things   []Attachment
	Policies []iot.PolicyName
}
