package uploads

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// maxWord bounds what the ledger keeps of a device's own words.
const maxWord = 512

func clip(s string) string {
	if len(s) > maxWord {
		s = s[:maxWord]
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "�"), "\x00", "�") // which not every database takes
}

// Message is a message that a device published to a topic of uploads.
type Message struct {
	Topic       string
	Payload     []byte // it must not be changed
	Thing       string
	Certificate iot.CertificateID
	// Done is told when the upload is kept, or why it is not: the device is to
	// send the message again. nil where nobody waits.
	Done func(error)
}

// The types of messages that the ledger knows.
const (
	inlineType = "file_content"
	failedType = "upload_failed"
)

// Message notes the upload that a message holds, if it does. It never waits.
func (l *Ledger) Message(m *Message) { l.hear(m, inlineType, m.inline) }

// FailedMessage notes the upload that a message says has failed, if it does. It
// never waits.
func (l *Ledger) FailedMessage(m *Message) { l.hear(m, failedType, m.failed) }

func (l *Ledger) hear(m *Message, kind string, read func(at time.Time) (Record, bool)) {
	// An escape could stand for any of its letters.
	if !bytes.Contains(m.Payload, []byte(kind)) && !bytes.Contains(m.Payload, []byte(`\u`)) {
		if m.Done != nil {
			m.Done(nil)
		}
		return
	}
	at := l.cfg.Now()
	l.inbox.put(letter{from: m.Certificate, size: len(m.Payload), done: m.Done, read: func() (Record, bool) { return read(at) }})
}

// said is what messages say of a file.
type said struct {
	Type     string `json:"type"`
	Content  string `json:"content"`
	Name     string `json:"name"`
	Size     *int64 `json:"size"`
	SHA256   string `json:"sha256"`
	UploadID string `json:"uploadId"`
	Reason   string `json:"reason"`

	content []byte // decoded
	garbled bool   // it is not base64
}

// decode reads a message. The content, which is nearly all of it, is taken out
// before the rest is read as JSON, where that is safe to do: it takes a tenth of
// the time. What is unusual goes the long way.
func (in *said) decode(payload []byte) bool {
	if before, content, after, ok := cutContent(payload); ok {
		b := make([]byte, base64.StdEncoding.DecodedLen(len(content)))
		if n, err := base64.StdEncoding.Decode(b, content); err == nil {
			in.content = b[:n]
			return json.Unmarshal(slices.Concat(before, after), in) == nil
		}
	}
	if json.Unmarshal(payload, in) != nil {
		return false
	}
	var err error
	in.content, err = base64.StdEncoding.DecodeString(in.Content)
	in.garbled = err != nil
	return true
}

// cutContent finds the text of the member "content" of a JSON object, and what
// is before and after that, which is still to be read as JSON. It finds none
// where more of JSON has to be known than that: where there is an escape, a line
// break in the text, or another member that could be meant.
func cutContent(p []byte) (before, content, after []byte, ok bool) {
	const key = `"content"`
	head, rest, found := bytes.Cut(p, []byte(key))
	if !found {
		return nil, nil, nil, false
	}
	depth, inside := 0, false
	for _, c := range head {
		switch {
		case c == '\\':
			return nil, nil, nil, false
		case c == '"':
			inside = !inside
		case inside:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		}
	}
	rest, named := bytes.CutPrefix(bytes.TrimLeft(rest, jsonSpace), []byte{':'})
	rest, quoted := bytes.CutPrefix(bytes.TrimLeft(rest, jsonSpace), []byte{'"'})
	end := bytes.IndexByte(rest, '"')
	if inside || depth != 1 || !named || !quoted || end < 0 || bytes.ContainsAny(rest[:end], "\\\r\n") {
		return nil, nil, nil, false
	}
	after = rest[end:]
	if bytes.IndexByte(after, '\\') >= 0 || bytes.Contains(bytes.ToLower(after), []byte(key)) || bytes.Contains(bytes.ToLower(head), []byte(key)) {
		return nil, nil, nil, false
	}
	return p[:len(p)-len(rest)], rest[:end], after, true
}

const jsonSpace = " \t\r\n"

// read decodes the message; false for one of another type.
func (m *Message) read(kind string, at time.Time) (in said, r Record, ok bool) {
	if !in.decode(m.Payload) || in.Type != kind {
		return in, r, false
	}
	r = Record{
		Thing: m.Thing, Certificate: m.Certificate, Topic: m.Topic, Name: clip(in.Name), UploadID: in.UploadID,
		Size: -1, Started: at, Finished: at,
	}
	if len(r.UploadID) > maxUploadID || !utf8.ValidString(r.UploadID) || strings.Contains(r.UploadID, "\x00") {
		r.UploadID = ""
	}
	return in, r, true
}

// inline is what the ledger keeps of a message that holds a file. What the
// device says of it is checked against it.
func (m *Message) inline(at time.Time) (Record, bool) {
	in, r, ok := m.read(inlineType, at)
	if !ok {
		return r, false
	}
	r.Door, r.Status = DoorInline, Completed
	if in.garbled {
		r.Status, r.Reason = Failed, "the content is not base64"
		return r, true
	}
	sum := sha256.Sum256(in.content)
	r.Size, r.SHA256 = int64(len(in.content)), hex.EncodeToString(sum[:])
	switch {
	case in.Size != nil && *in.Size != r.Size:
		r.Status, r.Reason = Failed, "the content has not the size that the message says"
	case in.SHA256 != "" && !strings.EqualFold(in.SHA256, r.SHA256):
		r.Status, r.Reason = Failed, "the content has not the SHA-256 that the message says"
	}
	return r, true
}

// failed is what the ledger keeps of a message that says that an upload has
// come to nothing: the device's own words.
func (m *Message) failed(at time.Time) (Record, bool) {
	in, r, ok := m.read(failedType, at)
	if !ok {
		return r, false
	}
	r.Door, r.Status, r.Reason = DoorDevice, Failed, clip(in.Reason)
	if in.Size != nil && *in.Size >= 0 {
		r.Size = *in.Size
	}
	return r, true
}
