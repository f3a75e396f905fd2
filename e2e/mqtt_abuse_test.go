//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/e2e/process"
	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// packet makes a packet of any bytes with a right remaining length.
func packet(first byte, body ...byte) []byte {
	b := []byte{first}
	for n := len(body); ; {
		c := byte(n & 0x7f)
		if n >>= 7; n > 0 {
			b = append(b, c|0x80)
			continue
		}
		return append(append(b, c), body...)
	}
}

// field is a string or binary data with its length.
func field(s string) []byte { return append([]byte{byte(len(s) >> 8), byte(len(s))}, s...) }

// join puts pieces of a packet together.
func join(pieces ...[]byte) []byte { return bytes.Join(pieces, nil) }

// abuses are what a client may send and should not, after its CONNECT was
// accepted, in MQTT 5; no is the property length that 3.1.1 does not have.
type abuse struct {
	name string
	send func(no []byte) []byte // of MQTT 5: no is one zero byte; of 3.1.1: nothing
	code mqtt.ReasonCode        // of DISCONNECT in MQTT 5
	only mqtt.Version           // 0 for both
}

func abuses() []abuse {
	raw := func(b ...byte) func([]byte) []byte { return func([]byte) []byte { return b } }
	publish := func(first byte, topic string, rest ...byte) func([]byte) []byte {
		return func(no []byte) []byte { return packet(first, join(field(topic), rest, no, []byte("x"))...) }
	}
	alias := func(topic string, n byte) func([]byte) []byte {
		return func([]byte) []byte { return packet(0x30, join(field(topic), []byte{3, 0x23, 0, n}, []byte("x"))...) }
	}
	subscribe := func(first byte, filters ...string) func([]byte) []byte {
		return func(no []byte) []byte {
			body := join([]byte{0, 1}, no)
			for _, f := range filters {
				body = join(body, field(f), []byte{1})
			}
			return packet(first, body...)
		}
	}
	large := strings.Repeat("x", 131073)
	return []abuse{
		{"packet type 0", raw(0, 0), mqtt.MalformedPacket, 0},
		{"a remaining length without end", raw(0x30, 0xff, 0xff, 0xff, 0xff, 0xff), mqtt.MalformedPacket, 0},
		{"a packet of 256 MiB", raw(0x30, 0xff, 0xff, 0xff, 0x7f), mqtt.PacketTooLarge, 0},
		{"a payload over the limit", func(no []byte) []byte { return packet(0x30, join(field("a"), no, []byte(large))...) }, mqtt.PacketTooLarge, 0},
		{"QoS 3", publish(0x36, "a", 0, 1), mqtt.MalformedPacket, 0},
		{"packet identifier 0", publish(0x32, "a", 0, 0), mqtt.ProtocolError, 0},
		{"DUP at QoS 0", publish(0x38, "a"), mqtt.MalformedPacket, 0},
		{"a topic beyond the packet", raw(0x30, 3, 0xff, 0xff, 'a'), mqtt.MalformedPacket, 0},
		{"a topic that is not UTF-8", publish(0x30, "a\xff"), mqtt.MalformedPacket, 0},
		{"a topic with a surrogate", publish(0x30, "a\xed\xa0\x80"), mqtt.MalformedPacket, 0},
		{"a topic with NUL", publish(0x30, "a\x00b"), mqtt.MalformedPacket, 0},
		{"# in a topic name", publish(0x30, "a/#"), mqtt.TopicNameInvalid, 0},
		{"+ in a topic name", publish(0x30, "+/a"), mqtt.TopicNameInvalid, 0},
		{"a topic of nine levels", publish(0x30, "1/2/3/4/5/6/7/8/9"), mqtt.TopicNameInvalid, 0},
		{"a topic of 257 bytes", publish(0x30, strings.Repeat("x", 257)), mqtt.TopicNameInvalid, 0},
		{"a reserved topic", publish(0x30, "$SYS/x"), mqtt.TopicNameInvalid, 0},
		{"topic alias 0", alias("a", 0), mqtt.TopicAliasInvalid, mqtt.V5},
		{"a topic alias over the maximum", alias("a", 9), mqtt.TopicAliasInvalid, mqtt.V5},
		{"a topic alias that stands for nothing", alias("", 3), mqtt.ProtocolError, mqtt.V5},
		{"neither topic nor alias", publish(0x30, ""), mqtt.ProtocolError, mqtt.V5},
		{"QoS 2", publish(0x34, "a", 0, 1), mqtt.QoSNotSupported, mqtt.V5},
		{"SUBSCRIBE with other flags", subscribe(0x80, "a"), mqtt.MalformedPacket, 0},
		{"SUBSCRIBE without filters", subscribe(0x82), mqtt.ProtocolError, 0},
		{"# in the middle", subscribe(0x82, "a/#/b"), mqtt.TopicFilterInvalid, 0},
		{"a level that is not all +", subscribe(0x82, "a/b+"), mqtt.TopicFilterInvalid, 0},
		{"a filter that is not UTF-8", subscribe(0x82, "a\xc0\x80"), mqtt.MalformedPacket, 0},
		{"UNSUBSCRIBE without filters", subscribe(0xa2), mqtt.ProtocolError, 0},
		{"an empty SUBSCRIBE", raw(0x82, 0), mqtt.MalformedPacket, 0},
		{"a second CONNECT", raw(packet(0x10, join(field("MQTT"), []byte{4, 2, 0, 60}, field("again"))...)...), mqtt.ProtocolError, 0},
		{"CONNACK", raw(0x20, 2, 0, 0), mqtt.ProtocolError, 0},
		{"PINGRESP", raw(0xd0, 0), mqtt.ProtocolError, 0},
		{"PINGREQ with a body", raw(0xc0, 1, 0), mqtt.MalformedPacket, 0},
		{"AUTH", raw(0xf0, 2, 0x18, 0), mqtt.ProtocolError, mqtt.V5},
		{"AUTH of a server", raw(0xf0, 0), mqtt.MalformedPacket, mqtt.V5},
		{"PUBACK too short", raw(0x40, 1, 0), mqtt.MalformedPacket, 0},
		{"a property that PUBLISH does not have", raw(packet(0x30, join(field("a"), []byte{5, 0x11, 0, 0, 0, 1})...)...), mqtt.MalformedPacket, mqtt.V5},
		{"a property twice", raw(packet(0x30, join(field("a"), []byte{4, 0x01, 0, 0x01, 0})...)...), mqtt.ProtocolError, mqtt.V5},
	}
}

// abused is a server that does not wait long, and a device on it.
func abused(t *testing.T) *device {
	t.Helper()
	s := start(t, "--mqtt-connect-timeout", "2s", "--mqtt-connect-rate", "0", "--mqtt-output", strconv.Itoa(1<<20))
	d := s.device(t)
	d.grant(t, everything())
	return d
}

// TestMQTTAbuse: whatever a client sends that it should not ends its connection,
// with the reason where its version has one, and nobody else's.
func TestMQTTAbuse(t *testing.T) {
	t.Parallel()
	d := abused(t)
	good := d.open(t, session{id: "bystander"})
	for _, a := range abuses() {
		for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
			if a.only != 0 && a.only != v {
				continue
			}
			name := fmt.Sprintf("%s, MQTT %s", a.name, v)
			l := d.open(t, session{id: unique("abuser"), version: v})
			no := []byte{0}
			if v == mqtt.V311 {
				no = nil
			}
			if err := l.write(a.send(no)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			wantCode(t, name, l, v, a.code)
		}
	}
	check(t, good.send(&mqtt.Ping{Type: mqtt.TypePingreq}))
	if frame, err := good.read(5 * time.Second); err != nil || mqtt.TypeOf(frame) != mqtt.TypePingresp {
		t.Errorf("the bystander: %x %v", frame, err)
	}
}

// wantCode waits for the end of the connection, and in MQTT 5 for a DISCONNECT before.
func wantCode(t *testing.T, name string, l *link, v mqtt.Version, code mqtt.ReasonCode) {
	t.Helper()
	said := l.wantOver(t, name, 5*time.Second)
	_ = l.Close()
	if v != mqtt.V5 {
		if len(said) > 0 {
			t.Errorf("%s: the server says %x", name, said)
		}
		return
	}
	var p mqtt.Disconnect
	if len(said) != 1 || p.Decode(&l.decoder, said[0]) != nil || p.Code != code {
		t.Errorf("%s: the server says %x, want a DISCONNECT with %#x", name, said, byte(code))
	}
}

// TestMQTTSubscriptionBomb: a client gets as many subscriptions as it may have
// and is refused the rest.
func TestMQTTSubscriptionBomb(t *testing.T) {
	t.Parallel()
	d := abused(t)
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		l := d.open(t, session{id: unique("bomber"), version: v})
		for n := range 60 {
			codes, err := l.subscribe(1, fmt.Sprintf("a/%d", n))
			check(t, err)
			want := mqtt.ReasonCode(1)
			if n >= 50 {
				want = map[mqtt.Version]mqtt.ReasonCode{mqtt.V311: mqtt.UnspecifiedError, mqtt.V5: mqtt.QuotaExceeded}[v]
			}
			if codes[0] != want {
				t.Errorf("MQTT %s, subscription %d: %#x, want %#x", v, n, byte(codes[0]), byte(want))
			}
		}
		// 2,000 filters in one packet: not one is granted.
		p := mqtt.Subscribe{ID: 9}
		for n := range 2000 {
			p.Subscriptions = append(p.Subscriptions, mqtt.Subscription{Filter: mqtt.Filter{Text: fmt.Appendf(nil, "b/%d", n)}, Options: 1})
		}
		check(t, l.send(&p))
		for _, frame := range l.wantOver(t, "2,000 filters", 5*time.Second) {
			if mqtt.TypeOf(frame) == mqtt.TypeSuback {
				t.Errorf("MQTT %s, 2,000 filters: %x", v, frame[:8])
			}
		}
	}
}

// TestMQTTBeforeConnect: who does not say CONNECT in time, or says something
// else first, is sent away; what comes before a refused CONNECT's answer is for
// nobody.
func TestMQTTBeforeConnect(t *testing.T) {
	t.Parallel()
	d := abused(t)
	connect := packet(0x10, join(field("MQTT"), []byte{4, 2, 0, 60}, field("late"))...)
	for port, alpn := range ports() {
		for name, c := range map[string]struct {
			first  []byte
			silent bool // waits for the deadline
		}{
			"nothing":                 {nil, true},
			"half a CONNECT":          {connect[:9], true},
			"PINGREQ":                 {[]byte{0xc0, 0}, false},
			"HTTP":                    {[]byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), false},
			"protocol level 3":        {packet(0x10, join(field("MQIsdp"), []byte{3, 2, 0, 60}, field("x"))...), false},
			"CONNECT with a reserved": {packet(0x10, join(field("MQTT"), []byte{4, 3, 0, 60}, field("x"))...), false},
		} {
			t.Run(port+" "+name, func(t *testing.T) {
				t.Parallel()
				l, err := d.dial(t.Context(), d.s.mqttAddr(t, port), only(alpn)...)
				check(t, err)
				defer shut(t, l)
				begun := time.Now()
				if len(c.first) > 0 {
					check(t, l.write(c.first))
				}
				for _, frame := range l.wantOver(t, name, 8*time.Second) {
					if mqtt.TypeOf(frame) != mqtt.TypeConnack || frame[3] == 0 {
						t.Errorf("the server says %x", frame)
					}
				}
				if took := time.Since(begun); c.silent && took < 1500*time.Millisecond || took > 6*time.Second {
					t.Errorf("ended after %s", took)
				}
			})
		}
	}
}

func only(alpn string) []string {
	if alpn == "" {
		return nil
	}
	return []string{alpn}
}

// TestMQTTRefusedConnectPublishes: a CONNECT that is refused takes everything
// behind it along.
func TestMQTTRefusedConnectPublishes(t *testing.T) {
	t.Parallel()
	d, thief := shared.device(t), shared.device(t)
	d.grant(t, everything())
	thief.grant(t, allow([]string{"iot:Publish", "iot:Subscribe", "iot:Receive"}, "*"))
	l := d.open(t, session{id: d.thing})
	topic := unique("loot")
	check(t, second(l.subscribe(1, topic)))
	for _, c := range []struct {
		device *device
		id     string
		want   int
	}{{thief, unique("thief"), 0}, {d, unique("hasty"), 1}} {
		x, err := c.device.dial(t.Context(), shared.mqttAddr(t, "mqtt"))
		check(t, err)
		check(t, x.write(join(packet(0x10, join(field("MQTT"), []byte{4, 2, 0, 60}, field(c.id))...), packet(0x30, join(field(topic), []byte("x"))...))))
		if got := l.drain(t, 500*time.Millisecond); len(got) != c.want {
			t.Errorf("%s: %d messages came through, want %d", c.id, len(got), c.want)
		}
		check(t, x.Close())
	}
}

// foreign makes a certificate that nobody registered.
func foreign(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "foreign"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	check(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestMQTTStrangers: who has no certificate of ours, speaks an old TLS or asks
// for another host gets nowhere, and the operator hears why.
func TestMQTTStrangers(t *testing.T) {
	t.Parallel()
	d := abused(t)
	for name, c := range map[string]struct {
		change func(*tls.Config)
		said   string // in the log; "" where the handshake fails
	}{
		"no certificate":      {func(c *tls.Config) { c.Certificates = nil }, "the client showed no certificate"},
		"foreign certificate": {func(c *tls.Config) { c.Certificates = []tls.Certificate{foreign(t)} }, "the certificate is not registered"},
		"foreign name": {func(c *tls.Config) {
			c.ServerName, c.InsecureSkipVerify = "broker.example.com", true
		}, "broker.example.com"},
		"TLS 1.1": {func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, ""},
	} {
		for port, alpn := range ports() {
			conf := d.tls(alpn)
			c.change(conf)
			l, err := dialTLS(t.Context(), d.s.mqttAddr(t, port), conf)
			if c.said == "" {
				if err == nil {
					t.Errorf("%s on %s: the handshake succeeds", name, port)
				}
				continue
			}
			if err == nil {
				_ = l.write(packet(0x10, join(field("MQTT"), []byte{4, 2, 0, 60}, field("x"))...))
				if said := l.wantOver(t, name, 5*time.Second); len(said) > 0 {
					t.Errorf("%s on %s: the server says %x", name, port, said)
				}
				_ = l.Close()
			}
		}
		if c.said != "" {
			found := false
			for _, line := range d.s.logged(t) {
				why, _ := line["explanation"].(string)
				found = found || line["msg"] == "mqtt refused" && strings.Contains(why, c.said)
			}
			if !found {
				t.Errorf("%s: the log does not say %q", name, c.said)
			}
		}
	}
}

// TestMQTTSlowReader: one who does not read costs the others nothing, and the
// server no more memory than it is allowed.
func TestMQTTSlowReader(t *testing.T) {
	t.Parallel()
	d := abused(t)
	const messages, size = 2000, 64 << 10
	reader := d.open(t, session{id: "reader"})
	check(t, second(reader.subscribe(0, "flood")))
	for n := range 4 {
		check(t, second(d.open(t, session{id: fmt.Sprintf("sleeper-%d", n)}).subscribe(0, "flood")))
	}
	before, err := process.RSS(d.s.PID())
	check(t, err)
	pub := d.open(t, session{id: "flooder"})
	failed := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	turn := make(chan struct{}, 16) // the reader sets the pace
	go func() {
		payload := strings.Repeat("x", size)
		for range messages {
			select {
			case turn <- struct{}{}:
			case <-ctx.Done():
				failed <- ctx.Err()
				return
			}
			if _, err := pub.publish(0, false, "flood", payload); err != nil {
				failed <- err
				return
			}
		}
		failed <- nil
	}()
	begun := time.Now()
	for n := range messages {
		if _, err := reader.receive(20 * time.Second); err != nil {
			t.Fatalf("the reader got %d messages, then: %v", n, err)
		}
		<-turn
	}
	check(t, <-failed)
	after, err := process.RSS(d.s.PID())
	check(t, err)
	t.Logf("%d MiB in %s; resident memory %d MiB, then %d MiB", messages*size>>20, time.Since(begun).Round(time.Millisecond), before>>20, after>>20)
	if after-before > 64<<20 {
		t.Errorf("resident memory grew by %d MiB", (after-before)>>20)
	}
}

// TestMQTTLargePayload: messages of every size up to the limit arrive whole,
// however they come in pieces, and those behind them too.
func TestMQTTLargePayload(t *testing.T) {
	t.Parallel()
	d := shared.device(t)
	d.grant(t, everything())
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		sub, pub := d.open(t, session{id: unique("sub"), version: v}), d.open(t, session{id: unique("pub"), version: v})
		topic := unique("large")
		check(t, second(sub.subscribe(1, topic)))
		for _, size := range []int{1, 16 << 10, 64<<10 - 20, 64 << 10, 66_000, 100_000, 128 << 10} {
			for n := range 10 {
				payload := strings.Repeat(string(rune('a'+n)), size)
				if code, err := pub.publish(1, false, topic, payload); err != nil || code != 0 {
					t.Fatalf("MQTT %s, %d bytes: PUBACK %v, %v", v, size, code, err)
				}
				m, err := sub.receive(10 * time.Second)
				if err != nil || string(m.Payload) != payload {
					t.Fatalf("MQTT %s, %d bytes: %d came, %v", v, size, len(m.Payload), err)
				}
			}
		}
	}
}

// trickle is a connection whose writes go out a few bytes at a time.
type trickle struct{ net.Conn }

func (c trickle) Write(b []byte) (n int, err error) {
	for len(b) > 0 && err == nil {
		var k int
		k, err = c.Conn.Write(b[:min(len(b), 9000)])
		n += k
		b = b[k:]
		time.Sleep(time.Millisecond)
	}
	return n, err
}

// TestMQTTInPieces: a large message that comes a piece at a time is as good,
// wherever TLS cuts it, and the network the records of TLS.
func TestMQTTInPieces(t *testing.T) {
	t.Parallel()
	d := shared.device(t)
	d.grant(t, everything())
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, piece := range []int{1000, 16<<10 + 1, 65_000, 70_000, 100_000, 200_000} {
			conf := d.tls("")
			conf.MinVersion, conf.MaxVersion = version, version
			tcp, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", shared.mqttAddr(t, "mqtt"))
			check(t, err)
			l := &link{Conn: tls.Client(trickle{tcp}, conf), decoder: mqtt.Decoder{Version: mqtt.V311, From: mqtt.Server}}
			if ack, err := l.connect(session{id: unique("slow")}); err != nil || ack.Code != 0 {
				t.Fatal(ack.Code, err)
			}
			p := mqtt.Publish{QoS: 1, ID: 1, Topic: []byte("pieces"), Payload: bytes.Repeat([]byte("x"), 128<<10)}
			b, err := p.Append(nil, mqtt.V311)
			check(t, err)
			for len(b) > 0 {
				n := min(piece, len(b))
				if err := l.write(b[:n]); err != nil {
					t.Errorf("%s, in pieces of %d bytes: %v", tls.VersionName(version), piece, err)
					break
				}
				b = b[n:]
				time.Sleep(5 * time.Millisecond)
			}
			if frame, err := l.read(10 * time.Second); err != nil || mqtt.TypeOf(frame) != mqtt.TypePuback {
				t.Errorf("%s, in pieces of %d bytes: %x, %v", tls.VersionName(version), piece, frame, err)
			}
			_ = l.Close()
		}
	}
}

// metric reads one figure of the metrics endpoint.
func (s *server) metric(t testing.TB, name string) float64 {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.Env["AWS_ENDPOINT_URL"]+"/_sekisho/metrics", http.NoBody)
	check(t, err)
	tr := s.transport()
	defer tr.CloseIdleConnections()
	res, err := tr.RoundTrip(r)
	check(t, err)
	defer shut(t, res.Body)
	b, err := io.ReadAll(res.Body)
	check(t, err)
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			f, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			check(t, err)
			return f
		}
	}
	t.Fatalf("the metrics have no %s", name)
	return 0
}

// TestMQTTAbusiveConnections: 10,000 connections that mean no good leave
// neither goroutines nor descriptors nor memory behind.
func TestMQTTAbusiveConnections(t *testing.T) {
	t.Parallel()
	d := abused(t)
	stranger := foreign(t)
	mqttAddr, httpsAddr := d.s.mqttAddr(t, "mqtt"), d.s.mqttAddr(t, "device_https")
	connect := packet(0x10, join(field("MQTT"), []byte{4, 2, 0, 60}, field("x"))...)
	raw := func(b ...byte) func(context.Context, int) error {
		return func(ctx context.Context, n int) error {
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp", []string{mqttAddr, httpsAddr}[n%2])
			if err != nil {
				return err
			}
			_, _ = c.Write(b)
			return c.Close()
		}
	}
	secure := func(change func(*tls.Config), b []byte) func(context.Context, int) error {
		return func(ctx context.Context, n int) error {
			conf, addr := d.tls(""), mqttAddr
			if n%4 >= 2 {
				conf, addr = d.tls(alpnMQTT), httpsAddr
			}
			if change != nil {
				change(conf)
			}
			l, err := dialTLS(ctx, addr, conf)
			if err != nil {
				return nil //nolint:nilerr // a refusal is as good
			}
			_ = l.write(b)
			_, _ = l.read(100 * time.Millisecond)
			_ = l.Close() // the server was faster
			return nil
		}
	}
	kinds := []func(context.Context, int) error{
		raw(), raw([]byte("GET / HTTP/1.0\r\n\r\n")...), raw(0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc), raw(bytes.Repeat([]byte{0}, 4096)...), raw(connect...), raw(0x16, 3, 1),
		secure(nil, []byte{0, 0}), secure(nil, connect[:7]), secure(nil, append(connect, 0x30, 0xff, 0xff, 0xff, 0xff)),
		secure(func(c *tls.Config) { c.Certificates = []tls.Certificate{stranger} }, connect),
	}
	abuse := func(count int) {
		t.Helper()
		var wg sync.WaitGroup
		errs := make(chan error, count)
		for worker := range 16 {
			wg.Go(func() {
				for n := worker; n < count; n += 16 {
					if err := kinds[n%len(kinds)](t.Context(), n/len(kinds)); err != nil {
						errs <- err
					}
				}
			})
		}
		wg.Wait()
		if len(errs) > 0 {
			t.Errorf("%d connections could not be made, one for: %v", len(errs), <-errs)
		}
	}
	abuse(500) // what is made once and kept
	names := []string{"go_goroutines", "process_open_fds"}
	settle := func(want map[string]float64) (got map[string]float64) {
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(200 * time.Millisecond) {
			got = map[string]float64{}
			over := false
			for _, name := range names {
				got[name] = d.s.metric(t, name)
				over = over || got[name] > want[name]+3
			}
			if !over || time.Now().After(deadline) {
				return got
			}
		}
	}
	time.Sleep(4 * time.Second) // until those have met their deadlines
	before := settle(map[string]float64{"go_goroutines": 1e9, "process_open_fds": 1e9})
	rss, err := process.RSS(d.s.PID())
	check(t, err)
	begun := time.Now()
	abuse(10_000)
	took := time.Since(begun)
	after := settle(before)
	grown, err := process.RSS(d.s.PID())
	check(t, err)
	t.Logf("10,000 connections in %s: %v before, %v after; resident memory %d MiB, then %d MiB", took.Round(time.Millisecond), before, after, rss>>20, grown>>20)
	for _, name := range names {
		if after[name] > before[name]+3 {
			t.Errorf("%s: %v before, %v after", name, before[name], after[name])
		}
	}
	if grown-rss > 48<<20 {
		t.Errorf("resident memory grew by %d MiB", (grown-rss)>>20)
	}
	l := d.open(t, session{id: "afterwards"})
	if code, err := l.publish(1, false, "a", "x"); err != nil || code.Failed() {
		t.Error(errors.Join(err, code))
	}
}

// TestMQTTHalfOpen: connections that never finish their handshake are ended, and
// meanwhile others get in.
func TestMQTTHalfOpen(t *testing.T) {
	t.Parallel()
	d := abused(t)
	var idle []net.Conn
	for n := range 1000 {
		port := []string{"mqtt", "device_https"}[n%2]
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", d.s.mqttAddr(t, port))
		check(t, err)
		idle = append(idle, c)
		if n%4 >= 2 { // the beginning of a ClientHello
			_, err := c.Write([]byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3})
			check(t, err)
		}
	}
	begun := time.Now()
	d.open(t, session{id: "in between"})
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("an honest client waited %s", took)
	}
	deadline := time.Now().Add(30 * time.Second)
	for _, c := range idle {
		check(t, c.SetReadDeadline(deadline))
		if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, net.ErrClosed) && time.Now().After(deadline) {
			t.Fatalf("still open after 30 s: %v", err)
		}
		check(t, c.Close())
	}
	t.Logf("the last of %d half-open connections was ended after %s", len(idle), time.Since(begun).Round(time.Millisecond))
}
