package broker

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// request is a CONNECT on its way to the loop of its client ID.
type request struct {
	c        *conn
	p        mqtt.Connect
	id       string
	assigned bool
	expiry   uint32
	will     *will

	principal  Principal
	generation uint64
	err        error   // why there is no principal
	denied     *denial // what was not allowed
}

// denial is an action that was refused.
type denial struct {
	request Request
	refusal refusal
}

// connect handles the first packet. What it asks for is judged elsewhere, so
// that what has to be read for it holds nobody up.
func (c *conn) connect(frame []byte) {
	r := &request{c: c}
	d := mqtt.Decoder{From: mqtt.Client, Limits: c.loop.b.decoder(mqtt.V311).Limits}
	err := r.p.Decode(&d, bytes.Clone(frame))
	c.version = r.p.Version
	c.maxPacket = r.p.Properties.Number(mqtt.MaximumPacketSize, 0)
	if err == nil {
		err = r.settle(c.loop)
	}
	if err != nil {
		c.refuse(mqtt.CodeOf(err), err.Error())
		return
	}
	c.state = stateJudged
	c.loop.judging = append(c.loop.judging, r)
}

// settle works out what the CONNECT asks for.
func (r *request) settle(l *loop) error {
	b, p := l.b, &r.p
	if _, ok := p.Properties.Find(mqtt.AuthenticationMethod); ok {
		return &mqtt.Error{Code: mqtt.BadAuthenticationMethod, Detail: "extended authentication is not supported"}
	}
	if p.HasWill && p.Will.QoS == 2 && b.cfg.Profile == AWS {
		return &mqtt.Error{Code: mqtt.QoSNotSupported, Detail: "will of QoS 2"}
	}
	r.id = string(p.ClientID)
	switch {
	case r.id == "":
		var id [16]byte
		if _, err := io.ReadFull(b.cfg.Rand, id[:]); err != nil {
			return err
		}
		r.id, r.assigned = hex.EncodeToString(id[:]), true
	case r.id[0] == '$' && b.cfg.Profile == AWS:
		return &mqtt.Error{Code: mqtt.ClientIdentifierNotValid, Detail: "client identifiers that begin with $ are reserved"}
	}
	r.expiry = b.sessionExpiry(p)
	if !p.HasWill {
		return nil
	}
	var err error
	r.will, err = newWill(&p.Will, b)
	return err
}

// sessionExpiry is for how long the session outlives the connection, in seconds.
func (b *Broker) sessionExpiry(p *mqtt.Connect) uint32 {
	if p.Version == mqtt.V5 {
		return b.capExpiry(p.Properties.Number(mqtt.SessionExpiryInterval, 0))
	}
	switch {
	case p.CleanStart:
		return 0
	case b.cfg.Limits.SessionExpiry == 0:
		return neverExpires
	}
	return seconds(b.cfg.Limits.SessionExpiry)
}

func (b *Broker) capExpiry(n uint32) uint32 {
	if limit := b.cfg.Limits.MaxExpiry; limit > 0 {
		n = min(n, seconds(limit))
	}
	return n
}

func seconds(d time.Duration) uint32 { return uint32(min(d/time.Second, neverExpires)) } //nolint:gosec // bounded

// judge finds out whether the client may connect, then hands the request to
// the loop of its client ID.
func (b *Broker) judge(r *request) {
	defer b.judged.Done()
	b.judges <- struct{}{}
	defer func() { <-b.judges }()
	r.generation = b.access.Load()
	ctx, cancel := context.WithTimeout(context.Background(), judgeTimeout)
	defer cancel()
	r.principal, r.err = b.cfg.Access.Principal(ctx, r.c.peer, r.id)
	if r.err == nil {
		r.denied = r.decide(b.cfg.Profile)
	}
	if !r.c.loop.post(r) {
		r.c.abandon()
	}
}

// judgeTimeout bounds how long the judgement of a CONNECT may take.
const judgeTimeout = 10 * time.Second

// decide returns what is not allowed of what the CONNECT asks for.
func (r *request) decide(p Profile) *denial {
	ask := Request{Action: Connect, Name: r.id, Attributes: connectAttributes(r.expiry > 0, r.will != nil)}
	if !r.principal.Decide(&ask).Allowed {
		return &denial{request: ask, refusal: refusal{code: mqtt.NotAuthorized}}
	}
	if r.will == nil {
		return nil
	}
	topic := string(r.will.m.topic)
	thing, _ := r.principal.Thing()
	ask = Request{Action: Publish, Name: topic}
	if no := refusePublish(topic, thing, p); no.code != 0 {
		return &denial{ask, no}
	}
	if !r.principal.Decide(&ask).Allowed {
		return &denial{request: ask, refusal: refusal{code: mqtt.NotAuthorized}}
	}
	ask.Action = RetainPublish
	if r.will.m.retain && !r.principal.Decide(&ask).Allowed {
		return &denial{request: ask, refusal: refusal{code: mqtt.NotAuthorized}}
	}
	return nil
}

// open implements mail: the CONNECT has come to its loop.
func (r *request) open(l *loop) {
	c := r.c
	if !l.adopt(c) {
		return
	}
	switch {
	case r.err != nil && iot.IsKind(r.err, iot.KindDenied):
		l.b.log.Warn("mqtt connection refused",
			slog.String("client_id", clip(r.id)), slog.String("principal", string(c.peer.Certificate)),
			slog.String("source", c.peer.SourceIP), slog.Any("explanation", r.err))
		l.b.observer.Deny(Connect.String())
		c.refuse(mqtt.NotAuthorized, "")
	case r.err != nil:
		l.b.log.Error("mqtt connection could not be judged",
			slog.String("client_id", clip(r.id)), slog.Any("error", r.err))
		c.refuse(mqtt.ServerUnavailable, "")
	case r.denied != nil:
		l.b.observer.Deny(r.denied.request.Action.String())
		r.principal.Deny(&r.denied.request, r.denied.refusal.reason)
		l.connectFailed(r)
		c.refuse(r.denied.refusal.code, "")
	case l.tooSoon(r.id):
		l.b.observer.Limit("connect_rate")
		code := mqtt.QuotaExceeded
		c.refuse(code, fmt.Sprintf("more than %g CONNECT a second by this client identifier", l.b.cfg.Limits.ConnectRate))
	default:
		c.admit(r)
	}
}

// tooSoon reports whether a client connects more often than it may.
func (l *loop) tooSoon(id string) bool {
	rate := l.b.cfg.Limits.ConnectRate
	if rate <= 0 {
		return false
	}
	last := l.lastConnect(id)
	return !last.IsZero() && l.now.Sub(last) < time.Duration(float64(time.Second)/rate)
}

// refuse answers a CONNECT that is refused, and closes.
func (c *conn) refuse(code mqtt.ReasonCode, detail string) {
	b := c.loop.b
	b.observer.Refused(code.Error())
	told := false
	if _, ok := code.ReturnCode(); !ok && c.version == mqtt.V311 && code == mqtt.TopicNameInvalid {
		code = mqtt.NotAuthorized // a will that 3.1.1 cannot complain about
	}
	if c.version != 0 && code.In(mqtt.TypeConnack, mqtt.Server) {
		a := mqtt.Connack{Code: code}
		if c.version == mqtt.V5 {
			a.Properties = reasonString(detail)
		}
		if told = c.say(&a); !told {
			told = c.say(&mqtt.Connack{Code: code})
		}
	}
	if detail != "" {
		b.log.Info("mqtt connection refused",
			slog.String("source", c.peer.SourceIP), slog.String("principal", string(c.peer.Certificate)), slog.String("reason", detail))
	}
	c.finish(told, "")
}

// admit opens the connection and its session.
func (c *conn) admit(r *request) {
	l := c.loop
	p := &r.p
	if old := l.sessions[r.id]; old != nil && old.conn != nil {
		old.conn.endWith(mqtt.SessionTakenOver, "DUPLICATE_CLIENTID", "")
	}
	s := l.sessions[r.id]
	if s != nil && (p.CleanStart || s.version != p.Version && l.b.cfg.Profile == AWS) {
		l.endSession(s)
		s = nil
	}
	present := s != nil
	if s == nil {
		var err error
		if s, err = l.newSession(r.id); err != nil {
			code := mqtt.CodeOf(err)
			if code == mqtt.UnspecifiedError {
				code = mqtt.ServerUnavailable
			}
			c.refuse(code, err.Error())
			return
		}
	}
	c.principal, c.generation, c.judgement = r.principal, r.generation, l.nextJudgement()
	c.will = r.will
	c.negotiate(p)
	s.join(c, r)
	c.state = stateOpen
	c.out = c.connack(r, present)
	if c.state != stateOpen {
		return
	}
	l.b.observer.Connection(+1)
	l.connected(c)
	c.refresh() // something may have changed since it was judged
	if c.state == stateOpen {
		s.pump()
		c.more()
	}
}

// maxOurAliases is how many topic aliases one client is sent at most.
const maxOurAliases = 64

// negotiate takes over what the client asks for.
func (c *conn) negotiate(p *mqtt.Connect) {
	limits := &c.loop.b.cfg.Limits
	c.window = limits.Inflight
	if p.Version == mqtt.V5 {
		c.window = min(c.window, int(p.Properties.Number(mqtt.ReceiveMaximum, 65535)))
		c.maxPacket = p.Properties.Number(mqtt.MaximumPacketSize, 0)
		c.noProblem = p.Properties.Number(mqtt.RequestProblemInformation, 1) == 0
		if c.loop.b.cfg.Profile == Standard {
			c.aliasMax = uint16(min(p.Properties.Number(mqtt.TopicAliasMaximum, 0), maxOurAliases))
		}
	}
	c.keepAlive = int64(p.KeepAlive)
	if limits.KeepAliveMax > 0 && (c.keepAlive == 0 || c.keepAlive > int64(limits.KeepAliveMax.Seconds())) {
		c.keepAlive = int64(limits.KeepAliveMax.Seconds())
	}
	if c.keepAlive > 0 {
		c.keepAlive = max(c.keepAlive, int64(limits.KeepAliveMin.Seconds()))
	}
	if limits.PublishRate > 0 {
		c.rate = newBucket(limits.PublishRate, c.loop.now)
	}
	if limits.Throughput > 0 {
		c.bytes = newBucket(limits.Throughput, c.loop.now)
	}
	c.arm(c.loop.sec + 1) // watch works out the rest
}

// join gives the session its connection.
func (s *session) join(c *conn, r *request) {
	l := s.loop
	s.conn, s.version, s.expiry, s.expires = c, r.p.Version, r.expiry, 0
	s.will = nil // the client is back before its delay ended [MQTT-3.1.3-9]
	c.session = s
	was := s.persistent.Load()
	s.setPersistent(r.expiry > 0)
	s.lastConnect = l.now
	s.online.Store(true)
	if r.expiry > 0 || was {
		l.keepSession(s)
		l.keepWill(s, c.will)
	}
}

// connack returns the output with the CONNACK of an accepted CONNECT.
func (c *conn) connack(r *request, present bool) []byte {
	a := mqtt.Connack{SessionPresent: present}
	if c.version == mqtt.V5 {
		a.Properties = c.connackProperties(r)
	}
	out, err := a.Append(c.output(), c.version)
	if err != nil {
		c.end(err)
	}
	return out
}

func (c *conn) connackProperties(r *request) mqtt.Properties {
	b := c.loop.b
	limits := &b.cfg.Limits
	var list []mqtt.Property
	add := func(id mqtt.PropertyID, n int) { list = append(list, mqtt.Property{ID: id, Number: uint32(n)}) } //nolint:gosec // limits fit
	if asked := r.p.Properties.Number(mqtt.SessionExpiryInterval, 0); asked != r.expiry {
		list = append(list, mqtt.Property{ID: mqtt.SessionExpiryInterval, Number: r.expiry})
	}
	if limits.Inflight < 65535 {
		add(mqtt.ReceiveMaximum, limits.Inflight)
	}
	if b.cfg.Profile == AWS {
		add(mqtt.MaximumQoS, 1)
		add(mqtt.RetainAvailable, 1)
	}
	add(mqtt.MaximumPacketSize, limits.PacketSize)
	if r.assigned {
		list = append(list, mqtt.Property{ID: mqtt.AssignedClientIdentifier, Value: []byte(r.id)})
	}
	if limits.TopicAliases > 0 {
		add(mqtt.TopicAliasMaximum, limits.TopicAliases)
	}
	if b.cfg.Profile == AWS {
		add(mqtt.WildcardSubscriptionAvailable, 1)
		add(mqtt.SubscriptionIdentifierAvailable, 0)
		add(mqtt.SharedSubscriptionAvailable, 1)
	}
	if c.keepAlive != int64(r.p.KeepAlive) {
		add(mqtt.ServerKeepAlive, int(c.keepAlive))
	}
	props, err := mqtt.Properties(nil).Add(list...)
	if err != nil {
		b.log.Error("connack properties", slog.Any("error", err))
	}
	return props
}

// disconnect handles a DISCONNECT.
func (c *conn) disconnect(frame []byte) error {
	var p mqtt.Disconnect
	if err := p.Decode(c.decoder(), frame); err != nil {
		return err
	}
	s := c.session
	if x, ok := p.Properties.Find(mqtt.SessionExpiryInterval); ok {
		if s.expiry == 0 && x.Number != 0 {
			return &mqtt.Error{Code: mqtt.ProtocolError, Detail: "a session that was to end with its connection cannot be kept"}
		}
		s.expiry = c.loop.b.capExpiry(x.Number)
	}
	reason := "CLIENT_INITIATED_DISCONNECT"
	if p.Code == mqtt.Success {
		c.will = nil
	} else {
		reason = "CLIENT_ERROR"
	}
	if p.Code == mqtt.DisconnectWithWill {
		reason = "CLIENT_INITIATED_DISCONNECT"
	}
	c.finish(false, reason)
	return nil
}

// depart takes the connection away from its session.
func (c *conn) depart(reason string) {
	s, l := c.session, c.loop
	if s == nil || s.conn != c {
		return
	}
	l.b.observer.Connection(-1)
	l.b.observer.Disconnected(reason)
	l.disconnected(c, reason)
	w := c.will
	c.will, c.acks, c.aliases = nil, nil, nil
	s.leave()
	s.setPersistent(s.expiry > 0)
	if w != nil {
		l.willOf(s, w)
	}
	if !s.persistent.Load() {
		l.endSession(s)
		return
	}
	if s.expiry != neverExpires {
		s.expires = l.up + int64(s.expiry)
	}
	l.keepSession(s)
	l.keepWill(s, s.will)
	s.arm()
}
