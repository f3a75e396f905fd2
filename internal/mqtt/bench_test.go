package mqtt_test

import (
	"testing"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

func BenchmarkFrame(b *testing.B) {
	frame := benchFrame(b, mqtt.V311, nil)
	for b.Loop() {
		if n, err := mqtt.Frame(frame, 1<<17); n == 0 || err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	alias := []mqtt.Property{
		{ID: mqtt.TopicAlias, Number: 3},
		{ID: mqtt.UserProperty, Name: []byte("site"), Value: []byte("osaka")},
	}
	for _, bb := range []struct {
		name  string
		d     mqtt.Decoder
		p     mqtt.Packet
		frame []byte
	}{
		{"PUBLISH 3.1.1", mqtt.Decoder{Version: mqtt.V311}, new(mqtt.Publish), benchFrame(b, mqtt.V311, nil)},
		{"PUBLISH 5", mqtt.Decoder{Version: mqtt.V5}, new(mqtt.Publish), benchFrame(b, mqtt.V5, nil)},
		{"PUBLISH 5 with properties", mqtt.Decoder{Version: mqtt.V5}, new(mqtt.Publish), benchFrame(b, mqtt.V5, alias)},
		{"PUBACK", mqtt.Decoder{Version: mqtt.V5}, new(mqtt.Ack), mqtt.AppendAck(nil, mqtt.TypePuback, 1)},
		{"PINGREQ", mqtt.Decoder{Version: mqtt.V5}, new(mqtt.Ping), mqtt.AppendPing(nil, mqtt.TypePingreq)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			bb.d.Limits = mqtt.Limits{TopicLength: 256, TopicLevels: 8}
			b.ReportAllocs()
			for b.Loop() {
				if err := bb.p.Decode(&bb.d, bb.frame); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkPublish(b *testing.B) {
	d := mqtt.Decoder{Version: mqtt.V5}
	var p mqtt.Publish
	if err := p.Decode(&d, benchFrame(b, mqtt.V5, []mqtt.Property{{ID: mqtt.UserProperty, Name: []byte("site"), Value: []byte("osaka")}})); err != nil {
		b.Fatal(err)
	}
	out := make([]byte, 0, 1024)
	for _, bb := range []struct {
		name string
		to   mqtt.Delivery
	}{
		{"AppendTo 3.1.1", mqtt.Delivery{Version: mqtt.V311, QoS: 1, ID: 1}},
		{"AppendTo 5", mqtt.Delivery{Version: mqtt.V5, QoS: 1, ID: 1}},
		{"AppendTo 5 with alias", mqtt.Delivery{Version: mqtt.V5, QoS: 1, ID: 1, TopicAlias: 1, Aliased: true}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.AppendTo(out, &bb.to); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("Template", func(b *testing.B) {
		tpl, err := p.Template(nil, &mqtt.Delivery{Version: mqtt.V5, QoS: 1, ID: 1})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			tpl.AppendTo(out, 2, false, false)
		}
	})
}

// benchFrame is a PUBLISH at QoS 1 with 256 bytes of payload.
func benchFrame(b *testing.B, v mqtt.Version, props []mqtt.Property) []byte {
	b.Helper()
	p, err := mqtt.Properties(nil).Add(props...)
	if err != nil {
		b.Fatal(err)
	}
	m := mqtt.Publish{QoS: 1, ID: 1, Topic: []byte("factory/line-7/thing-0042/telemetry"), Properties: p, Payload: make([]byte, 256)}
	frame, err := m.Append(nil, v)
	if err != nil {
		b.Fatal(err)
	}
	return frame
}
