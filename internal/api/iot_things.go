package api

import (
	"context"

	iotmodel "github.com/sekisho-iot/sekisho/internal/api/model/iot"
	"github.com/sekisho-iot/sekisho/internal/registry"
)

func (r *iotRows) things() []Operation {
	return []Operation{
		op("CreateThing", "iot:CreateThing", func(c *Call, in *iotmodel.CreateThingInput) string {
			return iotResource(c, "thing", in.ThingName)
		}, r.createThing),
		op("UpdateThing", "iot:UpdateThing", func(c *Call, in *iotmodel.UpdateThingInput) string {
			return iotResource(c, "thing", in.ThingName)
		}, r.updateThing),
		op("DeleteThing", "iot:DeleteThing", func(c *Call, in *iotmodel.DeleteThingInput) string {
			return iotResource(c, "thing", in.ThingName)
		}, r.deleteThing),
		op("DescribeThing", "iot:DescribeThing", func(c *Call, in *iotmodel.DescribeThingInput) string {
			return iotResource(c, "thing", in.ThingName)
		}, r.describeThing),
		op("ListThings", "iot:ListThings", nil, r.listThings),
	}
}

func (r *iotRows) createThing(ctx context.Context, _ *Call, in *iotmodel.CreateThingInput) (*iotmodel.CreateThingOutput, error) {
	n := registry.NewThing{Name: deref(in.ThingName), TypeName: deref(in.ThingTypeName), BillingGroup: deref(in.BillingGroupName)}
	if in.AttributePayload != nil {
		n.Attributes = in.AttributePayload.Attributes
	}
	t, err := r.registry.CreateThing(ctx, n)
	if err != nil {
		return nil, err
	}
	return &iotmodel.CreateThingOutput{ThingName: in.ThingName, ThingArn: new(string(r.registry.ThingARN(t.Name))), ThingId: &t.ID}, nil
}

func (r *iotRows) updateThing(ctx context.Context, _ *Call, in *iotmodel.UpdateThingInput) (*iotmodel.UpdateThingOutput, error) {
	u := registry.ThingUpdate{TypeName: deref(in.ThingTypeName), RemoveType: deref(in.RemoveThingType), ExpectedVersion: in.ExpectedVersion}
	if p := in.AttributePayload; p != nil {
		u.Attributes = &registry.AttributePayload{Attributes: p.Attributes, Merge: deref(p.Merge)}
	}
	return nil, r.registry.UpdateThing(ctx, deref(in.ThingName), u)
}

func (r *iotRows) deleteThing(ctx context.Context, _ *Call, in *iotmodel.DeleteThingInput) (*iotmodel.DeleteThingOutput, error) {
	return nil, r.registry.DeleteThing(ctx, deref(in.ThingName), in.ExpectedVersion)
}

func (r *iotRows) describeThing(ctx context.Context, _ *Call, in *iotmodel.DescribeThingInput) (*iotmodel.DescribeThingOutput, error) {
	t, err := r.registry.Thing(ctx, deref(in.ThingName))
	if err != nil {
		return nil, err
	}
	name := string(t.Name)
	return &iotmodel.DescribeThingOutput{
		DefaultClientId: &name, ThingName: &name, ThingId: &t.ID, ThingArn: new(string(r.registry.ThingARN(t.Name))),
		ThingTypeName: optional(t.TypeName), Attributes: t.Attributes, Version: &t.Version,
	}, nil
}

func (r *iotRows) listThings(ctx context.Context, _ *Call, in *iotmodel.ListThingsInput) (*iotmodel.ListThingsOutput, error) {
	list, next, err := r.registry.Things(ctx, registry.ThingFilter{
		AttributeName: deref(in.AttributeName), AttributeValue: deref(in.AttributeValue),
		Prefix: deref(in.UsePrefixAttributeValue), TypeName: deref(in.ThingTypeName),
	}, pageOf(in.MaxResults, in.NextToken))
	if err != nil {
		return nil, err
	}
	out := &iotmodel.ListThingsOutput{Things: make([]iotmodel.ThingAttribute, len(list)), NextToken: optional(next)}
	for i, t := range list {
		out.Things[i] = iotmodel.ThingAttribute{
			ThingName: new(string(t.Name)), ThingArn: new(string(r.registry.ThingARN(t.Name))),
			ThingTypeName: optional(t.TypeName), Attributes: t.Attributes, Version: &t.Version,
		}
	}
	return out, nil
}

func (r *iotRows) principals() []Operation {
	return []Operation{
		op("AttachThingPrincipal", "iot:AttachThingPrincipal", func(_ *Call, in *iotmodel.AttachThingPrincipalInput) string {
			return deref(in.Principal)
		}, r.attachThingPrincipal),
		op("DetachThingPrincipal", "iot:DetachThingPrincipal", func(_ *Call, in *iotmodel.DetachThingPrincipalInput) string {
			return deref(in.Principal)
		}, r.detachThingPrincipal),
		op("ListThingPrincipals", "iot:ListThingPrincipals", func(c *Call, in *iotmodel.ListThingPrincipalsInput) string {
			return iotResource(c, "thing", in.ThingName)
		}, r.listThingPrincipals),
		op("ListPrincipalThings", "iot:ListPrincipalThings", func(_ *Call, in *iotmodel.ListPrincipalThingsInput) string {
			return deref(in.Principal)
		}, r.listPrincipalThings),
	}
}

func (r *iotRows) attachThingPrincipal(ctx context.Context, _ *Call, in *iotmodel.AttachThingPrincipalInput) (*iotmodel.AttachThingPrincipalOutput, error) {
	return nil, r.registry.AttachThingPrincipal(ctx, deref(in.ThingName), deref(in.Principal), registry.AttachmentType(deref(in.ThingPrincipalType)))
}

func (r *iotRows) detachThingPrincipal(ctx context.Context, _ *Call, in *iotmodel.DetachThingPrincipalInput) (*iotmodel.DetachThingPrincipalOutput, error) {
	return nil, r.registry.DetachThingPrincipal(ctx, deref(in.ThingName), deref(in.Principal))
}

func (r *iotRows) listThingPrincipals(ctx context.Context, _ *Call, in *iotmodel.ListThingPrincipalsInput) (*iotmodel.ListThingPrincipalsOutput, error) {
	list, next, err := r.registry.ThingPrincipals(ctx, deref(in.ThingName), "", pageOf(in.MaxResults, in.NextToken))
	if err != nil {
		return nil, err
	}
	out := &iotmodel.ListThingPrincipalsOutput{Principals: make([]string, len(list)), NextToken: optional(next)}
	for i := range list {
		out.Principals[i] = string(list[i].Principal)
	}
	return out, nil
}

func (r *iotRows) listPrincipalThings(ctx context.Context, _ *Call, in *iotmodel.ListPrincipalThingsInput) (*iotmodel.ListPrincipalThingsOutput, error) {
	list, next, err := r.registry.PrincipalThings(ctx, deref(in.Principal), "", pageOf(in.MaxResults, in.NextToken))
	if err != nil {
		return nil, err
	}
	out := &iotmodel.ListPrincipalThingsOutput{Things: make([]string, len(list)), NextToken: optional(next)}
	for i := range list {
		out.Things[i] = string(list[i].Thing)
	}
	return out, nil
}
