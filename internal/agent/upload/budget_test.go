package upload_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sekisho-iot/sekisho/internal/agent/spool"
	"github.com/sekisho-iot/sekisho/internal/agent/upload"
)

const thing = "camera-1"

// down is a server that does not answer until it is up.
type down struct {
	up       time.Time
	tries    []time.Time
	messages []string
}

func (d *down) Publish(_ context.Context, topic string, _ []byte) error {
	d.tries = append(d.tries, time.Now())
	if time.Now().Before(d.up) {
		return errors.New("no connection")
	}
	d.messages = append(d.messages, topic)
	return nil
}

func budgetRun(t *testing.T, outage time.Duration) (d *down, failed int, took time.Duration) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := spool.Open(filepath.Join(dir, "spool"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // the folder is temporary
	start := time.Now()
	d = &down{up: start.Add(outage)}
	settings := upload.DefaultSettings()
	settings.Thing, settings.Concurrency = thing, 1
	if err := settings.Validate(); err != nil {
		t.Fatal(err)
	}
	a := upload.New(upload.Options{Settings: settings, Spool: s, Publisher: d, Tell: func(upload.Event) {}, Now: time.Now})
	if _, problems := a.Accept([]upload.File{{Path: path}}); len(problems) > 0 {
		t.Fatal(problems)
	}
	failed, err = a.Run(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return d, failed, time.Since(start)
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, failed, took := budgetRun(t, 5*time.Minute)
		if failed != 0 || took > 6*time.Minute || len(d.messages) != 1 || d.messages[0] != "file/upload" {
			t.Errorf("%d failed after %v: %v", failed, took, d.messages)
		}
		for n := 1; n < len(d.tries); n++ {
			longest := min(500*time.Millisecond<<(n-1), time.Minute)
			if wait := d.tries[n].Sub(d.tries[n-1]); wait < longest/2 || wait > longest {
				t.Errorf("wait %d: %v, want %v to %v", n, wait, longest/2, longest)
			}
		}
	})
}

func TestBudget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, failed, took := budgetRun(t, 10*time.Minute+5*time.Second)
		if failed != 1 || took < 9*time.Minute || took > 11*time.Minute {
			t.Errorf("%d failed after %v: %v", failed, took, d.messages)
		}
	})
}

// busy is a server that refuses the first message and is slow with the others.
type busy struct {
	mu    sync.Mutex // guards tries
	tries int
}

func (b *busy) Publish(ctx context.Context, _ string, _ []byte) error {
	b.mu.Lock()
	b.tries++
	first := b.tries == 1
	b.mu.Unlock()
	if first {
		return errors.New("not now")
	}
	select {
	case <-time.After(20 * time.Second):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A file that is due while others take all the room waits for one of them to end;
// it must not be asked about over and over (the clock of the test would stand still).
func TestDueWithoutRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s, err := spool.Open(filepath.Join(dir, "spool"))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close() //nolint:errcheck // the folder is temporary
		settings := upload.DefaultSettings()
		settings.Thing = thing
		if err := settings.Validate(); err != nil {
			t.Fatal(err)
		}
		server := &busy{}
		a := upload.New(upload.Options{Settings: settings, Spool: s, Publisher: server, Tell: func(upload.Event) {}, Now: time.Now})
		var files []upload.File
		for i := range 20 {
			path := filepath.Join(dir, strconv.Itoa(i))
			if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
			files = append(files, upload.File{Path: path})
		}
		if _, problems := a.Accept(files); len(problems) > 0 {
			t.Fatal(problems)
		}
		start := time.Now()
		if failed, err := a.Run(t.Context(), nil); failed != 0 || err != nil {
			t.Fatal(failed, err)
		}
		if server.tries != 21 || time.Since(start) != 40*time.Second {
			t.Errorf("%d tries, %v", server.tries, time.Since(start))
		}
	})
}

// blocker puts a file in the place of a folder as soon as a message was published.
type blocker struct {
	folder string
	topics []string
}

func (b *blocker) Publish(_ context.Context, topic string, _ []byte) error {
	b.topics = append(b.topics, topic)
	return errors.Join(os.Rename(b.folder, b.folder+".gone"), os.WriteFile(b.folder, nil, 0o600))
}

// A file that has arrived and cannot be deleted is no upload that failed.
func TestCannotBeDeleted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		folder := filepath.Join(dir, "in")
		path := filepath.Join(folder, "f")
		if err := errors.Join(os.Mkdir(folder, 0o700), os.WriteFile(path, []byte("x"), 0o600)); err != nil {
			t.Fatal(err)
		}
		s, err := spool.Open(filepath.Join(dir, "spool"))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close() //nolint:errcheck // the folder is temporary
		settings := upload.DefaultSettings()
		settings.Thing = thing
		if err := settings.Validate(); err != nil {
			t.Fatal(err)
		}
		server := &blocker{folder: folder}
		var troubles []error
		a := upload.New(upload.Options{Settings: settings, Spool: s, Publisher: server, Now: time.Now, Tell: func(e upload.Event) {
			if e.Kind == upload.Trouble {
				troubles = append(troubles, e.Err)
			}
		}})
		if _, problems := a.Accept([]upload.File{{Path: path, Delete: true}}); len(problems) > 0 {
			t.Fatal(problems)
		}
		failed, err := a.Run(t.Context(), nil)
		if failed != 0 || err != nil || len(server.topics) != 1 || server.topics[0] != "file/upload" {
			t.Errorf("%d failed, %v, messages to %v", failed, err, server.topics)
		}
		if len(troubles) != 1 || len(s.Records()) != 0 {
			t.Errorf("told %v; left: %+v", troubles, s.Records())
		}
	})
}
