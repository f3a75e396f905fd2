package api

import (
	"crypto/rand"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/sekisho-iot/sekisho/internal/awsapi"
	"github.com/sekisho-iot/sekisho/internal/policy"
)

// BenchmarkPipeline is all that a small signed GET of S3 costs before and after
// the object itself.
func BenchmarkPipeline(b *testing.B) {
	h, err := New(Options{
		Services: testServices(b), Authenticator: &people{policy: mustPolicy(b, policy.Identity, `{"Version":"2012-10-17","Statement":[
			{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket/mine/*"}]}`)},
		Account: "123456789012", Region: region, PublicHosts: []string{"gate.example"},
		Logger: slog.New(slog.DiscardHandler), Now: testTime, Rand: rand.Reader,
	})
	if err != nil {
		b.Fatal(err)
	}
	r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "http://127.0.0.1:4566/bucket/mine/object.bin", http.NoBody)
	hash := awsapi.HashOf(nil)
	r.Header.Set("X-Amz-Content-Sha256", hash)
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	creds := aws.Credentials{AccessKeyID: userKey, SecretAccessKey: testSecret, SessionToken: strings.Repeat("t", 600)}
	if err := signer.SignHTTP(b.Context(), creds, r, hash, "s3", region, testTime()); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		w := &discard{header: http.Header{}}
		h.ServeHTTP(w, r)
		if w.status != http.StatusOK {
			b.Fatal(w.status)
		}
	}
}

type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header  { return d.header }
func (d *discard) WriteHeader(code int) { d.status = code }
func (d *discard) Write(p []byte) (int, error) {
	if d.status == 0 {
		d.status = http.StatusOK
	}
	return io.Discard.Write(p)
}
