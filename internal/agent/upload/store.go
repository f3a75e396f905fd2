package upload

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

const (
	stallTimeout   = 30 * time.Second // a connection that takes no bytes for so long is given up
	answerTimeout  = 2 * time.Minute  // so long may an answer take
	continueWithin = time.Second
)

// NewS3 makes the S3 client of an agent, which retries nothing by itself. base
// is for the TLS settings; dial opens TCP connections.
func NewS3(s *Settings, tr *http.Transport, provider aws.CredentialsProvider, dial func(ctx context.Context, address string) (net.Conn, error)) *s3.Client {
	tr.DialContext = func(ctx context.Context, _, address string) (net.Conn, error) { return dial(ctx, address) }
	tr.ExpectContinueTimeout = continueWithin
	tr.ResponseHeaderTimeout = answerTimeout
	tr.TLSHandshakeTimeout = stallTimeout
	tr.IdleConnTimeout = 90 * time.Second
	tr.MaxIdleConnsPerHost = s.Concurrency
	tr.WriteBufferSize = 64 << 10
	tr.ForceAttemptHTTP2 = false
	return s3.New(s3.Options{
		Region: s.Region, BaseEndpoint: aws.String(s.Endpoint), UsePathStyle: pathStyle(hostOf(s.Endpoint)),
		Credentials: provider, HTTPClient: &http.Client{Transport: &counting{tr}},
		Retryer:                    aws.NopRetryer{},
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
	})
}

// payloadHash has a request signed with the SHA-256 of its body, in hex, that is
// known already. Without one, as over TLS, which keeps bytes from being changed,
// the body is not signed; its checksum is.
func payloadHash(sha256 string) func(*s3.Options) {
	if sha256 == "" {
		sha256 = "UNSIGNED-PAYLOAD"
	}
	return s3.WithAPIOptions(func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("payloadHash",
			func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
				return next.HandleInitialize(v4.SetPayloadHash(ctx, sha256), in)
			}), middleware.Before)
	})
}

func hostOf(endpoint string) string {
	u, err := http.NewRequest(http.MethodGet, endpoint, http.NoBody) //nolint:noctx // never sent
	if err != nil {
		return ""
	}
	return u.URL.Host
}

// counting tells how many bytes of a request's body have been taken.
type counting struct{ next http.RoundTripper }

type sentKey struct{}

// withSent makes requests of ctx tell add of each piece of their body.
func withSent(ctx context.Context, add func(int64)) context.Context {
	return context.WithValue(ctx, sentKey{}, add)
}

// RoundTrip sends the request.
func (c *counting) RoundTrip(r *http.Request) (*http.Response, error) {
	if add, ok := r.Context().Value(sentKey{}).(func(int64)); ok && r.Body != nil && r.Body != http.NoBody {
		r = r.Clone(r.Context())
		r.Body = &countedBody{r.Body, add}
	}
	return c.next.RoundTrip(r)
}

type countedBody struct {
	io.ReadCloser
	add func(int64)
}

// Read counts what it reads.
func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.add(int64(n))
	return n, err
}

// answer is the status and code of S3's refusal; 0 for what is none.
func answer(err error) (status int, code string) {
	if re, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		status = re.HTTPStatusCode()
	}
	if ae, ok := errors.AsType[smithy.APIError](err); ok {
		code = ae.ErrorCode()
	}
	return status, code
}

// staleCredentials reports whether other credentials may be let through.
func staleCredentials(err error) bool {
	status, code := answer(err)
	switch code {
	case "ExpiredToken", "InvalidToken", "TokenRefreshRequired", "InvalidAccessKeyId":
		return true
	case "RequestTimeTooSkewed":
		return false
	default:
		return status == http.StatusUnauthorized || status == http.StatusForbidden
	}
}

// wrongBytes reports whether S3 received other bytes than were announced.
func wrongBytes(err error) bool {
	_, code := answer(err)
	switch code {
	case "BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "IncompleteBody", "InvalidDigest":
		return true
	default:
		return false
	}
}
