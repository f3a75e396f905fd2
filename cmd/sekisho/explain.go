package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

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

func explain(ctx context.Context, t *terminal, args []string) error {
	fs := newFlags(t, "explain", "", "Says whether an action would be allowed, which statement of which policy decides, and\n"+
		"for a refusal what came near. The server judges with the evaluator that it enforces with.\nExit code 0 means allowed, 1 refused.")
	var in explainRequest
	var ctxValues []string
	asJSON := false
	fs.StringVar(&in.Thing, "thing", "", "`name` of the thing whose certificate would ask (IoT policies)")
	fs.StringVar(&in.Certificate, "certificate", "", "`id` of the certificate, where the thing has several")
	fs.StringVar(&in.Session, "session", "", "access `key` id of the session or user that would ask (IAM policies)")
	fs.StringVar(&in.Action, "action", "", "`action`, such as s3:PutObject or iot:Publish")
	fs.StringVar(&in.Resource, "resource", "", "`ARN` that it acts on")
	fs.list(&ctxValues, "context", "condition `key=value` of the imagined request, such as aws:SourceIp=192.0.2.1, with commas between the values of iot:ConnectAttributes; repeatable")
	fs.BoolVar(&asJSON, "json", false, "print the explanation as JSON")
	if err := fs.parse(args, 0); err != nil {
		return err
	}
	if (in.Thing == "") == (in.Session == "") {
		return usagef("one of --thing and --session is needed")
	}
	if in.Action == "" || in.Resource == "" {
		return usagef("--action and --resource are needed")
	}
	if !strings.Contains(in.Action, ":") {
		return usagef("--action %q: SERVICE:ACTION is needed, such as s3:PutObject", in.Action)
	}
	if in.Resource != "*" && !strings.HasPrefix(in.Resource, "arn:") {
		return usagef("--resource %q: an ARN is needed, such as arn:aws:s3:::bucket/key, or *", in.Resource)
	}
	var err error
	if in.Context, err = pairs(ctxValues); err != nil {
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
		_, err = fmt.Fprintf(t.stdout, "%s\n", bytes.TrimSpace(raw))
	} else {
		_, err = io.WriteString(t.stdout, out.Text+"\n")
	}
	if err != nil {
		return err
	}
	if out.Decision != "allow" {
		if in.Thing != "" && !strings.HasPrefix(strings.ToLower(in.Action), "iot:") {
			fmt.Fprintln(t.stderr, "IoT policies decide about iot: actions alone; what the device's credentials may do, --session says.")
		}
		return errRefused
	}
	return nil
}

func connect(t *terminal) (*client.Client, error) {
	cfg, err := client.FromEnviron(t.getenv)
	if err != nil {
		return nil, err
	}
	return client.New(cfg)
}
