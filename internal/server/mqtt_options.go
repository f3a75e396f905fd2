package server

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/sekisho-iot/sekisho/internal/broker"
)

// The values of --mqtt-profile.
const (
	profileAWS      = "aws"
	profileStandard = "standard"
)

// MQTTLimit is a limit of the broker that has a flag of its own.
type MQTTLimit struct {
	Name  string // of the flag
	Usage string // with the defaults of both profiles; the kind of value in backquotes

	at       func(*broker.Limits) any // *int, *int64, *float64 or *time.Duration
	min, max float64                  // durations in seconds
}

// MQTTLimits returns the flags of the broker's limits. Their values are strings,
// since one that is not given leaves the profile's.
func MQTTLimits() []MQTTLimit {
	limits := slices.Concat(packetLimits(), timeLimits(), loadLimits())
	aws, standard := broker.AWSLimits(), broker.StandardLimits()
	for i := range limits {
		l := &limits[i]
		a, s := l.show(&aws), l.show(&standard)
		switch {
		case l.Name == "mqtt-connections":
			l.Usage += " (unless given, what the descriptors of the process allow)"
		case a == s:
			l.Usage += fmt.Sprintf(" (default %s)", a)
		default:
			l.Usage += fmt.Sprintf(" (default %s, %s with --mqtt-profile standard)", a, s)
		}
	}
	return limits
}

const (
	maxMQTTString  = math.MaxUint16 // what a string of a packet may have, and a topic
	maxMQTTPacket  = 256 << 20      // what a packet may have
	maxMQTTSeconds = math.MaxUint32 // what a property of MQTT 5 may say
	noMaximum      = math.MaxInt32
)

// packetLimits bound what is in packets.
func packetLimits() []MQTTLimit {
	return []MQTTLimit{
		{Name: "mqtt-client-id", Usage: "`bytes` of a client identifier", max: maxMQTTString, at: func(l *broker.Limits) any { return &l.ClientID }},
		{Name: "mqtt-max-payload", Usage: "`bytes` of a message's payload", max: maxMQTTPacket, at: func(l *broker.Limits) any { return &l.Payload }},
		{Name: "mqtt-max-packet", Usage: "`bytes` of an MQTT packet", min: 1 << 10, max: maxMQTTPacket, at: func(l *broker.Limits) any { return &l.PacketSize }},
		{Name: "mqtt-topic-length", Usage: "`bytes` of a topic", max: maxMQTTString, at: func(l *broker.Limits) any { return &l.TopicLength }},
		{Name: "mqtt-topic-levels", Usage: "`number` of levels of a topic: its slashes and one", max: maxMQTTString, at: func(l *broker.Limits) any { return &l.TopicLevels }},
		{Name: "mqtt-share-name", Usage: "`bytes` of the name of a shared subscription", max: maxMQTTString, at: func(l *broker.Limits) any { return &l.ShareName }},
		{Name: "mqtt-filters", Usage: "`number` of topic filters of one SUBSCRIBE or UNSUBSCRIBE", max: maxMQTTString, at: func(l *broker.Limits) any { return &l.Filters }},
		{Name: "mqtt-subscriptions", Usage: "`number` of subscriptions of one connection", max: noMaximum, at: func(l *broker.Limits) any { return &l.Subscriptions }},
		{Name: "mqtt-inflight", Usage: "`number` of messages of QoS 1 and 2 on the way, each direction", min: 1, max: maxMQTTString, at: func(l *broker.Limits) any { return &l.Inflight }},
		{Name: "mqtt-topic-aliases", Usage: "`number` of topic aliases of one connection; 0 turns them off", max: maxMQTTString, at: func(l *broker.Limits) any { return &l.TopicAliases }},
	}
}

// timeLimits are durations.
func timeLimits() []MQTTLimit {
	return []MQTTLimit{
		{Name: "mqtt-keep-alive-min", Usage: "shorter keep-alives are raised to this `duration`", max: maxMQTTString, at: func(l *broker.Limits) any { return &l.KeepAliveMin }},
		{Name: "mqtt-keep-alive-max", Usage: "longer keep-alives, and none, are lowered to this `duration`; 0 leaves them", max: maxMQTTString, at: func(l *broker.Limits) any { return &l.KeepAliveMax }},
		{Name: "mqtt-connect-timeout", Usage: "`duration` from accepting a connection to its CONNECT", min: 1, max: 3600, at: func(l *broker.Limits) any { return &l.ConnectTimeout }},
		{Name: "mqtt-session-expiry", Usage: "`duration` that a persistent session of MQTT 3.1.1 is kept while its client is away", max: maxMQTTSeconds, at: func(l *broker.Limits) any { return &l.SessionExpiry }},
		{Name: "mqtt-max-session-expiry", Usage: "the longest `duration` that a client of MQTT 5 may have its session kept", max: maxMQTTSeconds, at: func(l *broker.Limits) any { return &l.MaxExpiry }},
		{Name: "mqtt-message-expiry", Usage: "the longest `duration` until a message expires", max: maxMQTTSeconds, at: func(l *broker.Limits) any { return &l.MessageExpiry }},
	}
}

// loadLimits bound rates and memory.
func loadLimits() []MQTTLimit {
	return []MQTTLimit{
		{Name: "mqtt-connect-rate", Usage: "`number` of CONNECTs a second of one client identifier", max: noMaximum, at: func(l *broker.Limits) any { return &l.ConnectRate }},
		{Name: "mqtt-publish-rate", Usage: "`number` of messages a second that one connection may publish", max: noMaximum, at: func(l *broker.Limits) any { return &l.PublishRate }},
		{Name: "mqtt-throughput", Usage: "`bytes` a second of one connection", max: math.MaxInt64, at: func(l *broker.Limits) any { return &l.Throughput }},
		{Name: "mqtt-redelivery-rate", Usage: "`number` of stored messages a second that one session is sent", max: noMaximum, at: func(l *broker.Limits) any { return &l.RedeliveryRate }},
		{Name: "mqtt-queued-messages", Usage: "`number` of messages that wait for one session", min: 1, max: noMaximum, at: func(l *broker.Limits) any { return &l.QueuedMessages }},
		{Name: "mqtt-queued-bytes", Usage: "`bytes` of messages that wait for one session", min: 1, max: math.MaxInt64, at: func(l *broker.Limits) any { return &l.QueuedBytes }},
		{Name: "mqtt-output", Usage: "`bytes` that wait for one connection that reads too slowly", min: 64 << 10, max: noMaximum, at: func(l *broker.Limits) any { return &l.Output }},
		{Name: "mqtt-sessions", Usage: "`number` of MQTT sessions, those of clients that are away included", min: 1, max: noMaximum, at: func(l *broker.Limits) any { return &l.Sessions }},
		{Name: "mqtt-retained", Usage: "`number` of retained messages", min: 1, max: noMaximum, at: func(l *broker.Limits) any { return &l.Retained }},
		{Name: "mqtt-retained-bytes", Usage: "`bytes` of retained messages, which are held in memory", min: 1, max: math.MaxInt64, at: func(l *broker.Limits) any { return &l.RetainedBytes }},
		{Name: "mqtt-connections", Usage: "`number` of MQTT connections", min: 1, max: noMaximum, at: func(l *broker.Limits) any { return &l.Connections }},
	}
}

// show renders the value in l for people: "none" where there is no limit.
func (m *MQTTLimit) show(l *broker.Limits) string {
	var s string
	switch p := m.at(l).(type) {
	case *int:
		s = strconv.Itoa(*p)
	case *int64:
		s = strconv.FormatInt(*p, 10)
	case *float64:
		s = strconv.FormatFloat(*p, 'g', -1, 64)
	case *time.Duration:
		s = p.String()
		if *p == 0 {
			s = "0"
		}
	}
	if s == "0" {
		return "none"
	}
	return s
}

// set writes a flag's value into l.
func (m *MQTTLimit) set(l *broker.Limits, value string) error {
	refuse := func(kind, low, high string) error {
		return usagef("--%s %q: %s of %s to %s is needed", m.Name, value, kind, low, high)
	}
	n := func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
	within := func(f float64) bool { return f >= m.min && f <= m.max }
	switch p := m.at(l).(type) {
	case *time.Duration:
		d, err := time.ParseDuration(value)
		if err != nil || !within(d.Seconds()) {
			return refuse("a duration such as 90s or 20m", seconds(m.min), seconds(m.max))
		}
		*p = d
	case *float64:
		f, err := strconv.ParseFloat(value, 64)
		if err != nil || !within(f) {
			return refuse("a number", n(m.min), n(m.max))
		}
		*p = f
	case *int64:
		i, err := strconv.ParseInt(value, 10, 64)
		if err != nil || !within(float64(i)) {
			return refuse("a whole number", n(m.min), n(m.max))
		}
		*p = i
	case *int:
		i, err := strconv.Atoi(value)
		if err != nil || !within(float64(i)) {
			return refuse("a whole number", n(m.min), n(m.max))
		}
		*p = i
	}
	return nil
}

func seconds(f float64) string { return (time.Duration(f) * time.Second).String() }

// mqttLimits are the profile's limits with what the flags say otherwise.
func (o *Options) mqttLimits() (broker.Profile, broker.Limits, error) {
	profile, limits := broker.AWS, broker.AWSLimits()
	switch o.MQTTProfile {
	case profileAWS:
	case profileStandard:
		profile, limits = broker.Standard, broker.StandardLimits()
	default:
		return profile, limits, usagef("--mqtt-profile %q: aws or standard", o.MQTTProfile)
	}
	for _, l := range MQTTLimits() {
		v, given := o.MQTTLimits[l.Name]
		if !given {
			continue
		}
		if err := l.set(&limits, v); err != nil {
			return profile, limits, err
		}
	}
	switch {
	case limits.KeepAliveMax > 0 && limits.KeepAliveMin > limits.KeepAliveMax:
		return profile, limits, usagef("--mqtt-keep-alive-min %s is longer than --mqtt-keep-alive-max %s", limits.KeepAliveMin, limits.KeepAliveMax)
	case limits.Payload > limits.PacketSize:
		return profile, limits, usagef("--mqtt-max-payload %d does not fit into --mqtt-max-packet %d", limits.Payload, limits.PacketSize)
	case limits.Output < limits.PacketSize:
		return profile, limits, usagef("--mqtt-output %d is less than one packet: --mqtt-max-packet is %d", limits.Output, limits.PacketSize)
	}
	if limits.Connections == 0 {
		limits.Connections = int(mqttConnLimit(descriptors()))
	}
	return profile, limits, nil
}
