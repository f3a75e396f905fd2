package cli

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Flags is a command's flag set whose values come from the flag, else the
// environment, else the YAML file of --config, else the default.
type Flags struct {
	*flag.FlagSet
	t      *Terminal
	help   func() // prints the flags
	args   string // the arguments, as the help shows them
	config string // the --config flag, on commands that have one
	lists  map[string]*listFlag
}

// NewFlags returns the flags of the command name; args are its arguments and about
// is what it does, as its help shows them.
func NewFlags(t *Terminal, name, args, about string) *Flags {
	f := &Flags{FlagSet: flag.NewFlagSet(name, flag.ContinueOnError), t: t, args: args, lists: map[string]*listFlag{}}
	f.SetOutput(io.Discard)
	f.Usage = func() {} // a mistake is answered in one line, see ParseWords
	f.help = func() {
		fmt.Fprintf(t.Stdout, "%s\n\nUsage: %s %s [FLAGS]\n\n", about, t.Program, strings.TrimSpace(name+" "+args))
		f.VisitAll(func(fl *flag.Flag) {
			kind, usage := flag.UnquoteUsage(fl)
			fmt.Fprintf(t.Stdout, "  --%s\n        %s", strings.TrimSpace(fl.Name+" "+strings.ToUpper(kind)), usage)
			if fl.DefValue != "" && fl.DefValue != "false" {
				fmt.Fprintf(t.Stdout, " (default %s)", fl.DefValue)
			}
			fmt.Fprintln(t.Stdout)
		})
	}
	return f
}

// spelled says what the flag package found wrong, with flags as they are typed.
func spelled(err error) string {
	return strings.NewReplacer(
		"flag provided but not defined: -", "there is no flag --",
		"flag needs an argument: -", "a value is missing after --",
		"for flag -", "for --",
		"boolean value", "value",
		" for -", " for --", // what is said of a boolean flag
		"parse error", "true or false is needed",
	).Replace(err.Error())
}

// wrong says what Parse found wrong.
func (f *Flags) wrong(err error) error {
	text := spelled(err)
	// The flag package says the same of whatever a value was to be.
	if _, name, ok := strings.Cut(text, " for --"); ok {
		name, _, _ = strings.Cut(name, ":")
		if fl := f.Lookup(name); fl != nil {
			text = strings.Replace(text, "true or false is needed", needed(fl.Value), 1)
		}
	}
	return Usagef("%s", text)
}

func needed(v flag.Value) string {
	g, ok := v.(flag.Getter)
	if !ok {
		return "something else is needed"
	}
	switch g.Get().(type) {
	case bool:
		return "true or false is needed"
	case time.Duration:
		return "a time is needed, such as 30s, 10m or 24h"
	default:
		return "a number is needed"
	}
}

// List adds a repeatable flag. In the environment its values stand with commas between.
func (f *Flags) List(p *[]string, name, usage string) {
	l := &listFlag{p: p}
	f.lists[name] = l
	f.Var(l, name, usage)
}

// WithConfig adds --config.
func (f *Flags) WithConfig() {
	f.StringVar(&f.config, "config", "", "YAML `file` whose keys are the names of these flags")
}

// ParseWords reads args, which may mix flags and arguments, and wants exactly n arguments.
func (f *Flags) ParseWords(args []string, n int) error { return f.parseWords(args, n, n) }

// ParseList is ParseWords for any number of arguments.
func (f *Flags) ParseList(args []string) error { return f.parseWords(args, 0, math.MaxInt) }

func (f *Flags) parseWords(args []string, least, most int) error {
	var words []string
	for {
		if err := f.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				f.help()
				return err
			}
			return f.wrong(err)
		}
		rest := f.Args()
		if len(rest) == 0 {
			break
		}
		if len(args) > len(rest) && args[len(args)-len(rest)-1] == "--" {
			words = append(words, rest...)
			break
		}
		words = append(words, rest[0])
		args = rest[1:]
	}
	if len(words) < least {
		return Usagef("an argument is missing: %s", f.args)
	}
	if len(words) > most {
		return Usagef("%q: there is no such argument", words[most])
	}
	if err := f.fill(); err != nil {
		return err
	}
	return f.Parse(append([]string{"--"}, words...))
}

// fill gives the flags that were not named their value from the environment or the file.
func (f *Flags) fill() error {
	set := map[string]bool{}
	f.Visit(func(fl *flag.Flag) { set[fl.Name] = true })
	var problem error
	f.VisitAll(func(fl *flag.Flag) {
		env := "SEKISHO_" + strings.ToUpper(strings.ReplaceAll(fl.Name, "-", "_"))
		v, given := f.t.LookupEnv(env)
		// Nothing is a value for an address alone, which it turns off.
		if v == "" && !strings.HasSuffix(env, "_LISTEN") {
			given = false
		}
		if set[fl.Name] || !given || problem != nil {
			return
		}
		set[fl.Name] = true
		values := []string{v}
		if f.lists[fl.Name] != nil {
			values = strings.Split(v, ",")
		}
		problem = f.assign(fl.Name, env, values)
	})
	if problem != nil || f.config == "" {
		return problem
	}
	return f.fillFromFile(set)
}

func (f *Flags) assign(name, from string, values []string) error {
	for _, v := range values {
		if err := f.Set(name, strings.TrimSpace(v)); err != nil {
			return Usagef("%s %q: %s", from, v, spelled(err))
		}
	}
	return nil
}

func (f *Flags) fillFromFile(set map[string]bool) error {
	b, err := os.ReadFile(f.config)
	if err != nil {
		return Usagef("--config: %v", err)
	}
	var doc map[string]yaml.Node
	if err := yaml.NewDecoder(bytes.NewReader(b)).Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		return Usagef("--config %s: %v", f.config, err)
	}
	keys := make([]string, 0, len(doc))
	for k := range doc {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		if f.Lookup(k) == nil || k == "config" {
			return Usagef("--config %s: there is no setting %q", f.config, k)
		}
		node := doc[k]
		var values []string
		switch {
		case node.Kind == yaml.ScalarNode:
			values = []string{node.Value}
		case node.Kind == yaml.SequenceNode && f.lists[k] != nil:
			if err := node.Decode(&values); err != nil {
				return Usagef("--config %s: %s: %v", f.config, k, err)
			}
		default:
			return Usagef("--config %s: %s: a single value is needed", f.config, k)
		}
		if set[k] {
			continue
		}
		if err := f.assign(k, f.config+": "+k, values); err != nil {
			return err
		}
	}
	return nil
}

// listFlag is a repeatable flag whose first use replaces the default.
type listFlag struct {
	p     *[]string
	given bool
}

// String renders the values for the usage text.
func (l *listFlag) String() string {
	if l.p == nil {
		return ""
	}
	return strings.Join(*l.p, ",")
}

// Set adds one value.
func (l *listFlag) Set(v string) error {
	if v == "" {
		return errors.New("must not be empty")
	}
	if !l.given {
		l.given = true
		*l.p = nil
	}
	*l.p = append(*l.p, v)
	return nil
}

// Pairs splits key=value words.
func Pairs(words []string) (map[string]string, error) {
	if len(words) == 0 {
		return nil, nil
	}
	m := map[string]string{}
	for _, w := range words {
		k, v, ok := strings.Cut(w, "=")
		if !ok || k == "" {
			return nil, Usagef("%q: KEY=VALUE is needed", w)
		}
		m[k] = v
	}
	return m, nil
}
