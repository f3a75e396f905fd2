package queue

// Batch is a list of changes that are applied together, in their order.
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
	Set          OpKind = iota // Key holds Value from now on
	Delete                     // Key is gone; that it was not there is no error
	DeletePrefix               // all keys that begin with Key are gone; an empty Key is refused
)
