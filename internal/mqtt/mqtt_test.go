package mqtt_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

func TestFrame(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		in    []byte
		limit int
		n     int
		err   error
	}{
		{"nothing", nil, 0, 0, nil},
		{"a type alone", []byte{0x30}, 0, 0, nil},
		{"half a remaining length", []byte{0x30, 0x80}, 0, 0, nil},
		{"a part", []byte{0x30, 3, 0, 1}, 0, 0, nil},
		{"a packet", []byte{0x30, 3, 0, 1, 'a'}, 5, 5, nil},
		{"a packet and more", []byte{0xc0, 0, 0xc0}, 0, 2, nil},
		{"type 0", []byte{0x0f}, 0, 0, mqtt.MalformedPacket},
		{"too large, known from the header", []byte{0x30, 4}, 5, 0, mqtt.PacketTooLarge},
		{"the largest claim", []byte{0x30, 0xff, 0xff, 0xff, 0x7f}, 0, 0, nil},
		{"five bytes of remaining length", []byte{0x30, 0xff, 0xff, 0xff, 0xff, 1}, 0, 0, mqtt.MalformedPacket},
		{"four bytes that say that there are more", []byte{0x30, 0x80, 0x80, 0x80, 0x80}, 0, 0, mqtt.MalformedPacket},
	}
	for _, tt := range tests {
		n, err := mqtt.Frame(tt.in, tt.limit)
		if n != tt.n || !errors.Is(err, tt.err) {
			t.Errorf("%s: %d, %v", tt.name, n, err)
		}
	}
}

// Decode is given what Frame found; anything else is refused all the same.
func TestDecodeNotAPacket(t *testing.T) {
	t.Parallel()
	for _, d := range []mqtt.Decoder{{Version: mqtt.V311}, {Version: mqtt.V5}, {Version: mqtt.V5, From: mqtt.Server}} {
		for typ := mqtt.TypeConnect; typ <= mqtt.TypeAuth; typ++ {
			for _, frame := range [][]byte{
				nil,
				{byte(typ) << 4},
				{byte(typ)<<4 | 2, 1},
				{byte(typ) << 4, 0x80, 0x80, 0x80, 0x80},
				{byte(typ%15+1) << 4, 0},
				{byte((typ+5)%15+1) << 4, 0},
			} {
				if typ == mqtt.TypePingreq && mqtt.TypeOf(frame) == mqtt.TypePingresp {
					continue // Ping reads either
				}
				if err := mqtt.New(typ).Decode(&d, frame); !errors.Is(err, mqtt.MalformedPacket) {
					t.Errorf("%s %x: %v", typ, frame, err)
				}
			}
		}
	}
	if mqtt.New(0) != nil || mqtt.New(16) != nil {
		t.Error("a packet of type 0")
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	got := []string{
		mqtt.V311.String(), mqtt.V5.String(), mqtt.Version(3).String(),
		mqtt.PacketType(0).String(), mqtt.TypeAuth.String(), mqtt.TypeOf(nil).String(),
		mqtt.ReceiveMaximum.String(), mqtt.PropertyID(0).String(), mqtt.ReasonCode(0x7f).Error(),
		(&mqtt.Error{Code: mqtt.NotAuthorized, Detail: "why"}).Error(),
	}
	want := []string{
		"3.1.1", "5", "level 3", "reserved", "AUTH", "reserved",
		"Receive Maximum", "property 0x00", "reason code 0x7F", "Not authorized: why",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestReasonCodes(t *testing.T) {
	t.Parallel()
	if got := mqtt.CodeOf(nil); got != mqtt.Success {
		t.Errorf("no error: %v", got)
	}
	if got := mqtt.CodeOf(fmt.Errorf("publish: %w", mqtt.QuotaExceeded)); got != mqtt.QuotaExceeded {
		t.Errorf("wrapped: %v", got)
	}
	if got := mqtt.CodeOf(errors.ErrUnsupported); got != mqtt.UnspecifiedError {
		t.Errorf("another error: %v", got)
	}
	known := 0
	for i := range 256 {
		c := mqtt.ReasonCode(i)
		if strings.HasPrefix(c.Error(), "reason code") {
			continue
		}
		known++
		used := false
		for typ := mqtt.TypeConnack; typ <= mqtt.TypeAuth; typ++ {
			used = used || c.In(typ, mqtt.Client) || c.In(typ, mqtt.Server)
		}
		if !used || c.Failed() != (i >= 0x80) {
			t.Errorf("%v: used %t, failed %t", c, used, c.Failed())
		}
	}
	if known != 43 {
		t.Errorf("%d reason codes", known)
	}
}

// What 3.1.1 has no packet for is an error, and the connection is closed.
func TestReturnCodes(t *testing.T) {
	t.Parallel()
	want := map[mqtt.ReasonCode]byte{
		mqtt.Success: 0, mqtt.UnsupportedProtocolVersion: 1, mqtt.ClientIdentifierNotValid: 2,
		mqtt.ServerUnavailable: 3, mqtt.ServerBusy: 3, mqtt.ServerShuttingDown: 3, mqtt.QuotaExceeded: 3,
		mqtt.UseAnotherServer: 3, mqtt.ServerMoved: 3, mqtt.ConnectionRateExceeded: 3, mqtt.UnspecifiedError: 3,
		mqtt.ImplementationSpecificError: 3, mqtt.BadUserNameOrPassword: 4, mqtt.BadAuthenticationMethod: 4,
		mqtt.NotAuthorized: 5, mqtt.Banned: 5,
	}
	for i := range 256 {
		c := mqtt.ReasonCode(i)
		code, said := want[c]
		out, err := (&mqtt.Connack{Code: c}).Append(nil, mqtt.V311)
		if said && !bytes.Equal(out, []byte{0x20, 2, 0, code}) || said != (err == nil) || !said && (len(out) > 0 || !errors.Is(err, c)) {
			t.Errorf("%v: %x, %v", c, out, err)
		}
	}
	refused := []struct {
		p    mqtt.Packet
		code mqtt.ReasonCode
	}{
		{&mqtt.Ack{Type: mqtt.TypePuback, ID: 1, Code: mqtt.NotAuthorized}, mqtt.NotAuthorized},
		{&mqtt.Disconnect{Code: mqtt.SessionTakenOver}, mqtt.SessionTakenOver},
		{&mqtt.Auth{Code: mqtt.ContinueAuthentication}, mqtt.ContinueAuthentication},
	}
	for _, r := range refused {
		if out, err := r.p.Append([]byte("x"), mqtt.V311); string(out) != "x" || !errors.Is(err, r.code) {
			t.Errorf("%v: %q, %v", r.code, out, err)
		}
	}
	out, err := (&mqtt.Suback{ID: 1, Codes: []mqtt.ReasonCode{1, mqtt.NotAuthorized}}).Append(nil, mqtt.V311)
	if err != nil || !bytes.Equal(out, []byte{0x90, 4, 0, 1, 1, 0x80}) {
		t.Errorf("SUBACK: %x, %v", out, err)
	}
	out, err = (&mqtt.Unsuback{ID: 1, Codes: []mqtt.ReasonCode{mqtt.NotAuthorized}}).Append(nil, mqtt.V311)
	if err != nil || !bytes.Equal(out, []byte{0xb0, 2, 0, 1}) {
		t.Errorf("UNSUBACK: %x, %v", out, err)
	}
}

func TestTopicNames(t *testing.T) {
	t.Parallel()
	aws := mqtt.Limits{TopicLength: 256, TopicLevels: 8}
	long := strings.Repeat("t", 256)
	tests := []struct {
		topic  string
		limits mqtt.Limits
		code   mqtt.ReasonCode
	}{
		{"a/b", aws, mqtt.Success},
		{"/1/2/3/4/5/6/7", aws, mqtt.Success},
		{"0/1/2/3/4/5/6/7/8", aws, mqtt.TopicNameInvalid},
		{"0/1/2/3/4/5/6/7/8", mqtt.Limits{}, mqtt.Success},
		{long, aws, mqtt.Success},
		{long + "t", aws, mqtt.TopicNameInvalid},
		{strings.Repeat("é", 129), aws, mqtt.TopicNameInvalid},
		{"$aws/rules/r/" + long, aws, mqtt.Success},
		{"$aws/rules/r/" + long + "t", aws, mqtt.TopicNameInvalid},
		{"$aws/rules/r/0/1/2/3/4/5/6/7", aws, mqtt.Success},
		{"$aws/rules/r/0/1/2/3/4/5/6/7/8", aws, mqtt.TopicNameInvalid},
		{"$aws/rules/" + long, aws, mqtt.TopicNameInvalid},
		{"$aws/things/0/1/2/3/4/5/6", aws, mqtt.TopicNameInvalid},
		{"é/+", mqtt.Limits{}, mqtt.TopicNameInvalid},
		{"é/b/\x00", mqtt.Limits{}, mqtt.MalformedPacket},
		{"a\xff", mqtt.Limits{}, mqtt.MalformedPacket},
		{"", mqtt.Limits{}, mqtt.ProtocolError},
	}
	for _, tt := range tests {
		if got := mqtt.CodeOf(mqtt.CheckTopicName([]byte(tt.topic), &tt.limits)); got != tt.code {
			t.Errorf("%q: %v, not %v", tt.topic, got, tt.code)
		}
	}
}

func TestFilterLimits(t *testing.T) {
	t.Parallel()
	aws := mqtt.Limits{TopicLength: 256, TopicLevels: 8, ShareName: 128}
	name, long := strings.Repeat("g", 128), strings.Repeat("t", 254)
	tests := []struct {
		filter string
		code   mqtt.ReasonCode
	}{
		{"0/1/2/3/4/5/6/#", mqtt.Success},
		{"0/1/2/3/4/5/6/7/#", mqtt.TopicFilterInvalid},
		{"$share/" + name + "/" + long + "/#", mqtt.Success},
		{"$share/" + name + "/" + long + "/a#", mqtt.TopicFilterInvalid},
		{"$share/" + name + "/" + long + "/ab", mqtt.TopicFilterInvalid},
		{"$share/" + name + "g/a", mqtt.TopicFilterInvalid},
		{"$share/g/0/1/2/3/4/5/6/7", mqtt.Success},
		{"$share/g/0/1/2/3/4/5/6/7/8", mqtt.TopicFilterInvalid},
		{"a\x00", mqtt.MalformedPacket},
	}
	for _, tt := range tests {
		if _, err := mqtt.ParseFilter([]byte(tt.filter), &aws); mqtt.CodeOf(err) != tt.code {
			t.Errorf("%q: %v, not %v", tt.filter, err, tt.code)
		}
	}
}

func TestDecoderLimits(t *testing.T) {
	t.Parallel()
	d := mqtt.Decoder{Version: mqtt.V311, Limits: mqtt.Limits{TopicLength: 3, ClientID: 2, Filters: 2}}
	three := []mqtt.Filter{{Text: []byte("a")}, {Text: []byte("b")}, {Text: []byte("c")}}
	tests := []struct {
		p    mqtt.Packet
		code mqtt.ReasonCode
	}{
		{&mqtt.Connect{Version: mqtt.V311, ClientID: []byte("ab"), CleanStart: true}, mqtt.Success},
		{&mqtt.Connect{Version: mqtt.V5, ClientID: []byte("abc")}, mqtt.ClientIdentifierNotValid},
		{&mqtt.Connect{Version: mqtt.V5, HasWill: true, Will: mqtt.Will{Topic: []byte("abcd")}}, mqtt.TopicNameInvalid},
		{&mqtt.Publish{Topic: []byte("abc")}, mqtt.Success},
		{&mqtt.Publish{Topic: []byte("abcd")}, mqtt.TopicNameInvalid},
		{&mqtt.Unsubscribe{ID: 1, Filters: three[:2]}, mqtt.Success},
		{&mqtt.Unsubscribe{ID: 1, Filters: three}, mqtt.QuotaExceeded},
		{&mqtt.Subscribe{ID: 1, Subscriptions: []mqtt.Subscription{
			{Filter: three[0]}, {Filter: three[1]}, {Filter: three[2]},
		}}, mqtt.QuotaExceeded},
	}
	for i, tt := range tests {
		frame, err := tt.p.Append(nil, mqtt.V311)
		if err != nil {
			t.Fatal(err)
		}
		if err := mqtt.New(mqtt.TypeOf(frame)).Decode(&d, frame); mqtt.CodeOf(err) != tt.code {
			t.Errorf("%d: %v, not %v", i, err, tt.code)
		}
	}
}

func TestProperties(t *testing.T) {
	t.Parallel()
	want := []mqtt.Property{
		{ID: mqtt.RequestProblemInformation, Number: 1},
		{ID: mqtt.ServerKeepAlive, Number: 65535},
		{ID: mqtt.SessionExpiryInterval, Number: 1 << 31},
		{ID: mqtt.SubscriptionIdentifier, Number: 268_435_455},
		{ID: mqtt.ReasonString, Value: []byte("why")},
		{ID: mqtt.ResponseTopic, Value: []byte("r/t")},
		{ID: mqtt.CorrelationData, Value: []byte{0, 255}},
		{ID: mqtt.UserProperty, Name: []byte("k"), Value: []byte("v")},
	}
	p, err := mqtt.Properties(nil).Add(want...)
	if err != nil {
		t.Fatal(err)
	}
	var got []mqtt.Property
	for x := range p.All() {
		got = append(got, x)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v", got)
	}
	if x, ok := p.Find(mqtt.ReasonString); !ok || string(x.Value) != "why" {
		t.Errorf("Find: %v, %t", x, ok)
	}
	if n := p.Number(mqtt.ServerKeepAlive, 7); n != 65535 {
		t.Errorf("Number: %d", n)
	}
	if n := p.Number(mqtt.ReceiveMaximum, 7); n != 7 {
		t.Errorf("Number of what is absent: %d", n)
	}
	if n := (mqtt.Properties{0x21, 1}).Number(mqtt.ReceiveMaximum, 7); n != 7 {
		t.Errorf("Number of what is cut off: %d", n)
	}
}

func TestAddRefuses(t *testing.T) {
	t.Parallel()
	big := make([]byte, 65536)
	tests := []struct {
		x    mqtt.Property
		code mqtt.ReasonCode
	}{
		{mqtt.Property{ID: 0x7f}, mqtt.ProtocolError},
		{mqtt.Property{ID: mqtt.RetainAvailable, Number: 2}, mqtt.ProtocolError},
		{mqtt.Property{ID: mqtt.ServerKeepAlive, Number: 65536}, mqtt.ProtocolError},
		{mqtt.Property{ID: mqtt.ReceiveMaximum, Number: 65536}, mqtt.ProtocolError},
		{mqtt.Property{ID: mqtt.ReceiveMaximum}, mqtt.ProtocolError},
		{mqtt.Property{ID: mqtt.TopicAlias}, mqtt.TopicAliasInvalid},
		{mqtt.Property{ID: mqtt.SubscriptionIdentifier, Number: 268_435_456}, mqtt.PacketTooLarge},
		{mqtt.Property{ID: mqtt.ReasonString, Value: []byte{0}}, mqtt.MalformedPacket},
		{mqtt.Property{ID: mqtt.CorrelationData, Value: big}, mqtt.PacketTooLarge},
		{mqtt.Property{ID: mqtt.UserProperty, Name: big}, mqtt.PacketTooLarge},
	}
	before := mqtt.Properties{0x24, 1}
	for _, tt := range tests {
		p, err := before.Add(mqtt.Property{ID: mqtt.MaximumQoS}, tt.x)
		if !bytes.Equal(p, before) || mqtt.CodeOf(err) != tt.code {
			t.Errorf("%v: %x, %v", tt.x.ID, p, err)
		}
	}
}

// Nothing is ever cut to fit its length field.
func TestAppendTooLarge(t *testing.T) {
	t.Parallel()
	big := make([]byte, 65536)
	huge := make([]byte, 1<<28) // never touched: no more than addresses
	v5 := &mqtt.Delivery{Version: mqtt.V5}
	for i, p := range []mqtt.Packet{
		&mqtt.Connect{Version: mqtt.V5, ClientID: big},
		&mqtt.Connect{Version: mqtt.V5, Properties: huge},
		&mqtt.Subscribe{ID: 1, Subscriptions: []mqtt.Subscription{{Filter: mqtt.Filter{Text: big}}}},
		&mqtt.Publish{Topic: big},
		&mqtt.Publish{Topic: []byte("a"), Payload: huge},
		&mqtt.Publish{Topic: []byte("a"), Properties: huge},
	} {
		out, err := p.Append([]byte("x"), mqtt.V5)
		if string(out) != "x" || !errors.Is(err, mqtt.PacketTooLarge) {
			t.Errorf("%d: %d bytes, %v", i, len(out), err)
		}
	}
	if _, err := (&mqtt.Publish{Topic: big}).Template(nil, v5); !errors.Is(err, mqtt.PacketTooLarge) {
		t.Errorf("Template: %v", err)
	}
}
