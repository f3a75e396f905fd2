package sts

import (
	"context"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// Limits of GetSessionToken and GetFederationToken: the STS API model, and for
// the account root their API reference.
const (
	maxUserDuration     = 129600
	defaultUserDuration = 43200
	maxRootDuration     = 3600
	maxFederatedName    = 32
)

// SessionToken opens a session of the caller's own user, or of the account
// root, who must come with a long-term key.
func (a *Assumer) SessionToken(caller *Identity, seconds *int) (Credentials, error) {
	if caller.Kind != LongTerm {
		return Credentials{}, iot.Errorf(iot.KindDenied, "session", "Cannot call GetSessionToken with session credentials")
	}
	length, err := userDuration(caller, seconds)
	if err != nil {
		return Credentials{}, err
	}
	now := a.cfg.Now().Unix()
	c := &claims{Issued: now, Expires: now + int64(length)}
	c.descend(caller)
	cred, _, err := a.cfg.Keys.issue(c)
	return cred, err
}

// userDuration is how long a session of a user, or of the account root, lasts.
func userDuration(caller *Identity, seconds *int) (int, error) {
	longest, length := maxUserDuration, defaultUserDuration
	if seconds != nil {
		length = *seconds
		if length < minDuration || length > maxUserDuration {
			return 0, constraintValue(length, minDuration, maxUserDuration)
		}
	}
	if caller.Grants.Root {
		longest = maxRootDuration
	}
	return min(length, longest), nil // the root's is cut, not refused
}

// FederationTokenInput is what GetFederationToken takes.
type FederationTokenInput struct {
	Name            string
	Policy          string
	PolicyARNs      []string
	DurationSeconds *int
	Tags            []Tag
}

// FederatedUser is a new session of a federated user.
type FederatedUser struct {
	Credentials
	ARN        string
	ID         string // account and name
	PackedSize int    // percent; 0 where no policies or tags were passed
}

// FederatedARN is the ARN of a federated user of this account.
func (a *Assumer) FederatedARN(name string) string { return federatedARN(a.cfg.Account, name) }

// FederationToken opens a session of a federated user: what the caller may,
// within the policies that are passed. That the caller may do so is for the
// caller of FederationToken to check.
func (a *Assumer) FederationToken(ctx context.Context, caller *Identity, in FederationTokenInput) (FederatedUser, error) {
	if caller.Kind != LongTerm {
		return FederatedUser{}, iot.Errorf(iot.KindDenied, "session", "Cannot call GetFederationToken with session credentials")
	}
	if len(in.Name) > maxFederatedName {
		return FederatedUser{}, constraint(in.Name, "name", "have length less than or equal to %d", maxFederatedName)
	}
	if err := checkSessionName(in.Name, "name"); err != nil {
		return FederatedUser{}, err
	}
	if err := checkPassed(in.Policy, in.PolicyARNs, in.Tags); err != nil {
		return FederatedUser{}, err
	}
	length, err := userDuration(caller, in.DurationSeconds)
	if err != nil {
		return FederatedUser{}, err
	}
	tags, err := mergeTags(caller, in.Tags, nil)
	if err != nil {
		return FederatedUser{}, err
	}
	managed, err := a.checkPolicies(ctx, in.Policy, in.PolicyARNs)
	if err != nil {
		return FederatedUser{}, err
	}
	now := a.cfg.Now().Unix()
	c := &claims{
		Federated: true, SessionName: in.Name, Issued: now, Expires: now + int64(length),
		Tags: tags, Policy: in.Policy, Managed: managed,
	}
	c.descend(caller)
	cred, packed, err := a.cfg.Keys.issue(c)
	if err != nil {
		return FederatedUser{}, err
	}
	return FederatedUser{
		Credentials: cred, ARN: federatedARN(a.cfg.Account, in.Name), ID: string(a.cfg.Account) + ":" + in.Name, PackedSize: packed,
	}, nil
}

func constraintValue(n, least, most int) error {
	return invalid("1 validation error detected: Value '%d' at 'durationSeconds' failed to satisfy constraint: Member must have value between %d and %d", n, least, most)
}

// AccountOf returns the account that an access key belongs to: KindInvalid for a
// key that is not of this account, and for a session that was not used here lately.
func (a *Authenticator) AccountOf(ctx context.Context, accessKeyID string) (iot.AccountID, error) {
	if len(accessKeyID) < 16 || len(accessKeyID) > 128 || !checkChars(accessKeyID, "_") {
		return "", constraint(accessKeyID, "accessKeyId", `satisfy regular expression pattern: [\w]* and have length between 16 and 128`)
	}
	if a.open.find(accessKeyID) != nil {
		return a.cfg.Account, nil
	}
	_, err := a.cfg.Directory.AccessKey(ctx, accessKeyID)
	if iot.IsKind(err, iot.KindNotFound) {
		return "", invalid("The access key %s is not known here.", clip(accessKeyID))
	}
	return a.cfg.Account, err
}
