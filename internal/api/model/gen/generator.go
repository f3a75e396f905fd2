package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// generator turns one service model into Go.
type generator struct {
	svc   service
	m     *model
	ops   []string          // every operation, sorted
	built map[string]bool   // operations with shapes
	ids   map[string]int    // shape name → ShapeID; 0 is the empty structure
	order []string          // ShapeID-1 → shape name
	types map[string]string // structure → Go type
	top   map[string]bool   // structures that are an input or output
}

func newGenerator(svc service, m *model) *generator {
	g := &generator{svc: svc, m: m, built: map[string]bool{}, ids: map[string]int{}, types: map[string]string{}, top: map[string]bool{}}
	for name := range m.Operations {
		g.ops = append(g.ops, name)
	}
	slices.Sort(g.ops)
	return g
}

// build collects the shapes that the built operations reach.
func (g *generator) build(built []string) error {
	reached := map[string]bool{}
	for _, name := range built {
		op := g.m.Operations[name]
		if op == nil {
			return fmt.Errorf("built.txt names the unknown operation %s", name)
		}
		g.built[name] = true
		for _, io := range []struct {
			r      *ref
			suffix string
		}{{op.Input, "Input"}, {op.Output, "Output"}} {
			if io.r == nil {
				continue
			}
			// Operations may share an answer; each has a type of its own all the same.
			if other, taken := g.types[io.r.Shape]; taken && !strings.HasSuffix(other, io.suffix) {
				return fmt.Errorf("%s is both %s and %s%s", io.r.Shape, other, name, io.suffix)
			}
			g.types[io.r.Shape], g.top[io.r.Shape] = name+io.suffix, true
			if err := g.reach(io.r.Shape, reached); err != nil {
				return err
			}
		}
	}
	for name := range reached {
		g.order = append(g.order, name)
	}
	slices.Sort(g.order)
	for i, name := range g.order {
		g.ids[name] = i + 1
		if g.m.Shapes[name].Type == "structure" && g.types[name] == "" {
			g.types[name] = export(name)
		}
	}
	return g.checkTypes()
}

func (g *generator) checkTypes() error {
	seen := map[string]string{}
	for name, t := range g.types {
		if other, ok := seen[t]; ok {
			return fmt.Errorf("the type %s stands for both %s and %s", t, name, other)
		}
		seen[t] = name
	}
	for name := range g.built {
		for _, t := range []string{name + "Input", name + "Output"} {
			if s, ok := seen[t]; ok && !g.top[s] {
				return fmt.Errorf("the type %s is taken by a shape", t)
			}
		}
	}
	return nil
}

func (g *generator) reach(name string, reached map[string]bool) error {
	if reached[name] {
		return nil
	}
	s := g.m.Shapes[name]
	if s == nil {
		return fmt.Errorf("unknown shape %s", name)
	}
	if s.EventStream {
		return errors.New("event streams are not supported")
	}
	reached[name] = true
	var next []string
	switch s.Type {
	case "structure":
		for _, m := range s.Members.names {
			next = append(next, s.Members.byRef[m].Shape)
		}
	case "list":
		next = []string{s.Member.Shape}
	case "map":
		next = []string{s.Key.Shape, s.Value.Shape}
	}
	for _, n := range next {
		if err := g.reach(n, reached); err != nil {
			return err
		}
	}
	return nil
}

// goType is the Go type of a shape as a member, or as an element.
func (g *generator) goType(name string, element bool) string {
	s := g.m.Shapes[name]
	scalar := map[string]string{
		"string": "string", "character": "string", "boolean": "bool", "integer": "int32", "long": "int64",
		"float": "float64", "double": "float64", "timestamp": "time.Time",
	}
	pointer := "*"
	if element {
		pointer = ""
	}
	switch s.Type {
	case "structure":
		return pointer + g.types[name]
	case "list":
		return "[]" + g.goType(s.Member.Shape, true)
	case "map":
		return "map[string]" + g.goType(s.Value.Shape, true)
	case "blob":
		return "[]byte"
	}
	return pointer + scalar[s.Type]
}

// twins are the routed operations that share an operation's method and URI.
func (g *generator) twins(op *operation) []*operation {
	var same []*operation
	for _, name := range g.ops {
		o := g.m.Operations[name]
		if o.HTTP.Method == op.HTTP.Method && o.HTTP.URI == op.HTTP.URI && !unrouted(o.Name, o.Deprecated) {
			same = append(same, o)
		}
	}
	return same
}

// located returns the wire names of an operation's input members in a location.
func (g *generator) located(op *operation, location string, requiredOnly bool) []string {
	if op.Input == nil {
		return nil
	}
	s := g.m.Shapes[op.Input.Shape]
	var names []string
	for _, n := range s.Members.names {
		m := s.Members.byRef[n]
		if m.Location == location && (!requiredOnly || slices.Contains(s.Required, n)) {
			names = append(names, m.LocationName)
		}
	}
	slices.Sort(names)
	return names
}

// apart says what tells op from the others of its method and path.
func (g *generator) apart(op *operation) (query, headers, forbidden []string) {
	twins := g.twins(op)
	if len(twins) < 2 || g.m.Metadata.Protocol != "rest-xml" {
		return nil, nil, nil
	}
	declared := g.located(op, "querystring", false)
	for _, t := range twins {
		for _, k := range g.located(t, "querystring", true) {
			if !slices.Contains(declared, k) && !slices.Contains(forbidden, k) {
				forbidden = append(forbidden, k)
			}
		}
	}
	slices.Sort(forbidden)
	return g.located(op, "querystring", true), g.located(op, "header", true), forbidden
}

// streaming reports whether a message of the operation is a stream.
func (g *generator) streaming(op *operation) bool {
	for _, r := range []*ref{op.Input, op.Output} {
		if r == nil {
			continue
		}
		s := g.m.Shapes[r.Shape]
		if m := s.Members.byRef[s.Payload]; m != nil && (m.Streaming || g.m.Shapes[m.Shape].Streaming) {
			return true
		}
	}
	return false
}

func export(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
