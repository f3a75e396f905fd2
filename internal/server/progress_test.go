package server

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener of connections that live in memory, and so on a test's clock.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.done)
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial() net.Conn {
	client, srv := net.Pipe()
	p.conns <- srv
	return client
}

// servePipes serves h on the test's clock until the test ends.
func servePipes(t *testing.T, h http.Handler) *pipes {
	t.Helper()
	p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	srv := newHTTPServer(steadily(h), nil, slog.New(slog.DiscardHandler))
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(p) }()
	t.Cleanup(func() {
		_ = srv.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		time.Sleep(time.Second) // net/http lingers before it closes a connection
	})
	return p
}

const upload = "PUT /b/k HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n"

func TestSecurityRule14_StalledBody(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		chunk  int
		pause  time.Duration
		served bool
	}{
		"nothing comes":        {0, time.Hour, false},
		"a byte every second":  {1, time.Second, false},
		"honest, but slow":     {2 << 10, 20 * time.Second, true},
		"slow, with long gaps": {64 << 10, 55 * time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				got := make(chan error, 1)
				p := servePipes(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					_, err := io.Copy(io.Discard, r.Body)
					got <- err
				}))
				c := p.dial()
				var wg sync.WaitGroup
				defer wg.Wait()
				defer func() { _ = c.Close() }()
				wg.Go(func() { _, _ = io.Copy(io.Discard, c) })
				_, _ = io.WriteString(c, upload)
				wg.Go(func() {
					for sent := 0; sent < 1<<20; sent += tc.chunk {
						time.Sleep(tc.pause)
						if _, err := c.Write(make([]byte, tc.chunk)); err != nil {
							return
						}
					}
				})
				start := time.Now()
				err := <-got
				if tc.served && err != nil || !tc.served && !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%v after %s", err, time.Since(start))
				}
				if took := time.Since(start); !tc.served && took > 2*bodyPatience {
					t.Errorf("it was held for %s", took)
				}
			})
		})
	}
}

// A body that the handler does not want, and that does not come, holds nothing.
func TestSecurityRule14_UnwantedBody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := servePipes(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
		c := p.dial()
		defer func() { _ = c.Close() }()
		_, _ = io.WriteString(c, strings.Replace(upload, "1048576", "1000", 1))
		start := time.Now()
		_, err := io.Copy(io.Discard, c)
		if took := time.Since(start); err != nil || took > time.Minute {
			t.Errorf("%v after %s", err, took)
		}
	})
}

// A client that reads its answer a byte a second does not hold it for ever.
func TestSecurityRule14_AnswerNotTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		got := make(chan error, 1)
		p := servePipes(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, err := io.CopyN(w, strings.NewReader(strings.Repeat("x", 4<<20)), 4<<20)
			got <- err
		}))
		c := p.dial()
		var wg sync.WaitGroup
		defer wg.Wait()
		defer func() { _ = c.Close() }()
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		wg.Go(func() {
			for {
				time.Sleep(time.Second)
				if _, err := c.Read(make([]byte, 1)); err != nil {
					return
				}
			}
		})
		start := time.Now()
		if err := <-got; !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) > 2*answerPatience {
			t.Errorf("%v after %s", err, time.Since(start))
		}
	})
}

// Deadlines of one request are not the next one's.
func TestDeadlinesEndWithTheirRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := servePipes(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			time.Sleep(10 * time.Minute) // the server is busy; that is not the client's fault
			if r.Context().Err() != nil {
				t.Error("the request was given up while it was served")
			}
			_, _ = io.WriteString(w, "done")
		}))
		c := p.dial()
		defer func() { _ = c.Close() }()
		answers := bufio.NewReader(c)
		for range 3 {
			_, _ = io.WriteString(c, "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody")
			res, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(res.Body)
			if string(b) != "done" || err != nil {
				t.Fatalf("%q, %v", b, err)
			}
			_ = res.Body.Close()
			time.Sleep(2 * time.Minute)
		}
	})
}

// Connections beyond the limit are closed while all others are busy; one that is
// idle makes room.
func TestSecurityRule14_ManyConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		release := make(chan struct{})
		srv := newHTTPServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				<-release
			}
		}), nil, slog.New(slog.DiscardHandler))
		srv.ConnState = newCrowd(2).connState
		ended := make(chan error)
		go func() { ended <- srv.Serve(p) }()
		served := func(c net.Conn, path string) bool {
			_, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n")
			if err == nil {
				var res *http.Response
				if res, err = http.ReadResponse(bufio.NewReader(c), nil); err == nil {
					err = res.Body.Close()
				}
			}
			return err == nil
		}
		a, b := p.dial(), p.dial()
		var busy sync.WaitGroup
		for _, c := range []net.Conn{a, b} {
			busy.Go(func() {
				if !served(c, "/slow") {
					t.Error("a connection within the limit was not served")
				}
			})
		}
		synctest.Wait()
		if served(p.dial(), "/") {
			t.Error("a third connection was served while two are busy")
		}
		close(release)
		busy.Wait()
		synctest.Wait() // a and b are idle
		if !served(p.dial(), "/") {
			t.Error("an idle connection made no room")
		}
		if served(a, "/") == served(b, "/") {
			t.Error("not one of the two idle connections was closed")
		}
		_ = srv.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}

// farConn is a connection from an address of one's choice.
type farConn struct {
	net.Conn
	from   string
	closed bool
}

func (f *farConn) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(f.from))
}

func (f *farConn) Close() error {
	f.closed = true
	return nil
}

// One address cannot take the places of all others, whatever it does with its
// connections; what is on this machine may, since a proxy speaks for many.
func TestSecurityRule14_OneAddress(t *testing.T) {
	t.Parallel()
	enter := func(w *crowd, from string) *farConn {
		c := &farConn{from: from}
		w.connState(c, http.StateNew)
		return c
	}
	for from, want := range map[string]int{"192.0.2.1:%d": 5, "[2001:db8::%x]:1": 5, "[::ffff:192.0.2.1]:%d": 5, "127.0.0.1:%d": 10, "[::1]:%d": 10} {
		w := newCrowd(10)
		var open []*farConn
		for i := range 20 {
			if c := enter(w, fmt.Sprintf(from, i+1)); !c.closed {
				open = append(open, c)
				w.connState(c, http.StateActive)
			} else {
				w.connState(c, http.StateClosed)
			}
		}
		if len(open) != want {
			t.Errorf("%s has %d connections, want %d", from, len(open), want)
		}
		if want == 5 && enter(w, "192.0.2.2:1").closed {
			t.Errorf("%s: there is no place for another", from)
		}
		for _, c := range open {
			w.connState(c, http.StateIdle)
			w.connState(c, http.StateClosed)
		}
		if len(w.members) > 1 || len(w.addresses) > 1 || w.idle.Len() != 0 {
			t.Errorf("%s: left behind: %d connections, %d addresses, %d idle", from, len(w.members), len(w.addresses), w.idle.Len())
		}
	}
}

// hungry is a listener whose process is out of file descriptors for a while.
type hungry struct {
	net.Listener
	failures int
}

func (h *hungry) Accept() (net.Conn, error) {
	if h.failures > 0 {
		h.failures--
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return h.Listener.Accept()
}

// A flood of connections must not end the server.
func TestSecurityRule14_OutOfFiles(t *testing.T) {
	t.Parallel()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newSplitListener(&hungry{Listener: l, failures: 3}, nil, false)
	defer func() { _ = s.Close() }()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, "G"); err != nil {
		t.Fatal(err)
	}
	got, err := s.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = got.Close()
}
