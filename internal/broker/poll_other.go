//go:build !linux

package broker

import "time"

// pollable says that no descriptors are polled here: goroutines serve all
// connections.
const pollable = false

// pollEvent is what one descriptor would be ready for.
type pollEvent struct {
	Events uint32
	Fd     int32
}

// What descriptors would be ready for.
const (
	canRead = 1 << iota
	canWrite
	hungUp
)

// poller waits for somebody to wake it.
type poller struct {
	woken chan struct{}
	timer *time.Timer
}

func newPoller() (*poller, error) {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return &poller{woken: make(chan struct{}, 1), timer: t}, nil
}

func (*poller) add(int, bool, bool) error    { return errNoDescriptor }
func (*poller) change(int, bool, bool) error { return errNoDescriptor }
func (*poller) remove(int)                   {}
func (*poller) awoken(int) bool              { return false }
func (*poller) close()                       {}

// wait returns when it is woken, or after d; a negative d waits for ever.
func (p *poller) wait(d time.Duration) ([]pollEvent, error) {
	if d < 0 {
		<-p.woken
		return nil, nil
	}
	p.timer.Reset(d)
	defer p.timer.Stop()
	select {
	case <-p.woken:
	case <-p.timer.C:
	}
	return nil, nil
}

// wake ends the wait that is under way, or the next one.
func (p *poller) wake() {
	select {
	case p.woken <- struct{}{}:
	default:
	}
}
