package policy

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"
)

// Position is a place in a document; both count from 1, columns in characters.
type Position struct{ Line, Column int }

// StatementPosition says where a statement stands, as IAM's simulator does:
// from behind what comes before it to behind its closing brace.
func (p *Policy) StatementPosition(statement int) (from, to Position) {
	s := &p.statements[statement]
	before := bytes.TrimRight(p.source[:s.start], " \t\r\n")
	return position(before), position(p.source[:s.end])
}

func position(before []byte) Position {
	return Position{
		Line:   bytes.Count(before, []byte("\n")) + 1,
		Column: utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1,
	}
}

// Applying lists the statements of one effect that apply to the request.
func (p *Policy) Applying(r *Request, effect Effect) []int {
	var list []int
	for i := range p.statements {
		if s := &p.statements[i]; s.effect == effect && s.applies(r, p.env(r)) != reachNone {
			list = append(list, i)
		}
	}
	return list
}

// ContextKeys lists the keys that the policy asks for in conditions and
// variables, as they are written, each once.
func (p *Policy) ContextKeys() []string {
	var keys []string
	for i := range p.statements {
		keys = p.statements[i].contextKeys(keys)
	}
	return keys
}

// MissingKeys lists the keys that the statements of the request's action ask
// for and the request does not have.
func (p *Policy) MissingKeys(r *Request) []string {
	var keys []string
	for i := range p.statements {
		if s := &p.statements[i]; s.coversAction(r.Action) {
			keys = s.contextKeys(keys)
		}
	}
	return slices.DeleteFunc(keys, func(key string) bool { return p.env(r).lookup(NormalizeKey(key)).Set })
}

// contextKeys adds the keys of the statement to those that are listed.
func (s *statement) contextKeys(keys []string) []string {
	add := func(key string) {
		if !slices.ContainsFunc(keys, func(k string) bool { return NormalizeKey(k) == NormalizeKey(key) }) {
			keys = append(keys, key)
		}
	}
	addVars := func(vars []variable) {
		for i := range vars {
			name, _, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(vars[i].written, "${"), "}"), ",")
			add(strings.TrimSpace(name))
		}
	}
	for i := range s.resources {
		addVars(s.resources[i].vars)
	}
	for i := range s.conditions {
		c := &s.conditions[i]
		add(c.written)
		for j := range c.strings {
			addVars(c.strings[j].vars)
		}
		for j := range c.arns {
			addVars(c.arns[j].whole.vars)
		}
	}
	return keys
}
