package credential_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/agent/credential"
)

type sourceFunc func(context.Context) (*credential.Session, error)

func (f sourceFunc) Get(ctx context.Context) (*credential.Session, error) { return f(ctx) }

// The answers of the container credentials endpoint, Greengrass's among them.
func TestHandler(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 28, 12, 0, 0, 987654321, time.UTC)
	session := &credential.Session{AccessKeyID: "ASIA1", SecretAccessKey: "s", SessionToken: "t", Expiration: at.Add(time.Hour), Obtained: at, Fetched: at}
	const whole = `{"AccessKeyId":"ASIA1","SecretAccessKey":"s","Token":"t","Expiration":"2026-11-28T13:00:00Z"}`
	for name, c := range map[string]struct {
		method, path string
		tokens       []string
		err          error
		status       int
		body         string // "" for an error
	}{
		"credentials":      {"GET", "/credentials", []string{"right"}, nil, 200, whole},
		"Greengrass":       {"GET", "/2016-11-01/credentialprovider/", []string{"right"}, nil, 200, whole},
		"no slash":         {"GET", "/2016-11-01/credentialprovider", []string{"right"}, nil, 400, ""},
		"another path":     {"GET", "/", []string{"right"}, nil, 400, ""},
		"more of the path": {"GET", "/credentials/x", []string{"right"}, nil, 400, ""},
		"POST":             {"POST", "/credentials", []string{"right"}, nil, 405, ""},
		"HEAD":             {"HEAD", "/credentials", []string{"right"}, nil, 405, ""},
		"no token":         {"GET", "/credentials", nil, nil, 403, ""},
		"empty token":      {"GET", "/credentials", []string{""}, nil, 403, ""},
		"wrong token":      {"GET", "/credentials", []string{"wrong"}, nil, 403, ""},
		"half a token":     {"GET", "/credentials", []string{"righ"}, nil, 403, ""},
		"more than it":     {"GET", "/credentials", []string{"right "}, nil, 403, ""},
		"a scheme":         {"GET", "/credentials", []string{"Bearer right"}, nil, 403, ""},
		"two":              {"GET", "/credentials", []string{"right", "right"}, nil, 403, ""},
		"refused":          {"GET", "/credentials", []string{"right"}, &credential.RefusedError{Status: 404, Message: "m", Advice: "a"}, 404, ""},
		"down":             {"GET", "/credentials", []string{"right"}, errDown, 504, ""},
		"broken":           {"GET", "/credentials", []string{"right"}, errors.New("disk"), 500, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := false
			h := credential.NewHandler(sourceFunc(func(context.Context) (*credential.Session, error) {
				asked = true
				return session, c.err
			}), "right")
			r := httptest.NewRequestWithContext(t.Context(), c.method, c.path, http.NoBody)
			r.Header["Authorization"] = c.tokens
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != c.status || w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%d %v", w.Code, w.Header())
			}
			if asked != (c.status == 200 || c.err != nil) {
				t.Errorf("asked for credentials: %t", asked)
			}
			if c.body != "" {
				if w.Body.String() != c.body {
					t.Errorf("body %s", w.Body)
				}
				return
			}
			var said struct{ Code, Message string }
			if err := json.Unmarshal(w.Body.Bytes(), &said); err != nil || said.Code == "" || said.Message == "" || strings.Contains(w.Body.String(), "right") {
				t.Errorf("body %s", w.Body)
			}
		})
	}
}

// What programs are told is in their own clock's time.
func TestExpirationIsLocal(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	s := &credential.Session{AccessKeyID: "ASIA1", SecretAccessKey: "s", SessionToken: "t", Expiration: at.Add(time.Hour), Obtained: at, Fetched: at.Add(24 * time.Hour)}
	b, err := s.ProcessJSON()
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"Version": 1.0, "AccessKeyId": "ASIA1", "SecretAccessKey": "s", "SessionToken": "t", "Expiration": "2026-11-29T13:00:00Z"}
	if len(v) != len(want) {
		t.Errorf("%s", b)
	}
	for k := range want {
		if v[k] != want[k] {
			t.Errorf("%s is %v, want %v", k, v[k], want[k])
		}
	}
}

func TestTokenFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "run", "token")
	first, err := credential.TokenFile(path, strings.NewReader(strings.Repeat("a", 32)))
	if err != nil {
		t.Fatal(err)
	}
	// A file that lay there, readable by all, is not written into.
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	second, err := credential.TokenFile(path, strings.NewReader(strings.Repeat("b", 32)))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if first == second || string(b) != second || len(second) != 64 || info.Mode().Perm() != 0o600 {
		t.Errorf("%q, then %q; in the file with mode %v: %q", first, second, info.Mode(), b)
	}
	if _, err := credential.TokenFile(path, strings.NewReader("short")); err == nil {
		t.Error("a token without randomness")
	}
}
