package telemetry

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const quiet = 10 * time.Minute // between two lines about failures of one link

// link is what is known of the way to the collector, for one signal. It says
// once that the way is closed, and once that it is open again.
type link struct {
	signal   string
	endpoint string
	log      *slog.Logger
	now      func() time.Time
	failures prometheus.Counter

	mu   sync.Mutex // guards the fields below
	told bool       // that it is closed
	last time.Time  // when that was told
}

// came notes what became of one request.
func (l *link) came(ctx context.Context, err error) {
	if err != nil {
		l.failures.Inc()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil && l.told:
		l.told = false
		l.log.LogAttrs(ctx, slog.LevelInfo, "telemetry reaches the collector again", slog.String("signal", l.signal), slog.String("endpoint", l.endpoint))
	case err != nil && !l.told && (l.last.IsZero() || l.now().Sub(l.last) >= quiet):
		l.told, l.last = true, l.now()
		l.log.LogAttrs(ctx, slog.LevelWarn, "telemetry does not reach the collector",
			slog.String("signal", l.signal), slog.String("endpoint", l.endpoint), slog.Any("error", err))
	}
}
