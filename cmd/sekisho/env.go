package main

import (
	"context"
	"fmt"
	"time"

	"github.com/sekisho-iot/sekisho/cmd/internal/cli"
	"github.com/sekisho-iot/sekisho/internal/server"
)

// envWait is how long env waits for a server that is starting.
const envWait = 10 * time.Second

func env(ctx context.Context, t *cli.Terminal, args []string) error {
	data := server.DefaultOptions().Data
	fs := cli.NewFlags(t, "env", "", "Prints export lines for a shell: eval \"$(sekisho env)\" makes the AWS CLI, SDKs and\n"+
		"the other commands of sekisho clients of the server that runs on this folder.")
	fs.StringVar(&data, "data", data, "`folder` of the server")
	if err := fs.ParseWords(args, 0); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, envWait)
	defer cancel()
	c, err := server.WaitForClient(ctx, data)
	if err != nil {
		return err
	}
	for _, v := range c.Variables() {
		fmt.Fprintf(t.Stdout, "export %s=\"%s\"\n", v.Name, cli.ShellQuote(v.Value))
	}
	if t.Getenv("AWS_SESSION_TOKEN") != "" {
		// A device's, from an earlier step in this shell: it would make the key above an invalid one.
		fmt.Fprint(t.Stdout, "export AWS_SESSION_TOKEN=\"\"\n")
	}
	return nil
}
