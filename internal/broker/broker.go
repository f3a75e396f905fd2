package broker

import (
	"context"
	"errors"
	"net"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// Broker is the broker.
type Broker struct{ cfg Config }

// New returns a broker that has read back what its store kept.
func New(_ context.Context, cfg Config) (*Broker, error) { return &Broker{cfg: cfg}, nil }

// Attach takes over a connection: plain TCP, or TLS whose handshake is done. A
// TLS connection that is made over a Socket costs no goroutine.
// It returns at once.
func (b *Broker) Attach(c net.Conn, _ Attachment) { _ = c.Close() }

// Publish publishes a message on behalf of who was authorised to already. It
// returns when everything that must keep the message has it on disk. Errors:
// iot.KindInvalid for a topic or a QoS that nobody may publish, KindTooLarge,
// KindDenied for a topic that only MQTT connections may publish to.
func (b *Broker) Publish(context.Context, *Message) error { return errors.New("not built") }

// Retained returns the retained message of a topic, iot.KindNotFound for none.
func (b *Broker) Retained(string) (Retained, error) { return Retained{}, errors.New("not built") }

// ListRetained lists retained messages by topic, from the one after the given topic.
func (b *Broker) ListRetained(string, int) []Retained { return nil }

// Disconnect ends the connection of a client, as the API's DeleteConnection:
// clean also ends its session, and silent keeps its will from being sent.
// iot.KindNotFound where the client is not connected.
func (b *Broker) Disconnect(_ context.Context, _ string, _, _ bool) error {
	return errors.New("not built")
}

// Invalidate has the broker judge its connections anew after a change; once it
// has returned, no packet is judged by what was before, and within a second
// every connection that may not go on is closed.
func (b *Broker) Invalidate(iot.Change) {}

// Close tells the clients that the server goes, writes what has to be kept,
// and returns when the loops have ended. It is idempotent.
func (b *Broker) Close() error { return nil }
