package broker_test

import (
	"sync/atomic"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/broker"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// TestFull: while the disk is nearly full, what would have to be kept is
// refused so that its publisher tries again; all else goes on.
func TestFull(t *testing.T) {
	t.Parallel()
	var full atomic.Bool
	h := open(t, with(store(t, t.TempDir())), func(c *broker.Config) { c.Full = full.Load })
	away, _ := h.connect("a", "away", true)
	away.subscribe("kept/#", 1)
	away.send(&mqtt.Disconnect{})
	away.ended()
	live, _ := h.connect("b", "live", false)
	live.subscribe("live/#", 1)
	pub, _ := h.connect("c", "pub", false)
	retain := func(p *mqtt.Publish) { p.Retain = true }
	if code := pub.publish("kept/state", "old", retain); code != 0 {
		t.Fatalf("PUBACK %#x", code)
	}

	full.Store(true)
	const quota = uint8(mqtt.QuotaExceeded)
	for name, c := range map[string]struct {
		topic, payload string
		change         []func(*mqtt.Publish)
		want           uint8
	}{
		"to a persistent session": {topic: "kept/1", payload: "x", want: quota},
		"retained":                {topic: "live/state", payload: "x", change: []func(*mqtt.Publish){retain}, want: quota},
		"to a live subscriber":    {topic: "live/1", payload: "x"},
	} {
		if code := pub.publish(c.topic, c.payload, c.change...); code != c.want {
			t.Errorf("%s: PUBACK %#x, want %#x", name, code, c.want)
		}
	}
	live.wants("live/1", "x")
	if list := h.ListRetained("", 9); len(list) != 1 || string(list[0].Payload) != "old" {
		t.Errorf("retained: %+v", list)
	}
	for _, m := range []broker.Message{{Topic: "kept/2", QoS: 1, Payload: []byte("x")}, {Topic: "live/2", Retain: true, Payload: []byte("x")}} {
		if err := h.Publish(t.Context(), &m); !iot.IsKind(err, iot.KindBusy) {
			t.Errorf("Publish: %v", err)
		}
	}
	if err := h.Publish(t.Context(), &broker.Message{Topic: "live/3", Payload: []byte("x")}); err != nil {
		t.Error(err)
	}
	live.wants("live/3", "x")
	if err := h.PublishOwn(t.Context(), &broker.Message{Topic: "kept/own", QoS: 1, Payload: []byte("x")}); err != nil {
		t.Errorf("PublishOwn: %v", err)
	}
	if code := pub.publish("kept/state", "", retain); code != quota { // it would go to the session that is away as well
		t.Errorf("empty and retained, to a persistent session: %#x", code)
	}
	full.Store(false)
	if code := pub.publish("kept/3", "y"); code != 0 {
		t.Errorf("PUBACK %#x with room again", code)
	}
	back, _ := h.connect("a", "away", true)
	back.wants("kept/state", "old")
	back.wants("kept/3", "y")
	back.quiet()
}
