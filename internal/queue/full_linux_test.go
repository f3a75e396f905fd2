package queue_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/queue"
)

// No room for the file, by a limit of the process: every done hears of it, and
// when there is room again writing goes on.
func TestNoRoom(t *testing.T) {
	if dir := os.Getenv(childDir); dir != "" {
		runOutOfRoom(t, dir)
		return
	}
	t.Parallel()
	out, err := child(t, "TestNoRoom", t.TempDir()).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		t.Fatalf("%v\n%s", exit, out)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func runOutOfRoom(t *testing.T, dir string) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	var logged bytes.Buffer
	s := open(t, dir, queue.Options{Log: slog.New(slog.NewTextHandler(&logged, nil))})
	fillQueue(t, s, 10, 1000, 300)
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 2 << 20, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex // guards the three below
	acked, failed, firstErr := 0, 0, error(nil)
	for i := range 60_000 {
		wg.Add(1)
		s.Commit(&queue.Batch{Ops: []queue.Op{set(fmt.Sprintf("full/%06d", i), "some value or other that takes a little room")}}, func(err error) {
			defer wg.Done()
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				acked++
				return
			}
			failed++
			firstErr = err
		})
	}
	wg.Wait()
	if failed == 0 {
		t.Fatal("the limit was not met")
	}
	t.Log(acked, failed, firstErr)
	if got := scan(t, s, "full/", "", 0); len(got) != acked {
		t.Errorf("%d were acknowledged, %d are there", acked, len(got))
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	fillQueue(t, s, 10, 20_000, 300)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if l := logged.String(); strings.Count(l, "cannot write") != 1 || strings.Count(l, "writes again") != 1 || strings.Contains(l, "queue.db.new") {
		t.Error(l)
	}
	s = open(t, dir, queue.Options{})
	if got := scan(t, s, "m/", "", 0); len(got) != 20_000 {
		t.Error(len(got))
	}
}

// An fsync that fails ends all writing, clearly: nobody knows which pages it
// left. Reading goes on.
func TestFailedSync(t *testing.T) {
	t.Parallel()
	var file *os.File
	dir := t.TempDir()
	s, err := queue.OpenWith(dir, func(name string, flag int, mode os.FileMode) (*os.File, error) {
		f, err := os.OpenFile(name, flag, mode)
		file = f
		return f, err
	})
	if err != nil {
		t.Fatal(err)
	}
	fillQueue(t, s, 1, 1000, 300)
	mustCommit(t, s, delPrefix("m/")) // so that there are free pages
	mustCommit(t, s, set("k", "v"))
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := null.Close(); err != nil {
			t.Error(err)
		}
	}()
	// What is written to it is taken; fsync says EINVAL.
	if err := syscall.Dup3(int(null.Fd()), int(file.Fd()), syscall.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	first := commit(s, set("l", "v"))
	second := commit(s, set("m", "v"))
	if !errors.Is(first, syscall.EINVAL) || !errors.Is(second, syscall.EINVAL) || !strings.Contains(second.Error(), "until it is opened again") {
		t.Error(first, second)
	}
	if got := scan(t, s, "k", "", 0); len(got) != 1 {
		t.Error(got)
	}
	_ = s.Close()
	s = open(t, dir, queue.Options{})
	mustCommit(t, s, set("m", "v"))
	if got := scan(t, s, "", "q/z", 0); len(got) != 0 {
		t.Error(got)
	}
	if k, l, m := scan(t, s, "k", "", 0), scan(t, s, "l", "", 0), scan(t, s, "m", "", 0); len(k) != 1 || len(l) != 0 || len(m) != 1 {
		t.Error(k, l, m)
	}
}
