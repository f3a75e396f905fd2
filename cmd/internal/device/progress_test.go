package device

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/sekisho-iot/sekisho/cmd/internal/cli"
	"github.com/sekisho-iot/sekisho/internal/agent/spool"
	agent "github.com/sekisho-iot/sekisho/internal/agent/upload"
)

// Names come from whoever may write into a folder; a terminal must not obey them.
func TestNamesOnTerminal(t *testing.T) {
	t.Parallel()
	const evil = "\x1b]0;owned\a\x1b[2J\r\u009bx\u202e\nforged.jpg: 1 bytes sent in a message"
	var out, errs bytes.Buffer
	p := newPrinter(&cli.Terminal{Stdout: &out, Stderr: &errs, IsTerminal: true}, time.Now)
	r := spool.Record{ID: "1", Name: evil, Path: "/in/" + evil, Size: 100, URL: "https://s3/" + evil}
	for kind := agent.Accepted; kind <= agent.Trouble; kind++ {
		for _, state := range []spool.State{spool.Pending, spool.Done} {
			r.State, r.Reason = state, map[bool]string{true: evil}[state == spool.Pending]
			p.tell(agent.Event{Kind: kind, Record: r, Sent: 50, Total: 100, Err: errors.New("open " + r.Path)})
		}
	}
	p.problem(errors.New("stat " + evil))
	p.move(&r, 50, 100)
	p.draw()
	p.finish()
	// The bars' own sequences are known; nothing else may be left.
	own := strings.NewReplacer("\x1b[1A\x1b[J", "", "\n", "")
	for name, text := range map[string]string{"stdout": out.String(), "stderr": errs.String()} {
		if at := strings.IndexFunc(own.Replace(text), func(r rune) bool { return !unicode.IsGraphic(r) }); at >= 0 || text == "" {
			t.Errorf("%s: %q", name, text)
		}
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "forged.jpg") {
				t.Errorf("%s has a line that was forged: %q", name, line)
			}
		}
	}
	if !strings.Contains(errs.String(), `\x1b]0;owned\a\x1b[2J`) {
		t.Errorf("the name is not told: %q", errs.String())
	}
}

func TestInColumns(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"a.jpg": "a.jpg     ", "0123456789": "0123456789", "0123456789a": "…23456789a",
		"写真.jpg": "写真.jpg  ", "ビデオビデオ": "…オビデオ ", "ビデオビデ": "ビデオビデ", "": "          ",
	} {
		if got := inColumns(name, 10); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
