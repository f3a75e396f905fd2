package local_test

import (
	"bytes"
	"crypto/rand"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/s3"
	"github.com/sekisho-iot/sekisho/internal/s3/local"
	"github.com/sekisho-iot/sekisho/internal/sqlstore"
)

// world is an engine over a real database in a folder of its own.
type world struct {
	dir    string
	db     *sqlstore.DB
	engine *local.Engine
	bucket *s3.Bucket

	mu  sync.Mutex // guards now
	now time.Time
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func newWorld(tb testing.TB, inline int) *world {
	tb.Helper()
	w := openWorld(tb, tb.TempDir(), inline)
	if err := w.db.Buckets().CreateBucket(tb.Context(), s3.BucketRecord{Name: w.bucket.Name, ID: w.bucket.ID, Created: w.now}); err != nil {
		tb.Fatal(err)
	}
	return w
}

func openWorld(tb testing.TB, dir string, inline int) *world {
	tb.Helper()
	w := &world{dir: dir, bucket: &s3.Bucket{Name: "bucket", ID: 7}, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	var err error
	if w.db, err = sqlstore.Open(tb.Context(), sqlstore.Config{Path: filepath.Join(dir, "test.db")}); err != nil {
		tb.Fatal(err)
	}
	w.engine, err = local.Open(tb.Context(), local.Config{
		Dir: filepath.Join(dir, "objects"), Store: w.db.Objects(), Inline: inline,
		Now: w.clock, Rand: rand.Reader, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { w.close(tb) })
	return w
}

func (w *world) close(tb testing.TB) {
	tb.Helper()
	if w.engine == nil {
		return
	}
	if err := w.engine.Close(); err != nil {
		tb.Error(err)
	}
	if err := w.db.Close(); err != nil {
		tb.Error(err)
	}
	w.engine = nil
}

func (w *world) put(tb testing.TB, key string, body []byte) *s3.Info {
	tb.Helper()
	in := &s3.PutInput{Bucket: w.bucket, Key: key}
	in.Body, in.Size = bytes.NewReader(body), int64(len(body))
	info, err := w.engine.Put(tb.Context(), in)
	if err != nil {
		tb.Fatalf("put %q: %v", key, err)
	}
	return info
}

// get returns the object's bytes, and false where there is no object.
func (w *world) get(tb testing.TB, in *s3.GetInput) ([]byte, *s3.Object, error) {
	tb.Helper()
	in.Bucket = w.bucket
	o, err := w.engine.Get(tb.Context(), in)
	if err != nil {
		return nil, nil, err
	}
	defer o.Body.Close() //nolint:errcheck // it is only read
	b, err := io.ReadAll(o.Body)
	return b, o, err
}

// dataFiles returns the paths of all data files.
func (w *world) dataFiles(tb testing.TB) []string {
	tb.Helper()
	var list []string
	err := filepath.WalkDir(filepath.Join(w.dir, "objects"), func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			list = append(list, strings.TrimPrefix(p, w.dir))
		}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return list
}

func copyTree(tb testing.TB, from, to string) {
	tb.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		tb.Error(err)
	}
}
