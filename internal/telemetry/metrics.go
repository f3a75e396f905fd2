package telemetry

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics are the server's own figures, in the Prometheus exposition format.
type Metrics struct {
	registry *prometheus.Registry
	requests *prometheus.HistogramVec
	denials  *prometheus.CounterVec
}

// NewMetrics returns metrics with the process's and the runtime's figures in them.
func NewMetrics(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "sekisho_api_request_duration_seconds",
			Help: "Time from the request's header to the end of the answer, by service, operation and HTTP status.",
			Buckets: []float64{
				.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 60,
			},
		}, []string{"service", "operation", "status"}),
		denials: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sekisho_denials_total",
			Help: "Requests that a policy refused, by service and action.",
		}, []string{"service", "action"}),
	}
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "sekisho_build_info", Help: "Always 1; the label is the version.",
	}, []string{"version"})
	info.WithLabelValues(version).Set(1)
	m.registry.MustRegister(m.requests, m.denials, info,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Observe counts one answered request.
func (m *Metrics) Observe(service, operation string, status int, d time.Duration) {
	m.requests.WithLabelValues(service, operation, strconv.Itoa(status)).Observe(d.Seconds())
}

// Deny counts one request that a policy refused.
func (m *Metrics) Deny(service, action string) { m.denials.WithLabelValues(service, action).Inc() }

// Handler serves the figures.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}
