// Package cli is what the commands of every program have in common: words that
// choose a command, flags, exit codes, and what is said when something is wrong.
//
// Invariant: a command touches nothing of the world around it but what its
// Terminal names and its flags say.
package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"golang.org/x/term"
)

// Exit codes of every command.
const (
	ExitOK      = 0
	ExitFailure = 1
	ExitUsage   = 2
)

// ErrSaid ends a command with ExitFailure when its text has been printed.
var ErrSaid = errors.New("failed")

// Terminal is what a command may touch of the world around it.
type Terminal struct {
	Program        string // the words before the command's name
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	LookupEnv      func(string) (string, bool)
	IsTerminal     bool // Stderr is one

	// ReadSecret asks the person at the terminal for something that is not
	// shown; nil where there is nobody to ask.
	ReadSecret func(prompt string) (string, error)
}

// Getenv is for variables of which nothing means that there is none.
func (t *Terminal) Getenv(name string) string {
	v, _ := t.LookupEnv(name)
	return v
}

// Command is one word after the program's name: something to run, or a group of
// commands.
type Command struct {
	Name, Args, Summary string
	Run                 func(ctx context.Context, t *Terminal, args []string) error
	Sub                 []Command // instead of Run
}

// Program is a group of commands and what is said about it.
type Program struct {
	Name     string // the words that choose it
	About    string // one sentence
	Notes    string // what its help ends with
	Commands []Command
	IsUsage  func(error) bool // errors, besides those of Usagef, that are the caller's mistake; may be nil
}

// Main runs p for the process that this is and returns its exit code.
func (p *Program) Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	t := &Terminal{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, LookupEnv: os.LookupEnv, IsTerminal: isTerminal(os.Stderr)}
	if fd := int(os.Stdin.Fd()); term.IsTerminal(fd) {
		t.ReadSecret = func(prompt string) (string, error) {
			fmt.Fprint(t.Stderr, prompt)
			b, err := term.ReadPassword(fd)
			fmt.Fprintln(t.Stderr)
			return string(b), err
		}
	}
	return p.Dispatch(ctx, t, os.Args[1:])
}

func isTerminal(f *os.File) bool {
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}

// Dispatch runs one command and returns its exit code.
func (p *Program) Dispatch(ctx context.Context, t *Terminal, args []string) int {
	if len(args) == 0 {
		p.usage(t.Stderr)
		return ExitUsage
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		if len(args) == 1 {
			p.usage(t.Stdout)
			return ExitOK
		}
		args = append(args[1:len(args):len(args)], "--help")
	case "-version", "--version":
		args = []string{"version"}
	}
	for _, c := range p.Commands {
		if c.Name != args[0] {
			continue
		}
		if c.Sub != nil {
			group := &Program{Name: p.Name + " " + c.Name, About: c.Summary, Commands: c.Sub, IsUsage: p.IsUsage}
			return group.Dispatch(ctx, t, args[1:])
		}
		with := *t
		with.Program = p.Name
		return p.report(t, c.Name, c.Run(ctx, &with, args[1:]))
	}
	fmt.Fprintf(t.Stderr, "%s: there is no command %q; `%s help` lists them\n", p.Name, args[0], p.Name)
	return ExitUsage
}

func (p *Program) report(t *Terminal, name string, err error) int {
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return ExitOK
	case errors.Is(err, ErrSaid):
		return ExitFailure
	case p.isUsage(err):
		fmt.Fprintf(t.Stderr, "%s %s: %s\nTry `%s %s --help`.\n", p.Name, name, printableLines(err.Error()), p.Name, name)
		return ExitUsage
	default:
		fmt.Fprintf(t.Stderr, "%s %s: %s\n", p.Name, name, printableLines(err.Error()))
		return ExitFailure
	}
}

// usageError is a command line that cannot be meant.
type usageError struct{ msg string }

// Error says what is wrong with it.
func (e *usageError) Error() string { return e.msg }

// Usagef is an error that ends a command with ExitUsage.
func Usagef(format string, args ...any) error {
	return &usageError{msg: fmt.Sprintf(format, args...)}
}

func (p *Program) isUsage(err error) bool {
	_, ok := errors.AsType[*usageError](err)
	return ok || p.IsUsage != nil && p.IsUsage(err)
}

func (p *Program) usage(w io.Writer) {
	fmt.Fprintf(w, "%s\n\nUsage: %s COMMAND [ARGUMENTS] [FLAGS]\n\n", p.About, p.Name)
	for _, c := range p.Commands {
		args := c.Args
		if c.Sub != nil {
			args = "COMMAND"
		}
		fmt.Fprintf(w, "  %-16s %s\n", c.Name+" "+args, c.Summary)
	}
	fmt.Fprintf(w, "\n`%s COMMAND --help` lists the flags of one. ", p.Name)
	if p.Notes == "" {
		fmt.Fprint(w, "Exit codes: 0 done, 1 failure, 2 usage.")
	}
	fmt.Fprintln(w, p.Notes)
}

// Version is set, the version that the build set, or else what Go knows of it.
func Version(set string) string {
	if set != "" {
		return set
	}
	if bi, ok := debug.ReadBuildInfo(); ok && bi.Main.Version != "" {
		return bi.Main.Version
	}
	return "unknown"
}

// VersionCommand prints the program's name and version.
func VersionCommand(set string) Command {
	return Command{Name: "version", Summary: "print the version", Run: func(_ context.Context, t *Terminal, args []string) error {
		if err := NewFlags(t, "version", "", "Prints the version.").ParseWords(args, 0); err != nil {
			return err
		}
		fmt.Fprintf(t.Stdout, "%s %s\n", t.Program, Version(set))
		return nil
	}}
}

// ShellQuote escapes what a POSIX shell would interpret between double quotes.
func ShellQuote(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "`", "\\`").Replace(s)
}
