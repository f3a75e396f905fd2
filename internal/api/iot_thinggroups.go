package api

import (
	"context"

	iotmodel "github.com/sekisho-iot/sekisho/internal/api/model/iot"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/registry"
)

func (r *iotRows) thingGroups() []Operation {
	return []Operation{
		op("CreateThingGroup", "iot:CreateThingGroup", func(c *Call, in *iotmodel.CreateThingGroupInput) string {
			return iotResource(c, "thinggroup", in.ThingGroupName)
		}, r.createThingGroup),
		op("UpdateThingGroup", "iot:UpdateThingGroup", func(c *Call, in *iotmodel.UpdateThingGroupInput) string {
			return iotResource(c, "thinggroup", in.ThingGroupName)
		}, r.updateThingGroup),
		op("DeleteThingGroup", "iot:DeleteThingGroup", func(c *Call, in *iotmodel.DeleteThingGroupInput) string {
			return iotResource(c, "thinggroup", in.ThingGroupName)
		}, r.deleteThingGroup),
		op("DescribeThingGroup", "iot:DescribeThingGroup", func(c *Call, in *iotmodel.DescribeThingGroupInput) string {
			return iotResource(c, "thinggroup", in.ThingGroupName)
		}, r.describeThingGroup),
		op("ListThingGroups", "iot:ListThingGroups", nil, r.listThingGroups),
	}
}

// groupMembers are judged on the group by their rows, and on the thing by themselves.
func (r *iotRows) groupMembers() []Operation {
	return []Operation{
		op("AddThingToThingGroup", "iot:AddThingToThingGroup", func(c *Call, in *iotmodel.AddThingToThingGroupInput) string {
			return r.groupResource(c, in.ThingGroupName, in.ThingGroupArn)
		}, r.addThingToThingGroup),
		op("RemoveThingFromThingGroup", "iot:RemoveThingFromThingGroup", func(c *Call, in *iotmodel.RemoveThingFromThingGroupInput) string {
			return r.groupResource(c, in.ThingGroupName, in.ThingGroupArn)
		}, r.removeThingFromThingGroup),
		op("UpdateThingGroupsForThing", "iot:UpdateThingGroupsForThing", func(c *Call, in *iotmodel.UpdateThingGroupsForThingInput) string {
			return iotResource(c, "thing", in.ThingName)
		}, r.updateThingGroupsForThing),
		op("ListThingGroupsForThing", "iot:ListThingGroupsForThing", func(c *Call, in *iotmodel.ListThingGroupsForThingInput) string {
			return iotResource(c, "thing", in.ThingName)
		}, r.listThingGroupsForThing),
		op("ListThingsInThingGroup", "iot:ListThingsInThingGroup", func(c *Call, in *iotmodel.ListThingsInThingGroupInput) string {
			return iotResource(c, "thinggroup", in.ThingGroupName)
		}, r.listThingsInThingGroup),
	}
}

func (r *iotRows) createThingGroup(ctx context.Context, _ *Call, in *iotmodel.CreateThingGroupInput) (*iotmodel.CreateThingGroupOutput, error) {
	n := registry.NewThingGroup{Name: deref(in.ThingGroupName), Parent: deref(in.ParentGroupName), Tags: tagsOf(in.Tags)}
	if p := in.ThingGroupProperties; p != nil {
		n.Description = deref(p.ThingGroupDescription)
		if p.AttributePayload != nil {
			n.Attributes = p.AttributePayload.Attributes
		}
	}
	g, err := r.registry.CreateThingGroup(ctx, n)
	if err != nil {
		return nil, err
	}
	return &iotmodel.CreateThingGroupOutput{ThingGroupName: in.ThingGroupName, ThingGroupArn: r.groupARN(g.Name), ThingGroupId: &g.ID}, nil
}

func (r *iotRows) groupARN(name iot.ThingGroupName) *string {
	return new(string(r.registry.ThingGroupARN(name)))
}

func (r *iotRows) updateThingGroup(ctx context.Context, _ *Call, in *iotmodel.UpdateThingGroupInput) (*iotmodel.UpdateThingGroupOutput, error) {
	u := registry.ThingGroupUpdate{ExpectedVersion: in.ExpectedVersion}
	if p := in.ThingGroupProperties; p != nil {
		u.Description = p.ThingGroupDescription
		if a := p.AttributePayload; a != nil {
			u.Attributes = &registry.AttributePayload{Attributes: a.Attributes, Merge: deref(a.Merge)}
		}
	}
	version, err := r.registry.UpdateThingGroup(ctx, deref(in.ThingGroupName), u)
	if err != nil {
		return nil, err
	}
	return &iotmodel.UpdateThingGroupOutput{Version: &version}, nil
}

func (r *iotRows) deleteThingGroup(ctx context.Context, _ *Call, in *iotmodel.DeleteThingGroupInput) (*iotmodel.DeleteThingGroupOutput, error) {
	return nil, r.registry.DeleteThingGroup(ctx, deref(in.ThingGroupName), in.ExpectedVersion)
}

func (r *iotRows) describeThingGroup(ctx context.Context, _ *Call, in *iotmodel.DescribeThingGroupInput) (*iotmodel.DescribeThingGroupOutput, error) {
	g, err := r.registry.ThingGroup(ctx, deref(in.ThingGroupName))
	if err != nil {
		return nil, err
	}
	metadata := &iotmodel.ThingGroupMetadata{ParentGroupName: optional(string(g.Parent)), CreationDate: &g.CreatedAt}
	for i := range g.Above {
		metadata.RootToParentThingGroups = append(metadata.RootToParentThingGroups, r.nameAndARN(g.Above[i].Name))
	}
	properties := &iotmodel.ThingGroupProperties{ThingGroupDescription: optional(g.Description)}
	if len(g.Attributes) > 0 { // Terraform takes an empty payload for a change
		properties.AttributePayload = &iotmodel.AttributePayload{Attributes: g.Attributes}
	}
	return &iotmodel.DescribeThingGroupOutput{
		ThingGroupName: new(string(g.Name)), ThingGroupId: &g.ID, ThingGroupArn: r.groupARN(g.Name), Version: &g.Version,
		ThingGroupProperties: properties, ThingGroupMetadata: metadata,
	}, nil
}

func (r *iotRows) nameAndARN(name iot.ThingGroupName) iotmodel.GroupNameAndArn {
	return iotmodel.GroupNameAndArn{GroupName: new(string(name)), GroupArn: r.groupARN(name)}
}

func (r *iotRows) namesAndARNs(names []iot.ThingGroupName) []iotmodel.GroupNameAndArn {
	list := make([]iotmodel.GroupNameAndArn, len(names))
	for i, n := range names {
		list[i] = r.nameAndARN(n)
	}
	return list
}

func (r *iotRows) listThingGroups(ctx context.Context, _ *Call, in *iotmodel.ListThingGroupsInput) (*iotmodel.ListThingGroupsOutput, error) {
	list, next, err := r.registry.ThingGroups(ctx, registry.GroupFilter{
		Parent: iot.ThingGroupName(deref(in.ParentGroup)), Prefix: deref(in.NamePrefixFilter), Recursive: in.Recursive == nil || *in.Recursive,
	}, pageOf(in.MaxResults, in.NextToken))
	if err != nil {
		return nil, err
	}
	return &iotmodel.ListThingGroupsOutput{ThingGroups: r.namesAndARNs(list), NextToken: optional(next)}, nil
}

// groupResource is the ARN of a group that is given by name or ARN.
func (r *iotRows) groupResource(c *Call, name, arn *string) string {
	n, err := r.registry.GroupOf(deref(name), deref(arn))
	if err != nil {
		return deref(arn) // refused later, if this is allowed at all
	}
	return iotResource(c, "thinggroup", &n)
}

// alsoOn asks for the row's permission on another resource.
func (r *iotRows) alsoOn(ctx context.Context, c *Call, action, typ, name string) error {
	resource := iotResource(c, typ, &name)
	return c.Authorize(ctx, action, resource, &iotTagKeys{call: c, registry: r.registry, resource: resource})
}

// member are the names of a thing and of a group, which the caller may join or part.
func (r *iotRows) member(ctx context.Context, c *Call, action string, thingName, thingARN, groupName, groupARN *string) (thing, group string, err error) {
	if thing, err = r.registry.ThingOf(deref(thingName), deref(thingARN)); err != nil {
		return "", "", err
	}
	if group, err = r.registry.GroupOf(deref(groupName), deref(groupARN)); err != nil {
		return "", "", err
	}
	return thing, group, r.alsoOn(ctx, c, action, "thing", thing)
}

func (r *iotRows) addThingToThingGroup(ctx context.Context, c *Call, in *iotmodel.AddThingToThingGroupInput) (*iotmodel.AddThingToThingGroupOutput, error) {
	thing, group, err := r.member(ctx, c, "iot:AddThingToThingGroup", in.ThingName, in.ThingArn, in.ThingGroupName, in.ThingGroupArn)
	if err != nil {
		return nil, err
	}
	return nil, r.registry.ChangeMembership(ctx, thing, []string{group}, nil)
}

func (r *iotRows) removeThingFromThingGroup(ctx context.Context, c *Call, in *iotmodel.RemoveThingFromThingGroupInput) (*iotmodel.RemoveThingFromThingGroupOutput, error) {
	thing, group, err := r.member(ctx, c, "iot:RemoveThingFromThingGroup", in.ThingName, in.ThingArn, in.ThingGroupName, in.ThingGroupArn)
	if err != nil {
		return nil, err
	}
	return nil, r.registry.ChangeMembership(ctx, thing, nil, []string{group})
}

func (r *iotRows) updateThingGroupsForThing(ctx context.Context, c *Call, in *iotmodel.UpdateThingGroupsForThingInput) (*iotmodel.UpdateThingGroupsForThingOutput, error) {
	for _, list := range [][]string{in.ThingGroupsToAdd, in.ThingGroupsToRemove} {
		for _, g := range list {
			if err := r.alsoOn(ctx, c, "iot:UpdateThingGroupsForThing", "thinggroup", g); err != nil {
				return nil, err
			}
		}
	}
	return nil, r.registry.ChangeMembership(ctx, deref(in.ThingName), in.ThingGroupsToAdd, in.ThingGroupsToRemove)
}

func (r *iotRows) listThingGroupsForThing(ctx context.Context, _ *Call, in *iotmodel.ListThingGroupsForThingInput) (*iotmodel.ListThingGroupsForThingOutput, error) {
	list, next, err := r.registry.GroupsOfThing(ctx, deref(in.ThingName), pageOf(in.MaxResults, in.NextToken))
	if err != nil {
		return nil, err
	}
	return &iotmodel.ListThingGroupsForThingOutput{ThingGroups: r.namesAndARNs(list), NextToken: optional(next)}, nil
}

func (r *iotRows) listThingsInThingGroup(ctx context.Context, _ *Call, in *iotmodel.ListThingsInThingGroupInput) (*iotmodel.ListThingsInThingGroupOutput, error) {
	list, next, err := r.registry.ThingsInGroup(ctx, deref(in.ThingGroupName), deref(in.Recursive), pageOf(in.MaxResults, in.NextToken))
	if err != nil {
		return nil, err
	}
	out := &iotmodel.ListThingsInThingGroupOutput{Things: make([]string, len(list)), NextToken: optional(next)}
	for i := range list {
		out.Things[i] = string(list[i])
	}
	return out, nil
}
