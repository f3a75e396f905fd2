package tlsrecord

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"io"
)

const (
	randomSize    = 32
	serverHello   = 2
	changeCipher  = 20 // a content type
	aheadSize     = 2 << 10
	finishedSize  = 4 + 12 // in TLS 1.2
	finishedInGCM = explicitSize + finishedSize + tagSize
)

// Handshake watches a handshake of crypto/tls as its server: it is what a
// Config's KeyLogWriter must be for this connection alone, its Read stands
// between the connection and crypto/tls, and Sent is told what crypto/tls
// writes. It is for one goroutine.
type Handshake struct {
	// Of TLS 1.2: the master secret in the first.
	client, server             [maxSecret]byte
	clientSize, serverSize     int
	clientRandom, serverRandom [randomSize]byte
	version                    uint16 // that the secrets are for

	ahead []byte // what was read and crypto/tls has not asked for
	space []byte // where ahead is
	head  [headerSize]byte
	have  int // bytes of head that crypto/tls has
	left  int // bytes that it does not have of the record
	size  int // of the record that it had last, without its header

	hello    bool // a ServerHello was sent
	changes  int  // change_cipher_spec records that were sent
	last     int  // records after the last of them
	lastSize int  // of the last record that was sent, without its header
	answered bool // something was sent after the last record that came
	strange  bool // something was sent that is not understood
}

// Write implements io.Writer for the lines of a KeyLogWriter: a label, the
// client's random bytes and a secret.
func (h *Handshake) Write(line []byte) (int, error) {
	f := bytes.Fields(line)
	if len(f) != 3 {
		return len(line), nil
	}
	switch string(f[0]) {
	case "CLIENT_RANDOM":
		h.version = tls.VersionTLS12
		h.clientSize = secretOf(&h.client, f[2])
	case "CLIENT_TRAFFIC_SECRET_0":
		h.version = tls.VersionTLS13
		h.clientSize = secretOf(&h.client, f[2])
	case "SERVER_TRAFFIC_SECRET_0":
		h.serverSize = secretOf(&h.server, f[2])
	default:
		return len(line), nil
	}
	if hex.DecodedLen(len(f[1])) != randomSize {
		h.strange = true
		return len(line), nil
	}
	_, err := hex.Decode(h.clientRandom[:], f[1])
	h.strange = h.strange || err != nil
	return len(line), nil
}

// secretOf returns the size of the secret, 0 for none.
func secretOf(dst *[maxSecret]byte, text []byte) int {
	if hex.DecodedLen(len(text)) > maxSecret {
		return 0
	}
	n, err := hex.Decode(dst[:], text)
	if err != nil {
		return 0
	}
	return n
}

// Read reads for crypto/tls from where the connection is read: never past the
// header, and never past the body, of the record that it waits for. What came
// with it is kept.
func (h *Handshake) Read(b []byte, from io.Reader) (int, error) {
	if len(h.ahead) == 0 {
		if h.space == nil {
			h.space = make([]byte, aheadSize)
		}
		n, err := from.Read(h.space)
		if n <= 0 {
			return 0, err
		}
		h.ahead = h.space[:n]
	}
	h.answered = false
	if h.left == 0 && h.have == headerSize {
		h.have = 0
	}
	if h.have < headerSize {
		n := copy(h.head[h.have:h.have+min(headerSize-h.have, len(b))], h.ahead)
		copy(b, h.ahead[:n])
		h.ahead = h.ahead[n:]
		if h.have += n; h.have == headerSize {
			h.left = int(binary.BigEndian.Uint16(h.head[3:]))
			h.size = h.left
		}
		return n, nil
	}
	n := copy(b, h.ahead[:min(len(h.ahead), h.left)])
	h.ahead = h.ahead[n:]
	h.left -= n
	return n, nil
}

// Sent is told what crypto/tls writes: whole records.
func (h *Handshake) Sent(b []byte) {
	h.answered = true
	for len(b) > 0 {
		if len(b) < headerSize {
			h.strange = true
			return
		}
		n := headerSize + int(binary.BigEndian.Uint16(b[3:]))
		if len(b) < n {
			h.strange = true
			return
		}
		h.record(b[0], b[headerSize:n])
		b = b[n:]
	}
}

func (h *Handshake) record(kind byte, body []byte) {
	h.last++
	if kind == changeCipher {
		h.changes++
		h.last = 0
	}
	h.lastSize = len(body)
	const at = 4 + 2 // behind the header of the message and the version
	if !h.hello && kind == typeHandshake && len(body) >= at+randomSize && body[0] == serverHello {
		h.hello = true
		copy(h.serverRandom[:], body[at:])
	}
}

// Take ends the watch of a handshake that is done, on whose connection nothing
// was read or written since. It returns the connection as it goes on, or nil
// where crypto/tls must carry it on, and then what it must read first.
func (h *Handshake) Take(state *tls.ConnectionState) (c *Conn, early []byte) {
	c = h.conn(state)
	early = h.Wipe()
	if c == nil {
		return nil, early
	}
	c.partial = early
	return c, nil
}

// Wipe forgets the secrets and returns what crypto/tls must read before what
// comes next from the connection.
func (h *Handshake) Wipe() (early []byte) {
	early = bytes.Clone(h.ahead)
	clear(h.space)
	*h = Handshake{}
	return early
}

func (h *Handshake) conn(state *tls.ConnectionState) *Conn {
	s, known := suiteOf(state.Version, state.CipherSuite)
	switch {
	case !known, !state.HandshakeComplete, state.DidResume, h.version != state.Version, h.strange:
		return nil
	case h.left != 0 || h.have != headerSize: // crypto/tls is within a record
		return nil
	case h.clientSize != s.secret():
		return nil
	}
	c := &Conn{suite: s}
	var err error
	if s.tls13 {
		err = h.keys13(c)
	} else {
		err = h.keys12(c)
	}
	if err != nil || c.in.aead == nil || c.out.aead == nil {
		return nil
	}
	return c
}

// keys13 sets no keys where the server has sent something after its Finished: a
// session ticket, which is larger, goes before or after the client's Finished.
func (h *Handshake) keys13(c *Conn) error {
	finished := 4 + c.suite.secret() + 1 + tagSize
	if h.answered || h.lastSize != finished || h.serverSize != h.clientSize {
		return nil
	}
	if err := c.in.traffic(c.suite, h.client[:h.clientSize]); err != nil {
		return err
	}
	return c.out.traffic(c.suite, h.server[:h.serverSize])
}

// keys12 sets no keys where more than Finished was sent under them, or came: a
// record may hold other messages behind that.
func (h *Handshake) keys12(c *Conn) error {
	if !h.hello || h.changes != 1 || h.last != 1 || h.size != finishedInGCM {
		return nil
	}
	return c.keys12(h.client[:], h.clientRandom[:], h.serverRandom[:])
}
