package sqlstore_test

import (
	"testing"

	"github.com/sekisho-iot/sekisho/internal/sqlstore/storetest"
)

func TestS3(t *testing.T) {
	t.Parallel()
	onEach(t, storetest.RunS3)
}
