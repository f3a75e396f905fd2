package sts

import (
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
)

// session is an opened session token. It is shared and never changes.
type session struct {
	*claims
	key     *masterKey
	secret  string
	expires time.Time
	derived bool // assumed from another session: the device variables end there

	policies    policy.Set // the session policy that was passed as text
	hasPolicies bool       // a session policy was passed, as text or by ARN

	roleName, roleARN string // these never change while the role has its id
	arn, userID       string
	issueTime         string
	account           string
}

// newSession prepares what requests of a session need again and again.
func newSession(c *claims, k *masterKey, role *Role, account iot.AccountID) (*session, error) {
	s := &session{
		claims:      c,
		key:         k,
		secret:      k.secret(c.AccessKeyID),
		expires:     time.Unix(c.Expires, 0).UTC(),
		derived:     c.Derived,
		hasPolicies: c.Policy != "" || len(c.PolicyARNs) > 0,
		roleName:    role.Name,
		roleARN:     role.ARN,
		arn:         sessionARN(account, role.Name, c.SessionName),
		userID:      c.RoleID + ":" + c.SessionName,
		issueTime:   time.Unix(c.Issued, 0).UTC().Format(time.RFC3339),
		account:     string(account),
	}
	if c.Policy != "" {
		p, err := policy.Compile(policy.Identity, sessionPolicyName, []byte(c.Policy))
		if err != nil {
			return nil, err
		}
		s.policies = policy.Set{p}
	}
	return s, nil
}

const sessionPolicyName = "session policy"

func sessionARN(account iot.AccountID, role, name string) string {
	return "arn:aws:sts::" + string(account) + ":assumed-role/" + role + "/" + name
}

// identity is the session's identity for one request, with the role's grants of now.
func (s *session) identity(role *Role, policies policy.Set) *Identity {
	return &Identity{
		Principal: policy.Principal{Account: s.account, ARN: s.arn, RoleARN: s.roleARN, UserID: s.userID},
		Grants: policy.Grants{
			Identity: role.Identity,
			Boundary: role.Boundary, HasBoundary: role.HasBoundary,
			Session: policies, HasSession: s.hasPolicies,
		},
		AccessKeyID:     s.AccessKeyID,
		SecretAccessKey: s.secret,
		CertificateID:   s.Certificate,
		ThingName:       s.ThingName,
		ThingID:         s.ThingID,
		Subscriber:      s.Subscriber,
		NetworkPath:     s.NetworkPath,
		IssuedAt:        time.Unix(s.Issued, 0).UTC(),
		ExpiresAt:       s.expires,
		SessionName:     s.SessionName,
		SourceIdentity:  s.SourceIdentity,
		Tags:            s.Tags,
		who: holder{
			userID: s.userID, principalARN: s.roleARN, account: s.account,
			principalType: "AssumedRole", tokenIssueTime: s.issueTime, thingTypeName: s.ThingType,
			tags: role.Tags,
		},
		session: s,
	}
}
