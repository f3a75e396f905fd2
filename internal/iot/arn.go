package iot

import "strings"

// AccountID is a twelve-digit account number.
type AccountID string

// ARN is an Amazon resource name of the form
// arn:partition:service:region:account:resource.
type ARN string

// NewARN builds an ARN in the aws partition.
func NewARN(service, region string, account AccountID, resource string) ARN {
	return ARN("arn:aws:" + service + ":" + region + ":" + string(account) + ":" + resource)
}

// ARNParts are the six parts of an ARN.
type ARNParts struct {
	Partition, Service, Region, Account, Resource string
}

// ParseARN splits s. The resource keeps its own colons and slashes.
func ParseARN(s string) (ARNParts, error) {
	f := strings.SplitN(s, ":", 6)
	if len(f) != 6 || f[0] != "arn" || f[1] == "" || f[2] == "" || f[5] == "" {
		return ARNParts{}, Errorf(KindInvalid, "arn", "Invalid ARN: %s", s)
	}
	return ARNParts{Partition: f[1], Service: f[2], Region: f[3], Account: f[4], Resource: f[5]}, nil
}

// ResourceID splits the resource "type/name" of an ARN; the name keeps its slashes.
func (p ARNParts) ResourceID() (typ, name string) {
	typ, name, _ = strings.Cut(p.Resource, "/")
	return typ, name
}

// ValidAccountID reports whether s is twelve digits.
func ValidAccountID(s string) bool {
	if len(s) != 12 {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
