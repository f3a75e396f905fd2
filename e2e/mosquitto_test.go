//go:build e2e

package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/broker/conformance"
	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// mosquittoWait is the longest time that a script may let pass for real.
const mosquittoWait = 4 * time.Second

// TestMosquittoConformance runs the packet scripts of internal/broker against
// mosquitto. What passes there and in internal/broker is what both brokers do;
// where they differ, the script says how and why, and has to.
func TestMosquittoConformance(t *testing.T) {
	t.Parallel()
	need(t, "mosquitto")
	scripts, err := conformance.Load(os.DirFS("../internal/broker/testdata/conformance"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	gate := make(chan struct{}, 24) // mosquitto waits more than it works
	var outcomes []comparison
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
			o := comparison{s.Title() + " " + v.String(), note, make(chan error, 1)}
			outcomes = append(outcomes, o)
			go func() {
				gate <- struct{}{}
				defer func() { <-gate }()
				o.err <- compare(t.Context(), dir, s, v)
			}()
		}
	}
	for _, o := range outcomes {
		t.Run(o.name, func(t *testing.T) { judge(t, o.note, <-o.err) })
	}
}

// comparison is one run of a script, and what the script says of mosquitto.
type comparison struct {
	name, note string
	err        chan error
}

// judge compares the outcome with what the script says of mosquitto.
func judge(t *testing.T, note string, err error) {
	t.Helper()
	switch {
	case errors.Is(err, errNoMosquitto):
		t.Error(err)
	case note == "" && err != nil:
		t.Errorf("mosquitto differs: %v", err)
	case note != "" && err == nil:
		t.Errorf("mosquitto does not differ, but the script says %q", note)
	case note != "":
		t.Logf("%s: %v", note, err)
	}
}

// errNoMosquitto is no difference of mosquitto's.
var errNoMosquitto = errors.New("mosquitto does not run")

// compare runs a script against a mosquitto of its own.
func compare(ctx context.Context, dir string, s *conformance.Script, v mqtt.Version) error {
	dir, err := os.MkdirTemp(dir, "")
	if err != nil {
		return err
	}
	name := filepath.Join(dir, "mosquitto")
	// The topics of conformance scripts that access denies; see package broker's test.
	acl := "topic readwrite #\ntopic readwrite $other/#\ntopic readwrite $t/#\ntopic readwrite $TopicA/#\ntopic deny deny/publish/#\ntopic deny deny/receive/#\n"
	conf := fmt.Sprintf("listener 0 %s.sock\nallow_anonymous true\nacl_file %s.acl\nmax_topic_alias 16\nuser root\n", name, name)
	if err := errors.Join(os.WriteFile(name+".acl", []byte(acl), 0o600), os.WriteFile(name+".conf", []byte(conf), 0o600)); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "mosquitto", "-c", name+".conf")
	if err := cmd.Start(); err != nil {
		return errors.Join(errNoMosquitto, err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	target := &conformance.Target{
		Conditions: []string{"standard", "mosquitto"},
		Dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", name+".sock")
		},
		Clock:   func(d time.Duration) error { time.Sleep(d); return nil },
		Timeout: 3 * time.Second,
		Quiet:   100 * time.Millisecond,
		Terse:   true,
	}
	for range 250 {
		c, err := target.Dial(ctx)
		if err == nil {
			_ = c.Close()
			return s.Run(ctx, v, target)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return errNoMosquitto
}
