package iam

import (
	"encoding/base32"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// Lengths that the IAM API model allows.
const (
	maxRoleName    = 64
	maxUserName    = 64
	maxPolicyName  = 128
	maxPath        = 512
	maxDescription = 1000
	maxTags        = 50
)

func invalid(format string, args ...any) *iot.Error {
	return iot.Errorf(iot.KindInvalid, "validation", format, args...)
}

func constraint(value, member, format string, args ...any) *iot.Error {
	return invalid("1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: Member must %s",
		clip(value), member, fmt.Sprintf(format, args...))
}

// clip keeps what is echoed to the caller short and printable.
func clip(s string) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) <= 256 {
		return s
	}
	return strings.ToValidUTF8(s[:256], "") + "..."
}

func missing(member string) *iot.Error {
	return invalid("1 validation error detected: Value null at '%s' failed to satisfy constraint: Member must not be null", member)
}

// checkName judges the name of a role, user or policy.
func checkName(s, member string, limit int) error {
	if s == "" {
		return missing(member)
	}
	if utf8.RuneCountInString(s) > limit {
		return constraint(s, member, "have length less than or equal to %d", limit)
	}
	for i := range len(s) {
		if !nameByte(s[i]) {
			return invalid("The specified value for %s is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-", member)
		}
	}
	return nil
}

func nameByte(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("+=,.@_-", c) >= 0
}

func checkPath(s string) error {
	if s == "/" {
		return nil
	}
	ok := len(s) <= maxPath && len(s) >= 3 && s[0] == '/' && s[len(s)-1] == '/'
	for i := range len(s) {
		ok = ok && s[i] >= 0x21 && s[i] <= 0x7e
	}
	if !ok {
		return invalid("The specified value for path is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters.")
	}
	return nil
}

func checkPathPrefix(s string) error {
	ok := s == "" || len(s) <= maxPath && s[0] == '/'
	for i := range len(s) {
		ok = ok && s[i] >= 0x21 && s[i] <= 0x7e
	}
	if !ok {
		return invalid("The specified value for pathPrefix is invalid. It must begin with / and contain only alphanumeric characters and/or / characters.")
	}
	return nil
}

func checkDescription(s string) error {
	if utf8.RuneCountInString(s) > maxDescription {
		return constraint(s, "description", "have length less than or equal to %d", maxDescription)
	}
	for _, c := range s {
		if c > 0xff || c > 0x7e && c < 0xa1 || c < 0x20 && c != '\t' && c != '\n' && c != '\r' {
			return constraint(s, "description", `satisfy regular expression pattern: [\u0009\u000A\u000D\u0020-\u007E\u00A1-\u00FF]*`)
		}
	}
	return nil
}

// checkTags judges tags that are to be set. Keys that differ by case alone are one key.
func checkTags(tags []Tag) error {
	if len(tags) > maxTags {
		return constraint("tags", "tags", "have length less than or equal to %d", maxTags)
	}
	seen := make(map[string]bool, len(tags))
	for i, t := range tags {
		if err := checkTagKey(t.Key, fmt.Sprintf("tags.%d.member.key", i+1)); err != nil {
			return err
		}
		if utf8.RuneCountInString(t.Value) > 256 || !tagText(t.Value) {
			return constraint(t.Value, fmt.Sprintf("tags.%d.member.value", i+1), `satisfy regular expression pattern: [\p{L}\p{Z}\p{N}_.:/=+\-@]*`)
		}
		k := strings.ToLower(t.Key)
		if seen[k] {
			return iot.Errorf(iot.KindInvalid, "input", "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		}
		seen[k] = true
	}
	return nil
}

func checkTagKey(key, member string) error {
	if key == "" {
		return constraint(key, member, "have length greater than or equal to 1")
	}
	if utf8.RuneCountInString(key) > 128 {
		return constraint(key, member, "have length less than or equal to 128")
	}
	if !tagText(key) {
		return constraint(key, member, `satisfy regular expression pattern: [\p{L}\p{Z}\p{N}_.:/=+\-@]+`)
	}
	if len(key) >= 4 && strings.EqualFold(key[:4], "aws:") {
		return iot.Errorf(iot.KindInvalid, "input", "Tag keys that begin with aws: are reserved for AWS use.")
	}
	return nil
}

func tagText(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, c := range s {
		if !unicode.In(c, unicode.L, unicode.Z, unicode.N) && !strings.ContainsRune("_.:/=+-@", c) {
			return false
		}
	}
	return true
}

// Prefixes of unique identifiers: IAM user guide, reference_identifiers.
const (
	rolePrefix   = "AROA"
	userPrefix   = "AIDA"
	policyPrefix = "ANPA"
	keyPrefix    = "AKIA"
	groupPrefix  = "AGPA"

	profilePrefix = "AIPA"
)

// newID returns prefix and n random characters of A-Z and 2-7.
func newID(random io.Reader, prefix string, n int) (string, error) {
	raw := make([]byte, (n*5+7)/8)
	if _, err := io.ReadFull(random, raw); err != nil {
		return "", fmt.Errorf("read randomness: %w", err)
	}
	return prefix + base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw)[:n], nil
}
