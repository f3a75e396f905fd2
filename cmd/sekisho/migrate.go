package main

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/sekisho-iot/sekisho/cmd/internal/cli"
	"github.com/sekisho-iot/sekisho/internal/server"
)

func migrate(ctx context.Context, t *cli.Terminal, args []string) error {
	from, to := "", ""
	fs := cli.NewFlags(t, "migrate", "", "Copies the database of a data folder to PostgreSQL, or back, while no server runs on either.\n"+
		"The target must be empty, and stays so when something fails. Keys, objects and MQTT queues\n"+
		"stay in the data folder, which the database belongs to from then on.")
	fs.StringVar(&from, "from", "", "data `folder` or postgres URL")
	fs.StringVar(&to, "to", "", "data `folder` or postgres URL")
	if err := fs.ParseWords(args, 0); err != nil {
		return err
	}
	if from == "" || to == "" {
		return cli.Usagef("--from and --to are needed")
	}
	m, err := server.Migrate(ctx, from, to, rand.Reader)
	if err != nil {
		return err
	}
	fmt.Fprintf(t.Stdout, "copied %d rows in %d tables\n", m.Rows, m.Tables)
	if m.KeptAs != "" {
		fmt.Fprintf(t.Stdout, "the old database is now %s; start the server with --database\n", m.KeptAs)
	}
	return nil
}
