package sqlstore_test

import (
	"testing"

	"github.com/sekisho-iot/sekisho/internal/sqlstore/storetest"
)

func TestUploads(t *testing.T) {
	t.Parallel()
	storetest.RunUploads(t, openSQLite)
}
