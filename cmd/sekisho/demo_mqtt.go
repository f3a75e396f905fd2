package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"github.com/sekisho-iot/sekisho/internal/server"
)

const (
	demoMQTTPolicy = "own-topics-only"
	demoTopic      = demoThing + "/uploads"
)

// demoMQTT is the device's MQTT connection.
type demoMQTT struct {
	client   *paho.Client
	received chan string
	ended    chan byte // the reason code of the server's DISCONNECT
}

// allowMQTT gives the device's certificate a second policy.
func (d *demonstration) allowMQTT(ctx context.Context) error {
	arn := func(resource string) string {
		return "arn:aws:iot:" + d.region + ":" + server.DefaultAccountID + ":" + resource
	}
	document, err := json.Marshal(map[string]any{
		"Version": "2012-10-17",
		"Statement": []map[string]any{
			{"Effect": "Allow", "Action": "iot:Connect", "Resource": arn("client/${iot:Connection.Thing.ThingName}")},
			{"Effect": "Allow", "Action": []string{"iot:Publish", "iot:Receive"}, "Resource": arn("topic/${iot:Connection.Thing.ThingName}/*")},
			{"Effect": "Allow", "Action": "iot:Subscribe", "Resource": arn("topicfilter/${iot:Connection.Thing.ThingName}/*")},
		},
	})
	if err != nil {
		return err
	}
	in := map[string]string{"policyDocument": string(document)}
	if err := d.admin.Call(ctx, "iot", http.MethodPost, "/policies/"+demoMQTTPolicy, nil, in, nil); err != nil {
		return fmt.Errorf("create policy: %w", err)
	}
	target := map[string]string{"target": arn("cert/" + d.device.CertificateID)}
	return d.admin.Call(ctx, "iot", http.MethodPut, "/target-policies/"+url.PathEscape(demoMQTTPolicy), nil, target, nil)
}

// connectMQTT connects with the device's certificate and subscribes to its topics.
func (d *demonstration) connectMQTT(ctx context.Context) error {
	dialer := tls.Dialer{Config: d.tls}
	conn, err := dialer.DialContext(ctx, "tcp", d.device.Endpoints.MQTT)
	if err != nil {
		return err
	}
	m := &demoMQTT{received: make(chan string, 8), ended: make(chan byte, 1)}
	m.client = paho.NewClient(paho.ClientConfig{
		Conn: conn,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			m.received <- string(p.Packet.Payload)
			return true, nil
		}},
		OnServerDisconnect: func(p *paho.Disconnect) { m.ended <- p.ReasonCode },
	})
	if _, err := m.client.Connect(ctx, &paho.Connect{ClientID: demoThing, KeepAlive: 60, CleanStart: true}); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	filter := demoThing + "/#"
	if _, err := m.client.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: 1}}}); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	d.mqtt = m
	d.say("mqtts://%s as %s, subscribed to %s", d.device.Endpoints.MQTT, demoThing, filter)
	return nil
}

// publish publishes with QoS 1 and returns the reason code of the answer.
func (m *demoMQTT) publish(ctx context.Context, topic, payload string) (byte, error) {
	res, err := m.client.Publish(ctx, &paho.Publish{Topic: topic, QoS: 1, Payload: []byte(payload)})
	if res != nil {
		return res.ReasonCode, nil
	}
	return 0, err
}

// announce is what the device tells the world on MQTT.
func (d *demonstration) announce(ctx context.Context) error {
	d.head("7. It announces the file on MQTT")
	if err := d.allowMQTT(ctx); err != nil {
		return err
	}
	if err := d.connectMQTT(ctx); err != nil {
		return fmt.Errorf("mqtt: %w", err)
	}
	notice := fmt.Sprintf(`{"type":"s3_url","url":"s3://%s/%s/video.mp4"}`, demoBucket, demoThing)
	code, err := d.mqtt.publish(ctx, demoTopic, notice)
	if err != nil || code != 0 {
		return fmt.Errorf("publish to %s: reason code %#x: %w", demoTopic, code, err)
	}
	select {
	case got := <-d.mqtt.received:
		if got != notice {
			return fmt.Errorf("received %q, sent %q", got, notice)
		}
	case <-time.After(10 * time.Second):
		return errors.New("the message did not arrive")
	}
	d.say("published to %s and received: %s", demoTopic, notice)
	const other = "camera-2/uploads"
	if code, err = d.mqtt.publish(ctx, other, notice); err != nil || code != 0x87 {
		return fmt.Errorf("a message to %s was answered with reason code %#x instead of 0x87: %w", other, code, err)
	}
	d.say("and to %s: PUBACK 0x87, not authorized", other)
	return nil
}

// cutOff waits for the end of the MQTT connection after the revocation.
func (d *demonstration) cutOff() error {
	select {
	case code := <-d.mqtt.ended:
		d.say("the MQTT connection was closed: DISCONNECT %#x", code)
		return nil
	case <-time.After(5 * time.Second):
		return errors.New("the MQTT connection of a revoked certificate is still open")
	}
}
