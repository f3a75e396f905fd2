package conformance

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// build makes the packet that a script sends. Packets that have an identifier
// get id unless the script names one.
func build(kind string, a *args, v mqtt.Version, id uint16, client string) (mqtt.Packet, error) {
	var p mqtt.Packet
	switch kind {
	case "connect":
		p = buildConnect(a, v, client)
	case "publish":
		p = buildPublish(a, id)
	case "puback", "pubrec", "pubrel", "pubcomp":
		p = &mqtt.Ack{Type: types()[kind], ID: packetID(a, id), Code: reasonCode(a), Properties: a.properties("")}
	case "subscribe":
		p = buildSubscribe(a, id)
	case "unsubscribe":
		u := &mqtt.Unsubscribe{ID: packetID(a, id), Properties: a.properties("")}
		for _, f := range a.rest() {
			u.Filters = append(u.Filters, mqtt.Filter{Text: []byte(f)})
		}
		p = u
	case "pingreq", "pingresp":
		p = &mqtt.Ping{Type: types()[kind]}
	case "disconnect":
		p = &mqtt.Disconnect{Code: reasonCode(a), Properties: a.properties("")}
	case "auth":
		p = &mqtt.Auth{Code: reasonCode(a), Properties: a.properties("")}
	case "connack":
		p = &mqtt.Connack{Properties: a.properties("")}
	default:
		return nil, fmt.Errorf("no packet %q", kind)
	}
	return p, a.end()
}

// types are the packets by their names in scripts.
func types() map[string]mqtt.PacketType {
	all := map[string]mqtt.PacketType{}
	for t := mqtt.TypeConnect; t <= mqtt.TypeAuth; t++ {
		all[strings.ToLower(t.String())] = t
	}
	return all
}

func reasonCode(a *args) mqtt.ReasonCode {
	return mqtt.ReasonCode(a.number("code", 0)) //nolint:gosec // a test's own number
}

func qos(a *args, name string) mqtt.QoS {
	return mqtt.QoS(a.number(name, 0)) //nolint:gosec // a test's own number
}

func packetID(a *args, id uint16) uint16 {
	return uint16(a.number("id", uint64(id))) //nolint:gosec // a test's own number
}

func buildConnect(a *args, v mqtt.Version, client string) *mqtt.Connect {
	p := &mqtt.Connect{Version: v, CleanStart: a.number("clean", 1) == 1}
	id, _ := a.text("id", strings.ToLower(client))
	p.ClientID = []byte(id)
	p.KeepAlive = uint16(a.number("keepalive", 60)) //nolint:gosec // a test's own number
	if user, ok := a.text("user", ""); ok {
		p.HasUsername, p.Username = true, []byte(user)
	}
	if pass, ok := a.text("pass", ""); ok {
		p.HasPassword, p.Password = true, []byte(pass)
	}
	if topic, ok := a.text("will", ""); ok {
		payload, _ := a.text("will.payload", "")
		p.HasWill = true
		p.Will = mqtt.Will{
			Topic: []byte(topic), Payload: []byte(payload), QoS: qos(a, "will.qos"), Retain: a.flag("will.retain"),
		}
		p.Will.Properties = a.properties("will.")
	}
	p.Properties = a.properties("")
	return p
}

func buildPublish(a *args, id uint16) *mqtt.Publish {
	p := &mqtt.Publish{QoS: qos(a, "qos"), Dup: a.flag("dup"), Retain: a.flag("retain"), Properties: a.properties("")}
	if p.QoS > 0 {
		p.ID = packetID(a, id)
	}
	topic, _ := a.next()
	payload, _ := a.next()
	p.Topic, p.Payload = []byte(topic), []byte(payload)
	return p
}

func buildSubscribe(a *args, id uint16) *mqtt.Subscribe {
	p := &mqtt.Subscribe{ID: packetID(a, id)}
	options := a.number("rh", 0)<<4 | a.number("rap", 0)<<3 | a.number("nl", 0)<<2
	all := a.number("qos", 0)
	p.Properties = a.properties("")
	for _, f := range a.rest() {
		s := mqtt.Subscription{Options: mqtt.SubscribeOptions(options | all)} //nolint:gosec // a test's own number
		if i := strings.LastIndexByte(f, '@'); i >= 0 {
			own, err := strconv.ParseUint(f[i+1:], 10, 8)
			if err != nil {
				a.fail(err)
			}
			f, s.Options = f[:i], mqtt.SubscribeOptions(options|own) //nolint:gosec // a test's own number
		}
		s.Filter.Text = []byte(f)
		p.Subscriptions = append(p.Subscriptions, s)
	}
	return p
}

// describe writes a received packet for a report.
func describe(p mqtt.Packet) string {
	switch p := p.(type) {
	case *mqtt.Connack:
		return fmt.Sprintf("connack code=0x%02x present=%t%s", byte(p.Code), p.SessionPresent, describeProperties(p.Properties))
	case *mqtt.Publish:
		return fmt.Sprintf("publish %q %q qos=%d dup=%t retain=%t id=%d%s", short(p.Topic), short(p.Payload), p.QoS, p.Dup, p.Retain, p.ID,
			describeProperties(p.Properties))
	case *mqtt.Ack:
		return fmt.Sprintf("%s id=%d code=0x%02x%s", strings.ToLower(p.Type.String()), p.ID, byte(p.Code), describeProperties(p.Properties))
	case *mqtt.Suback:
		return fmt.Sprintf("suback id=%d %#x%s", p.ID, p.Codes, describeProperties(p.Properties))
	case *mqtt.Unsuback:
		return fmt.Sprintf("unsuback id=%d %#x%s", p.ID, p.Codes, describeProperties(p.Properties))
	case *mqtt.Disconnect:
		return fmt.Sprintf("disconnect code=0x%02x%s", byte(p.Code), describeProperties(p.Properties))
	case *mqtt.Ping:
		return strings.ToLower(p.Type.String())
	default:
		return fmt.Sprintf("%T", p)
	}
}

func short(b []byte) string {
	if len(b) > 40 {
		return fmt.Sprintf("%s~ (%d bytes)", b[:20], len(b))
	}
	return string(b)
}

func describeProperties(p mqtt.Properties) string {
	var b strings.Builder
	for x := range p.All() {
		switch {
		case x.ID == mqtt.UserProperty:
			fmt.Fprintf(&b, " user:%s=%q", x.Name, x.Value)
		case x.Value != nil:
			fmt.Fprintf(&b, " %s=%q", x.ID, short(x.Value))
		default:
			fmt.Fprintf(&b, " %s=%d", x.ID, x.Number)
		}
	}
	return b.String()
}
