package sts

import (
	"encoding/base64"
	"fmt"
	"io"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// maxToken is the longest session token, in characters of base64.
const maxToken = 2048

// Credentials are what a session is used with.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string
	Expiration      time.Time // whole seconds, UTC
}

// issue seals c under a new access key id. packed says how much of the room for
// policies and tags they take, in percent; 0 where there are none.
func (r *KeyRing) issue(c *claims) (cred Credentials, packed int, err error) {
	var raw [keyIDBytes]byte
	if _, err := io.ReadFull(r.random, raw[:]); err != nil {
		return Credentials{}, 0, fmt.Errorf("read randomness: %w", err)
	}
	c.AccessKeyID = keyIDText(raw[:])
	plain, err := c.encode()
	if err != nil {
		return Credentials{}, 0, fmt.Errorf("encode session token: %w", err)
	}
	if packed, err = c.packedSize(len(plain)); err != nil {
		return Credentials{}, packed, err
	}
	k := r.current() // for both: the ring may be rotated meanwhile
	sealed, err := r.Sealer(ForSessionTokens).sealWith(k, plain, nil)
	if err != nil {
		return Credentials{}, 0, fmt.Errorf("seal session token: %w", err)
	}
	return Credentials{
		AccessKeyID:     c.AccessKeyID,
		SecretAccessKey: k.secret(c.AccessKeyID),
		SessionToken:    base64.StdEncoding.EncodeToString(sealed),
		Expiration:      time.Unix(c.Expires, 0).UTC(),
	}, packed, nil
}

// packedSize says how full a token of n plain bytes is.
func (c *claims) packedSize(n int) (int, error) {
	const room = maxToken/4*3 - sealHeader - xaesNonce - xaesTag
	if n <= room && c.Policy == "" && len(c.Managed) == 0 && len(c.Tags) == 0 {
		return 0, nil
	}
	bare := *c
	bare.Policy, bare.Managed, bare.Tags = "", nil, nil
	b, err := bare.encode()
	if err != nil {
		return 0, err
	}
	percent := 100 * 100 // the lineage alone is too much
	if len(b) < room {
		percent = (100*(n-len(b)) + room - len(b) - 1) / (room - len(b))
	}
	if n > room {
		return percent, iot.Errorf(iot.KindTooLarge, "session", "Packed policy consumes %d%% of allotted space, please use smaller policy.", percent)
	}
	return percent, nil
}

// openToken returns what a token says, and the key that sealed it. It answers
// KindBadToken for whatever this ring did not seal for a session.
func (r *KeyRing) openToken(token string, now time.Time) (*claims, *masterKey, error) {
	bad := func(err error) (*claims, *masterKey, error) {
		return nil, nil, &iot.Error{Kind: iot.KindBadToken, Resource: "session", Message: badTokenMessage, Err: err}
	}
	if len(token) > maxToken {
		return bad(errClaims)
	}
	buf := make([]byte, base64.StdEncoding.DecodedLen(len(token)))
	n, err := base64.StdEncoding.Strict().Decode(buf, []byte(token))
	if err != nil || base64.StdEncoding.EncodedLen(n) != len(token) { // line ends would be skipped
		return bad(errClaims)
	}
	plain, k, err := r.Sealer(ForSessionTokens).open(buf[:n], nil)
	if err != nil {
		return bad(err)
	}
	if !k.live(now) {
		return bad(errSeal)
	}
	c, err := decodeClaims(plain)
	if err != nil {
		return bad(err)
	}
	return c, k, nil
}

const (
	badTokenMessage = "The security token included in the request is invalid."
	expiredMessage  = "The security token included in the request is expired"
	revokedMessage  = "The credentials are no longer valid."
)
