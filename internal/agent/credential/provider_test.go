package credential_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sekisho-iot/sekisho/internal/agent/clock"
	"github.com/sekisho-iot/sekisho/internal/agent/credential"
)

// provider is a credential provider whose answers a test decides.
type provider struct {
	mu    sync.Mutex // guards what follows
	life  time.Duration
	takes time.Duration
	err   error
	asked int
}

func (p *provider) Fetch(ctx context.Context) (*credential.Session, error) {
	p.mu.Lock()
	p.asked++
	n, life, takes, err := p.asked, p.life, p.takes, p.err
	p.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", credential.ErrUnavailable, ctx.Err())
	}
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &credential.Session{
		AccessKeyID: fmt.Sprintf("ASIA%d", n), SecretAccessKey: "secret", SessionToken: "token",
		Expiration: now.Add(life), Obtained: now, Fetched: now,
	}, nil
}

func (p *provider) set(life, takes time.Duration, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.life, p.takes, p.err = life, takes, err
}

func (p *provider) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

var errDown = fmt.Errorf("%w: nobody there", credential.ErrUnavailable)

// open returns a provider on the cache in dir, as a process has one.
func open(t *testing.T, dir string, f credential.Fetcher, change ...func(*credential.Options)) *credential.Provider {
	t.Helper()
	cache, err := credential.OpenCache(dir, "id")
	if err != nil {
		t.Fatal(err)
	}
	o := credential.Options{Endpoint: f, Cache: cache, Clock: clock.New(time.Now), Logger: slog.New(slog.DiscardHandler), Patience: 1500 * time.Millisecond}
	for _, c := range change {
		c(&o)
	}
	p := credential.NewProvider(o)
	t.Cleanup(p.Close)
	return p
}

func ahead(o *credential.Options) { o.Ahead = true }

// Ten hours of a call a minute, by processes and by a server: what is given out
// lasts, and the server is asked as often as it must be.
func TestRenewal(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		life, atLeast time.Duration
		calls         [2]int // fewest and most in ten hours
	}{
		{12 * time.Hour, 3*time.Hour + 36*time.Minute, [2]int{2, 2}},
		{time.Hour, 18 * time.Minute, [2]int{14, 17}},
		{31 * time.Minute, 17 * time.Minute, [2]int{40, 70}},
		{30 * time.Minute, 18 * time.Minute, [2]int{54, 67}},
		{15 * time.Minute, 9 * time.Minute, [2]int{99, 121}},
	} {
		for _, serves := range []bool{false, true} {
			t.Run(fmt.Sprint(c.life, serves), func(t *testing.T) {
				t.Parallel()
				dir := filepath.Join(t.TempDir(), "cache")
				synctest.Test(t, func(t *testing.T) {
					server := &provider{life: c.life}
					p := open(t, dir, server, func(o *credential.Options) { o.Ahead = serves })
					for range 600 {
						if !serves {
							p = open(t, dir, server)
						}
						s, err := p.Get(t.Context())
						if err != nil {
							t.Fatal(err)
						}
						if left := time.Until(s.Expiration); left < c.atLeast-time.Minute {
							t.Fatalf("a session of %s with %s left", c.life, left)
						}
						time.Sleep(time.Minute)
					}
					p.Close()
					if n := server.count(); n < c.calls[0] || n > c.calls[1] {
						t.Errorf("%d requests, want %v", n, c.calls)
					}
				})
			})
		}
	}
}

// While the server is down an older session is given out down to 60 s, and not less.
func TestServerDown(t *testing.T) {
	t.Parallel()
	for _, serves := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), "cache")
		synctest.Test(t, func(t *testing.T) {
			server := &provider{life: time.Hour}
			p := open(t, dir, server, func(o *credential.Options) { o.Ahead = serves })
			first, err := p.Get(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			server.set(time.Hour, 0, errDown)
			for {
				if !serves {
					p = open(t, dir, server)
				}
				s, err := p.Get(t.Context())
				left := time.Until(first.Expiration)
				if gone := left <= time.Minute; gone != errors.Is(err, credential.ErrUnavailable) || !gone && err != nil {
					t.Fatalf("%s left: %v", left, err)
				}
				if err != nil {
					break
				}
				if s.AccessKeyID != first.AccessKeyID {
					t.Fatal("another session")
				}
				time.Sleep(7 * time.Second)
			}
			// It comes back, and within the longest pause all is well.
			server.set(time.Hour, 0, nil)
			time.Sleep(31 * time.Second)
			if _, err := p.Get(t.Context()); err != nil {
				t.Errorf("the server is there again: %v", err)
			}
		})
	}
}

// A server that takes its time does not hold up those who have something to go on with.
func TestSlowServer(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")
	synctest.Test(t, func(t *testing.T) {
		server := &provider{life: time.Hour}
		p := open(t, dir, server, ahead)
		get := func(most time.Duration) string {
			t.Helper()
			start := time.Now()
			s, err := p.Get(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if d := time.Since(start); d > most {
				t.Fatalf("an answer took %s", d)
			}
			return s.AccessKeyID
		}
		get(0)
		server.set(time.Hour, 20*time.Second, nil)
		time.Sleep(43 * time.Minute) // 17 are left: renewed in the background
		if id := get(0); id != "ASIA1" {
			t.Errorf("got %s", id)
		}
		time.Sleep(21 * time.Second)
		if id := get(0); id != "ASIA2" {
			t.Errorf("got %s after the renewal", id)
		}
		time.Sleep(50 * time.Minute) // 10 are left: waited for, a while
		if id := get(1500 * time.Millisecond); id != "ASIA2" {
			t.Errorf("got %s", id)
		}
	})
}

// However many ask at once, in however many processes, the server is asked once.
func TestSingleFlight(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")
	synctest.Test(t, func(t *testing.T) {
		server := &provider{life: time.Hour, takes: time.Second}
		var wg sync.WaitGroup
		for range 4 {
			p := open(t, dir, server)
			for range 8 {
				wg.Go(func() {
					if s, err := p.Get(t.Context()); err != nil || s.AccessKeyID != "ASIA1" {
						t.Errorf("%v, %v", s, err)
					}
				})
			}
		}
		wg.Wait()
		if n := server.count(); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}

// A failure is everybody's who waits for it, too.
func TestSingleFailure(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")
	synctest.Test(t, func(t *testing.T) {
		server := &provider{takes: time.Second, err: errDown}
		p := open(t, dir, server)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if _, err := p.Get(t.Context()); !errors.Is(err, credential.ErrUnavailable) {
					t.Errorf("got %v", err)
				}
			})
		}
		wg.Wait()
		if n := server.count(); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}

// How far the clock is off is known from the cache, before any answer.
func TestOffsetIsKept(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")
	synctest.Test(t, func(t *testing.T) {
		server := &provider{life: time.Hour}
		behind := func(o *credential.Options) { o.Endpoint = ahead24{server} }
		if _, err := open(t, dir, server, behind).Get(t.Context()); err != nil {
			t.Fatal(err)
		}
		k := clock.New(time.Now)
		if _, err := open(t, dir, server, func(o *credential.Options) { o.Clock = k }).Get(t.Context()); err != nil {
			t.Fatal(err)
		}
		if k.Offset() != 24*time.Hour || server.count() != 1 {
			t.Errorf("offset %s after %d requests", k.Offset(), server.count())
		}
	})
}

// ahead24 is a server whose clock is a day ahead of the device's.
type ahead24 struct{ p *provider }

func (a ahead24) Fetch(ctx context.Context) (*credential.Session, error) {
	s, err := a.p.Fetch(ctx)
	if err == nil {
		s.Expiration, s.Obtained = s.Expiration.Add(24*time.Hour), s.Obtained.Add(24*time.Hour)
	}
	return s, err
}

// One who goes away does not take the renewal with it.
func TestCallerLeaves(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")
	synctest.Test(t, func(t *testing.T) {
		server := &provider{life: time.Hour, takes: 5 * time.Second}
		p := open(t, dir, server)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.Get(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if _, err := p.Get(t.Context()); err != nil || server.count() != 1 {
			t.Errorf("%v after %d requests", err, server.count())
		}
		p.Close()
		time.Sleep(time.Hour)
		if _, err := p.Get(t.Context()); !errors.Is(err, context.Canceled) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// What a refusal does to the session that is there.
func TestRefusal(t *testing.T) {
	t.Parallel()
	for status, purges := range map[int]bool{400: false, 401: true, 403: true, 404: false} {
		dir := filepath.Join(t.TempDir(), "cache")
		synctest.Test(t, func(t *testing.T) {
			server := &provider{life: time.Hour}
			p := open(t, dir, server)
			if _, err := p.Get(t.Context()); err != nil {
				t.Fatal(err)
			}
			server.set(time.Hour, 0, &credential.RefusedError{Status: status})
			time.Sleep(43 * time.Minute)
			for range 3 {
				_, err := p.Get(t.Context())
				if e, ok := errors.AsType[*credential.RefusedError](err); !ok || e.Status != status {
					t.Errorf("%d: got %v", status, err)
				}
			}
			if server.count() != 2 {
				t.Errorf("%d: the server was asked %d times at once", status, server.count())
			}
			_, err := os.Lstat(filepath.Join(dir, "creds-id.json"))
			if errors.Is(err, fs.ErrNotExist) != purges {
				t.Errorf("%d: the cache: %v", status, err)
			}
			if _, err := os.Lstat(filepath.Join(dir, "creds-id.json.lock")); err != nil {
				t.Error(err)
			}
			// Not even a server that is down brings it back.
			server.set(time.Hour, 0, errDown)
			time.Sleep(6 * time.Second)
			if _, err := p.Get(t.Context()); (err != nil) != purges {
				t.Errorf("%d, then down: %v", status, err)
			}
		})
	}
}

// A process that hangs with the lock is waited for, not for ever.
func TestLockHeld(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")
	synctest.Test(t, func(t *testing.T) {
		server := &provider{life: time.Hour}
		cache, err := credential.OpenCache(dir, "id")
		if err != nil {
			t.Fatal(err)
		}
		unlock, err := cache.Lock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, err = open(t, dir, server).Get(t.Context())
		if !errors.Is(err, credential.ErrUnavailable) || !strings.Contains(err.Error(), "another process") || time.Since(start) > 31*time.Second {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		if err := unlock(); err != nil {
			t.Fatal(err)
		}
		if _, err := open(t, dir, server).Get(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A clock that is set while a session lasts never makes it last longer.
func TestClockIsSet(t *testing.T) {
	t.Parallel()
	for _, step := range []time.Duration{-24 * time.Hour, -10 * time.Minute, 24 * time.Hour, 50 * time.Minute} {
		dir := filepath.Join(t.TempDir(), "cache")
		server := &provider{life: time.Hour}
		if _, err := open(t, dir, server).Get(t.Context()); err != nil {
			t.Fatal(err)
		}
		set := func(o *credential.Options) {
			o.Clock = clock.New(func() time.Time { return time.Now().Add(step) })
		}
		if s, err := open(t, dir, server, set).Get(t.Context()); err != nil || s.AccessKeyID != "ASIA2" {
			t.Errorf("set by %s: %v, %v", step, s, err)
		}
	}
}

// What somebody else could have read or put there is refused, and the server not asked.
func TestCacheIsPrivate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(dir, file string) error
		want  string
	}{
		"folder for all":      {func(dir, _ string) error { return os.Chmod(dir, 0o755) }, "mode 0755"},
		"folder for a group":  {func(dir, _ string) error { return os.Chmod(dir, 0o750) }, "mode 0750"},
		"file for all":        {func(_, file string) error { return os.Chmod(file, 0o644) }, "mode 0644"},
		"a link for a file":   {func(_, file string) error { return errors.Join(os.Rename(file, file+"2"), os.Symlink(file+"2", file)) }, "read the cache"},
		"a folder for a file": {func(_, file string) error { return errors.Join(os.Remove(file), os.Mkdir(file, 0o700)) }, "is no file"},
		"a link for a folder": {func(dir, _ string) error { return errors.Join(os.Rename(dir, dir+"2"), os.Symlink(dir+"2", dir)) }, "is no folder"},
		"lock file for all":   {func(_, file string) error { return errors.Join(os.Remove(file), os.Chmod(file+".lock", 0o666)) }, "mode 0666"},
		"another's file":      {another, "belongs to another user"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "cache")
			server := &provider{life: time.Hour}
			if _, err := open(t, dir, server).Get(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := c.spoil(dir, filepath.Join(dir, "creds-id.json")); err != nil {
				if errors.Is(err, errors.ErrUnsupported) {
					return // it takes root to give a file away
				}
				t.Fatal(err)
			}
			cache, err := credential.OpenCache(dir, "id")
			if err == nil {
				p := credential.NewProvider(credential.Options{Endpoint: server, Cache: cache, Clock: clock.New(time.Now), Logger: slog.New(slog.DiscardHandler)})
				defer p.Close()
				_, err = p.Get(t.Context())
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || server.count() != 1 {
				t.Errorf("%v lacks %q; %d requests", err, c.want, server.count())
			}
		})
	}
}

func another(_, file string) error {
	if os.Geteuid() != 0 {
		return errors.ErrUnsupported
	}
	return os.Chown(file, 65534, 65534)
}

// A file that was cut or damaged is as good as none, and the next one replaces it.
func TestCacheDamaged(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")
	file := filepath.Join(dir, "creds-id.json")
	server := &provider{life: time.Hour}
	get := func() {
		t.Helper()
		if _, err := open(t, dir, server).Get(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	get()
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// What a process left that was killed while it wrote.
	if err := os.WriteFile(file+".new", whole[:10], 0o644); err != nil {
		t.Fatal(err)
	}
	damages := [][]byte{nil, whole[:len(whole)/2], bytes.Replace(whole, []byte(`"version":1`), []byte(`"version":2`), 1), bytes.Replace(whole, []byte(`"token"`), []byte(`""`), 1), []byte("null")}
	for i, b := range damages {
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		get()
		get()
		if want := i + 2; server.count() != want {
			t.Errorf("damage %d: %d requests, want %d", i, server.count(), want)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 {
		t.Errorf("%d files are left, %v", len(left), err)
	}
}

// What is logged has no secrets in it.
func TestSecretsStay(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		log := slog.New(slog.NewTextHandler(&said, nil))
		server := &provider{life: time.Hour}
		p := open(t, dir, server, func(o *credential.Options) { o.Logger = log })
		s, err := p.Get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		server.set(time.Hour, 0, errDown)
		time.Sleep(50 * time.Minute)
		if _, err := p.Get(t.Context()); err != nil {
			t.Fatal(err)
		}
		log.Info("a session", "session", s)
		fmt.Fprintf(&said, "%v %s %+v", s, s, s)
		if out := said.String(); strings.Contains(out, "secret") || strings.Contains(out, "token") || !strings.Contains(out, "older credentials are used") {
			t.Errorf("said: %s", out)
		}
	})
}
