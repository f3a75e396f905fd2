package credential

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sekisho-iot/sekisho/internal/agent/clock"
)

// How long one renewal may take, the wait for another process's included, and
// when the next is tried after one that failed.
const (
	renewalTimeout = lockTimeout + 2*requestTimeout
	firstPause     = time.Second
	longestPause   = 30 * time.Second
	refusalPause   = 5 * time.Second
)

// Fetcher asks for a new session; Endpoint is one.
type Fetcher interface {
	Fetch(ctx context.Context) (*Session, error)
}

// Options is what a Provider is made of.
type Options struct {
	Endpoint Fetcher
	Cache    *Cache
	Clock    *clock.Clock
	Logger   *slog.Logger

	// Patience is how long Get waits for the server where an older session would still do.
	Patience time.Duration
	// Ahead renews in the background a session that is good for some minutes more.
	Ahead bool
}

// Provider gives sessions that last. It is safe for concurrent use.
type Provider struct {
	o  Options
	wg sync.WaitGroup

	mu      sync.Mutex // guards what follows
	session *Session   // nil before the first, and when the server has revoked it
	flight  *flight    // the renewal that is going on
	failure error      // of the last renewal
	pause   time.Duration
	retryAt time.Time
	closed  bool
}

// flight is one renewal, however many wait for it.
type flight struct {
	done   chan struct{} // closed when session and err are there
	cancel context.CancelFunc

	session *Session
	err     error
}

// NewProvider returns a provider that has asked nothing yet.
func NewProvider(o Options) *Provider { return &Provider{o: o} }

// Close ends a renewal that is going on and waits for its end.
func (p *Provider) Close() {
	p.mu.Lock()
	p.closed = true
	if p.flight != nil {
		p.flight.cancel()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

// Discard forgets a session that a service refused, here and on disk, so that the
// next Get asks the server. Another session, which may be newer, stays.
func (p *Provider) Discard(ctx context.Context, accessKeyID string) (err error) {
	unlock, err := p.o.Cache.lock(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	s, err := p.o.Cache.read()
	if err == nil && s != nil && s.AccessKeyID == accessKeyID {
		err = p.o.Cache.purge()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session != nil && p.session.AccessKeyID == accessKeyID {
		p.session = nil
	}
	return err
}

// Get returns a session to use now: the one there is, or a new one when it is
// time; and an older one that still lasts while the server does not answer.
func (p *Provider) Get(ctx context.Context) (*Session, error) {
	have, err := p.have()
	if err != nil {
		return nil, err
	}
	now := p.o.Clock.Local()
	if have != nil && have.fresh(now) {
		return have, nil
	}
	f, err := p.renew(ctx, now)
	switch {
	case f == nil:
		return p.fallBack(ctx, have, err)
	case p.o.Ahead && have != nil && have.good(now):
		return have, nil
	}
	var impatient <-chan time.Time
	if have != nil && have.usable(now) && p.o.Patience > 0 {
		t := time.NewTimer(p.o.Patience)
		defer t.Stop()
		impatient = t.C
	}
	select {
	case <-f.done:
		if f.err != nil {
			return p.fallBack(ctx, have, f.err)
		}
		return f.session, nil
	case <-impatient:
		return p.fallBack(ctx, have, fmt.Errorf("%w: the server has not answered yet", ErrUnavailable))
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fallBack is what to do without a new session.
func (p *Provider) fallBack(ctx context.Context, have *Session, err error) (*Session, error) {
	now := p.o.Clock.Local()
	if errors.Is(err, ErrUnavailable) && have != nil && have.usable(now) {
		p.o.Logger.WarnContext(ctx, "older credentials are used", slog.Duration("left", have.left(now).Round(time.Second)), slog.Any("error", err))
		return have, nil
	}
	return nil, err
}

// have returns the session there is: in memory, else on disk.
func (p *Provider) have() (*Session, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.o.Clock.Local()
	if p.session != nil && p.session.fresh(now) {
		return p.session, nil
	}
	s, err := p.o.Cache.read()
	if err != nil {
		return nil, err
	}
	if s != nil && (p.session == nil || s.left(now) > p.session.left(now)) {
		p.adopt(s)
	}
	return p.session, nil
}

// adopt takes a session over, and what it says about the clock. mu must be held.
func (p *Provider) adopt(s *Session) {
	p.session = s
	if s.left(p.o.Clock.Local()) > 0 {
		p.o.Clock.SetOffset(s.Offset())
	}
}

// renew joins the renewal that is going on, or starts one. After a failure it
// waits a while, and returns that failure meanwhile.
func (p *Provider) renew(ctx context.Context, now time.Time) (*flight, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return nil, context.Canceled
	case p.flight != nil:
		return p.flight, nil
	case p.failure != nil && now.Before(p.retryAt) && p.retryAt.Sub(now) <= longestPause:
		return nil, p.failure
	}
	// It is not the caller's alone, and goes on without it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), renewalTimeout)
	f := &flight{done: make(chan struct{}), cancel: cancel}
	p.flight = f
	p.wg.Go(func() {
		defer cancel()
		f.session, f.err = p.refresh(ctx)
		p.land(ctx, f)
		close(f.done)
	})
	return f, nil
}

// refresh asks the server, unless another process has done so in the meantime.
func (p *Provider) refresh(ctx context.Context) (s *Session, err error) {
	unlock, err := p.o.Cache.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	s, err = p.o.Cache.read()
	if err != nil {
		return nil, err
	}
	if s != nil && s.fresh(p.o.Clock.Local()) {
		return s, nil
	}
	s, err = p.o.Endpoint.Fetch(ctx)
	if refused, ok := errors.AsType[*RefusedError](err); ok && refused.revokes() {
		return nil, errors.Join(err, p.o.Cache.purge())
	}
	if err != nil {
		return nil, err
	}
	if err := p.o.Cache.write(s); err != nil {
		p.o.Logger.WarnContext(ctx, "the credentials could not be kept, so every process asks the server", slog.Any("error", err))
	}
	return s, nil
}

// land takes over what came of a renewal.
func (p *Provider) land(ctx context.Context, f *flight) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flight = nil
	if f.err == nil {
		p.failure, p.pause = nil, 0
		p.adopt(f.session)
		return
	}
	p.failure, p.pause = f.err, min(max(2*p.pause, firstPause), longestPause)
	if refused, ok := errors.AsType[*RefusedError](f.err); ok {
		p.pause = refusalPause
		if refused.revokes() {
			p.session = nil
		}
	}
	p.retryAt = p.o.Clock.Local().Add(p.pause)
	p.o.Logger.InfoContext(ctx, "renewal of the credentials failed", slog.Any("error", f.err))
}
