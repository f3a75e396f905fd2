//go:build e2e

package e2e_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// pahoGo is what paho and autopaho have in common.
type pahoGo interface {
	Subscribe(ctx context.Context, s *paho.Subscribe) (*paho.Suback, error)
	Publish(ctx context.Context, p *paho.Publish) (*paho.PublishResponse, error)
}

// TestPahoGo: paho.golang, with and without autopaho, on both ports.
func TestPahoGo(t *testing.T) {
	t.Parallel()
	for port, alpn := range ports() {
		t.Run("paho "+port, func(t *testing.T) {
			t.Parallel()
			c := shared.newScene(t)
			conn, err := (&tls.Dialer{Config: c.tls(alpn)}).DialContext(t.Context(), "tcp", shared.mqttAddr(t, port))
			check(t, err)
			heard := make(chan string, 10)
			p := paho.NewClient(paho.ClientConfig{Conn: conn, OnPublishReceived: []func(paho.PublishReceived) (bool, error){collect(heard)}})
			ack, err := p.Connect(t.Context(), &paho.Connect{ClientID: c.thing, KeepAlive: 30, CleanStart: true})
			check(t, err)
			if ack.ReasonCode != 0 {
				t.Fatalf("CONNACK %#x", ack.ReasonCode)
			}
			c.play(t, p, heard)
			check(t, p.Disconnect(&paho.Disconnect{}))
		})
		t.Run("autopaho "+port, func(t *testing.T) {
			t.Parallel()
			c := shared.newScene(t)
			u, err := url.Parse("tls://" + shared.mqttAddr(t, port))
			check(t, err)
			heard := make(chan string, 10)
			m, err := autopaho.NewConnection(t.Context(), autopaho.ClientConfig{
				ServerUrls: []*url.URL{u}, TlsCfg: c.tls(alpn), KeepAlive: 30, CleanStartOnInitialConnection: true,
				ClientConfig: paho.ClientConfig{ClientID: c.thing, OnPublishReceived: []func(paho.PublishReceived) (bool, error){collect(heard)}},
			})
			check(t, err)
			check(t, m.AwaitConnection(t.Context()))
			c.play(t, m, heard)
			check(t, m.Disconnect(t.Context()))
		})
	}
}

// tls is how the device connects.
func (d *device) tls(alpn string) *tls.Config {
	conf := &tls.Config{RootCAs: d.s.roots, ServerName: "localhost", Certificates: []tls.Certificate{d.cert}, MinVersion: tls.VersionTLS12}
	if alpn != "" {
		conf.NextProtos = []string{alpn}
	}
	return conf
}

func collect(heard chan<- string) func(paho.PublishReceived) (bool, error) {
	return func(p paho.PublishReceived) (bool, error) {
		heard <- p.Packet.Topic + " " + string(p.Packet.Payload)
		return true, nil
	}
}

// play does what scenario.py and scenario.js have the others do.
func (c *scene) play(t *testing.T, p pahoGo, heard <-chan string) {
	t.Helper()
	up, quiet := c.thing+"/up", c.thing+"/quiet"
	ack, err := p.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: up, QoS: 1}, {Topic: quiet, QoS: 1}}})
	check(t, err)
	if !slices.Equal(ack.Reasons, []byte{1, 1}) {
		t.Errorf("SUBACK %v", ack.Reasons)
	}
	for _, topic := range []string{quiet, up} {
		check(t, second(p.Publish(t.Context(), &paho.Publish{QoS: 1, Topic: topic, Payload: []byte("hello " + topic[len(c.thing)+1:])})))
	}
	select {
	case got := <-heard:
		if got != up+" hello up" {
			t.Errorf("received %q", got)
		}
	case <-time.After(10 * time.Second):
		t.Error("nothing received")
	}
	ack, err = p.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: c.elsewhere, QoS: 1}}})
	if err == nil || ack == nil || ack.Reasons[0] != byte(mqtt.NotAuthorized) {
		t.Errorf("subscribe elsewhere: %v %v", ack, err)
	}
	res, err := p.Publish(t.Context(), &paho.Publish{QoS: 1, Topic: c.elsewhere, Payload: []byte("contraband")})
	if err == nil || res == nil || res.ReasonCode != byte(mqtt.NotAuthorized) {
		t.Errorf("publish elsewhere: %v %v", fmt.Sprintf("%+v", res), err)
	}
	c.heard(t, "quiet", "up")
	c.denied(t, "iot:Receive", "topic/"+quiet)
	c.denied(t, "iot:Subscribe", "topicfilter/"+c.elsewhere)
	c.denied(t, "iot:Publish", "topic/"+c.elsewhere)
	if len(heard) > 0 {
		t.Errorf("also received %q", <-heard)
	}
}
