package server

import (
	"context"
	"math"
	"time"

	"github.com/sekisho-iot/sekisho/internal/api"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/telemetry"
)

const (
	closeLimit = 9500 * time.Millisecond // for all of Close; a stop may take ten seconds
	flushLimit = 2 * time.Second         // of which the last export may have that
)

func (o *Options) validateOTLP() error {
	if r := o.OTLPSampleRatio; math.IsNaN(r) || r < 0 || r > 1 {
		return usagef("--otlp-sample-ratio %v: a number from 0 to 1 is needed", r)
	}
	headers, err := telemetry.ParseOTLPHeaders(o.OTLPHeaders)
	if err != nil {
		return usagef("--otlp-headers: %v", err)
	}
	if o.OTLPEndpoint == "" {
		if len(headers) > 0 {
			return usagef("--otlp-headers needs --otlp-endpoint")
		}
		return nil
	}
	u, err := telemetry.ParseOTLPEndpoint(o.OTLPEndpoint)
	if err != nil {
		return usagef("--otlp-endpoint: %v", err)
	}
	if u.Scheme == "http" && len(headers) > 0 && !loopback(u.Hostname()) {
		return usagef("--otlp-endpoint: https is needed where --otlp-headers is set, or everybody on the way could read them")
	}
	return nil
}

// openExports begins to export, where that is asked for.
func (s *Server) openExports(ctx context.Context) error {
	o := &s.opts
	if o.OTLPEndpoint == "" {
		return nil
	}
	instance, err := iot.NewUUID(o.Rand)
	if err != nil {
		return err
	}
	database := "sqlite"
	if o.Database != "" {
		database = "postgresql"
	}
	s.exports, err = telemetry.Export(ctx, &telemetry.ExportOptions{
		Endpoint: o.OTLPEndpoint, Headers: o.OTLPHeaders, SampleRatio: o.OTLPSampleRatio, Metrics: s.metrics,
		Version: o.Version, Host: o.PublicHosts[0], Instance: instance, Database: database, Logger: o.Logger, Now: o.Now,
	})
	if s.exports != nil { // stopped after all that is traced
		ctx = context.WithoutCancel(ctx)
		s.stop(func() error { s.closeExports(ctx); return nil })
	}
	return err
}

// tracer is nil where nothing is exported, and not an interface that holds nil.
func (s *Server) tracer() api.Tracer {
	if s.exports == nil {
		return nil
	}
	return s.exports
}

// closeExports sends what is left, while there is time.
func (s *Server) closeExports(ctx context.Context) {
	s.mu.Lock()
	left := closeLimit - s.opts.Now().Sub(s.closing)
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, min(left, flushLimit))
	defer cancel()
	s.exports.Shutdown(ctx)
}
