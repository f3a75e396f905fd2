package mqtt_test

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// FuzzPacket: no bytes panic, and what Decode accepts encodes to a packet that
// decodes to the same and encodes to the same bytes.
func FuzzPacket(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(byte(v.decoder.From)<<1|bool2byte(v.decoder.Version == mqtt.V5), v.frame)
	}
	f.Fuzz(func(t *testing.T, mode byte, frame []byte) {
		d := mqtt.Decoder{Version: mqtt.V311, From: mqtt.Side(mode >> 1 & 1)}
		if mode&1 != 0 {
			d.Version = mqtt.V5
		}
		n, err := mqtt.Frame(frame, 0)
		for i := range min(n, 8) {
			if m, err := mqtt.Frame(frame[:i], 0); m != 0 || err != nil {
				t.Fatalf("Frame of %d of %d bytes: %d, %v", i, n, m, err)
			}
		}
		if n > len(frame) || n > 0 && err != nil {
			t.Fatalf("Frame: %d of %d, %v", n, len(frame), err)
		}
		p := mqtt.New(mqtt.TypeOf(frame))
		if p == nil || p.Decode(&d, frame) != nil {
			return
		}
		if n != len(frame) {
			t.Fatalf("Decode took %d bytes, Frame %d", len(frame), n)
		}
		first, text := again(t, &d, p), describe(p)
		q := mqtt.New(mqtt.TypeOf(first))
		if err := q.Decode(&d, first); err != nil {
			t.Fatalf("%x, encoded again %x: %v", frame, first, err)
		}
		if second := again(t, &d, q); describe(q) != text || !bytes.Equal(first, second) {
			t.Fatalf("%x is %s\nencoded again %x, %s\nand again %x", frame, text, first, describe(q), second)
		}
		if m, ok := p.(*mqtt.Publish); ok {
			forward(t, m)
		}
	})
}

func bool2byte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func again(t *testing.T, d *mqtt.Decoder, p mqtt.Packet) []byte {
	t.Helper()
	out, err := p.Append(nil, d.Version)
	if err != nil {
		t.Fatalf("%s: %v", describe(p), err)
	}
	return out
}

// forward sends m on: the subscriber gets the same topic and payload, the same
// from a Template, and no property that was for the server.
func forward(t *testing.T, m *mqtt.Publish) {
	t.Helper()
	for _, d := range []mqtt.Delivery{
		{Version: mqtt.V311, QoS: m.QoS, ID: m.ID, Dup: true},
		{Version: mqtt.V5, QoS: 1, ID: 77, Retain: true, HasExpiry: true, Expiry: 9, SubscriptionIDs: []uint32{1, 300}},
	} {
		frame, err := m.AppendTo(nil, &d)
		if err != nil {
			t.Fatal(err)
		}
		tpl, err := m.Template(nil, &d)
		if err != nil || !bytes.Equal(tpl.AppendTo(nil, d.ID, d.Dup, d.Retain), frame) {
			t.Fatalf("Template of %s: %v", describe(m), err)
		}
		if len(m.Topic) == 0 {
			continue // the server knows the alias, AppendTo does not
		}
		var got mqtt.Publish
		if err := got.Decode(&mqtt.Decoder{Version: d.Version, From: mqtt.Server}, frame); err != nil {
			t.Fatalf("%s sent on as %x: %v", describe(m), frame, err)
		}
		if !bytes.Equal(got.Topic, m.Topic) || !bytes.Equal(got.Payload, m.Payload) {
			t.Fatalf("%s sent on as %s", describe(m), describe(&got))
		}
		if _, ok := got.Properties.Find(mqtt.TopicAlias); ok {
			t.Fatalf("alias of the publisher in %s", describe(&got))
		}
	}
}

// FuzzTopic compares the checks, which take eight bytes at a time, with what
// section 4.7 says level by level.
func FuzzTopic(f *testing.F) {
	for _, s := range []string{
		"a/b", "#", "a/#", "+/+/x", "a+/b", "$share/g/a/#", "$share//a", "12345678/+", "1234567/\x00", "é/日本語/+", "\xff", "/", "",
		"$share/g/a", "$aws/rules/r/a", "abcdefgh#", "+bcdefgh", "a/b/c/d/e/f/g/h/i/j/k/l/m/n/o",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := string(b)
		str := utf8.ValidString(s) && !strings.Contains(s, "\x00")
		limits := mqtt.Limits{TopicLevels: 8}
		name := str && s != "" && !strings.ContainsAny(s, "+#")
		if got := mqtt.CheckTopicName(b, &mqtt.Limits{}) == nil; got != name {
			t.Errorf("topic name %q: %t", s, got)
		}
		if !strings.HasPrefix(s, "$aws/rules/") {
			name = name && strings.Count(s, "/") < 8
			if got := mqtt.CheckTopicName(b, &limits) == nil; got != name {
				t.Errorf("topic name %q of at most eight levels: %t", s, got)
			}
		}
		filter := s
		if rest, ok := strings.CutPrefix(s, "$share/"); ok {
			var share string
			share, filter, _ = strings.Cut(rest, "/")
			str = str && share != "" && !strings.ContainsAny(share, "+#")
		}
		got, err := mqtt.ParseFilter(b, &mqtt.Limits{})
		if want := str && wellFormed(filter); (err == nil) != want {
			t.Errorf("topic filter %q: %v", s, err)
		}
		if err == nil && (string(got.Topic) != filter || string(got.Text) != s || got.Wildcard != strings.ContainsAny(filter, "+#")) {
			t.Errorf("topic filter %q: %+v", s, got)
		}
	})
}

func wellFormed(filter string) bool {
	levels := strings.Split(filter, "/")
	for i, level := range levels {
		switch {
		case level == "+", level == "#" && i == len(levels)-1:
		case strings.ContainsAny(level, "+#"):
			return false
		}
	}
	return filter != ""
}
