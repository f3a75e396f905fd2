package api

import (
	"context"
	"crypto/md5" //nolint:gosec // Content-MD5 is what S3 takes
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"strings"
	"unicode/utf8"

	m "github.com/sekisho-iot/sekisho/internal/api/model/s3"
	"github.com/sekisho-iot/sekisho/internal/awsapi"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/s3"
)

func (r *s3Rows) objectRows() []Operation {
	return []Operation{
		anonymously(s3op("PutObject", "PutObject", func(_ *Call, in *m.PutObjectInput) string { return s3ObjectARN(in.Bucket, in.Key) }, r.putObject)),
		anonymously(s3op("GetObject", "GetObject", func(_ *Call, in *m.GetObjectInput) string { return s3ObjectARN(in.Bucket, in.Key) }, r.getObject)),
		anonymously(s3op("HeadObject", "GetObject", func(_ *Call, in *m.HeadObjectInput) string { return s3ObjectARN(in.Bucket, in.Key) }, r.headObject)),
		anonymously(s3op("GetObjectAttributes", "GetObjectAttributes", func(_ *Call, in *m.GetObjectAttributesInput) string { return s3ObjectARN(in.Bucket, in.Key) }, r.getObjectAttributes)),
		anonymously(s3op("DeleteObject", "DeleteObject", func(_ *Call, in *m.DeleteObjectInput) string { return s3ObjectARN(in.Bucket, in.Key) }, r.deleteObject)),
		// S3 has no permission for the request as a whole: every key is authorised by itself.
		anonymously(withoutAuthorization(op("DeleteObjects", "", nil, r.deleteObjects))),
		s3op("CopyObject", "PutObject", func(_ *Call, in *m.CopyObjectInput) string { return s3ObjectARN(in.Bucket, in.Key) }, r.copyObject),
		anonymously(withListKeys("ListObjects", "ListBucket", func(in *m.ListObjectsInput) (*string, s3ListKeys) {
			return in.Bucket, s3ListKeys{in.Prefix, in.Delimiter, in.MaxKeys}
		}, r.listObjects)),
		anonymously(withListKeys("ListObjectsV2", "ListBucket", func(in *m.ListObjectsV2Input) (*string, s3ListKeys) {
			return in.Bucket, s3ListKeys{in.Prefix, in.Delimiter, in.MaxKeys}
		}, r.listObjectsV2)),
		withListKeys("ListObjectVersions", "ListBucketVersions", func(in *m.ListObjectVersionsInput) (*string, s3ListKeys) {
			return in.Bucket, s3ListKeys{in.Prefix, in.Delimiter, in.MaxKeys}
		}, r.listObjectVersions),
	}
}

func (r *s3Rows) putObject(ctx context.Context, c *Call, in *m.PutObjectInput) (*m.PutObjectOutput, error) {
	if err := refuseUnsupported(c.HTTP.Header); err != nil {
		return nil, err
	}
	b, err := r.bucket(ctx, c, in.Bucket)
	if err != nil {
		return nil, err
	}
	put := &s3.PutInput{Bucket: b, Key: deref(in.Key), Headers: s3.Headers{
		ContentType: deref(in.ContentType), CacheControl: deref(in.CacheControl),
		ContentDisposition: deref(in.ContentDisposition), ContentEncoding: plainEncoding(in.ContentEncoding),
		ContentLanguage: deref(in.ContentLanguage), Expires: deref(in.Expires), Meta: in.Metadata,
	}}
	if put.If, err = writeConditions(in.IfMatch, in.IfNoneMatch); err != nil {
		return nil, err
	}
	if put.Content, err = content(c); err != nil {
		return nil, err
	}
	put.Origin = origin(c, in.Metadata)
	info, err := r.svc.PutObject(ctx, put)
	if err != nil {
		return nil, err
	}
	setChecksum(c.Writer.Header(), info.Checksum)
	return &m.PutObjectOutput{ETag: quoted(info.ETag)}, nil
}

// What a URL that was handed out over MQTT says of itself. It is signed with
// the rest of the URL, and decides nothing but what the ledger says.
const (
	doorParam     = "x-sekisho-door"
	uploadIDParam = "x-sekisho-upload-id"
)

// maxUploadID bounds what the ledger keeps of a device's own words.
const maxUploadID = 128

// origin is the device behind a call, nil for another caller.
func origin(c *Call, meta map[string]string) *s3.Origin {
	if c.Identity == nil || c.Identity.CertificateID == "" {
		return nil
	}
	q := c.HTTP.URL.Query()
	o := &s3.Origin{
		Certificate: c.Identity.CertificateID, Thing: c.Identity.ThingName, Began: c.Now,
		UploadID: meta[s3.MetaUploadID], OverMQTT: q.Get(doorParam) == "mqtt",
	}
	if id := q.Get(uploadIDParam); id != "" {
		o.UploadID = id
	}
	if len(o.UploadID) > maxUploadID || !utf8.ValidString(o.UploadID) || strings.Contains(o.UploadID, "\x00") {
		o.UploadID = ""
	}
	// The body is refused unless it has the hash that was signed.
	if h := c.HTTP.Header.Get("X-Amz-Content-Sha256"); c.Operation == "PutObject" && len(h) == 2*sha256.Size {
		o.SHA256 = strings.ToLower(h)
	}
	return o
}

func setChecksum(h http.Header, sum s3.Checksum) {
	if sum.Algorithm != s3.AlgorithmNone {
		h.Set("X-Amz-Checksum-"+string(sum.Algorithm), sum.Value)
		h.Set("X-Amz-Checksum-Type", string(sum.Type))
	}
}

// plainEncoding is a Content-Encoding without the coding of the transfer.
func plainEncoding(encoding *string) string {
	var kept []string
	for token := range strings.SplitSeq(deref(encoding), ",") {
		if token = strings.TrimSpace(token); token != "" && !strings.EqualFold(token, "aws-chunked") {
			kept = append(kept, token)
		}
	}
	return strings.Join(kept, ", ")
}

func writeConditions(match, noneMatch *string) (s3.WriteConditions, error) {
	c := s3.WriteConditions{IfMatch: deref(match)}
	switch deref(noneMatch) {
	case "":
	case "*":
		c.IfNoneMatch = true
	default:
		return c, refuse("NotImplemented", http.StatusNotImplemented, "If-None-Match of a write takes * alone.",
			awsapi.Param{Name: "Header", Value: "If-None-Match"})
	}
	return c, nil
}

// content describes the body of a streaming row.
func content(c *Call) (s3.Content, error) {
	body := s3.Content{Body: c.Body, Size: c.Body.Size(), BeforeCommit: c.Recheck}
	if body.Size < 0 {
		return body, refuse("MissingContentLength", http.StatusLengthRequired, "You must provide the Content-Length HTTP header.")
	}
	if body.Size > s3.MaxPut {
		return body, s3.TooLarge()
	}
	h := c.HTTP.Header
	if sent := h["Content-Md5"]; len(sent) > 0 {
		var err error
		if body.MD5, err = base64.StdEncoding.DecodeString(sent[0]); err != nil || len(body.MD5) != md5.Size {
			return body, iot.Errorf(iot.KindInvalid, "digest", "The Content-MD5 you specified was invalid.")
		}
	}
	sum, trailer, err := announcedChecksum(h)
	if err != nil {
		return body, err
	}
	body.Algorithm, body.Want = sum.Algorithm, sum.Value
	if trailer != "" {
		body.Trailer = func() string { return c.Body.Trailer().Get(trailer) }
	}
	return body, nil
}

const checksumPrefix = "X-Amz-Checksum-"

func isChecksum(name string) bool {
	suffix, ok := strings.CutPrefix(name, checksumPrefix)
	return ok && suffix != "Type" && suffix != "Algorithm" && suffix != "Mode"
}

// announcedChecksum finds the one checksum that a request carries, in a header
// or in a trailer, whose name it returns then.
func announcedChecksum(h http.Header) (sum s3.Checksum, trailer string, err error) {
	var names []string
	for name, values := range h {
		if isChecksum(name) {
			names = append(names, name)
			sum.Value = strings.TrimSpace(values[0])
		}
	}
	for _, line := range h["X-Amz-Trailer"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = http.CanonicalHeaderKey(strings.TrimSpace(name)); isChecksum(name) {
				names = append(names, name)
				trailer = name
			}
		}
	}
	if len(names) > 1 {
		return sum, "", iot.Errorf(iot.KindInvalid, "request", "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
	}
	if len(names) == 1 {
		if sum.Algorithm, err = s3.ParseAlgorithm(strings.TrimPrefix(names[0], checksumPrefix)); err != nil {
			return sum, "", err
		}
	}
	named := h.Get("X-Amz-Sdk-Checksum-Algorithm")
	if named == "" {
		return sum, trailer, nil
	}
	if len(names) == 0 {
		return sum, "", iot.Errorf(iot.KindInvalid, "request",
			"x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.")
	}
	if !strings.EqualFold(named, string(sum.Algorithm)) {
		return sum, "", iot.Errorf(iot.KindInvalid, "request", "Value for x-amz-sdk-checksum-algorithm header is invalid.")
	}
	return sum, trailer, nil
}

// checkDocument judges the digests of an S3 request whose body was read whole.
// Of CompleteMultipartUpload the checksum headers are those of the object.
func checkDocument(h http.Header, operation string, b *awsapi.BodyReader, body []byte) error {
	text := h.Get("Content-Md5")
	if text != "" {
		want, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(want) != md5.Size {
			return iot.Errorf(iot.KindInvalid, "digest", "The Content-MD5 you specified was invalid.")
		}
		if sum := md5.Sum(body); subtle.ConstantTimeCompare(sum[:], want) != 1 { //nolint:gosec // see above
			return s3.BadDigest("Content-MD5")
		}
	}
	if operation == "CompleteMultipartUpload" {
		return nil
	}
	sum, trailer, err := announcedChecksum(h)
	if err != nil {
		return err
	}
	if trailer != "" {
		sum.Value = b.Trailer().Get(trailer)
	}
	if sum.Value == "" {
		if operation == "DeleteObjects" && text == "" {
			return iot.Errorf(iot.KindInvalid, "request", "Missing required header for this request: Content-MD5 OR x-amz-checksum-*")
		}
		return nil
	}
	if !sum.Algorithm.ValidValue(sum.Value) {
		return s3.InvalidChecksum(sum.Algorithm)
	}
	hash := sum.Algorithm.NewHash()
	hash.Write(body)
	if base64.StdEncoding.EncodeToString(hash.Sum(nil)) != sum.Value {
		return s3.BadDigest(string(sum.Algorithm))
	}
	return nil
}
