package api_test

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/sekisho-iot/sekisho/internal/api"
	"github.com/sekisho-iot/sekisho/internal/awsapi"
	"github.com/sekisho-iot/sekisho/internal/broker"
	core "github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/policy"
	"github.com/sekisho-iot/sekisho/internal/sts"
)

// fleet is a real source of sessions, with devices in memory: each certificate
// has one thing of its name.
type fleet struct {
	t     *testing.T
	clock time.Time
	auth  *sts.Authenticator
	prov  *sts.Provider
	role  sts.Role
	all   policy.Set

	mu      sync.Mutex // guards revoked
	revoked map[core.CertificateID]bool
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{t: t, clock: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), revoked: map[core.CertificateID]bool{}}
	compile := func(use policy.Use, src string) *policy.Policy {
		p, err := policy.Compile(use, "test", []byte(src))
		noError(t, err)
		return p
	}
	f.all = policy.Set{compile(policy.IoT, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`)}
	f.role = sts.Role{
		ID: "AROAROLEROLEROLEROLE", Name: "r", ARN: "arn:aws:iam::" + iotAccount + ":role/r", MaxSessionDuration: time.Hour,
		Trust: compile(policy.Trust, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"credentials.iot.amazonaws.com"},"Action":"sts:AssumeRole"}}`),
	}
	now := func() time.Time { return f.clock }
	ring, err := sts.OpenKeyRing(filepath.Join(t.TempDir(), "keys.json"), rand.Reader, now)
	noError(t, err)
	cfg := sts.Config{Account: iotAccount, Region: "us-east-1", Keys: ring, Directory: f, Devices: f, Now: now}
	f.auth = sts.NewAuthenticator(cfg)
	f.prov = sts.NewProvider(cfg, sts.NewRoleAliases(iotAccount, "us-east-1", oneAlias{}, now), slog.New(slog.DiscardHandler))
	return f
}

// oneAlias is a store of one role alias.
type oneAlias struct{ sts.AliasStore }

func (oneAlias) Alias(context.Context, string) (sts.RoleAlias, error) {
	return sts.RoleAlias{Name: "a", RoleARN: "arn:aws:iam::" + iotAccount + ":role/r", Duration: 3600}, nil
}

func (f *fleet) Role(context.Context, string) (sts.Role, error)     { return f.role, nil }
func (f *fleet) RoleByID(context.Context, string) (sts.Role, error) { return f.role, nil }
func (f *fleet) AccessKey(_ context.Context, id string) (sts.AccessKey, error) {
	if id != "AKIAADMINADMINADMIN1" {
		return sts.AccessKey{}, core.Errorf(core.KindNotFound, "access-key", "no such key")
	}
	return sts.AccessKey{ID: id, Secret: "admin-secret", Active: true, Root: true}, nil
}

func (f *fleet) ManagedPolicy(context.Context, string) (*policy.Policy, string, error) {
	return nil, "", core.Errorf(core.KindNotFound, "policy", "none")
}

func (f *fleet) Certificate(_ context.Context, id core.CertificateID, _ time.Time) (sts.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return sts.Certificate{Usable: !f.revoked[id], Why: "the certificate is REVOKED", Epoch: 1}, nil
}

func (f *fleet) Attachment(_ context.Context, id core.CertificateID, thing string) (sts.Attachment, bool, error) {
	return sts.Attachment{ThingID: "id-" + thing, Incarnation: 1}, thing == string(id[:1]), nil
}

func (f *fleet) Policies(context.Context, sts.Device, string, time.Time) (policy.Set, policy.Keys, error) {
	return f.all, policy.KeyMap{}, nil
}

// session is that of the device whose thing has this name of one letter.
func (f *fleet) session(thing string) sts.Credentials {
	f.t.Helper()
	c, err := f.prov.Credentials(f.t.Context(), sts.Device{Certificate: core.CertificateID(strings.Repeat(thing, 64))}, thing, true, "a")
	noError(f.t, err)
	return c
}

// webSockets is the API port and the device port, and what the broker got.
type webSockets struct {
	*fleet
	*devicePort
	front    *httptest.Server
	attached chan broker.Attachment
	conns    chan net.Conn
	log      lockedBuffer
	counts   counts
}

func newWebSockets(t *testing.T) *webSockets {
	t.Helper()
	s := &webSockets{fleet: newFleet(t), attached: make(chan broker.Attachment, 1), conns: make(chan net.Conn, 1)}
	log := slog.New(slog.NewTextHandler(&s.log, nil))
	ws := api.NewWebSocket(api.WebSocketOptions{
		Attach: func(c net.Conn, a broker.Attachment) { s.conns <- c; s.attached <- a },
		Logger: log, Now: func() time.Time { return s.clock },
	})
	h, err := api.New(api.Options{
		Services: []api.Service{api.IoTData(&messages{})}, Authenticator: s.auth, Account: iotAccount, Region: "us-east-1",
		MQTT: ws, Observer: &s.counts, Logger: log, Now: func() time.Time { return s.clock }, Rand: rand.Reader,
	})
	noError(t, err)
	s.front = httptest.NewServer(h)
	t.Cleanup(s.front.Close)
	s.devicePort = newDevicePort(t, h.DeviceMQTT())
	return s
}

// opening is one attempt at a WebSocket.
type opening struct {
	device bool // on the device port
	certs  []tls.Certificate
	name   string // SNI
	target string
	host   string
	header http.Header // further ones; "-Name" takes one out
	method string
	proto  string
	early  string // sent at once after the header
}

// open sends a request by hand, and returns the head of the answer and its body
// or, where the protocol was switched, what the broker got.
func (s *webSockets) open(t *testing.T, o opening) (reply, *broker.Attachment) {
	t.Helper()
	addr := s.front.Listener.Addr().String()
	var conn net.Conn
	var err error
	if o.device {
		addr = s.srv.Listener.Addr().String()
		conn, err = (&tls.Dialer{Config: &tls.Config{Certificates: o.certs, ServerName: o.name, InsecureSkipVerify: true}}).DialContext(t.Context(), "tcp", addr)
	} else {
		conn, err = (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	}
	noError(t, err)
	defer func() { _ = conn.Close() }()
	noError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	h := http.Header{
		"Upgrade": {"websocket"}, "Connection": {"keep-alive, Upgrade"}, "Sec-WebSocket-Version": {"13"},
		"Sec-WebSocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}, "Sec-WebSocket-Protocol": {"chat, mqtt"},
	}
	for k, v := range o.header {
		if name, gone := strings.CutPrefix(k, "-"); gone {
			delete(h, name)
		} else {
			h[k] = v
		}
	}
	var head strings.Builder
	fmt.Fprintf(&head, "%s %s %s\r\nHost: %s\r\n", orElse(o.method, "GET"), orElse(o.target, "/mqtt"), orElse(o.proto, "HTTP/1.1"), orElse(o.host, addr))
	noError(t, h.Write(&head))
	_, err = io.WriteString(conn, head.String()+"\r\n"+o.early)
	noError(t, err)
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, &http.Request{Method: http.MethodGet})
	noError(t, err)
	defer res.Body.Close()
	answer := reply{status: res.StatusCode, header: res.Header}
	if res.StatusCode != http.StatusSwitchingProtocols {
		body, err := io.ReadAll(res.Body)
		noError(t, err)
		answer.body = string(body)
		return answer, nil
	}
	theirs, a := <-s.conns, <-s.attached
	defer func() { _ = theirs.Close() }()
	go func() { _, _ = io.WriteString(conn, " more"); _ = conn.Close() }()
	rest, _ := io.ReadAll(theirs) // the end may come without TLS's close
	if got := string(a.Early) + string(rest); got != o.early+" more" {
		t.Errorf("the broker reads %q", got)
	}
	return answer, &a
}

func orElse(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

// presigned is what signers of MQTT over WebSocket make. The signature is made
// by hand, as the AWS documentation has it.
type presigned struct {
	sts.Credentials
	service, region, host, path string
	at                          time.Time
	expires                     string // "" leaves X-Amz-Expires out
	signToken                   bool   // part of what is signed; appended otherwise
}

func (p presigned) target() string {
	day := p.at.Format("20060102")
	scope := day + "/" + p.region + "/" + p.service + "/aws4_request"
	query := "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" + url.QueryEscape(p.AccessKeyID+"/"+scope) + "&X-Amz-Date=" + p.at.Format("20060102T150405Z")
	if p.expires != "" {
		query += "&X-Amz-Expires=" + p.expires
	}
	token := ""
	if p.SessionToken != "" {
		token = "&X-Amz-Security-Token=" + url.QueryEscape(p.SessionToken)
	}
	if p.signToken {
		query += token
		token = ""
	}
	query += "&X-Amz-SignedHeaders=host"
	request := "GET\n" + p.path + "\n" + query + "\nhost:" + p.host + "\n\nhost\n" + awsapi.HashOf(nil)
	sum := sha256.Sum256([]byte(request))
	key := []byte("AWS4" + p.SecretAccessKey)
	for _, part := range []string{day, p.region, p.service, "aws4_request"} {
		key = mac(key, part)
	}
	text := "AWS4-HMAC-SHA256\n" + p.at.Format("20060102T150405Z") + "\n" + scope + "\n" + hex.EncodeToString(sum[:])
	return p.path + "?" + query + "&X-Amz-Signature=" + hex.EncodeToString(mac(key, text)) + token
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// sign is a good request of c's, which change alters.
func (s *webSockets) sign(c sts.Credentials, change func(*presigned)) string {
	p := presigned{Credentials: c, service: "iotdevicegateway", region: "us-east-1", host: "localhost", path: "/mqtt", at: s.clock}
	if change != nil {
		change(&p)
	}
	return p.target()
}

// headerSigned signs with the SDK's own signer.
func (s *webSockets) headerSigned(t *testing.T, c sts.Credentials, service string) http.Header {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/mqtt", nil)
	noError(t, err)
	noError(t, v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken},
		r, awsapi.HashOf(nil), service, "us-east-1", s.clock))
	return r.Header
}

func TestWebSocketSigned(t *testing.T) {
	t.Parallel()
	s := newWebSockets(t)
	c := s.session("a")
	admin := sts.Credentials{AccessKeyID: "AKIAADMINADMINADMIN1", SecretAccessKey: "admin-secret"}
	day, hour := s.clock.Add(24*time.Hour), s.clock.Add(time.Hour)
	for _, device := range []bool{false, true} {
		for _, x := range []struct {
			what   string
			target string
			host   string
			header http.Header
			until  time.Time
		}{
			{"token appended, no expiry, as the device SDKs and Amplify have it", s.sign(c, nil), "localhost", nil, hour},
			{"token signed", s.sign(c, func(p *presigned) { p.signToken, p.expires = true, "300" }), "localhost", nil, hour},
			{"iotdata", s.sign(c, func(p *presigned) { p.service, p.signToken = "iotdata", true }), "localhost", nil, hour},
			{"long-term key", s.sign(admin, nil), "localhost", nil, day},
			{"a port that was not signed", s.sign(c, nil), "localhost:8443", nil, hour},
			{"a port that was signed", s.sign(c, func(p *presigned) { p.host, p.signToken = "localhost:8443", true }), "localhost:8443", nil, hour},
			{"a port that browsers leave out", s.sign(c, func(p *presigned) { p.host, p.signToken = "localhost:443", true }), "localhost", nil, hour},
			{"IPv6", s.sign(c, func(p *presigned) { p.host = "[::1]" }), "[::1]:8443", nil, hour},
			{"a clock 14 minutes ahead", s.sign(c, func(p *presigned) { p.at = p.at.Add(14 * time.Minute) }), "localhost", nil, hour},
			{"signed 23 hours ago", s.sign(admin, func(p *presigned) { p.at = p.at.Add(-23 * time.Hour) }), "localhost", nil, day},
			{"headers", "/mqtt", "localhost", s.headerSigned(t, c, "iotdevicegateway"), hour},
			{"headers for iotdata", "/mqtt", "localhost", s.headerSigned(t, admin, "iotdata"), day},
		} {
			res, a := s.open(t, opening{device: device, name: "localhost", certs: []tls.Certificate{s.cert}, target: x.target, host: x.host, header: x.header, early: "frames"})
			if a == nil {
				t.Errorf("%s (device port: %v): %d %s\n%s", x.what, device, res.status, res.body, s.log.String())
				continue
			}
			id, ok := a.Peer.Identity.(*sts.Identity)
			if !ok || !a.WebSocket || a.Peer.Certificate != "" || a.Peer.SourceIP != "127.0.0.1" || !a.Peer.Until.Equal(x.until) || (a.Peer.DomainName == "localhost") != device {
				t.Errorf("%s: %+v", x.what, a.Peer)
			} else if (id.ThingName == "a") != x.until.Equal(hour) {
				t.Errorf("%s: the identity is %+v", x.what, id)
			}
			if res.header.Get("Sec-Websocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" || res.header.Get("Sec-Websocket-Protocol") != "mqtt" || res.header.Get("Upgrade") != "websocket" || res.header.Get("Connection") != "Upgrade" {
				t.Errorf("%s: answered with %v", x.what, res.header)
			}
		}
	}
	s.counts.mu.Lock()
	defer s.counts.mu.Unlock()
	if n := strings.Count(s.counts.said, "iot-data Connect 101\n"); n != 24 {
		t.Errorf("%d connections were counted", n)
	}
}

// Security rule 4: a token counts with its own key only, wherever it stands.
func TestWebSocketRefusals(t *testing.T) {
	t.Parallel()
	s := newWebSockets(t)
	a, b := s.session("a"), s.session("b")
	swapped, none, tampered := a, a, a
	swapped.SessionToken = b.SessionToken
	none.SessionToken = ""
	tampered.SessionToken = "A" + a.SessionToken[1:]
	if tampered.SessionToken == a.SessionToken {
		tampered.SessionToken = "B" + a.SessionToken[1:]
	}
	lasting := sts.Credentials{AccessKeyID: "AKIAADMINADMINADMIN1", SecretAccessKey: "admin-secret", SessionToken: a.SessionToken}
	wrongSecret := a
	wrongSecret.SecretAccessKey = b.SecretAccessKey
	signed := func(c sts.Credentials) string { return s.sign(c, func(p *presigned) { p.signToken = true }) }
	revoked := s.session("c")
	s.mu.Lock()
	s.revoked[core.CertificateID(strings.Repeat("c", 64))] = true
	s.mu.Unlock()

	type attempt struct {
		target string
		header http.Header
		status int
		code   string
	}
	bad := map[string]attempt{
		"no token, though the key needs one":     {s.sign(none, nil), nil, 403, "UnrecognizedClientException"},
		"another's secret":                       {s.sign(wrongSecret, nil), nil, 403, "InvalidSignatureException"},
		"wrong region":                           {s.sign(a, func(p *presigned) { p.region = "eu-west-1" }), nil, 403, "InvalidSignatureException"},
		"unknown service":                        {s.sign(a, func(p *presigned) { p.service = "iot" }), nil, 0, ""},
		"of S3":                                  {s.sign(a, func(p *presigned) { p.service, p.expires, p.signToken = "s3", "300", true }), nil, 0, ""},
		"another host":                           {s.sign(a, func(p *presigned) { p.host = "example.com" }), nil, 403, "InvalidSignatureException"},
		"a longer life":                          {strings.Replace(s.sign(a, func(p *presigned) { p.expires = "300" }), "Expires=300", "Expires=3000", 1), nil, 403, "InvalidSignatureException"},
		"an expiry that was not signed":          {s.sign(a, nil) + "&X-Amz-Expires=3000", nil, 403, "InvalidSignatureException"},
		"another parameter":                      {s.sign(a, nil) + "&x=y", nil, 403, "InvalidSignatureException"},
		"signed and then appended":               {signed(a) + "&X-Amz-Security-Token=x", nil, 400, "IncompleteSignatureException"},
		"expired":                                {s.sign(a, func(p *presigned) { p.expires, p.at = "60", p.at.Add(-2*time.Minute) }), nil, 403, "InvalidSignatureException"},
		"signed a day ago":                       {s.sign(a, func(p *presigned) { p.at = p.at.Add(-24*time.Hour - time.Second) }), nil, 403, "InvalidSignatureException"},
		"signed for the future":                  {s.sign(a, func(p *presigned) { p.at = p.at.Add(16 * time.Minute) }), nil, 403, "InvalidSignatureException"},
		"iotdata with an appended token":         {s.sign(a, func(p *presigned) { p.service = "iotdata" }), nil, 403, "InvalidSignatureException"},
		"signed for another path":                {strings.Replace(s.sign(a, func(p *presigned) { p.path = "/topics" }), "/topics", "/mqtt", 1), nil, 403, "InvalidSignatureException"},
		"a token in a header that is not signed": {s.sign(none, nil), http.Header{"X-Amz-Security-Token": {a.SessionToken}}, 403, "InvalidSignatureException"},
		"revoked certificate":                    {s.sign(revoked, nil), nil, 403, "ForbiddenException"},
		"both ways of signing":                   {s.sign(a, nil), s.headerSigned(t, a, "iotdevicegateway"), 400, "IncompleteSignatureException"},
	}
	for name, c := range map[string]sts.Credentials{"another's": swapped, "altered": tampered, "of a session, with a long-term key": lasting} {
		bad["token "+name+", appended"] = attempt{s.sign(c, nil), nil, 403, "UnrecognizedClientException"}
		bad["token "+name+", signed"] = attempt{signed(c), nil, 403, "UnrecognizedClientException"}
		bad["token "+name+", header"] = attempt{"/mqtt", s.headerSigned(t, c, "iotdevicegateway"), 403, "UnrecognizedClientException"}
	}
	for what, x := range bad {
		for _, device := range []bool{false, true} {
			// The device's own certificate does not help a bad signature.
			res, got := s.open(t, opening{device: device, certs: []tls.Certificate{s.cert}, name: "localhost", target: x.target, host: "localhost", header: x.header})
			code := res.header.Get("X-Amzn-Errortype")
			if got != nil || x.code != "" && (code != x.code || res.status != x.status) || device && x.code == "" && res.status != 403 {
				t.Errorf("%s (device port: %v): %d %s %s", what, device, res.status, code, res.body)
			}
		}
	}
	// A URL for MQTT opens nothing else.
	for what, target := range map[string]string{
		"S3":                      s.sign(a, func(p *presigned) { p.path = "/bucket/key" }),
		"the data plane":          s.sign(a, func(p *presigned) { p.path = "/retainedMessage" }),
		"where /mqtt only begins": s.sign(a, func(p *presigned) { p.path = "/mqtt/x" }),
	} {
		if res, got := s.open(t, opening{target: target, host: "localhost"}); got != nil || res.status < 400 {
			t.Errorf("%s: %d %s", what, res.status, res.body)
		}
	}
	s.clock = s.clock.Add(2 * time.Hour)
	if res, got := s.open(t, opening{target: s.sign(a, nil), host: "localhost"}); got != nil || res.header.Get("X-Amzn-Errortype") != "ExpiredTokenException" {
		t.Errorf("a session that ended: %d %v", res.status, res.header)
	}
}

func TestWebSocketCertificate(t *testing.T) {
	t.Parallel()
	s := newWebSockets(t)
	certs := []tls.Certificate{s.cert}
	port := fmt.Sprint(s.srv.Listener.Addr().(*net.TCPAddr).Port)
	for _, x := range []struct {
		what string
		o    opening
		why  string // "" for a connection
	}{
		{"a certificate", opening{certs: certs, name: "localhost"}, ""},
		{"no name", opening{certs: certs}, ""},
		{"a client that calls its own port its origin", opening{certs: certs, name: "localhost", host: "localhost:" + port, header: http.Header{"Origin": {"https://localhost:" + port}}}, ""},
		{"the same without the port", opening{certs: certs, name: "localhost", host: "localhost", header: http.Header{"Origin": {"https://localhost:443"}}}, ""},
		{"a page of another site", opening{certs: certs, name: "localhost", host: "localhost", header: http.Header{"Origin": {"https://example.com"}}}, "another origin"},
		{"a page of another port", opening{certs: certs, name: "localhost", host: "localhost:" + port, header: http.Header{"Origin": {"https://localhost:4566"}}}, "another origin"},
		{"a page without TLS", opening{certs: certs, name: "localhost", host: "localhost:443", header: http.Header{"Origin": {"http://localhost:443"}}}, "another origin"},
		{"a page of no origin", opening{certs: certs, name: "localhost", host: "localhost", header: http.Header{"Origin": {"null"}}}, "another origin"},
		{"two origins", opening{certs: certs, name: "localhost", host: "localhost", header: http.Header{"Origin": {"https://localhost", "https://example.com"}}}, "another origin"},
		{"a foreign name", opening{certs: certs, name: "example.com"}, "not a --public-host"},
		{"nothing", opening{name: "localhost"}, "showed no certificate"},
	} {
		x.o.device = true
		res, a := s.open(t, x.o)
		switch {
		case x.why == "":
			if a == nil || a.Peer.Certificate != s.id || a.Peer.Identity != nil || !a.Peer.Until.IsZero() || a.Peer.DomainName != x.o.name || !a.WebSocket {
				t.Errorf("%s: %d %s, %+v", x.what, res.status, res.body, a)
			}
		case a != nil || res.status != 403 || res.header.Get("X-Amzn-Errortype") != "ForbiddenException" || !strings.Contains(res.body, "SigV4") || !strings.Contains(s.log.String(), x.why):
			t.Errorf("%s: %d %s\n%s", x.what, res.status, res.body, s.log.String())
		}
	}
	if res, a := s.open(t, opening{}); a != nil || res.status != 403 || !strings.Contains(res.body, "SigV4") {
		t.Errorf("the API port without a signature: %d %s", res.status, res.body)
	}
}

func TestWebSocketHandshake(t *testing.T) {
	t.Parallel()
	s := newWebSockets(t)
	target := s.sign(s.session("a"), nil)
	for what, x := range map[string]struct {
		o      opening
		status int
		want   string // the subprotocol, or part of the answer
	}{
		"MQTT 3.1's name":       {opening{header: http.Header{"Sec-WebSocket-Protocol": {"mqttv3.1"}}}, 101, "mqttv3.1"},
		"the client's first":    {opening{header: http.Header{"Sec-WebSocket-Protocol": {"x", "mqtt,mqttv3.1"}}}, 101, "mqtt"},
		"no subprotocol":        {opening{header: http.Header{"-Sec-WebSocket-Protocol": nil}}, 400, "must offer mqtt"},
		"another subprotocol":   {opening{header: http.Header{"Sec-WebSocket-Protocol": {"MQTTX, amqp"}}}, 400, "must offer mqtt"},
		"no key":                {opening{header: http.Header{"-Sec-WebSocket-Key": nil}}, 400, "one Sec-WebSocket-Key"},
		"two keys":              {opening{header: http.Header{"Sec-WebSocket-Key": {"dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=="}}}, 400, "one Sec-WebSocket-Key"},
		"a short key":           {opening{header: http.Header{"Sec-WebSocket-Key": {"eHg="}}}, 400, "16 bytes"},
		"a key that is none":    {opening{header: http.Header{"Sec-WebSocket-Key": {"!"}}}, 400, "16 bytes"},
		"an old version":        {opening{header: http.Header{"Sec-WebSocket-Version": {"8"}}}, 426, "must be 13"},
		"no version":            {opening{header: http.Header{"-Sec-WebSocket-Version": nil}}, 426, "must be 13"},
		"no upgrade":            {opening{header: http.Header{"-Upgrade": nil}}, 426, "upgrade to websocket"},
		"no connection upgrade": {opening{header: http.Header{"Connection": {"keep-alive"}}}, 426, "upgrade to websocket"},
		"an old HTTP":           {opening{proto: "HTTP/1.0"}, 426, "upgrade to websocket"},
		"a body":                {opening{header: http.Header{"Transfer-Encoding": {"chunked"}}, early: "0\r\n\r\n"}, 400, "no body"},
	} {
		for _, device := range []bool{false, true} {
			x.o.device, x.o.name, x.o.target, x.o.host = device, "localhost", target, "localhost"
			res, a := s.open(t, x.o)
			if res.status != x.status || (a != nil) != (x.status == 101) || !strings.Contains(res.body+res.header.Get("Sec-Websocket-Protocol"), x.want) {
				t.Errorf("%s (device port: %v): %d %s %v", what, device, res.status, res.body, res.header)
			}
			if x.status == 426 && (res.header.Get("Sec-Websocket-Version") != "13" || res.header.Get("Upgrade") != "websocket") {
				t.Errorf("%s: answered with %v", what, res.header)
			}
		}
	}
	res, _ := s.open(t, opening{device: true, name: "localhost", certs: []tls.Certificate{s.cert}, method: http.MethodPost})
	if res.status != 405 || res.header.Get("Allow") != "GET" {
		t.Errorf("another method: %d %v", res.status, res.header)
	}
	if status, header, _ := s.post(t, s.client("localhost", true, s.cert), "GET", "/mqtt", nil); status != 426 || header.Get("Upgrade") != "" {
		t.Errorf("HTTP/2: %d %v", status, header)
	}
	w := httptest.NewRecorder() // which cannot be hijacked
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/mqtt", nil)
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Raw: []byte("x")}}}
	for k, v := range map[string]string{"Upgrade": "websocket", "Connection": "upgrade", "Sec-Websocket-Version": "13", "Sec-Websocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-Websocket-Protocol": "mqtt"} {
		r.Header.Set(k, v)
	}
	api.NewWebSocket(api.WebSocketOptions{Logger: slog.New(slog.DiscardHandler), Now: time.Now}).ServeHTTP(w, r)
	if w.Code != 500 {
		t.Errorf("without a connection: %d %s", w.Code, w.Body)
	}
}
