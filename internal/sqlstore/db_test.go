package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

func open(t *testing.T, onChange func(iot.Change)) *DB {
	t.Helper()
	d, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "test.db"), OnChange: onChange})
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

func set(name, value string) func(*tx) error {
	return func(t *tx) error {
		_, err := t.exec("INSERT INTO settings (name, value) VALUES (?, ?)", name, value)
		t.changed(iot.ChangeThing, name)
		return err
	}
}

func TestWritesAreGroupedAndIndependent(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	announced := map[string]int{}
	d := open(t, func(c iot.Change) {
		mu.Lock()
		defer mu.Unlock()
		announced[c.ID]++
	})
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
	d := open(t, nil)
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

func TestFixedSettingsStayFixedAcrossStarts(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "test.db")
	for _, region := range []string{"eu-west-1", "us-east-1"} {
		d, err := Open(t.Context(), Config{Path: path})
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
	d := open(t, nil)
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
	path := filepath.Join(t.TempDir(), "test.db")
	d, err := Open(t.Context(), Config{Path: path})
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
	if d, err := Open(t.Context(), Config{Path: path}); err == nil {
		t.Fatal("opened", d.Close())
	}
}

func BenchmarkWrite(b *testing.B) {
	d, err := Open(b.Context(), Config{Path: filepath.Join(b.TempDir(), "bench.db")})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = d.Close() })
	var mu sync.Mutex
	n := 0
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			mu.Lock()
			n++
			name := fmt.Sprintf("n%d", n)
			mu.Unlock()
			if err := d.write(context.Background(), set(name, "v")); err != nil {
				b.Error(err)
			}
		}
	})
}
