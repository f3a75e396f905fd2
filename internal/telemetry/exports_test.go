package telemetry

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// collected is what a collector got.
type collected struct {
	mu      sync.Mutex // guards the fields below
	traces  tracepb.TracesData
	metrics metricspb.MetricsData
}

func (c *collected) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch r.URL.Path { // Unmarshal would empty what is there
	case "/v1/traces":
		_ = proto.UnmarshalOptions{Merge: true}.Unmarshal(body, &c.traces)
	case "/v1/metrics":
		_ = proto.UnmarshalOptions{Merge: true}.Unmarshal(body, &c.metrics)
	}
}

func (c *collected) spans() (list []*tracepb.Span) {
	for _, r := range c.traces.ResourceSpans {
		for _, s := range r.ScopeSpans {
			list = append(list, s.Spans...)
		}
	}
	return list
}

func (c *collected) metric(name string) *metricspb.Metric {
	for _, r := range c.metrics.ResourceMetrics {
		for _, s := range r.ScopeMetrics {
			for _, m := range s.Metrics {
				if m.Name == name {
					return m
				}
			}
		}
	}
	return nil
}

// text is attributes as NAME=VALUE, sorted.
func text(attributes []*commonpb.KeyValue) string {
	list := make([]string, 0, len(attributes))
	for _, a := range attributes {
		v := a.Value.GetStringValue()
		if _, ok := a.Value.Value.(*commonpb.AnyValue_IntValue); ok {
			v = "#" + time.Duration(a.Value.GetIntValue()).String()
		}
		list = append(list, a.Key+"="+v)
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// export runs f on exports that record everything, and returns what a collector got.
func export(t *testing.T, m *Metrics, f func(*Exports)) *collected {
	t.Helper()
	c := &collected{}
	s := httptest.NewServer(c)
	defer s.Close()
	e, err := Export(t.Context(), &ExportOptions{
		Endpoint: s.URL, SampleRatio: 1, Metrics: m, Version: "1.2.3", Host: "gate.example", Instance: "i", Database: "sqlite",
		Logger: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	f(e)
	e.Shutdown(t.Context())
	return c
}

func TestConventions(t *testing.T) {
	t.Parallel()
	m := NewMetrics("1.2.3")
	m.MQTT().Connection(3)
	start := time.Unix(1e9, 0)
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	c := export(t, m, func(e *Exports) {
		ctx, span := e.Begin(t.Context(), parent, "iot", "CreateThing", start)
		_, other := e.Begin(t.Context(), "", "iot", "UpdateThing", start)
		callers := []any{e.Caller(ctx), e.Caller(trace.ContextWithSpan(t.Context(), other))}
		if e.Caller(t.Context()) != nil {
			t.Error("a caller that nobody is")
		}
		e.Committed(t.Context(), start, start.Add(time.Millisecond), callers, 3, true, false)
		e.Committed(t.Context(), start, start.Add(time.Millisecond), nil, 1, false, true)
		e.End(ctx, span, &Request{
			Service: "iot", Operation: "CreateThing", ID: "r-1", Method: http.MethodPost, TLS: true, Major: 2, Client: "192.0.2.7",
			Status: 500, Error: "InternalFailureException", Start: start, End: start.Add(20 * time.Millisecond),
		})
		_, span = e.Begin(t.Context(), "nonsense", "s3", "", start)
		e.End(t.Context(), span, &Request{Service: "s3", Method: "BREW", Major: 1, Minor: 1, Status: 403, Error: "AccessDenied", Start: start, End: start})
	})
	byName := map[string]*tracepb.Span{}
	for _, s := range c.spans() {
		byName[s.Name] = s
	}
	if len(byName) != 3 {
		t.Fatal(byName)
	}
	if got := text(c.traces.ResourceSpans[0].Resource.Attributes); got != "service.instance.id=i service.name=sekisho service.version=1.2.3 "+
		"telemetry.sdk.language=go telemetry.sdk.name=opentelemetry telemetry.sdk.version="+sdkVersion(got) {
		t.Error(got)
	}
	s := byName["iot/CreateThing"]
	if s.Kind != tracepb.Span_SPAN_KIND_SERVER || s.Status.GetCode() != tracepb.Status_STATUS_CODE_ERROR || s.EndTimeUnixNano-s.StartTimeUnixNano != 20e6 ||
		string(s.ParentSpanId) != "\xb7\xad\x6b\x71\x69\x20\x33\x31" || !strings.HasPrefix(string(s.TraceId), "\x0a\xf7\x65\x19") {
		t.Error(s)
	}
	if got := text(s.Attributes); got != "aws.request_id=r-1 client.address=192.0.2.7 error.type=InternalFailureException http.request.method=POST "+
		"http.response.status_code=#500ns network.protocol.version=2 rpc.method=CreateThing rpc.service=iot rpc.system=aws-api server.address=gate.example url.scheme=https" {
		t.Error(got)
	}
	commit := byName["COMMIT"]
	if string(commit.ParentSpanId) != string(s.SpanId) || len(commit.Links) != 1 || commit.Kind != tracepb.Span_SPAN_KIND_CLIENT ||
		text(commit.Attributes) != "db.operation.batch.size=#3ns db.operation.name=COMMIT db.system.name=sqlite" {
		t.Error(commit)
	}
	stranger := byName["s3"]
	if len(stranger.ParentSpanId) != 0 || stranger.Status.GetCode() != tracepb.Status_STATUS_CODE_UNSET ||
		!strings.Contains(text(stranger.Attributes), "error.type=AccessDenied http.request.method=_OTHER http.response.status_code=#403ns network.protocol.version=1.1") {
		t.Error(stranger)
	}
	checkMetrics(t, c)
}

func sdkVersion(s string) string { return s[strings.LastIndexByte(s, '=')+1:] }

func checkMetrics(t *testing.T, c *collected) {
	t.Helper()
	requests := c.metric("http.server.request.duration")
	if requests == nil || requests.Unit != "s" || len(requests.GetHistogram().DataPoints) != 2 {
		t.Fatal(requests)
	}
	for _, p := range requests.GetHistogram().DataPoints {
		if len(p.BucketCounts) != len(p.ExplicitBounds)+1 || p.Count != 1 || p.StartTimeUnixNano == 0 {
			t.Error(p)
		}
		if got := text(p.Attributes); strings.Contains(got, "rpc.service=iot") && (*p.Sum != 0.02 || got != "error.type=InternalFailureException "+
			"http.request.method=POST http.response.status_code=#500ns network.protocol.version=2 rpc.method=CreateThing rpc.service=iot rpc.system=aws-api url.scheme=https") {
			t.Error(p)
		}
	}
	commits := c.metric("db.client.operation.duration").GetHistogram().GetDataPoints()
	if len(commits) != 2 || !strings.Contains(text(commits[0].Attributes)+" "+text(commits[1].Attributes),
		"db.operation.name=ROLLBACK db.system.name=sqlite error.type=_OTHER") {
		t.Error(commits)
	}
	if g := c.metric("sekisho_mqtt_connections").GetGauge(); g == nil || g.DataPoints[0].GetAsDouble() != 3 {
		t.Error(g)
	}
	if s := c.metric("sekisho_otlp_spans_dropped_total").GetSum(); s == nil || !s.IsMonotonic || len(s.DataPoints) != 3 {
		t.Error(s)
	}
	if s := c.metric("go_gc_duration_seconds").GetSummary(); s == nil || len(s.DataPoints[0].QuantileValues) == 0 {
		t.Error(s)
	}
}

func TestSampler(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	sampled := func(s *sampler, flags trace.TraceFlags, remote bool, n int) (yes int) {
		for range n {
			parent := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{15: 1}, SpanID: trace.SpanID{1}, TraceFlags: flags, Remote: remote})
			p := sdktrace.SamplingParameters{ParentContext: trace.ContextWithSpanContext(context.Background(), parent), TraceID: parent.TraceID()}
			if s.ShouldSample(p).Decision == sdktrace.RecordAndSample {
				yes++
			}
		}
		return yes
	}
	root := func(s *sampler, n int) (yes int) {
		for range n {
			if s.ShouldSample(sdktrace.SamplingParameters{ParentContext: context.Background()}).Decision == sdktrace.RecordAndSample {
				yes++
			}
		}
		return yes
	}
	clock := func() time.Time { return now }
	none, all, some := newSampler(0, clock), newSampler(1, clock), newSampler(0.1, clock)
	if n := root(none, 1000); n != 0 {
		t.Error(n)
	}
	if n := root(all, 1000); n != 1000 {
		t.Error(n)
	}
	if n := root(some, 10_000); n < 700 || n > 1300 {
		t.Error(n)
	}
	if n := sampled(all, 0, true, 1000); n != 0 {
		t.Error("a caller who records nothing has", n, "recorded")
	}
	if n := sampled(none, trace.FlagsSampled, false, 1000); n != 1000 {
		t.Error("children of what is recorded:", n)
	}
	// Whoever sets the flag, and picks trace IDs, has a few more recorded, and that is all.
	if n := sampled(none, trace.FlagsSampled, true, 100_000); n != wishesAtOnce {
		t.Error(n)
	}
	now = now.Add(2 * time.Second)
	if n := sampled(none, trace.FlagsSampled, true, 100_000); n != 2*wishesPerSecond {
		t.Error(n)
	}
	now = now.Add(-time.Hour) // a clock that is set back gives nothing
	if n := sampled(none, trace.FlagsSampled, true, 10); n != 0 {
		t.Error(n)
	}
}

func BenchmarkSpan(b *testing.B) {
	c := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer c.Close()
	for name, ratio := range map[string]float64{"recorded": 1, "not": 0} {
		b.Run(name, func(b *testing.B) {
			e, err := Export(b.Context(), &ExportOptions{
				Endpoint: c.URL, SampleRatio: ratio, Metrics: NewMetrics("1"), Logger: slog.New(slog.DiscardHandler), Now: time.Now,
			})
			if err != nil {
				b.Fatal(err)
			}
			defer e.Shutdown(b.Context())
			r := &Request{Service: "s3", Operation: "PutObject", ID: "r", Method: http.MethodPut, Major: 1, Client: "192.0.2.7", Status: 200}
			b.ReportAllocs()
			for b.Loop() {
				ctx, s := e.Begin(b.Context(), "", "s3", "PutObject", time.Unix(1e9, 0))
				e.End(ctx, s, r)
			}
		})
	}
}
