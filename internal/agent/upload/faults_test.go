//go:build !windows

package upload_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"

	"github.com/sekisho-iot/sekisho/internal/agent/pace"
	"github.com/sekisho-iot/sekisho/internal/agent/spool"
	"github.com/sekisho-iot/sekisho/internal/agent/upload"
	"github.com/sekisho-iot/sekisho/internal/servertest"
)

// wire is S3 spoken without TLS, so that a test can see and spoil what is said.
type wire struct {
	w *world
	// answer gets what came of an answer to a request, by the first line of that,
	// and may change it. False loses it, and the connection.
	answer func(request string, b []byte) bool
	// body, if there is one, may change what is sent of a request.
	body func(request string, b []byte)
	rate int64 // bytes a second; 0 is no limit

	limiter *pace.Limiter

	mu   sync.Mutex // guards sent
	sent int64
}

func (x *wire) dial(ctx context.Context, _ string) (net.Conn, error) {
	c, err := x.limiter.Dial(ctx, x.w.server.APIAddr(), 10*time.Second)
	return &wired{Conn: c, wire: x}, err
}

func (x *wire) plan(p *plan) {
	x.limiter = pace.New(x.rate, time.Now)
	p.settings.Endpoint, p.s3Dial = "http://"+x.w.server.APIAddr(), x.dial
}

func (x *wire) passed() int64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.sent
}

type wired struct {
	net.Conn
	wire *wire

	mu      sync.Mutex // guards request
	request string
}

func (c *wired) Write(b []byte) (int, error) {
	line, _, _ := bytes.Cut(b[:min(len(b), 2048)], []byte("\r\n"))
	if bytes.HasSuffix(line, []byte(" HTTP/1.1")) {
		c.mu.Lock()
		c.request = string(line)
		c.mu.Unlock()
	}
	if c.wire.body != nil && !bytes.HasSuffix(line, []byte(" HTTP/1.1")) {
		b = bytes.Clone(b)
		c.wire.body(c.request, b)
	}
	n, err := c.Conn.Write(b)
	c.wire.mu.Lock()
	c.wire.sent += int64(n)
	c.wire.mu.Unlock()
	return n, err
}

func (c *wired) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	request := c.request
	c.mu.Unlock()
	if n > 0 && !bytes.HasPrefix(b[:n], []byte("HTTP/1.1 100")) && !c.wire.answer(request, b[:n]) {
		_ = c.Close()
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

// once is f for the first request that is one of these alone.
func once(method string, part string, f func(b []byte) bool) func(string, []byte) bool {
	var done sync.Once
	return func(request string, b []byte) bool {
		pass := true
		if strings.HasPrefix(request, method+" ") && strings.Contains(request, part) {
			done.Do(func() { pass = f(b) })
		}
		return pass
	}
}

func lost([]byte) bool { return false }

// An answer that is lost costs no byte that the server has, and no second notice.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		size   int
		answer func(string, []byte) bool
		again  int64 // bytes that are sent twice: of a request whose answer S3 cannot be asked for
	}{
		"PutObject":               {mib, once("PUT", "x-id=PutObject", lost), mib},
		"CreateMultipartUpload":   {21 * mib, once("POST", "?uploads=", lost), 0},
		"UploadPart":              {21 * mib, once("PUT", "partNumber=2", lost), 0},
		"CompleteMultipartUpload": {21 * mib, once("POST", "?uploadId=", lost), 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			x := &wire{w: w, answer: c.answer}
			path, content := w.file("f.bin", c.size)
			a := w.agent(x.plan)
			if n := a.upload(path); n != 0 {
				t.Fatal(a.told(upload.Failed))
			}
			if len(a.told(upload.Retry)) == 0 {
				t.Error("no answer was lost")
			}
			w.checkObject("camera-1/f.bin", content)
			if h := w.hear(); h.UploadID != a.told(upload.Accepted)[0].Record.ID || h.SHA256 != digest(content) {
				t.Error(h.raw)
			}
			w.silence()
			if sent := x.passed() - int64(c.size); sent < c.again || sent > c.again+mib/4 {
				t.Errorf("%d bytes were sent beside the file's", sent)
			}
		})
	}
}

// What is spoilt in an answer costs none either, but for the answer that is
// believed to be of another part.
func TestSpoiltAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	x := &wire{w: w, answer: once("PUT", "partNumber=2", func(b []byte) bool {
		at := bytes.Index(bytes.ToLower(b), []byte("etag: "))
		if at < 0 {
			t.Errorf("no ETag in %s", b)
			return true
		}
		b[at+10] ^= 1
		return true
	})}
	path, content := w.file("f.bin", 21*mib)
	a := w.agent(x.plan)
	if n := a.upload(path); n != 0 {
		t.Fatal(a.told(upload.Failed))
	}
	if len(a.told(upload.Retry)) == 0 {
		t.Error("nothing was spoilt")
	}
	w.checkObject("camera-1/f.bin", content)
	_ = w.hear()
	w.silence()
	if sent := x.passed() - 21*mib; sent > mib/4 {
		t.Errorf("%d bytes were sent beside the file's", sent)
	}
}

// Bytes that are spoilt on the way are sent again, and are no reason to give a file
// up that makes progress.
func TestSpoiltBody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var parts [2]sync.Once
	x := &wire{
		w: w, rate: 10 * mib, answer: func(string, []byte) bool { return true },
		body: func(request string, b []byte) {
			for i, number := range []string{"partNumber=1&", "partNumber=7&"} {
				if strings.Contains(request, number) {
					parts[i].Do(func() { b[len(b)/2] ^= 1 })
				}
			}
		},
	}
	path, content := w.file("f.bin", 40*mib)
	a := w.agent(func(p *plan) {
		x.plan(p)
		p.settings.Concurrency, p.settings.PartSize, p.settings.GiveUpAfter = 1, 5*mib, 2*time.Second
	})
	if n := a.upload(path); n != 0 {
		t.Fatal(a.told(upload.Failed))
	}
	if n := len(a.told(upload.Retry)); n != 2 {
		t.Errorf("%d tries failed", n)
	}
	w.checkObject("camera-1/f.bin", content)
	_ = w.hear()
	w.silence()
	if sent := x.passed() - 40*mib; sent > 10*mib+mib/4 {
		t.Errorf("%d bytes were sent beside the file's", sent)
	}
}

// forgetful is a server that gets a message, whose acknowledgement is lost.
type forgetful struct {
	before func() // what happens then
	got    []upload.Message
}

func (f *forgetful) Publish(_ context.Context, _ string, payload []byte) error {
	var m upload.Message
	if err := json.Unmarshal(payload, &m); err != nil {
		return err
	}
	f.got = append(f.got, m)
	if len(f.got) == 1 {
		f.before()
		return errors.New("no acknowledgement")
	}
	return nil
}

// What has another content is another upload, even if the first was not
// acknowledged: it may have arrived, and who got it drops what has its identifier.
func TestChangedAfterMessage(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"changed": "new content", "unchanged": "old"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "f")
			if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := spool.Open(filepath.Join(dir, "spool"))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close() //nolint:errcheck // the folder is temporary
			settings := upload.DefaultSettings()
			settings.Thing = thing
			if err := settings.Validate(); err != nil {
				t.Fatal(err)
			}
			server := &forgetful{before: func() {
				if name != "changed" {
					return
				}
				if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
					t.Error(err)
				}
			}}
			a := upload.New(upload.Options{Settings: settings, Spool: s, Publisher: server, Tell: func(upload.Event) {}, Now: time.Now})
			if _, problems := a.Accept([]upload.File{{Path: path}}); len(problems) > 0 {
				t.Fatal(problems)
			}
			if failed, err := a.Run(t.Context(), nil); failed != 0 || err != nil {
				t.Fatal(failed, err)
			}
			if len(server.got) != 2 || string(inlineContent(t, server.got[1])) != want {
				t.Fatalf("%+v", server.got)
			}
			if one, two := server.got[0].UploadID, server.got[1].UploadID; (one == two) != (name == "unchanged") {
				t.Errorf("upload ids %s and %s", one, two)
			}
			if left := s.Records(); len(left) != 0 {
				t.Errorf("left: %+v", left)
			}
		})
	}
}

// Credentials that expire in the middle of an upload cost the part that is under
// way, and others are fetched. The device never renews them by itself here. The
// clock of the server goes from 14 minutes behind, which S3 allows, to 14 ahead.
func TestExpiry(t *testing.T) {
	t.Parallel()
	const skew = 14 * time.Minute
	w := newWorld(t)
	role := w.server.NewRole("short", servertest.TrustDevices, servertest.OwnPrefix)
	_, err := w.server.IoT.CreateRoleAlias(t.Context(), &iot.CreateRoleAliasInput{
		RoleAlias: aws.String("short"), RoleArn: &role, CredentialDurationSeconds: aws.Int32(900),
	})
	w.must(err)
	w.server.Clock.Move(-skew)
	m := w.meter()
	var later sync.Once
	path, content := w.file("f.bin", 40*mib)
	a := w.agent(func(p *plan) {
		p.alias, p.s3Dial, p.settings.Concurrency, p.settings.PartSize = "short", m.dial, 1, 5*mib
		p.tell = func(e upload.Event) {
			if e.Kind == upload.Progress && e.Sent > 17*mib {
				later.Do(func() { w.server.Clock.Move(2 * skew) })
			}
		}
	})
	if n := a.upload(path); n != 0 {
		t.Fatal(a.told(upload.Failed))
	}
	if a.session.asked != 2 {
		t.Errorf("credentials were asked for %d times", a.session.asked)
	}
	// The refusal in mid-body may be lost with the connection; the next one is not.
	if retries := a.told(upload.Retry); len(retries) == 0 || len(retries) > 2 || !strings.Contains(retries[len(retries)-1].Err.Error(), "ExpiredToken") {
		t.Errorf("retries: %+v", retries)
	}
	if sent := m.passed() - 40*mib; sent > 5*mib+mib/2 {
		t.Errorf("%d bytes were sent beside the file's", sent)
	}
	w.checkObject("camera-1/f.bin", content)
	if h := w.hear(); h.SHA256 != digest(content) {
		t.Error(h.raw)
	}
	w.silence()
}
