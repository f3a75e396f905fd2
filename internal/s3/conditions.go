package s3

import (
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// WriteConditions make a write depend on what stands under its key. They are
// judged inside the transaction that makes the write visible.
type WriteConditions struct {
	IfNoneMatch bool   // If-None-Match: *, only if there is no object
	IfMatch     string // only if the object has this ETag; "*" for any
}

// Check judges the conditions against the object that stands there now.
func (c WriteConditions) Check(exists bool, etag string) error {
	if c.IfNoneMatch && exists {
		return preconditionFailed("If-None-Match")
	}
	if c.IfMatch == "" {
		return nil
	}
	if !exists {
		return NoSuchKey()
	}
	if !matches(c.IfMatch, etag) {
		return preconditionFailed("If-Match")
	}
	return nil
}

// ReadConditions make a read depend on the object's state. Dates count whole seconds.
type ReadConditions struct {
	IfMatch, IfNoneMatch               string
	IfModifiedSince, IfUnmodifiedSince time.Time
}

// Check judges the conditions in the order of RFC 9110 section 13.2.2.
func (c *ReadConditions) Check(info *Info) error {
	modified := info.Modified.Truncate(time.Second)
	switch {
	case c.IfMatch != "":
		if !matches(c.IfMatch, info.ETag) {
			return preconditionFailed("If-Match")
		}
	case !c.IfUnmodifiedSince.IsZero() && modified.After(c.IfUnmodifiedSince):
		return preconditionFailed("If-Unmodified-Since")
	}
	switch {
	case c.IfNoneMatch != "":
		if matches(c.IfNoneMatch, info.ETag) {
			return notModified(info)
		}
	case !c.IfModifiedSince.IsZero() && !modified.After(c.IfModifiedSince):
		return notModified(info)
	}
	return nil
}

// matches reports whether a list of entity tags names etag. S3 also takes tags without quotes.
func matches(list, etag string) bool {
	for tag := range strings.SplitSeq(list, ",") {
		tag = strings.TrimSpace(tag)
		tag = strings.TrimPrefix(tag, "W/")
		if tag == "*" || strings.Trim(tag, `"`) == etag {
			return true
		}
	}
	return false
}

func preconditionFailed(condition string) error {
	return &iot.Error{
		Kind: iot.KindPrecondition, Resource: "object", ID: condition,
		Message: "At least one of the pre-conditions you specified did not hold",
	}
}

// NotModifiedError is the cause inside the error of a read that need not be answered
// anew. It carries what the 304 answer still tells.
type NotModifiedError struct{ Info *Info }

// Error makes it a cause.
func (*NotModifiedError) Error() string { return "not modified" }

func notModified(info *Info) error {
	return &iot.Error{Kind: iot.KindNotModified, Resource: "object", Message: "Not Modified", Err: &NotModifiedError{Info: info}}
}

// NoSuchKey is the answer where no object stands under a key.
func NoSuchKey() *iot.Error {
	return iot.Errorf(iot.KindNotFound, "key", "The specified key does not exist.")
}

// NoSuchUpload is the answer for an upload that was never begun, is completed or aborted.
func NoSuchUpload() *iot.Error {
	return iot.Errorf(iot.KindNotFound, "upload",
		"The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.")
}

// NoSuchBucket is the answer for a bucket that does not exist, or not any more.
func NoSuchBucket(name string) *iot.Error {
	e := iot.Errorf(iot.KindNotFound, "bucket", "The specified bucket does not exist")
	e.ID = name
	return e
}

// Range is the part of an object that a read asks for: First to Last, both
// counted, or the last Suffix bytes. Last < 0 means to the end.
type Range struct {
	First, Last int64
	Suffix      int64
	IsSuffix    bool
}

// Resolve returns the offset and length that the range covers in an object of
// that size, or InvalidRange where it covers nothing.
func (r *Range) Resolve(size int64) (offset, length int64, err error) {
	if r.IsSuffix {
		n := min(r.Suffix, size)
		if n == 0 {
			return 0, 0, invalidRange(size)
		}
		return size - n, n, nil
	}
	if r.First >= size {
		return 0, 0, invalidRange(size)
	}
	last := r.Last
	if last < 0 || last >= size {
		last = size - 1
	}
	return r.First, last - r.First + 1, nil
}

// RangeFor returns the range to serve of the object that stands there now. By
// RFC 9110 section 13.1.5 it is the whole where If-Range does not hold.
func (in *GetInput) RangeFor(info *Info) *Range {
	const httpDate = "Mon, 02 Jan 2006 15:04:05 GMT"
	switch in.IfRange {
	case "", `"` + info.ETag + `"`, info.Modified.UTC().Format(httpDate):
		return in.Range
	}
	return nil
}

// RangeError is the cause inside the error of a range that covers nothing; the
// answer names the object's size.
type RangeError struct{ Size int64 }

// Error makes it a cause.
func (*RangeError) Error() string { return "range not satisfiable" }

func invalidRange(size int64) error {
	return &iot.Error{
		Kind: iot.KindInvalid, Resource: "range",
		Message: "The requested range is not satisfiable", Err: &RangeError{Size: size},
	}
}
