package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"sekisho": func() { os.Exit(run()) },
	})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{Dir: "testdata", RequireExplicitExec: true})
}

func TestShellQuote(t *testing.T) {
	t.Parallel()
	if got, want := shellQuote("a\"b$c`d\\e"), "a\\\"b\\$c\\`d\\\\e"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
