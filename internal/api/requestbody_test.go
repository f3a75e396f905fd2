package api

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestRequestBodyDrain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		read, left int
	}{
		{0, 100}, // never told to continue
		{10, 0},
		{100, 0},
	} {
		src := strings.NewReader(strings.Repeat("x", 100))
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/b/k", io.NopCloser(src))
		watched, body := withBody(r)
		if watched.Body == r.Body {
			t.Fatal("the request itself was changed")
		}
		if _, err := io.CopyN(io.Discard, watched.Body, int64(c.read)); err != nil {
			t.Fatal(err)
		}
		body.drain()
		if src.Len() != c.left {
			t.Errorf("%d bytes read, then drained: %d left, want %d", c.read, src.Len(), c.left)
		}
	}
	(*requestBody)(nil).drain() // a request without a body
}
