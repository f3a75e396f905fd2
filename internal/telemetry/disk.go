package telemetry

import "github.com/prometheus/client_golang/prometheus"

// Disk are the figures of the disk that the data folder is on.
type Disk struct {
	total, free, reserve, low prometheus.Gauge
	refused                   prometheus.Counter
}

// Disk returns the figures of the disk. It is for calling once.
func (m *Metrics) Disk() *Disk {
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
		m.registry.MustRegister(g)
		return g
	}
	d := &Disk{
		total:   gauge("sekisho_disk_total_bytes", "Size of the file system of the data folder."),
		free:    gauge("sekisho_disk_free_bytes", "What is free of it for this server."),
		reserve: gauge("sekisho_disk_reserve_bytes", "What is kept free of it: below that, what adds something is refused."),
		low:     gauge("sekisho_disk_low", "1 while what adds something is refused, since the disk is nearly full."),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sekisho_disk_refusals_total", Help: "Requests that were refused since the disk is nearly full, those over MQTT excepted.",
		}),
	}
	m.registry.MustRegister(d.refused)
	return d
}

// Set sets what there is.
func (d *Disk) Set(total, free, reserve int64) {
	d.total.Set(float64(total))
	d.free.Set(float64(free))
	d.reserve.Set(float64(reserve))
}

// Low says whether the disk is nearly full.
func (d *Disk) Low(low bool) {
	if low {
		d.low.Set(1)
		return
	}
	d.low.Set(0)
}

// Refused counts a refusal.
func (d *Disk) Refused() { d.refused.Inc() }
