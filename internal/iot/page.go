package iot

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// maxPageToken is the longest token that is read: one of a topic, which has up
// to 64 KiB. Where the AWS IoT API model allows less, it says so itself.
const maxPageToken = 96 << 10

// PageToken returns the opaque token that a listing called scope continues
// with after key. It satisfies the pattern of AWS IoT's markers.
func PageToken(scope, key string) string {
	sum := pageSum(scope, key)
	return base64.StdEncoding.EncodeToString([]byte(string(sum[:6]) + key))
}

// ParsePageToken returns the key inside a token of PageToken. A token that was
// cut, altered or made for another scope is KindInvalid. The empty token is the
// start of the listing, with the empty key.
func ParsePageToken(scope, token string) (string, error) {
	if token == "" {
		return "", nil
	}
	if len(token) <= maxPageToken {
		raw, err := base64.StdEncoding.Strict().DecodeString(token)
		if err == nil && len(raw) > 6 && !strings.ContainsAny(token, "\r\n") {
			key := string(raw[6:])
			if sum := pageSum(scope, key); string(sum[:6]) == string(raw[:6]) {
				return key, nil
			}
		}
	}
	return "", Errorf(KindInvalid, "page-token", "Invalid pagination token")
}

func pageSum(scope, key string) [sha256.Size]byte {
	return sha256.Sum256([]byte(scope + "\x00" + key))
}
