package api

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// deadlines is a response writer that remembers the read deadlines it was given.
type deadlines struct {
	http.ResponseWriter
	set []time.Time
}

// SetReadDeadline is what http.ResponseController looks for.
func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return nil
}

func TestRequestBodyDeadline(t *testing.T) {
	t.Parallel()
	d := &deadlines{ResponseWriter: httptest.NewRecorder()}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/b/k", iotest.OneByteReader(strings.NewReader("body")))
	watched, body := withBody(d, r)
	if len(d.set) != 0 || r.Body == watched.Body {
		t.Fatal("touched before it was read, or the request changed")
	}
	if _, err := io.ReadAll(watched.Body); err != nil {
		t.Fatal(err)
	}
	if len(d.set) != 2 || time.Until(d.set[0]) < stallTimeout/2 || !d.set[1].IsZero() {
		t.Errorf("deadlines %v: want one, and none after the end", d.set)
	}
	if body.state != bodyEnded {
		t.Errorf("state %d", body.state)
	}
	watched, _ = withBody(d, httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/b/k", iotest.ErrReader(os.ErrDeadlineExceeded)))
	d.set = nil
	if _, err := io.ReadAll(watched.Body); !errors.Is(err, os.ErrDeadlineExceeded) || len(d.set) != 1 {
		t.Errorf("%v, deadlines %v: one that has passed must stay", err, d.set)
	}
}

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
		watched, body := withBody(httptest.NewRecorder(), r)
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
