// Package bus carries the news that something changed from the store to the
// caches.
//
// Invariant: when Publish returns, every subscriber on this node has dropped
// what it held of the old state.
package bus

import (
	"sync"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// Bus hands changes to subscribers in this process.
type Bus struct {
	mu   sync.RWMutex // guards subs
	subs []func(iot.Change)
}

// Subscribe has fn called with every change from now on. fn must not block or publish.
func (b *Bus) Subscribe(fn func(iot.Change)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.subs = append(b.subs, fn)
}

// Publish tells every subscriber and returns when all have been told.
func (b *Bus) Publish(c iot.Change) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, fn := range b.subs {
		fn(c)
	}
}
