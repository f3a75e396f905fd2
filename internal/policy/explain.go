package policy

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Layer is the part of a caller's grants that a decision came from.
type Layer string

// The layers.
const (
	LayerIdentity Layer = "identity"
	LayerBoundary Layer = "boundary"
	LayerSession  Layer = "session"
	LayerResource Layer = "resource"
	LayerTrust    Layer = "trust"
	LayerIoT      Layer = "iot"
	LayerRoot     Layer = "root" // the account root's own power
)

// title is how the layer is called in sentences.
func (l Layer) title() string {
	switch l {
	case LayerIdentity:
		return "identity policy"
	case LayerBoundary:
		return "permissions boundary"
	case LayerSession:
		return "session policy"
	case LayerResource:
		return "resource policy"
	case LayerTrust:
		return "trust policy"
	case LayerIoT:
		return "AWS IoT policy"
	case LayerRoot:
	}
	return "account root"
}

// MissKind says in which element a statement missed the request.
type MissKind string

// The kinds of near misses.
const (
	MissResource     MissKind = "resource"     // the pattern is another one
	MissResourceType MissKind = "resourceType" // topic where topicfilter is needed, and its kin
	MissVariable     MissKind = "variable"     // a variable did not resolve
	MissCondition    MissKind = "condition"
	MissPrincipal    MissKind = "principal"
)

// Miss is one element that did not match: what the policy wants, what the
// request has.
type Miss struct {
	Kind   MissKind `json:"kind"`
	Wants  string   `json:"wants"`
	Has    string   `json:"has"`
	Detail string   `json:"detail,omitempty"`
}

// NearMiss is a statement that allows the action, but not this request.
type NearMiss struct {
	Layer     Layer  `json:"layer"`
	Policy    string `json:"policy"`
	Statement int    `json:"statement"`
	Sid       string `json:"sid,omitempty"`
	Misses    []Miss `json:"misses"`
}

// maxNearMisses bounds an explanation, which is logged with every denial;
// maxMisses bounds what is told of one statement, maxText each text of it.
const (
	maxNearMisses = 10
	maxMisses     = 8
	maxText       = 512
)

// Explanation says why a request was decided as it was.
type Explanation struct {
	Decision   Decision   `json:"decision"`
	Layer      Layer      `json:"layer,omitempty"` // what decided, or what did not allow
	Reason     string     `json:"reason"`
	Action     string     `json:"action"`
	Resource   string     `json:"resource"`
	Principal  string     `json:"principal"`
	NearMisses []NearMiss `json:"nearMisses,omitempty"` // of implicit denies; the nearest first
	Omitted    int        `json:"omitted,omitempty"`    // further near misses
}

// Explain decides as Authorize does and says why.
func (g *Grants) Explain(r *Request) Explanation {
	d, layer := g.authorize(r)
	x := newExplanation(r, d, layer)
	if d.Effect != ImplicitDeny {
		return x
	}
	var set Set
	switch layer {
	case LayerBoundary:
		set = g.Boundary
	case LayerSession:
		set = g.Session
	case LayerIdentity:
		set = g.Identity
	case LayerResource, LayerTrust, LayerIoT, LayerRoot:
	}
	empty := len(set) == 0
	found := set.nearMisses(r, layer)
	if g.Resource != nil {
		empty = empty && layer != g.resourceLayer()
		found = append(found, Set{g.Resource}.nearMisses(r, g.resourceLayer())...)
	}
	x.blame(found, empty)
	return x
}

// Explain decides as Evaluate does and says why.
func (s Set) Explain(r *Request) Explanation {
	d := s.Evaluate(r)
	if len(s) == 0 {
		x := newExplanation(r, d, "")
		x.Reason = "no policy is attached"
		return x
	}
	layer := s[0].layer()
	if d.Policy != nil {
		layer = d.Policy.layer()
	}
	x := newExplanation(r, d, layer)
	if d.Effect == ImplicitDeny {
		x.blame(s.nearMisses(r, layer), false)
	}
	return x
}

func (p *Policy) layer() Layer { return Layer(p.use.String()) }

func newExplanation(r *Request, d Decision, layer Layer) Explanation {
	x := Explanation{
		Decision: d, Layer: layer,
		Action: r.Action, Resource: clip(r.Resource), Principal: clip(r.Principal.String()),
	}
	switch {
	case d.Policy == nil && d.Effect == Allow:
		x.Reason = "the " + layer.title() + " may do everything in its account"
	case d.Effect == Allow:
		x.Reason = fmt.Sprintf("allowed by %s of the %s %s", d.place(), layer.title(), d.Policy.name)
	case d.Effect == ExplicitDeny:
		x.Reason = fmt.Sprintf("explicitly denied by %s of the %s %s", d.place(), layer.title(), d.Policy.name)
	}
	return x
}

func (d Decision) place() string { return place(d.Statement, d.Sid()) }

func place(statement int, sid string) string {
	if sid == "" {
		return fmt.Sprintf("statement %d", statement)
	}
	return fmt.Sprintf("statement %d (Sid %s)", statement, sid)
}

// blame fills in the reason of an implicit deny.
func (x *Explanation) blame(found []NearMiss, empty bool) {
	slices.SortStableFunc(found, func(a, b NearMiss) int { return len(a.Misses) - len(b.Misses) })
	x.Omitted = max(0, len(found)-maxNearMisses)
	x.NearMisses = found[:len(found)-x.Omitted]
	switch {
	case empty:
		x.Reason = "no " + x.Layer.title() + " is attached"
	case len(found) == 0:
		x.Reason = fmt.Sprintf("no statement of any %s allows %s", x.Layer.title(), x.Action)
	default:
		x.Reason = fmt.Sprintf("no %s allows it; the nearest missed by its %s", x.Layer.title(), found[0].Misses[0].Kind)
	}
}

func (s Set) nearMisses(r *Request, layer Layer) []NearMiss {
	var found []NearMiss
	for _, p := range s {
		for _, t := range p.allow {
			if !t.coversAction(r.Action) {
				continue
			}
			if m := p.misses(t, r); len(m) > 0 {
				found = append(found, NearMiss{
					Layer: layer, Policy: p.name, Statement: t.index, Sid: t.sid, Misses: m[:min(len(m), maxMisses)],
				})
			}
		}
	}
	return found
}

// misses lists what keeps a statement of the right action from applying.
func (p *Policy) misses(s *statement, r *Request) []Miss {
	e := p.allowEnv(r)
	var found []Miss
	if s.principals.reach(&r.Principal, s.effect, e.bounded) == reachNone {
		found = append(found, Miss{Kind: MissPrincipal, Wants: clip(s.principals.String()), Has: clip(r.Principal.String())})
	}
	if !s.coversResource(r.Resource, e) {
		for i := range s.resources {
			if m, ok := p.resourceMiss(s, &s.resources[i], r, e); ok {
				found = append(found, m)
			}
		}
	}
	for i := range s.conditions {
		if c := &s.conditions[i]; !c.holds(e) {
			found = append(found, c.miss(e))
		}
	}
	return found
}

func (p *Policy) resourceMiss(s *statement, pat *pattern, r *Request, e env) (Miss, bool) {
	m := Miss{Kind: MissResource, Wants: clip(pat.render(e)), Has: clip(r.Resource)}
	v := pat.match(r.Resource, e)
	if s.notResource {
		m.Wants = "anything but " + m.Wants
	}
	if why := unresolvedWhy(pat.vars, e); why != "" && (v == unresolved || !s.notResource) {
		m.Kind, m.Detail = MissVariable, why
		return m, true
	}
	if s.notResource {
		return m, v == matches
	}
	if typ, ok := otherType(pat, r.Resource, e); ok {
		m.Kind = MissResourceType
		m.Detail = fmt.Sprintf("%s is written where %s needs %s", typ, r.Action, resourceType(r.Resource))
		return m, true
	}
	switch {
	case len(pat.vars) > 0:
		m.Detail = "written " + clip(pat.source)
	case !strings.Contains(pat.source, "${"):
	case p.variables:
		m.Detail = "a variable before the fifth colon is plain text"
	default:
		m.Detail = "variables are plain text before Version 2012-10-17"
	}
	return m, true
}

// unresolvedWhy names the first variable that has no value, and why.
func unresolvedWhy(vars []variable, e env) string {
	for i := range vars {
		if _, why, ok := e.value(&vars[i]); !ok {
			return vars[i].written + " did not resolve: " + why
		}
	}
	return ""
}

// resourceType is the type/ of an ARN's resource.
func resourceType(arn string) string {
	parts := strings.SplitN(arn, ":", 6)
	typ, _, _ := strings.Cut(parts[len(parts)-1], "/")
	return typ
}

// otherType reports that the pattern matches the resource under another of the
// types that AWS IoT checks data-plane actions against.
func otherType(pat *pattern, arn string, e env) (string, bool) {
	typ := resourceType(arn)
	head, name, ok := strings.Cut(arn, ":"+typ+"/")
	for _, other := range []string{"topic", "topicfilter", "client", "thing"} {
		if ok && other != typ && pat.match(head+":"+other+"/"+name, e) == matches {
			return other, true
		}
	}
	return "", false
}

// miss describes a condition that does not hold.
func (c *condition) miss(e env) Miss {
	m := Miss{Kind: MissCondition}
	var wants []string
	for i, v := range c.values {
		switch {
		case i < len(c.strings):
			v = c.strings[i].render(e)
			m.note(c.strings[i].vars, e)
		case i < len(c.arns):
			v = c.arns[i].whole.render(e)
			m.note(c.arns[i].whole.vars, e)
		}
		wants = append(wants, fmt.Sprintf("%q", v))
	}
	m.Wants = clip(fmt.Sprintf("%s %s %s", c.written, c.name, strings.Join(wants, " or ")))
	switch v := e.lookup(c.key); {
	case !v.Set && v.Why == "":
		m.Has = "no such key"
	case !v.Set:
		m.Has = clip("no such key: " + v.Why)
	case v.Many != nil:
		m.Has = clip(fmt.Sprintf("%q", v.Many))
	default:
		m.Has = clip(fmt.Sprintf("%q", v.One))
	}
	return m
}

func (m *Miss) note(vars []variable, e env) {
	if m.Detail == "" {
		m.Detail = unresolvedWhy(vars, e)
	}
}

// clip bounds s and takes out what could break a line of a log.
func clip(s string) string {
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// String renders the explanation in lines for an operator.
func (x Explanation) String() string {
	verb := "denied"
	if x.Decision.Allowed() {
		verb = "allowed"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s on %q by %s\n  %s", verb, x.Action, x.Resource, x.Principal, x.Reason)
	for _, n := range x.NearMisses {
		fmt.Fprintf(&b, "\n  near miss: %s of the %s %s", place(n.Statement, n.Sid), n.Layer.title(), n.Policy)
		for _, m := range n.Misses {
			fmt.Fprintf(&b, "\n    %s: the policy wants %s, the request has %s", m.Kind, m.Wants, m.Has)
			if m.Detail != "" {
				fmt.Fprintf(&b, " (%s)", m.Detail)
			}
		}
	}
	if x.Omitted > 0 {
		fmt.Fprintf(&b, "\n  and %d more near misses", x.Omitted)
	}
	return b.String()
}
