package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/sekisho-iot/sekisho/cmd/internal/cli"
)

func keysCommands() []cli.Command {
	return []cli.Command{
		{Name: "rotate", Summary: "make a new master key", Run: rotateKeys},
	}
}

func rotateKeys(ctx context.Context, t *cli.Terminal, args []string) error {
	fs := cli.NewFlags(t, "rotate", "", "Makes a new master key, which seals session tokens and the secrets of access keys from now on.\n"+
		"Sessions of the old one go on until they expire; it is removed after 36 hours, which is as\n"+
		"long as a session can last. With --compromised they end at once: devices and tools have to\n"+
		"ask for new credentials. Access keys stay as they are; whoever may have read the database as\n"+
		"well as the master key has their secrets: replace those too.")
	compromised, asJSON := false, false
	fs.BoolVar(&compromised, "compromised", false, "somebody may have the old keys: end every session now")
	fs.BoolVar(&asJSON, "json", false, "print the answer as JSON")
	if err := fs.ParseWords(args, 0); err != nil {
		return err
	}
	c, err := connect(t)
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := c.Call(ctx, "sekisho", http.MethodPost, "/_sekisho/keys/rotate", nil, map[string]bool{"compromised": compromised}, &raw); err != nil {
		return err
	}
	if asJSON {
		_, err := t.Stdout.Write(raw)
		return err
	}
	var out struct {
		Key        uint32
		Retired    []uint32
		Until      time.Time
		Dropped    []uint32
		AccessKeys int
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		return fmt.Errorf("the answer is not what was expected: %w", err)
	}
	fmt.Fprintf(t.Stdout, "Key %d seals from now on; %d secrets of access keys were sealed anew.\n", out.Key, out.AccessKeys)
	if len(out.Retired) > 0 {
		fmt.Fprintf(t.Stdout, "Sessions that were sealed before go on, until %s at the latest.\n", out.Until.Format(time.RFC3339))
	}
	if len(out.Dropped) > 0 {
		fmt.Fprintf(t.Stdout, "Every session that was sealed before has ended.\n")
	}
	return nil
}
