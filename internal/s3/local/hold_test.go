package local_test

import (
	"testing"

	"github.com/sekisho-iot/sekisho/internal/s3"
	"github.com/sekisho-iot/sekisho/internal/s3/local"
)

// TestHold: what is deleted stays on disk until the last one who holds lets go.
func TestHold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, -1)
	w.put(t, "a", []byte("first"))
	one, two := w.engine.Hold(), w.engine.Hold()
	w.put(t, "a", []byte("second"))
	if err := w.engine.Delete(t.Context(), &s3.DeleteInput{Bucket: w.bucket, Key: "a"}); err != nil {
		t.Fatal(err)
	}
	reap := func(want int) {
		t.Helper()
		if err := w.engine.Reap(t.Context()); err != nil {
			t.Fatal(err)
		}
		if files := w.dataFiles(t); len(files) != want {
			t.Fatalf("%d data files, want %d", len(files), want)
		}
	}
	reap(2)
	one()
	one()
	reap(2)
	two()
	reap(0)
	if _, err := w.engine.DataFile(local.ID{}); err == nil {
		t.Error("a file that is not there was opened")
	}
}
