package policy

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
)

// Compile parses and compiles a document for one use. name is what decisions
// call the policy. The error is an *iot.Error of KindMalformed whose message
// begins with the place in the document.
func Compile(use Use, name string, src []byte) (*Policy, error) {
	root, err := parse(src)
	if err != nil {
		return nil, err
	}
	p := &Policy{name: name, source: bytes.Clone(src), use: use}
	if err := p.compile(&root); err != nil {
		return nil, err
	}
	for i := range p.statements {
		s := &p.statements[i]
		s.index = i
		if s.effect == Allow {
			p.allow = append(p.allow, s)
		} else {
			p.deny = append(p.deny, s)
		}
	}
	return p, nil
}

func (p *Policy) compile(root *node) error {
	if root.kind != kindObject {
		return malformed("document", "expected an object, found %s", root.kind)
	}
	var list *node
	for i, name := range root.names {
		n := &root.items[i]
		switch name {
		case "Version":
			if n.kind != kindString || n.text != "2012-10-17" && n.text != "2008-10-17" {
				return malformed(name, `expected "2012-10-17" or "2008-10-17"`)
			}
			p.variables = n.text == "2012-10-17"
		case "Id":
			if n.kind != kindString {
				return malformed(name, "expected a string, found %s", n.kind)
			}
		case "Statement":
			list = n
		default:
			return malformed(name, "unknown element, expected Version, Id or Statement")
		}
	}
	if list == nil {
		return malformed("document", "has no Statement")
	}
	c := compiler{use: p.use, variables: p.variables, sids: map[string]bool{}}
	if list.kind != kindArray {
		s, err := c.statement("Statement", list)
		p.statements, p.named = []statement{s}, c.named
		return err
	}
	if len(list.items) == 0 {
		return malformed("Statement", "expected at least one statement")
	}
	for i := range list.items {
		s, err := c.statement(index("Statement", i), &list.items[i])
		if err != nil {
			return err
		}
		p.statements = append(p.statements, s)
	}
	p.named = c.named
	return nil
}

func index(at string, i int) string { return at + "[" + strconv.Itoa(i) + "]" }

// statement is a compiled statement.
type statement struct {
	index       int
	start, end  int // in the document
	sid         string
	effect      Effect
	actions     []action
	notAction   bool
	resources   []pattern
	notResource bool
	principals  principals
	conditions  []condition
}

type compiler struct {
	use       Use
	variables bool
	sids      map[string]bool
	named     []span
}

func (c *compiler) statement(at string, n *node) (statement, error) {
	s := statement{start: n.start, end: n.end}
	if n.kind != kindObject {
		return s, malformed(at, "expected an object, found %s", n.kind)
	}
	for i, name := range n.names {
		if err := c.element(&s, at+"."+name, name, &n.items[i]); err != nil {
			return s, err
		}
	}
	return s, c.complete(at, n, &s)
}

func (c *compiler) element(s *statement, at, name string, n *node) (err error) {
	switch name {
	case "Sid":
		s.sid, err = c.sid(at, n)
	case "Effect":
		s.effect, err = effect(at, n)
	case "Action", "NotAction":
		s.notAction = name == "NotAction"
		err = eachString(at, n, func(at, text string) error { return c.action(s, at, text) })
	case "Resource", "NotResource":
		if c.use == Trust {
			return malformed(at, "not allowed in a trust policy")
		}
		s.notResource = name == "NotResource"
		err = eachString(at, n, func(at, text string) error { return c.resource(s, at, text) })
	case "Principal", "NotPrincipal":
		if c.use != Resource && (c.use != Trust || name == "NotPrincipal") {
			return malformed(at, "not allowed in this kind of policy (%s)", c.use)
		}
		s.principals, err = c.principals(at, n, name == "NotPrincipal")
	case "Condition":
		s.conditions, err = c.conditions(at, n)
	default:
		err = malformed(at, "unknown element, expected Sid, Effect, Action, NotAction, Resource, NotResource, Principal, NotPrincipal or Condition")
	}
	return err
}

// complete checks what only the whole statement shows.
func (c *compiler) complete(at string, n *node, s *statement) error {
	has := func(name string) bool { return slices.Contains(n.names, name) }
	if !has("Effect") {
		return malformed(at, "has no Effect")
	}
	for _, name := range []string{"Action", "Resource", "Principal"} {
		switch one, not := has(name), has("Not"+name); {
		case one && not:
			return malformed(at, "has both %s and Not%s", name, name)
		case one || not:
		case name == "Action" || name == "Resource" && c.use != Trust:
			return malformed(at, "has neither %s nor Not%s", name, name)
		case name == "Principal" && (c.use == Trust || c.use == Resource):
			return malformed(at, "has no Principal")
		}
	}
	if c.use == Trust && s.notAction {
		return malformed(at+".NotAction", "not allowed in a trust policy")
	}
	return nil
}

func (c *compiler) sid(at string, n *node) (string, error) {
	if n.kind != kindString {
		return "", malformed(at, "expected a string, found %s", n.kind)
	}
	if c.use != Identity && c.use != Trust || n.text == "" {
		return n.text, nil
	}
	if !only(n.text, "") {
		return "", malformed(at, "expected letters and digits, found %q", n.text)
	}
	if c.sids[n.text] {
		return "", malformed(at, "%q names two statements", n.text)
	}
	c.sids[n.text] = true
	return n.text, nil
}

// only reports whether s is letters, digits and extra, and not empty.
func only(s, extra string) bool {
	for i := range len(s) {
		if c := lower(s[i]); !isDigit(c) && (c < 'a' || c > 'z') && strings.IndexByte(extra, c) < 0 {
			return false
		}
	}
	return s != ""
}

func effect(at string, n *node) (Effect, error) {
	if n.kind == kindString {
		switch n.text {
		case "Allow":
			return Allow, nil
		case "Deny":
			return ExplicitDeny, nil
		}
	}
	return ImplicitDeny, malformed(at, `expected "Allow" or "Deny"`)
}

// eachString calls f for a string, or for each of a list of at least one.
func eachString(at string, n *node, f func(at, text string) error) error {
	if n.kind == kindString {
		return f(at, n.text)
	}
	if n.kind != kindArray {
		return malformed(at, "expected a string or a list of strings, found %s", n.kind)
	}
	if len(n.items) == 0 {
		return malformed(at, "expected at least one value")
	}
	for i := range n.items {
		at := index(at, i)
		if n.items[i].kind != kindString {
			return malformed(at, "expected a string, found %s", n.items[i].kind)
		}
		if err := f(at, n.items[i].text); err != nil {
			return err
		}
	}
	return nil
}

func (c *compiler) action(s *statement, at, text string) error {
	service, name, _ := strings.Cut(text, ":")
	if text != "*" && text != "*:*" && (!only(service, "-") || !only(name, "*?-_.")) {
		return malformed(at, `expected "*" or "service:Action", found %q`, text)
	}
	if c.use == Trust && !strings.EqualFold(service, "sts") {
		return malformed(at, "a trust policy may only name actions of sts, found %q", text)
	}
	s.actions = append(s.actions, newAction(text))
	return nil
}

func (c *compiler) resource(s *statement, at, text string) error {
	ok := text == "*" || strings.HasPrefix(text, "arn:") &&
		(strings.Count(text, ":") >= 5 || strings.Contains(text, "*"))
	if !ok {
		return malformed(at, `expected "*" or an ARN, found %q`, text)
	}
	plain := 0 // up to the fifth colon
	for colons := 0; plain < len(text) && colons < 5; plain++ {
		if text[plain] == ':' {
			colons++
		}
	}
	l := lexer{at: at, wild: true, variables: c.variables}
	if err := l.run(text, plain); err != nil {
		return err
	}
	s.resources = append(s.resources, newPattern(text, &l))
	return nil
}
