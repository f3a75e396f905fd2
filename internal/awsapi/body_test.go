package awsapi_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/sekisho-iot/sekisho/internal/awsapi"
)

const (
	signedChunks    = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	signedTrailer   = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
	unsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
	chunkedHead     = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders="
)

// publishedChunks is the example of the S3 API reference, sigv4-streaming.html.
func publishedChunks() (*http.Request, []byte) {
	r := vector{
		Method: http.MethodPut, Target: "/examplebucket/chunkObject.txt", Host: "s3.amazonaws.com",
		Headers: [][2]string{
			{"X-Amz-Date", "20130524T000000Z"},
			{"X-Amz-Storage-Class", "REDUCED_REDUNDANCY"},
			{"X-Amz-Content-Sha256", signedChunks},
			{"Content-Encoding", "aws-chunked"},
			{"X-Amz-Decoded-Content-Length", "66560"},
			{"Content-Length", "66824"},
			{"Authorization", chunkedHead + "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class,Signature=4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"},
		},
	}.request()
	body := "10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n" + strings.Repeat("a", 65536) +
		"\r\n400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n" + strings.Repeat("a", 1024) +
		"\r\n0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n"
	return r, []byte(body)
}

// publishedTrailer is the example of sigv4-streaming-trailers.html.
func publishedTrailer() (*http.Request, []byte) {
	r := vector{
		Method: http.MethodPut, Target: "/examplebucket/chunkObject.txt", Host: "s3.amazonaws.com",
		Headers: [][2]string{
			{"X-Amz-Date", "20130524T000000Z"},
			{"X-Amz-Storage-Class", "REDUCED_REDUNDANCY"},
			{"X-Amz-Content-Sha256", signedTrailer},
			{"Content-Encoding", "aws-chunked"},
			{"X-Amz-Decoded-Content-Length", "66560"},
			{"X-Amz-Trailer", "x-amz-checksum-crc32c"},
			{"Authorization", chunkedHead + "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer,Signature=106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"},
		},
	}.request()
	body := "10000;chunk-signature=b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2\r\n" + strings.Repeat("a", 65536) +
		"\r\n400;chunk-signature=1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7\r\n" + strings.Repeat("a", 1024) +
		"\r\n0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n" +
		"x-amz-checksum-crc32c:sOO8/Q==\n\r\n" +
		"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"
	return r, []byte(body)
}

// open verifies r's signature and returns the reader of its body.
func open(tb testing.TB, r *http.Request, body io.Reader) *awsapi.BodyReader {
	tb.Helper()
	r.Body = io.NopCloser(body)
	s, err := awsapi.ParseSignature(r)
	if err != nil {
		tb.Fatal(err)
	}
	p, err := awsapi.PayloadOf(r, s)
	if err != nil {
		tb.Fatal(err)
	}
	if s != nil {
		if err := awsapi.NewVerifier().Verify(r, s, awsapi.Check{Secret: testSecret, Payload: p.Hash, Now: s.Time}); err != nil {
			tb.Fatal(err)
		}
	}
	b, err := awsapi.NewBodyReader(r, s, p)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestPublishedChunkedUploads(t *testing.T) {
	t.Parallel()
	for name, example := range map[string]func() (*http.Request, []byte){"chunks": publishedChunks, "trailer": publishedTrailer} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, body := example()
			b := open(t, r, iotest.HalfReader(bytes.NewReader(body)))
			got, err := io.ReadAll(b)
			if err != nil || string(got) != strings.Repeat("a", 66560) || b.Size() != 66560 {
				t.Fatalf("read %d of %d bytes, %v", len(got), b.Size(), err)
			}
			want := ""
			if name == "trailer" {
				want = "sOO8/Q=="
			}
			if c := b.Trailer().Get("X-Amz-Checksum-Crc32c"); c != want {
				t.Errorf("the trailer's checksum is %q, want %q", c, want)
			}
			// Any bit of the body is covered but the letter case of hexadecimal
			// digits and the trailer's line ends.
			rnd := rand.New(rand.NewPCG(3, 4))
			for range 50 {
				r, bad := example()
				at := rnd.IntN(len(bad) - 10)
				bad[at] ^= 1 << rnd.IntN(5)
				if _, err := io.ReadAll(open(t, r, bytes.NewReader(bad))); err == nil && bad[at] != '\r' && bad[at] != '\n' && body[at] != '\r' && body[at] != '\n' {
					t.Errorf("accepted with byte %d changed from %q to %q", at, body[at], bad[at])
				}
				r, cut := example()
				if _, err := io.ReadAll(open(t, r, bytes.NewReader(cut[:at]))); err == nil {
					t.Errorf("accepted when cut to %d of %d bytes", at, len(cut))
				}
			}
		})
	}
}

func reasonOf(err error) awsapi.Reason {
	if e, ok := errors.AsType[*awsapi.RequestError](err); ok {
		return e.Reason
	}
	return 0
}

// anonymous is an unsigned upload with a trailer, which takes any framing.
func anonymous(length int, trailer string) *http.Request {
	r := vector{Method: http.MethodPut, Target: "/b/k", Host: "localhost"}.request()
	r.Header.Set("X-Amz-Content-Sha256", unsignedTrailer)
	r.Header.Set("X-Amz-Decoded-Content-Length", strconv.Itoa(length))
	if trailer != "" {
		r.Header.Set("X-Amz-Trailer", trailer)
	}
	r.ContentLength = -1
	return r
}

func TestUnsignedTrailerFraming(t *testing.T) {
	t.Parallel()
	const crc = "x-amz-checksum-crc32"
	big := strings.Repeat("x", 9000)
	long := strings.Repeat("y", 5000)
	tests := []struct {
		name, trailer, body string
		length              int
		want                awsapi.Reason // 0: accepted
	}{
		{"one chunk", crc, "5\r\nhello\r\n0\r\n" + crc + ":AAAAAA==\r\n\r\n", 5, 0},
		{"upper-case size", crc, "A\r\nhellohello\r\n0\r\n" + crc + ":AAAAAA==\r\n\r\n", 10, 0},
		{"empty", crc, "0\r\n" + crc + ":AAAAAA==\r\n\r\n", 0, 0},
		{"no trailer announced", "", "5\r\nhello\r\n0\r\n\r\n", 5, 0},
		{"no last line end", "", "5\r\nhello\r\n0\r\n", 5, 0},
		{"two chunks", "", "2328\r\n" + big + "\r\n5\r\nhello\r\n0\r\n\r\n", 9005, 0},
		{"two trailers", crc + ", x-amz-meta", "0\r\n" + crc + ":A\r\nx-amz-meta: b\r\n\r\n", 0, 0},
		{"short chunk first", "", "5\r\nhello\r\n2328\r\n" + big + "\r\n0\r\n\r\n", 9005, awsapi.ReasonChunkSize},
		{"nothing at all", "", "", 0, awsapi.ReasonIncomplete},
		{"no last chunk", "", "5\r\nhello\r\n", 5, awsapi.ReasonIncomplete},
		{"cut in the chunk", "", "5\r\nhel", 5, awsapi.ReasonIncomplete},
		{"cut after the chunk", "", "5\r\nhello", 5, awsapi.ReasonIncomplete},
		{"cut in the line end", "", "5\r\nhello\r", 5, awsapi.ReasonIncomplete},
		{"cut in the size", "", "5", 5, awsapi.ReasonIncomplete},
		{"cut in the trailer", crc, "5\r\nhello\r\n0\r\n" + crc, 5, awsapi.ReasonIncomplete},
		{"shorter than declared", "", "5\r\nhello\r\n0\r\n\r\n", 6, awsapi.ReasonIncomplete},
		{"longer than declared", "", "5\r\nhello\r\n0\r\n\r\n", 4, awsapi.ReasonIncomplete},
		{"huge chunk", "", "7fffffffffffffff\r\nhello", 5, awsapi.ReasonIncomplete},
		{"size overflows", "", "ffffffffffffffff\r\nhello", 5, awsapi.ReasonChunk},
		{"size too long", "", "00000000000000005\r\nhello\r\n0\r\n", 5, awsapi.ReasonChunk},
		{"size signed", "", "-5\r\nhello\r\n0\r\n", 5, awsapi.ReasonChunk},
		{"size empty", "", "\r\nhello\r\n0\r\n", 5, awsapi.ReasonChunk},
		{"chunk longer than its size", "", "4\r\nhello\r\n0\r\n", 5, awsapi.ReasonChunk},
		{"size line too long", "", "5;" + strings.Repeat("x", 300) + "\r\nhello\r\n0\r\n", 5, awsapi.ReasonChunk},
		{"line without end", "", long, 5, awsapi.ReasonChunk},
		{"trailer missing", crc, "5\r\nhello\r\n0\r\n\r\n", 5, awsapi.ReasonTrailer},
		{"trailer not announced", "", "5\r\nhello\r\n0\r\n" + crc + ":A\r\n\r\n", 5, awsapi.ReasonTrailer},
		{"trailer twice", crc, "0\r\n" + crc + ":A\r\n" + crc + ":A\r\n\r\n", 0, awsapi.ReasonTrailer},
		{"trailer announced twice", crc + "," + crc, "0\r\n" + crc + ":A\r\n\r\n", 0, awsapi.ReasonTrailer},
		{"trailer without colon", crc, "0\r\n" + crc + "\r\n\r\n", 0, awsapi.ReasonTrailer},
		{"trailer name bad", crc, "0\r\na b:c\r\n\r\n", 0, awsapi.ReasonTrailer},
		{"trailer too long", crc, "0\r\n" + crc + ":" + strings.Repeat("A", 3000) + "\r\n" + crc + ":" + strings.Repeat("A", 3000) + "\r\n", 0, awsapi.ReasonChunk},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := open(t, anonymous(tc.length, tc.trailer), strings.NewReader(tc.body))
			got, err := io.ReadAll(b)
			if reasonOf(err) != tc.want || (err == nil) != (tc.want == 0) {
				t.Fatalf("read %q, %v; want reason %d", got, err, tc.want)
			}
			if n, again := b.Read(make([]byte, 1)); n != 0 || again == nil || err != nil && !errors.Is(again, err) {
				t.Errorf("reading on gives %d bytes, %v", n, again)
			}
		})
	}
	for _, names := range []string{"a b", strings.Repeat("x,", 9) + "x"} {
		r := anonymous(0, names)
		p, err := awsapi.PayloadOf(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := awsapi.NewBodyReader(r, nil, p); reasonOf(err) != awsapi.ReasonTrailer {
			t.Errorf("x-amz-trailer %q: %v", names, err)
		}
	}
}

func TestSignedTrailerMustBeSigned(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(string) string{
		"absent":  func(s string) string { return s[:strings.Index(s, "x-amz-trailer-signature")] },
		"short":   func(s string) string { return strings.Replace(s, "trailer-signature:d8", "trailer-signature:", 1) },
		"not hex": func(s string) string { return strings.Replace(s, "trailer-signature:d8", "trailer-signature:zz", 1) },
		"wrong":   func(s string) string { return strings.Replace(s, "trailer-signature:d8", "trailer-signature:d9", 1) },
		"value":   func(s string) string { return strings.Replace(s, "sOO8", "sOO9", 1) },
		"chunk unsigned": func(s string) string {
			return strings.Replace(s, "10000;chunk-signature=", "10000;chunk-sig=", 1)
		},
		"chunk not hex": func(s string) string { return strings.Replace(s, "chunk-signature=b4", "chunk-signature=zz", 1) },
		"chunk wrong":   func(s string) string { return strings.Replace(s, "chunk-signature=b4", "chunk-signature=b5", 1) },
		"last wrong":    func(s string) string { return strings.Replace(s, "chunk-signature=2c", "chunk-signature=2d", 1) },
		"last missing":  func(s string) string { return strings.Replace(s, "\r\n0;chunk-signature=", "\r\n0;", 1) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, body := publishedTrailer()
			changed := change(string(body))
			if changed == string(body) {
				t.Fatal("nothing changed")
			}
			if _, err := io.ReadAll(open(t, r, strings.NewReader(changed))); reasonOf(err) == 0 {
				t.Errorf("read to the end: %v", err)
			}
		})
	}
}

func TestHashedBody(t *testing.T) {
	t.Parallel()
	const text = "Welcome to Amazon S3."
	put := func(body io.Reader, length int64) *awsapi.BodyReader {
		r := vector{Method: http.MethodPut, Target: "/b/k", Host: "localhost", Headers: [][2]string{
			{"X-Amz-Content-Sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"},
		}}.request()
		r.ContentLength = length
		return open(t, r, body)
	}
	b := put(strings.NewReader(text), -1)
	if n, err := b.Read(nil); n != 0 || err != nil {
		t.Errorf("an empty read gives %d, %v", n, err)
	}
	got, err := io.ReadAll(b)
	if err != nil || string(got) != text || b.Size() != -1 {
		t.Fatalf("read %q of %d, %v", got, b.Size(), err)
	}
	if hex.EncodeToString(b.SHA256()) != awsapi.HashOf([]byte(text)) || b.Trailer() != nil {
		t.Errorf("SHA256 %x, trailer %v", b.SHA256(), b.Trailer())
	}
	for _, tc := range []struct {
		body   io.Reader
		length int64
		want   awsapi.Reason
	}{
		{strings.NewReader("Welcome to Amazon S4."), 21, awsapi.ReasonPayloadHash},
		{strings.NewReader(text[:20]), 21, awsapi.ReasonIncomplete},
		{strings.NewReader(text + "!"), 21, awsapi.ReasonIncomplete},
		{io.MultiReader(strings.NewReader(text[:9]), iotest.ErrReader(io.ErrUnexpectedEOF)), 21, awsapi.ReasonIncomplete},
		{iotest.ErrReader(os.ErrDeadlineExceeded), 21, awsapi.ReasonTimeout},
	} {
		_, err := io.ReadAll(put(tc.body, tc.length))
		if reasonOf(err) != tc.want || err.Error() == "" {
			t.Errorf("%v, want reason %d", err, tc.want)
		}
	}
	if _, err := io.ReadAll(put(iotest.ErrReader(os.ErrDeadlineExceeded), 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v hides its cause", err)
	}
	r := vector{Method: http.MethodGet, Target: "/", Host: "localhost"}.request()
	empty, err := awsapi.NewBodyReader(r, nil, awsapi.Payload{Kind: awsapi.PayloadUnsigned})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := empty.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) || empty.Size() != 0 {
		t.Errorf("a request without a body reads %d, %v", n, err)
	}
}

func TestChunkedReadErrors(t *testing.T) {
	t.Parallel()
	for _, head := range []string{"", "5\r\n", "5\r\nhello", "5\r\nhello\r\n0\r\n"} {
		b := open(t, anonymous(5, ""), io.MultiReader(strings.NewReader(head), iotest.ErrReader(os.ErrDeadlineExceeded)))
		if _, err := io.ReadAll(b); reasonOf(err) != awsapi.ReasonTimeout {
			t.Errorf("after %q: %v", head, err)
		}
	}
}

func TestPayloadDeclarations(t *testing.T) {
	t.Parallel()
	s3 := &awsapi.Signature{Service: "s3"}
	query := &awsapi.Signature{Service: "s3", Presigned: true}
	sts := &awsapi.Signature{Service: "sts"}
	tests := []struct {
		declared string
		s        *awsapi.Signature
		tls      bool
		kind     awsapi.PayloadKind
		ok       bool
	}{
		{emptyHash, s3, false, awsapi.PayloadHashed, true},
		{emptyHash, nil, false, awsapi.PayloadHashed, true},
		{strings.ToUpper(emptyHash), s3, false, 0, false},
		{emptyHash[1:], s3, false, 0, false},
		{"STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", s3, true, 0, false},
		{"UNSIGNED-PAYLOAD", s3, true, awsapi.PayloadUnsigned, true},
		{"UNSIGNED-PAYLOAD", s3, false, awsapi.PayloadUnsigned, true},
		{"UNSIGNED-PAYLOAD", query, false, awsapi.PayloadUnsigned, true},
		{"UNSIGNED-PAYLOAD", nil, false, awsapi.PayloadUnsigned, true},
		{"UNSIGNED-PAYLOAD", sts, false, 0, false},
		{unsignedTrailer, s3, true, awsapi.PayloadUnsignedTrailer, true},
		{unsignedTrailer, s3, false, awsapi.PayloadUnsignedTrailer, true},
		{unsignedTrailer, nil, false, awsapi.PayloadUnsignedTrailer, true},
		{unsignedTrailer, sts, true, 0, false},
		{signedChunks, s3, false, awsapi.PayloadChunked, true},
		{signedChunks, nil, true, 0, false},
		{signedTrailer, s3, false, awsapi.PayloadChunkedTrailer, true},
		{signedTrailer, nil, false, 0, false},
		{signedChunks, sts, false, 0, false},
		{"", s3, true, 0, false},
		{"", sts, false, awsapi.PayloadUndeclared, true},
		{"", query, false, awsapi.PayloadUnsigned, true},
		{"", nil, false, awsapi.PayloadUnsigned, true},
	}
	for _, tc := range tests {
		r := vector{Method: http.MethodPut, Target: "/", Host: "localhost"}.request()
		if tc.declared != "" {
			r.Header.Set("X-Amz-Content-Sha256", tc.declared)
		}
		if tc.tls {
			r.TLS = &tls.ConnectionState{}
		}
		p, err := awsapi.PayloadOf(r, tc.s)
		if (err == nil) != tc.ok || tc.ok && p.Kind != tc.kind {
			t.Errorf("%q by %+v, TLS %t: %+v, %v", tc.declared, tc.s, tc.tls, p, err)
		}
	}
	r := vector{Method: http.MethodPut, Target: "/", Host: "localhost"}.request()
	r.Header["X-Amz-Content-Sha256"] = []string{emptyHash, emptyHash}
	if _, err := awsapi.PayloadOf(r, s3); err == nil {
		t.Error("x-amz-content-sha256 may be given twice")
	}
	for _, length := range [][]string{nil, {""}, {"x"}, {"-1"}, {"5", "5"}, {"9223372036854775808"}} {
		r := anonymous(0, "")
		r.Header["X-Amz-Decoded-Content-Length"] = length
		if _, err := awsapi.NewBodyReader(r, nil, awsapi.Payload{Kind: awsapi.PayloadUnsignedTrailer}); err == nil {
			t.Errorf("decoded length %q is accepted", length)
		}
	}
}

// signedRequest is a small upload of goodScope, and its body signed in chunks.
func signedRequest(tb testing.TB, kind, text string) (*http.Request, []byte) {
	tb.Helper()
	length := strconv.Itoa(len(text))
	r := headerRequest("")
	r.Method = http.MethodPut
	r.Header.Set("X-Amz-Content-Sha256", kind)
	r.Header.Set("X-Amz-Decoded-Content-Length", length)
	names, lines := "host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length",
		"host:localhost\nx-amz-content-sha256:"+kind+"\nx-amz-date:20260301T120000Z\nx-amz-decoded-content-length:"+length+"\n"
	trailer := kind == signedTrailer
	if trailer {
		r.Header.Set("X-Amz-Trailer", "x-amz-checksum-crc32")
		names, lines = names+";x-amz-trailer", lines+"x-amz-trailer:x-amz-checksum-crc32\n"
	}
	previous := signatureOf(tb, "PUT\n/b/k\n\n"+lines+"\n"+names+"\n"+kind)
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+goodScope+", SignedHeaders="+names+", Signature="+previous)
	var body bytes.Buffer
	for _, chunk := range []string{text, ""} {
		previous = signText(tb, "s3", "AWS4-HMAC-SHA256-PAYLOAD", previous+"\n"+emptyHash+"\n"+awsapi.HashOf([]byte(chunk)))
		fmt.Fprintf(&body, "%x;chunk-signature=%s\r\n", len(chunk), previous)
		if chunk != "" {
			body.WriteString(chunk + "\r\n")
		}
	}
	if trailer {
		body.WriteString("x-amz-checksum-crc32:AAAAAA==\r\nx-amz-trailer-signature:" +
			signText(tb, "s3", "AWS4-HMAC-SHA256-TRAILER", previous+"\n"+awsapi.HashOf([]byte("x-amz-checksum-crc32:AAAAAA==\n"))) + "\r\n")
	}
	body.WriteString("\r\n")
	return r, body.Bytes()
}

// FuzzChunked feeds arbitrary framing: whatever is accepted must have exactly
// the declared length and, where it is signed, be what was signed.
func FuzzChunked(f *testing.F) {
	const text = "hello, world"
	kinds := []string{signedChunks, signedTrailer, unsignedTrailer}
	for i, kind := range kinds[:2] {
		_, body := signedRequest(f, kind, text)
		f.Add(body, uint8(i))
	}
	f.Add([]byte("c\r\n"+text+"\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"), uint8(2))
	f.Fuzz(func(t *testing.T, body []byte, kind uint8) {
		r := anonymous(len(text), "x-amz-checksum-crc32")
		signed := kind%3 < 2
		if signed {
			r, _ = signedRequest(t, kinds[kind%3], text)
		}
		got, err := io.ReadAll(open(t, r, bytes.NewReader(body)))
		if err == nil && (len(got) != len(text) || signed && string(got) != text) {
			t.Errorf("%q accepted", got)
		}
	})
}

func TestSmallSignedBodies(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{signedChunks, signedTrailer} {
		r, body := signedRequest(t, kind, "hello")
		if got, err := io.ReadAll(open(t, r, bytes.NewReader(body))); string(got) != "hello" || err != nil {
			t.Errorf("%s: %q, %v", kind, got, err)
		}
	}
}

func BenchmarkUnsignedTrailer(b *testing.B) {
	const size = 8 << 20
	var body bytes.Buffer
	for range 8 {
		fmt.Fprintf(&body, "%x\r\n", 1<<20)
		body.Write(make([]byte, 1<<20))
		body.WriteString("\r\n")
	}
	body.WriteString("0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n")
	buf := make([]byte, 64<<10)
	b.SetBytes(size)
	for b.Loop() {
		r := open(b, anonymous(size, "x-amz-checksum-crc32"), bytes.NewReader(body.Bytes()))
		if n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, buf); n != size || err != nil {
			b.Fatal(n, err)
		}
	}
}

func mac(key []byte, s string) []byte {
	h := hmac.New(sha256.New, key)
	_, _ = io.WriteString(h, s)
	return h.Sum(nil)
}
