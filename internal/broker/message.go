package broker

import (
	"encoding/binary"
	"errors"
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
	From       *Peer           // who published it, for taps; nil where it is nobody that they care about
}

// Retained is a retained message. What it holds must not be changed.
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

// message is a message that outlives the buffer it was read into. It never
// changes, and loops share it.
type message struct {
	topic   []byte
	payload []byte
	props   mqtt.Properties
	qos     mqtt.QoS
	retain  bool
	expires int64  // in Unix seconds; 0 for never
	stored  uint64 // under which id the store has it for more than one session; 0 for none
}

// size is what the message counts where bytes are limited.
func (m *message) size() int64 {
	return int64(len(m.topic) + len(m.payload) + len(m.props) + messageOverhead)
}

// messageOverhead is what a message takes beside its bytes.
const messageOverhead = 64

func (m *message) expired(now int64) bool { return m.expires != 0 && m.expires <= now }

// newMessage copies what it is given into one allocation.
func newMessage(topic, payload []byte, props mqtt.Properties) *message {
	b := make([]byte, 0, len(topic)+len(payload)+len(props))
	b = append(append(append(b, topic...), payload...), props...)
	n, k := len(topic), len(topic)+len(payload)
	m := &message{topic: b[:n:n], payload: b[n:k:k]}
	if len(props) > 0 {
		m.props = mqtt.Properties(b[k:])
	}
	return m
}

// encode appends the message as the store keeps it.
func (m *message) encode(b []byte) []byte {
	flags := byte(m.qos)
	if m.retain {
		flags |= 4
	}
	b = append(b, flags)
	b = binary.AppendVarint(b, m.expires)
	b = binary.AppendUvarint(b, uint64(len(m.topic)))
	b = append(b, m.topic...)
	b = binary.AppendUvarint(b, uint64(len(m.props)))
	b = append(b, m.props...)
	return append(b, m.payload...)
}

var errRecord = errors.New("a stored record is damaged")

// decodeMessage reads what encode wrote. The message has its own copy.
func decodeMessage(b []byte) (*message, error) {
	r := recordReader{b: b}
	flags := r.byte()
	expires := r.varint()
	topic := r.bytes(int(r.uvarint())) //nolint:gosec // bytes checks it
	props := r.bytes(int(r.uvarint())) //nolint:gosec // bytes checks it
	if r.bad || len(topic) == 0 {
		return nil, errRecord
	}
	m := newMessage(topic, r.b, props)
	m.qos, m.retain, m.expires = mqtt.QoS(flags&3), flags&4 != 0, expires
	return m, nil
}

// recordReader takes fields off the front of a stored record.
type recordReader struct {
	b   []byte
	bad bool
}

func (r *recordReader) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *recordReader) skip(n int) {
	if n <= 0 {
		r.bad, r.b = true, nil
		return
	}
	r.b = r.b[n:]
}

func (r *recordReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	r.skip(n)
	return v
}

func (r *recordReader) varint() int64 {
	v, n := binary.Varint(r.b)
	r.skip(n)
	return v
}

func (r *recordReader) bytes(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.bad = true
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}
