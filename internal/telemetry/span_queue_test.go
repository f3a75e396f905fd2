package telemetry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// sink is what a queue exports to.
type sink struct {
	mu      sync.Mutex // guards the fields below
	batches []int
	fail    error
	hang    bool
}

func (s *sink) export(ctx context.Context, batch []sdktrace.ReadOnlySpan) error {
	s.mu.Lock()
	fail, hang := s.fail, s.hang
	if fail == nil && !hang {
		s.batches = append(s.batches, len(batch))
	}
	s.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return fail
}

func (s *sink) total() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.batches {
		n += b
	}
	return n
}

func (s *sink) set(fail error, hang bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail, s.hang = fail, hang
}

func startQueue(t *testing.T, s *sink) (*spanQueue, *Metrics) {
	t.Helper()
	m := NewMetrics("1")
	dropped := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "dropped"}, []string{"reason"})
	m.registry.MustRegister(dropped)
	return newSpanQueue(t.Context(), s.export, dropped), m
}

func exposed(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody))
	return w.Body.String()
}

func span() sdktrace.ReadOnlySpan { return tracetest.SpanStub{Name: "x"}.Snapshot() }

func shutdown(t *testing.T, q *spanQueue, limit time.Duration) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), limit)
	defer cancel()
	began := time.Now()
	if err := q.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	return time.Since(began)
}

func TestSpansAreSentInBatches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		q, _ := startQueue(t, s)
		q.OnEnd(span())
		q.OnEnd(span())
		time.Sleep(batchWait + 1)
		synctest.Wait()
		for range batchSpans {
			q.OnEnd(span())
		}
		synctest.Wait() // a full batch waits for nothing
		if n := s.total(); n != batchSpans+2 || len(s.batches) != 2 {
			t.Error(s.batches)
		}
		q.OnEnd(span())
		shutdown(t, q, time.Second)
		shutdown(t, q, time.Second) // once more changes nothing
		if n := s.total(); n != batchSpans+3 {
			t.Error(n)
		}
	})
}

func TestFullQueueDropsAndCounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &sink{hang: true}
		q, m := startQueue(t, s)
		for range batchSpans {
			q.OnEnd(span())
		}
		synctest.Wait()
		began := time.Now()
		for range queuedSpans + 7 {
			q.OnEnd(span())
		}
		if !time.Now().Equal(began) {
			t.Error("OnEnd waited")
		}
		if out := exposed(t, m); !strings.Contains(out, `dropped{reason="queue_full"} 7`) {
			t.Error(out)
		}
		if d := shutdown(t, q, 2*time.Second); d != 2*time.Second {
			t.Error("shutdown took", d)
		}
		if out := exposed(t, m); !strings.Contains(out, `dropped{reason="not_exported"} 2560`) { // the batch, and the queue
			t.Error(out)
		}
	})
}

func TestBatchIsTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &sink{fail: &refusedError{status: 503, again: true, after: 3 * time.Second}}
		q, m := startQueue(t, s)
		q.OnEnd(span())
		time.Sleep(batchWait + time.Second)
		s.set(nil, false)
		time.Sleep(1900 * time.Millisecond)
		if s.total() != 0 {
			t.Error("tried before the collector wished it")
		}
		time.Sleep(200 * time.Millisecond)
		if s.total() != 1 {
			t.Error("not tried again")
		}
		s.set(&refusedError{status: 400}, false)
		q.OnEnd(span())
		time.Sleep(batchWait + 1)
		synctest.Wait()
		if out := exposed(t, m); !strings.Contains(out, `dropped{reason="not_exported"} 1`) {
			t.Error("what is refused for good is kept: ", out)
		}
		s.set(errors.New("nobody listens"), false)
		q.OnEnd(span())
		time.Sleep(time.Minute)
		if out := exposed(t, m); !strings.Contains(out, `dropped{reason="not_exported"} 2`) {
			t.Error(out)
		}
		q.OnEnd(span())
		time.Sleep(batchWait + 1)
		if d := shutdown(t, q, time.Minute); d > time.Second { // no waiting any more
			t.Error("shutdown took", d)
		}
	})
}

func TestOneLineForACollectorThatIsGone(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	now := time.Unix(1e9, 0)
	l := &link{
		signal: "traces", endpoint: "http://c", log: slog.New(NewHandler(io.Writer(&b), "json")), now: func() time.Time { return now },
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "f"}),
	}
	lines := func() (down, up int) {
		return strings.Count(b.String(), "does not reach the collector"), strings.Count(b.String(), "reaches the collector again")
	}
	for range 1000 {
		now = now.Add(time.Second)
		l.came(t.Context(), errors.New("connection refused"))
	}
	if down, up := lines(); down != 1 || up != 0 {
		t.Error(down, up)
	}
	for range 300 { // it comes and goes
		now = now.Add(time.Second)
		l.came(t.Context(), nil)
		l.came(t.Context(), errors.New("connection refused"))
	}
	if down, up := lines(); down > 2 || up > 2 || up == 0 {
		t.Error(down, up)
	}
}
