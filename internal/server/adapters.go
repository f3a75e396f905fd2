package server

import (
	"context"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iam"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/pki"
	"github.com/sekisho-iot/sekisho/internal/policy"
	"github.com/sekisho-iot/sekisho/internal/registry"
	"github.com/sekisho-iot/sekisho/internal/sts"
)

// directory is iam as sts asks it.
type directory struct{ iam *iam.Service }

// Role implements sts.Directory.
func (d directory) Role(ctx context.Context, name string) (sts.Role, error) {
	r, err := d.iam.RoleGrants(ctx, name)
	return sts.Role(r), err
}

// RoleByID implements sts.Directory.
func (d directory) RoleByID(ctx context.Context, id string) (sts.Role, error) {
	r, err := d.iam.RoleGrantsByID(ctx, id)
	return sts.Role(r), err
}

// AccessKey implements sts.Directory.
func (d directory) AccessKey(ctx context.Context, id string) (sts.AccessKey, error) {
	k, err := d.iam.KeyGrants(ctx, id)
	return sts.AccessKey(k), err
}

// ManagedPolicy implements sts.Directory.
func (d directory) ManagedPolicy(ctx context.Context, arn string) (*policy.Policy, string, error) {
	return d.iam.ManagedPolicy(ctx, arn)
}

// devices is pki and the registry as sts asks them.
type devices struct {
	certificates *pki.Certificates
	registry     *registry.Registry
}

// Certificate implements sts.Devices.
func (d devices) Certificate(ctx context.Context, id iot.CertificateID, now time.Time) (sts.Certificate, error) {
	c, err := d.certificates.Lookup(ctx, id)
	if err != nil {
		return sts.Certificate{}, err
	}
	ok, why := c.Usable(now)
	return sts.Certificate{Usable: ok, Why: why, Epoch: c.Epoch}, nil
}

// Attachment implements sts.Devices.
func (d devices) Attachment(ctx context.Context, id iot.CertificateID, thing string) (sts.Attachment, bool, error) {
	p, err := d.registry.Principal(ctx, d.certificates.ARN(id))
	if err != nil {
		return sts.Attachment{}, false, err
	}
	t := p.Thing(thing)
	if t == nil {
		return sts.Attachment{}, false, nil
	}
	return sts.Attachment{ThingID: t.ID, TypeName: t.TypeName, Incarnation: t.Incarnation}, true, nil
}

// Policies implements sts.Devices.
func (d devices) Policies(ctx context.Context, dev sts.Device, thing string, now time.Time) (policy.Set, policy.Keys, error) {
	c, err := d.certificates.Lookup(ctx, dev.Certificate)
	if err != nil {
		return nil, nil, err
	}
	p, err := d.registry.Principal(ctx, d.certificates.ARN(dev.Certificate))
	if err != nil {
		return nil, nil, err
	}
	k := &registry.Keys{
		Certificate: c.Facts, SourceIP: dev.SourceIP, SourceVPCE: dev.SourceVPCE, Now: now,
		Thing: p.Thing(thing), NoThing: "the request has no x-amzn-iot-thingname header",
	}
	return p.PoliciesFor(k.Thing), k, nil
}
