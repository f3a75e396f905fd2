package awsapi

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// queryPair is one parameter of a raw query: decoded, and in canonical form.
type queryPair struct {
	name, value             string
	encodedName, encodedVal string
}

// splitTarget returns the raw path and the raw query of r as they were sent.
func splitTarget(r *http.Request) (path, query string) {
	target := r.RequestURI
	if target == "" {
		target = r.URL.RequestURI()
	}
	if !strings.HasPrefix(target, "/") {
		if _, rest, ok := strings.Cut(target, "://"); ok { // absolute form, as sent to a proxy
			target = rest[strings.IndexAny(rest+"/", "/?"):]
		}
	}
	path, query, _ = strings.Cut(target, "?")
	if path == "" {
		path = "/"
	}
	return path, query
}

// RawPath returns the path of r exactly as it was sent, percent-encoding and
// all. Everything that is authorised by path must be derived from it.
func RawPath(r *http.Request) string {
	path, _ := splitTarget(r)
	return path
}

// RawQuery returns the query of r exactly as it was sent.
func RawQuery(r *http.Request) string {
	_, query := splitTarget(r)
	return query
}

// parseQuery splits a raw query. A plus sign is a space, as every SDK has it.
func parseQuery(raw string) ([]queryPair, error) {
	if raw == "" {
		return nil, nil
	}
	pairs := make([]queryPair, 0, strings.Count(raw, "&")+1)
	for piece := range strings.SplitSeq(raw, "&") {
		if piece == "" {
			continue
		}
		rawName, rawValue, _ := strings.Cut(piece, "=")
		name, ok1 := percentDecode(rawName, true)
		value, ok2 := percentDecode(rawValue, true)
		if !ok1 || !ok2 {
			return nil, refuse(ReasonMalformed, "The query string is not valid percent-encoding")
		}
		pairs = append(pairs, queryPair{name, value, percentEncode(name, ""), percentEncode(value, "")})
	}
	return pairs, nil
}

// appendCanonicalQuery appends the parameters sorted by name and then value,
// without the signature and, with dropToken, without the session token.
func appendCanonicalQuery(dst []byte, pairs []queryPair, presigned, dropToken bool) []byte {
	slices.SortStableFunc(pairs, func(a, b queryPair) int {
		if c := strings.Compare(a.encodedName, b.encodedName); c != 0 {
			return c
		}
		return strings.Compare(a.encodedVal, b.encodedVal)
	})
	first := true
	for _, p := range pairs {
		if presigned && (p.name == paramSignature || dropToken && p.name == paramToken) {
			continue
		}
		if !first {
			dst = append(dst, '&')
		}
		first = false
		dst = append(dst, p.encodedName...)
		dst = append(dst, '=')
		dst = append(dst, p.encodedVal...)
	}
	return dst
}

// canonicalPaths calls try with the canonical forms that signers give a raw
// path, the usual one first, until try accepts one. Every form names the same
// path: what differs is how it is written.
//
// S3 signs the path encoded once: strictly, or just as sent. The others sign
// the sent path encoded once more, some after resolving dots and double
// slashes, some after encoding strictly what they sent raw; curl before 8 signs
// it as sent.
func canonicalPaths(service, raw string, try func(string) bool) bool {
	strict := encodeSegments(raw)
	if service == "s3" {
		once := strings.ReplaceAll(strict, "%2F", "/")
		return try(once) || raw != once && try(raw)
	}
	sent := percentEncode(raw, "/")
	if try(sent) {
		return true
	}
	if clean := percentEncode(resolveDots(raw), "/"); clean != sent && try(clean) {
		return true
	}
	if twice := percentEncode(strict, "/"); twice != sent && try(twice) {
		return true
	}
	return raw != sent && try(raw)
}

// encodeSegments decodes each segment of a raw path once and encodes it
// strictly; a slash that was sent encoded stays so.
func encodeSegments(raw string) string {
	if encodesToItself(raw, "/") {
		return raw
	}
	segments := strings.Split(raw, "/")
	for i, s := range segments {
		if d, ok := percentDecode(s, false); ok {
			s = d
		}
		segments[i] = percentEncode(s, "")
	}
	return strings.Join(segments, "/")
}

// resolveDots removes empty, "." and ".." segments as RFC 3986 section 6 has
// it, and keeps a trailing slash.
func resolveDots(raw string) string {
	var kept []string
	for s := range strings.SplitSeq(raw, "/") {
		switch s {
		case "", ".":
		case "..":
			kept = kept[:max(len(kept)-1, 0)]
		default:
			kept = append(kept, s)
		}
	}
	if len(kept) == 0 {
		return "/"
	}
	clean := "/" + strings.Join(kept, "/")
	if strings.HasSuffix(raw, "/") {
		clean += "/"
	}
	return clean
}

// appendCanonicalHeader appends "name:value\n" of a signed header.
func appendCanonicalHeader(dst []byte, r *http.Request, name, host string) []byte {
	dst = append(dst, name...)
	dst = append(dst, ':')
	values := r.Header.Values(name)
	switch {
	case name == "host":
		values = []string{host}
	case name == "content-length" && len(values) == 0 && r.ContentLength >= 0:
		values = []string{strconv.FormatInt(r.ContentLength, 10)}
	case name == "transfer-encoding" && len(values) == 0:
		values = r.TransferEncoding
	}
	for i, v := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendFolded(dst, strings.Trim(v, " \t"))
	}
	return append(dst, '\n')
}

func appendFolded(dst []byte, v string) []byte {
	for i := range len(v) {
		if v[i] != ' ' || v[i-1] != ' ' { // v is trimmed: it does not begin with a space
			dst = append(dst, v[i])
		}
	}
	return dst
}

// unsignedHeader returns the name of a header that has to be signed but is
// not, or "". X-Amzn-Trace-Id is set by proxies on the way.
func (s *Signature) unsignedHeader(r *http.Request) string {
	if !s.signs("host") {
		return "host"
	}
	for name := range r.Header {
		if !strings.HasPrefix(name, "X-Amz") || name == "X-Amzn-Trace-Id" {
			continue
		}
		if lower := strings.ToLower(name); !s.signs(lower) {
			return lower
		}
	}
	return ""
}

func (s *Signature) signs(name string) bool {
	_, ok := slices.BinarySearch(s.names, name)
	return ok
}

const upperHex = "0123456789ABCDEF"

func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

// encodesToItself reports whether s encodes to itself.
func encodesToItself(s, keep string) bool {
	for i := range len(s) {
		if !unreserved(s[i]) && strings.IndexByte(keep, s[i]) < 0 {
			return false
		}
	}
	return true
}

// percentEncode percent-encodes all but the unreserved characters of RFC 3986 and
// those of keep.
func percentEncode(s, keep string) string {
	if encodesToItself(s, keep) {
		return s
	}
	dst := make([]byte, 0, len(s)+16)
	for i := range len(s) {
		c := s[i]
		if unreserved(c) || strings.IndexByte(keep, c) >= 0 {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return string(dst)
}

func percentDecode(s string, plusIsSpace bool) (string, bool) {
	if strings.IndexByte(s, '%') < 0 && (!plusIsSpace || strings.IndexByte(s, '+') < 0) {
		return s, true
	}
	dst := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '+' && plusIsSpace:
			c = ' '
		case c == '%':
			if i+2 >= len(s) {
				return "", false
			}
			high, low := unhex(s[i+1]), unhex(s[i+2])
			if high > 15 || low > 15 {
				return "", false
			}
			c = high<<4 | low
			i += 2
		}
		dst = append(dst, c)
	}
	return string(dst), true
}

// unhex returns the value of a hexadecimal digit, 255 for anything else.
func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

// PlainPath reports whether a raw path has no empty, "." and ".." segments:
// signers disagree on those, so only S3 may take a path that has any.
func PlainPath(raw string) bool { return resolveDots(raw) == raw }

// DecodePath decodes a part of a raw path: a plus sign is itself. It reports
// false for what is not valid percent-encoding.
func DecodePath(raw string) (string, bool) { return percentDecode(raw, false) }
