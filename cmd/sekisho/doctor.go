package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/sekisho-iot/sekisho/cmd/internal/cli"
	"github.com/sekisho-iot/sekisho/internal/server"
)

func doctor(ctx context.Context, t *cli.Terminal, args []string) error {
	o := server.DefaultOptions()
	fs := cli.NewFlags(t, "doctor", "", "Looks for what keeps a server from working, or soon will: settings, permissions, disk, clock,\n"+
		"certificates, names, ports, database, and whether it answers. It changes nothing. Give it the\n"+
		"flags, variables or --config that `sekisho serve` gets, on the same machine and as the same\n"+
		"user. Exit code 0 means that nothing failed, 1 that something did; warnings do not count.")
	output := "text"
	addSettings(fs, &o)
	fs.StringVar(&output, "output", output, "text or json")
	fs.WithConfig()
	if err := fs.ParseWords(args, 0); err != nil {
		return err
	}
	if output != "text" && output != "json" {
		return cli.Usagef("--output %q: text or json", output)
	}
	o.Now = time.Now
	findings := server.Diagnose(ctx, &o)
	failed := false
	for _, f := range findings {
		failed = failed || f.Verdict == server.VerdictFail
	}
	if output == "json" {
		e := json.NewEncoder(t.Stdout)
		e.SetIndent("", "  ")
		if err := e.Encode(findings); err != nil {
			return err
		}
	} else {
		for _, f := range findings {
			fmt.Fprintf(t.Stdout, "%-4s  %-12s %s\n", f.Verdict, f.Check, f.Text)
			if f.Fix != "" {
				fmt.Fprintf(t.Stdout, "%18s → %s\n", "", f.Fix)
			}
		}
	}
	if failed {
		return cli.ErrSaid
	}
	return nil
}
