package api

import (
	"encoding/json"
	"slices"

	"github.com/sekisho-iot/sekisho/internal/awsapi"
	"github.com/sekisho-iot/sekisho/internal/policy"
)

// maxDenialKeys bounds the condition keys that a denial tells of.
const maxDenialKeys = 50

// denial is what DecodeAuthorizationMessage answers: the shape is AWS's
// (STS API reference, DecodeAuthorizationMessage), the explanation ours.
type denial struct {
	Allowed           bool                    `json:"allowed"`
	ExplicitDeny      bool                    `json:"explicitDeny"`
	MatchedStatements items[matchedStatement] `json:"matchedStatements"`
	Failures          items[string]           `json:"failures"`
	Context           denialContext           `json:"context"`
	Explanation       string                  `json:"explanation"`
}

type items[T any] struct {
	Items []T `json:"items"`
}

type matchedStatement struct {
	StatementID      string       `json:"statementId"`
	Effect           string       `json:"effect"`
	Actions          items[value] `json:"actions"`
	Resources        items[value] `json:"resources"`
	SourcePolicyID   string       `json:"sourcePolicyId"`
	SourcePolicyType string       `json:"sourcePolicyType"`
}

type value struct {
	Value string `json:"value"`
}

type denialContext struct {
	Principal  denialPrincipal        `json:"principal"`
	Action     string                 `json:"action"`
	Resource   string                 `json:"resource"`
	Conditions items[denialCondition] `json:"conditions"`
}

type denialPrincipal struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
	ARN  string `json:"arn"`
}

type denialCondition struct {
	Key    string       `json:"key"`
	Values items[value] `json:"values"`
}

// encodeDenial is the end of a denial's message that only who may decode it can
// read. Services of the query protocol send one.
func (c *Call) encodeDenial(grants *policy.Grants, r *policy.Request, x *policy.Explanation) (string, error) {
	if c.handler.denials == nil || c.service.Protocol != awsapi.Query {
		return "", nil
	}
	d := newDenial(grants, r, x)
	for {
		plain, err := json.Marshal(d)
		if err != nil {
			return "", err
		}
		text, fits, err := c.handler.denials.Encode(plain)
		if err != nil || fits {
			return " Encoded authorization failure message: " + text, err
		}
		switch { // what is least missed goes first
		case len(x.NearMisses) > 0:
			x.NearMisses = x.NearMisses[:len(x.NearMisses)/2]
			d.Explanation = x.String()
		case len(d.Context.Conditions.Items) > 0:
			d.Context.Conditions.Items = []denialCondition{}
		default:
			return "", nil
		}
	}
}

func newDenial(grants *policy.Grants, r *policy.Request, x *policy.Explanation) *denial {
	d := &denial{
		ExplicitDeny:      x.Decision.Effect == policy.ExplicitDeny,
		MatchedStatements: items[matchedStatement]{[]matchedStatement{}},
		Failures:          items[string]{[]string{}},
		Explanation:       x.String(),
		Context: denialContext{
			Principal: denialPrincipal{ID: r.Principal.UserID, ARN: r.Principal.String()},
			Action:    x.Action, Resource: x.Resource,
			Conditions: items[denialCondition]{denialConditions(grants, r)},
		},
	}
	if name := r.Keys.Lookup("aws:username"); name.Set {
		d.Context.Principal.Name = name.One
	}
	if p := x.Decision.Policy; p != nil {
		s := p.Statements()[x.Decision.Statement]
		d.MatchedStatements.Items = append(d.MatchedStatements.Items, matchedStatement{
			StatementID: s.Sid, Effect: "DENY", Actions: items[value]{values(s.Actions)}, Resources: items[value]{values(s.Resources)},
			SourcePolicyID: p.Name(), SourcePolicyType: "IAM Policy",
		})
	}
	return d
}

func values(list []string) []value {
	out := make([]value, len(list))
	for i, s := range list {
		out[i].Value = clipped(s)
	}
	return out
}

// denialConditions are the keys that the policies ask for, as the request has them.
func denialConditions(grants *policy.Grants, r *policy.Request) []denialCondition {
	found := []denialCondition{}
	all := slices.Concat(grants.Identity, grants.Boundary, grants.Session)
	if grants.Resource != nil {
		all = append(all, grants.Resource)
	}
	for _, p := range all {
		for _, key := range p.ContextKeys() {
			same := func(c denialCondition) bool { return policy.NormalizeKey(c.Key) == policy.NormalizeKey(key) }
			v := r.Keys.Lookup(policy.NormalizeKey(key))
			if !v.Set || len(found) == maxDenialKeys || slices.ContainsFunc(found, same) {
				continue
			}
			list := v.Many
			if list == nil {
				list = []string{v.One}
			}
			found = append(found, denialCondition{Key: key, Values: items[value]{values(list)}})
		}
	}
	return found
}
