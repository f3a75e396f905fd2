//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// writer overwrites its own few keys again and again. Every body is made from
// the writer's number and a counter, so that it can be made again to compare.
type writer struct {
	number    int
	size      int
	multipart bool
	counter   uint64
	keys      map[string]*history
}

// history is what a writer knows of one key.
type history struct {
	acked   uint64 // counter of the last body that was acknowledged; 0 for none
	pending uint64 // counter of a body whose fate is unknown; 0 for none
}

func (w *writer) body(counter uint64) []byte {
	b := make([]byte, w.size+int(counter%1000))
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], uint64(w.number))
	binary.LittleEndian.PutUint64(seed[8:], counter)
	_, _ = rand.NewChaCha8(seed).Read(b)
	return b
}

// run writes until ctx ends or the server is gone.
func (w *writer) run(ctx context.Context, c *s3.Client, bucket string, acks *atomic.Int64) {
	for ctx.Err() == nil {
		w.counter++
		key := fmt.Sprintf("w%03d/k%d", w.number, w.counter%3)
		h := w.keys[key]
		if h == nil {
			h = &history{}
			w.keys[key] = h
		}
		h.pending = w.counter
		if err := w.write(ctx, c, bucket, key, w.body(w.counter)); err != nil {
			return
		}
		h.acked, h.pending = w.counter, 0
		acks.Add(1)
	}
}

func (w *writer) write(ctx context.Context, c *s3.Client, bucket, key string, body []byte) error {
	if !w.multipart {
		return second(c.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(body)}))
	}
	upload, err := c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return err
	}
	var parts []s3types.CompletedPart
	for n := int32(1); len(body) > 0; n++ {
		piece := body[:min(len(body), 5<<20)]
		body = body[len(piece):]
		p, err := c.UploadPart(ctx, &s3.UploadPartInput{Bucket: &bucket, Key: &key, UploadId: upload.UploadId, PartNumber: &n, Body: bytes.NewReader(piece)})
		if err != nil {
			return err
		}
		parts = append(parts, s3types.CompletedPart{PartNumber: aws.Int32(n), ETag: p.ETag})
	}
	return second(c.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &bucket, Key: &key, UploadId: upload.UploadId, MultipartUpload: &s3types.CompletedMultipartUpload{Parts: parts},
	}))
}

// TestCrash kills the server in the middle of 200 concurrent PUTs and multipart
// uploads, starts it again, and finds every acknowledged object as it was
// acknowledged, nothing half written, and no file that belongs to no object.
// SEKISHO_E2E_CRASH_ROUNDS sets how often (default 3).
func TestCrash(t *testing.T) {
	t.Parallel()
	rounds := 3
	if v := os.Getenv("SEKISHO_E2E_CRASH_ROUNDS"); v != "" {
		var err error
		rounds, err = strconv.Atoi(v)
		check(t, err)
	}
	s := start(t)
	bucket := s.bucket(t)
	var writers []*writer
	for n := range 200 {
		w := &writer{number: n, size: 100 << (n % 10), keys: map[string]*history{}}
		w.multipart = n%4 == 0
		if n%40 == 0 {
			w.size = 6 << 20 // two parts
		}
		writers = append(writers, w)
	}
	for round := range rounds {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		var wg sync.WaitGroup
		var acks atomic.Int64
		for _, w := range writers {
			wg.Go(func() { w.run(ctx, s.s3, bucket, &acks) })
		}
		awaitAcks(t, &acks, int64(300+rand.IntN(500)))
		check(t, s.Kill())
		wg.Wait()
		cancel()
		begun := time.Now()
		check(t, s.Restart(t.Context()))
		t.Logf("round %d: %d acknowledged, ready again after %s", round, acks.Load(), time.Since(begun).Round(time.Millisecond))
		s.connect()
		files := s.verify(t, bucket, writers)
		if t.Failed() {
			return
		}
		if got := countFiles(t, filepath.Join(s.Dir, "objects"), files); got > files {
			t.Fatalf("round %d: %d files in the data folder, the objects need at most %d", round, got, files)
		}
	}
	for _, w := range writers {
		for key := range w.keys {
			_, err := s.s3.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: &key})
			check(t, err)
		}
	}
	if got := countFiles(t, filepath.Join(s.Dir, "objects"), 0); got != 0 {
		t.Errorf("%d files in the data folder after every object was deleted", got)
	}
}

func awaitAcks(t *testing.T, acks *atomic.Int64, want int64) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for acks.Load() < want {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("only %d of %d writes were acknowledged in 30 s", acks.Load(), want)
		}
	}
}

// verify compares every object with what its writer knows, aborts the uploads
// that were under way, and returns how many files the objects may occupy.
func (s *server) verify(t *testing.T, bucket string, writers []*writer) (files int) {
	t.Helper()
	listed := map[string]bool{}
	pages := s3.NewListObjectsV2Paginator(s.s3, &s3.ListObjectsV2Input{Bucket: &bucket})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		check(t, err)
		for _, o := range page.Contents {
			listed[*o.Key] = true
		}
	}
	for _, w := range writers {
		for key, h := range w.keys {
			found, parts := s.verifyObject(t, w, bucket, key, h)
			if found != listed[key] {
				t.Errorf("%s: found %t, listed %t", key, found, listed[key])
			}
			delete(listed, key)
			files += parts
		}
	}
	for key := range listed {
		t.Errorf("%s is listed and nobody wrote it", key)
	}
	uploads := s3.NewListMultipartUploadsPaginator(s.s3, &s3.ListMultipartUploadsInput{Bucket: &bucket})
	var open []s3types.MultipartUpload
	for uploads.HasMorePages() {
		page, err := uploads.NextPage(t.Context())
		check(t, err)
		open = append(open, page.Uploads...)
	}
	for _, u := range open {
		_, err := s.s3.AbortMultipartUpload(t.Context(), &s3.AbortMultipartUploadInput{Bucket: &bucket, Key: u.Key, UploadId: u.UploadId})
		check(t, err)
	}
	return files
}

func (s *server) verifyObject(t *testing.T, w *writer, bucket, key string, h *history) (found bool, parts int) {
	t.Helper()
	out, err := s.s3.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		if h.acked != 0 {
			t.Errorf("%s: body %d was acknowledged and is gone: %v", key, h.acked, err)
		} else {
			wantError(t, key, err, 404, "NoSuchKey")
		}
		h.pending = 0
		return false, 0
	}
	defer shut(t, out.Body)
	got := sum(t, out.Body)
	for _, counter := range []uint64{h.acked, h.pending} {
		if counter == 0 {
			continue
		}
		body := w.body(counter)
		if fmt.Sprintf("%x", sha256.Sum256(body)) == got {
			h.acked, h.pending = counter, 0
			return true, max(1, (len(body)+5<<20-1)/(5<<20))
		}
	}
	t.Errorf("%s (%d bytes) is neither the acknowledged body %d nor the pending one %d", key, aws.ToInt64(out.ContentLength), h.acked, h.pending)
	return true, 1
}

// countFiles counts the regular files under dir, until there are no more than
// expected or three seconds have passed: removals run behind a request's back.
func countFiles(t *testing.T, dir string, expected int) (n int) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		n = 0
		check(t, filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				n++
			}
			return nil // a file that is gone by now is no error
		}))
		if n <= expected || time.Now().After(deadline) {
			return n
		}
	}
}
