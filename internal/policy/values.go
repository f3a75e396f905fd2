package policy

import (
	"encoding/base64"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// number is a decimal; whole ones within 64 bits compare exactly.
type number struct {
	whole bool
	i     int64
	f     float64
}

// parseNumber reads an optional sign, digits, a fraction and an exponent of at
// most two digits, which no float64 overflows.
func parseNumber(s string) (number, bool) {
	d := digitReader{s: s, ok: len(s) <= 64}
	if !d.accept('-') {
		d.accept('+')
	}
	whole := d.digits()
	plain := d.s == "" && whole <= 18
	d.ok = d.ok && whole > 0
	if d.accept('.') {
		d.ok = d.digits() > 0 && d.ok
	}
	if d.accept('e') || d.accept('E') {
		if !d.accept('-') {
			d.accept('+')
		}
		n := d.digits()
		d.ok = d.ok && n > 0 && n <= 2
	}
	if !d.ok || d.s != "" {
		return number{}, false
	}
	if plain {
		i, err := strconv.ParseInt(s, 10, 64)
		return number{whole: true, i: i, f: float64(i)}, err == nil
	}
	f, err := strconv.ParseFloat(s, 64)
	return number{f: f}, err == nil
}

func (n number) compare(m number) int {
	if n.whole && m.whole {
		return compare(n.i, m.i)
	}
	return compare(n.f, m.f)
}

func compare[T int | int64 | float64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// instant is a point in time.
type instant struct {
	seconds int64
	nanos   int
}

func (t instant) compare(u instant) int {
	if t.seconds != u.seconds {
		return compare(t.seconds, u.seconds)
	}
	return compare(t.nanos, u.nanos)
}

// parseInstant reads seconds since the epoch, or ISO 8601: a date, or a date
// and time to minutes, seconds or fractions of them. Without a zone it is UTC.
func parseInstant(s string) (instant, bool) {
	if n, ok := parseNumber(s); ok && n.whole {
		return instant{seconds: n.i}, true
	}
	d := digitReader{s: s, ok: true}
	year := d.number(4)
	d.expect('-')
	month := d.number(2)
	d.expect('-')
	day := d.number(2)
	var hour, minute, second, nanos, offset int
	if d.accept('T') {
		hour = d.number(2)
		d.expect(':')
		minute = d.number(2)
		if d.accept(':') {
			second = d.number(2)
			if d.accept('.') {
				nanos = d.fraction()
			}
		}
		offset = d.zone()
	}
	if !d.ok || d.s != "" || hour > 23 || minute > 59 || second > 59 {
		return instant{}, false
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
	if int(t.Month()) != month || t.Day() != day {
		return instant{}, false
	}
	return instant{seconds: t.Unix() - int64(offset), nanos: nanos}, true
}

// digitReader reads fixed-width digits; ok turns false at what does not fit.
type digitReader struct {
	s  string
	ok bool
}

func (d *digitReader) accept(c byte) bool {
	if d.s != "" && d.s[0] == c {
		d.s = d.s[1:]
		return true
	}
	return false
}

func (d *digitReader) expect(c byte) {
	if !d.accept(c) {
		d.ok = false
	}
}

func (d *digitReader) number(width int) int {
	n := 0
	for range width {
		if d.s == "" || !isDigit(d.s[0]) {
			d.ok = false
			return 0
		}
		n = n*10 + int(d.s[0]-'0')
		d.s = d.s[1:]
	}
	return n
}

// digits skips digits and counts them.
func (d *digitReader) digits() int {
	n := 0
	for n < len(d.s) && isDigit(d.s[n]) {
		n++
	}
	d.s = d.s[n:]
	return n
}

// fraction reads one to nine digits as nanoseconds.
func (d *digitReader) fraction() int {
	n, width := 0, 0
	for ; width < 9 && d.s != "" && isDigit(d.s[0]); width++ {
		n = n*10 + int(d.s[0]-'0')
		d.s = d.s[1:]
	}
	d.ok = d.ok && width > 0
	for ; width < 9; width++ {
		n *= 10
	}
	return n
}

// zone reads Z, +hh:mm, +hhmm or nothing, and returns seconds east of UTC.
func (d *digitReader) zone() int {
	sign := 1
	switch {
	case d.s == "" || d.accept('Z'):
		return 0
	case d.accept('-'):
		sign = -1
	default:
		d.expect('+')
	}
	hours := d.number(2)
	d.accept(':')
	minutes := d.number(2)
	d.ok = d.ok && hours < 24 && minutes < 60
	return sign * (hours*3600 + minutes*60)
}

// parseNet reads an address or a range; host bits are cleared and IPv4 in IPv6 is IPv4.
func parseNet(s string) (netip.Prefix, bool) {
	if addr, ok := parseAddr(s); ok {
		return netip.PrefixFrom(addr, addr.BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, false
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), true
}

func parseAddr(s string) (netip.Addr, bool) {
	// An error of netip's allocates, and a zone is no part of an address.
	if len(s) > 45 || !only(s, ".:") {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(s)
	return addr.Unmap(), err == nil
}

// parseBool reads true or false in any case.
func parseBool(s string) (value, ok bool) {
	value = strings.EqualFold(s, "true")
	return value, value || strings.EqualFold(s, "false")
}

// canonicalBase64 checks s and returns it with its padding.
func canonicalBase64(s string) (string, bool) {
	raw, err := base64.StdEncoding.Strict().DecodeString(s)
	return base64.StdEncoding.EncodeToString(raw), err == nil
}

// arnPattern is a pattern for each of the six parts of an ARN, or one
// variable, or *, for all of it.
type arnPattern struct {
	whole pattern
	parts []pattern
}

// newARNPattern splits the atoms of a condition value at the colons of its text.
func newARNPattern(source string, l *lexer) (arnPattern, bool) {
	a := arnPattern{whole: newPattern(source, l)}
	if len(l.atoms) == 1 && l.atoms[0].kind != atomText && l.atoms[0].kind != atomOne {
		return a, true
	}
	parts := [][]atom{nil}
	for _, x := range l.atoms {
		if x.kind != atomText {
			parts[len(parts)-1] = append(parts[len(parts)-1], x)
			continue
		}
		for i, text := range strings.SplitN(x.text, ":", 7-len(parts)) {
			if i > 0 {
				parts = append(parts, nil)
			}
			if n := len(parts) - 1; text != "" {
				parts[n] = append(parts[n], atom{kind: atomText, text: text})
			}
		}
	}
	for _, atoms := range parts {
		a.parts = append(a.parts, newPattern("", &lexer{atoms: atoms, vars: l.vars}))
	}
	return a, len(parts) == 6
}

func (a *arnPattern) match(s string, e env) bool {
	if strings.Count(s, ":") < 5 {
		return false
	}
	if a.parts == nil {
		return a.whole.match(s, e) == matches
	}
	for i := range 5 {
		end := strings.IndexByte(s, ':')
		if a.parts[i].match(s[:end], e) != matches {
			return false
		}
		s = s[end+1:]
	}
	return a.parts[5].match(s, e) == matches
}
