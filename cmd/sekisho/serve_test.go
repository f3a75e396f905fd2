package main

import (
	"bytes"
	"context"
	"io"
	"testing"
)

// A SIGTERM that comes while a server is starting is as good as one that comes later.
func TestStoppedWhileStarting(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	var said bytes.Buffer
	none := func(string) (string, bool) { return "", false }
	code := dispatch(ctx, &terminal{stdout: io.Discard, stderr: &said, lookupenv: none}, []string{
		"serve", "--data", t.TempDir(), "--api-listen", "127.0.0.1:0", "--mqtt-listen", "", "--device-https-listen", "",
	})
	if code != exitOK {
		t.Errorf("exit code %d: %s", code, said.String())
	}
}
