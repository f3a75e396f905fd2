package servertest

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/sekisho-iot/sekisho/internal/client"
	"github.com/sekisho-iot/sekisho/internal/server"
	"github.com/sekisho-iot/sekisho/internal/telemetry"
)

// The fixed settings of every server under test, unless an option changes them.
const (
	Region      = "ap-northeast-1"
	Account     = "000000000000"
	adminKeyID  = "AKIATESTADMINISTRATOR"
	adminSecret = "the administrator's secret key of tests"
)

// Server is a running server with the administrator's clients on it.
type Server struct {
	Data  string // the data folder
	Clock *Clock
	Log   *Log

	IAM *iam.Client
	IoT *iot.Client
	STS *sts.Client
	S3  *s3.Client // path style, over HTTPS

	tb      testing.TB
	server  *server.Server
	options server.Options
	roots   *x509.CertPool
}

// Start runs a server until the test ends.
func Start(tb testing.TB, change ...func(*server.Options)) *Server {
	tb.Helper()
	s := &Server{Data: filepath.Join(tb.TempDir(), "data"), Clock: &Clock{}, Log: &Log{}, tb: tb}
	o := server.DefaultOptions()
	o.Data, o.Region, o.AccountID = s.Data, Region, Account
	o.APIListen, o.DeviceHTTPSListen, o.MQTTListen, o.ConsoleListen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", ""
	o.AdminAccessKeyID, o.AdminSecretAccessKey = adminKeyID, adminSecret
	o.Logger = slog.New(telemetry.NewHandler(s.Log, "json"))
	o.Now, o.Rand = s.Clock.Now, rand.Reader
	for _, c := range change {
		c(&o)
	}
	s.options, s.Data = o, o.Data
	s.open()
	return s
}

// open starts the server and connects the administrator's clients to it.
func (s *Server) open() {
	s.tb.Helper()
	ctx := s.tb.Context()
	var err error
	if s.server, err = server.New(ctx, s.options); err != nil {
		s.tb.Fatal(err)
	}
	s.tb.Cleanup(s.close)
	if err := s.server.Start(ctx, make(chan error, 4)); err != nil {
		s.tb.Fatal(err)
	}
	pem, err := os.ReadFile(filepath.Join(s.Data, server.RootCAFile))
	if err != nil {
		s.tb.Fatal(err)
	}
	s.roots = x509.NewCertPool()
	s.roots.AppendCertsFromPEM(pem)
	c := s.Config(Admin())
	s.IAM, s.IoT, s.STS, s.S3 = iam.NewFromConfig(c), iot.NewFromConfig(c), sts.NewFromConfig(c), s.S3As(Admin())
}

func (s *Server) close() {
	if err := s.server.Close(); err != nil {
		s.tb.Errorf("close: %v", err)
	}
}

// Restart ends the server, has change done to its folder, and starts it again
// on other ports.
func (s *Server) Restart(change func()) {
	s.tb.Helper()
	s.close()
	change()
	s.open()
}

// RestartWith is Restart with other options.
func (s *Server) RestartWith(change func(*server.Options)) {
	s.tb.Helper()
	s.Restart(func() { change(&s.options) })
}

// Options are those that the server was started with.
func (s *Server) Options() server.Options { return s.options }

// Admin is the account root's key.
func Admin() aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(adminKeyID, adminSecret, "")
}

// APIAddr is the API port's host:port.
func (s *Server) APIAddr() string { return s.server.Endpoints().API }

// DeviceAddr is the device port's host:port.
func (s *Server) DeviceAddr() string { return s.server.Endpoints().DeviceHTTPS }

// MQTTAddr is the MQTT port's host:port.
func (s *Server) MQTTAddr() string { return s.server.Endpoints().MQTT }

// TLS is how a client without a certificate speaks to either port.
func (s *Server) TLS() *tls.Config {
	return &tls.Config{RootCAs: s.roots, ServerName: "localhost", MinVersion: tls.VersionTLS12, Time: s.Clock.Now}
}

// Config is an SDK's configuration for a caller: HTTPS, and no retries, which
// would hide refusals.
func (s *Server) Config(p aws.CredentialsProvider) aws.Config {
	tr := &http.Transport{TLSClientConfig: s.TLS(), MaxIdleConnsPerHost: 16}
	s.tb.Cleanup(tr.CloseIdleConnections)
	return aws.Config{
		Region: Region, Credentials: p, BaseEndpoint: aws.String("https://" + s.APIAddr()),
		HTTPClient: &http.Client{Transport: tr, Timeout: time.Minute},
		Retryer:    func() aws.Retryer { return aws.NopRetryer{} },
	}
}

// S3As is an S3 client of a caller.
func (s *Server) S3As(p aws.CredentialsProvider) *s3.Client {
	return s3.NewFromConfig(s.Config(p), func(o *s3.Options) { o.UsePathStyle = true })
}

// Own calls the server's own signed API as the administrator. in and out may be nil.
func (s *Server) Own(method, path string, in, out any) error {
	s.tb.Helper()
	return s.OwnAs(Admin(), method, path, in, out)
}

// OwnAs is Own as another caller.
func (s *Server) OwnAs(p aws.CredentialsProvider, method, path string, in, out any) error {
	s.tb.Helper()
	return s.client(p).Call(s.tb.Context(), "sekisho", method, path, nil, in, out)
}

func (s *Server) client(p aws.CredentialsProvider) *client.Client {
	s.tb.Helper()
	k, err := p.Retrieve(s.tb.Context())
	s.ok(err)
	c, err := client.New(client.Config{
		Endpoint: "https://" + s.APIAddr(), Region: Region, CABundle: filepath.Join(s.Data, server.RootCAFile),
		AccessKeyID: k.AccessKeyID, SecretAccessKey: k.SecretAccessKey, SessionToken: k.SessionToken,
	})
	s.ok(err)
	return c
}

// Backup asks for a backup as a caller, and returns the archive as the server sealed it.
func (s *Server) Backup(p aws.CredentialsProvider, recipient string) (io.ReadCloser, error) {
	s.tb.Helper()
	return s.client(p).Stream(s.tb.Context(), "sekisho", http.MethodPost, "/_sekisho/backup", map[string]string{"recipient": recipient})
}

// Raw opens a plain connection to the API port and sends what it is given.
func (s *Server) Raw(text string) net.Conn {
	s.tb.Helper()
	c, err := (&net.Dialer{}).DialContext(s.tb.Context(), "tcp", s.APIAddr())
	if err != nil {
		s.tb.Fatal(err)
	}
	s.tb.Cleanup(func() { _ = c.Close() })
	if _, err := c.Write([]byte(text)); err != nil {
		s.tb.Fatal(err)
	}
	return c
}

// Code is the code of an AWS error, "" for none, and the text of any other error.
func Code(err error) string {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode()
	}
	return err.Error()
}

// Clock is the server's clock: the real one, moved.
type Clock struct {
	mu    sync.Mutex // guards moved
	moved time.Duration
}

// Now is the server's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.moved) //nolint:forbidigo // a clock has to begin somewhere
}

// Move lets time pass for the server.
func (c *Clock) Move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moved += d
}

// Log is what the server logged, one JSON object a line.
type Log struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String is all that was logged.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Denials are the records of refusals.
func (l *Log) Denials() []map[string]any {
	var list []map[string]any
	for line := range bytes.Lines([]byte(l.String())) {
		var record map[string]any
		if json.Unmarshal(line, &record) == nil && record["explanation"] != nil {
			list = append(list, record)
		}
	}
	return list
}

// StartAgain tries to start a second server on the folder of s, and returns what came of it.
func StartAgain(tb testing.TB, s *Server) error {
	tb.Helper()
	second, err := server.New(tb.Context(), s.options)
	if err == nil {
		err = second.Close()
	}
	return err
}
