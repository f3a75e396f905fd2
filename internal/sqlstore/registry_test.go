package sqlstore_test

import (
	"path/filepath"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/sqlstore"
	"github.com/sekisho-iot/sekisho/internal/sqlstore/postgrestest"
	"github.com/sekisho-iot/sekisho/internal/sqlstore/storetest"
)

func openSQLite(t *testing.T, announced func(iot.Change)) *sqlstore.DB {
	t.Helper()
	d, err := sqlstore.Open(t.Context(), sqlstore.Config{Path: filepath.Join(t.TempDir(), "test.db"), OnChange: announced})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func openPostgres(t *testing.T, announced func(iot.Change)) *sqlstore.DB {
	t.Helper()
	d, err := sqlstore.Open(t.Context(), sqlstore.Config{URL: postgrestest.URL(t), OnChange: announced})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// onEach runs a suite on each database: on PostgreSQL where there is one.
func onEach(t *testing.T, suite func(t *testing.T, open storetest.Opener)) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		suite(t, openSQLite)
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		postgrestest.Need(t)
		suite(t, openPostgres)
	})
}

func TestRegistry(t *testing.T) {
	t.Parallel()
	onEach(t, storetest.RunRegistry)
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	onEach(t, storetest.RunCertificates)
}
