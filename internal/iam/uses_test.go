package iam_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iam"
)

// keptUses is a UseStore in memory.
type keptUses struct {
	mu    sync.Mutex // guards the fields below
	saves int
	kept  map[string]iam.Use
	fail  bool
}

func (k *keptUses) SaveUses(_ context.Context, uses []iam.Use) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.saves++
	if k.fail {
		return errors.New("the disk is full")
	}
	for _, u := range uses {
		k.kept[u.ID] = u
	}
	return nil
}

func (k *keptUses) failing(fail bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fail = fail
}

// writes returns how often it was written to, and what is kept of K.
func (k *keptUses) writes() (int, iam.Use) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.saves, k.kept["K"]
}

func (k *keptUses) LastUse(_ context.Context, id string) (iam.Use, bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	u, ok := k.kept[id]
	return u, ok, nil
}

// Uses are known at once, written now and then, and not lost by a write that fails.
func TestUses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &keptUses{kept: map[string]iam.Use{}}
		u := iam.NewUses(t.Context(), store, slog.New(slog.DiscardHandler))
		first := time.Unix(1_800_000_000, 0).UTC()
		for i := range 1000 {
			u.Used("K", "s3", "us-east-1", first.Add(time.Duration(i)*time.Millisecond))
		}
		want := iam.Use{ID: "K", At: first, Service: "s3", Region: "us-east-1"}
		if got, used, err := u.Last(t.Context(), "K"); err != nil || !used || got != want {
			t.Errorf("used %+v, %v, %v", got, used, err)
		}
		if _, used, err := u.Last(t.Context(), "other"); err != nil || used {
			t.Errorf("a key that was never used: %v, %v", used, err)
		}
		if n, _ := store.writes(); n != 0 {
			t.Errorf("%d writes at once", n)
		}
		store.failing(true)
		time.Sleep(6 * time.Minute)
		store.failing(false)
		time.Sleep(5 * time.Minute)
		if n, kept := store.writes(); n != 2 || kept != want {
			t.Errorf("%d writes kept %+v", n, kept)
		}
		time.Sleep(20 * time.Minute) // nothing is new
		if got, used, err := u.Last(t.Context(), "K"); err != nil || !used || got != want {
			t.Errorf("later: %+v, %v, %v", got, used, err)
		}
		u.Used("K", "iot", "us-east-1", first.Add(time.Hour))
		for range 2 {
			if err := u.Close(); err != nil {
				t.Error(err)
			}
		}
		if n, kept := store.writes(); n != 3 || kept.Service != "iot" {
			t.Errorf("%d writes, closing kept %+v", n, kept)
		}
	})
}

func TestUsedDoesNotAllocate(t *testing.T) {
	u := iam.NewUses(t.Context(), &keptUses{kept: map[string]iam.Use{}}, slog.New(slog.DiscardHandler))
	at := time.Unix(1_800_000_000, 0)
	u.Used("K", "s3", "us-east-1", at)
	if n := testing.AllocsPerRun(100, func() { at = at.Add(time.Second); u.Used("K", "s3", "us-east-1", at) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if err := u.Close(); err != nil {
		t.Error(err)
	}
}
