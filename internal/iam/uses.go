package iam

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Use is when and for what an access key, or a role, was last used.
type Use struct {
	ID      string // of the access key or the role
	At      time.Time
	Service string // as signatures name it
	Region  string
}

// UseStore keeps last uses.
type UseStore interface {
	// SaveUses keeps what is newer than what is kept, of keys and roles that exist.
	SaveUses(ctx context.Context, uses []Use) error
	// LastUse answers false for what was never used.
	LastUse(ctx context.Context, id string) (Use, bool, error)
}

const (
	savePause   = 5 * time.Minute
	closingSave = 5 * time.Second
)

// Uses remembers last uses and saves them now and then: no request waits for
// it, and a crash loses the last minutes.
type Uses struct {
	store UseStore
	log   *slog.Logger
	stop  chan struct{}
	done  chan struct{}
	once  sync.Once

	mu   sync.RWMutex // guards the map; entries change by themselves
	seen map[string]*lastUse
}

type lastUse struct {
	at    atomic.Int64 // Unix seconds
	place atomic.Pointer[place]
	dirty atomic.Bool
}

type place struct{ service, region string }

// NewUses returns the memory of last uses; Close ends it, not ctx.
func NewUses(ctx context.Context, store UseStore, log *slog.Logger) *Uses {
	u := &Uses{store: store, log: log, stop: make(chan struct{}), done: make(chan struct{}), seen: map[string]*lastUse{}}
	go u.run(context.WithoutCancel(ctx))
	return u
}

func (u *Uses) run(ctx context.Context) {
	defer close(u.done)
	tick := time.NewTicker(savePause)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			u.save(ctx, savePause)
		case <-u.stop:
			u.save(ctx, closingSave)
			return
		}
	}
}

// Close saves what is not saved. It is idempotent.
func (u *Uses) Close() error {
	u.once.Do(func() { close(u.stop) })
	<-u.done
	return nil
}

// Used notes a use. It writes nothing and, but for the first use, allocates
// nothing that is not new.
func (u *Uses) Used(id, service, region string, at time.Time) {
	u.mu.RLock()
	l := u.seen[id]
	u.mu.RUnlock()
	if l == nil {
		u.mu.Lock()
		if l = u.seen[id]; l == nil {
			l = &lastUse{}
			u.seen[id] = l
		}
		u.mu.Unlock()
	}
	now := at.Unix()
	p := l.place.Load()
	same := p != nil && p.service == service && p.region == region
	if same && l.at.Load() >= now {
		return
	}
	if !same {
		l.place.Store(&place{service, region})
	}
	l.at.Store(now)
	l.dirty.Store(true)
}

// Last returns the last use of a key or a role, saved or not.
func (u *Uses) Last(ctx context.Context, id string) (Use, bool, error) {
	u.mu.RLock()
	l := u.seen[id]
	u.mu.RUnlock()
	if l != nil {
		if p := l.place.Load(); p != nil {
			return l.use(id, p), true, nil
		}
	}
	return u.store.LastUse(ctx, id)
}

func (l *lastUse) use(id string, p *place) Use {
	return Use{ID: id, At: time.Unix(l.at.Load(), 0).UTC(), Service: p.service, Region: p.region}
}

// save writes what changed, and forgets what did not change since the last time.
func (u *Uses) save(ctx context.Context, limit time.Duration) {
	var uses []Use
	u.mu.Lock()
	for id, l := range u.seen {
		if !l.dirty.Swap(false) {
			delete(u.seen, id)
		} else if p := l.place.Load(); p != nil {
			uses = append(uses, l.use(id, p))
		}
	}
	u.mu.Unlock()
	if len(uses) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := u.store.SaveUses(ctx, uses)
	if err == nil {
		return
	}
	u.log.LogAttrs(ctx, slog.LevelWarn, "last uses of access keys were not saved", slog.Any("error", err))
	u.mu.RLock()
	defer u.mu.RUnlock()
	for _, use := range uses {
		if l := u.seen[use.ID]; l != nil {
			l.dirty.Store(true) // the next time
		}
	}
}
