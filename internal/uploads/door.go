package uploads

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// DoorSetting is where uploads go whose URLs are asked for over MQTT, and the
// role alias that devices need for it. Its zero value is nowhere.
type DoorSetting struct {
	RoleAlias string `json:"roleAlias"`
	Bucket    string `json:"bucket"`
}

// DoorStore keeps the operator's setting.
type DoorStore interface {
	Door(ctx context.Context) (DoorSetting, error)
	SetDoor(ctx context.Context, d DoorSetting) error
}

// Device is who asks over MQTT, as its connection proves it.
type Device struct {
	Certificate iot.CertificateID
	Thing       string
	SourceIP    string // of a public listener's peer
	SourceVPCE  string // of one that came through the closed network
}

// Gate lets devices in.
type Gate interface {
	// Enter trades the device's certificate for a session through the role
	// alias, by the rules of the credential provider.
	Enter(ctx context.Context, d *Device, alias string) (Session, error)
}

// Session does what the role behind a role alias lets the device do. An
// *iot.Error says what was refused.
type Session interface {
	// URL returns a URL that takes these bytes alone, and the headers that it wants.
	URL(ctx context.Context, p *Put) (url string, headers map[string]string, err error)
	// Create begins a multipart upload with metadata and returns its id;
	// iot.KindLimit where the thing has too many under way.
	Create(ctx context.Context, o *Object, meta map[string]string) (string, error)
	// Stored returns the numbers of the parts that are stored, in order.
	Stored(ctx context.Context, o *Object) ([]int, error)
	// Complete makes an object of size bytes of so many parts.
	Complete(ctx context.Context, o *Object, parts int, size int64) error
	// Abort gives a multipart upload up.
	Abort(ctx context.Context, o *Object) error
}

// Object is what is uploaded.
type Object struct {
	Bucket, Key string
	MultipartID string // "" for one that is put whole
	UploadID    string // the device's own name of the upload, "" for none
}

// Put is one request to upload.
type Put struct {
	Object
	Part     int // 0 for the whole
	Size     int64
	SHA256   string // in hex
	Lifetime time.Duration
}

// DeskConfig is what a Desk needs.
type DeskConfig struct {
	Store    DoorStore
	Gate     Gate
	Messages Events // publishes the replies
	MaxReply int    // bytes of one; 0 for any number
	Now      func() time.Time
	Log      *slog.Logger
}

// Desk hands out URLs to devices that can hold nothing but MQTT.
type Desk struct {
	cfg     DeskConfig
	queue   chan *Ask
	end     chan struct{}
	once    sync.Once
	running sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	waiting map[iot.CertificateID]int
	refused int       // since it was told
	told    time.Time // when the log said so
}

const (
	doorWorkers = 4
	doorQueue   = 256
	doorEach    = 16 // of the queue, those of one certificate
	doorTimeout = 20 * time.Second
	urlLifetime = 15 * time.Minute
)

// NewDesk returns a desk that serves until it is closed.
func NewDesk(cfg DeskConfig) *Desk {
	d := &Desk{
		cfg: cfg, queue: make(chan *Ask, doorQueue), end: make(chan struct{}), waiting: map[iot.CertificateID]int{},
	}
	for range doorWorkers {
		d.running.Go(d.work)
	}
	return d
}

// Close returns when nobody is served any more. It is idempotent.
func (d *Desk) Close() error {
	d.once.Do(func() { close(d.end) })
	d.running.Wait()
	return nil
}

// Ask is a message of a device to the door.
type Ask struct {
	Device
	Topic   string
	Payload []byte
	Done    func(error) // is called when it was answered, or why it was not; may be nil
}

func (a *Ask) done(err error) {
	if a.Done != nil {
		a.Done(err)
	}
}

// Take has a message answered. It never waits: one of too many is not taken,
// which is what its Done is told.
func (d *Desk) Take(a *Ask) {
	if d.offer(a) {
		return
	}
	if n := d.turnedAway(); n > 0 {
		d.cfg.Log.Warn("upload requests were not taken: too many wait", slog.Int("requests", n),
			slog.String("certificate", string(a.Certificate)), slog.String("thing", a.Thing))
	}
	a.done(errBusy())
}

func (d *Desk) offer(a *Ask) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting[a.Certificate] >= doorEach {
		return false
	}
	select {
	case d.queue <- a:
		d.waiting[a.Certificate]++
		return true
	default:
		return false
	}
}

// turnedAway counts a message that was not taken, and returns how many there
// were when the log is to say so: a device that asks without end does not fill it.
func (d *Desk) turnedAway() (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refused++
	now := d.cfg.Now()
	if now.Sub(d.told).Abs() < tellEvery {
		return 0
	}
	n, d.refused, d.told = d.refused, 0, now
	return n
}

func errBusy() error { return iot.Errorf(iot.KindBusy, "uploads", "Too many requests are waiting") }

func (d *Desk) work() {
	for {
		select {
		case <-d.end:
			return
		case a := <-d.queue:
			ctx, cancel := context.WithTimeout(context.Background(), doorTimeout)
			a.done(d.answer(ctx, a))
			cancel()
			d.left(a.Certificate)
		}
	}
}

func (d *Desk) left(id iot.CertificateID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting[id]--; d.waiting[id] <= 0 {
		delete(d.waiting, id)
	}
}

// doorTopics is what the topics of the door begin with; the thing and what is
// asked follow.
const doorTopics = "$sekisho/things/"

// DoorFilters are the topic filters of what devices ask of the door.
func DoorFilters() []string {
	return []string{doorTopics + "+/uploads/request", doorTopics + "+/uploads/complete", doorTopics + "+/uploads/abort"}
}

// answer publishes the answer to a message. The error is one of ours: the
// device is to ask again.
func (d *Desk) answer(ctx context.Context, a *Ask) error {
	verb, ok := strings.CutPrefix(a.Topic, doorTopics+a.Thing+"/uploads/")
	if !ok || a.Thing == "" || a.Certificate == "" {
		return nil // the broker lets nobody but the thing itself publish there: security rule 9
	}
	var asked doorRequest
	reply, err := d.serve(ctx, a, verb, &asked)
	topic := doorTopics + a.Thing + "/uploads/accepted"
	if err != nil {
		topic = doorTopics + a.Thing + "/uploads/rejected"
		reply = d.refusal(ctx, a, verb, &asked, err)
	}
	payload, err := d.encode(reply)
	if iot.IsKind(err, iot.KindTooLarge) {
		topic = doorTopics + a.Thing + "/uploads/rejected"
		payload, err = json.Marshal(d.refusal(ctx, a, verb, &asked, err))
	}
	if err != nil {
		return err
	}
	return d.cfg.Messages.Publish(ctx, Event{topic, payload})
}

// encode leaves out parts that do not fit into a message: the device asks for
// them again.
func (d *Desk) encode(reply any) ([]byte, error) {
	for {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false) // URLs are full of &
		if err := e.Encode(reply); err != nil {
			return nil, err
		}
		out, parts := reply.(*accepted)
		switch {
		case d.cfg.MaxReply == 0 || b.Len() <= d.cfg.MaxReply:
			return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), nil
		case !parts || len(out.Parts) <= 1:
			return nil, iot.Errorf(iot.KindTooLarge, "uploads", "The answer does not fit into a message of %d bytes", d.cfg.MaxReply)
		}
		out.Parts = out.Parts[:len(out.Parts)/2]
	}
}

// rejected is the payload of a refusal.
type rejected struct {
	Request     string `json:"request"` // request, complete or abort
	Code        string `json:"code"`
	Message     string `json:"message"`
	Name        string `json:"name,omitempty"`
	UploadID    string `json:"uploadId,omitempty"`
	MultipartID string `json:"multipartId,omitempty"`
}

// refusal says to the device what it may know of an error.
func (d *Desk) refusal(ctx context.Context, a *Ask, verb string, asked *doorRequest, err error) *rejected {
	r := &rejected{
		Request: verb, Code: "InternalError", Message: "The server failed. Please try again.",
		Name: clip(asked.Name), UploadID: clip(asked.UploadID), MultipartID: clip(asked.MultipartID),
	}
	if e, ok := iotError(err); ok && e.Kind != iot.KindInternal {
		r.Code, r.Message = refusalCode(e.Kind), e.Message
		return r
	}
	d.cfg.Log.ErrorContext(ctx, "an upload request failed", slog.String("certificate", string(a.Certificate)),
		slog.String("thing", a.Thing), slog.String("request", verb), slog.Any("error", err))
	return r
}

func refusalCode(k iot.Kind) string {
	switch k { //nolint:exhaustive // the rest is the device's mistake
	case iot.KindDenied:
		return "AccessDenied"
	case iot.KindNotFound:
		return "NotFound"
	case iot.KindTooLarge:
		return "TooLarge"
	case iot.KindState:
		return "NotConfigured"
	case iot.KindConflict:
		return "Incomplete"
	case iot.KindBusy:
		return "Busy"
	case iot.KindLimit:
		return "LimitExceeded"
	}
	return "InvalidRequest"
}
