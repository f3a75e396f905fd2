package awsapi_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/sekisho-iot/sekisho/internal/awsapi"
)

const (
	testKey    = "AKIAIOSFODNN7EXAMPLE"
	testSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	emptyHash  = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

func testTime() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// received is r as a server gets it from the wire.
func received(tb testing.TB, r *http.Request) *http.Request {
	tb.Helper()
	got := &http.Request{
		Method: r.Method, RequestURI: r.URL.RequestURI(), Host: r.URL.Host, Header: r.Header.Clone(),
		ContentLength: r.ContentLength, Body: r.Body,
	}
	if r.Host != "" {
		got.Host = r.Host
	}
	u, err := url.ParseRequestURI(got.RequestURI)
	if err != nil {
		tb.Fatal(err)
	}
	got.URL = u
	return got
}

// sdkRequest signs with the SDK's own signer, as its clients do.
func sdkRequest(tb testing.TB, service, method, rawPath, rawQuery, token string, presign bool) *http.Request {
	tb.Helper()
	path, err := url.PathUnescape(rawPath)
	if err != nil {
		tb.Fatal(err)
	}
	r, err := http.NewRequestWithContext(context.Background(), method, "http://host.example:4566/", http.NoBody)
	if err != nil {
		tb.Fatal(err)
	}
	r.URL.Path, r.URL.RawPath, r.URL.RawQuery = path, rawPath, rawQuery
	r.Header.Set("X-Amz-Meta-Note", "  two  words ")
	r.Header.Set("User-Agent", "test")
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = service == "s3" })
	creds := aws.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret, SessionToken: token}
	if !presign {
		r.Header.Set("X-Amz-Content-Sha256", emptyHash)
		if err := signer.SignHTTP(context.Background(), creds, r, emptyHash, service, "us-east-1", testTime()); err != nil {
			tb.Fatal(err)
		}
		return received(tb, r)
	}
	r.URL.RawQuery += "&X-Amz-Expires=60"
	hash := emptyHash
	if service == "s3" {
		hash = "UNSIGNED-PAYLOAD"
	}
	signed, header, err := signer.PresignHTTP(context.Background(), creds, r, hash, service, "us-east-1", testTime())
	if err != nil {
		tb.Fatal(err)
	}
	u, err := url.Parse(signed)
	if err != nil {
		tb.Fatal(err)
	}
	return received(tb, &http.Request{Method: method, URL: u, Header: header})
}

// sdkEscape is how the SDK writes a key into a path.
func sdkEscape(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~/", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func TestSDKSignaturesVerify(t *testing.T) {
	t.Parallel()
	alphabet := []string{"a", "Z", "9", "-", ".", "_", "~", "/", "//", "..", "/./", " ", "(", ")", "'", "*", "!", "%2F", "%", "+", "&", "=", "$", "@", ":", ",", ";", "é", "サ", "\x01", "?", "#"}
	rnd := rand.New(rand.NewPCG(1, 2))
	word := func(n int) string {
		var b strings.Builder
		for range n {
			b.WriteString(alphabet[rnd.IntN(len(alphabet))])
		}
		return b.String()
	}
	v := awsapi.NewVerifier()
	for i := range 6000 {
		service := []string{"s3", "iot", "lambda"}[i%3]
		path := "/" + sdkEscape(word(rnd.IntN(12)))
		if strings.HasPrefix(path, "//") && service != "s3" {
			path = "/x" + path
		}
		query := url.Values{}
		for range rnd.IntN(4) {
			query.Add(word(1+rnd.IntN(3)), word(rnd.IntN(4)))
		}
		token := ""
		if i%5 == 0 {
			token = "token/with+odd=" + word(3)
			token = strings.Map(func(r rune) rune {
				if r < ' ' || r > '~' {
					return 'x'
				}
				return r
			}, token)
			token = strings.TrimSpace(token)
		}
		r := sdkRequest(t, service, []string{"GET", "PUT", "DELETE"}[rnd.IntN(3)], path, strings.ReplaceAll(query.Encode(), "+", "%20"), token, i%2 == 0)
		s, err := awsapi.ParseSignature(r)
		if err != nil {
			t.Fatalf("%s %s: %v", service, r.RequestURI, err)
		}
		if s.SessionToken != token || s.AccessKeyID != testKey {
			t.Fatalf("%s: read key %q, token %q, want token %q", r.RequestURI, s.AccessKeyID, s.SessionToken, token)
		}
		p, err := awsapi.PayloadOf(r, s)
		if err != nil {
			t.Fatal(err)
		}
		if p.Hash == "" {
			p.Hash = emptyHash
		}
		check := awsapi.Check{Secret: testSecret, Payload: p.Hash, Now: testTime().Add(30 * time.Second), Skew: 5 * time.Minute}
		if err := v.Verify(r, s, check); err != nil {
			t.Fatalf("%s %s: %v", service, r.RequestURI, err)
		}
		r.Method = "POST"
		if err := v.Verify(r, s, check); err == nil {
			t.Fatalf("%s %s: accepted with another method", service, r.RequestURI)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	r := sdkRequest(b, "s3", "GET", "/bucket/some/prefix/object.bin", "", "a-session-token-of-some-length", false)
	v := awsapi.NewVerifier()
	check := awsapi.Check{Secret: testSecret, Payload: emptyHash, Now: testTime(), Skew: time.Minute}
	for b.Loop() {
		s, err := awsapi.ParseSignature(r)
		if err != nil {
			b.Fatal(err)
		}
		if err := v.Verify(r, s, check); err != nil {
			b.Fatal(err)
		}
	}
}
