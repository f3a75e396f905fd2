package conformance

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// args are the arguments of a packet. What has been asked for is taken off, so
// that what is left over at the end is a mistake of the script.
type args struct {
	list []arg
	err  error
}

func (a *args) fail(err error) {
	if a.err == nil {
		a.err = err
	}
}

// text takes the value of a name.
func (a *args) text(name, absent string) (value string, ok bool) {
	for i := range a.list {
		if a.list[i].name == name {
			value = a.list[i].value
			a.list = slices.Delete(slices.Clone(a.list), i, i+1)
			return value, true
		}
	}
	return absent, false
}

// number takes an integer, decimal or 0x.
func (a *args) number(name string, absent uint64) uint64 {
	s, ok := a.text(name, "")
	if !ok {
		return absent
	}
	n, err := strconv.ParseUint(s, 0, 32)
	if err != nil {
		a.fail(fmt.Errorf("%s: %w", name, err))
	}
	return n
}

func (a *args) flag(name string) bool { return a.number(name, 0) == 1 }

// next takes the first value that has no name.
func (a *args) next() (string, bool) { return a.text("", "") }

// rest takes all of them.
func (a *args) rest() []string {
	var all []string
	for v, ok := a.next(); ok; v, ok = a.next() {
		all = append(all, v)
	}
	return all
}

// end is the error of the whole, also for what nothing has asked for.
func (a *args) end() error {
	if a.err == nil && len(a.list) > 0 {
		return fmt.Errorf("argument %q is not understood", a.list[0].name+"="+a.list[0].value)
	}
	return a.err
}

// propertyNames are the names of properties in scripts.
func propertyNames() map[string]mqtt.PropertyID {
	return map[string]mqtt.PropertyID{
		"format":          mqtt.PayloadFormatIndicator,
		"expiry":          mqtt.MessageExpiryInterval,
		"content_type":    mqtt.ContentType,
		"response_topic":  mqtt.ResponseTopic,
		"correlation":     mqtt.CorrelationData,
		"sub_id":          mqtt.SubscriptionIdentifier,
		"session_expiry":  mqtt.SessionExpiryInterval,
		"assigned_id":     mqtt.AssignedClientIdentifier,
		"server_keep":     mqtt.ServerKeepAlive,
		"auth_method":     mqtt.AuthenticationMethod,
		"auth_data":       mqtt.AuthenticationData,
		"problem_info":    mqtt.RequestProblemInformation,
		"delay":           mqtt.WillDelayInterval,
		"response_info":   mqtt.RequestResponseInformation,
		"response_string": mqtt.ResponseInformation,
		"server_ref":      mqtt.ServerReference,
		"reason":          mqtt.ReasonString,
		"receive_max":     mqtt.ReceiveMaximum,
		"alias_max":       mqtt.TopicAliasMaximum,
		"alias":           mqtt.TopicAlias,
		"max_qos":         mqtt.MaximumQoS,
		"retain_ok":       mqtt.RetainAvailable,
		"max_packet":      mqtt.MaximumPacketSize,
		"wildcard_ok":     mqtt.WildcardSubscriptionAvailable,
		"sub_id_ok":       mqtt.SubscriptionIdentifierAvailable,
		"shared_ok":       mqtt.SharedSubscriptionAvailable,
	}
}

// property reads one property argument; ok is false for what is none.
func property(a arg) (p mqtt.Property, ok bool) {
	if name, isUser := strings.CutPrefix(a.name, "user:"); isUser {
		return mqtt.Property{ID: mqtt.UserProperty, Name: []byte(name), Value: []byte(a.value)}, true
	}
	id, ok := propertyNames()[a.name]
	if !ok {
		return p, false
	}
	p.ID = id
	switch id { //nolint:exhaustive // the others are numbers
	case mqtt.ContentType, mqtt.ResponseTopic, mqtt.CorrelationData, mqtt.AssignedClientIdentifier, mqtt.AuthenticationMethod,
		mqtt.AuthenticationData, mqtt.ResponseInformation, mqtt.ServerReference, mqtt.ReasonString:
		p.Value = []byte(a.value)
	default:
		n, err := strconv.ParseUint(a.value, 0, 32)
		if err != nil {
			return p, false
		}
		p.Number = uint32(n)
	}
	return p, true
}

// properties takes all property arguments whose names begin with prefix, and
// xprops, which is properties in hex that no encoder would write.
func (a *args) properties(prefix string) mqtt.Properties {
	var out mqtt.Properties
	var left []arg
	for _, x := range a.list {
		name, ours := strings.CutPrefix(x.name, prefix)
		p, ok := property(arg{name: name, value: x.value})
		switch {
		case ours && name == "xprops":
			b, err := hex.DecodeString(x.value)
			if err != nil {
				a.fail(err)
			}
			out = append(out, b...)
		case ours && ok:
			more, err := out.Add(p)
			if err != nil {
				a.fail(fmt.Errorf("%s: %w", x.name, err))
			}
			out = more
		default:
			left = append(left, x)
		}
	}
	a.list = left
	return out
}

// unhex reads hex with quoted strings in it; 78*300 is 300 times 78, and braces
// around the rest of a packet put its remaining length in front.
func unhex(s string) ([]byte, error) {
	var out []byte
	for packet := range strings.SplitSeq(s, "}") {
		head, body, framed := strings.Cut(packet, "{")
		b, err := unhexPlain(head)
		if err != nil {
			return nil, err
		}
		out = append(out, b...)
		if !framed {
			continue
		}
		if b, err = unhexPlain(body); err != nil {
			return nil, err
		}
		out = binary.AppendUvarint(out, uint64(len(b))) // the same as a remaining length
		out = append(out, b...)
	}
	return out, nil
}

func unhexPlain(s string) ([]byte, error) {
	var out []byte
	for i, part := range strings.Split(s, `"`) {
		if i%2 == 1 {
			out = append(out, part...)
			continue
		}
		for word := range strings.FieldsSeq(part) {
			digits, count, times := strings.Cut(word, "*")
			n := 1
			if times {
				var err error
				if n, err = strconv.Atoi(count); err != nil {
					return nil, err
				}
			}
			b, err := hex.DecodeString(digits)
			if err != nil {
				return nil, err
			}
			out = append(out, slices.Repeat(b, n)...)
		}
	}
	return out, nil
}
