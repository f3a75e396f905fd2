package device

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sekisho-iot/sekisho/cmd/internal/cli"
	"github.com/sekisho-iot/sekisho/internal/agent/spool"
	agent "github.com/sekisho-iot/sekisho/internal/agent/upload"
)

const (
	redrawEvery = 100 * time.Millisecond
	barWidth    = 20 // with the rest of its line, it fits into 80 columns
	nameWidth   = 30
)

// printer tells of uploads: lines of what happened, and on a terminal a bar for
// each file that is on its way, which is drawn anew below them.
type printer struct {
	out, err io.Writer
	bars     bool
	now      func() time.Time

	mu     sync.Mutex // guards what follows
	active []bar
	drawn  int // lines that the bars take
	last   time.Time
}

type bar struct {
	id, name    string
	sent, total int64
}

func newPrinter(t *cli.Terminal, now func() time.Time) *printer {
	return &printer{out: t.Stdout, err: t.Stderr, bars: t.IsTerminal, now: now}
}

// tell is the agent's.
func (p *printer) tell(e agent.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := &e.Record
	switch e.Kind {
	case agent.Accepted, agent.Stored:
	case agent.Progress:
		p.move(r, e.Sent, e.Total)
		if p.bars && p.now().Sub(p.last) >= redrawEvery {
			p.erase()
			p.draw()
		}
	case agent.Resumed:
		p.move(r, e.Sent, e.Total)
		p.say(p.err, "%s: resumed at %d of %d bytes", r.Name, e.Sent, e.Total)
	case agent.Restart:
		p.remove(r)
		p.say(p.err, "%s: it has changed since it was accepted, and is sent as it is now", r.Name)
	case agent.Finished:
		p.remove(r)
		p.say(p.out, "%s", finished(r))
	case agent.Retry:
		p.say(p.err, "%s: %v; the next try is in %s", r.Name, e.Err, e.Wait.Round(100*time.Millisecond))
	case agent.Failed:
		p.remove(r)
		p.say(p.err, "%s: given up: %v", r.Name, e.Err)
	case agent.Trouble:
		p.say(p.err, "%v", e.Err)
	}
}

func finished(r *spool.Record) string {
	if r.State == spool.Done && r.Reason != "" {
		return fmt.Sprintf("%s: its failure has been told", r.Name)
	}
	if r.URL != "" {
		return fmt.Sprintf("%s: %d bytes at %s, sha256 %s", r.Name, r.Size, r.URL, r.SHA256)
	}
	return fmt.Sprintf("%s: %d bytes sent in a message, sha256 %s", r.Name, r.Size, r.SHA256)
}

// problem tells of a file that was not accepted.
func (p *printer) problem(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.say(p.err, "%v", err)
}

// finish takes the bars away.
func (p *printer) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
	p.active = nil
}

func (p *printer) say(w io.Writer, format string, args ...any) {
	p.erase()
	fmt.Fprintln(w, cli.Printable(fmt.Sprintf(format, args...)))
	p.draw()
}

func (p *printer) move(r *spool.Record, sent, total int64) {
	for i := range p.active {
		if p.active[i].id == r.ID {
			p.active[i].sent, p.active[i].total = sent, total
			return
		}
	}
	p.active = append(p.active, bar{r.ID, cli.Printable(r.Name), sent, total})
}

func (p *printer) remove(r *spool.Record) {
	p.active = slices.DeleteFunc(p.active, func(b bar) bool { return b.id == r.ID })
}

func (p *printer) erase() {
	if p.drawn > 0 {
		fmt.Fprintf(p.err, "\x1b[%dA\x1b[J", p.drawn)
		p.drawn = 0
	}
}

func (p *printer) draw() {
	if !p.bars {
		return
	}
	for _, b := range p.active {
		full := 0
		if b.total > 0 {
			full = int(barWidth * b.sent / b.total)
		}
		fmt.Fprintf(p.err, "%s [%s%s] %3d %% of %.1f MiB\n", inColumns(b.name, nameWidth),
			strings.Repeat("=", full), strings.Repeat(" ", barWidth-full), percent(b), float64(b.total)/(1<<20))
	}
	p.drawn = len(p.active)
	p.last = p.now()
}

// inColumns is a name in exactly so many columns of a terminal: the end of one
// that is longer, and what Chinese, Japanese and Korean need counted double.
func inColumns(name string, columns int) string {
	width := func(r rune) int {
		if unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul) || r >= 0x3000 && r <= 0x30ff || r >= 0xff01 && r <= 0xff60 || r >= 0x1f300 {
			return 2
		}
		return 1
	}
	total := 0
	for _, r := range name {
		total += width(r)
	}
	if total > columns {
		for total > columns-1 {
			r, n := utf8.DecodeRuneInString(name)
			total -= width(r)
			name = name[n:]
		}
		name, total = "…"+name, total+1
	}
	return name + strings.Repeat(" ", columns-total)
}

func percent(b bar) int64 {
	if b.total == 0 {
		return 100
	}
	return 100 * b.sent / b.total
}
