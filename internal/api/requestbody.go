package api

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strconv"
	"time"
)

// drainLimit bounds what is read of a body after it was refused.
const drainLimit = 64 << 20

// requestBody knows how far a body was read.
type requestBody struct {
	io.ReadCloser
	state bodyState
	waits bool // the client waits to be told to send it
}

type bodyState uint8

const (
	bodyUntouched bodyState = iota
	bodyBegun
	bodyEnded
)

// withBody returns r with a body that can be drained. r itself stays as it is:
// net/http judges by the body that it made whether to close gently.
func withBody(r *http.Request) (*http.Request, *requestBody) {
	if r.Body == nil || r.Body == http.NoBody {
		return r, nil
	}
	b := &requestBody{ReadCloser: r.Body, waits: r.Header.Get("Expect") != ""}
	watched := *r
	watched.Body = b
	return &watched, b
}

// Read implements io.Reader.
func (b *requestBody) Read(p []byte) (int, error) {
	if b.state == bodyUntouched {
		b.state = bodyBegun
	}
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.state = bodyEnded
	}
	return n, err
}

// drain reads on, so that a client that is still sending hears the refusal: to
// close on it would reset the connection. A stranger of whose body nothing was
// read is left alone, and so is a client that waits to be told to continue.
func (b *requestBody) drain(known bool) {
	if b != nil && (b.state == bodyBegun || b.state == bodyUntouched && known && !b.waits) {
		_, _ = io.CopyN(io.Discard, b, drainLimit)
	}
}

// eager reports whether the client may be sending although it was to wait, as
// some say and do not do.
func (b *requestBody) eager(known bool) bool {
	return b != nil && known && b.waits && b.state == bodyUntouched
}

// eagerPatience is for a client to read an answer that it did not wait for, as
// net/http gives those that did not say that they would wait.
const eagerPatience = 500 * time.Millisecond

// gently sends an answer, and lets the client read it before the connection is
// closed with what it has sent unread, which would reset it.
func gently(ctx context.Context, w http.ResponseWriter, write func(http.ResponseWriter)) {
	a := &wholeAnswer{ResponseWriter: w, status: http.StatusOK}
	write(a)
	w.Header().Set("Content-Length", strconv.Itoa(a.body.Len()))
	w.WriteHeader(a.status)
	_, _ = a.body.WriteTo(w) // an error is the client's: it has gone
	if http.NewResponseController(w).Flush() != nil {
		return
	}
	patience := time.NewTimer(eagerPatience)
	defer patience.Stop()
	select {
	case <-ctx.Done():
	case <-patience.C:
	}
}

// wholeAnswer holds an answer until it is whole.
type wholeAnswer struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

// WriteHeader implements http.ResponseWriter.
func (a *wholeAnswer) WriteHeader(status int) { a.status = status }

// Write implements http.ResponseWriter.
func (a *wholeAnswer) Write(p []byte) (int, error) { return a.body.Write(p) }
