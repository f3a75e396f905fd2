package queue

import (
	"testing"
	"testing/synctest"
)

func TestInboxBlocksUntilThereIsRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var q inbox
		q.init(100)
		if !q.put(pending{size: 1000}) {
			t.Fatal("one that is larger than the limit was refused")
		}
		results := make(chan bool, 2)
		go func() { results <- q.put(pending{size: 60}) }()
		synctest.Wait()
		if len(results) != 0 || len(q.waiting) != 1 {
			t.Fatal("did not block")
		}
		group, all := q.take()
		synctest.Wait()
		if len(group) != 1 || !all || len(results) != 0 {
			t.Fatal("what is being written does not count", len(group), all)
		}
		q.release(1000)
		synctest.Wait()
		if len(results) != 1 || !<-results {
			t.Fatal("still blocked")
		}
		go func() { results <- q.put(pending{size: 60}) }()
		synctest.Wait()
		q.close()
		synctest.Wait()
		if len(results) != 1 || <-results {
			t.Fatal("a blocked one was not sent away by close")
		}
		if group, _ := q.take(); len(group) != 1 {
			t.Fatal("what waited at close is gone")
		}
		if group, _ := q.take(); group != nil {
			t.Fatal("no end")
		}
	})
}

func TestInboxBoundsAGroup(t *testing.T) {
	t.Parallel()
	var q inbox
	q.init(defaultMaxWaiting)
	for range 3 {
		q.put(pending{size: maxGroup / 2})
	}
	if group, all := q.take(); len(group) != 2 || all {
		t.Fatal(len(group), all)
	}
	if group, all := q.take(); len(group) != 1 || !all {
		t.Fatal(len(group), all)
	}
}
