package broker

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// mail is what others ask of a loop; open is called on the loop.
type mail interface{ open(l *loop) }

// mailFunc is mail that is a function.
type mailFunc func(l *loop)

func (f mailFunc) open(l *loop) { f(l) }

// mailbox takes mail from anywhere.
type mailbox struct {
	mu     sync.Mutex // guards the fields below
	items  []mail
	closed bool

	waking atomic.Int32 // who is about to wake the loop
}

// put adds mail, and reports whether the loop has to be woken, and whether
// there still is one.
func (m *mailbox) put(x mail) (wake, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false, false
	}
	m.items = append(m.items, x)
	if len(m.items) > 1 {
		return false, true
	}
	m.waking.Add(1)
	return true, true
}

// take empties the box into the slice that was taken last.
func (m *mailbox) take(last []mail) []mail {
	m.mu.Lock()
	defer m.mu.Unlock()
	items := m.items
	clear(last)
	m.items = last[:0]
	return items
}

// close takes what is left. Nobody wakes the loop any more once it has
// returned: its descriptors may then be another's.
func (m *mailbox) close() []mail {
	m.mu.Lock()
	m.closed = true
	items := m.items
	m.items = nil
	m.mu.Unlock()
	for m.waking.Load() > 0 {
		runtime.Gosched()
	}
	return items
}
