// Package postgrestest gives tests empty databases on the PostgreSQL server
// that SEKISHO_TEST_POSTGRES names: each is a schema of its own, which ends
// with its test.
package postgrestest

import (
	"context"
	"crypto/rand"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Need returns the URL in SEKISHO_TEST_POSTGRES, of a database where schemas
// may be made. Without it the test is skipped.
func Need(tb testing.TB) string {
	tb.Helper()
	u := os.Getenv("SEKISHO_TEST_POSTGRES") //nolint:forbidigo // there is no command to read it
	if u == "" {
		tb.Skip("SEKISHO_TEST_POSTGRES is not set")
	}
	return u
}

// URL makes an empty schema and returns its URL.
func URL(tb testing.TB) string {
	tb.Helper()
	base := Need(tb)
	name := "test_" + strings.ToLower(rand.Text())
	Exec(tb, base, "CREATE SCHEMA "+name)
	tb.Cleanup(func() { Exec(tb, base, "DROP SCHEMA "+name+" CASCADE") })
	return With(tb, base, "search_path", name)
}

// With is a URL with one more parameter.
func With(tb testing.TB, base, name, value string) string {
	tb.Helper()
	u, err := url.Parse(base)
	if err != nil {
		tb.Fatal(err)
	}
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = q.Encode()
	return u.String()
}

// Connect opens a connection that ends with the test.
func Connect(tb testing.TB, u string) *pgx.Conn {
	tb.Helper()
	c, err := pgx.Connect(tb.Context(), u)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close(context.WithoutCancel(tb.Context())) })
	return c
}

// Exec runs one statement on a connection of its own.
func Exec(tb testing.TB, u, statement string, args ...any) {
	tb.Helper()
	ctx := context.WithoutCancel(tb.Context()) // a Cleanup's has ended
	c, err := pgx.Connect(ctx, u)
	if err != nil {
		tb.Fatal(err)
	}
	defer c.Close(ctx) //nolint:errcheck // it has done its work
	if _, err := c.Exec(ctx, statement, args...); err != nil {
		tb.Errorf("%s: %v", statement, err)
	}
}
