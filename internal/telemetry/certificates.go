package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Certificates are the figures of how near certificates are to their end.
type Certificates struct {
	expiring *prometheus.GaugeVec
	notAfter *prometheus.GaugeVec
}

// Certificates returns these figures, which show among the others. It is for
// calling once.
func (m *Metrics) Certificates() *Certificates {
	c := &Certificates{
		expiring: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sekisho_device_certificates_expiring",
			Help: "Active device certificates that end within that time, or have ended (0d); each is in the longer times too.",
		}, []string{"within"}),
		notAfter: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sekisho_certificate_not_after_seconds",
			Help: "When a certificate of the server itself ends, in seconds since 1970.",
		}, []string{"certificate"}),
	}
	m.registry.MustRegister(c.expiring, c.notAfter)
	return c
}

// Expiring sets how many certificates of devices end within a time.
func (c *Certificates) Expiring(within string, n int) {
	c.expiring.WithLabelValues(within).Set(float64(n))
}

// NotAfter sets when a certificate of ours ends.
func (c *Certificates) NotAfter(certificate string, at time.Time) {
	c.notAfter.WithLabelValues(certificate).Set(float64(at.Unix()))
}
