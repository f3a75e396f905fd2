package uploads

import (
	"context"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// Door is the way that an upload came.
type Door string

// The doors.
const (
	DoorS3     Door = "s3"     // an object, put with a device's credentials
	DoorInline Door = "inline" // a message that holds the file
	DoorMQTT   Door = "mqtt"   // an object, put to a URL that was asked for over MQTT
	DoorDevice Door = "device" // none: the device says that it came to nothing, and the server saw no attempt
)

// Status is how an upload ended.
type Status string

// The states.
const (
	Completed Status = "completed"
	Failed    Status = "failed"
)

// Record is one upload, as events and the API have it too.
type Record struct {
	Number      int64             `json:"number"` // they ascend
	Status      Status            `json:"status"`
	Thing       string            `json:"thing,omitempty"` // "" where the session or connection has none
	Certificate iot.CertificateID `json:"certificate"`
	Door        Door              `json:"door"`
	Bucket      string            `json:"bucket,omitempty"` // of an object
	Key         string            `json:"key,omitempty"`
	Topic       string            `json:"topic,omitempty"`    // of a message
	Name        string            `json:"name,omitempty"`     // of one, in the device's words
	Size        int64             `json:"size"`               // -1 where it is not known
	SHA256      string            `json:"sha256,omitempty"`   // of all bytes, in hex, where the server took or checked it
	Checksum    string            `json:"checksum,omitempty"` // of an object, as ALGORITHM:TYPE:BASE64
	UploadID    string            `json:"uploadId,omitempty"` // as the device gave it, if it did
	Reason      string            `json:"reason,omitempty"`   // why it failed
	Started     time.Time         `json:"started"`
	Finished    time.Time         `json:"finished"`
}

// Query selects records.
type Query struct {
	Thing        string // "" for all
	Status       Status // "" for both
	Since, Until time.Time
	Before       int64 // only records with lower numbers; 0 for all
	Limit        int
}

// Retention is what is kept of the ledger.
type Retention struct {
	Since    time.Time // records that ended before go; the zero time keeps all
	PerThing int64     // the newest of each thing are kept, or of each certificate without one; 0 keeps all
	All      int64     // the newest of all are kept; 0 keeps all
}

// Store keeps the records. Those of objects get there with the objects
// themselves.
//
// A completed upload takes the place of its failed attempts, which are those of
// the same certificate with the same bucket and key, or the same upload id; one
// that repeats a completed one with the same upload id and bytes leaves that as
// it is, and so do a failure after it and a message that repeats a failure. What
// a device says of a failure takes door, bucket and key from an attempt of the
// same upload id. Every record that is new announces iot.ChangeUpload.
type Store interface {
	// Add keeps records, all of them or none.
	Add(ctx context.Context, list []Record) error
	// List returns records that match, the newest first.
	List(ctx context.Context, q Query) ([]Record, error)
	// Unannounced returns up to limit records with higher numbers than after
	// whose event was not published, the oldest first.
	Unannounced(ctx context.Context, after int64, limit int) ([]Record, error)
	// Announced notes that the events of all records up to this number were published.
	Announced(ctx context.Context, number int64) error
	// Prune removes records that need not be kept, about limit of them, and
	// returns how many it removed: 0 when there are no more.
	Prune(ctx context.Context, r Retention, limit int) (int64, error)
}
