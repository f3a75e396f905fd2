package upload_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/sekisho-iot/sekisho/internal/agent/spool"
	"github.com/sekisho-iot/sekisho/internal/agent/upload"
)

// away is a server that cannot be reached before a time, by MQTT or S3.
type away struct {
	until time.Time
	conns chan net.Conn // to S3

	mu      sync.Mutex // guards what follows
	tries   int
	arrived []string
}

var errAway = errors.New("no route to host")

func (s *away) Publish(_ context.Context, _ string, payload []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tries++
	if time.Now().Before(s.until) {
		return errAway
	}
	var m upload.Message
	if err := json.Unmarshal(payload, &m); err != nil {
		return err
	}
	s.arrived = append(s.arrived, m.Name)
	return nil
}

func (s *away) dial(context.Context, string) (net.Conn, error) {
	s.mu.Lock()
	s.tries++
	s.mu.Unlock()
	if time.Now().Before(s.until) {
		return nil, errAway
	}
	client, server := net.Pipe()
	s.conns <- server
	return client, nil
}

// Accept, Close and Addr make it the listener of its S3.
func (s *away) Accept() (net.Conn, error) {
	c, ok := <-s.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (s *away) Close() error   { return nil }
func (s *away) Addr() net.Addr { return &net.TCPAddr{} }

// ServeHTTP takes every object.
func (s *away) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrived = append(s.arrived, r.Method+" "+r.URL.Path)
}

// A watcher whose server is away for an hour sends everything when it is back, what
// came meanwhile too, and does not press it before.
func TestOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		folder := filepath.Join(dir, "in")
		put := func(name string, size int) {
			if err := os.WriteFile(filepath.Join(folder, name), make([]byte, size), 0o600); err != nil {
				t.Error(err)
			}
		}
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		s, err := spool.Open(filepath.Join(dir, "spool"))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close() //nolint:errcheck // the folder is temporary
		begun := time.Now()
		server := &away{until: begun.Add(time.Hour), conns: make(chan net.Conn)}
		web := &http.Server{Handler: server}
		var group sync.WaitGroup
		group.Go(func() { _ = web.Serve(server) })

		settings := upload.DefaultSettings()
		settings.Thing, settings.Bucket, settings.Region, settings.Endpoint = thing, "fleet", "us-east-1", "http://s3.test"
		settings.Persist, settings.GiveUpAfter = true, 7*24*time.Hour
		if err := settings.Validate(); err != nil {
			t.Fatal(err)
		}
		tr := &http.Transport{}
		ctx, stop := context.WithCancel(t.Context())
		a := upload.New(upload.Options{
			Settings: settings, Spool: s, Publisher: server, Now: time.Now,
			S3: upload.NewS3(&settings, tr, credentials.NewStaticCredentialsProvider("AKID", "secret", ""), server.dial),
			Tell: func(e upload.Event) {
				if e.Kind == upload.Failed || e.Kind == upload.Trouble {
					t.Errorf("%+v", e)
				}
			},
		})
		put("small", 100)
		put("large", 100<<10)
		found := make(chan spool.Record)
		group.Go(func() { _, _ = a.Run(ctx, found) })
		group.Go(func() {
			if err := a.Watch(ctx, upload.Watcher{Dir: folder, Delete: true, Poll: time.Second, Settle: 2 * time.Second}, found); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(30 * time.Minute)
		put("late", 100)
		time.Sleep(time.Until(server.until))
		server.mu.Lock()
		if n := server.tries; n < 100 || n > 300 {
			t.Errorf("%d tries in an hour, of three files", n)
		}
		server.mu.Unlock()
		time.Sleep(2 * time.Minute)
		stop()
		tr.CloseIdleConnections()
		close(server.conns)
		_ = web.Close()
		group.Wait()
		slices.Sort(server.arrived)
		if want := []string{"PUT /fleet/camera-1/large", "large", "late", "small"}; !slices.Equal(server.arrived, want) {
			t.Errorf("arrived: %q, want %q", server.arrived, want)
		}
		if left, err := os.ReadDir(folder); err != nil || len(left) != 0 || len(s.Records()) != 0 {
			t.Errorf("left: %v, %v, %+v", left, err, s.Records())
		}
	})
}
