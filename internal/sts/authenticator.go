package sts

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
)

// Config is what the parts of sts share; every field is required.
type Config struct {
	Account   iot.AccountID
	Region    string
	Keys      *KeyRing
	Directory Directory
	Devices   Devices
	Now       func() time.Time
}

// Authenticator tells who asks from the access key and the session token of a request.
type Authenticator struct {
	cfg  Config
	open sessions
}

// NewAuthenticator returns an authenticator.
func NewAuthenticator(cfg Config) *Authenticator {
	return &Authenticator{cfg: cfg, open: sessions{limit: 8192, byToken: map[string]*session{}, byKey: map[string]*session{}}}
}

// Authenticate returns the identity behind an access key and, for a session,
// its token. It does not look at a signature: the caller verifies that with
// SecretAccessKey.
//
// Errors: KindUnknownKey for a key that does not exist or is inactive,
// KindBadToken for a token that is not ours or not of this key, KindExpired,
// and KindDenied where what stands behind the session is not what it was.
func (a *Authenticator) Authenticate(ctx context.Context, accessKeyID, sessionToken string) (*Identity, error) {
	if sessionToken != "" {
		return a.authenticateSession(ctx, accessKeyID, sessionToken)
	}
	if strings.HasPrefix(accessKeyID, sessionPrefix) {
		return nil, unknownKey("a temporary key came without its session token")
	}
	k, err := a.longTerm(ctx, accessKeyID)
	if err != nil {
		return nil, err
	}
	return keyIdentity(&k, string(a.cfg.Account)), nil
}

func unknownKey(why string) error {
	return &iot.Error{Kind: iot.KindUnknownKey, Resource: "access-key", Message: badTokenMessage, Err: errors.New(why)}
}

func (a *Authenticator) longTerm(ctx context.Context, id string) (AccessKey, error) {
	k, err := a.cfg.Directory.AccessKey(ctx, id)
	switch {
	case iot.IsKind(err, iot.KindNotFound):
		return AccessKey{}, unknownKey("there is no such access key")
	case err != nil:
		return AccessKey{}, err
	case !k.Active:
		return AccessKey{}, unknownKey("the access key is inactive")
	}
	return k, nil
}

func keyIdentity(k *AccessKey, account string) *Identity {
	i := &Identity{
		Principal: policy.Principal{Account: account, ARN: k.UserARN, UserID: k.UserID},
		Grants: policy.Grants{
			Root: k.Root, Identity: k.Identity,
			Boundary: k.Boundary, HasBoundary: k.HasBoundary,
		},
		AccessKeyID:     k.ID,
		SecretAccessKey: k.Secret,
		who: holder{
			userID: k.UserID, userName: k.UserName, principalARN: k.UserARN,
			account: account, principalType: "User", keyEpoch: k.Epoch, tags: k.Tags,
		},
	}
	if k.Root {
		i.Principal.UserID = account
		i.who.userID, i.who.principalType = account, "Account"
	}
	return i
}

func (a *Authenticator) authenticateSession(ctx context.Context, accessKeyID, token string) (*Identity, error) {
	now := a.cfg.Now()
	if s := a.open.get(token); s != nil {
		return a.judge(ctx, s, accessKeyID, now)
	}
	c, k, err := a.cfg.Keys.openToken(token, now)
	if err != nil {
		return nil, err
	}
	// Before anything is asked or kept for it.
	if err := checkPairing(c, accessKeyID, now); err != nil {
		return nil, err
	}
	on, err := a.standing(ctx, c, now)
	if err != nil {
		return nil, err
	}
	s, err := newSession(c, k, &on, a.cfg.Account)
	if err != nil {
		return nil, &iot.Error{Kind: iot.KindBadToken, Resource: "session", Message: badTokenMessage, Err: err}
	}
	a.open.put(token, s)
	return a.identity(ctx, s, &on)
}

// judge returns the identity of an opened session if all of it still holds.
func (a *Authenticator) judge(ctx context.Context, s *session, accessKeyID string, now time.Time) (*Identity, error) {
	if !s.key.live(now) {
		return nil, &iot.Error{Kind: iot.KindBadToken, Resource: "session", Message: badTokenMessage, Err: errSeal}
	}
	if err := checkPairing(s.claims, accessKeyID, now); err != nil {
		return nil, err
	}
	on, err := a.standing(ctx, s.claims, now)
	if err != nil {
		return nil, err
	}
	return a.identity(ctx, s, &on)
}

func (a *Authenticator) identity(ctx context.Context, s *session, on *basis) (*Identity, error) {
	policies, err := a.sessionPolicies(ctx, s)
	if err != nil {
		return nil, err
	}
	return s.identity(on, policies), nil
}

// checkPairing accepts a token with the key that it was handed out with, until it expires.
func checkPairing(c *claims, accessKeyID string, now time.Time) error {
	if subtle.ConstantTimeCompare([]byte(c.AccessKeyID), []byte(accessKeyID)) != 1 {
		return &iot.Error{Kind: iot.KindBadToken, Resource: "session", Message: badTokenMessage, Err: errors.New("the token is another access key's")}
	}
	if now.Unix() >= c.Expires {
		return iot.Errorf(iot.KindExpired, "session", expiredMessage)
	}
	return nil
}

// sessionPolicies are the policies passed to a session, managed ones as they are now.
func (a *Authenticator) sessionPolicies(ctx context.Context, s *session) (policy.Set, error) {
	if len(s.Managed) == 0 {
		return s.policies, nil
	}
	set := append(make(policy.Set, 0, len(s.policies)+len(s.Managed)), s.policies...)
	for _, m := range s.Managed {
		id, arn, _ := strings.Cut(m, " ")
		p, now, err := a.cfg.Directory.ManagedPolicy(ctx, arn)
		if iot.IsKind(err, iot.KindNotFound) || err == nil && now != id {
			// What is gone might have been a Deny; another one of its name is not it.
			return nil, revoked("the session policy " + arn + " was deleted")
		}
		if err != nil {
			return nil, err
		}
		set = append(set, p)
	}
	return set, nil
}

// Recheck judges once more what stands behind an identity, as Authenticate did,
// and returns it with the grants of now: before an upload commits. It does not
// look at the expiry.
func (a *Authenticator) Recheck(ctx context.Context, i *Identity) (*Identity, error) {
	if i.session != nil {
		if i.session.key.dead.Load() {
			return nil, revoked("the key that sealed the session was given up as compromised")
		}
		on, err := a.standing(ctx, i.session.claims, a.cfg.Now())
		if err != nil {
			return nil, err
		}
		return a.identity(ctx, i.session, &on)
	}
	k, err := a.longTerm(ctx, i.AccessKeyID)
	if iot.IsKind(err, iot.KindUnknownKey) {
		return nil, revoked("the access key was deleted or deactivated")
	}
	if err != nil {
		return nil, err
	}
	if k.UserARN != i.Principal.ARN || !k.Root && k.UserID != i.Principal.UserID {
		return nil, revoked("the access key is another user's")
	}
	return keyIdentity(&k, string(a.cfg.Account)), nil
}

func revoked(why string) error {
	return &iot.Error{Kind: iot.KindDenied, Resource: "session", Message: revokedMessage, Err: errors.New(why)}
}

// standing judges everything that a session hangs on, all of it in memory, and
// returns what it stands on.
func (a *Authenticator) standing(ctx context.Context, c *claims, now time.Time) (basis, error) {
	on, err := a.stands(ctx, c, now)
	if known, ok := errors.AsType[*iot.Error](err); ok && known.Kind == iot.KindDenied {
		err = revoked(fmt.Sprintf("%v (session %s of role %s, thing %q)", known.Err, c.SessionName, c.RoleID, c.ThingName))
	}
	return on, err
}

func (a *Authenticator) stands(ctx context.Context, c *claims, now time.Time) (on basis, err error) {
	if c.Certificate != "" {
		if err := a.deviceStanding(ctx, c, now); err != nil {
			return on, err
		}
	}
	if c.KeyID != "" {
		if on.key, err = a.keyStanding(ctx, c); err != nil {
			return on, err
		}
	}
	for _, id := range c.Parents {
		if _, err := a.role(ctx, id); err != nil {
			return on, err
		}
	}
	if c.RoleID == "" {
		return on, nil
	}
	on.role, err = a.role(ctx, c.RoleID)
	return on, err
}

// keyStanding judges the long-term key at the beginning of a session.
func (a *Authenticator) keyStanding(ctx context.Context, c *claims) (AccessKey, error) {
	k, err := a.longTerm(ctx, c.KeyID)
	if iot.IsKind(err, iot.KindUnknownKey) || err == nil && k.UserID != c.UserID {
		return k, revoked("the access key that the session was made with was deleted or deactivated")
	}
	if err == nil && k.Epoch != c.KeyEpoch {
		err = revoked("the access key that the session was made with was deactivated since")
	}
	return k, err
}

func (a *Authenticator) role(ctx context.Context, id string) (Role, error) {
	r, err := a.cfg.Directory.RoleByID(ctx, id)
	if iot.IsKind(err, iot.KindNotFound) {
		return Role{}, revoked("the role " + id + " was deleted")
	}
	return r, err
}

func (a *Authenticator) deviceStanding(ctx context.Context, c *claims, now time.Time) error {
	cert, err := a.cfg.Devices.Certificate(ctx, c.Certificate, now)
	switch {
	case iot.IsKind(err, iot.KindNotFound):
		return revoked("the certificate was deleted")
	case err != nil:
		return err
	case !cert.Usable:
		return revoked(cert.Why)
	case cert.Epoch != c.Epoch:
		return revoked("the certificate was deactivated since the session was issued")
	}
	if c.ThingName == "" {
		return nil
	}
	t, attached, err := a.cfg.Devices.Attachment(ctx, c.Certificate, c.ThingName)
	switch {
	case err != nil:
		return err
	case !attached:
		return revoked("the thing was detached or deleted")
	case t.ThingID != c.ThingID:
		return revoked("the thing was recreated since the session was issued")
	case t.Incarnation != c.Incarnation:
		return revoked("the thing was detached and attached again since the session was issued")
	}
	return nil
}

// Find returns the identity of an access key without its token, to explain what
// it may do: KindNotFound "session" for a session that was not used here lately,
// else the errors of Authenticate. It proves nothing about who asks.
func (a *Authenticator) Find(ctx context.Context, accessKeyID string) (*Identity, error) {
	if !strings.HasPrefix(accessKeyID, sessionPrefix) {
		return a.Authenticate(ctx, accessKeyID, "")
	}
	s := a.open.find(accessKeyID)
	if s == nil {
		return nil, iot.Errorf(iot.KindNotFound, "session", "No session of access key %s was used on this server lately.", clip(accessKeyID))
	}
	return a.judge(ctx, s, accessKeyID, a.cfg.Now())
}

// sessions remembers opened sessions by their tokens and access keys.
type sessions struct {
	limit int

	mu      sync.RWMutex // guards the fields below
	byToken map[string]*session
	byKey   map[string]*session
}

func (o *sessions) get(token string) *session {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.byToken[token]
}

func (o *sessions) find(accessKeyID string) *session {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.byKey[accessKeyID]
}

func (o *sessions) put(token string, s *session) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.byToken) >= o.limit {
		for k, old := range o.byToken {
			delete(o.byToken, k)
			delete(o.byKey, old.AccessKeyID)
			break
		}
	}
	o.byToken[strings.Clone(token)] = s
	o.byKey[s.AccessKeyID] = s
}
