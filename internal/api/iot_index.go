package api

import (
	"context"

	iotmodel "github.com/sekisho-iot/sekisho/internal/api/model/iot"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/registry"
)

func (r *iotRows) index() []Operation {
	return []Operation{
		op("SearchIndex", "iot:SearchIndex", func(c *Call, in *iotmodel.SearchIndexInput) string {
			if in.IndexName == nil {
				return iotResource(c, "index", new(registry.ThingsIndex))
			}
			return iotResource(c, "index", in.IndexName)
		}, r.searchIndex),
		op("DescribeIndex", "iot:DescribeIndex", func(c *Call, in *iotmodel.DescribeIndexInput) string {
			return iotResource(c, "index", in.IndexName)
		}, r.describeIndex),
		op("ListIndices", "iot:ListIndices", nil, r.listIndices),
		op("GetIndexingConfiguration", "iot:GetIndexingConfiguration", nil, r.getIndexingConfiguration),
		op("UpdateIndexingConfiguration", "iot:UpdateIndexingConfiguration", nil, r.updateIndexingConfiguration),
	}
}

func checkIndexName(name *string) error {
	switch n := deref(name); n {
	case "", registry.ThingsIndex:
		return nil
	case "AWS_ThingGroups":
		return iot.Errorf(iot.KindNotBuilt, "index", "The index AWS_ThingGroups is not built yet")
	default:
		return iot.Errorf(iot.KindNotFound, "index", "Index %s does not exist", clipped(n))
	}
}

func (r *iotRows) searchIndex(ctx context.Context, _ *Call, in *iotmodel.SearchIndexInput) (*iotmodel.SearchIndexOutput, error) {
	if err := checkIndexName(in.IndexName); err != nil {
		return nil, err
	}
	if v := deref(in.QueryVersion); v != "" && v != "2017-09-30" {
		return nil, iot.Errorf(iot.KindInvalid, "query", "Query version %s is not supported", clipped(v))
	}
	list, next, err := r.registry.SearchThings(ctx, deref(in.QueryString), pageOf(in.MaxResults, in.NextToken))
	if err != nil {
		return nil, err
	}
	out := &iotmodel.SearchIndexOutput{Things: make([]iotmodel.ThingDocument, len(list)), NextToken: optional(next)}
	for i := range list {
		d := &list[i]
		doc := iotmodel.ThingDocument{ThingName: new(string(d.Name)), ThingId: &d.ID, ThingTypeName: optional(d.TypeName), Attributes: d.Attributes}
		for _, g := range d.Groups {
			doc.ThingGroupNames = append(doc.ThingGroupNames, string(g))
		}
		if c := d.Connectivity; c != nil {
			doc.Connectivity = &iotmodel.ThingConnectivity{Connected: &c.Connected, Timestamp: new(c.Since.UnixMilli())}
			if !c.Connected {
				doc.Connectivity.DisconnectReason = optional(c.Reason)
			}
		}
		out.Things[i] = doc
	}
	return out, nil
}

func (r *iotRows) describeIndex(ctx context.Context, _ *Call, in *iotmodel.DescribeIndexInput) (*iotmodel.DescribeIndexOutput, error) {
	if err := checkIndexName(in.IndexName); err != nil {
		return nil, err
	}
	c, err := r.registry.IndexingConfiguration(ctx)
	if err != nil {
		return nil, err
	}
	if c.Things == registry.IndexOff {
		return nil, iot.Errorf(iot.KindNotFound, "index", "Index %s does not exist: thing indexing is off", registry.ThingsIndex)
	}
	schema := "REGISTRY"
	if c.Connectivity != registry.IndexOff {
		schema = "REGISTRY_AND_CONNECTIVITY_STATUS"
	}
	return &iotmodel.DescribeIndexOutput{IndexName: new(registry.ThingsIndex), IndexStatus: new("ACTIVE"), Schema: &schema}, nil
}

func (r *iotRows) listIndices(ctx context.Context, _ *Call, in *iotmodel.ListIndicesInput) (*iotmodel.ListIndicesOutput, error) {
	if deref(in.NextToken) != "" { // there is never a second page
		return nil, iot.Errorf(iot.KindInvalid, "page-token", "Invalid pagination token")
	}
	c, err := r.registry.IndexingConfiguration(ctx)
	if err != nil {
		return nil, err
	}
	out := &iotmodel.ListIndicesOutput{IndexNames: []string{}}
	if c.Things != registry.IndexOff {
		out.IndexNames = append(out.IndexNames, registry.ThingsIndex)
	}
	return out, nil
}

func (r *iotRows) getIndexingConfiguration(ctx context.Context, _ *Call, _ *iotmodel.GetIndexingConfigurationInput) (*iotmodel.GetIndexingConfigurationOutput, error) {
	c, err := r.registry.IndexingConfiguration(ctx)
	if err != nil {
		return nil, err
	}
	things := &iotmodel.ThingIndexingConfiguration{
		ThingIndexingMode: &c.Things, ThingConnectivityIndexingMode: &c.Connectivity,
		DeviceDefenderIndexingMode: new(registry.IndexOff), NamedShadowIndexingMode: new(registry.IndexOff),
	}
	if c.Things != registry.IndexOff {
		things.ManagedFields = indexFields([]registry.IndexField{
			{Name: "thingId", Type: "String"},
			{Name: "thingName", Type: "String"},
			{Name: "registry.version", Type: "Number"},
			{Name: "registry.thingTypeName", Type: "String"},
			{Name: "registry.thingGroupNames", Type: "String"},
		})
		things.CustomFields = indexFields(c.CustomFields)
	}
	if c.Connectivity != registry.IndexOff {
		things.ManagedFields = append(things.ManagedFields, indexFields([]registry.IndexField{
			{Name: "connectivity.connected", Type: "Boolean"}, {Name: "connectivity.timestamp", Type: "Number"}, {Name: "connectivity.disconnectReason", Type: "String"},
		})...)
	}
	return &iotmodel.GetIndexingConfigurationOutput{
		ThingIndexingConfiguration:      things,
		ThingGroupIndexingConfiguration: &iotmodel.ThingGroupIndexingConfiguration{ThingGroupIndexingMode: new(registry.IndexOff)},
	}, nil
}

func indexFields(in []registry.IndexField) []iotmodel.Field {
	list := make([]iotmodel.Field, len(in))
	for i := range in {
		list[i] = iotmodel.Field{Name: &in[i].Name, Type: &in[i].Type}
	}
	return list
}

// updateIndexingConfiguration refuses what would be indexed of what is not built.
func (r *iotRows) updateIndexingConfiguration(ctx context.Context, _ *Call, in *iotmodel.UpdateIndexingConfigurationInput) (*iotmodel.UpdateIndexingConfigurationOutput, error) {
	if g := in.ThingGroupIndexingConfiguration; g != nil && deref(g.ThingGroupIndexingMode) != registry.IndexOff {
		return nil, iot.Errorf(iot.KindNotBuilt, "index", "UpdateIndexingConfiguration with thingGroupIndexingMode ON is not built yet")
	}
	t := in.ThingIndexingConfiguration
	if t == nil {
		return nil, nil
	}
	for mode, on := range map[string]bool{
		"thingIndexingMode REGISTRY_AND_SHADOW": deref(t.ThingIndexingMode) == "REGISTRY_AND_SHADOW",
		"deviceDefenderIndexingMode VIOLATIONS": t.DeviceDefenderIndexingMode != nil && *t.DeviceDefenderIndexingMode != registry.IndexOff,
		"namedShadowIndexingMode ON":            t.NamedShadowIndexingMode != nil && *t.NamedShadowIndexingMode != registry.IndexOff,
		"filter":                                t.Filter != nil && len(t.Filter.NamedShadowNames)+len(t.Filter.GeoLocations) > 0,
	} {
		if on {
			return nil, iot.Errorf(iot.KindNotBuilt, "index", "UpdateIndexingConfiguration with %s is not built yet", mode)
		}
	}
	c := registry.IndexingConfiguration{Things: deref(t.ThingIndexingMode), Connectivity: deref(t.ThingConnectivityIndexingMode)}
	for _, f := range t.CustomFields {
		c.CustomFields = append(c.CustomFields, registry.IndexField{Name: deref(f.Name), Type: deref(f.Type)})
	}
	return nil, r.registry.SetIndexingConfiguration(ctx, c)
}
