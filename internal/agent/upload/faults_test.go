package upload_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/agent/pace"
	"github.com/sekisho-iot/sekisho/internal/agent/upload"
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
