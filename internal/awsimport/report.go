package awsimport

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// Outcome is what became of one item.
type Outcome string

// The outcomes. In a dry run Created means that it would be.
const (
	Created   Outcome = "create"
	Unchanged Outcome = "unchanged" // it is there already, and equal
	Differs   Outcome = "differs"   // it is there, and is something else
	Skipped   Outcome = "skip"
	Failed    Outcome = "fail"
)

// Item is one thing that was to be copied.
type Item struct {
	Kind    string
	Name    string
	Outcome Outcome
	Why     string
}

func (i *Item) skip(format string, args ...any) {
	i.Outcome, i.Why = Skipped, fmt.Sprintf(format, args...)
}

func (i *Item) differ(format string, args ...any) {
	i.Outcome, i.Why = Differs, fmt.Sprintf(format, args...)
}

// fail notes an error: a target or source that has not built an operation
// leaves something out, and that is all.
func (i *Item) fail(what string, err error) {
	i.Outcome, i.Why = Failed, what+": "+text(err)
	if notBuilt(err) {
		i.Outcome = Skipped
	}
}

// Report is what a run did, by kind in the order of the work.
type Report struct {
	kinds  []string
	counts map[string]map[Outcome]int
	absent map[string]map[string]bool // by kind and name: what is not at the target
}

func newReport() *Report {
	return &Report{counts: map[string]map[Outcome]int{}, absent: map[string]map[string]bool{}}
}

func (r *Report) add(i *Item) {
	if r.counts[i.Kind] == nil {
		r.kinds = append(r.kinds, i.Kind)
		r.counts[i.Kind] = map[Outcome]int{}
		r.absent[i.Kind] = map[string]bool{}
	}
	r.counts[i.Kind][i.Outcome]++
	if i.Outcome == Skipped || i.Outcome == Failed {
		r.absent[i.Kind][i.Name] = true
	}
}

// Count returns how many items came out that way, of one kind or, for "", of all.
func (r *Report) Count(kind string, o Outcome) int {
	n := 0
	for k, counts := range r.counts {
		if kind == "" || kind == k {
			n += counts[o]
		}
	}
	return n
}

// Complete reports whether all of the source is at the target.
func (r *Report) Complete() bool {
	return r.Count("", Differs)+r.Count("", Skipped)+r.Count("", Failed) == 0
}

// Write prints the table of a run that is over.
func (r *Report) Write(w io.Writer, dryRun bool) error {
	made := "created"
	if dryRun {
		made = "to create"
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\t%s\tunchanged\tdiffer\tskipped\tfailed\n", made)
	for _, k := range append(slices.Clone(r.kinds), "") {
		name := k
		if k == "" {
			name = "all"
		}
		fmt.Fprintf(t, "%s", name)
		for _, o := range []Outcome{Created, Unchanged, Differs, Skipped, Failed} {
			fmt.Fprintf(t, "\t%d", r.Count(k, o))
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}
