package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/iam"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/pki"
	"github.com/sekisho-iot/sekisho/internal/s3/local"
	"github.com/sekisho-iot/sekisho/internal/sqlstore/postgrestest"
	"github.com/sekisho-iot/sekisho/internal/uploads"
)

// restore makes a database file of a dump in testdata.
func restore(t *testing.T, dump string) string {
	t.Helper()
	src, err := os.ReadFile(filepath.Join("testdata", dump))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "test.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(t.Context(), string(src))
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// content is every row of every table that a copy has to hold.
func content(t *testing.T, d *DB) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	err := d.read(t.Context(), func(q querier) error {
		c := q.(*conn) //nolint:forcetypeassert // of read
		tables, err := inOrder(c)
		if err != nil {
			return err
		}
		for _, table := range tables {
			columns, err := names(c, c.dialect.catalog().columns, table)
			if err != nil {
				return err
			}
			slices.Sort(columns)
			if all[table], err = rowsOf(c, table, columns); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func rowsOf(c *conn, table string, columns []string) ([]string, error) {
	rows, err := c.query("SELECT " + strings.Join(columns, ", ") + " FROM " + table)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := []string{}
	row := newAnyRow(len(columns))
	for rows.Next() {
		if err := rows.Scan(row.dest...); err != nil {
			return nil, err
		}
		text := ""
		for i, v := range row.values {
			text += fmt.Sprintf("%s=%T:%q ", columns[i], v, fmt.Sprint(v))
		}
		list = append(list, text)
	}
	slices.Sort(list)
	return list, rows.Err()
}

func sameContent(t *testing.T, what string, got, want map[string][]string) {
	t.Helper()
	if !slices.Equal(slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want))) {
		t.Errorf("%s: the tables differ", what)
	}
	for table := range want {
		if !slices.Equal(got[table], want[table]) {
			t.Errorf("%s: %s differs:\n%s\nwant\n%s", what, table, strings.Join(got[table], "\n"), strings.Join(want[table], "\n"))
		}
	}
}

// What the first schema held is there after all migrations.
func TestTheFirstSchemaOpens(t *testing.T) {
	t.Parallel()
	d := openWith(t, Config{Path: restore(t, "schema-0006.sql")})
	check := func(what string, ok bool, err error) {
		t.Helper()
		if err != nil || !ok {
			t.Errorf("%s: %v, %v", what, ok, err)
		}
	}
	ctx := t.Context()
	region, err := d.Setting(ctx, "region")
	check("region", region == "us-east-1", err)
	thing, err := d.Registry().Thing(ctx, "pump-1")
	check("thing", err == nil && maps.Equal(thing.Attributes, map[string]string{"site": "north", "line": "3"}), err)
	attached, err := d.Registry().ThingPrincipals(ctx, "pump-1", "", 10)
	if err != nil || len(attached) != 1 {
		t.Fatal(attached, err)
	}
	_, id, _ := strings.Cut(string(attached[0].Principal), "cert/")
	certificate, err := d.Certificates().Certificate(ctx, iot.CertificateID(id))
	check("certificate", certificate.Status == pki.Active && len(certificate.DER) > 500, err)
	policies, err := d.Registry().AttachedPolicies(ctx, attached[0].Principal, "", 10)
	check("policy", slices.Equal(policies, []iot.PolicyName{"devices"}), err)
	versions, err := d.Registry().PolicyVersions(ctx, "devices")
	check("policy versions", len(versions) == 2, err)
	_, version, err := d.Registry().PolicyVersion(ctx, "devices", 1)
	check("policy version", version.Default && strings.Contains(version.Document, "iot:*"), err)
	tags, err := d.Registry().Tags(ctx, "policy/devices")
	check("tags", len(tags) == 1 && tags[0].Value == "water", err)
	alias, err := d.STS().Alias(ctx, "uploader")
	check("role alias", alias.Duration == 1800 && strings.HasSuffix(alias.RoleARN, "role/fleet/Uploader"), err)
	held, err := d.IAM().Held(ctx, iam.Holder{Kind: iam.RoleHolder, Name: "Uploader"})
	check("role's policies", len(held.Inline) == 1, err)
	keys, err := d.IAM().Keys(ctx, "Ann")
	check("access key", len(keys) == 1 && !keys[0].Active && len(keys[0].Sealed) > 0, err)
	bucket, err := d.Buckets().Bucket(ctx, "fleet")
	check("bucket", strings.Contains(string(bucket.Policy), "s3:DeleteBucket"), err)
	small, err := d.Objects().Object(ctx, bucket.ID, "pump-1/small ä.txt", true)
	check("object", string(small.Data) == "small" && small.Layout == local.Inline, err)
	large, err := d.Objects().Object(ctx, bucket.ID, "pump-1/large.bin", false)
	check("object of parts", large.Size == 5<<20+1000 && large.Layout == 2, err)
	running, err := d.Objects().ScanUploads(ctx, bucket.ID, "", local.ID{}, "", 10)
	check("upload", len(running) == 1 && running[0].Key == "pump-1/running.bin", err)
	ledger, err := d.Uploads().List(ctx, uploads.Query{Limit: 10})
	check("ledger", len(ledger) == 4 && ledger[0].Thing == "pump-1" && ledger[0].Key == "pump-1/large.bin", err)
	door, err := d.Uploads().Door(ctx)
	check("door", door == uploads.DoorSetting{RoleAlias: "uploader", Bucket: "fleet"}, err)
	for _, serial := range []string{ // of one that was revoked, and one that was deleted
		"47a45ee3d49e2b62b9ac5aa1c6eedae01fc6b0e96432bedf0869cb62d84442f7",
		"89382848b99bd03c669a66e86fe583e1a679cdae435456debfd4deb75d70c2ca",
	} {
		buried, err := d.Certificates().Buried(ctx, serial, "")
		check("tombstone", buried, err)
	}
}

// A database goes to the other kind and back, and is what it was.
func TestCopyBothWays(t *testing.T) {
	t.Parallel()
	first := openWith(t, Config{Path: restore(t, "schema-0006.sql")})
	middle := openWith(t, Config{URL: postgrestest.URL(t)})
	last := openWith(t, Config{Path: filepath.Join(t.TempDir(), "last.db")})
	want := content(t, first)
	n := 0
	for table, rows := range want {
		n += len(rows)
		if len(rows) == 0 && strings.HasPrefix(table, "things") {
			t.Errorf("the dump has no rows of %s", table)
		}
	}
	done, err := Copy(t.Context(), first, middle, map[string]string{"region": "", "x": "y"})
	if err != nil || done.Rows != int64(n) || done.Tables != len(want) {
		t.Fatal(done, err)
	}
	for name, value := range map[string]string{"region": "", "x": "y"} {
		if v, err := middle.Setting(t.Context(), name); err != nil || v != value {
			t.Errorf("%s = %q, %v", name, v, err)
		}
	}
	if _, err := Copy(t.Context(), middle, last, map[string]string{"region": "us-east-1", "x": ""}); err != nil {
		t.Fatal(err)
	}
	got := content(t, last)
	sameContent(t, "the copy of the copy", got, want)
	if _, err := Copy(t.Context(), first, middle, nil); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("into one that is not empty: %v", err)
	}
}

// A copy that fails leaves the target as it was.
func TestAFailedCopyLeavesNothing(t *testing.T) {
	t.Parallel()
	from := openWith(t, Config{Path: restore(t, "schema-0006.sql")})
	to := openWith(t, Config{URL: postgrestest.URL(t)})
	before := content(t, to)
	err := from.write(t.Context(), func(x *tx) error { // PostgreSQL takes no such text
		_, err := x.exec("UPDATE uploads SET name = ? WHERE number = 1", "a\x00b")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Copy(t.Context(), from, to, nil); !iot.IsKind(err, iot.KindInvalid) || !strings.Contains(err.Error(), "uploads") {
		t.Errorf("copy: %v", err)
	}
	sameContent(t, "the target", content(t, to), before)
	err = from.write(t.Context(), func(x *tx) error {
		_, err := x.exec("UPDATE uploads SET name = 'x' WHERE number = 1")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Copy(t.Context(), from, to, nil); err != nil {
		t.Errorf("again: %v", err)
	}
}

// An empty key is no missing one, on the way there and back.
func TestEmptyBytesAreCopied(t *testing.T) {
	t.Parallel()
	first := openWith(t, Config{Path: filepath.Join(t.TempDir(), "first.db")})
	middle := openWith(t, Config{URL: postgrestest.URL(t)})
	last := openWith(t, Config{Path: filepath.Join(t.TempDir(), "last.db")})
	if err := first.Uploads().Add(t.Context(), []uploads.Record{{Thing: "t", Topic: "a/b", Name: "n"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := Copy(t.Context(), first, middle, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := Copy(t.Context(), middle, last, nil); err != nil {
		t.Fatal(err)
	}
	sameContent(t, "the copy of the copy", content(t, last), content(t, first))
}

// A source or target that has nothing to do for a while is not ended meanwhile.
func TestACopyMayTakeItsTime(t *testing.T) {
	t.Parallel()
	u := postgrestest.URL(t)
	admin := postgrestest.Connect(t, u)
	d := openWith(t, Config{URL: postgrestest.With(t, u, "idle_in_transaction_session_timeout", "500ms")})
	slowly := func(c *conn) error {
		if err := c.dialect.patient(c); err != nil {
			return err
		}
		if _, err := admin.Exec(t.Context(), "SELECT pg_sleep(1)"); err != nil {
			return err
		}
		var one int
		return c.queryRow("SELECT 1").Scan(&one)
	}
	if err := d.read(t.Context(), func(q querier) error { return slowly(q.(*conn)) }); err != nil { //nolint:forcetypeassert // of read
		t.Error(err)
	}
	if err := d.write(t.Context(), func(x *tx) error { return slowly(x.conn) }); err != nil {
		t.Error(err)
	}
}

// impatient is a context that ends once it has been asked a number of times.
type impatient struct {
	context.Context //nolint:containedctx // it is one
	patience        int
}

func (c *impatient) Err() error {
	if c.patience--; c.patience < 0 {
		return context.Canceled
	}
	return nil
}

// Who gives up is not kept waiting for all of it, and the target stays empty.
func TestACopyThatIsInterrupted(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		t.Helper()
		from := openWith(t, Config{Path: filepath.Join(t.TempDir(), "from.db")})
		to := openWith(t, cfg)
		before := content(t, to)
		for i := range 100 {
			if err := from.SetSetting(t.Context(), fmt.Sprint(i), "x"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Copy(&impatient{t.Context(), 50}, from, to, nil); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		sameContent(t, "the target", content(t, to), before)
	})
}
