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
		known, waits bool
		read, left   int
	}{
		{read: 0, left: 100},
		{read: 10, left: 0},
		{read: 100, left: 0},
		{known: true, waits: true, read: 0, left: 100}, // never told to continue
		{known: true, read: 0, left: 0},                // it sends all the same
	} {
		src := strings.NewReader(strings.Repeat("x", 100))
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/b/k", io.NopCloser(src))
		if c.waits {
			r.Header.Set("Expect", "100-continue")
		}
		watched, body := withBody(r)
		if watched.Body == r.Body {
			t.Fatal("the request itself was changed")
		}
		if _, err := io.CopyN(io.Discard, watched.Body, int64(c.read)); err != nil {
			t.Fatal(err)
		}
		body.drain(c.known)
		if src.Len() != c.left {
			t.Errorf("%d bytes read, then drained: %d left, want %d", c.read, src.Len(), c.left)
		}
	}
	(*requestBody)(nil).drain(true) // a request without a body
}
