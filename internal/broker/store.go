package broker

import "github.com/sekisho-iot/sekisho/internal/queue"

// Store keeps sessions, their queues and retained messages: ordered keys with
// values, written in groups. queue.Store is one.
type Store interface {
	// Commit has the batch applied after all that were committed before it, and
	// calls done, from a goroutine of the store, when it is on disk or has
	// failed for good. It does not block but where far too much is under way.
	// The batch belongs to the store until done is called.
	Commit(b *queue.Batch, done func(error))
	// Scan calls fn with the entries whose keys begin with prefix and come after
	// the key after (nil: from the first), in order, at most limit of them (0:
	// all). Keys and values are valid only until fn returns, which may call
	// Commit. It sees what was acknowledged before the call; of what is under way
	// it may see some whole batches and not others.
	Scan(prefix, after []byte, limit int, fn func(key, value []byte) error) error
}
