package local_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/s3"
)

// A crash at any step leaves the old object or the new one, and after the next
// start nothing else. The folder as it stands at each step is what a process
// finds that starts after the crash.
func TestCrashAtEveryStep(t *testing.T) {
	t.Parallel()
	for _, size := range []int{10, 50 << 10, 1 << 20} {
		old, fresh := pattern(1, size), pattern(2, size)
		for name, act := range map[string]func(w *world) error{
			"put": func(w *world) error {
				in := &s3.PutInput{Bucket: w.bucket, Key: "k"}
				in.Body, in.Size = bytes.NewReader(fresh), int64(size)
				_, err := w.engine.Put(t.Context(), in)
				return err
			},
			"copy": func(w *world) error {
				_, err := w.engine.Copy(t.Context(), &s3.CopyInput{From: w.bucket, FromKey: "fresh", Bucket: w.bucket, Key: "k"})
				return err
			},
			"delete": func(w *world) error {
				return w.engine.Delete(t.Context(), &s3.DeleteInput{Bucket: w.bucket, Key: "k"})
			},
			"upload": func(w *world) error { return upload(t, w, fresh) },
		} {
			t.Run(fmt.Sprintf("%s of %d", name, size), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, 0)
				w.put(t, "k", old)
				w.put(t, "fresh", fresh)
				root := t.TempDir()
				var mu sync.Mutex // guards steps: the reaper takes some
				steps := 0
				w.engine.SetHook(func(step string) {
					mu.Lock()
					defer mu.Unlock()
					dir := filepath.Join(root, fmt.Sprintf("%d-%s", steps, step))
					steps++
					copyTree(t, w.dir, dir)
				})
				if err := act(w); err != nil {
					t.Fatal(err)
				}
				if err := w.engine.Reap(t.Context()); err != nil {
					t.Fatal(err)
				}
				w.close(t)
				crashed, err := filepath.Glob(filepath.Join(root, "*"))
				if err != nil || len(crashed) == 0 && name != "delete" {
					t.Fatal(crashed, err)
				}
				for _, dir := range append(crashed, w.dir) {
					afterCrash(t, dir, name, old, fresh)
				}
			})
		}
	}
}

func afterCrash(t *testing.T, dir, name string, old, fresh []byte) {
	t.Helper()
	w := openWorld(t, dir, 0)
	defer w.close(t)
	w.engine.Sweep(t.Context())
	if err := w.engine.Reap(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, _, err := w.get(t, &s3.GetInput{Key: "k"})
	switch {
	case bytes.Equal(got, old) || bytes.Equal(got, fresh):
	case name == "delete" && iot.IsKind(err, iot.KindNotFound):
	default:
		t.Errorf("%s: %d bytes, %v", filepath.Base(dir), len(got), err)
	}
	if got, _, err := w.get(t, &s3.GetInput{Key: "fresh"}); err != nil || !bytes.Equal(got, fresh) {
		t.Errorf("%s: the bystander has %d bytes, %v", filepath.Base(dir), len(got), err)
	}
	page, err := w.engine.ListUploads(t.Context(), &s3.ListUploadsInput{Bucket: w.bucket, Max: 10})
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range page.Uploads {
		if err := w.engine.AbortUpload(t.Context(), s3.UploadRef{Bucket: w.bucket, Key: u.Key, ID: u.ID}); err != nil {
			t.Error(err)
		}
	}
	for _, key := range []string{"k", "fresh"} {
		if err := w.engine.Delete(t.Context(), &s3.DeleteInput{Bucket: w.bucket, Key: key}); err != nil {
			t.Error(err)
		}
	}
	if err := w.engine.Reap(t.Context()); err != nil {
		t.Fatal(err)
	}
	if files := w.dataFiles(t); len(files) != 0 {
		t.Errorf("%s: orphans: %v", filepath.Base(dir), files)
	}
}

// upload stores body under k as an upload of one part, which was sent twice.
func upload(t *testing.T, w *world, body []byte) error {
	t.Helper()
	u, err := w.engine.CreateUpload(t.Context(), &s3.CreateUploadInput{Bucket: w.bucket, Key: "k"})
	if err != nil {
		return err
	}
	ref := s3.UploadRef{Bucket: w.bucket, Key: "k", ID: u.ID}
	var tag string
	for range 2 {
		part := &s3.PutPartInput{UploadRef: ref, Number: 3}
		part.Body, part.Size = bytes.NewReader(body), int64(len(body))
		p, err := w.engine.PutPart(t.Context(), part)
		if err != nil {
			return err
		}
		tag = p.ETag
	}
	extra := &s3.PutPartInput{UploadRef: ref, Number: 9}
	extra.Body, extra.Size = strings.NewReader("not listed"), -1
	if _, err := w.engine.PutPart(t.Context(), extra); err != nil {
		return err
	}
	_, err = w.engine.CompleteUpload(t.Context(), &s3.CompleteInput{UploadRef: ref, Size: -1, Parts: []s3.CompletePart{{Number: 3, ETag: tag}}})
	return err
}

// The sweep spares what belongs to uploads that are under way.
func TestSweepSparesTheLiving(t *testing.T) {
	t.Parallel()
	w := newWorld(t, -1)
	w.put(t, "k", []byte("old"))
	u, err := w.engine.CreateUpload(t.Context(), &s3.CreateUploadInput{Bucket: w.bucket, Key: "u"})
	if err != nil {
		t.Fatal(err)
	}
	part := &s3.PutPartInput{UploadRef: s3.UploadRef{Bucket: w.bucket, Key: "u", ID: u.ID}, Number: 1}
	part.Body, part.Size = strings.NewReader("part"), 4
	if _, err := w.engine.PutPart(t.Context(), part); err != nil {
		t.Fatal(err)
	}
	w.close(t)
	w = openWorld(t, w.dir, -1)
	in := &s3.PutInput{Bucket: w.bucket, Key: "fresh"}
	in.Body, in.Size = strings.NewReader("fresh"), 5
	w.engine.SetHook(func(step string) {
		if step == "durable" {
			w.engine.Sweep(t.Context())
		}
	})
	if _, err := w.engine.Put(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"k": "old", "fresh": "fresh"} {
		if got, _, err := w.get(t, &s3.GetInput{Key: key}); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", key, got, err)
		}
	}
	if n := len(w.dataFiles(t)); n != 3 {
		t.Errorf("%d data files, not 3", n)
	}
}
