package server

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// How slow a client may be. An upload may take days over a radio link, but one
// that stands still holds memory, a file and a connection of the server's.
const (
	bodyPatience   = time.Minute     // to bring bodyProgress bytes of a body
	bodyProgress   = 4 << 10         // 70 bytes a second
	answerPatience = 5 * time.Minute // to take answerProgress bytes of an answer
	answerProgress = 256 << 10       // 900 bytes a second
	drainPatience  = 5 * time.Second // for the rest of a body that nobody wants
	busy           = time.Second     // longer than this between reads, it was us who were slow
)

// steadily gives the sockets of h's requests deadlines that progress renews.
func steadily(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		if r.Body != nil && r.Body != http.NoBody {
			body := &steadyBody{ReadCloser: r.Body, control: control}
			body.renew(deadline(0))
			defer body.leave(r.ProtoMajor)
			// net/http looks at the body that it made to close gently: its request stays as it is.
			watched := *r
			watched.Body = body
			r = &watched
		}
		h.ServeHTTP(&steadyWriter{ResponseWriter: w, control: control}, r)
	})
}

// steadyBody is a body that must come on.
type steadyBody struct {
	io.ReadCloser
	control *http.ResponseController

	marked time.Time // when the deadline was set
	left   time.Time // when the last Read returned
	got    int       // since it was set
	ended  bool
}

func (b *steadyBody) renew(now time.Time) {
	b.marked, b.left, b.got = now, now, 0
	_ = b.control.SetReadDeadline(now.Add(bodyPatience)) // what cannot have one has none
}

// Read implements io.Reader. Time that passes between two reads is not the client's.
func (b *steadyBody) Read(p []byte) (int, error) {
	now := deadline(0)
	if now.Sub(b.left) > busy || b.got >= bodyProgress && now.Sub(b.marked) > busy {
		b.renew(now)
	}
	n, err := b.ReadCloser.Read(p)
	b.got += n
	b.left = deadline(0)
	if errors.Is(err, io.EOF) && !b.ended {
		b.ended = true
		// net/http goes on reading, to notice that the client leaves.
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// leave bounds what net/http reads of a body after the handler: the next
// request on the connection has deadlines of its own.
func (b *steadyBody) leave(major int) {
	if !b.ended && major == 1 {
		_ = b.control.SetReadDeadline(deadline(drainPatience))
	}
}

// steadyWriter is an answer that must be taken.
type steadyWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	marked  time.Time
}

func (w *steadyWriter) renew() {
	if now := deadline(0); now.Sub(w.marked) > busy {
		w.marked = now
		_ = w.control.SetWriteDeadline(now.Add(answerPatience))
	}
}

// WriteHeader implements http.ResponseWriter.
func (w *steadyWriter) WriteHeader(status int) {
	w.renew()
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *steadyWriter) Write(p []byte) (int, error) {
	total := 0
	for {
		w.renew()
		n, err := w.ResponseWriter.Write(p[:min(len(p), answerProgress)])
		total += n
		if p = p[n:]; err != nil || len(p) == 0 {
			return total, err
		}
	}
}

// ReadFrom goes on by pieces, each small enough for a slow client to take in
// time. A piece of a file still leaves by sendfile.
func (w *steadyWriter) ReadFrom(r io.Reader) (int64, error) {
	all, limited := r.(*io.LimitedReader)
	if !limited {
		all = &io.LimitedReader{R: r, N: 1<<63 - 1}
	}
	var total int64
	for all.N > 0 {
		w.renew()
		piece := &io.LimitedReader{R: all.R, N: min(all.N, answerProgress)}
		n, err := io.Copy(w.ResponseWriter, piece)
		total += n
		all.N -= n
		if err != nil || piece.N > 0 { // an error, or the end of r
			return total, err
		}
	}
	return total, nil
}

// Unwrap is for http.ResponseController.
func (w *steadyWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
