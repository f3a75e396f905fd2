package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPage(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "page.md")
	if err := run(out); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"| CreateThing | built |", "| CreateOTAUpdate | 501 |", "| PutObject | built |", "None of its 23 operations is built.",
	} {
		if !strings.Contains(string(page), line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
}
