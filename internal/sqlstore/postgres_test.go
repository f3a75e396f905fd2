package sqlstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/sqlstore/postgrestest"
)

func TestPlaceholders(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		"SELECT 1":                           "SELECT 1",
		"a = ? AND b IN (?, ?)":              "a = $1 AND b IN ($2, $3)",
		"a = '?' AND \"?\" = ? AND 'it''s?'": "a = '?' AND \"?\" = $1 AND 'it''s?'",
	} {
		if got := (&postgres{}).placeholders(query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

func TestErrorsShowNoPassword(t *testing.T) {
	t.Parallel()
	for _, u := range []string{
		"postgres://u:s3cret@h:notaport/d",
		"postgres://u:s3cret@127.0.0.1:1/d?sslmode=wrong",
		"postgres://u@127.0.0.1:1/d?password=s3cret&sslmode=wrong",
		"postgres://u:s3cr%zzs3cret@127.0.0.1:1/d",
		"postgres://u:s3cret@127.0.0.1:1/d?sslmode=disable", // nobody listens there
		"postgres://u:s3cret@/x@127.0.0.1:1/d?connect_timeout=x",
		"postgres://u:12/s3cret@127.0.0.1:1/d", // a port and a database, as it is written
		"mysql://u:s3cret@127.0.0.1/d",
	} {
		_, err := Open(t.Context(), Config{URL: u})
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", u, err)
		}
	}
}

// pids are the server's sessions of d, the writer's first.
func pids(t *testing.T, d *DB) []uint32 {
	t.Helper()
	list := []uint32{d.writer.pg.PgConn().PID()}
	for range cap(d.readers) {
		r := <-d.readers
		list = append(list, r.pg.PgConn().PID())
		d.readers <- r
	}
	return list
}

func TestDurabilityIsOnWhateverTheURLSays(t *testing.T) {
	t.Parallel()
	d := openWith(t, Config{URL: postgrestest.With(t, postgrestest.URL(t), "synchronous_commit", "off")})
	var v string
	err := d.write(t.Context(), func(x *tx) error {
		return x.queryRow("SELECT current_setting('synchronous_commit')").Scan(&v)
	})
	if err != nil || v != "on" {
		t.Errorf("synchronous_commit = %q, %v", v, err)
	}
}

func TestASwallowedFailureIsNoCommit(t *testing.T) {
	t.Parallel()
	d := openWith(t, Config{URL: postgrestest.URL(t)})
	if err := d.write(t.Context(), set("a", "1")); err != nil {
		t.Fatal(err)
	}
	err := d.write(t.Context(), func(x *tx) error {
		if err := set("b", "1")(x); err != nil {
			return err
		}
		_ = set("a", "2")(x)
		return nil
	})
	v, e := d.Setting(t.Context(), "b")
	if e != nil || (err == nil) != (v == "1") {
		t.Errorf("write: %v, and then b = %q, %v", err, v, e)
	}
}

func TestTextThatPostgresCannotHoldIsInvalid(t *testing.T) {
	t.Parallel()
	d := openWith(t, Config{URL: postgrestest.URL(t)})
	for _, name := range []string{"a\x00b", "a\xffb"} {
		if err := d.write(t.Context(), set(name, "1")); !iot.IsKind(err, iot.KindInvalid) {
			t.Errorf("write %q: %v", name, err)
		}
		if _, err := d.Setting(t.Context(), name); !iot.IsKind(err, iot.KindInvalid) {
			t.Errorf("read %q: %v", name, err)
		}
	}
}

func TestAReadSeesOneSnapshot(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		t.Helper()
		d := openWith(t, cfg)
		count := func(q querier) (n int) {
			if err := q.queryRow("SELECT count(*) FROM settings").Scan(&n); err != nil {
				t.Error(err)
			}
			return n
		}
		err := d.read(t.Context(), func(q querier) error {
			before := count(q)
			if err := d.write(t.Context(), set("a", "1")); err != nil {
				t.Error(err)
			}
			if after := count(q); after != before {
				t.Errorf("%d settings, then %d in the same snapshot", before, after)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// Every session is ended, again and again, under writers and readers: nobody
// is told a falsehood.
func TestSessionsThatAreEnded(t *testing.T) {
	t.Parallel()
	u := postgrestest.URL(t)
	d := openWith(t, Config{URL: u})
	admin := postgrestest.Connect(t, u)
	stopped := make(chan struct{})
	var mu sync.Mutex
	acked, failed := map[string]bool{}, map[string]error{}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stopped:
					return
				default:
				}
				name := fmt.Sprintf("w%d.%d", w, i)
				err := d.write(t.Context(), set(name, "1"))
				mu.Lock()
				if err == nil {
					acked[name] = true
				} else {
					failed[name] = err
				}
				mu.Unlock()
			}
		})
	}
	for range 20 {
		if _, err := admin.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'
			AND classid = $1 AND objid = (hashtext(current_schema())::bigint & 4294967295)::oid`, claimClass); err != nil {
			t.Fatal(err)
		}
		for range 20 { // some writes in between
			if err := d.write(t.Context(), func(*tx) error { return nil }); err != nil {
				mu.Lock()
				failed["empty"] = err
				mu.Unlock()
			}
		}
	}
	close(stopped)
	wg.Wait()
	t.Logf("%d writes acknowledged, %d failed", len(acked), len(failed))
	if len(acked) == 0 {
		t.Error("nothing was written")
	}
	for name := range acked {
		if v, err := d.Setting(t.Context(), name); err != nil || v != "1" {
			t.Errorf("%s was acknowledged and is %q, %v", name, v, err)
		}
	}
	for name, why := range failed {
		if v, err := d.Setting(t.Context(), name); err != nil || v != "" {
			t.Errorf("%s had failed (%v) and is %q, %v", name, why, v, err)
		}
	}
}

// Readers' sessions that are ended while they are idle are not noticed by callers.
func TestIdleReadersThatAreEnded(t *testing.T) {
	t.Parallel()
	u := postgrestest.URL(t)
	d := openWith(t, Config{URL: u})
	admin := postgrestest.Connect(t, u)
	for _, pid := range pids(t, d)[1:] {
		if _, err := admin.Exec(t.Context(), "SELECT pg_terminate_backend($1, 5000)", pid); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		if _, err := d.Setting(t.Context(), "a"); err != nil {
			t.Error(err)
		}
	}
}

// gate is a proxy before the database server that cuts connections at a COMMIT.
type gate struct {
	url  string
	cut  atomic.Int32  // what to do with the next COMMIT
	shut atomic.Bool   // no new connections
	dumb atomic.Bool   // no answers any more
	mute chan struct{} // until it is closed
}

const (
	pass      int32 = iota
	cutBefore       // the server never gets it
	cutAfter        // the server has done it, and nobody hears of it
)

func newGate(t *testing.T, u string) *gate {
	t.Helper()
	target, err := url.Parse(u)
	if err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g, server := &gate{mute: make(chan struct{})}, target.Host
	var wg sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		close(g.mute)
		wg.Wait()
	})
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if g.shut.Load() {
				_ = c.Close()
				continue
			}
			s, err := (&net.Dialer{}).Dial("tcp", server)
			if err != nil {
				t.Error(err)
				return
			}
			var cutting atomic.Bool
			wg.Go(func() { // answers
				defer c.Close() //nolint:errcheck // on purpose
				b := make([]byte, 64<<10)
				for {
					n, err := s.Read(b)
					if err != nil || cutting.Load() {
						return
					}
					if g.dumb.Load() {
						<-g.mute
					}
					if _, err := c.Write(b[:n]); err != nil {
						return
					}
				}
			})
			wg.Go(func() { // questions
				defer s.Close() //nolint:errcheck // on purpose
				b := make([]byte, 64<<10)
				for {
					n, err := c.Read(b)
					if err != nil {
						return
					}
					if bytes.Contains(b[:n], []byte("COMMIT\x00")) {
						switch g.cut.Swap(pass) {
						case cutBefore:
							_ = c.Close()
							return
						case cutAfter:
							cutting.Store(true)
						}
					}
					if _, err := s.Write(b[:n]); err != nil && !errors.Is(err, io.EOF) {
						return
					}
				}
			})
		}
	})
	target.Host = l.Addr().String()
	g.url = target.String()
	return g
}

// A commit whose answer is lost is asked after: what was done is not done
// again, and what was not done is.
func TestACommitWhoseAnswerIsLost(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]int32{"before": cutBefore, "after": cutAfter} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGate(t, postgrestest.URL(t))
			var announced atomic.Int32
			d := openWith(t, Config{URL: g.url, OnChange: func(iot.Change) { announced.Add(1) }})
			var calls atomic.Int32
			g.cut.Store(cut)
			err := d.write(t.Context(), func(x *tx) error {
				calls.Add(1)
				return set("a", "1")(x) // would fail where it is there already
			})
			if err != nil {
				t.Fatal(err)
			}
			if v, err := d.Setting(t.Context(), "a"); err != nil || v != "1" {
				t.Errorf("a = %q, %v", v, err)
			}
			if want := map[int32]int32{cutBefore: 2, cutAfter: 1}[cut]; calls.Load() != want {
				t.Errorf("ran %d times, want %d", calls.Load(), want)
			}
			if announced.Load() != 1 {
				t.Errorf("announced %d times", announced.Load())
			}
		})
	}
}

// Where nobody can be asked, the caller is told so, and the caches drop what may be old.
func TestACommitThatNobodyCanBeAskedAbout(t *testing.T) {
	t.Parallel()
	g := newGate(t, postgrestest.URL(t))
	announced := make(chan iot.Change, 1)
	d, err := Open(t.Context(), Config{URL: g.url, OnChange: func(c iot.Change) { announced <- c }})
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error)
	g.cut.Store(cutAfter)
	g.shut.Store(true)
	go func() { failed <- d.write(t.Context(), set("a", "1")) }()
	for g.cut.Load() != pass {
	}
	if err := d.Close(); err != nil { // does not wait for the whole grace
		t.Error(err)
	}
	if err := <-failed; !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("write: %v", err)
	}
	select {
	case <-announced:
	default:
		t.Error("not announced")
	}
	<-d.Lost()
	if err := d.LostBecause(); !iot.IsKind(err, iot.KindBusy) {
		t.Error(err)
	}
}

// A database server that says nothing does not hold a closing server up beyond
// the ten seconds that one has.
func TestCloseDoesNotWaitForAnswers(t *testing.T) {
	t.Parallel()
	g := newGate(t, postgrestest.URL(t))
	d, err := Open(t.Context(), Config{URL: g.url})
	if err != nil {
		t.Fatal(err)
	}
	begun, failed := make(chan struct{}), make(chan error, 2)
	go func() {
		failed <- d.write(t.Context(), func(x *tx) error {
			g.dumb.Store(true)
			close(begun)
			return set("a", "1")(x)
		})
	}()
	<-begun
	go func() {
		_, err := d.Setting(t.Context(), "a")
		failed <- err
	}()
	began := time.Now()
	_ = d.Close()
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("it took %s", took)
	}
	for range 2 {
		if err := <-failed; err == nil {
			t.Error("what nobody answered was called done")
		}
	}
}
