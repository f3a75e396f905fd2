package spool

import "time"

// State says how far a file has come.
type State string

// The states, in the order in which a file goes through them.
const (
	Pending State = "pending" // its bytes are to be sent; with an S3Upload, some may have been
	Stored  State = "stored"  // the object is complete; its notice has not been acknowledged
	Noticed State = "noticed" // all is acknowledged; the file is to be deleted
	Failed  State = "failed"  // given up; the failure has not been told yet
	Done    State = "done"    // nothing is left to do
)

// Record is one accepted file.
type Record struct {
	ID       string    `json:"id"`   // the notice's uploadId
	Path     string    `json:"path"` // absolute
	Name     string    `json:"name"`
	Size     int64     `json:"size"`
	ModTime  time.Time `json:"modTime"`
	Accepted time.Time `json:"accepted"`
	State    State     `json:"state"`

	Bucket string `json:"bucket,omitempty"`
	Key    string `json:"key,omitempty"`

	// S3Upload is the multipart upload that is under way, in parts of PartSize
	// bytes. Once all are sent, and before S3 is asked to put them together, their
	// ETags are noted: the question may have to be repeated when S3 no longer lists them.
	S3Upload string   `json:"s3Upload,omitempty"`
	PartSize int64    `json:"partSize,omitempty"`
	ETags    []string `json:"etags,omitempty"`

	SHA256 string `json:"sha256,omitempty"` // lower-case hex, once the object is complete
	URL    string `json:"url,omitempty"`    // of the object that is complete
	Reason string `json:"reason,omitempty"` // why it failed

	// FailingSince is when the first failure after the last progress was.
	FailingSince time.Time `json:"failingSince,omitzero"`

	Delete bool `json:"delete,omitempty"` // the file is deleted in the end
	Keep   bool `json:"keep,omitempty"`   // remembered when done, so that it is not taken again
}

// Same reports whether a file of this size and time is the one that the record is of.
func (r *Record) Same(size int64, modified time.Time) bool {
	return r.Size == size && r.ModTime.Equal(modified)
}

// Forget drops what is known of a multipart upload.
func (r *Record) Forget() { r.S3Upload, r.PartSize, r.ETags = "", 0, nil }
