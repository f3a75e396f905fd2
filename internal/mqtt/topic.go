package mqtt

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// ValidUTF8 reports whether b is a UTF-8 encoded string of the standard:
// well-formed, without surrogates and U+0000 (section 1.5.4).
func ValidUTF8(b []byte) bool {
	return utf8.Valid(b) && bytes.IndexByte(b, 0) < 0
}

// SWAR constants: a bit in every byte of a word.
const (
	ones  = 0x0101010101010101
	highs = 0x80 * ones
	lows  = 0x7f * ones
)

// equal returns the high bit of every byte of w that is c. All bytes of w must
// be below 0x80.
func equal(w uint64, c byte) uint64 { return ^((w ^ uint64(c)*ones) + lows) & highs }

// scan counts the slashes of b and reports whether it has a wildcard, and
// whether it is a valid string.
func scan(b []byte) (slashes int, wildcard, valid bool) {
	rest := b
	for len(rest) >= 8 {
		w := binary.LittleEndian.Uint64(rest)
		if w&highs != 0 {
			return scanSlowly(b)
		}
		if equal(w, 0) != 0 {
			return 0, false, false
		}
		if equal(w, '+')|equal(w, '#') != 0 {
			wildcard = true
		}
		slashes += bits.OnesCount64(equal(w, '/'))
		rest = rest[8:]
	}
	for _, c := range rest {
		switch {
		case c == '/':
			slashes++
		case c == '+' || c == '#':
			wildcard = true
		case c == 0 || c >= 0x80:
			return scanSlowly(b)
		}
	}
	return slashes, wildcard, true
}

func scanSlowly(b []byte) (slashes int, wildcard, valid bool) {
	return bytes.Count(b, []byte{'/'}), bytes.ContainsAny(b, "+#"), ValidUTF8(b)
}

// CheckTopicName returns why b is no topic name to publish to (section 4.7):
// MalformedPacket if it is not a string, ProtocolError if it is empty,
// TopicNameInvalid if it has a wildcard or is over the limits.
func CheckTopicName(b []byte, l *Limits) error {
	slashes, wildcard, valid := scan(b)
	switch {
	case !valid:
		return malformed("topic name is not valid UTF-8")
	case len(b) == 0:
		return protocolError("empty topic name")
	case wildcard:
		return &Error{Code: TopicNameInvalid, Detail: "wildcard in a topic name"}
	case !l.allow(b, slashes):
		return &Error{Code: TopicNameInvalid, Detail: "topic name over the limits"}
	}
	return nil
}

// allow reports whether a topic with so many slashes is within the limits.
func (l *Limits) allow(topic []byte, slashes int) bool {
	n := len(topic)
	if n > 0 && topic[0] == '$' {
		if rest, ok := bytes.CutPrefix(topic, []byte("$aws/rules/")); ok {
			if i := bytes.IndexByte(rest, '/'); i >= 0 {
				n, slashes = len(rest)-i-1, slashes-3
			}
		}
	}
	return (l.TopicLength == 0 || n <= l.TopicLength) && (l.TopicLevels == 0 || slashes < l.TopicLevels)
}

// Filter is a topic filter of SUBSCRIBE or UNSUBSCRIBE.
type Filter struct {
	Text     []byte // all of it
	Share    []byte // NAME of "$share/NAME/TOPIC", else nil
	Topic    []byte // what topic names are matched with
	Wildcard bool   // Topic has a wildcard
}

// ParseFilter takes a topic filter apart. It returns MalformedPacket if b is
// not a string, and TopicFilterInvalid if it breaks the rules for wildcards
// (section 4.7.1) or shared subscriptions (section 4.8.2) or the limits.
func ParseFilter(b []byte, l *Limits) (Filter, error) {
	f := Filter{Text: b, Topic: b}
	slashes, wildcard, valid := scan(b)
	if !valid {
		return Filter{}, malformed("topic filter is not valid UTF-8")
	}
	if rest, ok := bytes.CutPrefix(b, []byte("$share/")); ok {
		i := bytes.IndexByte(rest, '/')
		if i <= 0 || bytes.ContainsAny(rest[:i], "+#") {
			return Filter{}, badFilter("share name that is empty, has a wildcard or no filter after it")
		}
		if l.ShareName > 0 && i > l.ShareName {
			return Filter{}, badFilter("share name over the limit")
		}
		f.Share, f.Topic = rest[:i], rest[i+1:]
		slashes -= 2
	}
	if len(f.Topic) == 0 {
		return Filter{}, badFilter("empty topic filter")
	}
	if wildcard {
		if !wildcardsPlaced(f.Topic) {
			return Filter{}, badFilter("wildcard that is not a level of its own, or # before the end")
		}
		f.Wildcard = true
	}
	if !l.allow(f.Topic, slashes) {
		return Filter{}, badFilter("topic filter over the limits")
	}
	return f, nil
}

// wildcardsPlaced reports whether every + is a level of its own, and # as well
// and the last.
func wildcardsPlaced(b []byte) bool {
	for i, c := range b {
		if c != '+' && c != '#' {
			continue
		}
		if i > 0 && b[i-1] != '/' {
			return false
		}
		if last := i == len(b)-1; !last && (c == '#' || b[i+1] != '/') {
			return false
		}
	}
	return true
}

func badFilter(detail string) error { return &Error{Code: TopicFilterInvalid, Detail: detail} }
