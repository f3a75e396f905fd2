package broker_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/broker"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// A tap hears of what was allowed on its topics, and of nothing else; what
// waits for it is acknowledged in turn when it is done.
func TestTap(t *testing.T) {
	t.Parallel()
	heard := make(chan *broker.Published, 9)
	waiting := make(chan *broker.Published, 9)
	h := open(t, func(c *broker.Config) {
		c.Taps = []broker.Tap{
			{Filters: []string{"up/+", "exact"}, Take: func(p *broker.Published) { heard <- p }},
			{Filters: []string{"$sekisho/things/+/wait"}, Wait: true, Take: func(p *broker.Published) { waiting <- p }},
		}
	})
	h.rules.deny("cert iot:Publish up/denied")
	c, _ := h.connect("cert", "thing", false)
	c.subscribe("up/#", 1)
	c.publish("elsewhere", "no")
	if code := c.publish("up/denied", "no"); code != uint8(mqtt.NotAuthorized) {
		t.Errorf("denied: %#x", code)
	}
	c.send(&mqtt.Publish{QoS: 1, ID: 50, Topic: []byte("up/x"), Payload: []byte("yes")})
	for range 2 { // a tap takes nothing away
		switch p := c.read().(type) {
		case *mqtt.Ack:
		case *mqtt.Publish:
			c.write(mqtt.AppendAck(nil, mqtt.TypePuback, p.ID))
		default:
			t.Fatalf("%+v", p)
		}
	}
	if p := <-heard; p.Topic != "up/x" || string(p.Payload) != "yes" || p.Certificate != "cert" || p.ClientID != "thing" || p.Thing != "thing" || p.Done != nil {
		t.Errorf("heard %+v", p)
	}
	c.send(&mqtt.Publish{Topic: []byte("exact")})
	if p := <-heard; p.QoS != 0 {
		t.Errorf("heard %+v", p)
	}

	own := []byte("$sekisho/things/thing/wait")
	c.send(&mqtt.Publish{QoS: 1, ID: 60, Topic: own, Payload: []byte("1")})
	c.send(&mqtt.Publish{QoS: 1, ID: 61, Topic: own, Payload: []byte("2")})
	first, second := <-waiting, <-waiting
	second.Done(errors.New("could not be dealt with"))
	c.quiet()
	first.Done(nil)
	for _, want := range []mqtt.Ack{{Type: mqtt.TypePuback, ID: 60}, {Type: mqtt.TypePuback, ID: 61, Code: mqtt.UnspecifiedError}} {
		if a, ok := c.read().(*mqtt.Ack); !ok || a.ID != want.ID || a.Code != want.Code {
			t.Errorf("answered %+v, want %+v", a, want)
		}
	}
	if code := c.publish("$sekisho/things/another/wait", "no"); code != uint8(mqtt.NotAuthorized) {
		t.Errorf("another's topic: %#x", code)
	}

	// A client that has gone is not waited for.
	c.send(&mqtt.Publish{QoS: 1, ID: 62, Topic: own})
	late := <-waiting
	c.send(&mqtt.Disconnect{})
	c.ended()
	late.Done(errors.New("too late"))
	if len(heard)+len(waiting) > 0 {
		t.Errorf("%d more were heard", len(heard)+len(waiting))
	}
}

// The server publishes where nobody else may, and nobody gets what is not theirs.
func TestPublishOwn(t *testing.T) {
	t.Parallel()
	h := open(t)
	mine, _ := h.connect("a", "mine", false)
	mine.subscribe("$sekisho/things/mine/#", 1)
	all, _ := h.connect("b", "all", false)
	if code := all.subscribe("$sekisho/things/#", 1); code < 0x80 {
		t.Errorf("subscribed to everybody's: %#x", code)
	}
	all.subscribe("$sekisho/events/#", 1)
	for _, topic := range []string{"$sekisho/things/mine/x", "$sekisho/events/x"} {
		m := &broker.Message{Topic: topic, Payload: []byte("own"), QoS: 1}
		if err := h.Publish(t.Context(), m); err == nil {
			t.Errorf("anybody publishes to %s", topic)
		}
		if err := h.PublishOwn(t.Context(), m); err != nil {
			t.Error(err)
		}
	}
	mine.wants("$sekisho/things/mine/x", "own")
	all.wants("$sekisho/events/x", "own")
	// Many at once come in their order.
	var list []*broker.Message
	for i := range 50 {
		list = append(list, &broker.Message{Topic: fmt.Sprintf("$sekisho/events/%d", i), Payload: []byte("own"), QoS: 1})
	}
	if err := h.PublishOwn(t.Context(), list...); err != nil {
		t.Error(err)
	}
	for i := range list {
		all.wants(list[i].Topic, "own")
	}
	if err := h.PublishOwn(t.Context(), list[0], &broker.Message{Topic: "a/#"}); !iot.IsKind(err, iot.KindInvalid) {
		t.Errorf("one that is none: %v", err)
	}
	if err := h.PublishOwn(t.Context()); err != nil {
		t.Error(err)
	}
	all.quiet()
}

// What waits for a tap bounds what is read of a connection, until it is
// answered, and however it is. A tap that has too much to do says so.
func TestTapHoldsBack(t *testing.T) {
	t.Parallel()
	waiting := make(chan *broker.Published, 999)
	h := open(t, func(c *broker.Config) {
		c.Limits.Payload, c.Limits.PacketSize = 1<<20, 2<<20
		c.Taps = []broker.Tap{{Filters: []string{"up/+", "up/x"}, Take: func(p *broker.Published) { waiting <- p }, Wait: true}}
	})
	c, _ := h.connect("cert", "thing", false)
	const n, size = 40, 256 << 10
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := range n {
			b, err := (&mqtt.Publish{QoS: 1, ID: uint16(i) + 1, Topic: []byte("up/x"), Payload: make([]byte, size)}).Append(nil, mqtt.V5)
			if err != nil {
				t.Error(err)
			}
			c.write(b)
		}
	}()
	taken := 0
	busy := iot.Errorf(iot.KindBusy, "", "too much")
	for answered := 0; answered < n; {
		var list []*broker.Published
		for p := <-waiting; p != nil; {
			list = append(list, p)
			select {
			case p = <-waiting:
			case <-time.After(100 * time.Millisecond): // no more are read
				p = nil
			}
		}
		if taken += len(list); len(list) > 9 {
			t.Fatalf("%d messages of %d bytes wait at a time", len(list), size)
		}
		for _, p := range list {
			p.Done(busy)
		}
		for range list {
			answered++
			if a, ok := c.read().(*mqtt.Ack); !ok || int(a.ID) != answered || a.Code != mqtt.QuotaExceeded {
				t.Fatalf("%+v", a)
			}
		}
	}
	<-sent
	if taken != n {
		t.Errorf("%d of %d were heard: each is to be once", taken, n)
	}
	c.send(&mqtt.Publish{Topic: []byte("up/x")})
	if p := <-waiting; p.Done != nil {
		t.Error("QoS 0 waits")
	}
	// Nor does it in a message of the API.
	if err := h.Publish(t.Context(), &broker.Message{Topic: "up/x", From: &broker.Peer{}}); err != nil {
		t.Error(err)
	}
	<-waiting
	done := make(chan error, 1)
	go func() {
		done <- h.Publish(t.Context(), &broker.Message{Topic: "up/x", QoS: 1, From: &broker.Peer{}})
	}()
	p := <-waiting
	if len(done) > 0 {
		t.Error("it was answered before the tap was done")
	}
	p.Done(busy)
	if err := <-done; !iot.IsKind(err, iot.KindBusy) {
		t.Errorf("answered %v", err)
	}
}
