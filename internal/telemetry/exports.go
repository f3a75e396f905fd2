package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	promotel "go.opentelemetry.io/contrib/bridges/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/exemplar"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

const (
	scope          = "github.com/sekisho-iot/sekisho"
	metricInterval = time.Minute
)

// ExportOptions say where OpenTelemetry goes to, and what is told with it.
type ExportOptions struct {
	Endpoint    string  // see ParseOTLPEndpoint
	Headers     string  // see ParseOTLPHeaders; secret
	SampleRatio float64 // of requests that are traced, 0 to 1

	Metrics  *Metrics // all of these go too
	Version  string
	Host     string // server.address
	Instance string // of this run: service.instance.id
	Database string // db.system.name
	Logger   *slog.Logger
	Now      func() time.Time
}

// Exports sends traces and metrics to a collector by OTLP over HTTP. Nobody
// waits for it: what the collector does not take in time is dropped, and counted.
type Exports struct {
	tracer   trace.Tracer
	requests metric.Float64Histogram
	commits  metric.Float64Histogram
	host     string
	database string

	client *otlpClient
	traces *sdktrace.TracerProvider
	meters *sdkmetric.MeterProvider
	once   sync.Once
}

// Export begins to export, until Shutdown. It is for calling once for the same Metrics.
func Export(ctx context.Context, o *ExportOptions) (*Exports, error) {
	base, err := ParseOTLPEndpoint(o.Endpoint)
	if err != nil {
		return nil, err
	}
	header, err := ParseOTLPHeaders(o.Headers)
	if err != nil {
		return nil, err
	}
	about, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.name", "sekisho"), attribute.String("service.version", o.Version),
		attribute.String("service.instance.id", o.Instance),
	))
	if err != nil {
		return nil, fmt.Errorf("describe this server: %w", err)
	}
	dropped := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sekisho_otlp_spans_dropped_total", Help: "Spans that the collector did not get, by reason.",
	}, []string{"reason"})
	failures := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sekisho_otlp_failures_total", Help: "Requests to the collector that failed, by signal.",
	}, []string{"signal"})
	o.Metrics.registry.MustRegister(dropped, failures)
	way := func(signal string) *link {
		return &link{signal: signal, endpoint: base.Redacted(), log: o.Logger, now: o.Now, failures: failures.WithLabelValues(signal)}
	}
	e := &Exports{client: newOTLPClient(base, header), host: o.Host, database: o.Database}
	e.exportTraces(ctx, o, about, way("traces"), dropped)
	return e, e.exportMetrics(o, about, way("metrics"))
}

func (e *Exports) exportTraces(ctx context.Context, o *ExportOptions, about *resource.Resource, l *link, dropped *prometheus.CounterVec) {
	for _, reason := range []string{"queue_full", "not_exported", "rejected"} {
		dropped.WithLabelValues(reason)
	}
	sender := otlptrace.NewUnstarted(&traceClient{e.client, l, dropped.WithLabelValues("rejected")})
	e.traces = sdktrace.NewTracerProvider(
		sdktrace.WithResource(about),
		sdktrace.WithSampler(newSampler(o.SampleRatio, o.Now)),
		sdktrace.WithRawSpanLimits(sdktrace.SpanLimits{
			AttributeValueLengthLimit: 256, AttributeCountLimit: 32, LinkCountLimit: maxLinks,
			EventCountLimit: 1, AttributePerEventCountLimit: 1, AttributePerLinkCountLimit: 1,
		}),
		sdktrace.WithSpanProcessor(newSpanQueue(context.WithoutCancel(ctx), sender.ExportSpans, dropped)),
	)
	e.tracer = e.traces.Tracer(scope, trace.WithInstrumentationVersion(o.Version))
}

func (e *Exports) exportMetrics(o *ExportOptions, about *resource.Resource, l *link) error {
	e.meters = sdkmetric.NewMeterProvider(
		sdkmetric.WithResource(about),
		sdkmetric.WithExemplarFilter(exemplar.AlwaysOffFilter),
		sdkmetric.WithReader(sdkmetric.NewPeriodicReader(&metricExporter{e.client, l},
			sdkmetric.WithInterval(metricInterval), sdkmetric.WithTimeout(otlpTimeout),
			sdkmetric.WithProducer(promotel.NewMetricProducer(promotel.WithGatherer(o.Metrics.registry))))),
	)
	meter := e.meters.Meter(scope, metric.WithInstrumentationVersion(o.Version))
	var err, err2 error
	// The buckets are those that the conventions name.
	e.requests, err = meter.Float64Histogram("http.server.request.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of HTTP server requests."),
		metric.WithExplicitBucketBoundaries(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10))
	e.commits, err2 = meter.Float64Histogram("db.client.operation.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of database client operations: here, of transactions that write."),
		metric.WithExplicitBucketBoundaries(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10))
	return errors.Join(err, err2)
}

// Shutdown sends what is left, for as long as ctx lasts, and ends the export.
func (e *Exports) Shutdown(ctx context.Context) {
	e.once.Do(func() {
		var wg sync.WaitGroup
		wg.Go(func() { _ = e.traces.Shutdown(ctx) }) // link has told of failures
		wg.Go(func() { _ = e.meters.Shutdown(ctx) })
		wg.Wait()
		e.client.close()
	})
}

// traceClient implements otlptrace.Client.
type traceClient struct {
	client   *otlpClient
	link     *link
	rejected prometheus.Counter
}

// Start implements otlptrace.Client.
func (*traceClient) Start(context.Context) error { return nil }

// Stop implements otlptrace.Client.
func (*traceClient) Stop(context.Context) error { return nil }

// UploadTraces implements otlptrace.Client. TracesData has the encoding of
// ExportTraceServiceRequest, whose package brings gRPC.
func (c *traceClient) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	n, err := c.client.post(ctx, "v1/traces", &tracepb.TracesData{ResourceSpans: spans})
	c.link.came(ctx, err)
	c.rejected.Add(float64(n))
	return err
}
