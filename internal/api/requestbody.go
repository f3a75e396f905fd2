package api

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"
)

const (
	stallTimeout = time.Minute // the longest pause of a client that sends a body
	drainLimit   = 64 << 20    // what is read of a body after it was refused
)

// requestBody is the body of a request whose client must keep sending.
type requestBody struct {
	io.ReadCloser
	control *http.ResponseController
	armed   time.Time // when the deadline was last set
	state   bodyState
}

type bodyState uint8

const (
	bodyUntouched bodyState = iota
	bodyBegun
	bodyEnded
)

// withBody returns r with a body that watches its client. r itself stays as it
// is: net/http judges by the body that it made whether to close gently.
func withBody(w http.ResponseWriter, r *http.Request) (*http.Request, *requestBody) {
	if r.Body == nil || r.Body == http.NoBody {
		return r, nil
	}
	b := &requestBody{ReadCloser: r.Body, control: http.NewResponseController(w)}
	watched := *r
	watched.Body = b
	return &watched, b
}

// Read implements io.Reader.
func (b *requestBody) Read(p []byte) (int, error) {
	if b.state == bodyUntouched {
		b.state = bodyBegun
	}
	if now := time.Now(); now.Sub(b.armed) > stallTimeout/10 { //nolint:forbidigo // socket deadlines are wall-clock
		b.armed = now
		_ = b.control.SetReadDeadline(now.Add(stallTimeout)) // a recorder of a test has none
	}
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.state = bodyEnded
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			_ = b.control.SetReadDeadline(time.Time{}) // net/http goes on reading, for the client's end
		}
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
