package api

import (
	"io"
	"net/http"
)

// drainLimit bounds what is read of a body after it was refused.
const drainLimit = 64 << 20

// requestBody knows how far a body was read.
type requestBody struct {
	io.ReadCloser
	state bodyState
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
	b := &requestBody{ReadCloser: r.Body}
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
// close on it would reset the connection. A client that was never told to
// continue is left alone.
func (b *requestBody) drain() {
	if b != nil && b.state == bodyBegun {
		_, _ = io.CopyN(io.Discard, b, drainLimit)
	}
}
