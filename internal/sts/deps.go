package sts

import (
	"context"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
)

// Role is a role as decisions need it. The field list is that of iam.RoleGrants,
// so that one converts to the other. What it points to is shared.
type Role struct {
	ID, Name, ARN      string
	MaxSessionDuration time.Duration
	Trust              *policy.Policy
	Identity           policy.Set
	Boundary           policy.Set
	HasBoundary        bool
	Tags               [][2]string // key and value
}

// AccessKey is a long-term key and its holder; the field list is that of iam.KeyGrants.
type AccessKey struct {
	ID, Secret  string
	Active      bool
	Epoch       int64 // another one whenever Active changes
	Root        bool
	UserID      string // "" for the root
	UserName    string
	UserARN     string
	Identity    policy.Set
	Boundary    policy.Set
	HasBoundary bool
	Tags        [][2]string
}

// Directory is what sts asks of iam. All of it answers out of memory when warm,
// and KindNotFound for what does not exist.
type Directory interface {
	Role(ctx context.Context, name string) (Role, error)
	RoleByID(ctx context.Context, id string) (Role, error)
	AccessKey(ctx context.Context, id string) (AccessKey, error)
	// ManagedPolicy returns the unique id too.
	ManagedPolicy(ctx context.Context, arn string) (p *policy.Policy, id string, err error)
}

// Certificate is a certificate's standing at one moment.
type Certificate struct {
	Usable bool   // ACTIVE and within its validity
	Why    string // why it is not usable
	Epoch  int64  // changes whenever the certificate leaves ACTIVE
}

// Attachment is a thing as a certificate that it is attached to sees it.
type Attachment struct {
	ThingID     string
	TypeName    string
	Incarnation int64 // of the attachment
}

// Device is the far end of a connection to the credential endpoint.
type Device struct {
	Certificate iot.CertificateID
	SourceIP    string // a public listener
	SourceVPCE  string // the closed network
	Subscriber  string // the SIM, where the network knows it
}

// Devices is what sts asks of the registry and of pki, out of memory when warm.
type Devices interface {
	// Certificate answers KindNotFound for one that is not registered.
	Certificate(ctx context.Context, id iot.CertificateID, now time.Time) (Certificate, error)
	// Attachment answers false where the thing does not exist or is not attached.
	Attachment(ctx context.Context, id iot.CertificateID, thing string) (Attachment, bool, error)
	// Policies returns the IoT policies that decide about a device, and the keys
	// of its request. The thing variables are those of thing; "" for none.
	Policies(ctx context.Context, d Device, thing string, now time.Time) (policy.Set, policy.Keys, error)
}
