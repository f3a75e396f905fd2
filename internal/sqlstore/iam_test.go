package sqlstore_test

import (
	"testing"

	"github.com/sekisho-iot/sekisho/internal/sqlstore/storetest"
)

func TestIAM(t *testing.T) {
	t.Parallel()
	onEach(t, storetest.RunIAM)
}

func TestRoleAliases(t *testing.T) {
	t.Parallel()
	onEach(t, storetest.RunRoleAliases)
}
