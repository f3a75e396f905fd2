package server

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/sekisho-iot/sekisho/internal/broker"
	"github.com/sekisho-iot/sekisho/internal/bus"
	"github.com/sekisho-iot/sekisho/internal/iam"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/pki"
	"github.com/sekisho-iot/sekisho/internal/registry"
	"github.com/sekisho-iot/sekisho/internal/sts"
)

// world is all services over an own data folder, on a clock that is moved.
type world struct {
	*rooms
	access *mqttAccess
	server *Server
	t      *testing.T

	mu     sync.Mutex // guards the fields below
	at     time.Time
	log    bytes.Buffer
	counts map[string]int
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = w.at.Add(d)
}

func (w *world) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(b)
}

func (w *world) said() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

func (w *world) count(reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[reason]++
}

func (w *world) counted(reason string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.counts[reason]
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, at: time.Now(), counts: map[string]int{}}
	o := DefaultOptions()
	o.Data, o.Region, o.AccountID = t.TempDir(), "eu-west-1", "123456789012"
	o.Now, o.Rand, o.Logger = w.now, rand.Reader, slog.New(slog.NewJSONHandler(w, nil))
	w.server = &Server{opts: o, log: o.Logger}
	t.Cleanup(func() { w.ok(w.server.Close()) })
	r, err := w.server.openState(t.Context(), &bus.Bus{})
	w.ok(err)
	w.rooms = r
	w.access = newMQTTAccess(r, w.server.account, &w.server.opts, func(service, action string) { w.count(service + " " + action) })
	return w
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// device is a certificate that is active, with the key of it.
type device struct {
	id  iot.CertificateID
	arn string
	tls tls.Certificate
}

// enrol makes a certificate for a subject, with a policy of these statements.
func (w *world) enrol(name, statements string) *device {
	w.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.ok(err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	w.ok(err)
	issued, err := w.certificates.CreateCertificateFromCSR(w.t.Context(), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), true)
	w.ok(err)
	block, _ := pem.Decode([]byte(issued.PEM))
	d := &device{id: issued.ID, arn: string(w.certificates.ARN(issued.ID)), tls: tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}}
	_, _, err = w.things.CreatePolicy(w.t.Context(), name, document(statements), nil)
	w.ok(err)
	w.ok(w.things.AttachPolicy(w.t.Context(), name, d.arn))
	return d
}

func document(statements string) string {
	return `{"Version":"2012-10-17","Statement":[` + statements + `]}`
}

// attach makes a thing and attaches it to the device.
func (w *world) attach(d *device, thing string, attributes map[string]string) {
	w.t.Helper()
	_, err := w.things.CreateThing(w.t.Context(), registry.NewThing{Name: thing, Attributes: attributes})
	w.ok(err)
	w.ok(w.things.AttachThingPrincipal(w.t.Context(), thing, d.arn, registry.NonExclusiveThing))
}

func (w *world) principal(p *broker.Peer, clientID string) broker.Principal {
	w.t.Helper()
	principal, err := w.access.Principal(w.t.Context(), p, clientID)
	w.ok(err)
	return principal
}

// refused expects that a peer is nobody, for a reason.
func (w *world) refused(p *broker.Peer, why string) {
	w.t.Helper()
	_, err := w.access.Principal(w.t.Context(), p, "c")
	if !iot.IsKind(err, iot.KindDenied) || !strings.Contains(err.Error(), why) {
		w.t.Errorf("error %v, want one of KindDenied that says %q", err, why)
	}
}

type decision struct {
	client     string
	action     broker.Action
	name       string
	attributes []string
	want       string
}

func (w *world) decides(p *broker.Peer, list []decision) {
	w.t.Helper()
	for _, d := range list {
		r := &broker.Request{Action: d.action, Name: d.name, Attributes: d.attributes}
		if got := said(w.principal(p, d.client).Decide(r)); got != d.want {
			w.t.Errorf("%s on %q %v as client %q: %s, want %s", d.action, d.name, d.attributes, d.client, got, d.want)
		}
	}
}

// What verdicts say: those that do not last depend on the time.
const (
	yes       = "allowed"
	yesForNow = "allowed for now"
	no        = "denied"
	noForNow  = "denied for now"
)

func said(v broker.Verdict) string {
	switch {
	case v.Allowed && v.Lasting:
		return yes
	case v.Allowed:
		return yesForNow
	case v.Lasting:
		return no
	}
	return noForNow
}

func TestAccessByIoTPolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const arn = `arn:aws:iot:eu-west-1:123456789012:`
	d := w.enrol("pump", `
		{"Effect":"Allow","Action":"iot:Connect","Resource":"`+arn+`client/${iot:Connection.Thing.ThingName}"},
		{"Effect":"Allow","Action":"iot:Connect","Resource":"`+arn+`client/free-*","Condition":{"Bool":{"iot:Connection.Thing.IsAttached":"false"}}},
		{"Effect":"Deny","Action":"iot:Connect","Resource":"*","Condition":{"ForAnyValue:StringEquals":{"iot:ConnectAttributes":"PersistentConnect"}}},
		{"Effect":"Allow","Action":["iot:Publish","iot:RetainPublish"],"Resource":"`+arn+`topic/site/${iot:Connection.Thing.Attributes[Site]}/up"},
		{"Effect":"Allow","Action":"iot:Publish","Resource":"`+arn+`topic/cert/${iot:CertificateId}/${iot:Certificate.Subject.CommonName}"},
		{"Effect":"Allow","Action":"iot:Publish","Resource":"`+arn+`topic/client/${iot:ClientId}"},
		{"Effect":"Allow","Action":"iot:Receive","Resource":"`+arn+`topic/down/*"},
		{"Effect":"Allow","Action":"iot:Subscribe","Resource":["`+arn+`topicfilter/down/+","`+arn+`topicfilter/$share/g/down/#"]},
		{"Effect":"Allow","Action":"iot:Subscribe","Resource":"`+arn+`topicfilter/near","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"},"StringEquals":{"iot:DomainName":"a.example"}}}`)
	w.attach(d, "pump-1", map[string]string{"Site": "tokyo"})
	peer := &broker.Peer{Certificate: d.id, SourceIP: "10.1.2.3", DomainName: "a.example"}
	w.decides(peer, []decision{
		{"pump-1", broker.Connect, "pump-1", nil, yes},
		{"pump-1", broker.Connect, "pump-1", []string{"LastWill"}, yes},
		{"pump-1", broker.Connect, "pump-1", []string{"PersistentConnect"}, no},
		{"other", broker.Connect, "other", nil, no},
		{"free-1", broker.Connect, "free-1", nil, yes},
		{"pump-1", broker.Connect, "free-1", nil, no}, // IsAttached
		{"pump-1", broker.Publish, "site/tokyo/up", nil, yes},
		{"pump-1", broker.RetainPublish, "site/tokyo/up", nil, yes},
		{"pump-1", broker.Receive, "site/tokyo/up", nil, no},
		{"other", broker.Publish, "site/tokyo/up", nil, no},
		{"pump-1", broker.Publish, "site/osaka/up", nil, no},
		{"other", broker.Publish, "cert/" + string(d.id) + "/pump", nil, yes},
		{"", broker.Publish, "cert/" + string(d.id) + "/pump", nil, yes},
		{"", broker.Publish, "client/", nil, no},
		{"", broker.Publish, "site/tokyo/up", nil, no},
		{"x", broker.Publish, "client/x", nil, yes},
		{"x", broker.RetainPublish, "client/x", nil, no},
		{"x", broker.Publish, "down/1", nil, no},
		{"x", broker.Receive, "down/1", nil, yes},
		{"x", broker.Subscribe, "down/+", nil, yes},
		{"x", broker.Subscribe, "down/1", nil, no},
		{"x", broker.Subscribe, "$share/g/down/#", nil, yes},
		{"x", broker.Subscribe, "near", nil, yes},
	})
	w.decides(&broker.Peer{Certificate: d.id, SourceIP: "192.0.2.1", DomainName: "a.example"}, []decision{{"x", broker.Subscribe, "near", nil, no}})
	w.decides(&broker.Peer{Certificate: d.id, SourceVPCE: "vpce-1", DomainName: "a.example"}, []decision{{"x", broker.Subscribe, "near", nil, no}})
	p := w.principal(peer, "pump-1")
	if name, exclusive := p.Thing(); name != "pump-1" || exclusive || p.ID() != string(d.id) {
		t.Errorf("thing %q %t of %q", name, exclusive, p.ID())
	}
	if name, _ := w.principal(peer, "x").Thing(); name != "" {
		t.Errorf("thing %q of a client that is none", name)
	}
}

func TestVerdictsByTheTimeDoNotLast(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	until := w.now().Add(time.Hour).UTC().Format(time.RFC3339)
	d := w.enrol("pump", `
		{"Effect":"Allow","Action":"iot:Publish","Resource":"*"},
		{"Effect":"Allow","Action":"iot:Receive","Resource":"*","Condition":{"NumericGreaterThan":{"aws:EpochTime":"1"}}},
		{"Effect":"Allow","Action":"iot:Subscribe","Resource":"*","Condition":{"DateLessThan":{"aws:CurrentTime":"`+until+`"}}}`)
	p := w.principal(&broker.Peer{Certificate: d.id}, "c")
	subscribe := &broker.Request{Action: broker.Subscribe, Name: "t"}
	if v := said(p.Decide(subscribe)); v != yesForNow {
		t.Errorf("in time: %s", v)
	}
	if v := said(p.Decide(&broker.Request{Action: broker.Receive, Name: "t"})); v != yesForNow {
		t.Errorf("by the epoch: %s", v)
	}
	if v := said(p.Decide(&broker.Request{Action: broker.Publish, Name: "t"})); v != yes {
		t.Errorf("without a time: %s", v)
	}
	w.pass(2 * time.Hour)
	if v := said(p.Decide(subscribe)); v != noForNow {
		t.Errorf("too late: %s", v)
	}
}

func TestCertificatesThatAreNoGood(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.enrol("pump", `{"Effect":"Allow","Action":"iot:*","Resource":"*"}`)
	peer := &broker.Peer{Certificate: d.id}
	p := w.principal(peer, "c")
	w.ok(w.certificates.SetStatus(t.Context(), string(d.id), pki.Inactive))
	w.refused(peer, "INACTIVE")
	w.ok(w.certificates.SetStatus(t.Context(), string(d.id), pki.Active))
	w.principal(peer, "c")

	// Ours end with the year 2049: one that is used until then stops there.
	w.pass(time.Date(2049, 12, 31, 23, 59, 30, 0, time.UTC).Sub(w.now()))
	publish := &broker.Request{Action: broker.Publish, Name: "t"}
	if v := said(p.Decide(publish)); v != yesForNow {
		t.Errorf("just before its end: %s", v)
	}
	w.pass(time.Minute)
	if v := said(p.Decide(publish)); v != noForNow {
		t.Errorf("after its end: %s", v)
	}
	w.refused(peer, "expired")
	p.Deny(publish, "")
	if s := w.said(); !strings.Contains(s, "the certificate has expired") {
		t.Error(s)
	}
	w.pass(-100 * 365 * 24 * time.Hour)
	w.refused(peer, "not valid yet")
	w.refused(&broker.Peer{Certificate: iot.CertificateID(strings.Repeat("a", 64))}, "not registered")
	w.refused(&broker.Peer{}, "neither a certificate nor an identity")
}

func TestChangesAreSeenByTheNextPrincipal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.enrol("pump", `{"Effect":"Allow","Action":"iot:Publish","Resource":"*"}`)
	peer := &broker.Peer{Certificate: d.id}
	w.decides(peer, []decision{{"c", broker.Publish, "t", nil, yes}})
	_, err := w.things.CreatePolicyVersion(t.Context(), "pump", document(`{"Effect":"Allow","Action":"iot:Publish","Resource":"*"},{"Effect":"Deny","Action":"iot:Publish","Resource":"*"}`), true)
	w.ok(err)
	w.decides(peer, []decision{{"c", broker.Publish, "t", nil, no}})
}

// TestTypesInPolicies: the type of a thing is a variable, and a change of it is
// in force when its call has returned.
func TestTypesInPolicies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.enrol("pump", `
		{"Effect":"Allow","Action":"iot:Publish","Resource":"arn:aws:iot:eu-west-1:123456789012:topic/${iot:Connection.Thing.ThingTypeName}"},
		{"Effect":"Allow","Action":"iot:Receive","Resource":"*","Condition":{"StringEquals":{"iot:Connection.Thing.ThingTypeName":"valve"}}}`)
	for _, n := range []string{"pump", "valve"} {
		_, err := w.things.CreateThingType(t.Context(), n, registry.ThingTypeProperties{}, nil)
		w.ok(err)
	}
	w.attach(d, "a", nil)
	peer := &broker.Peer{Certificate: d.id}
	w.decides(peer, []decision{{"a", broker.Publish, "pump", nil, no}, {"a", broker.Receive, "x", nil, no}})
	w.ok(w.things.UpdateThing(t.Context(), "a", registry.ThingUpdate{TypeName: "pump"}))
	w.decides(peer, []decision{{"a", broker.Publish, "pump", nil, yes}, {"a", broker.Publish, "valve", nil, no}, {"b", broker.Publish, "pump", nil, no}, {"a", broker.Receive, "x", nil, no}})
	w.ok(w.things.UpdateThing(t.Context(), "a", registry.ThingUpdate{TypeName: "valve"}))
	w.decides(peer, []decision{{"a", broker.Publish, "pump", nil, no}, {"a", broker.Publish, "valve", nil, yes}, {"a", broker.Receive, "x", nil, yes}})
	w.ok(w.things.UpdateThing(t.Context(), "a", registry.ThingUpdate{RemoveType: true}))
	w.decides(peer, []decision{{"a", broker.Publish, "valve", nil, no}})
}

func TestDenialsAreExplained(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.enrol("pump", `{"Effect":"Allow","Action":"iot:Publish","Resource":"arn:aws:iot:eu-west-1:123456789012:topic/mine"}`)
	w.attach(d, "pump-1", nil)
	p := w.principal(&broker.Peer{Certificate: d.id, SourceIP: "192.0.2.7"}, "pump-1")
	p.Deny(&broker.Request{Action: broker.Publish, Name: "yours"}, "")
	for _, want := range []string{
		`"msg":"mqtt denied"`, `"principal":"` + string(d.id) + `"`, `"client_id":"pump-1"`, `"thing":"pump-1"`, `"action":"iot:Publish"`,
		`"resource":"arn:aws:iot:eu-west-1:123456789012:topic/yours"`, `"source":"192.0.2.7"`, "near miss", "topic/mine",
	} {
		if s := w.said(); !strings.Contains(s, want) {
			t.Errorf("%s is not in %s", want, s)
		}
	}
	p.Deny(&broker.Request{Action: broker.Receive, Name: "$sekisho/things/x"}, "topics of another thing")
	if s := w.said(); !strings.Contains(s, `"explanation":"topics of another thing"`) {
		t.Error(s)
	}
	if w.counted("iot iot:Publish") != 1 || w.counted("iot iot:Receive") != 1 {
		t.Errorf("counted %v", w.counts)
	}
}

// user makes an IAM user and returns who signs with its key.
func (w *world) user(statements string) *sts.Identity {
	w.t.Helper()
	ctx := w.t.Context()
	_, err := w.identities.CreateUser(ctx, iam.CreateUserInput{Name: "bob"})
	w.ok(err)
	w.ok(w.identities.PutInlinePolicy(ctx, iam.Holder{Kind: iam.UserHolder, Name: "bob"}, "main", document(statements)))
	key, _, err := w.identities.CreateAccessKey(ctx, "bob")
	w.ok(err)
	id, err := w.sessions.Authenticate(ctx, key.ID, "")
	w.ok(err)
	return id
}

func TestAccessOfIAMPrincipals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const arn = `arn:aws:iot:eu-west-1:123456789012:`
	id := w.user(`
		{"Effect":"Allow","Action":"iot:Connect","Resource":"` + arn + `client/${aws:username}-*"},
		{"Effect":"Allow","Action":"iot:Publish","Resource":"` + arn + `topic/${iot:ClientId}/up","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}},
		{"Effect":"Allow","Action":"iot:Subscribe","Resource":"` + arn + `topicfilter/all/#"},
		{"Effect":"Allow","Action":"iot:Receive","Resource":"` + arn + `topic/all/*","Condition":{"DateGreaterThan":{"aws:CurrentTime":"2020-01-01T00:00:00Z"},"StringEquals":{"aws:RequestedRegion":"eu-west-1"}}}`)
	peer := &broker.Peer{Identity: id, SourceIP: "10.1.1.1"}
	w.decides(peer, []decision{
		{"bob-1", broker.Connect, "bob-1", nil, yes},
		{"eve-1", broker.Connect, "eve-1", nil, no},
		{"bob-1", broker.Publish, "bob-1/up", nil, yes},
		{"bob-1", broker.Publish, "eve/up", nil, no},
		{"bob-1", broker.RetainPublish, "bob-1/up", nil, no},
		{"bob-1", broker.Subscribe, "all/#", nil, yes},
		{"bob-1", broker.Receive, "all/1", nil, yesForNow},
	})
	w.decides(&broker.Peer{Identity: id, SourceIP: "192.0.2.1"}, []decision{{"bob-1", broker.Publish, "bob-1/up", nil, no}})
	p := w.principal(peer, "bob-1")
	if name, _ := p.Thing(); name != "" || !strings.HasPrefix(p.ID(), "AIDA") {
		t.Errorf("thing %q, id %q", name, p.ID())
	}
	p.Deny(&broker.Request{Action: broker.Publish, Name: "eve/up"}, "")
	if s := w.said(); !strings.Contains(s, `"principal":"arn:aws:iam::123456789012:user/bob"`) || !strings.Contains(s, "near miss") {
		t.Error(s)
	}
	w.ok(w.identities.UpdateAccessKey(t.Context(), "bob", id.AccessKeyID, "Inactive"))
	w.refused(peer, "deactivated")
}

func TestAccessOfSessionsEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	bob := w.user(`{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}`)
	role, err := w.identities.CreateRole(ctx, iam.CreateRoleInput{
		Name: "r", Trust: document(`{"Effect":"Allow","Principal":{"AWS":"123456789012"},"Action":"sts:AssumeRole"}`),
	})
	w.ok(err)
	w.ok(w.identities.PutInlinePolicy(ctx, iam.Holder{Kind: iam.RoleHolder, Name: "r"}, "main", document(`{"Effect":"Allow","Action":"iot:*","Resource":"*"}`)))
	out, err := sts.NewAssumer(w.tokens, w.server.log).AssumeRole(ctx, bob, bob, sts.AssumeRoleInput{RoleARN: role.ARN, SessionName: "session"})
	w.ok(err)
	id, err := w.sessions.Authenticate(ctx, out.AccessKeyID, out.SessionToken)
	w.ok(err)
	peer := &broker.Peer{Identity: id}
	p := w.principal(peer, "c")
	publish := &broker.Request{Action: broker.Publish, Name: "t"}
	if v := said(p.Decide(publish)); v != yes {
		t.Errorf("at first: %s", v)
	}
	w.pass(time.Hour - 10*time.Second)
	if v := said(p.Decide(publish)); v != yesForNow {
		t.Errorf("near its end: %s", v)
	}
	w.pass(10 * time.Second)
	if v := said(p.Decide(publish)); v != noForNow {
		t.Errorf("after its end: %s", v)
	}
	p.Deny(publish, "")
	if s := w.said(); !strings.Contains(s, "the session has expired") {
		t.Error(s)
	}
	w.refused(peer, "expired")
}

// What hangs on an idle connection, and what a decision costs.
func TestDecisionsAreCheap(t *testing.T) { //nolint:paralleltest // AllocsPerRun
	if n := max(unsafe.Sizeof(certPrincipal{}), unsafe.Sizeof(iamPrincipal{})); n > 100 {
		t.Errorf("a principal takes %d bytes", n)
	}
	w := newWorld(t)
	d := w.enrol("pump", `{"Effect":"Allow","Action":"iot:Publish","Resource":"arn:aws:iot:*:*:topic/${iot:ClientId}/*"}`)
	for name, p := range map[string]broker.Principal{
		"certificate": w.principal(&broker.Peer{Certificate: d.id}, "c"),
		"user":        w.principal(&broker.Peer{Identity: w.user(`{"Effect":"Allow","Action":"iot:Publish","Resource":"*"}`)}, "c"),
	} {
		r := &broker.Request{Action: broker.Publish, Name: "c/t"}
		allocations := testing.AllocsPerRun(200, func() {
			if !p.Decide(r).Allowed {
				t.Error("denied")
			}
		})
		if allocations > 1 { // the ARN
			t.Errorf("%s: %v allocations", name, allocations)
		}
	}
}
