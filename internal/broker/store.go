package broker

// Store keeps sessions, their queues and retained messages: ordered keys with
// values, written in groups. queue.Store is one.
type Store interface {
	// Commit has the batch applied after all that were committed before it, and
	// calls done, from a goroutine of the store, when it is on disk or has
	// failed for good. It does not block but where far too much is under way.
	// The batch belongs to the store until done is called.
	Commit(b *Batch, done func(error))
	// Scan calls fn with the entries whose keys begin with prefix and come after
	// the key after (nil: from the first), in order, at most limit of them (0:
	// all). Keys and values are valid only until fn returns. It sees what was
	// applied, on disk or not.
	Scan(prefix, after []byte, limit int, fn func(key, value []byte) error) error
}

// Batch is a list of changes that are applied together.
type Batch struct {
	Ops []Op
}

// Op sets or deletes one key, or deletes all keys with a prefix.
type Op struct {
	Kind       OpKind
	Key, Value []byte
}

// OpKind is what an Op does.
type OpKind uint8

// The kinds of operations.
const (
	OpSet OpKind = iota
	OpDelete
	OpDeletePrefix
)
