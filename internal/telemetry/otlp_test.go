package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"
)

func TestOTLPEndpoint(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"http://127.0.0.1:4318", "https://collector.example", "https://[::1]:4318/otlp/"} {
		if _, err := ParseOTLPEndpoint(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "collector:4318", "//collector:4318", "grpc://collector:4317", "http://", "http://:4318", "http:collector", "https://c:99999", "https://c:x",
		"https://hunter2@c", "https://u:hunter2@c", "https://c/?key=hunter2", "https://c/#hunter2", "https://c\x7f/hunter2",
	} {
		u, err := ParseOTLPEndpoint(bad)
		if err == nil {
			t.Errorf("%q became %v", bad, u)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestOTLPHeaders(t *testing.T) {
	t.Parallel()
	h, err := ParseOTLPHeaders(" Authorization=Bearer%20hunter2==, x-tenant = a ,X-Tenant=b%2Cc+d")
	if err != nil || h.Get("Authorization") != "Bearer hunter2==" || !slices.Equal(h["X-Tenant"], []string{"a", "b,c+d"}) {
		t.Error(h, err)
	}
	if h, err := ParseOTLPHeaders("  "); err != nil || len(h) != 0 {
		t.Error(h, err)
	}
	for _, bad := range []string{
		"hunter2", "=hunter2", "a b=hunter2", "a=hunter2%0d%0ax: y", "a=hunter2%zz", "a=hunter2,", "ä=hunter2",
		"Host=hunter2", "content-type=hunter2", "a=1,Content-Length=hunter2",
	} {
		h, err := ParseOTLPHeaders(bad)
		if err == nil {
			t.Errorf("%q became %v", bad, h)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// What is accepted is what net/http can send.
func FuzzOTLPHeaders(f *testing.F) {
	f.Add("Authorization=Bearer%20x,b=c")
	f.Add("a=%00")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := ParseOTLPHeaders(s)
		if err != nil {
			return
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
		r.Header = h
		if err := r.Write(io.Discard); err != nil {
			t.Error(err)
		}
	})
}

func partial(rejected int64, message string) []byte {
	inner := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(rejected))
	inner = protowire.AppendString(protowire.AppendTag(inner, 2, protowire.BytesType), message)
	return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), inner)
}

func FuzzOTLPAnswer(f *testing.F) {
	f.Add(partial(3, "too old"))
	f.Add([]byte("<html>"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n := rejectedOf(b); n < 0 {
			t.Error(n)
		}
	})
}

func TestOTLPAnswers(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	defer elsewhere.Close()
	for _, tt := range []struct {
		status   int
		header   string // NAME: VALUE
		body     []byte
		rejected int64
		again    bool
		after    time.Duration
	}{
		{status: 200},
		{status: 200, body: partial(0, "be careful")},
		{status: 200, body: partial(3, "too old"), rejected: 3},
		{status: 200, body: partial(-3, "")},
		{status: 200, body: []byte("not protobuf")},
		{status: 400},
		{status: 307, header: "Location: " + elsewhere.URL},
		{status: 429, header: "Retry-After: 7", again: true, after: 7 * time.Second},
		{status: 503, header: "Retry-After: 60000", again: true, after: otlpRetryMost},
		{status: 502, header: "Retry-After: tomorrow", again: true},
	} {
		var path, kind, tenant string
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			path, kind, tenant = r.URL.Path, r.Header.Get("Content-Type"), r.Header.Get("X-Tenant")
			name, value, _ := strings.Cut(tt.header, ": ")
			w.Header().Set(name, value)
			w.WriteHeader(tt.status)
			_, _ = w.Write(tt.body)
		}))
		base, err := ParseOTLPEndpoint(s.URL + "/otlp/")
		if err != nil {
			t.Fatal(err)
		}
		c := newOTLPClient(base, http.Header{"X-Tenant": {"a"}})
		n, err := c.post(t.Context(), "v1/traces", &emptypb.Empty{})
		c.close()
		s.Close()
		if path != "/otlp/v1/traces" || kind != "application/x-protobuf" || tenant != "a" {
			t.Error(path, kind, tenant)
		}
		refused, isRefused := errors.AsType[*refusedError](err)
		if n != tt.rejected || isRefused != (tt.status != 200) {
			t.Errorf("%d: %d rejected, %v", tt.status, n, err)
		}
		if isRefused && (refused.again != tt.again || refused.after != tt.after || refused.Error() != fmt.Sprintf("the collector answered %d", tt.status)) {
			t.Errorf("%+v", refused)
		}
	}
}

func TestOTLPTimesOut(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer s.Close()
	defer close(hang)
	base, err := ParseOTLPEndpoint(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := newOTLPClient(base, http.Header{}).post(ctx, "v1/traces", &emptypb.Empty{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}
