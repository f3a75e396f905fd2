package local

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"time"

	"github.com/sekisho-iot/sekisho/internal/s3"
)

// ID names a version of an object, an upload or a data file. It begins with the
// generation of the process that made it and a counter, so IDs ascend.
type ID [16]byte

// String returns the ID in hex.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

func (id ID) generation() uint32 { return binary.BigEndian.Uint32(id[:4]) }

func (id ID) shard() byte { return id[len(id)-1] % shardCount }

// parseID reads what String wrote.
func parseID(s string) (ID, bool) {
	var id ID
	if len(s) != 2*len(id) {
		return id, false
	}
	_, err := hex.Decode(id[:], []byte(s))
	return id, err == nil
}

// Record is one object's row.
type Record struct {
	Key      string
	Version  ID // names the data file; the upload, for an object of parts
	Size     int64
	ETag     string
	Modified time.Time // to the millisecond
	Layout   Layout
	Checksum string     // as s3.Checksum renders itself
	Headers  []byte     // JSON of s3.Headers
	Data     []byte     // of an Inline object, where it was asked for
	Origin   *s3.Origin // of a device's object as it is stored: kept in the ledger of uploads
}

// Layout says where an object's bytes are: a positive one counts the parts.
type Layout int

// The layouts of objects that were put whole.
const (
	InFile Layout = 0  // in one data file
	Inline Layout = -1 // in the row
)

// Upload is a multipart upload's row.
type Upload struct {
	ID           ID
	Bucket       int64
	Key          string
	Initiated    time.Time
	Revision     int64 // counts the parts that were stored
	Headers      []byte
	Algorithm    s3.Algorithm
	ChecksumType s3.ChecksumType
}

// Part is one part's row.
type Part struct {
	Number   int
	Blob     ID // its data file
	Size     int64
	ETag     string
	Modified time.Time
	Checksum string
}

// Completion makes an upload the object under its key.
type Completion struct {
	Upload Upload // with the revision that the parts were read at
	Record Record
	Drop   []int // numbers of the parts that are not part of the object
	If     s3.WriteConditions
}

// Garbage is data that nothing refers to any more: one file, or all parts of an upload.
type Garbage struct {
	ID    ID
	Parts bool
}

// ObjectStore keeps the rows of objects. What a write replaces becomes garbage
// in the same transaction.
type ObjectStore interface {
	// Object returns one row, with its inline data if asked; KindNotFound "key".
	Object(ctx context.Context, bucket int64, key string, data bool) (Record, error)
	// PutObject makes r the object under its key. It fails with KindNotFound
	// "bucket" when the bucket is gone, and as cond.Check says.
	PutObject(ctx context.Context, bucket *s3.Bucket, r *Record, cond s3.WriteConditions) error
	// DeleteObject removes the object. Finding none is a success, unless cond wants one.
	DeleteObject(ctx context.Context, bucket int64, key string, cond s3.WriteConditions) error
	// Scan returns up to limit rows with from <= key < to in byte order, without
	// headers and data. An empty to means no end.
	Scan(ctx context.Context, bucket int64, from, to string, limit int) ([]Record, error)
}

// UploadStore keeps the rows of multipart uploads and of parts, those of
// completed objects included.
type UploadStore interface {
	// CreateUpload begins an upload; KindNotFound "bucket".
	CreateUpload(ctx context.Context, bucket *s3.Bucket, u *Upload) error
	// Upload returns an upload under way; KindNotFound "upload".
	Upload(ctx context.Context, bucket int64, key string, id ID) (Upload, error)
	// PutPart stores a part of an upload under way and raises its revision.
	PutPart(ctx context.Context, upload ID, p *Part) error
	// Parts returns up to limit parts behind number after, in order.
	Parts(ctx context.Context, upload ID, after, limit int) ([]Part, error)
	// CompleteUpload ends an upload. KindVersionConflict "upload" when parts were
	// stored since the revision given.
	CompleteUpload(ctx context.Context, bucket *s3.Bucket, c *Completion) error
	// AbortUpload makes an upload garbage; KindNotFound "upload".
	AbortUpload(ctx context.Context, id ID) error
	// ScanUploads returns up to limit uploads with (key, id) > (from, after) and
	// key < to, ordered by key and id. An empty to means no end.
	ScanUploads(ctx context.Context, bucket int64, from string, after ID, to string, limit int) ([]Upload, error)
	// StaleUploads returns up to limit uploads that began before the time.
	StaleUploads(ctx context.Context, before time.Time, limit int) ([]ID, error)
}

// BlobStore tells data files in use from garbage.
type BlobStore interface {
	// BeginGeneration starts a generation and returns it, and the first one that
	// no sweep has completed.
	BeginGeneration(ctx context.Context) (current, unswept uint32, err error)
	// EndSweep records that nothing of a generation before this one is left over.
	EndSweep(ctx context.Context, generation uint32) error
	// Known returns which of the data files belong to an object, a part or the garbage.
	Known(ctx context.Context, blobs []ID) (map[ID]bool, error)
	// Garbage returns up to limit entries of the list of garbage.
	Garbage(ctx context.Context, limit int) ([]Garbage, error)
	// Forget removes entries from the list of garbage, and their rows of parts.
	Forget(ctx context.Context, ids []ID) error
}

// Store is everything that the engine keeps beside its files.
type Store interface {
	ObjectStore
	UploadStore
	BlobStore
}
