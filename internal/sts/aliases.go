package sts

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/internal/cache"
	"github.com/sekisho-iot/sekisho/internal/iot"
)

// Limits of a role alias's credentialDurationSeconds.
const (
	MinAliasDuration     = 900
	MaxAliasDuration     = 43200
	DefaultAliasDuration = 3600
)

// RoleAlias is the name that devices know a role by.
type RoleAlias struct {
	Name      string
	RoleARN   string
	Duration  int // of the credentials, in seconds
	CreatedAt time.Time
	UpdatedAt time.Time
}

// AliasChange holds what UpdateRoleAlias sets; nil leaves a field alone.
type AliasChange struct {
	RoleARN  *string
	Duration *int
}

// AliasStore keeps role aliases. It answers KindNotFound and KindExists.
type AliasStore interface {
	InsertAlias(ctx context.Context, a RoleAlias, tags []Tag) error
	Alias(ctx context.Context, name string) (RoleAlias, error)
	// Aliases lists by name, after the given one; "" starts the listing.
	Aliases(ctx context.Context, after string, ascending bool, limit int) ([]RoleAlias, error)
	UpdateAlias(ctx context.Context, name string, c AliasChange, at time.Time) error
	DeleteAlias(ctx context.Context, name string) error
}

// RoleAliases is the control plane of role aliases and their memory.
type RoleAliases struct {
	account iot.AccountID
	region  string
	store   AliasStore
	now     func() time.Time
	known   *cache.Cache[string, RoleAlias]
}

// NewRoleAliases returns the service.
func NewRoleAliases(account iot.AccountID, region string, store AliasStore, now func() time.Time) *RoleAliases {
	return &RoleAliases{account: account, region: region, store: store, now: now, known: cache.New(4096, store.Alias)}
}

// ARN returns the ARN of an alias of this account.
func (r *RoleAliases) ARN(name string) iot.ARN {
	return iot.NewARN("iot", r.region, r.account, "rolealias/"+name)
}

// Account returns the owner of all aliases.
func (r *RoleAliases) Account() iot.AccountID { return r.account }

// Invalidate drops what a change made stale.
func (r *RoleAliases) Invalidate(c iot.Change) {
	if c.Kind == iot.ChangeRoleAlias {
		r.known.Drop(c.ID)
	}
	if c.Kind == iot.ChangeAll {
		r.known.Clear()
	}
}

// Create makes an alias of a role of this account; duration nil means 3600 s.
func (r *RoleAliases) Create(ctx context.Context, name, roleARN string, duration *int, tags []Tag) (RoleAlias, error) {
	if err := checkAlias(name); err != nil {
		return RoleAlias{}, err
	}
	at := r.now().UTC().Truncate(time.Millisecond)
	a := RoleAlias{Name: name, RoleARN: roleARN, Duration: DefaultAliasDuration, CreatedAt: at, UpdatedAt: at}
	if duration != nil {
		a.Duration = *duration
	}
	if err := r.check(&a.RoleARN, &a.Duration); err != nil {
		return RoleAlias{}, err
	}
	if err := r.store.InsertAlias(ctx, a, tags); err != nil {
		return RoleAlias{}, err
	}
	return a, nil
}

func checkAlias(name string) error {
	if !iot.ValidRoleAlias(name) {
		return iot.Errorf(iot.KindInvalid, "role-alias", `1 validation error detected: Value '%s' at 'roleAlias' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w=,@-]+ and have length less than or equal to 128`, clip(name))
	}
	return nil
}

func (r *RoleAliases) check(roleARN *string, duration *int) error {
	if roleARN != nil {
		if _, err := r.roleName(*roleARN); err != nil {
			return err
		}
	}
	if duration != nil && (*duration < MinAliasDuration || *duration > MaxAliasDuration) {
		return iot.Errorf(iot.KindInvalid, "role-alias", "1 validation error detected: Value '%d' at 'credentialDurationSeconds' failed to satisfy constraint: Member must have value between %d and %d", *duration, MinAliasDuration, MaxAliasDuration)
	}
	return nil
}

// roleName returns the name in the ARN of a role of this account.
func (r *RoleAliases) roleName(arn string) (string, error) {
	name, ok := roleNameOf(arn, r.account)
	if !ok {
		return "", iot.Errorf(iot.KindInvalid, "role-alias", "Invalid role ARN: %s", clip(arn))
	}
	return name, nil
}

// roleNameOf returns the name at the end of arn:aws:iam::ACCOUNT:role/PATH/NAME.
func roleNameOf(arn string, account iot.AccountID) (string, bool) {
	if len(arn) < 20 || len(arn) > 2048 {
		return "", false
	}
	p, err := iot.ParseARN(arn)
	if err != nil || p.Partition != "aws" || p.Service != "iam" || p.Region != "" || p.Account != string(account) {
		return "", false
	}
	path, ok := strings.CutPrefix(p.Resource, "role/")
	name := path[strings.LastIndexByte(path, '/')+1:]
	return name, ok && len(name) <= 64 && checkChars(name, "+=,.@_-") && name != ""
}

// checkChars reports whether s holds letters, digits and extra alone.
func checkChars(s, extra string) bool {
	for i := range len(s) {
		c := s[i]
		ok := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte(extra, c) >= 0
		if !ok {
			return false
		}
	}
	return true
}

// clip keeps what is echoed to the caller short.
func clip(s string) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) <= 256 {
		return s
	}
	return strings.ToValidUTF8(s[:256], "") + "..."
}

// Describe returns an alias.
func (r *RoleAliases) Describe(ctx context.Context, name string) (RoleAlias, error) {
	if err := checkAlias(name); err != nil {
		return RoleAlias{}, err
	}
	return r.store.Alias(ctx, name)
}

// Update changes an alias; nil leaves a field alone.
func (r *RoleAliases) Update(ctx context.Context, name string, c AliasChange) error {
	if err := checkAlias(name); err != nil {
		return err
	}
	if err := r.check(c.RoleARN, c.Duration); err != nil {
		return err
	}
	return r.store.UpdateAlias(ctx, name, c, r.now().UTC().Truncate(time.Millisecond))
}

// Delete deletes an alias. Sessions that were issued through it go on: what
// they hang on is the role.
func (r *RoleAliases) Delete(ctx context.Context, name string) error {
	if err := checkAlias(name); err != nil {
		return err
	}
	return r.store.DeleteAlias(ctx, name)
}

// List pages aliases by name; a limit of 0 means 25. The marker is "" at the end.
func (r *RoleAliases) List(ctx context.Context, ascending bool, limit int, marker string) ([]RoleAlias, string, error) {
	if limit == 0 {
		limit = 25
	}
	if limit < 1 || limit > 250 {
		return nil, "", iot.Errorf(iot.KindInvalid, "role-alias", "pageSize must be between 1 and 250")
	}
	scope := fmt.Sprintf("sts.role-aliases.%t", ascending)
	after, err := iot.ParsePageToken(scope, marker)
	if err != nil {
		return nil, "", err
	}
	list, err := r.store.Aliases(ctx, after, ascending, limit+1)
	if err != nil || len(list) <= limit {
		return list, "", err
	}
	return list[:limit], iot.PageToken(scope, list[limit-1].Name), nil
}

// find returns an alias out of memory when warm.
func (r *RoleAliases) find(ctx context.Context, name string) (RoleAlias, error) {
	if !iot.ValidRoleAlias(name) {
		return RoleAlias{}, iot.Errorf(iot.KindNotFound, "role-alias", "%s", noAliasMessage)
	}
	return r.known.Get(ctx, name)
}
