package broker

import (
	"bytes"
	"slices"
	"strings"
	"sync"
)

// tree finds the values of the topic filters that match a topic. Filters
// without wildcards are in a map of their own; the others are by level. Only
// one goroutine changes a tree, with the lock; that one may read without.
type tree[V comparable] struct {
	mu      sync.RWMutex
	exact   map[string][]V
	root    node[V]
	wild    int  // filters with wildcards
	parents bool // "a/#" matches "a"
}

// node is a level of filters with wildcards.
type node[V comparable] struct {
	children map[string]*node[V]
	plus     *node[V]
	here     []V // filters that end here
	below    []V // filters that end with # here
}

func (n *node[V]) empty() bool {
	return len(n.children) == 0 && n.plus == nil && len(n.here) == 0 && len(n.below) == 0
}

func newTree[V comparable](p Profile) *tree[V] {
	return &tree[V]{exact: map[string][]V{}, parents: p == Standard}
}

// add adds a value under a filter, which is valid.
func (t *tree[V]) add(filter string, v V) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !strings.ContainsAny(filter, "+#") {
		t.exact[filter] = append(t.exact[filter], v)
		return
	}
	t.wild++
	n := &t.root
	for rest, more := filter, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		switch level {
		case "#":
			n.below = append(n.below, v)
			return
		case "+":
			if n.plus == nil {
				n.plus = new(node[V])
			}
			n = n.plus
		default:
			child := n.children[level]
			if child == nil {
				if n.children == nil {
					n.children = map[string]*node[V]{}
				}
				child = new(node[V])
				n.children[strings.Clone(level)] = child
			}
			n = child
		}
	}
	n.here = append(n.here, v)
}

// remove takes a value away from a filter.
func (t *tree[V]) remove(filter string, v V) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if list, ok := t.exact[filter]; ok {
		if list = without(list, v); len(list) == 0 {
			delete(t.exact, filter)
		} else {
			t.exact[filter] = list
		}
		return
	}
	if t.root.remove(filter, true, v) {
		t.wild--
	}
}

func (n *node[V]) remove(filter string, more bool, v V) (removed bool) {
	if !more {
		before := len(n.here)
		n.here = without(n.here, v)
		return len(n.here) < before
	}
	level, rest, more := strings.Cut(filter, "/")
	switch level {
	case "#":
		before := len(n.below)
		n.below = without(n.below, v)
		return len(n.below) < before
	case "+":
		if n.plus == nil {
			return false
		}
		removed = n.plus.remove(rest, more, v)
		if n.plus.empty() {
			n.plus = nil
		}
	default:
		child := n.children[level]
		if child == nil {
			return false
		}
		removed = child.remove(rest, more, v)
		if child.empty() {
			delete(n.children, level)
		}
	}
	return removed
}

// without takes one v out of list.
func without[V comparable](list []V, v V) []V {
	if i := slices.Index(list, v); i >= 0 {
		return slices.Delete(list, i, i+1)
	}
	return list
}

// match calls fn with the values of every filter that matches topic.
func (t *tree[V]) match(topic []byte, fn func(v V)) {
	for _, v := range t.exact[string(topic)] {
		fn(v)
	}
	if t.wild == 0 {
		return
	}
	m := matcher[V]{parents: t.parents, fn: fn}
	if topic[0] != '$' {
		m.match(&t.root, topic, true)
		return
	}
	// Wildcards do not match a first level that begins with $ [MQTT-4.7.2-1].
	level, rest, more := bytes.Cut(topic, []byte{'/'})
	if child := t.root.children[string(level)]; child != nil {
		m.match(child, rest, more)
	}
}

type matcher[V comparable] struct {
	parents bool
	fn      func(V)
}

// match goes on with the levels in rest; more says that there are any.
func (m *matcher[V]) match(n *node[V], rest []byte, more bool) {
	if !more {
		m.all(n.here)
		if m.parents {
			m.all(n.below)
		}
		return
	}
	m.all(n.below)
	level, rest, more := bytes.Cut(rest, []byte{'/'})
	if child := n.children[string(level)]; child != nil {
		m.match(child, rest, more)
	}
	if n.plus != nil {
		m.match(n.plus, rest, more)
	}
}

func (m *matcher[V]) all(list []V) {
	for _, v := range list {
		m.fn(v)
	}
}
