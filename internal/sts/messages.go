package sts

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

const (
	messageBlock    = 1024             // lengths are told in blocks alone
	maxMessage      = 7 * messageBlock // sealed and encoded it stays below the 10240 characters of the API model
	maxMessagePlain = 256 << 10        // of what a message unpacks to
	maxMessageText  = 10240
)

// Messages seals why a request was denied into text that the caller may see,
// and that DecodeAuthorizationMessage opens for those who may know.
type Messages struct {
	keys *KeyRing
	now  func() time.Time
}

// NewMessages returns the codec over a key ring.
func NewMessages(keys *KeyRing, now func() time.Time) *Messages {
	return &Messages{keys: keys, now: now}
}

// Encode seals a message; false where it is too long.
func (m *Messages) Encode(plain []byte) (string, bool, error) {
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestSpeed)
	if err != nil {
		return "", false, err
	}
	if _, err := w.Write(plain); err != nil {
		return "", false, err
	}
	if err := w.Close(); err != nil {
		return "", false, err
	}
	b := binary.AppendUvarint(nil, uint64(packed.Len())) //nolint:gosec // a length
	b = append(b, packed.Bytes()...)
	if len(b) > maxMessage || len(plain) > maxMessagePlain {
		return "", false, nil
	}
	b = append(b, make([]byte, (messageBlock-len(b)%messageBlock)%messageBlock)...)
	sealed, err := m.keys.Sealer(ForMessages).Seal(b, nil)
	if err != nil {
		return "", false, fmt.Errorf("seal authorization message: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sealed), true, nil
}

// Decode opens what Encode sealed. It answers KindInvalid "authorization-message"
// for anything else.
func (m *Messages) Decode(text string) ([]byte, error) {
	bad := func(err error) ([]byte, error) {
		return nil, &iot.Error{
			Kind: iot.KindInvalid, Resource: "authorization-message", Err: err,
			Message: "Message is not valid",
		}
	}
	if len(text) > maxMessageText {
		return bad(errSeal)
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return bad(err)
	}
	b, k, err := m.keys.Sealer(ForMessages).open(sealed, nil)
	if err != nil {
		return bad(err)
	}
	n, size := binary.Uvarint(b)
	if !k.live(m.now()) || size <= 0 || n > uint64(len(b)-size) { //nolint:gosec // size is at most len(b)
		return bad(errSeal)
	}
	plain, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(b[size:size+int(n)])), maxMessagePlain+1)) //nolint:gosec // checked above
	if err != nil || len(plain) > maxMessagePlain {
		return bad(errSeal)
	}
	return plain, nil
}
