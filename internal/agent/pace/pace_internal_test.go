package pace

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

const stall = 15 * time.Second

// pair is a connection of a limiter's and its peer.
func pair(t *testing.T, rate int64) (*conn, net.Conn) {
	t.Helper()
	client, server := net.Pipe()
	c := New(rate, time.Now).limit(client, stall)
	t.Cleanup(func() {
		_ = c.Close()
		_ = server.Close()
	})
	return c, server
}

func TestRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, server := pair(t, 10<<10)
		go func() { _, _ = io.Copy(io.Discard, server) }()
		begun := time.Now()
		n, err := c.Write(make([]byte, 1<<20))
		if took := time.Since(begun); n != 1<<20 || err != nil || took < 95*time.Second || took > 105*time.Second {
			t.Errorf("%d bytes in %v, %v", n, took, err)
		}
	})
}

// A peer that takes nothing is given up, one that takes little is not.
func TestStall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, server := pair(t, 0)
		go func() {
			for range 10 {
				time.Sleep(stall * 2 / 3)
				_, _ = io.ReadFull(server, make([]byte, 100))
			}
		}()
		begun := time.Now()
		n, err := c.Write(make([]byte, 100<<10))
		if took := time.Since(begun); n != 1000 || !errors.Is(err, os.ErrDeadlineExceeded) || took < 110*time.Second || took > 130*time.Second {
			t.Errorf("%d bytes in %v, %v", n, took, err)
		}
	})
}

// A peer that owes an answer and says nothing is given up, but not while there is
// something to be said to it.
func TestSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, server := pair(t, 1<<10) // a burst takes 32 s
		go func() { _, _ = io.Copy(io.Discard, server) }()
		read := make(chan error)
		go func() {
			_, err := c.Read(make([]byte, 1))
			read <- err
		}()
		begun := time.Now()
		if _, err := c.Write(make([]byte, 1<<20)); err != nil {
			t.Error(err)
		}
		wrote := time.Since(begun)
		if err := <-read; !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begun) != wrote+silence {
			t.Errorf("%v after %v, of which writing took %v", err, time.Since(begun), wrote)
		}
	})
}

// What is closed waits for nothing.
func TestClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, server := pair(t, 1)
		go func() { _, _ = io.Copy(io.Discard, server) }()
		time.AfterFunc(time.Minute, func() { _ = c.Close() })
		begun := time.Now()
		if _, err := c.Write(make([]byte, 1<<20)); !errors.Is(err, net.ErrClosed) || time.Since(begun) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
	})
}
