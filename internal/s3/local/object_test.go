package local_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/s3"
)

func pattern(seed byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7) ^ byte(i>>8) ^ seed
	}
	return b
}

// sizes cross the limits of inline objects and of buffers.
func sizes() []int { return []int{0, 1, 16 << 10, 16<<10 + 1, 256 << 10, 256<<10 + 1, 1<<20 + 7} }

func TestPutGet(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	for i, n := range sizes() {
		body := pattern(byte(i), n)
		key := fmt.Sprintf("k/%d", n)
		info := w.put(t, key, body)
		sum := md5.Sum(body)
		if info.ETag != hex.EncodeToString(sum[:]) || info.Size != int64(n) {
			t.Errorf("%d: %+v", n, info)
		}
		got, o, err := w.get(t, &s3.GetInput{Key: key})
		if err != nil || !bytes.Equal(got, body) || o.Partial || o.Length != int64(n) || o.ETag != info.ETag || !o.Modified.Equal(w.now) {
			t.Errorf("%d: got %d bytes, %+v, %v", n, len(got), o, err)
		}
		for _, r := range []s3.Range{{First: 0, Last: 0}, {First: 1, Last: int64(n / 2)}, {First: int64(n / 2), Last: -1}, {Suffix: 3, IsSuffix: true}} {
			offset, length, want := r.Resolve(int64(n))
			got, o, err := w.get(t, &s3.GetInput{Key: key, Range: &r})
			if want != nil {
				if err == nil {
					t.Errorf("%d %+v: no error", n, r)
				}
				continue
			}
			if err != nil || !bytes.Equal(got, body[offset:offset+length]) || !o.Partial {
				t.Errorf("%d %+v: %d bytes, %v", n, r, len(got), err)
			}
			var out bytes.Buffer
			o, err = w.engine.Get(t.Context(), &s3.GetInput{Bucket: w.bucket, Key: key, Range: &r})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := o.Body.WriteTo(&out); err != nil || !bytes.Equal(out.Bytes(), body[offset:offset+length]) {
				t.Errorf("%d %+v: wrote %d bytes, %v", n, r, out.Len(), err)
			}
			_ = o.Body.Close()
		}
	}
}

func TestKeysAreBytes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	keys := []string{
		"x", "x/", "x/y", "x//y", "x/./y", "x/../y", "../x", "/x", "//", ".", "..", "%2F", "x%2Fy", "a+b", "a b", "é", "e\u0301",
		"\x00", "\xff\xfe", strings.Repeat("k", 1024), "tab\tnewline\n", "x\\y",
	}
	for _, k := range keys {
		w.put(t, k, []byte("body of "+k))
	}
	for _, k := range keys {
		if got, _, err := w.get(t, &s3.GetInput{Key: k}); err != nil || string(got) != "body of "+k {
			t.Errorf("%q: %q, %v", k, got, err)
		}
	}
	page, err := w.engine.List(t.Context(), &s3.ListInput{Bucket: w.bucket, Max: 1000})
	if err != nil || len(page.Objects) != len(keys) {
		t.Errorf("listed %d of %d, %v", len(page.Objects), len(keys), err)
	}
}

func TestHeadersAndChecksum(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	h := s3.Headers{
		ContentType: "text/x", CacheControl: "c", ContentDisposition: "d", ContentEncoding: "e", ContentLanguage: "l",
		Expires: "x", Meta: map[string]string{"a": "ä", "b-c": ""},
	}
	in := &s3.PutInput{Bucket: w.bucket, Key: "k", Headers: h}
	in.Body, in.Size, in.Algorithm = strings.NewReader("123456789"), -1, s3.AlgorithmCRC32
	in.Trailer = func() string { return "y/Q5Jg==" }
	sum := md5.Sum([]byte("123456789"))
	in.MD5 = sum[:]
	if _, err := w.engine.Put(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	_, o, err := w.get(t, &s3.GetInput{Key: "k"})
	if err != nil || fmt.Sprint(o.Headers) != fmt.Sprint(h) || o.Checksum != (s3.Checksum{Algorithm: "CRC32", Type: s3.FullObject, Value: "y/Q5Jg=="}) {
		t.Errorf("%+v, %v", o, err)
	}
}

// What does not arrive as announced leaves the old object and nothing else.
func TestRefusedPuts(t *testing.T) {
	t.Parallel()
	broken := errors.New("a bad last chunk")
	for _, size := range []int{100, 300 << 10} {
		w := newWorld(t, 0)
		old := w.put(t, "k", pattern(1, size))
		before := len(w.dataFiles(t))
		body := pattern(2, size)
		for name, change := range map[string]func(in *s3.PutInput){
			"body fails at the end": func(in *s3.PutInput) {
				in.Body = io.MultiReader(bytes.NewReader(body), iotest.ErrReader(broken))
			},
			"body fails at once": func(in *s3.PutInput) { in.Body = iotest.ErrReader(broken) },
			"cut off":            func(in *s3.PutInput) { in.Body = bytes.NewReader(body[:size-1]) },
			"too long":           func(in *s3.PutInput) { in.Size-- },
			"md5":                func(in *s3.PutInput) { in.MD5 = make([]byte, 16) },
			"checksum":           func(in *s3.PutInput) { in.Algorithm, in.Want = s3.AlgorithmCRC32, "AAAAAA==" },
			"trailer": func(in *s3.PutInput) {
				in.Algorithm, in.Trailer = s3.AlgorithmCRC32, func() string { return "AAAAAA==" }
			},
			"trailer that is none": func(in *s3.PutInput) {
				in.Algorithm, in.Trailer = s3.AlgorithmCRC32, func() string { return "A" }
			},
			"revoked":       func(in *s3.PutInput) { in.BeforeCommit = func(context.Context) error { return broken } },
			"exists":        func(in *s3.PutInput) { in.If.IfNoneMatch = true },
			"another etag":  func(in *s3.PutInput) { in.If.IfMatch = "0123" },
			"bucket gone":   func(in *s3.PutInput) { in.Bucket = &s3.Bucket{Name: "gone", ID: 99} },
			"no key to be":  func(in *s3.PutInput) { in.Key, in.If.IfMatch = "other", "*" },
			"wrong in both": func(in *s3.PutInput) { in.MD5, in.Size = make([]byte, 16), 1 },
		} {
			in := &s3.PutInput{Bucket: w.bucket, Key: "k"}
			in.Body, in.Size = bytes.NewReader(body), int64(size)
			change(in)
			if _, err := w.engine.Put(t.Context(), in); err == nil {
				t.Errorf("%d %s: no error", size, name)
			}
			got, o, err := w.get(t, &s3.GetInput{Key: "k"})
			if err != nil || o.ETag != old.ETag || !bytes.Equal(got, pattern(1, size)) {
				t.Errorf("%d %s: the old object is %+v, %v", size, name, o, err)
			}
			if n := len(w.dataFiles(t)); n != before {
				t.Errorf("%d %s: %d data files, not %d", size, name, n, before)
			}
		}
	}
}

func TestFailingDisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	w.put(t, "k", pattern(1, 100<<10))
	w.put(t, "small", pattern(1, 10))
	keep := filepath.Join(w.dir, "elsewhere")
	if err := os.Rename(filepath.Join(w.dir, "objects"), keep); err != nil {
		t.Fatal(err)
	}
	in := &s3.PutInput{Bucket: w.bucket, Key: "k"}
	in.Body, in.Size = bytes.NewReader(pattern(2, 100<<10)), 100<<10
	_, err := w.engine.Put(t.Context(), in)
	if _, callers := errors.AsType[*iot.Error](err); err == nil || callers {
		t.Errorf("a put without a disk: %v", err)
	}
	if err := os.Rename(keep, filepath.Join(w.dir, "objects")); err != nil {
		t.Fatal(err)
	}
	if got, _, err := w.get(t, &s3.GetInput{Key: "k"}); err != nil || !bytes.Equal(got, pattern(1, 100<<10)) {
		t.Errorf("the old object: %d bytes, %v", len(got), err)
	}
}

func TestOverwriteAndDelete(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	list := sizes()
	for _, a := range list {
		for _, b := range list {
			w.put(t, "k", pattern(1, a))
			reader, err := w.engine.Get(t.Context(), &s3.GetInput{Bucket: w.bucket, Key: "k"})
			if err != nil {
				t.Fatal(err)
			}
			w.put(t, "k", pattern(2, b))
			if err := w.engine.Reap(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(reader.Body); err != nil || !bytes.Equal(got, pattern(1, a)) {
				t.Errorf("%d then %d: a reader of the old object gets %d bytes, %v", a, b, len(got), err)
			}
			_ = reader.Body.Close()
			if got, _, err := w.get(t, &s3.GetInput{Key: "k"}); err != nil || !bytes.Equal(got, pattern(2, b)) {
				t.Errorf("%d then %d: %d bytes, %v", a, b, len(got), err)
			}
		}
	}
	for range 2 {
		if err := w.engine.Delete(t.Context(), &s3.DeleteInput{Bucket: w.bucket, Key: "k"}); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := w.get(t, &s3.GetInput{Key: "k"}); !iot.IsKind(err, iot.KindNotFound) {
		t.Errorf("deleted: %v", err)
	}
	if err := w.engine.Reap(t.Context()); err != nil {
		t.Fatal(err)
	}
	if files := w.dataFiles(t); len(files) != 0 {
		t.Errorf("left behind: %v", files)
	}
	err := w.engine.Delete(t.Context(), &s3.DeleteInput{Bucket: w.bucket, Key: "k", If: s3.WriteConditions{IfMatch: "x"}})
	if !iot.IsKind(err, iot.KindNotFound) {
		t.Errorf("a conditional deletion of nothing: %v", err)
	}
}

func TestConditionalWritesHaveOneWinner(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	race := func(cond s3.WriteConditions, size int) (won int) {
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				in := &s3.PutInput{Bucket: w.bucket, Key: "k", If: cond}
				body := pattern(byte(i), size)
				in.Body, in.Size = bytes.NewReader(body), int64(size)
				_, err := w.engine.Put(t.Context(), in)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won++
				} else if !iot.IsKind(err, iot.KindPrecondition) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		return won
	}
	if won := race(s3.WriteConditions{IfNoneMatch: true}, 20<<10); won != 1 {
		t.Errorf("%d made the object", won)
	}
	_, o, err := w.get(t, &s3.GetInput{Key: "k"})
	if err != nil {
		t.Fatal(err)
	}
	if won := race(s3.WriteConditions{IfMatch: `"` + o.ETag + `"`}, 10); won != 1 {
		t.Errorf("%d replaced the object", won)
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	list := []int{100, 40 << 10, 300 << 10}
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			for n := range 30 {
				key := fmt.Sprintf("k%d", n%3)
				switch (i + n) % 4 {
				case 0, 1:
					size := list[(i+n)%len(list)]
					in := &s3.PutInput{Bucket: w.bucket, Key: key}
					in.Body, in.Size = bytes.NewReader(pattern(byte(i), size)), int64(size)
					if _, err := w.engine.Put(t.Context(), in); err != nil {
						t.Error(err)
					}
				case 2:
					got, o, err := w.get(t, &s3.GetInput{Key: key})
					if iot.IsKind(err, iot.KindNotFound) {
						continue
					}
					if err != nil {
						t.Error(err)
						continue
					}
					if sum := md5.Sum(got); hex.EncodeToString(sum[:]) != o.ETag {
						t.Errorf("%s: the bytes of one object under the tag of another", key)
					}
				case 3:
					if err := w.engine.Delete(t.Context(), &s3.DeleteInput{Bucket: w.bucket, Key: key}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	for n := range 3 {
		if err := w.engine.Delete(t.Context(), &s3.DeleteInput{Bucket: w.bucket, Key: fmt.Sprintf("k%d", n)}); err != nil {
			t.Error(err)
		}
	}
	if err := w.engine.Reap(t.Context()); err != nil {
		t.Fatal(err)
	}
	if files := w.dataFiles(t); len(files) != 0 {
		t.Errorf("left behind: %v", files)
	}
}

func TestCopy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	for _, n := range sizes() {
		body := pattern(9, n)
		in := &s3.PutInput{Bucket: w.bucket, Key: "from", Headers: s3.Headers{ContentType: "text/plain"}}
		in.Body, in.Size, in.Algorithm = bytes.NewReader(body), int64(n), s3.AlgorithmCRC32
		source, err := w.engine.Put(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		w.advance(time.Minute)
		for _, a := range []s3.Algorithm{s3.AlgorithmNone, s3.AlgorithmSHA256} {
			info, err := w.engine.Copy(t.Context(), &s3.CopyInput{From: w.bucket, FromKey: "from", Bucket: w.bucket, Key: "to", Algorithm: a})
			if err != nil {
				t.Fatal(err)
			}
			got, o, err := w.get(t, &s3.GetInput{Key: "to"})
			if err != nil || !bytes.Equal(got, body) || info.ETag != source.ETag || o.Headers.ContentType != "text/plain" || !o.Modified.Equal(w.clock()) {
				t.Errorf("%d: %d bytes, %+v, %v", n, len(got), o, err)
			}
			if a == s3.AlgorithmNone && o.Checksum != source.Checksum || a != s3.AlgorithmNone && o.Checksum.Algorithm != a {
				t.Errorf("%d: the copy has %v", n, o.Checksum)
			}
		}
		// Onto itself with other headers, and then without its source.
		if _, err := w.engine.Copy(t.Context(), &s3.CopyInput{From: w.bucket, FromKey: "to", Bucket: w.bucket, Key: "to", Headers: &s3.Headers{}}); err != nil {
			t.Fatal(err)
		}
		if err := w.engine.Delete(t.Context(), &s3.DeleteInput{Bucket: w.bucket, Key: "from"}); err != nil {
			t.Fatal(err)
		}
		if err := w.engine.Reap(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, o, err := w.get(t, &s3.GetInput{Key: "to"}); err != nil || !bytes.Equal(got, body) || o.Headers.ContentType != "" {
			t.Errorf("%d: after its source is gone: %d bytes, %+v, %v", n, len(got), o, err)
		}
	}
	if _, err := w.engine.Copy(t.Context(), &s3.CopyInput{From: w.bucket, FromKey: "none", Bucket: w.bucket, Key: "to"}); !iot.IsKind(err, iot.KindNotFound) {
		t.Errorf("a copy of nothing: %v", err)
	}
	_, err := w.engine.Copy(t.Context(), &s3.CopyInput{From: w.bucket, FromKey: "to", Bucket: w.bucket, Key: "to2", FromIf: s3.ReadConditions{IfMatch: "x"}})
	if !iot.IsKind(err, iot.KindPrecondition) {
		t.Errorf("a copy with a condition: %v", err)
	}
}

func crc32Of(b []byte) string {
	h := s3.AlgorithmCRC32.NewHash()
	h.Write(b)
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}
