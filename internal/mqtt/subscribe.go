package mqtt

// SubscribeOptions are the options of one subscription (section 3.8.3.1). In
// 3.1.1 they are the QoS alone.
type SubscribeOptions byte

// QoS is the highest at which messages are to be sent.
func (o SubscribeOptions) QoS() QoS { return QoS(o & 3) }

// NoLocal asks not to be sent what the connection itself publishes.
func (o SubscribeOptions) NoLocal() bool { return o&(1<<2) != 0 }

// RetainAsPublished asks for messages with the RETAIN that they were published
// with; otherwise it is 0 for all but retained messages at subscription.
func (o SubscribeOptions) RetainAsPublished() bool { return o&(1<<3) != 0 }

// RetainHandling asks for the retained messages at each subscribe (0), if the
// subscription did not exist (1), or not at all (2).
func (o SubscribeOptions) RetainHandling() byte { return byte(o >> 4 & 3) }

func (o SubscribeOptions) check(v Version, shared bool) error {
	switch {
	case v != V5 && o > 2:
		return malformed("reserved bits or QoS 3 in a requested QoS") // 3.1.1 [MQTT-3.8.3-4]
	case o&0xc0 != 0:
		return malformed("reserved bits in subscription options")
	case o.QoS() == 3:
		return protocolError("QoS 3 in subscription options")
	case o.RetainHandling() == 3:
		return protocolError("retain handling 3")
	case shared && o.NoLocal():
		return protocolError("no local on a shared subscription") // [MQTT-3.8.3-4]
	}
	return nil
}

// Subscription is one filter of SUBSCRIBE with its options.
type Subscription struct {
	Filter  Filter
	Options SubscribeOptions
}

// Subscribe is SUBSCRIBE (section 3.8). Decode fills Subscriptions again and
// again, so that a loop can keep one.
type Subscribe struct {
	ID            uint16
	Properties    Properties
	Subscriptions []Subscription
}

// Decode implements Packet.
func (p *Subscribe) Decode(d *Decoder, frame []byte) error {
	*p = Subscribe{Subscriptions: p.Subscriptions[:0]}
	r, err := d.request(frame, TypeSubscribe, &p.ID, &p.Properties)
	if err != nil {
		return err
	}
	for n := 0; len(r.b) > 0; n++ {
		f, err := d.filter(&r, n)
		if err != nil {
			return err
		}
		o := SubscribeOptions(r.byte())
		if r.bad {
			return malformed("subscription options are cut off")
		}
		if err := o.check(d.Version, f.Share != nil); err != nil {
			return err
		}
		p.Subscriptions = append(p.Subscriptions, Subscription{Filter: f, Options: o})
	}
	return nil
}

// Append implements Packet.
func (p *Subscribe) Append(dst []byte, v Version) ([]byte, error) {
	w := begin(dst, TypeSubscribe, v)
	w.uint16(p.ID)
	w.properties(p.Properties)
	for i := range p.Subscriptions {
		w.bytes(p.Subscriptions[i].Filter.Text)
		w.byte(byte(p.Subscriptions[i].Options))
	}
	return w.finish()
}

// Unsubscribe is UNSUBSCRIBE (section 3.10). Decode fills Filters again and
// again.
type Unsubscribe struct {
	ID         uint16
	Properties Properties
	Filters    []Filter
}

// Decode implements Packet.
func (p *Unsubscribe) Decode(d *Decoder, frame []byte) error {
	*p = Unsubscribe{Filters: p.Filters[:0]}
	r, err := d.request(frame, TypeUnsubscribe, &p.ID, &p.Properties)
	if err != nil {
		return err
	}
	for n := 0; len(r.b) > 0; n++ {
		f, err := d.filter(&r, n)
		if err != nil {
			return err
		}
		p.Filters = append(p.Filters, f)
	}
	return nil
}

// Append implements Packet.
func (p *Unsubscribe) Append(dst []byte, v Version) ([]byte, error) {
	w := begin(dst, TypeUnsubscribe, v)
	w.uint16(p.ID)
	w.properties(p.Properties)
	for i := range p.Filters {
		w.bytes(p.Filters[i].Text)
	}
	return w.finish()
}

// request reads a SUBSCRIBE or UNSUBSCRIBE up to its first filter.
func (d *Decoder) request(frame []byte, t PacketType, id *uint16, props *Properties) (reader, error) {
	b, err := body(frame, t, d.Version)
	if err != nil {
		return reader{}, err
	}
	r := reader{b: b}
	*id = r.uint16()
	if r.bad {
		return r, malformed("packet identifier is cut off")
	}
	if *id == 0 {
		return r, protocolError("packet identifier 0")
	}
	if *props, _, err = r.properties(d.Version, 1<<t); err != nil {
		return r, err
	}
	if len(r.b) == 0 {
		return r, protocolError(t.String() + " without a topic filter") // [MQTT-3.8.3-2], [MQTT-3.10.3-2]
	}
	return r, nil
}

// filter reads the filter after n others.
func (d *Decoder) filter(r *reader, n int) (Filter, error) {
	if d.Limits.Filters > 0 && n == d.Limits.Filters {
		return Filter{}, &Error{Code: QuotaExceeded, Detail: "too many topic filters"}
	}
	b := r.bytes()
	if r.bad {
		return Filter{}, malformed("topic filter is cut off")
	}
	return ParseFilter(b, &d.Limits)
}

// Suback is SUBACK (section 3.9), with a code for each filter. In 3.1.1 every
// failure is 0x80, UnspecifiedError.
type Suback struct {
	ID         uint16
	Properties Properties
	Codes      []ReasonCode
}

// Decode implements Packet.
func (p *Suback) Decode(d *Decoder, frame []byte) (err error) {
	*p = Suback{Codes: p.Codes[:0]}
	p.Codes, err = d.reply(frame, TypeSuback, &p.ID, &p.Properties, p.Codes)
	return err
}

// Append implements Packet.
func (p *Suback) Append(dst []byte, v Version) ([]byte, error) {
	w := begin(dst, TypeSuback, v)
	w.uint16(p.ID)
	w.properties(p.Properties)
	for _, c := range p.Codes {
		if v != V5 && c.Failed() {
			c = UnspecifiedError
		}
		w.byte(byte(c))
	}
	return w.finish()
}

// Unsuback is UNSUBACK (section 3.11), with a code for each filter in MQTT 5.
type Unsuback struct {
	ID         uint16
	Properties Properties
	Codes      []ReasonCode
}

// Decode implements Packet.
func (p *Unsuback) Decode(d *Decoder, frame []byte) (err error) {
	*p = Unsuback{Codes: p.Codes[:0]}
	p.Codes, err = d.reply(frame, TypeUnsuback, &p.ID, &p.Properties, p.Codes)
	return err
}

// Append implements Packet.
func (p *Unsuback) Append(dst []byte, v Version) ([]byte, error) {
	w := begin(dst, TypeUnsuback, v)
	w.uint16(p.ID)
	w.properties(p.Properties)
	if v == V5 {
		for _, c := range p.Codes {
			w.byte(byte(c))
		}
	}
	return w.finish()
}

// reply reads a SUBACK or UNSUBACK and appends its codes to codes.
func (d *Decoder) reply(frame []byte, t PacketType, id *uint16, props *Properties, codes []ReasonCode) ([]ReasonCode, error) {
	b, err := body(frame, t, d.Version)
	if err != nil {
		return codes, err
	}
	r := reader{b: b}
	*id = r.uint16()
	if *props, _, err = r.properties(d.Version, 1<<t); err != nil {
		return codes, err
	}
	if d.Version != V5 && t == TypeUnsuback {
		err = r.end()
	} else if r.bad || len(r.b) == 0 {
		err = malformed("packet identifier or reason codes are cut off")
	}
	if err != nil {
		return codes, err
	}
	if *id == 0 {
		return codes, protocolError("packet identifier 0")
	}
	for _, b := range r.b {
		c := ReasonCode(b)
		if !c.In(t, Server) || d.Version != V5 && c > GrantedQoS2 && c != UnspecifiedError {
			return codes, malformed("reason code that " + t.String() + " does not have")
		}
		codes = append(codes, c)
	}
	return codes, nil
}
