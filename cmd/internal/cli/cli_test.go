package cli_test

import (
	"testing"

	"github.com/sekisho-iot/sekisho/cmd/internal/cli"
)

func TestShellQuote(t *testing.T) {
	t.Parallel()
	if got, want := cli.ShellQuote("a\"b$c`d\\e"), "a\\\"b\\$c\\`d\\\\e"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
