package storetest

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/s3"
	"github.com/sekisho-iot/sekisho/internal/s3/local"
)

// RunS3 runs the suite of the stores of buckets and objects.
func RunS3(t *testing.T, open Opener) {
	t.Helper()
	t.Run("buckets", func(t *testing.T) { t.Parallel(); buckets(t, open) })
	t.Run("objects", func(t *testing.T) { t.Parallel(); objects(t, open) })
	t.Run("uploads", func(t *testing.T) { t.Parallel(); multipartUploads(t, open) })
	t.Run("data files", func(t *testing.T) { t.Parallel(); dataFiles(t, open) })
}

func buckets(t *testing.T, open Opener) {
	t.Helper()
	changes := map[iot.Change]int{}
	d := open(t, func(c iot.Change) { changes[c]++ })
	s, ctx := d.Buckets(), t.Context()
	for i, name := range []string{"b", "a", "c.d"} {
		if err := s.CreateBucket(ctx, s3.BucketRecord{Name: name, ID: int64(i + 1), Created: day()}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.CreateBucket(ctx, s3.BucketRecord{Name: "a", ID: 9, Created: day()}); !iot.IsKind(err, iot.KindExists) {
		t.Errorf("made twice: %v", err)
	}
	for _, c := range []struct {
		prefix, after string
		limit         int
		want          []string
	}{
		{"", "", 10, []string{"a", "b", "c.d"}},
		{"", "a", 1, []string{"b"}},
		{"c", "", 10, []string{"c.d"}},
		{"x", "", 10, nil},
	} {
		page, err := s.Buckets(ctx, c.prefix, c.after, c.limit)
		var names []string
		for _, b := range page {
			names = append(names, b.Name)
		}
		if err != nil || !slices.Equal(names, c.want) {
			t.Errorf("%+v: %v, %v", c, names, err)
		}
	}
	document := []byte(`{"x":"ä"}`)
	if err := s.SetBucketPolicy(ctx, "a", 2, document); err != nil {
		t.Error(err)
	}
	b, err := s.Bucket(ctx, "a")
	if err != nil || b.ID != 2 || !b.Created.Equal(day()) || !bytes.Equal(b.Policy, document) {
		t.Errorf("%+v, %v", b, err)
	}
	if err := s.SetBucketPolicy(ctx, "a", 2, nil); err != nil {
		t.Error(err)
	}
	if b, err := s.Bucket(ctx, "a"); err != nil || len(b.Policy) != 0 {
		t.Errorf("%+v, %v", b, err)
	}
	if err := s.SetBucketPolicy(ctx, "a", 3, document); !iot.IsKind(err, iot.KindNotFound) {
		t.Errorf("the policy of a bucket that was: %v", err)
	}
	if err := s.DeleteBucket(ctx, "a", 3); !iot.IsKind(err, iot.KindNotFound) {
		t.Errorf("deleting a bucket that was: %v", err)
	}
	if err := s.DeleteBucket(ctx, "a", 2); err != nil {
		t.Error(err)
	}
	if _, err := s.Bucket(ctx, "a"); !iot.IsKind(err, iot.KindNotFound) {
		t.Errorf("deleted: %v", err)
	}
	if n := changes[iot.Change{Kind: iot.ChangeBucket, ID: "a"}]; n != 4 {
		t.Errorf("%d changes were announced, not 4", n)
	}
}

func bucketFor(t *testing.T, s s3.Store, id int64) *s3.Bucket {
	t.Helper()
	b := &s3.Bucket{Name: fmt.Sprintf("bucket-%d", id), ID: id}
	if err := s.CreateBucket(t.Context(), s3.BucketRecord{Name: b.Name, ID: id, Created: day()}); err != nil {
		t.Fatal(err)
	}
	return b
}

func blobID(n byte) local.ID { return local.ID{3: 1, 8: n, 15: 0xff} }

func object(key string, n byte, layout local.Layout) *local.Record {
	r := &local.Record{
		Key: key, Version: blobID(n), Size: int64(n), ETag: fmt.Sprintf("tag%d", n), Modified: day(), Layout: layout,
		Checksum: "CRC32:FULL_OBJECT:AAAAAA==", Headers: []byte("{}"),
	}
	if layout == local.Inline {
		r.Data = bytes.Repeat([]byte{0, n}, 10)
	}
	return r
}

func objects(t *testing.T, open Opener) {
	t.Helper()
	d := open(t, nil)
	b, other := bucketFor(t, d.Buckets(), 1), bucketFor(t, d.Buckets(), 2)
	s, ctx := d.Objects(), t.Context()
	none := s3.WriteConditions{}
	if err := s.PutObject(ctx, &s3.Bucket{Name: "gone", ID: 5}, object("k", 1, local.InFile), none); !iot.IsKind(err, iot.KindNotFound) {
		t.Errorf("into no bucket: %v", err)
	}
	for i, r := range []*local.Record{object("k", 1, local.Inline), object("k", 2, local.InFile), object("k", 3, 4), object("k", 4, local.Inline)} {
		if err := s.PutObject(ctx, b, r, none); err != nil {
			t.Fatal(i, err)
		}
		got, err := s.Object(ctx, 1, "k", true)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(*r) {
			t.Errorf("%d:\n got %v, %v\nwant %v", i, got, err, *r)
		}
		if got, err := s.Object(ctx, 1, "k", false); err != nil || got.Data != nil {
			t.Errorf("%d: with data unasked: %v, %v", i, got, err)
		}
	}
	list, err := s.Garbage(ctx, 10)
	if want := []local.Garbage{{ID: blobID(2)}, {ID: blobID(3), Parts: true}}; err != nil || !slices.Equal(list, want) {
		t.Errorf("garbage: %v, %v", list, err)
	}
	if err := s.PutObject(ctx, b, object("k", 5, local.Inline), s3.WriteConditions{IfNoneMatch: true}); !iot.IsKind(err, iot.KindPrecondition) {
		t.Errorf("if none match: %v", err)
	}
	if err := s.PutObject(ctx, b, object("k", 5, local.Inline), s3.WriteConditions{IfMatch: "tag4"}); err != nil {
		t.Errorf("if match: %v", err)
	}
	if err := s.DeleteObject(ctx, 1, "k", s3.WriteConditions{IfMatch: "tag4"}); !iot.IsKind(err, iot.KindPrecondition) {
		t.Errorf("delete if match: %v", err)
	}
	if err := d.Buckets().DeleteBucket(ctx, b.Name, b.ID); !iot.IsKind(err, iot.KindConflict) {
		t.Errorf("deleting a bucket with an object: %v", err)
	}
	for range 2 {
		if err := s.DeleteObject(ctx, 1, "k", none); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Object(ctx, 1, "k", true); !iot.IsKind(err, iot.KindNotFound) {
		t.Errorf("deleted: %v", err)
	}
	scans(t, s, b, other)
	if err := d.Buckets().DeleteBucket(ctx, other.Name, other.ID); err != nil {
		t.Errorf("deleting an empty bucket beside a full one: %v", err)
	}
}

func scans(t *testing.T, s local.Store, b, other *s3.Bucket) {
	t.Helper()
	ctx := t.Context()
	keys := []string{"\x00", "A", "a", "a/", "a/b", "aa", "b", "z", "é", "\xff", "\xff\xff"}
	for i, k := range keys {
		if err := s.PutObject(ctx, b, object(k, byte(20+i), local.InFile), s3.WriteConditions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		from, to string
		limit    int
		want     []string
	}{
		{"", "", 100, keys},
		{"", "", 2, keys[:2]},
		{"a", "b", 100, keys[2:6]},
		{"a\x00", "", 100, keys[3:]},
		{"\xff", "", 100, keys[9:]},
		{"b", "a", 100, nil},
	} {
		rows, err := s.Scan(ctx, b.ID, c.from, c.to, c.limit)
		var got []string
		for i := range rows {
			got = append(got, rows[i].Key)
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%q to %q by %d: %q, %v", c.from, c.to, c.limit, got, err)
		}
	}
	if rows, err := s.Scan(ctx, other.ID, "", "", 10); err != nil || len(rows) != 0 {
		t.Errorf("another bucket: %v, %v", rows, err)
	}
}

func multipartUploads(t *testing.T, open Opener) {
	t.Helper()
	d := open(t, nil)
	b := bucketFor(t, d.Buckets(), 1)
	s, ctx := d.Objects(), t.Context()
	begin := func(n byte, key string, at time.Time) *local.Upload {
		u := &local.Upload{ID: blobID(n), Bucket: 1, Key: key, Initiated: at, Headers: []byte("{}"), Algorithm: "CRC32", ChecksumType: s3.FullObject}
		if err := s.CreateUpload(ctx, b, u); err != nil {
			t.Fatal(err)
		}
		return u
	}
	u := begin(1, "k", day())
	got, err := s.Upload(ctx, 1, "k", u.ID)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(*u) {
		t.Errorf("%v, %v, want %v", got, err, *u)
	}
	if _, err := s.Upload(ctx, 1, "other", u.ID); !iot.IsKind(err, iot.KindNotFound) {
		t.Errorf("under another key: %v", err)
	}
	part := func(number int, n byte) *local.Part {
		return &local.Part{Number: number, Blob: blobID(n), Size: int64(n), ETag: "t", Modified: day(), Checksum: "c"}
	}
	for _, p := range []*local.Part{part(2, 10), part(1, 11), part(2, 12), part(7, 13)} {
		if err := s.PutPart(ctx, u.ID, p); err != nil {
			t.Fatal(err)
		}
	}
	parts, err := s.Parts(ctx, u.ID, 1, 1)
	if err != nil || len(parts) != 1 || parts[0] != *part(2, 12) {
		t.Errorf("parts: %v, %v", parts, err)
	}
	record := object("k", 0, 2)
	record.Version = u.ID
	c := &local.Completion{Upload: *u, Record: *record, Drop: []int{7}}
	if err := s.CompleteUpload(ctx, b, c); !iot.IsKind(err, iot.KindVersionConflict) {
		t.Errorf("at an old revision: %v", err)
	}
	if c.Upload, err = s.Upload(ctx, 1, "k", u.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.CompleteUpload(ctx, b, c); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"completed twice":      s.CompleteUpload(ctx, b, c),
		"part of a completed":  s.PutPart(ctx, u.ID, part(1, 14)),
		"aborting a completed": s.AbortUpload(ctx, u.ID),
	} {
		if !iot.IsKind(err, iot.KindNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if parts, err := s.Parts(ctx, u.ID, 0, 10); err != nil || len(parts) != 2 {
		t.Errorf("the object's parts: %v, %v", parts, err)
	}
	list, err := s.Garbage(ctx, 10)
	if want := []local.Garbage{{ID: blobID(10)}, {ID: blobID(13)}}; err != nil || !slices.Equal(list, want) {
		t.Errorf("garbage: %v, %v", list, err)
	}
	uploadListings(t, s, begin)
	if err := s.DeleteObject(ctx, 1, "k", s3.WriteConditions{}); err != nil {
		t.Error(err)
	}
	if err := d.Buckets().DeleteBucket(ctx, b.Name, b.ID); err != nil {
		t.Error(err)
	}
	if left, err := s.ScanUploads(ctx, 1, "", local.ID{}, "", 10); err != nil || len(left) != 0 {
		t.Errorf("uploads of a deleted bucket: %v, %v", left, err)
	}
}

func uploadListings(t *testing.T, s local.Store, begin func(byte, string, time.Time) *local.Upload) {
	t.Helper()
	ctx := t.Context()
	begin(33, "b", day().Add(time.Hour))
	begin(31, "a", day())
	begin(32, "a", day().Add(2*time.Hour))
	for _, c := range []struct {
		from  string
		after local.ID
		to    string
		want  []byte
	}{
		{"", local.ID{}, "", []byte{31, 32, 33}},
		{"a", blobID(31), "", []byte{32, 33}},
		{"a", blobID(31), "b", []byte{32}},
		{"b", local.ID{}, "", []byte{33}},
	} {
		page, err := s.ScanUploads(ctx, 1, c.from, c.after, c.to, 10)
		var got []byte
		for i := range page {
			got = append(got, page[i].ID[8])
		}
		if err != nil || !bytes.Equal(got, c.want) {
			t.Errorf("%q after %v: %v, %v", c.from, c.after, got, err)
		}
	}
	ids, err := s.StaleUploads(ctx, day().Add(90*time.Minute), 10)
	if want := []local.ID{blobID(31), blobID(33)}; err != nil || !slices.Equal(ids, want) {
		t.Errorf("stale: %v, %v", ids, err)
	}
	if err := s.AbortUpload(ctx, blobID(31)); err != nil {
		t.Error(err)
	}
	if err := s.AbortUpload(ctx, blobID(31)); !iot.IsKind(err, iot.KindNotFound) {
		t.Errorf("aborted twice: %v", err)
	}
}

func dataFiles(t *testing.T, open Opener) {
	t.Helper()
	d := open(t, nil)
	b := bucketFor(t, d.Buckets(), 1)
	s, ctx := d.Objects(), t.Context()
	for i, wantUnswept := range []uint32{0, 0, 1} {
		want := uint32(i + 1)
		current, unswept, err := s.BeginGeneration(ctx)
		if err != nil || current != want || unswept != wantUnswept {
			t.Errorf("generation %d, unswept %d, %v; want %d, %d", current, unswept, err, want, wantUnswept)
		}
		if want == 2 {
			if err := s.EndSweep(ctx, 1); err != nil {
				t.Error(err)
			}
		}
	}
	u := &local.Upload{ID: blobID(1), Bucket: 1, Key: "u", Initiated: day(), Headers: []byte("{}")}
	if err := s.CreateUpload(ctx, b, u); err != nil {
		t.Fatal(err)
	}
	for number, n := range []byte{2, 3} {
		if err := s.PutPart(ctx, u.ID, &local.Part{Number: number + 1, Blob: blobID(n), Modified: day()}); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []byte{4, 5} { // 4 becomes garbage
		if err := s.PutObject(ctx, b, object("k", n, local.InFile), s3.WriteConditions{}); err != nil {
			t.Fatal(err)
		}
	}
	var asked []local.ID
	for n := range 500 {
		asked = append(asked, local.ID{3: 1, 7: byte(n >> 8), 8: byte(n), 15: 0xff})
	}
	known, err := s.Known(ctx, asked)
	if err != nil || len(known) != 4 || !known[blobID(2)] || !known[blobID(3)] || !known[blobID(4)] || !known[blobID(5)] {
		t.Errorf("known: %v, %v", known, err)
	}
	if err := s.AbortUpload(ctx, u.ID); err != nil {
		t.Fatal(err)
	}
	if known, err := s.Known(ctx, asked); err != nil || len(known) != 5 {
		t.Errorf("known after the abort: %v, %v", known, err)
	}
	if err := s.Forget(ctx, []local.ID{blobID(1), blobID(4), blobID(5)}); err != nil {
		t.Error(err)
	}
	if list, err := s.Garbage(ctx, 10); err != nil || len(list) != 0 {
		t.Errorf("garbage: %v, %v", list, err)
	}
	if known, err := s.Known(ctx, asked); err != nil || len(known) != 1 || !known[blobID(5)] {
		t.Errorf("known in the end: %v, %v", known, err)
	}
}
