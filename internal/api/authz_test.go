package api

import (
	"net/http"
	"testing"
)

func TestSourceIP(t *testing.T) {
	t.Parallel()
	for remote, want := range map[string]string{
		"192.0.2.1:9":          "192.0.2.1",
		"[2001:db8::1]:9":      "2001:db8::1",
		"[fe80::1%eth0]:9":     "fe80::1",
		"@":                    "",
		"":                     "",
		"[::ffff:192.0.2.1]:1": "::ffff:192.0.2.1",
	} {
		if got := sourceIP(&http.Request{RemoteAddr: remote}); got != want {
			t.Errorf("%q is %q, want %q", remote, got, want)
		}
	}
}
