package sqlstore

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/pki"
	"github.com/sekisho-iot/sekisho/internal/registry"
	"github.com/sekisho-iot/sekisho/internal/sqlstore/postgrestest"
)

func openWith(t *testing.T, cfg Config) *DB {
	t.Helper()
	d, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// onEach runs a test with the settings of an empty database of each kind.
func onEach(t *testing.T, test func(t *testing.T, cfg Config)) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		test(t, Config{Path: filepath.Join(t.TempDir(), "test.db")})
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		test(t, Config{URL: postgrestest.URL(t)})
	})
}

func set(name, value string) func(*tx) error {
	return func(t *tx) error {
		_, err := t.exec("INSERT INTO settings (name, value) VALUES (?, ?)", name, value)
		t.changed(iot.ChangeThing, name)
		return err
	}
}

func TestWritesAreGroupedAndIndependent(t *testing.T) {
	t.Parallel()
	onEach(t, writesAreGroupedAndIndependent)
}

func writesAreGroupedAndIndependent(t *testing.T, cfg Config) {
	t.Helper()
	var mu sync.Mutex
	announced := map[string]int{}
	cfg.OnChange = func(c iot.Change) {
		mu.Lock()
		defer mu.Unlock()
		announced[c.ID]++
	}
	d := openWith(t, cfg)
	boom := errors.New("boom")
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			name := fmt.Sprintf("n%d", i)
			err := d.write(t.Context(), func(t *tx) error {
				if err := set(name, "v")(t); err != nil {
					return err
				}
				switch i % 10 {
				case 3:
					return boom
				case 7:
					panic("in a write")
				}
				return nil
			})
			failed := i%10 == 3 || i%10 == 7
			if (err != nil) != failed {
				t.Errorf("write %d: %v", i, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if want := map[bool]int{true: 0, false: 1}[failed]; announced[name] != want {
				t.Errorf("write %d was announced %d times on return, want %d", i, announced[name], want)
			}
		})
	}
	wg.Wait()
	for i := range 200 {
		v, err := d.Setting(t.Context(), fmt.Sprintf("n%d", i))
		if err != nil {
			t.Fatal(err)
		}
		if want := map[bool]string{true: "", false: "v"}[i%10 == 3 || i%10 == 7]; v != want {
			t.Errorf("n%d = %q, want %q", i, v, want)
		}
	}
}

func TestAFailedStatementUndoesItsOwnWriteOnly(t *testing.T) {
	t.Parallel()
	onEach(t, aFailedStatementUndoesItsOwnWriteOnly)
}

func aFailedStatementUndoesItsOwnWriteOnly(t *testing.T, cfg Config) {
	t.Helper()
	d := openWith(t, cfg)
	if err := d.write(t.Context(), set("a", "1")); err != nil {
		t.Fatal(err)
	}
	err := d.write(t.Context(), func(t *tx) error {
		if err := set("b", "1")(t); err != nil {
			return err
		}
		return set("a", "2")(t) // violates the key
	})
	if err == nil {
		t.Fatal("a violated key was accepted")
	}
	for name, want := range map[string]string{"a": "1", "b": ""} {
		if v, err := d.Setting(t.Context(), name); err != nil || v != want {
			t.Errorf("%s = %q, %v, want %q", name, v, err, want)
		}
	}
}

// A service's own error undoes what came before it, however that was written.
func TestARefusedWriteIsUndone(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		t.Helper()
		d := openWith(t, cfg)
		if err := d.write(t.Context(), set("a", "1")); err != nil {
			t.Fatal(err)
		}
		refusal := iot.Errorf(iot.KindConflict, "setting", "no")
		var name string
		for what, fn := range map[string]func(x *tx) error{
			"row": func(x *tx) error {
				return x.queryRow("DELETE FROM settings WHERE name = 'a' RETURNING name").Scan(&name)
			},
			"rows": func(x *tx) error {
				rows, err := x.query("DELETE FROM settings WHERE name = 'a' RETURNING name")
				if err != nil {
					return err
				}
				defer rows.Close()
				for rows.Next() {
				}
				return rows.Err()
			},
			"exec": set("b", "1"),
		} {
			var wg sync.WaitGroup
			for i := range 10 { // some of them in one batch
				wg.Go(func() {
					if i > 0 {
						if err := d.write(t.Context(), set(fmt.Sprint(what, i), "1")); err != nil {
							t.Error(err)
						}
						return
					}
					err := d.write(t.Context(), func(x *tx) error { return cmp.Or(fn(x), error(refusal)) })
					if !errors.Is(err, refusal) {
						t.Errorf("%s: %v", what, err)
					}
				})
			}
			wg.Wait()
			for name, want := range map[string]string{"a": "1", "b": "", what + "1": "1", what + "9": "1"} {
				if v, err := d.Setting(t.Context(), name); err != nil || v != want {
					t.Errorf("%s: %s = %q, %v, want %q", what, name, v, err, want)
				}
			}
		}
	})
}

func TestFixedSettingsStayFixedAcrossStarts(t *testing.T) {
	t.Parallel()
	onEach(t, fixedSettingsStayFixedAcrossStarts)
}

func fixedSettingsStayFixedAcrossStarts(t *testing.T, cfg Config) {
	t.Helper()
	for _, region := range []string{"eu-west-1", "us-east-1"} {
		d, err := Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.FixSetting(t.Context(), "region", region)
		if err != nil || got != "eu-west-1" {
			t.Errorf("region = %q, %v", got, err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestClosedDatabaseAnswersErrClosed(t *testing.T) {
	t.Parallel()
	onEach(t, closedDatabaseAnswersErrClosed)
}

func closedDatabaseAnswersErrClosed(t *testing.T, cfg Config) {
	t.Helper()
	d := openWith(t, cfg)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.write(t.Context(), set("a", "1")); !errors.Is(err, ErrClosed) {
		t.Errorf("write: %v", err)
	}
	if _, err := d.Setting(t.Context(), "a"); !errors.Is(err, ErrClosed) {
		t.Errorf("read: %v", err)
	}
}

func TestTheFilesAreTheOwnersAlone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "test.db")
	d, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	if err := d.write(t.Context(), set("a", "1")); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		st, err := os.Stat(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %04o", st.Name(), st.Mode().Perm())
		}
	}
}

func TestANewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	onEach(t, aNewerSchemaIsRefused)
}

func aNewerSchemaIsRefused(t *testing.T, cfg Config) {
	t.Helper()
	d, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	err = d.write(t.Context(), func(t *tx) error {
		_, err := t.exec("INSERT INTO schema_migrations (version, name) VALUES (9999, 'future')")
		return err
	})
	if err := errors.Join(err, d.Close()); err != nil {
		t.Fatal(err)
	}
	if d, err := Open(t.Context(), cfg); err == nil {
		t.Fatal("opened", d.Close())
	}
}

func BenchmarkWrite(b *testing.B) {
	b.Run("SQLite", func(b *testing.B) {
		benchmarkWrite(b, Config{Path: filepath.Join(b.TempDir(), "bench.db")})
	})
	b.Run("PostgreSQL", func(b *testing.B) {
		benchmarkWrite(b, Config{URL: postgrestest.URL(b)})
	})
}

// benchmarkWrite is eight clients that make things and attach policies.
func benchmarkWrite(b *testing.B, cfg Config) {
	b.Helper()
	d, err := Open(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = d.Close() })
	r, ctx := d.Registry(), b.Context()
	const clients, certificates, policies = 8, 1000, 20
	for i := range certificates {
		err := d.Certificates().InsertCertificate(ctx, pki.Record{ID: iot.CertificateID(fmt.Sprintf("c%d", i)), DER: []byte{1}})
		if err != nil {
			b.Fatal(err)
		}
	}
	for i := range policies {
		if err := r.CreatePolicy(ctx, registry.Policy{Name: iot.PolicyName(fmt.Sprintf("p%d", i)), GenerationID: "g"}, "{}", nil); err != nil {
			b.Fatal(err)
		}
	}
	for _, c := range []struct {
		name  string
		write func(i int) error
	}{
		{"CreateThing", func(i int) error {
			name := fmt.Sprintf("t%d", i)
			_, err := r.CreateThing(ctx, &registry.Thing{Name: iot.ThingName(name), ID: name, Attributes: map[string]string{"site": "x"}})
			return err
		}},
		{"AttachPolicy", func(i int) error { // up to 20,000 times
			return r.AttachPolicy(ctx, iot.PolicyName(fmt.Sprintf("p%d", i/certificates%policies)),
				iot.ARN(fmt.Sprintf("arn:aws:iot:us-east-1:000000000000:cert/c%d", i%certificates)), policies, time.UnixMilli(1))
		}},
	} {
		var next atomic.Int64 // goes on from run to run
		b.Run(c.name, func(b *testing.B) {
			var wg sync.WaitGroup
			end := next.Load() + int64(b.N)
			for range clients {
				wg.Go(func() {
					for i := next.Add(1); i <= end; i = next.Add(1) {
						if err := c.write(int(i)); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
		})
	}
}
