package server

import (
	"context"
	"crypto/tls"
	"log/slog"
	"sync"
	"time"

	"github.com/sekisho-iot/sekisho/internal/pki"
	"github.com/sekisho-iot/sekisho/internal/telemetry"
)

// expiryWatch tells the operator in time of certificates that are about to end,
// by figures and in the log, and renews the server's own.
type expiryWatch struct {
	certificates *pki.Certificates
	authority    *pki.Authority
	own          *pki.ServerCertificate // nil where the operator brings one
	shown        getCertificate
	figures      *telemetry.Certificates
	log          *slog.Logger
	now          func() time.Time

	told map[string]telling // by what was told of
}

// telling is what was last logged of something.
type telling struct {
	at time.Time
	n  int
}

const (
	expiryCheck = time.Hour
	expiryTell  = 24 * time.Hour // how often the same is logged
	expiryNames = 10             // certificates that are named in the log
	day         = 24 * time.Hour
)

// expiryWindows are the times before the end that are told apart, each from the
// end of the one before it.
func expiryWindows() []struct {
	name string
	time time.Duration
} {
	return []struct {
		name string
		time time.Duration
	}{{"0d", 0}, {"1d", day}, {"7d", 7 * day}, {"30d", 30 * day}}
}

// start looks now and then every hour, until stop is called.
func (e *expiryWatch) start(ctx context.Context) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		t := time.NewTicker(expiryCheck)
		defer t.Stop()
		for {
			e.check(ctx)
			select {
			case <-t.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return func() error {
		cancel()
		wg.Wait()
		return nil
	}
}

// check looks once.
func (e *expiryWatch) check(ctx context.Context) {
	if e.own != nil {
		if err := e.own.Renew(); err != nil {
			e.log.ErrorContext(ctx, "the server's certificate could not be renewed", slog.Any("error", err))
		}
	}
	now := e.now()
	if c, err := e.shown(&tls.ClientHelloInfo{}); err == nil && c.Leaf != nil {
		e.ours(ctx, "server", c.Leaf.NotAfter, now)
	}
	for name, end := range e.authority.NotAfter() {
		e.ours(ctx, name, end, now)
	}
	e.devices(ctx, now)
}

// ours tells of one certificate of the server itself.
func (e *expiryWatch) ours(ctx context.Context, name string, end, now time.Time) {
	e.figures.NotAfter(name, end)
	windows := expiryWindows()
	left := end.Sub(now)
	if left > windows[len(windows)-1].time || !e.due(name, 1, now) {
		return
	}
	e.log.WarnContext(ctx, "a certificate of this server is about to end", slog.String("certificate", name), slog.Time("not_after", end),
		slog.Float64("days_left", left.Round(time.Hour).Hours()/24))
}

// devices tells of the active certificates of devices.
func (e *expiryWatch) devices(ctx context.Context, now time.Time) {
	total, from := 0, time.Unix(0, 0)
	for _, w := range expiryWindows() {
		until := now.Add(w.time)
		n, first, err := e.certificates.Expiring(ctx, from, until, expiryNames)
		if err != nil {
			if ctx.Err() == nil {
				e.log.ErrorContext(ctx, "certificates that are about to end could not be counted", slog.Any("error", err))
			}
			return
		}
		total += n
		e.figures.Expiring(w.name, total)
		from = until
		if !e.due("devices "+w.name, n, now) {
			continue
		}
		ids := make([]string, len(first))
		for i := range first {
			ids[i] = string(first[i].ID)
		}
		about := []slog.Attr{
			slog.String("within", w.name), slog.Int("count", n), slog.Any("first", ids), slog.Time("first_not_after", first[0].NotAfter),
		}
		if w.time == 0 {
			e.log.LogAttrs(ctx, slog.LevelWarn, "active certificates of devices have ended", about...)
		} else {
			e.log.LogAttrs(ctx, slog.LevelWarn, "certificates of devices are about to end", about...)
		}
	}
}

// due reports whether to log that there are n of something: where there are more
// than were told of, or a day after.
func (e *expiryWatch) due(what string, n int, now time.Time) bool {
	last := e.told[what]
	if n == 0 || n <= last.n && now.Sub(last.at) < expiryTell {
		if n < last.n {
			e.told[what] = telling{at: last.at, n: n}
		}
		return false
	}
	if e.told == nil {
		e.told = map[string]telling{}
	}
	e.told[what] = telling{at: now, n: n}
	return true
}
