// Package notify publishes the agent's messages over one MQTT connection that is
// kept, opened anew when it is lost, and shared by all uploads.
//
// Invariant: Publish returns nil only for a message that the server acknowledged.
package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
)

// MQTT 5 reason codes that waiting does not change.
const (
	reasonFailed        = 0x80 // from here on, a code is a refusal
	reasonUserName      = 0x86
	reasonNotAuthorized = 0x87
	reasonBanned        = 0x8A
	reasonAuthMethod    = 0x8C
	reasonTopicName     = 0x90
	reasonTooLarge      = 0x95
	reasonFormat        = 0x99
	reasonServerMoved   = 0x9D
)

const (
	keepAlive      = 60 // seconds
	connectTimeout = 20 * time.Second
	firstWait      = time.Second // AWS allows one CONNECT a second per client ID
	longestWait    = 30 * time.Second
	ackTimeout     = 30 * time.Second // unless a context says otherwise
	longestPublish = time.Hour        // however slowly its bytes move
)

// Config says how to connect.
type Config struct {
	Address  string // host:port
	ClientID string
	TLS      *tls.Config
	// Dial opens the TCP connection, which must bound how long a write takes.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Forgive, if there is one, is asked of a handshake that failed whether another
	// try may do better; see clock.Clock.
	Forgive func(error) bool
	// Down is told why there is no connection.
	Down func(error)
}

// RefusedError is a refusal by the server that trying again does not change.
type RefusedError struct {
	What string // "connection of CLIENT" or "message to TOPIC"
	Code byte   // the MQTT 5 reason code
	Need string // what would have it let through
}

// Error says what was refused and what an operator can do.
func (e *RefusedError) Error() string {
	text := fmt.Sprintf("the MQTT server refused the %s: reason code 0x%02x", e.What, e.Code)
	if e.Code == reasonNotAuthorized {
		text += " (not authorized): " + e.Need
	}
	return text
}

func final(code byte) bool {
	switch code {
	case reasonUserName, reasonNotAuthorized, reasonBanned, reasonAuthMethod, reasonTopicName, reasonTooLarge, reasonFormat, reasonServerMoved:
		return true
	default:
		return false
	}
}

// Notifier is the connection. It is opened by the first Publish.
type Notifier struct {
	cfg Config

	mu      sync.Mutex // guards what follows
	manager *autopaho.ConnectionManager
	link    *link         // the newest; not necessarily one that MQTT is spoken on yet
	up      *link         // the newest on which it is; it may have been closed
	problem error         // why there is no connection
	changed chan struct{} // closed when problem is set
}

// New makes a Notifier that has no connection yet.
func New(cfg Config) *Notifier { return &Notifier{cfg: cfg, changed: make(chan struct{})} }

// Publish sends a message with QoS 1 and returns when it is acknowledged. ctx
// bounds the wait for a connection, and then how long nothing may move on it: a
// slow network is no reason to send a message again. A connection that is silent
// for so long is given up. A refusal ends the wait.
func (n *Notifier) Publish(ctx context.Context, topic string, payload []byte) error {
	m, err := n.open() //nolint:contextcheck // the connection outlives this message
	if err != nil {
		return err
	}
	patience := ackTimeout
	if deadline, ok := ctx.Deadline(); ok {
		patience = time.Until(deadline)
	}
	for {
		l, err := n.await(ctx, m)
		if err != nil {
			return err
		}
		res, err := n.send(ctx, m, l, patience, &paho.Publish{QoS: 1, Topic: topic, Payload: payload})
		switch {
		case res != nil && res.ReasonCode >= reasonFailed:
			if final(res.ReasonCode) {
				return &RefusedError{
					What: "message to " + topic, Code: res.ReasonCode,
					Need: "an IoT policy of the device's certificate must allow iot:Publish to it",
				}
			}
			return fmt.Errorf("the MQTT server did not take the message to %s: reason code 0x%02x", topic, res.ReasonCode)
		case err == nil:
			return nil
		case errors.Is(err, autopaho.ConnectionDownError):
			// Not sent: it was lost just before.
		default:
			return fmt.Errorf("mqtt: %w", err)
		}
	}
}

// send publishes on a connection. paho tells nobody who waits for an
// acknowledgement that the connection is lost; the link does.
func (n *Notifier) send(ctx context.Context, m *autopaho.ConnectionManager, l *link, patience time.Duration, p *paho.Publish) (*paho.PublishResponse, error) {
	sending, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.Canceled) {
			cancel(ctx.Err())
			l.abandon()
		}
	})()
	stop, open := l.watch(patience, cancel)
	if !open {
		return nil, autopaho.ConnectionDownError
	}
	defer stop()
	res, err := m.Publish(sending, p)
	if err != nil && sending.Err() != nil {
		err = context.Cause(sending)
	}
	return res, err
}

// await returns the connection when there is one, or it is clear that there will be none.
func (n *Notifier) await(ctx context.Context, m *autopaho.ConnectionManager) (*link, error) {
	for {
		n.mu.Lock()
		up, problem, changed := n.up, n.problem, n.changed
		n.mu.Unlock()
		if up != nil && up.isOpen() {
			return up, nil
		}
		if _, refused := errors.AsType[*RefusedError](problem); refused {
			return nil, problem
		}
		select {
		case <-changed:
			continue
		case <-m.Done():
			return nil, errors.New("mqtt: the connection was closed")
		case <-ctx.Done():
		}
		if problem != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, fmt.Errorf("mqtt: %w", problem)
		}
		return nil, fmt.Errorf("mqtt: no connection: %w", ctx.Err())
	}
}

// open starts the connection once.
func (n *Notifier) open() (*autopaho.ConnectionManager, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.manager != nil {
		return n.manager, nil
	}
	m, err := autopaho.NewConnection(context.Background(), autopaho.ClientConfig{
		ServerUrls:                    []*url.URL{{Scheme: "tls", Host: n.cfg.Address}},
		KeepAlive:                     keepAlive,
		CleanStartOnInitialConnection: true,
		ConnectTimeout:                connectTimeout,
		ReconnectBackoff:              n.backoff,
		AttemptConnection:             n.dial,
		OnConnectionUp:                func(*autopaho.ConnectionManager, *paho.Connack) { n.opened() },
		OnConnectError:                n.failed,
		ClientConfig: paho.ClientConfig{
			ClientID:      n.cfg.ClientID,
			PacketTimeout: longestPublish,
			OnClientError: n.failed,
			OnServerDisconnect: func(d *paho.Disconnect) {
				n.failed(fmt.Errorf("the server ended the connection with reason code 0x%02x", d.ReasonCode))
			},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("mqtt: %w", err)
	}
	n.manager = m
	return m, nil
}

func (n *Notifier) dial(ctx context.Context, _ autopaho.ClientConfig, _ *url.URL) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	c, err := n.handshake(ctx)
	if err != nil && n.cfg.Forgive != nil && n.cfg.Forgive(err) {
		c, err = n.handshake(ctx)
	}
	if err != nil {
		return nil, err
	}
	return packets.NewThreadSafeConn(c), nil
}

func (n *Notifier) handshake(ctx context.Context) (net.Conn, error) {
	dialled, err := n.cfg.Dial(ctx, n.cfg.Address)
	if err != nil {
		return nil, err
	}
	raw := newLink(dialled)
	config := n.cfg.TLS.Clone()
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(n.cfg.Address)
	}
	c := tls.Client(raw, config)
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	n.mu.Lock()
	n.link = raw
	n.mu.Unlock()
	return c, nil
}

// failed takes note of a connection that is lost or did not come about.
func (n *Notifier) failed(err error) {
	if refused, ok := errors.AsType[*autopaho.ConnackError](err); ok && final(refused.ReasonCode) {
		err = &RefusedError{
			What: "connection of " + n.cfg.ClientID, Code: refused.ReasonCode,
			Need: "the device's certificate must be known there, active and not expired, and attached to this thing, " +
				"and an IoT policy of it must allow iot:Connect as this client",
		}
	}
	n.mu.Lock()
	n.set(err)
	n.mu.Unlock()
	if n.cfg.Down != nil {
		n.cfg.Down(err)
	}
}

// opened takes note of a connection that came about.
func (n *Notifier) opened() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.up = n.link
	n.set(nil)
}

// set is called with mu held.
func (n *Notifier) set(problem error) {
	n.problem = problem
	close(n.changed)
	n.changed = make(chan struct{})
}

// backoff is the wait before a connection is tried; none before the very first.
// After a loss it is a second, more or less: a fleet whose server was restarted does
// not come back as one, and two that use the same client ID, each of which ends the
// other's connection, do not spend all their time on it.
func (n *Notifier) backoff(attempt int) time.Duration {
	if attempt == 0 {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.up == nil {
			return 0
		}
		return firstWait/2 + rand.N(firstWait) //nolint:gosec // not a secret
	}
	d := min(firstWait<<min(attempt-1, 10), longestWait)
	return d + rand.N(d/2+1) //nolint:gosec // not a secret
}

// Close ends the connection.
func (n *Notifier) Close(ctx context.Context) error {
	n.mu.Lock()
	m := n.manager
	n.mu.Unlock()
	if m == nil {
		return nil
	}
	return m.Disconnect(ctx)
}
