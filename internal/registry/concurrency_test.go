package registry_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/policy"
	"github.com/sekisho-iot/sekisho/internal/registry"
)

// TestChangesAreInForceUnderLoad has readers fill the memory while writers
// change what it holds: who changed something must see it at once.
func TestChangesAreInForceUnderLoad(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t)
	ctx := t.Context()
	if _, _, err := r.CreatePolicy(ctx, "no", deny, nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.CreatePolicy(ctx, "p", allow, nil); err != nil {
		t.Fatal(err)
	}
	if err := r.AttachPolicy(ctx, "p", certA); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var readers, writers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := r.Principal(ctx, certA); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writers.Go(func() { // things come and go meanwhile
		for i := range 20 {
			name := fmt.Sprintf("t%d", i)
			if _, err := r.CreateThing(ctx, registry.NewThing{Name: name}); err != nil {
				t.Error(err)
			}
			if err := r.AttachThingPrincipal(ctx, name, certA, ""); err != nil {
				t.Error(err)
			}
			p, err := r.Principal(ctx, certA)
			if err != nil || p.Thing(name) == nil {
				t.Errorf("%s was attached, but is not seen: %v", name, err)
			}
		}
	})
	writers.Go(func() {
		for range 20 {
			if err := r.AttachPolicy(ctx, "no", certA); err != nil {
				t.Error(err)
			}
			if got := decide(ctx, t, r, "a"); got != policy.ExplicitDeny {
				t.Errorf("a deny was attached, yet %s", got)
			}
			if err := r.DetachPolicy(ctx, "no", certA); err != nil {
				t.Error(err)
			}
			if got := decide(ctx, t, r, "a"); got != policy.Allow {
				t.Errorf("the deny was detached, yet %s", got)
			}
		}
	})
	writers.Wait()
	close(stop)
	readers.Wait()
}

func BenchmarkPrincipal(b *testing.B) {
	r, _ := newRegistry(b)
	ctx := b.Context()
	if _, _, err := r.CreatePolicy(ctx, "p", allow, nil); err != nil {
		b.Fatal(err)
	}
	if err := r.AttachPolicy(ctx, "p", certA); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Principal(ctx, certA); err != nil {
			b.Fatal(err)
		}
	}
}
