package broker

import (
	"time"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// Message is a message that does not come from an MQTT connection.
type Message struct {
	Topic      string
	Payload    []byte
	QoS        mqtt.QoS
	Retain     bool
	Properties mqtt.Properties // as a PUBLISH carries them; message expiry included
}

// Retained is a retained message.
type Retained struct {
	Topic      string
	Payload    []byte
	QoS        mqtt.QoS
	Properties mqtt.Properties
	Modified   time.Time
}

// Attachment says how Attach is to take a connection.
type Attachment struct {
	Peer      Peer
	WebSocket bool   // the connection is a WebSocket of subprotocol mqtt, its handshake done
	Early     []byte // what was read from it already
}
