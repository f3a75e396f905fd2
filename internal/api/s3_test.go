package api_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/sekisho-iot/sekisho/internal/api"
	core "github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
	objects "github.com/sekisho-iot/sekisho/internal/s3"
	"github.com/sekisho-iot/sekisho/internal/s3/local"
	"github.com/sekisho-iot/sekisho/internal/sqlstore"
	"github.com/sekisho-iot/sekisho/internal/sts"
)

// s3Callers are callers whose credentials can be revoked while they upload.
type s3Callers struct {
	callers
	mu      sync.Mutex // guards revoked
	revoked error
}

func (c *s3Callers) Recheck(_ context.Context, id *sts.Identity) (*sts.Identity, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return id, c.revoked
}

func (c *s3Callers) revoke(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revoked = err
}

// s3Server is S3 on a real database and folder, behind the real pipeline.
type s3Server struct {
	plain, secure *httptest.Server
	users         *s3Callers
}

func newS3Server(tb testing.TB, region string) *s3Server {
	tb.Helper()
	dir := tb.TempDir()
	var svc *objects.Service
	db, err := sqlstore.Open(tb.Context(), sqlstore.Config{Path: filepath.Join(dir, "test.db"), OnChange: func(c core.Change) { svc.Invalidate(c) }})
	if err != nil {
		tb.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	engine, err := local.Open(tb.Context(), local.Config{Dir: filepath.Join(dir, "objects"), Store: db.Objects(), Now: time.Now, Rand: rand.Reader, Log: log})
	if err != nil {
		tb.Fatal(err)
	}
	svc = objects.New(objects.Config{Store: db.Buckets(), Engine: engine, Region: region, Now: time.Now, Rand: rand.Reader, Log: log})
	s := &s3Server{users: &s3Callers{callers: callers{"root": {Root: true}}}}
	h, err := api.New(api.Options{
		Services: []api.Service{api.S3(svc)}, Authenticator: s.users, Account: iotAccount, Region: region,
		PublicHosts: []string{"localhost"}, Logger: log, Now: time.Now, Rand: rand.Reader,
	})
	if err != nil {
		tb.Fatal(err)
	}
	s.plain, s.secure = httptest.NewServer(h), httptest.NewTLSServer(h)
	tb.Cleanup(func() {
		s.plain.Close()
		s.secure.Close()
		if err := errors.Join(engine.Close(), db.Close()); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// client signs as a user, who is made with the given IAM policy if there is one.
func (s *s3Server) client(tb testing.TB, server *httptest.Server, user, document string) *s3.Client {
	tb.Helper()
	if document != "" {
		p, err := policy.Compile(policy.Identity, user, []byte(document))
		if err != nil {
			tb.Fatal(err)
		}
		s.users.callers[user] = policy.Grants{Identity: policy.Set{p}}
	}
	return s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: &server.URL, RetryMaxAttempts: 1, HTTPClient: server.Client(), UsePathStyle: true,
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported,
		Credentials:                credentials.NewStaticCredentialsProvider(user, "secret-of-"+user, ""),
	})
}

func (s *s3Server) bucket(tb testing.TB, name string) *s3.Client {
	tb.Helper()
	c := s.client(tb, s.plain, "root", "")
	if _, err := c.CreateBucket(tb.Context(), &s3.CreateBucketInput{Bucket: &name}); err != nil {
		tb.Fatal(err)
	}
	return c
}

func statusOf(err error) int {
	if r, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		return r.HTTPStatusCode()
	}
	return 0
}

func readAll(t *testing.T, r io.ReadCloser) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Error(err)
	}
	_ = r.Close()
	return string(b)
}

// plainly asks without signing, as curl does with a presigned URL.
func (s *s3Server) plainly(t *testing.T, method, url string, body io.Reader) (status int, header http.Header, text string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.plain.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Error(err)
	}
	return res.StatusCode, res.Header, string(b)
}

func TestS3Buckets(t *testing.T) {
	t.Parallel()
	for _, region := range []string{"us-east-1", "ap-northeast-1"} {
		s := newS3Server(t, region)
		c, ctx := s.bucket(t, "bucket-a"), t.Context()
		_, err := c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("bucket-a")})
		if region == "us-east-1" && err != nil {
			t.Error(err)
		} else if region != "us-east-1" {
			wantError(t, "made again", err, 409, "BucketAlreadyOwnedByYou")
		}
		_, err = c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("Bucket_X")})
		wantError(t, "a bad name", err, 400, "InvalidBucketName")
		for location, code := range map[types.BucketLocationConstraint]string{"eu-central-1": "IllegalLocationConstraintException", "moon": "InvalidLocationConstraint"} {
			_, err = c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("bucket-b"), CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: location}})
			wantError(t, string(location), err, 400, code)
		}
		must[*s3.CreateBucketOutput](t)(c.CreateBucket(ctx, &s3.CreateBucketInput{
			Bucket: aws.String("bucket-b"), ACL: types.BucketCannedACLPrivate,
			CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(region)},
		}))
		_, err = c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("bucket-c"), ACL: types.BucketCannedACLPublicRead})
		wantError(t, "a public bucket", err, 400, "AccessControlListNotSupported")
		head := must[*s3.HeadBucketOutput](t)(c.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: aws.String("bucket-a")}))
		if aws.ToString(head.BucketRegion) != region {
			t.Errorf("region %v", head.BucketRegion)
		}
		_, err = c.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: aws.String("bucket-c")})
		if statusOf(err) != 404 {
			t.Errorf("head of no bucket: %v", err)
		}
		where := must[*s3.GetBucketLocationOutput](t)(c.GetBucketLocation(ctx, &s3.GetBucketLocationInput{Bucket: aws.String("bucket-a")}))
		if want := map[string]string{"us-east-1": ""}[region]; region == "us-east-1" && string(where.LocationConstraint) != want || region != "us-east-1" && string(where.LocationConstraint) != region {
			t.Errorf("location %q", where.LocationConstraint)
		}
		var names []string
		for p := s3.NewListBucketsPaginator(c, &s3.ListBucketsInput{MaxBuckets: aws.Int32(1)}); p.HasMorePages(); {
			for _, b := range must[*s3.ListBucketsOutput](t)(p.NextPage(ctx)).Buckets {
				names = append(names, *b.Name)
			}
		}
		if !slices.Equal(names, []string{"bucket-a", "bucket-b"}) {
			t.Errorf("buckets %v", names)
		}
		must[*s3.PutObjectOutput](t)(c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("bucket-a"), Key: aws.String("k"), Body: strings.NewReader("x")}))
		_, err = c.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: aws.String("bucket-a")})
		wantError(t, "deleting a full bucket", err, 409, "BucketNotEmpty")
		must[*s3.DeleteObjectOutput](t)(c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String("bucket-a"), Key: aws.String("k")}))
		u := must[*s3.CreateMultipartUploadOutput](t)(c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: aws.String("bucket-a"), Key: aws.String("k")}))
		must[*s3.DeleteBucketOutput](t)(c.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: aws.String("bucket-a")}))
		_, err = c.ListParts(ctx, &s3.ListPartsInput{Bucket: u.Bucket, Key: u.Key, UploadId: u.UploadId})
		wantError(t, "parts in no bucket", err, 404, "NoSuchBucket")
	}
}

func TestS3Objects(t *testing.T) {
	t.Parallel()
	s := newS3Server(t, "us-east-1")
	s.bucket(t, "bucket")
	for _, server := range []*httptest.Server{s.plain, s.secure} {
		c, ctx := s.client(t, server, "root", ""), t.Context()
		for _, size := range []int{0, 100, 70 << 10, 3 << 20} {
			for _, algorithm := range types.ChecksumAlgorithm("").Values() {
				if !slices.Contains([]string{"CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"}, string(algorithm)) {
					continue
				}
				key := fmt.Sprintf("dir//../%d +%%2F/%s é", size, algorithm)
				body := bytes.Repeat([]byte("x"), size)
				put, err := c.PutObject(ctx, &s3.PutObjectInput{
					Bucket: aws.String("bucket"), Key: &key, Body: bytes.NewReader(body), ChecksumAlgorithm: algorithm,
					ContentType: aws.String("text/plain"), Metadata: map[string]string{"One": "1"}, CacheControl: aws.String("no-cache"),
				})
				if err != nil {
					t.Fatalf("%s: %v", key, err)
				}
				sum := md5.Sum(body)
				if *put.ETag != `"`+hex.EncodeToString(sum[:])+`"` {
					t.Errorf("%s: tag %s", key, *put.ETag)
				}
				got := must[*s3.GetObjectOutput](t)(c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: &key, ChecksumMode: types.ChecksumModeEnabled}))
				if readAll(t, got.Body) != string(body) || *got.ContentType != "text/plain" || got.Metadata["one"] != "1" || *got.CacheControl != "no-cache" || *got.ContentLength != int64(size) || got.ContentEncoding != nil {
					t.Errorf("%s: %+v", key, got)
				}
				if sum := map[string]*string{
					"CRC32": got.ChecksumCRC32, "CRC32C": got.ChecksumCRC32C, "CRC64NVME": got.ChecksumCRC64NVME, "SHA1": got.ChecksumSHA1, "SHA256": got.ChecksumSHA256,
				}[string(algorithm)]; sum == nil || got.ChecksumType != types.ChecksumTypeFullObject {
					t.Errorf("%s: no checksum came back: %+v", key, got)
				}
				head := must[*s3.HeadObjectOutput](t)(c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String("bucket"), Key: &key}))
				if *head.ContentLength != int64(size) || *head.ETag != *put.ETag {
					t.Errorf("%s: %+v", key, head)
				}
			}
		}
	}
}

func TestS3ReadsWithConditionsAndRanges(t *testing.T) {
	t.Parallel()
	s := newS3Server(t, "us-east-1")
	c, ctx := s.bucket(t, "bucket"), t.Context()
	put := must[*s3.PutObjectOutput](t)(c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k"), Body: strings.NewReader("0123456789")}))
	get := func(change func(*s3.GetObjectInput)) (*s3.GetObjectOutput, error) {
		in := &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k")}
		change(in)
		return c.GetObject(ctx, in)
	}
	for header, want := range map[string]string{
		"bytes=0-0": "0", "bytes=3-5": "345", "bytes=7-": "789", "bytes=-2": "89", "bytes=5-500": "56789", "bytes=-50": "0123456789",
		"bytes=0-1,3-4": "0123456789", "bytes=5-2": "0123456789", "lines=1-2": "0123456789", "bytes=a-b": "0123456789",
	} {
		o, err := get(func(in *s3.GetObjectInput) { in.Range = &header })
		if err != nil || readAll(t, o.Body) != want || *o.ContentLength != int64(len(want)) {
			t.Errorf("%s: %v", header, err)
			continue
		}
		if partial := o.ContentRange != nil; partial != (len(want) < 10 || header == "bytes=-50") {
			t.Errorf("%s: content range %v", header, aws.ToString(o.ContentRange))
		}
	}
	for _, header := range []string{"bytes=10-", "bytes=-0", "bytes=100-200"} {
		_, err := get(func(in *s3.GetObjectInput) { in.Range = &header })
		wantError(t, header, err, 416, "InvalidRange")
	}
	past, future := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	for name, x := range map[string]struct {
		change func(*s3.GetObjectInput)
		status int
	}{
		"match":            {func(in *s3.GetObjectInput) { in.IfMatch = put.ETag }, 0},
		"match other":      {func(in *s3.GetObjectInput) { in.IfMatch = aws.String(`"x"`) }, 412},
		"none match":       {func(in *s3.GetObjectInput) { in.IfNoneMatch = put.ETag }, 304},
		"none match other": {func(in *s3.GetObjectInput) { in.IfNoneMatch = aws.String(`"x"`) }, 0},
		"modified":         {func(in *s3.GetObjectInput) { in.IfModifiedSince = &past }, 0},
		"not modified":     {func(in *s3.GetObjectInput) { in.IfModifiedSince = &future }, 304},
		"unmodified":       {func(in *s3.GetObjectInput) { in.IfUnmodifiedSince = &future }, 0},
		"not unmodified":   {func(in *s3.GetObjectInput) { in.IfUnmodifiedSince = &past }, 412},
		"version null":     {func(in *s3.GetObjectInput) { in.VersionId = aws.String("null") }, 0},
		"version":          {func(in *s3.GetObjectInput) { in.VersionId = aws.String("v1") }, 400},
		"part 1":           {func(in *s3.GetObjectInput) { in.PartNumber = aws.Int32(1) }, 0},
		"part 2":           {func(in *s3.GetObjectInput) { in.PartNumber = aws.Int32(2) }, 416},
		"part 0":           {func(in *s3.GetObjectInput) { in.PartNumber = aws.Int32(0) }, 400},
		"part and range":   {func(in *s3.GetObjectInput) { in.PartNumber, in.Range = aws.Int32(1), aws.String("bytes=0-1") }, 400},
		"owner":            {func(in *s3.GetObjectInput) { in.ExpectedBucketOwner = aws.String(iotAccount) }, 0},
		"other owner":      {func(in *s3.GetObjectInput) { in.ExpectedBucketOwner = aws.String("999999999999") }, 403},
		"no key":           {func(in *s3.GetObjectInput) { in.Key = aws.String("none") }, 404},
		"no bucket":        {func(in *s3.GetObjectInput) { in.Bucket = aws.String("none") }, 404},
	} {
		o, err := get(x.change)
		if statusOf(err) != x.status {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			_ = o.Body.Close()
		}
	}
	o := must[*s3.GetObjectOutput](t)(get(func(in *s3.GetObjectInput) {
		in.ResponseContentType, in.ResponseContentDisposition = aws.String("a/b"), aws.String("attachment")
	}))
	if *o.ContentType != "a/b" || *o.ContentDisposition != "attachment" {
		t.Errorf("overrides: %+v", o)
	}
	_ = o.Body.Close()
	attributes := must[*s3.GetObjectAttributesOutput](t)(c.GetObjectAttributes(ctx, &s3.GetObjectAttributesInput{
		Bucket: aws.String("bucket"), Key: aws.String("k"), ObjectAttributes: []types.ObjectAttributes{types.ObjectAttributesEtag, types.ObjectAttributesObjectSize, types.ObjectAttributesChecksum},
	}))
	if *attributes.ObjectSize != 10 || `"`+*attributes.ETag+`"` != *put.ETag || attributes.Checksum.ChecksumCRC32 == nil {
		t.Errorf("attributes: %+v", attributes)
	}
}

func TestS3RefusedWrites(t *testing.T) {
	t.Parallel()
	s := newS3Server(t, "us-east-1")
	c, ctx := s.bucket(t, "bucket"), t.Context()
	put := must[*s3.PutObjectOutput](t)(c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k"), Body: strings.NewReader("old")}))
	wrong := base64.StdEncoding.EncodeToString(make([]byte, 16))
	for name, x := range map[string]struct {
		change func(*s3.PutObjectInput)
		status int
		code   string
	}{
		"none match":   {func(in *s3.PutObjectInput) { in.IfNoneMatch = aws.String("*") }, 412, "PreconditionFailed"},
		"match other":  {func(in *s3.PutObjectInput) { in.IfMatch = aws.String(`"x"`) }, 412, "PreconditionFailed"},
		"match no key": {func(in *s3.PutObjectInput) { in.Key, in.IfMatch = aws.String("none"), put.ETag }, 404, "NoSuchKey"},
		"none match x": {func(in *s3.PutObjectInput) { in.IfNoneMatch = aws.String("x") }, 501, "NotImplemented"},
		"md5":          {func(in *s3.PutObjectInput) { in.ContentMD5 = &wrong }, 400, "BadDigest"},
		"no md5":       {func(in *s3.PutObjectInput) { in.ContentMD5 = aws.String("x") }, 400, "InvalidDigest"},
		"crc32":        {func(in *s3.PutObjectInput) { in.ChecksumCRC32 = aws.String("AAAAAA==") }, 400, "BadDigest"},
		"no crc32":     {func(in *s3.PutObjectInput) { in.ChecksumCRC32 = aws.String("AAAA") }, 400, "InvalidRequest"},
		"acl":          {func(in *s3.PutObjectInput) { in.ACL = types.ObjectCannedACLPublicRead }, 400, "AccessControlListNotSupported"},
		"grant":        {func(in *s3.PutObjectInput) { in.GrantRead = aws.String("id=x") }, 400, "AccessControlListNotSupported"},
		"class":        {func(in *s3.PutObjectInput) { in.StorageClass = types.StorageClassGlacier }, 400, "InvalidStorageClass"},
		"kms":          {func(in *s3.PutObjectInput) { in.ServerSideEncryption = types.ServerSideEncryptionAwsKms }, 501, "NotImplemented"},
		"tags":         {func(in *s3.PutObjectInput) { in.Tagging = aws.String("a=b") }, 501, "NotImplemented"},
		"redirect":     {func(in *s3.PutObjectInput) { in.WebsiteRedirectLocation = aws.String("/x") }, 501, "NotImplemented"},
		"lock":         {func(in *s3.PutObjectInput) { in.ObjectLockLegalHoldStatus = types.ObjectLockLegalHoldStatusOn }, 400, "InvalidRequest"},
		"long key":     {func(in *s3.PutObjectInput) { in.Key = aws.String(strings.Repeat("k", 1025)) }, 400, "KeyTooLongError"},
		"no utf-8":     {func(in *s3.PutObjectInput) { in.Key = aws.String("\xff") }, 400, "InvalidArgument"},
		"metadata":     {func(in *s3.PutObjectInput) { in.Metadata = map[string]string{"a": strings.Repeat("x", 2048)} }, 400, "MetadataTooLarge"},
		"no bucket":    {func(in *s3.PutObjectInput) { in.Bucket = aws.String("none") }, 404, "NoSuchBucket"},
	} {
		in := &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k"), Body: strings.NewReader("new")}
		x.change(in)
		_, err := c.PutObject(ctx, in)
		wantError(t, name, err, x.status, x.code)
	}
	s.users.revoke(core.Errorf(core.KindDenied, "", "revoked"))
	_, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k"), Body: strings.NewReader("new")})
	wantError(t, "revoked", err, 403, "AccessDenied")
	s.users.revoke(nil)
	o := must[*s3.GetObjectOutput](t)(c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k")}))
	if got := readAll(t, o.Body); got != "old" || *o.ContentType != "application/octet-stream" {
		t.Errorf("the old object: %q, %s", got, *o.ContentType)
	}
	must[*s3.PutObjectOutput](t)(c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("k"), Body: strings.NewReader("new"), IfMatch: put.ETag}))
}

func TestS3Lists(t *testing.T) {
	t.Parallel()
	s := newS3Server(t, "us-east-1")
	c, ctx := s.bucket(t, "bucket"), t.Context()
	keys := []string{"a b+c%", "dir/", "dir/1", "dir/2", "z<&>", "é"}
	for _, k := range keys {
		must[*s3.PutObjectOutput](t)(c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: &k, Body: strings.NewReader(k)}))
	}
	var got []string
	for p := s3.NewListObjectsV2Paginator(c, &s3.ListObjectsV2Input{Bucket: aws.String("bucket"), MaxKeys: aws.Int32(2), FetchOwner: aws.Bool(true)}); p.HasMorePages(); {
		for _, o := range must[*s3.ListObjectsV2Output](t)(p.NextPage(ctx)).Contents {
			got = append(got, *o.Key)
			if *o.Size != int64(len(*o.Key)) || o.Owner == nil || o.StorageClass != "STANDARD" || len(o.ChecksumAlgorithm) != 1 {
				t.Errorf("%+v", o)
			}
		}
	}
	if !slices.Equal(got, keys) {
		t.Errorf("got %q", got)
	}
	v1 := must[*s3.ListObjectsOutput](t)(c.ListObjects(ctx, &s3.ListObjectsInput{Bucket: aws.String("bucket"), Delimiter: aws.String("/"), MaxKeys: aws.Int32(2)}))
	if !*v1.IsTruncated || *v1.NextMarker != "dir/" || len(v1.CommonPrefixes) != 1 || *v1.CommonPrefixes[0].Prefix != "dir/" || *v1.Contents[0].Key != keys[0] {
		t.Errorf("%+v", v1)
	}
	v1 = must[*s3.ListObjectsOutput](t)(c.ListObjects(ctx, &s3.ListObjectsInput{Bucket: aws.String("bucket"), Delimiter: aws.String("/"), Marker: v1.NextMarker, EncodingType: types.EncodingTypeUrl}))
	if *v1.IsTruncated || len(v1.CommonPrefixes) != 0 || len(v1.Contents) != 2 || *v1.Contents[0].Key != "z%3C%26%3E" {
		t.Errorf("%+v", v1)
	}
	versions := must[*s3.ListObjectVersionsOutput](t)(c.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: aws.String("bucket"), Prefix: aws.String("dir/")}))
	if len(versions.Versions) != 3 || *versions.Versions[0].VersionId != "null" {
		t.Errorf("%+v", versions)
	}
	none := must[*s3.ListObjectsV2Output](t)(c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String("bucket"), MaxKeys: aws.Int32(0)}))
	if *none.IsTruncated || *none.KeyCount != 0 {
		t.Errorf("%+v", none)
	}
	for name, in := range map[string]*s3.ListObjectsV2Input{
		"negative": {Bucket: aws.String("bucket"), MaxKeys: aws.Int32(-1)},
		"token":    {Bucket: aws.String("bucket"), ContinuationToken: aws.String("!")},
		"encoding": {Bucket: aws.String("bucket"), EncodingType: "rot13"},
	} {
		_, err := c.ListObjectsV2(ctx, in)
		wantError(t, name, err, 400, "InvalidArgument")
	}
}

func TestS3Multipart(t *testing.T) {
	t.Parallel()
	s := newS3Server(t, "us-east-1")
	s.bucket(t, "bucket")
	c, ctx := s.client(t, s.secure, "root", ""), t.Context()
	bucket, key := aws.String("bucket"), aws.String("big/é")
	u := must[*s3.CreateMultipartUploadOutput](t)(c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: bucket, Key: key, ChecksumAlgorithm: types.ChecksumAlgorithmCrc32, ContentType: aws.String("a/b"),
	}))
	part := bytes.Repeat([]byte("0123456789abcdef"), 5<<16)
	var done []types.CompletedPart
	for n := int32(1); n <= 3; n++ {
		p := must[*s3.UploadPartOutput](t)(c.UploadPart(ctx, &s3.UploadPartInput{
			Bucket: bucket, Key: key, UploadId: u.UploadId, PartNumber: &n, Body: bytes.NewReader(part), ChecksumAlgorithm: types.ChecksumAlgorithmCrc32,
		}))
		done = append(done, types.CompletedPart{PartNumber: &n, ETag: p.ETag, ChecksumCRC32: p.ChecksumCRC32})
	}
	parts := must[*s3.ListPartsOutput](t)(c.ListParts(ctx, &s3.ListPartsInput{Bucket: bucket, Key: key, UploadId: u.UploadId, MaxParts: aws.Int32(2)}))
	if len(parts.Parts) != 2 || !*parts.IsTruncated || *parts.NextPartNumberMarker != "2" || *parts.Parts[0].ChecksumCRC32 != *done[0].ChecksumCRC32 {
		t.Errorf("%+v", parts)
	}
	uploads := must[*s3.ListMultipartUploadsOutput](t)(c.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: bucket}))
	if len(uploads.Uploads) != 1 || *uploads.Uploads[0].UploadId != *u.UploadId {
		t.Errorf("%+v", uploads)
	}
	complete := func(parts []types.CompletedPart, change func(*s3.CompleteMultipartUploadInput)) (*s3.CompleteMultipartUploadOutput, error) {
		in := &s3.CompleteMultipartUploadInput{Bucket: bucket, Key: key, UploadId: u.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}}
		if change != nil {
			change(in)
		}
		return c.CompleteMultipartUpload(ctx, in)
	}
	_, err := complete(nil, nil)
	wantError(t, "no parts", err, 400, "MalformedXML")
	_, err = complete([]types.CompletedPart{done[1], done[0]}, nil)
	wantError(t, "disorder", err, 400, "InvalidPartOrder")
	_, err = complete([]types.CompletedPart{{PartNumber: aws.Int32(4), ETag: done[0].ETag}}, nil)
	wantError(t, "no such part", err, 400, "InvalidPart")
	_, err = complete(done, func(in *s3.CompleteMultipartUploadInput) { in.MpuObjectSize = aws.Int64(7) })
	wantError(t, "size", err, 400, "InvalidRequest")
	_, err = complete(done, func(in *s3.CompleteMultipartUploadInput) { in.UploadId = aws.String("x") })
	wantError(t, "no such upload", err, 404, "NoSuchUpload")
	out := must[*s3.CompleteMultipartUploadOutput](t)(complete(done, nil))
	if !strings.HasSuffix(*out.ETag, `-3"`) || !strings.HasSuffix(*out.ChecksumCRC32, "-3") || out.ChecksumType != types.ChecksumTypeComposite || !strings.HasSuffix(*out.Location, "/bucket/big/%C3%A9") {
		t.Errorf("%+v", out)
	}
	o := must[*s3.GetObjectOutput](t)(c.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: key, PartNumber: aws.Int32(2)}))
	if readAll(t, o.Body) != string(part) || *o.PartsCount != 3 || *o.ContentType != "a/b" {
		t.Errorf("part 2: %+v", o)
	}
	o = must[*s3.GetObjectOutput](t)(c.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: key, IfMatch: out.ETag}))
	if readAll(t, o.Body) != strings.Repeat(string(part), 3) {
		t.Error("the whole has other bytes")
	}
	copies(t, c, bucket, key, part)
}

func copies(t *testing.T, c *s3.Client, bucket, key *string, part []byte) {
	t.Helper()
	ctx := t.Context()
	source := aws.String("bucket/big/%C3%A9")
	copied := must[*s3.CopyObjectOutput](t)(c.CopyObject(ctx, &s3.CopyObjectInput{Bucket: bucket, Key: aws.String("copy"), CopySource: source}))
	sum := md5.Sum(bytes.Repeat(part, 3))
	if *copied.CopyObjectResult.ETag != `"`+hex.EncodeToString(sum[:])+`"` {
		t.Errorf("%+v", copied.CopyObjectResult)
	}
	must[*s3.CopyObjectOutput](t)(c.CopyObject(ctx, &s3.CopyObjectInput{
		Bucket: bucket, Key: aws.String("copy"), CopySource: aws.String("/bucket/copy"), MetadataDirective: types.MetadataDirectiveReplace, ContentType: aws.String("x/y"),
	}))
	if head := must[*s3.HeadObjectOutput](t)(c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: bucket, Key: aws.String("copy")})); *head.ContentType != "x/y" || *head.ContentLength != int64(3*len(part)) {
		t.Errorf("%+v", head)
	}
	for name, x := range map[string]struct {
		in     s3.CopyObjectInput
		status int
		code   string
	}{
		"itself":     {s3.CopyObjectInput{Key: key, CopySource: source}, 400, "InvalidRequest"},
		"none":       {s3.CopyObjectInput{Key: key, CopySource: aws.String("bucket/none")}, 404, "NoSuchKey"},
		"no bucket":  {s3.CopyObjectInput{Key: key, CopySource: aws.String("none/none")}, 404, "NoSuchBucket"},
		"no key":     {s3.CopyObjectInput{Key: key, CopySource: aws.String("bucket")}, 400, "InvalidArgument"},
		"version":    {s3.CopyObjectInput{Key: key, CopySource: aws.String("bucket/copy?versionId=x")}, 400, "InvalidArgument"},
		"condition":  {s3.CopyObjectInput{Key: key, CopySource: aws.String("bucket/copy"), CopySourceIfMatch: aws.String("x")}, 412, "PreconditionFailed"},
		"unmodified": {s3.CopyObjectInput{Key: key, CopySource: aws.String("bucket/copy"), CopySourceIfNoneMatch: aws.String("*")}, 412, "PreconditionFailed"},
	} {
		x.in.Bucket = bucket
		_, err := c.CopyObject(ctx, &x.in)
		wantError(t, name, err, x.status, x.code)
	}
	u := must[*s3.CreateMultipartUploadOutput](t)(c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: bucket, Key: key}))
	p := must[*s3.UploadPartCopyOutput](t)(c.UploadPartCopy(ctx, &s3.UploadPartCopyInput{
		Bucket: bucket, Key: key, UploadId: u.UploadId, PartNumber: aws.Int32(1), CopySource: source, CopySourceRange: aws.String("bytes=5-14"),
	}))
	sum = md5.Sum(part[5:15])
	if *p.CopyPartResult.ETag != `"`+hex.EncodeToString(sum[:])+`"` {
		t.Errorf("%+v", p.CopyPartResult)
	}
	_, err := c.UploadPartCopy(ctx, &s3.UploadPartCopyInput{
		Bucket: bucket, Key: key, UploadId: u.UploadId, PartNumber: aws.Int32(1), CopySource: source, CopySourceRange: aws.String("bytes=5-1000000000"),
	})
	wantError(t, "beyond the end", err, 400, "InvalidArgument")
	must[*s3.AbortMultipartUploadOutput](t)(c.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: bucket, Key: key, UploadId: u.UploadId}))
	_, err = c.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: bucket, Key: key, UploadId: u.UploadId})
	wantError(t, "aborted twice", err, 404, "NoSuchUpload")
}

func TestS3IsAuthorizedByKey(t *testing.T) {
	t.Parallel()
	s := newS3Server(t, "us-east-1")
	root, ctx := s.bucket(t, "bucket"), t.Context()
	bucket := aws.String("bucket")
	for _, k := range []string{"mine/a", "yours/a"} {
		must[*s3.PutObjectOutput](t)(root.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: &k, Body: strings.NewReader("x")}))
	}
	c := s.client(t, s.plain, "u", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject","s3:DeleteObject"],"Resource":"arn:aws:s3:::bucket/mine/*"},
		{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::bucket","Condition":{"StringLike":{"s3:prefix":"mine/*"}}}]}`)
	must[*s3.GetObjectOutput](t)(c.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: aws.String("mine/a")}))
	for _, key := range []string{"yours/a", "yours/none", "mine", "mine/none", "/mine/a", "mine//../yours/a"} {
		_, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: &key})
		if statusOf(err) != 403 { // also for a missing key of its own: it may not list without a prefix
			t.Errorf("get %q: %v", key, err)
		}
	}
	_, err := c.CopyObject(ctx, &s3.CopyObjectInput{Bucket: bucket, Key: aws.String("mine/b"), CopySource: aws.String("bucket/yours/a")})
	wantError(t, "a copy of theirs", err, 403, "AccessDenied")
	_, err = c.CopyObject(ctx, &s3.CopyObjectInput{Bucket: bucket, Key: aws.String("yours/b"), CopySource: aws.String("bucket/mine/a")})
	wantError(t, "a copy to theirs", err, 403, "AccessDenied")
	must[*s3.CopyObjectOutput](t)(c.CopyObject(ctx, &s3.CopyObjectInput{Bucket: bucket, Key: aws.String("mine/b"), CopySource: aws.String("bucket/mine/a")}))
	must[*s3.ListObjectsV2Output](t)(c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket, Prefix: aws.String("mine/")}))
	_, err = c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket, Prefix: aws.String("yours/")})
	wantError(t, "listing theirs", err, 403, "AccessDenied")
	_, err = c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket})
	wantError(t, "listing all", err, 403, "AccessDenied")
	out := must[*s3.DeleteObjectsOutput](t)(c.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: bucket, Delete: &types.Delete{Objects: []types.ObjectIdentifier{
		{Key: aws.String("mine/a")}, {Key: aws.String("yours/a")}, {Key: aws.String("mine/none")}, {Key: aws.String("mine/b"), VersionId: aws.String("x")},
	}}}))
	if len(out.Deleted) != 2 || len(out.Errors) != 2 || *out.Errors[0].Key != "yours/a" || *out.Errors[0].Code != "AccessDenied" || *out.Errors[1].Code != "InvalidArgument" {
		t.Errorf("%+v", out)
	}
	head, err := root.HeadObject(ctx, &s3.HeadObjectInput{Bucket: bucket, Key: aws.String("yours/a")})
	if err != nil || *head.ContentLength != 1 {
		t.Errorf("theirs: %v", err)
	}
}

func TestS3BucketPolicies(t *testing.T) {
	t.Parallel()
	s := newS3Server(t, "us-east-1")
	root, ctx := s.bucket(t, "bucket"), t.Context()
	bucket := aws.String("bucket")
	must[*s3.PutObjectOutput](t)(root.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: aws.String("public/a"), Body: strings.NewReader("x")}))
	_, err := root.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: bucket})
	wantError(t, "no policy", err, 404, "NoSuchBucketPolicy")
	statement := func(s string) *string { return aws.String(`{"Version":"2012-10-17","Statement":` + s + `}`) }
	for name, document := range map[string]*string{
		"empty":        aws.String(""),
		"not JSON":     aws.String("x"),
		"no statement": aws.String(`{"Version":"2012-10-17"}`),
		"no principal": statement(`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket/*"}`),
		"other bucket": statement(`{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":["arn:aws:s3:::bucket/*","arn:aws:s3:::bucket2/*"]}`),
		"everything":   statement(`{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"*"}`),
		"prefix":       statement(`{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::bucketful/x"}`),
		"action":       statement(`{"Effect":"Allow","Principal":"*","Action":"iam:GetRole","Resource":"arn:aws:s3:::bucket/*"}`),
		"large":        statement(`{"Sid":"` + strings.Repeat("a", 20<<10) + `","Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket/*"}`),
	} {
		_, err := root.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: bucket, Policy: document})
		if statusOf(err) != 400 {
			t.Errorf("%s: %v", name, err)
		}
	}
	anonymous := func(key string) int {
		t.Helper()
		status, _, _ := s.plainly(t, http.MethodGet, s.plain.URL+"/bucket/"+key, nil)
		return status
	}
	if got := anonymous("public/a"); got != 403 {
		t.Errorf("anonymous without a policy: %d", got)
	}
	document := statement(`[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket/public/*"},
		{"Effect":"Deny","Principal":{"AWS":"arn:aws:iam::` + iotAccount + `:user/u"},"Action":"s3:*","Resource":["arn:aws:s3:::bucket","arn:aws:s3:::bucket/*"]}]`)
	must[*s3.PutBucketPolicyOutput](t)(root.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: bucket, Policy: document}))
	if got := must[*s3.GetBucketPolicyOutput](t)(root.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: bucket})); *got.Policy != *document {
		t.Errorf("policy %s", *got.Policy)
	}
	for key, want := range map[string]int{"public/a": 200, "public/none": 403, "private": 403, "public/a?policy": 405} {
		if got := anonymous(key); got != want {
			t.Errorf("anonymous %s: %d, want %d", key, got, want)
		}
	}
	u := s.client(t, s.plain, "u", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}`)
	_, err = u.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: aws.String("public/a")})
	wantError(t, "denied by the bucket", err, 403, "AccessDenied")
	must[*s3.DeleteBucketPolicyOutput](t)(root.DeleteBucketPolicy(ctx, &s3.DeleteBucketPolicyInput{Bucket: bucket}))
	must[*s3.GetObjectOutput](t)(u.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: aws.String("public/a")}))
	if got := anonymous("public/a"); got != 403 {
		t.Errorf("anonymous after the policy: %d", got)
	}
}

// What Terraform reads of a bucket on which nothing was configured.
func TestS3AbsentConfigurations(t *testing.T) {
	t.Parallel()
	s := newS3Server(t, "us-east-1")
	c, ctx, bucket := s.bucket(t, "bucket"), t.Context(), aws.String("bucket")
	acl := must[*s3.GetBucketAclOutput](t)(c.GetBucketAcl(ctx, &s3.GetBucketAclInput{Bucket: bucket}))
	if len(acl.Grants) != 1 || acl.Grants[0].Permission != types.PermissionFullControl || *acl.Grants[0].Grantee.ID != *acl.Owner.ID || acl.Grants[0].Grantee.Type != types.TypeCanonicalUser {
		t.Errorf("%+v", acl)
	}
	must[*s3.GetBucketVersioningOutput](t)(c.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: bucket}))
	must[*s3.GetBucketAccelerateConfigurationOutput](t)(c.GetBucketAccelerateConfiguration(ctx, &s3.GetBucketAccelerateConfigurationInput{Bucket: bucket}))
	must[*s3.GetBucketLoggingOutput](t)(c.GetBucketLogging(ctx, &s3.GetBucketLoggingInput{Bucket: bucket}))
	if got := must[*s3.GetBucketRequestPaymentOutput](t)(c.GetBucketRequestPayment(ctx, &s3.GetBucketRequestPaymentInput{Bucket: bucket})); got.Payer != types.PayerBucketOwner {
		t.Errorf("%+v", got)
	}
	_, cors := c.GetBucketCors(ctx, &s3.GetBucketCorsInput{Bucket: bucket})
	_, website := c.GetBucketWebsite(ctx, &s3.GetBucketWebsiteInput{Bucket: bucket})
	_, lifecycle := c.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: bucket})
	_, replication := c.GetBucketReplication(ctx, &s3.GetBucketReplicationInput{Bucket: bucket})
	_, encryption := c.GetBucketEncryption(ctx, &s3.GetBucketEncryptionInput{Bucket: bucket})
	_, lock := c.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: bucket})
	_, tags := c.GetBucketTagging(ctx, &s3.GetBucketTaggingInput{Bucket: bucket})
	_, block := c.GetPublicAccessBlock(ctx, &s3.GetPublicAccessBlockInput{Bucket: bucket})
	for code, err := range map[string]error{
		"NoSuchCORSConfiguration": cors, "NoSuchWebsiteConfiguration": website, "NoSuchLifecycleConfiguration": lifecycle,
		"ReplicationConfigurationNotFoundError": replication, "ServerSideEncryptionConfigurationNotFoundError": encryption,
		"ObjectLockConfigurationNotFoundError": lock, "NoSuchTagSet": tags, "NoSuchPublicAccessBlockConfiguration": block,
	} {
		wantError(t, code, err, 404, code)
	}
	_, err := c.PutBucketTagging(ctx, &s3.PutBucketTaggingInput{Bucket: bucket, Tagging: &types.Tagging{TagSet: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}})
	wantError(t, "what is not built", err, 501, "NotImplemented")
}

func TestS3Presigned(t *testing.T) {
	t.Parallel()
	s := newS3Server(t, "us-east-1")
	c, ctx := s.bucket(t, "bucket"), t.Context()
	p := s3.NewPresignClient(c)
	put, err := p.PresignPutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("a b")})
	if err != nil {
		t.Fatal(err)
	}
	status, header, body := s.plainly(t, put.Method, put.URL, strings.NewReader("presigned"))
	if status != 200 || header.Get("ETag") == "" || header.Get("X-Amz-Request-Id") == "" {
		t.Errorf("%d %v %s", status, header, body)
	}
	status, _, body = s.plainly(t, put.Method, put.URL, io.MultiReader(strings.NewReader("of no known length")))
	if status != 411 || !strings.Contains(body, "<Code>MissingContentLength</Code>") {
		t.Errorf("without a length: %d %s", status, body)
	}
	get, err := p.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("a b"), ResponseContentType: aws.String("x/y")})
	if err != nil {
		t.Fatal(err)
	}
	status, header, body = s.plainly(t, get.Method, get.URL, nil)
	if status != 200 || body != "presigned" || header.Get("Content-Type") != "x/y" {
		t.Errorf("%d %v %s", status, header, body)
	}
}
