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

func newWorld(t testing.TB, inline int) *world {
	t.Helper()
	w := openWorld(t, t.TempDir(), inline)
	if err := w.db.Buckets().CreateBucket(t.Context(), s3.BucketRecord{Name: w.bucket.Name, ID: w.bucket.ID, Created: w.now}); err != nil {
		t.Fatal(err)
	}
	return w
}

func openWorld(t testing.TB, dir string, inline int) *world {
	t.Helper()
	w := &world{dir: dir, bucket: &s3.Bucket{Name: "bucket", ID: 7}, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	var err error
	if w.db, err = sqlstore.Open(t.Context(), sqlstore.Config{Path: filepath.Join(dir, "test.db")}); err != nil {
		t.Fatal(err)
	}
	w.engine, err = local.Open(t.Context(), local.Config{
		Dir: filepath.Join(dir, "objects"), Store: w.db.Objects(), Inline: inline,
		Now: w.clock, Rand: rand.Reader, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.close(t) })
	return w
}

func (w *world) close(t testing.TB) {
	t.Helper()
	if w.engine == nil {
		return
	}
	if err := w.engine.Close(); err != nil {
		t.Error(err)
	}
	if err := w.db.Close(); err != nil {
		t.Error(err)
	}
	w.engine = nil
}

func (w *world) put(t testing.TB, key string, body []byte) *s3.Info {
	t.Helper()
	in := &s3.PutInput{Bucket: w.bucket, Key: key}
	in.Body, in.Size = bytes.NewReader(body), int64(len(body))
	info, err := w.engine.Put(t.Context(), in)
	if err != nil {
		t.Fatalf("put %q: %v", key, err)
	}
	return info
}

// get returns the object's bytes, and false where there is no object.
func (w *world) get(t testing.TB, in *s3.GetInput) ([]byte, *s3.Object, error) {
	t.Helper()
	in.Bucket = w.bucket
	o, err := w.engine.Get(t.Context(), in)
	if err != nil {
		return nil, nil, err
	}
	defer o.Body.Close()
	b, err := io.ReadAll(o.Body)
	return b, o, err
}

// dataFiles returns the paths of all data files.
func (w *world) dataFiles(t testing.TB) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(filepath.Join(w.dir, "objects"), func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			list = append(list, strings.TrimPrefix(p, w.dir))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func copyTree(t testing.TB, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Error(err)
	}
}
