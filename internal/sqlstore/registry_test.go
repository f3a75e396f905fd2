package sqlstore_test

import (
	"path/filepath"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/sqlstore"
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

func TestRegistry(t *testing.T) {
	t.Parallel()
	storetest.RunRegistry(t, openSQLite)
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	storetest.RunCertificates(t, openSQLite)
}
