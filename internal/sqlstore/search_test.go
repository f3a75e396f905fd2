package sqlstore_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/registry"
	"github.com/sekisho-iot/sekisho/internal/sqlstore"
)

// TestSearchesThatEndEarly: however little work a page may be, all pages together
// have what one has, nothing twice, and every page gets on.
func TestSearchesThatEndEarly(t *testing.T) {
	t.Parallel()
	s := openSQLite(t, nil).Registry()
	for i := range 200 {
		x := &registry.Thing{Name: iot.ThingName(fmt.Sprintf("t%03d", i)), ID: fmt.Sprint(i), Version: 1, CreatedAt: time.UnixMilli(0), UpdatedAt: time.UnixMilli(0), Attributes: map[string]string{
			"a": fmt.Sprint(i % 2), "b": fmt.Sprint(i % 3), "c": fmt.Sprint(i / 100),
		}}
		if _, err := s.CreateThing(t.Context(), x); err != nil {
			t.Fatal(err)
		}
	}
	pages := func(search func(from string) ([]registry.ThingDocument, string, error)) (names []string, n int) {
		for from := ""; ; n++ {
			list, next, err := search(from)
			if err != nil || n > 2000 {
				t.Fatal(n, err)
			}
			for i := range list {
				names = append(names, string(list[i].Name))
			}
			if next == "" {
				return names, n
			}
			if next <= from {
				t.Fatalf("a page from %q goes on from %q", from, next)
			}
			from = next
		}
	}
	for _, query := range []string{
		"attributes.a:0 attributes.b:1", "attributes.a:0 attributes.a:1", "NOT attributes.a:*", "attributes.a:0 NOT attributes.b:0",
		"(attributes.a:0 attributes.a:1) OR attributes.c:1", "(attributes.a:0 attributes.b:0) OR (attributes.a:1 NOT attributes.b:2)",
		"attributes.a:1 NOT (attributes.b:1 attributes.c:0)", "NOT (attributes.c:0 AND (attributes.a:0 OR NOT attributes.b:2))", "thingName:*9 attributes.a:1",
		"thingName:*9", "thingName:t*5", "NOT thingName:*1*", "thingName:t1*7 OR attributes.a:0", "attributes.a:1 thingName:*no*",
	} {
		q, err := registry.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		want, _ := pages(func(from string) ([]registry.ThingDocument, string, error) {
			return s.SearchThings(t.Context(), q, from, 100)
		})
		for _, most := range []int{0, 1, 10, 150} {
			got, n := pages(func(from string) ([]registry.ThingDocument, string, error) {
				return s.SearchWithin(t.Context(), q, from, 7, most)
			})
			if !slices.Equal(got, want) {
				t.Errorf("%s within %d rows: %s, want %s", query, most, strings.Join(got, " "), strings.Join(want, " "))
			}
			if most == 0 && n < 2 {
				t.Errorf("%s: %d pages", query, n)
			}
		}
	}
	ended, end := context.WithCancel(t.Context())
	end()
	q, _ := registry.ParseQuery("*")
	if _, _, err := s.SearchThings(ended, q, "", 100); err == nil {
		t.Error("a search went on for a caller who had given up")
	}
}

// TestSearchAfterUpgrade: what a database had before there were searches is found.
func TestSearchAfterUpgrade(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "test.db")
	open := func() *sqlstore.DB {
		db, err := sqlstore.Open(t.Context(), sqlstore.Config{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		return db
	}
	db := open()
	values := []string{"5", "-5", "5.5", ".5", "-.5", "5.", "1.2.3", "5-5", "--5", "-", ".", "-.", "x5", "5x", "00005", "9-", "1-2.3"}
	for i, v := range values {
		x := &registry.Thing{Name: iot.ThingName(fmt.Sprintf("t%02d", i)), ID: fmt.Sprint(i), Version: 1, CreatedAt: time.UnixMilli(0), UpdatedAt: time.UnixMilli(0), Attributes: map[string]string{"n": v}}
		if _, err := db.Registry().CreateThing(t.Context(), x); err != nil {
			t.Fatal(err)
		}
	}
	search := func() (found []string) {
		q, err := registry.ParseQuery("attributes.n:[-100 TO 100]")
		if err != nil {
			t.Fatal(err)
		}
		list, _, err := db.Registry().SearchThings(t.Context(), q, "", 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range list {
			found = append(found, d.Attributes["n"])
		}
		return found
	}
	want := search()
	if !slices.Equal(want, []string{"5", "-5", "5.5", ".5", "-.5", "5.", "00005"}) {
		t.Errorf("numbers are %q", want)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		"DROP INDEX thing_attributes_by_number", "ALTER TABLE thing_attributes DROP COLUMN number", "DROP TABLE thing_connectivity", "DROP TABLE iot_indexing",
		"DELETE FROM schema_migrations WHERE version = 13",
	} {
		if _, err := raw.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(statement, err)
		}
	}
	if err := raw.Close(); err != nil {
		t.Fatal(err)
	}
	db = open()
	if got := search(); !slices.Equal(got, want) {
		t.Errorf("after the upgrade %q, want %q", got, want)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
