package s3

import (
	"io"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// Sizes that S3 sets.
const (
	MaxKey      = 1024    // bytes of a key
	MaxMetadata = 2 << 10 // bytes of user metadata, names and values together
	MaxPut      = 5 << 30 // bytes of one PutObject, UploadPart or CopyObject
	MaxObject   = 5 << 40 // bytes of an object
	MinPart     = 5 << 20 // bytes of every part but the last
	MaxPart     = 10_000  // the highest part number
	MaxList     = 1000    // entries of one page
	octetStream = "binary/octet-stream"
)

// Headers are what a client stores with an object and gets back with it.
type Headers struct {
	ContentType        string            `json:"t,omitempty"`
	CacheControl       string            `json:"c,omitempty"`
	ContentDisposition string            `json:"d,omitempty"`
	ContentEncoding    string            `json:"e,omitempty"`
	ContentLanguage    string            `json:"l,omitempty"`
	Expires            string            `json:"x,omitempty"`
	Meta               map[string]string `json:"m,omitempty"` // names in lower case, without x-amz-meta-
}

// Type returns the content type, S3's default where none was given.
func (h *Headers) Type() string {
	if h.ContentType == "" {
		return octetStream
	}
	return h.ContentType
}

func (h *Headers) validate() error {
	n := 0
	for k, v := range h.Meta {
		n += len(k) + len(v)
	}
	if n > MaxMetadata {
		return iot.Errorf(iot.KindTooLarge, "metadata", "Your metadata headers exceed the maximum allowed metadata size")
	}
	return nil
}

// Info describes one object.
type Info struct {
	Key      string
	Size     int64
	ETag     string // without quotes: the MD5 in hex, or MD5-N for an object of N parts
	Modified time.Time
	Headers  Headers
	Checksum Checksum // zero where none was asked for
	Parts    int      // 0 for an object that was put whole
}

// Body is an object's bytes, or the range that was asked for. WriteTo hands
// open files to a writer that can take them over by sendfile.
type Body interface {
	io.Reader
	io.WriterTo
	io.Closer
}

// Object is an answer to GetInput. Body is nil when only the description was asked for.
type Object struct {
	Info
	Body     Body
	Offset   int64 // of the first byte in Body
	Length   int64 // of Body
	Partial  bool  // a range or a part, not the whole
	PartInfo *Part // set for a read by part number

	PartList  []Part // the parts that MaxParts asked for
	MoreParts bool   // there are parts behind those of PartList
}

// ValidKey reports why key cannot name an object, or nil.
func ValidKey(key string) error {
	if key == "" {
		return iot.Errorf(iot.KindInvalid, "key", "The key must not be empty")
	}
	if len(key) > MaxKey {
		return &iot.Error{Kind: iot.KindTooLarge, Resource: "key", Message: "Your key is too long"}
	}
	return nil
}
