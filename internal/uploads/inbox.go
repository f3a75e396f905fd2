package uploads

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// inbox is what the ledger was told of and has not kept yet.
type inbox struct {
	mu      sync.Mutex // guards the fields below
	list    []func() (Record, bool)
	bytes   int
	dropped int
	closed  bool

	kick chan struct{}
	end  chan struct{}
	once sync.Once
}

const (
	maxInbox      = 4096
	maxInboxBytes = 32 << 20
	maxBatch      = 256
	addTimeout    = 10 * time.Second
)

func (b *inbox) init() {
	b.kick, b.end = make(chan struct{}, 1), make(chan struct{})
}

func (b *inbox) close() {
	b.once.Do(func() { close(b.end) })
}

// put never waits: what does not fit is dropped, and counted.
func (b *inbox) put(size int, read func() (Record, bool)) {
	b.mu.Lock()
	if b.closed || len(b.list) >= maxInbox || b.bytes+size > maxInboxBytes {
		b.dropped++
	} else {
		b.list = append(b.list, read)
		b.bytes += size
	}
	b.mu.Unlock()
	select {
	case b.kick <- struct{}{}:
	default:
	}
}

// take empties the inbox. The last time closes it.
func (b *inbox) take(last bool) (list []func() (Record, bool), dropped int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	list, dropped = b.list, b.dropped
	b.list, b.bytes, b.dropped, b.closed = nil, 0, 0, last
	return list, dropped
}

// keepInbox keeps what it is told of until the inbox is closed.
func (l *Ledger) keepInbox(ctx context.Context) {
	ctx = context.WithoutCancel(ctx) // what was heard of is kept
	for last := false; !last; {
		select {
		case <-l.inbox.kick:
		case <-l.inbox.end:
			last = true
		}
		list, dropped := l.inbox.take(last)
		if dropped > 0 {
			l.cfg.Log.ErrorContext(ctx, "uploads are missing from the ledger: more came than could be kept", slog.Int("records", dropped))
		}
		for len(list) > 0 {
			n := min(len(list), maxBatch)
			l.add(ctx, list[:n])
			list = list[n:]
		}
	}
}

func (l *Ledger) add(ctx context.Context, list []func() (Record, bool)) {
	records := make([]Record, 0, len(list))
	for i, read := range list {
		list[i] = nil
		if r, ok := read(); ok {
			records = append(records, r)
		}
	}
	if len(records) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, addTimeout)
	defer cancel()
	if err := l.cfg.Store.Add(ctx, records); err != nil {
		l.cfg.Log.ErrorContext(ctx, "uploads are missing from the ledger", slog.Int("records", len(records)), slog.Any("error", err))
	}
}

// Failed notes an upload that came to nothing. It never waits.
func (l *Ledger) Failed(r Record, err error) {
	r.Status, r.Finished, r.Reason = Failed, l.cfg.Now(), reason(err)
	l.inbox.put(len(r.Key)+len(r.Reason), func() (Record, bool) { return r, true })
}

// reason is why an upload failed, as its device may know it.
func reason(err error) string {
	if err == nil {
		return "given up by the device"
	}
	if e, ok := iotError(err); ok && e.Kind != iot.KindInternal {
		return clip(e.Message)
	}
	return "the server failed"
}

func iotError(err error) (*iot.Error, bool) { return errors.AsType[*iot.Error](err) }

// maxWord bounds what the ledger keeps of a device's own words.
const maxWord = 1024

func clip(s string) string {
	if len(s) > maxWord {
		s = s[:maxWord]
	}
	return strings.ToValidUTF8(s, "�")
}

// Message is a message that a device published to a topic of uploads.
type Message struct {
	Topic       string
	Payload     []byte // it must not be changed
	Thing       string
	Certificate iot.CertificateID
}

// Message notes the upload that a message is, if it is one. It never waits.
func (l *Ledger) Message(m *Message) {
	if !bytes.Contains(m.Payload, []byte(inlineType)) {
		return
	}
	at := l.cfg.Now()
	l.inbox.put(len(m.Payload), func() (Record, bool) { return m.record(at) })
}

const inlineType = "file_content"

// inline is a message that holds a file.
type inline struct {
	Type     string `json:"type"`
	Content  string `json:"content"`
	Name     string `json:"name"`
	Size     *int64 `json:"size"`
	SHA256   string `json:"sha256"`
	UploadID string `json:"uploadId"`
}

// record is what the ledger keeps of the message; false for one that is no
// upload. What the device says of its file is checked against it.
func (m *Message) record(at time.Time) (Record, bool) {
	var in inline
	if json.Unmarshal(m.Payload, &in) != nil || in.Type != inlineType {
		return Record{}, false
	}
	r := Record{
		Thing: m.Thing, Certificate: m.Certificate, Door: DoorInline, Status: Completed, Topic: m.Topic,
		Name: clip(in.Name), UploadID: in.UploadID, Started: at, Finished: at,
	}
	if len(r.UploadID) > maxUploadID || !utf8.ValidString(r.UploadID) {
		r.UploadID = ""
	}
	content, err := base64.StdEncoding.DecodeString(in.Content)
	if err != nil {
		r.Status, r.Reason = Failed, "the content is not base64"
		return r, true
	}
	sum := sha256.Sum256(content)
	r.Size, r.SHA256 = int64(len(content)), hex.EncodeToString(sum[:])
	switch {
	case in.Size != nil && *in.Size != r.Size:
		r.Status, r.Reason = Failed, "the content has not the size that the message says"
	case in.SHA256 != "" && !strings.EqualFold(in.SHA256, r.SHA256):
		r.Status, r.Reason = Failed, "the content has not the SHA-256 that the message says"
	}
	return r, true
}
