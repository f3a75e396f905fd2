package api

import (
	"context"
	"errors"

	iotmodel "github.com/sekisho-iot/sekisho/internal/api/model/iot"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
	"github.com/sekisho-iot/sekisho/internal/registry"
	"github.com/sekisho-iot/sekisho/internal/sts"
)

func (r *iotRows) roleAliases() []Operation {
	return []Operation{
		op("CreateRoleAlias", "iot:CreateRoleAlias", func(c *Call, in *iotmodel.CreateRoleAliasInput) string {
			return iotResource(c, "rolealias", in.RoleAlias)
		}, r.createRoleAlias),
		op("UpdateRoleAlias", "iot:UpdateRoleAlias", func(c *Call, in *iotmodel.UpdateRoleAliasInput) string {
			return iotResource(c, "rolealias", in.RoleAlias)
		}, r.updateRoleAlias),
		op("DescribeRoleAlias", "iot:DescribeRoleAlias", func(c *Call, in *iotmodel.DescribeRoleAliasInput) string {
			return iotResource(c, "rolealias", in.RoleAlias)
		}, r.describeRoleAlias),
		op("DeleteRoleAlias", "iot:DeleteRoleAlias", func(c *Call, in *iotmodel.DeleteRoleAliasInput) string {
			return iotResource(c, "rolealias", in.RoleAlias)
		}, r.deleteRoleAlias),
		op("ListRoleAliases", "iot:ListRoleAliases", nil, r.listRoleAliases),
	}
}

// passRole says to whom a role is handed over, and for what.
type passRole struct{ service, resource string }

// Lookup implements policy.Keys.
func (p passRole) Lookup(key string) policy.Values {
	switch key {
	case "iam:passedtoservice":
		return policy.One(p.service)
	case "iam:associatedresourcearn":
		return policy.One(p.resource)
	}
	return policy.Values{}
}

func (r *iotRows) mayPassRole(ctx context.Context, c *Call, role, alias *string) error {
	return c.Authorize(ctx, "iam:PassRole", deref(role), passRole{"credentials.iot.amazonaws.com", iotResource(c, "rolealias", alias)})
}

func (r *iotRows) createRoleAlias(ctx context.Context, c *Call, in *iotmodel.CreateRoleAliasInput) (*iotmodel.CreateRoleAliasOutput, error) {
	if err := registry.CheckTags(tagsOf(in.Tags)); err != nil {
		return nil, err
	}
	if err := r.mayPassRole(ctx, c, in.RoleArn, in.RoleAlias); err != nil {
		return nil, err
	}
	tags := make([]sts.Tag, len(in.Tags))
	for i, t := range in.Tags {
		tags[i] = sts.Tag{Key: deref(t.Key), Value: deref(t.Value)}
	}
	if _, err := r.aliases.Create(ctx, deref(in.RoleAlias), deref(in.RoleArn), seconds(in.CredentialDurationSeconds), tags); err != nil {
		if e, ok := errors.AsType[*iot.Error](err); ok && e.Kind == iot.KindExists {
			e.ARN = *r.aliasARN(in.RoleAlias)
		}
		return nil, err
	}
	return &iotmodel.CreateRoleAliasOutput{RoleAlias: in.RoleAlias, RoleAliasArn: r.aliasARN(in.RoleAlias)}, nil
}

func (r *iotRows) aliasARN(name *string) *string { return new(string(r.aliases.ARN(deref(name)))) }

func seconds(n *int32) *int {
	if n == nil {
		return nil
	}
	return new(int(*n))
}

func (r *iotRows) updateRoleAlias(ctx context.Context, c *Call, in *iotmodel.UpdateRoleAliasInput) (*iotmodel.UpdateRoleAliasOutput, error) {
	if in.RoleArn != nil {
		if err := r.mayPassRole(ctx, c, in.RoleArn, in.RoleAlias); err != nil {
			return nil, err
		}
	}
	change := sts.AliasChange{RoleARN: in.RoleArn, Duration: seconds(in.CredentialDurationSeconds)}
	if err := r.aliases.Update(ctx, deref(in.RoleAlias), change); err != nil {
		return nil, err
	}
	return &iotmodel.UpdateRoleAliasOutput{RoleAlias: in.RoleAlias, RoleAliasArn: r.aliasARN(in.RoleAlias)}, nil
}

func (r *iotRows) describeRoleAlias(ctx context.Context, c *Call, in *iotmodel.DescribeRoleAliasInput) (*iotmodel.DescribeRoleAliasOutput, error) {
	a, err := r.aliases.Describe(ctx, deref(in.RoleAlias))
	if err != nil {
		return nil, err
	}
	return &iotmodel.DescribeRoleAliasOutput{RoleAliasDescription: &iotmodel.RoleAliasDescription{
		RoleAlias: &a.Name, RoleAliasArn: r.aliasARN(&a.Name), RoleArn: &a.RoleARN, Owner: new(string(c.Account)),
		CredentialDurationSeconds: new(int32(a.Duration)), CreationDate: &a.CreatedAt, LastModifiedDate: &a.UpdatedAt, //nolint:gosec // at most 43200
	}}, nil
}

func (r *iotRows) deleteRoleAlias(ctx context.Context, _ *Call, in *iotmodel.DeleteRoleAliasInput) (*iotmodel.DeleteRoleAliasOutput, error) {
	return nil, r.aliases.Delete(ctx, deref(in.RoleAlias))
}

func (r *iotRows) listRoleAliases(ctx context.Context, _ *Call, in *iotmodel.ListRoleAliasesInput) (*iotmodel.ListRoleAliasesOutput, error) {
	p := pageOf(in.PageSize, in.Marker)
	list, next, err := r.aliases.List(ctx, deref(in.AscendingOrder), p.Limit, p.Token)
	if err != nil {
		return nil, err
	}
	out := &iotmodel.ListRoleAliasesOutput{RoleAliases: make([]string, len(list)), NextMarker: optional(next)}
	for i := range list {
		out.RoleAliases[i] = list[i].Name
	}
	return out, nil
}
