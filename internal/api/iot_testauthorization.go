package api

import (
	"context"
	"slices"
	"strings"

	iotmodel "github.com/sekisho-iot/sekisho/internal/api/model/iot"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
	"github.com/sekisho-iot/sekisho/internal/registry"
)

func (r *iotRows) authorizations() []Operation {
	return []Operation{
		op("TestAuthorization", "iot:TestAuthorization", func(_ *Call, in *iotmodel.TestAuthorizationInput) string {
			if in.Principal == nil {
				return "*"
			}
			return *in.Principal
		}, r.testAuthorization),
	}
}

const maxAuthInfos = 10

// testAuthorization judges by the policies alone, with the evaluator that the
// broker judges with: it does not ask whether the certificate is ACTIVE.
func (r *iotRows) testAuthorization(ctx context.Context, c *Call, in *iotmodel.TestAuthorizationInput) (*iotmodel.TestAuthorizationOutput, error) {
	if in.CognitoIdentityPoolId != nil {
		return nil, iot.Errorf(iot.KindNotBuilt, "principal", "TestAuthorization for Cognito identity pools is not built yet")
	}
	if len(in.AuthInfos) < 1 || len(in.AuthInfos) > maxAuthInfos {
		return nil, iot.Errorf(iot.KindInvalid, "authorization", "authInfos must have 1 to %d members", maxAuthInfos)
	}
	a := &authorizationTest{rows: r, request: policy.Request{Principal: policy.Principal{Account: string(c.Account)}}}
	a.keys = registry.Keys{ClientID: deref(in.ClientId), Now: c.Now, NoThing: "no principal was named"}
	if in.Principal != nil {
		if err := a.use(ctx, *in.Principal); err != nil {
			return nil, err
		}
	}
	a.set = slices.DeleteFunc(slices.Clone(a.set), func(p *policy.Policy) bool {
		return slices.ContainsFunc(in.PolicyNamesToSkip, func(n string) bool { return p.Name() == *r.policyARN(&n) })
	})
	for _, n := range in.PolicyNamesToAdd {
		p, err := r.registry.CompiledPolicy(ctx, n)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(a.set, func(other *policy.Policy) bool { return other.Name() == p.Name() }) {
			a.set = append(a.set, p)
		}
	}
	out := &iotmodel.TestAuthorizationOutput{AuthResults: make([]iotmodel.AuthResult, len(in.AuthInfos))}
	for i := range in.AuthInfos {
		result, err := a.judge(&in.AuthInfos[i])
		if err != nil {
			return nil, err
		}
		out.AuthResults[i] = *result
	}
	return out, nil
}

// authorizationTest is who would ask, and what is known of the request.
type authorizationTest struct {
	rows    *iotRows
	set     policy.Set
	keys    registry.Keys
	request policy.Request
	missing []string
}

// use takes the principal's policies and keys.
func (a *authorizationTest) use(ctx context.Context, principal string) error {
	// A certificate that is not registered is an error here, not one without policies.
	if _, _, err := a.rows.registry.AttachedPolicies(ctx, principal, false, registry.Page{Limit: 1}); err != nil {
		return err
	}
	if err := a.rows.registry.CheckPrincipal(principal); err != nil {
		return err
	}
	p, err := a.rows.registry.Principal(ctx, iot.ARN(principal))
	if err != nil {
		return err
	}
	_, id, _ := strings.Cut(principal, ":cert/")
	cert, err := a.rows.certs.Lookup(ctx, iot.CertificateID(id))
	if err != nil {
		return err
	}
	a.request.Principal.ARN = principal
	a.keys.Certificate = cert.Facts
	a.keys.NoThing = "no client ID was named"
	if a.keys.ClientID != "" {
		a.keys.Thing, a.keys.NoThing = p.ForClient(a.keys.ClientID)
	}
	a.set = p.PoliciesFor(a.keys.Thing)
	return nil
}

// Lookup implements policy.Keys, and notes what has no value.
func (a *authorizationTest) Lookup(key string) policy.Values {
	v := a.keys.Lookup(key)
	if name := spelled(key); !v.Set && !slices.Contains(a.missing, name) {
		a.missing = append(a.missing, name)
	}
	return v
}

// spelled is a key as AWS writes it; the evaluator asks in lower case.
func spelled(key string) string {
	for _, name := range []string{
		"iot:ClientId", "iot:Connection.Thing.ThingName", "iot:Connection.Thing.ThingTypeName", "iot:Thing.ThingName",
		"iot:ConnectAttributes", "iot:DomainName", "iot:CertificateId", "aws:SourceIp", "aws:SourceVpce", "aws:VpcSourceIp",
	} {
		if strings.EqualFold(key, name) {
			return name
		}
	}
	const attributes = "iot:connection.thing.attributes"
	if len(key) > len(attributes) && strings.EqualFold(key[:len(attributes)], attributes) {
		return "iot:Connection.Thing.Attributes" + key[len(attributes):]
	}
	return key
}

// judge decides about every resource of an action: allowed is what all are.
func (a *authorizationTest) judge(in *iotmodel.AuthInfo) (*iotmodel.AuthResult, error) {
	action, ok := map[string]string{
		"CONNECT": "iot:Connect", "PUBLISH": "iot:Publish", "SUBSCRIBE": "iot:Subscribe", "RECEIVE": "iot:Receive",
	}[deref(in.ActionType)]
	if !ok {
		return nil, iot.Errorf(iot.KindInvalid, "authorization", "Invalid actionType: %s", clipped(deref(in.ActionType)))
	}
	if len(in.Resources) == 0 {
		return nil, iot.Errorf(iot.KindInvalid, "authorization", "resources must not be empty")
	}
	a.missing = nil
	a.request.Action, a.request.Keys = action, a
	effects := map[*policy.Policy]policy.Effect{} // what each policy says at its strictest
	decided := policy.Allow
	for _, resource := range in.Resources {
		if p, err := iot.ParseARN(resource); err != nil || p.Service != "iot" {
			return nil, iot.Errorf(iot.KindInvalid, "authorization", "Invalid resource: %s", clipped(resource))
		}
		a.request.Resource = resource
		for _, p := range a.set {
			e := policy.Set{p}.Evaluate(&a.request).Effect
			if before, ok := effects[p]; !ok || e == policy.ExplicitDeny || e == policy.Allow && before != policy.ExplicitDeny {
				effects[p] = e
			}
		}
		decided = stricter(decided, a.set.Evaluate(&a.request).Effect)
	}
	return a.result(in, effects, decided), nil
}

func stricter(a, b policy.Effect) policy.Effect {
	if a == policy.ExplicitDeny || b == policy.Allow {
		return a
	}
	return b
}

func (a *authorizationTest) result(in *iotmodel.AuthInfo, effects map[*policy.Policy]policy.Effect, decided policy.Effect) *iotmodel.AuthResult {
	that := func(e policy.Effect) []iotmodel.Policy {
		list := []iotmodel.Policy{}
		for _, p := range a.set {
			if effects[p] == e {
				_, name, _ := strings.Cut(p.Name(), ":policy/")
				list = append(list, iotmodel.Policy{PolicyName: &name, PolicyArn: new(p.Name())})
			}
		}
		return list
	}
	decision := "IMPLICIT_DENY"
	switch decided {
	case policy.Allow:
		decision = "ALLOWED"
	case policy.ExplicitDeny:
		decision = "EXPLICIT_DENY"
	case policy.ImplicitDeny:
	}
	slices.Sort(a.missing)
	return &iotmodel.AuthResult{
		AuthInfo: in, AuthDecision: &decision, MissingContextValues: append([]string{}, a.missing...),
		Allowed: &iotmodel.Allowed{Policies: that(policy.Allow)},
		Denied: &iotmodel.Denied{
			ImplicitDeny: &iotmodel.ImplicitDeny{Policies: that(policy.ImplicitDeny)}, ExplicitDeny: &iotmodel.ExplicitDeny{Policies: that(policy.ExplicitDeny)},
		},
	}
}
