package mqtt

import "encoding/binary"

// Ack is PUBACK, PUBREC, PUBREL or PUBCOMP (sections 3.4 to 3.7). In 3.1.1 it
// has no code, and one of failure cannot be sent.
type Ack struct {
	Type       PacketType
	ID         uint16
	Code       ReasonCode
	Properties Properties
}

// Decode implements Packet; it reads any of the four.
func (p *Ack) Decode(d *Decoder, frame []byte) error {
	t := TypeOf(frame)
	if t < TypePuback || t > TypePubcomp {
		return malformed("not an acknowledgement")
	}
	b, err := body(frame, t, d.Version)
	if err != nil {
		return err
	}
	*p = Ack{Type: t}
	r := reader{b: b}
	p.ID = r.uint16()
	if d.Version == V5 && len(r.b) > 0 {
		p.Code = ReasonCode(r.byte())
		if len(r.b) > 0 { // else "a Remaining Length of 3", section 3.4.2.1
			if p.Properties, _, err = r.properties(V5, 1<<t); err != nil {
				return err
			}
		}
	}
	if err := r.end(); err != nil {
		return err
	}
	if p.ID == 0 {
		return protocolError("packet identifier 0")
	}
	if !p.Code.In(t, d.From) {
		return malformed("reason code that " + t.String() + " does not have")
	}
	return nil
}

// Append implements Packet.
func (p *Ack) Append(dst []byte, v Version) ([]byte, error) {
	if v != V5 && p.Code.Failed() {
		return dst, unsayable(p.Code)
	}
	if v != V5 || p.Code == Success && len(p.Properties) == 0 {
		return AppendAck(dst, p.Type, p.ID), nil
	}
	w := begin(dst, p.Type, v)
	w.uint16(p.ID)
	w.byte(byte(p.Code))
	if len(p.Properties) > 0 {
		w.properties(p.Properties)
	}
	return w.finish()
}

// AppendAck adds a PUBACK, PUBREC, PUBREL or PUBCOMP of success to dst, which
// is the same in both versions.
func AppendAck(dst []byte, t PacketType, id uint16) []byte {
	return binary.BigEndian.AppendUint16(append(dst, byte(t)<<4|t.flags(), 2), id)
}

// Ping is PINGREQ or PINGRESP (sections 3.12 and 3.13).
type Ping struct {
	Type PacketType
}

// Decode implements Packet; it reads either.
func (p *Ping) Decode(d *Decoder, frame []byte) error {
	t := TypeOf(frame)
	if t != TypePingreq && t != TypePingresp {
		return malformed("not a ping")
	}
	b, err := body(frame, t, d.Version)
	if err != nil {
		return err
	}
	p.Type = t
	r := reader{b: b}
	return r.end()
}

// Append implements Packet.
func (p *Ping) Append(dst []byte, _ Version) ([]byte, error) { return AppendPing(dst, p.Type), nil }

// AppendPing adds a PINGREQ or PINGRESP to dst.
func AppendPing(dst []byte, t PacketType) []byte { return append(dst, byte(t)<<4, 0) }

// Disconnect is DISCONNECT (section 3.14). In 3.1.1 only a client sends it,
// and only for a normal end.
type Disconnect struct {
	Code       ReasonCode
	Properties Properties
}

// Decode implements Packet.
func (p *Disconnect) Decode(d *Decoder, frame []byte) error {
	*p = Disconnect{}
	b, err := body(frame, TypeDisconnect, d.Version)
	if err != nil {
		return err
	}
	r := reader{b: b}
	seen, err := r.outcome(d.Version, inClientBye, &p.Code, &p.Properties)
	if err != nil {
		return err
	}
	if d.Version != V5 && d.From == Server {
		return protocolError("DISCONNECT of a 3.1.1 server")
	}
	if d.From == Server && seen.has(SessionExpiryInterval) {
		return protocolError("session expiry interval of a server") // [MQTT-3.14.2-2]
	}
	if !p.Code.In(TypeDisconnect, d.From) {
		return malformed("reason code that DISCONNECT does not have")
	}
	return nil
}

// Append implements Packet.
func (p *Disconnect) Append(dst []byte, v Version) ([]byte, error) {
	if v != V5 && p.Code != Success {
		return dst, unsayable(p.Code)
	}
	w := begin(dst, TypeDisconnect, v)
	w.outcome(p.Code, p.Properties)
	return w.finish()
}

// Auth is AUTH (section 3.15), of MQTT 5 alone.
type Auth struct {
	Code       ReasonCode
	Properties Properties
}

// Decode implements Packet.
func (p *Auth) Decode(d *Decoder, frame []byte) error {
	*p = Auth{}
	b, err := body(frame, TypeAuth, d.Version)
	if err != nil {
		return err
	}
	if d.Version != V5 {
		return malformed("packet type 15 is reserved in 3.1.1")
	}
	r := reader{b: b}
	seen, err := r.outcome(V5, inAuth, &p.Code, &p.Properties)
	if err != nil {
		return err
	}
	if !p.Code.In(TypeAuth, d.From) {
		return malformed("reason code that AUTH does not have")
	}
	if len(b) > 0 && !seen.has(AuthenticationMethod) {
		return protocolError("no authentication method")
	}
	return nil
}

// Append implements Packet.
func (p *Auth) Append(dst []byte, v Version) ([]byte, error) {
	if v != V5 {
		return dst, unsayable(p.Code)
	}
	w := begin(dst, TypeAuth, v)
	w.outcome(p.Code, p.Properties)
	return w.finish()
}

// outcome reads a reason code and properties that may both be left out, and in
// 3.1.1 are.
func (r *reader) outcome(v Version, in uint32, code *ReasonCode, props *Properties) (seen set, err error) {
	if v == V5 && len(r.b) > 0 {
		*code = ReasonCode(r.byte())
		if len(r.b) > 0 {
			if *props, seen, err = r.properties(V5, in); err != nil {
				return 0, err
			}
		}
	}
	return seen, r.end()
}

// outcome adds a reason code and properties as far as they say something.
func (w *writer) outcome(code ReasonCode, props Properties) {
	if w.v != V5 || code == Success && len(props) == 0 {
		return
	}
	w.byte(byte(code))
	if len(props) > 0 {
		w.properties(props)
	}
}
