package policy

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

type form uint8

const (
	formGeneral    form = iota
	formEverything      // *
	formLiteral         // text alone
	formPrefix          // text and then *
)

// pattern is text with wildcards and variables. chunks are what stands between
// the runs (*): the first is anchored at the start, the last at the end, and
// each of the others is found at its leftmost place, so that matching takes no
// more than the product of the two lengths.
type pattern struct {
	source string
	form   form
	text   string // the literal that every match begins with
	chunks [][]atom
	vars   []variable
}

// bindings are the values of a pattern's variables.
type bindings [maxVariables]string

type verdict uint8

const (
	differs verdict = iota
	matches
	unresolved // no literal part rules it out, but a variable has no value
)

func newPattern(source string, l *lexer) pattern {
	p := pattern{source: source, vars: l.vars, chunks: [][]atom{nil}}
	for _, a := range l.atoms {
		if n := len(p.chunks); a.kind == atomRun {
			p.chunks = append(p.chunks, nil)
		} else {
			p.chunks[n-1] = append(p.chunks[n-1], a)
		}
	}
	a := l.atoms
	if len(a) > 0 && a[0].kind == atomText {
		p.text, a = a[0].text, a[1:]
	}
	switch {
	case len(a) == 0:
		p.form = formLiteral
	case len(a) == 1 && a[0].kind == atomRun && p.text == "":
		p.form = formEverything
	case len(a) == 1 && a[0].kind == atomRun:
		p.form = formPrefix
	}
	return p
}

func (p *pattern) match(s string, e env) verdict {
	var ok bool
	switch p.form {
	case formEverything:
		ok = true
	case formLiteral:
		ok = s == p.text
	case formPrefix:
		ok = strings.HasPrefix(s, p.text)
	case formGeneral:
		if !strings.HasPrefix(s, p.text) {
			return differs
		}
		var vals bindings
		if !p.bind(e, &vals) {
			return unresolved
		}
		ok = matchChunks(p.chunks, s, &vals)
	}
	if ok {
		return matches
	}
	return differs
}

func (p *pattern) bind(e env, vals *bindings) bool {
	for i := range p.vars {
		v, _, ok := e.value(&p.vars[i])
		if !ok {
			return false
		}
		vals[i] = v
	}
	return true
}

func matchChunks(chunks [][]atom, s string, vals *bindings) bool {
	n, ok := matchStart(chunks[0], s, vals)
	if !ok {
		return false
	}
	s = s[n:]
	last := len(chunks) - 1
	if last == 0 {
		return s == ""
	}
	if n, ok = matchEnd(chunks[last], s, vals); !ok {
		return false
	}
	s = s[:n]
	for _, c := range chunks[1:last] {
		if n, ok = find(c, s, vals); !ok {
			return false
		}
		s = s[n:]
	}
	return true
}

// literal is the text of an atom that is not a wildcard.
func (a *atom) literal(vals *bindings) string {
	if a.kind == atomVariable {
		return vals[a.index]
	}
	return a.text
}

// matchStart matches chunk where s begins and returns the length of the match.
func matchStart(chunk []atom, s string, vals *bindings) (int, bool) {
	pos := 0
	for i := range chunk {
		if chunk[i].kind == atomOne {
			_, size := utf8.DecodeRuneInString(s[pos:])
			if size == 0 {
				return 0, false
			}
			pos += size
			continue
		}
		text := chunk[i].literal(vals)
		if !strings.HasPrefix(s[pos:], text) {
			return 0, false
		}
		pos += len(text)
	}
	return pos, true
}

// matchEnd matches chunk where s ends and returns where the match begins.
func matchEnd(chunk []atom, s string, vals *bindings) (int, bool) {
	pos := len(s)
	for i := len(chunk) - 1; i >= 0; i-- {
		if chunk[i].kind == atomOne {
			_, size := utf8.DecodeLastRuneInString(s[:pos])
			if size == 0 {
				return 0, false
			}
			pos -= size
			continue
		}
		text := chunk[i].literal(vals)
		if !strings.HasSuffix(s[:pos], text) {
			return 0, false
		}
		pos -= len(text)
	}
	return pos, true
}

// find returns the end of the leftmost match of chunk in s.
func find(chunk []atom, s string, vals *bindings) (int, bool) {
	for pos := 0; pos <= len(s); {
		if chunk[0].kind != atomOne {
			i := strings.Index(s[pos:], chunk[0].literal(vals))
			if i < 0 {
				return 0, false
			}
			pos += i
		}
		if n, ok := matchStart(chunk, s[pos:], vals); ok {
			return pos + n, true
		}
		_, size := utf8.DecodeRuneInString(s[pos:])
		pos += max(size, 1)
	}
	return 0, false
}

// equalFold compares s with a pattern without wildcards, case ignored.
func (p *pattern) equalFold(s string, e env) bool {
	if p.form == formLiteral {
		return strings.EqualFold(s, p.text)
	}
	var vals bindings
	if !p.bind(e, &vals) {
		return false
	}
	for i := range p.chunks[0] {
		var ok bool
		if s, ok = cutFold(s, p.chunks[0][i].literal(&vals)); !ok {
			return false
		}
	}
	return s == ""
}

// cutFold removes prefix from s, case ignored.
func cutFold(s, prefix string) (string, bool) {
	for _, want := range prefix {
		got, size := utf8.DecodeRuneInString(s)
		if size == 0 {
			return "", false
		}
		folded := unicode.SimpleFold(want)
		for folded != got && folded != want {
			folded = unicode.SimpleFold(folded)
		}
		if folded != got {
			return "", false
		}
		s = s[size:]
	}
	return s, true
}

// render is the pattern with its variables replaced; one that does not resolve
// stays as it was written.
func (p *pattern) render(e env) string {
	if len(p.vars) == 0 {
		return p.source
	}
	var b strings.Builder
	for i, c := range p.chunks {
		if i > 0 {
			b.WriteByte('*')
		}
		for j := range c {
			switch a := &c[j]; a.kind {
			case atomOne:
				b.WriteByte('?')
			case atomText, atomRun:
				b.WriteString(a.text)
			case atomVariable:
				v := &p.vars[a.index]
				if value, _, ok := e.value(v); ok {
					b.WriteString(value)
				} else {
					b.WriteString(v.written)
				}
			}
		}
	}
	return b.String()
}

// action is a pattern of actions; text is in lower case.
type action struct {
	source, text string
	form         form
}

func newAction(source string) action {
	a := action{source: source, text: strings.ToLower(source)}
	head, tail, wild := strings.Cut(a.text, "*")
	switch {
	case a.text == "*":
		a.form = formEverything
	case strings.Contains(a.text, "?") || wild && tail != "":
		a.form = formGeneral
	case wild:
		a.text, a.form = head, formPrefix
	default:
		a.form = formLiteral
	}
	return a
}

func (a *action) match(s string) bool {
	switch a.form {
	case formEverything:
		return true
	case formLiteral:
		return len(s) == len(a.text) && hasPrefixFold(s, a.text)
	case formPrefix:
		return hasPrefixFold(s, a.text)
	case formGeneral:
	}
	return globFold(a.text, s)
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

func hasPrefixFold(s, prefix string) bool {
	if len(s) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		if lower(s[i]) != prefix[i] {
			return false
		}
	}
	return true
}

// globFold matches ASCII; a mismatch goes back to the last * alone.
func globFold(glob, s string) bool {
	g, star, mark := 0, -1, 0
	for i := 0; i < len(s); {
		switch {
		case g < len(glob) && glob[g] == '*':
			star, mark = g, i
			g++
		case g < len(glob) && (glob[g] == '?' || glob[g] == lower(s[i])):
			g++
			i++
		case star >= 0:
			mark++
			g, i = star+1, mark
		default:
			return false
		}
	}
	for g < len(glob) && glob[g] == '*' {
		g++
	}
	return g == len(glob)
}
