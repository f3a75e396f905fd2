package telemetry

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// What an export starts has ended when Shutdown returns.
func TestShutdownWaits(t *testing.T) { //nolint:paralleltest // other tests' goroutines would be seen
	before := goleak.IgnoreCurrent()
	c := export(t, NewMetrics("1"), func(e *Exports) {
		_, s := e.Begin(t.Context(), "", "iot", "CreateThing", time.Now())
		e.End(t.Context(), s, &Request{Service: "iot"})
	})
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
	if len(c.spans()) != 1 {
		t.Error(c.spans())
	}
}

// Settings come from flags; of OpenTelemetry's own variables one adds to what
// is said of the server.
func TestVariablesOfOpenTelemetry(t *testing.T) {
	for name, value := range map[string]string{
		"OTEL_RESOURCE_ATTRIBUTES":           "deployment.environment.name=test,service.name=other",
		"OTEL_SERVICE_NAME":                  "other",
		"OTEL_SDK_DISABLED":                  "true",
		"OTEL_TRACES_SAMPLER":                "always_off",
		"OTEL_EXPORTER_OTLP_ENDPOINT":        "http://127.0.0.1:1",
		"OTEL_EXPORTER_OTLP_HEADERS":         "x=y",
		"OTEL_ATTRIBUTE_COUNT_LIMIT":         "1",
		"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT":    "1",
		"OTEL_METRIC_EXPORT_INTERVAL":        "1",
		"OTEL_METRICS_EXEMPLAR_FILTER":       "always_on",
		"OTEL_BSP_MAX_QUEUE_SIZE":            "1",
		"OTEL_TRACES_EXPORTER":               "none",
		"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc",
	} {
		t.Setenv(name, value)
	}
	c := export(t, NewMetrics("1"), func(e *Exports) {
		_, s := e.Begin(t.Context(), "", "iot", "CreateThing", time.Now())
		e.End(t.Context(), s, &Request{Service: "iot"})
	})
	if len(c.spans()) != 1 || len(c.spans()[0].Attributes) < 5 {
		t.Fatal(c.spans())
	}
	for _, about := range []string{text(c.traces.ResourceSpans[0].Resource.Attributes), text(c.metrics.ResourceMetrics[0].Resource.Attributes)} {
		if !strings.HasPrefix(about, "deployment.environment.name=test service.instance.id=i service.name=sekisho ") {
			t.Error(about)
		}
	}
}
