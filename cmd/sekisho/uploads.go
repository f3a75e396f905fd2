package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sekisho-iot/sekisho/cmd/internal/cli"
	"github.com/sekisho-iot/sekisho/internal/client"
)

func uploadsCommands() []cli.Command {
	return []cli.Command{
		{Name: "list", Summary: "list what devices have uploaded or failed to", Run: listUploads},
		{Name: "door", Summary: "say where uploads go whose URLs devices ask for over MQTT", Run: uploadDoor},
	}
}

const doorPath = "/_sekisho/uploads/door"

// uploadDoorSetting is the body of PUT /_sekisho/uploads/door, and the answer of GET.
type uploadDoorSetting struct {
	RoleAlias string `json:"roleAlias"`
	Bucket    string `json:"bucket"`
}

func uploadDoor(ctx context.Context, t *cli.Terminal, args []string) error {
	fs := cli.NewFlags(t, "door", "", "Says where uploads go whose URLs devices ask for over MQTT, and through which role alias.\n"+
		"Whoever sets it must be allowed to pass the alias's role. Without flags it prints the setting.")
	var in uploadDoorSetting
	off := false
	fs.StringVar(&in.RoleAlias, "role-alias", "", "`name` of the role alias whose credentials the URLs are made with")
	fs.StringVar(&in.Bucket, "bucket", "", "`name` of the bucket")
	fs.BoolVar(&off, "off", false, "have no such door")
	if err := fs.ParseWords(args, 0); err != nil {
		return err
	}
	if (in.RoleAlias == "") != (in.Bucket == "") {
		return cli.Usagef("--role-alias and --bucket go together")
	}
	if off && in.Bucket != "" {
		return cli.Usagef("--off goes without --role-alias and --bucket")
	}
	c, err := connect(t)
	if err != nil {
		return err
	}
	switch {
	case off:
		return c.Call(ctx, "sekisho", http.MethodDelete, doorPath, nil, nil, nil)
	case in.Bucket != "":
		return c.Call(ctx, "sekisho", http.MethodPut, doorPath, nil, in, nil)
	}
	if err := c.Call(ctx, "sekisho", http.MethodGet, doorPath, nil, nil, &in); err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.Stdout, "role alias %s, bucket %s\n", in.RoleAlias, in.Bucket)
	return err
}

// uploadRecord is what the table shows of a record of GET /_sekisho/uploads.
type uploadRecord struct {
	Number      int64     `json:"number"`
	Status      string    `json:"status"`
	Thing       string    `json:"thing"`
	Certificate string    `json:"certificate"`
	Door        string    `json:"door"`
	Bucket      string    `json:"bucket"`
	Key         string    `json:"key"`
	Topic       string    `json:"topic"`
	Name        string    `json:"name"`
	Size        int64     `json:"size"`
	SHA256      string    `json:"sha256"`
	Reason      string    `json:"reason"`
	Finished    time.Time `json:"finished"`
}

type uploadsPage struct {
	Uploads   []json.RawMessage `json:"uploads"`
	NextToken string            `json:"nextToken"`
}

// uploadsPageSize is how many records one call asks for.
const uploadsPageSize = 1000

func listUploads(ctx context.Context, t *cli.Terminal, args []string) error {
	fs := cli.NewFlags(t, "list", "", "Lists what devices have uploaded or failed to, the newest first. The table shortens\n"+
		"what is wide; --output json has all of every record.")
	thing, status, since, until, output, limit := "", "", "", "", "", 0
	fs.StringVar(&thing, "thing", "", "`name` of the thing; without it, all")
	fs.StringVar(&status, "status", "", "`state`: completed or failed; without it, both")
	fs.StringVar(&since, "since", "", "only what ended since this `time`: so long ago, as 90m, 24h or 7d, or 2006-01-02T15:04:05Z")
	fs.StringVar(&until, "until", "", "only what ended before this `time`, likewise")
	fs.StringVar(&output, "output", "table", "`format`: table or json")
	fs.IntVar(&limit, "limit", 0, "at most this `number`; 0 lists all")
	if err := fs.ParseWords(args, 0); err != nil {
		return err
	}
	q := url.Values{}
	for name, v := range map[string]string{"thing": thing, "status": status} {
		if v != "" {
			q.Set(name, v)
		}
	}
	if status != "" && status != "completed" && status != "failed" {
		return cli.Usagef("--status %q: completed or failed", status)
	}
	for name, v := range map[string]string{"since": since, "until": until} {
		at, err := moment(name, v, time.Now())
		if err != nil {
			return err
		}
		if at != "" {
			q.Set(name, at)
		}
	}
	if output != "table" && output != "json" {
		return cli.Usagef("--output %q: table or json", output)
	}
	if limit < 0 {
		return cli.Usagef("--limit %d: a number is needed, or 0 for all", limit)
	}
	c, err := connect(t)
	if err != nil {
		return err
	}
	list, err := allUploads(ctx, c, q, limit)
	if err != nil {
		return err
	}
	if output == "json" {
		return printUploadsJSON(t.Stdout, list)
	}
	return printUploads(t.Stdout, list)
}

// moment is a time that was given as such, or as a duration before now; "" for none.
func moment(name, v string, now time.Time) (string, error) {
	if v == "" {
		return "", nil
	}
	if d, ok := ago(v); ok {
		return now.Add(-d).UTC().Format(time.RFC3339Nano), nil
	}
	at, err := time.Parse(time.RFC3339, v)
	if err != nil {
		return "", cli.Usagef("--%s %q: a duration such as 24h or 7d, or a time such as 2006-01-02T15:04:05Z is needed", name, v)
	}
	return at.UTC().Format(time.RFC3339Nano), nil
}

// ago is a duration that is not negative, which may be in days.
func ago(v string) (time.Duration, bool) {
	if days, ok := strings.CutSuffix(v, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err == nil
	}
	d, err := time.ParseDuration(v)
	return d, err == nil && d >= 0
}

func allUploads(ctx context.Context, c *client.Client, q url.Values, limit int) ([]json.RawMessage, error) {
	var list []json.RawMessage
	for {
		n := uploadsPageSize
		if limit > 0 {
			n = min(n, limit-len(list))
		}
		q.Set("limit", strconv.Itoa(n))
		var page uploadsPage
		if err := c.Call(ctx, "sekisho", http.MethodGet, "/_sekisho/uploads?"+q.Encode(), nil, nil, &page); err != nil {
			return nil, err
		}
		list = append(list, page.Uploads...)
		if page.NextToken == "" || limit > 0 && len(list) >= limit {
			return list, nil
		}
		q.Set("token", page.NextToken)
	}
}

func printUploadsJSON(w io.Writer, list []json.RawMessage) error {
	if list == nil {
		list = []json.RawMessage{}
	}
	b, err := json.MarshalIndent(map[string]any{"uploads": list}, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", b)
	return err
}

// The widths of what the table shortens.
const (
	whatWidth   = 60
	reasonWidth = 80
	hashWidth   = 12 // of the 64 digits: enough to tell files apart
)

func printUploads(w io.Writer, list []json.RawMessage) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "FINISHED\tSTATUS\tTHING\tDOOR\t      SIZE\tSHA256\tWHAT\tREASON")
	for _, raw := range list {
		var u uploadRecord
		if err := json.Unmarshal(raw, &u); err != nil {
			return fmt.Errorf("the answer is not what was expected: %w", err)
		}
		what := "s3://" + u.Bucket + "/" + u.Key
		if u.Bucket == "" {
			what = u.Topic + " " + u.Name
		}
		hash := u.SHA256[:min(len(u.SHA256), hashWidth)]
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%10s\t%s\t%s\t%s\n", u.Finished.UTC().Format(time.RFC3339), u.Status, cmp.Or(printable(u.Thing), "-"), u.Door,
			sizeOf(u.Size), cmp.Or(hash, "-"), short(printable(what), whatWidth), short(printable(u.Reason), reasonWidth))
	}
	return tw.Flush()
}

// sizeOf is a number of bytes, as people read it.
func sizeOf(n int64) string {
	switch {
	case n < 0:
		return "-"
	case n < 1<<10:
		return strconv.FormatInt(n, 10) + " B"
	}
	v, unit := float64(n)/(1<<10), 0
	for v >= 1023.95 && unit < 4 { // which would be shown as 1024.0
		v /= 1 << 10
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGTP"[unit])
}

// short leaves out the middle of what is wider: a key begins with whose it is,
// and ends with its name.
func short(s string, width int) string {
	r := []rune(s)
	if len(r) <= width {
		return s
	}
	end := (width - 1) / 2
	return string(r[:width-1-end]) + "…" + string(r[len(r)-end:])
}

// printable keeps what devices chose from doing things to the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}
