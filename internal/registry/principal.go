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
	if len(p.Things) == 1 && p.Things[0].Type == ExclusiveThing {
		return &p.Things[0], ""
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
	a.Things = make([]AttachedThing, len(list.Things))
	for i, at := range list.Things {
		t, err := r.attachedThings.Get(ctx, at.Thing)
		if err != nil {
			return nil, err
		}
		a.Things[i] = AttachedThing{Thing: t, Type: at.Type, Incarnation: at.Incarnation}
	}
	// A database may order names by other rules.
	slices.SortFunc(a.Things, func(x, y AttachedThing) int { return strings.Compare(string(x.Name), string(y.Name)) })
	a.Policies = make(policy.Set, len(list.Policies))
	for i, name := range list.Policies {
		if a.Policies[i], err = r.compiled.Get(ctx, name); err != nil {
			return nil, err
		}
	}
	return a, nil
}

func (r *Registry) loadThing(ctx context.Context, name iot.ThingName) (*Thing, error) {
	return r.things.Thing(ctx, name)
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
	case iot.ChangeAll:
		r.attachedThings.Clear()
		r.compiled.Clear()
		r.attachments.Clear()
	case iot.ChangeCertificate, iot.ChangeRoleAlias, iot.ChangeRole, iot.ChangeIAMPolicy,
		iot.ChangeUser, iot.ChangeAccessKey, iot.ChangeBucket, iot.ChangeUpload:
		return
	}
	// After the parts are dropped: what is put together from now on has the new ones.
	r.generation.Add(1)
}
