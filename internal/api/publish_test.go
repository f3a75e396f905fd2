package api_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/api"
	"github.com/sekisho-iot/sekisho/internal/broker"
	core "github.com/sekisho-iot/sekisho/internal/iot"
)

// access lets the certificates that are active do what is allowed.
type access struct {
	messages
	active  map[core.CertificateID]bool
	allowed []string // beginnings of "iot:Publish topic"
	broken  bool
}

func (a *access) Principal(_ context.Context, p *broker.Peer, clientID string) (broker.Principal, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.broken:
		return nil, errors.New("the disk is on fire")
	case clientID != "" || p.SourceIP != "127.0.0.1" || p.DomainName != "localhost":
		return nil, fmt.Errorf("asked about %+v as %q", p, clientID)
	case !a.active[p.Certificate]:
		return nil, core.Errorf(core.KindDenied, "certificate", "the certificate is INACTIVE")
	}
	return rights{a}, nil
}

func (a *access) set(id core.CertificateID, active bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.active[id] = active
}

type rights struct{ a *access }

func (rights) ID() string            { return "id" }
func (rights) Thing() (string, bool) { return "", false }
func (r rights) Deny(q *broker.Request, reason string) {
	r.a.note("deny %v %s%s", q.Action, q.Name, reason)
}

func (r rights) Decide(q *broker.Request) broker.Verdict {
	for _, s := range r.a.allowed {
		if strings.HasPrefix(q.Action.String()+" "+q.Name, s) {
			return broker.Verdict{Allowed: true}
		}
	}
	return broker.Verdict{}
}

// counts is an Observer.
type counts struct {
	mu   sync.Mutex // guards said
	said string
}

func (c *counts) Observe(service, operation string, status int, _ time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said += fmt.Sprintln(service, operation, status)
}

func (c *counts) Deny(service, action string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said += fmt.Sprintln("deny", service, action)
}

// devicePort serves what the device port does, but for credentials.
type devicePort struct {
	*access
	*deviceServer
	publish *api.PublishEndpoint
	counts  counts
	log     lockedBuffer
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newDevicePort(t *testing.T, websocket http.Handler) *devicePort {
	t.Helper()
	d := &devicePort{access: &access{active: map[core.CertificateID]bool{}}, deviceServer: &deviceServer{}}
	log := slog.New(slog.NewTextHandler(&d.log, nil))
	d.publish = api.NewPublishEndpoint(api.PublishOptions{
		Access: d.access, Messages: d.access, Observer: &d.counts, Logger: log, Now: time.Now, Rand: rand.Reader,
	})
	credentials := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	d.srv = httptest.NewUnstartedServer(api.DevicePort(credentials, d.publish, websocket))
	d.srv.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, SessionTicketsDisabled: true, MinVersion: tls.VersionTLS12}
	d.srv.EnableHTTP2 = true
	d.srv.Config.ConnContext = d.publish.ConnContext
	d.srv.StartTLS()
	t.Cleanup(d.srv.Close)
	d.cert, d.id = newDeviceCertificate(t)
	d.set(d.id, true)
	return d
}

// post sends a body of which nothing is known but its bytes.
func (d *devicePort) post(t *testing.T, c *http.Client, method, target string, body io.Reader) (int, http.Header, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, d.srv.URL+target, body)
	noError(t, err)
	res, err := c.Do(r)
	noError(t, err)
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	noError(t, err)
	return res.StatusCode, res.Header, string(answer)
}

func TestPublishEndpoint(t *testing.T) {
	t.Parallel()
	d := newDevicePort(t, http.NotFoundHandler())
	d.allowed = []string{"iot:Publish own/", "iot:Publish own//", "iot:RetainPublish own/kept", "iot:Publish /", "iot:Publish $", "iot:Publish b"}
	stranger, _ := newDeviceCertificate(t)
	for _, h2 := range []bool{false, true} {
		own := d.client("localhost", h2, d.cert)
		for _, c := range []struct {
			what   string
			client *http.Client
			method string
			target string
			body   string
			status int
			want   string // what the broker and access are told, then the error's code
		}{
			{"as AWS has it", own, "POST", "/topics/own%2Fx?qos=1", "hi", 200, `own/x "hi" 1 false `},
			{"slashes as they are", own, "POST", "/topics/own/x", "hi", 200, `own/x "hi" 0 false `},
			{"odd slashes", own, "POST", "/topics/%2Fown%2F", "", 200, `/own/ "" 0 false `},
			{"empty levels", own, "POST", "/topics/own//x/", "", 200, `own//x/ "" 0 false `},
			{"properties", own, "POST", "/topics/own/x?contentType=a", "", 200, `own/x "" 0 false Content Type 0  a`},
			{"the largest payload", own, "POST", "/topics/own/x", strings.Repeat("x", 128<<10), 200, `own/x "131072 bytes" 0 false `},
			{"too large a payload", own, "POST", "/topics/own/x", strings.Repeat("x", 128<<10+1), 413, "RequestEntityTooLargeException"},
			{"retained", own, "POST", "/topics/own/kept?retain=true", "x", 200, `own/kept "x" 0 true `},
			{"retained without the permission", own, "POST", "/topics/own/x?retain=true", "x", 403, "deny iot:RetainPublish own/xForbiddenException"},
			{"not allowed", own, "POST", "/topics/other", "x", 403, "deny iot:Publish otherForbiddenException"},
			{"a topic of ours", own, "POST", "/topics/$sekisho/things/t/x", "x", 403, "ForbiddenException"},
			{"QoS 2", own, "POST", "/topics/own/x?qos=2", "x", 400, "InvalidRequestException"},
			{"a topic with a wildcard", own, "POST", "/topics/own/+", "x", 400, "InvalidRequestException"},
			{"a plus sign is none in a query", own, "POST", "/topics/own/x?contentType=%ff", "x", 400, "InvalidRequestException"},
			{"no topic", own, "POST", "/topics/", "x", 404, "ResourceNotFoundException"},
			{"another method", own, "GET", "/topics/own/x", "", 405, "MethodNotAllowedException"},
			{"a failure", own, "POST", "/topics/broken", "x", 500, "InternalFailureException"},
			{"no certificate", d.client("localhost", h2), "POST", "/topics/own/x", "x", 403, "ForbiddenException"},
			{"unknown certificate", d.client("localhost", h2, stranger), "POST", "/topics/own/x", "x", 403, "ForbiddenException"},
			{"foreign name", d.client("example.com", h2, d.cert), "POST", "/topics/own/x", "x", 403, "ForbiddenException"},
		} {
			status, header, body := d.post(t, c.client, c.method, c.target, strings.NewReader(c.body))
			var answer struct{ Message, TraceID string }
			err := json.Unmarshal([]byte(body), &answer)
			if got := d.take() + header.Get("X-Amzn-Errortype"); status != c.status || got != c.want {
				t.Errorf("%s: %d %q %s", c.what, status, got, body)
			}
			if id := header.Get("X-Amzn-Requestid"); err != nil || answer.TraceID != id || len(id) != 36 || status == 200 && answer.Message != "OK" || status == 403 && answer.Message != "Forbidden" {
				t.Errorf("%s: answered %s with %v", c.what, body, header)
			}
		}
	}
	status, _, body := d.post(t, d.client("localhost", false, d.cert), "POST", "/topics/own/x", io.LimitReader(endless{}, 1<<20)) // without a length
	if status != 413 {
		t.Errorf("a body without end: %d %s", status, body)
	}
	for _, target := range []string{"/role-aliases/a/credentials", "/", "/topics", "/%74opics/own/x", "/mqtt/"} {
		if status, _, _ := d.post(t, d.client("localhost", false), "GET", target, nil); status != http.StatusTeapot {
			t.Errorf("%s answered %d", target, status)
		}
	}
	log := d.log.String()
	for _, want := range []string{"showed no certificate", "not a --public-host: example.com", "the certificate is INACTIVE", "action=iot:Publish resource=topic/own/x", "the disk is on fire"} {
		if !strings.Contains(log, want) {
			t.Errorf("no %q in the log", want)
		}
	}
	for _, want := range []string{"iot-data Publish 200\n", "iot-data Publish 413\n"} {
		if !strings.Contains(d.counts.said, want) {
			t.Errorf("no %q was counted", want)
		}
	}
}

// endless is a body.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// The status of a certificate counts on every request of a kept-alive connection.
func TestPublishEndpointJudgesEveryRequest(t *testing.T) {
	t.Parallel()
	d := newDevicePort(t, http.NotFoundHandler())
	d.allowed = []string{"iot:Publish "}
	c := d.client("localhost", false, d.cert)
	for i, active := range []bool{true, false, true} {
		d.set(d.id, active)
		if status, _, body := d.post(t, c, "POST", "/topics/t", strings.NewReader("x")); (status == 200) != active {
			t.Errorf("request %d answered %d %s", i, status, body)
		}
	}
}

// failingReader has no randomness.
type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errors.New("no randomness") }

func TestPublishEndpointFailures(t *testing.T) {
	t.Parallel()
	a := &access{broken: true}
	leaf := &x509.Certificate{Raw: []byte("x")}
	for name, random := range map[string]io.Reader{"access": rand.Reader, "no trace id": failingReader{}} {
		e := api.NewPublishEndpoint(api.PublishOptions{Access: a, Messages: a, Logger: slog.New(slog.DiscardHandler), Now: time.Now, Rand: random})
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/topics/t", nil)
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}
		w := httptest.NewRecorder()
		e.ServeHTTP(w, r)
		if w.Code != 500 || strings.Contains(w.Body.String(), "fire") || !strings.Contains(w.Body.String(), "InternalFailure") && w.Header().Get("X-Amzn-Errortype") != "InternalFailureException" {
			t.Errorf("%s: %d %s %v", name, w.Code, w.Body, w.Header())
		}
	}
}
