package servertest_test

import (
	"crypto/rand"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iot"

	"github.com/sekisho-iot/sekisho/internal/backup"
	"github.com/sekisho-iot/sekisho/internal/server"
	"github.com/sekisho-iot/sekisho/internal/servertest"
	"github.com/sekisho-iot/sekisho/internal/sqlstore/postgrestest"
)

// TestMigrateBackup: a backup of a server on PostgreSQL is restored to a folder
// with a database of its own, and can go to another PostgreSQL from there.
func TestMigrateBackup(t *testing.T) {
	t.Parallel()
	first, second := postgrestest.URL(t), postgrestest.URL(t)
	s := servertest.Start(t, func(o *server.Options) { o.Database = first })
	s.Fleet()
	d := s.Enrol("pump")
	session := retrieve(t, d.Session())
	must(t, putBody(t, s.S3, "pump/a"))
	transfer, err := backup.NewTransfer()
	must(t, err)
	sent, err := s.Backup(servertest.Admin(), transfer.Recipient())
	must(t, err)
	plain, err := transfer.Open(sent)
	must(t, err)
	dir := filepath.Join(t.TempDir(), "restored")
	_, err = server.Restore(t.Context(), plain, dir, rand.Reader, time.Now)
	must(t, err)
	must(t, sent.Close())
	looks := func(two *servertest.Server) {
		t.Helper()
		_, err := two.IoT.DescribeThing(t.Context(), &iot.DescribeThingInput{ThingName: &d.Thing})
		must(t, err)
		must(t, putBody(t, two.S3As(credentials.NewStaticCredentialsProvider(session.AccessKeyID, session.SecretAccessKey, session.SessionToken)), "pump/b"))
		if two.Known(d).Session() == nil {
			t.Error("no credentials")
		}
	}
	two := servertest.Start(t, func(o *server.Options) { o.Data = dir })
	looks(two)
	two.RestartWith(func(o *server.Options) {
		_, err := server.Migrate(t.Context(), dir, second, rand.Reader)
		must(t, err)
		o.Database = second
	})
	looks(two)
}
