package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/internal/server"
)

// envWait is how long env waits for a server that is starting.
const envWait = 10 * time.Second

func env(ctx context.Context, t *terminal, args []string) error {
	data := server.DefaultOptions().Data
	fs := newFlags(t, "env", "", "Prints export lines for a shell: eval \"$(sekisho env)\" makes the AWS CLI, SDKs and\n"+
		"the other commands of sekisho clients of the server that runs on this folder.")
	fs.StringVar(&data, "data", data, "`folder` of the server")
	if err := fs.parse(args, 0); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, envWait)
	defer cancel()
	c, err := server.WaitForClient(ctx, data)
	if err != nil {
		return err
	}
	for _, v := range c.Variables() {
		fmt.Fprintf(t.stdout, "export %s=\"%s\"\n", v.Name, shellQuote(v.Value))
	}
	if t.getenv("AWS_SESSION_TOKEN") != "" {
		// A device's, from an earlier step in this shell: it would make the key above an invalid one.
		fmt.Fprint(t.stdout, "export AWS_SESSION_TOKEN=\"\"\n")
	}
	return nil
}

// shellQuote escapes what a POSIX shell would interpret between double quotes.
func shellQuote(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "`", "\\`").Replace(s)
}
