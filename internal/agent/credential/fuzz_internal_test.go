package credential

import (
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/agent/clock"
)

// FuzzAnswer: whatever a server sends, what comes of it is a whole session that
// lasts, or an error of a known kind and a bounded length.
func FuzzAnswer(f *testing.F) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	f.Add(200, []byte(`{"credentials":{"accessKeyId":"a","secretAccessKey":"b","sessionToken":"c","expiration":"2026-11-28T13:00:00Z"}}`))
	f.Add(403, []byte(`{"message":"Access Denied"}`))
	f.Add(500, []byte(`<html>`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		e := &Endpoint{clock: clock.New(func() time.Time { return now }), host: "h", alias: "a", thing: "t", leaf: &x509.Certificate{NotAfter: now.Add(time.Hour)}}
		if status != 200 {
			err := e.refused(status, body)
			_, refused := errors.AsType[*RefusedError](err)
			if refused == errors.Is(err, ErrUnavailable) || len(err.Error()) > 2000 {
				t.Errorf("%d: %v", status, err)
			}
			return
		}
		s, err := e.session(body, now)
		if err != nil {
			if !errors.Is(err, ErrUnavailable) {
				t.Error(err)
			}
			return
		}
		if !s.complete() || !s.usable(now) {
			t.Errorf("%+v", *s)
		}
	})
}

// FuzzCache: whatever lies in the cache, it is a whole session or none.
func FuzzCache(f *testing.F) {
	f.Add([]byte(`{"version":1,"accessKeyId":"a","secretAccessKey":"b","sessionToken":"c","expiration":"2026-11-28T13:00:00Z","obtained":"2026-11-28T12:00:00Z","fetched":"2026-11-28T12:00:00Z"}`))
	f.Add([]byte(`{"version":1`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := OpenCache(filepath.Join(t.TempDir(), "cache"), "id")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(c.file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := c.read()
		if err != nil {
			t.Fatal(err)
		}
		if s != nil && (!s.complete() || strings.Contains(s.String(), s.SecretAccessKey) && s.SecretAccessKey != s.AccessKeyID && len(s.SecretAccessKey) > 1) {
			t.Errorf("%+v", *s)
		}
	})
}
