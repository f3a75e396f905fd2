package sts_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iam"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
	"github.com/sekisho-iot/sekisho/internal/sqlstore"
	"github.com/sekisho-iot/sekisho/internal/sts"
)

const (
	account  = "123456789012"
	region   = "eu-west-1"
	adminKey = "AKIAADMINADMINADMIN1"
	allowAll = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`
	trustIoT = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"credentials.iot.amazonaws.com"},"Action":"sts:AssumeRole"}}`
)

// world is iam over SQLite, and a register of devices in memory.
type world struct {
	tb    testing.TB
	iam   *iam.Service
	ring  *sts.KeyRing
	alias *sts.RoleAliases
	auth  *sts.Authenticator
	sts   *sts.Assumer
	prov  *sts.Provider
	clock time.Time

	mu    sync.Mutex // guards the fields below
	certs map[iot.CertificateID]*cert
	log   strings.Builder
}

type cert struct {
	active bool
	epoch  int64
	things map[string]sts.Attachment
	policy policy.Set
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	w := &world{tb: tb, certs: map[iot.CertificateID]*cert{}, clock: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	dir := tb.TempDir()
	db, err := sqlstore.Open(tb.Context(), sqlstore.Config{Path: filepath.Join(dir, "test.db"), Fast: true, OnChange: func(c iot.Change) {
		w.iam.Invalidate(c)
		w.alias.Invalidate(c)
	}})
	ok(tb, err)
	tb.Cleanup(func() { ok(tb, db.Close()) })
	now := func() time.Time { return w.clock }
	w.ring, err = sts.OpenKeyRing(filepath.Join(dir, "keys.json"), rand.Reader, now)
	ok(tb, err)
	log := slog.New(slog.NewTextHandler(w, nil))
	w.iam, err = iam.New(iam.Config{Account: account, Store: db.IAM(), Sealer: w.ring.Sealer(sts.ForAccessKeys), Now: now, Random: rand.Reader, Logger: log})
	ok(tb, err)
	w.alias = sts.NewRoleAliases(account, region, db.STS(), now)
	cfg := sts.Config{Account: account, Region: region, Keys: w.ring, Directory: w, Devices: w, Now: now}
	w.auth, w.sts, w.prov = sts.NewAuthenticator(cfg), sts.NewAssumer(cfg, log), sts.NewProvider(cfg, w.alias, log)
	ok(tb, w.iam.EnsureAdmin(tb.Context(), adminKey, "admin-secret-admin-secret"))
	return w
}

func ok(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func wantKind(tb testing.TB, err error, k iot.Kind) {
	tb.Helper()
	if !iot.IsKind(err, k) {
		tb.Errorf("the error is %v, want one of kind %v", err, k)
	}
}

// Write keeps the log.
func (w *world) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(b)
}

func (w *world) Role(ctx context.Context, name string) (sts.Role, error) {
	r, err := w.iam.RoleGrants(ctx, name)
	return sts.Role(r), err
}

func (w *world) RoleByID(ctx context.Context, id string) (sts.Role, error) {
	r, err := w.iam.RoleGrantsByID(ctx, id)
	return sts.Role(r), err
}

func (w *world) AccessKey(ctx context.Context, id string) (sts.AccessKey, error) {
	k, err := w.iam.KeyGrants(ctx, id)
	return sts.AccessKey(k), err
}

func (w *world) ManagedPolicy(ctx context.Context, arn string) (*policy.Policy, string, error) {
	return w.iam.ManagedPolicy(ctx, arn)
}

func (w *world) Certificate(_ context.Context, id iot.CertificateID, _ time.Time) (sts.Certificate, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c, found := w.certs[id]
	if !found {
		return sts.Certificate{}, iot.Errorf(iot.KindNotFound, "certificate", "no certificate")
	}
	return sts.Certificate{Usable: c.active, Why: "the certificate is INACTIVE", Epoch: c.epoch}, nil
}

func (w *world) Attachment(_ context.Context, id iot.CertificateID, thing string) (sts.Attachment, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a, found := w.certs[id].things[thing]
	return a, found, nil
}

func (w *world) Policies(_ context.Context, d sts.Device, thing string, _ time.Time) (policy.Set, policy.Keys, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := policy.KeyMap{"aws:sourceip": policy.One(d.SourceIP)}
	if thing != "" {
		k["iot:connection.thing.thingname"] = policy.One(thing)
	}
	return w.certs[d.Certificate].policy, k, nil
}

// enrol registers a certificate with a thing and an IoT policy.
func (w *world) enrol(n int, thing, iotPolicy string) sts.Device {
	w.tb.Helper()
	p, err := policy.Compile(policy.IoT, "device-policy", []byte(iotPolicy))
	ok(w.tb, err)
	id := iot.CertificateID(fmt.Sprintf("%064x", n))
	w.certs[id] = &cert{
		active: true, epoch: 1, policy: policy.Set{p},
		things: map[string]sts.Attachment{thing: {ThingID: "id-of-" + thing, TypeName: "lamp", Incarnation: 7}},
	}
	return sts.Device{Certificate: id, SourceIP: "192.0.2.7"}
}

// role creates a role with one inline policy.
func (w *world) role(name, trust, doc string) iam.Role {
	w.tb.Helper()
	r, err := w.iam.CreateRole(w.tb.Context(), iam.CreateRoleInput{Name: name, Trust: trust})
	ok(w.tb, err)
	ok(w.tb, w.iam.PutInlinePolicy(w.tb.Context(), iam.Holder{Kind: iam.RoleHolder, Name: name}, "inline", doc))
	return r
}

// device is one enrolled thing "lamp-1" behind the alias "uploads" of the role "uploader".
func (w *world) device() sts.Device {
	w.tb.Helper()
	w.role("uploader", trustIoT, allowAll)
	_, err := w.alias.Create(w.tb.Context(), "uploads", "arn:aws:iam::"+account+":role/uploader", nil, nil)
	ok(w.tb, err)
	return w.enrol(1, "lamp-1", allowAll)
}

func (w *world) credentials(d sts.Device) sts.Credentials {
	w.tb.Helper()
	c, err := w.prov.Credentials(w.tb.Context(), d, "lamp-1", true, "uploads")
	ok(w.tb, err)
	return c
}

func (w *world) caller(key, token string) *sts.Identity {
	w.tb.Helper()
	i, err := w.auth.Authenticate(w.tb.Context(), key, token)
	ok(w.tb, err)
	return i
}
