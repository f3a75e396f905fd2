package api

import (
	"context"

	m "github.com/sekisho-iot/sekisho/internal/api/model/sts"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/sts"
)

// STS is the service of sessions.
func STS(assumer *sts.Assumer) Service {
	r := &stsRows{assumer: assumer}
	return Service{Name: "sts", Operations: []Operation{
		// The trust policy and the caller's own are weighed together, in the service.
		withoutAuthorization(op("AssumeRole", "", nil, r.assumeRole)),
		withoutAuthorization(op("GetCallerIdentity", "", nil, r.getCallerIdentity)),
	}}
}

type stsRows struct{ assumer *sts.Assumer }

func (r *stsRows) getCallerIdentity(_ context.Context, c *Call, _ *m.GetCallerIdentityInput) (*m.GetCallerIdentityOutput, error) {
	p := &c.Identity.Principal
	return &m.GetCallerIdentityOutput{UserId: new(p.UserID), Account: new(p.Account), Arn: new(p.ARN)}, nil
}

func (r *stsRows) assumeRole(ctx context.Context, c *Call, in *m.AssumeRoleInput) (*m.AssumeRoleOutput, error) {
	if in.SerialNumber != nil || in.TokenCode != nil {
		return nil, iot.Errorf(iot.KindDenied, "role", "MultiFactorAuthentication failed with invalid MFA one time pass code.")
	}
	if len(in.ProvidedContexts) > 0 {
		return nil, iot.Errorf(iot.KindInvalid, "request", "ProvidedContexts are not supported.")
	}
	ask := sts.AssumeRoleInput{
		RoleARN: deref(in.RoleArn), SessionName: deref(in.RoleSessionName), Policy: deref(in.Policy),
		DurationSeconds: intOf(in.DurationSeconds), ExternalID: in.ExternalId, SourceIdentity: deref(in.SourceIdentity),
		TransitiveTagKeys: in.TransitiveTagKeys,
	}
	for _, p := range in.PolicyArns {
		ask.PolicyARNs = append(ask.PolicyARNs, deref(p.Arn))
	}
	for _, t := range in.Tags {
		ask.Tags = append(ask.Tags, sts.Tag{Key: deref(t.Key), Value: deref(t.Value)})
	}
	got, err := r.assumer.AssumeRole(ctx, c.Identity, &c.keys, ask)
	if err != nil {
		return nil, err
	}
	out := &m.AssumeRoleOutput{
		Credentials: &m.Credentials{
			AccessKeyId: &got.AccessKeyID, SecretAccessKey: &got.SecretAccessKey, SessionToken: &got.SessionToken, Expiration: &got.Expiration,
		},
		AssumedRoleUser: &m.AssumedRoleUser{AssumedRoleId: &got.ID, Arn: &got.ARN},
	}
	if got.PackedSize > 0 {
		out.PackedPolicySize = new(int32(got.PackedSize)) //nolint:gosec // at most 100
	}
	if got.SourceIdentity != "" {
		out.SourceIdentity = &got.SourceIdentity
	}
	return out, nil
}
