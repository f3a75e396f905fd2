package server

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/sekisho-iot/sekisho/internal/broker"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/pki"
	"github.com/sekisho-iot/sekisho/internal/policy"
	"github.com/sekisho-iot/sekisho/internal/registry"
	"github.com/sekisho-iot/sekisho/internal/sts"
)

// nearExpiry is how long before credentials end their verdicts stop lasting.
// The broker ends the connection itself then, within a tick of its clock.
const nearExpiry = time.Minute

// mqttAccess is what MQTT connections, and HTTPS requests that publish, may do:
// certificates by their AWS IoT policies, everybody else by IAM's.
type mqttAccess struct {
	certificates *pki.Certificates
	things       *registry.Registry
	auth         *sts.Authenticator
	region       string
	denied       func(service, action string) // counts
	log          *slog.Logger
	now          func() time.Time

	client, topic, topicFilter string // what ARNs begin with
	questions                  sync.Pool
}

// newMQTTAccess fills in what is derived.
func newMQTTAccess(r *rooms, account iot.AccountID, o *Options, denied func(service, action string)) *mqttAccess {
	arn := func(kind string) string { return string(iot.NewARN("iot", o.Region, account, kind+"/")) }
	return &mqttAccess{
		certificates: r.certificates, things: r.things, auth: r.sessions, region: o.Region,
		denied: denied, log: o.Logger, now: o.Now,
		client: arn("client"), topic: arn("topic"), topicFilter: arn("topicfilter"),
		questions: sync.Pool{New: func() any { return &question{} }},
	}
}

// Principal implements broker.Access. A clientID of "" is a request's that has
// none, which no thing's variables resolve for.
func (a *mqttAccess) Principal(ctx context.Context, peer *broker.Peer, clientID string) (broker.Principal, error) {
	if peer.Certificate == "" {
		return a.iamPrincipal(ctx, peer, clientID)
	}
	cert, err := a.certificates.Lookup(ctx, peer.Certificate)
	if iot.IsKind(err, iot.KindNotFound) {
		return nil, nobody("the certificate is not registered")
	}
	if err != nil {
		return nil, err
	}
	if ok, why := cert.Usable(a.now()); !ok {
		return nil, nobody(why)
	}
	p, err := a.things.Principal(ctx, cert.ARN)
	if err != nil {
		return nil, err
	}
	c := &certPrincipal{access: a, peer: peer, clientID: clientID, cert: cert, noThing: "the request has no MQTT client ID"}
	if clientID != "" {
		c.thing, c.noThing = p.ForClient(clientID)
	}
	c.policies = p.PoliciesFor(c.thing)
	return c, nil
}

func nobody(why string) error {
	return &iot.Error{Kind: iot.KindDenied, Resource: "connection", Message: why}
}

func (a *mqttAccess) iamPrincipal(ctx context.Context, peer *broker.Peer, clientID string) (broker.Principal, error) {
	before, ok := peer.Identity.(*sts.Identity)
	if !ok {
		return nil, nobody("the connection has neither a certificate nor an identity")
	}
	if !before.ExpiresAt.IsZero() && !a.now().Before(before.ExpiresAt) {
		return nil, nobody("the session has expired")
	}
	id, err := a.auth.Recheck(ctx, before)
	if e, ok := errors.AsType[*iot.Error](err); ok && e.Kind != iot.KindInternal {
		why := e.Message
		if e.Err != nil {
			why = e.Err.Error()
		}
		return nil, nobody(why)
	}
	if err != nil {
		return nil, err
	}
	return &iamPrincipal{access: a, peer: peer, clientID: clientID, identity: id}, nil
}

// resource is the ARN that an action is judged on.
func (a *mqttAccess) resource(r *broker.Request) string {
	switch r.Action {
	case broker.Connect:
		return a.client + r.Name
	case broker.Subscribe:
		return a.topicFilter + r.Name
	case broker.Publish, broker.RetainPublish, broker.Receive:
	}
	return a.topic + r.Name
}

// question is one decision: it is used again for the next, since what a policy
// asks it is asked through an interface.
type question struct {
	keys    registry.Keys
	request policy.Request

	// Of IAM principals alone.
	identity *sts.Identity
	region   string

	plain bool // the connection is not encrypted
	timed bool // the answer depends on the time
}

// Lookup implements policy.Keys.
func (q *question) Lookup(key string) policy.Values {
	if key == "aws:currenttime" || key == "aws:epochtime" {
		q.timed = true
	}
	if q.identity == nil {
		return q.keys.Lookup(key)
	}
	if key == "aws:securetransport" && q.plain {
		return policy.One("false")
	}
	switch key {
	case "aws:requestedregion":
		return policy.One(q.region)
	case "aws:viaawsservice":
		return policy.One("false")
	}
	none := q.keys.Lookup(key)
	if none.Set {
		return none
	}
	if v := q.identity.Lookup(key); v.Set || none.Why == "" {
		return v
	}
	return none
}

// ask begins a decision, which answered ends.
func (a *mqttAccess) ask(r *broker.Request, peer *broker.Peer, clientID string, now time.Time) *question {
	q := a.questions.Get().(*question) //nolint:forcetypeassert // what New puts there
	q.request = policy.Request{Action: r.Action.String(), Resource: a.resource(r), Keys: q}
	q.keys = registry.Keys{
		ClientID: clientID, DomainName: peer.DomainName, SourceIP: peer.SourceIP, SourceVPCE: peer.SourceVPCE, Now: now,
	}
	if r.Action == broker.Connect {
		q.keys.ConnectAttributes = r.Attributes
	}
	return q
}

func (a *mqttAccess) answered(q *question) {
	*q = question{}
	a.questions.Put(q)
}

// lasting reports whether credentials that end then (never, for zero) are still
// far from it.
func lasting(until, now time.Time) bool { return until.IsZero() || now.Add(nearExpiry).Before(until) }

// deny logs and counts a denial.
func (a *mqttAccess) deny(peer *broker.Peer, principal, clientID, thing string, r *broker.Request, explanation string) {
	action := r.Action.String()
	a.denied("iot", action)
	a.log.LogAttrs(context.Background(), slog.LevelWarn, "mqtt denied",
		slog.String("principal", principal), slog.String("client_id", clipped(clientID)), slog.String("thing", thing),
		slog.String("action", action), slog.String("resource", clipped(a.resource(r))),
		slog.String("source", source(peer)), slog.String("explanation", explanation))
}

// source is where a connection came from, for the log.
func source(p *broker.Peer) string {
	if p.SourceVPCE != "" {
		return p.SourceVPCE
	}
	return p.SourceIP
}

// certPrincipal is a device. One hangs on every connection: it is small, and
// what it points to is shared.
type certPrincipal struct {
	access   *mqttAccess
	peer     *broker.Peer
	cert     *pki.Certificate
	policies policy.Set
	thing    *registry.AttachedThing // nil for none
	noThing  string                  // why
	clientID string
}

// ID implements broker.Principal.
func (c *certPrincipal) ID() string { return string(c.cert.ID) }

// Thing implements broker.Principal.
func (c *certPrincipal) Thing() (name string, exclusive bool) {
	if c.thing == nil {
		return "", false
	}
	return string(c.thing.Name), c.thing.Type == registry.ExclusiveThing
}

func (c *certPrincipal) ask(r *broker.Request, now time.Time) *question {
	q := c.access.ask(r, c.peer, c.clientID, now)
	q.request.Principal.ARN = string(c.cert.ARN)
	q.keys.Thing, q.keys.NoThing, q.keys.Certificate = c.thing, c.noThing, c.cert.Facts
	return q
}

// Decide implements broker.Principal.
func (c *certPrincipal) Decide(r *broker.Request) broker.Verdict {
	now := c.access.now()
	if now.After(c.cert.NotAfter) {
		return broker.Verdict{}
	}
	q := c.ask(r, now)
	defer c.access.answered(q)
	allowed := c.policies.Evaluate(&q.request).Allowed()
	return broker.Verdict{Allowed: allowed, Lasting: !q.timed && lasting(c.cert.NotAfter, now)}
}

// Deny implements broker.Principal.
func (c *certPrincipal) Deny(r *broker.Request, reason string) {
	now := c.access.now()
	if ok, why := c.cert.Usable(now); reason == "" && !ok {
		reason = why
	}
	if reason == "" {
		q := c.ask(r, now)
		reason = c.policies.Explain(&q.request).String()
		c.access.answered(q)
	}
	thing, _ := c.Thing()
	c.access.deny(c.peer, c.ID(), c.clientID, thing, r, reason)
}

// iamPrincipal is who signed the request that became a WebSocket.
type iamPrincipal struct {
	access   *mqttAccess
	peer     *broker.Peer
	identity *sts.Identity
	clientID string
}

// ID implements broker.Principal.
func (i *iamPrincipal) ID() string { return i.identity.Principal.UserID }

// Thing implements broker.Principal.
func (i *iamPrincipal) Thing() (name string, exclusive bool) { return "", false }

func (i *iamPrincipal) ask(r *broker.Request, now time.Time) *question {
	q := i.access.ask(r, i.peer, i.clientID, now)
	q.plain = i.peer.Plain
	q.identity, q.region, q.request.Principal = i.identity, i.access.region, i.identity.Principal
	q.keys.NoThing = "the principal is not a certificate"
	return q
}

func (i *iamPrincipal) expired(now time.Time) bool {
	return !i.identity.ExpiresAt.IsZero() && !now.Before(i.identity.ExpiresAt)
}

// Decide implements broker.Principal.
func (i *iamPrincipal) Decide(r *broker.Request) broker.Verdict {
	now := i.access.now()
	if i.expired(now) {
		return broker.Verdict{}
	}
	q := i.ask(r, now)
	defer i.access.answered(q)
	allowed := i.identity.Grants.Authorize(&q.request).Allowed()
	return broker.Verdict{Allowed: allowed, Lasting: !q.timed && lasting(i.identity.ExpiresAt, now)}
}

// Deny implements broker.Principal.
func (i *iamPrincipal) Deny(r *broker.Request, reason string) {
	now := i.access.now()
	if reason == "" && i.expired(now) {
		reason = "the session has expired"
	}
	if reason == "" {
		q := i.ask(r, now)
		reason = i.identity.Grants.Explain(&q.request).String()
		i.access.answered(q)
	}
	i.access.deny(i.peer, i.identity.Principal.String(), i.clientID, "", r, reason)
}
