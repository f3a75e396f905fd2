package queue

import (
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// Batch is a list of changes that are applied together, in their order.
type Batch struct {
	Ops []Op
}

// Op sets or deletes one key, or deletes all keys with a prefix. A key is of 1
// to MaxKey bytes.
type Op struct {
	Kind       OpKind
	Key, Value []byte
}

// MaxKey is the length in bytes that no key exceeds.
const MaxKey = bolt.MaxKeySize

// OpKind is what an Op does.
type OpKind uint8

// The kinds of operations.
const (
	Set          OpKind = iota // Key holds Value from now on
	Delete                     // Key is gone; that it was not there is no error
	DeletePrefix               // all keys that begin with Key are gone
)

// perOp is roughly what an Op takes beside its bytes.
const perOp = 64

func (b *Batch) size() int {
	n := perOp
	for i := range b.Ops {
		n += perOp + len(b.Ops[i].Key) + len(b.Ops[i].Value)
	}
	return n
}

// check refuses what the engine would refuse, before others share its fate.
func (b *Batch) check() error {
	for i := range b.Ops {
		o := &b.Ops[i]
		switch {
		case o.Kind > DeletePrefix:
			return fmt.Errorf("operation of unknown kind %d", o.Kind)
		case len(o.Key) == 0:
			return errors.New("operation without a key")
		case len(o.Key) > MaxKey:
			return fmt.Errorf("key of %d bytes: the limit is %d", len(o.Key), MaxKey)
		case len(o.Value) > bolt.MaxValueSize:
			return fmt.Errorf("value of %d bytes: the limit is %d", len(o.Value), bolt.MaxValueSize)
		}
	}
	return nil
}
