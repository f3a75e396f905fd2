package telemetry

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

const maxLinks = 32

// Request is what is told of a request that was answered. Nothing of it may
// come from a path, query, header or body: those hold names, signatures and
// tokens, and what is exported leaves the machine.
type Request struct {
	Service, Operation string // "s3", "PutObject"; Operation is "" where no row was found
	ID                 string
	Method             string
	TLS                bool
	Major, Minor       int    // version of HTTP
	Client             string // IP address
	Status             int    // 0 where nothing was answered
	Error              string // the code that was answered, "" for none
	Start, End         time.Time
}

// Begin begins the span of an operation. traceparent is what its caller sent
// (W3C Trace Context), and must be "" unless the caller is known. The context
// is for what the operation does.
func (e *Exports) Begin(ctx context.Context, traceparent, service, operation string, at time.Time) (context.Context, trace.Span) {
	if traceparent != "" {
		// Without tracestate: it is free text of the caller's.
		ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": traceparent})
	}
	name := service
	if operation != "" {
		name += "/" + operation
	}
	return e.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(at))
}

// End ends the span, and counts the request.
func (e *Exports) End(ctx context.Context, span trace.Span, r *Request) {
	known := []attribute.KeyValue{
		attribute.String("http.request.method", methodOf(r.Method)),
		attribute.String("url.scheme", schemeOf(r.TLS)),
		attribute.String("network.protocol.version", versionOf(r.Major, r.Minor)),
		attribute.String("rpc.system", "aws-api"),
		attribute.String("rpc.service", r.Service),
	}
	if r.Operation != "" {
		known = append(known, attribute.String("rpc.method", r.Operation))
	}
	if r.Status != 0 {
		known = append(known, attribute.Int("http.response.status_code", r.Status))
	}
	switch {
	case r.Error != "":
		known = append(known, attribute.String("error.type", r.Error))
	case r.Status >= http.StatusInternalServerError:
		known = append(known, attribute.String("error.type", strconv.Itoa(r.Status)))
	}
	e.requests.Record(ctx, r.End.Sub(r.Start).Seconds(), metric.WithAttributes(known...))
	if span.IsRecording() {
		span.SetAttributes(known...)
		span.SetAttributes(attribute.String("aws.request_id", r.ID), attribute.String("server.address", e.host))
		if r.Client != "" {
			span.SetAttributes(attribute.String("client.address", r.Client))
		}
		if r.Status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, "")
		}
	}
	span.End(trace.WithTimestamp(r.End))
}

// methodOf keeps strangers from making up methods.
func methodOf(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions, http.MethodPatch:
		return m
	}
	return "_OTHER"
}

func versionOf(major, minor int) string {
	switch {
	case major != 1:
		return strconv.Itoa(major)
	case minor == 0:
		return "1.0"
	}
	return "1.1"
}

func schemeOf(tls bool) string {
	if tls {
		return "https"
	}
	return "http"
}

// Caller returns the span that a write is done for, nil where it is not recorded.
func (e *Exports) Caller(ctx context.Context) any {
	if c := trace.SpanContextFromContext(ctx); c.IsSampled() {
		return c
	}
	return nil
}

// Committed tells of a transaction that had the writes of some callers. Only
// where one of them is recorded it has a span, below that one's.
func (e *Exports) Committed(ctx context.Context, began, ended time.Time, callers []any, writes int, kept, failed bool) {
	operation := "COMMIT"
	if !kept {
		operation = "ROLLBACK"
	}
	known := []attribute.KeyValue{attribute.String("db.system.name", e.database), attribute.String("db.operation.name", operation)}
	if failed {
		known = append(known, attribute.String("error.type", "_OTHER"))
	}
	e.commits.Record(ctx, ended.Sub(began).Seconds(), metric.WithAttributes(known...))
	links := make([]trace.Link, 0, min(len(callers), maxLinks))
	for _, c := range callers {
		if c, ok := c.(trace.SpanContext); ok && len(links) < maxLinks {
			links = append(links, trace.Link{SpanContext: c})
		}
	}
	if len(links) == 0 {
		return
	}
	ctx = trace.ContextWithSpanContext(ctx, links[0].SpanContext)
	_, span := e.tracer.Start(ctx, operation, trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(began), trace.WithLinks(links[1:]...),
		trace.WithAttributes(known...))
	if writes > 1 {
		span.SetAttributes(attribute.Int("db.operation.batch.size", writes))
	}
	if failed {
		span.SetStatus(codes.Error, "")
	}
	span.End(trace.WithTimestamp(ended))
}
