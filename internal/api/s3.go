package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"

	s3model "github.com/sekisho-iot/sekisho/internal/api/model/s3"
	"github.com/sekisho-iot/sekisho/internal/awsapi"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
	"github.com/sekisho-iot/sekisho/internal/s3"
)

// S3 returns the rows of S3.
func S3(svc *s3.Service) Service {
	r := &s3Rows{svc: svc}
	return Service{
		Name: "s3",
		Operations: append(append(append(
			r.bucketRows(), r.configurationRows()...), r.objectRows()...), r.uploadRows()...),
		ResourcePolicy: r.resourcePolicy,
	}
}

// s3Rows are the handlers of S3's operations.
type s3Rows struct{ svc *s3.Service }

// s3op is op with the condition keys of S3.
func s3op[In, Out any](name, action string, resource func(*Call, *In) string, handle func(context.Context, *Call, *In) (*Out, error)) Operation {
	return withKeys(op(name, "s3:"+action, resource, handle), func(c *Call, _ *In) policy.Keys { return &s3Keys{call: c} })
}

func s3BucketARN(bucket *string) string { return "arn:aws:s3:::" + deref(bucket) }

func s3ObjectARN(bucket, key *string) string {
	return "arn:aws:s3:::" + deref(bucket) + "/" + deref(key)
}

func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// resourcePolicy returns the policy of the bucket that an ARN is about. A
// bucket that does not exist grants nothing; that it is missing is for the
// handler to say, to those who may know.
func (r *s3Rows) resourcePolicy(ctx context.Context, resource string) (*policy.Policy, error) {
	name, _, _ := strings.Cut(strings.TrimPrefix(resource, "arn:aws:s3:::"), "/")
	b, err := r.svc.Bucket(ctx, name)
	if iot.IsKind(err, iot.KindNotFound) {
		return nil, nil //nolint:nilnil // no policy is an answer
	}
	if err != nil {
		return nil, err
	}
	return b.Policy, nil
}

// bucket returns the bucket that a request is about, and refuses what holds for
// no bucket of ours.
func (r *s3Rows) bucket(ctx context.Context, c *Call, name *string) (*s3.Bucket, error) {
	if owner := c.HTTP.Header.Get("X-Amz-Expected-Bucket-Owner"); owner != "" && owner != string(c.Account) {
		return nil, iot.Errorf(iot.KindDenied, "", "The bucket belongs to another account than the expected one")
	}
	return r.svc.Bucket(ctx, deref(name))
}

// checkVersion refuses to name versions: objects have one, called null.
func checkVersion(id *string) error {
	if v := deref(id); v != "" && v != "null" {
		return iot.Errorf(iot.KindInvalid, "argument", "Invalid version id specified")
	}
	return nil
}

// ownerID is the canonical user id of an account: opaque, and always the same.
func ownerID(account iot.AccountID) *string {
	sum := sha256.Sum256([]byte("canonical user " + account))
	id := hex.EncodeToString(sum[:])
	return &id
}

func owner(c *Call) *s3model.Owner { return &s3model.Owner{ID: ownerID(c.Account)} }

func quoted(etag string) *string { return new(`"` + etag + `"`) }

// s3Keys answers the condition keys of S3.
//
// Source: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
type s3Keys struct {
	call *Call
	list *s3ListKeys // of listings

	location *string // of CreateBucket
}

type s3ListKeys struct {
	prefix, delimiter *string
	max               *int32
}

// Lookup implements policy.Keys.
func (k *s3Keys) Lookup(key string) policy.Values {
	h := k.call.HTTP.Header
	switch key {
	case "s3:authtype":
		switch {
		case k.call.Identity == nil:
			return policy.Absent("the request is anonymous")
		case h.Get("Authorization") == "":
			return policy.One("REST-QUERY-STRING")
		}
		return policy.One("REST-HEADER")
	case "s3:signatureversion":
		if k.call.Identity == nil {
			return policy.Absent("the request is anonymous")
		}
		return policy.One("AWS4-HMAC-SHA256")
	case "s3:signatureage":
		if k.call.Identity == nil {
			return policy.Absent("the request is anonymous")
		}
		return policy.One(strconv.FormatInt(k.call.Now.Sub(k.call.SignedAt).Milliseconds(), 10))
	case "s3:resourceaccount":
		return policy.One(string(k.call.Account))
	case "s3:prefix", "s3:delimiter", "s3:max-keys":
		return k.listing(key)
	case "s3:objectcreationoperation":
		return k.creation()
	case "s3:locationconstraint":
		return pointerValue(k.location, "the request names no location")
	case "s3:versionid":
		return headerValue(k.call.HTTP.URL.Query().Get("versionId"), "the request names no version")
	case "s3:tlsversion":
		if t := k.call.HTTP.TLS; t != nil {
			return policy.One("1." + strconv.Itoa(int(t.Version)-0x0301))
		}
		return policy.Absent("the request came without TLS")
	}
	return s3HeaderKey(h, key)
}

// s3HeaderKey answers the condition keys that are headers.
func s3HeaderKey(h http.Header, key string) policy.Values {
	var name string
	switch key {
	case "s3:x-amz-acl":
		name = "X-Amz-Acl"
	case "s3:x-amz-content-sha256":
		name = "X-Amz-Content-Sha256"
	case "s3:x-amz-copy-source":
		name = "X-Amz-Copy-Source"
	case "s3:x-amz-metadata-directive":
		name = "X-Amz-Metadata-Directive"
	case "s3:x-amz-server-side-encryption":
		name = "X-Amz-Server-Side-Encryption"
	case "s3:x-amz-storage-class":
		name = "X-Amz-Storage-Class"
	case "s3:x-amz-grant-full-control":
		name = "X-Amz-Grant-Full-Control"
	case "s3:x-amz-grant-read":
		name = "X-Amz-Grant-Read"
	case "s3:x-amz-grant-write":
		name = "X-Amz-Grant-Write"
	case "s3:x-amz-object-ownership":
		name = "X-Amz-Object-Ownership"
	case "s3:if-match":
		name = "If-Match"
	case "s3:if-none-match":
		name = "If-None-Match"
	default:
		return policy.Absent("the request carries no such key")
	}
	if v := h[name]; len(v) > 0 {
		return policy.One(strings.Join(v, ",")) // as it is decoded
	}
	return policy.Absent("the request has no such header")
}

func pointerValue(s *string, why string) policy.Values {
	if s == nil {
		return policy.Absent(why)
	}
	return policy.One(*s)
}

// creation tells the operations of s3:PutObject that make an object from those
// that only prepare one, which take no conditions.
//
// Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html
func (k *s3Keys) creation() policy.Values {
	switch k.call.Operation {
	case "PutObject", "CopyObject", "CompleteMultipartUpload":
		return policy.One("true")
	case "CreateMultipartUpload", "UploadPart", "UploadPartCopy":
		return policy.One("false")
	}
	return policy.Absent("only uploads have it")
}

func (k *s3Keys) listing(key string) policy.Values {
	const why = "the request has no such parameter"
	switch {
	case k.list == nil:
		return policy.Absent("only listings have it")
	case key == "s3:prefix":
		return pointerValue(k.list.prefix, why)
	case key == "s3:delimiter":
		return pointerValue(k.list.delimiter, why)
	case k.list.max == nil:
		return policy.Absent(why)
	}
	return policy.One(strconv.Itoa(int(*k.list.max)))
}

// refuseUnsupported refuses the headers of a write whose meaning we could not
// keep: to ignore them would be a false success.
func refuseUnsupported(h http.Header) error {
	switch acl := h.Get("X-Amz-Acl"); acl {
	case "", "private", "bucket-owner-full-control":
	default:
		return errNoACLs()
	}
	for _, name := range []string{
		"X-Amz-Grant-Full-Control", "X-Amz-Grant-Read", "X-Amz-Grant-Read-Acp", "X-Amz-Grant-Write", "X-Amz-Grant-Write-Acp",
	} {
		if h.Get(name) != "" {
			return errNoACLs()
		}
	}
	switch class := h.Get("X-Amz-Storage-Class"); class {
	case "", "STANDARD":
	default:
		return refuse("InvalidStorageClass", http.StatusBadRequest, "The storage class you specified is not valid: only STANDARD is kept here.")
	}
	for _, name := range []string{"X-Amz-Object-Lock-Mode", "X-Amz-Object-Lock-Retain-Until-Date", "X-Amz-Object-Lock-Legal-Hold"} {
		if h.Get(name) != "" {
			return iot.Errorf(iot.KindInvalid, "request", "Bucket is missing Object Lock Configuration")
		}
	}
	for _, f := range [...]struct{ header, what string }{
		{"X-Amz-Server-Side-Encryption", "Server-side encryption"},
		{"X-Amz-Server-Side-Encryption-Customer-Algorithm", "Server-side encryption with customer keys"},
		{"X-Amz-Copy-Source-Server-Side-Encryption-Customer-Algorithm", "Server-side encryption with customer keys"},
		{"X-Amz-Tagging", "Tagging of objects"},
		{"X-Amz-Website-Redirect-Location", "Website redirection"},
		{"X-Amz-Write-Offset-Bytes", "Appending to objects"},
	} {
		if h.Get(f.header) != "" {
			return refuse("NotImplemented", http.StatusNotImplemented, f.what+" is not implemented.", awsapi.Param{Name: "Header", Value: f.header})
		}
	}
	return nil
}

func errNoACLs() error {
	return refuse("AccessControlListNotSupported", http.StatusBadRequest, "The bucket does not allow ACLs")
}
