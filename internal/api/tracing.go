package api

import (
	"context"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/sekisho-iot/sekisho/internal/telemetry"
)

// Tracer makes the spans of operations; telemetry.Exports is one.
type Tracer interface {
	// Begin begins one that came in at a time. traceparent is the caller's, ""
	// for a caller who is not known. What the operation does is done under the
	// context that it returns.
	Begin(ctx context.Context, traceparent, service, operation string, at time.Time) (context.Context, trace.Span)
	End(ctx context.Context, s trace.Span, r *telemetry.Request)
}

// traced is what a call is traced by.
type traced struct {
	span    trace.Span // nil while there is none
	failure string     // the code of the error that was answered
}

// traceparentOf is the caller's; only of somebody known it may be used.
func traceparentOf(r *http.Request) string {
	if v := r.Header["Traceparent"]; len(v) == 1 {
		return v[0]
	}
	return ""
}

// beginSpan begins the span of an operation, when it is known what it is and
// who asks.
func (h *Handler) beginSpan(ctx context.Context, c *Call) context.Context {
	if h.tracer == nil {
		return ctx
	}
	parent := ""
	if c.Identity != nil {
		parent = traceparentOf(c.HTTP)
	}
	if c.traced == nil {
		c.traced = &traced{}
	}
	ctx, c.traced.span = h.tracer.Begin(ctx, parent, c.Service, c.Operation, c.Now)
	return ctx
}

// noteFailure notes the code of the error that is answered.
func (h *Handler) noteFailure(c *Call, code string) {
	if h.tracer == nil {
		return
	}
	if c.traced == nil {
		c.traced = &traced{}
	}
	c.traced.failure = code
}

// endSpan ends the span, and makes it for what was refused before it had one.
// Monitoring that looks at /_sekisho/ has none.
func (h *Handler) endSpan(ctx context.Context, c *Call, status int, at time.Time) {
	if h.tracer == nil || c.Service == ownService && c.Operation == "" {
		return
	}
	if c.traced == nil || c.traced.span == nil {
		ctx = h.beginSpan(ctx, c)
	}
	r := tracedRequest(c.HTTP, status)
	r.Service, r.Operation, r.ID, r.Error, r.Start, r.End = c.Service, c.Operation, c.RequestID, c.traced.failure, c.Now, at
	h.tracer.End(ctx, c.traced.span, r)
}

func tracedRequest(r *http.Request, status int) *telemetry.Request {
	client, _ := sourceOf(r)
	return &telemetry.Request{Method: r.Method, TLS: r.TLS != nil, Major: r.ProtoMajor, Minor: r.ProtoMinor, Client: client, Status: status}
}

// traceDevice makes the span of a request on the device port that was answered.
// Its caller was known if it was granted.
func traceDevice(t Tracer, w http.ResponseWriter, r *http.Request, service, operation string, status int, start, end time.Time) {
	if t == nil {
		return
	}
	parent := ""
	if status == http.StatusOK {
		parent = traceparentOf(r)
	}
	ctx, span := t.Begin(r.Context(), parent, service, operation, start)
	q := tracedRequest(r, status)
	q.Service, q.Operation, q.Start, q.End = service, operation, start, end
	// Both endpoints spell them in more than one way.
	for name, v := range w.Header() {
		switch http.CanonicalHeaderKey(name) {
		case "X-Amzn-Requestid":
			q.ID = v[0]
		case "X-Amzn-Errortype":
			q.Error = v[0]
		}
	}
	t.End(ctx, span, q)
}
