package mqtt

import (
	"encoding/binary"
	"slices"
)

// Publish is PUBLISH (section 3.3).
type Publish struct {
	Dup        bool
	Retain     bool
	QoS        QoS
	ID         uint16 // 0 at QoS 0
	Topic      []byte // empty where a topic alias stands for it
	Properties Properties
	Payload    []byte
}

// Bits of the fixed header (section 3.3.1).
const (
	flagRetain = 1 << 0
	flagDup    = 1 << 3
)

// Decode implements Packet. That a topic alias is within the maximum is for
// the caller to check, who knows it.
func (p *Publish) Decode(d *Decoder, frame []byte) error {
	b, err := body(frame, TypePublish, d.Version)
	if err != nil {
		return err
	}
	flags := frame[0]
	*p = Publish{Dup: flags&flagDup != 0, Retain: flags&flagRetain != 0, QoS: QoS(flags >> 1 & 3)}
	if p.QoS > 2 {
		return malformed("QoS 3")
	}
	if p.Dup && p.QoS == 0 {
		return malformed("DUP at QoS 0") // [MQTT-3.3.1-2]
	}
	r := reader{b: b}
	p.Topic = r.bytes()
	if p.QoS > 0 {
		p.ID = r.uint16()
	}
	if r.bad {
		return malformed("topic name or packet identifier is cut off")
	}
	if p.QoS > 0 && p.ID == 0 {
		return protocolError("packet identifier 0")
	}
	if d.Version == V5 {
		if err := p.properties(d, &r); err != nil {
			return err
		}
	}
	p.Payload = r.b
	if len(p.Topic) == 0 && d.Version == V5 {
		return nil
	}
	return CheckTopicName(p.Topic, &d.Limits)
}

func (p *Publish) properties(d *Decoder, r *reader) (err error) {
	var seen set
	if p.Properties, seen, err = r.properties(V5, inPublish); err != nil {
		return err
	}
	if d.From == Client && seen.has(SubscriptionIdentifier) {
		return protocolError("subscription identifier from a client") // [MQTT-3.3.4-6]
	}
	if len(p.Topic) == 0 && !seen.has(TopicAlias) {
		return protocolError("neither topic name nor topic alias")
	}
	return nil
}

// Append implements Packet.
func (p *Publish) Append(dst []byte, v Version) ([]byte, error) {
	d := Delivery{Version: v, QoS: p.QoS, ID: p.ID, Dup: p.Dup, Retain: p.Retain}
	return p.append(dst, &d, nil, len(p.Properties))
}

// Delivery is what differs between the subscribers of one message.
type Delivery struct {
	Version    Version
	QoS        QoS
	Dup        bool
	Retain     bool
	Aliased    bool   // the receiver knows TopicAlias: the topic name is left out
	HasExpiry  bool   // Expiry is sent
	ID         uint16 // not 0 above QoS 0
	TopicAlias uint16 // 0: none
	Expiry     uint32 // seconds left
	// MaximumPacketSize is what the receiver takes, 0 anything.
	MaximumPacketSize uint32
	// SubscriptionIDs are those of the subscriptions that the message goes to.
	SubscriptionIDs []uint32
}

// AppendTo adds the message, as received, stored or taken from a will, to dst
// as a subscriber gets it. Topic, payload and the properties that are to be
// sent on (payload format, content type, response topic, correlation data,
// user properties) are copied as they are; of what else p carries nothing is
// sent. A message over MaximumPacketSize is PacketTooLarge and dst as it was:
// such a message is dropped as if it had been sent [MQTT-3.1.2-25].
func (p *Publish) AppendTo(dst []byte, d *Delivery) ([]byte, error) {
	if d.Version != V5 {
		return p.append(dst, d, nil, 0)
	}
	var buf [64]byte // larger only with more than ten subscription identifiers
	return p.append(dst, d, d.properties(buf[:0]), p.Properties.forwardSize())
}

// properties appends those of this delivery alone.
func (d *Delivery) properties(b []byte) []byte {
	if d.TopicAlias != 0 {
		b = binary.BigEndian.AppendUint16(append(b, byte(TopicAlias)), d.TopicAlias)
	}
	if d.HasExpiry {
		b = binary.BigEndian.AppendUint32(append(b, byte(MessageExpiryInterval)), d.Expiry)
	}
	for _, id := range d.SubscriptionIDs {
		b = appendUvarint(append(b, byte(SubscriptionIdentifier)), id)
	}
	return b
}

// append writes the packet with the properties own and size bytes of p's.
func (p *Publish) append(dst []byte, d *Delivery, own []byte, size int) ([]byte, error) {
	topic := p.Topic
	if d.Aliased && d.Version == V5 && d.TopicAlias != 0 {
		topic = nil
	}
	n := 2 + len(topic) + len(p.Payload)
	if d.QoS > 0 {
		n += 2
	}
	props := len(own) + size
	if props > maxRemaining {
		return dst, tooLarge()
	}
	if d.Version == V5 {
		n += uvarintSize(uint32(props)) + props //nolint:gosec // checked above
	}
	if len(topic) > maxString || n > maxRemaining {
		return dst, tooLarge()
	}
	total := 1 + uvarintSize(uint32(n)) + n
	if d.MaximumPacketSize > 0 && uint32(total) > d.MaximumPacketSize { //nolint:gosec // at most 268,435,460
		return dst, tooLarge()
	}
	dst = slices.Grow(dst, total)
	dst = append(dst, byte(TypePublish)<<4|d.flags())
	dst = appendUvarint(dst, uint32(n))
	dst = append(dst, byte(len(topic)>>8), byte(len(topic))) //nolint:gosec // checked above
	dst = append(dst, topic...)
	if d.QoS > 0 {
		dst = binary.BigEndian.AppendUint16(dst, d.ID)
	}
	if d.Version == V5 {
		dst = appendUvarint(dst, uint32(props)) //nolint:gosec // checked above
		dst = append(dst, own...)
		dst = p.Properties.appendForward(dst, size)
	}
	return append(dst, p.Payload...), nil
}

func (d *Delivery) flags() byte {
	return byte(d.QoS)<<1 | bit(d.Retain, flagRetain) | bit(d.Dup && d.QoS > 0, flagDup)
}

func tooLarge() error {
	return &Error{Code: PacketTooLarge, Detail: "message over the maximum packet size"}
}

// Template is an encoded PUBLISH that is sent many times with another packet
// identifier, DUP or RETAIN. The zero Template appends nothing.
type Template struct {
	frame []byte
	id    int // where the packet identifier is, 0 at QoS 0
}

// Template encodes the message once, in buf, for subscribers who get it with
// the same QoS, version and properties. It holds buf until it is done with.
func (p *Publish) Template(buf []byte, d *Delivery) (Template, error) {
	frame, err := p.AppendTo(buf[:0], d)
	if err != nil {
		return Template{}, err
	}
	t := Template{frame: frame}
	if d.QoS > 0 {
		_, k := uvarint(frame[1:])
		at := 1 + k
		t.id = at + 2 + int(binary.BigEndian.Uint16(frame[at:]))
	}
	return t, nil
}

// Len returns the size of the packet.
func (t Template) Len() int { return len(t.frame) }

// Bytes returns the buffer that the template holds, for the next one.
func (t Template) Bytes() []byte { return t.frame }

// AppendTo adds the packet to dst. At QoS 0 id and dup do not count.
func (t Template) AppendTo(dst []byte, id uint16, dup, retain bool) []byte {
	if len(t.frame) == 0 {
		return dst
	}
	start := len(dst)
	dst = append(dst, t.frame...)
	out := dst[start:]
	out[0] = out[0]&^(flagDup|flagRetain) | bit(retain, flagRetain)
	if t.id > 0 {
		out[0] |= bit(dup, flagDup)
		binary.BigEndian.PutUint16(out[t.id:], id)
	}
	return dst
}
