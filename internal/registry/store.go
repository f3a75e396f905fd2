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

	// AttachThing attaches unless it is attached. The thing and the certificate must exist.
	AttachThing(ctx context.Context, a Attachment) error
	DetachThing(ctx context.Context, thing iot.ThingName, principal iot.ARN) error
	ThingPrincipals(ctx context.Context, thing iot.ThingName, after iot.ARN, limit int) ([]Attachment, error)
	PrincipalThings(ctx context.Context, principal iot.ARN, after iot.ThingName, limit int) ([]Attachment, error)
	// Attached returns everything that hangs on a principal, things by name.
	Attached(ctx context.Context, principal iot.ARN) (Attached, error)
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
	// AttachPolicy attaches unless it is attached; a target has at most limit policies.
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
