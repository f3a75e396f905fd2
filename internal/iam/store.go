package iam

import (
	"context"
	"time"
)

// Tag is one tag. Keys of an owner differ by more than case.
type Tag struct{ Key, Value string }

// Role is a role as it is stored.
type Role struct {
	ID, Name, Path     string
	ARN                string
	Description        string
	MaxSessionDuration int    // seconds
	Trust              string // policy document
	Trusted            []TrustedPrincipal
	Boundary           string // ARN of the managed policy; "" for none
	CreatedAt          time.Time
	Tags               []Tag
}

// TrustedPrincipal is a user, role or session that a trust policy names. On
// the way to a store Name alone is set.
type TrustedPrincipal struct {
	Name string // ARN or unique id, as the policy has it
	ID   string // of the user or role when the policy was written; "" for one that did not exist
	ARN  string // of the one with this ID now; "" where it is gone
}

// RoleChange holds what UpdateRole and its kin set; nil leaves a field alone.
type RoleChange struct {
	Description        *string
	MaxSessionDuration *int
	Trust              *string
	Trusted            []TrustedPrincipal // with Trust
}

// User is a user as it is stored.
type User struct {
	ID, Name, Path string
	ARN            string
	Boundary       string
	CreatedAt      time.Time
	Tags           []Tag
}

// Policy is a managed policy without its documents.
type Policy struct {
	ID, ARN, Name, Path string
	Description         string
	DefaultVersion      int
	Attachments         int // roles and users it is attached to
	Boundaries          int // roles and users it is the boundary of
	CreatedAt           time.Time
	UpdatedAt           time.Time
	Tags                []Tag
	AWS                 bool // built in
}

// PolicyVersion is one document of a managed policy.
type PolicyVersion struct {
	PolicyID  string // of what is read
	Version   int
	Document  string
	Default   bool
	CreatedAt time.Time
}

// AccessKey is a long-term key. One with no user belongs to the account root.
type AccessKey struct {
	ID               string
	UserID, UserName string
	Active           bool
	Epoch            int64  // another one whenever Active changes; the store counts it
	Sealed           []byte // the secret, by the Sealer, in the context of ID
	CreatedAt        time.Time
}

// HolderKind says what kind of principal policies hang on.
type HolderKind uint8

// The kinds of holders.
const (
	RoleHolder HolderKind = iota + 1
	UserHolder
	GroupHolder
)

// String returns "role", "user" or "group".
func (k HolderKind) String() string {
	switch k {
	case UserHolder:
		return "user"
	case GroupHolder:
		return "group"
	case RoleHolder:
	}
	return "role"
}

// Holder names a role, user or group.
type Holder struct {
	Kind HolderKind
	Name string
}

// InlinePolicy is a policy embedded in a role or user.
type InlinePolicy struct{ Name, Document string }

// Attachment is a managed policy on a role or user.
type Attachment struct{ Name, ARN string }

// Held is what hangs on a holder.
type Held struct {
	ID       string         // of the holder
	Inline   []InlinePolicy // by name
	Attached []string       // ARNs of managed policies, in order
}

// Entity is a role or user that a managed policy is attached to.
type Entity struct {
	Holder
	ID       string
	Boundary bool // it is the entity's boundary, not one of its policies
}

// Page asks for at most Limit items after the item called After, under a path.
type Page struct {
	PathPrefix string
	After      string
	Limit      int
}

// RoleStore keeps roles. Names that do not exist are KindNotFound errors, but
// for trusted principals, which are NoSuchPrincipal.
type RoleStore interface {
	InsertRole(ctx context.Context, r Role) error
	Role(ctx context.Context, name string) (Role, error)
	RoleName(ctx context.Context, id string) (string, error)
	// Unpinned lists roles from before trusted principals were kept.
	Unpinned(ctx context.Context) ([]Role, error)
	// PinRole keeps whom the trust policy of an unpinned role names, whether they exist or not.
	PinRole(ctx context.Context, name string, trusted []TrustedPrincipal) error
	Roles(ctx context.Context, p Page) ([]Role, error)
	UpdateRole(ctx context.Context, name string, c RoleChange) error
	// DeleteRole refuses a role that still has policies or an instance profile.
	DeleteRole(ctx context.Context, name string) error
}

// UserStore keeps users and access keys.
type UserStore interface {
	InsertUser(ctx context.Context, u User) error
	User(ctx context.Context, name string) (User, error)
	Users(ctx context.Context, p Page) ([]User, error)
	UpdateUser(ctx context.Context, name string, c NameChange) error
	// DeleteUser refuses a user that still has policies, keys or groups.
	DeleteUser(ctx context.Context, name string) error
	// InsertKey refuses more than limit keys of one user; 0 means no limit.
	InsertKey(ctx context.Context, k AccessKey, limit int) error
	Key(ctx context.Context, id string) (AccessKey, error)
	// Keys lists the keys of a user; "" lists the root's.
	Keys(ctx context.Context, userName string) ([]AccessKey, error)
	SetKeyStatus(ctx context.Context, userName, id string, active bool) error
	DeleteKey(ctx context.Context, userName, id string) error
}

// PolicyStore keeps managed policies, the built-in ones excepted.
type PolicyStore interface {
	InsertPolicy(ctx context.Context, p Policy, document string) error
	Policy(ctx context.Context, arn string) (Policy, error)
	// Policies lists by ARN; Page.After is one.
	Policies(ctx context.Context, p Page) ([]Policy, error)
	// DeletePolicy refuses one that is attached, or that has versions besides the default.
	DeletePolicy(ctx context.Context, arn string) error
	// InsertVersion adds a version with a number never used before and returns it; more than limit are refused.
	InsertVersion(ctx context.Context, arn, document string, at time.Time, makeDefault bool, limit int) (PolicyVersion, error)
	Version(ctx context.Context, arn string, version int) (PolicyVersion, error)
	Versions(ctx context.Context, arn string) ([]PolicyVersion, error)
	DeleteVersion(ctx context.Context, arn string, version int) error
	SetDefaultVersion(ctx context.Context, arn string, version int, at time.Time) error
	// Usage counts the attachments of an ARN, which may be a built-in one.
	Usage(ctx context.Context, arn string) (attachments, boundaries int, err error)
	Entities(ctx context.Context, arn string) ([]Entity, error)
}

// GrantStore keeps what hangs on roles and users.
type GrantStore interface {
	// PutInline refuses to let the documents of one holder exceed limit characters without white space.
	PutInline(ctx context.Context, h Holder, p InlinePolicy, limit int) error
	DeleteInline(ctx context.Context, h Holder, name string) error
	// Attach is idempotent. It refuses more than limit policies on one holder,
	// and an ARN of this account that does not exist.
	Attach(ctx context.Context, h Holder, arn string, at time.Time, limit int) error
	Detach(ctx context.Context, h Holder, arn string) error
	// SetBoundary sets the ARN of a holder's boundary; "" takes it away. It
	// refuses an ARN of this account that does not exist.
	SetBoundary(ctx context.Context, h Holder, arn string) error
	// Held returns what hangs on a holder, as it was at one moment.
	Held(ctx context.Context, h Holder) (Held, error)
}

// TagStore keeps tags by the unique id of what they are on.
type TagStore interface {
	// SetTags adds and replaces; more than limit altogether are refused.
	SetTags(ctx context.Context, o TagOwner, tags []Tag, limit int) error
	DeleteTags(ctx context.Context, o TagOwner, keys []string) error
}

// TagOwner names what tags are on: a holder, or a policy or OIDC provider by
// ARN, or an instance profile by name.
type TagOwner struct {
	Holder
	PolicyARN   string
	Profile     string
	ProviderARN string
}

// SealStore keeps the sealed secrets of access keys.
type SealStore interface {
	// SealedKeys lists id and Sealed of every access key, by id.
	SealedKeys(ctx context.Context, after string, limit int) ([]AccessKey, error)
	// ReplaceSealed puts secrets that were sealed anew in the place of the old
	// ones, where these still stand. Nobody hears of it: the secrets are the same.
	ReplaceSealed(ctx context.Context, list []Resealed) error
}

// Resealed is the secret of an access key, sealed anew.
type Resealed struct {
	ID      string
	Was, Is []byte
}

// Store is everything that the service keeps.
type Store interface {
	SealStore
	RoleStore
	UserStore
	GroupStore
	ProfileStore
	UseStore
	OIDCStore
	AccountStore
	PolicyStore
	GrantStore
	TagStore
}
