package awsapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
)

// PayloadKind is how a request says what its body is.
type PayloadKind uint8

// The kinds of payloads.
const (
	PayloadUndeclared      PayloadKind = iota // no x-amz-content-sha256: the body's hash is what was signed
	PayloadHashed                             // the SHA-256 of the body
	PayloadUnsigned                           // UNSIGNED-PAYLOAD
	PayloadChunked                            // STREAMING-AWS4-HMAC-SHA256-PAYLOAD
	PayloadChunkedTrailer                     // …-TRAILER
	PayloadUnsignedTrailer                    // STREAMING-UNSIGNED-PAYLOAD-TRAILER
)

const (
	headerContentSHA256 = "X-Amz-Content-Sha256"
	headerDecodedLength = "X-Amz-Decoded-Content-Length"
	headerTrailer       = "X-Amz-Trailer"
)

// Payload is a request's declaration of its body.
type Payload struct {
	Kind PayloadKind
	// Hash is the last line of the canonical request, "" when undeclared.
	Hash string
}

// PayloadOf reads the declaration of r, which s signed; s is nil for an
// anonymous request. S3 takes what the signature does not cover over HTTP too,
// which beyond loopback the operator must have allowed; any other service over
// TLS only. The error is a *RequestError.
//
// Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
func PayloadOf(r *http.Request, s *Signature) (Payload, error) {
	declared, err := singleHeader(r, headerContentSHA256)
	if err != nil {
		return Payload{}, err
	}
	presigned := s != nil && s.Presigned
	if presigned && declared == "" {
		declared = s.payload
	}
	p := Payload{Hash: declared}
	switch declared {
	case "":
		return undeclared(s)
	case "UNSIGNED-PAYLOAD":
		p.Kind = PayloadUnsigned
	case "STREAMING-UNSIGNED-PAYLOAD-TRAILER":
		p.Kind = PayloadUnsignedTrailer
	case "STREAMING-AWS4-HMAC-SHA256-PAYLOAD":
		p.Kind = PayloadChunked
	case "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER":
		p.Kind = PayloadChunkedTrailer
	default:
		if !isSHA256(declared) {
			return Payload{}, refuse(ReasonPayloadHeader, "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.")
		}
		p.Kind = PayloadHashed
	}
	return p, p.allowed(r, s, presigned)
}

func undeclared(s *Signature) (Payload, error) {
	switch {
	case s == nil:
		return Payload{Kind: PayloadUnsigned}, nil
	case s.Service != "s3":
		return Payload{}, nil
	case s.Presigned:
		return Payload{Kind: PayloadUnsigned, Hash: "UNSIGNED-PAYLOAD"}, nil
	}
	return Payload{}, refuse(ReasonPayloadHeader, "Missing required header for this request: x-amz-content-sha256")
}

func (p Payload) allowed(r *http.Request, s *Signature, presigned bool) error {
	switch p.Kind {
	case PayloadChunked, PayloadChunkedTrailer:
		if s == nil {
			return refuse(ReasonPayloadHeader, "%s needs a signed request", p.Hash)
		}
	case PayloadUnsigned, PayloadUnsignedTrailer:
		if s != nil && s.Service != "s3" && !presigned && r.TLS == nil {
			return refuse(ReasonPayloadHeader, "%s is accepted over TLS only: use HTTPS, or sign the payload", p.Hash)
		}
	case PayloadUndeclared, PayloadHashed:
	}
	if p.Kind >= PayloadChunked && s != nil && s.Service != "s3" {
		return refuse(ReasonPayloadHeader, "%s is for S3 only", p.Hash)
	}
	return nil
}

// HashOf returns the canonical form of the hash of a body that was read whole.
func HashOf(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// BodyReader reads the decoded body of a request. The bytes that Read returns
// are proven only by io.EOF: whatever was signed about the body, its length
// included, has been verified then. Until then they may be anybody's.
type BodyReader struct {
	src     io.Reader
	size    int64 // decoded; -1: unknown
	left    int64 // decoded bytes still to come; meaningless while size is unknown
	hash    hash.Hash
	want    string // the hash that was signed, "" for none
	sum     []byte
	chunks  *chunked
	trailer http.Header
	err     error // sticky
}

// NewBodyReader returns a reader of r's body as p declares it. The signature s
// must have been verified; it is nil for an anonymous request. Nothing is read
// before the first Read, so that Expect: 100-continue is answered by it.
func NewBodyReader(r *http.Request, s *Signature, p Payload) (*BodyReader, error) {
	b := &BodyReader{src: r.Body, size: r.ContentLength}
	if r.Body == nil || r.Body == http.NoBody {
		b.src, b.size = bytes.NewReader(nil), 0
	}
	switch p.Kind {
	case PayloadUndeclared, PayloadUnsigned:
	case PayloadHashed:
		b.want, b.hash = p.Hash, sha256.New()
	case PayloadChunked, PayloadChunkedTrailer, PayloadUnsignedTrailer:
		size, err := decodedLength(r)
		if err != nil {
			return nil, err
		}
		b.size = size
		if b.chunks, err = newChunked(r, s, p.Kind, b.src); err != nil {
			return nil, err
		}
	}
	b.left = b.size
	return b, nil
}

// Size returns the number of decoded bytes, -1 where the request does not say.
func (b *BodyReader) Size() int64 { return b.size }

// Trailer returns the announced trailing headers, x-amz-checksum-* of S3, and
// is empty before io.EOF.
func (b *BodyReader) Trailer() http.Header { return b.trailer }

// SHA256 returns the hash of the decoded body where verifying took one, after
// io.EOF; else nil.
func (b *BodyReader) SHA256() []byte { return b.sum }

// Read implements io.Reader. Errors but io.EOF are *RequestError where the
// client is to blame.
func (b *BodyReader) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := b.read(p)
	if b.size >= 0 {
		b.left -= int64(n)
		if b.left < 0 {
			n, err = 0, refuse(ReasonIncomplete, "The body is longer than the declared length")
		}
	}
	if b.hash != nil {
		b.hash.Write(p[:n])
	}
	if errors.Is(err, io.EOF) {
		err = b.finish()
	} else if err != nil {
		err = sourceError(err)
	}
	b.err = err
	return n, err
}

func (b *BodyReader) read(p []byte) (int, error) {
	if b.chunks != nil {
		return b.chunks.read(p, b.left)
	}
	return b.src.Read(p)
}

// finish judges the body at its end.
func (b *BodyReader) finish() error {
	if b.size >= 0 && b.left != 0 {
		return refuse(ReasonIncomplete, "You did not provide the number of bytes specified by the Content-Length HTTP header.")
	}
	if b.hash != nil {
		b.sum = b.hash.Sum(nil)
		if hex.EncodeToString(b.sum) != b.want {
			return refuse(ReasonPayloadHash, "The provided 'x-amz-content-sha256' header does not match what was computed.")
		}
	}
	if b.chunks != nil {
		b.trailer = b.chunks.trailer
	}
	return io.EOF
}

// sourceError tells what the client did from what the machine did.
func sourceError(err error) error {
	var refused *RequestError
	switch {
	case errors.As(err, &refused):
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &RequestError{ReasonTimeout, "Your socket connection to the server was not read from or written to within the timeout period. Idle connections will be closed.", err}
	default: // net/http: unexpected EOF, a broken transfer coding or a reset
		return &RequestError{ReasonIncomplete, "You did not provide the number of bytes specified by the Content-Length HTTP header.", err}
	}
}

// decodedLength reads the length of the body without its framing.
func decodedLength(r *http.Request) (int64, error) {
	text, err := singleHeader(r, headerDecodedLength)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, refuse(ReasonMissingLength, "You must provide the x-amz-decoded-content-length HTTP header.")
	}
	return int64(n), nil
}

func isSHA256(s string) bool {
	return len(s) == hex.EncodedLen(sha256.Size) && strings.Trim(s, "0123456789abcdef") == ""
}
