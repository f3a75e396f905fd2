package mqtt

import (
	"encoding/binary"
	"fmt"
	"iter"
)

// PropertyID is the identifier of a property (section 2.2.2.2).
type PropertyID byte

// The properties in the order of the standard.
const (
	PayloadFormatIndicator          PropertyID = 0x01
	MessageExpiryInterval           PropertyID = 0x02
	ContentType                     PropertyID = 0x03
	ResponseTopic                   PropertyID = 0x08
	CorrelationData                 PropertyID = 0x09
	SubscriptionIdentifier          PropertyID = 0x0B
	SessionExpiryInterval           PropertyID = 0x11
	AssignedClientIdentifier        PropertyID = 0x12
	ServerKeepAlive                 PropertyID = 0x13
	AuthenticationMethod            PropertyID = 0x15
	AuthenticationData              PropertyID = 0x16
	RequestProblemInformation       PropertyID = 0x17
	WillDelayInterval               PropertyID = 0x18
	RequestResponseInformation      PropertyID = 0x19
	ResponseInformation             PropertyID = 0x1A
	ServerReference                 PropertyID = 0x1C
	ReasonString                    PropertyID = 0x1F
	ReceiveMaximum                  PropertyID = 0x21
	TopicAliasMaximum               PropertyID = 0x22
	TopicAlias                      PropertyID = 0x23
	MaximumQoS                      PropertyID = 0x24
	RetainAvailable                 PropertyID = 0x25
	UserProperty                    PropertyID = 0x26
	MaximumPacketSize               PropertyID = 0x27
	WildcardSubscriptionAvailable   PropertyID = 0x28
	SubscriptionIdentifierAvailable PropertyID = 0x29
	SharedSubscriptionAvailable     PropertyID = 0x2A
)

// kind is the data type of a property, with the values that it may have.
type kind byte

const (
	unknown    kind = iota
	flag            // a byte, 0 or 1
	two             // a two byte integer
	twoSet          // and not 0
	four            // a four byte integer
	fourSet         // and not 0
	varSet          // a variable byte integer, not 0
	text            // a UTF-8 encoded string
	topic           // and a topic name
	binaryData      // binary data
	pair            // a UTF-8 string pair
)

type property struct {
	name string
	kind kind
	in   uint32
}

const (
	inPublish  = 1 << TypePublish
	inConnect  = 1 << TypeConnect
	inAuth     = inClientAuth
	inMessage  = inPublish | inWill
	inReplies  = inConnack | inPuback | inPubrel | inEverySuback | inClientBye | inAuth
	inRequests = inConnect | inMessage | 1<<TypeSubscribe | 1<<TypeUnsubscribe
)

//nolint:gochecknoglobals // constant table: table 2-4 of the standard
var properties = [256]property{
	PayloadFormatIndicator:          {"Payload Format Indicator", flag, inMessage},
	MessageExpiryInterval:           {"Message Expiry Interval", four, inMessage},
	ContentType:                     {"Content Type", text, inMessage},
	ResponseTopic:                   {"Response Topic", topic, inMessage},
	CorrelationData:                 {"Correlation Data", binaryData, inMessage},
	SubscriptionIdentifier:          {"Subscription Identifier", varSet, inPublish | 1<<TypeSubscribe},
	SessionExpiryInterval:           {"Session Expiry Interval", four, inConnect | inConnack | inClientBye},
	AssignedClientIdentifier:        {"Assigned Client Identifier", text, inConnack},
	ServerKeepAlive:                 {"Server Keep Alive", two, inConnack},
	AuthenticationMethod:            {"Authentication Method", text, inConnect | inConnack | inAuth},
	AuthenticationData:              {"Authentication Data", binaryData, inConnect | inConnack | inAuth},
	RequestProblemInformation:       {"Request Problem Information", flag, inConnect},
	WillDelayInterval:               {"Will Delay Interval", four, inWill},
	RequestResponseInformation:      {"Request Response Information", flag, inConnect},
	ResponseInformation:             {"Response Information", text, inConnack},
	ServerReference:                 {"Server Reference", text, inConnack | inClientBye},
	ReasonString:                    {"Reason String", text, inReplies},
	ReceiveMaximum:                  {"Receive Maximum", twoSet, inConnect | inConnack},
	TopicAliasMaximum:               {"Topic Alias Maximum", two, inConnect | inConnack},
	TopicAlias:                      {"Topic Alias", twoSet, inPublish},
	MaximumQoS:                      {"Maximum QoS", flag, inConnack},
	RetainAvailable:                 {"Retain Available", flag, inConnack},
	UserProperty:                    {"User Property", pair, inReplies | inRequests},
	MaximumPacketSize:               {"Maximum Packet Size", fourSet, inConnect | inConnack},
	WildcardSubscriptionAvailable:   {"Wildcard Subscription Available", flag, inConnack},
	SubscriptionIdentifierAvailable: {"Subscription Identifier Available", flag, inConnack},
	SharedSubscriptionAvailable:     {"Shared Subscription Available", flag, inConnack},
}

// String returns the name of the property.
func (id PropertyID) String() string {
	if s := properties[id].name; s != "" {
		return s
	}
	return fmt.Sprintf("property 0x%02X", byte(id))
}

// Property is one property of a packet. Integers are in Number, strings and
// binary data in Value, and a user property is Name and Value.
type Property struct {
	ID          PropertyID
	Number      uint32
	Name, Value []byte
}

// Properties are the properties of one packet as the wire carries them,
// without their length in front. They come out of Decode or Add; other bytes
// read as the properties up to the first that is none.
type Properties []byte

// All yields the properties in their order.
func (p Properties) All() iter.Seq[Property] {
	return func(yield func(Property) bool) {
		for rest := p; len(rest) > 0; {
			x, n := rest.next()
			if n == 0 || !yield(x) {
				return
			}
			rest = rest[n:]
		}
	}
}

// Find returns the first property with the identifier.
func (p Properties) Find(id PropertyID) (Property, bool) {
	for x := range p.All() {
		if x.ID == id {
			return x, true
		}
	}
	return Property{}, false
}

// Number returns the integer of the property, absent if it is not there.
func (p Properties) Number(id PropertyID, absent uint32) uint32 {
	if x, ok := p.Find(id); ok {
		return x.Number
	}
	return absent
}

// Add appends properties to p. It refuses one that no packet may have, so what
// is longer than its length field is never cut; whether the packet may carry
// it is up to the caller. With an error it returns p as it was.
func (p Properties) Add(more ...Property) (Properties, error) {
	out := p
	for i := range more {
		x := &more[i]
		k := properties[x.ID].kind
		if k == unknown {
			return p, protocolError("unknown property")
		}
		if len(x.Name) > maxString || len(x.Value) > maxString || k == varSet && x.Number > maxRemaining {
			return p, &Error{Code: PacketTooLarge, Detail: "property too large"}
		}
		if err := x.check(k); err != nil {
			return p, err
		}
		out = x.append(out, k)
	}
	return out, nil
}

func (x *Property) append(dst []byte, k kind) []byte {
	dst = append(dst, byte(x.ID))
	switch k {
	case flag:
		return append(dst, byte(x.Number)) //nolint:gosec // check bounds it
	case two, twoSet:
		return binary.BigEndian.AppendUint16(dst, uint16(x.Number)) //nolint:gosec // check bounds it
	case four, fourSet:
		return binary.BigEndian.AppendUint32(dst, x.Number)
	case varSet:
		return appendUvarint(dst, x.Number)
	case pair:
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(x.Name))) //nolint:gosec // Add bounds it
		dst = append(dst, x.Name...)
	case text, topic, binaryData, unknown:
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(x.Value))) //nolint:gosec // Add bounds it
	return append(dst, x.Value...)
}

// next reads the first property and returns its size, 0 if it is unknown or
// cut off.
func (p Properties) next() (x Property, n int) {
	x.ID = PropertyID(p[0])
	r := reader{b: p[1:]}
	switch properties[x.ID].kind {
	case flag:
		x.Number = uint32(r.byte())
	case two, twoSet:
		x.Number = uint32(r.uint16())
	case four, fourSet:
		x.Number = r.uint32()
	case varSet:
		x.Number = r.uvarint()
	case text, topic, binaryData:
		x.Value = r.bytes()
	case pair:
		x.Name = r.bytes()
		x.Value = r.bytes()
	case unknown:
		r.bad = true
	}
	if r.bad {
		return Property{}, 0
	}
	return x, len(p) - len(r.b)
}

// set is a set of properties, a bit for each identifier.
type set uint64

func (s set) has(id PropertyID) bool { return s>>id&1 != 0 }

// check refuses properties that a packet in the set in may not have, and
// returns which there are.
func (p Properties) check(in uint32) (seen set, err error) {
	for rest := p; len(rest) > 0; {
		x, n := rest.next()
		if n == 0 {
			return 0, malformed("property that is unknown or cut off")
		}
		def := &properties[x.ID]
		if def.in&in == 0 {
			return 0, malformed("property of another packet: " + def.name)
		}
		// A PUBLISH that matches several subscriptions has an identifier of each.
		if seen.has(x.ID) && x.ID != UserProperty && (x.ID != SubscriptionIdentifier || in != inPublish) {
			return 0, protocolError("property given twice: " + def.name)
		}
		if err := x.check(def.kind); err != nil {
			return 0, err
		}
		seen |= 1 << x.ID
		rest = rest[n:]
	}
	if seen.has(AuthenticationData) && !seen.has(AuthenticationMethod) {
		return 0, protocolError("authentication data without method")
	}
	return seen, nil
}

// check refuses a value that the property may not have.
func (x *Property) check(k kind) error {
	ok := true
	switch k {
	case flag:
		ok = x.Number <= 1
	case two:
		ok = x.Number <= maxString
	case twoSet:
		ok = x.Number-1 < maxString
	case fourSet, varSet:
		ok = x.Number != 0
	case text:
		if !ValidUTF8(x.Value) {
			return malformed("property is not valid UTF-8: " + x.ID.String())
		}
	case topic:
		_, wildcard, valid := scan(x.Value)
		if !valid {
			return malformed("property is not valid UTF-8: " + x.ID.String())
		}
		ok = !wildcard && len(x.Value) > 0
	case pair:
		if !ValidUTF8(x.Name) || !ValidUTF8(x.Value) {
			return malformed("property is not valid UTF-8: " + x.ID.String())
		}
	case unknown, four, binaryData:
	}
	if ok {
		return nil
	}
	if x.ID == TopicAlias {
		return &Error{Code: TopicAliasInvalid, Detail: "topic alias 0"}
	}
	return protocolError("property out of its range: " + x.ID.String())
}

// forwarded is the set of the properties that a server sends on unaltered
// (sections 3.3.2.3.2 to 3.3.2.3.9). Those of a will are the same.
const forwarded set = 1<<PayloadFormatIndicator | 1<<ContentType | 1<<ResponseTopic | 1<<CorrelationData | 1<<UserProperty

// forwardSize returns how many bytes appendForward adds.
func (p Properties) forwardSize() int {
	size := 0
	for rest := p; len(rest) > 0; {
		x, n := rest.next()
		if n == 0 {
			break
		}
		if forwarded.has(x.ID) {
			size += n
		}
		rest = rest[n:]
	}
	return size
}

// appendForward appends the properties that are sent on, size bytes in all.
func (p Properties) appendForward(dst []byte, size int) []byte {
	if size == len(p) {
		return append(dst, p...)
	}
	for rest := p; size > 0; {
		x, n := rest.next()
		if forwarded.has(x.ID) {
			dst = append(dst, rest[:n]...)
			size -= n
		}
		rest = rest[n:]
	}
	return dst
}
