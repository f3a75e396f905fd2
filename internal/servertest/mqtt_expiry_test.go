package servertest_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
	"github.com/sekisho-iot/sekisho/internal/servertest"
)

// rideMQTT is an IAM policy for all of MQTT.
const rideMQTT = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iot:Connect","iot:Publish","iot:Subscribe","iot:Receive"],"Resource":"*"}]}`

// upgrade is a signed request that opens a WebSocket.
func upgrade() servertest.Request {
	h := http.Header{}
	for k, v := range map[string]string{"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "mqtt"} {
		h.Set(k, v)
	}
	return servertest.Request{Method: http.MethodGet, Target: "/mqtt?X-Amz-Expires=86400", Service: "iotdevicegateway", Presign: true, Header: h}
}

// http1 is how a WebSocket's connection begins.
func http1(c *tls.Config) *http.Transport {
	c.NextProtos = []string{"http/1.1"}
	return &http.Transport{TLSClientConfig: c}
}

// webSocket opens one and sends a CONNECT over it, whose answer it returns.
func webSocket(t *testing.T, s *servertest.Server, p aws.CredentialsProvider, clientID string) (io.ReadWriteCloser, []byte) {
	t.Helper()
	res, err := http1(s.TLS()).RoundTrip(s.Signed(p, upgrade())) //nolint:bodyclose // it becomes the connection
	must(t, err)
	conn, ok := res.Body.(io.ReadWriteCloser)
	if res.StatusCode != http.StatusSwitchingProtocols || !ok {
		t.Fatalf("the WebSocket: %s", res.Status)
	}
	t.Cleanup(func() { _ = conn.Close() })
	b, err := (&mqtt.Connect{Version: mqtt.V311, CleanStart: true, KeepAlive: 600, ClientID: []byte(clientID)}).Append(nil, mqtt.V311)
	must(t, err)
	_, err = conn.Write(append([]byte{0x82, 0x80 | byte(len(b)), 0, 0, 0, 0}, b...)) // masked with zeros
	must(t, err)
	answer := make([]byte, 6) // a frame's header and CONNACK
	_, err = io.ReadFull(conn, answer)
	must(t, err)
	return conn, answer
}

// A connection by WebSocket ends when the credentials that opened it expire, a
// user's after a day; and a URL does not outlive its session.
func TestWebSocketEndsWithItsCredentials(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		who   func(*testing.T, *servertest.Server) aws.CredentialsProvider
		lives time.Duration
	}{
		"a session":    {sessionOf, time.Hour},
		"a user's key": {func(_ *testing.T, s *servertest.Server) aws.CredentialsProvider { return s.NewUser("rider", rideMQTT) }, 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := servertest.Start(t)
			p := c.who(t, s)
			conn, answer := webSocket(t, s, p, "rider")
			if !bytes.Equal(answer, []byte{0x82, 4, 0x20, 2, 0, 0}) {
				t.Fatalf("CONNECT was answered with %x", answer)
			}
			late := s.Signed(p, upgrade())
			s.Clock.Move(c.lives - time.Minute)
			ping := []byte{0x82, 0x82, 0, 0, 0, 0, 0xc0, 0}
			_, err := conn.Write(ping)
			must(t, err)
			pong := make([]byte, 4)
			_, err = io.ReadFull(conn, pong)
			must(t, err)
			if !bytes.Equal(pong, []byte{0x82, 2, 0xd0, 0}) {
				t.Errorf("a minute before the end PINGREQ was answered with %x", pong)
			}
			s.Clock.Move(2 * time.Minute)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_, _ = io.Copy(io.Discard, conn) // however it ends
			}()
			select {
			case <-ended:
			case <-time.After(10 * time.Second):
				t.Error("the connection goes on after the credentials expired")
				must(t, conn.Close())
				<-ended
			}
			res, err := http1(s.TLS()).RoundTrip(late)
			must(t, err)
			defer res.Body.Close()
			if res.StatusCode/100 != 4 {
				t.Errorf("a URL that was signed before: %s", res.Status)
			}
		})
	}
}

// sessionOf is a device's session with a role that may use MQTT.
func sessionOf(t *testing.T, s *servertest.Server) aws.CredentialsProvider {
	t.Helper()
	s.Fleet()
	_, err := s.IAM.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: aws.String(servertest.Role), PolicyName: aws.String("mqtt"), PolicyDocument: aws.String(rideMQTT)})
	must(t, err)
	return s.Enrol("pump").Session()
}

// A connection by certificate ends when the certificate expires.
func TestMQTTEndsWithItsCertificate(t *testing.T) {
	t.Parallel()
	s := fleetMQTT(t)
	c, code := connect(t, s.Enrol("pump"), "pump")
	if code != 0 {
		t.Fatalf("CONNACK %x", code)
	}
	s.Clock.Move(200 * 365 * 24 * time.Hour)
	for {
		first, body := c.packet()
		if first == 0 {
			return
		}
		if first>>4 != byte(mqtt.TypeDisconnect) || body[0] < 0x80 {
			t.Errorf("got %x %q", first, body)
		}
	}
}
