package sts

import (
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
)

// Identity is who makes one request and what they were granted. It belongs to
// that request alone; what it points to is shared and never changes.
type Identity struct {
	Kind      Kind
	Principal policy.Principal
	Grants    policy.Grants // Root, Identity, Boundary and Session; Resource is for the caller to set

	AccessKeyID     string
	SecretAccessKey string

	// Sessions that began with a device.
	CertificateID iot.CertificateID
	ThingName     string // "" where the session has no thing
	ThingID       string
	Subscriber    string // IMSI or subscriber id of the SIM, where there was one
	NetworkPath   string // the VPC endpoint id of the closed network that it came through, where there was one

	IssuedAt  time.Time // zero for long-term keys
	ExpiresAt time.Time // zero for long-term keys

	SessionName    string // "" but for role sessions
	SourceIdentity string
	Tags           []Tag // of the session; principal tags of the role or user stand behind them

	who     holder   // what Lookup answers from
	session *session // nil for long-term keys
}

// Kind says how a caller came to the credentials.
type Kind uint8

// The kinds of callers.
const (
	LongTerm         Kind = iota // an access key of a user or of the account root
	RoleSession                  // AssumeRole, or the credential provider
	UserSession                  // GetSessionToken
	FederatedSession             // GetFederationToken
)

// Tag is one principal or session tag.
type Tag struct {
	Key, Value string
	Transitive bool // handed on to sessions derived from this one
}

// holder is the user or role behind an identity. Its account is never empty.
type holder struct {
	userID, userName       string
	principalARN           string // the role's ARN for a session
	account, principalType string
	tokenIssueTime         string
	thingTypeName          string
	keyEpoch               int64 // of a long-term key
	tags                   [][2]string
}

// Lookup answers the condition keys and policy variables that depend on who
// asks: aws:userid and its kin, tags, and the credentials-iot: variables.
func (i *Identity) Lookup(key string) policy.Values {
	if i.who.account == "" {
		return policy.Absent("the request is anonymous")
	}
	switch {
	case strings.HasPrefix(key, "aws:"):
		return i.lookupAWS(key)
	case strings.HasPrefix(key, "credentials-iot:"):
		return i.lookupDevice(key)
	}
	return policy.Values{}
}

func (i *Identity) lookupAWS(key string) policy.Values {
	w := &i.who
	switch key {
	case "aws:userid":
		return present(w.userID, "this kind of principal has no user id")
	case "aws:username":
		return present(w.userName, "only IAM users have a user name")
	case "aws:principalarn":
		return present(w.principalARN, "the principal has no ARN")
	case "aws:principalaccount":
		return present(w.account, "the principal has no account")
	case "aws:principaltype":
		return present(w.principalType, "the principal has no type")
	case "aws:principalisawsservice", "aws:viaawsservice":
		return policy.One("false")
	case "aws:tokenissuetime":
		return present(w.tokenIssueTime, "the caller used a long-term access key")
	case "aws:multifactorauthpresent":
		if i.session == nil {
			return policy.Absent("the caller used a long-term access key")
		}
		return policy.One("false")
	case "aws:sourceidentity":
		return present(i.SourceIdentity, "the session has no source identity")
	}
	if name, ok := strings.CutPrefix(key, "aws:principaltag/"); ok {
		return i.tag(name)
	}
	return policy.Values{}
}

// tag returns a principal tag. Keys differ by more than case.
func (i *Identity) tag(name string) policy.Values {
	for n := range i.Tags {
		if policy.SameTagKey(i.Tags[n].Key, name) {
			return policy.One(i.Tags[n].Value)
		}
	}
	for n := range i.who.tags {
		if policy.SameTagKey(i.who.tags[n][0], name) {
			return policy.One(i.who.tags[n][1])
		}
	}
	return policy.Absent("the principal has no such tag")
}

func (i *Identity) lookupDevice(key string) policy.Values {
	const (
		notDevice = "the session was not issued to a device by the credential provider"
		noThing   = "no x-amzn-iot-thingname header was sent when the credentials were issued"
	)
	if i.CertificateID == "" || i.session == nil || i.session.derived {
		return policy.Absent(notDevice)
	}
	switch key {
	case "credentials-iot:awscertificateid":
		return policy.One(string(i.CertificateID))
	case "credentials-iot:thingname":
		return present(i.ThingName, noThing)
	case "credentials-iot:thingtypename":
		if i.ThingName == "" {
			return policy.Absent(noThing)
		}
		return present(i.who.thingTypeName, "the thing has no type")
	}
	return policy.Values{}
}

func present(s, why string) policy.Values {
	if s == "" {
		return policy.Absent(why)
	}
	return policy.One(s)
}
