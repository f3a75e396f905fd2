package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"sekisho-device": func() { os.Exit(program().Main()) },
	})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{Dir: "testdata", RequireExplicitExec: true})
}

// Nothing of the server comes with the agent.
func TestDependencies(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	const own = "github.com/sekisho-iot/sekisho/"
	seen := 0
	for p := range strings.FieldsSeq(string(out)) {
		p, ok := strings.CutPrefix(p, own)
		if !ok {
			continue
		}
		seen++
		if !strings.HasPrefix(p, "internal/agent/") && !strings.HasPrefix(p, "cmd/") && p != "internal/iot" {
			t.Errorf("%s is linked into sekisho-device", p)
		}
	}
	if seen < 3 {
		t.Errorf("%d packages of ours: is this the right command?", seen)
	}
}
