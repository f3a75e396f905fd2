package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sekisho-iot/sekisho/internal/broker"
	"github.com/sekisho-iot/sekisho/internal/pki"
)

// doors are both ports, behind which a broker stands that says who came.
type doors struct {
	*world
	Endpoints
	roots *x509.CertPool
	close func()

	attached sync.Map // *tls.Conn by the remote address of its peer
}

func openTestDoors(t *testing.T) *doors {
	t.Helper()
	d := &doors{world: newWorld(t), roots: x509.NewCertPool()}
	d.roots.AppendCertsFromPEM(d.authority.RootPEM())
	s := d.server
	s.opts.PublicHosts = []string{DefaultHost, "iot.example"}
	s.opts.MQTTListen, s.opts.DeviceHTTPSListen = "127.0.0.1:0", "127.0.0.1:0"
	cert, err := d.authority.Server(s.opts.PublicHosts, s.opts.Region)
	d.ok(err)
	s.doorCert = cert.Certificate
	s.admission = newAdmission(&admission{certificates: d.certificates, refused: d.count, log: s.log, now: d.now}, s.opts.PublicHosts)
	s.attach = func(c net.Conn, a broker.Attachment) {
		c = tlsConn(c)
		d.attached.Store(c.RemoteAddr().String(), c)
		_, _ = fmt.Fprintf(c, "MQTT %s %s %s\n", a.Peer.Certificate, a.Peer.SourceIP, a.Peer.DomainName)
		_ = c.Close()
	}
	s.device = newHTTPServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			c, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				s.attach(c, broker.Attachment{WebSocket: true, Peer: broker.Peer{Certificate: pki.CertificateID(r.TLS.PeerCertificates[0].Raw)}})
			}
			return
		}
		_, _ = fmt.Fprintf(w, "%s %d certificates for %q", r.Proto, len(r.TLS.PeerCertificates), r.TLS.ServerName)
	}), deviceTLS(s.doorCert, "h2", "http/1.1"), s.log)
	var f fronts
	d.ok(s.openDoors(t.Context(), &f, &d.Endpoints, make(chan error, 4)))
	d.close = sync.OnceFunc(func() { d.ok(f.stop(context.WithoutCancel(t.Context()))) })
	t.Cleanup(d.close)
	return d
}

func (d *doors) client(dev *device, protocols ...string) *tls.Config {
	c := &tls.Config{RootCAs: d.roots, ServerName: "localhost", NextProtos: protocols, MinVersion: tls.VersionTLS12}
	if dev != nil {
		c.Certificates = []tls.Certificate{dev.tls}
	}
	return c
}

func (d *doors) dial(addr string, c *tls.Config) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(d.t.Context(), 20*time.Second)
	defer cancel()
	conn, err := (&tls.Dialer{Config: c}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	d.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(deadline(20 * time.Second))
	return conn.(*tls.Conn), nil
}

// answer is the first line that a port says on a connection, "" where it closes it.
func (d *doors) answer(addr string, c *tls.Config) string {
	d.t.Helper()
	conn, err := d.dial(addr, c)
	if err != nil {
		return err.Error()
	}
	if conn.ConnectionState().NegotiatedProtocol == "h2" {
		return d.get(addr, c)
	}
	// MQTT is answered at once, HTTP when it was asked.
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	line, body, _ := strings.Cut(readAll(conn), "\r\n\r\n")
	if strings.HasPrefix(line, "MQTT ") {
		return strings.TrimSpace(line)
	}
	return body
}

func readAll(r io.Reader) string {
	b, _ := io.ReadAll(r)
	return string(b)
}

func (d *doors) get(addr string, c *tls.Config) string {
	d.t.Helper()
	tr := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	r, err := http.NewRequestWithContext(d.t.Context(), http.MethodGet, "https://"+addr+"/", http.NoBody)
	d.ok(err)
	res, err := tr.RoundTrip(r)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	return readAll(res.Body)
}

const allowConnect = `{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}`

func TestProtocolsOfTheDoors(t *testing.T) {
	t.Parallel()
	d := openTestDoors(t)
	dev := d.enrol("pump", allowConnect)
	mqtt := "MQTT " + string(dev.id) + " 127.0.0.1 localhost"
	const (
		http1   = `HTTP/1.1 1 certificates for "localhost"`
		http2   = `HTTP/2.0 1 certificates for "localhost"`
		refused = "no application protocol"
	)
	for _, c := range []struct {
		offers      []string
		mqtt, https string
	}{
		{nil, mqtt, http1},
		{[]string{"x-amzn-mqtt-ca"}, mqtt, mqtt},
		{[]string{"mqtt"}, mqtt, refused},
		{[]string{"x-amzn-http-ca"}, http1, http1},
		{[]string{"h2", "http/1.1"}, refused, http2},
		{[]string{"http/1.1"}, refused, http1},
		{[]string{"x-amzn-http-ca", "x-amzn-mqtt-ca"}, mqtt, http1},
		{[]string{"spdy"}, refused, refused},
	} {
		for addr, want := range map[string]string{d.MQTT: c.mqtt, d.DeviceHTTPS: c.https} {
			if got := d.answer(addr, d.client(dev, c.offers...)); !strings.Contains(got, want) {
				t.Errorf("ALPN %v on %s: %q, want %q", c.offers, addr, got, want)
			}
		}
	}
	nobody := d.client(nil)
	if got := d.answer(d.DeviceHTTPS, nobody); got != `HTTP/1.1 0 certificates for "localhost"` {
		t.Errorf("HTTP without a certificate: %q", got)
	}
}

// What is hijacked is the connection that the broker can park.
func TestHijackedConnectionsAreTheDoors(t *testing.T) {
	t.Parallel()
	d := openTestDoors(t)
	dev := d.enrol("pump", allowConnect)
	for _, protocol := range []string{"http/1.1", "x-amzn-http-ca"} {
		conn, err := d.dial(d.DeviceHTTPS, d.client(dev, protocol))
		d.ok(err)
		_, _ = io.WriteString(conn, "GET /mqtt HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
		line, _ := bufio.NewReader(conn).ReadString('\n')
		if !strings.HasPrefix(line, "MQTT "+string(dev.id)) {
			t.Errorf("%s: %q", protocol, line)
		}
		c, _ := d.attached.Load(conn.LocalAddr().String())
		taken, ok := c.(*tls.Conn)
		if !ok {
			t.Fatalf("%s: attached a %T", protocol, c)
		}
		socket, ok := taken.NetConn().(*broker.Socket)
		if !ok {
			t.Fatalf("%s: over a %T", protocol, taken.NetConn())
		}
		if _, ok := socket.Conn.(interface{ File() (*os.File, error) }); !ok {
			t.Errorf("%s: no descriptor can be had of a %T", protocol, socket.Conn)
		}
	}
}

func TestWhoIsNotLetIn(t *testing.T) {
	t.Parallel()
	d := openTestDoors(t)
	good, revoked := d.enrol("good", allowConnect), d.enrol("revoked", allowConnect)
	d.ok(d.certificates.SetStatus(t.Context(), string(revoked.id), pki.Revoked))
	stranger := newWorld(t).enrol("stranger", allowConnect)
	foreign := d.client(good)
	foreign.ServerName, foreign.InsecureSkipVerify = "mqtt.elsewhere.example", true
	below := d.client(good)
	below.ServerName = "x.iot.example"
	for _, c := range []struct {
		name         string
		conf         *tls.Config
		why, counted string
	}{
		{"no certificate", d.client(nil), "the client showed no certificate", refusedNoCertificate},
		{"an unknown certificate", d.client(stranger), "the certificate is not registered", refusedUnknown},
		{"a revoked certificate", d.client(revoked), "the certificate is REVOKED", refusedUnusable},
		{"a foreign name", foreign, "mqtt.elsewhere.example", refusedForeignName},
	} {
		for _, addr := range []string{d.MQTT, d.DeviceHTTPS} {
			c.conf.NextProtos = []string{alpnMQTT}
			if got := d.answer(addr, c.conf); got != "" {
				t.Errorf("%s: answered %q", c.name, got)
			}
		}
		if s := d.said(); !strings.Contains(s, `"msg":"mqtt refused"`) || !strings.Contains(s, c.why) {
			t.Errorf("%s: the log does not say %q: %s", c.name, c.why, s)
		}
		if n := d.counted(c.counted); n != 2 {
			t.Errorf("%s: counted %d times", c.name, n)
		}
	}
	if got := d.answer(d.MQTT, below); !strings.HasPrefix(got, "MQTT ") {
		t.Errorf("a name below a public host: %q", got)
	}
	peer := broker.Peer{Certificate: good.id}
	d.server.admission.bound(t.Context(), &peer)
	if want := time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC); !peer.Until.Equal(want) {
		t.Errorf("a connection may last until %v, want %v", peer.Until, want)
	}
	d.pass(50 * 365 * 24 * time.Hour)
	expired := d.client(good)
	expired.InsecureSkipVerify = true // the server's own has been renewed
	if got := d.answer(d.MQTT, expired); got != "" || !strings.Contains(d.said(), "the certificate has expired") {
		t.Errorf("an expired certificate: %q", got)
	}
}

func TestHandshakesThatAreRefused(t *testing.T) {
	t.Parallel()
	d := openTestDoors(t)
	dev := d.enrol("pump", allowConnect)
	for _, addr := range []string{d.MQTT, d.DeviceHTTPS} {
		old := d.client(dev)
		old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		if conn, err := d.dial(addr, old); err == nil {
			t.Errorf("%s speaks %x", addr, conn.ConnectionState().Version)
		}
		// A certificate without its key proves nothing.
		thief := d.client(dev)
		thief.Certificates = []tls.Certificate{{Certificate: dev.tls.Certificate, PrivateKey: d.enrol("other"+addr[len(addr)-5:], allowConnect).tls.PrivateKey}}
		thief.MaxVersion = tls.VersionTLS12
		if got := d.answer(addr, thief); strings.HasPrefix(got, "MQTT") || strings.HasPrefix(got, "HTTP") {
			t.Errorf("%s took a stolen certificate: %q", addr, got)
		}
	}
}

func TestNothingIsResumed(t *testing.T) {
	t.Parallel()
	d := openTestDoors(t)
	dev := d.enrol("pump", allowConnect)
	for _, addr := range []string{d.MQTT, d.DeviceHTTPS} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			c := d.client(dev)
			c.MinVersion, c.MaxVersion = version, version
			cache := &countedCache{ClientSessionCache: tls.NewLRUClientSessionCache(8)}
			c.ClientSessionCache = cache
			for range 3 {
				conn, err := d.dial(addr, c)
				d.ok(err)
				_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
				_ = readAll(conn) // tickets of TLS 1.3 come behind the handshake
				if conn.ConnectionState().DidResume {
					t.Errorf("%s resumed a session of %x", addr, version)
				}
			}
			if cache.kept != 0 {
				t.Errorf("%s gave %d tickets of %x", addr, cache.kept, version)
			}
		}
	}
}

type countedCache struct {
	tls.ClientSessionCache
	kept int
}

func (c *countedCache) Put(key string, s *tls.ClientSessionState) {
	if s != nil {
		c.kept++
	}
	c.ClientSessionCache.Put(key, s)
}

// A crowd that says nothing, or half of what it should, takes no processor and
// no place for long; what it took is given back.
func TestHalfOpenHandshakes(t *testing.T) { //nolint:paralleltest // other tests' goroutines would be seen
	before, descriptors := goleak.IgnoreCurrent(), openDescriptors(t)
	t.Run("crowd", func(t *testing.T) {
		d := openTestDoors(t)
		dev := d.enrol("pump", allowConnect)
		var crowd []net.Conn
		for i := range 2000 {
			c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", d.MQTT)
			d.ok(err)
			crowd = append(crowd, c)
			if i%2 == 0 {
				_, err = c.Write([]byte{tlsRecordType, 3, 1, 1, 0}) // the head of a record that does not come
				d.ok(err)
			}
		}
		begin := time.Now()
		for range 3 {
			if got := d.answer(d.MQTT, d.client(dev)); !strings.HasPrefix(got, "MQTT ") {
				t.Errorf("a good client among the crowd: %q", got)
			}
		}
		if waited := time.Since(begin); waited > 9*time.Second {
			t.Errorf("it had to wait for %v", waited)
		}
		closing := time.Now()
		d.close()
		if took := time.Since(closing); took > 2*time.Second {
			t.Errorf("closing took %v", took)
		}
		for _, c := range crowd {
			_ = c.Close()
		}
	})
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
	if n := openDescriptors(t); n > descriptors {
		t.Errorf("%d descriptors are open, before it were %d", n, descriptors)
	}
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("there is no /proc:", err)
	}
	return len(list)
}

// failing is a listener whose first attempts fail.
type failing struct {
	net.Listener
	with []error
}

func (f *failing) Accept() (net.Conn, error) {
	if len(f.with) == 0 {
		return f.Listener.Accept()
	}
	err := f.with[0]
	f.with = f.with[1:]
	return nil, &net.OpError{Op: "accept", Err: err}
}

func TestDoorSurvivesPassingFailures(t *testing.T) {
	t.Parallel()
	d := openTestDoors(t)
	dev := d.enrol("pump", allowConnect)
	open := func(failures ...error) (addr string, failed chan error) {
		l, err := d.server.listen(t.Context(), "--mqtt-listen", "127.0.0.1:0")
		d.ok(err)
		front := newDoor(doorConfig{
			listener: &failing{Listener: l, with: failures}, tls: deviceTLS(d.server.doorCert), mqtt: true,
			gate: broker.NewGate(1), admit: d.server.admission.peer, attach: d.server.attach,
		})
		failed = make(chan error, 1)
		front.start(failed)
		t.Cleanup(func() { d.ok(front.close()) })
		return l.Addr().String(), failed
	}
	addr, _ := open(syscall.EMFILE, syscall.ENFILE, syscall.ECONNABORTED)
	if got := d.answer(addr, d.client(dev)); !strings.HasPrefix(got, "MQTT ") {
		t.Errorf("after a lack of descriptors: %q", got)
	}
	_, failed := open(syscall.EINVAL)
	if err := <-failed; !errors.Is(err, syscall.EINVAL) {
		t.Errorf("failed with %v", err)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ files, http, mqtt int64 }{
		{256, 64, 64}, {1024, 96, 480}, {20_000, 2468, 12_340}, {65_536, 8160, 40_800}, {1 << 20, 10_000, 1_018_320},
	} {
		if h, m := connLimitOf(c.files), mqttConnLimit(c.files); h != c.http || m != c.mqtt {
			t.Errorf("%d descriptors: %d for HTTP and %d for MQTT, want %d and %d", c.files, h, m, c.http, c.mqtt)
		}
	}
}
