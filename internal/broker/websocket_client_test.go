package broker_test

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"sync"
)

// webSocket is the client's end of a WebSocket whose handshake is done (RFC
// 6455). It cuts what is written into frames and fragments without regard for
// packets.
type webSocket struct {
	net.Conn
	mu     sync.Mutex // guards writing
	frames int
	in     *bufio.Reader
	left   uint64 // of the frame that is being read
}

func newWebSocket(c net.Conn) *webSocket { return &webSocket{Conn: c, in: bufio.NewReader(c)} }

// Write implements net.Conn: fragments of 1, 2, 4, ... bytes, two and two a message.
func (w *webSocket) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for done := 0; done < len(b); {
		n := min(len(b)-done, 1<<(w.frames%7))
		first := byte(0x02) // binary, to be continued
		if w.frames%2 == 1 {
			first = 0x80 // the end of a message
		}
		if _, err := w.Conn.Write(frame(first, b[done:done+n])); err != nil {
			return done, err
		}
		w.frames++
		done += n
	}
	return len(b), nil
}

// frame masks a payload of at most 125 bytes.
func frame(first byte, payload []byte) []byte {
	mask := [4]byte{0x5a, 0xa5, 0x11, 0xee}
	out := append([]byte{first, 0x80 | byte(len(payload))}, mask[:]...)
	for i, c := range payload {
		out = append(out, c^mask[i&3])
	}
	return out
}

// Read implements net.Conn.
func (w *webSocket) Read(b []byte) (int, error) {
	for w.left == 0 {
		if err := w.header(); err != nil {
			return 0, err
		}
	}
	n, err := w.in.Read(b[:min(uint64(len(b)), w.left)])
	w.left -= uint64(n)
	return n, err
}

// header reads the next frame's, up to its payload.
func (w *webSocket) header() error {
	var head [2]byte
	if _, err := io.ReadFull(w.in, head[:]); err != nil {
		return err
	}
	size := uint64(head[1])
	if n := map[uint64]int{126: 2, 127: 8}[size]; n > 0 {
		long := make([]byte, 8)
		if _, err := io.ReadFull(w.in, long[8-n:]); err != nil {
			return err
		}
		size = binary.BigEndian.Uint64(long)
	}
	switch head[0] {
	case 0x82: // a whole binary message, which all of the broker's are
		w.left = size
		return nil
	case 0x88: // the server says good-bye
		return io.EOF
	default:
		return io.ErrUnexpectedEOF
	}
}
