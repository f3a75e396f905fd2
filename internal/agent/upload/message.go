package upload

import (
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

func (s *Settings) inlineMessage(r *spool.Record, content []byte) ([]byte, error) {
	return s.message(r, Message{Type: "file_content", Content: base64.StdEncoding.EncodeToString(content), SHA256: r.SHA256})
}

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
	if m.Type == "file_content" && m.Content == "" { // an empty file has empty content, not none
		return json.Marshal(struct {
			Message

			Content string `json:"content"`
		}{Message: m})
	}
	return json.Marshal(m)
}
