package servertest

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
)

func location() *s3types.CreateBucketConfiguration {
	return &s3types.CreateBucketConfiguration{LocationConstraint: Region}
}

// Request is one request to be signed by hand, for what no SDK would send.
type Request struct {
	Method, Target string // Target is the request target, sent as it stands
	Host           string // "" is the API port's address
	Header         http.Header
	Body           string

	Service, Region string // "" is s3, and the server's region
	Time            time.Time
	Presign         bool
	AfterSigning    func(*http.Request) // tampers
}

// Do signs a request by the SDK's signer, sends it and returns the status and the answer.
func (s *Server) Do(p aws.CredentialsProvider, q Request) (int, string) {
	s.tb.Helper()
	res, err := s.Transport().RoundTrip(s.Signed(p, q))
	s.ok(err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	s.ok(err)
	return res.StatusCode, string(body)
}

// Transport speaks HTTPS to the API port and follows nothing.
func (s *Server) Transport() *http.Transport {
	tr := &http.Transport{TLSClientConfig: s.TLS()}
	s.tb.Cleanup(tr.CloseIdleConnections)
	return tr
}

// Signed is the signed request itself.
func (s *Server) Signed(p aws.CredentialsProvider, q Request) *http.Request {
	s.tb.Helper()
	ctx := s.tb.Context()
	if q.Service == "" {
		q.Service = "s3"
	}
	if q.Region == "" {
		q.Region = Region
	}
	if q.Time.IsZero() {
		q.Time = s.Clock.Now()
	}
	r, err := http.NewRequestWithContext(ctx, q.Method, "https://"+s.APIAddr()+q.Target, strings.NewReader(q.Body))
	s.ok(err)
	if q.Host != "" {
		r.Host = q.Host
	}
	maps.Copy(r.Header, q.Header)
	if p != nil {
		keys, err := p.Retrieve(ctx)
		s.ok(err)
		signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = q.Service == "s3" })
		sum := sha256.Sum256([]byte(q.Body))
		hash := hex.EncodeToString(sum[:])
		if q.Presign {
			if q.Service == "s3" {
				hash = "UNSIGNED-PAYLOAD"
			}
			url, header, err := signer.PresignHTTP(ctx, keys, r, hash, q.Service, q.Region, q.Time)
			s.ok(err)
			u, err := r.URL.Parse(url)
			s.ok(err)
			r.URL = u
			maps.Copy(r.Header, header)
		} else {
			if q.Service == "s3" {
				r.Header.Set("X-Amz-Content-Sha256", hash)
			}
			s.ok(signer.SignHTTP(ctx, keys, r, hash, q.Service, q.Region, q.Time))
		}
	}
	if q.AfterSigning != nil {
		q.AfterSigning(r)
	}
	return r
}
