package mqtt_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// vector is a block of testdata/*.txt:
//
//	section or statement of the standard: what the packet is
//	version side                    (version "none": CONNECT that names none)
//	the packet in hex, and strings
//	canonical the packet as it is encoded again, if that differs
//	ok fields as describe writes them, or: refused code detail
type vector struct {
	name      string
	decoder   mqtt.Decoder
	frame     []byte
	canonical []byte
	want      string
}

func vectors(tb testing.TB) []vector {
	tb.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		tb.Fatal(err)
	}
	var all []vector
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		for block := range strings.SplitSeq(strings.TrimSpace(string(data)), "\n\n") {
			v, err := parseVector(strings.Split(block, "\n"))
			if err != nil {
				tb.Fatalf("%s: %s: %v", name, block, err)
			}
			v.name = filepath.Base(name) + " " + v.name
			all = append(all, v)
		}
	}
	return all
}

func parseVector(lines []string) (v vector, err error) {
	if len(lines) < 4 {
		return v, errors.New("too few lines")
	}
	v.name, v.want = lines[0], lines[len(lines)-1]
	version, side, _ := strings.Cut(lines[1], " ")
	v.decoder.Version = map[string]mqtt.Version{"3.1.1": mqtt.V311, "5": mqtt.V5}[version]
	if side == "server" {
		v.decoder.From = mqtt.Server
	}
	if v.frame, err = parseHex(lines[2]); err != nil {
		return v, err
	}
	v.canonical = v.frame
	if s, ok := strings.CutPrefix(lines[3], "canonical "); ok {
		v.canonical, err = parseHex(s)
	}
	return v, err
}

func parseHex(s string) ([]byte, error) {
	var out []byte
	for i, part := range strings.Split(s, `"`) {
		if i%2 == 1 {
			out = append(out, part...)
			continue
		}
		b, err := hex.DecodeString(strings.ReplaceAll(part, " ", ""))
		if err != nil {
			return nil, err
		}
		out = append(out, b...)
	}
	return out, nil
}

func TestVectors(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, v := range vectors(t) {
		key := v.name + v.decoder.Version.String()
		if names[key] {
			t.Errorf("%s: twice", v.name)
		}
		names[key] = true
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			check(t, v)
		})
	}
	if len(names) < 400 {
		t.Errorf("%d vectors", len(names))
	}
}

func check(t *testing.T, v vector) {
	t.Helper()
	n, err := mqtt.Frame(v.frame, 0)
	if n != len(v.frame) || err != nil {
		t.Fatalf("Frame: %d, %v", n, err)
	}
	p := mqtt.New(mqtt.TypeOf(v.frame))
	err = p.Decode(&v.decoder, v.frame)
	if c, ok := p.(*mqtt.Connect); ok && c.Version != v.decoder.Version {
		t.Errorf("CONNECT is answered in version %d", c.Version)
	}
	if err != nil {
		if got := fmt.Sprintf("refused 0x%02X %v", byte(mqtt.CodeOf(err)), err); got != v.want {
			t.Errorf("got  %s\nwant %s", got, v.want)
		}
		return
	}
	if got := "ok " + describe(p); got != v.want {
		t.Errorf("got  %s\nwant %s", got, v.want)
	}
	prefix := []byte("before")
	out, err := p.Append(prefix, v.decoder.Version)
	if err != nil || !bytes.Equal(out, append(prefix, v.canonical...)) {
		t.Errorf("encoded again %x, %v", out, err)
	}
}

// describe writes a packet in one line.
func describe(p mqtt.Packet) string {
	switch p := p.(type) {
	case *mqtt.Connect:
		s := fmt.Sprintf("CONNECT %s clean=%t keepalive=%d id=%q", p.Version, p.CleanStart, p.KeepAlive, p.ClientID)
		s += describeProperties(p.Properties)
		if p.HasWill {
			s += fmt.Sprintf(" will(qos=%d retain=%t topic=%q payload=%q", p.Will.QoS, p.Will.Retain, p.Will.Topic, p.Will.Payload)
			s += describeProperties(p.Will.Properties) + ")"
		}
		if p.HasUsername {
			s += fmt.Sprintf(" username=%q", p.Username)
		}
		if p.HasPassword {
			s += fmt.Sprintf(" password=%q", p.Password)
		}
		return s
	case *mqtt.Connack:
		return fmt.Sprintf("CONNACK present=%t %s", p.SessionPresent, describeCode(p.Code)) + describeProperties(p.Properties)
	case *mqtt.Publish:
		return fmt.Sprintf("PUBLISH dup=%t qos=%d retain=%t topic=%q id=%d payload=%q", p.Dup, p.QoS, p.Retain, p.Topic, p.ID, p.Payload) +
			describeProperties(p.Properties)
	case *mqtt.Ack:
		return fmt.Sprintf("%s id=%d %s", p.Type, p.ID, describeCode(p.Code)) + describeProperties(p.Properties)
	case *mqtt.Subscribe:
		s := fmt.Sprintf("SUBSCRIBE id=%d", p.ID) + describeProperties(p.Properties)
		for _, x := range p.Subscriptions {
			o := x.Options
			s += fmt.Sprintf(" %s(qos=%d nolocal=%t asPublished=%t handling=%d)",
				describeFilter(x.Filter), o.QoS(), o.NoLocal(), o.RetainAsPublished(), o.RetainHandling())
		}
		return s
	case *mqtt.Suback:
		return fmt.Sprintf("SUBACK id=%d", p.ID) + describeProperties(p.Properties) + describeCodes(p.Codes)
	case *mqtt.Unsubscribe:
		s := fmt.Sprintf("UNSUBSCRIBE id=%d", p.ID) + describeProperties(p.Properties)
		for _, f := range p.Filters {
			s += " " + describeFilter(f)
		}
		return s
	case *mqtt.Unsuback:
		return fmt.Sprintf("UNSUBACK id=%d", p.ID) + describeProperties(p.Properties) + describeCodes(p.Codes)
	case *mqtt.Ping:
		return p.Type.String()
	case *mqtt.Disconnect:
		return "DISCONNECT " + describeCode(p.Code) + describeProperties(p.Properties)
	case *mqtt.Auth:
		return "AUTH " + describeCode(p.Code) + describeProperties(p.Properties)
	default:
		return "?"
	}
}

func describeCode(c mqtt.ReasonCode) string { return fmt.Sprintf("(%v)", c) }

func describeCodes(codes []mqtt.ReasonCode) string {
	s := ""
	for _, c := range codes {
		s += " " + describeCode(c)
	}
	return s
}

func describeFilter(f mqtt.Filter) string {
	s := fmt.Sprintf("%q", f.Text)
	if f.Share != nil {
		s += fmt.Sprintf("=share %q of %q", f.Share, f.Topic)
	}
	if f.Wildcard {
		s += "*"
	}
	return s
}

func describeProperties(p mqtt.Properties) string {
	if len(p) == 0 {
		return ""
	}
	var list []string
	for x := range p.All() {
		switch {
		case x.Name != nil:
			list = append(list, fmt.Sprintf("%s %q=%q", x.ID, x.Name, x.Value))
		case x.Value != nil:
			list = append(list, fmt.Sprintf("%s %q", x.ID, x.Value))
		default:
			list = append(list, fmt.Sprintf("%s %d", x.ID, x.Number))
		}
	}
	return " {" + strings.Join(list, ", ") + "}"
}
