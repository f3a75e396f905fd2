package backup_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/backup"
)

const (
	passphrase = "a passphrase of tests"
	quick      = 8 // work factor
)

// files are what sample archives.
func files() map[string]string {
	return map[string]string{
		"keys.json": "ring", "pki/root-ca.key": "key", "sekisho.db": strings.Repeat("database", 20_000),
		"objects/1e/000000010000000002a83bdd0a3a039e": strings.Repeat("object", 30_000), "queue/queue.db": "",
	}
}

// sample is an archive, sealed.
func sample(tb testing.TB) []byte {
	tb.Helper()
	var sealed bytes.Buffer
	w, err := backup.Seal(&sealed, passphrase, quick)
	check(tb, err)
	check(tb, archive(w))
	check(tb, w.Close())
	return sealed.Bytes()
}

func archive(w io.Writer) error {
	a, err := backup.NewWriter(w, &backup.Manifest{Format: backup.Format, Created: time.Unix(1e9, 0), Region: "eu-west-1"})
	if err != nil {
		return err
	}
	for name, text := range files() {
		if err := a.File(name, int64(len(text)), strings.NewReader(text)); err != nil {
			return err
		}
	}
	return a.Close()
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// extract opens and extracts into a new folder.
func extract(tb testing.TB, sealed []byte) (string, error) {
	tb.Helper()
	plain, err := backup.Open(bytes.NewReader(sealed), passphrase)
	if err != nil {
		return "", err
	}
	return extractPlain(tb, plain)
}

func extractPlain(tb testing.TB, plain io.Reader) (string, error) {
	tb.Helper()
	dir := tb.TempDir()
	root, err := os.OpenRoot(dir)
	check(tb, err)
	defer root.Close() //nolint:errcheck // a test's
	m, err := backup.Extract(plain, root, func(*backup.Manifest) error { return nil })
	if err == nil && m.Region != "eu-west-1" {
		err = fmt.Errorf("region %q", m.Region)
	}
	return dir, err
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	dir, err := extract(t, sample(t))
	check(t, err)
	found := 0
	check(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		found++
		name, err := filepath.Rel(dir, path)
		check(t, err)
		got, err := os.ReadFile(path)
		if want, ok := files()[name]; !ok || string(got) != want {
			t.Errorf("%s: %d bytes are not what was archived", name, len(got))
		}
		if st, err := d.Info(); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v", name, st.Mode())
		}
		return err
	}))
	if found != len(files()) {
		t.Errorf("%d files of %d", found, len(files()))
	}
}

func TestWrongPassphrase(t *testing.T) {
	t.Parallel()
	if _, err := backup.Open(bytes.NewReader(sample(t)), passphrase+"!"); !errors.Is(err, backup.ErrPassphrase) {
		t.Errorf("got %v", err)
	}
	for _, text := range []string{"", "PK\x03\x04", "age-encryption.org/v"} {
		if _, err := backup.Open(strings.NewReader(text), passphrase); !errors.Is(err, backup.ErrNotBackup) {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

// TestCutAndChanged: not one byte may be missing, more, or another.
func TestCutAndChanged(t *testing.T) {
	t.Parallel()
	whole := sample(t)
	damaged := func(what string, b []byte) {
		if _, err := extract(t, b); !errors.Is(err, backup.ErrDamaged) && !errors.Is(err, backup.ErrPassphrase) && !errors.Is(err, backup.ErrNotBackup) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	for at := 1; at < len(whole); at += 9973 {
		damaged(fmt.Sprintf("cut at %d", at), whole[:at])
		changed := bytes.Clone(whole)
		changed[at] ^= 0x40
		damaged(fmt.Sprintf("changed at %d", at), changed)
	}
	damaged("one byte less", whole[:len(whole)-1])
	damaged("one byte more", append(bytes.Clone(whole), 0))
}

// TestNoEnd: sealed as a whole, but the archive in it is not.
func TestNoEnd(t *testing.T) {
	t.Parallel()
	var plain bytes.Buffer
	check(t, archive(&plain))
	for at := 512; at < plain.Len(); at += 512 * 17 {
		if _, err := extractPlain(t, bytes.NewReader(plain.Bytes()[:at])); !errors.Is(err, backup.ErrDamaged) {
			t.Errorf("cut at %d: got %v", at, err)
		}
	}
}

func TestTransfer(t *testing.T) {
	t.Parallel()
	mine, err := backup.NewTransfer()
	check(t, err)
	other, err := backup.NewTransfer()
	check(t, err)
	check(t, backup.CheckRecipient(mine.Recipient()))
	if backup.CheckRecipient("age1nonsense") == nil {
		t.Error("nonsense is a recipient")
	}
	var sent bytes.Buffer
	w, err := backup.SealFor(&sent, mine.Recipient())
	check(t, err)
	_, err = io.WriteString(w, strings.Repeat("x", 200_000))
	check(t, errors.Join(err, w.Close()))
	r, err := mine.Open(bytes.NewReader(sent.Bytes()))
	check(t, err)
	if b, err := io.ReadAll(r); err != nil || len(b) != 200_000 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if _, err := other.Open(bytes.NewReader(sent.Bytes())); err == nil {
		t.Error("somebody else's key opens it")
	}
	r, err = mine.Open(bytes.NewReader(sent.Bytes()[:150_000]))
	check(t, err)
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, backup.ErrDamaged) {
		t.Errorf("broken off: %v", err)
	}
}

func TestNamesOutsideAreRefused(t *testing.T) {
	t.Parallel()
	a, err := backup.NewWriter(io.Discard, &backup.Manifest{})
	check(t, err)
	for _, name := range []string{"../x", "/etc/passwd", "pki/../keys.json", "pki/.hidden", "objects/zz/x", "lock", ""} {
		if a.File(name, 0, strings.NewReader("")) == nil {
			t.Errorf("%q was archived", name)
		}
	}
}

func FuzzExtract(f *testing.F) {
	var plain bytes.Buffer
	check(f, archive(&plain))
	f.Add(plain.Bytes())
	f.Add(plain.Bytes()[:2000])
	f.Fuzz(func(t *testing.T, b []byte) {
		outside := filepath.Join(t.TempDir(), "outside")
		dir := filepath.Join(outside, "in")
		check(t, os.MkdirAll(dir, 0o700))
		root, err := os.OpenRoot(dir)
		check(t, err)
		_, _ = backup.Extract(bytes.NewReader(b), root, func(*backup.Manifest) error { return nil })
		check(t, root.Close())
		entries, err := os.ReadDir(outside)
		check(t, err)
		if len(entries) != 1 {
			t.Fatalf("something was made outside: %v", entries)
		}
	})
}

func FuzzOpen(f *testing.F) {
	f.Add(sample(f)[:400])
	f.Fuzz(func(_ *testing.T, b []byte) {
		if bytes.Contains(b, []byte("-> scrypt")) && !bytes.Contains(b, []byte(" 8\n")) {
			return // costs what it asks for, up to the limit
		}
		if r, err := backup.Open(bytes.NewReader(b), passphrase); err == nil {
			_, _ = io.Copy(io.Discard, r)
		}
	})
}
