package faults_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/e2e/faults"
)

// echo is a server that sends back what it gets.
func echo(t *testing.T) *net.TCPListener {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		group.Wait()
	})
	return l
}

func start(t *testing.T, c faults.Config) *faults.Proxy {
	t.Helper()
	l := echo(t)
	if c.Target == nil {
		c.Target = func() (string, error) { return l.Addr().String(), nil }
	}
	p, err := faults.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func dial(t *testing.T, p *faults.Proxy) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr()) //nolint:noctx // the loopback interface
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn) //nolint:forcetypeassert // it is one
}

// rounds sends a piece of bytes and reads it back, as often as it works or until
// it comes back another.
func rounds(c net.Conn, most int) (n int, spoilt bool, err error) {
	piece := bytes.Repeat([]byte("sekisho "), 512)
	back := make([]byte, len(piece))
	for ; n < most; n++ {
		if _, err := c.Write(piece); err != nil {
			return n, false, err
		}
		if _, err := io.ReadFull(c, back); err != nil {
			return n, false, err
		}
		if !bytes.Equal(back, piece) {
			return n, true, nil
		}
	}
	return n, false, nil
}

func TestGood(t *testing.T) {
	t.Parallel()
	p := start(t, faults.Config{})
	c := dial(t, p)
	if n, spoilt, err := rounds(c, 100); n != 100 || spoilt || err != nil {
		t.Fatal(n, spoilt, err)
	}
	// The end of one direction is not the end of the other.
	if _, err := c.Write([]byte("last")); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(c); err != nil || string(rest) != "last" {
		t.Fatalf("%q, %v", rest, err)
	}
	if s := p.Stats(); s.Connections != 1 || s.Up[0] != 100*4096+4 || s.Cuts+s.Stalls+s.Spoilt != 0 {
		t.Errorf("%+v", s)
	}
}

func TestCut(t *testing.T) {
	t.Parallel()
	p := start(t, faults.Config{Seed: 1, Every: 20 * time.Millisecond, Cut: 1})
	if _, spoilt, err := rounds(dial(t, p), 1e9); err == nil || spoilt {
		t.Error("the connection was not cut")
	}
	if s := p.Stats(); s.Cuts != 1 {
		t.Errorf("%+v", s)
	}
	p.Quiet()
	c := dial(t, p)
	if n, _, err := rounds(c, 2000); n != 2000 {
		t.Error(n, err)
	}
	p.CutAll()
	if _, _, err := rounds(c, 1); err == nil {
		t.Error("the connection was not cut")
	}
}

func TestSpoil(t *testing.T) {
	t.Parallel()
	p := start(t, faults.Config{Seed: 1, Every: 20 * time.Millisecond, Spoil: 1})
	if _, spoilt, err := rounds(dial(t, p), 1e9); err != nil || !spoilt {
		t.Error("no byte was spoilt", err)
	}
}

func TestStall(t *testing.T) {
	t.Parallel()
	p := start(t, faults.Config{Seed: 1, Every: 20 * time.Millisecond, Stall: 1, ShortStall: 300 * time.Millisecond, LongStall: 300 * time.Millisecond})
	c := dial(t, p)
	var longest time.Duration
	for begun := time.Now(); p.Stats().Stalls < 3; {
		before := time.Now()
		if _, spoilt, err := rounds(c, 1); err != nil || spoilt {
			t.Fatal(spoilt, err)
		}
		longest = max(longest, time.Since(before))
		if time.Since(begun) > 10*time.Second {
			t.Fatal("no stalls")
		}
	}
	if longest < 200*time.Millisecond {
		t.Errorf("the longest round took %v", longest)
	}
}

// A server that is away for a while costs the connections of that while alone.
func TestAway(t *testing.T) {
	t.Parallel()
	l := echo(t)
	var mu sync.Mutex
	away := true
	p := start(t, faults.Config{Target: func() (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if away {
			return "", errors.New("away")
		}
		return l.Addr().String(), nil
	}})
	if c, err := net.Dial("tcp", p.Addr()); err == nil { //nolint:noctx // the loopback interface
		if n, _, err := rounds(c, 1); n != 0 || err == nil {
			t.Error("a server that is away answers")
		}
		_ = c.Close()
	}
	mu.Lock()
	away = false
	mu.Unlock()
	if n, _, err := rounds(dial(t, p), 1); n != 1 {
		t.Error(err)
	}
}
