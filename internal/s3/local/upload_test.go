package local_test

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/s3"
)

func (w *world) begin(t *testing.T, key string, a s3.Algorithm, kind s3.ChecksumType) s3.UploadRef {
	t.Helper()
	u, err := w.engine.CreateUpload(t.Context(), &s3.CreateUploadInput{
		Bucket: w.bucket, Key: key, Algorithm: a, ChecksumType: kind, Headers: s3.Headers{ContentType: "x/y"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s3.UploadRef{Bucket: w.bucket, Key: key, ID: u.ID}
}

func (w *world) part(t *testing.T, ref s3.UploadRef, number int, body []byte) s3.CompletePart {
	t.Helper()
	in := &s3.PutPartInput{UploadRef: ref, Number: number}
	in.Body, in.Size = bytes.NewReader(body), int64(len(body))
	p, err := w.engine.PutPart(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return s3.CompletePart{Number: number, ETag: `"` + p.ETag + `"`, Checksum: p.Checksum}
}

func tagOf(bodies ...[]byte) string {
	h := md5.New()
	for _, b := range bodies {
		sum := md5.Sum(b)
		h.Write(sum[:])
	}
	return fmt.Sprintf("%s-%d", hex.EncodeToString(h.Sum(nil)), len(bodies))
}

func TestUpload(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	ref := w.begin(t, "k", s3.AlgorithmCRC64NVME, s3.FullObject)
	a, b, c := pattern(1, s3.MinPart), pattern(2, s3.MinPart+3), pattern(3, 5)
	w.part(t, ref, 2, []byte("replaced"))
	parts := make([]s3.CompletePart, 3)
	var wg sync.WaitGroup
	for i, p := range [][]byte{a, b, c} {
		wg.Go(func() { parts[i] = w.part(t, ref, 2+3*i, p) })
	}
	wg.Wait()
	w.part(t, ref, 7, []byte("not listed"))
	whole := slices.Concat(a, b, c)
	in := &s3.CompleteInput{UploadRef: ref, Parts: parts, Size: int64(len(whole))}
	var info *s3.Info
	for range 2 { // again, as a client does that lost the answer
		var err error
		if info, err = w.engine.CompleteUpload(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		if info.ETag != tagOf(a, b, c) || info.Size != int64(len(whole)) || info.Headers.ContentType != "x/y" {
			t.Errorf("%+v", info)
		}
	}
	h := s3.AlgorithmCRC64NVME.NewHash()
	h.Write(whole)
	if want := base64.StdEncoding.EncodeToString(h.Sum(nil)); info.Checksum.Value != want || info.Checksum.Type != s3.FullObject {
		t.Errorf("checksum %v, want %s", info.Checksum, want)
	}
	if err := w.engine.Reap(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(w.dataFiles(t)); n != 3 {
		t.Errorf("%d data files", n)
	}
	for _, r := range []s3.Range{
		{First: 0, Last: -1},
		{First: 0, Last: 0},
		{First: s3.MinPart - 1, Last: s3.MinPart},
		{First: s3.MinPart, Last: s3.MinPart},
		{First: 7, Last: 2*s3.MinPart + 4},
		{Suffix: 5, IsSuffix: true},
		{Suffix: 6, IsSuffix: true},
		{First: 2*s3.MinPart + 3, Last: -1},
	} {
		offset, length, _ := r.Resolve(int64(len(whole)))
		got, o, err := w.get(t, &s3.GetInput{Key: "k", Range: &r})
		if err != nil || !bytes.Equal(got, whole[offset:offset+length]) || o.Parts != 3 {
			t.Errorf("%+v: %d bytes, %v", r, len(got), err)
		}
	}
	got, o, err := w.get(t, &s3.GetInput{Key: "k", PartNumber: 5})
	if err != nil || !bytes.Equal(got, b) || o.Offset != s3.MinPart || o.PartInfo.Size != int64(len(b)) {
		t.Errorf("part 5: %d bytes, %+v, %v", len(got), o, err)
	}
	if _, _, err := w.get(t, &s3.GetInput{Key: "k", PartNumber: 3}); !iot.IsKind(err, iot.KindInvalid) {
		t.Errorf("part 3: %v", err)
	}
	copied, err := w.engine.Copy(t.Context(), &s3.CopyInput{From: w.bucket, FromKey: "k", Bucket: w.bucket, Key: "copy"})
	sum := md5.Sum(whole)
	if err != nil || copied.ETag != hex.EncodeToString(sum[:]) || copied.Checksum.Value != info.Checksum.Value {
		t.Errorf("a copy: %+v, %v", copied, err)
	}
}

func TestUploadChecksumsAndRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	ref := w.begin(t, "k", s3.AlgorithmCRC32, s3.Composite)
	a, b := pattern(1, s3.MinPart), pattern(2, 10)
	one, two := w.part(t, ref, 1, a), w.part(t, ref, 2, b)
	if one.Checksum.Value != crc32Of(a) {
		t.Errorf("part 1 has %v", one.Checksum)
	}
	bad := func(c s3.CompletePart, change func(*s3.CompletePart)) s3.CompletePart { change(&c); return c }
	for name, c := range map[string]struct {
		in   s3.CompleteInput
		kind iot.Kind
		what string
	}{
		"wrong tag":      {s3.CompleteInput{Size: -1, Parts: []s3.CompletePart{one, bad(two, func(c *s3.CompletePart) { c.ETag = "0" })}}, iot.KindInvalid, "part"},
		"no such part":   {s3.CompleteInput{Size: -1, Parts: []s3.CompletePart{one, bad(two, func(c *s3.CompletePart) { c.Number = 3 })}}, iot.KindInvalid, "part"},
		"wrong checksum": {s3.CompleteInput{Size: -1, Parts: []s3.CompletePart{one, bad(two, func(c *s3.CompletePart) { c.Checksum.Value = crc32Of(a) })}}, iot.KindInvalid, "part"},
		"no checksum":    {s3.CompleteInput{Size: -1, Parts: []s3.CompletePart{one, bad(two, func(c *s3.CompletePart) { c.Checksum = s3.Checksum{} })}}, iot.KindInvalid, "request"},
		"size":           {s3.CompleteInput{Size: 1, Parts: []s3.CompletePart{one, two}}, iot.KindInvalid, "request"},
		"whole":          {s3.CompleteInput{Size: -1, Parts: []s3.CompletePart{one, two}, Checksum: s3.Checksum{Algorithm: "CRC32", Value: "AAAAAA==-2"}}, iot.KindInvalid, "digest-mismatch"},
		"type":           {s3.CompleteInput{Size: -1, Parts: []s3.CompletePart{one, two}, Checksum: s3.Checksum{Type: s3.FullObject}}, iot.KindInvalid, "request"},
		"exists":         {s3.CompleteInput{Size: -1, Parts: []s3.CompletePart{one, two}, If: s3.WriteConditions{IfMatch: "x"}}, iot.KindNotFound, "key"},
	} {
		c.in.UploadRef = ref
		_, err := w.engine.CompleteUpload(t.Context(), &c.in)
		if e, ok := errors.AsType[*iot.Error](err); !ok || e.Kind != c.kind || e.Resource != c.what {
			t.Errorf("%s: %v", name, err)
		}
	}
	mismatch := &s3.PutPartInput{UploadRef: ref, Number: 3}
	mismatch.Body, mismatch.Size, mismatch.Algorithm = strings.NewReader("x"), 1, s3.AlgorithmSHA1
	if _, err := w.engine.PutPart(t.Context(), mismatch); !iot.IsKind(err, iot.KindInvalid) {
		t.Errorf("a part with another algorithm: %v", err)
	}
	page, err := w.engine.ListParts(t.Context(), &s3.ListPartsInput{UploadRef: ref, Max: 1})
	if err != nil || len(page.Parts) != 1 || !page.Truncated || page.Parts[0].Number != 1 || page.Upload.Algorithm != s3.AlgorithmCRC32 {
		t.Errorf("%+v, %v", page, err)
	}
	page, err = w.engine.ListParts(t.Context(), &s3.ListPartsInput{UploadRef: ref, After: 1, Max: 1})
	if err != nil || len(page.Parts) != 1 || page.Truncated || page.Parts[0].Number != 2 {
		t.Errorf("%+v, %v", page, err)
	}
	info, err := w.engine.CompleteUpload(t.Context(), &s3.CompleteInput{UploadRef: ref, Size: -1, Parts: []s3.CompletePart{one, two}})
	if err != nil || !strings.HasSuffix(info.Checksum.Value, "-2") || info.Checksum.Type != s3.Composite {
		t.Errorf("%+v, %v", info, err)
	}
	small := w.begin(t, "small", s3.AlgorithmNone, "")
	x, y := w.part(t, small, 1, b), w.part(t, small, 2, b)
	if _, err := w.engine.CompleteUpload(t.Context(), &s3.CompleteInput{UploadRef: small, Size: -1, Parts: []s3.CompletePart{x, y}}); !iot.IsKind(err, iot.KindTooSmall) {
		t.Errorf("small parts: %v", err)
	}
}

// An upload counts for its own bucket and key: what was authorised is those.
func TestUploadsAreBoundToTheirKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	ref := w.begin(t, "mine", s3.AlgorithmNone, "")
	p := w.part(t, ref, 1, []byte("x"))
	for name, other := range map[string]s3.UploadRef{
		"key":    {Bucket: w.bucket, Key: "yours", ID: ref.ID},
		"bucket": {Bucket: &s3.Bucket{Name: "other", ID: 8}, Key: "mine", ID: ref.ID},
		"id":     {Bucket: w.bucket, Key: "mine", ID: strings.Repeat("0", 32)},
		"no id":  {Bucket: w.bucket, Key: "mine", ID: "../../x"},
	} {
		in := &s3.PutPartInput{UploadRef: other, Number: 1}
		in.Body, in.Size = strings.NewReader("y"), 1
		if _, err := w.engine.PutPart(t.Context(), in); !iot.IsKind(err, iot.KindNotFound) {
			t.Errorf("%s: put part: %v", name, err)
		}
		if _, err := w.engine.CompleteUpload(t.Context(), &s3.CompleteInput{UploadRef: other, Size: -1, Parts: []s3.CompletePart{p}}); !iot.IsKind(err, iot.KindNotFound) {
			t.Errorf("%s: complete: %v", name, err)
		}
		if err := w.engine.AbortUpload(t.Context(), other); !iot.IsKind(err, iot.KindNotFound) {
			t.Errorf("%s: abort: %v", name, err)
		}
		if _, err := w.engine.ListParts(t.Context(), &s3.ListPartsInput{UploadRef: other, Max: 1}); !iot.IsKind(err, iot.KindNotFound) {
			t.Errorf("%s: list: %v", name, err)
		}
	}
}

func TestAbortAndAge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	aborted, old := w.begin(t, "a", s3.AlgorithmNone, ""), w.begin(t, "old", s3.AlgorithmNone, "")
	w.part(t, aborted, 1, []byte("x"))
	w.part(t, old, 1, []byte("x"))
	if err := w.engine.AbortUpload(t.Context(), aborted); err != nil {
		t.Fatal(err)
	}
	if err := w.engine.AbortUpload(t.Context(), aborted); !iot.IsKind(err, iot.KindNotFound) {
		t.Errorf("aborted twice: %v", err)
	}
	w.advance(6 * 24 * time.Hour)
	young := w.begin(t, "young", s3.AlgorithmNone, "")
	w.part(t, young, 1, []byte("x"))
	w.engine.GiveUpStale(t.Context())
	if _, err := w.engine.ListParts(t.Context(), &s3.ListPartsInput{UploadRef: old, Max: 1}); err != nil {
		t.Errorf("after six days: %v", err)
	}
	w.advance(2 * 24 * time.Hour)
	w.engine.GiveUpStale(t.Context())
	if _, err := w.engine.ListParts(t.Context(), &s3.ListPartsInput{UploadRef: old, Max: 1}); !iot.IsKind(err, iot.KindNotFound) {
		t.Errorf("after eight days: %v", err)
	}
	if _, err := w.engine.ListParts(t.Context(), &s3.ListPartsInput{UploadRef: young, Max: 1}); err != nil {
		t.Errorf("the younger: %v", err)
	}
	if err := w.engine.Reap(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(w.dataFiles(t)); n != 1 {
		t.Errorf("%d data files, not 1", n)
	}
}

// Who reads an object of parts reads it to its end, whatever happens to the key.
func TestReadersPinParts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	ref := w.begin(t, "k", s3.AlgorithmNone, "")
	a, b := pattern(1, s3.MinPart), pattern(2, 100)
	parts := []s3.CompletePart{w.part(t, ref, 1, a), w.part(t, ref, 2, b)}
	if _, err := w.engine.CompleteUpload(t.Context(), &s3.CompleteInput{UploadRef: ref, Size: -1, Parts: parts}); err != nil {
		t.Fatal(err)
	}
	o, err := w.engine.Get(t.Context(), &s3.GetInput{Bucket: w.bucket, Key: "k"})
	if err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 10)
	if _, err := io.ReadFull(o.Body, first); err != nil {
		t.Fatal(err)
	}
	w.put(t, "k", []byte("new"))
	if err := w.engine.Reap(t.Context()); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(o.Body)
	if err != nil || !bytes.Equal(append(first, rest...), slices.Concat(a, b)) {
		t.Errorf("%d bytes, %v", len(rest), err)
	}
	_ = o.Body.Close()
	if err := w.engine.Reap(t.Context()); err != nil {
		t.Fatal(err)
	}
	if files := w.dataFiles(t); len(files) != 0 {
		t.Errorf("left behind: %v", files)
	}
}

// Completions race with parts that are sent again and with an abort: the object
// is what was listed, or there is none.
func TestUploadRaces(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	for i := range 10 {
		ref := w.begin(t, "k", s3.AlgorithmNone, "")
		body := pattern(byte(i), 100)
		p := w.part(t, ref, 1, body)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				in := &s3.PutPartInput{UploadRef: ref, Number: 1}
				in.Body, in.Size = bytes.NewReader(body), int64(len(body))
				if _, err := w.engine.PutPart(t.Context(), in); err != nil && !iot.IsKind(err, iot.KindNotFound) {
					t.Error(err)
				}
			})
			wg.Go(func() {
				_, err := w.engine.CompleteUpload(t.Context(), &s3.CompleteInput{UploadRef: ref, Size: -1, Parts: []s3.CompletePart{p}})
				if err != nil && !iot.IsKind(err, iot.KindNotFound) {
					t.Error(err)
				}
			})
		}
		if i%2 == 0 {
			wg.Go(func() {
				if err := w.engine.AbortUpload(t.Context(), ref); err != nil && !iot.IsKind(err, iot.KindNotFound) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		got, _, err := w.get(t, &s3.GetInput{Key: "k"})
		if err == nil && !bytes.Equal(got, body) && i%2 == 1 {
			t.Errorf("%d: the object has other bytes", i)
		}
		if err != nil && !iot.IsKind(err, iot.KindNotFound) {
			t.Error(err)
		}
	}
	if err := w.engine.Delete(t.Context(), &s3.DeleteInput{Bucket: w.bucket, Key: "k"}); err != nil {
		t.Error(err)
	}
	if err := w.engine.Reap(t.Context()); err != nil {
		t.Fatal(err)
	}
	if files := w.dataFiles(t); len(files) != 0 {
		t.Errorf("left behind: %v", files)
	}
}
