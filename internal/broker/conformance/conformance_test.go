package conformance_test

import (
	"context"
	"encoding/hex"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/broker/conformance"
	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// TestRun runs scripts against a server that says the same whatever it hears:
// what does not fit has to fail, and how.
func TestRun(t *testing.T) {
	t.Parallel()
	const accepted = "20020000"
	for script, x := range map[string]struct{ server, err string }{
		"A > connect\nA < connack\nA quiet":                {accepted, ""},
		"A connect\nA > subscribe a id=5\nA < suback 1":    {accepted + "9003000501", ""},
		"A connect present=1":                              {accepted, "present is 0x0, want 1"},
		"A connect\nA quiet":                               {accepted + "d000", "something came; pingresp"},
		"A connect\nA closed":                              {accepted, "the connection is open"},
		"A connect\nA ping":                                {accepted, "nothing came"},
		"A connect\nA > subscribe a\nA < suback 0":         {accepted + "9003000500", "id is 0x5, want 2"},
		"A connect\nA > subscribe a id=5\nA < suback 0x80": {accepted + "9003000501", "reason code 1 is 0x1, want 0x80"},
		"A connect\nA > subscribe a id=5\nA < suback 1 1":  {accepted + "9003000501", "1 reason codes, want 2"},
		"A connect\nA < publish a/b hi":                    {accepted + "30070003612f626869", ""},
		"A connect\nA < publish a/b ho":                    {accepted + "30070003612f626869", `payload "hi", want "ho"`},
		"A connect\nA < publish a/c hi":                    {accepted + "30070003612f626869", `topic "a/b", want "a/c"`},
		"A connect\nA < publish a/b hi retain":             {accepted + "30070003612f626869", "retain is 0x0, want 1"},
		"A connect\nA < publish a/b *":                     {accepted + "31070003612f626869", "retain is 0x1, want 0"},
		"A connect\nA receive a/b hi qos=1 id=$m\nA receive a/b hi qos=1 id=!$m": {
			accepted + "32090003612f6200016869" + "32090003612f6200016869", "id is 1, which is $m",
		},
		"A connect\nA <* publish a/b hi\nA <* pingresp": {accepted + "d00030070003612f626869", ""},
		"A connect\nA <* publish a/b hi\nA <* publish a/c hi": {
			accepted + "30070003612f62686930070003612f626869", "not in the group",
		},
		"A > connect\nA < connack":           {"30070003612f626869" + accepted, "CONNACK is not the first packet"},
		"A > connect\nA < connack code=0x87": {accepted, "code is 0x0, want 0x87"},
		"A > connect\nA < pingresp":          {accepted, "it is no pingresp"},
		"A connect colour=red":               {accepted, "is not understood"},
		"A connect\nA sings":                 {accepted, "no such operation"},
		"A ping":                             {accepted, "the client is not connected"},
		"A > connect\nA < connack\nA ping":   {"36", "nothing came"},
		"[5] A sings\nA connect":             {accepted, ""},
		"[!5] A sings\nA connect":            {accepted, "the client is not connected"},
		"A > connect\nA < connack ":          {"0000", "the server sent no packet"},
	} {
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			scripts, err := conformance.Parse("x.txt", []byte("== x\n"+script))
			if err != nil {
				t.Fatal(err)
			}
			err = scripts[0].Run(t.Context(), mqtt.V311, canned(t, x.server))
			if x.err == "" && err != nil || x.err != "" && (err == nil || !strings.Contains(err.Error(), x.err)) {
				t.Errorf("got %v, want %q", err, x.err)
			}
		})
	}
}

// canned is a server that says one thing and then listens.
func canned(t *testing.T, says string) *conformance.Target {
	t.Helper()
	b, err := hex.DecodeString(says)
	if err != nil {
		t.Fatal(err)
	}
	return &conformance.Target{
		Dial: func(context.Context) (net.Conn, error) {
			client, server := net.Pipe()
			go func() {
				in := make([]byte, 1024)
				for n := 0; ; n++ {
					if _, err := server.Read(in); err != nil {
						return
					}
					if n == 0 {
						_, _ = server.Write(b)
					}
				}
			}()
			return client, nil
		},
		Timeout: 200 * time.Millisecond,
		Quiet:   50 * time.Millisecond,
	}
}

// TestParse refuses scripts that say nothing that could be run.
func TestParse(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"A connect",
		"== x\nversion: 4\n",
		"== x\ncolour: red\n",
		"== x\nmosquitto: whatever\n",
		"== x\nlimit: inflight=many\n",
		"== x\nA\n",
		"== x\n[5 A connect\n",
		"== x\nA > publish \"a\n",
		"== x\nA > publish ~\n",
	} {
		if _, err := conformance.Parse("x.txt", []byte(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
