package servertest_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iot"

	"github.com/sekisho-iot/sekisho/internal/server"
	"github.com/sekisho-iot/sekisho/internal/servertest"
	"github.com/sekisho-iot/sekisho/internal/sqlstore/postgrestest"
)

// onPostgres has a server keep its state there.
func onPostgres(u string) func(*server.Options) {
	return func(o *server.Options) { o.Database = u }
}

func createThing(ctx context.Context, s *servertest.Server, name string) error {
	_, err := s.IoT.CreateThing(ctx, &iot.CreateThingInput{ThingName: &name})
	return err
}

// refused starts a second server on a folder and database, which must not work.
func refused(t *testing.T, o server.Options, why string) {
	t.Helper()
	second, err := server.New(t.Context(), o)
	if err == nil {
		t.Fatal("a second server started", second.Close())
	}
	if !strings.Contains(err.Error(), why) {
		t.Errorf("refused because of %v, not because %s", err, why)
	}
}

// Security rule 7: one server per database.
func TestRule7SecondServer(t *testing.T) {
	t.Parallel()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		s := servertest.Start(t)
		refused(t, s.Options(), "in use by another sekisho")
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		u := postgrestest.URL(t)
		s := servertest.Start(t, onPostgres(u))
		o := s.Options()
		refused(t, o, "in use by another sekisho")
		// A copy of the data folder passes for the folder itself.
		o.Data = filepath.Join(t.TempDir(), "data")
		if err := os.CopyFS(o.Data, os.DirFS(s.Data)); err != nil {
			t.Fatal(err)
		}
		refused(t, o, "another sekisho has this database")
		// Neither does one without parameters, under another name of the host.
		o.Database = strings.Replace(u, "127.0.0.1", "localhost", 1)
		refused(t, o, "another sekisho has this database")
		if err := createThing(t.Context(), s, "still-at-work"); err != nil {
			t.Error(err)
		}
	})
}

// A folder that a database does not belong to gets neither: its keys open
// nothing there, and its objects would be swept away.
func TestRule7OtherFolder(t *testing.T) {
	t.Parallel()
	u := postgrestest.URL(t)
	s := servertest.Start(t, onPostgres(u))
	s.Restart(func() {
		o := s.Options()
		o.Data = filepath.Join(t.TempDir(), "data")
		refused(t, o, "belongs to another data folder")
		o = s.Options()
		o.Database = ""
		refused(t, o, "belongs to a PostgreSQL database")
		o.Database = postgrestest.URL(t)
		refused(t, o, "it is empty")
	})
	plain := servertest.Start(t)
	plain.Restart(func() {
		o := plain.Options()
		o.Database = postgrestest.URL(t)
		refused(t, o, "has a database of its own")
	})
	if err := createThing(t.Context(), s, "still-at-work"); err != nil {
		t.Error(err)
	}
}

// lockQuery is how the server takes its lock, but that it waits.
const lockQuery = "SELECT pg_advisory_lock(24085, hashtext(current_schema()))"

// The server's session is ended under load while another one waits for its
// lock: from then on nothing is written, and the first one ends.
func TestRule7LostLock(t *testing.T) {
	t.Parallel()
	for _, stays := range []bool{true, false} {
		t.Run(fmt.Sprintf("the other one stays %v", stays), func(t *testing.T) {
			t.Parallel()
			lostLock(t, stays)
		})
	}
}

func lostLock(t *testing.T, stays bool) {
	t.Helper()
	u := postgrestest.URL(t)
	s := servertest.Start(t, onPostgres(u))
	other, admin := postgrestest.Connect(t, u), postgrestest.Connect(t, u)
	var acked atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if createThing(t.Context(), s, fmt.Sprintf("t%d-%d", w, i)) == nil {
					acked.Add(1)
				}
			}
		})
	}
	got := make(chan error, 1)
	go func() {
		_, err := other.Exec(t.Context(), lockQuery)
		got <- err
	}()
	const holder = `SELECT count(*), coalesce(max(pid) FILTER (WHERE granted), 0) FROM pg_locks
		WHERE locktype = 'advisory' AND classid = 24085 AND objid = (hashtext(current_schema())::bigint & 4294967295)::oid`
	var waiting, pid int
	for waiting < 2 {
		if err := admin.QueryRow(t.Context(), holder).Scan(&waiting, &pid); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := admin.Exec(t.Context(), "SELECT pg_terminate_backend($1)", pid); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	count := func() (n int) {
		if err := admin.QueryRow(t.Context(), "SELECT count(*) FROM things").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := count()
	if _, err := other.Exec(t.Context(), "UPDATE server_claim SET instance = 'another'"); err != nil {
		t.Fatal(err)
	}
	if !stays {
		if _, err := other.Exec(t.Context(), "SELECT pg_advisory_unlock_all()"); err != nil {
			t.Fatal(err)
		}
	}
	for _, addr := range []string{s.APIAddr(), s.DeviceAddr()} {
		await(t, func() bool { return !answers(t, s, addr) })
	}
	close(stop)
	wg.Wait()
	if after := count(); after != before {
		t.Errorf("%d things were written after the lock was lost", after-before)
	}
	if n := int(acked.Load()); n > before {
		t.Errorf("%d things acknowledged, %d written", n, before)
	}
}

// answers reports whether any HTTP answer comes from a port.
func answers(t *testing.T, s *servertest.Server, addr string) bool {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: s.TLS()}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+addr+"/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return true
}

func await(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(15 * time.Second)
	defer limit.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatal("it did not come to pass")
		}
	}
}
