package broker

import (
	"strings"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// subscribe handles a SUBSCRIBE.
func (c *conn) subscribe(frame []byte) error {
	l := c.loop
	p := &l.subscribing
	if err := p.Decode(c.decoder(), frame); err != nil {
		return err
	}
	id := p.Properties.Number(mqtt.SubscriptionIdentifier, 0)
	if id != 0 && l.b.cfg.Profile == AWS {
		return &mqtt.Error{Code: mqtt.SubscriptionIdentifiersNotSupported, Detail: "subscription identifiers are not available"}
	}
	if c.version == mqtt.V311 && l.b.cfg.Profile == AWS && asksQoS2(p) { // AWS lets it fall, without an answer
		l.b.observer.Dropped("qos2")
		return nil
	}
	if c.generation != l.b.access.Load() {
		if c.refresh(); c.state != stateOpen {
			return nil
		}
	}
	s := c.session
	a := mqtt.Suback{ID: p.ID}
	var fresh []newSubscription
	var topics []string
	for i := range p.Subscriptions {
		x := &p.Subscriptions[i]
		code, sub, existed := c.subscribeTo(x, id)
		a.Codes = append(a.Codes, code)
		if sub != nil {
			fresh = append(fresh, newSubscription{sub, existed})
			topics = append(topics, sub.filter)
		}
	}
	if len(fresh) > 0 {
		l.b.arrivals.Add(1)
		l.b.subscriptions.Add(1)
		l.subscribed(c, "subscribed", topics)
	}
	packet, err := a.Append(nil, c.version)
	if err != nil {
		return err
	}
	c.answerSafely(s, packet, len(fresh) > 0, func() { l.sendRetained(s, fresh) })
	return nil
}

func asksQoS2(p *mqtt.Subscribe) bool {
	for i := range p.Subscriptions {
		if p.Subscriptions[i].Options.QoS() == 2 {
			return true
		}
	}
	return false
}

// newSubscription is one that was just made, or made again.
type newSubscription struct {
	*subscription
	existed bool
}

// subscribeTo makes one subscription, if it is allowed.
func (c *conn) subscribeTo(x *mqtt.Subscription, id uint32) (code mqtt.ReasonCode, sub *subscription, existed bool) {
	l, s := c.loop, c.session
	r := Request{Action: Subscribe, Name: string(x.Filter.Text)}
	if no := refuseSubscribe(string(x.Filter.Topic), c.thing(), l.b.cfg.Profile); no.code != 0 {
		c.deny(&r, no.reason)
		return no.code, nil, false
	}
	if !c.principal.Decide(&r).Allowed {
		c.deny(&r, "")
		return mqtt.NotAuthorized, nil, false
	}
	options := x.Options
	if options.QoS() == 2 && l.b.cfg.Profile == AWS {
		options = options&^3 | 1
	}
	if sub = s.subs.find(r.Name); sub != nil {
		s.change(sub, options, id)
		return mqtt.ReasonCode(options.QoS()), sub, true
	}
	if limit := l.b.cfg.Limits.Subscriptions; limit > 0 && len(s.subs.list) >= limit {
		l.b.observer.Limit("subscriptions")
		return mqtt.QuotaExceeded, nil, false
	}
	return mqtt.ReasonCode(options.QoS()), s.add(r.Name, options, id), false
}

// add makes a subscription of a filter that is valid.
func (s *session) add(filter string, options mqtt.SubscribeOptions, id uint32) *subscription {
	l := s.loop
	sub := &subscription{session: s, filter: filter, topic: filter, options: options, id: id}
	if rest, ok := strings.CutPrefix(filter, "$share/"); ok {
		var name string
		name, sub.topic, _ = strings.Cut(rest, "/")
		sub.group = l.b.groups.join(name, sub.topic, sub)
	} else {
		l.subs.add(sub.topic, sub)
	}
	s.subs.add(sub)
	return sub
}

// change gives a subscription other options.
func (s *session) change(sub *subscription, options mqtt.SubscribeOptions, id uint32) {
	if sub.group != nil {
		sub.group.mu.Lock()
		defer sub.group.mu.Unlock()
	}
	sub.options, sub.id = options, id
}

// remove ends a subscription.
func (s *session) remove(sub *subscription) {
	s.unlink(sub)
	s.subs.remove(sub)
}

// unlink has no more messages come to a subscription.
func (s *session) unlink(sub *subscription) {
	if sub.group != nil {
		s.loop.b.groups.leave(sub)
	} else {
		s.loop.subs.remove(sub.topic, sub)
	}
}

// unsubscribe handles an UNSUBSCRIBE.
func (c *conn) unsubscribe(frame []byte) error {
	l, s := c.loop, c.session
	p := &l.unsubscribing
	if err := p.Decode(c.decoder(), frame); err != nil {
		return err
	}
	a := mqtt.Unsuback{ID: p.ID}
	var topics []string
	for i := range p.Filters {
		sub := s.subs.find(string(p.Filters[i].Text))
		if sub == nil {
			a.Codes = append(a.Codes, mqtt.NoSubscriptionExisted)
			continue
		}
		s.remove(sub)
		topics = append(topics, sub.filter)
		a.Codes = append(a.Codes, mqtt.Success)
	}
	if len(topics) > 0 {
		l.b.subscriptions.Add(1)
		l.subscribed(c, "unsubscribed", topics)
	}
	packet, err := a.Append(nil, c.version)
	if err != nil {
		return err
	}
	c.answerSafely(s, packet, len(topics) > 0, nil)
	return nil
}

// answerSafely answers what changed the session, once a persistent one has the
// change on disk.
func (c *conn) answerSafely(s *session, packet []byte, changed bool, then func()) {
	if changed && s.kept() {
		w := &waiter{c: c}
		c.loop.keepSessionFor(s, w)
		c.awaitAck(pendingAck{packet: packet, waiter: w, then: then})
		return
	}
	if len(c.acks) > 0 {
		c.awaitAck(pendingAck{packet: packet, then: then})
		return
	}
	c.out = append(c.output(), packet...)
	if then != nil {
		then()
	}
}
