package sqlstore_test

import (
	"testing"

	"github.com/sekisho-iot/sekisho/internal/sqlstore/storetest"
)

func TestIAM(t *testing.T) {
	t.Parallel()
	storetest.RunIAM(t, openSQLite)
}

func TestRoleAliases(t *testing.T) {
	t.Parallel()
	storetest.RunRoleAliases(t, openSQLite)
}
