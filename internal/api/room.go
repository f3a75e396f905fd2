package api

import "strings"

// adds reports whether an operation takes room on the disk that is not given
// back. AWS's names say so. What can take a permission away, end something or
// finish what was begun is never refused for want of room: revocation and
// deletion have to work on a disk that is nearly full.
func adds(operation string) bool {
	switch {
	case operation == "CreatePolicyVersion", // also how a policy is tightened
		strings.HasSuffix(operation, "Policy") && (strings.HasPrefix(operation, "Put") || strings.HasPrefix(operation, "Attach")),
		strings.HasSuffix(operation, "PermissionsBoundary"),
		operation == "PutPublicAccessBlock":
		return false
	}
	for _, verb := range []string{"Add", "Attach", "Copy", "Create", "Import", "Put", "Register", "Start", "Tag", "Upload"} {
		if rest, ok := strings.CutPrefix(operation, verb); ok && rest != "" && rest[0] >= 'A' && rest[0] <= 'Z' {
			return true
		}
	}
	return false
}
