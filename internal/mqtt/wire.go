package mqtt

import "encoding/binary"

// reader takes fields off the front of b. After the first that is not there
// bad is set and the rest read as zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if len(r.b) < n {
		r.b, r.bad = nil, true
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// uvarint refuses one in more bytes than it needs [MQTT-1.5.5-1].
func (r *reader) uvarint() uint32 {
	v, n := uvarint(r.b)
	if n <= 0 || n != uvarintSize(v) {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return v
}

// bytes reads binary data (section 1.5.6).
func (r *reader) bytes() []byte { return r.take(int(r.uint16())) }

// text reads a UTF-8 encoded string (section 1.5.4).
func (r *reader) text() []byte {
	b := r.bytes()
	if !ValidUTF8(b) {
		r.b, r.bad = nil, true
		return nil
	}
	return b
}

// properties reads the properties of a packet in the set in; none in 3.1.1.
func (r *reader) properties(v Version, in uint32) (Properties, set, error) {
	if v != V5 {
		return nil, 0, nil
	}
	p := Properties(r.take(int(r.uvarint())))
	if r.bad {
		return nil, 0, malformed("properties cut off")
	}
	seen, err := p.check(in)
	return p, seen, err
}

// end returns an error unless everything was there and nothing is left.
func (r *reader) end() error {
	if r.bad {
		return malformed("a field is cut off or not valid UTF-8")
	}
	if len(r.b) > 0 {
		return malformed("bytes after the last field")
	}
	return nil
}

// writer appends one packet to dst. Its length is put in by finish.
type writer struct {
	dst   []byte
	start int
	v     Version
	err   error
}

// roomForFixed is more than the fields of fixed size of any packet take.
const roomForFixed = 16

func begin(dst []byte, t PacketType, v Version) writer {
	return writer{dst: append(dst, byte(t)<<4|t.flags(), 0), start: len(dst), v: v}
}

func (w *writer) byte(b byte) { w.dst = append(w.dst, b) }

func (w *writer) uint16(n uint16) { w.dst = binary.BigEndian.AppendUint16(w.dst, n) }

// fits reports whether b, of at most limit bytes, may be added.
func (w *writer) fits(b []byte, limit int) bool {
	if w.err != nil || len(b) > limit || len(b) > maxRemaining-roomForFixed-(len(w.dst)-w.start) {
		w.err = &Error{Code: PacketTooLarge, Detail: "a field does not fit into a packet"}
		return false
	}
	return true
}

// bytes adds a string or binary data.
func (w *writer) bytes(b []byte) {
	if w.fits(b, maxString) {
		w.uint16(uint16(len(b))) //nolint:gosec // fits bounds it
		w.dst = append(w.dst, b...)
	}
}

func (w *writer) properties(p Properties) {
	if w.v == V5 && w.fits(p, maxRemaining) {
		w.dst = appendUvarint(w.dst, uint32(len(p))) //nolint:gosec // fits bounds it
		w.dst = append(w.dst, p...)
	}
}

// finish puts the remaining length in front.
func (w *writer) finish() ([]byte, error) {
	if w.err != nil {
		return w.dst[:w.start], w.err
	}
	at := w.start + 1
	n := len(w.dst) - at - 1
	extra := uvarintSize(uint32(n)) - 1 //nolint:gosec // fits bounds it
	if extra > 0 {
		w.dst = append(w.dst, make([]byte, extra)...)
		copy(w.dst[at+1+extra:], w.dst[at+1:at+1+n])
	}
	appendUvarint(w.dst[:at], uint32(n)) //nolint:gosec // fits bounds it
	return w.dst, nil
}
