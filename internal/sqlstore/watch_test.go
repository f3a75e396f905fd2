package sqlstore

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

type callerKey struct{}

type committed struct {
	callers      []any
	writes       int
	kept, failed bool
}

type watcher struct {
	mu   sync.Mutex // guards seen
	seen []committed
}

func (*watcher) Caller(ctx context.Context) any { return ctx.Value(callerKey{}) }

func (w *watcher) Committed(_ context.Context, began, ended time.Time, callers []any, writes int, kept, failed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if ended.Before(began) {
		callers = append(callers, "a time that runs backwards")
	}
	w.seen = append(w.seen, committed{callers, writes, kept, failed})
}

// Each transaction is told of once, whatever it came to, and of its callers
// those that want it.
func TestTransactionsAreWatched(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		t.Helper()
		w := &watcher{}
		cfg.Watch = w
		d := openWith(t, cfg)
		hold, held := make(chan struct{}), make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := d.write(t.Context(), func(*tx) error { close(held); <-hold; return nil }); err != nil {
				t.Error(err)
			}
		})
		<-held
		waiting := []*request{ // for the first
			{fn: func(*tx) error { return nil }, done: make(chan struct{})},
			{fn: func(*tx) error { return iot.Errorf(iot.KindExists, "", "there is one") }, who: 1, done: make(chan struct{})},
			{fn: func(*tx) error { return nil }, who: 2, done: make(chan struct{})},
		}
		for _, r := range waiting {
			d.requests <- r
		}
		close(hold)
		wg.Wait()
		for _, r := range waiting {
			<-r.done
		}
		broken := errors.New("broken")
		if err := d.write(context.WithValue(t.Context(), callerKey{}, "x"), func(*tx) error { return broken }); !errors.Is(err, broken) {
			t.Error(err)
		}
		if err := d.Close(); err != nil { // the writer has told of everything
			t.Error(err)
		}
		want := []committed{
			{nil, 1, true, false},
			{[]any{1, 2}, 3, true, false},
			{[]any{"x"}, 1, false, true},
		}
		if len(w.seen) != len(want) {
			t.Fatalf("%+v", w.seen)
		}
		for i := range want {
			if g, s := w.seen[i], want[i]; g.writes != s.writes || g.kept != s.kept || g.failed != s.failed || len(g.callers) != len(s.callers) {
				t.Errorf("%+v, not %+v", g, s)
			}
		}
	})
}
