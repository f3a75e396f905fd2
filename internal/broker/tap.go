package broker

import (
	"slices"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// Tap hears of the messages that clients publish to some topics, over MQTT or by
// Publish, after they were allowed. Other topics cost nothing: whether a tap is on a topic is a part
// of its route.
type Tap struct {
	Filters []string // topic filters, without $share
	// Wait has messages of QoS 1 and 2 acknowledged after their Done was called.
	// A connection is not read on while too much of it waits.
	Wait bool
	// Take is called by the event loops and must not block.
	Take func(*Published)
}

// Published is a message that a client published. It is the taker's own,
// but for Peer, which must not be changed.
type Published struct {
	Topic       string
	Payload     []byte
	QoS         mqtt.QoS
	ClientID    string            // "" for one that came by Publish
	Certificate iot.CertificateID // "" for a WebSocket of an IAM principal
	Thing       string            // that the connection is associated with, "" for none
	Peer        *Peer
	// Done says that the message was dealt with, or why it could not be: the
	// client is to send it again. An error of iot.KindBusy says that there is too
	// much to do. It is to be called once; nil where nobody waits.
	Done func(error)
}

// ValidFilter reports whether a tap can have that filter.
func ValidFilter(filter string) bool {
	f, err := mqtt.ParseFilter([]byte(filter), &mqtt.Limits{})
	return err == nil && f.Share == nil
}

// newTaps puts the taps of the configuration into a tree.
func newTaps(cfg *Config) *tree[*Tap] {
	t := newTree[*Tap](cfg.Profile)
	for i := range cfg.Taps {
		for _, f := range cfg.Taps[i].Filters {
			t.add(f, &cfg.Taps[i])
		}
	}
	return t
}

// tapped returns the taps on a topic, each once.
func (b *Broker) tapped(topic []byte) (list []*Tap) {
	b.taps.match(topic, func(t *Tap) {
		if !slices.Contains(list, t) {
			list = append(list, t)
		}
	})
	return list
}

// maxHeld is how many bytes of one connection's messages wait for taps before
// it is not read on: what a client may have on its way is counted in messages,
// which may be large.
const maxHeld = 2 << 20

// tap has the taps of a route hear of a message of a client.
func (c *conn) tap(o *outgoing, r *route) {
	c.loop.tap(o, r, &Published{ClientID: c.session.id, Certificate: c.peer.Certificate, Thing: c.thing(), Peer: c.peer})
}

// tap has the taps of a route hear of a message; from says of whom.
func (l *loop) tap(o *outgoing, r *route, from *Published) {
	m := o.message()
	for _, t := range r.taps {
		p := *from
		p.Topic, p.Payload, p.QoS = string(m.topic), m.payload, o.QoS
		if w := o.waiter; t.Wait && w != nil && o.QoS > 0 {
			w.hold()
			o.held = len(o.Payload)
			p.Done = func(err error) {
				l.post(mailFunc(func(l *loop) { w.release(l, err) }))
			}
		}
		t.Take(&p)
	}
}
