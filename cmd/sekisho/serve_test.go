package main

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/sekisho-iot/sekisho/cmd/internal/cli"
)

// A SIGTERM that comes while a server is starting is as good as one that comes later.
func TestStoppedWhileStarting(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	var said bytes.Buffer
	none := func(string) (string, bool) { return "", false }
	code := program().Dispatch(ctx, &cli.Terminal{Stdout: io.Discard, Stderr: &said, LookupEnv: none}, []string{
		"serve", "--data", t.TempDir(), "--api-listen", "127.0.0.1:0", "--mqtt-listen", "", "--device-https-listen", "",
	})
	if code != cli.ExitOK {
		t.Errorf("exit code %d: %s", code, said.String())
	}
}
