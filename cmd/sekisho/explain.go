package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/sekisho-iot/sekisho/cmd/internal/cli"
	"github.com/sekisho-iot/sekisho/internal/client"
)

// explainRequest and explainAnswer are the body of POST /_sekisho/explain and its answer.
type explainRequest struct {
	Thing       string            `json:"thing,omitempty"`
	Certificate string            `json:"certificate,omitempty"`
	Session     string            `json:"session,omitempty"`
	Action      string            `json:"action"`
	Resource    string            `json:"resource"`
	Context     map[string]string `json:"context,omitempty"`
}

type explainAnswer struct {
	Decision string `json:"decision"`
	Text     string `json:"text"`
}

func explain(ctx context.Context, t *cli.Terminal, args []string) error {
	fs := cli.NewFlags(t, "explain", "", "Says whether an action would be allowed, which statement of which policy decides, and\n"+
		"for a refusal what came near. The server judges with the evaluator that it enforces with.\nExit code 0 means allowed, 1 refused.")
	var in explainRequest
	var ctxValues []string
	asJSON := false
	fs.StringVar(&in.Thing, "thing", "", "`name` of the thing whose certificate would ask (IoT policies)")
	fs.StringVar(&in.Certificate, "certificate", "", "`id` of the certificate, where the thing has several")
	fs.StringVar(&in.Session, "session", "", "access `key` id of the session or user that would ask (IAM policies)")
	fs.StringVar(&in.Action, "action", "", "`action`, such as s3:PutObject or iot:Publish")
	fs.StringVar(&in.Resource, "resource", "", "`ARN` that it acts on")
	fs.List(&ctxValues, "context", "condition `key=value` of the imagined request, such as aws:SourceIp=192.0.2.1, with commas between the values of iot:ConnectAttributes; repeatable")
	fs.BoolVar(&asJSON, "json", false, "print the explanation as JSON")
	if err := fs.ParseWords(args, 0); err != nil {
		return err
	}
	if (in.Thing == "") == (in.Session == "") {
		return cli.Usagef("one of --thing and --session is needed")
	}
	if in.Action == "" || in.Resource == "" {
		return cli.Usagef("--action and --resource are needed")
	}
	if !strings.Contains(in.Action, ":") {
		return cli.Usagef("--action %q: SERVICE:ACTION is needed, such as s3:PutObject", in.Action)
	}
	if in.Resource != "*" && !strings.HasPrefix(in.Resource, "arn:") {
		return cli.Usagef("--resource %q: an ARN is needed, such as arn:aws:s3:::bucket/key, or *", in.Resource)
	}
	var err error
	if in.Context, err = cli.Pairs(ctxValues); err != nil {
		return err
	}
	c, err := connect(t)
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := c.Call(ctx, "sekisho", http.MethodPost, "/_sekisho/explain", nil, in, &raw); err != nil {
		return err
	}
	var out explainAnswer
	if err := json.Unmarshal(raw, &out); err != nil {
		return fmt.Errorf("the answer is not what was expected: %w", err)
	}
	if asJSON {
		_, err = fmt.Fprintf(t.Stdout, "%s\n", bytes.TrimSpace(raw))
	} else {
		_, err = io.WriteString(t.Stdout, out.Text+"\n")
	}
	if err != nil {
		return err
	}
	if out.Decision != "allow" {
		if in.Thing != "" && !strings.HasPrefix(strings.ToLower(in.Action), "iot:") {
			fmt.Fprintln(t.Stderr, "IoT policies decide about iot: actions alone; what the device's credentials may do, --session says.")
		}
		return cli.ErrSaid
	}
	return nil
}

func connect(t *cli.Terminal) (*client.Client, error) {
	cfg, err := client.FromEnviron(t.Getenv)
	if err != nil {
		return nil, err
	}
	return client.New(cfg)
}
