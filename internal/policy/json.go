package policy

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// Caps of the parser. Services have tighter ones of their own.
const (
	maxDocument = 1 << 20
	maxDepth    = 16
	maxValues   = 1 << 16
)

type kind uint8

const (
	kindObject kind = iota
	kindArray
	kindString
	kindNumber
	kindBool
	kindNull
)

func (k kind) String() string {
	switch k {
	case kindObject:
		return "an object"
	case kindArray:
		return "a list"
	case kindString:
		return "a string"
	case kindNumber:
		return "a number"
	case kindBool:
		return "a boolean"
	case kindNull:
	}
	return "null"
}

// node is a JSON value. Numbers and booleans keep their text.
type node struct {
	kind       kind
	text       string
	names      []string // of an object's items
	items      []node
	start, end int // of its bytes in the document
}

func malformed(at, format string, args ...any) error {
	return iot.Errorf(iot.KindMalformed, "policy", "%s: %s", at, fmt.Sprintf(format, args...))
}

// parser reads strict JSON: valid UTF-8, no duplicate keys, no lone surrogates.
type parser struct {
	src    string
	pos    int
	values int
	path   []string
}

func parse(src []byte) (node, error) {
	if len(src) > maxDocument {
		return node{}, malformed("document", "longer than %d bytes", maxDocument)
	}
	if !utf8.Valid(src) {
		return node{}, malformed("document", "not valid UTF-8")
	}
	p := parser{src: string(src)}
	n, err := p.value()
	if err != nil {
		return node{}, err
	}
	if p.space(); p.pos < len(p.src) {
		return node{}, p.unexpected("the end of the document")
	}
	return n, nil
}

func (p *parser) fail(format string, args ...any) error {
	before := p.src[:p.pos]
	line := strings.Count(before, "\n") + 1
	column := utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
	at := "document"
	if len(p.path) > 0 {
		at = strings.TrimPrefix(strings.Join(p.path, ""), ".")
	}
	return malformed(at, "%s (line %d, column %d)", fmt.Sprintf(format, args...), line, column)
}

func (p *parser) unexpected(want string) error {
	if p.pos >= len(p.src) {
		return p.fail("expected %s, the document ends here", want)
	}
	r, _ := utf8.DecodeRuneInString(p.src[p.pos:])
	return p.fail("expected %s, found %q", want, r)
}

func (p *parser) space() {
	for p.pos < len(p.src) && isSpace(p.src[p.pos]) {
		p.pos++
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// peek skips white space and returns the byte that follows, 0 at the end.
func (p *parser) peek() byte {
	if p.space(); p.pos < len(p.src) {
		return p.src[p.pos]
	}
	return 0
}

func (p *parser) value() (node, error) {
	c := p.peek()
	start := p.pos
	n, err := p.valueAt(c)
	n.start, n.end = start, p.pos
	return n, err
}

func (p *parser) valueAt(c byte) (node, error) {
	if p.values++; p.values > maxValues {
		return node{}, p.fail("more than %d values", maxValues)
	}
	switch {
	case c == '{' || c == '[':
		if len(p.path) >= maxDepth {
			return node{}, p.fail("nested deeper than %d", maxDepth)
		}
		if c == '{' {
			return p.object()
		}
		return p.array()
	case c == '"':
		s, err := p.text()
		return node{kind: kindString, text: s}, err
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	}
	for _, word := range []string{"true", "false", "null"} {
		if strings.HasPrefix(p.src[p.pos:], word) {
			p.pos += len(word)
			k := kindBool
			if word == "null" {
				k = kindNull
			}
			return node{kind: k, text: word}, nil
		}
	}
	return node{}, p.unexpected("a value")
}

func (p *parser) object() (node, error) {
	n := node{kind: kindObject}
	seen := map[string]bool{}
	p.pos++
	if p.peek() == '}' {
		p.pos++
		return n, nil
	}
	for {
		if p.peek() != '"' {
			return node{}, p.unexpected("a key in quotes")
		}
		start := p.pos
		name, err := p.text()
		if err != nil {
			return node{}, err
		}
		p.path = append(p.path, "."+name)
		if seen[name] {
			p.pos = start
			return node{}, p.fail("duplicate key")
		}
		seen[name] = true
		if p.peek() != ':' {
			return node{}, p.unexpected("':'")
		}
		p.pos++
		item, err := p.value()
		if err != nil {
			return node{}, err
		}
		p.path = p.path[:len(p.path)-1]
		n.names, n.items = append(n.names, name), append(n.items, item)
		if done, err := p.next('}'); done || err != nil {
			return n, err
		}
	}
}

func (p *parser) array() (node, error) {
	n := node{kind: kindArray}
	p.pos++
	if p.peek() == ']' {
		p.pos++
		return n, nil
	}
	for {
		p.path = append(p.path, "["+strconv.Itoa(len(n.items))+"]")
		item, err := p.value()
		if err != nil {
			return node{}, err
		}
		p.path = p.path[:len(p.path)-1]
		n.items = append(n.items, item)
		if done, err := p.next(']'); done || err != nil {
			return n, err
		}
	}
}

// next consumes a comma, or the closing bracket and reports done.
func (p *parser) next(closing byte) (done bool, err error) {
	c := p.peek()
	if c != ',' && c != closing {
		return false, p.unexpected("',' or '" + string(closing) + "'")
	}
	p.pos++
	return c == closing, nil
}

func (p *parser) number() (node, error) {
	start := p.pos
	if p.src[p.pos] == '-' {
		p.pos++
	}
	zero := p.pos < len(p.src) && p.src[p.pos] == '0'
	digits := p.digits()
	ok := digits == 1 || digits > 1 && !zero
	if ok && p.accept(".") {
		ok = p.digits() > 0
	}
	if ok && p.accept("eE") {
		p.accept("+-")
		ok = p.digits() > 0
	}
	if !ok {
		return node{}, p.unexpected("a number")
	}
	return node{kind: kindNumber, text: p.src[start:p.pos]}, nil
}

func (p *parser) accept(set string) bool {
	if p.pos < len(p.src) && strings.IndexByte(set, p.src[p.pos]) >= 0 {
		p.pos++
		return true
	}
	return false
}

func (p *parser) digits() int {
	start := p.pos
	for p.pos < len(p.src) && isDigit(p.src[p.pos]) {
		p.pos++
	}
	return p.pos - start
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// text reads a string; the opening quote is next.
func (p *parser) text() (string, error) {
	p.pos++
	start := p.pos
	for p.pos < len(p.src) && p.src[p.pos] != '"' && p.src[p.pos] != '\\' && p.src[p.pos] >= ' ' {
		p.pos++
	}
	if p.pos < len(p.src) && p.src[p.pos] == '"' {
		p.pos++
		return p.src[start : p.pos-1], nil
	}
	var b strings.Builder
	b.WriteString(p.src[start:p.pos])
	for p.pos < len(p.src) {
		c := p.src[p.pos]
		switch {
		case c == '"':
			p.pos++
			return b.String(), nil
		case c < ' ':
			return "", p.fail("control character in a string")
		case c == '\\':
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			b.WriteRune(r)
		default:
			b.WriteByte(c)
			p.pos++
		}
	}
	return "", p.unexpected("the end of the string")
}

func (p *parser) escape() (rune, error) {
	const codes, runes = `"\/bfnrt`, "\"\\/\b\f\n\r\t"
	p.pos++
	if p.pos < len(p.src) {
		c := p.src[p.pos]
		if i := strings.IndexByte(codes, c); i >= 0 {
			p.pos++
			return rune(runes[i]), nil
		}
		if c == 'u' {
			return p.unicode()
		}
	}
	return 0, p.unexpected("an escape")
}

// unicode reads uXXXX, or a surrogate pair of them.
func (p *parser) unicode() (rune, error) {
	r, ok := p.hex()
	if ok && utf16.IsSurrogate(r) {
		var low rune
		if ok = p.accept(`\`); ok {
			low, ok = p.hex()
		}
		r = utf16.DecodeRune(r, low)
		ok = ok && r != utf8.RuneError
	}
	if !ok {
		return 0, p.fail(`expected \u and four hex digits of a character`)
	}
	return r, nil
}

func (p *parser) hex() (rune, bool) {
	if p.pos+5 > len(p.src) || p.src[p.pos] != 'u' {
		return 0, false
	}
	v, err := strconv.ParseUint(p.src[p.pos+1:p.pos+5], 16, 16)
	p.pos += 5
	return rune(v), err == nil
}

// CompactLen is the length of a document in characters, white space outside
// strings not counted, which is how the quotas on documents are meant.
func CompactLen(src []byte) int {
	n, quoted, escaped := 0, false, false
	for len(src) > 0 {
		_, size := utf8.DecodeRune(src)
		c := src[0]
		src = src[size:]
		if quoted || !isSpace(c) {
			n++
		}
		switch {
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		}
	}
	return n
}
