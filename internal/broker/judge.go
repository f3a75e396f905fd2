package broker

import (
	"context"
	"log/slog"
	"strings"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// verdicts are what is known of one topic: a bit for what was decided, and one
// for what is allowed.
type verdicts struct {
	known, allowed uint8
}

func (v verdicts) of(a Action) (allowed, known bool) {
	return v.allowed&(1<<a) != 0, v.known&(1<<a) != 0
}

func (v verdicts) with(a Action, allowed bool) verdicts {
	v.known |= 1 << a
	if allowed {
		v.allowed |= 1 << a
	}
	return v
}

// thing returns the thing that the connection is associated with, "" for none.
func (c *conn) thing() string {
	name, _ := c.principal.Thing()
	return name
}

// judge decides an action on a topic that the connection has done before or
// not, and logs and counts a denial. What lasts is remembered.
func (c *conn) judge(a Action, topic string) Verdict {
	if allowed, known := c.verdicts[topic].of(a); known {
		return Verdict{Allowed: allowed, Lasting: true}
	}
	r := Request{Action: a, Name: topic}
	v := c.principal.Decide(&r)
	reason := ""
	if a == Receive {
		if no := refuseReceive(topic, c.thing()); no.code != 0 {
			v.Allowed, reason = false, no.reason
		}
	}
	switch {
	case v.Allowed:
	case v.Lasting || c.denied != c.loop.sec: // others come with every message
		c.denied = c.loop.sec
		c.deny(&r, reason)
	default:
		c.loop.b.observer.Deny(a.String())
	}
	if v.Lasting {
		if c.verdicts == nil || len(c.verdicts) >= verdictsMax {
			c.verdicts = make(map[string]verdicts, 1)
		}
		c.verdicts[topic] = c.verdicts[topic].with(a, v.Allowed)
	}
	return v
}

// denialsMax is how many denials of one connection are logged in a second: a
// client that is denied all it asks for must not fill the disk. All are counted.
const denialsMax = 100

func (c *conn) deny(r *Request, reason string) {
	c.loop.b.observer.Deny(r.Action.String())
	if c.deniedAt != c.loop.sec {
		c.deniedAt, c.denials = c.loop.sec, 0
	}
	switch c.denials++; {
	case c.denials <= denialsMax:
		c.principal.Deny(r, reason)
	case c.denials == denialsMax+1:
		c.loop.b.log.Warn("mqtt denials of this second are no longer logged", slog.String("client_id", clip(c.session.id)))
	}
}

// mayPublish decides about a PUBLISH, after topic aliases are resolved. code
// says how to refuse.
func (c *conn) mayPublish(p *mqtt.Publish) (ok bool, code mqtt.ReasonCode) {
	if c.generation != c.loop.b.access.Load() {
		if c.refresh(); c.state != stateOpen {
			return false, mqtt.NotAuthorized
		}
	}
	m := &c.memo
	if m.judgement == c.judgement && m.topic == string(p.Topic) {
		if allowed, known := m.allowed.of(Publish); known && allowed && !p.Retain {
			return true, 0
		}
	}
	topic := string(p.Topic)
	if no := refusePublish(topic, c.thing(), c.loop.b.cfg.Profile); no.code != 0 {
		c.deny(&Request{Action: Publish, Name: topic}, no.reason)
		return false, no.code
	}
	v := c.judge(Publish, topic)
	if !v.Allowed {
		return false, mqtt.NotAuthorized
	}
	if v.Lasting && m.topic != topic || m.judgement != c.judgement {
		*m = memo{topic: topic, judgement: c.judgement}
		if v.Lasting {
			m.allowed = m.allowed.with(Publish, true)
		}
	}
	if p.Retain && !c.judge(RetainPublish, topic).Allowed {
		return false, mqtt.NotAuthorized
	}
	return true, 0
}

// mayReceive decides whether the client may get messages of a topic.
func (c *conn) mayReceive(topic []byte) bool {
	if c.generation != c.loop.b.access.Load() {
		if c.refresh(); c.state != stateOpen {
			return false
		}
	}
	return c.judge(Receive, string(topic)).Allowed
}

// refresh judges the connection anew if something changed that concerns it.
// One that may not go on is ended.
func (c *conn) refresh() {
	b := c.loop.b
	now := b.access.Load()
	if c.generation == now || c.state != stateOpen {
		return
	}
	if !b.concerns(c, now) {
		c.generation = now
		return
	}
	p, err := b.cfg.Access.Principal(context.Background(), c.peer, c.session.id)
	if err != nil {
		c.cutOff(err)
		return
	}
	c.generation = now
	c.principal = p
	c.judgement = c.loop.nextJudgement()
	c.verdicts = nil
	c.memo = memo{}
	r := Request{Action: Connect, Name: c.session.id, Attributes: c.attributes()}
	if !p.Decide(&r).Allowed {
		c.deny(&r, "")
		c.endWith(mqtt.NotAuthorized, "FORBIDDEN_ACCESS", "the client may no longer connect")
	}
}

// cutOff ends a connection whose principal is no more.
func (c *conn) cutOff(err error) {
	if !iot.IsKind(err, iot.KindDenied) {
		c.loop.b.log.Error("mqtt connection could not be judged",
			slog.String("client_id", clip(c.session.id)), slog.Any("error", err))
		c.endWith(mqtt.ServerBusy, "SERVER_ERROR", "")
		return
	}
	c.loop.b.log.Warn("mqtt connection cut off",
		slog.String("client_id", clip(c.session.id)), slog.String("principal", c.principal.ID()),
		slog.String("source", c.peer.SourceIP), slog.Any("explanation", err))
	c.endWith(mqtt.NotAuthorized, "FORBIDDEN_ACCESS", "the credentials of the connection are no longer good")
}

// attributes are the connection's iot:ConnectAttributes.
func (c *conn) attributes() []string {
	return connectAttributes(c.session.persistent.Load(), c.will != nil)
}

func connectAttributes(persistent, will bool) []string {
	var list []string
	if persistent {
		list = append(list, "PersistentConnect")
	}
	if will {
		list = append(list, "LastWill")
	}
	return list
}

// nextJudgement numbers what is known of what a connection may do: routes
// remember it, over the connections of a session.
func (l *loop) nextJudgement() uint64 {
	l.judgements++
	return l.judgements
}

// changesKept is how many changes a connection may lag behind before it is
// judged anew whatever they were about.
const changesKept = 1024

// concerns reports whether any change since the connection was judged may
// concern it.
func (b *Broker) concerns(c *conn, now uint64) bool {
	b.changesMu.Lock()
	defer b.changesMu.Unlock()
	if now-c.generation > changesKept || b.access.Load()-c.generation > changesKept {
		return true
	}
	for g := c.generation + 1; g <= now; g++ {
		if c.concerned(b.changes[g%changesKept]) {
			return true
		}
	}
	return false
}

// concerned reports whether a change may concern the connection.
func (c *conn) concerned(ch iot.Change) bool {
	switch ch.Kind {
	case iot.ChangeBucket, iot.ChangeRoleAlias, iot.ChangeUpload, iot.ChangeCA, iot.ChangeEventConfiguration:
		return false
	case iot.ChangeThing: // an identity may hang on a device's certificate and thing
		return c.peer.Identity != nil || ch.ID == c.session.id || ch.ID == c.thing()
	case iot.ChangeCertificate:
		return c.peer.Identity != nil || iot.CertificateID(ch.ID) == c.peer.Certificate
	case iot.ChangePrincipal:
		return c.peer.Identity != nil || c.peer.Certificate != "" && strings.HasSuffix(ch.ID, string(c.peer.Certificate))
	case iot.ChangeRole, iot.ChangeIAMPolicy, iot.ChangeUser, iot.ChangeAccessKey:
		return c.peer.Identity != nil
	case iot.ChangeIoTPolicy, iot.ChangeThingGroup, iot.ChangeAll:
	}
	return true
}
