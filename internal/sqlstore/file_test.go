package sqlstore_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/s3"
	"github.com/sekisho-iot/sekisho/internal/s3/local"
	"github.com/sekisho-iot/sekisho/internal/sqlstore"
)

// TestCopyFile: the copy of a database that is written to has what was
// acknowledged before, and names its data files.
func TestCopyFile(t *testing.T) {
	t.Parallel()
	ctx, dir := t.Context(), t.TempDir()
	path := filepath.Join(dir, "sekisho.db")
	db, err := sqlstore.Open(ctx, sqlstore.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // closed below
	bucket := &s3.Bucket{Name: "bucket", ID: 7}
	if err := db.Buckets().CreateBucket(ctx, s3.BucketRecord{Name: bucket.Name, ID: bucket.ID, Created: time.Unix(1, 0)}); err != nil {
		t.Fatal(err)
	}
	put := func(n, size int) error {
		r := &local.Record{Key: fmt.Sprintf("k%d", n), Size: int64(size), Layout: local.InFile, Headers: []byte("{}")}
		r.Version[0], r.Version[1] = byte(n>>8), byte(n)
		return db.Objects().PutObject(ctx, bucket, r, s3.WriteConditions{})
	}
	for n := range 100 {
		if err := put(n, n); err != nil {
			t.Fatal(err)
		}
	}
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for n := 1000; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := put(n, 1); err != nil {
				t.Error(err)
				return
			}
		}
	})
	to := filepath.Join(dir, "copy.db")
	err = sqlstore.CopyFile(ctx, path, to)
	close(stop)
	writer.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(to); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if err := sqlstore.CopyFile(ctx, path, to); err == nil {
		t.Error("a file was written over")
	}
	if err := sqlstore.CheckFile(ctx, to); err != nil {
		t.Fatal(err)
	}
	old, all := 0, int64(0)
	if err := sqlstore.DataFiles(ctx, to, func(id local.ID, size int64) error {
		all++
		if n := int(id[0])<<8 | int(id[1]); n < 100 && int64(n) == size {
			old++
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if old != 100 {
		t.Errorf("%d data files of 100", old)
	}
	if n, bytes, err := sqlstore.CountDataFiles(ctx, to); err != nil || n != all || bytes < 99*100/2 {
		t.Errorf("%d files of %d bytes, %v", n, bytes, err)
	}
}

func TestCheckFileRefuses(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "sekisho.db")
	if sqlstore.CheckFile(ctx, path) == nil {
		t.Error("no file is sound")
	}
	db, err := sqlstore.Open(ctx, sqlstore.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 4096; i < 8*4096; i += 64 { // pages of tables
		whole[i] ^= 0xff
	}
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if sqlstore.CheckFile(ctx, path) == nil {
		t.Error("a damaged file is sound")
	}
}
