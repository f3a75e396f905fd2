package registry

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
)

// Principal is what decisions about a principal are made by. It is shared and
// must not be changed.
type Principal struct {
	ARN      iot.ARN
	Things   []AttachedThing // by name
	Policies policy.Set      // the default versions of the IoT policies attached to it
}

// AttachedThing is a thing as its principal sees it.
type AttachedThing struct {
	*Thing
	Type        AttachmentType
	Incarnation int64

	// policies are those of the principal and those that the thing inherits
	// from its groups.
	policies policy.Set
}

// groupedThing is a thing and the groups that it is in itself.
type groupedThing struct {
	Thing
	groups []iot.ThingGroupName
}

// Exclusive returns the thing of an exclusive attachment, nil where there is none.
func (p *Principal) Exclusive() *AttachedThing {
	if len(p.Things) == 1 && p.Things[0].Type == ExclusiveThing {
		return &p.Things[0]
	}
	return nil
}

// PoliciesFor returns the policies that decide about a request that is
// associated with t, one of p.Things. With nil, where none was named, they are
// those of an exclusive attachment, else the principal's own.
//
// A client that names no thing of its own thus escapes what its groups deny, as
// in AWS: https://docs.aws.amazon.com/iot/latest/developerguide/exclusive-thing.html.
func (p *Principal) PoliciesFor(t *AttachedThing) policy.Set {
	if t == nil {
		t = p.Exclusive()
	}
	if t == nil {
		return p.Policies
	}
	return t.policies
}

// Thing returns the attached thing of that name, nil where it is not attached.
func (p *Principal) Thing(name string) *AttachedThing {
	i, found := slices.BinarySearchFunc(p.Things, iot.ThingName(name), func(t AttachedThing, n iot.ThingName) int {
		return strings.Compare(string(t.Name), string(n))
	})
	if !found {
		return nil
	}
	return &p.Things[i]
}

// ForClient returns the thing that an MQTT connection is associated with: the
// one of an exclusive attachment, else the attached one whose name is the
// client ID. Where there is none, the text says why.
func (p *Principal) ForClient(clientID string) (*AttachedThing, string) {
	if t := p.Exclusive(); t != nil {
		return t, ""
	}
	if t := p.Thing(clientID); t != nil {
		return t, ""
	}
	if len(p.Things) == 0 {
		return nil, "no thing is attached to the certificate"
	}
	return nil, "the client ID is not the name of a thing that is attached to the certificate"
}

// assembled is a Principal and the generation that it was put together in.
type assembled struct {
	Principal
	generation uint64
}

// Principal returns what hangs on a principal. One that nobody knows has nothing.
// Nothing is read from the store while memory holds the answer.
func (r *Registry) Principal(ctx context.Context, arn iot.ARN) (*Principal, error) {
	generation := r.generation.Load()
	for range 3 {
		a, err := r.principals.Get(ctx, arn)
		if err != nil {
			return nil, err
		}
		if a.generation >= generation {
			return &a.Principal, nil
		}
		r.principals.Drop(arn)
	}
	// Others keep dropping and filling: ours alone then.
	a, err := r.assemble(ctx, arn)
	if err != nil {
		return nil, err
	}
	return &a.Principal, nil
}

// assemble puts a Principal together from the parts in memory. A part that is
// gone means that the list of parts is old: it is read anew, and if it stays
// so there is no answer, because what is missing might have been a Deny.
func (r *Registry) assemble(ctx context.Context, arn iot.ARN) (*assembled, error) {
	var err error
	for range 3 {
		var a *assembled
		if a, err = r.tryAssemble(ctx, arn); !iot.IsKind(err, iot.KindNotFound) {
			return a, err
		}
		r.attachments.Drop(arn)
	}
	// Not wrapped: to who asks about a principal, that a policy is gone is no answer.
	return nil, fmt.Errorf("assemble %s: %s", arn, err.Error())
}

func (r *Registry) tryAssemble(ctx context.Context, arn iot.ARN) (*assembled, error) {
	a := &assembled{Principal: Principal{ARN: arn}, generation: r.generation.Load()}
	list, err := r.attachments.Get(ctx, arn)
	if err != nil {
		return nil, err
	}
	if a.Policies, err = r.policySet(ctx, list.Policies); err != nil {
		return nil, err
	}
	a.Things = make([]AttachedThing, len(list.Things))
	for i, at := range list.Things {
		if a.Things[i], err = r.attachedThing(ctx, at, list.Policies, a.Policies); err != nil {
			r.attachedThings.Drop(at.Thing)
			return nil, err
		}
	}
	// A database may order names by other rules.
	slices.SortFunc(a.Things, func(x, y AttachedThing) int { return strings.Compare(string(x.Name), string(y.Name)) })
	return a, nil
}

// attachedThing puts a thing together for a principal that has these policies.
func (r *Registry) attachedThing(ctx context.Context, at Attachment, names []iot.PolicyName, own policy.Set) (AttachedThing, error) {
	t, err := r.attachedThings.Get(ctx, at.Thing)
	if err != nil {
		return AttachedThing{}, err
	}
	a := AttachedThing{Thing: &t.Thing, Type: at.Type, Incarnation: at.Incarnation, policies: own}
	all, err := r.withInherited(ctx, names, t.groups)
	if err == nil && len(all) > len(names) {
		a.policies, err = r.policySet(ctx, all)
	}
	return a, err
}

func (r *Registry) policySet(ctx context.Context, names []iot.PolicyName) (set policy.Set, err error) {
	set = make(policy.Set, len(names))
	for i, name := range names {
		if set[i], err = r.compiled.Get(ctx, name); err != nil {
			return nil, err
		}
	}
	return set, nil
}

// withInherited adds to the names those that groups have and that are not there.
func (r *Registry) withInherited(ctx context.Context, names []iot.PolicyName, groups []iot.ThingGroupName) ([]iot.PolicyName, error) {
	names = slices.Clip(names)
	for _, g := range groups {
		list, err := r.inherited.Get(ctx, g)
		if err != nil {
			return nil, err
		}
		for _, n := range list {
			if !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	return names, nil
}

func (r *Registry) loadThing(ctx context.Context, name iot.ThingName) (*groupedThing, error) {
	t, err := r.things.Thing(ctx, name)
	if err != nil {
		return nil, err
	}
	groups, err := r.groups.GroupsOfThing(ctx, name, "", maxPage)
	return &groupedThing{*t, groups}, err
}

// loadInherited returns the names of the policies of a group and of all above it.
func (r *Registry) loadInherited(ctx context.Context, name iot.ThingGroupName) ([]iot.PolicyName, error) {
	g, err := r.groups.ThingGroup(ctx, name)
	if err != nil {
		return nil, err
	}
	names := []iot.PolicyName{}
	for _, above := range append(g.Above, GroupRef{Name: name}) {
		list, err := r.policies.AttachedPolicies(ctx, r.ThingGroupARN(above.Name), "", maxPage)
		if err != nil {
			return nil, err
		}
		names = append(names, list...)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func (r *Registry) loadPolicy(ctx context.Context, name iot.PolicyName) (*policy.Policy, error) {
	_, v, err := r.policies.PolicyVersion(ctx, name, 0)
	if err != nil {
		return nil, err
	}
	p, err := policy.Compile(policy.IoT, string(r.PolicyARN(name)), []byte(v.Document))
	if err != nil {
		return nil, fmt.Errorf("compile stored policy %s version %d: %w", name, v.ID, err)
	}
	return p, nil
}

// Invalidate forgets what a change concerns. Once it has returned, no answer
// shows what was before.
func (r *Registry) Invalidate(c iot.Change) {
	switch c.Kind {
	case iot.ChangeThing:
		r.attachedThings.Drop(iot.ThingName(c.ID))
	case iot.ChangeIoTPolicy:
		r.compiled.Drop(iot.PolicyName(c.ID))
	case iot.ChangePrincipal:
		// Only this principal is concerned: the others stay assembled.
		r.attachments.Drop(iot.ARN(c.ID))
		r.principals.Drop(iot.ARN(c.ID))
		return
	case iot.ChangeThingGroup:
		r.inherited.Clear() // of the groups below it too
	case iot.ChangeEventConfiguration:
		r.eventsEnabled.Clear()
		return
	case iot.ChangeAll:
		r.eventsEnabled.Clear()
		r.inherited.Clear()
		r.attachedThings.Clear()
		r.compiled.Clear()
		r.attachments.Clear()
	case iot.ChangeCertificate, iot.ChangeRoleAlias, iot.ChangeRole, iot.ChangeIAMPolicy,
		iot.ChangeUser, iot.ChangeAccessKey, iot.ChangeBucket, iot.ChangeUpload, iot.ChangeCA:
		return
	}
	// After the parts are dropped: what is put together from now on has the new ones.
	r.generation.Add(1)
}
