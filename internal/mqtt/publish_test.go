package mqtt_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// message is a PUBLISH as a client sends it, with every property.
func message(tb testing.TB) mqtt.Publish {
	tb.Helper()
	p, err := mqtt.Properties(nil).Add(
		mqtt.Property{ID: mqtt.PayloadFormatIndicator, Number: 1},
		mqtt.Property{ID: mqtt.MessageExpiryInterval, Number: 60},
		mqtt.Property{ID: mqtt.TopicAlias, Number: 3},
		mqtt.Property{ID: mqtt.ResponseTopic, Value: []byte("r")},
		mqtt.Property{ID: mqtt.CorrelationData, Value: []byte{0, 1}},
		mqtt.Property{ID: mqtt.UserProperty, Name: []byte("k"), Value: []byte("v")},
		mqtt.Property{ID: mqtt.WillDelayInterval, Number: 5}, // taken from a will
		mqtt.Property{ID: mqtt.UserProperty, Name: []byte("k"), Value: []byte("w")},
		mqtt.Property{ID: mqtt.ContentType, Value: []byte("t")},
	)
	if err != nil {
		tb.Fatal(err)
	}
	return mqtt.Publish{Dup: true, Retain: true, QoS: 2, ID: 9, Topic: []byte("a/b"), Properties: p, Payload: []byte("hello")}
}

func TestAppendTo(t *testing.T) {
	t.Parallel()
	p := message(t)
	const kept = `Payload Format Indicator 1, Response Topic "r", Correlation Data "\x00\x01", User Property "k"="v", User Property "k"="w", Content Type "t"}`
	tests := []struct {
		d    mqtt.Delivery
		want string
	}{
		{mqtt.Delivery{Version: mqtt.V311}, `dup=false qos=0 retain=false topic="a/b" id=0 payload="hello"`},
		{mqtt.Delivery{Version: mqtt.V311, Dup: true, Retain: true, ID: 5}, `dup=false qos=0 retain=true topic="a/b" id=0 payload="hello"`},
		{
			mqtt.Delivery{Version: mqtt.V311, QoS: 1, Dup: true, ID: 258, TopicAlias: 1, Aliased: true},
			`dup=true qos=1 retain=false topic="a/b" id=258 payload="hello"`,
		},
		{mqtt.Delivery{Version: mqtt.V5, QoS: 1, ID: 1}, `dup=false qos=1 retain=false topic="a/b" id=1 payload="hello" {` + kept},
		{
			mqtt.Delivery{Version: mqtt.V5, TopicAlias: 2, HasExpiry: true, Expiry: 59, SubscriptionIDs: []uint32{7, 268_435_455}},
			`dup=false qos=0 retain=false topic="a/b" id=0 payload="hello" {Topic Alias 2, Message Expiry Interval 59, ` +
				`Subscription Identifier 7, Subscription Identifier 268435455, ` + kept,
		},
		{
			mqtt.Delivery{Version: mqtt.V5, TopicAlias: 2, Aliased: true},
			`dup=false qos=0 retain=false topic="" id=0 payload="hello" {Topic Alias 2, ` + kept,
		},
		{mqtt.Delivery{Version: mqtt.V5, Aliased: true}, `dup=false qos=0 retain=false topic="a/b" id=0 payload="hello" {` + kept},
	}
	for _, tt := range tests {
		frame, err := p.AppendTo(nil, &tt.d)
		if err != nil {
			t.Fatal(err)
		}
		var got mqtt.Publish
		if err := got.Decode(&mqtt.Decoder{Version: tt.d.Version, From: mqtt.Server}, frame); err != nil {
			t.Errorf("%+v: %x: %v", tt.d, frame, err)
		}
		if s := describe(&got); s != "PUBLISH "+tt.want {
			t.Errorf("got  %s\nwant PUBLISH %s", s, tt.want)
		}
		tt.d.MaximumPacketSize = uint32(len(frame))
		if _, err := p.AppendTo(nil, &tt.d); err != nil {
			t.Errorf("within the maximum packet size: %v", err)
		}
		tt.d.MaximumPacketSize--
		if out, err := p.AppendTo([]byte("x"), &tt.d); string(out) != "x" || !errors.Is(err, mqtt.PacketTooLarge) {
			t.Errorf("over the maximum packet size: %q, %v", out, err)
		}
	}
}

// Properties that came from nowhere are sent as far as they are properties.
func TestAppendToBrokenProperties(t *testing.T) {
	t.Parallel()
	p := mqtt.Publish{Topic: []byte("a"), Properties: mqtt.Properties{1, 1, 9, 0}}
	frame, err := p.AppendTo(nil, &mqtt.Delivery{Version: mqtt.V5})
	if err != nil || !bytes.Equal(frame, []byte{0x30, 6, 0, 1, 'a', 2, 1, 1}) {
		t.Errorf("%x, %v", frame, err)
	}
}

func TestTemplate(t *testing.T) {
	t.Parallel()
	p := message(t)
	p.Payload = []byte(strings.Repeat("x", 300))
	for _, d := range []mqtt.Delivery{
		{Version: mqtt.V311}, {Version: mqtt.V311, QoS: 1, Retain: true}, {Version: mqtt.V5, QoS: 1}, {Version: mqtt.V5, QoS: 2, HasExpiry: true},
	} {
		tpl, err := p.Template(make([]byte, 7), &d)
		if err != nil {
			t.Fatal(err)
		}
		for _, set := range []bool{true, false} {
			d.ID, d.Dup, d.Retain = 515, set, set
			want, err := p.AppendTo([]byte("x"), &d)
			if err != nil {
				t.Fatal(err)
			}
			if got := tpl.AppendTo([]byte("x"), d.ID, d.Dup, d.Retain); !bytes.Equal(got, want) || tpl.Len() != len(want)-1 || len(tpl.Bytes()) != tpl.Len() {
				t.Errorf("%+v: %x, not %x", d, got, want)
			}
		}
	}
	if out := (mqtt.Template{}).AppendTo(nil, 1, true, true); out != nil {
		t.Errorf("the zero Template: %x", out)
	}
}

// These run on every packet of every connection: not parallel, so that other
// tests' allocations are not counted.
func TestNoAllocations(t *testing.T) {
	d := mqtt.Decoder{Version: mqtt.V5, Limits: mqtt.Limits{TopicLength: 256, TopicLevels: 8, Filters: 8}}
	m := message(t)
	in := mqtt.Publish{QoS: 1, ID: 1, Topic: m.Topic, Payload: m.Payload}
	var err error
	if in.Properties, err = in.Properties.Add(mqtt.Property{ID: mqtt.TopicAlias, Number: 3},
		mqtt.Property{ID: mqtt.UserProperty, Name: []byte("k"), Value: []byte("v")}); err != nil {
		t.Fatal(err)
	}
	publish, _ := in.Append(nil, mqtt.V5)
	puback := mqtt.AppendAck(nil, mqtt.TypePuback, 1)
	ping := mqtt.AppendPing(nil, mqtt.TypePingreq)
	subscribe, _ := (&mqtt.Subscribe{ID: 1, Subscriptions: []mqtt.Subscription{{Filter: mqtt.Filter{Text: []byte("a/#")}}}}).Append(nil, mqtt.V5)
	to := mqtt.Delivery{Version: mqtt.V5, QoS: 1, ID: 1, TopicAlias: 1, SubscriptionIDs: []uint32{1, 2}}
	tpl, _ := m.Template(nil, &to)
	out := make([]byte, 0, 1024)
	var p mqtt.Publish
	var a mqtt.Ack
	var c mqtt.Ping
	var s mqtt.Subscribe
	for name, f := range map[string]func() error{
		"Frame":              func() error { _, err := mqtt.Frame(publish, 1<<17); return err },
		"PUBLISH":            func() error { return p.Decode(&d, publish) },
		"PUBACK":             func() error { return a.Decode(&d, puback) },
		"PINGREQ":            func() error { return c.Decode(&d, ping) },
		"SUBSCRIBE":          func() error { return s.Decode(&d, subscribe) },
		"Number":             func() error { p.Properties.Number(mqtt.TopicAlias, 0); return nil },
		"AppendTo":           func() error { _, err := m.AppendTo(out, &to); return err },
		"Append":             func() error { _, err := in.Append(out, mqtt.V5); return err },
		"Template":           func() error { _, err := m.Template(out, &to); return err },
		"Template, AppendTo": func() error { tpl.AppendTo(out, 1, true, false); return nil },
		"Ack":                func() error { _, err := a.Append(out, mqtt.V5); return err },
	} {
		var err error
		if n := testing.AllocsPerRun(100, func() { err = f() }); n != 0 || err != nil {
			t.Errorf("%s: %v allocations, %v", name, n, err)
		}
	}
}
