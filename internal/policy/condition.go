package policy

import (
	"net/netip"
	"slices"
	"strings"
)

type family uint8

const (
	familyString family = iota
	familyFold          // StringEqualsIgnoreCase
	familyNumeric
	familyDate
	familyBool
	familyBinary
	familyIP
	familyARN
	familyNull
)

// relation is what a numeric or date operator asks for.
type relation uint8

const (
	equal relation = iota
	less
	lessOrEqual
	greater
	greaterOrEqual
)

func (r relation) holds(order int) bool {
	switch r {
	case less:
		return order < 0
	case lessOrEqual:
		return order <= 0
	case greater:
		return order > 0
	case greaterOrEqual:
		return order >= 0
	case equal:
	}
	return order == 0
}

type quantifier uint8

const (
	forOne quantifier = iota
	forAllValues
	forAnyValue
)

// operator is a condition operator.
type operator struct {
	family     family
	relation   relation
	wild       bool
	negated    bool
	ifExists   bool
	quantifier quantifier
}

// parseOperator reads an operator's name, in any case.
func parseOperator(name string) (operator, bool) {
	var op operator
	name = strings.ToLower(name)
	if rest, ok := strings.CutPrefix(name, "forallvalues:"); ok {
		name, op.quantifier = rest, forAllValues
	} else if rest, ok = strings.CutPrefix(name, "foranyvalue:"); ok {
		name, op.quantifier = rest, forAnyValue
	}
	name, op.ifExists = strings.CutSuffix(name, "ifexists")
	if name == "null" {
		op.family = familyNull
		return op, !op.ifExists && op.quantifier == forOne
	}
	return op, op.base(name)
}

// base fills in the operator without its qualifiers.
func (op *operator) base(name string) bool {
	switch name {
	case "stringequals":
	case "stringlike":
		op.wild = true
	case "stringequalsignorecase":
		op.family = familyFold
	case "bool":
		op.family = familyBool
	case "binaryequals":
		op.family = familyBinary
	case "ipaddress":
		op.family = familyIP
	case "arnequals", "arnlike":
		op.family, op.wild = familyARN, true
	case "stringnotequals", "stringnotequalsignorecase", "stringnotlike", "notipaddress", "arnnotequals", "arnnotlike":
		op.negated = true
		return op.base(strings.Replace(name, "not", "", 1))
	default:
		return op.ordered(name)
	}
	return true
}

// ordered fills in the operators that compare by order.
func (op *operator) ordered(name string) bool {
	relation, ok := strings.CutPrefix(name, "numeric")
	op.family = familyNumeric
	if !ok {
		relation, ok = strings.CutPrefix(name, "date")
		op.family = familyDate
	}
	switch relation {
	case "equals":
	case "notequals":
		op.negated = true
	case "lessthan":
		op.relation = less
	case "lessthanequals":
		op.relation = lessOrEqual
	case "greaterthan":
		op.relation = greater
	case "greaterthanequals":
		op.relation = greaterOrEqual
	default:
		return false
	}
	return ok
}

// condition is one key under one operator. The values are compiled into the
// slice of the operator's family.
type condition struct {
	operator
	name    string // of the operator, as written
	written string // the key, as written
	key     string // normalised
	values  []string

	strings []pattern
	arns    []arnPattern
	numbers []number
	dates   []instant
	nets    []netip.Prefix
	bools   []bool
	binary  []string
}

func (c *compiler) conditions(at string, n *node) ([]condition, error) {
	if n.kind != kindObject {
		return nil, malformed(at, "expected an object of operators, found %s", n.kind)
	}
	var conditions []condition
	for i, name := range n.names {
		op, ok := parseOperator(name)
		if !ok {
			return nil, malformed(at+"."+name, "unknown operator")
		}
		keys := &n.items[i]
		if keys.kind != kindObject {
			return nil, malformed(at+"."+name, "expected an object of keys, found %s", keys.kind)
		}
		for j, key := range keys.names {
			at := at + "." + name + "." + key
			if service, name, _ := strings.Cut(key, ":"); service == "" || name == "" || strings.ContainsAny(service, "*?$ ") {
				return nil, malformed(at, "expected the name of a key, such as aws:SourceIp")
			}
			cond := condition{operator: op, name: name, written: key, key: NormalizeKey(key)}
			if err := c.operands(&cond, at, &keys.items[j]); err != nil {
				return nil, err
			}
			conditions = append(conditions, cond)
		}
	}
	return conditions, nil
}

func (c *compiler) operands(cond *condition, at string, n *node) error {
	add := func(at string, n *node) error {
		if n.kind != kindString && n.kind != kindNumber && n.kind != kindBool {
			return malformed(at, "expected a string, a number or a boolean, found %s", n.kind)
		}
		cond.values = append(cond.values, n.text)
		want, err := c.operand(cond, at, n.text)
		if err == nil && want != "" {
			err = malformed(at, "expected %s for %s, found %q", want, cond.name, n.text)
		}
		return err
	}
	if n.kind != kindArray {
		return add(at, n)
	}
	for i := range n.items {
		if err := add(index(at, i), &n.items[i]); err != nil {
			return err
		}
	}
	return nil
}

// operand compiles one value; want says what was expected of one that does not fit.
func (c *compiler) operand(cond *condition, at, s string) (want string, err error) {
	var ok bool
	switch cond.family {
	case familyString, familyFold, familyARN:
		return c.textOperand(cond, at, s)
	case familyNumeric:
		var n number
		n, ok = parseNumber(s)
		cond.numbers, want = append(cond.numbers, n), "a number"
	case familyDate:
		var t instant
		t, ok = parseInstant(s)
		cond.dates, want = append(cond.dates, t), "an ISO 8601 date or seconds since 1970"
	case familyIP:
		var p netip.Prefix
		p, ok = parseNet(s)
		cond.nets, want = append(cond.nets, p), "an IP address or a CIDR range"
	case familyBinary:
		var b string
		b, ok = canonicalBase64(s)
		cond.binary, want = append(cond.binary, b), "base64"
	case familyBool, familyNull:
		var b bool
		b, ok = parseBool(s)
		if ok {
			cond.bools = append(cond.bools, b)
		}
		ok = ok || cond.family == familyBool // other text is false, says IAM
		want = "true or false"
	}
	if ok {
		return "", nil
	}
	return want, nil
}

func (c *compiler) textOperand(cond *condition, at, s string) (want string, err error) {
	l := lexer{at: at, wild: cond.wild, variables: c.variables}
	if err := l.run(s, 0); err != nil {
		return "", err
	}
	if cond.family != familyARN {
		cond.strings = append(cond.strings, newPattern(s, &l))
		return "", nil
	}
	a, ok := newARNPattern(s, &l)
	if !ok {
		return "an ARN of six parts", nil
	}
	cond.arns = append(cond.arns, a)
	return "", nil
}

// holds applies the rules of absent keys and of sets.
func (c *condition) holds(e env) bool {
	v := e.lookup(c.key)
	switch {
	case c.family == familyNull:
		return slices.Contains(c.bools, !v.Set || v.Many != nil && len(v.Many) == 0)
	case !v.Set && c.ifExists:
		return true
	case !v.Set && c.quantifier == forOne:
		return c.negated
	case !v.Set:
		return c.quantifier == forAllValues
	case v.Many == nil:
		return c.matches(v.One, e) != c.negated
	}
	switch c.quantifier {
	case forAllValues:
		for _, s := range v.Many {
			if c.matches(s, e) == c.negated {
				return false
			}
		}
		return true
	case forAnyValue:
		for _, s := range v.Many {
			if c.matches(s, e) != c.negated {
				return true
			}
		}
		return false
	case forOne:
	}
	for _, s := range v.Many {
		if c.matches(s, e) {
			return !c.negated
		}
	}
	return c.negated
}

// matches reports whether s matches any of the condition's values; negation is
// the caller's.
func (c *condition) matches(s string, e env) bool {
	switch c.family {
	case familyString:
		for i := range c.strings {
			if c.strings[i].match(s, e) == matches {
				return true
			}
		}
	case familyFold:
		for i := range c.strings {
			if c.strings[i].equalFold(s, e) {
				return true
			}
		}
	case familyARN:
		for i := range c.arns {
			if c.arns[i].match(s, e) {
				return true
			}
		}
	case familyBinary:
		return slices.Contains(c.binary, s)
	case familyNumeric:
		n, ok := parseNumber(s)
		return ok && slices.ContainsFunc(c.numbers, func(m number) bool { return c.relation.holds(n.compare(m)) })
	case familyDate:
		t, ok := parseInstant(s)
		return ok && slices.ContainsFunc(c.dates, func(u instant) bool { return c.relation.holds(t.compare(u)) })
	case familyIP:
		s, _, _ = strings.Cut(s, "%") // the zone of a link-local peer is the host's own
		addr, ok := parseAddr(s)
		return ok && slices.ContainsFunc(c.nets, func(p netip.Prefix) bool { return p.Contains(addr) })
	case familyBool:
		b, ok := parseBool(s)
		return ok && slices.Contains(c.bools, b)
	case familyNull: // holds asks about the key alone
	}
	return false
}
