package api

import (
	"context"

	iotmodel "github.com/sekisho-iot/sekisho/internal/api/model/iot"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/registry"
)

func (r *iotRows) thingTypes() []Operation {
	return []Operation{
		op("CreateThingType", "iot:CreateThingType", func(c *Call, in *iotmodel.CreateThingTypeInput) string {
			return iotResource(c, "thingtype", in.ThingTypeName)
		}, r.createThingType),
		op("UpdateThingType", "iot:UpdateThingType", func(c *Call, in *iotmodel.UpdateThingTypeInput) string {
			return iotResource(c, "thingtype", in.ThingTypeName)
		}, r.updateThingType),
		op("DescribeThingType", "iot:DescribeThingType", func(c *Call, in *iotmodel.DescribeThingTypeInput) string {
			return iotResource(c, "thingtype", in.ThingTypeName)
		}, r.describeThingType),
		op("DeprecateThingType", "iot:DeprecateThingType", func(c *Call, in *iotmodel.DeprecateThingTypeInput) string {
			return iotResource(c, "thingtype", in.ThingTypeName)
		}, r.deprecateThingType),
		op("DeleteThingType", "iot:DeleteThingType", func(c *Call, in *iotmodel.DeleteThingTypeInput) string {
			return iotResource(c, "thingtype", in.ThingTypeName)
		}, r.deleteThingType),
		op("ListThingTypes", "iot:ListThingTypes", nil, r.listThingTypes),
	}
}

func thingTypeProperties(in *iotmodel.ThingTypeProperties) (registry.ThingTypeProperties, error) {
	if in == nil {
		return registry.ThingTypeProperties{}, nil
	}
	if c := in.Mqtt5Configuration; c != nil && len(c.PropagatingAttributes) > 0 {
		return registry.ThingTypeProperties{}, iot.Errorf(iot.KindNotBuilt, "thing-type", "mqtt5Configuration of thing types is not built yet")
	}
	return registry.ThingTypeProperties{Description: in.ThingTypeDescription, Searchable: in.SearchableAttributes}, nil
}

func (r *iotRows) createThingType(ctx context.Context, _ *Call, in *iotmodel.CreateThingTypeInput) (*iotmodel.CreateThingTypeOutput, error) {
	p, err := thingTypeProperties(in.ThingTypeProperties)
	if err != nil {
		return nil, err
	}
	t, err := r.registry.CreateThingType(ctx, deref(in.ThingTypeName), p, tagsOf(in.Tags))
	if err != nil {
		return nil, err
	}
	return &iotmodel.CreateThingTypeOutput{ThingTypeName: in.ThingTypeName, ThingTypeArn: new(string(r.registry.ThingTypeARN(t.Name))), ThingTypeId: &t.ID}, nil
}

func (r *iotRows) updateThingType(ctx context.Context, _ *Call, in *iotmodel.UpdateThingTypeInput) (*iotmodel.UpdateThingTypeOutput, error) {
	p, err := thingTypeProperties(in.ThingTypeProperties)
	if err != nil {
		return nil, err
	}
	return nil, r.registry.UpdateThingType(ctx, deref(in.ThingTypeName), p)
}

func (r *iotRows) describeThingType(ctx context.Context, _ *Call, in *iotmodel.DescribeThingTypeInput) (*iotmodel.DescribeThingTypeOutput, error) {
	t, err := r.registry.ThingType(ctx, deref(in.ThingTypeName))
	if err != nil {
		return nil, err
	}
	properties, metadata := describedType(&t)
	return &iotmodel.DescribeThingTypeOutput{
		ThingTypeName: &t.Name, ThingTypeId: &t.ID, ThingTypeArn: new(string(r.registry.ThingTypeARN(t.Name))),
		ThingTypeProperties: properties, ThingTypeMetadata: metadata,
	}, nil
}

func describedType(t *registry.ThingType) (*iotmodel.ThingTypeProperties, *iotmodel.ThingTypeMetadata) {
	m := &iotmodel.ThingTypeMetadata{Deprecated: new(t.Deprecated()), CreationDate: &t.CreatedAt}
	if t.Deprecated() {
		m.DeprecationDate = &t.DeprecatedAt
	}
	return &iotmodel.ThingTypeProperties{ThingTypeDescription: optional(t.Description), SearchableAttributes: t.Searchable}, m
}

func (r *iotRows) deprecateThingType(ctx context.Context, _ *Call, in *iotmodel.DeprecateThingTypeInput) (*iotmodel.DeprecateThingTypeOutput, error) {
	return nil, r.registry.DeprecateThingType(ctx, deref(in.ThingTypeName), deref(in.UndoDeprecate))
}

func (r *iotRows) deleteThingType(ctx context.Context, _ *Call, in *iotmodel.DeleteThingTypeInput) (*iotmodel.DeleteThingTypeOutput, error) {
	return nil, r.registry.DeleteThingType(ctx, deref(in.ThingTypeName))
}

func (r *iotRows) listThingTypes(ctx context.Context, _ *Call, in *iotmodel.ListThingTypesInput) (*iotmodel.ListThingTypesOutput, error) {
	list, next, err := r.registry.ThingTypes(ctx, deref(in.ThingTypeName), pageOf(in.MaxResults, in.NextToken))
	if err != nil {
		return nil, err
	}
	out := &iotmodel.ListThingTypesOutput{ThingTypes: make([]iotmodel.ThingTypeDefinition, len(list)), NextToken: optional(next)}
	for i := range list {
		t := &list[i]
		properties, metadata := describedType(t)
		out.ThingTypes[i] = iotmodel.ThingTypeDefinition{
			ThingTypeName: &t.Name, ThingTypeArn: new(string(r.registry.ThingTypeARN(t.Name))),
			ThingTypeProperties: properties, ThingTypeMetadata: metadata,
		}
	}
	return out, nil
}
