package api

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	m "github.com/sekisho-iot/sekisho/internal/api/model/s3"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/s3"
)

// copySource finds the bucket and key that x-amz-copy-source names, and checks
// that the caller may read that object.
func (r *s3Rows) copySource(ctx context.Context, c *Call, source *string) (*s3.Bucket, string, error) {
	text, query, _ := strings.Cut(deref(source), "?")
	if version, ok := strings.CutPrefix(query, "versionId="); ok && version != "null" || query != "" && !ok {
		return nil, "", iot.Errorf(iot.KindInvalid, "argument", "Invalid version id specified")
	}
	path, err := url.PathUnescape(text)
	name, key, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if err != nil || !ok || key == "" || strings.HasPrefix(path, "arn:") {
		return nil, "", iot.Errorf(iot.KindInvalid, "argument", "Invalid copy source object key")
	}
	resource := s3ObjectARN(&name, &key)
	if err := c.Authorize(ctx, "s3:GetObject", resource, &s3Keys{call: c}); err != nil {
		return nil, "", err
	}
	if owner := c.HTTP.Header.Get("X-Amz-Source-Expected-Bucket-Owner"); owner != "" && owner != string(c.Account) {
		return nil, "", iot.Errorf(iot.KindDenied, "", "The bucket belongs to another account than the expected one")
	}
	b, err := r.svc.Bucket(ctx, name)
	return b, key, err
}

// copyRefusal words a refused read of a copy's source: a copy knows no 304, and
// a missing key is told to those who may list the bucket.
func (r *s3Rows) copyRefusal(ctx context.Context, c *Call, from *s3.Bucket, err error) error {
	switch {
	case iot.IsKind(err, iot.KindNotModified):
		return &iot.Error{
			Kind: iot.KindPrecondition, Resource: "object", Err: err,
			Message: "At least one of the pre-conditions you specified did not hold",
		}
	case iot.IsKind(err, iot.KindNotFound):
		if denied := c.Authorize(ctx, "s3:ListBucket", from.ARN(), &s3Keys{call: c}); denied != nil {
			return denied
		}
	}
	return err
}

func (r *s3Rows) copyObject(ctx context.Context, c *Call, in *m.CopyObjectInput) (*m.CopyObjectOutput, error) {
	if err := refuseUnsupported(c.HTTP.Header); err != nil {
		return nil, err
	}
	b, err := r.bucket(ctx, c, in.Bucket)
	if err != nil {
		return nil, err
	}
	copied := &s3.CopyInput{
		Bucket: b, Key: deref(in.Key), BeforeCommit: c.Recheck,
		FromIf: readConditions(in.CopySourceIfMatch, in.CopySourceIfNoneMatch, in.CopySourceIfModifiedSince, in.CopySourceIfUnmodifiedSince),
	}
	if copied.If, err = writeConditions(in.IfMatch, in.IfNoneMatch); err != nil {
		return nil, err
	}
	if a := deref(in.ChecksumAlgorithm); a != "" {
		if copied.Algorithm, err = s3.ParseAlgorithm(a); err != nil {
			return nil, err
		}
	}
	if copied.From, copied.FromKey, err = r.copySource(ctx, c, in.CopySource); err != nil {
		return nil, err
	}
	if err := copyHeaders(copied, in); err != nil {
		return nil, err
	}
	info, err := r.svc.CopyObject(ctx, copied)
	if err != nil {
		return nil, r.copyRefusal(ctx, c, copied.From, err)
	}
	result := &m.CopyObjectResult{ETag: quoted(info.ETag), LastModified: new(info.Modified)}
	if sum := checksumShape(info.Checksum); sum != nil {
		result.ChecksumCRC32, result.ChecksumCRC32C, result.ChecksumCRC64NVME = sum.ChecksumCRC32, sum.ChecksumCRC32C, sum.ChecksumCRC64NVME
		result.ChecksumSHA1, result.ChecksumSHA256, result.ChecksumType = sum.ChecksumSHA1, sum.ChecksumSHA256, sum.ChecksumType
	}
	return &m.CopyObjectOutput{CopyObjectResult: result}, nil
}

// copyHeaders sets the headers that a copy gets, where it does not keep the source's.
func copyHeaders(copied *s3.CopyInput, in *m.CopyObjectInput) error {
	switch deref(in.TaggingDirective) {
	case "", "COPY":
	case "REPLACE": // what it would replace them with was refused
	default:
		return iot.Errorf(iot.KindInvalid, "argument", "Unknown tagging directive.")
	}
	switch deref(in.MetadataDirective) {
	case "", "COPY":
		if copied.From.ID == copied.Bucket.ID && copied.FromKey == copied.Key {
			return iot.Errorf(iot.KindInvalid, "request", "This copy request is illegal because it is trying to copy an object to itself "+
				"without changing the object's metadata, storage class, website redirect location or encryption attributes.")
		}
	case "REPLACE":
		copied.Headers = &s3.Headers{
			ContentType: deref(in.ContentType), CacheControl: deref(in.CacheControl),
			ContentDisposition: deref(in.ContentDisposition), ContentEncoding: plainEncoding(in.ContentEncoding),
			ContentLanguage: deref(in.ContentLanguage), Expires: deref(in.Expires), Meta: in.Metadata,
		}
	default:
		return iot.Errorf(iot.KindInvalid, "argument", "Unknown metadata directive.")
	}
	return nil
}

func (r *s3Rows) deleteObject(ctx context.Context, c *Call, in *m.DeleteObjectInput) (*m.DeleteObjectOutput, error) {
	b, err := r.bucket(ctx, c, in.Bucket)
	if err != nil {
		return nil, err
	}
	if err := checkVersion(in.VersionId); err != nil {
		return nil, err
	}
	if in.IfMatchLastModifiedTime != nil || in.IfMatchSize != nil {
		return nil, errNoTimeConditions()
	}
	if err := mayCompare(ctx, c, b, in.Key, in.IfMatch); err != nil {
		return nil, err
	}
	if err := r.svc.DeleteObject(ctx, &s3.DeleteInput{Bucket: b, Key: deref(in.Key), If: s3.WriteConditions{IfMatch: deref(in.IfMatch)}}); err != nil {
		return nil, err
	}
	return &m.DeleteObjectOutput{}, nil
}

// mayCompare checks that the caller may learn an ETag, as the answer to a
// condition on it tells; that an object exists at all is for who may delete it.
//
// Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-deletes.html
func mayCompare(ctx context.Context, c *Call, b *s3.Bucket, key, etag *string) error {
	if deref(etag) == "" || deref(etag) == "*" {
		return nil
	}
	return c.Authorize(ctx, "s3:GetObject", s3ObjectARN(&b.Name, key), &s3Keys{call: c})
}

// maxDelete is how many keys one DeleteObjects may name.
const maxDelete = 1000

func (r *s3Rows) deleteObjects(ctx context.Context, c *Call, in *m.DeleteObjectsInput) (*m.DeleteObjectsOutput, error) {
	if n := len(in.Delete.Objects); n == 0 || n > maxDelete {
		return nil, iot.Errorf(iot.KindInvalid, "xml", "The XML you provided was not well-formed or did not validate against our published schema")
	}
	b, err := r.bucket(ctx, c, in.Bucket)
	if err != nil {
		return nil, err
	}
	refusals := make([]error, len(in.Delete.Objects))
	for i := range in.Delete.Objects {
		o := &in.Delete.Objects[i]
		refusals[i] = c.Authorize(ctx, "s3:DeleteObject", s3ObjectARN(&b.Name, o.Key), &s3Keys{call: c})
		if refusals[i] == nil {
			refusals[i] = mayCompare(ctx, c, b, o.Key, o.ETag)
		}
	}
	r.deleteAllowed(ctx, b, in.Delete.Objects, refusals)
	out := &m.DeleteObjectsOutput{}
	for i := range in.Delete.Objects {
		o := &in.Delete.Objects[i]
		switch {
		case refusals[i] != nil:
			e, callers := c.handler.errors.describe(c.service.Service, c.HTTP, refusals[i])
			if !callers {
				c.handler.log.ErrorContext(ctx, "deletion failed", "request_id", c.RequestID, "error", refusals[i])
			}
			out.Errors = append(out.Errors, m.Error{Key: o.Key, VersionId: o.VersionId, Code: &e.Code, Message: &e.Message})
		case !deref(in.Delete.Quiet):
			out.Deleted = append(out.Deleted, m.DeletedObject{Key: o.Key, VersionId: o.VersionId})
		}
	}
	return out, nil
}

// deleteAllowed deletes every object without a refusal, several at a time so
// that they share commits, and notes the refusals that come up.
func (r *s3Rows) deleteAllowed(ctx context.Context, b *s3.Bucket, objects []m.ObjectIdentifier, refusals []error) {
	const workers = 32
	var next atomic.Int64
	var group sync.WaitGroup
	for range min(workers, len(objects)) {
		group.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(objects) {
					return
				}
				if refusals[i] == nil {
					refusals[i] = r.deleteOne(ctx, b, &objects[i])
				}
			}
		})
	}
	group.Wait()
}

func (r *s3Rows) deleteOne(ctx context.Context, b *s3.Bucket, o *m.ObjectIdentifier) error {
	if err := checkVersion(o.VersionId); err != nil {
		return err
	}
	if o.LastModifiedTime != nil || o.Size != nil {
		return errNoTimeConditions()
	}
	return r.svc.DeleteObject(ctx, &s3.DeleteInput{Bucket: b, Key: deref(o.Key), If: s3.WriteConditions{IfMatch: deref(o.ETag)}})
}

func errNoTimeConditions() error {
	return refuse("NotImplemented", http.StatusNotImplemented,
		"Conditions on time and size are for directory buckets, which are not implemented.")
}
