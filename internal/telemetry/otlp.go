package telemetry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

const (
	otlpTimeout   = 10 * time.Second // for one request to the collector
	otlpAnswer    = 64 << 10         // bytes of its answer that are read
	otlpRetryMost = 30 * time.Second // that it may ask us to wait
)

// ParseOTLPEndpoint reads the base URL of a collector, below which /v1/traces
// and /v1/metrics are. Its errors hold nothing of the URL.
func ParseOTLPEndpoint(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Opaque != "":
		return nil, errors.New("a URL such as https://collector.example:4318 is needed")
	case u.User != nil:
		return nil, errors.New("a user and a password do not belong there, but into --otlp-headers")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("the URL may have no ? and no #")
	}
	if _, err := strconv.ParseUint(u.Port(), 10, 16); u.Port() != "" && err != nil {
		return nil, errors.New("the port must be a number up to 65535")
	}
	return u, nil
}

// ParseOTLPHeaders reads NAME=VALUE,…, with values percent-encoded, as
// OTEL_EXPORTER_OTLP_HEADERS is written. They may be secret: its errors hold
// nothing of them.
func ParseOTLPHeaders(s string) (http.Header, error) {
	h := http.Header{}
	if strings.TrimSpace(s) == "" {
		return h, nil
	}
	for i, pair := range strings.Split(s, ",") {
		name, value, ok := strings.Cut(pair, "=")
		name = strings.TrimSpace(name)
		if !ok || !headerName(name) {
			return nil, fmt.Errorf("number %d is not NAME=VALUE", i+1)
		}
		switch strings.ToLower(name) {
		case "host", "connection", "transfer-encoding", "content-length", "content-type", "content-encoding":
			return nil, fmt.Errorf("number %d is a header that Sekisho sets itself", i+1)
		}
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if err != nil || !headerValue(value) {
			return nil, fmt.Errorf("number %d has a value that no header can have", i+1)
		}
		h.Add(name, value)
	}
	return h, nil
}

// headerName reports whether s is a token of RFC 9110.
func headerName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

func headerValue(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// otlpClient posts protobuf to a collector. The exporters of the SDK are not
// used for it: they bring gRPC, which is as large as the rest of the server.
type otlpClient struct {
	base   *url.URL
	header http.Header
	http   *http.Client
}

func newOTLPClient(base *url.URL, header http.Header) *otlpClient {
	d := net.Dialer{Timeout: otlpTimeout / 2}
	return &otlpClient{base: base, header: header, http: &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: d.DialContext, TLSHandshakeTimeout: otlpTimeout / 2,
			MaxIdleConnsPerHost: 2, IdleConnTimeout: 2 * time.Minute, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: otlpAnswer,
		},
		// Our headers are for the collector alone.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (c *otlpClient) close() { c.http.CloseIdleConnections() }

// refusedError is an answer of the collector.
type refusedError struct {
	status int
	again  bool          // it may take the same later
	after  time.Duration // that it asks us to wait
}

// Error says the status alone: what else a collector says is not ours to log.
func (e *refusedError) Error() string { return "the collector answered " + strconv.Itoa(e.status) }

// post sends m to a path below the endpoint, and returns how many spans or data
// points of it the collector did not take.
func (c *otlpClient) post(ctx context.Context, path string, m proto.Message) (rejected int64, err error) {
	body, err := proto.Marshal(m)
	if err != nil {
		return 0, fmt.Errorf("encode: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, otlpTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base.JoinPath(path).String(), bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header = c.header.Clone()
	r.Header.Set("Content-Type", "application/x-protobuf")
	if r.Header.Get("User-Agent") == "" {
		r.Header.Set("User-Agent", "sekisho")
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, otlpAnswer))
	switch resp.StatusCode {
	case http.StatusOK, http.StatusAccepted, http.StatusNoContent:
		return rejectedOf(answer), err
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return 0, &refusedError{resp.StatusCode, true, retryAfter(resp.Header.Get("Retry-After"))}
	}
	return 0, &refusedError{status: resp.StatusCode}
}

func retryAfter(s string) time.Duration {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0
	}
	return min(time.Duration(n)*time.Second, otlpRetryMost)
}

// rejectedOf reads the partial success of an answer: field 1 of the answer, and
// of that field 1, a count (opentelemetry-proto, collector/*/v1). The message
// types themselves are in packages that bring gRPC.
func rejectedOf(answer []byte) int64 {
	partial, _ := protoField(answer, protowire.BytesType)
	_, n := protoField(partial, protowire.VarintType)
	return max(0, n)
}

// protoField returns the last field 1 of a message that has this type.
func protoField(b []byte, want protowire.Type) (content []byte, n int64) {
	for len(b) > 0 {
		number, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return content, n
		}
		b = b[size:]
		if size = protowire.ConsumeFieldValue(number, kind, b); size < 0 {
			return content, n
		}
		if number == 1 && kind == want {
			switch kind { //nolint:exhaustive // the two that are asked for
			case protowire.BytesType:
				content, _ = protowire.ConsumeBytes(b)
			case protowire.VarintType:
				v, _ := protowire.ConsumeVarint(b)
				n = int64(v) //nolint:gosec // an int64 on the wire
			}
		}
		b = b[size:]
	}
	return content, n
}
