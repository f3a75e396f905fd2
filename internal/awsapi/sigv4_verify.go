package awsapi

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"strings"
	"sync"
	"time"
)

// maxSigningKeys bounds the remembered signing keys. A full memory is emptied:
// deriving a key again costs four HMACs.
const maxSigningKeys = 8192

// Verifier checks signatures. It remembers signing keys, which change once a
// day for each secret, and keeps buffers for the next request.
type Verifier struct {
	mu   sync.RWMutex // guards keys
	keys map[scopeKey]signingKey

	buffers sync.Pool // of *[]byte
}

type scopeKey struct{ accessKeyID, date, region, service string }

type signingKey struct {
	secret string // that it was derived from
	key    []byte
}

// NewVerifier returns a Verifier that remembers nothing yet.
func NewVerifier() *Verifier {
	return &Verifier{
		keys:    make(map[scopeKey]signingKey),
		buffers: sync.Pool{New: func() any { b := make([]byte, 0, 2048); return &b }},
	}
}

// Check is what Verify has to know and the request does not say.
type Check struct {
	Secret  string        // the secret access key of Signature.AccessKeyID
	Payload string        // the last line of the canonical request: Payload.Hash, or the body's SHA-256
	Now     time.Time     // our clock
	Skew    time.Duration // how far the client's clock may be off

	// Handshake is set for the request that opens MQTT over WebSocket, whose
	// signers have habits of their own. X-Amz-Security-Token may have been
	// appended to the query after signing, as the AWS IoT documentation has it:
	// the token itself names the key, so nothing is lost. Without
	// X-Amz-Expires, which the AWS device SDKs and Amplify leave out, the query
	// is good for a day. And a port may stand in Host that was not signed, or
	// 443 be signed that browsers leave out.
	//
	// Source: https://docs.aws.amazon.com/iot/latest/developerguide/protocols.html
	Handshake bool
}

// Verify checks that r was signed with the secret and is in time. The error is
// a *RequestError.
func (v *Verifier) Verify(r *http.Request, s *Signature, c Check) error {
	if name := s.unsignedHeader(r); name != "" {
		return refuse(ReasonUnsignedHeader, "There were headers present in the request which were not signed: %s", name)
	}
	if err := s.checkTime(c); err != nil {
		return err
	}
	key := v.signingKey(s, c.Secret)
	path, rawQuery := splitTarget(r)
	pairs, err := parseQuery(rawQuery)
	if err != nil {
		return err
	}
	buffer := v.buffers.Get().(*[]byte) //nolint:forcetypeassert // the pool holds nothing else
	defer v.buffers.Put(buffer)
	try := func(f signedForm) bool {
		ok := false
		*buffer, ok = s.matches((*buffer)[:0], r, f, pairs, c.Payload, key)
		return ok
	}
	good := canonicalPaths(s.Service, path, func(canonicalPath string) bool {
		f := signedForm{path: canonicalPath, host: r.Host}
		if try(f) {
			return true
		}
		return c.Handshake && handshakeForms(f, try)
	})
	if !good {
		return refuse(ReasonSignature, "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	s.key = key
	return nil
}

// signedForm is how a signer may have written a request.
type signedForm struct {
	path, host string
	dropToken  bool // the query's token was not signed
}

// handshakeForms tries the other forms of MQTT's handshake.
func handshakeForms(f signedForm, try func(signedForm) bool) bool {
	f.dropToken = true
	if try(f) {
		return true
	}
	if i := strings.LastIndexByte(f.host, ':'); i > strings.LastIndexByte(f.host, ']') {
		f.host = f.host[:i]
	} else {
		f.host += ":443"
	}
	if try(f) {
		return true
	}
	f.dropToken = false
	return try(f)
}

// matches builds the canonical request and the string to sign in dst and
// compares the signature.
func (s *Signature) matches(dst []byte, r *http.Request, f signedForm, pairs []queryPair, payload string, key []byte) ([]byte, bool) {
	dst = append(dst, r.Method...)
	dst = append(dst, '\n')
	dst = append(dst, f.path...)
	dst = append(dst, '\n')
	dst = appendCanonicalQuery(dst, pairs, s.Presigned, f.dropToken)
	dst = append(dst, '\n')
	for _, name := range s.names {
		dst = appendCanonicalHeader(dst, r, name, f.host)
	}
	dst = append(dst, '\n')
	dst = append(dst, s.signedHeaders...)
	dst = append(dst, '\n')
	dst = append(dst, payload...)
	request := sha256.Sum256(dst)

	dst = s.appendScope(append(dst[:0], algorithm...))
	dst = hex.AppendEncode(dst, request[:])
	sum := sign(key, dst)
	return dst, subtle.ConstantTimeCompare(sum, s.sum[:]) == 1
}

// appendScope appends the lines of a string to sign that tell when and where:
// the rest of the first line, the time and the scope, each ended.
func (s *Signature) appendScope(dst []byte) []byte {
	dst = append(dst, '\n')
	dst = s.Time.AppendFormat(dst, amzTimeFormat)
	dst = append(dst, '\n')
	for _, part := range [...]string{s.Date, s.Region, s.Service} {
		dst = append(dst, part...)
		dst = append(dst, '/')
	}
	dst = append(dst, scopeTerminator...)
	return append(dst, '\n')
}

func (s *Signature) checkTime(c Check) error {
	now, skew := c.Now, c.Skew
	if s.Time.After(now.Add(skew)) {
		return s.skewed("Signature not yet current: %s is still later than %s (%s + %d min.)", now, skew)
	}
	if s.Presigned {
		expires := s.Expires
		if s.openEnded && c.Handshake {
			expires = mqttExpires
		}
		if now.After(s.Time.Add(expires)) {
			return refuse(ReasonExpired, "Request has expired")
		}
		return nil
	}
	if s.Time.Before(now.Add(-skew)) {
		return s.skewed("Signature expired: %s is now earlier than %s (%s - %d min.)", now, -skew)
	}
	return nil
}

func (s *Signature) skewed(format string, now time.Time, skew time.Duration) error {
	now = now.UTC()
	return refuse(ReasonSkew, format, s.Time.Format(amzTimeFormat), now.Add(skew).Format(amzTimeFormat),
		now.Format(amzTimeFormat), int(skew.Abs().Minutes()))
}

func (v *Verifier) signingKey(s *Signature, secret string) []byte {
	id := scopeKey{s.AccessKeyID, s.Date, s.Region, s.Service}
	v.mu.RLock()
	known, ok := v.keys[id]
	v.mu.RUnlock()
	if ok && subtle.ConstantTimeCompare([]byte(known.secret), []byte(secret)) == 1 {
		return known.key
	}
	key := deriveKey(secret, s.Date, s.Region, s.Service)
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.keys) >= maxSigningKeys {
		clear(v.keys)
	}
	v.keys[id] = signingKey{secret, key}
	return key
}

func deriveKey(secret, date, region, service string) []byte {
	key := sign([]byte("AWS4"+secret), []byte(date))
	key = sign(key, []byte(region))
	key = sign(key, []byte(service))
	return sign(key, []byte(scopeTerminator))
}

func sign(key, message []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(message)
	return h.Sum(nil)
}
