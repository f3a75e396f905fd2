package queue_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/queue"
)

// TestCopy: a copy that is made while others write holds what was acknowledged
// before, and whole batches alone of what came meanwhile.
func TestCopy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, queue.Options{Fast: true})
	for i := range 500 {
		mustCommit(t, s, set(fmt.Sprintf("old%04d", i), strings.Repeat("v", 500)))
	}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				k := fmt.Sprintf("%d-%06d", w, i)
				if err := commit(s, set("a"+k, strings.Repeat("v", 300)), set("b"+k, "")); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	to := filepath.Join(t.TempDir(), queue.FileName)
	for range 5 {
		_ = os.Remove(to)
		if err := s.Copy(to); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	writers.Wait()
	if err := queue.Check(to); err != nil {
		t.Fatal(err)
	}
	copied := open(t, filepath.Dir(to), queue.Options{})
	count := func(prefix string) (n int) {
		if err := copied.Scan([]byte(prefix), nil, 0, func(_, _ []byte) error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := count("old"); n != 500 {
		t.Errorf("%d of 500 are there", n)
	}
	if a, b := count("a"), count("b"); a != b {
		t.Errorf("half of a batch: %d and %d", a, b)
	}
	if err := s.Copy(to); err == nil {
		t.Error("a file was written over")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Copy(to + "2"); err == nil {
		t.Error("a closed store was copied")
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x")
	if queue.Check(path) == nil {
		t.Error("no file is sound")
	}
	if err := os.WriteFile(path, []byte(strings.Repeat("not bolt", 4096)), 0o600); err != nil {
		t.Fatal(err)
	}
	if queue.Check(path) == nil {
		t.Error("nonsense is sound")
	}
}
