package server

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/telemetry"
)

func TestParseReserve(t *testing.T) {
	t.Parallel()
	const disk = 100 << 30
	for text, want := range map[string]int64{
		"": 256 << 20, "0": 0, "0%": 0, "5%": 5 << 30, "2.5%": 5 << 29, "256MiB": 256 << 20, "1GiB": 1 << 30, "4096": 4096, "10 KiB": 10 << 10,
	} {
		r, err := parseReserve(text)
		if err != nil || r.of(disk) != want {
			t.Errorf("%q: %d, %v, want %d", text, r.of(disk), err, want)
		}
	}
	if r, err := parseReserve(""); err != nil || r.of(1<<30) != 1<<30/20 {
		t.Errorf("the default on a small disk: %d, %v", r.of(1<<30), err)
	}
	for _, text := range []string{"x", "-1", "91%", "-1%", "NaN%", "%", "1PB", "9999999999GiB", "MiB", "1e3"} {
		if _, err := parseReserve(text); !IsUsage(err) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzParseReserve(f *testing.F) {
	f.Add("256MiB")
	f.Add("5%")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := parseReserve(s)
		if n := r.of(1 << 40); err == nil && (n < 0 || n > 1<<50) {
			t.Errorf("%q: %d", s, n)
		}
	})
}

// TestDisk: one line for each crossing, and what is written between two looks counts.
func TestDisk(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	now := space{total: 1000, free: 500}
	var failing error
	d := &disk{
		dir: "data", reserve: reserve{bytes: 80, share: 1}, log: slog.New(slog.NewTextHandler(&log, nil)),
		figures: telemetry.NewMetrics("test").Disk(), space: func(string) (space, error) { return now, failing },
	}
	lines := func(want int, last string) {
		t.Helper()
		if n := strings.Count(log.String(), "\n"); n != want || !strings.Contains(log.String(), last) {
			t.Errorf("%d lines, want %d with %q:\n%s", n, want, last, log.String())
		}
	}
	refused := func(what string, err error, want bool) {
		t.Helper()
		if (err != nil) != want || err != nil && !iot.IsKind(err, iot.KindBusy) {
			t.Errorf("%s: %v", what, err)
		}
	}
	d.look(t.Context())
	refused("a body that fits", d.Fits(420), false)
	refused("one that does not", d.Fits(421), true)
	refused("what fits", d.Take(400), false)
	refused("the rest of it", d.Take(21), true)
	refused("something small", d.Room(), false)
	now.free = 79
	d.look(t.Context())
	d.look(t.Context())
	lines(1, "nearly full")
	refused("anything", d.Room(), true)
	refused("an empty body", d.Fits(0), true)
	now.free = 85
	d.look(t.Context())
	lines(1, "")
	refused("just above the reserve", d.Room(), true)
	now.free = 90
	d.look(t.Context())
	d.look(t.Context())
	lines(2, "has room again")
	refused("with room again", d.Take(10), false)
	failing = errors.New("no such device")
	d.look(t.Context())
	d.look(t.Context())
	lines(3, "not known")
	refused("what is not known", d.Room(), false)
}
