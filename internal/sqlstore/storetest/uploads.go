package storetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/s3"
	"github.com/sekisho-iot/sekisho/internal/s3/local"
	"github.com/sekisho-iot/sekisho/internal/uploads"
)

// RunUploads runs the suite of the ledger of uploads.
func RunUploads(t *testing.T, open Opener) {
	t.Helper()
	t.Run("records", func(t *testing.T) { t.Parallel(); uploadRecords(t, open) })
	t.Run("attempts", func(t *testing.T) { t.Parallel(); uploadAttempts(t, open) })
	t.Run("objects", func(t *testing.T) { t.Parallel(); uploadedObjects(t, open) })
	t.Run("told failures", func(t *testing.T) { t.Parallel(); uploadFailures(t, open) })
	t.Run("pruning by thing", func(t *testing.T) { t.Parallel(); uploadPruningByThing(t, open) })
	t.Run("pruning", func(t *testing.T) { t.Parallel(); uploadPruning(t, open) })
	t.Run("door", func(t *testing.T) { t.Parallel(); uploadDoor(t, open) })
}

func numbers(list []uploads.Record) (n []int64) {
	for _, r := range list {
		n = append(n, r.Number)
	}
	return n
}

func uploadRecords(t *testing.T, open Opener) {
	t.Helper()
	changes := map[iot.Change]int{}
	s, ctx := open(t, func(c iot.Change) { changes[c]++ }).Uploads(), t.Context()
	r := uploads.Record{
		Thing: "pump", Certificate: "c1", Door: uploads.DoorInline, Status: uploads.Completed, Bucket: "b", Key: "k\xff", Topic: "t", Name: "n",
		Size: 7, SHA256: "ab", Checksum: "CRC32:FULL_OBJECT:AAAAAA==", UploadID: "u", Reason: "r", Started: day(), Finished: day().Add(time.Hour),
	}
	must(t, s.Add(ctx, []uploads.Record{r, {Thing: "pump", Status: uploads.Failed, Started: day(), Finished: day().Add(2 * time.Hour)}}))
	must(t, s.Add(ctx, []uploads.Record{{Thing: "lamp", Status: uploads.Completed, Started: day(), Finished: day().Add(3 * time.Hour)}}))
	r.Number = 1
	list, err := s.List(ctx, uploads.Query{Limit: 9})
	must(t, err)
	if len(list) != 3 || list[2] != r {
		t.Errorf("kept %+v", list)
	}
	if changes[iot.Change{Kind: iot.ChangeUpload, ID: "pump"}] != 2 {
		t.Errorf("announced %v", changes)
	}
	for _, c := range []struct {
		q    uploads.Query
		want []int64
	}{
		{uploads.Query{Limit: 2}, []int64{3, 2}},
		{uploads.Query{Limit: 2, Before: 2}, []int64{1}},
		{uploads.Query{Limit: 9, Thing: "pump"}, []int64{2, 1}},
		{uploads.Query{Limit: 9, Thing: "Pump"}, nil},
		{uploads.Query{Limit: 9, Status: uploads.Failed}, []int64{2}},
		{uploads.Query{Limit: 9, Since: day().Add(2 * time.Hour)}, []int64{3, 2}},
		{uploads.Query{Limit: 9, Since: day().Add(time.Hour), Until: day().Add(3 * time.Hour), Thing: "pump"}, []int64{2, 1}},
	} {
		list, err := s.List(ctx, c.q)
		if got := numbers(list); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v, %v", c.q, got, err)
		}
	}
	must(t, s.Announced(ctx, 2))
	must(t, s.Announced(ctx, 1))
	for after, want := range [][]int64{{3}, {3}, {3}, nil} {
		list, err = s.Unannounced(ctx, int64(after), 9)
		if got := numbers(list); err != nil || !slices.Equal(got, want) {
			t.Errorf("not announced after %d: %v, %v", after, got, err)
		}
	}
}

// One upload is one record, however often it was tried or told.
func uploadAttempts(t *testing.T, open Opener) {
	t.Helper()
	s, ctx := open(t, nil).Uploads(), t.Context()
	add := func(certificate, status, bucket, key, id string, size int64) {
		t.Helper()
		must(t, s.Add(ctx, []uploads.Record{{
			Certificate: iot.CertificateID(certificate), Status: uploads.Status(status), Bucket: bucket, Key: key, UploadID: id, Size: size,
			Started: day(), Finished: day(),
		}}))
	}
	want := func(step string, n ...int64) {
		t.Helper()
		list, err := s.List(ctx, uploads.Query{Limit: 99})
		if got := numbers(list); err != nil || !slices.Equal(got, n) {
			t.Errorf("%s: %v, %v", step, got, err)
		}
	}
	add("c", "failed", "b", "k", "", 1)
	add("c", "failed", "b", "k", "", 1)
	want("failed again", 2)
	add("other", "completed", "b", "k", "", 1)
	want("another's", 3, 2)
	add("c", "completed", "b", "k", "", 1)
	want("completed", 4, 3)
	add("c", "completed", "b", "k", "", 1)
	want("and once more, as nothing says that it is the same", 5, 4, 3)
	add("c", "failed", "b", "k", "", 1)
	want("a failure later", 6, 5, 4, 3)
	add("c", "failed", "", "", "id", 1)
	add("c", "completed", "", "", "id", 1)
	want("by its id", 8, 6, 5, 4, 3)
	add("c", "completed", "", "", "id", 1)
	add("c", "failed", "", "", "id", 1)
	want("told again", 8, 6, 5, 4, 3)
	add("c", "completed", "", "", "id", 2)
	want("with other bytes", 9, 6, 5, 4, 3)
	add("other", "completed", "", "", "id", 1)
	want("another's id", 10, 9, 6, 5, 4, 3)
}

// The record of an object is there if, and only if, the object is.
func uploadedObjects(t *testing.T, open Opener) {
	t.Helper()
	d, ctx := open(t, nil), t.Context()
	b := bucketFor(t, d.Buckets(), 1)
	put := func(key string, n byte, o *s3.Origin, cond s3.WriteConditions) error {
		r := object(key, n, local.Inline)
		r.Origin = o
		return d.Objects().PutObject(ctx, b, r, cond)
	}
	from := &s3.Origin{Certificate: "c", Thing: "pump", Began: day().Add(-time.Minute), SHA256: "ab"}
	must(t, put("nobody's", 1, nil, s3.WriteConditions{}))
	must(t, put("mine", 2, from, s3.WriteConditions{}))
	if err := put("mine", 3, from, s3.WriteConditions{IfNoneMatch: true}); !iot.IsKind(err, iot.KindPrecondition) {
		t.Errorf("refused: %v", err)
	}
	u := &local.Upload{ID: blobID(9), Bucket: b.ID, Key: "parts", Initiated: day(), Headers: []byte("{}")}
	must(t, d.Objects().CreateUpload(ctx, b, u))
	c := &local.Completion{Upload: *u, Record: *object("parts", 9, 1)}
	c.Record.Origin = &s3.Origin{Certificate: "c", Thing: "pump", Began: day(), OverMQTT: true, UploadID: "id"}
	c.Record.Checksum = "SHA256:FULL_OBJECT:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="
	must(t, d.Objects().CompleteUpload(ctx, b, c))
	if err := d.Objects().CompleteUpload(ctx, b, c); err == nil {
		t.Error("completed twice")
	}
	list, err := d.Uploads().List(ctx, uploads.Query{Limit: 9})
	must(t, err)
	for tag, want := range map[string]string{
		"5d41402abc4b2a76b9719d911017c592": "MD5:FULL_OBJECT:XUFAKrxLKna5cZ2REBfFkg==", "5d41402abc4b2a76b9719d911017c592-3": "MD5:COMPOSITE:XUFAKrxLKna5cZ2REBfFkg==-3", "x": "",
	} {
		r := object("tagged", byte(20+len(tag)), local.Inline)
		r.Origin, r.ETag, r.Checksum = from, tag, ""
		must(t, d.Objects().PutObject(ctx, b, r, s3.WriteConditions{}))
		last, err := d.Uploads().List(ctx, uploads.Query{Limit: 1})
		if err != nil || last[0].Key != "tagged" || last[0].Checksum != want {
			t.Errorf("by the ETag %s: %+v, %v", tag, last, err)
		}
	}
	want := []uploads.Record{
		{
			Number: 2, Thing: "pump", Certificate: "c", Door: uploads.DoorMQTT, Status: uploads.Completed, Bucket: b.Name, Key: "parts", Size: 9,
			SHA256:   "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
			Checksum: c.Record.Checksum, UploadID: "id", Started: day(), Finished: day(),
		},
		{
			Number: 1, Thing: "pump", Certificate: "c", Door: uploads.DoorS3, Status: uploads.Completed, Bucket: b.Name, Key: "mine", Size: 2,
			SHA256: "ab", Checksum: "CRC32:FULL_OBJECT:AAAAAA==", Started: day().Add(-time.Minute), Finished: day(),
		},
	}
	if !slices.Equal(list, want) {
		t.Errorf("kept\n%+v, want\n%+v", list, want)
	}
}

func uploadPruning(t *testing.T, open Opener) {
	t.Helper()
	s, ctx := open(t, nil).Uploads(), t.Context()
	var list []uploads.Record
	for i := range 10 {
		list = append(list, uploads.Record{Name: fmt.Sprint(i), Started: day(), Finished: day().Add(time.Duration(i) * time.Hour)})
	}
	must(t, s.Add(ctx, list))
	all := func(before time.Time, keep int64) (gone int64) {
		for {
			n, err := s.Prune(ctx, uploads.Retention{Since: before, All: keep}, 2)
			must(t, err)
			if n == 0 {
				return gone
			}
			if gone += n; gone > 100 {
				t.Fatal(errors.New("pruning has no end"))
			}
		}
	}
	for _, c := range []struct {
		before time.Time
		keep   int64
		gone   int64
		left   []int64
	}{
		{time.Time{}, 0, 0, []int64{10, 9, 8, 7, 6, 5, 4, 3, 2, 1}},
		{time.Time{}, 10, 0, []int64{10, 9, 8, 7, 6, 5, 4, 3, 2, 1}},
		{day().Add(3 * time.Hour), 10, 3, []int64{10, 9, 8, 7, 6, 5, 4}},
		{time.Time{}, 2, 5, []int64{10, 9}},
		{day().Add(99 * time.Hour), 2, 2, nil},
	} {
		gone := all(c.before, c.keep)
		list, err := s.List(ctx, uploads.Query{Limit: 99})
		if got := numbers(list); err != nil || gone != c.gone || !slices.Equal(got, c.left) {
			t.Errorf("before %v, keeping %d: %d are gone, %v are left, %v", c.before, c.keep, gone, got, err)
		}
	}
	must(t, s.Add(ctx, list[:1]))
	if list, err := s.List(ctx, uploads.Query{Limit: 99}); err != nil || list[0].Number != 11 {
		t.Errorf("a number was used again: %v, %v", list, err)
	}
}

// What a device says of a failure is kept once, and undoes nothing.
func uploadFailures(t *testing.T, open Opener) {
	t.Helper()
	s, ctx := open(t, nil).Uploads(), t.Context()
	told := uploads.Record{
		Thing: "pump", Certificate: "c", Door: uploads.DoorDevice, Status: uploads.Failed, Topic: "file/upload/failed", Name: "f", Size: 9,
		UploadID: "id", Reason: "no network", Started: day(), Finished: day(),
	}
	want := func(step string, r ...uploads.Record) {
		t.Helper()
		list, err := s.List(ctx, uploads.Query{Limit: 99})
		if err != nil || !slices.Equal(list, r) {
			t.Errorf("%s:\n%+v, %v, want\n%+v", step, list, err, r)
		}
	}
	numbered := func(n int64, change func(*uploads.Record)) uploads.Record {
		r := told
		r.Number = n
		change(&r)
		return r
	}
	nothing := func(*uploads.Record) {}
	later := told
	later.Finished = day().Add(time.Hour)
	must(t, s.Add(ctx, []uploads.Record{told, told, later}))
	must(t, s.Add(ctx, []uploads.Record{later}))
	want("told again", numbered(1, nothing))
	otherwise := func(r *uploads.Record) { r.Reason = "no room" }
	must(t, s.Add(ctx, []uploads.Record{numbered(0, otherwise)}))
	want("told otherwise", numbered(2, otherwise))

	attempt := uploads.Record{
		Thing: "pump", Certificate: "c", Door: uploads.DoorMQTT, Status: uploads.Failed, Bucket: "b", Key: "pump/f", Size: 9,
		UploadID: "id", Reason: "refused", Started: day(), Finished: day(),
	}
	must(t, s.Add(ctx, []uploads.Record{attempt}))
	must(t, s.Add(ctx, []uploads.Record{told}))
	want("told of an attempt", numbered(4, func(r *uploads.Record) { r.Door, r.Bucket, r.Key = uploads.DoorMQTT, "b", "pump/f" }))

	completed := attempt
	completed.Status, completed.Reason = uploads.Completed, ""
	must(t, s.Add(ctx, []uploads.Record{completed}))
	completed.Number = 5
	want("completed", completed)
	must(t, s.Add(ctx, []uploads.Record{told}))
	want("told late", completed)
	thief := numbered(6, func(r *uploads.Record) { r.Certificate = "thief" })
	must(t, s.Add(ctx, []uploads.Record{thief}))
	want("told by another", thief, completed)
}

// Each thing has its own records, and a noisy one pushes out none but its own.
func uploadPruningByThing(t *testing.T, open Opener) {
	t.Helper()
	s, ctx := open(t, nil).Uploads(), t.Context()
	of := func(thing, certificate, id string) uploads.Record {
		return uploads.Record{Thing: thing, Certificate: iot.CertificateID(certificate), Status: uploads.Completed, UploadID: id, Started: day(), Finished: day()}
	}
	var list []uploads.Record
	for i := range 20 { // numbers 2 and more; two of three are of the noisy ones
		list = append(list, of("noisy", fmt.Sprint("c", i%2), ""), of("", "noisy too", ""), of(fmt.Sprint("quiet", i/4), "c", ""))
	}
	must(t, s.Add(ctx, append([]uploads.Record{of("", "quiet", "")}, list...)))
	prune := func(step string, r uploads.Retention, gone int64, left int) {
		t.Helper()
		var n int64
		for {
			k, err := s.Prune(ctx, r, 7)
			must(t, err)
			if k > 7 {
				t.Fatalf("%d removed at once", k)
			}
			if n += k; k == 0 || n > 100 {
				break
			}
		}
		list, err := s.List(ctx, uploads.Query{Limit: 99})
		if err != nil || n != gone || len(list) != left {
			t.Errorf("%s: %d are gone, %d are left, %v; want %d and %d", step, n, len(list), err, gone, left)
		}
	}
	prune("all are kept", uploads.Retention{}, 0, 61)
	prune("five of each", uploads.Retention{PerThing: 5}, 30, 31)
	list, err := s.List(ctx, uploads.Query{Limit: 99, Thing: "noisy"})
	if want := []int64{59, 56, 53, 50, 47}; err != nil || !slices.Equal(numbers(list), want) {
		t.Errorf("left are %v, %v, want %v", numbers(list), err, want)
	}
	prune("again", uploads.Retention{PerThing: 5, All: 31}, 0, 31)
	prune("and thirty of all", uploads.Retention{PerThing: 5, All: 30}, 1, 30)
	// What was replaced does not count, whosever it was.
	must(t, s.Add(ctx, []uploads.Record{of("pump", "c", "id")}))
	for i := range 9 {
		r := of("lamp", "c", "id")
		r.Size = int64(i + 1)
		must(t, s.Add(ctx, []uploads.Record{r}))
	}
	prune("of what was replaced", uploads.Retention{PerThing: 5, All: 31}, 0, 31)
	prune("one of each", uploads.Retention{PerThing: 1}, 31-8, 8)
	prune("none", uploads.Retention{Since: day().Add(time.Hour)}, 8, 0)
	prune("and of none", uploads.Retention{PerThing: 1, All: 1}, 0, 0)
}

func uploadDoor(t *testing.T, open Opener) {
	t.Helper()
	s, ctx := open(t, nil).Uploads(), t.Context()
	for _, d := range []uploads.DoorSetting{{}, {RoleAlias: "a", Bucket: "b"}, {RoleAlias: "c", Bucket: "d"}, {}, {}} {
		must(t, s.SetDoor(ctx, d))
		if got, err := s.Door(ctx); err != nil || got != d {
			t.Errorf("%+v, %v, want %+v", got, err, d)
		}
	}
}
