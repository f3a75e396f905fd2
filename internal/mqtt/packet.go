package mqtt

import "strconv"

// Version is a protocol level, as CONNECT carries it.
type Version byte

// The versions that are spoken.
const (
	V311 Version = 4
	V5   Version = 5
)

// String returns the version as the standards write it.
func (v Version) String() string {
	switch v {
	case V311:
		return "3.1.1"
	case V5:
		return "5"
	default:
		return "level " + strconv.Itoa(int(v))
	}
}

// Side is one end of a connection.
type Side byte

// The two ends.
const (
	Client Side = iota
	Server
)

// QoS is a quality of service: 0 at most once, 1 at least once, 2 exactly once.
type QoS byte

// PacketType is the type of a control packet (section 2.1.2).
type PacketType byte

// The packet types in the order of the standard.
const (
	TypeConnect PacketType = iota + 1
	TypeConnack
	TypePublish
	TypePuback
	TypePubrec
	TypePubrel
	TypePubcomp
	TypeSubscribe
	TypeSuback
	TypeUnsubscribe
	TypeUnsuback
	TypePingreq
	TypePingresp
	TypeDisconnect
	TypeAuth
)

// String returns the name of the packet.
func (t PacketType) String() string {
	names := [...]string{
		"reserved", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE",
		"SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
	}
	return names[t&0x0f]
}

// flags returns what the low half of the first byte must be (section 2.1.3).
func (t PacketType) flags() byte {
	if t == TypePubrel || t == TypeSubscribe || t == TypeUnsubscribe {
		return 2
	}
	return 0
}

// TypeOf returns the type of the packet that frame begins with, 0 if it is empty.
func TypeOf(frame []byte) PacketType {
	if len(frame) == 0 {
		return 0
	}
	return PacketType(frame[0] >> 4)
}

// Packet is any control packet.
type Packet interface {
	// Decode reads frame, one whole packet as Frame found it. The fields alias
	// frame; after an error they mean nothing.
	Decode(d *Decoder, frame []byte) error
	// Append adds the packet in version v to dst. With an error it returns dst
	// as it was: PacketTooLarge, or the packet's own reason code if version v
	// has no way to say it and the connection is to be closed instead.
	Append(dst []byte, v Version) ([]byte, error)
}

// New returns an empty packet of a type, nil for the reserved type 0. Loops
// that read many packets keep their own instead.
func New(t PacketType) Packet {
	switch t {
	case TypeConnect:
		return new(Connect)
	case TypeConnack:
		return new(Connack)
	case TypePublish:
		return new(Publish)
	case TypePuback, TypePubrec, TypePubrel, TypePubcomp:
		return &Ack{Type: t}
	case TypeSubscribe:
		return new(Subscribe)
	case TypeSuback:
		return new(Suback)
	case TypeUnsubscribe:
		return new(Unsubscribe)
	case TypeUnsuback:
		return new(Unsuback)
	case TypePingreq, TypePingresp:
		return &Ping{Type: t}
	case TypeDisconnect:
		return new(Disconnect)
	case TypeAuth:
		return new(Auth)
	default:
		return nil
	}
}

// Limits bound what a peer may send, beyond the packet size that Frame takes.
// Zero means as much as the format allows.
type Limits struct {
	// TopicLength is in bytes and TopicLevels in levels (slashes plus one) of a
	// topic name or filter. As in AWS's quotas, "$aws/rules/RULE/" and
	// "$share/NAME/" in front are not counted.
	TopicLength int
	TopicLevels int
	ShareName   int // bytes of NAME in "$share/NAME/"
	ClientID    int // bytes
	Filters     int // topic filters of one SUBSCRIBE or UNSUBSCRIBE
}

// Decoder says by which version, from whom and within which limits packets are
// read. It does not change: connections share it.
type Decoder struct {
	Version Version // CONNECT names its own
	From    Side    // who sent the packets
	Limits  Limits
}

// maxRemaining is the largest remaining length (section 2.1.4).
const maxRemaining = 268_435_455

// maxString is the longest string or binary data (section 1.5.4).
const maxString = 65_535

// Frame looks for a whole packet at the start of b and returns its length, 0
// if more bytes are needed. It returns MalformedPacket for packet type 0 and
// for a remaining length of more than four bytes, and PacketTooLarge, as soon
// as its length is known, for a packet of more than limit bytes, header
// included; limit 0 stands for none.
func Frame(b []byte, limit int) (n int, err error) {
	if len(b) == 0 {
		return 0, nil
	}
	if b[0] < 0x10 {
		return 0, malformed("packet type 0 is reserved")
	}
	length, k := uvarint(b[1:])
	if k < 0 {
		return 0, malformed("remaining length of more than four bytes")
	}
	if k == 0 {
		return 0, nil
	}
	n = 1 + k + int(length)
	if limit > 0 && n > limit {
		return 0, &Error{Code: PacketTooLarge, Detail: "packet over the maximum size"}
	}
	if len(b) < n {
		return 0, nil
	}
	return n, nil
}

// body checks the fixed header of frame against t and v and returns what
// follows. The flags of PUBLISH are its own.
func body(frame []byte, t PacketType, v Version) ([]byte, error) {
	if len(frame) < 2 || TypeOf(frame) != t {
		return nil, malformed("not the expected packet")
	}
	if t != TypePublish && frame[0]&0x0f != t.flags() {
		return nil, malformed("reserved flags of the fixed header")
	}
	length, k := uvarint(frame[1:])
	if k <= 0 || len(frame) != 1+k+int(length) {
		return nil, malformed("not one whole packet")
	}
	if v == V5 && k != uvarintSize(length) {
		return nil, malformed("remaining length in more bytes than it needs")
	}
	return frame[1+k:], nil
}

// uvarint reads a variable byte integer (section 1.5.5): its value and size,
// size 0 if b ends within it, -1 if it is longer than four bytes.
func uvarint(b []byte) (v uint32, n int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint32(b[0]), 1
	}
	for i, c := range b {
		if i == 4 {
			break
		}
		v |= uint32(c&0x7f) << (7 * i)
		if c < 0x80 {
			return v, i + 1
		}
	}
	if len(b) >= 4 {
		return 0, -1
	}
	return 0, 0
}

func uvarintSize(v uint32) int {
	switch {
	case v < 1<<7:
		return 1
	case v < 1<<14:
		return 2
	case v < 1<<21:
		return 3
	default:
		return 4
	}
}

func appendUvarint(dst []byte, v uint32) []byte {
	for v >= 0x80 {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v))
}
