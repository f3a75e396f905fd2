package iam_test

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/iam"
	"github.com/sekisho-iot/sekisho/internal/iot"
)

// A key is good at every moment of its user's being renamed.
func TestRenamedUnderLoad(t *testing.T) {
	t.Parallel()
	s := newService(t)
	ctx := t.Context()
	u, err := s.CreateUser(ctx, iam.CreateUserInput{Name: "a"})
	ok(t, err)
	k, _, err := s.CreateAccessKey(ctx, "a")
	ok(t, err)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var reads [2]atomic.Int64
	for n := range reads {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if g, err := s.KeyGrants(ctx, k.ID); err != nil || g.UserID != u.ID {
					t.Errorf("the key is %+v, %v", g, err)
				}
				reads[n].Add(1)
			}
		})
	}
	names := [2]string{"a", "b"}
	for i := range 10 {
		ok(t, s.UpdateUser(ctx, names[i%2], &names[(i+1)%2], nil))
		for n := range reads { // nobody is renamed twice in one look-up
			for seen := reads[n].Load(); reads[n].Load() < seen+2; {
				runtime.Gosched()
			}
		}
	}
	close(stop)
	wg.Wait()
}

// What a group holds counts for a member from the moment of its being one.
func TestGroupsOfAUser(t *testing.T) {
	t.Parallel()
	s := newService(t)
	ctx := t.Context()
	_, err := s.CreateUser(ctx, iam.CreateUserInput{Name: "u"})
	ok(t, err)
	k, _, err := s.CreateAccessKey(ctx, "u")
	ok(t, err)
	may := func() bool {
		t.Helper()
		g, err := s.KeyGrants(ctx, k.ID)
		ok(t, err)
		return allows(g.Identity, "s3:GetObject")
	}
	_, err = s.CreateGroup(ctx, "g", "")
	ok(t, err)
	group := iam.Holder{Kind: iam.GroupHolder, Name: "g"}
	ok(t, s.PutInlinePolicy(ctx, group, "p", getOnly))
	if may() {
		t.Error("a stranger has the group's policies")
	}
	ok(t, s.AddUserToGroup(ctx, "g", "u"))
	if !may() {
		t.Error("a member has not the group's policies")
	}
	ok(t, s.DeleteInlinePolicy(ctx, group, "p"))
	if may() {
		t.Error("a deleted policy counts")
	}
	ok(t, s.AttachPolicy(ctx, group, admins))
	if !may() {
		t.Error("an attached policy does not count")
	}
	ok(t, s.RemoveUserFromGroup(ctx, "g", "u"))
	if may() {
		t.Error("who has left has the group's policies")
	}
	for _, bad := range []string{"", "a b", "g/h"} {
		if _, err := s.CreateGroup(ctx, bad, ""); !iot.IsKind(err, iot.KindInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	_, err = s.CreateGroup(ctx, "h", "no-path")
	wantError(t, err, iot.KindInvalid, "path")
}
