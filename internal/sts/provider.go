package sts

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
)

// The messages of the credential provider, as AWS words them.
const (
	CertificateMessage = "Certificate is invalid on this endpoint"
	thingMessage       = "Invalid thing name passed"
	deniedMessage      = "Access Denied"
	noAliasMessage     = "Role alias does not exist"
	assumeMessage      = "Unable to assume the role, or the role to assume does not exist"
	durationMessage    = "The requested CredentialDurationSeconds exceeds the MaxSessionDuration set for the role"
)

const (
	credentialService = "credentials.iot.amazonaws.com"
	assumeWithCert    = "iot:AssumeRoleWithCertificate"
	assumeRole        = "sts:AssumeRole"
)

// Provider hands out role credentials to devices.
type Provider struct {
	cfg     Config
	aliases *RoleAliases
	log     *slog.Logger
}

// NewProvider returns the credential provider.
func NewProvider(cfg Config, aliases *RoleAliases, log *slog.Logger) *Provider {
	return &Provider{cfg: cfg, aliases: aliases, log: log}
}

// Credentials trades a device's certificate for a session of the role behind
// alias. hasThing says that a thing name was sent at all.
//
// The order of the checks shows in the answers: certificate, thing, IoT policy,
// alias, trust policy, duration. Errors: KindDenied for the first three,
// KindNotFound for the alias, KindInvalid for the rest.
func (p *Provider) Credentials(ctx context.Context, d Device, thingName string, hasThing bool, alias string) (Credentials, error) {
	now := p.cfg.Now()
	ask := &exchange{p: p, device: d, alias: alias, now: now}
	cert, err := p.cfg.Devices.Certificate(ctx, d.Certificate, now)
	switch {
	case iot.IsKind(err, iot.KindNotFound):
		return ask.refuse(ctx, iot.KindDenied, "certificate", CertificateMessage, "the certificate is not registered")
	case err != nil:
		return Credentials{}, err
	case !cert.Usable:
		return ask.refuse(ctx, iot.KindDenied, "certificate", CertificateMessage, cert.Why)
	}
	var thing Attachment
	if hasThing {
		ask.thing = thingName
		attached := false
		if iot.ValidThingName(thingName) {
			if thing, attached, err = p.cfg.Devices.Attachment(ctx, d.Certificate, thingName); err != nil {
				return Credentials{}, err
			}
		}
		if !attached {
			return ask.refuse(ctx, iot.KindDenied, "thing", thingMessage, "the thing does not exist or is not attached to the certificate")
		}
	}
	aliasARN := string(p.aliases.ARN(alias))
	if err := ask.allowed(ctx, aliasARN); err != nil {
		return Credentials{}, err
	}
	role, seconds, err := ask.role(ctx, aliasARN)
	if err != nil {
		return Credentials{}, err
	}
	if time.Duration(seconds)*time.Second > role.MaxSessionDuration {
		return ask.refuse(ctx, iot.KindInvalid, "duration", durationMessage, "MaxSessionDuration of the role is "+role.MaxSessionDuration.String())
	}
	issued := now.Unix()
	cred, _, err := p.cfg.Keys.issue(&claims{
		RoleID: role.ID, SessionName: string(d.Certificate), Issued: issued, Expires: issued + int64(seconds),
		Certificate: d.Certificate, Epoch: cert.Epoch,
		ThingName: ask.thing, ThingID: thing.ThingID, ThingType: thing.TypeName, Incarnation: thing.Incarnation,
		Subscriber: d.Subscriber, NetworkPath: d.SourceVPCE,
	})
	return cred, err
}

// exchange is one request for credentials.
type exchange struct {
	p      *Provider
	device Device
	thing  string
	alias  string
	now    time.Time
}

// refuse logs why and returns what the device is told.
func (x *exchange) refuse(ctx context.Context, kind iot.Kind, resource, message, why string) (Credentials, error) {
	return Credentials{}, x.refused(ctx, kind, resource, message, why)
}

func (x *exchange) refused(ctx context.Context, kind iot.Kind, resource, message, why string) error {
	x.p.log.LogAttrs(ctx, slog.LevelWarn, "credentials refused",
		slog.String("certificate", string(x.device.Certificate)),
		slog.String("thing", clip(x.thing)),
		slog.String("action", assumeWithCert),
		slog.String("resource", clip(string(x.p.aliases.ARN(x.alias)))),
		slog.String("source", x.device.SourceIP),
		slog.String("answer", message),
		slog.String("explanation", why))
	return iot.Errorf(kind, resource, "%s", message)
}

// allowed asks the IoT policies of the certificate.
func (x *exchange) allowed(ctx context.Context, aliasARN string) error {
	set, keys, err := x.p.cfg.Devices.Policies(ctx, x.device, x.thing, x.now)
	if err != nil {
		return err
	}
	r := policy.Request{
		Action: assumeWithCert, Resource: aliasARN, Keys: keys,
		Principal: policy.Principal{Account: string(x.p.cfg.Account)},
	}
	if set.Evaluate(&r).Allowed() {
		return nil
	}
	r.Principal.ARN = string(iot.NewARN("iot", x.p.cfg.Region, x.p.cfg.Account, "cert/"+string(x.device.Certificate)))
	return x.refused(ctx, iot.KindDenied, "policy", deniedMessage, set.Explain(&r).String())
}

// role finds the role behind the alias and asks its trust policy. It returns
// the role and the seconds that the alias asks for.
func (x *exchange) role(ctx context.Context, aliasARN string) (Role, int, error) {
	a, err := x.p.aliases.find(ctx, x.alias)
	if iot.IsKind(err, iot.KindNotFound) {
		return Role{}, 0, x.refused(ctx, iot.KindNotFound, "role-alias", noAliasMessage, "there is no such role alias")
	}
	if err != nil {
		return Role{}, 0, err
	}
	name, err := x.p.aliases.roleName(a.RoleARN)
	if err != nil {
		return Role{}, 0, x.refused(ctx, iot.KindInvalid, "role", assumeMessage, "the alias names no role of this account")
	}
	role, err := x.p.cfg.Directory.Role(ctx, name)
	if iot.IsKind(err, iot.KindNotFound) || err == nil && role.ARN != a.RoleARN {
		return Role{}, 0, x.refused(ctx, iot.KindInvalid, "role", assumeMessage, "there is no role "+a.RoleARN)
	}
	if err != nil {
		return Role{}, 0, err
	}
	trust := [1]*policy.Policy{role.Trust}
	r := policy.Request{
		Action: assumeRole, Resource: role.ARN,
		Principal: policy.Principal{Service: credentialService},
		Keys:      &serviceKeys{account: string(x.p.cfg.Account), sourceARN: aliasARN, session: string(x.device.Certificate), now: x.now},
	}
	if set := policy.Set(trust[:]); !set.Evaluate(&r).Allowed() {
		return Role{}, 0, x.refused(ctx, iot.KindInvalid, "role", assumeMessage, set.Explain(&r).String())
	}
	return role, a.Duration, nil
}

// serviceKeys are the keys of a role being assumed by the credential provider.
type serviceKeys struct {
	account, sourceARN, session string
	now                         time.Time
}

// Lookup implements policy.Keys.
func (k *serviceKeys) Lookup(key string) policy.Values {
	switch key {
	case "aws:sourceaccount":
		return policy.One(k.account)
	case "aws:sourcearn":
		return policy.One(k.sourceARN)
	case "aws:principalisawsservice":
		return policy.One("true")
	case "aws:principalservicename":
		return policy.One(credentialService)
	case "aws:securetransport":
		return policy.One("true")
	case "sts:rolesessionname":
		return policy.One(k.session)
	case "aws:currenttime":
		return policy.One(k.now.UTC().Format(time.RFC3339))
	case "aws:epochtime":
		return policy.One(strconv.FormatInt(k.now.Unix(), 10))
	}
	if strings.HasPrefix(key, "aws:") || strings.HasPrefix(key, "sts:") {
		return policy.Absent("an AWS service assumes the role")
	}
	return policy.Values{}
}
