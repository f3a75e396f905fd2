package broker

import (
	"encoding/binary"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// The opcodes of RFC 6455 section 5.2.
const (
	opContinuation = 0
	opBinary       = 2
	opClose        = 8
	opPing         = 9
	opPong         = 10
	opControl      = 8 // a bit of the control frames
)

// closeFrame says good-bye: status 1000.
const closeFrame = "\x88\x02\x03\xe8"

// websocket is the framing of a connection (RFC 6455): its binary messages
// are one stream of bytes, in which packets begin and end anywhere [MQTT-6.0.0-2].
type websocket struct {
	head    [14]byte // of a frame, as far as it has come
	n       int
	opcode  byte
	left    uint64 // of the frame's payload
	mask    [4]byte
	at      int    // in the mask
	control []byte // payload of a control frame
	pending []byte // control frames that wait to be sent
	begun   bool   // a message that goes on in the next frame
	closed  bool   // the client has said good-bye
}

// answers reports whether control frames wait to be sent.
func (w *websocket) answers() bool { return w != nil && len(w.pending) > 0 }

// unwrap takes the frames off b, in place, and returns how many bytes of b are
// payload then.
func (w *websocket) unwrap(c *conn, b []byte) (n int, err error) {
	for i := 0; i < len(b); {
		if w.left == 0 || w.n > 0 {
			w.head[w.n] = b[i]
			w.n++
			i++
			done, err := w.header()
			if err != nil {
				return n, err
			}
			if done && w.left == 0 {
				if err := w.end(c); err != nil || w.closed {
					return n, err
				}
			}
			continue
		}
		k := int(min(w.left, uint64(len(b)-i))) //nolint:gosec // at most len(b)
		part := b[i : i+k]
		for j := range part {
			part[j] ^= w.mask[w.at&3]
			w.at++
		}
		if w.opcode&opControl != 0 {
			w.control = append(w.control, part...)
		} else {
			n += copy(b[n:], part)
		}
		i += k
		w.left -= uint64(k)
		if w.left == 0 {
			if err := w.end(c); err != nil || w.closed {
				return n, err
			}
		}
	}
	return n, nil
}

// header reads the frame's header as far as it is there, and reports whether
// it is whole.
func (w *websocket) header() (bool, error) {
	if w.n < 2 {
		return false, nil
	}
	size := 6
	switch w.head[1] & 0x7f {
	case 126:
		size = 8
	case 127:
		size = 14
	}
	if w.n == 2 {
		if err := w.check(); err != nil {
			return false, err
		}
	}
	if w.n < size {
		return false, nil
	}
	switch size {
	case 6:
		w.left = uint64(w.head[1] & 0x7f)
	case 8:
		w.left = uint64(binary.BigEndian.Uint16(w.head[2:]))
	default:
		w.left = binary.BigEndian.Uint64(w.head[2:])
	}
	copy(w.mask[:], w.head[size-4:size])
	w.opcode = w.head[0] & 0x0f
	w.n, w.at = 0, 0
	return true, nil
}

// check judges the first two bytes of a frame.
func (w *websocket) check() error {
	final, opcode := w.head[0]&0x80 != 0, w.head[0]&0x0f
	switch {
	case w.head[0]&0x70 != 0:
		return wrongFrame("reserved bits")
	case w.head[1]&0x80 == 0:
		return wrongFrame("not masked")
	case opcode&opControl != 0 && (!final || w.head[1]&0x7f > 125 || opcode > opPong):
		return wrongFrame("not a control frame that is known")
	case opcode&opControl != 0:
		return nil
	case opcode == opContinuation != w.begun || opcode != opContinuation && opcode != opBinary:
		return wrongFrame("not a binary message") // [MQTT-6.0.0-1]
	}
	w.begun = !final
	return nil
}

func wrongFrame(why string) error {
	return &mqtt.Error{Code: mqtt.MalformedPacket, Detail: "websocket frame: " + why}
}

// end is called when a frame is whole.
func (w *websocket) end(c *conn) error {
	payload := w.control
	w.control = w.control[:0]
	switch w.opcode {
	case opPing:
		w.pending = append(append(w.pending, 0x80|opPong, byte(len(payload))), payload...) //nolint:gosec // check bounds it
		c.output()
		if len(w.pending) > streamChunk {
			return wrongFrame("pings that nobody reads the answers of")
		}
	case opClose:
		w.closed = true
	}
	return nil
}

// wrap appends the control frames that wait, and data in a frame of its own.
func (w *websocket) wrap(dst, data []byte) []byte {
	dst = append(dst, w.pending...)
	w.pending = w.pending[:0]
	switch n := len(data); {
	case n == 0:
		return dst
	case n < 126:
		dst = append(dst, 0x80|opBinary, byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, 0x80|opBinary, 126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, 0x80|opBinary, 127), uint64(n))
	}
	return append(dst, data...)
}
