package s3

import (
	"context"
	"io"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// Engine keeps objects. What it answers was durable before it answered, and a
// crash leaves either the old object or the new one. It never sees a request
// that was not authorised, and never changes a key.
type Engine interface {
	Put(ctx context.Context, in *PutInput) (*Info, error)
	Get(ctx context.Context, in *GetInput) (*Object, error)
	Delete(ctx context.Context, in *DeleteInput) error // removing nothing is a success
	Copy(ctx context.Context, in *CopyInput) (*Info, error)
	List(ctx context.Context, in *ListInput) (*ListPage, error)

	CreateUpload(ctx context.Context, in *CreateUploadInput) (*Upload, error)
	PutPart(ctx context.Context, in *PutPartInput) (*Part, error)
	CompleteUpload(ctx context.Context, in *CompleteInput) (*Info, error)
	AbortUpload(ctx context.Context, ref UploadRef) error
	ListParts(ctx context.Context, in *ListPartsInput) (*PartsPage, error)
	ListUploads(ctx context.Context, in *ListUploadsInput) (*UploadsPage, error)
}

// Content is a stream of bytes that a client sends, and what it says about them.
type Content struct {
	Body io.Reader // a read error means that the body is not what was signed: nothing is kept
	Size int64     // -1 where the client does not say
	MD5  []byte    // Content-MD5, decoded; nil where it was not sent

	Algorithm Algorithm     // the checksum to take; AlgorithmNone for none
	Want      string        // its value in base64 as the client sent it; "" where it did not
	Trailer   func() string // asked after the end of Body for the value, when Want is empty; may be nil

	// BeforeCommit is asked right before the bytes become visible; its error
	// refuses them. It may be nil.
	BeforeCommit func(context.Context) error
}

// PutInput is one whole object.
type PutInput struct {
	Bucket  *Bucket
	Key     string
	Headers Headers
	If      WriteConditions
	Origin  *Origin // nil but for a device's
	Content
}

// MetaUploadID is the user metadata in which a device may give its upload an id.
const MetaUploadID = "sekisho-upload-id"

// Origin is the device that an object comes from. An engine keeps it with the
// object, in one transaction where it can.
type Origin struct {
	Certificate iot.CertificateID
	Thing       string    // "" where the session has none
	Began       time.Time // when the request came
	UploadID    string    // what the device calls the upload; "" where it has no name
	SHA256      string    // of all bytes, in hex, where the signature says it; "" for unknown
	OverMQTT    bool      // the URL was asked for over MQTT
}

// Failure is an upload of a device that came to nothing.
type Failure struct {
	Origin
	Bucket, Key string
	Size        int64 // as the device announced it; -1 where it did not
	Err         error // why; nil where the device gave it up
}

// GetInput asks for an object, a range of it or one of its parts.
type GetInput struct {
	Bucket     *Bucket
	Key        string
	HeadOnly   bool
	If         ReadConditions
	Range      *Range
	IfRange    string // an ETag or a date as If-Range has it: what Range depends on; "" for nothing
	PartNumber int    // 0 for none

	MaxParts   int // of a description, how many parts to list with it
	AfterParts int // the part number behind which they begin
}

// DeleteInput removes an object.
type DeleteInput struct {
	Bucket *Bucket
	Key    string
	If     WriteConditions
}

// CopyInput makes an object of another one's bytes.
type CopyInput struct {
	From    *Bucket
	FromKey string
	FromIf  ReadConditions

	Bucket       *Bucket
	Key          string
	Headers      *Headers // nil keeps the source's
	If           WriteConditions
	Algorithm    Algorithm // AlgorithmNone keeps the source's
	BeforeCommit func(context.Context) error
}

// ListInput asks for the keys that begin with Prefix and come after After, in
// byte order; those that hold Delimiter behind the prefix are rolled up.
type ListInput struct {
	Bucket    *Bucket
	Prefix    string
	Delimiter string
	After     string
	Max       int
}

// ListPage is one page of keys. Next continues it as After when Truncated.
type ListPage struct {
	Objects   []Info // without Headers
	Prefixes  []string
	Truncated bool
	Next      string
}

// CreateUploadInput begins a multipart upload.
type CreateUploadInput struct {
	Bucket       *Bucket
	Key          string
	Headers      Headers
	Algorithm    Algorithm
	ChecksumType ChecksumType // "" for the algorithm's default
}

// UploadRef names an upload.
type UploadRef struct {
	Bucket *Bucket
	Key    string
	ID     string
}

// Upload is a multipart upload under way.
type Upload struct {
	Key          string
	ID           string
	Initiated    time.Time
	Headers      Headers
	Algorithm    Algorithm
	ChecksumType ChecksumType
}

// Part is one part, of an upload under way or of an object.
type Part struct {
	Number   int
	Size     int64
	ETag     string
	Modified time.Time
	Checksum Checksum
}

// PutPartInput is one part. A part that was sent before is replaced.
type PutPartInput struct {
	UploadRef
	Number int
	Content
}

// CompleteInput turns the listed parts into the object.
type CompleteInput struct {
	UploadRef
	Parts        []CompletePart
	Checksum     Checksum // of the whole, as the client expects it; zero for none
	Size         int64    // -1 where the client does not say
	If           WriteConditions
	Origin       *Origin // nil but for a device's
	BeforeCommit func(context.Context) error
}

// CompletePart is one line of the list of parts.
type CompletePart struct {
	Number   int
	ETag     string
	Checksum Checksum
}

// ListPartsInput asks for the parts of an upload behind number After.
type ListPartsInput struct {
	UploadRef
	After int
	Max   int
}

// PartsPage is one page of parts.
type PartsPage struct {
	Upload    Upload
	Parts     []Part
	Truncated bool
}

// ListUploadsInput asks for uploads as ListInput does for objects. AfterID
// continues within the key After.
type ListUploadsInput struct {
	Bucket    *Bucket
	Prefix    string
	Delimiter string
	After     string
	AfterID   string
	Max       int
}

// UploadsPage is one page of uploads, ordered by key and then by age.
type UploadsPage struct {
	Uploads         []Upload
	Prefixes        []string
	Truncated       bool
	NextKey, NextID string
}
