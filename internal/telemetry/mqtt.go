package telemetry

import (
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// MQTT are the figures of the MQTT broker; it implements broker.Observer. What
// counts messages neither allocates nor looks anything up.
type MQTT struct {
	connections         prometheus.Gauge
	received, delivered [3]prometheus.Counter // by QoS
	refused             *counters
	disconnected        *counters
	limits              *counters
	dropped             *counters
	denials             *counters
}

// MQTT returns the figures of the broker, which show among the others. It is
// for calling once.
func (m *Metrics) MQTT() *MQTT {
	vec := func(name, help, label string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
		m.registry.MustRegister(v)
		return v
	}
	q := &MQTT{
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sekisho_mqtt_connections", Help: "MQTT connections that are open.",
		}),
		refused:      newCounters(vec("sekisho_mqtt_connects_refused_total", "Connections and CONNECT packets that were refused, by reason.", "reason")),
		disconnected: newCounters(vec("sekisho_mqtt_disconnects_total", "Connections that ended, by the disconnectReason of lifecycle events.", "reason")),
		limits:       newCounters(vec("sekisho_mqtt_limits_hit_total", "How often a client ran into a limit, by limit.", "limit")),
		dropped:      newCounters(vec("sekisho_mqtt_messages_dropped_total", "Messages that were dropped, by reason.", "reason")),
		denials:      newCounters(vec("sekisho_mqtt_denials_total", "Packets that the access rules refused, by action.", "action")),
	}
	m.registry.MustRegister(q.connections)
	received := vec("sekisho_mqtt_messages_received_total", "Messages that clients published, by QoS.", "qos")
	delivered := vec("sekisho_mqtt_messages_delivered_total", "Messages that were sent to clients, by QoS.", "qos")
	for i := range q.received {
		q.received[i] = received.WithLabelValues(strconv.Itoa(i))
		q.delivered[i] = delivered.WithLabelValues(strconv.Itoa(i))
	}
	return q
}

// Connection counts connections as they are made (+1) and end (-1).
func (q *MQTT) Connection(delta int) { q.connections.Add(float64(delta)) }

// Refused counts a connection that was refused.
func (q *MQTT) Refused(reason string) { q.refused.get(reason).Inc() }

// Disconnected counts the end of a connection.
func (q *MQTT) Disconnected(reason string) { q.disconnected.get(reason).Inc() }

// Messages counts messages by QoS.
func (q *MQTT) Messages(received, delivered *[3]uint64) {
	for i := range received {
		add(q.received[i], received[i])
		add(q.delivered[i], delivered[i])
	}
}

func add(c prometheus.Counter, n uint64) {
	if n > 0 {
		c.Add(float64(n))
	}
}

// Limit counts what ran into a limit.
func (q *MQTT) Limit(name string) { q.limits.get(name).Inc() }

// Dropped counts a message that was dropped.
func (q *MQTT) Dropped(reason string) { q.dropped.get(reason).Inc() }

// Deny counts a packet that was refused.
func (q *MQTT) Deny(action string) { q.denials.get(action).Inc() }

// counters are those of a vector of one label, found without allocating.
type counters struct {
	vec   *prometheus.CounterVec
	mu    sync.RWMutex // guards known
	known map[string]prometheus.Counter
}

func newCounters(v *prometheus.CounterVec) *counters {
	return &counters{vec: v, known: map[string]prometheus.Counter{}}
}

func (c *counters) get(value string) prometheus.Counter {
	c.mu.RLock()
	n := c.known[value]
	c.mu.RUnlock()
	if n != nil {
		return n
	}
	n = c.vec.WithLabelValues(value)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known[value] = n
	return n
}
