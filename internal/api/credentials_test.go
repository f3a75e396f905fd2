package api_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/api"
	core "github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/sts"
)

// provider answers by the alias, and knows the certificates that are active.
type provider struct {
	mu     sync.Mutex // guards the fields below
	active map[core.CertificateID]bool
	asked  []string
}

func (p *provider) Credentials(_ context.Context, d sts.Device, thing string, hasThing bool, alias string) (sts.Credentials, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !hasThing {
		thing = "-"
	}
	p.asked = append(p.asked, alias+" "+thing+" "+d.SourceIP+" "+d.SourceVPCE)
	switch {
	case !p.active[d.Certificate]:
		return sts.Credentials{}, core.Errorf(core.KindDenied, "certificate", sts.CertificateMessage)
	case hasThing && !core.ValidThingName(thing):
		return sts.Credentials{}, core.Errorf(core.KindDenied, "thing", "Invalid thing name passed")
	case alias == "missing":
		return sts.Credentials{}, core.Errorf(core.KindNotFound, "role-alias", "Role alias does not exist")
	case alias == "unassumable":
		return sts.Credentials{}, core.Errorf(core.KindInvalid, "role", "Unable to assume the role, or the role to assume does not exist")
	case alias == "broken":
		return sts.Credentials{}, errors.New("the disk is on fire")
	}
	return sts.Credentials{
		AccessKeyID: "ASIAAAAAAAAAAAAAAAAA", SecretAccessKey: "se/cr+et", SessionToken: "AQ==",
		Expiration: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
	}, nil
}

func (p *provider) set(id core.CertificateID, active bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.active[id] = active
}

func (p *provider) last() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[len(p.asked)-1]
}

type deviceServer struct {
	*provider
	srv  *httptest.Server
	cert tls.Certificate
	id   core.CertificateID
}

func newDeviceServer(tb testing.TB) *deviceServer {
	tb.Helper()
	p := &provider{active: map[core.CertificateID]bool{}}
	e := api.NewCredentialEndpoint(api.CredentialOptions{
		Provider: p, PublicHosts: []string{"Things.Example.com"}, Logger: slog.New(slog.DiscardHandler), Now: time.Now, Rand: rand.Reader,
	})
	srv := httptest.NewUnstartedServer(e)
	srv.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, SessionTicketsDisabled: true, MinVersion: tls.VersionTLS12}
	srv.EnableHTTP2 = true
	srv.Config.ConnContext = e.ConnContext
	srv.StartTLS()
	tb.Cleanup(srv.Close)
	d := &deviceServer{provider: p, srv: srv}
	d.cert, d.id = newDeviceCertificate(tb)
	p.set(d.id, true)
	return d
}

func newDeviceCertificate(tb testing.TB) (tls.Certificate, core.CertificateID) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "device"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	sum := sha256.Sum256(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, core.CertificateID(hex.EncodeToString(sum[:]))
}

// client shows a certificate, unless there is none, and asks for a name.
func (d *deviceServer) client(name string, h2 bool, certs ...tls.Certificate) *http.Client {
	t := &http.Transport{
		TLSClientConfig:   &tls.Config{Certificates: certs, ServerName: name, InsecureSkipVerify: true},
		ForceAttemptHTTP2: h2,
	}
	if !h2 {
		t.TLSClientConfig.NextProtos = []string{"http/1.1"}
	}
	return &http.Client{Transport: t}
}

type reply struct {
	status int
	header http.Header
	body   string
	proto  int
	reused bool
}

func ask(t *testing.T, c *http.Client, method, target string, header http.Header) reply {
	t.Helper()
	var r reply
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { r.reused = i.Reused }})
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	noError(t, err)
	req.Header = header
	res, err := c.Do(req)
	noError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	noError(t, err)
	r.status, r.header, r.body, r.proto = res.StatusCode, res.Header, string(body), res.ProtoMajor
	return r
}

func TestCredentialEndpoint(t *testing.T) {
	t.Parallel()
	d := newDeviceServer(t)
	stranger, _ := newDeviceCertificate(t)
	const path = "/role-aliases/uploads/credentials"
	thing := func(names ...string) http.Header { return http.Header{"x-amzn-iot-thingname": names} }
	const (
		badCertificate = `{"message":"Certificate is invalid on this endpoint"}`
		badThing       = `{"message":"Invalid thing name passed"}`
		good           = `{"credentials":{"accessKeyId":"ASIAAAAAAAAAAAAAAAAA","secretAccessKey":"se/cr+et","sessionToken":"AQ==","expiration":"2026-03-01T12:00:00Z"}}`
	)
	for _, h2 := range []bool{false, true} {
		own := d.client("localhost", h2, d.cert)
		for _, c := range []struct {
			what   string
			client *http.Client
			method string
			path   string
			header http.Header
			status int
			kind   string // x-amzn-ErrorType
			body   string // "" for a Not Found with a trace id
			asked  string // what the provider was asked, "" for no matter
		}{
			{"all is well", own, "GET", path, thing("lamp"), 200, "", good, "uploads lamp 127.0.0.1 "},
			{"header in another case", own, "GET", path, http.Header{"X-AMZN-IOT-THINGNAME": {"lamp"}}, 200, "", good, "uploads lamp 127.0.0.1 "},
			{"no thing header", own, "GET", path, nil, 200, "", good, "uploads - 127.0.0.1 "},
			{"escaped alias", own, "GET", "/role-aliases/a%3D%40b/credentials", nil, 200, "", good, "a=@b - 127.0.0.1 "},
			{"thing header twice", own, "GET", path, thing("lamp", "lamp"), 403, "AccessDeniedException", badThing, ""},
			{"empty thing header", own, "GET", path, thing(""), 403, "AccessDeniedException", badThing, ""},
			{"unknown alias", own, "GET", "/role-aliases/missing/credentials", nil, 404, "ResourceNotFoundException", `{"message":"Role alias does not exist"}`, ""},
			{"no role", own, "GET", "/role-aliases/unassumable/credentials", nil, 400, "InvalidRequestException", `{"message":"Unable to assume the role, or the role to assume does not exist"}`, ""},
			{"failure", own, "GET", "/role-aliases/broken/credentials", nil, 500, "InternalFailureException", `{"message":"Internal Failure"}`, ""},
			{"another path", own, "GET", "/", nil, 404, "ResourceNotFoundException", "", ""},
			{"no alias", own, "GET", "/role-aliases//credentials", nil, 404, "ResourceNotFoundException", "", ""},
			{"slash in the alias", own, "GET", "/role-aliases/a%2Fb/credentials", nil, 404, "ResourceNotFoundException", "", ""},
			{"more path", own, "GET", path + "/", nil, 404, "ResourceNotFoundException", "", ""},
			{"another method", own, "POST", path, nil, 405, "MethodNotAllowedException", `{"message":"Method Not Allowed"}`, ""},
			{"no certificate", d.client("localhost", h2), "GET", path, nil, 403, "AccessDeniedException", badCertificate, ""},
			{"unknown certificate", d.client("localhost", h2, stranger), "GET", path, nil, 403, "AccessDeniedException", badCertificate, ""},
			{"no name", d.client("127.0.0.1", h2, d.cert), "GET", path, nil, 200, "", good, ""},
			{"public host", d.client("things.example.com", h2, d.cert), "GET", path, nil, 200, "", good, ""},
			{"below the public host", d.client("x.THINGS.example.com", h2, d.cert), "GET", path, nil, 200, "", good, ""},
			{"foreign name", d.client("example.com", h2, d.cert), "GET", path, nil, 403, "AccessDeniedException", badCertificate, ""},
			{"foreign name that ends like ours", d.client("nothings.example.com", h2, d.cert), "GET", path, nil, 403, "AccessDeniedException", badCertificate, ""},
		} {
			r := ask(t, c.client, c.method, d.srv.URL+c.path, c.header)
			if r.status != c.status || c.body != "" && r.body != c.body || (r.proto == 2) != h2 {
				t.Errorf("%s: answered %d %s over HTTP/%d", c.what, r.status, r.body, r.proto)
			}
			if got := r.header.Get("x-amzn-ErrorType"); got != c.kind {
				t.Errorf("%s: the error type is %q", c.what, got)
			}
			id := r.header.Get("x-amzn-RequestId")
			if len(id) != 36 || r.header.Get("Content-Type") != "application/json" {
				t.Errorf("%s: the header is %v", c.what, r.header)
			}
			if c.body == "" && r.body != `{"message":"Not Found","traceId":"`+id+`"}` {
				t.Errorf("%s: answered %s", c.what, r.body)
			}
			if !json.Valid([]byte(r.body)) {
				t.Errorf("%s: %s is no JSON", c.what, r.body)
			}
			if c.asked != "" && d.last() != c.asked {
				t.Errorf("%s: the provider was asked %q", c.what, d.last())
			}
		}
	}
}

// The status of a certificate counts on every request of a kept-alive connection.
func TestStrangersAreLogged(t *testing.T) {
	t.Parallel()
	const path = "https://x/role-aliases/alias/credentials"
	for name, c := range map[string]struct {
		state *tls.ConnectionState
		want  string
	}{
		"no certificate": {&tls.ConnectionState{ServerName: "localhost"}, "showed no certificate"},
		"foreign name":   {&tls.ConnectionState{ServerName: "example.com"}, "not a --public-host: example.com"},
	} {
		var said bytes.Buffer
		e := api.NewCredentialEndpoint(api.CredentialOptions{
			Provider: &provider{}, Logger: slog.New(slog.NewTextHandler(&said, nil)), Now: time.Now, Rand: rand.Reader,
		})
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		r.TLS = c.state
		r.Header.Set("X-Amzn-Iot-Thingname", "camera-1")
		w := httptest.NewRecorder()
		e.ServeHTTP(w, r)
		if w.Code != http.StatusForbidden {
			t.Errorf("%s: status %d", name, w.Code)
		}
		for _, want := range []string{"thing=camera-1", "action=iot:AssumeRoleWithCertificate", "resource=rolealias/alias", c.want} {
			if !strings.Contains(said.String(), want) {
				t.Errorf("%s: no %q in %s", name, want, said.String())
			}
		}
	}
}

func TestCredentialEndpointJudgesEveryRequest(t *testing.T) {
	t.Parallel()
	for _, h2 := range []bool{false, true} {
		d := newDeviceServer(t)
		c := d.client("localhost", h2, d.cert)
		const path = "/role-aliases/uploads/credentials"
		for i, active := range []bool{true, false, true} {
			d.set(d.id, active)
			r := ask(t, c, "GET", d.srv.URL+path, nil)
			if (r.status == 200) != active || r.reused != (i > 0) {
				t.Errorf("request %d answered %d, on a used connection: %v", i, r.status, r.reused)
			}
		}
	}
}

// AWS's spelling of its headers is kept over HTTP/1.1, whatever a client makes of them.
func TestCredentialEndpointHeaderSpelling(t *testing.T) {
	t.Parallel()
	d := newDeviceServer(t)
	conn, err := (&tls.Dialer{Config: &tls.Config{Certificates: []tls.Certificate{d.cert}, InsecureSkipVerify: true}}).DialContext(t.Context(), "tcp", d.srv.Listener.Addr().String())
	noError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	noError(t, err)
	raw, err := io.ReadAll(conn)
	noError(t, err)
	for _, h := range []string{"\r\nx-amzn-RequestId: ", "\r\nx-amzn-ErrorType: ", "\r\nContent-Length: "} {
		if !strings.Contains(string(raw), h) {
			t.Errorf("%q is not in %s", h, raw)
		}
	}
}

// discard is a ResponseWriter that keeps nothing but the status.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }

// The handler alone, without TLS and without what net/http does.
func BenchmarkCredentialHandler(b *testing.B) {
	d := newDeviceServer(b)
	e := d.srv.Config.Handler.(*api.CredentialEndpoint) //nolint:forcetypeassert // what newDeviceServer made
	leaf, err := x509.ParseCertificate(d.cert.Certificate[0])
	if err != nil {
		b.Fatal(err)
	}
	var none net.Conn
	r := httptest.NewRequestWithContext(e.ConnContext(b.Context(), none), http.MethodGet, "/role-aliases/uploads/credentials", nil)
	r.Header.Set("X-Amzn-Iot-Thingname", "lamp")
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}
	b.ReportAllocs()
	for b.Loop() {
		w := &discard{header: http.Header{}}
		e.ServeHTTP(w, r)
		d.asked = d.asked[:0]
	}
}

// The endpoint against a bare handler, both over mutual TLS on kept-alive connections.
func BenchmarkCredentialsOverTLS(b *testing.B) {
	d := newDeviceServer(b)
	bare := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("x", 600)) }))
	bare.TLS = d.srv.TLS.Clone()
	bare.StartTLS()
	b.Cleanup(bare.Close)
	for name, target := range map[string]string{"endpoint": d.srv.URL, "bare": bare.URL} {
		b.Run(name, func(b *testing.B) {
			c := d.client("localhost", false, d.cert)
			b.ReportAllocs()
			for b.Loop() {
				res, err := c.Get(target + "/role-aliases/uploads/credentials") //nolint:noctx // a benchmark
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
			}
		})
	}
}
