package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	m "github.com/sekisho-iot/sekisho/internal/api/model/s3"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/s3"
)

// getObject streams the object itself, so that a file can go out by sendfile.
func (r *s3Rows) getObject(ctx context.Context, c *Call, in *m.GetObjectInput) (*m.GetObjectOutput, error) {
	overrides := map[string]*string{
		"Cache-Control": in.ResponseCacheControl, "Content-Disposition": in.ResponseContentDisposition,
		"Content-Encoding": in.ResponseContentEncoding, "Content-Language": in.ResponseContentLanguage,
		"Content-Type": in.ResponseContentType,
	}
	if in.ResponseExpires != nil {
		overrides["Expires"] = new(in.ResponseExpires.UTC().Format(http.TimeFormat))
	}
	get := &s3.GetInput{
		Key: deref(in.Key), PartNumber: int(deref(in.PartNumber)),
		If: readConditions(in.IfMatch, in.IfNoneMatch, in.IfModifiedSince, in.IfUnmodifiedSince),
	}
	o, err := r.open(ctx, c, in.Bucket, in.VersionId, in.Range, in.PartNumber, get)
	if err != nil {
		return nil, err
	}
	defer o.Body.Close() //nolint:errcheck // it is only read
	status := describeObject(c.Writer.Header(), o, checksumMode(in.ChecksumMode))
	if err := override(c, overrides); err != nil {
		return nil, err
	}
	c.Writer.WriteHeader(status)
	if o.Length == 0 {
		return nil, nil //nolint:nilnil // the answer is written
	}
	_, err = o.Body.WriteTo(c.Writer)
	return nil, err
}

func (r *s3Rows) headObject(ctx context.Context, c *Call, in *m.HeadObjectInput) (*m.HeadObjectOutput, error) {
	get := &s3.GetInput{
		Key: deref(in.Key), PartNumber: int(deref(in.PartNumber)), HeadOnly: true,
		If: readConditions(in.IfMatch, in.IfNoneMatch, in.IfModifiedSince, in.IfUnmodifiedSince),
	}
	o, err := r.open(ctx, c, in.Bucket, in.VersionId, in.Range, in.PartNumber, get)
	if err != nil {
		return nil, err
	}
	c.Writer.WriteHeader(describeObject(c.Writer.Header(), o, checksumMode(in.ChecksumMode)))
	return nil, nil //nolint:nilnil // the answer is written
}

// open finds what a read asks for, or the refusal with the headers that go with it.
func (r *s3Rows) open(ctx context.Context, c *Call, bucket, version, rangeHeader *string, part *int32, get *s3.GetInput) (*s3.Object, error) {
	b, err := r.bucket(ctx, c, bucket)
	if err != nil {
		return nil, err
	}
	get.Bucket = b
	if err := checkVersion(version); err != nil {
		return nil, err
	}
	get.Range, get.IfRange = parseRange(deref(rangeHeader)), c.HTTP.Header.Get("If-Range")
	if part != nil {
		if get.Range != nil {
			return nil, iot.Errorf(iot.KindInvalid, "request", "Cannot specify both Range header and partNumber query parameter")
		}
		if *part < 1 {
			return nil, iot.Errorf(iot.KindInvalid, "argument", "Part number must be an integer between 1 and 10000, inclusive")
		}
	}
	o, err := r.svc.GetObject(ctx, get)
	if err != nil {
		return nil, r.readRefusal(ctx, c, b, err)
	}
	return o, nil
}

// readRefusal adds what an unsuccessful read still tells. That a key does not
// exist is for those to know who may list the bucket.
func (r *s3Rows) readRefusal(ctx context.Context, c *Call, b *s3.Bucket, err error) error {
	h := c.Writer.Header()
	if e, ok := errors.AsType[*s3.RangeError](err); ok {
		h.Set("Content-Range", "bytes */"+strconv.FormatInt(e.Size, 10))
	}
	if e, ok := errors.AsType[*s3.NotModifiedError](err); ok {
		h.Set("ETag", *quoted(e.Info.ETag))
		h.Set("Last-Modified", e.Info.Modified.UTC().Format(http.TimeFormat))
	}
	if iot.IsKind(err, iot.KindNotFound) {
		if denied := c.Authorize(ctx, "s3:ListBucket", b.ARN(), &s3Keys{call: c}); denied != nil {
			return denied
		}
	}
	return err
}

func readConditions(match, noneMatch *string, since, unmodified *time.Time) s3.ReadConditions {
	return s3.ReadConditions{
		IfMatch: deref(match), IfNoneMatch: deref(noneMatch),
		IfModifiedSince: deref(since), IfUnmodifiedSince: deref(unmodified),
	}
}

// parseRange reads a Range header. S3 serves one range; of several, and of what
// is none, it takes no notice.
func parseRange(s string) *s3.Range {
	spec, ok := strings.CutPrefix(strings.TrimSpace(s), "bytes=")
	if !ok || strings.Contains(spec, ",") {
		return nil
	}
	first, last, ok := strings.Cut(strings.TrimSpace(spec), "-")
	if !ok {
		return nil
	}
	if first == "" {
		n, err := strconv.ParseUint(last, 10, 63)
		if err != nil {
			return nil
		}
		return &s3.Range{Suffix: int64(n), IsSuffix: true}
	}
	a, err := strconv.ParseUint(first, 10, 63)
	if err != nil {
		return nil
	}
	if last == "" {
		return &s3.Range{First: int64(a), Last: -1}
	}
	z, err := strconv.ParseUint(last, 10, 63)
	if err != nil || z < a {
		return nil
	}
	return &s3.Range{First: int64(a), Last: int64(z)}
}

func checksumMode(mode *string) bool { return strings.EqualFold(deref(mode), "ENABLED") }

// describeObject sets the headers of an answer to a read and returns its status.
func describeObject(h http.Header, o *s3.Object, checksums bool) int {
	setStored(h, &o.Headers)
	h.Set("Content-Type", o.Headers.Type())
	h.Set("ETag", *quoted(o.ETag))
	h.Set("Last-Modified", o.Modified.UTC().Format(http.TimeFormat))
	h.Set("Accept-Ranges", "bytes")
	h.Set("Content-Length", strconv.FormatInt(o.Length, 10))
	if checksums && o.Checksum.Algorithm != s3.AlgorithmNone && o.Offset == 0 && o.Length == o.Size {
		h.Set("X-Amz-Checksum-"+string(o.Checksum.Algorithm), o.Checksum.Value)
		h.Set("X-Amz-Checksum-Type", string(o.Checksum.Type))
	}
	if o.PartInfo != nil {
		h.Set("X-Amz-Mp-Parts-Count", strconv.Itoa(o.Parts))
		if checksums && o.PartInfo.Checksum.Algorithm != s3.AlgorithmNone {
			h.Set("X-Amz-Checksum-"+string(o.PartInfo.Checksum.Algorithm), o.PartInfo.Checksum.Value)
			if o.PartInfo.Checksum.Algorithm == o.Checksum.Algorithm {
				h.Set("X-Amz-Checksum-Type", string(o.Checksum.Type))
			}
		}
	}
	if !o.Partial {
		return http.StatusOK
	}
	if o.Length > 0 {
		h.Set("Content-Range", "bytes "+strconv.FormatInt(o.Offset, 10)+"-"+
			strconv.FormatInt(o.Offset+o.Length-1, 10)+"/"+strconv.FormatInt(o.Size, 10))
	}
	return http.StatusPartialContent
}

// setStored sets the headers that were stored with an object.
func setStored(h http.Header, stored *s3.Headers) {
	for _, f := range [...]struct{ name, value string }{
		{"Cache-Control", stored.CacheControl},
		{"Content-Disposition", stored.ContentDisposition},
		{"Content-Encoding", stored.ContentEncoding},
		{"Content-Language", stored.ContentLanguage},
		{"Expires", stored.Expires},
	} {
		if f.value != "" {
			h.Set(f.name, f.value)
		}
	}
	for k, v := range stored.Meta {
		h["x-amz-meta-"+strings.ToLower(k)] = []string{v} // clients show the name as it is written here
	}
}

// override sets the headers that the request's response-* parameters ask for.
func override(c *Call, values map[string]*string) error {
	h := c.Writer.Header()
	for name, v := range values {
		if v == nil {
			continue
		}
		if c.Identity == nil {
			return iot.Errorf(iot.KindInvalid, "request", "Request specific response headers cannot be used for anonymous GET requests.")
		}
		h.Set(name, *v)
	}
	return nil
}

func (r *s3Rows) getObjectAttributes(ctx context.Context, c *Call, in *m.GetObjectAttributesInput) (*m.GetObjectAttributesOutput, error) {
	if err := c.Authorize(ctx, "s3:GetObject", s3ObjectARN(in.Bucket, in.Key), &s3Keys{call: c}); err != nil {
		return nil, err // S3 asks for both permissions
	}
	limit, err := pageSize("max-parts", in.MaxParts)
	if err != nil {
		return nil, err
	}
	get := &s3.GetInput{Key: deref(in.Key), HeadOnly: true, MaxParts: limit, AfterParts: int(deref(in.PartNumberMarker))}
	o, err := r.open(ctx, c, in.Bucket, in.VersionId, nil, nil, get)
	if err != nil {
		return nil, err
	}
	out := &m.GetObjectAttributesOutput{LastModified: new(o.Modified.Truncate(time.Second))}
	for _, line := range in.ObjectAttributes {
		for name := range strings.SplitSeq(line, ",") {
			switch strings.TrimSpace(name) {
			case "ETag":
				out.ETag = new(o.ETag)
			case "ObjectSize":
				out.ObjectSize = new(o.Size)
			case "StorageClass":
				out.StorageClass = new("STANDARD")
			case "Checksum":
				out.Checksum = checksumShape(o.Checksum)
			case "ObjectParts":
				out.ObjectParts = objectParts(o, get)
			default:
				return nil, iot.Errorf(iot.KindInvalid, "argument", "Invalid attribute name specified.")
			}
		}
	}
	return out, nil
}

// objectParts lists the parts of an object, nil for one that was put whole.
//
//nolint:gosec // numbers of parts are at most 10,000
func objectParts(o *s3.Object, get *s3.GetInput) *m.GetObjectAttributesParts {
	if o.Parts == 0 {
		return nil
	}
	out := &m.GetObjectAttributesParts{
		TotalPartsCount: new(int32(o.Parts)), MaxParts: new(int32(get.MaxParts)),
		PartNumberMarker: new(int32(get.AfterParts)), IsTruncated: &o.MoreParts,
	}
	for i := range o.PartList {
		p := &o.PartList[i]
		entry := m.ObjectPart{PartNumber: new(int32(p.Number)), Size: new(p.Size)}
		if sum := checksumShape(p.Checksum); sum != nil && p.Checksum.Algorithm == o.Checksum.Algorithm {
			entry.ChecksumCRC32, entry.ChecksumCRC32C, entry.ChecksumCRC64NVME = sum.ChecksumCRC32, sum.ChecksumCRC32C, sum.ChecksumCRC64NVME
			entry.ChecksumSHA1, entry.ChecksumSHA256 = sum.ChecksumSHA1, sum.ChecksumSHA256
		}
		out.Parts = append(out.Parts, entry)
		out.NextPartNumberMarker = entry.PartNumber
	}
	return out
}

func checksumShape(sum s3.Checksum) *m.Checksum {
	if sum.Algorithm == s3.AlgorithmNone {
		return nil
	}
	shape := &m.Checksum{ChecksumType: new(string(sum.Type))}
	v := &sum.Value
	switch sum.Algorithm {
	case s3.AlgorithmCRC32:
		shape.ChecksumCRC32 = v
	case s3.AlgorithmCRC32C:
		shape.ChecksumCRC32C = v
	case s3.AlgorithmCRC64NVME:
		shape.ChecksumCRC64NVME = v
	case s3.AlgorithmSHA1:
		shape.ChecksumSHA1 = v
	case s3.AlgorithmSHA256:
		shape.ChecksumSHA256 = v
	case s3.AlgorithmNone:
	}
	return shape
}
