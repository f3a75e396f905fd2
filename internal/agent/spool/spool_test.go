package spool_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/agent/spool"
)

const childEnv = "SEKISHO_TEST_SPOOL"

// TestMain is also the process that is killed: it accepts records and says so.
func TestMain(m *testing.M) {
	dir := os.Getenv(childEnv)
	if dir == "" {
		os.Exit(m.Run())
	}
	s, err := spool.Open(dir)
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	for n := 0; ; n++ {
		if err := s.Accept(record(fmt.Sprint(n))); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		fmt.Println(n)
	}
}

func record(id string) spool.Record {
	return spool.Record{ID: id, Path: "/files/" + id, Name: id, Size: 7, ModTime: time.Unix(1, 2), Accepted: time.Unix(3, 0), State: spool.Pending}
}

func open(t *testing.T, dir string) *spool.Spool {
	t.Helper()
	s, err := spool.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childEnv+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	said := 0
	for lines := bufio.NewScanner(out); said < 200 && lines.Scan(); said++ {
		if lines.Text() != fmt.Sprint(said) {
			t.Fatal(lines.Text())
		}
		if said == 100 { // a second agent
			_, err := spool.Open(dir)
			locked, ok := errors.AsType[*spool.LockedError](err)
			if !ok || locked.PID != fmt.Sprint(child.Process.Pid) {
				t.Fatalf("a second agent: %v", err)
			}
		}
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	got := open(t, dir).Records()
	if len(got) < said {
		t.Fatalf("%d records were accepted, %d are there", said, len(got))
	}
	if want := record("0"); !got[0].ModTime.Equal(want.ModTime) || got[0].Path != want.Path {
		t.Errorf("%+v", got[0])
	}
}

func TestStates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	a, b := record("a"), record("b")
	a.Keep = true
	if err := s.Accept(a, b); err != nil {
		t.Fatal(err)
	}
	for range 10000 { // it is written anew on the way
		b.S3Upload = "u"
		if err := s.Save(&b, false); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(filepath.Join(dir, "journal"))
	if err != nil || info.Size() > 4<<20 {
		t.Fatalf("journal: %v, %v", info, err)
	}
	a.Path = filepath.Join(dir, "journal") // a file that exists
	a.State = spool.Done
	if err := s.Save(&a, true); err != nil {
		t.Fatal(err)
	}
	vanished := a
	vanished.Path = filepath.Join(dir, "none")
	if err := s.Save(&vanished, true); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if got := s.Records(); len(got) != 1 || got[0].S3Upload != "u" {
		t.Errorf("%+v", got)
	}
	for range 2 { // the second time after another agent's rewriting
		if !s.Remembers(a.Path, a.Size, a.ModTime) {
			t.Error("what is done was forgotten")
		}
		if s.Remembers(a.Path, a.Size+1, a.ModTime) || s.Remembers(a.Path, a.Size, a.ModTime.Add(1)) {
			t.Error("another version is remembered")
		}
		if s.Remembers(vanished.Path, a.Size, a.ModTime) {
			t.Error("what has vanished is remembered")
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir)
	}
	if all, fresh := s.Load(); all != 1 || fresh != 1 {
		t.Errorf("%d records, %d fresh", all, fresh)
	}
}

// What is remembered of many files takes little memory, and outlives the
// journal's being written anew.
func TestRemembersMany(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	const many = 20000
	path := func(n int) string { return filepath.Join(dir, "files", fmt.Sprintf("image-%06d.jpg", n)) }
	if err := os.Mkdir(filepath.Join(dir, "files"), 0o700); err != nil {
		t.Fatal(err)
	}
	for n := range many {
		if err := os.WriteFile(path(n), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		r := record(fmt.Sprint(n))
		r.Path, r.Keep, r.State = path(n), true, spool.Done
		if err := s.Save(&r, false); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		for n := range many {
			if !s.Remembers(path(n), 7, time.Unix(1, 2)) {
				t.Fatalf("file %d was forgotten", n)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir)
	}
}

func TestDamage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	if err := s.Accept(record("a"), record("b")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "journal")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	try := func(content string) ([]spool.Record, error) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := spool.Open(dir)
		if err != nil {
			return nil, err
		}
		defer s.Close() //nolint:errcheck // nothing was written
		return s.Records(), nil
	}
	for _, torn := range []string{"", "0", "00000000 {", "garbage\nmore"} {
		if got, err := try(string(whole) + torn); err != nil || len(got) != 2 {
			t.Errorf("a last write that was cut to %q: %d records, %v", torn, len(got), err)
		}
	}
	if got, err := try(strings.Replace(string(whole), "/files/a", "/files/x", 1)); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("damage: %d records, %v", len(got), err)
	}
}

// A file that came anew under the name of one that is still on its way has the
// name, whatever becomes of the other, and after a restart.
func TestSamePath(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	old, fresh := record("a"), record("b")
	fresh.Path, fresh.Accepted = old.Path, old.Accepted.Add(-time.Minute) // the device's clock was set
	if err := s.Accept(old); err != nil {
		t.Fatal(err)
	}
	if err := s.Accept(fresh); err != nil {
		t.Fatal(err)
	}
	for _, state := range []spool.State{spool.Stored, spool.Noticed, spool.Done} {
		old.State = state
		if err := s.Save(&old, true); err != nil {
			t.Fatal(err)
		}
		if r, ok := s.Find(old.Path); !ok || r.ID != fresh.ID {
			t.Errorf("with the other %s: %+v, %v", state, r, ok)
		}
		for range 5 { // written anew in no order
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, dir)
			if r, ok := s.Find(old.Path); !ok || r.ID != fresh.ID {
				t.Errorf("with the other %s, opened again: %+v, %v", state, r, ok)
			}
		}
	}
}
