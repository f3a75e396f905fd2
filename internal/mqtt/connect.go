package mqtt

// Connect is CONNECT (section 3.1). The settings that MQTT 5 carries as
// properties are read with Properties.Number, whose second argument is the
// standard's default: SessionExpiryInterval 0, ReceiveMaximum 65535,
// MaximumPacketSize 0 (none), TopicAliasMaximum 0, RequestResponseInformation
// 0, RequestProblemInformation 1.
type Connect struct {
	Version     Version
	CleanStart  bool // "clean session" in 3.1.1
	HasWill     bool
	HasUsername bool
	HasPassword bool
	KeepAlive   uint16 // seconds
	Properties  Properties
	ClientID    []byte
	Will        Will
	Username    []byte
	Password    []byte
}

// Will is the message that is published when a client is lost.
type Will struct {
	QoS        QoS
	Retain     bool
	Properties Properties // with WillDelayInterval
	Topic      []byte
	Payload    []byte
}

// Bits of the connect flags (section 3.1.2.3).
const (
	flagReserved   = 1 << 0
	flagCleanStart = 1 << 1
	flagWill       = 1 << 2
	flagWillQoS    = 3 << 3
	flagWillRetain = 1 << 5
	flagPassword   = 1 << 6
	flagUsername   = 1 << 7
)

// Decode reads a CONNECT of any version. If it returns an error, Version says
// in which form a CONNACK tells the client; 0 means that the peer does not
// speak MQTT or nothing that could be answered, and is cut off.
func (p *Connect) Decode(d *Decoder, frame []byte) error {
	*p = Connect{}
	b, err := body(frame, TypeConnect, V311)
	if err != nil {
		return err
	}
	r := reader{b: b}
	name, level := r.bytes(), r.byte()
	if r.bad {
		return malformed("protocol name or level is cut off")
	}
	if err := p.identify(string(name), level); err != nil {
		return err
	}
	if _, err := body(frame, TypeConnect, p.Version); err != nil {
		return err
	}
	flags := r.byte()
	p.KeepAlive = r.uint16()
	if err := p.setFlags(flags); err != nil {
		return err
	}
	if p.Properties, _, err = r.properties(p.Version, inConnect); err != nil {
		return err
	}
	p.ClientID = r.text()
	if p.HasWill {
		if err := p.Will.decode(&r, p.Version, &d.Limits); err != nil {
			return err
		}
	}
	if p.HasUsername {
		p.Username = r.text()
	}
	if p.HasPassword {
		p.Password = r.bytes()
	}
	if err := r.end(); err != nil {
		return err
	}
	return p.checkClientID(d.Limits.ClientID)
}

// identify sets the version, or for a protocol that is not spoken the version
// of the CONNACK that says so.
func (p *Connect) identify(name string, level byte) error {
	switch name {
	case "MQTT":
	case "MQIsdp": // 3.1
		p.Version = V311
		return &Error{Code: UnsupportedProtocolVersion, Detail: "protocol MQIsdp (MQTT 3.1)"}
	default:
		return malformed("protocol name is not MQTT")
	}
	if level == byte(V311) || level == byte(V5) {
		p.Version = Version(level)
		return nil
	}
	p.Version = V311
	if level&^0x80 >= byte(V5) { // some bridges set the high bit, and take no for an answer
		p.Version = V5
	}
	return &Error{Code: UnsupportedProtocolVersion, Detail: Version(level).String()}
}

func (p *Connect) setFlags(flags byte) error {
	p.CleanStart = flags&flagCleanStart != 0
	p.HasWill = flags&flagWill != 0
	p.HasPassword = flags&flagPassword != 0
	p.HasUsername = flags&flagUsername != 0
	p.Will.QoS = QoS(flags & flagWillQoS >> 3)
	p.Will.Retain = flags&flagWillRetain != 0
	switch {
	case flags&flagReserved != 0:
		return malformed("reserved connect flag")
	case !p.HasWill && flags&(flagWillQoS|flagWillRetain) != 0:
		return malformed("will QoS or will retain without a will")
	case p.Will.QoS > 2:
		return malformed("will QoS 3")
	case p.Version != V5 && p.HasPassword && !p.HasUsername:
		return malformed("password without user name") // 3.1.1 [MQTT-3.1.2-22]
	}
	return nil
}

func (p *Connect) checkClientID(limit int) error {
	if len(p.ClientID) == 0 && p.Version != V5 && !p.CleanStart { // 3.1.1 [MQTT-3.1.3-8]
		return &Error{Code: ClientIdentifierNotValid, Detail: "empty client identifier without clean session"}
	}
	if limit > 0 && len(p.ClientID) > limit {
		return &Error{Code: ClientIdentifierNotValid, Detail: "client identifier over the limit"}
	}
	return nil
}

func (w *Will) decode(r *reader, v Version, l *Limits) (err error) {
	if w.Properties, _, err = r.properties(v, inWill); err != nil {
		return err
	}
	w.Topic = r.bytes()
	w.Payload = r.bytes()
	if r.bad {
		return malformed("will is cut off")
	}
	return CheckTopicName(w.Topic, l)
}

// Append adds the packet in its own Version to dst, whatever v is.
func (p *Connect) Append(dst []byte, _ Version) ([]byte, error) {
	w := begin(dst, TypeConnect, p.Version)
	w.bytes([]byte("MQTT"))
	w.byte(byte(p.Version))
	w.byte(p.flags())
	w.uint16(p.KeepAlive)
	w.properties(p.Properties)
	w.bytes(p.ClientID)
	if p.HasWill {
		w.properties(p.Will.Properties)
		w.bytes(p.Will.Topic)
		w.bytes(p.Will.Payload)
	}
	if p.HasUsername {
		w.bytes(p.Username)
	}
	if p.HasPassword {
		w.bytes(p.Password)
	}
	return w.finish()
}

func (p *Connect) flags() byte {
	flags := bit(p.CleanStart, flagCleanStart) | bit(p.HasUsername, flagUsername) | bit(p.HasPassword, flagPassword)
	if p.HasWill {
		flags |= flagWill | byte(p.Will.QoS)<<3 | bit(p.Will.Retain, flagWillRetain)
	}
	return flags
}

// bit returns b if set.
func bit(set bool, b byte) byte {
	if set {
		return b
	}
	return 0
}

// Connack is CONNACK (section 3.2). In 3.1.1 its code is one of those that
// ReasonCode.ReturnCode has a place for.
type Connack struct {
	SessionPresent bool
	Code           ReasonCode
	Properties     Properties
}

// Decode implements Packet.
func (p *Connack) Decode(d *Decoder, frame []byte) error {
	*p = Connack{}
	b, err := body(frame, TypeConnack, d.Version)
	if err != nil {
		return err
	}
	r := reader{b: b}
	flags, code := r.byte(), r.byte()
	if p.Properties, _, err = r.properties(d.Version, inConnack); err != nil {
		return err
	}
	if err := r.end(); err != nil {
		return err
	}
	p.SessionPresent, p.Code = flags == 1, ReasonCode(code)
	known := p.Code.In(TypeConnack, Server)
	if d.Version != V5 {
		p.Code, known = ofReturnCode(code)
	}
	switch {
	case flags > 1:
		return malformed("reserved connect acknowledge flags")
	case !known:
		return malformed("reason code that CONNACK does not have")
	case p.SessionPresent && p.Code != Success:
		return protocolError("session present in a refusal") // [MQTT-3.2.2-6]
	}
	return nil
}

// Append implements Packet.
func (p *Connack) Append(dst []byte, v Version) ([]byte, error) {
	code := byte(p.Code)
	if v != V5 {
		var ok bool
		if code, ok = p.Code.ReturnCode(); !ok {
			return dst, unsayable(p.Code)
		}
	}
	w := begin(dst, TypeConnack, v)
	w.byte(bit(p.SessionPresent, 1))
	w.byte(code)
	w.properties(p.Properties)
	return w.finish()
}

// unsayable is the error for a code that 3.1.1 has no packet for.
func unsayable(c ReasonCode) error {
	return &Error{Code: c, Detail: "3.1.1 has no packet that says so"}
}
