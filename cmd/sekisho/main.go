// Command sekisho is the checkpoint between devices and storage: the server,
// and the commands that administer it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/sekisho-iot/sekisho/internal/server"
)

// version is set by the build.
var version string

// Exit codes of every command.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// terminal is what a command may touch of the world around it.
type terminal struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	lookupenv      func(string) (string, bool)
	isTerminal     bool // stderr is one
}

// getenv is for variables of which nothing means that there is none.
func (t *terminal) getenv(name string) string {
	v, _ := t.lookupenv(name)
	return v
}

// command is one word after sekisho.
type command struct {
	name, args, summary string
	run                 func(ctx context.Context, t *terminal, args []string) error
}

func commands() []command {
	return []command{
		{"serve", "", "run the server", serve},
		{"env", "", "print the variables that make this shell a client of a server", env},
		{"enroll", "THING", "register a thing with a new certificate and leave what its device needs in a folder", enroll},
		{"explain", "", "say why an action is allowed or refused", explain},
		{"uploads", "list|door", "list what devices have uploaded; say where uploads by MQTT go", uploadsCommand},
		{"demo", "", "do the whole main job in a temporary folder", demo},
		{"version", "", "print the version", printVersion},
	}
}

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	t := &terminal{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, lookupenv: os.LookupEnv, isTerminal: isTerminal(os.Stderr)}
	return dispatch(ctx, t, os.Args[1:])
}

func isTerminal(f *os.File) bool {
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}

// dispatch runs one command and returns its exit code.
func dispatch(ctx context.Context, t *terminal, args []string) int {
	if len(args) == 0 {
		usage(t.stderr)
		return exitUsage
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		if len(args) == 1 {
			usage(t.stdout)
			return exitOK
		}
		args = []string{args[1], "--help"}
	case "-version", "--version":
		args = []string{"version"}
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return report(t, c.name, c.run(ctx, t, args[1:]))
		}
	}
	fmt.Fprintf(t.stderr, "sekisho: there is no command %q; `sekisho help` lists them\n", args[0])
	return exitUsage
}

func report(t *terminal, name string, err error) int {
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.Is(err, errRefused):
		return exitFailure
	case isUsage(err):
		fmt.Fprintf(t.stderr, "sekisho %s: %v\nTry `sekisho %s --help`.\n", name, err, name)
		return exitUsage
	default:
		fmt.Fprintf(t.stderr, "sekisho %s: %v\n", name, err)
		return exitFailure
	}
}

// errRefused is explain's answer for an action that would be refused; the text has been printed.
var errRefused = errors.New("refused")

// usageError is a command line that cannot be meant.
type usageError struct{ msg string }

// Error says what is wrong with it.
func (e *usageError) Error() string { return e.msg }

func usagef(format string, args ...any) error {
	return &usageError{msg: fmt.Sprintf(format, args...)}
}

func isUsage(err error) bool {
	_, ok := errors.AsType[*usageError](err)
	return ok || server.IsUsage(err)
}

func usage(w io.Writer) {
	fmt.Fprint(w, "sekisho is the checkpoint between devices and storage.\n\nUsage: sekisho COMMAND [ARGUMENTS] [FLAGS]\n\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-16s %s\n", c.name+" "+c.args, c.summary)
	}
	fmt.Fprint(w, "\n`sekisho COMMAND --help` lists the flags of one. Every flag can also be set by the\n"+
		"environment: --api-listen is SEKISHO_API_LISTEN; of a repeatable one the values stand\n"+
		"there with commas between.\n")
}

func buildVersion() string {
	if version != "" {
		return version
	}
	if bi, ok := debug.ReadBuildInfo(); ok && bi.Main.Version != "" {
		return bi.Main.Version
	}
	return "unknown"
}

func printVersion(_ context.Context, t *terminal, args []string) error {
	fs := newFlags(t, "version", "", "Prints the version.")
	if err := fs.parse(args, 0); err != nil {
		return err
	}
	fmt.Fprintf(t.stdout, "sekisho %s\n", buildVersion())
	return nil
}
