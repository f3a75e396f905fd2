package uploads

import (
	"encoding/base64"
	"encoding/json"
	"time"
)

// ContentOf is what a message says in its content, read the short way if it can
// be, and the long way.
func ContentOf(payload []byte) (short, long []byte, ok, garbled bool) {
	var in, all said
	ok = in.decode(payload)
	if (json.Unmarshal(payload, &all) == nil) != ok {
		panic("the short way judges otherwise")
	}
	long, err := base64.StdEncoding.DecodeString(all.Content)
	garbled = err != nil
	if ok && (in.garbled != garbled || in.Name != all.Name || in.Type != all.Type || in.UploadID != all.UploadID || in.SHA256 != all.SHA256) {
		panic("the short way reads otherwise")
	}
	return in.content, long, ok, garbled
}

// RecordOf is what the ledger would keep of a message on a topic of uploads.
func RecordOf(m *Message) (Record, bool) { return m.inline(time.Unix(0, 0)) }

// FailureOf is what the ledger would keep of a message on a topic of failures.
func FailureOf(m *Message) (Record, bool) { return m.failed(time.Unix(0, 0)) }

// ReadRequest judges a message to the door, and returns the name in it.
func ReadRequest(payload []byte, verb string) (name string, err error) {
	var in doorRequest
	err = in.read(payload, verb)
	return in.Name, err
}
