package server

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/telemetry"
)

const (
	diskEvery = time.Second
	// defaultReserve is kept free, or a twentieth of a disk on which that is less.
	defaultReserve      = 256 << 20
	defaultReserveShare = 20
)

// space is what a file system has.
type space struct{ total, free int64 }

func spaceOf(dir string) (space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return space{}, fmt.Errorf("free space of %s: %w", dir, err)
	}
	block := int64(st.Bsize)                                              //nolint:unconvert // another type elsewhere
	return space{int64(st.Blocks) * block, int64(st.Bavail) * block}, nil //nolint:gosec // file systems are smaller
}

// freeSpace is how many bytes the file system of a folder has left for us.
func freeSpace(dir string) (int64, error) {
	s, err := spaceOf(dir)
	return s.free, err
}

// reserve is how much of a disk is to stay free: bytes, or a share.
type reserve struct {
	bytes int64
	share float64
}

// parseReserve reads "256MiB", "5%", "0", and "" for the default.
func parseReserve(s string) (reserve, error) {
	if s == "" {
		return reserve{bytes: defaultReserve, share: 1.0 / defaultReserveShare}, nil
	}
	refuse := usagef("--disk-reserve %q: a size such as 256MiB or 2GiB, a share such as 5%%, or 0 for none", s)
	if text, ok := strings.CutSuffix(s, "%"); ok {
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || !(f >= 0 && f <= 90) {
			return reserve{}, refuse
		}
		return reserve{bytes: math.MaxInt64, share: f / 100}, nil
	}
	text, unit := s, int64(1)
	for suffix, n := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40} {
		if t, ok := strings.CutSuffix(s, suffix); ok {
			text, unit = t, n
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil || n < 0 || n > 1<<50/unit {
		return reserve{}, refuse
	}
	return reserve{bytes: n * unit, share: 1}, nil
}

// of is the reserve on a disk of so many bytes: the lesser of the two.
func (r reserve) of(total int64) int64 { return min(r.bytes, int64(float64(total)*r.share)) }

// disk refuses what would fill the disk of the data folder: reading, deleting
// and revoking need room too, and what is half written when it is full costs
// more than what was refused.
type disk struct {
	dir     string
	reserve reserve
	space   func(dir string) (space, error)
	log     *slog.Logger
	figures *telemetry.Disk

	left atomic.Int64 // bytes above the reserve, as of the last look, less what was taken since
	low  atomic.Bool

	mu     sync.Mutex // guards what follows, and crossings
	failed bool
}

// openDisk looks at the disk now and then every second.
func (s *Server) openDisk(ctx context.Context) error {
	r, err := parseReserve(s.opts.DiskReserve)
	if err != nil {
		return err
	}
	s.disk = &disk{dir: s.opts.Data, reserve: r, space: spaceOf, log: s.log, figures: s.metrics.Disk()}
	s.disk.look(ctx)
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var end sync.WaitGroup
	end.Go(func() {
		tick := time.NewTicker(diskEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				s.disk.look(ctx)
			}
		}
	})
	s.stop(func() error { cancel(); end.Wait(); return nil })
	return nil
}

// look reads how much is left. It takes an eighth more than the reserve to be
// over with it, so that nobody hears of it each second.
func (d *disk) look(ctx context.Context) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now, err := d.space(d.dir)
	if err != nil {
		if !d.failed {
			d.log.ErrorContext(ctx, "free disk space is not known", slog.Any("error", err))
		}
		d.failed = true
		return
	}
	d.failed = false
	reserved := d.reserve.of(now.total)
	d.figures.Set(now.total, now.free, reserved)
	d.left.Store(now.free - reserved)
	switch {
	case reserved == 0:
		d.cross(ctx, false, now.free, reserved)
	case now.free < reserved:
		d.cross(ctx, true, now.free, reserved)
	case now.free >= reserved+reserved/8:
		d.cross(ctx, false, now.free, reserved)
	}
}

// cross says so once when the disk gets nearly full, or no longer is; d.mu is held.
func (d *disk) cross(ctx context.Context, low bool, free, reserved int64) {
	if d.low.Swap(low) == low {
		return
	}
	d.figures.Low(low)
	attrs := []slog.Attr{slog.String("data", d.dir), slog.Int64("free", free), slog.Int64("reserve", reserved)}
	if low {
		d.log.LogAttrs(ctx, slog.LevelError, "the disk is nearly full: what adds something is refused until there is room", attrs...)
		return
	}
	d.log.LogAttrs(ctx, slog.LevelInfo, "the disk has room again", attrs...)
}

// off reports whether no reserve is kept.
func (d *disk) off() bool { return d.reserve == reserve{share: 1} || d.reserve.share == 0 }

func (d *disk) refuse() error {
	d.figures.Refused()
	return iot.Errorf(iot.KindBusy, "disk", "The server's disk is nearly full. Please try again when something has been deleted.")
}

// Full reports whether the disk is nearly full.
func (d *disk) Full() bool { return d.low.Load() }

// Room refuses while the disk is nearly full.
func (d *disk) Room() error {
	if d.low.Load() {
		return d.refuse()
	}
	return nil
}

// Fits implements local.Disk.
func (d *disk) Fits(size int64) error {
	if d.off() {
		return nil
	}
	if d.low.Load() || d.left.Load() < size {
		return d.refuse()
	}
	return nil
}

// Take implements local.Disk. What is written between two looks counts.
func (d *disk) Take(n int64) error {
	if d.off() {
		return nil
	}
	if d.low.Load() || d.left.Add(-n) < 0 {
		return d.refuse()
	}
	return nil
}
