package local

import "context"

// SetHook has f called between the steps of writes.
func (e *Engine) SetHook(f func(step string)) { e.hook = f }

// Reap removes the garbage now.
func (e *Engine) Reap(ctx context.Context) error { return e.reap(ctx) }

// GiveUpStale gives up old uploads now.
func (e *Engine) GiveUpStale(ctx context.Context) { e.giveUpStale(ctx) }

// Sweep removes what earlier generations left over, now.
func (e *Engine) Sweep(ctx context.Context) { e.sweep(ctx, 0) }
