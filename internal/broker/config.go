package broker

import (
	"io"
	"log/slog"
	"time"
)

// Profile says whose semantics the broker has.
type Profile uint8

// The profiles.
const (
	AWS      Profile = iota // AWS IoT Core's
	Standard                // those of the OASIS standards, with QoS 2
)

// Limits bound what clients may do. A zero count or rate means no limit.
type Limits struct {
	ClientID       int           // bytes of a client identifier
	Payload        int           // bytes of a PUBLISH's payload
	PacketSize     int           // bytes of any packet; what CONNACK announces in MQTT 5
	TopicLength    int           // bytes of a topic
	TopicLevels    int           // levels of a topic (slashes plus one)
	ShareName      int           // bytes of the name of a shared subscription
	Filters        int           // topic filters of one SUBSCRIBE or UNSUBSCRIBE
	Subscriptions  int           // of one connection
	Inflight       int           // QoS 1 and 2 messages on the way, each direction: the receive maximum
	TopicAliases   int           // topic aliases of one connection
	KeepAliveMin   time.Duration // shorter ones are raised to it
	KeepAliveMax   time.Duration // longer ones, and none, are lowered to it; 0 leaves them
	ConnectRate    float64       // CONNECTs a second per client identifier
	ConnectTimeout time.Duration // from accepting a connection to its CONNECT
	SessionExpiry  time.Duration // of a persistent session of 3.1.1
	MaxExpiry      time.Duration // the longest session expiry interval that a client may ask for
	MessageExpiry  time.Duration // the longest message expiry interval
	PublishRate    float64       // PUBLISH packets a second of one connection
	Throughput     float64       // bytes a second of one connection
	RedeliveryRate float64       // stored messages a second to one session
	QueuedMessages int           // messages that wait for one session
	QueuedBytes    int64         // bytes of messages that wait for one session
	Output         int           // bytes that wait for one slow reader
	Connections    int           // of the broker
	Sessions       int           // of the broker, those of clients that are away included
	Retained       int           // retained messages of the broker
	RetainedBytes  int64         // and their bytes, which are in memory
}

// AWSLimits are the quotas of AWS IoT Core (general reference, iot-core), with
// what AWS leaves open set to sensible bounds.
func AWSLimits() Limits {
	return Limits{
		ClientID: 128, Payload: 128 << 10, PacketSize: 149_504, TopicLength: 256, TopicLevels: 8, ShareName: 128,
		Filters: 8, Subscriptions: 50, Inflight: 100, TopicAliases: 8,
		KeepAliveMin: 30 * time.Second, KeepAliveMax: 20 * time.Minute, ConnectRate: 1, ConnectTimeout: 10 * time.Second,
		SessionExpiry: time.Hour, MaxExpiry: 7 * 24 * time.Hour, MessageExpiry: 7 * 24 * time.Hour,
		QueuedMessages: 100_000, QueuedBytes: 256 << 20, Output: 4 << 20,
		Sessions: 1_000_000, Retained: 500_000, RetainedBytes: 1 << 30,
	}
}

// StandardLimits are for the OASIS profile: only what keeps the broker's memory bounded.
func StandardLimits() Limits {
	l := AWSLimits()
	l.ClientID, l.Payload, l.PacketSize = 0, 0, 1<<20
	l.TopicLength, l.TopicLevels, l.ShareName = 0, 1024, 0 // each level of a filter is a place in a tree
	l.Filters, l.Subscriptions, l.TopicAliases = 1000, 10_000, 16
	l.KeepAliveMin, l.KeepAliveMax, l.ConnectRate = 0, 0, 0
	l.MessageExpiry = 0
	l.SessionExpiry = l.MaxExpiry
	return l
}

// Config is what a Broker is made of.
type Config struct {
	Profile  Profile
	Limits   Limits
	Loops    int // 0 means one for each processor
	Access   Access
	Store    Store       // nil keeps everything in memory only
	Full     func() bool // the store's disk has no room to spare; nil means never
	Observer Observer    // nil counts nothing
	Logger   *slog.Logger
	Now      func() time.Time
	Rand     io.Reader
	Taps     []Tap
	Presence func(Presence) // told of every client that comes and goes; may be nil, must not block
	Streams  bool           // serve every connection by goroutines, as where nothing can be polled
	StockTLS bool           // leave parked TLS connections to crypto/tls, as those that tlsrecord declines
}

// Presence is whether a client is connected.
type Presence struct {
	Thing     string // that the connection is associated with, else the client ID
	Connected bool
	At        time.Time
	Reason    string // the disconnectReason of lifecycle events
}

// Observer counts what happens. Its methods are called by the event loops and
// must not block.
type Observer interface {
	// Connection counts connections as they are made (+1) and end (-1).
	Connection(delta int)
	// Refused counts CONNECTs that were refused, by reason.
	Refused(reason string)
	// Disconnected counts ends of connections by the disconnectReason of lifecycle events.
	Disconnected(reason string)
	// Messages counts messages that were received from clients and delivered to them, by QoS.
	Messages(received, delivered *[3]uint64)
	// Limit counts what ran into a limit, and Dropped messages that were dropped, by which and why.
	Limit(name string)
	Dropped(reason string)
	// Deny counts denials by action.
	Deny(action string)
}

type noObserver struct{}

func (noObserver) Connection(int)           {}
func (noObserver) Refused(string)           {}
func (noObserver) Disconnected(string)      {}
func (noObserver) Messages(_, _ *[3]uint64) {}
func (noObserver) Limit(string)             {}
func (noObserver) Dropped(string)           {}
func (noObserver) Deny(string)              {}
