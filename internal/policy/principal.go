package policy

import (
	"slices"
	"strings"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// reach is how far an Allow of a resource policy carries.
type reach uint8

const (
	reachNone     reach = iota
	reachAccount        // names the account: delegates to identity policies
	reachRole           // names the role or everyone: stands in for an identity policy
	reachDirectly       // names the caller: nothing else need allow
)

// principals is the Principal or NotPrincipal of a statement.
type principals struct {
	present, not bool
	everyone     bool
	accounts     []string
	callers      []string // ARNs of users and sessions
	roles        []string // ARNs
	ids          []string // unique ids of users and roles
	pins         []pin    // users, roles and sessions that Pin found the ids of
	services     []string
	federated    []string
	canonical    []string // S3's canonical users; no caller here has one
}

// originAccess begins the ARN of CloudFront's users, whom bucket policies name.
const originAccess = "arn:aws:iam::cloudfront:user/CloudFront Origin Access Identity "

func (c *compiler) principals(at string, n *node, not bool) (principals, error) {
	ps := principals{present: true, not: not}
	if n.kind == kindString && n.text == "*" {
		ps.everyone = true
		return ps, nil
	}
	if n.kind != kindObject || len(n.items) == 0 {
		return ps, malformed(at, `expected "*" or an object of AWS, Service, Federated or CanonicalUser`)
	}
	for i, name := range n.names {
		if name == "AWS" {
			c.named = append(c.named, spans(&n.items[i])...)
		}
		err := eachString(at+"."+name, &n.items[i], func(at, s string) error {
			return ps.add(c.use, at, name, s)
		})
		if err != nil {
			return ps, err
		}
	}
	return ps, nil
}

func (ps *principals) add(use Use, at, name, s string) error {
	switch name {
	case "AWS":
		if use == Resource && strings.HasPrefix(s, originAccess) {
			ps.callers = append(ps.callers, s)
			return nil
		}
		return ps.addAWS(at, s)
	case "Service":
		if !only(s, ".-_:") {
			return malformed(at, "expected a service such as credentials.iot.amazonaws.com, found %q", s)
		}
		ps.services = append(ps.services, s)
	case "Federated":
		host := s
		if p, err := iot.ParseARN(s); err == nil {
			kind, rest, _ := strings.Cut(p.Resource, "/")
			if p.Service != "iam" || !iot.ValidAccountID(p.Account) || kind != "oidc-provider" && kind != "saml-provider" {
				return malformed(at, "expected the ARN of an OIDC or SAML provider, found %q", s)
			}
			host, _, _ = strings.Cut(rest, "/")
		}
		if !only(host, ".-_:") {
			return malformed(at, "expected an identity provider, found %q", s)
		}
		ps.federated = append(ps.federated, s)
	case "CanonicalUser":
		if !iot.ValidCertificateID(s) {
			return malformed(at, "expected 64 hex digits, found %q", s)
		}
		ps.canonical = append(ps.canonical, s)
	default:
		return malformed(at, "unknown element, expected AWS, Service, Federated or CanonicalUser")
	}
	return nil
}

func (ps *principals) addAWS(at, s string) error {
	switch {
	case s == "*":
		ps.everyone = true
		return nil
	case iot.ValidAccountID(s):
		ps.accounts = append(ps.accounts, s)
		return nil
	case validUniqueID(s):
		ps.ids = append(ps.ids, s)
		return nil
	}
	p, err := iot.ParseARN(s)
	if err != nil || p.Region != "" || !iot.ValidAccountID(p.Account) || strings.ContainsAny(s, "*?") {
		return malformed(at, `expected "*", an account or the ARN of an account root, user, role or session without wildcards, found %q`, s)
	}
	kind, name := p.ResourceID()
	switch {
	case p.Service == "iam" && p.Resource == "root":
		ps.accounts = append(ps.accounts, p.Account)
	case p.Service == "iam" && kind == "role" && name != "":
		ps.roles = append(ps.roles, s)
	case p.Service == "iam" && kind == "user" && name != "",
		p.Service == "sts" && kind == "federated-user" && name != "",
		p.Service == "sts" && kind == "assumed-role" && strings.Count(name, "/") == 1:
		ps.callers = append(ps.callers, s)
	default:
		return malformed(at, "expected the ARN of an account root, user, role or session, found %q", s)
	}
	return nil
}

// validUniqueID reports whether s is the unique id of a user or a role.
func validUniqueID(s string) bool {
	return len(s) >= 16 && len(s) <= 128 && (strings.HasPrefix(s, "AIDA") || strings.HasPrefix(s, "AROA")) &&
		only(s, "") && s == strings.ToUpper(s)
}

// reach says how far the element reaches the caller p of a statement with
// effect e. bounded says that the caller has a permissions boundary: no
// NotPrincipal spares such a caller from a Deny.
func (ps *principals) reach(p *Principal, e Effect, bounded bool) reach {
	switch {
	case !ps.present:
		return reachDirectly
	case !ps.not:
		return ps.names(p)
	case e == ExplicitDeny && bounded:
		return reachRole
	case ps.everyone || e == Allow && ps.names(p) != reachNone || e == ExplicitDeny && ps.listsAll(p):
		return reachNone
	}
	return reachRole
}

func (ps *principals) names(p *Principal) reach {
	if !p.Anonymous {
		role, _, session := strings.Cut(p.UserID, ":")
		switch {
		case p.ARN != "" && slices.Contains(ps.callers, p.ARN),
			p.Service != "" && slices.Contains(ps.services, p.Service),
			p.Federated != "" && slices.Contains(ps.federated, p.Federated),
			p.UserID != "" && ps.hasID(p.UserID):
			return reachDirectly
		case p.RoleARN != "" && (slices.Contains(ps.roles, p.RoleARN) || slices.Contains(ps.callers, p.RoleARN)),
			session && ps.hasID(role):
			return reachRole
		}
	}
	switch {
	case ps.everyone:
		return reachRole
	case !p.Anonymous && p.ARN != "" && slices.Contains(ps.accounts, p.Account):
		return reachAccount
	}
	return reachNone
}

// listsAll reports whether all that the caller is appears in the element: its
// account, its role and itself.
func (ps *principals) listsAll(p *Principal) bool {
	if p.Anonymous {
		return false
	}
	if p.ARN == "" {
		return ps.names(p) != reachNone
	}
	role, _, session := strings.Cut(p.UserID, ":")
	named := slices.Contains(ps.callers, p.ARN) || ps.hasID(p.UserID) || strings.HasSuffix(p.ARN, ":root")
	roled := p.RoleARN == "" || slices.Contains(ps.roles, p.RoleARN) || slices.Contains(ps.callers, p.RoleARN) || session && ps.hasID(role)
	return named && roled && slices.Contains(ps.accounts, p.Account)
}

// String renders the element for people.
func (ps *principals) String() string {
	var parts []string
	if ps.everyone {
		parts = append(parts, "*")
	}
	add := func(kind string, names []string) {
		for _, n := range names {
			parts = append(parts, kind+n)
		}
	}
	add("account ", ps.accounts)
	add("", ps.callers)
	add("", ps.roles)
	add("id ", ps.ids)
	for _, p := range ps.pins {
		parts = append(parts, p.arn+" (id "+p.id+")")
	}
	add("service ", ps.services)
	add("federated ", ps.federated)
	add("canonical user ", ps.canonical)
	s := strings.Join(parts, ", ")
	if ps.not {
		return "all but " + s
	}
	return s
}
