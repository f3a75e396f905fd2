package faults

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// The same seed makes the same network, and of every kind of fault there is some.
func TestSeed(t *testing.T) {
	t.Parallel()
	c := &Config{Every: time.Second, Cut: 1, Stall: 1, Spoil: 1, ShortStall: time.Second, LongStall: time.Minute}
	fates := func(seed uint64) []fault {
		r := rand.New(rand.NewPCG(seed, 0))
		list := make([]fault, 100)
		for i := range list {
			list[i] = c.next(r)
		}
		return list
	}
	if !slices.Equal(fates(1), fates(1)) || slices.Equal(fates(1), fates(2)) {
		t.Error("the seed does not decide")
	}
	var of [3]int
	for _, f := range fates(1) {
		of[f.kind]++
		if f.stall < c.ShortStall || f.stall > c.LongStall {
			t.Errorf("a stall of %v", f.stall)
		}
	}
	if slices.Min(of[:]) < 20 {
		t.Errorf("of 100 faults %v", of)
	}
}
