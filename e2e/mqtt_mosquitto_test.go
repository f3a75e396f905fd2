//go:build e2e

package e2e_test

import (
	"context"
	"io"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// mosquitto are the arguments that connect the device by mosquitto's programs.
func (d *device) mosquitto(t *testing.T, port, version string, more ...string) []string {
	t.Helper()
	_, number, err := net.SplitHostPort(d.s.mqttAddr(t, port))
	check(t, err)
	args := []string{
		"-h", "localhost", "-p", number, "-V", version, "-i", d.thing, "-q", "1",
		"--cafile", d.s.Env["SEKISHO_ROOT_CA"], "--cert", d.certFile(), "--key", d.keyFile(),
	}
	if alpn := ports()[port]; alpn != "" {
		args = append(args, "--tls-alpn", alpn)
	}
	return append(args, more...)
}

// listener is a program that waits for messages.
type listener struct {
	cmd    *exec.Cmd
	output io.Reader
	seen   strings.Builder
	errors strings.Builder
}

// listen starts a program and waits until it has printed the words.
func listen(t *testing.T, dir string, env []string, until string, command ...string) *listener {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	l := &listener{cmd: exec.CommandContext(ctx, command[0], command[1:]...)}
	l.cmd.Dir, l.cmd.Env, l.cmd.Stderr = dir, env, &l.errors
	l.cmd.WaitDelay = 5 * time.Second
	var err error
	l.output, err = l.cmd.StdoutPipe()
	check(t, err)
	check(t, l.cmd.Start())
	b := make([]byte, 4096)
	for !strings.Contains(l.seen.String(), until) {
		n, err := l.output.Read(b)
		l.seen.Write(b[:n])
		if err != nil {
			t.Fatalf("%v: ended before it said %q: %s%s", command, until, l.seen.String(), l.errors.String())
		}
	}
	return l
}

// end waits for the program's end and returns all that it printed.
func (l *listener) end() (string, error) {
	rest, err := io.ReadAll(l.output)
	l.seen.Write(rest)
	if end := l.cmd.Wait(); end != nil {
		err = end
	}
	return l.seen.String() + l.errors.String(), err
}

// TestMosquitto: mosquitto_pub and mosquitto_sub, in both versions, on both ports.
func TestMosquitto(t *testing.T) {
	t.Parallel()
	need(t, "mosquitto_pub", "mosquitto_sub", "stdbuf")
	for port := range ports() {
		for _, version := range []string{"mqttv311", "mqttv5"} {
			t.Run(version+" "+port, func(t *testing.T) {
				t.Parallel()
				testMosquitto(t, port, version)
			})
		}
	}
}

func testMosquitto(t *testing.T, port, version string) {
	c := shared.newScene(t)
	sub := shared.device(t)
	up, quiet := c.thing+"/up", c.thing+"/quiet"
	sub.grant(t,
		allow("iot:Connect", arnIoT("client/${iot:Connection.Thing.ThingName}")),
		allow("iot:Subscribe", []string{arnIoT("topicfilter/" + up), arnIoT("topicfilter/" + quiet)}),
		allow("iot:Receive", arnIoT("topic/"+up)),
	)
	dir, env := t.TempDir(), shared.environ()
	heard := listen(t, dir, env, "Subscribed (mid: 1): 1, 1", append([]string{"stdbuf", "-oL", "mosquitto_sub"}, sub.mosquitto(t, port, version, "-t", quiet, "-t", up, "-C", "1", "-W", "15", "-d", "-F", "> %t %p")...)...)
	pub := func(topic, payload string, more ...string) (string, error) {
		time.Sleep(1100 * time.Millisecond) // one CONNECT a second by one client ID
		out, stderr, err := try(t, dir, env, "mosquitto_pub", c.mosquitto(t, port, version, append(more, "-t", topic, "-m", payload)...)...)
		return out + stderr, err
	}
	for _, topic := range []string{quiet, up} {
		if out, err := pub(topic, "hello "+topic[len(c.thing)+1:]); err != nil {
			t.Fatalf("publish to %s: %v %s", topic, err, out)
		}
	}
	if out, err := heard.end(); err != nil || !slices.Equal(said(out), []string{up + " hello up"}) {
		t.Errorf("the subscriber: %v %s", err, out)
	}
	if out, err := pub(c.elsewhere, "contraband"); err == nil && !strings.Contains(out, "Not authorized") {
		t.Errorf("publish to %s was not refused: %s", c.elsewhere, out)
	}
	out, stderr, err := try(t, dir, env, "mosquitto_sub", sub.mosquitto(t, port, version, "-t", c.elsewhere, "-C", "1", "-W", "10")...)
	if !strings.Contains(out+stderr, "All subscription requests were denied") { // and it ends with 0
		t.Errorf("subscribe to %s: %v %s%s", c.elsewhere, err, out, stderr)
	}
	c.heard(t, "quiet", "up")
	sub.denied(t, "iot:Receive", "topic/"+quiet)
	sub.denied(t, "iot:Subscribe", "topicfilter/"+c.elsewhere)
	c.denied(t, "iot:Publish", "topic/"+c.elsewhere)
}
