package servertest_test

import (
	"crypto/rand"
	"io"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sekisho-iot/sekisho/internal/server"
	"github.com/sekisho-iot/sekisho/internal/servertest"
	"github.com/sekisho-iot/sekisho/internal/sqlstore/postgrestest"
)

func migrate(t *testing.T, from, to string) {
	t.Helper()
	m, err := server.Migrate(t.Context(), from, to, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if m.Rows < 15 || m.Tables < 20 {
		t.Errorf("copied %+v", m)
	}
}

func mustNotMigrate(t *testing.T, from, to, why string) {
	t.Helper()
	if _, err := server.Migrate(t.Context(), from, to, rand.Reader); err == nil || !strings.Contains(err.Error(), why) {
		t.Errorf("migrate: %v, and not %s", err, why)
	}
}

// The main job begins on SQLite, goes on in PostgreSQL, in another database
// there, and on SQLite again: with the sessions of before, since the keys stay.
func TestMigrate(t *testing.T) {
	t.Parallel()
	first, second := postgrestest.URL(t), postgrestest.URL(t)
	s := servertest.Start(t)
	s.Fleet()
	d := s.Enrol("pump")
	session := d.Session()
	body := strings.Repeat("data", 100_000) // a file of its own
	for n, step := range []struct{ from, to, again string }{
		{s.Data, first, "belongs to a PostgreSQL database"},
		{first, second, "the target is not empty"},
		{second, s.Data, "has a database of its own"},
	} {
		key := "pump/" + string(rune('a'+n))
		if _, err := s.S3As(session).PutObject(t.Context(), &s3.PutObjectInput{
			Bucket: aws.String(servertest.Bucket), Key: &key, Body: strings.NewReader(body),
		}); err != nil {
			t.Fatal(err)
		}
		mustNotMigrate(t, step.from, step.to, "another sekisho") // it is running
		s.RestartWith(func(o *server.Options) {
			migrate(t, step.from, step.to)
			mustNotMigrate(t, step.from, step.to, step.again)
			o.Database = ""
			if step.to != s.Data {
				o.Database = step.to
			}
			if n == 1 { // what was left behind must not be taken up again
				stale := *o
				stale.Database = first
				refused(t, stale, "belongs to another data folder")
			}
		})
		if code := servertest.Code(put(t, s.S3As(session), "valve/a")); code != "AccessDenied" {
			t.Error(code)
		}
		for i := range n + 1 {
			got, err := s.S3.GetObject(t.Context(), &s3.GetObjectInput{
				Bucket: aws.String(servertest.Bucket), Key: aws.String("pump/" + string(rune('a'+i))),
			})
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(got.Body)
			if err != nil || string(b) != body {
				t.Errorf("object %d: %d bytes, %v", i, len(b), err)
			}
		}
		if err := put(t, s.S3As(d.Session()), "pump/again"); err != nil { // credentials anew
			t.Error(err)
		}
	}
}

// The old database is not let go before it is marked: a server that a
// supervisor keeps restarting would take it up, and go on where nobody looks.
func TestMigrateKeepsTheSourceUntilItIsMarked(t *testing.T) {
	t.Parallel()
	first, second := postgrestest.URL(t), postgrestest.URL(t)
	s := servertest.Start(t)
	s.RestartWith(func(o *server.Options) {
		if _, err := server.Migrate(t.Context(), s.Data, first, rand.Reader); err != nil {
			t.Fatal(err)
		}
		for _, statement := range []string{
			"CREATE SEQUENCE claims",
			"CREATE FUNCTION claimed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('claims'); RETURN NEW; END $$",
			"CREATE TRIGGER claimed BEFORE UPDATE ON server_claim FOR EACH ROW EXECUTE FUNCTION claimed()",
		} {
			postgrestest.Exec(t, first, statement)
		}
		if _, err := server.Migrate(t.Context(), first, second, rand.Reader); err != nil {
			t.Fatal(err)
		}
		o.Database = second
	})
	var claims int64
	if err := postgrestest.Connect(t, first).QueryRow(t.Context(), "SELECT last_value FROM claims").Scan(&claims); err != nil || claims != 1 {
		t.Errorf("claimed %d times, %v", claims, err)
	}
}
