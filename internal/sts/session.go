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

	roleARN     string // never changes while the role has its id
	arn, userID string // "" for a user's own session
	issueTime   string
	account     string
}

// basis is what a session stands on now: its role, or the long-term key that it
// was made with.
type basis struct {
	role Role
	key  AccessKey
}

// newSession prepares what requests of a session need again and again.
func newSession(c *claims, k *masterKey, on *basis, account iot.AccountID) (*session, error) {
	s := &session{
		claims:      c,
		key:         k,
		secret:      k.secret(c.AccessKeyID),
		expires:     time.Unix(c.Expires, 0).UTC(),
		derived:     c.Derived,
		hasPolicies: c.Policy != "" || len(c.Managed) > 0,
		issueTime:   time.Unix(c.Issued, 0).UTC().Format(time.RFC3339),
		account:     string(account),
	}
	switch {
	case c.RoleID != "":
		s.roleARN, s.arn = on.role.ARN, sessionARN(account, on.role.Name, c.SessionName)
		s.userID = c.RoleID + ":" + c.SessionName
	case c.Federated:
		s.arn, s.userID = federatedARN(account, c.SessionName), string(account)+":"+c.SessionName
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

func federatedARN(account iot.AccountID, name string) string {
	return "arn:aws:sts::" + string(account) + ":federated-user/" + name
}

// identity is the session's identity for one request, with the grants of now.
func (s *session) identity(on *basis, policies policy.Set) *Identity {
	switch {
	case s.RoleID == "" && s.Federated:
		return s.federated(&on.key, policies)
	case s.RoleID == "":
		return s.user(&on.key)
	}
	role := &on.role
	i := &Identity{
		Kind:      RoleSession,
		Principal: policy.Principal{Account: s.account, ARN: s.arn, RoleARN: s.roleARN, UserID: s.userID},
		Grants: policy.Grants{
			Identity: role.Identity,
			Boundary: role.Boundary, HasBoundary: role.HasBoundary,
			Session: policies, HasSession: s.hasPolicies,
		},
		CertificateID:  s.Certificate,
		ThingName:      s.ThingName,
		ThingID:        s.ThingID,
		Subscriber:     s.Subscriber,
		NetworkPath:    s.NetworkPath,
		SessionName:    s.SessionName,
		SourceIdentity: s.SourceIdentity,
		who: holder{
			userID: s.userID, principalARN: s.roleARN, account: s.account,
			principalType: "AssumedRole", thingTypeName: s.ThingType,
			tags: role.Tags,
		},
	}
	return s.dress(i)
}

// user is the identity of a session of GetSessionToken: that of the key's owner.
func (s *session) user(k *AccessKey) *Identity {
	i := keyIdentity(k, s.account)
	i.Kind = UserSession
	return s.dress(i)
}

// federated is the identity of a session of GetFederationToken: what the key's
// owner may, within the session policies; without those it may nothing.
func (s *session) federated(k *AccessKey, policies policy.Set) *Identity {
	i := keyIdentity(k, s.account)
	i.Kind = FederatedSession
	i.Principal = policy.Principal{Account: s.account, ARN: s.arn, RoleARN: k.UserARN, UserID: s.userID}
	i.Grants.Session, i.Grants.HasSession = policies, s.hasPolicies
	i.who = holder{
		userID: s.userID, principalARN: s.arn, account: s.account, principalType: "FederatedUser",
		keyEpoch: k.Epoch, tags: k.Tags,
	}
	return s.dress(i)
}

// dress adds what is the session's own, whatever kind it is of.
func (s *session) dress(i *Identity) *Identity {
	i.AccessKeyID, i.SecretAccessKey = s.AccessKeyID, s.secret
	i.IssuedAt, i.ExpiresAt = time.Unix(s.Issued, 0).UTC(), s.expires
	i.Tags, i.who.tokenIssueTime, i.session = s.Tags, s.issueTime, s
	return i
}
