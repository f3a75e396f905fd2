package awsapi

import (
	"fmt"
	"io"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"time"
)

// node joins a shape to the Go type that carries it.
type node struct {
	shape   *Shape
	typ     reflect.Type // without the pointer
	fields  []*field     // of a structure
	key     *node        // of a map
	elem    *node        // of a list, or a map's value
	null    bool         // elements are pointers and may be null
	pattern *regexp.Regexp
}

// field is one member of a structure.
type field struct {
	*Member
	index     int // in the Go struct
	node      *node
	flattened bool
	element   string // XML element or form key
	lower     string // the name as messages have it
	canonical string // header
	format    TimeFormat
}

// plan is a structure as a whole message.
type plan struct {
	node    *node
	payload *field
	body    []*field // members in the body, without a payload
	rest    []*field // all others
}

type compiler struct {
	shapes []Shape
	seen   map[nodeKey]*node
}

type nodeKey struct {
	id  ShapeID
	typ reflect.Type
}

func compile(shapes []Shape, id ShapeID, t reflect.Type) (*plan, error) {
	c := compiler{shapes, map[nodeKey]*node{}}
	n, err := c.node(id, t)
	if err != nil {
		return nil, err
	}
	p := &plan{node: n}
	for _, f := range n.fields {
		switch {
		case f.Name == n.shape.Payload:
			p.payload = f
		case f.Location == Body:
			p.body = append(p.body, f)
		default:
			p.rest = append(p.rest, f)
		}
	}
	return p, nil
}

func (c *compiler) node(id ShapeID, t reflect.Type) (*node, error) {
	s := &c.shapes[id]
	key := nodeKey{id, t}
	if n := c.seen[key]; n != nil {
		return n, nil
	}
	n := &node{shape: s, typ: t}
	c.seen[key] = n
	if !fits(s.Type, t) {
		return nil, fmt.Errorf("the Go type %s does not carry the shape %s", t, s.Name)
	}
	var err error
	switch s.Type {
	case Structure:
		err = c.fields(n)
	case List:
		n.null = t.Elem().Kind() == reflect.Pointer
		n.elem, err = c.node(s.Elem.Shape, indirect(t.Elem()))
	case Map:
		n.null = t.Elem().Kind() == reflect.Pointer
		if n.key, err = c.node(s.Key.Shape, t.Key()); err == nil {
			n.elem, err = c.node(s.Elem.Shape, indirect(t.Elem()))
		}
	case String, Blob, Boolean, Integer, Long, Double, Timestamp:
		if s.Pattern != "" {
			n.pattern, err = compilePattern(s.Pattern)
		}
	}
	return n, err
}

func (c *compiler) fields(n *node) error {
	for i := range n.shape.Members {
		m := &n.shape.Members[i]
		sf, ok := n.typ.FieldByName(m.Field)
		if !ok || len(sf.Index) != 1 {
			return fmt.Errorf("%s has no field %s", n.typ, m.Field)
		}
		f := &field{Member: m, index: sf.Index[0], element: m.wire(), lower: strings.ToLower(m.Name[:1]) + m.Name[1:], canonical: http.CanonicalHeaderKey(m.wire())}
		s := &c.shapes[m.Shape]
		f.flattened = m.Flattened || s.Flattened
		if f.flattened && s.Type == List && s.Elem.LocationName != "" {
			f.element = s.Elem.LocationName
		}
		if f.format = m.TimeFormat; f.format == DefaultTime {
			f.format = s.TimeFormat
		}
		var err error
		if m.Streaming {
			f.node = &node{shape: s, typ: sf.Type}
			if sf.Type != reflect.TypeFor[io.Reader]() {
				err = fmt.Errorf("%s.%s is not an io.Reader", n.typ, m.Field)
			}
		} else {
			f.node, err = c.node(m.Shape, indirect(sf.Type))
		}
		if err != nil {
			return err
		}
		n.fields = append(n.fields, f)
	}
	return nil
}

// fits reports whether Go type t carries shapes of type s.
func fits(s Type, t reflect.Type) bool {
	switch s {
	case Structure:
		return t.Kind() == reflect.Struct
	case List:
		return t.Kind() == reflect.Slice
	case Map:
		return t.Kind() == reflect.Map && t.Key().Kind() == reflect.String
	case String:
		return t.Kind() == reflect.String
	case Blob:
		return t == reflect.TypeFor[[]byte]()
	case Boolean:
		return t.Kind() == reflect.Bool
	case Integer:
		return t.Kind() == reflect.Int32
	case Long:
		return t.Kind() == reflect.Int64
	case Double:
		return t.Kind() == reflect.Float64
	case Timestamp:
		return t == reflect.TypeFor[time.Time]()
	}
	return false
}

func indirect(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}

// settable makes room in v, which is a pointer for most members, and returns
// what is to be set.
func settable(v reflect.Value) reflect.Value {
	if v.Kind() != reflect.Pointer {
		return v
	}
	v.Set(reflect.New(v.Type().Elem()))
	return v.Elem()
}

// present returns the value that v holds, and whether there is one.
func present(v reflect.Value) (reflect.Value, bool) {
	switch v.Kind() { //nolint:exhaustive // nothing else can be nil
	case reflect.Pointer:
		return v.Elem(), !v.IsNil()
	case reflect.Slice, reflect.Map, reflect.Interface:
		return v, !v.IsNil()
	}
	return v, true
}

// timeFormat returns the format of a timestamp outside the body.
func (f *field) timeFormat() TimeFormat {
	switch {
	case f.format != DefaultTime:
		return f.format
	case f.Location == Header:
		return RFC822
	}
	return ISO8601
}
