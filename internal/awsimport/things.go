package awsimport

import (
	"context"
	"maps"
	"reflect"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"
)

const (
	kindType   = "thing type"
	kindGroup  = "thing group"
	kindThing  = "thing"
	kindMember = "member"
)

type policyVersion = iottypes.PolicyVersion

func (m *importer) thingTypes(ctx context.Context) error {
	pages := iot.NewListThingTypesPaginator(m.src.iot, &iot.ListThingTypesInput{MaxResults: aws.Int32(250)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, t := range page.ThingTypes {
			if t.ThingTypeMetadata != nil && t.ThingTypeMetadata.Deprecated {
				m.retire = append(m.retire, aws.ToString(t.ThingTypeName))
			}
		}
		if err := each(ctx, m, page.ThingTypes, m.thingType); err != nil {
			return err
		}
	}
	return nil
}

func (m *importer) thingType(ctx context.Context, t iottypes.ThingTypeDefinition) []Item {
	i := Item{Kind: kindType, Name: aws.ToString(t.ThingTypeName)}
	have, err := m.dst.iot.DescribeThingType(ctx, &iot.DescribeThingTypeInput{ThingTypeName: t.ThingTypeName})
	switch {
	case notFound(err):
		m.create(&i, func() error {
			_, err := m.dst.iot.CreateThingType(ctx, &iot.CreateThingTypeInput{ThingTypeName: t.ThingTypeName, ThingTypeProperties: t.ThingTypeProperties})
			return err
		})
	case err != nil:
		i.fail("the target", err)
	case !sameType(have.ThingTypeProperties, t.ThingTypeProperties):
		i.differ("its properties are others")
	default:
		i.Outcome = Unchanged
	}
	return []Item{i}
}

func sameType(a, b *iottypes.ThingTypeProperties) bool {
	if a == nil {
		a = &iottypes.ThingTypeProperties{}
	}
	if b == nil {
		b = &iottypes.ThingTypeProperties{}
	}
	return aws.ToString(a.ThingTypeDescription) == aws.ToString(b.ThingTypeDescription) &&
		(len(a.SearchableAttributes) == 0 && len(b.SearchableAttributes) == 0 || reflect.DeepEqual(a.SearchableAttributes, b.SearchableAttributes))
}

// retireTypes deprecates thing types: it comes last, since no thing can be made
// of one that is.
func (m *importer) retireTypes(ctx context.Context) error {
	return each(ctx, m, m.retire, func(ctx context.Context, name string) []Item {
		i := Item{Kind: "deprecation", Name: name}
		have, err := m.dst.iot.DescribeThingType(ctx, &iot.DescribeThingTypeInput{ThingTypeName: &name})
		switch {
		case m.absent(kindType, name):
			i.skip("the thing type is not at the target")
		case err == nil && have.ThingTypeMetadata != nil && have.ThingTypeMetadata.Deprecated:
			i.Outcome = Unchanged
		case err != nil && !notFound(err):
			i.fail("the target", err)
		default:
			m.create(&i, func() error {
				_, err := m.dst.iot.DeprecateThingType(ctx, &iot.DeprecateThingTypeInput{ThingTypeName: &name})
				return err
			})
		}
		return []Item{i}
	})
}

// thingGroups copies static thing groups, those above before those below.
func (m *importer) thingGroups(ctx context.Context) error {
	level := []string{""}
	for len(level) > 0 {
		var below []string
		for _, parent := range level {
			in := &iot.ListThingGroupsInput{MaxResults: aws.Int32(250), Recursive: aws.Bool(false)}
			if parent != "" {
				in.ParentGroup = &parent
			}
			pages := iot.NewListThingGroupsPaginator(m.src.iot, in)
			for pages.HasMorePages() {
				page, err := pages.NextPage(ctx)
				if err != nil {
					return err
				}
				names := make([]string, len(page.ThingGroups))
				for i, g := range page.ThingGroups {
					names[i] = aws.ToString(g.GroupName)
				}
				below = append(below, names...)
				if err := each(ctx, m, names, func(ctx context.Context, name string) []Item { return m.thingGroup(ctx, name, parent) }); err != nil {
					return err
				}
			}
		}
		m.groups = append(m.groups, below...)
		level = below
	}
	return nil
}

func (m *importer) thingGroup(ctx context.Context, name, parent string) []Item {
	i := Item{Kind: kindGroup, Name: name}
	want, err := m.src.iot.DescribeThingGroup(ctx, &iot.DescribeThingGroupInput{ThingGroupName: &name})
	if err != nil {
		i.fail("the source", err)
		return []Item{i}
	}
	have, err := m.dst.iot.DescribeThingGroup(ctx, &iot.DescribeThingGroupInput{ThingGroupName: &name})
	switch {
	case aws.ToString(want.QueryString) != "":
		i.skip("it is a dynamic thing group")
	case parent != "" && m.absent(kindGroup, parent):
		i.skip("its parent %s is not at the target", parent)
	case notFound(err):
		in := &iot.CreateThingGroupInput{ThingGroupName: &name, ThingGroupProperties: want.ThingGroupProperties}
		if parent != "" {
			in.ParentGroupName = &parent
		}
		m.create(&i, func() error {
			_, err := m.dst.iot.CreateThingGroup(ctx, in)
			return err
		})
	case err != nil:
		i.fail("the target", err)
	case parentOf(have) != parent:
		i.differ("its parent is %q", parentOf(have))
	case !sameGroup(have.ThingGroupProperties, want.ThingGroupProperties):
		i.differ("its properties are others")
	default:
		i.Outcome = Unchanged
	}
	return []Item{i}
}

func parentOf(g *iot.DescribeThingGroupOutput) string {
	if g.ThingGroupMetadata == nil {
		return ""
	}
	return aws.ToString(g.ThingGroupMetadata.ParentGroupName)
}

func sameGroup(a, b *iottypes.ThingGroupProperties) bool {
	describe := func(p *iottypes.ThingGroupProperties) (string, map[string]string) {
		if p == nil || p.AttributePayload == nil {
			p2 := iottypes.ThingGroupProperties{}
			if p != nil {
				p2 = *p
			}
			return aws.ToString(p2.ThingGroupDescription), nil
		}
		return aws.ToString(p.ThingGroupDescription), p.AttributePayload.Attributes
	}
	saysA, attributesA := describe(a)
	saysB, attributesB := describe(b)
	return saysA == saysB && maps.Equal(attributesA, attributesB)
}

// memberships puts things into their groups.
func (m *importer) memberships(ctx context.Context) error {
	for _, group := range m.groups {
		if m.absent(kindGroup, group) {
			continue // that was said
		}
		have := map[string]bool{}
		if err := members(ctx, m.dst.iot, group, func(list []string) error {
			for _, t := range list {
				have[t] = true
			}
			return nil
		}); err != nil && !notFound(err) {
			if !notBuilt(err) {
				return err
			}
			i := Item{Kind: kindMember, Name: "all of " + group}
			i.fail("the target", err)
			m.add(&i)
			continue
		}
		if err := members(ctx, m.src.iot, group, func(list []string) error {
			return each(ctx, m, list, func(ctx context.Context, thing string) []Item {
				i := Item{Kind: kindMember, Name: thing + " of " + group}
				switch {
				case have[thing]:
					i.Outcome = Unchanged
				case m.absent(kindThing, thing):
					i.skip("the thing is not at the target")
				default:
					m.create(&i, func() error {
						_, err := m.dst.iot.AddThingToThingGroup(ctx, &iot.AddThingToThingGroupInput{ThingGroupName: &group, ThingName: &thing})
						return err
					})
				}
				return []Item{i}
			})
		}); err != nil {
			return err
		}
	}
	return nil
}

func members(ctx context.Context, c *iot.Client, group string, do func([]string) error) error {
	pages := iot.NewListThingsInThingGroupPaginator(c, &iot.ListThingsInThingGroupInput{ThingGroupName: &group, MaxResults: aws.Int32(250)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		if err := do(page.Things); err != nil {
			return err
		}
	}
	return nil
}

func (m *importer) things(ctx context.Context) error {
	pages := iot.NewListThingsPaginator(m.src.iot, &iot.ListThingsInput{MaxResults: aws.Int32(250)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		if err := each(ctx, m, page.Things, m.thing); err != nil {
			return err
		}
	}
	return nil
}

func (m *importer) thing(ctx context.Context, t iottypes.ThingAttribute) []Item {
	i := Item{Kind: kindThing, Name: aws.ToString(t.ThingName)}
	typ := aws.ToString(t.ThingTypeName)
	have, err := m.dst.iot.DescribeThing(ctx, &iot.DescribeThingInput{ThingName: t.ThingName})
	switch {
	case err == nil && aws.ToString(have.ThingTypeName) != typ:
		i.differ("its thing type is %q", aws.ToString(have.ThingTypeName))
	case err == nil && !maps.Equal(have.Attributes, t.Attributes):
		i.differ("its attributes are others")
	case err == nil:
		i.Outcome = Unchanged
	case !notFound(err):
		i.fail("the target", err)
	case typ != "" && m.absent(kindType, typ):
		i.skip("its thing type %s is not at the target", typ)
	default:
		in := &iot.CreateThingInput{ThingName: t.ThingName, ThingTypeName: t.ThingTypeName}
		if len(t.Attributes) > 0 {
			in.AttributePayload = &iottypes.AttributePayload{Attributes: t.Attributes}
		}
		m.create(&i, func() error {
			_, err := m.dst.iot.CreateThing(ctx, in)
			return err
		})
	}
	return []Item{i}
}
