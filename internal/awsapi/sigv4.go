package awsapi

import (
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	algorithm       = "AWS4-HMAC-SHA256"
	scopeTerminator = "aws4_request"
	amzTimeFormat   = "20060102T150405Z"
	maxExpires      = 7 * 24 * time.Hour
	mqttExpires     = 24 * time.Hour // what a connection with credentials may last, too
	maxAccessKeyID  = 128
	maxScopePart    = 64
)

// The names of the query parameters that authenticate a presigned request.
//
//nolint:gosec // names, not credentials
const (
	paramAlgorithm     = "X-Amz-Algorithm"
	paramCredential    = "X-Amz-Credential"
	paramDate          = "X-Amz-Date"
	paramExpires       = "X-Amz-Expires"
	paramSignedHeaders = "X-Amz-SignedHeaders"
	paramSignature     = "X-Amz-Signature"
	paramToken         = "X-Amz-Security-Token"
	paramContentSHA256 = "X-Amz-Content-Sha256"
)

// Signature is what a signed request says about itself. Nothing in it is to be
// believed before Verifier.Verify has accepted it.
//
// Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
type Signature struct {
	AccessKeyID  string
	SessionToken string
	Presigned    bool // the signature stands in the query

	// The credential scope. Date is YYYYMMDD.
	Date, Region, Service string

	Time    time.Time     // when the request was signed
	Expires time.Duration // presigned only: how long after Time it is valid

	openEnded     bool     // the query does not say X-Amz-Expires
	payload       string   // X-Amz-Content-Sha256 of a presigned request's query
	signedHeaders string   // as sent
	names         []string // the same, split
	sum           [32]byte // the signature itself
	key           []byte   // the signing key, once verified
}

// ParseSignature reads the SigV4 authentication of r from its Authorization
// header or its query. It returns nil without an error for a request that
// carries none, and a *RequestError for one that carries anything else than
// exactly one well-formed SigV4 authentication.
func ParseSignature(r *http.Request) (*Signature, error) {
	_, rawQuery := splitTarget(r)
	pairs, err := parseQuery(rawQuery)
	if err != nil {
		return nil, err
	}
	query, err := presignedParams(pairs)
	if err != nil {
		return nil, err
	}
	headers := r.Header["Authorization"]
	if len(headers) == 0 {
		if query == nil {
			return nil, nil //nolint:nilnil // unsigned is an answer, not an error
		}
		return parsePresigned(r, query)
	}
	if len(headers) > 1 || query != nil {
		return nil, refuse(ReasonMalformed, "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified")
	}
	return parseAuthorization(r, headers[0])
}

// presignedParams returns the authenticating parameters of a query, nil when
// there are none. None of them may be repeated.
func presignedParams(pairs []queryPair) (map[string]string, error) {
	var found map[string]string
	signed, v2 := false, 0
	for _, p := range pairs {
		switch p.name {
		case paramAlgorithm, paramCredential, paramSignature:
			signed = true
		case "AWSAccessKeyId", "Signature":
			v2++
			continue
		case paramDate, paramExpires, paramSignedHeaders, paramToken, paramContentSHA256:
		default:
			continue
		}
		if _, twice := found[p.name]; twice {
			return nil, refuse(ReasonMalformed, "The query parameter %s is given more than once", p.name)
		}
		if found == nil {
			found = make(map[string]string, 8)
		}
		found[p.name] = p.value
	}
	if v2 == 2 {
		return nil, unsupportedV2()
	}
	if !signed {
		return nil, nil //nolint:nilnil // the query does not authenticate
	}
	return found, nil
}

func unsupportedV2() *RequestError {
	return refuse(ReasonUnsupported, "The authorization mechanism you have provided (Signature Version 2) is not supported. Please use AWS4-HMAC-SHA256 (signature version s3v4).")
}

func checkAlgorithm(name string) error {
	switch {
	case name == algorithm:
		return nil
	case name == "AWS":
		return unsupportedV2()
	case strings.HasPrefix(name, "AWS4-ECDSA"):
		return refuse(ReasonUnsupported, "The authorization mechanism you have provided (Signature Version 4A) is not supported. Please use AWS4-HMAC-SHA256.")
	default:
		return refuse(ReasonUnsupported, "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.")
	}
}

func parseAuthorization(r *http.Request, header string) (*Signature, error) {
	scheme, rest, _ := strings.Cut(header, " ")
	if err := checkAlgorithm(scheme); err != nil {
		return nil, err
	}
	fields := make(map[string]string, 3)
	for field := range strings.SplitSeq(rest, ",") {
		name, value, ok := strings.Cut(strings.Trim(field, " "), "=")
		_, twice := fields[name]
		if !ok || twice || name != "Credential" && name != "SignedHeaders" && name != "Signature" {
			return nil, refuse(ReasonMalformed, "The authorization header is malformed; it must hold Credential, SignedHeaders and Signature, each once.")
		}
		fields[name] = value
	}
	s := &Signature{}
	if err := s.parseFields("the authorization header", fields["Credential"], fields["SignedHeaders"], fields["Signature"]); err != nil {
		return nil, err
	}
	if err := s.parseHeaderTime(r); err != nil {
		return nil, err
	}
	token, err := singleHeader(r, "X-Amz-Security-Token")
	if err != nil {
		return nil, err
	}
	s.SessionToken = token
	return s, s.checkDate()
}

func parsePresigned(r *http.Request, query map[string]string) (*Signature, error) {
	if err := checkAlgorithm(query[paramAlgorithm]); err != nil {
		return nil, err
	}
	s := &Signature{Presigned: true, payload: query[paramContentSHA256]}
	if err := s.parseFields("the query", query[paramCredential], query[paramSignedHeaders], query[paramSignature]); err != nil {
		return nil, err
	}
	t, err := time.Parse(amzTimeFormat, query[paramDate])
	if err != nil {
		return nil, refuse(ReasonMalformed, "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
	}
	s.Time = t
	if err := s.parseExpires(query); err != nil {
		return nil, err
	}
	token, err := singleHeader(r, "X-Amz-Security-Token")
	if err != nil {
		return nil, err
	}
	inQuery, both := query[paramToken]
	if both && token != "" {
		return nil, refuse(ReasonMalformed, "X-Amz-Security-Token is given more than once")
	}
	s.SessionToken = inQuery + token
	return s, s.checkDate()
}

// parseExpires reads X-Amz-Expires. S3 demands it; elsewhere an absent one means
// five minutes, but for MQTT's handshake; see Check.
func (s *Signature) parseExpires(query map[string]string) error {
	text, ok := query[paramExpires]
	if !ok && s.Service != "s3" {
		s.Expires, s.openEnded = 5*time.Minute, true
		return nil
	}
	seconds, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return refuse(ReasonMalformed, "X-Amz-Expires should be a number")
	}
	s.Expires = time.Duration(seconds) * time.Second
	if s.Expires > maxExpires {
		return refuse(ReasonMalformed, "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds")
	}
	if seconds == 0 {
		return refuse(ReasonMalformed, "X-Amz-Expires must be at least 1 second")
	}
	return nil
}

func (s *Signature) parseFields(where, credential, signedHeaders, signature string) error {
	parts := strings.Split(credential, "/")
	if len(parts) != 5 || parts[4] != scopeTerminator {
		return refuse(ReasonMalformed, "The Credential of %s is malformed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".", where)
	}
	s.AccessKeyID, s.Date, s.Region, s.Service = parts[0], parts[1], parts[2], parts[3]
	if !printable(s.AccessKeyID, maxAccessKeyID) || !printable(s.Region, maxScopePart) || !printable(s.Service, maxScopePart) {
		return refuse(ReasonMalformed, "The Credential of %s is malformed; the access key id, the region and the service must not be empty.", where)
	}
	if _, err := time.Parse("20060102", s.Date); err != nil {
		return refuse(ReasonMalformed, "The Credential of %s is malformed; the date must be YYYYMMDD.", where)
	}
	s.signedHeaders, s.names = signedHeaders, strings.Split(signedHeaders, ";")
	previous := ""
	for _, name := range s.names {
		if !lowerToken(name) || name <= previous {
			return refuse(ReasonMalformed, "The SignedHeaders of %s must be lower-case header names in order, separated by semicolons.", where)
		}
		previous = name
	}
	if len(signature) != hex.EncodedLen(len(s.sum)) {
		return refuse(ReasonMalformed, "The Signature of %s must be 64 hexadecimal digits.", where)
	}
	if _, err := hex.Decode(s.sum[:], []byte(signature)); err != nil {
		return refuse(ReasonMalformed, "The Signature of %s must be 64 hexadecimal digits.", where)
	}
	return nil
}

// parseHeaderTime reads X-Amz-Date, else Date.
func (s *Signature) parseHeaderTime(r *http.Request) error {
	text, err := singleHeader(r, paramDate)
	if err != nil {
		return err
	}
	if text != "" {
		s.Time, err = time.Parse(amzTimeFormat, text)
	} else if text, err = singleHeader(r, "Date"); err == nil {
		if s.Time, err = time.Parse(amzTimeFormat, text); err != nil {
			s.Time, err = http.ParseTime(text)
		}
	}
	if err != nil {
		return refuse(ReasonMalformed, "AWS authentication requires a valid Date or x-amz-date header")
	}
	return nil
}

func (s *Signature) checkDate() error {
	s.Time = s.Time.UTC()
	if s.Time.Format("20060102") != s.Date {
		return refuse(ReasonSignature, "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s'.", s.Date, s.Time.Format("20060102"))
	}
	return nil
}

func singleHeader(r *http.Request, canonical string) (string, error) {
	values := r.Header[canonical]
	switch len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	default:
		return "", refuse(ReasonMalformed, "The header %s is given more than once", canonical)
	}
}

func printable(s string, limit int) bool {
	if s == "" || len(s) > limit {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

func lowerToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("-_.!#$%&'*+^`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}
