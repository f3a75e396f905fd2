// Package client is how the administrative commands talk to a server: signed
// calls over HTTP, as any AWS client makes them.
//
// Invariant: the secret key signs and is never sent, printed or put in an error.
package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// maxAnswer bounds what is read of one answer.
const maxAnswer = 16 << 20

// Config says which server, and as whom.
type Config struct {
	Endpoint        string // AWS_ENDPOINT_URL
	Region          string
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string
	CABundle        string // a PEM file; "" trusts the system's
	Now             func() time.Time
}

// FromEnviron reads the variables that `sekisho env` prints.
func FromEnviron(getenv func(string) string) (Config, error) {
	first := func(names ...string) string {
		for _, n := range names {
			if v := getenv(n); v != "" {
				return v
			}
		}
		return ""
	}
	c := Config{
		Endpoint:        getenv("AWS_ENDPOINT_URL"),
		Region:          first("AWS_REGION", "AWS_DEFAULT_REGION"),
		AccessKeyID:     getenv("AWS_ACCESS_KEY_ID"),
		SecretAccessKey: getenv("AWS_SECRET_ACCESS_KEY"),
		SessionToken:    getenv("AWS_SESSION_TOKEN"),
		CABundle:        first("AWS_CA_BUNDLE", "SEKISHO_ROOT_CA"),
	}
	var missing []string
	for _, v := range [][2]string{
		{"AWS_ENDPOINT_URL", c.Endpoint},
		{"AWS_REGION", c.Region},
		{"AWS_ACCESS_KEY_ID", c.AccessKeyID},
		{"AWS_SECRET_ACCESS_KEY", c.SecretAccessKey},
	} {
		if v[1] == "" {
			missing = append(missing, v[0])
		}
	}
	if len(missing) > 0 {
		return Config{}, fmt.Errorf(`the environment does not say which server: %s missing; run eval "$(sekisho env --data DIR)" first`,
			strings.Join(missing, ", "))
	}
	return c, nil
}

// Client makes signed calls. It is safe for concurrent use.
type Client struct {
	cfg    Config
	base   *url.URL
	http   *http.Client
	signer *v4.Signer
}

// New returns a client of the server that cfg names.
func New(cfg Config) (*Client, error) {
	base, err := url.Parse(cfg.Endpoint)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("AWS_ENDPOINT_URL %q: not an http or https URL", cfg.Endpoint)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now //nolint:forbidigo // the documented default
	}
	tr, err := Transport(cfg.CABundle)
	if err != nil {
		return nil, err
	}
	return &Client{
		cfg: cfg, base: base, http: &http.Client{Transport: tr, Timeout: 60 * time.Second},
		signer: v4.NewSigner(func(o *v4.SignerOptions) { o.LogSigning = false }),
	}, nil
}

// Transport speaks to a server whose certificate the CA bundle, a PEM file,
// vouches for; "" trusts the system's.
func Transport(caBundle string) (*http.Transport, error) {
	tr := &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 16}
	if caBundle == "" {
		return tr, nil
	}
	pem, err := os.ReadFile(caBundle) //nolint:gosec // the file that the operator named
	if err != nil {
		return nil, fmt.Errorf("CA bundle: %w", err)
	}
	tr.TLSClientConfig.RootCAs = x509.NewCertPool()
	if !tr.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("CA bundle %s: no certificate in it", caBundle)
	}
	return tr, nil
}

// Error is what the server answered instead of success.
type Error struct {
	Status  int
	Code    string
	Message string
}

// Error renders the answer for the person at the terminal.
func (e *Error) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("%s (HTTP %d)", e.Code, e.Status)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Message)
}

// Call makes one signed request to a rest-json service. in, where not nil, is
// sent as JSON; out, where not nil, takes the answer. path starts with a slash
// and is percent-encoded already; header may be nil.
func (c *Client) Call(ctx context.Context, service, method, path string, header map[string]string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.base.String(), "/")+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	if err := c.sign(ctx, req, body, service); err != nil {
		return err
	}
	return c.do(req, out)
}

// Stream is Call for an answer that is read while it comes, however long that
// takes. The caller closes it.
func (c *Client) Stream(ctx context.Context, service, method, path string, in any) (io.ReadCloser, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.base.String(), "/")+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if err := c.sign(ctx, req, body, service); err != nil {
		return nil, err
	}
	patient := http.Client{Transport: c.http.Transport}
	res, err := patient.Do(req)
	if err != nil {
		return nil, c.noAnswer(err)
	}
	if res.StatusCode/100 != 2 {
		defer res.Body.Close()
		b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
		if err != nil {
			return nil, fmt.Errorf("read the answer of %s: %w", c.base, err)
		}
		return nil, answerError(res, b)
	}
	return res.Body, nil
}

func (c *Client) noAnswer(err error) error {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	return fmt.Errorf("no answer from %s: %w", c.base, err)
}

// Get reads something that needs no signature, such as the root CA.
func (c *Client) Get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.base.String(), "/")+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	var raw json.RawMessage
	err = c.do(req, &raw)
	return raw, err
}

func (c *Client) do(req *http.Request, out any) error {
	res, err := c.http.Do(req)
	if err != nil {
		return c.noAnswer(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.base, err)
	}
	if res.StatusCode/100 != 2 {
		return answerError(res, b)
	}
	switch out := out.(type) {
	case nil:
		return nil
	case *json.RawMessage:
		*out = b
		return nil
	default:
		if err := json.Unmarshal(b, out); err != nil {
			return fmt.Errorf("the answer of %s is not what was expected: %w", c.base, err)
		}
		return nil
	}
}

func answerError(res *http.Response, body []byte) error {
	var m struct {
		Message  string `json:"message"`
		Message2 string `json:"Message"`
	}
	e := &Error{Status: res.StatusCode, Code: res.Header.Get("X-Amzn-Errortype")}
	var x struct {
		Error struct{ Code, Message string }
	}
	if json.Unmarshal(body, &m) != nil && xml.Unmarshal(body, &x) == nil {
		e.Code, m.Message = x.Error.Code, x.Error.Message
	}
	e.Message = m.Message
	if e.Message == "" {
		e.Message = m.Message2
	}
	e.Code, _, _ = strings.Cut(e.Code, ":")
	if e.Code == "" {
		e.Code = res.Status
	}
	return e
}

// Query makes one signed request to a query service (IAM, STS) and discards the answer.
func (c *Client) Query(ctx context.Context, service, version, action string, params map[string]string) error {
	form := url.Values{"Action": {action}, "Version": {version}}
	for k, v := range params {
		form.Set(k, v)
	}
	body := form.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.base.String(), "/")+"/", strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	if err := c.sign(ctx, req, []byte(body), service); err != nil {
		return err
	}
	return c.do(req, nil)
}

func (c *Client) sign(ctx context.Context, req *http.Request, body []byte, service string) error {
	sum := sha256.Sum256(body)
	creds := aws.Credentials{AccessKeyID: c.cfg.AccessKeyID, SecretAccessKey: c.cfg.SecretAccessKey, SessionToken: c.cfg.SessionToken}
	if err := c.signer.SignHTTP(ctx, creds, req, hex.EncodeToString(sum[:]), service, c.cfg.Region, c.cfg.Now()); err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	return nil
}
