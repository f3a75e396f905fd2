//go:build e2e && linux

package e2e_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// mostMemory is what the agent may have in memory at any size of a file.
const mostMemory = 20 << 20

// TestDeviceMemory: 256 MiB go through the agent's 20 MB, over TLS.
func TestDeviceMemory(t *testing.T) {
	t.Parallel()
	c := newCamera(t)
	c.set("endpoints.s3", shared.httpsEndpoint(t, "localhost"))
	const size = 256 << 20
	f, err := os.Create(c.path("film.mp4"))
	check(t, err)
	_, err = io.CopyN(f, rand.Reader, size)
	check(t, err)
	check(t, f.Close())
	cmd := exec.CommandContext(t.Context(), c.bin, c.upload("--give-up-after", "60s", "film.mp4")...)
	cmd.Dir, cmd.Env = c.dir, []string{"HOME=" + c.path("home")}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	check(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	// The peak as the kernel has it; rusage would count this test's own before the exec.
	var peak int64
	for tick := time.Tick(10 * time.Millisecond); ; <-tick {
		if kb := highWater(cmd.Process.Pid); kb > 0 {
			peak = kb << 10
		}
		select {
		case err := <-ended:
			if err != nil || !strings.Contains(out.String(), fmt.Sprintf("film.mp4: %d bytes at https://", size)) {
				t.Fatalf("%v\n%s", err, &out)
			}
			if peak == 0 || peak > mostMemory {
				t.Errorf("it had %d bytes in memory, more than %d", peak, mostMemory)
			}
			t.Logf("%.1f MiB at most", float64(peak)/(1<<20))
			return
		default:
		}
	}
}

// highWater is a process's VmHWM in KiB, 0 when it is gone.
func highWater(pid int) (kib int64) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, ok := strings.Cut(string(b), "VmHWM:")
	if !ok {
		return 0
	}
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		return 0
	}
	return kib
}
