package policy

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"
)

// Position is a place in a document; both count from 1, columns in characters.
type Position struct{ Line, Column int }

// StatementPositions says where the statements stand, as IAM's simulator does:
// from behind what comes before each to behind its closing brace.
func (p *Policy) StatementPositions() [][2]Position {
	list := make([][2]Position, len(p.statements))
	c := cursor{src: p.source, at: Position{Line: 1, Column: 1}}
	for i := range p.statements {
		s := &p.statements[i]
		list[i][0] = c.to(len(bytes.TrimRight(p.source[:s.start], " \t\r\n")))
		list[i][1] = c.to(s.end)
	}
	return list
}

// cursor goes through a document once, however many places are asked for.
type cursor struct {
	src  []byte
	read int
	at   Position
}

func (c *cursor) to(end int) Position {
	part := c.src[c.read:end]
	if n := bytes.Count(part, []byte("\n")); n > 0 {
		c.at.Line += n
		c.at.Column = 1
		part = part[bytes.LastIndexByte(part, '\n')+1:]
	}
	c.at.Column += utf8.RuneCount(part)
	c.read = end
	return c.at
}

// Applying lists the statements of one effect that apply to the request.
func (p *Policy) Applying(r *Request, effect Effect) []int {
	var list []int
	e := p.env(r)
	if effect == Allow {
		e = p.allowEnv(r)
	}
	for i := range p.statements {
		if s := &p.statements[i]; s.effect == effect && s.applies(r, e) != reachNone {
			list = append(list, i)
		}
	}
	return list
}

// ContextKeys lists the keys that the policy asks for in conditions and
// variables, as they are written, each once.
func (p *Policy) ContextKeys() []string {
	var k contextKeys
	for i := range p.statements {
		k.addAll(&p.statements[i])
	}
	return k.list
}

// MissingKeys lists the keys that the statements of the request's action ask
// for and the request does not have.
func (p *Policy) MissingKeys(r *Request) []string {
	var k contextKeys
	for i := range p.statements {
		if s := &p.statements[i]; s.coversAction(r.Action) {
			k.addAll(s)
		}
	}
	return slices.DeleteFunc(k.list, func(key string) bool { return p.env(r).lookup(NormalizeKey(key)).Set })
}

// contextKeys are keys as they are written, each once.
type contextKeys struct {
	list []string
	seen map[string]bool
}

func (k *contextKeys) add(key string) {
	n := NormalizeKey(key)
	if k.seen[n] {
		return
	}
	if k.seen == nil {
		k.seen = map[string]bool{}
	}
	k.seen[n] = true
	k.list = append(k.list, key)
}

func (k *contextKeys) addVariables(vars []variable) {
	for i := range vars {
		name, _, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(vars[i].written, "${"), "}"), ",")
		k.add(strings.TrimSpace(name))
	}
}

// addAll adds the keys of a statement.
func (k *contextKeys) addAll(s *statement) {
	for i := range s.resources {
		k.addVariables(s.resources[i].vars)
	}
	for i := range s.conditions {
		c := &s.conditions[i]
		k.add(c.written)
		for j := range c.strings {
			k.addVariables(c.strings[j].vars)
		}
		for j := range c.arns {
			k.addVariables(c.arns[j].whole.vars)
		}
	}
}
