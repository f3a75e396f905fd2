package iam

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/sekisho-iot/sekisho/internal/cache"
	"github.com/sekisho-iot/sekisho/internal/iot"
)

// Sealer encrypts the secrets of access keys at rest. What was sealed for one
// context opens for no other.
type Sealer interface {
	Seal(plain, context []byte) ([]byte, error)
	Open(sealed, context []byte) ([]byte, error)
}

// Config is what a Service needs; every field is required.
type Config struct {
	Account iot.AccountID
	Store   Store
	Sealer  Sealer
	Now     func() time.Time
	Random  io.Reader
	Logger  *slog.Logger
}

// Service is IAM: the control plane's operations and the read side of decisions.
type Service struct {
	account iot.AccountID
	store   Store
	sealer  Sealer
	now     func() time.Time
	random  io.Reader
	log     *slog.Logger

	// sealing is held for reading from sealing a secret to keeping it, so that
	// none is kept with a key of the ring that Reseal was to get rid of.
	sealing sync.RWMutex

	builtin   map[string]*builtinPolicy // AWS managed policies by ARN
	root      *userGrants               // the account root, of which only the ARN counts
	documents *cache.Cache[string, managedPolicy]
	roles     *cache.Cache[string, *RoleGrants]
	users     *cache.Cache[string, *userGrants]
	keys      *cache.Cache[string, *keyRecord]
	roleNames *cache.Cache[string, string] // role id to name: never changes while the role exists
}

// New returns the service.
func New(cfg Config) (*Service, error) {
	if cfg.Store == nil || cfg.Sealer == nil || cfg.Now == nil || cfg.Random == nil || cfg.Logger == nil {
		return nil, errors.New("iam: store, sealer, clock, randomness and logger are required")
	}
	if !iot.ValidAccountID(string(cfg.Account)) {
		return nil, fmt.Errorf("iam: account id %q is not twelve digits", cfg.Account)
	}
	builtin, err := loadBuiltin()
	if err != nil {
		return nil, err
	}
	s := &Service{
		account: cfg.Account, store: cfg.Store, sealer: cfg.Sealer,
		now: cfg.Now, random: cfg.Random, log: cfg.Logger, builtin: builtin,
	}
	s.root = &userGrants{arn: s.arn("root")}
	s.documents = cache.New(2048, s.loadDocument)
	s.roles = cache.New(4096, s.loadRole)
	s.users = cache.New(4096, s.loadUser)
	s.keys = cache.New(8192, s.loadKey)
	s.roleNames = cache.New(8192, s.loadRoleName)
	return s, nil
}

// Invalidate drops what a change made stale.
func (s *Service) Invalidate(c iot.Change) {
	switch c.Kind {
	case iot.ChangeRole:
		s.roles.Drop(c.ID)
	case iot.ChangeUser:
		s.users.Drop(c.ID)
	case iot.ChangeAccessKey:
		s.keys.Drop(c.ID)
	case iot.ChangeIAMPolicy:
		// Documents first: a holder that is loaded from here on sees the new one.
		s.documents.Drop(c.ID)
		s.roles.Clear()
		s.users.Clear()
	case iot.ChangeAll:
		s.documents.Clear()
		s.roles.Clear()
		s.users.Clear()
		s.keys.Clear()
		s.roleNames.Clear()
	case iot.ChangeThing, iot.ChangeCertificate, iot.ChangePrincipal, iot.ChangeIoTPolicy,
		iot.ChangeRoleAlias, iot.ChangeBucket, iot.ChangeUpload, iot.ChangeCA, iot.ChangeThingGroup, iot.ChangeEventConfiguration:
	}
}

func (s *Service) stamp() time.Time { return s.now().UTC().Truncate(time.Second) }

func (s *Service) arn(resource string) string {
	return "arn:aws:iam::" + string(s.account) + ":" + resource
}
