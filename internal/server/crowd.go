package server

import (
	"container/list"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
)

// crowd bounds the connections of an HTTP server, so that no flood of them takes
// the descriptors that the database and the objects need, and no single address
// takes all the places. Where there is none left, the connection that has been
// idle for longest makes room.
type crowd struct {
	limit, perAddress int

	mu        sync.Mutex // guards what follows
	members   map[net.Conn]*member
	addresses map[netip.Addr]int
	idle      *list.List // of net.Conn, the longest idle first
}

type member struct {
	address netip.Addr    // not valid for what is no TCP connection
	idle    *list.Element // nil while a request is under way
	leaving bool          // closed by us
}

// newCrowd returns a crowd in which one address may have half of the places.
func newCrowd(limit int64) *crowd {
	return &crowd{
		limit: int(limit), perAddress: max(1, int(limit)/2),
		members: map[net.Conn]*member{}, addresses: map[netip.Addr]int{}, idle: list.New(),
	}
}

// connState is the server's ConnState.
func (w *crowd) connState(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		w.enter(c)
	case http.StateActive:
		w.stir(c, false)
	case http.StateIdle:
		w.stir(c, true)
	case http.StateClosed, http.StateHijacked:
		w.leave(c)
	}
}

func (w *crowd) enter(c net.Conn) {
	m := &member{address: addressOf(c)}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.members[c] = m
	w.addresses[m.address]++
	if w.addresses[m.address] > w.perAddress && m.address.IsValid() && !m.address.IsLoopback() {
		m.leaving = true
		shut(c)
		return
	}
	if len(w.members) <= w.limit {
		return
	}
	if oldest := w.idle.Front(); oldest != nil {
		w.idle.Remove(oldest)
		other, _ := oldest.Value.(net.Conn)
		w.members[other].idle, w.members[other].leaving = nil, true
		c = other
	}
	shut(c)
}

// shut ends a connection without a word, which the peer could delay.
func shut(c net.Conn) {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	_ = c.Close()
}

func (w *crowd) stir(c net.Conn, idle bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := w.members[c]
	switch {
	case m == nil || m.leaving || idle == (m.idle != nil):
	case idle:
		m.idle = w.idle.PushBack(c)
	default:
		w.idle.Remove(m.idle)
		m.idle = nil
	}
}

func (w *crowd) leave(c net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := w.members[c]
	if m == nil {
		return
	}
	delete(w.members, c)
	if m.idle != nil {
		w.idle.Remove(m.idle)
	}
	if w.addresses[m.address]--; w.addresses[m.address] == 0 {
		delete(w.addresses, m.address)
	}
}

// addressOf is what counts as one address: of IPv6, the network of 64 bits that
// one machine is usually given.
func addressOf(c net.Conn) netip.Addr {
	tcp, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	a := tcp.AddrPort().Addr().Unmap().WithZone("")
	if a.Is6() && !a.IsLoopback() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}
