// Command withpostgres runs a command with a PostgreSQL server of its own, whose
// URL the command finds in SEKISHO_TEST_POSTGRES, and ends the server with it.
// usage: withpostgres COMMAND [ARGUMENT…]
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/sekisho-iot/sekisho/e2e/process"
)

func main() { os.Exit(run()) }

func run() int {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: withpostgres COMMAND [ARGUMENT…]")
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := with(ctx, os.Args[1:])
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return e.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func with(ctx context.Context, command []string) (err error) {
	start, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	p, err := process.StartPostgres(start)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...) //nolint:gosec // the caller's own
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Env = append(os.Environ(), "SEKISHO_TEST_POSTGRES="+p.URL)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}
