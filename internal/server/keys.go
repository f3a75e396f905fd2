package server

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/sekisho-iot/sekisho/internal/api"
	"github.com/sekisho-iot/sekisho/internal/iam"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/sts"
)

// forgetEvery is how often it is looked whether a retired key's time is over.
const forgetEvery = time.Hour

// keyKeeper rotates the key ring, and forgets keys when nothing needs them.
type keyKeeper struct {
	ring       *sts.KeyRing
	identities *iam.Service
	rotation   *sync.Mutex
	announce   func(iot.Change)
	log        *slog.Logger
}

// keepKeys finishes what an earlier process began, and goes on looking after
// the key ring until the server stops.
func (s *Server) keepKeys(ctx context.Context, r *rooms, announce func(iot.Change)) {
	s.keeper = &keyKeeper{ring: r.tokens.Keys, identities: r.identities, rotation: &s.rotation, announce: announce, log: s.log}
	s.keeper.forget(ctx)
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var end sync.WaitGroup
	end.Go(func() {
		tick := time.NewTicker(forgetEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				s.keeper.forget(ctx)
			}
		}
	})
	s.stop(func() error { cancel(); end.Wait(); return nil })
}

// Rotate implements api.Keys. It goes on when the caller leaves: a rotation
// that is half done is finished at the next start alone.
func (k *keyKeeper) Rotate(ctx context.Context, compromised bool) (*api.RotateKeysOutput, error) {
	ctx = context.WithoutCancel(ctx)
	k.rotation.Lock()
	defer k.rotation.Unlock()
	done, err := k.ring.Rotate(compromised)
	if err != nil {
		return nil, err
	}
	if compromised {
		// MQTT connections of sessions are judged anew.
		k.announce(iot.Change{Kind: iot.ChangeAccessKey})
	}
	n, err := k.finish(ctx)
	if err != nil {
		k.log.ErrorContext(ctx, "key ring rotated, but old keys are still needed; this is tried again", slog.Any("error", err))
		return nil, err
	}
	return &api.RotateKeysOutput{
		Key: done.Key, Created: done.Created, Retired: asList(done.Retired), Until: done.Until, Dropped: asList(done.Dropped), AccessKeys: n,
	}, nil
}

// asList is ids as JSON is to show them.
func asList(ids []uint32) []uint32 {
	if ids == nil {
		return []uint32{}
	}
	return ids
}

// finish seals anew what is at rest, and forgets the keys that nothing needs any more.
func (k *keyKeeper) finish(ctx context.Context) (int, error) {
	n, err := k.identities.Reseal(ctx)
	if err != nil {
		return n, err
	}
	return n, k.ring.Forget()
}

// forget is finish where there is something to forget. A failure keeps nobody
// from using the server: what was sealed still opens.
func (k *keyKeeper) forget(ctx context.Context) {
	k.rotation.Lock()
	defer k.rotation.Unlock()
	if !k.ring.Overdue() {
		return
	}
	if _, err := k.finish(ctx); err != nil && !errors.Is(err, context.Canceled) {
		k.log.ErrorContext(ctx, "old keys of the key ring are kept longer than they should be", slog.Any("error", err))
		return
	}
	k.log.InfoContext(ctx, "old keys of the key ring are gone")
}
