package registry

import (
	"context"
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// AttachmentType says whether a principal may have other things.
type AttachmentType string

// The types of attachments.
const (
	NonExclusiveThing AttachmentType = "NON_EXCLUSIVE_THING"
	ExclusiveThing    AttachmentType = "EXCLUSIVE_THING"
)

// Attachment is a principal's attachment to a thing.
type Attachment struct {
	Thing       iot.ThingName
	Principal   iot.ARN
	Type        AttachmentType
	Incarnation int64 // another one after every detach and attach
	AttachedAt  time.Time
}

// AttachThingPrincipal attaches a principal to a thing. That it is attached is no
// error; the attachment gets the type then, if one is given. A new one without a
// type is not exclusive.
func (r *Registry) AttachThingPrincipal(ctx context.Context, thing, principal string, typ AttachmentType) error {
	if err := checkThingName(thing); err != nil {
		return err
	}
	arn, err := r.parsePrincipal(principal)
	if err != nil {
		return err
	}
	switch typ {
	case NonExclusiveThing, ExclusiveThing, "":
	default:
		return iot.Errorf(iot.KindInvalid, "thing", "Invalid thingPrincipalType: %s", typ)
	}
	n, err := r.incarnation()
	if err != nil {
		return err
	}
	return r.things.AttachThing(ctx, Attachment{
		Thing: iot.ThingName(thing), Principal: arn, Type: typ, Incarnation: n, AttachedAt: r.clock(),
	})
}

// DetachThingPrincipal detaches a principal. That it is not attached is no error.
func (r *Registry) DetachThingPrincipal(ctx context.Context, thing, principal string) error {
	if err := checkThingName(thing); err != nil {
		return err
	}
	arn, err := r.parsePrincipal(principal)
	if err != nil {
		return err
	}
	return r.things.DetachThing(ctx, iot.ThingName(thing), arn)
}

// ThingPrincipals lists what is attached to a thing, and the token of the next page.
func (r *Registry) ThingPrincipals(ctx context.Context, thing string, typ AttachmentType, p Page) ([]Attachment, string, error) {
	if err := checkThingName(thing); err != nil {
		return nil, "", err
	}
	scope := "thing-principals\x00" + thing
	list, next, err := listPage(scope, p, func(after string, limit int) ([]Attachment, error) {
		return r.things.ThingPrincipals(ctx, iot.ThingName(thing), iot.ARN(after), limit)
	}, func(a Attachment) string { return string(a.Principal) })
	return ofType(list, typ), next, err
}

// PrincipalThings lists the things that a principal is attached to, and the token of the next page.
func (r *Registry) PrincipalThings(ctx context.Context, principal string, typ AttachmentType, p Page) ([]Attachment, string, error) {
	arn, err := r.parsePrincipal(principal)
	if err != nil {
		return nil, "", err
	}
	scope := "principal-things\x00" + principal
	list, next, err := listPage(scope, p, func(after string, limit int) ([]Attachment, error) {
		return r.things.PrincipalThings(ctx, arn, iot.ThingName(after), limit)
	}, func(a Attachment) string { return string(a.Thing) })
	return ofType(list, typ), next, err
}

func ofType(list []Attachment, typ AttachmentType) []Attachment {
	if typ == "" {
		return list
	}
	kept := make([]Attachment, 0, len(list))
	for i := range list {
		if list[i].Type == typ {
			kept = append(kept, list[i])
		}
	}
	return kept
}

// parsePrincipal accepts the ARN of a certificate of this account and region.
func (r *Registry) parsePrincipal(s string) (iot.ARN, error) {
	if len(s) > 2048 {
		return "", iot.Errorf(iot.KindInvalid, "principal", "Invalid principal: too long")
	}
	id, ok := strings.CutPrefix(s, string(r.CertificateARN("")))
	if ok && iot.ValidCertificateID(id) {
		return iot.ARN(s), nil
	}
	if _, id, ok := strings.Cut(s, ":"); ok && len(id) == 36 && !strings.HasPrefix(s, "arn:") {
		return "", iot.Errorf(iot.KindNotBuilt, "principal", "Cognito identities as principals are not built yet")
	}
	return "", iot.Errorf(iot.KindInvalid, "principal", "Invalid principal: %s", s)
}
