package api

import (
	"context"
	"errors"

	iammodel "github.com/sekisho-iot/sekisho/internal/api/model/iam"
	m "github.com/sekisho-iot/sekisho/internal/api/model/sts"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
	"github.com/sekisho-iot/sekisho/internal/sts"
)

// STS is the service of sessions.
func STS(assumer *sts.Assumer, keys *sts.Authenticator, messages *sts.Messages) Service {
	r := &stsRows{assumer: assumer, keys: keys, messages: messages}
	federate := op("GetFederationToken", "sts:GetFederationToken", func(c *Call, in *m.GetFederationTokenInput) string {
		return "arn:aws:sts::" + string(c.Account) + ":federated-user/" + deref(in.Name)
	}, r.getFederationToken)
	return Service{Name: "sts", Operations: []Operation{
		// The trust policy and the caller's own are weighed together, in the service.
		withoutAuthorization(op("AssumeRole", "", nil, r.assumeRole)),
		withoutAuthorization(op("GetCallerIdentity", "", nil, r.getCallerIdentity)),
		// No policy says who may: it is the caller's own session.
		withoutAuthorization(op("GetSessionToken", "", nil, r.getSessionToken)),
		withKeys(federate, func(_ *Call, in *m.GetFederationTokenInput) policy.Keys { return sessionTagKeys(in.Tags) }),
		op("GetAccessKeyInfo", "sts:GetAccessKeyInfo", nil, r.getAccessKeyInfo),
		op("DecodeAuthorizationMessage", "sts:DecodeAuthorizationMessage", nil,
			func(_ context.Context, _ *Call, in *m.DecodeAuthorizationMessageInput) (*m.DecodeAuthorizationMessageOutput, error) {
				plain, err := r.messages.Decode(deref(in.EncodedMessage))
				if err != nil {
					return nil, err
				}
				return &m.DecodeAuthorizationMessageOutput{DecodedMessage: new(string(plain))}, nil
			}),
	}}
}

type stsRows struct {
	assumer  *sts.Assumer
	keys     *sts.Authenticator
	messages *sts.Messages
}

// admitSession keeps sessions of users and federated users from what AWS keeps
// them from without MFA, which is not built (STS API reference, GetSessionToken
// and GetFederationToken).
func admitSession(c *Call) error {
	if c.Identity == nil {
		return nil
	}
	own := c.Operation == "GetCallerIdentity" || c.Operation == "AssumeRole" && c.Identity.Kind == sts.UserSession
	if c.Identity.Kind != sts.UserSession && c.Identity.Kind != sts.FederatedSession || c.Service != "iam" && (c.Service != "sts" || own) {
		return nil
	}
	if c.Service == "iam" {
		return &iot.Error{
			Kind: iot.KindBadToken, Resource: "session", Err: errors.New("a session of GetSessionToken or GetFederationToken may not call IAM"),
		}
	}
	return iot.Errorf(iot.KindDenied, "session", "Cannot call %s with session credentials", c.Operation)
}

// sessionTagKeys are the condition keys of tags that a request sets on a session.
func sessionTagKeys(tags []m.Tag) *iamKeys {
	k := &iamKeys{}
	for _, t := range tags {
		k.tags = append(k.tags, iammodel.Tag{Key: t.Key, Value: t.Value})
		k.tagKeys = append(k.tagKeys, deref(t.Key))
	}
	return k
}

func noMFA(serial, code *string) error {
	if serial != nil || code != nil {
		return iot.Errorf(iot.KindDenied, "role", "MultiFactorAuthentication failed with invalid MFA one time pass code.")
	}
	return nil
}

func credentialsOut(c *sts.Credentials) *m.Credentials {
	return &m.Credentials{AccessKeyId: &c.AccessKeyID, SecretAccessKey: &c.SecretAccessKey, SessionToken: &c.SessionToken, Expiration: &c.Expiration}
}

func (r *stsRows) getSessionToken(_ context.Context, c *Call, in *m.GetSessionTokenInput) (*m.GetSessionTokenOutput, error) {
	if err := noMFA(in.SerialNumber, in.TokenCode); err != nil {
		return nil, err
	}
	got, err := r.assumer.SessionToken(c.Identity, intOf(in.DurationSeconds))
	if err != nil {
		return nil, err
	}
	return &m.GetSessionTokenOutput{Credentials: credentialsOut(&got)}, nil
}

func (r *stsRows) getFederationToken(ctx context.Context, c *Call, in *m.GetFederationTokenInput) (*m.GetFederationTokenOutput, error) {
	if len(in.Tags) > 0 {
		if err := c.Authorize(ctx, "sts:TagSession", r.assumer.FederatedARN(deref(in.Name)), sessionTagKeys(in.Tags)); err != nil {
			return nil, err
		}
	}
	got, err := r.assumer.FederationToken(ctx, c.Identity, sts.FederationTokenInput{
		Name: deref(in.Name), Policy: deref(in.Policy), PolicyARNs: sessionPolicyARNs(in.PolicyArns),
		DurationSeconds: intOf(in.DurationSeconds), Tags: sessionTags(in.Tags),
	})
	if err != nil {
		return nil, err
	}
	return &m.GetFederationTokenOutput{
		Credentials:      credentialsOut(&got.Credentials),
		FederatedUser:    &m.FederatedUser{FederatedUserId: &got.ID, Arn: &got.ARN},
		PackedPolicySize: packedOut(got.PackedSize),
	}, nil
}

func (r *stsRows) getAccessKeyInfo(ctx context.Context, _ *Call, in *m.GetAccessKeyInfoInput) (*m.GetAccessKeyInfoOutput, error) {
	account, err := r.keys.AccountOf(ctx, deref(in.AccessKeyId))
	if err != nil {
		return nil, err
	}
	return &m.GetAccessKeyInfoOutput{Account: new(string(account))}, nil
}

func packedOut(percent int) *int32 {
	if percent == 0 {
		return nil
	}
	return new(int32(percent)) //nolint:gosec // at most 100
}

func sessionPolicyARNs(list []m.PolicyDescriptorType) []string {
	var arns []string
	for _, p := range list {
		arns = append(arns, deref(p.Arn))
	}
	return arns
}

func sessionTags(list []m.Tag) []sts.Tag {
	var tags []sts.Tag
	for _, t := range list {
		tags = append(tags, sts.Tag{Key: deref(t.Key), Value: deref(t.Value)})
	}
	return tags
}

func (r *stsRows) getCallerIdentity(_ context.Context, c *Call, _ *m.GetCallerIdentityInput) (*m.GetCallerIdentityOutput, error) {
	p := &c.Identity.Principal
	return &m.GetCallerIdentityOutput{UserId: new(p.UserID), Account: new(p.Account), Arn: new(p.ARN)}, nil
}

func (r *stsRows) assumeRole(ctx context.Context, c *Call, in *m.AssumeRoleInput) (*m.AssumeRoleOutput, error) {
	if err := noMFA(in.SerialNumber, in.TokenCode); err != nil {
		return nil, err
	}
	if len(in.ProvidedContexts) > 0 {
		return nil, iot.Errorf(iot.KindInvalid, "request", "ProvidedContexts are not supported.")
	}
	ask := sts.AssumeRoleInput{
		RoleARN: deref(in.RoleArn), SessionName: deref(in.RoleSessionName), Policy: deref(in.Policy),
		DurationSeconds: intOf(in.DurationSeconds), ExternalID: in.ExternalId, SourceIdentity: deref(in.SourceIdentity),
		TransitiveTagKeys: in.TransitiveTagKeys, PolicyARNs: sessionPolicyARNs(in.PolicyArns), Tags: sessionTags(in.Tags),
	}
	got, err := r.assumer.AssumeRole(ctx, c.Identity, &c.keys, ask)
	if err != nil {
		return nil, err
	}
	out := &m.AssumeRoleOutput{
		Credentials:      credentialsOut(&got.Credentials),
		PackedPolicySize: packedOut(got.PackedSize),
		AssumedRoleUser:  &m.AssumedRoleUser{AssumedRoleId: &got.ID, Arn: &got.ARN},
	}
	if got.SourceIdentity != "" {
		out.SourceIdentity = &got.SourceIdentity
	}
	return out, nil
}
