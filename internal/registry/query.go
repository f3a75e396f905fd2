package registry

import (
	"strconv"
	"strings"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// Query is a query of the fleet-indexing language, as it is understood.
//
// Source: https://docs.aws.amazon.com/iot/latest/developerguide/query-syntax.html.
type Query struct {
	Op    QueryOp
	Nodes []*Query   // of QueryAnd and QueryOr; one of QueryNot
	Term  *QueryTerm // of QueryIs
}

// QueryOp says what a Query is.
type QueryOp uint8

// The kinds of queries.
const (
	QueryIs QueryOp = iota
	QueryAnd
	QueryOr
	QueryNot
)

// QueryField is what a term looks at.
type QueryField uint8

// The fields.
const (
	FieldAny QueryField = iota // everything of the registry
	FieldThingName
	FieldThingID
	FieldThingType
	FieldThingGroup
	FieldAttribute
	FieldConnected   // true or false
	FieldConnectedAt // milliseconds; when it became so
)

// QueryTerm is one condition. Its texts are in lower case, since searches tell no case.
type QueryTerm struct {
	Field     QueryField
	Attribute string // of FieldAttribute, in its own case
	Pattern   QueryPattern
	Range     *QueryRange // instead of Pattern
}

// QueryPattern is a text with wildcards in it.
type QueryPattern string

// The wildcards of a pattern, * and ?, as no term has them in its text.
const (
	WildMany = '\x01'
	WildOne  = '\x02'
)

// QueryRange is what is between two bounds.
type QueryRange struct {
	Low, High       string // "" for none
	WithLow         bool   // the bound itself is in
	WithHigh        bool
	Numeric         bool // by LowNum and HighNum where there is a bound
	LowNum, HighNum float64
}

// Literal returns the text of a pattern without wildcards.
func (p QueryPattern) Literal() (string, bool) {
	return string(p), !strings.ContainsAny(string(p), string([]rune{WildMany, WildOne}))
}

// Prefix returns what all matches begin with, and whether everything that
// begins so matches.
func (p QueryPattern) Prefix() (prefix string, whole bool) {
	i := strings.IndexAny(string(p), string([]rune{WildMany, WildOne}))
	if i < 0 {
		return string(p), false
	}
	return string(p[:i]), string(p[i:]) == string(WildMany)
}

// Match reports whether s, in lower case, matches.
func (p QueryPattern) Match(s string) bool {
	// The last * that was passed, and what it had eaten, are all there is to go back to.
	i, j, star, eaten := 0, 0, -1, 0
	for j < len(s) {
		switch {
		case i < len(p) && p[i] == WildMany:
			star, eaten = i, j
			i++
		case i < len(p) && (p[i] == WildOne || p[i] == s[j]):
			i++
			j++
		case star >= 0:
			eaten++
			i, j = star+1, eaten
		default:
			return false
		}
	}
	for i < len(p) && p[i] == WildMany {
		i++
	}
	return i == len(p)
}

// Match reports whether s, in lower case, is in the range.
func (r *QueryRange) Match(s string) bool {
	if r.Numeric {
		n, ok := ParseNumber(s)
		return ok && (r.Low == "" || n > r.LowNum || r.WithLow && n == r.LowNum) && (r.High == "" || n < r.HighNum || r.WithHigh && n == r.HighNum)
	}
	return (r.Low == "" || s > r.Low || r.WithLow && s == r.Low) && (r.High == "" || s < r.High || r.WithHigh && s == r.High)
}

// ParseNumber reads a decimal number without an exponent: what ranges compare by value.
func ParseNumber(s string) (float64, bool) {
	digits := strings.TrimPrefix(s, "-")
	if len(s) > 40 || strings.Trim(digits, "0123456789.") != "" || strings.Count(digits, ".") > 1 || digits == "" || digits == "." {
		return 0, false
	}
	n, err := strconv.ParseFloat(s, 64)
	return n, err == nil
}

// The limits of https://docs.aws.amazon.com/general/latest/gr/iot_device_management.html.
const (
	maxQueryLength       = 1000
	maxQueryTerms        = 12
	maxLeadingLength     = 100 // of a query with a leading wildcard
	maxQueryDepth        = 20
	unescapedSpecials    = "`@#%/';,!&|~^$+=" // of which none has a meaning
	queryDelimiters      = `()[]{}":<>`
	queryDelimitersSpace = queryDelimiters + " \t\r\n\f\v"
)

// ParseQuery reads a query. Errors are KindInvalid "query".
func ParseQuery(s string) (*Query, error) {
	if s == "" || len(s) > maxQueryLength {
		return nil, badQuery("a query has 1 to %d characters", maxQueryLength)
	}
	for i := range len(s) {
		if s[i] >= 0x80 || s[i] == 0x7f || s[i] < ' ' && !strings.ContainsRune("\t\r\n\f\v", rune(s[i])) {
			return nil, badQuery("character %d is neither printable ASCII nor a space", i+1)
		}
	}
	p := &queryParser{s: s}
	q, err := p.or(QueryTerm{})
	if err != nil {
		return nil, err
	}
	if p.skip(); p.i < len(s) {
		return nil, badQuery("unexpected %q at character %d", s[p.i], p.i+1)
	}
	if p.leading > 1 || p.leading == 1 && len(s) > maxLeadingLength {
		return nil, badQuery("one term at most may begin with a wildcard, in a query of at most %d characters", maxLeadingLength)
	}
	return q, nil
}

func badQuery(format string, args ...any) error {
	e := iot.Errorf(iot.KindInvalid, "query", format, args...)
	e.Message = "Invalid query string: " + e.Message
	return e
}

type queryParser struct {
	s              string
	i              int
	terms, leading int
	depth          int
}

func (p *queryParser) skip() {
	for p.i < len(p.s) && strings.IndexByte(" \t\r\n\f\v", p.s[p.i]) >= 0 {
		p.i++
	}
}

// word reports whether an operator stands here, and goes behind it.
func (p *queryParser) word(w string) bool {
	p.skip()
	rest, ok := strings.CutPrefix(p.s[p.i:], w)
	if !ok || rest != "" && strings.IndexByte(queryDelimitersSpace, rest[0]) < 0 {
		return false
	}
	p.i += len(w)
	return true
}

// or reads alternatives; field is the one of the group that they are in.
func (p *queryParser) or(field QueryTerm) (*Query, error) {
	if p.depth++; p.depth > maxQueryDepth {
		return nil, badQuery("it is nested more than %d deep", maxQueryDepth)
	}
	defer func() { p.depth-- }()
	q := &Query{Op: QueryOr}
	for {
		n, err := p.and(field)
		if err != nil {
			return nil, err
		}
		q.Nodes = append(q.Nodes, n)
		if !p.word("OR") {
			return q.flat(), nil
		}
	}
}

func (p *queryParser) and(field QueryTerm) (*Query, error) {
	q := &Query{Op: QueryAnd}
	for {
		n, err := p.not(field)
		if err != nil {
			return nil, err
		}
		q.Nodes = append(q.Nodes, n)
		explicit := p.word("AND")
		start := p.i
		if !explicit && (p.i == len(p.s) || p.s[p.i] == ')' || p.word("OR")) {
			p.i = start
			return q.flat(), nil
		}
	}
}

// flat spares an operator of one operand.
func (q *Query) flat() *Query {
	if len(q.Nodes) == 1 {
		return q.Nodes[0]
	}
	return q
}

func (p *queryParser) not(field QueryTerm) (*Query, error) {
	negated := p.word("NOT")
	if p.skip(); !negated && p.i < len(p.s) && p.s[p.i] == '-' {
		p.i++
		negated = true
	}
	if negated {
		if p.depth++; p.depth > maxQueryDepth {
			return nil, badQuery("it is nested more than %d deep", maxQueryDepth)
		}
		defer func() { p.depth-- }()
		n, err := p.not(field)
		if err != nil {
			return nil, err
		}
		return &Query{Op: QueryNot, Nodes: []*Query{n}}, nil
	}
	return p.operand(field)
}

// operand reads a group or a term, with its field if it has one.
func (p *queryParser) operand(field QueryTerm) (*Query, error) {
	if p.skip(); p.i == len(p.s) {
		return nil, badQuery("it ends where a term is expected")
	}
	switch p.s[p.i] {
	case '(':
		return p.group(field)
	case '"', '[', '{', '<', '>':
		return p.value(field)
	}
	if p.word("AND") || p.word("OR") {
		return nil, badQuery("an operator stands where a term is expected, before character %d", p.i+1)
	}
	start := p.i
	text, plain, err := p.text()
	if err != nil {
		return nil, err
	}
	if p.skip(); plain && field.Field == FieldAny && p.i < len(p.s) && strings.IndexByte(":<>", p.s[p.i]) >= 0 {
		if field, err = queryField(string(text)); err != nil {
			return nil, err
		}
		if p.s[p.i] == ':' {
			p.i++
			p.skip()
		}
		if p.i < len(p.s) && p.s[p.i] == '(' {
			return p.group(field)
		}
		return p.value(field)
	}
	p.i = start
	return p.value(field)
}

func (p *queryParser) group(field QueryTerm) (*Query, error) {
	p.i++
	q, err := p.or(field)
	if err != nil {
		return nil, err
	}
	if p.skip(); p.i == len(p.s) || p.s[p.i] != ')' {
		return nil, badQuery("a parenthesis is not closed")
	}
	p.i++
	return q, nil
}

func queryField(name string) (QueryTerm, error) {
	if attribute, ok := strings.CutPrefix(name, "attributes."); ok && validAttributeName(attribute) {
		return QueryTerm{Field: FieldAttribute, Attribute: attribute}, nil
	}
	f, ok := map[string]QueryField{
		"thingName": FieldThingName, "thingId": FieldThingID,
		"thingTypeName": FieldThingType, "registry.thingTypeName": FieldThingType,
		"thingGroupNames": FieldThingGroup, "registry.thingGroupNames": FieldThingGroup,
		"connectivity.connected": FieldConnected, "connectivity.timestamp": FieldConnectedAt,
	}[name]
	if !ok {
		return QueryTerm{}, badQuery("field %.128s is not in the index", name)
	}
	return QueryTerm{Field: f}, nil
}

// value reads what a field is compared with.
func (p *queryParser) value(t QueryTerm) (*Query, error) {
	if p.terms++; p.terms > maxQueryTerms {
		return nil, badQuery("it has more than %d terms", maxQueryTerms)
	}
	if p.skip(); p.i == len(p.s) {
		return nil, badQuery("it ends where a value is expected")
	}
	var err error
	switch c := p.s[p.i]; c {
	case '[', '{':
		t.Range, err = p.between()
	case '<', '>':
		t.Range, err = p.compared(c)
	default:
		if t.Pattern, err = p.pattern(); err == nil && t.Pattern != QueryPattern(WildMany) && (t.Pattern[0] == WildMany || t.Pattern[0] == WildOne) {
			p.leading++
		}
	}
	if err != nil {
		return nil, err
	}
	return &Query{Term: &t}, t.check()
}

func (t *QueryTerm) check() error {
	switch t.Field {
	case FieldConnected:
		if t.Range != nil || t.Pattern != "true" && t.Pattern != "false" && t.Pattern != QueryPattern(WildMany) {
			return badQuery("connectivity.connected is true or false")
		}
	case FieldConnectedAt:
		if n, ok := t.Pattern.Literal(); t.Range == nil && ok {
			at, isNumber := ParseNumber(n)
			t.Range = &QueryRange{Low: n, High: n, WithLow: true, WithHigh: true, Numeric: isNumber, LowNum: at, HighNum: at}
			t.Pattern = ""
		}
		if t.Range != nil && !t.Range.Numeric {
			return badQuery("connectivity.timestamp is a number of milliseconds")
		}
		if t.Range == nil && t.Pattern != QueryPattern(WildMany) {
			return badQuery("connectivity.timestamp has no wildcards")
		}
	case FieldAny, FieldThingName, FieldThingID, FieldThingType, FieldThingGroup, FieldAttribute:
		if t.Field == FieldAny && t.Range != nil {
			return badQuery("a range needs a field")
		}
		if t.Field != FieldAttribute && t.Range != nil {
			t.Range.Numeric = false // names are text, also where they look like numbers
		}
	}
	return nil
}

// between reads [a TO b], where { and } leave their bound out and * is none.
func (p *queryParser) between() (*QueryRange, error) {
	r := &QueryRange{WithLow: p.s[p.i] == '['}
	p.i++
	low, err := p.bound()
	if err != nil {
		return nil, err
	}
	if !p.word("TO") {
		return nil, badQuery("a range is written [LOW TO HIGH]")
	}
	high, err := p.bound()
	if err != nil {
		return nil, err
	}
	if p.skip(); p.i == len(p.s) || p.s[p.i] != ']' && p.s[p.i] != '}' {
		return nil, badQuery("a range is not closed")
	}
	r.WithHigh = p.s[p.i] == ']'
	p.i++
	return r.of(low, high), nil
}

// compared reads <, <=, > or >= and a bound.
func (p *queryParser) compared(c byte) (*QueryRange, error) {
	p.i++
	with := p.i < len(p.s) && p.s[p.i] == '='
	if with {
		p.i++
	}
	b, err := p.bound()
	if err != nil {
		return nil, err
	}
	if b.text == "" {
		return nil, badQuery("a comparison needs a value")
	}
	if c == '<' {
		return (&QueryRange{WithHigh: with}).of(queryBound{}, b), nil
	}
	return (&QueryRange{WithLow: with}).of(b, queryBound{}), nil
}

type queryBound struct {
	text   string // "" for none
	quoted bool
}

func (p *queryParser) bound() (queryBound, error) {
	if p.skip(); p.i == len(p.s) {
		return queryBound{}, badQuery("it ends where a bound is expected")
	}
	quoted := p.s[p.i] == '"'
	pattern, err := p.pattern()
	if err != nil {
		return queryBound{}, err
	}
	if pattern == QueryPattern(WildMany) {
		return queryBound{}, nil
	}
	text, literal := pattern.Literal()
	if !literal {
		return queryBound{}, badQuery("a bound has no wildcards")
	}
	return queryBound{text, quoted}, nil
}

// of sets the bounds, which are numbers if none is quoted or another text.
func (r *QueryRange) of(low, high queryBound) *QueryRange {
	r.Low, r.High, r.Numeric = low.text, high.text, true
	for b, n := range map[*queryBound]*float64{&low: &r.LowNum, &high: &r.HighNum} {
		if b.text == "" {
			continue
		}
		var ok bool
		if *n, ok = ParseNumber(b.text); !ok || b.quoted {
			r.Numeric = false
		}
	}
	return r
}

// pattern reads a word or a phrase in quotes.
func (p *queryParser) pattern() (QueryPattern, error) {
	if p.s[p.i] != '"' {
		text, _, err := p.text()
		if p.i < len(p.s) && p.s[p.i] == ':' && err == nil {
			err = badQuery(`the colon at character %d needs a \ before it or quotes around the value`, p.i+1)
		}
		return QueryPattern(strings.ToLower(string(text))), err
	}
	var b strings.Builder
	for p.i++; p.i < len(p.s); p.i++ {
		switch c := p.s[p.i]; c {
		case '"':
			p.i++
			if b.Len() == 0 {
				return "", badQuery("a phrase is empty")
			}
			return QueryPattern(strings.ToLower(b.String())), nil
		case '\\':
			if p.i++; p.i == len(p.s) {
				return "", badQuery("it ends with a backslash")
			}
			b.WriteByte(p.s[p.i])
		default:
			b.WriteByte(c)
		}
	}
	return "", badQuery("a phrase is not closed")
}

// text reads up to a delimiter; plain says that nothing was wild.
func (p *queryParser) text() (text QueryPattern, plain bool, err error) {
	var b strings.Builder
	plain = true
	for ; p.i < len(p.s); p.i++ {
		c := p.s[p.i]
		switch {
		case c == '\\':
			if p.i++; p.i == len(p.s) {
				return "", false, badQuery("it ends with a backslash")
			}
			c = p.s[p.i]
		case c == '*':
			c, plain = WildMany, false
		case c == '?':
			c, plain = WildOne, false
		case strings.IndexByte(queryDelimitersSpace, c) >= 0:
			if b.Len() == 0 {
				return "", false, badQuery("unexpected %q at character %d", c, p.i+1)
			}
			return QueryPattern(b.String()), plain, nil
		case strings.IndexByte(unescapedSpecials, c) >= 0 && !strings.HasPrefix(b.String(), "attributes."):
			return "", false, badQuery(`%q at character %d needs a \ before it or quotes around the value`, c, p.i+1)
		}
		b.WriteByte(c)
	}
	if b.Len() == 0 {
		return "", false, badQuery("it ends where a value is expected")
	}
	return QueryPattern(b.String()), plain, nil
}
