package policy

import "strings"

// maxVariables bounds the variables of one pattern, so that their values fit
// on the stack.
const maxVariables = 16

type atomKind uint8

const (
	atomText atomKind = iota
	atomOne           // ?
	atomRun           // *
	atomVariable
)

// atom is a piece of a pattern; index is into the pattern's variables.
type atom struct {
	kind  atomKind
	text  string
	index int
}

// variable is ${key} or ${key, 'fallback'}.
type variable struct {
	written  string
	key      string // normalised
	fallback string
	hasElse  bool
}

// env is what one policy's variables and conditions see of a request.
type env struct {
	keys    Keys
	strict  bool // AWS IoT: values that could read as wildcards are not substituted
	bounded bool // the caller has a permissions boundary
}

func (e env) lookup(key string) Values {
	if e.keys == nil {
		return Values{}
	}
	return e.keys.Lookup(key)
}

// value resolves a variable; where it does not resolve, why says the reason.
func (e env) value(v *variable) (value, why string, ok bool) {
	x := e.lookup(v.key)
	switch {
	case !x.Set && v.hasElse:
		return v.fallback, "", true
	case !x.Set && x.Why == "":
		return "", "the request has no such key", false
	case !x.Set:
		return "", x.Why, false
	case x.Many != nil:
		return "", "the key has several values", false
	case e.strict && strings.ContainsAny(x.One, "*$+?#"):
		return "", "its value holds one of * $ + ? #", false
	}
	return x.One, "", true
}

// lexer splits a pattern into atoms. wild makes * and ? wildcards, variables
// makes ${…} a variable or an escaped character.
type lexer struct {
	at              string
	wild, variables bool
	atoms           []atom
	vars            []variable
}

func (l *lexer) literal(s string) {
	if n := len(l.atoms); n > 0 && l.atoms[n-1].kind == atomText {
		l.atoms[n-1].text += s
	} else if s != "" {
		l.atoms = append(l.atoms, atom{kind: atomText, text: s})
	}
}

// run splits s; in its first plain bytes no variable begins.
func (l *lexer) run(s string, plain int) error {
	active := len(s) - plain
	for s != "" {
		i := strings.IndexAny(s, "*?$")
		if i < 0 {
			break
		}
		l.literal(s[:i])
		c := s[i]
		s = s[i:]
		switch {
		case c == '$' && l.variables && len(s) <= active && strings.HasPrefix(s, "${"):
			rest, err := l.reference(s)
			if err != nil {
				return err
			}
			s = rest
		case c == '*' && l.wild:
			l.wildcard(atomRun)
			s = s[1:]
		case c == '?' && l.wild:
			l.wildcard(atomOne)
			s = s[1:]
		default:
			l.literal(s[:1])
			s = s[1:]
		}
	}
	l.literal(s)
	return nil
}

func (l *lexer) wildcard(k atomKind) {
	if n := len(l.atoms); k == atomRun && n > 0 && l.atoms[n-1].kind == atomRun {
		return
	}
	l.atoms = append(l.atoms, atom{kind: k})
}

// reference reads the ${…} that s begins with and returns what follows it.
func (l *lexer) reference(s string) (rest string, err error) {
	for _, c := range []string{"*", "?", "$"} {
		if rest, ok := strings.CutPrefix(s, "${"+c+"}"); ok {
			l.literal(c)
			return rest, nil
		}
	}
	end := keyEnd(s)
	if end == len(s) {
		return "", malformed(l.at, "%q has no closing brace", s)
	}
	v := variable{key: s[2:end]}
	rest = s[end:]
	if rest[0] == ',' {
		value, ok := strings.CutPrefix(strings.TrimLeft(rest[1:], " "), "'")
		if v.fallback, rest, v.hasElse = strings.Cut(value, "'"); !ok || !v.hasElse || !strings.HasPrefix(rest, "}") {
			return "", malformed(l.at, "%q: expected a default in single quotes and a closing brace", s)
		}
	}
	rest = rest[1:]
	v.written = s[:len(s)-len(rest)]
	v.key = strings.TrimSpace(v.key)
	if v.key == "" || strings.ContainsAny(v.key, "${*?'\"") {
		return "", malformed(l.at, "%q: expected the name of a key", v.written)
	}
	v.key = NormalizeKey(v.key)
	if len(l.vars) == maxVariables {
		return "", malformed(l.at, "more than %d variables", maxVariables)
	}
	l.atoms = append(l.atoms, atom{kind: atomVariable, index: len(l.vars)})
	l.vars = append(l.vars, v)
	return rest, nil
}

// keyEnd is the index of the brace or comma that ends the key of the reference
// s begins with, or len(s). A comma inside [...] belongs to the key.
func keyEnd(s string) int {
	inside := false
	for i := 2; i < len(s); i++ {
		switch c := s[i]; {
		case c == '[':
			inside = true
		case c == ']':
			inside = false
		case c == '}' || c == ',' && !inside:
			return i
		}
	}
	return len(s)
}
