package policy

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Use says what a document is for; it decides the elements that it may hold.
type Use uint8

// The uses of a document.
const (
	Identity Use = iota // an identity policy, a permissions boundary or a session policy
	Trust               // a role's trust policy: Principal, no Resource
	Resource            // a resource policy: Principal or NotPrincipal, and Resource
	IoT                 // an AWS IoT policy of a certificate, a thing group or a Cognito identity
)

// String names the use as it stands in messages.
func (u Use) String() string {
	switch u {
	case Trust:
		return "trust"
	case Resource:
		return "resource"
	case IoT:
		return "iot"
	case Identity:
	}
	return "identity"
}

// Effect is what a statement, or a decision, does.
type Effect uint8

// The effects. The zero value denies.
const (
	ImplicitDeny Effect = iota // no statement allows
	Allow
	ExplicitDeny
)

// String names the effect.
func (e Effect) String() string {
	switch e {
	case Allow:
		return "allow"
	case ExplicitDeny:
		return "explicitDeny"
	case ImplicitDeny:
	}
	return "implicitDeny"
}

// MarshalText renders the effect as String does.
func (e Effect) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// Policy is a compiled document. It is immutable and may be shared.
type Policy struct {
	name       string
	source     []byte
	use        Use
	variables  bool // Version 2012-10-17
	statements []statement
	deny       []*statement
	allow      []*statement
	named      []span // the AWS principals, in order
}

// Name returns what decisions call the policy.
func (p *Policy) Name() string { return p.name }

// Source returns the document as it was compiled; it must not be changed.
func (p *Policy) Source() []byte { return p.source }

// Use returns what the document was compiled for.
func (p *Policy) Use() Use { return p.use }

// StatementInfo is the outline of a statement; patterns stand as written.
type StatementInfo struct {
	Sid         string   `json:"sid,omitempty"`
	Effect      Effect   `json:"effect"`
	Actions     []string `json:"actions"`
	NotAction   bool     `json:"notAction,omitempty"` // all actions but these
	Resources   []string `json:"resources,omitempty"` // none in a trust policy
	NotResource bool     `json:"notResource,omitempty"`
	Principal   string   `json:"principal,omitempty"` // who it is for, for people to read
}

// Statements outlines the statements in the order of the document.
func (p *Policy) Statements() []StatementInfo {
	infos := make([]StatementInfo, len(p.statements))
	for i := range p.statements {
		s := &p.statements[i]
		info := StatementInfo{
			Sid: s.sid, Effect: s.effect, NotAction: s.notAction, NotResource: s.notResource,
			Principal: s.principals.String(),
		}
		for j := range s.actions {
			info.Actions = append(info.Actions, s.actions[j].source)
		}
		for j := range s.resources {
			info.Resources = append(info.Resources, s.resources[j].source)
		}
		infos[i] = info
	}
	return infos
}

// Request is what a decision is about. Resource is the full ARN in its exact
// bytes, or "*" where the action has none.
type Request struct {
	Action, Resource string
	Principal        Principal
	Keys             Keys
}

// Principal is who asks. ARN is that of the user, of the role session, of the
// federated user or of the account root; RoleARN is what is behind a session:
// the role, or the user or root that federated.
// A service or a web identity that assumes a role has only Service or Federated.
type Principal struct {
	Account, ARN, RoleARN, UserID, Service, Federated string
	Anonymous                                         bool
}

// String names the principal for people.
func (p *Principal) String() string {
	switch {
	case p.Anonymous:
		return "anonymous"
	case p.ARN != "":
		return p.ARN
	case p.Service != "":
		return "service " + p.Service
	case p.Federated != "":
		return "federated " + p.Federated
	}
	return "nobody"
}

// Keys answers what a request knows about itself. The key is in lower case,
// except what stands in [...] or after the first '/', which stays as the
// policy has it. Lookup must not allocate.
type Keys interface {
	Lookup(key string) Values
}

// Values is the value of a condition key: absent unless Set; multi-valued
// where Many is not nil. Why says, for explanations, why a key is absent.
type Values struct {
	Set  bool
	One  string
	Many []string
	Why  string
}

// One is a single value.
func One(s string) Values { return Values{Set: true, One: s} }

// Many is a multi-valued key, possibly of no values.
func Many(ss []string) Values {
	if ss == nil {
		ss = make([]string, 0)
	}
	return Values{Set: true, Many: ss}
}

// Absent is a key that the request does not have.
func Absent(why string) Values { return Values{Why: why} }

// KeyMap is a Keys of fixed values by normalised key.
type KeyMap map[string]Values

// Lookup returns the value of key.
func (m KeyMap) Lookup(key string) Values { return m[key] }

// KeyChain asks each of its Keys in turn; the first that has the key answers.
type KeyChain []Keys

// Lookup returns the first set value of key, else the first reason for its absence.
func (c KeyChain) Lookup(key string) Values {
	var none Values
	for _, k := range c {
		v := k.Lookup(key)
		if v.Set {
			return v
		}
		if none.Why == "" {
			none = v
		}
	}
	return none
}

// NormalizeKey returns a condition key in the form in which Keys are asked.
func NormalizeKey(key string) string {
	end := len(key)
	if i := strings.IndexAny(key, "/["); i >= 0 {
		end = i
	}
	tail := key[end:]
	if strings.HasPrefix(tail, "[") {
		if i := strings.IndexByte(tail, ']'); i >= 0 {
			tail = tail[:i] + NormalizeKey(tail[i:])
		}
	}
	return strings.ToLower(key[:end]) + tail
}

// SameTagKey reports whether the keys of two tags are one: they differ by the
// case of letters at most. A letter that folds to another one without being it,
// as U+017F does to s, differs: stores keep it apart.
func SameTagKey(a, b string) bool {
	for a != "" && b != "" {
		x, n := utf8.DecodeRuneInString(a)
		y, m := utf8.DecodeRuneInString(b)
		if x != y && unicode.ToLower(x) != unicode.ToLower(y) {
			return false
		}
		a, b = a[n:], b[m:]
	}
	return a == b
}
