package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// event is a lifecycle event, as AWS IoT publishes them
// (https://docs.aws.amazon.com/iot/latest/developerguide/life-cycle-events.html).
type event struct {
	ClientID                  string   `json:"clientId"`
	ThingName                 string   `json:"thingName,omitempty"` // of an exclusive attachment
	Timestamp                 int64    `json:"timestamp"`           // in milliseconds
	EventType                 string   `json:"eventType"`
	ClientInitiatedDisconnect *bool    `json:"clientInitiatedDisconnect,omitempty"`
	SessionIdentifier         string   `json:"sessionIdentifier,omitempty"`
	PrincipalIdentifier       string   `json:"principalIdentifier"`
	DisconnectReason          string   `json:"disconnectReason,omitempty"`
	ConnectFailureReason      string   `json:"connectFailureReason,omitempty"`
	IPAddress                 string   `json:"ipAddress,omitempty"`
	VersionNumber             *int     `json:"versionNumber,omitempty"`
	Topics                    []string `json:"topics,omitempty"`
}

const (
	presencePrefix      = "$aws/events/presence/"
	subscriptionsPrefix = "$aws/events/subscriptions/"
)

// heard reports whether anybody would get an event of a client. Topics cannot
// have wildcards in them.
func (l *loop) heard(topic, clientID string) bool {
	if strings.ContainsAny(clientID, "+#") {
		return false
	}
	t := []byte(topic)
	for _, other := range l.b.loops {
		if found, _ := other.wants(t); found {
			return true
		}
	}
	return len(l.b.groups.match(t)) > 0
}

// tell publishes an event when what is under way has been dealt with.
func (l *loop) tell(topic string, e *event) {
	e.Timestamp = l.now.UnixMilli()
	payload, err := json.Marshal(e)
	if err != nil { // strings and numbers can always be written
		return
	}
	m := newMessage([]byte(topic), payload, nil)
	m.qos = mqtt.QoS(1)
	l.later = append(l.later, laterMessage{m: m})
}

// about is an event of the connection.
func (c *conn) about(eventType string) *event {
	s := c.session
	e := &event{
		ClientID: s.id, EventType: eventType, PrincipalIdentifier: c.principal.ID(),
		SessionIdentifier: fmt.Sprintf("%x-%x-%x-%x-%x", s.uuid[:4], s.uuid[4:6], s.uuid[6:8], s.uuid[8:10], s.uuid[10:]),
	}
	if name, exclusive := c.principal.Thing(); exclusive {
		e.ThingName = name
	}
	return e
}

// present tells of a client that has come or gone.
func (l *loop) present(thing, clientID string, p Presence) {
	if l.b.cfg.Presence == nil {
		return
	}
	if p.Thing = thing; thing == "" {
		p.Thing = clientID
	}
	l.b.cfg.Presence(p)
}

// Online returns the clients that are connected.
func (b *Broker) Online(ctx context.Context) ([]Presence, error) {
	var all []Presence
	for _, l := range b.loops {
		var list []Presence
		done := make(chan error, 1)
		err := l.ask(ctx, done, func(l *loop) {
			for id, s := range l.sessions {
				if s.conn == nil {
					continue
				}
				p := Presence{Thing: s.conn.thing(), Connected: true, At: s.lastConnect}
				if p.Thing == "" {
					p.Thing = id
				}
				list = append(list, p)
			}
			done <- nil
		})
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}

func (l *loop) connected(c *conn) {
	l.present(c.thing(), c.session.id, Presence{Connected: true, At: l.now})
	topic := presencePrefix + "connected/" + c.session.id
	if !l.heard(topic, c.session.id) {
		return
	}
	e := c.about("connected")
	e.IPAddress, e.VersionNumber = c.peer.SourceIP, &c.session.number
	l.tell(topic, e)
}

func (l *loop) disconnected(c *conn, reason string) {
	s := c.session
	// A thing may have been attached since: neither name stays behind as connected.
	l.present(c.thing(), s.id, Presence{At: l.now, Reason: reason})
	if c.thing() != "" && c.thing() != s.id {
		l.present("", s.id, Presence{At: l.now, Reason: reason})
	}
	topic := presencePrefix + "disconnected/" + s.id
	if l.heard(topic, s.id) {
		e := c.about("disconnected")
		initiated := reason == "CLIENT_INITIATED_DISCONNECT"
		e.ClientInitiatedDisconnect, e.DisconnectReason, e.VersionNumber = &initiated, reason, new(s.number)
		l.tell(topic, e)
	}
}

func (l *loop) connectFailed(r *request) {
	topic := presencePrefix + "connect_failed/" + r.id
	if !l.heard(topic, r.id) {
		return
	}
	l.tell(topic, &event{
		ClientID: r.id, EventType: "connect_failed", PrincipalIdentifier: r.principal.ID(),
		ConnectFailureReason: "AUTHORIZATION_FAILED", IPAddress: r.c.peer.SourceIP,
	})
}

// subscribed tells of subscriptions that were made or ended.
func (l *loop) subscribed(c *conn, eventType string, topics []string) {
	topic := subscriptionsPrefix + eventType + "/" + c.session.id
	if !l.heard(topic, c.session.id) {
		return
	}
	e := c.about(eventType)
	e.Topics = topics
	l.tell(topic, e)
}
