// Package mqtt is the wire format of MQTT 3.1.1 and MQTT 5: framing, every
// packet, every property, reason codes, topic names and topic filters. It is
// made for event loops that own their buffers: it reads no socket, keeps no
// state and starts nothing.
//
// Frame cuts packets out of a buffer; the Decode methods check one packet and
// leave its fields as sub-slices of the frame, so they are valid only as long
// as the caller leaves the frame alone; the Append methods add a packet to the
// caller's slice, or return it as it was with an error.
//
// Invariants: Decode accepts nothing that the standard refuses, and what it
// accepted encodes to a packet that decodes to the same; no input panics; no
// length that a peer claims is believed before the bytes are there, and none
// decides an allocation; PUBLISH, acknowledgements and pings are decoded, and
// a PUBLISH is sent on, without allocating.
//
// Section numbers in comments are those of the MQTT 5 standard (OASIS, 7 March
// 2019) and [MQTT-x.y.z-n] its conformance statements; 3.1.1 is named where it
// differs. Where the standard leaves room, the package chooses as follows.
//
//   - Packets out of their grammar are MalformedPacket; values that their
//     grammar has but the protocol forbids are ProtocolError, also where the
//     standard names no code (packet identifier 0, no filter in SUBSCRIBE).
//   - Wildcards in a topic name and a topic name over the caller's limits are
//     TopicNameInvalid; a filter that breaks section 4.7 or is over the limits
//     is TopicFilterInvalid and refuses the whole packet.
//   - Control characters and Unicode non-characters are let through.
//   - A remaining length in more bytes than it needs is refused in MQTT 5,
//     which forbids it, and read in 3.1.1, which does not.
//   - `$share/group/filter` is a shared subscription in 3.1.1, too.
package mqtt
