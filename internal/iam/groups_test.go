package iam_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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

var errAway = errors.New("the database is away")

// awayStore cannot be read.
type awayStore struct{ iam.Store }

func (awayStore) Role(context.Context, string) (iam.Role, error)   { return iam.Role{}, errAway }
func (awayStore) User(context.Context, string) (iam.User, error)   { return iam.User{}, errAway }
func (awayStore) Group(context.Context, string) (iam.Group, error) { return iam.Group{}, errAway }
func (awayStore) Profile(context.Context, string) (iam.InstanceProfile, error) {
	return iam.InstanceProfile{}, errAway
}

// An ARN that could not be read is not taken for that of the name alone.
func TestARNs(t *testing.T) {
	t.Parallel()
	s := newService(t)
	ctx := t.Context()
	_, err := s.CreateRole(ctx, iam.CreateRoleInput{Name: "n", Path: "/p/", Trust: trust})
	ok(t, err)
	_, err = s.CreateUser(ctx, iam.CreateUserInput{Name: "n", Path: "/p/"})
	ok(t, err)
	_, err = s.CreateGroup(ctx, "n", "/p/")
	ok(t, err)
	_, err = s.CreateInstanceProfile(ctx, "n", "/p/", nil)
	ok(t, err)
	away, err := iam.New(iam.Config{
		Account: account, Store: awayStore{}, Sealer: seal{}, Random: rand.Reader, Logger: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	ok(t, err)
	for kind, arn := range map[string]func(context.Context, string) (string, error){
		"role": away.RoleARN, "user": away.UserARN, "group": away.GroupARN, "instance-profile": away.ProfileARN,
	} {
		if got, err := arn(ctx, "n"); !errors.Is(err, errAway) {
			t.Errorf("%s that cannot be read: %s, %v", kind, got, err)
		}
	}
	for kind, arn := range map[string]func(context.Context, string) (string, error){
		"role": s.RoleARN, "user": s.UserARN, "group": s.GroupARN, "instance-profile": s.ProfileARN,
	} {
		prefix := "arn:aws:iam::" + account + ":" + kind
		if got, err := arn(ctx, "n"); err != nil || got != prefix+"/p/n" {
			t.Errorf("%s: %s, %v", kind, got, err)
		}
		for name, want := range map[string]iot.Kind{"none": iot.KindNotFound, "no/name": iot.KindInvalid, "": iot.KindInvalid} {
			if got, err := arn(ctx, name); !iot.IsKind(err, want) || got != prefix+"/"+name {
				t.Errorf("%s %q: %s, %v", kind, name, got, err)
			}
		}
	}
}
