//go:build bench

package bench_test

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/sekisho-iot/sekisho/e2e/process"
)

// start measures a first start, later starts, and the memory at rest.
func (s *settings) start(ctx context.Context, dir string) error {
	server, err := process.Start(ctx, filepath.Join(dir, "data"))
	if err != nil {
		return err
	}
	var ready, rss []float64
	for range s.rounds {
		if _, err := server.Stop(); err != nil {
			return err
		}
		begun := time.Now()
		if err := server.Launch(); err != nil {
			return err
		}
		if err := server.AwaitReady(ctx); err != nil {
			return err
		}
		ready = append(ready, float64(time.Since(begun))/float64(time.Millisecond))
		time.Sleep(2 * time.Second)
		b, err := process.RSS(server.PID())
		if err != nil {
			return err
		}
		rss = append(rss, float64(b)/(1<<20))
	}
	table("Start and rest",
		[]string{"", "measured", "goal"},
		[]string{"second start to ready", fmt.Sprintf("%.0f ms", median(ready)), "≤ 300 ms"},
		[]string{"RSS at rest", fmt.Sprintf("%.0f MB", median(rss)), "≤ 60 MB"},
	)
	_, err = server.Stop()
	return err
}
