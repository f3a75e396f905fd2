package broker

import (
	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// state is how far a connection has come.
type state uint8

const (
	stateNew    state = iota // waits for CONNECT
	stateJudged              // its CONNECT is being judged
	stateOpen                // has a session
	stateLinger              // was told why it ends; what still comes is thrown away
	stateClosed              // is gone
)

const (
	flushAt     = 32 << 10 // bytes of output that are written before the tick ends
	readSize    = 64 << 10 // bytes that one read takes at most
	readTurns   = 8        // reads of one TLS connection before others have their turn
	stallTime   = 30       // seconds that a peer may read nothing of what waits for it
	slowTime    = 5        // and with more than half of Limits.Output waiting
	lingerTime  = 2        // seconds that an ended connection is given to read why
	verdictsMax = 256      // verdicts that a connection remembers
)

// conn is a connection. Only its loop touches it, but for what Attach sets.
type conn struct {
	loop    *loop
	at      int     // its place in loop.conns
	fd      int     // -1 for a stream
	tls     secure  // nil without
	stream  *stream // instead of a descriptor
	ws      *websocket
	session *session
	peer    *Peer

	state     state
	version   mqtt.Version
	dirty     bool // is in loop.dirty
	blocked   bool // the socket takes nothing more at the moment
	paused    bool // nothing is read until others are done
	again     bool // is in loop.again
	noProblem bool // the client wants no reason strings
	maxPacket uint32
	window    int   // QoS 1 and 2 messages that may be on the way to the client
	keepAlive int64 // seconds; 0 for none
	lastSeen  int64 // when something came, in Unix seconds
	deadline  int64 // when a connection that is not open ends
	progress  int64 // when the socket took something
	denied    int64 // when a denial was logged
	deniedAt  int64 // and in which second there were denials
	denials   int   // that many

	timer *connTimer

	in     []byte // the beginning of a packet
	out    []byte // packets that wait to be written
	cipher []byte // and TLS records

	principal  Principal
	generation uint64 // of access when principal was made
	judgement  uint64 // changes with principal; no two of a loop are the same
	verdicts   map[string]verdicts
	memo       memo

	aliases  []string          // what the client's topic aliases stand for
	ours     map[string]uint16 // topic aliases towards the client
	aliasMax uint16            // how many it takes
	acks     []pendingAck
	ackFirst uint64 // the number of acks[0]
	held     int    // bytes of messages that wait for a tap, of those in acks
	will     *will
	rate     *bucket // of packets; nil without a limit
	bytes    *bucket // of bytes
}

// memo is the verdict and route of the last PUBLISH: most clients publish to
// one topic.
type memo struct {
	topic     string
	judgement uint64
	allowed   verdicts
	route     *route
}

// decoder returns how packets of the client are read.
func (c *conn) decoder() *mqtt.Decoder { return c.loop.b.decoder(c.version) }

// packets handles the whole packets that data begins with and returns how many
// bytes they were.
func (c *conn) packets(data []byte) (used int) {
	limit := c.loop.b.cfg.Limits.PacketSize
	for !c.paused && c.state <= stateOpen && c.state != stateJudged {
		n, err := mqtt.Frame(data[used:], limit)
		if err == nil && n > 0 {
			frame := data[used : used+n]
			used += n
			if c.state == stateNew {
				c.connect(frame)
				continue
			}
			if err = c.packet(frame); err == nil && c.blocked && !c.roomy() {
				c.pause() // a client that asks and does not read the answers
			}
		} else if n == 0 && err == nil {
			break
		}
		if err != nil {
			c.end(err)
			break
		}
	}
	return used
}

// packet handles one packet of an open connection. An error ends it.
func (c *conn) packet(frame []byte) error {
	switch t := mqtt.TypeOf(frame); t {
	case mqtt.TypePublish:
		return c.publish(frame)
	case mqtt.TypePuback, mqtt.TypePubrec, mqtt.TypePubrel, mqtt.TypePubcomp:
		return c.acknowledged(frame)
	case mqtt.TypePingreq:
		if err := c.loop.ping.Decode(c.decoder(), frame); err != nil {
			return err
		}
		c.out = mqtt.AppendPing(c.output(), mqtt.TypePingresp)
		return nil
	case mqtt.TypeSubscribe:
		return c.subscribe(frame)
	case mqtt.TypeUnsubscribe:
		return c.unsubscribe(frame)
	case mqtt.TypeDisconnect:
		return c.disconnect(frame)
	case mqtt.TypeConnect:
		return &mqtt.Error{Code: mqtt.ProtocolError, Detail: "second CONNECT"}
	case mqtt.TypeAuth:
		if err := new(mqtt.Auth).Decode(c.decoder(), frame); err != nil {
			return err
		}
		return &mqtt.Error{Code: mqtt.ProtocolError, Detail: "AUTH without an authentication method"}
	case mqtt.TypeConnack, mqtt.TypeSuback, mqtt.TypeUnsuback, mqtt.TypePingresp:
		return &mqtt.Error{Code: mqtt.ProtocolError, Detail: "packet of a server"}
	default:
		return &mqtt.Error{Code: mqtt.MalformedPacket, Detail: "packet type 0"}
	}
}
