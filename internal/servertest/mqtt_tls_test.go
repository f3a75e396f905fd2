package servertest_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
	"github.com/sekisho-iot/sekisho/internal/server"
	"github.com/sekisho-iot/sekisho/internal/servertest"
)

// mqttFleet is a server whose devices may do everything over MQTT.
func mqttFleet(t *testing.T) *servertest.Server {
	t.Helper()
	s := servertest.Start(t, func(o *server.Options) {
		o.MQTTLimits = map[string]string{"mqtt-connect-rate": "0"}
	})
	s.Fleet()
	_, err := s.IoT.CreatePolicyVersion(t.Context(), &iot.CreatePolicyVersionInput{
		PolicyName: aws.String(servertest.Policy), SetAsDefault: true,
		PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}`),
	})
	must(t, err)
	return s
}

// talker is an MQTT 3.1.1 client.
type talker struct {
	net.Conn
	in []byte
}

func (c *talker) send(packets ...mqtt.Packet) error {
	var out []byte
	for _, p := range packets {
		var err error
		if out, err = p.Append(out, mqtt.V311); err != nil {
			return err
		}
	}
	_, err := c.Write(out)
	return err
}

// next returns the next packet's type and bytes.
func (c *talker) next() (mqtt.PacketType, []byte, error) {
	for {
		n, err := mqtt.Frame(c.in, 0)
		if err != nil {
			return 0, nil, err
		}
		if n > 0 {
			frame := c.in[:n]
			c.in = c.in[n:]
			return mqtt.TypeOf(frame), frame, nil
		}
		b := make([]byte, 32<<10)
		n, err = c.Read(b)
		c.in = append(c.in, b[:n]...)
		if n == 0 && err != nil {
			return 0, nil, err
		}
	}
}

func (c *talker) connect(id string) error {
	if err := c.send(&mqtt.Connect{Version: mqtt.V311, CleanStart: true, ClientID: []byte(id)}); err != nil {
		return err
	}
	kind, frame, err := c.next()
	if err == nil && (kind != mqtt.TypeConnack || frame[3] != 0) {
		err = fmt.Errorf("CONNACK: %x", frame)
	}
	return err
}

// job subscribes to a topic, publishes to it, and leaves.
func (c *talker) job(id string) error {
	topic, payload := []byte("job/"+id), bytes.Repeat([]byte("0123456789"), 6000)
	err := errors.Join(c.connect(id), c.send(&mqtt.Subscribe{ID: 1, Subscriptions: []mqtt.Subscription{{Filter: mqtt.Filter{Text: topic}, Options: 1}}}))
	if err != nil {
		return err
	}
	const times = 3
	for i := range uint16(times) {
		if err := c.send(&mqtt.Publish{QoS: 1, ID: 10 + i, Topic: topic, Payload: payload}, &mqtt.Ping{Type: mqtt.TypePingreq}); err != nil {
			return err
		}
	}
	seen := map[mqtt.PacketType]int{}
	for seen[mqtt.TypePublish] < times || seen[mqtt.TypePuback] < times || seen[mqtt.TypePingresp] < times {
		kind, frame, err := c.next()
		if err != nil {
			return fmt.Errorf("after %v: %w", seen, err)
		}
		seen[kind]++
		if kind == mqtt.TypePublish && !bytes.HasSuffix(frame, payload) {
			return errors.New("not what was published")
		}
	}
	if err := c.send(&mqtt.Disconnect{}); err != nil {
		return err
	}
	if kind, _, err := c.next(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("after DISCONNECT: type %d, %w", kind, err)
	}
	return nil
}

// Every version and cipher suite serves, whoever carries on with it after the handshake.
func TestMQTTOverTLS(t *testing.T) {
	t.Parallel()
	s := mqttFleet(t)
	for i, suite := range []uint16{
		0, // TLS 1.3
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
	} {
		d := s.Enrol(fmt.Sprintf("thing-%d", i))
		for door, addr := range []string{s.MQTTAddr(), s.DeviceAddr()} {
			conf := d.TLS()
			conf.NextProtos = []string{"x-amzn-mqtt-ca"}
			if suite != 0 {
				conf.MaxVersion, conf.CipherSuites = tls.VersionTLS12, []uint16{suite}
			}
			conn, err := (&tls.Dialer{Config: conf}).DialContext(t.Context(), "tcp", addr)
			must(t, err)
			must(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
			if err := (&talker{Conn: conn}).job(fmt.Sprintf("%s-%d", d.Thing, door)); err != nil {
				t.Errorf("%s on %s: %v", tls.CipherSuiteName(suite), addr, err)
			}
			_ = conn.Close()
		}
	}
}

// What changes in a TLS connection on its way ends it.
func TestMQTTForgedRecord(t *testing.T) {
	t.Parallel()
	s := mqttFleet(t)
	d := s.Enrol("pump")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		under, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.MQTTAddr())
		must(t, err)
		f := &forger{Conn: under}
		conf := d.TLS()
		conf.MaxVersion = version
		conn := tls.Client(f, conf)
		must(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
		c := &talker{Conn: conn}
		must(t, c.connect(tls.VersionName(version)))
		f.forge = true
		must(t, c.send(&mqtt.Ping{Type: mqtt.TypePingreq}))
		_, _, err = c.next()
		if op, ok := errors.AsType[*net.OpError](err); !ok || op.Op != "remote error" || op.Err.Error() != "tls: bad record MAC" {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		_ = conn.Close()
	}
}

// forger changes the last bit of what is written.
type forger struct {
	net.Conn
	forge bool
}

func (f *forger) Write(b []byte) (int, error) {
	if f.forge {
		b = bytes.Clone(b)
		b[len(b)-1] ^= 1
	}
	return f.Conn.Write(b)
}

// The programs of mosquitto, which are OpenSSL's, publish and subscribe.
func TestMQTTOverOpenSSL(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("mosquitto_rr")
	if err != nil {
		t.Skip("mosquitto_rr is not installed")
	}
	s := mqttFleet(t)
	d := s.Enrol("pump")
	key, err := x509.MarshalPKCS8PrivateKey(d.Certificate.PrivateKey)
	must(t, err)
	dir := t.TempDir()
	cert, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	must(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: d.Certificate.Certificate[0]}), 0o600))
	must(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600))
	_, port, err := net.SplitHostPort(s.MQTTAddr())
	must(t, err)
	for i, args := range [][]string{
		{"--tls-version", "tlsv1.3"},
		{"--tls-version", "tlsv1.2"},
		{"--tls-version", "tlsv1.2", "--ciphers", "ECDHE-ECDSA-AES256-GCM-SHA384"},
		{"--tls-version", "tlsv1.2", "--ciphers", "ECDHE-ECDSA-CHACHA20-POLY1305"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		cmd := exec.CommandContext(ctx, program, append(args, "-h", "localhost", "-p", port, "-i", fmt.Sprintf("pump-%d", i), "-V", "5",
			"--cafile", filepath.Join(s.Data, server.RootCAFile), "--cert", cert, "--key", keyFile,
			"-q", "1", "-t", "echo", "-e", "echo", "-m", "hello", "-W", "10")...)
		out, err := cmd.CombinedOutput()
		cancel()
		if err != nil || string(out) != "hello\n" {
			t.Errorf("%v: %q, %v", args, out, err)
		}
	}
}

// An idle connection holds little more than its keys. What a client holds does
// not count: it goes on without its TLS connection.
func TestMQTTIdleMemory(t *testing.T) { //nolint:paralleltest // it measures the process
	s := mqttFleet(t)
	const n, limit = 200, 7 << 10 // measured: 4.9 KB
	devices := make([]*servertest.Device, n)
	for i := range devices {
		devices[i] = s.Enrol(fmt.Sprintf("thing-%d", i))
	}
	open := make([]net.Conn, 0, n)
	heap := func() uint64 {
		var m runtime.MemStats
		for range 3 { // pools are emptied by the second
			runtime.GC()
		}
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	connect := func(d *servertest.Device) net.Conn {
		under, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.MQTTAddr())
		must(t, err)
		must(t, (&talker{Conn: tls.Client(under, d.TLS())}).connect(d.Thing))
		return under
	}
	first := connect(devices[0])
	before := heap()
	for _, d := range devices[1:] {
		open = append(open, connect(d))
	}
	after := heap()
	each := float64(after-before) / float64(len(open))
	t.Logf("%.0f bytes for each of %d connections", each, len(open))
	if after > before && each > limit {
		t.Errorf("an idle connection takes %.0f bytes of the heap, want at most %d", each, limit)
	}
	for _, c := range append(open, first) {
		_ = c.Close()
	}
	runtime.KeepAlive(devices)
}
