package queue_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/queue"
)

const childDir = "SEKISHO_QUEUE_TEST_DIR"

// child runs the named test in a process of its own, with the folder in its
// environment.
func child(tb testing.TB, name, dir string) *exec.Cmd {
	tb.Helper()
	exe, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.CommandContext(tb.Context(), exe, "-test.run=^"+name+"$", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

// A process is killed in the middle of commits, again and again: all that it
// said was acknowledged is there, and no batch is there in part.
func TestKill(t *testing.T) {
	if dir := os.Getenv(childDir); dir != "" {
		commitForever(t, dir)
		return
	}
	t.Parallel()
	dir := t.TempDir()
	acked := map[uint64]bool{}
	for round := range 5 {
		cmd := child(t, "TestKill", dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if n == 2000*(round+1) {
				_ = cmd.Process.Kill() // what was printed before is still read
			}
			if seq, err := strconv.ParseUint(lines.Text(), 10, 64); err == nil {
				acked[seq] = true
			}
		}
		if err := cmd.Wait(); cmd.ProcessState.ExitCode() != -1 {
			t.Fatal("the child was not killed:", err)
		}
		checkKilled(t, dir, acked)
	}
}

func commitForever(t *testing.T, dir string) {
	t.Helper()
	s := open(t, dir, queue.Options{})
	var seq uint64
	if err := s.Scan([]byte("a/"), nil, 0, func(k, _ []byte) error { seq = binary.BigEndian.Uint64(k[2:]); return nil }); err != nil {
		t.Fatal(err)
	}
	tokens := make(chan struct{}, 500)
	for {
		tokens <- struct{}{}
		seq++
		n := seq
		value := make([]byte, n%700)
		s.Commit(&queue.Batch{Ops: []queue.Op{{Key: key("a/", int(n)), Value: value}, {Key: key("b/", int(n)), Value: value}}}, func(err error) {
			if err == nil {
				fmt.Printf("%d\n", n)
			}
			<-tokens
		})
	}
}

func checkKilled(t *testing.T, dir string, acked map[uint64]bool) {
	t.Helper()
	s := open(t, dir, queue.Options{})
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	found := map[uint64]int{}
	for _, prefix := range []string{"a/", "b/"} {
		err := s.Scan([]byte(prefix), nil, 0, func(k, v []byte) error {
			n := binary.BigEndian.Uint64(k[2:])
			found[n]++
			if len(v) != int(n%700) {
				return fmt.Errorf("value of %d: %d bytes", n, len(v))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for n := range acked {
		if found[n] != 2 {
			t.Fatalf("%d was acknowledged; %d of its keys are there", n, found[n])
		}
	}
	for n, keys := range found {
		if keys != 2 {
			t.Fatalf("batch %d is there in part", n)
		}
	}
	if len(acked) == 0 {
		t.Fatal("nothing was acknowledged")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
