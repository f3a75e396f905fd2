//go:build e2e

package e2e_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/broker/conformance"
)

// mosquittoWait is the longest time that a script may let pass for real.
const mosquittoWait = 4 * time.Second

// TestMosquittoConformance runs the packet scripts of internal/broker against
// mosquitto. What passes there and in internal/broker is what both brokers do;
// where they differ, the script says how and why, and has to.
func TestMosquittoConformance(t *testing.T) {
	t.Parallel()
	binary, err := exec.LookPath("mosquitto")
	if err != nil {
		binary, err = exec.LookPath("/usr/sbin/mosquitto") // which not everybody's path has
	}
	if err != nil {
		t.Skip("mosquitto is not installed")
	}
	scripts, err := conformance.Load(os.DirFS("../internal/broker/testdata/conformance"))
	if err != nil {
		t.Fatal(err)
	}
	gate := make(chan struct{}, 8) // mosquitto waits more than it works
	for i := range scripts {
		s := &scripts[i]
		if !s.Runs("standard") || len(s.Limits) > 0 || s.Clocks() > mosquittoWait || s.Restarts() {
			continue
		}
		for _, v := range s.Versions {
			note := s.Other("mosquitto", v)
			if strings.HasPrefix(note, "skip: ") {
				continue
			}
			t.Run(s.Title()+" "+v.String(), func(t *testing.T) {
				t.Parallel()
				gate <- struct{}{}
				defer func() { <-gate }()
				judge(t, note, s.Run(t.Context(), v, mosquitto(t, binary)))
			})
		}
	}
}

// judge compares the outcome with what the script says of mosquitto.
func judge(t *testing.T, note string, err error) {
	t.Helper()
	switch {
	case note == "" && err != nil:
		t.Errorf("mosquitto differs: %v", err)
	case note != "" && err == nil:
		t.Errorf("mosquitto does not differ, but the script says %q", note)
	case note != "":
		t.Logf("%s: %v", note, err)
	}
}

// mosquitto starts one and returns it as a target.
func mosquitto(t *testing.T, binary string) *conformance.Target {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr)
	_ = l.Close()
	dir := t.TempDir()
	// The topics of conformance scripts that access denies; see package broker's test.
	acl := "topic readwrite #\ntopic readwrite $other/#\ntopic readwrite $t/#\ntopic readwrite $TopicA/#\ntopic deny deny/publish/#\ntopic deny deny/receive/#\n"
	conf := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nacl_file %s\nmax_topic_alias 16\nuser root\n",
		addr.Port, filepath.Join(dir, "acl"))
	for name, data := range map[string]string{"acl": acl, "mosquitto.conf": conf} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), binary, "-c", filepath.Join(dir, "mosquitto.conf"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	target := &conformance.Target{
		Conditions: []string{"standard", "mosquitto"},
		Dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr.String())
		},
		Clock:   func(d time.Duration) error { time.Sleep(d); return nil },
		Timeout: 3 * time.Second,
		Quiet:   100 * time.Millisecond,
		Terse:   true,
	}
	for range 100 {
		c, err := target.Dial(t.Context())
		if err == nil {
			_ = c.Close()
			return target
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("mosquitto does not listen")
	return nil
}
