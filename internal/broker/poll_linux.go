package broker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// pollable says that connections can be parked: their descriptors are polled.
const pollable = true

// pollEvent is what one descriptor is ready for.
type pollEvent = unix.EpollEvent

// What descriptors are ready for.
const (
	canRead  = unix.EPOLLIN | unix.EPOLLRDHUP
	canWrite = unix.EPOLLOUT
	hungUp   = unix.EPOLLERR | unix.EPOLLHUP
)

// poller waits for descriptors to become ready, or for somebody to wake it.
type poller struct {
	epoll  int
	event  int // an eventfd
	events []pollEvent
}

func newPoller() (*poller, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	ev, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Close(ep)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	p := &poller{epoll: ep, event: ev, events: make([]pollEvent, 512)}
	return p, p.control(unix.EPOLL_CTL_ADD, ev, unix.EPOLLIN)
}

func (p *poller) control(op, fd int, events uint32) error {
	return unix.EpollCtl(p.epoll, op, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}) //nolint:gosec // descriptors are small
}

// interest is what a connection waits for.
func interest(read, write bool) (events uint32) {
	if read {
		events |= canRead
	}
	if write {
		events |= canWrite
	}
	return events
}

func (p *poller) add(fd int, read, write bool) error {
	return p.control(unix.EPOLL_CTL_ADD, fd, interest(read, write))
}

func (p *poller) change(fd int, read, write bool) error {
	return p.control(unix.EPOLL_CTL_MOD, fd, interest(read, write))
}

func (p *poller) remove(fd int) { _ = p.control(unix.EPOLL_CTL_DEL, fd, 0) }

// wait returns what is ready, after at most d; a negative d waits for ever.
func (p *poller) wait(d time.Duration) ([]pollEvent, error) {
	ms := -1
	if d >= 0 {
		ms = int((d + time.Millisecond - 1) / time.Millisecond)
	}
	n, err := unix.EpollWait(p.epoll, p.events, ms)
	if err != nil {
		if errors.Is(err, unix.EINTR) {
			return nil, nil
		}
		return nil, fmt.Errorf("epoll wait: %w", err)
	}
	return p.events[:n], nil
}

// awoken takes back a wake-up, and reports whether fd was one.
func (p *poller) awoken(fd int) bool {
	if fd != p.event {
		return false
	}
	var b [8]byte
	_, _ = unix.Read(p.event, b[:])
	return true
}

// wake ends the wait that is under way, or the next one.
func (p *poller) wake() {
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], 1)
	_, _ = unix.Write(p.event, b[:])
}

func (p *poller) close() {
	_ = unix.Close(p.event)
	_ = unix.Close(p.epoll)
}
