package tlsrecord

import (
	"crypto/aes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
)

const (
	headerSize   = 5
	explicitSize = 8 // of the nonce in TLS 1.2
	tagSize      = aes.BlockSize
	maxPlaintext = 1 << 14
	maxRecord13  = maxPlaintext + 256
	maxRecord12  = maxPlaintext + 2048
	maxUseless   = 16 // records in a row that carry nothing
	maxUpdates   = 16 // key updates of the peer, with one more for every updateEvery records
	updateEvery  = 64
)

// Conn is a server's side of a TLS connection after its handshake. It reads and
// writes nothing by itself, and is for one goroutine at a time.
type Conn struct {
	in, out half
	inErr   error  // why nothing more is opened
	outErr  error  // and sealed
	partial []byte // the beginning of a record

	records uint64 // of application data that came
	updates uint64 // key updates that came
	ad      [13]byte
	nonce   [ivSize]byte
	message [5]byte // the beginning of a handshake message
	have    uint8   // bytes of it
	useless uint8   // records in a row that carried nothing
	owes    bool    // a key update was asked for
	suite   suite
}

// errClosed says that close_notify was sent.
var errClosed = errors.New("tls: our side is closed")

// errSpent says that a key of TLS 1.2, which has no key updates, has protected
// as much as it may.
var errSpent = errors.New("tls: the key is used up")

// Pending moves the beginning of a record, which came before, to b, and returns
// how many bytes that are: what comes next belongs behind it. There are never
// more than 2^14 + 2048 + 5 but before the first Open.
func (c *Conn) Pending(b []byte) int {
	n := copy(b, c.partial)
	c.partial = c.partial[:0]
	return n
}

// Open opens the records that b begins with, in place: b[:n] is what they
// carried. It keeps the beginning of a record at b's end. What must be sent to
// the peer at once is appended to reply. An error is for ever: io.EOF after
// close_notify, AlertError for what the peer did wrong, PeerAlertError.
func (c *Conn) Open(b, reply []byte) (n int, _ []byte, err error) {
	if c.inErr != nil {
		return 0, reply, c.inErr
	}
	rest := b
	for c.inErr == nil {
		size, err := c.size(rest)
		if err != nil {
			c.inErr = err
			break
		}
		if size == 0 || len(rest) < size {
			break
		}
		plain, err := c.open(rest[:size])
		rest = rest[size:]
		n += copy(b[n:], plain)
		c.inErr = err
	}
	if c.inErr != nil {
		c.partial = nil
		return n, c.refuse(reply), c.inErr
	}
	if len(rest) == 0 {
		c.partial = nil
	} else {
		c.partial = append(c.partial[:0], rest...)
	}
	return n, reply, nil
}

// Ended reports whether Open has met its error.
func (c *Conn) Ended() bool { return c.inErr != nil }

// refuse tells the peer what it did.
func (c *Conn) refuse(reply []byte) []byte {
	a, ok := errors.AsType[AlertError](c.inErr)
	if !ok || c.outErr != nil {
		return reply
	}
	level := byte(levelFatal)
	if a == noRenegotiation {
		level = levelWarning
	}
	reply = c.seal(reply, typeAlert, []byte{level, byte(a)})
	c.outErr = c.inErr
	return reply
}

// size is that of the record that b begins with, 0 where its header is not whole.
func (c *Conn) size(b []byte) (int, error) {
	if len(b) < headerSize {
		return 0, nil
	}
	limit := maxRecord12
	if c.suite.tls13 {
		limit = maxRecord13
	}
	n := int(binary.BigEndian.Uint16(b[3:]))
	switch {
	case b[1] != 3 || b[2] != 3:
		return 0, AlertError(protocolVersion)
	case n > limit:
		return 0, AlertError(recordOverflow)
	}
	return headerSize + n, nil
}

// open opens one record and returns its application data.
func (c *Conn) open(record []byte) ([]byte, error) {
	if c.in.seq == 1<<64-1 {
		return nil, AlertError(unexpectedMessage)
	}
	kind, plain, err := c.decrypt(record)
	switch {
	case err != nil:
		return nil, err
	case len(plain) > maxPlaintext:
		return nil, AlertError(recordOverflow)
	case c.have > 0 && kind != typeHandshake:
		return nil, AlertError(unexpectedMessage)
	}
	switch kind {
	case typeApplication:
		if len(plain) == 0 {
			return nil, c.wasted()
		}
		c.useless = 0
		c.records++
		return plain, nil
	case typeAlert:
		return nil, c.alerted(plain)
	case typeHandshake:
		return nil, c.handshake(plain)
	}
	return nil, AlertError(unexpectedMessage)
}

func (c *Conn) decrypt(record []byte) (kind byte, plain []byte, err error) {
	if c.suite.tls13 {
		return c.open13(record)
	}
	return c.open12(record)
}

func (c *Conn) open13(record []byte) (kind byte, plain []byte, err error) {
	if record[0] != typeApplication {
		return 0, nil, AlertError(unexpectedMessage) // also change_cipher_spec: it comes before Finished, section 5
	}
	body := record[headerSize:]
	plain, err = c.in.aead.Open(body[:0], c.nonce13(&c.in), body, record[:headerSize])
	if err != nil {
		return 0, nil, AlertError(badRecordMAC)
	}
	c.in.used(len(plain))
	if len(plain) > maxPlaintext+1 {
		return 0, nil, AlertError(recordOverflow)
	}
	for i, b := range slices.Backward(plain) {
		if b != 0 {
			return b, plain[:i], nil
		}
	}
	return 0, nil, AlertError(unexpectedMessage)
}

func (c *Conn) open12(record []byte) (kind byte, plain []byte, err error) {
	body := record[headerSize:]
	if len(body) < explicitSize+tagSize {
		return 0, nil, AlertError(badRecordMAC)
	}
	nonce := append(append(c.nonce[:0], c.in.iv[:saltSize]...), body[:explicitSize]...)
	body = body[explicitSize:]
	plain, err = c.in.aead.Open(body[:0], nonce, body, c.ad12(c.in.seq, record[0], len(body)-tagSize))
	if err != nil {
		return 0, nil, AlertError(badRecordMAC)
	}
	c.in.used(len(plain))
	return record[0], plain, nil
}

// nonce13 is the nonce of the next record, RFC 8446 section 5.3.
func (c *Conn) nonce13(h *half) []byte {
	c.nonce = h.iv
	last := c.nonce[ivSize-8:]
	binary.BigEndian.PutUint64(last, binary.BigEndian.Uint64(last)^h.seq)
	return c.nonce[:]
}

// ad12 is the additional data of a record, RFC 5246 section 6.2.3.3.
func (c *Conn) ad12(seq uint64, kind byte, n int) []byte {
	binary.BigEndian.PutUint64(c.ad[:], seq)
	c.ad[8], c.ad[9], c.ad[10] = kind, 3, 3
	binary.BigEndian.PutUint16(c.ad[11:], uint16(n)) //nolint:gosec // at most a record
	return c.ad[:]
}

// wasted counts a record that carried nothing.
func (c *Conn) wasted() error {
	if c.useless++; c.useless > maxUseless {
		return AlertError(unexpectedMessage)
	}
	return nil
}

func (c *Conn) alerted(b []byte) error {
	switch {
	case len(b) != 2:
		return AlertError(decodeError)
	case b[1] == closeNotify:
		return io.EOF
	case c.suite.tls13 && b[1] == userCanceled, !c.suite.tls13 && b[0] == levelWarning:
		return c.wasted()
	case !c.suite.tls13 && b[0] != levelFatal:
		return AlertError(illegalParameter)
	}
	return PeerAlertError(b[1])
}

// handshake takes a message that comes after the handshake. From a client that
// can only be a key update; in TLS 1.2 it is an attempt to renegotiate.
func (c *Conn) handshake(b []byte) error {
	switch {
	case !c.suite.tls13:
		return AlertError(noRenegotiation)
	case len(b) == 0:
		return AlertError(unexpectedMessage)
	}
	n := copy(c.message[c.have:], b)
	c.have += uint8(n) //nolint:gosec // at most 5
	switch m := c.message; {
	case m[0] != 24:
		return AlertError(unexpectedMessage)
	case c.have < uint8(len(m)):
		return c.wasted()
	case m[1] != 0 || m[2] != 0 || m[3] != 1:
		return AlertError(decodeError)
	case n < len(b): // a key change must be at the end of a record, section 5.1
		return AlertError(unexpectedMessage)
	case m[4] > 1:
		return AlertError(illegalParameter)
	}
	return c.updated(c.message[4] == 1)
}

func (c *Conn) updated(asked bool) error {
	c.message, c.have = [5]byte{}, 0
	if c.updates++; c.updates > maxUpdates+c.records/updateEvery {
		return AlertError(unexpectedMessage)
	}
	if err := c.in.next(c.suite); err != nil {
		return AlertError(internalError)
	}
	c.owes = c.owes || asked
	return c.wasted()
}

// Seal appends records that carry data to dst. A key update that the peer has
// asked for goes before: RFC 8446 section 4.6.3 wants it no earlier, and one
// for all that were asked for.
func (c *Conn) Seal(dst, data []byte) ([]byte, error) {
	for len(data) > 0 {
		if c.outErr != nil {
			return dst, c.outErr
		}
		if c.owes || c.out.spent() {
			if dst = c.update(dst); c.outErr != nil {
				return dst, c.outErr
			}
		}
		n := min(len(data), maxPlaintext)
		dst = c.seal(dst, typeApplication, data[:n])
		data = data[n:]
	}
	return dst, c.outErr
}

// update changes our key.
func (c *Conn) update(dst []byte) []byte {
	if !c.suite.tls13 {
		c.outErr = errSpent
		return dst
	}
	c.owes = false
	dst = c.seal(dst, typeHandshake, []byte{24, 0, 0, 1, 0})
	c.outErr = c.out.next(c.suite)
	return dst
}

// Close appends close_notify to dst. Nothing is sealed after it.
func (c *Conn) Close(dst []byte) []byte {
	if c.outErr != nil {
		return dst
	}
	dst = c.seal(dst, typeAlert, []byte{levelWarning, closeNotify})
	c.outErr = errClosed
	return dst
}

// seal appends one record.
func (c *Conn) seal(dst []byte, kind byte, data []byte) []byte {
	dst = slices.Grow(dst, headerSize+explicitSize+len(data)+1+tagSize)
	start := len(dst)
	dst = append(dst, kind, 3, 3, 0, 0)
	header := dst[start:]
	var nonce, ad []byte
	if c.suite.tls13 {
		header[0] = typeApplication
		nonce, ad = c.nonce13(&c.out), header
	} else {
		dst = binary.BigEndian.AppendUint64(dst, c.out.seq)
		nonce = append(append(c.nonce[:0], c.out.iv[:saltSize]...), dst[start+headerSize:]...)
		ad = c.ad12(c.out.seq, kind, len(data))
	}
	body := len(dst)
	dst = append(dst, data...)
	if c.suite.tls13 {
		dst = append(dst, kind)
	}
	binary.BigEndian.PutUint16(header[3:], uint16(len(dst)-start-headerSize+tagSize)) //nolint:gosec // at most a record
	c.out.used(len(dst) - body)
	return c.out.aead.Seal(dst[:body], nonce, dst[body:], ad)
}
