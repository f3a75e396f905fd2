package api

import (
	"context"

	iotmodel "github.com/sekisho-iot/sekisho/internal/api/model/iot"
	"github.com/sekisho-iot/sekisho/internal/registry"
)

func (r *iotRows) events() []Operation {
	return []Operation{
		op("UpdateEventConfigurations", "iot:UpdateEventConfigurations", nil, r.updateEventConfigurations),
		op("DescribeEventConfigurations", "iot:DescribeEventConfigurations", nil, r.describeEventConfigurations),
	}
}

func (r *iotRows) updateEventConfigurations(ctx context.Context, _ *Call, in *iotmodel.UpdateEventConfigurationsInput) (*iotmodel.UpdateEventConfigurationsOutput, error) {
	enabled := map[registry.EventType]bool{}
	for typ, c := range in.EventConfigurations {
		enabled[registry.EventType(typ)] = deref(c.Enabled)
	}
	return nil, r.registry.SetEventConfigurations(ctx, enabled)
}

func (r *iotRows) describeEventConfigurations(ctx context.Context, _ *Call, _ *iotmodel.DescribeEventConfigurationsInput) (*iotmodel.DescribeEventConfigurationsOutput, error) {
	c, err := r.registry.EventConfigurations(ctx)
	if err != nil {
		return nil, err
	}
	out := &iotmodel.DescribeEventConfigurationsOutput{EventConfigurations: map[string]iotmodel.Configuration{}}
	for typ, on := range c.Enabled {
		out.EventConfigurations[string(typ)] = iotmodel.Configuration{Enabled: new(on)}
	}
	if !c.CreatedAt.IsZero() {
		out.CreationDate, out.LastModifiedDate = &c.CreatedAt, &c.ModifiedAt
	}
	return out, nil
}
