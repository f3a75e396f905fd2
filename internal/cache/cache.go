// Package cache is the read-through memory in front of the stores: what a
// decision needs is loaded once and dropped when a change says so.
//
// Invariant: a value whose load began before a Drop of its key is never kept,
// so once Drop has returned, Get never answers with what was before.
package cache

import (
	"context"
	"errors"
	"sync"
)

// Cache maps keys to loaded values, at most max of them. An error is never
// kept. Values are shared: they must be treated as immutable.
type Cache[K comparable, V any] struct {
	load func(context.Context, K) (V, error)
	max  int

	mu      sync.RWMutex // guards the fields below
	entries map[K]V
	loading map[K]*call[V]
}

type call[V any] struct {
	done  chan struct{}
	v     V
	err   error
	stale bool // dropped while loading
}

// New returns a cache of at most limit entries over load. load is called
// without locks held, at most once at a time per key.
func New[K comparable, V any](limit int, load func(context.Context, K) (V, error)) *Cache[K, V] {
	return &Cache[K, V]{load: load, max: limit, entries: map[K]V{}, loading: map[K]*call[V]{}}
}

// Get returns the value of k, loading it when it is not held. A caller that
// arrives while a load is under way shares it, unless k was dropped since it began.
func (c *Cache[K, V]) Get(ctx context.Context, k K) (V, error) {
	c.mu.RLock()
	v, ok := c.entries[k]
	c.mu.RUnlock()
	if ok {
		return v, nil
	}
	return c.fill(ctx, k)
}

func (c *Cache[K, V]) fill(ctx context.Context, k K) (V, error) {
	for {
		c.mu.Lock()
		if v, ok := c.entries[k]; ok {
			c.mu.Unlock()
			return v, nil
		}
		f, waiting := c.loading[k]
		if !waiting {
			f = &call[V]{done: make(chan struct{})}
			c.loading[k] = f
			c.mu.Unlock()
			return c.run(ctx, k, f)
		}
		c.mu.Unlock()
		select {
		case <-f.done:
			if f.err == nil {
				return f.v, nil
			}
			if !errors.Is(f.err, context.Canceled) && !errors.Is(f.err, context.DeadlineExceeded) {
				return f.v, f.err
			}
			// The one who loaded was cancelled, not we: load it ourselves.
			if err := ctx.Err(); err != nil {
				return f.v, err
			}
		case <-ctx.Done():
			var zero V
			return zero, ctx.Err()
		}
	}
}

func (c *Cache[K, V]) run(ctx context.Context, k K, f *call[V]) (V, error) {
	finished := false
	defer func() {
		c.mu.Lock()
		if c.loading[k] == f {
			delete(c.loading, k)
		}
		if finished && f.err == nil && !f.stale {
			c.makeRoom()
			c.entries[k] = f.v
		}
		if !finished {
			f.err = context.Canceled // load panicked: let waiters load for themselves
		}
		c.mu.Unlock()
		close(f.done)
	}()
	f.v, f.err = c.load(ctx, k)
	finished = true
	return f.v, f.err
}

// makeRoom drops an arbitrary entry when the cache is full. c.mu is held.
func (c *Cache[K, V]) makeRoom() {
	if len(c.entries) < c.max {
		return
	}
	for k := range c.entries {
		delete(c.entries, k)
		return
	}
}

// Drop forgets k. Loads under way answer those who wait for them already, and are not kept.
func (c *Cache[K, V]) Drop(k K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.entries, k)
	if f := c.loading[k]; f != nil {
		f.stale = true
		delete(c.loading, k)
	}
}

// Clear forgets everything.
func (c *Cache[K, V]) Clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.entries)
	for k, f := range c.loading {
		f.stale = true
		delete(c.loading, k)
	}
}

// Len returns the number of entries held.
func (c *Cache[K, V]) Len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.entries)
}
