package servertest_test

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sekisho-iot/sekisho/internal/client"
	"github.com/sekisho-iot/sekisho/internal/servertest"
)

type rotation struct {
	Key        uint32
	Retired    []uint32
	Dropped    []uint32
	AccessKeys int
}

func rotate(t *testing.T, s *servertest.Server, compromised bool) rotation {
	t.Helper()
	var out rotation
	must(t, s.Own(http.MethodPost, "/_sekisho/keys/rotate", map[string]bool{"compromised": compromised}, &out))
	return out
}

func secretsOnDisk(t *testing.T, s *servertest.Server) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.Data, "keys.json"))
	must(t, err)
	return bytes.Count(b, []byte(`"secret"`))
}

// TestSecurityRule5_RotateUnderLoad: uploads, credential calls, new access keys
// and their first use go on through rotations, without one failure; and again
// after a restart.
func TestSecurityRule5_RotateUnderLoad(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	d := s.Enrol("pump")
	session := s.S3As(d.Session())
	user := s.NewUser("operator", everything)
	early := s.S3As(user)
	var stop atomic.Bool
	var served atomic.Int64
	var load sync.WaitGroup
	run := func(job func() error) {
		load.Go(func() {
			for !stop.Load() {
				if err := job(); err != nil {
					t.Error(err)
					return
				}
				served.Add(1)
			}
		})
	}
	run(func() error { return put(t, session, "pump/old") })
	run(func() error { return put(t, early, "x") })
	run(func() error { return put(t, s.S3As(d.Session()), "pump/new") })
	run(func() error {
		out, err := s.IAM.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: new("operator")})
		if err != nil {
			return err
		}
		_, err = s.IAM.DeleteAccessKey(t.Context(), &iam.DeleteAccessKeyInput{UserName: new("operator"), AccessKeyId: out.AccessKey.AccessKeyId})
		return err
	})
	for n := range 8 {
		for before := served.Load(); served.Load() < before+20 && !t.Failed(); {
			time.Sleep(time.Millisecond)
		}
		if out := rotate(t, s, false); out.Key != uint32(n+2) || len(out.Retired) != n+1 || len(out.Dropped) > 0 || out.AccessKeys < 2 {
			t.Errorf("rotation %d: %+v", n, out)
		}
	}
	stop.Store(true)
	load.Wait()
	s.Restart(func() {})
	must(t, put(t, s.S3As(session.Options().Credentials), "pump/old"))
	must(t, put(t, s.S3As(user), "x"))
	if n := secretsOnDisk(t, s); n != 9 {
		t.Errorf("%d keys on disk", n)
	}
	// Their time is over: a session as long as that could be is none any more.
	over := time.Now().Add(-36 * time.Hour)
	s.Restart(editRing(t, s, func(keys []ringKey) []ringKey {
		for i := range keys[1:] {
			keys[i+1].Retired = &over
		}
		return keys
	}))
	if n := secretsOnDisk(t, s); n != 1 {
		t.Errorf("%d keys on disk after 36 hours", n)
	}
	must(t, put(t, s.S3As(user), "x"))
	must(t, put(t, s.S3As(d.Session()), "pump/new"))
	if err := put(t, s.S3As(session.Options().Credentials), "pump/old"); servertest.Code(err) != "InvalidToken" {
		t.Errorf("a token of a key that is gone: %v", err)
	}
}

// TestSecurityRule5_Compromised: every session of the old keys ends at once, on
// kept-alive connections, in an upload that is under way, and on MQTT; access
// keys go on, and so do new sessions, after a restart too.
func TestSecurityRule5_Compromised(t *testing.T) {
	t.Parallel()
	s := mqttFleet(t)
	d := s.Enrol("pump")
	first := s.S3As(d.Session())
	must(t, put(t, first, "pump/x"))
	rotate(t, s, false)
	second := s.S3As(d.Session())
	must(t, put(t, second, "pump/x"))
	user := s.NewUser("operator", everything)
	must(t, put(t, s.S3As(user), "x"))
	s.NewRole("rider", trustAccount, rideMQTT)
	socket, answer := webSocket(t, s, assume(t, s, servertest.Admin(), "rider"), "rider")
	if !bytes.Equal(answer, []byte{0x82, 4, 0x20, 2, 0, 0}) {
		t.Fatalf("CONNECT was answered with %x", answer)
	}
	slow := &held{first: make(chan struct{}), on: make(chan struct{})}
	uploaded := make(chan error, 1)
	go func() {
		_, err := second.PutObject(t.Context(), &s3.PutObjectInput{Bucket: new(servertest.Bucket), Key: new("pump/slow"), Body: slow, ContentLength: new(int64(2 << 20))})
		uploaded <- err
	}()
	<-slow.first

	out := rotate(t, s, true)
	if out.Key != 3 || len(out.Dropped) != 2 || len(out.Retired) != 0 {
		t.Errorf("%+v", out)
	}
	for name, c := range map[string]*s3.Client{"first": first, "second": second} {
		if err := put(t, c, "pump/x"); servertest.Code(err) != "InvalidToken" {
			t.Errorf("%s: %v", name, err)
		}
	}
	close(slow.on)
	if err := <-uploaded; servertest.Code(err) != "AccessDenied" {
		t.Errorf("the upload under way: %v", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, socket)
	}()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the WebSocket goes on")
		must(t, socket.Close())
		<-ended
	}
	if n := secretsOnDisk(t, s); n != 1 {
		t.Errorf("%d keys on disk", n)
	}
	good := s.S3As(d.Session())
	for range 2 {
		must(t, put(t, good, "pump/x"))
		must(t, put(t, s.S3As(user), "x"))
		if err := put(t, s.S3As(first.Options().Credentials), "pump/x"); servertest.Code(err) != "InvalidToken" {
			t.Error(err)
		}
		s.Restart(func() {})
		good = s.S3As(good.Options().Credentials)
	}
}

// held is a body whose second half comes when it is told to.
type held struct {
	n     int
	first chan struct{} // closed when the server reads
	on    chan struct{}
}

// Read implements io.Reader.
func (h *held) Read(p []byte) (int, error) {
	if h.n == 1<<20 {
		close(h.first)
		<-h.on
	}
	if h.n == 2<<20 {
		return 0, io.EOF
	}
	n := min(len(p), 1<<20-h.n%(1<<20))
	clear(p[:n])
	h.n += n
	return n, nil
}

// TestSecurityRule5_RotateIsRefused: nobody who was not given it rotates.
func TestSecurityRule5_RotateIsRefused(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	other := s.NewUser("other", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:*","iot:*","iam:*","sts:*"],"Resource":"*"}]}`)
	err := s.OwnAs(other, http.MethodPost, "/_sekisho/keys/rotate", map[string]bool{"compromised": true}, nil)
	if e, ok := err.(*client.Error); !ok || e.Code != "AccessDeniedException" { //nolint:errorlint // as it is returned
		t.Errorf("got %v", err)
	}
	if n := secretsOnDisk(t, s); n != 1 {
		t.Errorf("%d keys", n)
	}
}
