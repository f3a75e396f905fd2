package sts

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// clockwork is a clock that a test moves.
type clockwork struct{ at atomic.Int64 }

func (c *clockwork) now() time.Time          { return time.Unix(c.at.Load(), 0) }
func (c *clockwork) advance(d time.Duration) { c.at.Add(int64(d / time.Second)) }

func newRing(t *testing.T) (*KeyRing, *clockwork, string) {
	t.Helper()
	c := &clockwork{}
	c.at.Store(1_800_000_000)
	path := filepath.Join(t.TempDir(), "keys.json")
	r, err := OpenKeyRing(path, rand.Reader, c.now)
	if err != nil {
		t.Fatal(err)
	}
	return r, c, path
}

func issue(t *testing.T, r *KeyRing) Credentials {
	t.Helper()
	k, _, err := r.issue(&claims{RoleID: "AROA", SessionName: "s", Issued: r.now().Unix(), Expires: r.now().Add(100 * time.Hour).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// opens reports whether the ring takes the token, with the secret of the key that sealed it.
func opens(r *KeyRing, c Credentials) bool {
	_, k, err := r.openToken(c.SessionToken, r.now())
	if err != nil && !iot.IsKind(err, iot.KindBadToken) {
		panic(err)
	}
	return err == nil && k.secret(c.AccessKeyID) == c.SecretAccessKey
}

func reopen(t *testing.T, r *KeyRing, path string) *KeyRing {
	t.Helper()
	again, err := OpenKeyRing(path, rand.Reader, r.now)
	if err != nil {
		t.Fatal(err)
	}
	return again
}

func TestRotate(t *testing.T) {
	t.Parallel()
	r, clock, path := newRing(t)
	first := issue(t, r)
	done, err := r.Rotate(false)
	if err != nil || done.Key != 2 || len(done.Retired) != 1 || len(done.Dropped) != 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	second := issue(t, r)
	for name, ring := range map[string]*KeyRing{"running": r, "restarted": reopen(t, r, path)} {
		if !opens(ring, first) || !opens(ring, second) {
			t.Errorf("%s: a session ended", name)
		}
	}
	clock.advance(36*time.Hour - time.Second)
	if !opens(r, first) || r.Overdue() {
		t.Error("ended early")
	}
	clock.advance(time.Second)
	for name, ring := range map[string]*KeyRing{"running": r, "restarted": reopen(t, r, path)} {
		if opens(ring, first) || !opens(ring, second) || !ring.Overdue() {
			t.Errorf("%s: after 36 hours %v %v", name, opens(ring, first), opens(ring, second))
		}
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Forget(); err != nil || r.Overdue() {
		t.Fatal(err)
	}
	after, err := os.ReadFile(path)
	if err != nil || strings.Count(string(before), "secret") != 2 || strings.Count(string(after), "secret") != 1 {
		t.Errorf("the old key is still on disk: %v", err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if done, err := r.Rotate(false); err != nil || done.Key != 3 {
		t.Errorf("an id was used again: %+v, %v", done, err)
	}
}

// TestRotateCompromised: sessions end at once, on disk too; what is at rest
// opens until it was sealed anew.
func TestRotateCompromised(t *testing.T) {
	t.Parallel()
	r, _, path := newRing(t)
	rest, err := r.Sealer(ForAccessKeys).Seal([]byte("secret"), []byte("AKIA"))
	if err != nil {
		t.Fatal(err)
	}
	first := issue(t, r)
	if _, err := r.Rotate(false); err != nil {
		t.Fatal(err)
	}
	second := issue(t, r)
	done, err := r.Rotate(true)
	if err != nil || len(done.Dropped) != 2 || len(done.Retired) != 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	third := issue(t, r)
	for name, ring := range map[string]*KeyRing{"running": r, "restarted": reopen(t, r, path)} {
		if opens(ring, first) || opens(ring, second) || !opens(ring, third) || !ring.Overdue() {
			t.Errorf("%s: a session of a compromised key goes on", name)
		}
		if plain, err := ring.Sealer(ForAccessKeys).Open(rest, []byte("AKIA")); err != nil || string(plain) != "secret" {
			t.Errorf("%s: what is at rest does not open: %v", name, err)
		}
	}
	if err := r.Forget(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Sealer(ForAccessKeys).Open(rest, []byte("AKIA")); err == nil {
		t.Error("a key that was forgotten opens")
	}
	if again := reopen(t, r, path); !opens(again, third) || again.Overdue() {
		t.Error("the new key was not kept")
	}
}

// TestRotateUnderLoad: every token works with its own secret, whenever it was
// made (run with -race).
func TestRotateUnderLoad(t *testing.T) {
	t.Parallel()
	r, _, _ := newRing(t)
	var stop atomic.Bool
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			for !stop.Load() {
				if c := issue(t, r); !opens(r, c) {
					t.Error("a token does not fit its secret")
					return
				}
			}
		})
	}
	for range 20 {
		if _, err := r.Rotate(false); err != nil {
			t.Error(err)
		}
	}
	stop.Store(true)
	load.Wait()
}

// TestRotateFails: what cannot be kept is not used.
func TestRotateFails(t *testing.T) {
	t.Parallel()
	r, _, path := newRing(t)
	first := issue(t, r)
	dir := filepath.Dir(path)
	if err := os.Rename(dir, dir+".gone"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Rotate(true); err == nil {
		t.Fatal("rotated without a file")
	}
	if !opens(r, first) || !opens(r, issue(t, r)) {
		t.Error("the old key is no longer used")
	}
	if err := os.Rename(dir+".gone", dir); err != nil {
		t.Fatal(err)
	}
	if !opens(reopen(t, r, path), first) {
		t.Error("the file has changed")
	}
}
