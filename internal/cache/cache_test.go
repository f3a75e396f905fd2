package cache

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

func TestGetLoadsOnceAndDropForgets(t *testing.T) {
	t.Parallel()
	var loads atomic.Int32
	c := New(10, func(context.Context, string) (int32, error) { return loads.Add(1), nil })
	for _, want := range []int32{1, 1} {
		if got, err := c.Get(t.Context(), "k"); err != nil || got != want {
			t.Fatalf("Get = %d, %v, want %d", got, err, want)
		}
	}
	c.Drop("k")
	if got, _ := c.Get(t.Context(), "k"); got != 2 {
		t.Fatalf("after Drop: %d, want 2", got)
	}
	c.Clear()
	if got, _ := c.Get(t.Context(), "k"); got != 3 {
		t.Fatalf("after Clear: %d, want 3", got)
	}
}

func TestErrorsAreNotKept(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	fail := true
	c := New(10, func(context.Context, string) (int, error) {
		if fail {
			return 0, boom
		}
		return 7, nil
	})
	if _, err := c.Get(t.Context(), "k"); !errors.Is(err, boom) {
		t.Fatal(err)
	}
	fail = false
	if v, err := c.Get(t.Context(), "k"); err != nil || v != 7 {
		t.Fatal(v, err)
	}
}

func TestALoadThatBeganBeforeADropIsNotKept(t *testing.T) {
	t.Parallel()
	for _, forget := range []func(*Cache[string, int]){
		func(c *Cache[string, int]) { c.Drop("k") },
		func(c *Cache[string, int]) { c.Clear() },
	} {
		synctest.Test(t, func(t *testing.T) {
			var current atomic.Int32
			current.Store(1)
			gate := make(chan struct{})
			first := true
			c := New(10, func(context.Context, string) (int, error) {
				v := int(current.Load())
				if first {
					first = false
					<-gate
				}
				return v, nil
			})
			var wg sync.WaitGroup
			wg.Go(func() {
				if v, err := c.Get(t.Context(), "k"); v != 1 || err != nil {
					t.Error(v, err)
				}
			})
			synctest.Wait()
			current.Store(2)
			forget(c)
			if v, err := c.Get(t.Context(), "k"); v != 2 || err != nil {
				t.Errorf("Get after the drop = %d, %v: a stale load was shared", v, err)
			}
			close(gate)
			wg.Wait()
			if v, _ := c.Get(t.Context(), "k"); v != 2 {
				t.Errorf("Get = %d: a stale load was kept", v)
			}
		})
	}
}

func TestWaitersShareALoadAndOutliveItsCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var loads atomic.Int32
		c := New(10, func(ctx context.Context, _ string) (int, error) {
			if loads.Add(1) == 1 {
				<-ctx.Done()
				return 0, ctx.Err()
			}
			return 7, nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := c.Get(ctx, "k"); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		synctest.Wait()
		for range 5 {
			wg.Go(func() {
				if v, err := c.Get(t.Context(), "k"); v != 7 || err != nil {
					t.Error(v, err)
				}
			})
		}
		gone, leave := context.WithCancel(t.Context())
		wg.Go(func() {
			if _, err := c.Get(gone, "k"); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		synctest.Wait()
		leave()
		synctest.Wait()
		cancel()
		wg.Wait()
		if n := loads.Load(); n != 2 {
			t.Errorf("%d loads, want 2", n)
		}
	})
}

func TestTheCacheStaysWithinItsLimit(t *testing.T) {
	t.Parallel()
	c := New(3, func(_ context.Context, k int) (int, error) { return k, nil })
	for k := range 100 {
		if v, err := c.Get(t.Context(), k); v != k || err != nil {
			t.Fatal(v, err)
		}
	}
	if c.Len() != 3 {
		t.Errorf("%d entries, want 3", c.Len())
	}
}

func TestAPanicInALoadReleasesWaiters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		var loads atomic.Int32
		c := New(3, func(context.Context, string) (int, error) {
			if loads.Add(1) == 1 {
				<-gate
				panic("boom")
			}
			return 7, nil
		})
		var wg sync.WaitGroup
		wg.Go(func() {
			defer func() { _ = recover() }()
			_, _ = c.Get(t.Context(), "k")
		})
		synctest.Wait()
		wg.Go(func() {
			if v, err := c.Get(t.Context(), "k"); v != 7 || err != nil {
				t.Error(v, err)
			}
		})
		synctest.Wait()
		close(gate)
		wg.Wait()
	})
}
