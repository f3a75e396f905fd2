//go:build e2e

package e2e_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/jackc/pgx/v5"

	"github.com/sekisho-iot/sekisho/e2e/process"
)

// TestPostgresAway ends the database server under load, as a power cut would,
// and starts it again: what was acknowledged is there, and what was refused is
// not. When it stays away the server ends by itself.
func TestPostgresAway(t *testing.T) {
	t.Parallel()
	pg, err := process.StartPostgres(t.Context())
	check(t, err)
	t.Cleanup(func() { check(t, pg.Close()) })
	s := start(t, "--database", pg.URL)
	done := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	acked, failed := map[string]bool{}, map[string]bool{}
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				name := fmt.Sprintf("t%d-%d", w, i)
				_, err := s.iot.CreateThing(t.Context(), &iot.CreateThingInput{ThingName: &name})
				mu.Lock()
				if err == nil {
					acked[name] = true
				} else {
					failed[name] = true
				}
				mu.Unlock()
			}
		})
	}
	for range 3 {
		before := len(things(t, s))
		for len(things(t, s)) < before+50 { // until there is a load
		}
		check(t, pg.Crash())
		check(t, pg.Start(t.Context()))
	}
	close(done)
	wg.Wait()
	have := things(t, s)
	t.Logf("%d acknowledged, %d failed, %d there", len(acked), len(failed), len(have))
	for name := range acked {
		if !have[name] {
			t.Errorf("%s was acknowledged and is gone", name)
		}
	}
	for name := range failed {
		if have[name] {
			t.Errorf("%s had failed and is there", name)
		}
	}
	check(t, pg.Stop())
	code, err := s.Wait(30 * time.Second)
	if err != nil || code != 1 || !strings.Contains(s.Tail(20), "the database is lost") {
		t.Errorf("exit code %d, %v:\n%s", code, err, s.Tail(20))
	}
	if strings.Contains(s.Tail(1000), "only-for-tests") {
		t.Error("the log holds the database's password")
	}
	check(t, pg.Start(t.Context()))
	check(t, s.Restart(t.Context()))
	s.connect()
	if n := len(things(t, s)); n != len(have) {
		t.Errorf("%d things after the restart, %d before", n, len(have))
	}
}

// things reads the names of all things, as often as the database is away.
func things(t *testing.T, s *server) map[string]bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
again:
	names := map[string]bool{}
	pages := iot.NewListThingsPaginator(s.iot, &iot.ListThingsInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil && ctx.Err() == nil {
			goto again
		}
		check(t, err)
		for _, thing := range page.Things {
			names[*thing.ThingName] = true
		}
	}
	return names
}

// TestPostgresTLS speaks to a database server by TLS as the URL says.
func TestPostgresTLS(t *testing.T) {
	t.Parallel()
	pg, err := process.StartPostgres(t.Context())
	check(t, err)
	t.Cleanup(func() { check(t, pg.Close()) })
	secure := strings.Replace(pg.URL, "sslmode=disable", "sslmode=verify-full", 1)
	s := start(t, "--database", secure+"&sslrootcert="+pg.CA)
	check(t, second(s.iot.CreateThing(t.Context(), &iot.CreateThingInput{ThingName: new("pump")})))
	c, err := pgx.Connect(t.Context(), pg.URL)
	check(t, err)
	defer c.Close(t.Context()) //nolint:errcheck // it has done its work
	var plain, tls int
	check(t, c.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE NOT ssl), count(*) FILTER (WHERE ssl)
		FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'sekisho'`).Scan(&plain, &tls))
	if plain != 0 || tls < 2 {
		t.Errorf("%d sessions in the clear, %d by TLS", plain, tls)
	}
	bin, err := process.Binary()
	check(t, err)
	// Our own root CA did not issue the certificate of the database server.
	_, stderr, err := try(t, t.TempDir(), process.CleanEnv(), bin,
		process.Args(filepath.Join(t.TempDir(), "data"), "--database", secure+"&sslrootcert="+s.Env["SEKISHO_ROOT_CA"])...)
	wantExit(t, err, 1)
	if !strings.Contains(stderr, "certificate signed by unknown authority") || strings.Contains(stderr, "only-for-tests") {
		t.Errorf("the message is %q", stderr)
	}
}

// TestMigrateCommand takes a data folder to PostgreSQL and back with the command.
func TestMigrateCommand(t *testing.T) {
	t.Parallel()
	if os.Getenv("SEKISHO_TEST_POSTGRES") != "" {
		t.Skip("it begins on SQLite")
	}
	pg, err := process.StartPostgres(t.Context())
	check(t, err)
	t.Cleanup(func() { check(t, pg.Close()) })
	bin, err := process.Binary()
	check(t, err)
	dir := filepath.Join(t.TempDir(), "data")
	migrate := func(from, to string) (string, error) {
		cmd := exec.CommandContext(t.Context(), bin, "migrate", "--from", from, "--to", to)
		cmd.Env = process.CleanEnv()
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	s := startIn(t, dir)
	check(t, second(s.iot.CreateThing(t.Context(), &iot.CreateThingInput{ThingName: new("pump")})))
	if out, err := migrate(dir, pg.URL); err == nil || !strings.Contains(out, "in use by another sekisho") {
		t.Errorf("under a running server: %v: %s", err, out)
	}
	for _, step := range []struct {
		from, to string
		args     []string
	}{
		{dir, pg.URL, []string{"--database", pg.URL}},
		{pg.URL, dir, nil},
	} {
		_, err := s.Stop()
		check(t, err)
		if out, err := migrate(step.from, step.to); err != nil || !strings.Contains(out, "rows in") || strings.Contains(out, "only-for-tests") {
			t.Fatalf("%v: %s", err, out)
		}
		s = startIn(t, dir, step.args...)
		if have := things(t, s); !have["pump"] || len(have) != 1 {
			t.Errorf("after the way to %s: %v", step.to, have)
		}
	}
}
