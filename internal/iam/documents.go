package iam

import (
	"strings"
	"unicode/utf8"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
)

// Sizes of documents in characters, white space not counted.
const (
	maxDocument     = 131072 // as sent, white space and all
	maxTrustPolicy  = 2048
	maxManaged      = 6144
	maxInlineOfRole = 10240
	maxInlineOfUser = 2048
)

// DocumentSize counts the characters of a document that quotas are about: all
// but white space outside of strings.
func DocumentSize(doc string) int {
	n, inString := 0, false
	for i := 0; i < len(doc); i++ {
		c := doc[i]
		switch {
		case inString && c == '\\':
			n++
			i++ // what is escaped is never a quote that closes
		case c == '"':
			inString = !inString
		case !inString && (c == ' ' || c == '\t' || c == '\n' || c == '\r'):
			continue
		}
		if i < len(doc) && utf8.RuneStart(doc[i]) {
			n++
		}
	}
	return n
}

// check judges a document by what IAM demands of any, and by whether it compiles.
func check(use policy.Use, name, member, doc string) error {
	if doc == "" {
		return missing(member)
	}
	if utf8.RuneCountInString(doc) > maxDocument {
		return constraint(doc, member, "have length less than or equal to %d", maxDocument)
	}
	for _, c := range doc {
		if c > 0xff || c < 0x20 && c != '\t' && c != '\n' && c != '\r' {
			return invalid("The specified value for %s is invalid. It must contain only printable ASCII characters.", member)
		}
	}
	_, err := policy.Compile(use, name, []byte(doc))
	return err
}

func (s *Service) checkTrust(role, doc string) error {
	if err := check(policy.Trust, trustName(role), "assumeRolePolicyDocument", doc); err != nil {
		return err
	}
	if DocumentSize(doc) > maxTrustPolicy {
		return iot.Errorf(iot.KindLimit, "policy-size", "Cannot exceed quota for ACLSizePerRole: %d", maxTrustPolicy)
	}
	return nil
}

func (s *Service) checkManaged(name, doc string) error {
	if err := check(policy.Identity, name, "policyDocument", doc); err != nil {
		return err
	}
	if DocumentSize(doc) > maxManaged {
		return iot.Errorf(iot.KindLimit, "policy-size", "Cannot exceed quota for PolicySize: %d", maxManaged)
	}
	return nil
}

func trustName(role string) string { return "trust policy of role " + role }

func inlineName(h Holder, name string) string {
	return "inline policy " + name + " of " + h.Kind.String() + " " + h.Name
}

// isPolicyARN reports whether s is the ARN of a managed policy of AWS or of this account.
func (s *Service) isPolicyARN(arn string) bool {
	return strings.HasPrefix(arn, awsPolicyPrefix) || strings.HasPrefix(arn, s.arn("policy/"))
}

func checkPolicyARN(arn string) error {
	if arn == "" {
		return missing("policyArn")
	}
	if len(arn) < 20 {
		return constraint(arn, "policyArn", "have length greater than or equal to 20")
	}
	p, err := iot.ParseARN(arn)
	if err != nil || len(arn) > 2048 || p.Service != "iam" || !strings.HasPrefix(p.Resource, "policy/") {
		return iot.Errorf(iot.KindInvalid, "input", "ARN %s is not valid.", clip(arn))
	}
	return nil
}
