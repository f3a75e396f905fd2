package api_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// withHeader adds a header that the SDK has no member for, unsigned as a proxy would.
func withHeader(name, value string) func(*s3.Options) {
	return s3.WithAPIOptions(smithyhttp.AddHeaderValue(name, value))
}

// withBody sends another body than the SDK would.
func withBody(body string) func(*s3.Options) {
	return s3.WithAPIOptions(func(stack *middleware.Stack) error {
		return stack.Serialize.Add(middleware.SerializeMiddlewareFunc("Body", func(ctx context.Context, in middleware.SerializeInput, next middleware.SerializeHandler) (middleware.SerializeOutput, middleware.Metadata, error) {
			r, err := in.Request.(*smithyhttp.Request).SetStream(strings.NewReader(body))
			if err != nil {
				return middleware.SerializeOutput{}, middleware.Metadata{}, err
			}
			in.Request = r
			return next.HandleSerialize(ctx, in)
		}), middleware.After)
	})
}

func TestS3DocumentsOfAnotherKind(t *testing.T) {
	t.Parallel()
	s := newS3Server(t, "us-east-1")
	c, ctx := s.bucket(t, "bucket"), t.Context()
	must[*s3.PutObjectOutput](t)(c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k"), Body: strings.NewReader("x")}))
	in := &s3.DeleteObjectsInput{Bucket: aws.String("bucket"), Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: aws.String("k")}}}}
	_, err := c.DeleteObjects(ctx, in, withBody("<Keep><Object><Key>k</Key></Object></Keep>"))
	wantError(t, "DeleteObjects", err, 400, "MalformedXML")
	_, err = c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("other")}, withBody("<Other/>"))
	wantError(t, "CreateBucket", err, 400, "MalformedXML")
	out := must[*s3.DeleteObjectsOutput](t)(c.DeleteObjects(ctx, in, withBody("<Delete><Object><Key>k</Key></Object></Delete>")))
	if len(out.Deleted) != 1 {
		t.Errorf("without a namespace: %+v", out)
	}
}

func TestS3IfRange(t *testing.T) {
	t.Parallel()
	s := newS3Server(t, "us-east-1")
	c, ctx := s.bucket(t, "bucket"), t.Context()
	in := &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k"), Range: aws.String("bytes=1-2")}
	put := must[*s3.PutObjectOutput](t)(c.PutObject(ctx, &s3.PutObjectInput{Bucket: in.Bucket, Key: in.Key, Body: strings.NewReader("0123")}))
	head := must[*s3.HeadObjectOutput](t)(c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: in.Bucket, Key: in.Key}))
	for condition, want := range map[string]string{
		*put.ETag: "12", `"other"`: "0123", "W/" + *put.ETag: "0123", "nonsense": "0123",
		head.LastModified.UTC().Format(http.TimeFormat): "12", "Thu, 01 Jan 1970 00:00:00 GMT": "0123",
	} {
		o := must[*s3.GetObjectOutput](t)(c.GetObject(ctx, in, withHeader("If-Range", condition)))
		if got := readAll(t, o.Body); got != want || (o.ContentRange != nil) != (want == "12") {
			t.Errorf("%s: %s", condition, got)
		}
	}
}

func TestS3PartsOfObjects(t *testing.T) {
	t.Parallel()
	s := newS3Server(t, "us-east-1")
	c, ctx := s.bucket(t, "bucket"), t.Context()
	bucket, key := aws.String("bucket"), aws.String("k")
	u := must[*s3.CreateMultipartUploadOutput](t)(c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: bucket, Key: key, ChecksumAlgorithm: types.ChecksumAlgorithmCrc32,
	}))
	var parts []types.CompletedPart
	for i, body := range []string{strings.Repeat("a", 5<<20), strings.Repeat("b", 5<<20), "c"} {
		n := aws.Int32(int32(2*i + 1))
		p := must[*s3.UploadPartOutput](t)(c.UploadPart(ctx, &s3.UploadPartInput{
			Bucket: bucket, Key: key, UploadId: u.UploadId, PartNumber: n, Body: strings.NewReader(body), ChecksumAlgorithm: types.ChecksumAlgorithmCrc32,
		}))
		parts = append(parts, types.CompletedPart{PartNumber: n, ETag: p.ETag, ChecksumCRC32: p.ChecksumCRC32})
	}
	must[*s3.CompleteMultipartUploadOutput](t)(c.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: bucket, Key: key, UploadId: u.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	}))
	page := func(most *int32, after *string) *types.GetObjectAttributesParts {
		return must[*s3.GetObjectAttributesOutput](t)(c.GetObjectAttributes(ctx, &s3.GetObjectAttributesInput{
			Bucket: bucket, Key: key, MaxParts: most, PartNumberMarker: after, ObjectAttributes: []types.ObjectAttributes{types.ObjectAttributesObjectParts},
		})).ObjectParts
	}
	all := page(nil, nil)
	if *all.TotalPartsCount != 3 || *all.IsTruncated || len(all.Parts) != 3 || *all.MaxParts != 1000 {
		t.Errorf("all: %+v", all)
	}
	for i, p := range all.Parts {
		if *p.PartNumber != *parts[i].PartNumber || *p.ChecksumCRC32 != *parts[i].ChecksumCRC32 || *p.Size != [...]int64{5 << 20, 5 << 20, 1}[i] {
			t.Errorf("part %d: %+v", i, p)
		}
	}
	first := page(aws.Int32(2), nil)
	if !*first.IsTruncated || len(first.Parts) != 2 || *first.NextPartNumberMarker != "3" {
		t.Errorf("first page: %+v", first)
	}
	last := page(aws.Int32(2), first.NextPartNumberMarker)
	if *last.IsTruncated || len(last.Parts) != 1 || *last.Parts[0].PartNumber != 5 || *last.PartNumberMarker != "3" {
		t.Errorf("last page: %+v", last)
	}
	part := must[*s3.GetObjectOutput](t)(c.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: key, PartNumber: aws.Int32(5), ChecksumMode: types.ChecksumModeEnabled}))
	if readAll(t, part.Body) != "c" || *part.PartsCount != 3 || aws.ToString(part.ChecksumCRC32) != *parts[2].ChecksumCRC32 || part.ChecksumType != types.ChecksumTypeComposite {
		t.Errorf("part 5: %+v", part)
	}
}

func TestS3HeadersOfWrites(t *testing.T) {
	t.Parallel()
	s := newS3Server(t, "us-east-1")
	c, ctx := s.bucket(t, "bucket"), t.Context()
	bucket, key := aws.String("bucket"), aws.String("k")
	_, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: key, Body: strings.NewReader("x")}, withHeader("Content-Md5", ""))
	wantError(t, "empty Content-MD5", err, 400, "InvalidDigest")
	for sent, want := range map[string]string{"gzip": "gzip", "deflate, gzip": "deflate, gzip", "aws-chunked,gzip": "gzip", "aws-chunked": ""} {
		must[*s3.PutObjectOutput](t)(c.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: key, Body: strings.NewReader("x"), ContentEncoding: &sent}))
		o := must[*s3.HeadObjectOutput](t)(c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: bucket, Key: key}))
		if got := aws.ToString(o.ContentEncoding); got != want {
			t.Errorf("Content-Encoding %q is kept as %q", sent, got)
		}
	}
}

func TestS3ConditionalDeletesNeedGetObject(t *testing.T) {
	t.Parallel()
	s := newS3Server(t, "us-east-1")
	root, ctx := s.bucket(t, "bucket"), t.Context()
	bucket, key := aws.String("bucket"), aws.String("k")
	put := must[*s3.PutObjectOutput](t)(root.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: key, Body: strings.NewReader("x")}))
	c := s.client(t, s.plain, "deleter", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:DeleteObject","Resource":"arn:aws:s3:::bucket/*"}}`)
	for _, etag := range []*string{put.ETag, aws.String(`"other"`)} {
		_, err := c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: key, IfMatch: etag})
		wantError(t, "delete if "+*etag, err, 403, "AccessDenied")
		out := must[*s3.DeleteObjectsOutput](t)(c.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: bucket, Delete: &types.Delete{
			Objects: []types.ObjectIdentifier{{Key: key, ETag: etag}},
		}}))
		if len(out.Errors) != 1 || *out.Errors[0].Code != "AccessDenied" {
			t.Errorf("delete many if %s: %+v", *etag, out)
		}
	}
	must[*s3.DeleteObjectOutput](t)(c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: key, IfMatch: aws.String("*")}))
}

// The policy is the one that S3's guide gives for enforcing conditional writes.
func TestS3EnforcedConditionalWrites(t *testing.T) {
	t.Parallel()
	s := newS3Server(t, "us-east-1")
	s.bucket(t, "bucket")
	c, ctx := s.client(t, s.plain, "writer", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::bucket/*"},
		{"Effect":"Deny","Action":"s3:PutObject","Resource":"arn:aws:s3:::bucket/*","Condition":{"Null":{"s3:if-none-match":"true"},"Bool":{"s3:ObjectCreationOperation":"true"}}}]}`), t.Context()
	bucket, key := aws.String("bucket"), aws.String("k")
	_, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: key, Body: strings.NewReader("x")})
	wantError(t, "put", err, 403, "AccessDenied")
	must[*s3.PutObjectOutput](t)(c.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: key, Body: strings.NewReader("x"), IfNoneMatch: aws.String("*")}))
	u := must[*s3.CreateMultipartUploadOutput](t)(c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: bucket, Key: aws.String("m")}))
	p := must[*s3.UploadPartOutput](t)(c.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: bucket, Key: u.Key, UploadId: u.UploadId, PartNumber: aws.Int32(1), Body: strings.NewReader("x"),
	}))
	complete := &s3.CompleteMultipartUploadInput{
		Bucket: bucket, Key: u.Key, UploadId: u.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{PartNumber: aws.Int32(1), ETag: p.ETag, ChecksumCRC32: p.ChecksumCRC32}}},
	}
	_, err = c.CompleteMultipartUpload(ctx, complete)
	wantError(t, "complete", err, 403, "AccessDenied")
	complete.IfNoneMatch = aws.String("*")
	must[*s3.CompleteMultipartUploadOutput](t)(c.CompleteMultipartUpload(ctx, complete))
}
