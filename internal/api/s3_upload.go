package api

import (
	"context"
	"strconv"

	m "github.com/sekisho-iot/sekisho/internal/api/model/s3"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
	"github.com/sekisho-iot/sekisho/internal/s3"
)

func (r *s3Rows) uploadRows() []Operation {
	listUploads := op("ListMultipartUploads", "s3:ListBucketMultipartUploads",
		func(_ *Call, in *m.ListMultipartUploadsInput) string { return s3BucketARN(in.Bucket) }, r.listMultipartUploads)
	return []Operation{
		anonymously(s3op("CreateMultipartUpload", "PutObject", func(_ *Call, in *m.CreateMultipartUploadInput) string { return s3ObjectARN(in.Bucket, in.Key) }, r.createUpload)),
		anonymously(s3op("UploadPart", "PutObject", func(_ *Call, in *m.UploadPartInput) string { return s3ObjectARN(in.Bucket, in.Key) }, r.uploadPart)),
		s3op("UploadPartCopy", "PutObject", func(_ *Call, in *m.UploadPartCopyInput) string { return s3ObjectARN(in.Bucket, in.Key) }, r.uploadPartCopy),
		anonymously(s3op("CompleteMultipartUpload", "PutObject", func(_ *Call, in *m.CompleteMultipartUploadInput) string { return s3ObjectARN(in.Bucket, in.Key) }, r.completeUpload)),
		anonymously(s3op("AbortMultipartUpload", "AbortMultipartUpload", func(_ *Call, in *m.AbortMultipartUploadInput) string { return s3ObjectARN(in.Bucket, in.Key) }, r.abortUpload)),
		anonymously(s3op("ListParts", "ListMultipartUploadParts", func(_ *Call, in *m.ListPartsInput) string { return s3ObjectARN(in.Bucket, in.Key) }, r.listParts)),
		withKeys(listUploads, func(c *Call, in *m.ListMultipartUploadsInput) policy.Keys {
			return &s3Keys{call: c, list: &s3ListKeys{prefix: in.Prefix, delimiter: in.Delimiter}}
		}),
	}
}

func (r *s3Rows) createUpload(ctx context.Context, c *Call, in *m.CreateMultipartUploadInput) (*m.CreateMultipartUploadOutput, error) {
	if err := refuseUnsupported(c.HTTP.Header); err != nil {
		return nil, err
	}
	b, err := r.bucket(ctx, c, in.Bucket)
	if err != nil {
		return nil, err
	}
	create := &s3.CreateUploadInput{Bucket: b, Key: deref(in.Key), ChecksumType: s3.ChecksumType(deref(in.ChecksumType)), Headers: s3.Headers{
		ContentType: deref(in.ContentType), CacheControl: deref(in.CacheControl),
		ContentDisposition: deref(in.ContentDisposition), ContentEncoding: plainEncoding(in.ContentEncoding),
		ContentLanguage: deref(in.ContentLanguage), Expires: deref(in.Expires), Meta: in.Metadata,
	}}
	if a := deref(in.ChecksumAlgorithm); a != "" {
		if create.Algorithm, err = s3.ParseAlgorithm(a); err != nil {
			return nil, err
		}
	}
	u, err := r.svc.CreateUpload(ctx, create)
	if err != nil {
		return nil, err
	}
	out := &m.CreateMultipartUploadOutput{Bucket: &b.Name, Key: &u.Key, UploadId: &u.ID}
	if u.Algorithm != s3.AlgorithmNone {
		out.ChecksumAlgorithm, out.ChecksumType = new(string(u.Algorithm)), new(string(u.ChecksumType))
	}
	return out, nil
}

// uploadRef names an upload. It counts for its own bucket and key alone, which
// are what was authorised.
func (r *s3Rows) uploadRef(ctx context.Context, c *Call, bucket, key, id *string) (s3.UploadRef, error) {
	b, err := r.bucket(ctx, c, bucket)
	return s3.UploadRef{Bucket: b, Key: deref(key), ID: deref(id)}, err
}

func (r *s3Rows) uploadPart(ctx context.Context, c *Call, in *m.UploadPartInput) (*m.UploadPartOutput, error) {
	if err := refuseUnsupported(c.HTTP.Header); err != nil {
		return nil, err
	}
	ref, err := r.uploadRef(ctx, c, in.Bucket, in.Key, in.UploadId)
	if err != nil {
		return nil, err
	}
	put := &s3.PutPartInput{UploadRef: ref, Number: int(deref(in.PartNumber))}
	if put.Content, err = content(c); err != nil {
		return nil, err
	}
	p, err := r.svc.UploadPart(ctx, put)
	if err != nil {
		return nil, err
	}
	if p.Checksum.Algorithm != s3.AlgorithmNone {
		c.Writer.Header().Set(checksumPrefix+string(p.Checksum.Algorithm), p.Checksum.Value)
	}
	return &m.UploadPartOutput{ETag: quoted(p.ETag)}, nil
}

func (r *s3Rows) completeUpload(ctx context.Context, c *Call, in *m.CompleteMultipartUploadInput) (*m.CompleteMultipartUploadOutput, error) {
	ref, err := r.uploadRef(ctx, c, in.Bucket, in.Key, in.UploadId)
	if err != nil {
		return nil, err
	}
	complete := &s3.CompleteInput{UploadRef: ref, Size: -1, BeforeCommit: c.Recheck, Origin: origin(c, nil)}
	if complete.If, err = writeConditions(in.IfMatch, in.IfNoneMatch); err != nil {
		return nil, err
	}
	if in.MpuObjectSize != nil {
		if complete.Size = *in.MpuObjectSize; complete.Size < 0 {
			return nil, iot.Errorf(iot.KindInvalid, "request", "Value for x-amz-mp-object-size header is invalid.")
		}
	}
	complete.Checksum = oneChecksum(in.ChecksumCRC32, in.ChecksumCRC32C, in.ChecksumCRC64NVME, in.ChecksumSHA1, in.ChecksumSHA256)
	complete.Checksum.Type = s3.ChecksumType(deref(in.ChecksumType))
	if in.MultipartUpload != nil {
		for i := range in.MultipartUpload.Parts {
			p := &in.MultipartUpload.Parts[i]
			complete.Parts = append(complete.Parts, s3.CompletePart{
				Number: int(deref(p.PartNumber)), ETag: deref(p.ETag),
				Checksum: oneChecksum(p.ChecksumCRC32, p.ChecksumCRC32C, p.ChecksumCRC64NVME, p.ChecksumSHA1, p.ChecksumSHA256),
			})
		}
	}
	info, err := r.svc.CompleteUpload(ctx, complete)
	if err != nil {
		return nil, err
	}
	out := &m.CompleteMultipartUploadOutput{
		Location: new(location(c, ref)), Bucket: &ref.Bucket.Name, Key: &ref.Key, ETag: quoted(info.ETag),
	}
	if sum := checksumShape(info.Checksum); sum != nil {
		out.ChecksumCRC32, out.ChecksumCRC32C, out.ChecksumCRC64NVME = sum.ChecksumCRC32, sum.ChecksumCRC32C, sum.ChecksumCRC64NVME
		out.ChecksumSHA1, out.ChecksumSHA256, out.ChecksumType = sum.ChecksumSHA1, sum.ChecksumSHA256, sum.ChecksumType
	}
	return out, nil
}

// location is the object's URL as the client could ask for it.
func location(c *Call, ref s3.UploadRef) string {
	scheme := "http://"
	if c.HTTP.TLS != nil {
		scheme = "https://"
	}
	if _, virtual := c.handler.BucketFromHost(c.HTTP.Host); virtual {
		return scheme + c.HTTP.Host + "/" + escapeKey(ref.Key)
	}
	return scheme + c.HTTP.Host + "/" + ref.Bucket.Name + "/" + escapeKey(ref.Key)
}

// oneChecksum returns the checksum that was given, in the order of the model's members.
func oneChecksum(values ...*string) s3.Checksum {
	for i, a := range []s3.Algorithm{
		s3.AlgorithmCRC32, s3.AlgorithmCRC32C, s3.AlgorithmCRC64NVME, s3.AlgorithmSHA1, s3.AlgorithmSHA256,
	} {
		if values[i] != nil {
			return s3.Checksum{Algorithm: a, Value: *values[i]}
		}
	}
	return s3.Checksum{}
}

func (r *s3Rows) abortUpload(ctx context.Context, c *Call, in *m.AbortMultipartUploadInput) (*m.AbortMultipartUploadOutput, error) {
	ref, err := r.uploadRef(ctx, c, in.Bucket, in.Key, in.UploadId)
	if err != nil {
		return nil, err
	}
	if err := r.svc.AbortUpload(ctx, ref, origin(c, nil)); err != nil {
		return nil, err
	}
	return &m.AbortMultipartUploadOutput{}, nil
}

func (r *s3Rows) listParts(ctx context.Context, c *Call, in *m.ListPartsInput) (*m.ListPartsOutput, error) {
	limit, err := pageSize("max-parts", in.MaxParts)
	if err != nil {
		return nil, err
	}
	after := int(deref(in.PartNumberMarker))
	if after < 0 {
		return nil, iot.Errorf(iot.KindInvalid, "argument", "Argument part-number-marker must be an integer between 0 and 2147483647")
	}
	ref, err := r.uploadRef(ctx, c, in.Bucket, in.Key, in.UploadId)
	if err != nil {
		return nil, err
	}
	page, err := r.svc.ListParts(ctx, &s3.ListPartsInput{UploadRef: ref, After: after, Max: limit})
	if err != nil {
		return nil, err
	}
	out := &m.ListPartsOutput{
		Bucket: &ref.Bucket.Name, Key: &ref.Key, UploadId: &ref.ID, PartNumberMarker: new(int32(after)), //nolint:gosec // came as one
		MaxParts: new(int32(limit)), IsTruncated: &page.Truncated, StorageClass: new("STANDARD"), //nolint:gosec // at most 1000
		Owner: owner(c), Initiator: &m.Initiator{ID: ownerID(c.Account)},
	}
	if page.Upload.Algorithm != s3.AlgorithmNone {
		out.ChecksumAlgorithm, out.ChecksumType = new(string(page.Upload.Algorithm)), new(string(page.Upload.ChecksumType))
	}
	for i := range page.Parts {
		p := &page.Parts[i]
		entry := m.Part{PartNumber: new(int32(p.Number)), LastModified: new(p.Modified), ETag: quoted(p.ETag), Size: new(p.Size)} //nolint:gosec // at most 10,000
		if sum := checksumShape(p.Checksum); sum != nil {
			entry.ChecksumCRC32, entry.ChecksumCRC32C, entry.ChecksumCRC64NVME = sum.ChecksumCRC32, sum.ChecksumCRC32C, sum.ChecksumCRC64NVME
			entry.ChecksumSHA1, entry.ChecksumSHA256 = sum.ChecksumSHA1, sum.ChecksumSHA256
		}
		out.Parts = append(out.Parts, entry)
		out.NextPartNumberMarker = entry.PartNumber
	}
	return out, nil
}

// partCopyRange reads x-amz-copy-source-range, of which only bytes=first-last is allowed.
func partCopyRange(s *string) (*s3.Range, error) {
	if s == nil {
		return nil, nil //nolint:nilnil // no range is an answer
	}
	r := parseRange(*s)
	if r == nil || r.IsSuffix || r.Last < 0 {
		return nil, iot.Errorf(iot.KindInvalid, "argument",
			"The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy")
	}
	return r, nil
}

func (r *s3Rows) uploadPartCopy(ctx context.Context, c *Call, in *m.UploadPartCopyInput) (*m.UploadPartCopyOutput, error) {
	if err := refuseUnsupported(c.HTTP.Header); err != nil {
		return nil, err
	}
	ref, err := r.uploadRef(ctx, c, in.Bucket, in.Key, in.UploadId)
	if err != nil {
		return nil, err
	}
	asked, err := partCopyRange(in.CopySourceRange)
	if err != nil {
		return nil, err
	}
	from, key, err := r.copySource(ctx, c, in.CopySource)
	if err != nil {
		return nil, err
	}
	o, err := r.svc.GetObject(ctx, &s3.GetInput{
		Bucket: from, Key: key, Range: asked,
		If: readConditions(in.CopySourceIfMatch, in.CopySourceIfNoneMatch, in.CopySourceIfModifiedSince, in.CopySourceIfUnmodifiedSince),
	})
	if err != nil {
		return nil, r.copyRefusal(ctx, c, from, err)
	}
	defer o.Body.Close() //nolint:errcheck // it is only read
	if asked != nil && asked.Last >= o.Size {
		return nil, iot.Errorf(iot.KindInvalid, "argument", "Range specified is not valid for source object of size: %s", strconv.FormatInt(o.Size, 10))
	}
	p, err := r.svc.UploadPart(ctx, &s3.PutPartInput{
		UploadRef: ref, Number: int(deref(in.PartNumber)),
		Content: s3.Content{Body: o.Body, Size: o.Length, BeforeCommit: c.Recheck},
	})
	if err != nil {
		return nil, err
	}
	result := &m.CopyPartResult{ETag: quoted(p.ETag), LastModified: new(p.Modified)}
	if sum := checksumShape(p.Checksum); sum != nil {
		result.ChecksumCRC32, result.ChecksumCRC32C, result.ChecksumCRC64NVME = sum.ChecksumCRC32, sum.ChecksumCRC32C, sum.ChecksumCRC64NVME
		result.ChecksumSHA1, result.ChecksumSHA256 = sum.ChecksumSHA1, sum.ChecksumSHA256
	}
	return &m.UploadPartCopyOutput{CopyPartResult: result}, nil
}
