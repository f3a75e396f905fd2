//go:build e2e

package e2e_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/e2e/process"
	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// program is a client library with a program of ours around it, which lives in
// testdata/clients and does what scenario.py and scenario.js say.
type program struct {
	name     string
	command  []string // interpreter and file
	versions []string // "4" for MQTT 3.1.1, "5"
	env      []string
	alpn     bool // asks for x-amzn-mqtt-ca where it is told to
	always   bool // or whatever it is told, on every port
	deaf     bool // does not tell its user the reason code of a PUBACK
}

// programs are the client libraries.
func programs(t *testing.T) []program {
	t.Helper()
	installed, err := filepath.Abs(filepath.Join("..", ".cache", "e2e"))
	check(t, err)
	paho1 := "PYTHONPATH=" + filepath.Join(installed, "paho1")
	node := "NODE_PATH=" + filepath.Join(installed, "node", "node_modules")
	return []program{
		{name: "paho-mqtt 1.6", command: []string{"python3", "paho_client.py"}, versions: []string{"4"}, env: []string{paho1}, alpn: true},
		{name: "paho-mqtt 1.6", command: []string{"python3", "paho_client.py"}, versions: []string{"5"}, env: []string{paho1}, alpn: true, deaf: true},
		{name: "paho-mqtt 2", command: []string{"python3", "paho_client.py"}, versions: []string{"4", "5"}, alpn: true},
		{name: "AWSIoTPythonSDK", command: []string{"python3", "sdk1_client.py"}, versions: []string{"4"}, alpn: true},
		{name: "awsiotsdk", command: []string{"python3", "sdk2_client.py"}, versions: []string{"4", "5"}},
		{name: "aws-iot-device-sdk", command: []string{"node", "sdk1_client.js"}, versions: []string{"4"}, env: []string{node}, alpn: true},
		{name: "aws-iot-device-sdk-v2", command: []string{"node", "sdk2_client.js"}, versions: []string{"4", "5"}, env: []string{node}, alpn: true, always: true},
		{name: "MQTT.js", command: []string{"node", "mqttjs_client.js"}, versions: []string{"4", "5"}, env: []string{node}, alpn: true},
	}
}

// ports are the doors of MQTT over mutual TLS, and what ALPN each is asked with.
func ports() map[string]string { return map[string]string{"mqtt": "", "device_https": alpnMQTT} }

// scene is a device whose policy allows a little, somebody who hears
// everything, and a topic that is not the device's.
type scene struct {
	*device
	elsewhere string
	witness   *link
}

// newScene makes a device that may publish and subscribe to THING/up and
// THING/quiet, and receive THING/up alone.
func (s *server) newScene(t *testing.T) *scene {
	t.Helper()
	d, w := s.device(t), s.device(t)
	const thing = "${iot:Connection.Thing.ThingName}"
	d.grant(t,
		allow("iot:Connect", arnIoT("client/"+thing)),
		allow("iot:Publish", []string{arnIoT("topic/" + thing + "/up"), arnIoT("topic/" + thing + "/quiet")}),
		allow("iot:Subscribe", []string{arnIoT("topicfilter/" + thing + "/up"), arnIoT("topicfilter/" + thing + "/quiet")}),
		allow("iot:Receive", arnIoT("topic/"+thing+"/up")),
	)
	w.grant(t, everything())
	c := &scene{device: d, elsewhere: "not-" + d.thing + "/up", witness: w.open(t, session{id: unique("witness")})}
	got, err := c.witness.subscribe(1, d.thing+"/#", "not-"+d.thing+"/#")
	check(t, err)
	if !slices.Equal(got, []mqtt.ReasonCode{1, 1}) {
		t.Fatalf("the witness was granted %v", got)
	}
	return c
}

// environ is what the programs are told.
func (c *scene) environ(t *testing.T, port, version string) []string {
	t.Helper()
	_, number, err := net.SplitHostPort(c.s.mqttAddr(t, port))
	check(t, err)
	return append(process.CleanEnv(),
		"MQTT_HOST=localhost", "MQTT_PORT="+number, "MQTT_ALPN="+ports()[port], "MQTT_VERSION="+version,
		"MQTT_CA="+c.s.Env["SEKISHO_ROOT_CA"], "MQTT_CERT="+c.certFile(), "MQTT_KEY="+c.keyFile(),
		"MQTT_THING="+c.thing, "MQTT_ELSEWHERE="+c.elsewhere)
}

// run runs the program against a scene of its own and checks both sides.
func (p *program) run(t *testing.T, c *scene, env []string) {
	t.Helper()
	out, stderr, err := try(t, testdata(t, "clients"), append(env, p.env...), p.command[0], p.command[1:]...)
	want := []string{"connected", "subscribed", "received " + c.thing + "/up hello up", "subscribe refused"}
	if !p.deaf {
		want = append(want, "publish refused")
	}
	if got := said(out); err != nil || !slices.Equal(got, want) {
		t.Fatalf("%v, the client says %q, want %q\n%s%s", err, got, want, out, stderr)
	}
	c.heard(t, "quiet", "up")
	c.denied(t, "iot:Receive", "topic/"+c.thing+"/quiet")
	c.denied(t, "iot:Subscribe", "topicfilter/"+c.elsewhere)
	c.denied(t, "iot:Publish", "topic/"+c.elsewhere)
}

// said is what the program says: the libraries print, too.
func said(out string) (lines []string) {
	for line := range strings.Lines(out) {
		if what, ok := strings.CutPrefix(line, "> "); ok {
			lines = append(lines, strings.TrimSpace(what))
		}
	}
	return lines
}

// heard checks that the witness received these messages of the device and no other.
func (c *scene) heard(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		m, err := c.witness.receive(10 * time.Second)
		check(t, err)
		if string(m.Topic) != c.thing+"/"+name || string(m.Payload) != "hello "+name {
			t.Errorf("the witness heard %s: %q, want %s", m.Topic, m.Payload, name)
		}
	}
	if more := c.witness.drain(t, 200*time.Millisecond); len(more) > 0 {
		t.Errorf("the witness also heard %v", more)
	}
}

// denied checks that the log and `sekisho explain` say what was refused and why.
func (d *device) denied(t *testing.T, action, resource string) {
	t.Helper()
	d.wantLogged(t, map[string]string{"msg": "mqtt denied", "client_id": d.thing, "thing": d.thing, "principal": d.certID, "action": action, "resource": arnIoT(resource)})
	d.wantExplained(t, action, resource)
}

// wantLogged waits for a line of the server's log that has these fields, and
// whose explanation is there. It returns the explanation.
func (d *device) wantLogged(t testing.TB, fields map[string]string) string {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		for _, line := range d.s.logged(t) {
			if !matches(line, fields) {
				continue
			}
			why, _ := line["explanation"].(string)
			if why == "" {
				t.Errorf("the log does not explain %v", fields)
			}
			return why
		}
		if time.Now().After(deadline) {
			t.Errorf("the log does not say %v\n%s", fields, d.s.Tail(5))
			return ""
		}
	}
}

func matches(line map[string]any, fields map[string]string) bool {
	for k, v := range fields {
		if line[k] != v {
			return false
		}
	}
	return true
}

// logged reads the server's log.
func (s *server) logged(t testing.TB) (lines []map[string]any) {
	t.Helper()
	f, err := os.Open(s.Log)
	check(t, err)
	defer shut(t, f)
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var line map[string]any
		if json.Unmarshal(sc.Bytes(), &line) == nil {
			lines = append(lines, line)
		}
	}
	check(t, sc.Err())
	return lines
}

// wantExplained runs `sekisho explain`, which must refuse and say why.
func (d *device) wantExplained(t *testing.T, action, resource string) string {
	t.Helper()
	bin, err := process.Binary()
	check(t, err)
	out, stderr, err := try(t, t.TempDir(), d.s.environ(), bin, "explain", "--thing", d.thing, "--action", action, "--resource", arnIoT(resource))
	wantExit(t, err, 1)
	if len(out) < 20 || !strings.Contains(out, "llow") {
		t.Errorf("explain %s %s: %q %s", action, resource, out, stderr)
	}
	return out
}

// TestMQTTClients: every client library, on the MQTT port and by ALPN on the
// HTTPS port, in every version that it speaks, does what the policy allows and
// nothing else.
func TestMQTTClients(t *testing.T) {
	t.Parallel()
	need(t, "python3", "node")
	for _, p := range programs(t) {
		for port, alpn := range ports() {
			if alpn != "" && !p.alpn || alpn == "" && p.always {
				continue
			}
			for _, version := range p.versions {
				t.Run(fmt.Sprintf("%s v%s %s", p.name, version, port), func(t *testing.T) {
					c := shared.newScene(t)
					p.run(t, c, c.environ(t, port, version))
				})
			}
		}
	}
}
