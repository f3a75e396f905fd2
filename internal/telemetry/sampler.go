package telemetry

import (
	"math/rand/v2"
	"sync"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// What callers may have recorded beyond the ratio, all of them together.
const (
	wishesPerSecond = 10
	wishesAtOnce    = 100
)

// sampler decides which requests are recorded. The ratio is drawn for each
// request, not read off the trace ID: that is the caller's choice. A caller who
// asks for a record gets it within limits, so that nobody has everything
// recorded; one who asks for none gets none, as its trace would be in pieces.
type sampler struct {
	ratio float64
	now   func() time.Time

	mu     sync.Mutex // guards the fields below
	wishes float64    // that can be granted at once
	filled time.Time
}

func newSampler(ratio float64, now func() time.Time) *sampler {
	return &sampler{ratio: ratio, now: now, wishes: wishesAtOnce, filled: now()}
}

// ShouldSample implements sdktrace.Sampler.
func (s *sampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	if s.wants(trace.SpanContextFromContext(p.ParentContext)) {
		return sdktrace.SamplingResult{Decision: sdktrace.RecordAndSample}
	}
	return sdktrace.SamplingResult{Decision: sdktrace.Drop}
}

func (s *sampler) wants(parent trace.SpanContext) bool {
	switch {
	case parent.IsValid() && !parent.IsSampled():
		return false
	case parent.IsValid() && !parent.IsRemote():
		return true // the span of ours that it belongs to is recorded
	case rand.Float64() < s.ratio: //nolint:gosec // no secret
		return true
	case parent.IsValid():
		return s.grant()
	}
	return false
}

// grant reports whether one more wish of a caller can be granted.
func (s *sampler) grant() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	s.wishes = min(wishesAtOnce, s.wishes+max(0, now.Sub(s.filled).Seconds())*wishesPerSecond)
	s.filled = now
	if s.wishes < 1 {
		return false
	}
	s.wishes--
	return true
}

// Description implements sdktrace.Sampler.
func (s *sampler) Description() string { return "sekisho" }
