package servertest_test

import (
	"bufio"
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/servertest"
)

// postTopic publishes over HTTPS and returns status and body.
func postTopic(t *testing.T, s *servertest.Server, c *tls.Config, topic string) (status int, body string) {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: c}
	defer tr.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+s.DeviceAddr()+"/topics/"+topic, strings.NewReader("x"))
	must(t, err)
	res, err := tr.RoundTrip(r)
	must(t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	must(t, err)
	return res.StatusCode, string(b)
}

// A device publishes over HTTPS what its policies allow, and the operator hears
// of what they do not.
func TestSecurityRule1_PublishOverHTTPS(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet() // its policy allows no topic
	d := s.Enrol("pump")
	if status, body := postTopic(t, s, d.TLS(), "pump/up"); status != http.StatusForbidden {
		t.Errorf("got %d %s", status, body)
	}
	if status, body := postTopic(t, s, s.TLS(), "pump/up"); status != http.StatusForbidden {
		t.Errorf("without a certificate: got %d %s", status, body)
	}
	for _, record := range s.Log.Denials() {
		if record["msg"] == "mqtt denied" {
			if record["principal"] != d.CertificateID || record["action"] != "iot:Publish" {
				t.Errorf("the denial says %v", record)
			}
			return
		}
	}
	t.Error("no denial in the log")
}

// MQTT over WebSocket opens on the device port for a certificate.
func TestWebSocketOnTheDevicePort(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	d := s.Enrol("pump")
	for _, protocol := range []string{"", "http/1.1", "x-amzn-http-ca"} {
		c := d.TLS()
		if protocol != "" {
			c.NextProtos = []string{protocol}
		}
		conn, err := (&tls.Dialer{Config: c}).DialContext(t.Context(), "tcp", s.DeviceAddr())
		must(t, err)
		must(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
		_, err = io.WriteString(conn, "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n")
		must(t, err)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		must(t, err)
		_ = res.Body.Close()
		if res.StatusCode != http.StatusSwitchingProtocols {
			t.Errorf("ALPN %q: %s", protocol, res.Status)
		}
		_ = conn.Close()
	}
}
