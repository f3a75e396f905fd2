package api

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/sekisho-iot/sekisho/internal/telemetry"
)

const testParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// spans is a Tracer that remembers.
type spans struct {
	mu    sync.Mutex // guards begun
	begun []string   // "service operation traceparent"
	ended chan telemetry.Request
}

func (s *spans) Begin(ctx context.Context, traceparent, service, operation string, _ time.Time) (context.Context, trace.Span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun = append(s.begun, service+" "+operation+" "+traceparent)
	return ctx, noop.Span{}
}

func (s *spans) End(_ context.Context, _ trace.Span, r *telemetry.Request) { s.ended <- *r }

// traced does what a asks for, and returns its only span: an answer may arrive
// before the span has ended.
func (f *fixture) traced(t *testing.T, s *spans, a ask) (begun string, r telemetry.Request) {
	t.Helper()
	_, _ = f.do(t, a)
	r = <-s.ended
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.begun) != 1 {
		t.Errorf("%s %s: %v", a.service, a.target, s.begun)
	}
	begun, s.begun = s.begun[0], nil
	return begun, r
}

func withParent(a ask) ask {
	tamper := a.tamper
	a.tamper = func(r *http.Request) {
		r.Header.Set("Traceparent", testParent)
		if tamper != nil {
			tamper(r)
		}
	}
	return a
}

func TestEveryOperationHasOneSpan(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := &spans{ended: make(chan telemetry.Request, 8)}
	f.tracer = s
	n := 0
	for _, b := range f.services {
		for i := range b.Operations {
			o := &b.Operations[i]
			a, ok := askFor(b.Service, o)
			if !ok || o.Unrouted {
				continue
			}
			n++
			want := b.Name + " " + o.Name + " " + testParent
			begun, r := f.traced(t, s, withParent(a))
			if begun != want || r.Service != b.Name || r.Operation != o.Name || r.ID == "" || r.Status == 0 || r.Status >= 400 != (r.Error != "") {
				t.Errorf("%s: %s, %+v", want, begun, r)
			}
		}
	}
	if n < 700 {
		t.Error("only", n)
	}
}

// Whoever is not known starts a trace of our own.
func TestTraceparentOfStrangersIsIgnored(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := &spans{ended: make(chan telemetry.Request, 8)}
	f.tracer = s
	twice := func(r *http.Request) { r.Header["Traceparent"] = []string{testParent, testParent} }
	spoil := func(r *http.Request) {
		a := r.Header.Get("Authorization")
		last := "0"
		if a[len(a)-1] == '0' {
			last = "1"
		}
		r.Header.Set("Authorization", a[:len(a)-1]+last)
	}
	for _, tt := range []struct {
		a      ask
		begun  string
		status int
		code   string
	}{
		{ask{service: "iot", target: "/things/mine-a"}, "iot DescribeThing " + testParent, 200, ""},
		{ask{service: "iot", target: "/things/mine-a", presign: true}, "iot DescribeThing " + testParent, 200, ""},
		{ask{service: "iot", target: "/things/other", key: userKey}, "iot DescribeThing " + testParent, 403, "AccessDeniedException"},
		{ask{service: "iot", target: "/things/panic"}, "iot DescribeThing " + testParent, 500, "InternalFailureException"},
		{ask{service: "iot", target: "/nothing/like/it"}, "iot  " + testParent, 404, "UnknownOperationException"},
		{ask{service: "sekisho", method: "POST", target: "/_sekisho/echo", body: `{"Text":"x"}`}, "sekisho Echo " + testParent, 200, ""},
		{ask{service: "iot", target: "/things/mine-a", tamper: twice}, "iot DescribeThing ", 200, ""},
		{ask{service: "iot", target: "/things/mine-a", tamper: spoil}, "iot  ", 403, "InvalidSignatureException"},
		{ask{service: "iot", target: "/things/mine-a", token: "revoked"}, "iot  ", 403, ""},
		{ask{service: "iot", target: "/things/mine-a", time: testTime().Add(-time.Hour)}, "iot  ", 403, ""},
		{ask{unsigned: true, target: "/public/x"}, "s3 GetObject ", 200, ""},
		{ask{unsigned: true, target: "/bucket/x"}, "s3 GetObject ", 403, "AccessDenied"},
		{ask{unsigned: true, target: "/mqtt", header: http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}}}, "iot-data Connect ", 101, ""},
	} {
		if tt.begun != "iot DescribeThing " {
			tt.a = withParent(tt.a)
		}
		begun, r := f.traced(t, s, tt.a)
		if begun != tt.begun || r.Status != tt.status || tt.code != "" && r.Error != tt.code || r.Method == "" || r.Major != 1 || r.Client != "127.0.0.1" {
			t.Errorf("%+v: %q, %+v", tt.a, begun, r)
		}
	}
	_, _ = f.do(t, ask{unsigned: true, target: "/_sekisho/metrics"}) // monitoring has none
	if begun, _ := f.traced(t, s, ask{service: "iot", target: "/things/mine-a"}); begun != "iot DescribeThing " {
		t.Error(begun)
	}
}

func TestNoTracerCostsNothing(t *testing.T) { //nolint:paralleltest // AllocsPerRun counts everybody's
	f := newFixture(t)
	c := &Call{Service: "iot", Operation: "DescribeThing", HTTP: httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/things/x", http.NoBody)}
	c.HTTP.Header.Set("Traceparent", testParent)
	w := httptest.NewRecorder()
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() {
		f.endSpan(f.beginSpan(ctx, c), c, 200, testTime())
		traceDevice(nil, w, c.HTTP, "credentials", "AssumeRoleWithCertificate", 200, testTime(), testTime())
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
