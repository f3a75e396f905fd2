package iot

// Names with a grammar. The patterns are those of the AWS IoT API model.
type (
	// ThingName is 1 to 128 of [a-zA-Z0-9:_-].
	ThingName string
	// ThingGroupName is 1 to 128 of [a-zA-Z0-9:_-].
	ThingGroupName string
	// PolicyName is the name of an IoT policy, 1 to 128 of [\w+=,.@-].
	PolicyName string
	// RoleAlias is 1 to 128 of [\w=,@-], case sensitive.
	RoleAlias string
	// CertificateID is the lower-case hex SHA-256 of a certificate's DER.
	CertificateID string
)

// ValidThingName reports whether s is a thing name.
func ValidThingName(s string) bool { return validName(s, ":_-") }

// ValidIoTPolicyName reports whether s is the name of an IoT policy.
func ValidIoTPolicyName(s string) bool { return validName(s, "_+=,.@-") }

// ValidRoleAlias reports whether s is the name of a role alias.
func ValidRoleAlias(s string) bool { return validName(s, "_=,@-") }

// ValidCertificateID reports whether s is 64 lower-case hex digits.
func ValidCertificateID(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func validName(s, extra string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		if !alnum(s[i]) && !contains(extra, s[i]) {
			return false
		}
	}
	return true
}

func alnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func contains(set string, c byte) bool {
	for i := range len(set) {
		if set[i] == c {
			return true
		}
	}
	return false
}
