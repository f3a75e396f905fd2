package sqlstore

import (
	"cmp"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// inOneBatch has the writer run requests together, in their order.
func inOneBatch(d *DB, fns ...func(*tx) error) []error {
	begun, begin := make(chan struct{}), make(chan struct{})
	var list []*request
	send := func(fn func(*tx) error) {
		list = append(list, &request{fn: fn, done: make(chan struct{})})
		d.requests <- list[len(list)-1]
	}
	once := false
	send(func(*tx) error { // holds the writer up
		if !once {
			once = true
			close(begun)
			<-begin
		}
		return nil
	})
	<-begun
	for _, fn := range fns {
		send(fn)
	}
	close(begin)
	var errs []error
	for _, r := range list {
		<-r.done
		errs = append(errs, r.err)
	}
	return errs[1:]
}

// A commit that fails is the fault of one write; what became of the others is
// not changed by it, a refusal least of all.
func TestAFailedCommitConcernsOneWrite(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		t.Helper()
		var announced []string
		cfg.OnChange = func(c iot.Change) { announced = append(announced, c.ID) }
		d := openWith(t, cfg)
		late := "PRAGMA defer_foreign_keys=ON"
		if cfg.URL != "" {
			late = "ALTER TABLE thing_attributes ALTER CONSTRAINT thing_attributes_thing_name_fkey DEFERRABLE INITIALLY DEFERRED"
		}
		refusal := iot.Errorf(iot.KindNotFound, "setting", "no")
		errs := inOneBatch(d,
			set("a", "1"),
			func(*tx) error { return refusal },
			func(x *tx) error {
				if _, err := x.exec(late); err != nil {
					return err
				}
				x.changed(iot.ChangeThing, "orphan")
				_, err := x.exec("INSERT INTO thing_attributes (thing_name, name, value) VALUES ('nobody', 'n', 'v')")
				return err
			},
			func(x *tx) error {
				if err := set("b", "1")(x); err != nil {
					return err
				}
				return refusal
			},
			set("c", "1"),
		)
		for i, want := range []string{"kept", "refused", "failed", "refused", "kept"} {
			got := "failed"
			if errs[i] == nil {
				got = "kept"
			} else if iot.IsKind(errs[i], iot.KindNotFound) {
				got = "refused"
			}
			if got != want {
				t.Errorf("write %d was %s (%v), want %s", i, got, errs[i], want)
			}
		}
		for name, want := range map[string]string{"a": "1", "b": "", "c": "1"} {
			if v, err := d.Setting(t.Context(), name); err != nil || v != want {
				t.Errorf("%s = %q, %v, want %q", name, v, err, want)
			}
		}
		if want := []string{"a", "c"}; !slices.Equal(announced, want) {
			t.Errorf("announced %q, want %q", announced, want)
		}
	})
}

// Where there is nobody else, undoing all undoes the one that failed: it is
// not tried again, which for the copy of a database would be hours.
func TestAFailedWriteAloneRunsOnce(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		t.Helper()
		d := openWith(t, cfg)
		boom, calls := errors.New("boom"), 0
		err := d.write(t.Context(), func(x *tx) error {
			calls++
			return cmp.Or(set("a", "1")(x), boom)
		})
		if !errors.Is(err, boom) || calls != 1 {
			t.Errorf("%v after %d calls", err, calls)
		}
		if v, err := d.Setting(t.Context(), "a"); err != nil || v != "" {
			t.Errorf("a = %q, %v", v, err)
		}
	})
}

// On a full disk SQLite undoes the whole transaction, of which savepoints are a part.
func TestAFullDiskConcernsWhoNeedsIt(t *testing.T) {
	t.Parallel()
	d := openWith(t, Config{Path: filepath.Join(t.TempDir(), "test.db")})
	refusal, large := iot.Errorf(iot.KindNotFound, "setting", "no"), strings.Repeat("x", 1<<20)
	errs := inOneBatch(d,
		func(x *tx) error {
			_, err := x.exec("PRAGMA max_page_count = 1") // or as many as there are
			return err
		},
		set("a", "1"),
		func(*tx) error { return refusal },
		func(x *tx) error { return cmp.Or(set("b", "1")(x), set("c", large)(x)) },
		set("d", "1"),
	)
	if errs[1] != nil || !errors.Is(errs[2], refusal) || errs[3] == nil || errs[4] != nil {
		t.Errorf("%v", errs)
	}
	for name, want := range map[string]string{"a": "1", "b": "", "c": "", "d": "1"} {
		if v, err := d.Setting(t.Context(), name); err != nil || v != want {
			t.Errorf("%s = %q, %v, want %q", name, v, err, want)
		}
	}
}
