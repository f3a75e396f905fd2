package uploads

import "time"

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
