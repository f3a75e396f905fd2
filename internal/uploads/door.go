package uploads

import (
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
	// Create begins a multipart upload with metadata and returns its id.
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

	mu      sync.Mutex // guards waiting
	waiting map[iot.CertificateID]int
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
	d.mu.Lock()
	full := d.waiting[a.Certificate] >= doorEach
	if !full {
		select {
		case d.queue <- a:
			d.waiting[a.Certificate]++
		default:
			full = true
		}
	}
	d.mu.Unlock()
	if full {
		d.cfg.Log.Warn("an upload request was not taken: too many wait",
			slog.String("certificate", string(a.Certificate)), slog.String("thing", a.Thing))
		a.done(errBusy())
	}
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
	payload, err := json.Marshal(reply)
	if err != nil {
		return err
	}
	return d.cfg.Messages.Publish(ctx, topic, payload)
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
	}
	return "InvalidRequest"
}
