package api

import (
	"context"
	"encoding/base64"
	"strings"
	"time"

	m "github.com/sekisho-iot/sekisho/internal/api/model/s3"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
	"github.com/sekisho-iot/sekisho/internal/s3"
)

// withListKeys is s3op for listings, whose parameters are condition keys.
func withListKeys[In, Out any](name, action string, keys func(*In) (*string, s3ListKeys), handle func(context.Context, *Call, *In) (*Out, error)) Operation {
	row := op(name, "s3:"+action, func(_ *Call, in *In) string {
		bucket, _ := keys(in)
		return s3BucketARN(bucket)
	}, handle)
	return withKeys(row, func(c *Call, in *In) policy.Keys {
		_, list := keys(in)
		return &s3Keys{call: c, list: &list}
	})
}

// encodeToken makes a token of the name that a page ended with.
func encodeToken(last string) *string {
	return new(base64.RawURLEncoding.EncodeToString([]byte("1" + last)))
}

func decodeToken(token *string) (string, error) {
	if token == nil {
		return "", nil
	}
	b, err := base64.RawURLEncoding.DecodeString(*token)
	if err != nil || len(b) < 2 || b[0] != '1' || len(b) > s3.MaxKey+1 {
		return "", iot.Errorf(iot.KindInvalid, "argument", "The continuation token provided is incorrect")
	}
	return string(b[1:]), nil
}

// pageSize reads max-keys and its kin.
func pageSize(name string, asked *int32) (int, error) {
	if asked == nil {
		return s3.MaxList, nil
	}
	if *asked < 0 {
		return 0, iot.Errorf(iot.KindInvalid, "argument", "Argument %s must be an integer between 0 and 2147483647", name)
	}
	return min(int(*asked), s3.MaxList), nil
}

// listEncoder renders keys as encoding-type asks for.
type listEncoder struct{ url bool }

func newListEncoder(kind *string) (listEncoder, error) {
	switch deref(kind) {
	case "":
		return listEncoder{}, nil
	case "url":
		return listEncoder{url: true}, nil
	}
	return listEncoder{}, iot.Errorf(iot.KindInvalid, "argument", "Invalid Encoding Method specified in Request")
}

func (e listEncoder) text(s string) *string {
	if e.url {
		s = escapeKey(s)
	}
	return &s
}

func (e listEncoder) optional(s *string) *string {
	if s == nil {
		return nil
	}
	return e.text(*s)
}

// escapeKey percent-encodes all but what RFC 3986 leaves unreserved, and slashes.
func escapeKey(s string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.~/*", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(digits[c>>4])
		b.WriteByte(digits[c&15])
	}
	return b.String()
}

func (e listEncoder) objects(list []s3.Info, owner *m.Owner) []m.Object {
	out := make([]m.Object, len(list))
	for i := range list {
		o := &list[i]
		out[i] = m.Object{
			Key: e.text(o.Key), LastModified: new(o.Modified), ETag: quoted(o.ETag), Size: new(o.Size),
			StorageClass: new("STANDARD"), Owner: owner,
		}
		if o.Checksum.Algorithm != s3.AlgorithmNone {
			out[i].ChecksumAlgorithm = []string{string(o.Checksum.Algorithm)}
			out[i].ChecksumType = new(string(o.Checksum.Type))
		}
	}
	return out
}

func (e listEncoder) prefixes(list []string) []m.CommonPrefix {
	out := make([]m.CommonPrefix, len(list))
	for i, p := range list {
		out[i].Prefix = e.text(p)
	}
	return out
}

func (r *s3Rows) listObjects(ctx context.Context, c *Call, in *m.ListObjectsInput) (*m.ListObjectsOutput, error) {
	limit, err := pageSize("max-keys", in.MaxKeys)
	if err != nil {
		return nil, err
	}
	e, err := newListEncoder(in.EncodingType)
	if err != nil {
		return nil, err
	}
	b, err := r.bucket(ctx, c, in.Bucket)
	if err != nil {
		return nil, err
	}
	page, err := r.svc.ListObjects(ctx, &s3.ListInput{
		Bucket: b, Prefix: deref(in.Prefix), Delimiter: deref(in.Delimiter), After: deref(in.Marker), Max: limit,
	})
	if err != nil {
		return nil, err
	}
	out := &m.ListObjectsOutput{
		IsTruncated: &page.Truncated, Name: &b.Name, Prefix: e.text(deref(in.Prefix)), Marker: e.text(deref(in.Marker)),
		MaxKeys: new(int32(limit)), EncodingType: in.EncodingType, //nolint:gosec // at most 1000
		Contents: e.objects(page.Objects, owner(c)), CommonPrefixes: e.prefixes(page.Prefixes),
	}
	if deref(in.Delimiter) != "" {
		out.Delimiter = e.optional(in.Delimiter)
		if page.Truncated { // without a delimiter the last key is the marker
			out.NextMarker = e.text(page.Next)
		}
	}
	return out, nil
}

func (r *s3Rows) listObjectsV2(ctx context.Context, c *Call, in *m.ListObjectsV2Input) (*m.ListObjectsV2Output, error) {
	limit, err := pageSize("max-keys", in.MaxKeys)
	if err != nil {
		return nil, err
	}
	e, err := newListEncoder(in.EncodingType)
	if err != nil {
		return nil, err
	}
	after, err := decodeToken(in.ContinuationToken)
	if err != nil {
		return nil, err
	}
	if after == "" {
		after = deref(in.StartAfter)
	}
	b, err := r.bucket(ctx, c, in.Bucket)
	if err != nil {
		return nil, err
	}
	page, err := r.svc.ListObjects(ctx, &s3.ListInput{
		Bucket: b, Prefix: deref(in.Prefix), Delimiter: deref(in.Delimiter), After: after, Max: limit,
	})
	if err != nil {
		return nil, err
	}
	var who *m.Owner
	if deref(in.FetchOwner) {
		who = owner(c)
	}
	out := &m.ListObjectsV2Output{
		IsTruncated: &page.Truncated, Name: &b.Name, Prefix: e.text(deref(in.Prefix)), StartAfter: e.optional(in.StartAfter),
		MaxKeys: new(int32(limit)), EncodingType: in.EncodingType, ContinuationToken: in.ContinuationToken, //nolint:gosec // at most 1000
		KeyCount: new(int32(len(page.Objects) + len(page.Prefixes))), //nolint:gosec // at most 1000
		Contents: e.objects(page.Objects, who), CommonPrefixes: e.prefixes(page.Prefixes),
	}
	if deref(in.Delimiter) != "" {
		out.Delimiter = e.optional(in.Delimiter)
	}
	if page.Truncated {
		out.NextContinuationToken = encodeToken(page.Next)
	}
	return out, nil
}

// listObjectVersions lists every object as its only version, called null.
func (r *s3Rows) listObjectVersions(ctx context.Context, c *Call, in *m.ListObjectVersionsInput) (*m.ListObjectVersionsOutput, error) {
	limit, err := pageSize("max-keys", in.MaxKeys)
	if err != nil {
		return nil, err
	}
	e, err := newListEncoder(in.EncodingType)
	if err != nil {
		return nil, err
	}
	b, err := r.bucket(ctx, c, in.Bucket)
	if err != nil {
		return nil, err
	}
	page, err := r.svc.ListObjects(ctx, &s3.ListInput{
		Bucket: b, Prefix: deref(in.Prefix), Delimiter: deref(in.Delimiter), After: deref(in.KeyMarker), Max: limit,
	})
	if err != nil {
		return nil, err
	}
	out := &m.ListObjectVersionsOutput{
		IsTruncated: &page.Truncated, Name: &b.Name, Prefix: e.text(deref(in.Prefix)), KeyMarker: e.text(deref(in.KeyMarker)),
		VersionIdMarker: new(deref(in.VersionIdMarker)), MaxKeys: new(int32(limit)), EncodingType: in.EncodingType, //nolint:gosec // at most 1000
		CommonPrefixes: e.prefixes(page.Prefixes),
	}
	if deref(in.Delimiter) != "" {
		out.Delimiter = e.optional(in.Delimiter)
	}
	if page.Truncated {
		out.NextKeyMarker, out.NextVersionIdMarker = e.text(page.Next), new("null")
	}
	for i := range page.Objects {
		o := &page.Objects[i]
		out.Versions = append(out.Versions, m.ObjectVersion{
			Key: e.text(o.Key), VersionId: new("null"), IsLatest: new(true), LastModified: new(o.Modified),
			ETag: quoted(o.ETag), Size: new(o.Size), StorageClass: new("STANDARD"), Owner: owner(c),
		})
	}
	return out, nil
}

func (r *s3Rows) listMultipartUploads(ctx context.Context, c *Call, in *m.ListMultipartUploadsInput) (*m.ListMultipartUploadsOutput, error) {
	limit, err := pageSize("max-uploads", in.MaxUploads)
	if err != nil {
		return nil, err
	}
	e, err := newListEncoder(in.EncodingType)
	if err != nil {
		return nil, err
	}
	b, err := r.bucket(ctx, c, in.Bucket)
	if err != nil {
		return nil, err
	}
	page, err := r.svc.ListUploads(ctx, &s3.ListUploadsInput{
		Bucket: b, Prefix: deref(in.Prefix), Delimiter: deref(in.Delimiter),
		After: deref(in.KeyMarker), AfterID: deref(in.UploadIdMarker), Max: limit,
	})
	if err != nil {
		return nil, err
	}
	out := &m.ListMultipartUploadsOutput{
		Bucket: &b.Name, KeyMarker: e.text(deref(in.KeyMarker)), UploadIdMarker: new(deref(in.UploadIdMarker)),
		Prefix: e.text(deref(in.Prefix)), MaxUploads: new(int32(limit)), EncodingType: in.EncodingType, //nolint:gosec // at most 1000
		IsTruncated: &page.Truncated, CommonPrefixes: e.prefixes(page.Prefixes),
	}
	if deref(in.Delimiter) != "" {
		out.Delimiter = e.optional(in.Delimiter)
	}
	if page.Truncated {
		out.NextKeyMarker, out.NextUploadIdMarker = e.text(page.NextKey), &page.NextID
	}
	for i := range page.Uploads {
		u := &page.Uploads[i]
		entry := m.MultipartUpload{
			Key: e.text(u.Key), UploadId: &u.ID, Initiated: new(u.Initiated.Truncate(time.Millisecond)), StorageClass: new("STANDARD"),
			Owner: owner(c), Initiator: &m.Initiator{ID: ownerID(c.Account)},
		}
		if u.Algorithm != s3.AlgorithmNone {
			entry.ChecksumAlgorithm, entry.ChecksumType = new(string(u.Algorithm)), new(string(u.ChecksumType))
		}
		out.Uploads = append(out.Uploads, entry)
	}
	return out, nil
}
