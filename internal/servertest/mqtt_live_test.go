package servertest_test

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
	"github.com/sekisho-iot/sekisho/internal/servertest"
)

// mqttPolicy lets a device connect as its thing, and use its thing's topics.
const mqttPolicy = `{"Version":"2012-10-17","Statement":[
	{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:*:*:client/${iot:Connection.Thing.ThingName}"},
	{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":"arn:aws:iot:*:*:topic/${iot:Connection.Thing.ThingName}/*"},
	{"Effect":"Allow","Action":"iot:Subscribe","Resource":"arn:aws:iot:*:*:topicfilter/${iot:Connection.Thing.ThingName}/*"}]}`

// fleetMQTT is a server whose devices may use MQTT.
func fleetMQTT(t *testing.T) *servertest.Server {
	t.Helper()
	s := servertest.Start(t)
	_, err := s.IoT.CreatePolicy(t.Context(), &iot.CreatePolicyInput{PolicyName: aws.String(servertest.Policy), PolicyDocument: aws.String(mqttPolicy)})
	must(t, err)
	return s
}

// mqttClient is a client of MQTT 5 that knows as much of it as a test needs.
type mqttClient struct {
	*tls.Conn
	t *testing.T
	r *bufio.Reader
}

// connect opens a connection, and returns the client and the reason code of CONNACK.
func connect(t *testing.T, d *servertest.Device, clientID string) (*mqttClient, byte) {
	t.Helper()
	conn := d.DialMQTT("x-amzn-mqtt-ca")
	must(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	c := &mqttClient{Conn: conn, t: t, r: bufio.NewReader(conn)}
	b, err := (&mqtt.Connect{Version: mqtt.V5, CleanStart: true, KeepAlive: 60, ClientID: []byte(clientID)}).Append(nil, mqtt.V5)
	c.send(b, err)
	first, body := c.packet()
	if first>>4 != byte(mqtt.TypeConnack) {
		t.Fatalf("%x was answered to CONNECT", first)
	}
	return c, body[1]
}

func (c *mqttClient) send(b []byte, err error) {
	c.t.Helper()
	must(c.t, err)
	_, err = c.Write(b)
	must(c.t, err)
}

// packet reads one packet; its first byte is 0 where the connection has ended.
func (c *mqttClient) packet() (first byte, body []byte) {
	c.t.Helper()
	first, err := c.r.ReadByte()
	if err != nil {
		return 0, nil
	}
	n, err := binary.ReadUvarint(c.r) // the same as MQTT's variable byte integer
	must(c.t, err)
	body = make([]byte, n)
	_, err = io.ReadFull(c.r, body)
	must(c.t, err)
	return first, body
}

// subscribe returns the reason code of the SUBACK.
func (c *mqttClient) subscribe(filter string) byte {
	c.t.Helper()
	p := mqtt.Subscribe{ID: 7, Subscriptions: []mqtt.Subscription{{Filter: mqtt.Filter{Text: []byte(filter)}, Options: 1}}}
	b, err := p.Append(nil, mqtt.V5)
	c.send(b, err)
	first, body := c.packet()
	if first>>4 != byte(mqtt.TypeSuback) {
		c.t.Fatalf("%x was answered to SUBSCRIBE", first)
	}
	return body[len(body)-1]
}

func (c *mqttClient) publish(topic, payload string) {
	c.t.Helper()
	b, err := (&mqtt.Publish{Topic: []byte(topic), Payload: []byte(payload)}).Append(nil, mqtt.V5)
	c.send(b, err)
}

func TestMQTT(t *testing.T) {
	t.Parallel()
	s := fleetMQTT(t)
	d := s.Enrol("pump")
	c, code := connect(t, d, "pump")
	if code != 0 {
		t.Fatalf("CONNACK %x", code)
	}
	if code := c.subscribe("pump/#"); code != 1 {
		t.Fatalf("SUBACK %x", code)
	}
	c.publish("pump/up", "hello")
	if first, body := c.packet(); first>>4 != byte(mqtt.TypePublish) || !strings.HasSuffix(string(body), "hello") {
		t.Errorf("got %x %q", first, body)
	}
	if code := c.subscribe("valve/#"); code != byte(mqtt.NotAuthorized) {
		t.Errorf("SUBACK %x for another thing's topics", code)
	}
	if _, code := connect(t, d, "valve"); code != byte(mqtt.NotAuthorized) {
		t.Errorf("CONNACK %x for another thing's client ID", code)
	}
	for _, want := range []string{`sekisho_mqtt_connections 1`, `sekisho_mqtt_messages_received_total{qos="0"} 1`, `sekisho_denials_total{action="iot:Subscribe",service="iot"} 1`} {
		if figures := metrics(t, s); !strings.Contains(figures, want+"\n") {
			t.Errorf("%s is missing of %s", want, figures)
		}
	}
}

// A certificate that is revoked ends the connections that it has, within a second.
func TestSecurityRule3_MQTTRevocation(t *testing.T) {
	t.Parallel()
	s := fleetMQTT(t)
	d, other := s.Enrol("pump"), s.Enrol("valve")
	c, _ := connect(t, d, "pump")
	stays, _ := connect(t, other, "valve")
	_, err := s.IoT.UpdateCertificate(t.Context(), &iot.UpdateCertificateInput{
		CertificateId: &d.CertificateID, NewStatus: iottypes.CertificateStatusRevoked,
	})
	must(t, err)
	revoked := time.Now()
	if first, body := c.packet(); first>>4 != byte(mqtt.TypeDisconnect) || body[0] != byte(mqtt.NotAuthorized) {
		t.Errorf("got %x %x, want DISCONNECT 87", first, body)
	}
	if first, _ := c.packet(); first != 0 {
		t.Errorf("got %x after DISCONNECT", first)
	}
	if took := time.Since(revoked); took > time.Second+500*time.Millisecond {
		t.Errorf("it was cut off after %v", took)
	}
	stays.send(mqtt.AppendPing(nil, mqtt.TypePingreq), nil)
	if first, _ := stays.packet(); first>>4 != byte(mqtt.TypePingresp) {
		t.Errorf("another device got %x", first)
	}
}

// Clients hear that the server goes.
func TestMQTTShutdown(t *testing.T) {
	t.Parallel()
	s := fleetMQTT(t)
	c, _ := connect(t, s.Enrol("pump"), "pump")
	begin := time.Now()
	s.Restart(func() {
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("the server needed %v to end", took)
		}
	})
	if first, body := c.packet(); first>>4 != byte(mqtt.TypeDisconnect) || body[0] != byte(mqtt.ServerShuttingDown) {
		t.Errorf("got %x %x, want DISCONNECT 8b", first, body)
	}
}
