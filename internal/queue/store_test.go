package queue_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/sekisho-iot/sekisho/internal/queue"
)

func open(tb testing.TB, dir string, o queue.Options) *queue.Store {
	tb.Helper()
	s, err := queue.Open(dir, o)
	return opened(tb, s, err)
}

func opened(tb testing.TB, s *queue.Store, err error) *queue.Store {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func commit(s *queue.Store, ops ...queue.Op) error {
	ch := make(chan error, 1)
	s.Commit(&queue.Batch{Ops: ops}, func(err error) { ch <- err })
	return <-ch
}

func mustCommit(tb testing.TB, s *queue.Store, ops ...queue.Op) {
	tb.Helper()
	if err := commit(s, ops...); err != nil {
		tb.Fatal(err)
	}
}

func set(k, v string) queue.Op { return queue.Op{Kind: queue.Set, Key: []byte(k), Value: []byte(v)} }
func del(k string) queue.Op    { return queue.Op{Kind: queue.Delete, Key: []byte(k)} }
func delPrefix(k string) queue.Op {
	return queue.Op{Kind: queue.DeletePrefix, Key: []byte(k)}
}

func scan(tb testing.TB, s *queue.Store, prefix, after string, limit int) []string {
	tb.Helper()
	got := []string{}
	var from []byte
	if after != "" {
		from = []byte(after)
	}
	err := s.Scan([]byte(prefix), from, limit, func(k, v []byte) error {
		got = append(got, string(k)+"="+string(v))
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return got
}

func TestScan(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), queue.Options{Fast: true})
	mustCommit(t, s, set("a", "0"), set("q/1/a", "1"), set("q/1/b", ""), set("q/1/c", "3"), set("q/10/a", "4"), set("q/2/a", "5"), set("q\xff", "6"), set("\xff\xff", "7"))
	for _, c := range []struct {
		prefix, after string
		limit         int
		want          string
	}{
		{"q/1/", "", 0, "q/1/a=1 q/1/b= q/1/c=3"},
		{"q/1/", "", 2, "q/1/a=1 q/1/b="},
		{"q/1/", "q/1/a", 0, "q/1/b= q/1/c=3"},
		{"q/1/", "q/1/a", 1, "q/1/b="},
		{"q/1/", "q/1/aa", 1, "q/1/b="},
		{"q/1/", "q/1/c", 0, ""},
		{"q/1/", "q/1/", 1, "q/1/a=1"},
		{"q/1/", "a", 1, "q/1/a=1"},
		{"q/1/", "z", 0, ""},
		{"q/1", "", 0, "q/1/a=1 q/1/b= q/1/c=3 q/10/a=4"},
		{"q\xff", "", 0, "q\xff=6"},
		{"\xff", "", 0, "\xff\xff=7"},
		{"", "q\xff", 0, "\xff\xff=7"},
		{"", "", 1, "a=0"},
		{"none", "", 0, ""},
	} {
		if got := strings.Join(scan(t, s, c.prefix, c.after, c.limit), " "); got != c.want {
			t.Errorf("scan %q after %q limit %d: %q, want %q", c.prefix, c.after, c.limit, got, c.want)
		}
	}
	stop := errors.New("enough")
	n := 0
	if err := s.Scan([]byte("q/"), nil, 0, func(_, _ []byte) error { n++; return stop }); !errors.Is(err, stop) || n != 1 {
		t.Error(err, n)
	}
}

// Whatever is done to it, the store holds what a map would hold.
func TestAgainstMap(t *testing.T) {
	t.Parallel()
	dir, r := t.TempDir(), rand.New(rand.NewPCG(1, 2))
	s := open(t, dir, queue.Options{Fast: true})
	model := map[string]string{}
	for round := range 300 {
		var ops []queue.Op
		for range r.IntN(400) {
			k := fmt.Sprintf("%d/%d/%03d", r.IntN(3), r.IntN(20), r.IntN(300))
			switch n := r.IntN(100); {
			case n < 80:
				v := strings.Repeat("v", r.IntN(600))
				ops, model[k] = append(ops, set(k, v)), v
			case n < 98:
				ops = append(ops, del(k))
				delete(model, k)
			default:
				p := k[:1+r.IntN(len(k))]
				ops = append(ops, delPrefix(p))
				maps.DeleteFunc(model, func(k, _ string) bool { return strings.HasPrefix(k, p) })
			}
		}
		mustCommit(t, s, ops...)
		if round == 150 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, dir, queue.Options{Fast: true})
		}
		prefix := fmt.Sprintf("%d/", r.IntN(3))
		if round%10 == 0 {
			prefix = ""
		}
		want := []string{}
		for _, k := range slices.Sorted(maps.Keys(model)) {
			if strings.HasPrefix(k, prefix) {
				want = append(want, k+"="+model[k])
			}
		}
		if got := scan(t, s, prefix, "", 0); !slices.Equal(got, want) {
			t.Fatalf("round %d: %d entries, want %d", round, len(got), len(want))
		}
		if n := min(len(want), 300); !slices.Equal(scan(t, s, prefix, "", 300), want[:n]) {
			t.Fatalf("round %d: a scan with a limit differs", round)
		}
	}
}

// Many writers at once: each one's dones come in the order of its commits, and
// far fewer transactions than batches are made.
func TestGroupCommit(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), queue.Options{})
	const writers, each = 16, 500
	before := s.Transactions()
	var wg sync.WaitGroup
	for w := range writers {
		var next atomic.Int64
		for i := range each {
			wg.Add(1)
			s.Commit(&queue.Batch{Ops: []queue.Op{set(fmt.Sprintf("%02d/%04d", w, i), "v"), set(fmt.Sprintf("last/%02d", w), fmt.Sprint(i))}}, func(err error) {
				defer wg.Done()
				if n := next.Add(1) - 1; err != nil || n != int64(i) {
					t.Errorf("writer %d: done of %d as number %d: %v", w, i, n, err)
				}
			})
		}
	}
	wg.Wait()
	if n := s.Transactions() - before; n > writers*each/10 {
		t.Errorf("%d transactions for %d batches", n, writers*each)
	}
	for w := range writers {
		if got := scan(t, s, fmt.Sprintf("last/%02d", w), "", 0); len(got) != 1 || !strings.HasSuffix(got[0], fmt.Sprintf("=%d", each-1)) {
			t.Error(got)
		}
	}
}

func TestBadBatchFailsAlone(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), queue.Options{Fast: true})
	var wg sync.WaitGroup
	errs := make([]error, 6)
	for i, op := range []queue.Op{
		set("a", "1"), set("", "x"), delPrefix(""), set(strings.Repeat("k", queue.MaxKey+1), "x"), {Kind: 9, Key: []byte("k")}, set("b", "2"),
	} {
		wg.Add(1)
		s.Commit(&queue.Batch{Ops: []queue.Op{set(fmt.Sprintf("with/%d", i), ""), op}}, func(err error) { errs[i] = err; wg.Done() })
	}
	wg.Wait()
	for i, err := range errs {
		if bad := i > 0 && i < 5; (err != nil) != bad {
			t.Error(i, err)
		}
	}
	if got := scan(t, s, "", "", 0); !slices.Equal(got, []string{"a=1", "b=2", "with/0=", "with/5="}) {
		t.Error(got)
	}
	mustCommit(t, s) // nothing to do is no error
}

// A done and the function of a scan may commit, also where little may wait.
func TestCommitFromCallbacks(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), queue.Options{Fast: true, MaxWaiting: 500})
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Add(2)
		s.Commit(&queue.Batch{Ops: []queue.Op{set(fmt.Sprintf("a/%03d", i), "v")}}, func(error) {
			defer wg.Done()
			s.Commit(&queue.Batch{Ops: []queue.Op{set(fmt.Sprintf("b/%03d", i), strings.Repeat("v", 300))}}, func(error) { wg.Done() })
		})
	}
	wg.Wait()
	err := s.Scan([]byte("b/"), nil, 0, func(k, _ []byte) error {
		wg.Add(1)
		s.Commit(&queue.Batch{Ops: []queue.Op{del(string(k))}}, func(error) { wg.Done() })
		return nil
	})
	wg.Wait()
	if a, b := scan(t, s, "a/", "", 0), scan(t, s, "b/", "", 0); err != nil || len(a) != 200 || len(b) != 0 {
		t.Error(err, len(a), len(b))
	}
}

func TestClose(t *testing.T) {
	before := goleak.IgnoreCurrent()
	dir := filepath.Join(t.TempDir(), "made", "queue")
	s := open(t, dir, queue.Options{})
	var acked atomic.Int64
	for i := range 1000 {
		s.Commit(&queue.Batch{Ops: []queue.Op{set(fmt.Sprintf("%04d", i), "v")}}, func(err error) {
			if err == nil {
				acked.Add(1)
			}
		})
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := s.Close(); err != nil || acked.Load() != 1000 {
				t.Error(err, acked.Load())
			}
		})
	}
	wg.Wait()
	if err := commit(s, set("late", "")); !errors.Is(err, queue.ErrClosed) {
		t.Error(err)
	}
	if err := s.Scan(nil, nil, 0, func(_, _ []byte) error { return nil }); !errors.Is(err, queue.ErrClosed) {
		t.Error(err)
	}
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
	s = open(t, dir, queue.Options{})
	if got := scan(t, s, "", "", 0); len(got) != 1000 {
		t.Error(len(got))
	}
	if _, err := queue.Open(dir, queue.Options{}); err == nil {
		t.Error("opened twice")
	}
	modes := map[string]fs.FileMode{dir: 0o700 | fs.ModeDir, filepath.Join(dir, "queue.db"): 0o600}
	for path, want := range modes {
		if fi, err := os.Stat(path); err != nil || fi.Mode() != want {
			t.Error(path, fi.Mode(), err)
		}
	}
}

// The free list is kept on disk between a Close and the next commit only.
func TestReopenWithFreeList(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for round := range 4 {
		s := open(t, dir, queue.Options{Fast: true})
		fillQueue(t, s, 10, 2000, 300)
		mustCommit(t, s, delPrefix("q/0001/"), set("round", fmt.Sprint(round)))
		if err := s.Check(); err != nil {
			t.Fatal(round, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n := folderSize(t, dir); n > 4<<20 {
		t.Error(n, "bytes")
	}
}

// What a start that was killed left is no obstacle to the next one.
func TestOpenAfterUnfinishedStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "queue.db.new"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir, queue.Options{})
	mustCommit(t, s, set("k", "v"))
	if _, err := os.Stat(filepath.Join(dir, "queue.db.new")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestOpenOfDamagedFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "queue.db"), bytes.Repeat([]byte("no store "), 10000), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := queue.Open(dir, queue.Options{}); err == nil {
		t.Error("opened", s.Close())
	}
}

func key(prefix string, n int) []byte {
	return binary.BigEndian.AppendUint64([]byte(prefix), uint64(n))
}

func fillQueue(tb testing.TB, s *queue.Store, sessions, n, size int) {
	tb.Helper()
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	payload := bytes.Repeat([]byte("x"), size)
	for i := range n {
		b := &queue.Batch{Ops: []queue.Op{
			{Key: key("m/", i), Value: payload},
			{Key: key(fmt.Sprintf("q/%04d/", i%sessions), i), Value: payload[:20]},
		}}
		wg.Add(1)
		s.Commit(b, func(err error) {
			defer wg.Done()
			if err != nil {
				failed.Store(&err)
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		tb.Fatal(*err)
	}
}

func folderSize(tb testing.TB, dir string) int64 {
	tb.Helper()
	var n int64
	files, err := os.ReadDir(dir)
	for _, f := range files {
		if fi, err := f.Info(); err == nil {
			n += fi.Size()
		}
	}
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

// Queues that are filled and drained do not make the folder grow, and when all
// is gone its space comes back.
func TestSpaceComesBack(t *testing.T) {
	t.Parallel()
	const sessions, messages = 10, 4_000
	dir := t.TempDir()
	s, err := queue.OpenFrugal(dir)
	opened(t, s, err)
	mustCommit(t, s, set("kept", "forever"))
	var full int64
	for round := range 20 {
		fillQueue(t, s, sessions, messages, 1200)
		if full == 0 {
			full = folderSize(t, dir)
		}
		if got := folderSize(t, dir); got > 2*full {
			t.Fatalf("round %d: %d bytes when full, %d in the first", round, got, full)
		}
		for i := range sessions {
			prefix := fmt.Sprintf("q/%04d/", i)
			for {
				var ops []queue.Op
				err := s.Scan([]byte(prefix), nil, 400, func(k, _ []byte) error {
					ops = append(ops, del(string(k)), del("m/"+string(k[len(prefix):])))
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				if len(ops) == 0 {
					break
				}
				mustCommit(t, s, ops...)
			}
		}
		if got := folderSize(t, dir); full < 4<<20 || got > full/2 {
			t.Fatalf("round %d: %d bytes when empty, %d when full", round, got, full)
		}
	}
	if got := scan(t, s, "", "", 0); !slices.Equal(got, []string{"kept=forever"}) {
		t.Error(len(got), got[:1])
	}
	mustCommit(t, s, set("a", "b"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, queue.Options{})
	if got := scan(t, s, "", "", 0); !slices.Equal(got, []string{"a=b", "kept=forever"}) {
		t.Error(got)
	}
}

// Scans see the whole of what they should while the file under them is
// exchanged for a smaller one.
func TestScanWhileFileShrinks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := queue.OpenFrugal(dir)
	opened(t, s, err)
	for i := range 2000 {
		s.Commit(&queue.Batch{Ops: []queue.Op{{Key: key("keep/", i), Value: []byte("v")}}}, func(error) {})
	}
	mustCommit(t, s)
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !stop.Load() {
			n := 0
			if err := s.Scan([]byte("keep/"), nil, 0, func(_, _ []byte) error { n++; return nil }); err != nil || n != 2000 {
				t.Errorf("%d entries, %v", n, err)
				return
			}
		}
	})
	for range 3 {
		fillQueue(t, s, 50, 7000, 900)
		big := folderSize(t, dir)
		mustCommit(t, s, delPrefix("q/"), delPrefix("m/"))
		mustCommit(t, s)
		if small := folderSize(t, dir); small > big/4 {
			t.Errorf("%d bytes, then %d", big, small)
		}
	}
	stop.Store(true)
	wg.Wait()
}
