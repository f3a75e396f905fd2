package awsapi

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
)

// PathParams are the labels of a path, decoded.
type PathParams []Param

// Param is one label.
type Param struct{ Name, Value string }

// Get returns a label's value.
func (p PathParams) Get(name string) (string, bool) {
	for _, l := range p {
		if l.Name == name {
			return l.Value, true
		}
	}
	return "", false
}

// Router finds the operation that a request to one service asks for.
type Router struct {
	service  *Service
	bindings map[string]*Binding
	root     routeNode
	literals map[string]bool // query keys that are part of some URI
}

// routeNode is one segment of the paths of a REST service.
type routeNode struct {
	literal map[string]*routeNode
	label   *routeNode
	greedy  *routeNode
	routes  []route
}

// route is one operation at the end of its path.
type route struct {
	binding  *Binding
	labels   []string
	literals []literal
}

// literal is a query parameter that is part of a URI.
type literal struct {
	key, value string
	hasValue   bool
}

// NewRouter prepares the bindings of all operations of a service.
func NewRouter(s *Service) *Router {
	rt := &Router{service: s, bindings: map[string]*Binding{}, literals: map[string]bool{}}
	for i := range s.Operations {
		b := &Binding{Operation: &s.Operations[i], Service: s}
		rt.bindings[b.Name] = b
		if (s.Protocol == RESTJSON || s.Protocol == RESTXML) && !b.Unrouted {
			rt.add(b)
		}
	}
	rt.root.sort()
	return rt
}

// Binding returns the binding of an operation, or nil.
func (rt *Router) Binding(operation string) *Binding { return rt.bindings[operation] }

func splitTemplate(uri string) (path string, literals []literal) {
	path, query, _ := strings.Cut(uri, "?")
	for l := range strings.SplitSeq(query, "&") {
		if key, value, has := strings.Cut(l, "="); key != "" {
			literals = append(literals, literal{key, value, has})
		}
	}
	return path, literals
}

func (rt *Router) add(b *Binding) {
	path, literals := splitTemplate(b.URI)
	for _, l := range literals {
		rt.literals[l.key] = true
	}
	r := route{binding: b, literals: literals}
	n := &rt.root
	for _, segment := range rt.segments(path) {
		name, isLabel := strings.CutPrefix(segment, "{")
		name = strings.TrimSuffix(name, "}")
		greedyName, isGreedy := strings.CutSuffix(name, "+")
		switch {
		case isLabel && isGreedy:
			r.labels = append(r.labels, greedyName)
			n = child(&n.greedy)
		case isLabel:
			r.labels = append(r.labels, name)
			n = child(&n.label)
		default:
			if n.literal == nil {
				n.literal = map[string]*routeNode{}
			}
			next := n.literal[segment]
			n.literal[segment] = child(&next)
			n = next
		}
	}
	n.routes = append(n.routes, r)
}

func child(n **routeNode) *routeNode {
	if *n == nil {
		*n = &routeNode{}
	}
	return *n
}

// sort puts the operation with the most demands first.
func (n *routeNode) sort() {
	slices.SortStableFunc(n.routes, func(a, b route) int { return cmp.Compare(b.demands(), a.demands()) })
	for _, kid := range n.literal {
		kid.sort()
	}
	for _, kid := range []*routeNode{n.label, n.greedy} {
		if kid != nil {
			kid.sort()
		}
	}
}

func (r *route) demands() int {
	return len(r.literals) + len(r.binding.RequiredQuery) + len(r.binding.RequiredHeaders)
}

// segments splits a raw path. A slash at the end means nothing: AWS's clients
// differ on it, and S3's on "/bucket/".
func (rt *Router) segments(path string) []string {
	path = strings.TrimPrefix(path, "/")
	if path == "" {
		return nil
	}
	if rt.service.Protocol == RESTJSON || strings.Count(path, "/") == 1 {
		path = strings.TrimSuffix(path, "/")
	}
	return strings.Split(path, "/")
}

// Match returns the operation and the labels of its path. The path is given raw
// and apart from r, since S3's virtual-host style puts the bucket before it; of
// a query service the body is needed too. Errors are *DecodeErrors.
func (rt *Router) Match(r *http.Request, path string, body []byte) (*Binding, PathParams, error) {
	switch rt.service.Protocol {
	case Query:
		b, err := rt.matchForm(r, body)
		return b, nil, err
	case AWSJSON:
		b, err := rt.matchTarget(r)
		return b, nil, err
	case RESTJSON, RESTXML:
	}
	pairs, err := parseQuery(RawQuery(r))
	if err != nil {
		return nil, nil, malformedQuery()
	}
	m := matcher{rt: rt, method: r.Method, header: r.Header, pairs: pairs}
	segments := rt.segments(path)
	if n := len(segments); n > 0 && segments[n-1] != "" && strings.HasSuffix(path, "/") {
		m.slash = "/"
	}
	m.walk(&rt.root, segments, nil)
	if m.found == nil {
		if m.otherMethod {
			return nil, nil, methodNotAllowed()
		}
		return nil, nil, fault(FaultOperation, "", "Unable to determine service/operation name to be authorized")
	}
	var params PathParams
	for i, name := range m.found.labels {
		value, ok := percentDecode(m.values[i], false)
		if !ok {
			return nil, nil, located(fault(FaultSyntax, name, "The path is not valid percent-encoding"), URI)
		}
		params = append(params, Param{name, value})
	}
	return m.found.binding, params, nil
}

func methodNotAllowed() error {
	return fault(FaultMethod, "", "The specified method is not allowed against this resource.")
}

func (rt *Router) matchForm(r *http.Request, body []byte) (*Binding, error) {
	if r.Method != http.MethodPost && r.Method != http.MethodGet {
		return nil, methodNotAllowed()
	}
	if len(body) > defaultMaxBody {
		return nil, tooLarge(defaultMaxBody)
	}
	f, err := parseForm(r, body)
	if err != nil {
		return nil, err
	}
	action, version := f.get("Action"), f.get("Version")
	b := rt.bindings[action]
	if b == nil || version != "" && version != rt.service.APIVersion {
		return nil, fault(FaultOperation, "", "Could not find operation %s for version %s", echoName(action), echoName(cmp.Or(version, "NO_VERSION_SPECIFIED")))
	}
	return b, nil
}

func (rt *Router) matchTarget(r *http.Request) (*Binding, error) {
	target := r.Header.Get("X-Amz-Target")
	name := target[strings.LastIndexByte(target, '.')+1:]
	b := rt.bindings[name]
	if b == nil || target != rt.service.TargetPrefix+"."+name {
		return nil, fault(FaultOperation, "", "Unknown operation %s", echoName(name))
	}
	if r.Method != http.MethodPost {
		return nil, methodNotAllowed()
	}
	return b, nil
}

// echoName keeps what a message repeats short.
func echoName(s string) string {
	const limit = 128
	if len(s) > limit {
		s = s[:limit]
	}
	return strings.ToValidUTF8(s, "")
}

// matcher looks for the most specific route: literals before labels before
// greedy labels, the most demanding operation of a path first.
type matcher struct {
	rt          *Router
	method      string
	header      http.Header
	pairs       []queryPair
	slash       string // at the end of the path, which is part of a greedy label's value
	found       *route
	values      []string // of the labels
	otherMethod bool
}

func (m *matcher) walk(n *routeNode, segments, values []string) bool {
	if len(segments) == 0 {
		return m.pick(n, values)
	}
	segment := segments[0]
	if kid := n.literal[segment]; kid != nil && m.walk(kid, segments[1:], values) {
		return true
	}
	if n.label != nil && segment != "" && m.walk(n.label, segments[1:], append(slices.Clip(values), segment)) {
		return true
	}
	if n.greedy == nil {
		return false
	}
	return m.pick(n.greedy, append(slices.Clip(values), strings.Join(segments, "/")+m.slash))
}

func (m *matcher) pick(n *routeNode, values []string) bool {
	for i := range n.routes {
		r := &n.routes[i]
		if r.binding.Method != m.method {
			m.otherMethod = true
			continue
		}
		if m.fits(r) {
			m.found, m.values = r, values
			return true
		}
	}
	return false
}

// fits compares the query's sub-resources with the route's: they must be the
// same set, so that no request falls through to an operation that it did not
// name. Other parameters do not matter.
func (m *matcher) fits(r *route) bool {
	for _, l := range r.literals {
		if !m.has(l) {
			return false
		}
	}
	for _, p := range m.pairs {
		if m.rt.literals[p.name] && !slices.ContainsFunc(r.literals, func(l literal) bool { return l.key == p.name }) && m.decisive(p) {
			return false
		}
		if slices.Contains(r.binding.ForbiddenQuery, p.name) {
			return false
		}
	}
	for _, k := range r.binding.RequiredQuery {
		if !slices.ContainsFunc(m.pairs, func(p queryPair) bool { return p.name == k }) {
			return false
		}
	}
	for _, h := range r.binding.RequiredHeaders {
		if len(m.header.Values(h)) == 0 {
			return false
		}
	}
	return true
}

func (m *matcher) has(l literal) bool {
	return slices.ContainsFunc(m.pairs, func(p queryPair) bool {
		return p.name == l.key && (!l.hasValue || p.value == l.value)
	})
}

// decisive reports whether a parameter that is some route's literal names a
// sub-resource: list-type does so only with the value 2.
func (m *matcher) decisive(p queryPair) bool {
	return p.name != "list-type" || p.value == "2"
}
