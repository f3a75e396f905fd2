package telemetry

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestMQTTFiguresAreExposed(t *testing.T) {
	t.Parallel()
	m := NewMetrics("1.2.3")
	q := m.MQTT()
	q.Connection(1)
	q.Connection(1)
	q.Connection(-1)
	q.Refused("bad_user")
	q.Disconnected("CLIENT_ERROR")
	q.Messages(&[3]uint64{5, 3, 0}, &[3]uint64{0, 0, 7})
	q.Limit("publish-rate")
	q.Dropped("queue_full")
	q.Dropped("queue_full")
	q.Deny("iot:Publish")
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody))
	for _, want := range []string{
		`sekisho_mqtt_connections 1`,
		`sekisho_mqtt_connects_refused_total{reason="bad_user"} 1`,
		`sekisho_mqtt_disconnects_total{reason="CLIENT_ERROR"} 1`,
		`sekisho_mqtt_messages_received_total{qos="0"} 5`,
		`sekisho_mqtt_messages_received_total{qos="1"} 3`,
		`sekisho_mqtt_messages_received_total{qos="2"} 0`,
		`sekisho_mqtt_messages_delivered_total{qos="2"} 7`,
		`sekisho_mqtt_limits_hit_total{limit="publish-rate"} 1`,
		`sekisho_mqtt_messages_dropped_total{reason="queue_full"} 2`,
		`sekisho_mqtt_denials_total{action="iot:Publish"} 1`,
	} {
		if !strings.Contains(w.Body.String(), want+"\n") {
			t.Errorf("%s is missing", want)
		}
	}
}

func TestCountingMQTTDoesNotAllocate(t *testing.T) { //nolint:paralleltest // AllocsPerRun
	q := NewMetrics("1.2.3").MQTT()
	if n := testing.AllocsPerRun(100, func() {
		q.Connection(1)
		q.Messages(&[3]uint64{1, 1, 1}, &[3]uint64{1, 1, 1})
		q.Refused("r")
		q.Disconnected("r")
		q.Limit("l")
		q.Dropped("r")
		q.Deny("iot:Publish")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
