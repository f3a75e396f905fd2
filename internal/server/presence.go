package server

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/sekisho-iot/sekisho/internal/broker"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/registry"
)

// presenceDelay is how long clients that come and go are gathered before they
// are written down together.
const presenceDelay = 250 * time.Millisecond

// presence writes down whose clients are connected, for searches.
type presence struct {
	keep func(ctx context.Context, list []registry.Connectivity) error
	log  *slog.Logger

	wake    chan struct{}
	closing chan struct{}
	done    chan struct{}

	mu      sync.Mutex // guards the field below
	waiting map[iot.ThingName]registry.Connectivity
}

func newPresence(keep func(context.Context, []registry.Connectivity) error, log *slog.Logger) *presence {
	return &presence{
		keep: keep, log: log, wake: make(chan struct{}, 1), closing: make(chan struct{}), done: make(chan struct{}),
		waiting: map[iot.ThingName]registry.Connectivity{},
	}
}

// take is told by the broker's loops.
func (p *presence) take(b broker.Presence) {
	c := connectivity(b)
	p.mu.Lock()
	p.waiting[c.Thing] = c
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func connectivity(b broker.Presence) registry.Connectivity {
	return registry.Connectivity{Thing: iot.ThingName(b.Thing), Connected: b.Connected, Since: b.At, Reason: b.Reason}
}

func (p *presence) run(ctx context.Context) {
	defer close(p.done)
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		select {
		case <-p.wake:
		case <-p.closing:
			return
		}
		wait.Reset(presenceDelay)
		select {
		case <-wait.C:
		case <-p.closing: // the next start makes everybody one that is gone
			return
		}
		p.mu.Lock()
		list := make([]registry.Connectivity, 0, len(p.waiting))
		for _, c := range p.waiting {
			list = append(list, c)
		}
		clear(p.waiting)
		p.mu.Unlock()
		if err := p.keep(ctx, list); err != nil {
			p.log.LogAttrs(ctx, slog.LevelError, "connectivity not written down", slog.Int("things", len(list)), slog.Any("error", err))
		}
	}
}

// Close waits for what is being written.
func (p *presence) Close() error {
	close(p.closing)
	<-p.done
	return nil
}

// online is the broker's clients as the registry asks for them.
func (s *Server) online(ctx context.Context) ([]registry.Connectivity, error) {
	clients, err := s.broker.Online(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]registry.Connectivity, len(clients))
	for i, c := range clients {
		list[i] = connectivity(c)
	}
	return list, nil
}
