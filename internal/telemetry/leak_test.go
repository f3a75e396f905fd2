package telemetry

import (
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
