package sqlstore_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/registry"
	"github.com/sekisho-iot/sekisho/internal/sqlstore"
)

// BenchmarkSearch makes SEKISHO_BENCH_THINGS things, 1,000,000 unless it is set,
// and prints the bytes that a thing takes and how long searches and listings last.
//
//	go test -run none -bench Search -benchtime 200x ./internal/sqlstore
func BenchmarkSearch(b *testing.B) {
	things := 1_000_000
	if s := os.Getenv("SEKISHO_BENCH_THINGS"); s != "" {
		things, _ = strconv.Atoi(s)
	}
	path := filepath.Join(b.TempDir(), "bench.db")
	db, err := sqlstore.Open(b.Context(), sqlstore.Config{Path: path, Fast: true})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	}()
	s := db.Registry()
	fill(b, s, things)
	b.Run("store", func(b *testing.B) {
		for b.Loop() {
			info, err := os.Stat(path)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(info.Size())/float64(things), "bytes/thing")
		}
	})
	middle := iot.ThingName(fmt.Sprintf("pump-%07d", things/2))
	for _, c := range []struct {
		name string
		run  func(i int) error
	}{
		{"attribute of 1000 things", searchFor(b, s, func(i int) string { return fmt.Sprintf("attributes.site:site-%d", i*7919%(things/1000)) })},
		{"attribute of one thing", searchFor(b, s, func(i int) string { return fmt.Sprintf("attributes.serial:SN%08d", i*7919%things) })},
		{"attribute of every second thing", searchFor(b, s, func(int) string { return "attributes.line:1" })},
		{"attribute, the last page", func(i int) error {
			q, _ := registry.ParseQuery("attributes.line:1")
			_, _, err := s.SearchThings(b.Context(), q, fmt.Sprintf("pump-%07d", things-300), 100)
			return err
		}},
		{"attribute and attribute", searchFor(b, s, func(i int) string {
			return fmt.Sprintf("attributes.site:site-%d AND attributes.line:1", i*7919%(things/1000))
		})},
		{"number range of 1000 things", searchFor(b, s, func(i int) string {
			return fmt.Sprintf("attributes.serial:[\"SN%08d\" TO \"SN%08d\"]", i*7919%(things-1000), i*7919%(things-1000)+999)
		})},
		{"name prefix of 1000 things", searchFor(b, s, func(i int) string { return fmt.Sprintf("thingName:pump-%04d*", i*7919%(things/1000)) })},
		{"type and not attribute", searchFor(b, s, func(i int) string {
			return fmt.Sprintf("thingTypeName:pump NOT attributes.site:site-%d", i*7919%(things/1000))
		})},
		{"listing, from the middle", func(int) error { _, err := s.Things(b.Context(), registry.ThingFilter{}, middle, 100); return err }},
		{"listing by attribute, from the middle", func(int) error {
			_, err := s.Things(b.Context(), registry.ThingFilter{AttributeName: "line", AttributeValue: "1"}, middle, 100)
			return err
		}},
		{"one thing", func(i int) error {
			_, err := s.Thing(b.Context(), iot.ThingName(fmt.Sprintf("pump-%07d", i*7919%things)))
			return err
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			took := make([]time.Duration, 0, b.N)
			for i := 0; b.Loop(); i++ {
				start := time.Now()
				if err := c.run(i); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}

func searchFor(b *testing.B, s *sqlstore.RegistryStore, query func(i int) string) func(i int) error {
	b.Helper()
	return func(i int) error {
		q, err := registry.ParseQuery(query(i))
		if err != nil {
			return err
		}
		list, _, err := s.SearchThings(b.Context(), q, "", 100)
		if err == nil && len(list) == 0 {
			return fmt.Errorf("nothing found by %s", query(i))
		}
		return err
	}
}

// fill makes things with a type and three attributes, 256 to a commit.
func fill(b *testing.B, s *sqlstore.RegistryStore, things int) {
	b.Helper()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if _, err := s.CreateThingType(b.Context(), registry.ThingType{Name: "pump", ID: "t", Searchable: []string{"site", "line", "serial"}, CreatedAt: at}, nil); err != nil {
		b.Fatal(err)
	}
	const writers = 256
	failed := make(chan error, writers)
	for w := range writers {
		go func() {
			for i := w; i < things; i += writers {
				_, err := s.CreateThing(b.Context(), &registry.Thing{
					Name: iot.ThingName(fmt.Sprintf("pump-%07d", i)), ID: fmt.Sprintf("%08x-0000-4000-8000-%012x", i*2654435761%(1<<32), i), TypeName: "pump", Version: 1, CreatedAt: at, UpdatedAt: at,
					Attributes: map[string]string{
						"site": fmt.Sprintf("site-%d", i*31%(things/1000)), "line": strconv.Itoa(i / 7 % 2), "serial": fmt.Sprintf("SN%08d", i),
					},
				})
				if err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
	}
	for range writers {
		if err := <-failed; err != nil {
			b.Fatal(err)
		}
	}
}
