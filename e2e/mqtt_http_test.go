//go:build e2e

package e2e_test

import (
	"net"
	"strings"
	"testing"
)

// TestPublishByHTTP: curl with the device's certificate, and the AWS CLI with
// credentials, publish to who subscribes by MQTT.
func TestPublishByHTTP(t *testing.T) {
	t.Parallel()
	need(t, "curl", "aws")
	c := shared.newScene(t)
	c.grant(t, allow("iot:Publish", arnIoT("topic/"+c.thing+"/up"))) // there is no client ID that would make a thing of the certificate
	_, port, err := net.SplitHostPort(shared.mqttAddr(t, "device_https"))
	check(t, err)
	curl := func(topic, payload string) string {
		return runIn(t, t.TempDir(), shared.environ(), "curl", "-sS", "-w", " %{http_code}", "--cacert", shared.Env["SEKISHO_ROOT_CA"],
			"--cert", c.certFile(), "--key", c.keyFile(), "--data-binary", payload, "https://localhost:"+port+"/topics/"+topic+"?qos=1")
	}
	if out := curl(c.thing+"/up", "hello up"); !strings.HasSuffix(out, " 200") || !strings.Contains(out, `"OK"`) {
		t.Errorf("curl: %s", out)
	}
	c.heard(t, "up")
	for _, topic := range []string{c.thing + "/quiet", c.elsewhere} {
		if out := curl(topic, "contraband"); !strings.HasSuffix(out, " 403") {
			t.Errorf("curl to %s: %s", topic, out)
		}
		c.wantLogged(t, map[string]string{"principal": c.certID, "action": "iot:Publish", "resource": arnIoT("topic/" + topic)})
	}
	runIn(t, t.TempDir(), shared.environ(), "aws", "iot-data", "publish", "--topic", c.thing+"/up", "--qos", "1", "--payload", "hello up")
	c.heard(t, "up")
}
