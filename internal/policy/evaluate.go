package policy

import (
	"encoding/json"
	"strings"
)

// Decision is what was decided and by which statement of which policy. Policy
// is nil for an implicit deny and for what the account root may do by itself;
// Statement counts from 0.
type Decision struct {
	Effect    Effect
	Policy    *Policy
	Statement int
}

// Allowed reports whether the request may go on.
func (d Decision) Allowed() bool { return d.Effect == Allow }

// Sid returns the Sid of the statement that decided.
func (d Decision) Sid() string {
	if d.Policy == nil {
		return ""
	}
	return d.Policy.statements[d.Statement].sid
}

// MarshalJSON renders the decision with the names of what decided.
func (d Decision) MarshalJSON() ([]byte, error) {
	v := struct {
		Effect    Effect `json:"effect"`
		Policy    string `json:"policy,omitempty"`
		Statement *int   `json:"statement,omitempty"`
		Sid       string `json:"sid,omitempty"`
	}{Effect: d.Effect, Sid: d.Sid()}
	if d.Policy != nil {
		v.Policy, v.Statement = d.Policy.name, &d.Statement
	}
	return json.Marshal(v)
}

// Set is a union of policies.
type Set []*Policy

// Evaluate decides by the policies alone: any Deny wins, else any Allow, else
// nothing is allowed. It does not allocate.
func (s Set) Evaluate(r *Request) Decision {
	if d := s.denied(r); d.Effect == ExplicitDeny {
		return d
	}
	return s.allowed(r)
}

func (s Set) denied(r *Request) Decision {
	for _, p := range s {
		if d := p.denied(r); d.Effect == ExplicitDeny {
			return d
		}
	}
	return Decision{}
}

func (s Set) allowed(r *Request) Decision {
	for _, p := range s {
		if d, _ := p.allowed(r, reachAccount); d.Effect == Allow {
			return d
		}
	}
	return Decision{}
}

func (p *Policy) env(r *Request) env { return env{keys: r.Keys, strict: p.use == IoT} }

// allowEnv is env for statements that allow: a value such as "+", which in a topic
// filter is every team and not one of that name, lets nobody subscribe, in IAM
// policies neither. A Deny has it as it stands.
func (p *Policy) allowEnv(r *Request) env {
	e := p.env(r)
	e.strict = e.strict || r.Action == "iot:Subscribe"
	return e
}

func (p *Policy) denied(r *Request) Decision { return p.deniedIn(r, p.env(r)) }

func (p *Policy) deniedIn(r *Request, e env) Decision {
	for _, s := range p.deny {
		if s.applies(r, e) != reachNone {
			return Decision{Effect: ExplicitDeny, Policy: p, Statement: s.index}
		}
	}
	return Decision{}
}

// allowed returns the Allow that reaches furthest; one that reaches enough
// ends the search.
func (p *Policy) allowed(r *Request, enough reach) (Decision, reach) {
	e := p.allowEnv(r)
	var best Decision
	var far reach
	for _, s := range p.allow {
		if n := s.applies(r, e); n > far {
			best, far = Decision{Effect: Allow, Policy: p, Statement: s.index}, n
			if n >= enough {
				break
			}
		}
	}
	return best, far
}

// applies says how far the statement reaches the caller, reachNone where it
// does not apply.
func (s *statement) applies(r *Request, e env) reach {
	if !s.coversAction(r.Action) {
		return reachNone
	}
	n := s.principals.reach(&r.Principal, s.effect, e.bounded)
	if n == reachNone || !s.coversResource(r.Resource, e) {
		return reachNone
	}
	for i := range s.conditions {
		if !s.conditions[i].holds(e) {
			return reachNone
		}
	}
	return n
}

func (s *statement) coversAction(name string) bool {
	for i := range s.actions {
		if s.actions[i].match(name) {
			return !s.notAction
		}
	}
	return s.notAction
}

func (s *statement) coversResource(arn string, e env) bool {
	if len(s.resources) == 0 {
		return true
	}
	open := false
	for i := range s.resources {
		switch s.resources[i].match(arn, e) {
		case matches:
			return !s.notResource
		case unresolved:
			open = true
		case differs:
		}
	}
	return s.notResource && (!open || s.effect == ExplicitDeny)
}

// Grants is all that bears on a caller's request. Root marks the account root.
// Boundary and Session limit only where their Has is set, so that an empty one
// allows nothing. Resource is the policy of what is asked for; if it is a
// role's trust policy, it must allow whatever else does.
type Grants struct {
	Root        bool
	Identity    Set
	Boundary    Set
	HasBoundary bool
	Session     Set
	HasSession  bool
	Resource    *Policy
}

// Authorize decides within one account, as IAM documents it
// (reference_policies_evaluation-logic). It does not allocate.
func (g *Grants) Authorize(r *Request) Decision {
	d, _ := g.authorize(r)
	return d
}

// authorize decides and names the layer that decided, or that did not allow.
func (g *Grants) authorize(r *Request) (Decision, Layer) {
	if d, layer := g.denied(r); d.Effect == ExplicitDeny {
		return d, layer
	}
	var granted Decision
	var far reach
	if g.Resource != nil {
		granted, far = g.Resource.allowed(r, reachDirectly)
	}
	trust := g.Resource != nil && g.Resource.use == Trust
	switch {
	case trust && far == reachNone:
		return Decision{}, LayerTrust
	case far == reachDirectly:
		return granted, g.resourceLayer()
	case r.Principal.Anonymous && far == reachNone:
		return Decision{}, LayerResource
	case r.Principal.Anonymous:
		return granted, LayerResource
	}
	layer := g.resourceLayer()
	switch {
	case g.Root:
		granted, layer = Decision{Effect: Allow}, LayerRoot
	case far < reachRole:
		if granted, layer = g.Identity.allowed(r), LayerIdentity; granted.Effect != Allow {
			return granted, layer
		}
	}
	if g.HasBoundary && !g.Root && g.Boundary.allowed(r).Effect != Allow {
		return Decision{}, LayerBoundary
	}
	if g.HasSession && g.Session.allowed(r).Effect != Allow || !g.HasSession && federated(&r.Principal) {
		return Decision{}, LayerSession
	}
	return granted, layer
}

func (g *Grants) denied(r *Request) (Decision, Layer) {
	if !g.Root {
		if d := g.Identity.denied(r); d.Effect == ExplicitDeny {
			return d, LayerIdentity
		}
		if d := g.Boundary.denied(r); d.Effect == ExplicitDeny && g.HasBoundary {
			return d, LayerBoundary
		}
	}
	if d := g.Session.denied(r); d.Effect == ExplicitDeny && g.HasSession {
		return d, LayerSession
	}
	if g.Resource == nil {
		return Decision{}, LayerIdentity
	}
	e := g.Resource.env(r)
	e.bounded = g.HasBoundary && !g.Root
	return g.Resource.deniedIn(r, e), g.resourceLayer()
}

func (g *Grants) resourceLayer() Layer {
	if g.Resource != nil && g.Resource.use == Trust {
		return LayerTrust
	}
	return LayerResource
}

// federated reports a federated user, who without a session policy has no
// permissions of its own.
func federated(p *Principal) bool { return strings.Contains(p.ARN, ":federated-user/") }
