package upload_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/agent/spool"
	"github.com/sekisho-iot/sekisho/internal/agent/upload"
)

// counter takes messages and says when it has as many as it waits for.
type counter struct {
	want int
	done chan struct{}
	look func() // on each message

	mu    sync.Mutex // guards names
	names []string
}

func (c *counter) Publish(_ context.Context, _ string, payload []byte) error {
	var m upload.Message
	if err := json.Unmarshal(payload, &m); err != nil {
		return err
	}
	c.look()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.names = append(c.names, m.Name); len(c.names) == c.want {
		close(c.done)
	}
	return nil
}

// A folder that has more files than are worked on at a time: each is sent once,
// the first ones first, and the spool never has many of them.
func TestWatchMany(t *testing.T) {
	t.Parallel()
	for _, newest := range []bool{false, true} {
		t.Run(fmt.Sprintf("newest=%v", newest), func(t *testing.T) {
			t.Parallel()
			const many = 2500
			dir := t.TempDir()
			in := filepath.Join(dir, "in")
			if err := os.Mkdir(in, 0o700); err != nil {
				t.Fatal(err)
			}
			for n := range many {
				path := filepath.Join(in, fmt.Sprintf("%04d", (n*1237)%many)) // in no order
				if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
					t.Fatal(err)
				}
				at := time.Unix(1_700_000_000+int64((n*1237)%many), 0)
				if err := os.Chtimes(path, at, at); err != nil {
					t.Fatal(err)
				}
			}
			s, err := spool.Open(filepath.Join(dir, "spool"))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close() //nolint:errcheck // the test is over
			most := 0
			p := &counter{want: many, done: make(chan struct{})}
			var mu sync.Mutex // guards most
			p.look = func() {
				all, _ := s.Load()
				mu.Lock()
				defer mu.Unlock()
				most = max(most, all)
			}
			settings := upload.DefaultSettings()
			settings.Thing, settings.Persist, settings.NewestFirst = thing, true, newest
			if err := settings.Validate(); err != nil {
				t.Fatal(err)
			}
			a := upload.New(upload.Options{Settings: settings, Spool: s, Publisher: p, Now: time.Now, Tell: func(upload.Event) {}})
			ctx, stop := context.WithCancel(t.Context())
			found := make(chan spool.Record)
			var group sync.WaitGroup
			group.Go(func() { _, _ = a.Run(ctx, found) })
			group.Go(func() { _ = a.Watch(ctx, upload.Watcher{Dir: in, Poll: 20 * time.Millisecond}, found) })
			select {
			case <-p.done:
			case <-time.After(time.Minute):
				t.Error("not all came")
			}
			time.Sleep(100 * time.Millisecond) // some looks more, which must find nothing
			stop()
			group.Wait()
			p.mu.Lock()
			defer p.mu.Unlock()
			first := slices.Clone(p.names[:500])
			slices.Sort(p.names)
			if n := len(slices.Compact(p.names)); n != many || len(p.names) != many {
				t.Errorf("%d messages of %d files", len(p.names), n)
			}
			if most > 1024 {
				t.Errorf("%d records in the spool", most)
			}
			slices.Sort(first)
			if oldest, youngest := first[0], first[499]; newest && oldest < "1400" || !newest && youngest > "1100" {
				t.Errorf("the first 500 were %s to %s", oldest, youngest)
			}
		})
	}
}
