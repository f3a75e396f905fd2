package awsapi

import (
	"fmt"
	"reflect"
	"sync/atomic"
)

// Binding is one operation of a service, ready to read and write its messages.
// It is safe for concurrent use.
type Binding struct {
	*Operation
	Service *Service

	in, out atomic.Pointer[plan]
}

// Check reports whether in and out, pointers to the operation's input and
// output structs, fit the operation's shapes. It prepares both for use.
func (b *Binding) Check(in, out any) error {
	if _, _, err := b.plan(&b.in, b.Input, in); err != nil {
		return err
	}
	_, _, err := b.plan(&b.out, b.Output, out)
	return err
}

// MaxBody is the most bytes of body that Decode reads; a streaming payload has
// no limit here.
func (b *Binding) MaxBody() int64 {
	switch {
	case b.Service.Protocol == RESTXML:
		return 4 << 20 // ten thousand parts with their checksums
	case b.Service.Name == "lambda":
		return 72 << 20 // a 50 MB archive in base64
	}
	return defaultMaxBody
}

const defaultMaxBody = 1 << 20

func tooLarge(limit int64) error {
	return fault(FaultTooLarge, "", "Request body is larger than %d bytes", limit)
}

// StreamsInput reports whether the request's body is a stream that Decode
// leaves alone.
func (b *Binding) StreamsInput() bool {
	s := &b.Service.Shapes[b.Input]
	for i := range s.Members {
		if m := &s.Members[i]; m.Name == s.Payload {
			return m.Streaming
		}
	}
	return false
}

// plan returns the plan for v's type and the struct that v points to.
func (b *Binding) plan(cached *atomic.Pointer[plan], id ShapeID, v any) (*plan, reflect.Value, error) {
	value := reflect.ValueOf(v)
	if value.Kind() != reflect.Pointer || value.IsNil() || value.Elem().Kind() != reflect.Struct {
		return nil, value, fmt.Errorf("%s %s: %T is not a pointer to a struct", b.Service.Name, b.Name, v)
	}
	value = value.Elem()
	if p := cached.Load(); p != nil && p.node.typ == value.Type() {
		return p, value, nil
	}
	p, err := compile(b.Service.Shapes, id, value.Type())
	if err != nil {
		return nil, value, fmt.Errorf("%s %s: %w", b.Service.Name, b.Name, err)
	}
	cached.Store(p)
	return p, value, nil
}
