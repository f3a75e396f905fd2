//go:build e2e

package e2e_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iot"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// alpnMQTT is what a client asks for that speaks MQTT on the HTTPS port.
const alpnMQTT = "x-amzn-mqtt-ca"

// arnIoT is the ARN of a resource of the IoT data plane.
func arnIoT(resource string) string { return "arn:aws:iot:" + region + ":000000000000:" + resource }

// mqttAddr is where the server takes MQTT, on its MQTT port or on its HTTPS port.
func (s *server) mqttAddr(t testing.TB, port string) string {
	t.Helper()
	e, err := s.Endpoints()
	check(t, err)
	if e[port] == "" {
		t.Fatalf("endpoints.json has no %q: %v", port, e)
	}
	return e[port]
}

// grant attaches an IoT policy of these statements to the device.
func (d *device) grant(t testing.TB, statements ...map[string]any) {
	t.Helper()
	d.policy = unique("policy")
	_, err := d.s.iot.CreatePolicy(t.Context(), &iot.CreatePolicyInput{PolicyName: &d.policy, PolicyDocument: document(statements...)})
	check(t, err)
	_, err = d.s.iot.AttachPolicy(t.Context(), &iot.AttachPolicyInput{PolicyName: &d.policy, Target: &d.certARN})
	check(t, err)
}

// everything is a statement that allows every MQTT action.
func everything() map[string]any {
	return allow([]string{"iot:Connect", "iot:Publish", "iot:RetainPublish", "iot:Subscribe", "iot:Receive"}, "*")
}

// link is a bare MQTT connection of the tests' own: it sends and reads packets,
// keeps nothing and repairs nothing.
type link struct {
	net.Conn
	decoder mqtt.Decoder
	buf     []byte // what was read
	at, end int    // of buf: what was not yet taken
	out     []byte
}

// dial connects by TLS with the device's certificate and sends nothing.
func (d *device) dial(ctx context.Context, addr string, alpn ...string) (*link, error) {
	conf := &tls.Config{RootCAs: d.s.roots, ServerName: "localhost", NextProtos: alpn, Certificates: []tls.Certificate{d.cert}, MinVersion: tls.VersionTLS12}
	return dialTLS(ctx, addr, conf)
}

func dialTLS(ctx context.Context, addr string, conf *tls.Config) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	c, err := (&tls.Dialer{Config: conf}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &link{Conn: c, decoder: mqtt.Decoder{Version: mqtt.V311, From: mqtt.Server}}, nil
}

// session says how a link connects.
type session struct {
	id        string
	version   mqtt.Version // 3.1.1 unless set
	keep      bool         // a session that outlives the connection
	keepAlive uint16
	will      *mqtt.Will
}

// connect sends CONNECT and returns the CONNACK.
func (l *link) connect(s session) (mqtt.Connack, error) {
	p := mqtt.Connect{Version: mqtt.V311, ClientID: []byte(s.id), CleanStart: !s.keep, KeepAlive: 60}
	if s.version != 0 {
		p.Version = s.version
	}
	if s.keepAlive != 0 {
		p.KeepAlive = s.keepAlive
	}
	if s.will != nil {
		p.HasWill, p.Will = true, *s.will
	}
	var ack mqtt.Connack
	if s.keep && p.Version == mqtt.V5 {
		var err error
		if p.Properties, err = p.Properties.Add(mqtt.Property{ID: mqtt.SessionExpiryInterval, Number: 3600}); err != nil {
			return ack, err
		}
	}
	l.decoder.Version = p.Version
	if err := l.send(&p); err != nil {
		return ack, err
	}
	frame, err := l.read(20 * time.Second)
	if err != nil {
		return ack, fmt.Errorf("await CONNACK: %w", err)
	}
	return ack, ack.Decode(&l.decoder, frame)
}

// send writes one packet.
func (l *link) send(p mqtt.Packet) error {
	var err error
	if l.out, err = p.Append(l.out[:0], l.decoder.Version); err != nil {
		return err
	}
	return l.write(l.out)
}

func (l *link) write(b []byte) error {
	if err := l.SetWriteDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	_, err := l.Write(b)
	return err
}

// read returns the next packet. It stays as it is until the next read.
func (l *link) read(wait time.Duration) ([]byte, error) {
	if err := l.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return nil, err
	}
	for {
		n, err := mqtt.Frame(l.buf[l.at:l.end], 0)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			l.at += n
			return l.buf[l.at-n : l.at], nil
		}
		l.end = copy(l.buf, l.buf[l.at:l.end])
		l.at = 0
		if len(l.buf)-l.end < 512 {
			l.buf = append(l.buf, make([]byte, max(2<<10, len(l.buf)))...)
		}
		n, err = l.Read(l.buf[l.end:])
		l.end += n
		if n == 0 && err != nil {
			return nil, err
		}
	}
}

// subscribe asks for filters and returns a code for each.
func (l *link) subscribe(qos mqtt.QoS, filters ...string) ([]mqtt.ReasonCode, error) {
	p := mqtt.Subscribe{ID: 1}
	for _, f := range filters {
		p.Subscriptions = append(p.Subscriptions, mqtt.Subscription{Filter: mqtt.Filter{Text: []byte(f)}, Options: mqtt.SubscribeOptions(qos)})
	}
	if err := l.send(&p); err != nil {
		return nil, err
	}
	frame, err := l.read(20 * time.Second)
	if err != nil {
		return nil, fmt.Errorf("await SUBACK: %w", err)
	}
	var ack mqtt.Suback
	err = ack.Decode(&l.decoder, frame)
	return ack.Codes, err
}

// publish sends one message and, at QoS 1, awaits its PUBACK. What is delivered
// meanwhile is lost: a link that publishes so does not subscribe.
func (l *link) publish(qos mqtt.QoS, retain bool, topic, payload string) (mqtt.ReasonCode, error) {
	p := mqtt.Publish{QoS: qos, Retain: retain, Topic: []byte(topic), Payload: []byte(payload)}
	if qos > 0 {
		p.ID = 1
	}
	if err := l.send(&p); err != nil || qos == 0 {
		return 0, err
	}
	var ack mqtt.Ack
	for {
		frame, err := l.read(20 * time.Second)
		if err != nil {
			return 0, fmt.Errorf("await PUBACK: %w", err)
		}
		if mqtt.TypeOf(frame) == mqtt.TypePuback {
			err = ack.Decode(&l.decoder, frame)
			return ack.Code, err
		}
	}
}

// receive returns the next message, acknowledged, and what else comes it skips.
func (l *link) receive(wait time.Duration) (mqtt.Publish, error) {
	var p mqtt.Publish
	for {
		frame, err := l.read(wait)
		if err != nil {
			return p, err
		}
		if mqtt.TypeOf(frame) != mqtt.TypePublish {
			continue
		}
		if err := p.Decode(&l.decoder, frame); err != nil {
			return p, err
		}
		if p.QoS > 0 {
			return p, l.write(mqtt.AppendAck(l.out[:0], mqtt.TypePuback, p.ID))
		}
		return p, nil
	}
}

// open connects a device as a client on the MQTT port and wants to be let in.
func (d *device) open(t testing.TB, s session) *link {
	t.Helper()
	l, err := d.dial(t.Context(), d.s.mqttAddr(t, "mqtt"))
	check(t, err)
	t.Cleanup(func() { _ = l.Close() })
	ack, err := l.connect(s)
	check(t, err)
	if ack.Code != 0 {
		t.Fatalf("%s: CONNACK %#x", s.id, byte(ack.Code))
	}
	return l
}

// wantOver waits until the server has ended the connection, whatever it says
// before, and returns the packets of before.
func (l *link) wantOver(t testing.TB, what string, wait time.Duration) (said [][]byte) {
	t.Helper()
	for {
		frame, err := l.read(wait)
		if err == nil {
			said = append(said, append([]byte(nil), frame...))
			continue
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the connection is still open after %s", what, wait)
		}
		return said
	}
}

// drain reads until nothing came for a while.
func (l *link) drain(t testing.TB, quiet time.Duration) (topics []string) {
	t.Helper()
	for {
		p, err := l.receive(quiet)
		switch {
		case err == nil:
			topics = append(topics, string(p.Topic))
		case errors.Is(err, os.ErrDeadlineExceeded):
			return topics
		case errors.Is(err, io.EOF):
			t.Error("the connection has ended")
			return topics
		default:
			check(t, err)
		}
	}
}
