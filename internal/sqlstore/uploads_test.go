package sqlstore_test

import (
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/sqlstore"
	"github.com/sekisho-iot/sekisho/internal/sqlstore/storetest"
	"github.com/sekisho-iot/sekisho/internal/uploads"
)

func TestUploads(t *testing.T) {
	t.Parallel()
	onEach(t, storetest.RunUploads)
}

// Records of before they were counted are counted.
func TestUploadsAreCountedWhenTheyWereNot(t *testing.T) {
	t.Parallel()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "db")
	db, err := sqlstore.Open(t.Context(), sqlstore.Config{Path: path})
	ok(err)
	for _, thing := range []string{"", "", "", "a", "a", "a", "b"} {
		ok(db.Uploads().Add(t.Context(), []uploads.Record{{Thing: thing, Certificate: iot.CertificateID("c" + thing), Started: time.Now(), Finished: time.Now()}}))
	}
	ok(db.Close())
	raw, err := sql.Open("sqlite", path)
	ok(err)
	for _, undo := range []string{
		"DROP TABLE uploads_kept", "DROP INDEX uploads_without_thing", "ALTER TABLE uploads_state DROP COLUMN kept",
		"DELETE FROM schema_migrations WHERE version = 7",
	} {
		_, err := raw.ExecContext(t.Context(), undo)
		ok(err)
	}
	ok(raw.Close())
	db, err = sqlstore.Open(t.Context(), sqlstore.Config{Path: path})
	ok(err)
	defer db.Close() //nolint:errcheck // the test has ended
	for _, c := range []struct {
		r    uploads.Retention
		gone int64
	}{{uploads.Retention{PerThing: 2}, 2}, {uploads.Retention{All: 4}, 1}, {uploads.Retention{All: 4}, 0}} {
		if n, err := db.Uploads().Prune(t.Context(), c.r, 99); err != nil || n != c.gone {
			t.Errorf("%+v: %d are gone, %v, want %d", c.r, n, err, c.gone)
		}
	}
}
