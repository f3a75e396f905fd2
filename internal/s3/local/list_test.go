package local_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/s3"
)

// model is what a listing must say, by going through all keys.
func model(keys []string, in *s3.ListInput) (objects, prefixes []string) {
	seen := map[string]bool{}
	for _, k := range keys {
		rest, ok := strings.CutPrefix(k, in.Prefix)
		if !ok {
			continue
		}
		if i := strings.Index(rest, in.Delimiter); in.Delimiter != "" && i >= 0 {
			common := in.Prefix + rest[:i+len(in.Delimiter)]
			if k > in.After && common != in.After && !seen[common] {
				seen[common] = true
				prefixes = append(prefixes, common)
			}
			continue
		}
		if k > in.After {
			objects = append(objects, k)
		}
	}
	return objects, prefixes
}

func TestListAgainstModel(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	random := rand.New(rand.NewPCG(1, 2))
	pieces := []string{"a", "b", "/", "//", "é", "\xff", "\x00", "ab", "z", "-"}
	set := map[string]bool{"\xff\xff": true, "\xff\xff\xff": true}
	for range 300 {
		var k string
		for range 1 + random.IntN(5) {
			k += pieces[random.IntN(len(pieces))]
		}
		set[k] = true
	}
	var keys []string
	for k := range set {
		w.put(t, k, nil)
		keys = append(keys, k)
	}
	slices.Sort(keys)
	prefixes := []string{"", "a", "a/", "/", "\xff", "\xff\xff", "none", "é"}
	delimiters := []string{"", "/", "//", "b", "\xff", "ab"}
	for _, prefix := range prefixes {
		for _, delimiter := range delimiters {
			for _, after := range []string{"", "a", "a/", "b/b", "\xff", keys[len(keys)/2]} {
				for _, size := range []int{1, 2, 7, 1000} {
					checkPages(t, w, keys, s3.ListInput{Bucket: w.bucket, Prefix: prefix, Delimiter: delimiter, After: after, Max: size})
				}
			}
		}
	}
}

func checkPages(t *testing.T, w *world, keys []string, in s3.ListInput) {
	t.Helper()
	name := fmt.Sprintf("prefix %q delimiter %q after %q by %d", in.Prefix, in.Delimiter, in.After, in.Max)
	objects, prefixes := model(keys, &in)
	var gotObjects, gotPrefixes []string
	for range len(keys) + 2 {
		page, err := w.engine.List(t.Context(), &in)
		if err != nil {
			t.Fatal(name, err)
		}
		if len(page.Objects)+len(page.Prefixes) > in.Max {
			t.Fatalf("%s: a page of %d", name, len(page.Objects)+len(page.Prefixes))
		}
		for _, o := range page.Objects {
			gotObjects = append(gotObjects, o.Key)
		}
		gotPrefixes = append(gotPrefixes, page.Prefixes...)
		if !page.Truncated {
			break
		}
		if len(page.Objects)+len(page.Prefixes) != in.Max {
			t.Fatalf("%s: a truncated page is not full", name)
		}
		in.After = page.Next
	}
	if !slices.Equal(gotObjects, objects) || !slices.Equal(gotPrefixes, prefixes) {
		t.Errorf("%s:\n got %q %q\nwant %q %q", name, gotObjects, gotPrefixes, objects, prefixes)
	}
}

func TestListUploads(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	var want []string
	for _, k := range []string{"a", "a", "a", "b/1", "b/1", "b/2", "c", "d/1"} {
		u, err := w.engine.CreateUpload(t.Context(), &s3.CreateUploadInput{Bucket: w.bucket, Key: k})
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, k+" "+u.ID)
	}
	for _, delimiter := range []string{"", "/"} {
		for _, size := range []int{1, 2, 3, 100} {
			in := s3.ListUploadsInput{Bucket: w.bucket, Delimiter: delimiter, Max: size}
			var got, prefixes []string
			for range 20 {
				page, err := w.engine.ListUploads(t.Context(), &in)
				if err != nil {
					t.Fatal(err)
				}
				for _, u := range page.Uploads {
					got = append(got, u.Key+" "+u.ID)
				}
				prefixes = append(prefixes, page.Prefixes...)
				if !page.Truncated {
					break
				}
				in.After, in.AfterID = page.NextKey, page.NextID
			}
			expect, expectPrefixes := want, []string(nil)
			if delimiter != "" {
				expect, expectPrefixes = append(slices.Clone(want[:3]), want[6]), []string{"b/", "d/"}
			}
			if !slices.Equal(got, expect) || !slices.Equal(prefixes, expectPrefixes) {
				t.Errorf("%q by %d: %q %q", delimiter, size, got, prefixes)
			}
		}
	}
}
