package broker

import (
	"context"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// Peer is the other end of a connection, as its listener knows it.
type Peer struct {
	Certificate iot.CertificateID // the certificate that the TLS handshake proved; "" for a WebSocket of an IAM principal
	Identity    any               // who signed the WebSocket's request, as the listener knows it; nil with a certificate
	SourceIP    string            // a public listener's peer
	SourceVPCE  string            // the closed network it came through
	DomainName  string            // the host that the client named (SNI)
	Plain       bool              // the connection is not encrypted: a WebSocket on loopback
	Until       time.Time         // when the connection has to end: its credentials do; zero for never
}

// Action is what a client does.
type Action uint8

// The actions of a connection.
const (
	Connect Action = iota
	Publish
	RetainPublish
	Subscribe
	Receive
)

// String returns the IAM name of the action.
func (a Action) String() string {
	return [...]string{"iot:Connect", "iot:Publish", "iot:RetainPublish", "iot:Subscribe", "iot:Receive"}[a]
}

// Request is one action on a client ID (Connect), a topic filter as it was sent
// (Subscribe) or a topic (the others).
type Request struct {
	Action     Action
	Name       string
	Attributes []string // Connect only: iot:ConnectAttributes, nil for none
}

// Verdict is what access decides. A verdict that depends on the time of day is
// not Lasting: it is asked for anew at every packet.
type Verdict struct {
	Allowed bool
	Lasting bool
}

// Access finds out what peers may do. Its methods are called by the event
// loops: they must answer from memory, but for the first time and after a change.
type Access interface {
	// Principal returns what the peer may do as the client, as of now. An
	// *iot.Error of KindDenied says that the peer is nobody who may connect:
	// its certificate is not active, or its credentials ended.
	Principal(ctx context.Context, peer *Peer, clientID string) (Principal, error)
}

// Principal is what one connection may do. It is used by one goroutine at a
// time, and thrown away at the next change.
type Principal interface {
	// ID is the principalIdentifier of lifecycle events: the certificate's id, or the IAM unique id.
	ID() string
	// Thing is the thing that the connection is associated with, "" for none;
	// lifecycle events name it where the attachment is exclusive.
	Thing() (name string, exclusive bool)
	// Decide judges one action. It does not keep r.
	Decide(r *Request) Verdict
	// Deny logs a denial with principal, action, resource and why. reason is
	// "" where the policies decided, else the rule of the broker that did.
	Deny(r *Request, reason string)
}
