package api

import (
	"context"

	iotmodel "github.com/sekisho-iot/sekisho/internal/api/model/iot"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/registry"
)

// principalRows are the listings that name the type of an attachment, and the
// older names of the policy operations, which old scripts and SDKs still use.
func (r *iotRows) principalRows() []Operation {
	return []Operation{
		op("ListThingPrincipalsV2", "iot:ListThingPrincipalsV2", func(c *Call, in *iotmodel.ListThingPrincipalsV2Input) string {
			return iotResource(c, "thing", in.ThingName)
		}, r.listThingPrincipalsV2),
		op("ListPrincipalThingsV2", "iot:ListPrincipalThingsV2", func(_ *Call, in *iotmodel.ListPrincipalThingsV2Input) string {
			return deref(in.Principal)
		}, r.listPrincipalThingsV2),
		op("AttachPrincipalPolicy", "iot:AttachPrincipalPolicy", func(_ *Call, in *iotmodel.AttachPrincipalPolicyInput) string {
			return deref(in.Principal)
		}, r.attachPrincipalPolicy),
		op("DetachPrincipalPolicy", "iot:DetachPrincipalPolicy", func(_ *Call, in *iotmodel.DetachPrincipalPolicyInput) string {
			return deref(in.Principal)
		}, r.detachPrincipalPolicy),
		op("ListPrincipalPolicies", "iot:ListPrincipalPolicies", func(_ *Call, in *iotmodel.ListPrincipalPoliciesInput) string {
			return deref(in.Principal)
		}, r.listPrincipalPolicies),
		op("ListPolicyPrincipals", "iot:ListPolicyPrincipals", func(c *Call, in *iotmodel.ListPolicyPrincipalsInput) string {
			return iotResource(c, "policy", in.PolicyName)
		}, r.listPolicyPrincipals),
		op("GetEffectivePolicies", "iot:GetEffectivePolicies", func(_ *Call, in *iotmodel.GetEffectivePoliciesInput) string {
			return deref(in.Principal)
		}, r.getEffectivePolicies),
	}
}

func (r *iotRows) listThingPrincipalsV2(ctx context.Context, _ *Call, in *iotmodel.ListThingPrincipalsV2Input) (*iotmodel.ListThingPrincipalsV2Output, error) {
	typ, err := attachmentType(in.ThingPrincipalType)
	if err != nil {
		return nil, err
	}
	list, next, err := r.registry.ThingPrincipals(ctx, deref(in.ThingName), typ, pageOf(in.MaxResults, in.NextToken))
	if err != nil {
		return nil, err
	}
	out := &iotmodel.ListThingPrincipalsV2Output{ThingPrincipalObjects: make([]iotmodel.ThingPrincipalObject, len(list)), NextToken: optional(next)}
	for i := range list {
		out.ThingPrincipalObjects[i] = iotmodel.ThingPrincipalObject{Principal: new(string(list[i].Principal)), ThingPrincipalType: new(string(list[i].Type))}
	}
	return out, nil
}

func (r *iotRows) listPrincipalThingsV2(ctx context.Context, _ *Call, in *iotmodel.ListPrincipalThingsV2Input) (*iotmodel.ListPrincipalThingsV2Output, error) {
	typ, err := attachmentType(in.ThingPrincipalType)
	if err != nil {
		return nil, err
	}
	list, next, err := r.registry.PrincipalThings(ctx, deref(in.Principal), typ, pageOf(in.MaxResults, in.NextToken))
	if err != nil {
		return nil, err
	}
	out := &iotmodel.ListPrincipalThingsV2Output{PrincipalThingObjects: make([]iotmodel.PrincipalThingObject, len(list)), NextToken: optional(next)}
	for i := range list {
		out.PrincipalThingObjects[i] = iotmodel.PrincipalThingObject{ThingName: new(string(list[i].Thing)), ThingPrincipalType: new(string(list[i].Type))}
	}
	return out, nil
}

func attachmentType(s *string) (registry.AttachmentType, error) {
	switch typ := registry.AttachmentType(deref(s)); typ {
	case "", registry.ExclusiveThing, registry.NonExclusiveThing:
		return typ, nil
	}
	return "", iot.Errorf(iot.KindInvalid, "thing", "Invalid thingPrincipalType: %s", clipped(*s))
}

func (r *iotRows) attachPrincipalPolicy(ctx context.Context, _ *Call, in *iotmodel.AttachPrincipalPolicyInput) (*iotmodel.AttachPrincipalPolicyOutput, error) {
	if err := r.registry.CheckPrincipal(deref(in.Principal)); err != nil {
		return nil, err
	}
	return nil, r.registry.AttachPolicy(ctx, deref(in.PolicyName), deref(in.Principal))
}

func (r *iotRows) detachPrincipalPolicy(ctx context.Context, _ *Call, in *iotmodel.DetachPrincipalPolicyInput) (*iotmodel.DetachPrincipalPolicyOutput, error) {
	if err := r.registry.CheckPrincipal(deref(in.Principal)); err != nil {
		return nil, err
	}
	return nil, r.registry.DetachPolicy(ctx, deref(in.PolicyName), deref(in.Principal))
}

func (r *iotRows) listPrincipalPolicies(ctx context.Context, _ *Call, in *iotmodel.ListPrincipalPoliciesInput) (*iotmodel.ListPrincipalPoliciesOutput, error) {
	if err := r.registry.CheckPrincipal(deref(in.Principal)); err != nil {
		return nil, err
	}
	names, next, err := r.registry.AttachedPolicies(ctx, deref(in.Principal), false, pageOf(in.PageSize, in.Marker))
	if err != nil {
		return nil, err
	}
	return &iotmodel.ListPrincipalPoliciesOutput{Policies: r.policyList(names), NextMarker: optional(next)}, nil
}

func (r *iotRows) listPolicyPrincipals(ctx context.Context, _ *Call, in *iotmodel.ListPolicyPrincipalsInput) (*iotmodel.ListPolicyPrincipalsOutput, error) {
	list, next, err := r.registry.PolicyTargets(ctx, deref(in.PolicyName), pageOf(in.PageSize, in.Marker))
	if err != nil {
		return nil, err
	}
	out := &iotmodel.ListPolicyPrincipalsOutput{Principals: make([]string, 0, len(list)), NextMarker: optional(next)}
	for _, arn := range list {
		if r.registry.CheckPrincipal(string(arn)) == nil { // groups are none
			out.Principals = append(out.Principals, string(arn))
		}
	}
	return out, nil
}

// getEffectivePolicies answers what decides about a certificate as a thing.
func (r *iotRows) getEffectivePolicies(ctx context.Context, _ *Call, in *iotmodel.GetEffectivePoliciesInput) (*iotmodel.GetEffectivePoliciesOutput, error) {
	if in.CognitoIdentityPoolId != nil {
		return nil, iot.Errorf(iot.KindNotBuilt, "principal", "GetEffectivePolicies for Cognito identity pools is not built yet")
	}
	if in.Principal == nil && in.ThingName == nil {
		return nil, iot.Errorf(iot.KindInvalid, "principal", "Either principal or thingName must be given")
	}
	list, err := r.registry.EffectivePolicies(ctx, deref(in.Principal), deref(in.ThingName))
	if err != nil {
		return nil, err
	}
	out := &iotmodel.GetEffectivePoliciesOutput{EffectivePolicies: make([]iotmodel.EffectivePolicy, len(list))}
	for i := range list {
		out.EffectivePolicies[i] = iotmodel.EffectivePolicy{
			PolicyName: new(string(list[i].Name)), PolicyArn: new(string(r.registry.PolicyARN(list[i].Name))), PolicyDocument: &list[i].Document,
		}
	}
	return out, nil
}
