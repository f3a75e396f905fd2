package credential

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/internal/agent/clock"
	"github.com/sekisho-iot/sekisho/internal/agent/config"
)

// Timeouts of one request, and how much of an answer is read.
const (
	dialTimeout    = 5 * time.Second
	requestTimeout = 15 * time.Second
	maxAnswer      = 64 << 10
)

// ErrUnavailable is that no answer came, or one that another try may change.
var ErrUnavailable = errors.New("no new credentials")

// RefusedError is an answer that trying again does not change.
type RefusedError struct {
	Status  int
	Message string // what the server said
	Advice  string // what it means here and what to do
}

// Error says what the server answered and what to do.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("%s (the credential endpoint answered %d %q)", e.Advice, e.Status, e.Message)
}

// revokes says that the server no longer knows the device, and so that
// credentials which it gave before are worth nothing.
func (e *RefusedError) revokes() bool {
	return e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden
}

// Endpoint is the credential provider as one device sees it.
type Endpoint struct {
	client *http.Client
	clock  *clock.Clock
	host   string
	url    string
	thing  string
	alias  string
	rootCA string
	leaf   *x509.Certificate
}

// Dial opens a TCP connection to host:port.
type Dial func(ctx context.Context, address string) (net.Conn, error)

// NewEndpoint returns the endpoint that c names. The clock is set to the
// server's as soon as it answers. dial may be nil.
func NewEndpoint(c *config.Config, k *clock.Clock, dial Dial) (*Endpoint, error) {
	if c.Endpoints.Credentials == "" {
		return nil, fmt.Errorf("%s: \"endpoints.credentials\" is missing: HOST:PORT of the server's credential endpoint", c.Path())
	}
	if c.RoleAlias == "" {
		return nil, fmt.Errorf("%s: \"roleAlias\" is missing: the name of the role alias whose credentials are wanted", c.Path())
	}
	t, err := c.TLS(k.Now)
	if err != nil {
		return nil, err
	}
	leaf, err := c.Leaf()
	if err != nil {
		return nil, err
	}
	if dial == nil {
		d := &net.Dialer{Timeout: dialTimeout}
		dial = func(ctx context.Context, address string) (net.Conn, error) { return d.DialContext(ctx, "tcp", address) }
	}
	return &Endpoint{
		client: &http.Client{
			Transport: &http.Transport{
				Proxy: http.ProxyFromEnvironment, TLSClientConfig: t, MaxIdleConns: 1, IdleConnTimeout: time.Minute,
				DialContext:         func(ctx context.Context, _, address string) (net.Conn, error) { return dial(ctx, address) },
				TLSHandshakeTimeout: dialTimeout,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Timeout:       requestTimeout,
		},
		clock: k, host: c.Endpoints.Credentials, thing: c.Thing, alias: c.RoleAlias, rootCA: c.RootCA, leaf: leaf,
		// Without the port that goes without saying, Host is the name that AWS gave.
		url: "https://" + strings.TrimSuffix(c.Endpoints.Credentials, ":443") + "/role-aliases/" + url.PathEscape(c.RoleAlias) + "/credentials",
	}, nil
}

// Close ends its connection.
func (e *Endpoint) Close() { e.client.CloseIdleConnections() }

// ID tells the sessions of one device, certificate, role alias and server from all others.
func (e *Endpoint) ID() string {
	certificate := sha256.Sum256(e.leaf.Raw)
	sum := sha256.Sum256([]byte(strings.Join([]string{e.host, e.alias, e.thing, hex.EncodeToString(certificate[:])}, "|")))
	return hex.EncodeToString(sum[:])
}

// Fetch asks for a new session. Its errors are a *RefusedError, or wrap
// ErrUnavailable, or say what is wrong on the device.
func (e *Endpoint) Fetch(ctx context.Context) (*Session, error) {
	res, sent, err := e.get(ctx)
	if err != nil && e.clock.Forgive(err) {
		res, sent, err = e.get(ctx)
	}
	if err != nil {
		return nil, e.unreachable(err)
	}
	defer res.Body.Close()
	fetched := e.clock.Local()
	e.setClock(res.Header.Get("Date"), sent, fetched)
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("%w: read from %s: %w", ErrUnavailable, e.host, err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, e.refused(res.StatusCode, body)
	}
	return e.session(body, fetched)
}

func (e *Endpoint) get(ctx context.Context) (*http.Response, time.Time, error) {
	sent := e.clock.Local()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url, http.NoBody)
	if err != nil {
		return nil, sent, err
	}
	req.Header.Set("Accept", "*/*")
	req.Header["x-amzn-iot-thingname"] = []string{e.thing}
	res, err := e.client.Do(req)
	return res, sent, err
}

// setClock learns from the Date of an answer, which is whole seconds: what it
// and the time on the way explain is no difference.
func (e *Endpoint) setClock(date string, sent, received time.Time) {
	server, err := http.ParseTime(date)
	if err != nil {
		return
	}
	offset := server.Add(time.Second / 2).Sub(received.Round(0))
	if offset.Abs() <= 2*time.Second+received.Sub(sent).Abs() {
		offset = 0
	}
	e.clock.SetOffset(offset)
}

func (e *Endpoint) session(body []byte, fetched time.Time) (*Session, error) {
	var answer struct {
		Credentials struct {
			AccessKeyID     string    `json:"accessKeyId"`
			SecretAccessKey string    `json:"secretAccessKey"`
			SessionToken    string    `json:"sessionToken"`
			Expiration      time.Time `json:"expiration"`
		} `json:"credentials"`
	}
	// What is wrong is not told in detail: the details are secrets.
	if json.Unmarshal(body, &answer) != nil {
		return nil, fmt.Errorf("%w: what %s sent are none: is \"endpoints.credentials\" right?", ErrUnavailable, e.host)
	}
	c := answer.Credentials
	s := &Session{
		AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken, Expiration: c.Expiration,
		Obtained: fetched.Add(e.clock.Offset()), Fetched: fetched,
	}
	if !s.complete() {
		return nil, fmt.Errorf("%w: what %s sent are none: is \"endpoints.credentials\" right?", ErrUnavailable, e.host)
	}
	if !s.usable(fetched) {
		return nil, fmt.Errorf("%w: the credentials that %s sent have expired already", ErrUnavailable, e.host)
	}
	return s, nil
}

func (s *Session) complete() bool {
	return s.AccessKeyID != "" && s.SecretAccessKey != "" && s.SessionToken != "" && !s.Expiration.IsZero()
}

// refused turns an answer that is not 200 into an error that says what to do.
func (e *Endpoint) refused(status int, body []byte) error {
	var said struct {
		Message string `json:"message"`
	}
	_ = json.Unmarshal(body, &said) // whatever else stands there is not for us
	if len(said.Message) > 200 {
		said.Message = said.Message[:200]
	}
	if status == http.StatusTooManyRequests || status >= http.StatusInternalServerError || status < http.StatusBadRequest {
		return fmt.Errorf("%w: %s answered %d %q: try again later", ErrUnavailable, e.host, status, said.Message)
	}
	return &RefusedError{Status: status, Message: said.Message, Advice: e.advice(status, said.Message)}
}

func (e *Endpoint) advice(status int, message string) string {
	switch {
	case status == http.StatusForbidden && e.clock.Now().After(e.leaf.NotAfter):
		return fmt.Sprintf("the certificate of %s expired on %s: enrol the device again", e.thing, e.leaf.NotAfter.UTC().Format(time.DateOnly))
	case status == http.StatusForbidden && e.clock.Now().Before(e.leaf.NotBefore):
		return fmt.Sprintf("the certificate of %s is not valid before %s", e.thing, e.leaf.NotBefore.UTC().Format(time.RFC3339))
	case status == http.StatusForbidden && strings.HasPrefix(message, "Certificate is invalid"):
		return "the server does not accept this device's certificate, which it does not know, or which is inactive or revoked: enrol the device again, or have its certificate activated"
	case status == http.StatusForbidden && strings.HasPrefix(message, "Invalid thing name"):
		return fmt.Sprintf("the certificate is not attached to thing %s: correct \"thing\" in device.json, or attach it", e.thing)
	case status == http.StatusForbidden:
		return fmt.Sprintf("the device may not use role alias %s: correct \"roleAlias\" in device.json, or attach an IoT policy to its certificate that allows iot:AssumeRoleWithCertificate on it (`sekisho explain --thing %s` says more)", e.alias, e.thing)
	case status == http.StatusNotFound:
		return fmt.Sprintf("there is no role alias %s on %s: correct \"roleAlias\" or \"endpoints.credentials\" in device.json, or create it", e.alias, e.host)
	}
	return fmt.Sprintf("the server gives no credentials for role alias %s: look at its role and the role's trust policy", e.alias)
}

// unreachable says of a request that got no answer why, and what to do.
func (e *Endpoint) unreachable(err error) error {
	if failed, ok := errors.AsType[*url.Error](err); ok {
		err = failed.Err // without the method and the address, which are said better here
	}
	vouched := "the system's certificates do"
	if e.rootCA != "" {
		vouched = e.rootCA + " does"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return fmt.Errorf("%s is not the server that it should be: %s not vouch for it: check \"rootCa\" and \"endpoints.credentials\" in device.json: %w", e.host, vouched, err)
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return fmt.Errorf("the server at %s goes by another name: correct \"endpoints.credentials\" in device.json, or name this host by the server's --public-host: %w", e.host, err)
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return fmt.Errorf("the certificate of %s is not valid at this device's time, %s: set its clock, or renew that certificate: %w", e.host, e.clock.Local().UTC().Format(time.RFC3339), err)
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Errorf("the certificate of %s is not acceptable: %w", e.host, err)
	}
	return fmt.Errorf("%w: %s does not answer; check that the server runs and that this device reaches it: %w", ErrUnavailable, e.host, err)
}
