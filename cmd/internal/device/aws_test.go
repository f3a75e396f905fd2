//go:build !windows

package device

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/eclipse/paho.golang/packets"

	"github.com/sekisho-iot/sekisho/cmd/internal/cli"
	"github.com/sekisho-iot/sekisho/internal/agent/config"
	agent "github.com/sekisho-iot/sekisho/internal/agent/upload"
	"github.com/sekisho-iot/sekisho/internal/server"
	"github.com/sekisho-iot/sekisho/internal/servertest"
)

// The names that AWS gives an account, and what follows from them.
const (
	awsCredentials = "c1a2b3c4d5e6f7.credentials.iot." + servertest.Region + ".amazonaws.com"
	awsMQTT        = "a1b2c3d4e5f6g7-ats.iot." + servertest.Region + ".amazonaws.com"
	awsS3Host      = "s3." + servertest.Region + ".amazonaws.com"
	awsBucketHost  = servertest.Bucket + "." + awsS3Host
)

// flow is one TLS connection of the agent and what it sent on it.
type flow struct {
	address string // as it was dialled
	sni     string
	alpn    []string

	mu   sync.Mutex // guards sent
	sent bytes.Buffer
}

func (f *flow) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sent.Write(b)
}

func (f *flow) bytes() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.sent.Bytes())
}

// awsNames stands where AWS would, under its names: it ends the agent's TLS, notes
// what it says, and says the same to Sekisho under the same names.
type awsNames struct {
	t      *testing.T
	s      *servertest.Server
	d      *servertest.Device
	caPEM  []byte
	config *tls.Config
	group  sync.WaitGroup

	mu    sync.Mutex // guards flows
	flows []*flow
}

func newAWS(t *testing.T) *awsNames {
	t.Helper()
	s := servertest.Start(t, func(o *server.Options) {
		o.PublicHosts = []string{"localhost", "amazonaws.com", awsCredentials, awsMQTT}
	})
	s.Fleet()
	w := &awsNames{t: t, s: s, d: s.Enrol("camera-1")}
	_, err := s.IoT.CreatePolicy(t.Context(), &iot.CreatePolicyInput{PolicyName: aws.String("uploads"), PolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:*:*:client/camera-1"},` +
			`{"Effect":"Allow","Action":"iot:Publish","Resource":"arn:aws:iot:*:*:topic/file/upload"}]}`)})
	w.ok(err)
	_, err = s.IoT.AttachPolicy(t.Context(), &iot.AttachPolicyInput{PolicyName: aws.String("uploads"), Target: &w.d.CertificateARN})
	w.ok(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.ok(err)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, DNSNames: []string{awsCredentials, awsMQTT, awsS3Host, "*." + awsS3Host},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	w.ok(err)
	w.caPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	w.config = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	t.Cleanup(w.group.Wait)
	return w
}

func (w *awsNames) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// dial is the agent's.
func (w *awsNames) dial(_ context.Context, address string) (net.Conn, error) {
	device, here := net.Pipe()
	f := &flow{address: address}
	w.mu.Lock()
	w.flows = append(w.flows, f)
	w.mu.Unlock()
	w.group.Go(func() { //nolint:contextcheck // as long as the test
		defer here.Close() //nolint:errcheck // either side may have
		if err := w.serve(f, here); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.ErrClosedPipe) {
			w.t.Errorf("%s: %v", address, err)
		}
	})
	return device, nil
}

func (w *awsNames) serve(f *flow, raw net.Conn) error {
	conf := w.config.Clone()
	conf.ClientAuth = tls.RequestClientCert
	conf.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		f.sni, f.alpn = h.ServerName, h.SupportedProtos
		c := w.config.Clone()
		c.ClientAuth = tls.RequestClientCert
		c.NextProtos = h.SupportedProtos
		return c, nil
	}
	in := tls.Server(raw, conf)
	if err := in.HandshakeContext(w.t.Context()); err != nil {
		return err
	}
	to, up := w.s.APIAddr(), w.s.TLS()
	up.ServerName, up.NextProtos = f.sni, f.alpn
	if !strings.HasPrefix(f.sni, servertest.Bucket) && !strings.HasPrefix(f.sni, "s3.") {
		to, up = w.s.DeviceAddr(), w.d.TLS()
		up.ServerName, up.NextProtos = f.sni, f.alpn
		if got := in.ConnectionState().PeerCertificates; len(got) != 1 || !bytes.Equal(got[0].Raw, w.d.Certificate.Certificate[0]) {
			return errors.New("the device's certificate was not shown")
		}
	}
	out, err := (&tls.Dialer{Config: up}).DialContext(w.t.Context(), "tcp", to)
	if err != nil {
		return err
	}
	w.group.Go(func() {
		_, _ = io.Copy(in, out)
		_ = in.Close()
	})
	_, err = io.Copy(io.MultiWriter(out, f), in)
	return errors.Join(err, out.Close())
}

// to are the connections to a name.
func (w *awsNames) to(address string) []*flow {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.flows), func(f *flow) bool { return f.address != address })
}

// requests are those that were sent to a name, with their bodies read.
func (w *awsNames) requests(address string) []*http.Request {
	w.t.Helper()
	var all []*http.Request
	for _, f := range w.to(address) {
		host, _, err := net.SplitHostPort(address)
		w.ok(err)
		if f.sni != host {
			w.t.Errorf("%s: SNI %q", address, f.sni)
		}
		in := bufio.NewReader(bytes.NewReader(f.bytes()))
		for {
			r, err := http.ReadRequest(in)
			if errors.Is(err, io.EOF) {
				break
			}
			w.ok(err)
			body, err := io.ReadAll(r.Body)
			w.ok(err)
			r.Body = io.NopCloser(bytes.NewReader(body))
			if r.Host != host {
				w.t.Errorf("%s %s: Host %q", r.Method, r.RequestURI, r.Host)
			}
			all = append(all, r)
		}
	}
	return all
}

// run uploads files as the command does, with a device.json of AWS's names.
func (w *awsNames) run(names ...string) (dir string) {
	w.t.Helper()
	dir = w.t.TempDir()
	key, err := x509.MarshalPKCS8PrivateKey(w.d.Certificate.PrivateKey)
	w.ok(err)
	conf, err := json.Marshal(config.Config{
		Thing: w.d.Thing, RoleAlias: servertest.Alias, Region: servertest.Region, Bucket: servertest.Bucket,
		Endpoints:   config.Endpoints{Credentials: awsCredentials, MQTT: awsMQTT + ":443"},
		Certificate: "cert.pem", PrivateKey: "key.pem", RootCA: "ca.pem",
	})
	w.ok(err)
	for name, b := range map[string][]byte{
		"cert.pem":    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.d.Certificate.Certificate[0]}),
		"key.pem":     pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		"ca.pem":      w.caPEM,
		"device.json": conf,
	} {
		w.ok(os.WriteFile(filepath.Join(dir, name), b, 0o600))
	}
	var stderr bytes.Buffer
	term := &cli.Terminal{Stdout: io.Discard, Stderr: &stderr, LookupEnv: func(string) (string, bool) { return "", false }}
	f := agentFlags{dial: w.dial}
	fs := cli.NewFlags(term, "upload", "FILE…", "")
	f.add(fs)
	w.ok(fs.ParseList([]string{"--config", filepath.Join(dir, "device.json"), "--spool", filepath.Join(dir, "spool"), "--cache", filepath.Join(dir, "cache"), "--part-size", "5MiB"}))
	a, err := f.build(w.t.Context(), term, newPrinter(term, time.Now).tell)
	w.ok(err)
	var files []agent.File
	for i, name := range names {
		w.ok(os.WriteFile(filepath.Join(dir, name), awsContent(i), 0o600))
		files = append(files, agent.File{Path: filepath.Join(dir, name)})
	}
	_, problems := a.agent.Accept(files)
	w.ok(errors.Join(problems...))
	if failed, err := a.agent.Run(w.t.Context(), nil); failed > 0 || err != nil {
		w.t.Fatalf("%d failed, %v\n%s", failed, err, &stderr)
	}
	a.close(w.t.Context())
	return dir
}

// awsContent is that of the file in its place: one for a message, one object, one in parts.
func awsContent(i int) []byte {
	return bytes.Repeat([]byte{byte('a' + i)}, []int{100, 100_000, 11 << 20}[i])
}

// TestAWSNames: with AWS's host names in device.json, what is sent is what AWS takes.
func TestAWSNames(t *testing.T) {
	t.Parallel()
	w := newAWS(t)
	w.run("photo.jpg", "clip 1.mp4", "film.mp4")
	for _, f := range w.flows {
		if f.address != awsCredentials+":443" && f.address != awsMQTT+":443" && f.address != awsBucketHost+":443" {
			t.Errorf("dialled %s", f.address)
		}
	}
	for i, key := range []string{1: "camera-1/clip 1.mp4", 2: "camera-1/film.mp4"} {
		if key == "" {
			continue
		}
		out, err := w.s.S3.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(servertest.Bucket), Key: &key})
		w.ok(err)
		b, err := io.ReadAll(out.Body)
		w.ok(errors.Join(err, out.Body.Close()))
		if !bytes.Equal(b, awsContent(i)) {
			t.Errorf("%s differs", key)
		}
	}
	w.checkCredentials()
	w.checkS3()
	w.checkMQTT()
}

func (w *awsNames) checkCredentials() {
	w.t.Helper()
	got := w.requests(awsCredentials + ":443")
	if len(got) != 1 {
		w.t.Fatalf("%d requests for credentials", len(got))
	}
	r := got[0]
	if r.Method != http.MethodGet || r.RequestURI != "/role-aliases/"+servertest.Alias+"/credentials" || r.ContentLength != 0 {
		w.t.Errorf("%s %s", r.Method, r.RequestURI)
	}
	// AWS takes the name in any case; its documents write it so.
	raw := w.to(awsCredentials + ":443")[0].bytes()
	if !bytes.Contains(raw, []byte("\r\nx-amzn-iot-thingname: camera-1\r\n")) {
		w.t.Errorf("no thing's name: %q", raw)
	}
}

// What S3 knows, by its API reference: anything else might be refused, or be signed for nothing.
var (
	s3Headers = regexp.MustCompile(`^(Authorization|Content-Length|Content-Type|User-Agent|Accept-Encoding|Expect|Amz-Sdk-Invocation-Id|Amz-Sdk-Request|` +
		`X-Amz-(Date|Content-Sha256|Security-Token|Checksum-(Sha256|Crc32c|Algorithm|Type)|Sdk-Checksum-Algorithm|Mp-Object-Size|Meta-Sekisho-Upload-Id))$`)
	s3Queries = regexp.MustCompile(`^(x-id|uploads|uploadId|partNumber|part-number-marker)$`)
	s3Scope   = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=ASIA[A-Z0-9]{16}/\d{8}/` + servertest.Region +
		`/s3/aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?Signature=[0-9a-f]{64}$`)
)

func (w *awsNames) checkS3() {
	w.t.Helper()
	seen := map[string]int{}
	for _, r := range w.requests(awsBucketHost + ":443") {
		w.checkRequest(r)
		operation := r.Method + " " + r.URL.EscapedPath()
		for q := range r.URL.Query() {
			if !s3Queries.MatchString(q) {
				w.t.Errorf("%s: query %s", operation, q)
			}
			if q == "uploads" || q == "partNumber" || q == "uploadId" && r.Method == http.MethodPost {
				operation += " " + q
			}
		}
		seen[operation]++
		body, err := io.ReadAll(r.Body)
		w.ok(err)
		switch operation {
		case "PUT /camera-1/clip%201.mp4":
			sum := sha256.Sum256(body)
			if got := r.Header.Get("X-Amz-Checksum-Sha256"); got != base64.StdEncoding.EncodeToString(sum[:]) {
				w.t.Errorf("checksum %q", got)
			}
		case "POST /camera-1/film.mp4 uploads":
			if got := r.Header.Get("X-Amz-Checksum-Algorithm"); got != "CRC32C" {
				w.t.Errorf("checksum algorithm %q", got)
			}
		case "PUT /camera-1/film.mp4 partNumber":
			if got := r.Header.Get("X-Amz-Checksum-Crc32c"); len(got) != 8 {
				w.t.Errorf("checksum %q of a part", got)
			}
		case "POST /camera-1/film.mp4 uploadId":
			if n := strings.Count(string(body), "<ChecksumCRC32C>"); n != 3 || r.Header.Get("X-Amz-Mp-Object-Size") != strconv.Itoa(11<<20) {
				w.t.Errorf("completed by %v %s", r.Header, body)
			}
		}
	}
	want := map[string]int{
		"PUT /camera-1/clip%201.mp4": 1, "POST /camera-1/film.mp4 uploads": 1,
		"PUT /camera-1/film.mp4 partNumber": 3, "POST /camera-1/film.mp4 uploadId": 1,
	}
	for operation, n := range want {
		if seen[operation] != n {
			w.t.Errorf("%s: %d times, want %d", operation, seen[operation], n)
		}
		delete(seen, operation)
	}
	// A multipart upload whose operation is spelt otherwise would be here.
	if len(seen) > 0 {
		w.t.Errorf("asked besides: %v", seen)
	}
}

// checkRequest is for what holds for every request to S3.
func (w *awsNames) checkRequest(r *http.Request) {
	w.t.Helper()
	if len(r.TransferEncoding) > 0 || r.Method != http.MethodGet && r.ContentLength < 0 {
		w.t.Errorf("%s %s: no length, which AWS wants", r.Method, r.RequestURI)
	}
	scope := s3Scope.FindStringSubmatch(r.Header.Get("Authorization"))
	if scope == nil {
		w.t.Fatalf("authorization %q", r.Header.Get("Authorization"))
	}
	signed := strings.Split(scope[1], ";")
	if !slices.Contains(signed, "host") {
		w.t.Errorf("signed headers: %v", signed)
	}
	for name := range r.Header {
		if !s3Headers.MatchString(name) {
			w.t.Errorf("%s %s: header %s", r.Method, r.RequestURI, name)
		}
		if strings.HasPrefix(name, "X-Amz-") && !slices.Contains(signed, strings.ToLower(name)) {
			w.t.Errorf("%s is not signed: %v", name, signed)
		}
	}
	if at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date")); err != nil || time.Since(at).Abs() > time.Minute {
		w.t.Errorf("date %q", r.Header.Get("X-Amz-Date"))
	}
}

// checkMQTT compares with the limits of AWS IoT Core's message broker.
func (w *awsNames) checkMQTT() {
	w.t.Helper()
	flows := w.to(awsMQTT + ":443")
	if len(flows) != 1 {
		w.t.Fatalf("%d MQTT connections", len(flows))
	}
	f := flows[0]
	if f.sni != awsMQTT || !slices.Equal(f.alpn, []string{"x-amzn-mqtt-ca"}) {
		w.t.Errorf("SNI %q, ALPN %q", f.sni, f.alpn)
	}
	in := bytes.NewReader(f.bytes())
	published := 0
	for n := 0; in.Len() > 0; n++ {
		p, err := packets.ReadPacket(in)
		w.ok(err)
		switch c := p.Content.(type) {
		case *packets.Connect:
			if n != 0 || c.ProtocolName != "MQTT" || c.ProtocolVersion != 5 || c.ClientID != "camera-1" || c.UsernameFlag || c.PasswordFlag || c.WillFlag ||
				!c.CleanStart || c.KeepAlive < 30 || c.KeepAlive > 1200 || len(c.Properties.User) > 0 || c.Properties.AuthMethod != "" ||
				c.Properties.SessionExpiryInterval != nil {
				w.t.Errorf("packet %d: %+v", n, c)
			}
		case *packets.Publish:
			published++
			if c.QoS != 1 || c.Retain || c.Topic != "file/upload" || len(c.Payload) > 128<<10 || c.PacketID == 0 || c.Properties.TopicAlias != nil {
				w.t.Errorf("packet %d: %+v", n, c)
			}
			var m struct{ Type, URL string }
			w.ok(json.Unmarshal(c.Payload, &m))
			if m.Type == "s3_url" && !slices.Contains([]string{"https://" + awsBucketHost + "/camera-1/clip%201.mp4", "https://" + awsBucketHost + "/camera-1/film.mp4"}, m.URL) {
				w.t.Errorf("url %s", m.URL)
			}
		case *packets.Pingreq, *packets.Disconnect:
		default:
			w.t.Errorf("packet %d: %T", n, p.Content)
		}
	}
	if published != 3 {
		w.t.Errorf("%d messages, want 3", published)
	}
}
