//go:build bench

package bench_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
)

// search prints what the store's own benchmark says of a million things.
func (s *settings) search(ctx context.Context, _ string) error {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^BenchmarkSearch$", "-benchtime", "200x", "-timeout", "20m", "./internal/sqlstore")
	cmd.Dir, cmd.Stderr = "..", os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	rows := [][]string{{"1,000,000 things", "p50", "p99", "bytes a thing"}}
	figure := func(line, unit string) string {
		if m := regexp.MustCompile(`([0-9.]+) ` + regexp.QuoteMeta(unit)).FindStringSubmatch(line); m != nil {
			return m[1]
		}
		return ""
	}
	for line := range strings.Lines(string(out)) {
		name, ok := strings.CutPrefix(line, "BenchmarkSearch/")
		if !ok {
			continue
		}
		name = strings.ReplaceAll(strings.Fields(name)[0], "_", " ")
		if i := strings.LastIndexByte(name, '-'); i > 0 {
			name = name[:i] // the number of processors
		}
		row := []string{name, figure(line, "p50-µs"), figure(line, "p99-µs"), figure(line, "bytes/thing")}
		for i := 1; i <= 2; i++ {
			if row[i] != "" {
				row[i] += " µs"
			}
		}
		rows = append(rows, row)
	}
	if len(rows) == 1 {
		return fmt.Errorf("no figures: %s", out)
	}
	table("Searches and listings, 100 things a page (goal by attribute: p50 ≤ 5 ms; ≤ 1 KiB a thing)", rows...)
	return nil
}
