//go:build !windows

package upload_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/eclipse/paho.golang/paho"

	"github.com/sekisho-iot/sekisho/internal/agent/notify"
	"github.com/sekisho-iot/sekisho/internal/agent/pace"
	"github.com/sekisho-iot/sekisho/internal/agent/spool"
	"github.com/sekisho-iot/sekisho/internal/agent/upload"
	"github.com/sekisho-iot/sekisho/internal/servertest"
)

const (
	mib       = 1 << 20
	uploaders = `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:*:*:client/${iot:Connection.Thing.ThingName}"},
		{"Effect":"Allow","Action":"iot:Publish","Resource":["arn:aws:iot:*:*:topic/file/upload","arn:aws:iot:*:*:topic/file/upload/failed"]}]}`
	listeners = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iot:Connect","iot:Subscribe","iot:Receive"],"Resource":"*"}]}`
)

// world is a server, a device that may upload, and one that listens.
type world struct {
	t      *testing.T
	server *servertest.Server
	device *servertest.Device
	heard  chan heard
	dir    string // of the device's files
}

type heard struct {
	topic string
	raw   string
	upload.Message
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, server: servertest.Start(t), heard: make(chan heard, 4096), dir: t.TempDir()}
	w.server.Fleet()
	w.device = w.server.Enrol(thing)
	w.allow("uploaders", uploaders, w.device)
	listener := w.server.Enrol("listener")
	w.allow("listeners", listeners, listener)
	w.listen(listener)
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) allow(name, document string, d *servertest.Device) {
	w.t.Helper()
	_, err := w.server.IoT.CreatePolicy(w.t.Context(), &iot.CreatePolicyInput{PolicyName: &name, PolicyDocument: &document})
	w.must(err)
	_, err = w.server.IoT.AttachPolicy(w.t.Context(), &iot.AttachPolicyInput{PolicyName: &name, Target: &d.CertificateARN})
	w.must(err)
}

func (w *world) listen(d *servertest.Device) {
	w.t.Helper()
	c := paho.NewClient(paho.ClientConfig{
		Conn: d.DialMQTT("x-amzn-mqtt-ca"),
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			h := heard{topic: p.Packet.Topic, raw: string(p.Packet.Payload)}
			if err := json.Unmarshal(p.Packet.Payload, &h.Message); err != nil {
				h.raw = "not JSON: " + h.raw
			}
			w.heard <- h
			return true, nil
		}},
	})
	_, err := c.Connect(w.t.Context(), &paho.Connect{ClientID: d.Thing, KeepAlive: 1200, CleanStart: true})
	w.must(err)
	_, err = c.Subscribe(w.t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "file/upload", QoS: 1}, {Topic: "file/upload/failed", QoS: 1}}})
	w.must(err)
}

// hear waits for one message.
func (w *world) hear() heard {
	w.t.Helper()
	select {
	case h := <-w.heard:
		return h
	case <-time.After(20 * time.Second):
		w.t.Fatalf("no message came; denied: %v", w.server.Log.Denials())
		return heard{}
	}
}

// silence fails on a message that is there already.
func (w *world) silence() {
	w.t.Helper()
	select {
	case h := <-w.heard:
		w.t.Fatalf("one message too many: %s %s", h.topic, h.raw)
	default:
	}
}

// file makes a file of random bytes.
func (w *world) file(name string, size int) (path string, content []byte) {
	w.t.Helper()
	content = make([]byte, size)
	random := rand.NewChaCha8([32]byte{byte(size), byte(len(name))})
	_, _ = random.Read(content)
	path = filepath.Join(w.dir, name)
	w.must(os.WriteFile(path, content, 0o600))
	return path, content
}

// object is what S3 has under a key.
func (w *world) object(key string) []byte {
	w.t.Helper()
	out, err := w.server.S3.GetObject(w.t.Context(), &s3.GetObjectInput{Bucket: aws.String(servertest.Bucket), Key: &key})
	w.must(err)
	defer out.Body.Close()
	b, err := io.ReadAll(out.Body)
	w.must(err)
	return b
}

func (w *world) checkObject(key string, content []byte) {
	w.t.Helper()
	if got := w.object(key); !bytes.Equal(got, content) {
		w.t.Fatalf("%s has %d bytes that are not those of the file (%d)", key, len(got), len(content))
	}
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func inlineContent(t *testing.T, m upload.Message) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(m.Content)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// session asks the credential endpoint, and keeps what it said until invalidated.
type session struct {
	device *servertest.Device
	alias  string

	mu    sync.Mutex // guards what follows
	have  aws.CredentialsProvider
	asked int
}

type refusal struct{ status int }

func (r *refusal) Error() string { return "credential endpoint: " + http.StatusText(r.status) }

func (s *session) Retrieve(ctx context.Context) (aws.Credentials, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.have == nil {
		s.asked++
		a := s.device.Ask(s.alias)
		if a.Credentials == nil {
			return aws.Credentials{}, &refusal{a.Status}
		}
		s.have = a.Credentials
	}
	return s.have.Retrieve(ctx)
}

func (s *session) invalidate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.have = nil
}

// agent is one agent of the world's device.
type agent struct {
	*upload.Agent

	w       *world
	spool   *spool.Spool
	session *session
	close   func()

	mu     sync.Mutex // guards events
	events []upload.Event
}

type plan struct {
	dir      string // of the spool
	settings upload.Settings
	s3Dial   func(ctx context.Context, address string) (net.Conn, error)
	alias    string
	tell     func(upload.Event)
}

func (w *world) settings() upload.Settings {
	s := upload.DefaultSettings()
	s.Thing, s.Bucket, s.Region, s.Endpoint = thing, servertest.Bucket, servertest.Region, "https://"+w.server.APIAddr()
	return s
}

func (w *world) agent(change func(*plan)) *agent {
	w.t.Helper()
	limiter := pace.New(0, time.Now)
	dial := func(ctx context.Context, address string) (net.Conn, error) {
		return limiter.Dial(ctx, address, 10*time.Second)
	}
	p := &plan{dir: filepath.Join(w.dir, ".spool"), settings: w.settings(), s3Dial: dial, alias: servertest.Alias}
	if change != nil {
		change(p)
	}
	w.must(p.settings.Validate())
	s, err := spool.Open(p.dir)
	w.must(err)
	mqtt := w.device.TLS()
	mqtt.NextProtos = []string{"x-amzn-mqtt-ca"}
	n := notify.New(notify.Config{Address: w.server.MQTTAddr(), ClientID: thing, TLS: mqtt, Dial: dial})
	a := &agent{w: w, spool: s, session: &session{device: w.device, alias: p.alias}}
	tr := &http.Transport{TLSClientConfig: w.server.TLS()}
	a.Agent = upload.New(upload.Options{
		Settings: p.settings, Spool: s, Publisher: n, Now: time.Now,
		S3: upload.NewS3(&p.settings, tr, a.session, p.s3Dial), Invalidate: a.session.invalidate,
		Permanent: func(err error) bool {
			r, ok := errors.AsType[*refusal](err)
			return ok && r.status >= 400 && r.status < 500
		},
		Tell: func(e upload.Event) {
			a.mu.Lock()
			a.events = append(a.events, e)
			a.mu.Unlock()
			if p.tell != nil {
				p.tell(e)
			}
		},
	})
	a.close = sync.OnceFunc(func() {
		_ = n.Close(context.Background())
		tr.CloseIdleConnections()
		_ = s.Close()
	})
	w.t.Cleanup(a.close)
	return a
}

// upload uploads files to the end and returns how many failed.
func (a *agent) upload(paths ...string) int {
	a.w.t.Helper()
	files := make([]upload.File, 0, len(paths))
	for _, p := range paths {
		files = append(files, upload.File{Path: p})
	}
	_, problems := a.Accept(files)
	if len(problems) > 0 {
		a.w.t.Fatal(problems)
	}
	ctx, cancel := context.WithTimeout(a.w.t.Context(), 30*time.Second)
	defer cancel()
	failed, err := a.Run(ctx, nil)
	if err != nil {
		for _, e := range a.events {
			a.w.t.Logf("event %d: sent %d of %d, %s, %v", e.Kind, e.Sent, e.Total, e.Record.State, e.Err)
		}
		a.w.t.Fatal(err)
	}
	return failed
}

// told returns the events of a kind.
func (a *agent) told(kind upload.Kind) []upload.Event {
	a.mu.Lock()
	defer a.mu.Unlock()
	var got []upload.Event
	for _, e := range a.events {
		if e.Kind == kind {
			got = append(got, e)
		}
	}
	return got
}

// meter is a proxy that counts the bytes that go to the server, and can be made to cut.
type meter struct {
	listener net.Listener
	target   string

	mu    sync.Mutex // guards what follows
	bytes int64
	cutAt int64 // all connections are cut when so many bytes have passed; 0: never
	conns map[net.Conn]bool
}

func (w *world) meter() *meter {
	w.t.Helper()
	l, err := (&net.ListenConfig{}).Listen(w.t.Context(), "tcp", "127.0.0.1:0")
	w.must(err)
	m := &meter{listener: l, target: w.server.APIAddr(), conns: map[net.Conn]bool{}}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			group.Go(func() { m.serve(c) })
		}
	})
	w.t.Cleanup(func() {
		_ = l.Close()
		m.cut()
		group.Wait()
	})
	return m
}

func (m *meter) serve(c net.Conn) {
	up, err := net.Dial("tcp", m.target) //nolint:noctx // as long as the test
	if err != nil {
		_ = c.Close()
		return
	}
	m.mu.Lock()
	m.conns[c], m.conns[up] = true, true
	m.mu.Unlock()
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(c, up)
		_ = c.Close()
		close(done)
	}()
	_, _ = io.Copy(up, &metered{c, m})
	_ = up.Close()
	<-done
	m.mu.Lock()
	delete(m.conns, c)
	delete(m.conns, up)
	m.mu.Unlock()
}

type metered struct {
	net.Conn
	m *meter
}

func (r *metered) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	r.m.mu.Lock()
	r.m.bytes += int64(n)
	cut := r.m.cutAt > 0 && r.m.bytes >= r.m.cutAt
	if cut {
		r.m.cutAt = 0
	}
	r.m.mu.Unlock()
	if cut {
		r.m.cut()
	}
	return n, err
}

func (m *meter) cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for c := range m.conns {
		_ = c.Close()
	}
}

func (m *meter) passed() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.bytes
}

func (m *meter) dial(ctx context.Context, _ string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", m.listener.Addr().String())
}
