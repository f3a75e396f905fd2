package servertest_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/sekisho-iot/sekisho/internal/server"
	"github.com/sekisho-iot/sekisho/internal/servertest"
)

const (
	otlpSecret = "the-collector's-key"
	traceID    = "0af7651916cd43dd8448eb211c80319c"
)

// collector is an OpenTelemetry collector, as far as OTLP over HTTP goes.
type collector struct {
	*httptest.Server

	mu      sync.Mutex // guards the fields below
	raw     bytes.Buffer
	traces  tracepb.TracesData
	metrics metricspb.MetricsData
	odd     []string
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *collector) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // what is cut does not decode
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raw.Write(body)
	var err error
	merge := proto.UnmarshalOptions{Merge: true}
	switch r.URL.Path {
	case "/v1/traces":
		err = merge.Unmarshal(body, &c.traces)
	case "/v1/metrics":
		err = merge.Unmarshal(body, &c.metrics)
	default:
		err = fmt.Errorf("path %s", r.URL.Path)
	}
	if err != nil || r.Header.Get("X-Api-Key") != otlpSecret {
		c.odd = append(c.odd, fmt.Sprint(err, r.Header))
	}
}

// export has a server export everything to the collector.
func (c *collector) export(o *server.Options) {
	o.OTLPEndpoint, o.OTLPHeaders = c.URL, "x-api-key="+otlpSecret
}

func (c *collector) spans() (list []*tracepb.Span) {
	for _, r := range c.traces.ResourceSpans {
		for _, s := range r.ScopeSpans {
			list = append(list, s.Spans...)
		}
	}
	return list
}

func (c *collector) named(name string) (list []*tracepb.Span) {
	return slices.DeleteFunc(c.spans(), func(s *tracepb.Span) bool { return s.Name != name })
}

func (c *collector) metric(name string) (found *metricspb.Metric) {
	for _, r := range c.metrics.ResourceMetrics {
		for _, s := range r.ScopeMetrics {
			for _, m := range s.Metrics {
				if m.Name == name {
					found = m
				}
			}
		}
	}
	return found
}

func attribute(list []*commonpb.KeyValue, key string) string {
	for _, a := range list {
		if a.Key == key {
			if n, ok := a.Value.Value.(*commonpb.AnyValue_IntValue); ok {
				return fmt.Sprint(n.IntValue)
			}
			return a.Value.GetStringValue()
		}
	}
	return ""
}

func TestMainJobIsTraced(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	s := servertest.Start(t, c.export)
	s.Fleet()
	d := s.Enrol("pump")
	parent := "00-" + traceID + "-b7ad6b7169203331-01"
	granted := d.Ask(servertest.Alias, "x-amzn-iot-thingname", "pump", "traceparent", parent)
	if granted.Credentials == nil {
		t.Fatal(granted)
	}
	d.Ask("no-such-alias", "x-amzn-iot-thingname", "pump", "traceparent", parent)
	keys, err := granted.Credentials.Retrieve(t.Context())
	must(t, err)
	secrets := []string{
		keys.SecretAccessKey, keys.SessionToken, "the administrator's secret key", otlpSecret,
		"secret-content", "secret-name", "secret-query", "secret-agent", "secret-state", "X-Amz-Signature", "traceparent", "BEGIN ",
	}
	header := http.Header{"Traceparent": {parent}, "Tracestate": {"x=secret-state"}, "User-Agent": {"secret-agent"}, "X-Amz-Meta-X": {"secret-content"}}
	put := servertest.Request{Method: http.MethodPut, Target: "/fleet/pump/secret-name", Body: "secret-content", Header: header}
	if status, body := s.Do(granted.Credentials, put); status != 200 {
		t.Fatal(status, body)
	}
	get := servertest.Request{Method: http.MethodGet, Target: "/fleet/pump/secret-name?X-Amz-Expires=60&response-content-type=secret-query", Presign: true, Header: http.Header{"Traceparent": {parent}}}
	signed := s.Signed(granted.Credentials, get)
	secrets = append(secrets, signed.URL.Query().Get("X-Amz-Signature"))
	res, err := s.Transport().RoundTrip(signed)
	must(t, err)
	must(t, res.Body.Close())
	if res.StatusCode != 200 {
		t.Fatal(res.Status)
	}
	put.Target = "/fleet/valve/secret-name"
	if status, _ := s.Do(granted.Credentials, put); status != 403 {
		t.Fatal(status)
	}
	stranger := servertest.Request{Method: http.MethodGet, Target: "/fleet/pump/secret-name", Header: header}
	if status, _ := s.Do(nil, stranger); status != 403 {
		t.Fatal(status)
	}
	s.Restart(func() {}) // what is left is sent before the server has ended

	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.odd) > 0 {
		t.Error(c.odd)
	}
	checkTraces(t, c)
	checkFigures(t, c)
	for _, secret := range secrets {
		if bytes.Contains(c.raw.Bytes(), []byte(secret)) {
			t.Errorf("%q was exported", secret)
		}
	}
	if log := s.Log.String(); strings.Contains(log, otlpSecret) || strings.Contains(log, "does not reach the collector") {
		t.Error(log)
	}
}

func checkTraces(t *testing.T, c *collector) {
	t.Helper()
	of := func(s *tracepb.Span, keys ...string) string {
		for i, k := range keys {
			keys[i] = attribute(s.Attributes, k)
		}
		return strings.Join(keys, " ")
	}
	var puts []string
	for _, s := range c.named("s3/PutObject") {
		puts = append(puts, of(s, "http.response.status_code", "error.type", "rpc.system", "rpc.service", "rpc.method", "server.address", "url.scheme", "http.request.method"))
		if hex.EncodeToString(s.TraceId) != traceID || attribute(s.Attributes, "aws.request_id") == "" || s.TraceState != "" {
			t.Error(s)
		}
	}
	slices.Sort(puts)
	if want := []string{"200  aws-api s3 PutObject localhost https PUT", "403 AccessDenied aws-api s3 PutObject localhost https PUT"}; !slices.Equal(puts, want) {
		t.Error(puts)
	}
	ours := 0
	for _, s := range c.named("s3/GetObject") {
		if hex.EncodeToString(s.TraceId) == traceID {
			ours++
		}
	}
	if all := len(c.named("s3/GetObject")); all != 2 || ours != 1 {
		t.Errorf("%d of %d spans follow a caller, whom we know once", ours, all)
	}
	for _, s := range c.named("credentials/AssumeRoleWithCertificate") {
		granted := of(s, "http.response.status_code") == "200"
		if granted != (hex.EncodeToString(s.TraceId) == traceID) || granted != (of(s, "error.type") == "") {
			t.Error(s)
		}
	}
	if n := len(c.named("credentials/AssumeRoleWithCertificate")); n != 2 {
		t.Error(n)
	}
	creates := c.named("iot/CreateThing")
	if len(creates) != 1 {
		t.Fatal(creates)
	}
	if !slices.ContainsFunc(c.named("COMMIT"), func(s *tracepb.Span) bool {
		return string(s.ParentSpanId) == string(creates[0].SpanId) && string(s.TraceId) == string(creates[0].TraceId) && of(s, "db.system.name") != ""
	}) {
		t.Error("what CreateThing wrote is not below it: ", c.named("COMMIT"))
	}
	about := c.traces.ResourceSpans[0].Resource.Attributes
	if attribute(about, "service.name") != "sekisho" || attribute(about, "service.instance.id") == "" {
		t.Error(about)
	}
}

func checkFigures(t *testing.T, c *collector) {
	t.Helper()
	requests := c.metric("http.server.request.duration")
	if !slices.ContainsFunc(requests.GetHistogram().GetDataPoints(), func(p *metricspb.HistogramDataPoint) bool {
		return attribute(p.Attributes, "rpc.method") == "AssumeRoleWithCertificate" && attribute(p.Attributes, "http.response.status_code") == "200" && p.Count == 1
	}) {
		t.Error(requests)
	}
	if m := c.metric("db.client.operation.duration"); len(m.GetHistogram().GetDataPoints()) == 0 {
		t.Error(m)
	}
	for _, name := range []string{"sekisho_mqtt_connections", "sekisho_api_request_duration_seconds", "sekisho_denials_total", "process_resident_memory_bytes"} {
		if c.metric(name) == nil {
			t.Errorf("%s is missing", name)
		}
	}
}

// A ratio below one is not for callers to lift.
func TestCallersCannotHaveEverythingRecorded(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	s := servertest.Start(t, c.export, func(o *server.Options) { o.OTLPSampleRatio = 0 })
	for range 300 {
		status, body := s.Do(servertest.Admin(), servertest.Request{
			Method: http.MethodGet, Target: "/", Header: http.Header{"Traceparent": {"00-" + traceID + "-b7ad6b7169203331-01"}},
		})
		if status != 200 {
			t.Fatal(status, body)
		}
	}
	s.Restart(func() {})
	c.mu.Lock()
	defer c.mu.Unlock()
	// A hundred at once, then ten a second.
	if n := len(c.named("s3/ListBuckets")); n < 100 || n > 250 {
		t.Error(n)
	}
}

// A collector that is gone, or takes and never answers, is one line in the log
// and no time of anybody's.
func TestCollectorThatHangs(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	defer func() { must(t, l.Close()) }() // it accepts, in the kernel, and says nothing
	gone := "http://127.0.0.1:1"
	for _, endpoint := range []string{gone, "http://" + l.Addr().String()} {
		s := servertest.Start(t, func(o *server.Options) { o.OTLPEndpoint = endpoint })
		s.Fleet()
		must(t, put(t, s.S3As(s.Enrol("pump").Session()), "pump/a"))
		began := time.Now()
		s.Restart(func() {})
		if took := time.Since(began); took > 8*time.Second {
			t.Errorf("%s: a restart took %v", endpoint, took)
		}
		// One for each signal.
		if n := strings.Count(s.Log.String(), "does not reach the collector"); n == 0 || n > 2 {
			t.Errorf("%s: %d lines: %s", endpoint, n, s.Log.String())
		}
	}
}

// Nothing of OpenTelemetry runs where nobody asked for it.
func TestNothingIsExportedByDefault(t *testing.T) { //nolint:paralleltest // other servers' goroutines would be seen
	running := func() bool {
		b := make([]byte, 4<<20)
		stacks := string(b[:runtime.Stack(b, true)])
		return strings.Contains(stacks, "spanQueue") || strings.Contains(stacks, "go.opentelemetry.io")
	}
	s := servertest.Start(t)
	s.Fleet()
	if running() {
		t.Error("something of OpenTelemetry runs")
	}
	s.RestartWith(newCollector(t).export)
	if !running() {
		t.Error("this test would not see it")
	}
}

func TestOTLPSettings(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		endpoint, headers string
		ratio             float64
		want              string // "" for good ones
	}{
		{"", "", 1, ""},
		{"http://127.0.0.1:4318", "x-api-key=hunter2", 0.5, ""},
		{"https://collector.example", "x-api-key=hunter2", 0, ""},
		{"http://collector.example:4318", "", 1, ""},
		{"http://collector.example:4318", "x-api-key=hunter2", 1, "https is needed"},
		{"", "x-api-key=hunter2", 1, "--otlp-headers needs --otlp-endpoint"},
		{"https://collector.example", "hunter2", 1, "--otlp-headers: number 1 is not NAME=VALUE"},
		{"https://x:hunter2@collector.example", "", 1, "--otlp-endpoint: a user and a password"},
		{"collector:4317", "", 1, "--otlp-endpoint: a URL such as"},
		{"", "", 1.5, "--otlp-sample-ratio 1.5: a number from 0 to 1"},
		{"", "", -1, "--otlp-sample-ratio -1"},
	} {
		o := server.DefaultOptions()
		o.OTLPEndpoint, o.OTLPHeaders, o.OTLPSampleRatio = tt.endpoint, tt.headers, tt.ratio
		err := o.Validate()
		switch {
		case err == nil && tt.want == "":
		case err == nil || tt.want == "" || !server.IsUsage(err) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2"):
			t.Errorf("%s %s %v: %v", tt.endpoint, tt.headers, tt.ratio, err)
		}
	}
}
