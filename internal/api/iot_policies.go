package api

import (
	"context"
	"strconv"

	iotmodel "github.com/sekisho-iot/sekisho/internal/api/model/iot"
	"github.com/sekisho-iot/sekisho/internal/iot"
)

func (r *iotRows) policies() []Operation {
	return []Operation{
		op("CreatePolicy", "iot:CreatePolicy", func(c *Call, in *iotmodel.CreatePolicyInput) string {
			return iotResource(c, "policy", in.PolicyName)
		}, r.createPolicy),
		op("DeletePolicy", "iot:DeletePolicy", func(c *Call, in *iotmodel.DeletePolicyInput) string {
			return iotResource(c, "policy", in.PolicyName)
		}, r.deletePolicy),
		op("GetPolicy", "iot:GetPolicy", func(c *Call, in *iotmodel.GetPolicyInput) string {
			return iotResource(c, "policy", in.PolicyName)
		}, r.getPolicy),
		op("ListPolicies", "iot:ListPolicies", nil, r.listPolicies),
		op("CreatePolicyVersion", "iot:CreatePolicyVersion", func(c *Call, in *iotmodel.CreatePolicyVersionInput) string {
			return iotResource(c, "policy", in.PolicyName)
		}, r.createPolicyVersion),
		op("DeletePolicyVersion", "iot:DeletePolicyVersion", func(c *Call, in *iotmodel.DeletePolicyVersionInput) string {
			return iotResource(c, "policy", in.PolicyName)
		}, r.deletePolicyVersion),
		op("GetPolicyVersion", "iot:GetPolicyVersion", func(c *Call, in *iotmodel.GetPolicyVersionInput) string {
			return iotResource(c, "policy", in.PolicyName)
		}, r.getPolicyVersion),
		op("ListPolicyVersions", "iot:ListPolicyVersions", func(c *Call, in *iotmodel.ListPolicyVersionsInput) string {
			return iotResource(c, "policy", in.PolicyName)
		}, r.listPolicyVersions),
		op("SetDefaultPolicyVersion", "iot:SetDefaultPolicyVersion", func(c *Call, in *iotmodel.SetDefaultPolicyVersionInput) string {
			return iotResource(c, "policy", in.PolicyName)
		}, r.setDefaultPolicyVersion),
	}
}

func policyVersionID(n int64) *string { return new(strconv.FormatInt(n, 10)) }

func (r *iotRows) policyARN(name *string) *string {
	return new(string(r.registry.PolicyARN(iot.PolicyName(deref(name)))))
}

func (r *iotRows) createPolicy(ctx context.Context, _ *Call, in *iotmodel.CreatePolicyInput) (*iotmodel.CreatePolicyOutput, error) {
	_, v, err := r.registry.CreatePolicy(ctx, deref(in.PolicyName), deref(in.PolicyDocument), tagsOf(in.Tags))
	if err != nil {
		return nil, err
	}
	return &iotmodel.CreatePolicyOutput{
		PolicyName: in.PolicyName, PolicyArn: r.policyARN(in.PolicyName), PolicyDocument: in.PolicyDocument, PolicyVersionId: policyVersionID(v.ID),
	}, nil
}

func (r *iotRows) deletePolicy(ctx context.Context, _ *Call, in *iotmodel.DeletePolicyInput) (*iotmodel.DeletePolicyOutput, error) {
	return nil, r.registry.DeletePolicy(ctx, deref(in.PolicyName))
}

func (r *iotRows) getPolicy(ctx context.Context, _ *Call, in *iotmodel.GetPolicyInput) (*iotmodel.GetPolicyOutput, error) {
	p, v, err := r.registry.Policy(ctx, deref(in.PolicyName))
	if err != nil {
		return nil, err
	}
	return &iotmodel.GetPolicyOutput{
		PolicyName: in.PolicyName, PolicyArn: r.policyARN(in.PolicyName), PolicyDocument: &v.Document, DefaultVersionId: policyVersionID(p.DefaultVersion),
		CreationDate: &p.CreatedAt, LastModifiedDate: &p.UpdatedAt, GenerationId: &p.GenerationID,
	}, nil
}

func (r *iotRows) listPolicies(ctx context.Context, _ *Call, in *iotmodel.ListPoliciesInput) (*iotmodel.ListPoliciesOutput, error) {
	list, next, err := r.registry.Policies(ctx, deref(in.AscendingOrder), pageOf(in.PageSize, in.Marker))
	if err != nil {
		return nil, err
	}
	names := make([]iot.PolicyName, len(list))
	for i := range list {
		names[i] = list[i].Name
	}
	return &iotmodel.ListPoliciesOutput{Policies: r.policyList(names), NextMarker: optional(next)}, nil
}

func (r *iotRows) policyList(names []iot.PolicyName) []iotmodel.Policy {
	list := make([]iotmodel.Policy, len(names))
	for i, n := range names {
		list[i] = iotmodel.Policy{PolicyName: new(string(n)), PolicyArn: new(string(r.registry.PolicyARN(n)))}
	}
	return list
}

func (r *iotRows) createPolicyVersion(ctx context.Context, _ *Call, in *iotmodel.CreatePolicyVersionInput) (*iotmodel.CreatePolicyVersionOutput, error) {
	v, err := r.registry.CreatePolicyVersion(ctx, deref(in.PolicyName), deref(in.PolicyDocument), deref(in.SetAsDefault))
	if err != nil {
		return nil, err
	}
	return &iotmodel.CreatePolicyVersionOutput{
		PolicyArn: r.policyARN(in.PolicyName), PolicyDocument: in.PolicyDocument, PolicyVersionId: policyVersionID(v.ID), IsDefaultVersion: &v.Default,
	}, nil
}

func (r *iotRows) deletePolicyVersion(ctx context.Context, _ *Call, in *iotmodel.DeletePolicyVersionInput) (*iotmodel.DeletePolicyVersionOutput, error) {
	return nil, r.registry.DeletePolicyVersion(ctx, deref(in.PolicyName), deref(in.PolicyVersionId))
}

func (r *iotRows) getPolicyVersion(ctx context.Context, _ *Call, in *iotmodel.GetPolicyVersionInput) (*iotmodel.GetPolicyVersionOutput, error) {
	p, v, err := r.registry.PolicyVersion(ctx, deref(in.PolicyName), deref(in.PolicyVersionId))
	if err != nil {
		return nil, err
	}
	return &iotmodel.GetPolicyVersionOutput{
		PolicyArn: r.policyARN(in.PolicyName), PolicyName: in.PolicyName, PolicyDocument: &v.Document, PolicyVersionId: policyVersionID(v.ID),
		IsDefaultVersion: &v.Default, CreationDate: &v.CreatedAt, LastModifiedDate: &v.CreatedAt, GenerationId: &p.GenerationID,
	}, nil
}

func (r *iotRows) listPolicyVersions(ctx context.Context, _ *Call, in *iotmodel.ListPolicyVersionsInput) (*iotmodel.ListPolicyVersionsOutput, error) {
	list, err := r.registry.PolicyVersions(ctx, deref(in.PolicyName))
	if err != nil {
		return nil, err
	}
	out := &iotmodel.ListPolicyVersionsOutput{PolicyVersions: make([]iotmodel.PolicyVersion, len(list))}
	for i := range list {
		v := &list[i]
		out.PolicyVersions[i] = iotmodel.PolicyVersion{VersionId: policyVersionID(v.ID), IsDefaultVersion: &v.Default, CreateDate: &v.CreatedAt}
	}
	return out, nil
}

func (r *iotRows) setDefaultPolicyVersion(ctx context.Context, _ *Call, in *iotmodel.SetDefaultPolicyVersionInput) (*iotmodel.SetDefaultPolicyVersionOutput, error) {
	return nil, r.registry.SetDefaultPolicyVersion(ctx, deref(in.PolicyName), deref(in.PolicyVersionId))
}

func (r *iotRows) policyTargets() []Operation {
	return []Operation{
		op("AttachPolicy", "iot:AttachPolicy", func(_ *Call, in *iotmodel.AttachPolicyInput) string { return deref(in.Target) }, r.attachPolicy),
		op("DetachPolicy", "iot:DetachPolicy", func(_ *Call, in *iotmodel.DetachPolicyInput) string { return deref(in.Target) }, r.detachPolicy),
		op("ListAttachedPolicies", "iot:ListAttachedPolicies", func(_ *Call, in *iotmodel.ListAttachedPoliciesInput) string {
			return deref(in.Target)
		}, r.listAttachedPolicies),
		op("ListTargetsForPolicy", "iot:ListTargetsForPolicy", func(c *Call, in *iotmodel.ListTargetsForPolicyInput) string {
			return iotResource(c, "policy", in.PolicyName)
		}, r.listTargetsForPolicy),
	}
}

func (r *iotRows) attachPolicy(ctx context.Context, _ *Call, in *iotmodel.AttachPolicyInput) (*iotmodel.AttachPolicyOutput, error) {
	return nil, r.registry.AttachPolicy(ctx, deref(in.PolicyName), deref(in.Target))
}

func (r *iotRows) detachPolicy(ctx context.Context, _ *Call, in *iotmodel.DetachPolicyInput) (*iotmodel.DetachPolicyOutput, error) {
	return nil, r.registry.DetachPolicy(ctx, deref(in.PolicyName), deref(in.Target))
}

func (r *iotRows) listAttachedPolicies(ctx context.Context, _ *Call, in *iotmodel.ListAttachedPoliciesInput) (*iotmodel.ListAttachedPoliciesOutput, error) {
	names, next, err := r.registry.AttachedPolicies(ctx, deref(in.Target), deref(in.Recursive), pageOf(in.PageSize, in.Marker))
	if err != nil {
		return nil, err
	}
	return &iotmodel.ListAttachedPoliciesOutput{Policies: r.policyList(names), NextMarker: optional(next)}, nil
}

func (r *iotRows) listTargetsForPolicy(ctx context.Context, _ *Call, in *iotmodel.ListTargetsForPolicyInput) (*iotmodel.ListTargetsForPolicyOutput, error) {
	list, next, err := r.registry.PolicyTargets(ctx, deref(in.PolicyName), pageOf(in.PageSize, in.Marker))
	if err != nil {
		return nil, err
	}
	out := &iotmodel.ListTargetsForPolicyOutput{Targets: make([]string, len(list)), NextMarker: optional(next)}
	for i := range list {
		out.Targets[i] = string(list[i])
	}
	return out, nil
}
