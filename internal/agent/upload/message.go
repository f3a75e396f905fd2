package upload

import (
	"bytes"
	"encoding/base64"
	"encoding/json"

	"github.com/sekisho-iot/sekisho/internal/agent/spool"
)

// Message is what is published of a file. Receivers verify by Size and SHA256,
// and tell a repeated message by UploadID.
type Message struct {
	Type    string `json:"type"`              // file_content, s3_url or upload_failed
	Content string `json:"content,omitempty"` // of file_content: base64
	URL     string `json:"url,omitempty"`     // of s3_url

	Name     string `json:"name,omitempty"`
	Size     *int64 `json:"size,omitempty"`
	SHA256   string `json:"sha256,omitempty"` // lower-case hex
	Thing    string `json:"thing,omitempty"`
	UploadID string `json:"uploadId,omitempty"`
	Reason   string `json:"reason,omitempty"` // of upload_failed
}

// appendInline appends the message that holds a file's content to b, which should
// have room for it: see inlineRoom.
func (s *Settings) appendInline(b []byte, r *spool.Record, content []byte) ([]byte, error) {
	rest, err := s.message(r, Message{Type: "file_content", SHA256: r.SHA256})
	if err != nil {
		return nil, err
	}
	head, tail, _ := bytes.Cut(rest, []byte(`"file_content"`))
	b = append(append(b, head...), `"file_content","content":"`...)
	b = base64.StdEncoding.AppendEncode(b, content)
	return append(append(b, '"'), tail...), nil
}

// inlineRoom is what a message of a file of so many bytes takes, the file's bytes
// included. Names that are long make it grow.
func inlineRoom(size int64) int { return int(size) + base64.StdEncoding.EncodedLen(int(size)) + 1<<10 }

func (s *Settings) urlMessage(r *spool.Record) ([]byte, error) {
	return s.message(r, Message{Type: "s3_url", URL: r.URL, SHA256: r.SHA256})
}

func (s *Settings) failedMessage(r *spool.Record) ([]byte, error) {
	return json.Marshal(Message{
		Type: "upload_failed", Name: r.Name, Size: &r.Size, Thing: s.Thing, UploadID: r.ID, Reason: r.Reason,
	})
}

func (s *Settings) message(r *spool.Record, m Message) ([]byte, error) {
	if s.Plain {
		m.SHA256 = ""
	} else {
		m.Name, m.Size, m.Thing, m.UploadID = r.Name, &r.Size, s.Thing, r.ID
	}
	return json.Marshal(m)
}
