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

// checkTrust judges a trust policy and returns whom it names.
func (s *Service) checkTrust(role, doc string) ([]TrustedPrincipal, error) {
	if err := check(policy.Trust, trustName(role), "assumeRolePolicyDocument", doc); err != nil {
		return nil, err
	}
	if DocumentSize(doc) > maxTrustPolicy {
		return nil, iot.Errorf(iot.KindLimit, "policy-size", "Cannot exceed quota for ACLSizePerRole: %d", maxTrustPolicy)
	}
	p, err := policy.Compile(policy.Trust, trustName(role), []byte(doc))
	if err != nil {
		return nil, err
	}
	return s.trusted(p), nil
}

func (s *Service) trusted(p *policy.Policy) []TrustedPrincipal {
	var list []TrustedPrincipal
	for _, name := range p.NamedPrincipals(string(s.account)) {
		list = append(list, TrustedPrincipal{Name: name})
	}
	return list
}

// NoSuchPrincipal is the error for a trust policy that names somebody who does not exist.
func NoSuchPrincipal(name string) *iot.Error {
	return iot.Errorf(iot.KindMalformed, "policy", `Invalid principal in policy: "AWS":"%s"`, clip(name))
}

// compileTrust compiles a stored trust policy. It trusts those who were meant,
// not others of the same names.
func compileTrust(r *Role) (*policy.Policy, error) {
	p, err := policy.Compile(policy.Trust, trustName(r.Name), []byte(r.Trust))
	if err != nil {
		return nil, err
	}
	ids := make(map[string]string, len(r.Trusted))
	for _, t := range r.Trusted {
		ids[t.Name] = t.ID
	}
	return p.Pin(ids), nil
}

// shown returns a role with its trust policy as AWS shows it: those who were
// renamed by their new ARN, those who are gone by their id.
func shown(r Role) Role {
	words := map[string]string{}
	for _, t := range r.Trusted {
		switch {
		case t.ID == "" || t.Name == t.ID || t.Name == t.ARN || strings.HasPrefix(t.Name, "arn:aws:sts:"):
		case t.ARN != "":
			words[t.Name] = t.ARN
		default:
			words[t.Name] = t.ID
		}
	}
	if len(words) == 0 {
		return r
	}
	if p, err := policy.Compile(policy.Trust, trustName(r.Name), []byte(r.Trust)); err == nil { // what is stored compiles
		r.Trust = string(p.Rename(words))
	}
	return r
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
