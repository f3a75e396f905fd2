package device

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/sekisho-iot/sekisho/cmd/internal/cli"
	"github.com/sekisho-iot/sekisho/internal/agent/spool"
	agent "github.com/sekisho-iot/sekisho/internal/agent/upload"
)

const uploadHelp = `Sends files: up to --inline-max bytes inside an MQTT message, larger ones to S3,
followed by a message that names the object. Both go to --topic with QoS 1:

    {"type":"file_content","content":BASE64,"name":…,"size":…,"sha256":…,"thing":…,"uploadId":…}
    {"type":"s3_url","url":…,"name":…,"size":…,"sha256":…,"thing":…,"uploadId":…}

What is accepted stands in a spool on disk until its message is acknowledged. A run
that is killed is taken up by the next one, with or without the same files named,
from the bytes that the server has. A file that cannot be sent is told to --failed-topic:

    {"type":"upload_failed","name":…,"size":…,"thing":…,"uploadId":…,"reason":…}

The device needs iot:Connect as its thing's name and iot:Publish to both topics; its
role s3:PutObject, s3:AbortMultipartUpload and s3:ListMultipartUploadParts.

Exit codes: 0 all files arrived and their messages are acknowledged, 1 some did not
(standard error says why), 2 usage.`

const watchHelp = `Sends what is in a folder and below it, and what comes into it, as ` + "`upload`" + ` does; until
it is stopped, which it may be at any time. A file is taken when it has not changed
for --settle. Names that begin with a dot, or end in .tmp, .part, .partial or ~, are not
taken: a program that writes under such a name and renames the file is safe whatever
it takes. A key's {name} is the path below the folder.

A file that was sent is sent again when it changes. Where the server refuses
something, it is tried again until --give-up-after, as somebody may mend it.

Exit codes: 0 stopped, 1 it cannot go on (standard error says why), 2 usage.`

const watchGiveUp = 7 * 24 * time.Hour

func upload(ctx context.Context, t *cli.Terminal, args []string) error {
	fs := cli.NewFlags(t, "upload", "FILE…", uploadHelp)
	var f agentFlags
	f.add(fs)
	if err := fs.ParseList(args); err != nil {
		return err
	}
	p := newPrinter(t, time.Now)
	a, err := f.build(ctx, t, p.tell)
	if err != nil {
		return err
	}
	defer a.close(ctx)
	defer p.finish()
	if fs.NArg() == 0 && len(a.spool.Records()) == 0 {
		return cli.Usagef("an argument is missing: the files to send (none wait in the spool)")
	}
	files := make([]agent.File, 0, fs.NArg())
	for _, path := range fs.Args() {
		files = append(files, agent.File{Path: path})
	}
	_, problems := a.agent.Accept(files)
	for _, err := range problems {
		p.problem(err)
	}
	failed, err := a.agent.Run(ctx, nil)
	if failed += len(problems); failed > 0 && err == nil {
		return cli.ErrSaid
	}
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted: run it again to go on from here")
	}
	return err
}

func watch(ctx context.Context, t *cli.Terminal, args []string) error {
	fs := cli.NewFlags(t, "watch", "FOLDER", watchHelp)
	var f agentFlags
	var w agent.Watcher
	f.add(fs)
	f.settings.GiveUpAfter, f.settings.Persist = watchGiveUp, true
	if d := fs.Lookup("give-up-after"); d != nil {
		d.DefValue = watchGiveUp.String()
	}
	fs.BoolVar(&w.Delete, "delete-after", false, "delete a file when it has arrived and its message is acknowledged")
	fs.DurationVar(&w.Poll, "poll", time.Second, "`time` between two looks into the folder")
	fs.DurationVar(&w.Settle, "settle", 2*time.Second, "`time` for which a file must not have changed")
	if err := fs.ParseWords(args, 1); err != nil {
		return err
	}
	if w.Dir = fs.Arg(0); w.Poll <= 0 || w.Settle < 0 {
		return cli.Usagef("--poll and --settle must be times")
	}
	if info, err := os.Stat(w.Dir); err != nil {
		return err
	} else if !info.IsDir() {
		return cli.Usagef("%s is not a folder", w.Dir)
	}
	p := newPrinter(t, time.Now)
	a, err := f.build(ctx, t, p.tell)
	if err != nil {
		return err
	}
	defer a.close(ctx)
	defer p.finish()
	return watchUntil(ctx, a.agent, w)
}

// watchUntil ends when ctx does; what is on its way then is in the spool.
func watchUntil(ctx context.Context, a *agent.Agent, w agent.Watcher) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	found := make(chan spool.Record)
	ended := make(chan error, 1)
	go func() {
		_, err := a.Run(ctx, found)
		cancel()
		ended <- err
	}()
	err := a.Watch(ctx, w, found)
	cancel()
	if rerr := <-ended; !errors.Is(rerr, context.Canceled) {
		err = errors.Join(err, rerr)
	}
	if err != nil {
		return fmt.Errorf("watch %s: %w", w.Dir, err)
	}
	return nil
}
