package upload

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sekisho-iot/sekisho/internal/agent/notify"
	"github.com/sekisho-iot/sekisho/internal/agent/spool"
)

const (
	firstWait   = 500 * time.Millisecond
	longestWait = time.Minute
	heldMax     = 16 // transfers that stay open, with what is known of their bytes, while they wait

	// messagesAtOnce are under way at once: enough for the server to make many of
	// them durable by one write, and few enough for a small device's memory.
	messagesAtOnce = 16
)

// Publisher publishes a message and returns when it is acknowledged.
type Publisher interface {
	Publish(ctx context.Context, topic string, payload []byte) error
}

// Options are what an Agent works with.
type Options struct {
	Settings  Settings
	Spool     *spool.Spool
	S3        *s3.Client
	Publisher Publisher
	// Invalidate is called when S3 refuses the credentials, so that others are fetched.
	Invalidate func()
	// Permanent reports whether an error of the credentials' source is one that
	// trying again does not change.
	Permanent func(error) bool
	// Tell is told of events, from several goroutines.
	Tell func(Event)
	Now  func() time.Time
}

// Agent uploads what is in a spool.
type Agent struct {
	Options

	settings *Settings
	spool    *spool.Spool
	s3       *s3.Client
	slots    chan struct{} // one for each request to S3 at once
	buffers  chan []byte   // for messages that hold a file
}

// New makes an agent.
func New(o Options) *Agent {
	return &Agent{
		Options: o, settings: &o.Settings, spool: o.Spool, s3: o.S3,
		slots: make(chan struct{}, o.Settings.Concurrency), buffers: make(chan []byte, messagesAtOnce),
	}
}

func (a *Agent) tell(e Event) { a.Tell(e) }

func (a *Agent) acquire(ctx context.Context) bool {
	select {
	case a.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (a *Agent) release() { <-a.slots }

// request makes one request to S3 when it is its turn.
func (a *Agent) request(ctx context.Context, do func(context.Context) error) error {
	if !a.acquire(ctx) {
		return ctx.Err()
	}
	defer a.release()
	return do(ctx)
}

func (a *Agent) publish(ctx context.Context, topic string, payload []byte) error {
	ctx, cancel := context.WithTimeout(ctx, min(noticeTimeout, a.settings.GiveUpAfter))
	defer cancel()
	return a.Publisher.Publish(ctx, topic, payload)
}

// File is a file to accept.
type File struct {
	Path   string
	Name   string // default: the path's last element
	Delete bool   // when it has arrived
	Keep   bool   // remember that it has
}

// Accept takes files into the spool. One that is there already, unchanged, goes
// on where it is. A file that cannot be accepted is among the errors.
func (a *Agent) Accept(files []File) ([]spool.Record, []error) {
	var records, fresh []spool.Record
	var problems []error
	taken := map[string]bool{}
	for _, f := range files {
		r, known, err := a.record(f)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		if taken[r.Path] {
			continue
		}
		taken[r.Path] = true
		if !known {
			fresh = append(fresh, r)
		}
		records = append(records, r)
	}
	if err := a.spool.Accept(fresh...); err != nil {
		return nil, append(problems, err)
	}
	for i := range fresh {
		a.tell(Event{Kind: Accepted, Record: fresh[i], Total: fresh[i].Size})
	}
	return records, problems
}

func (a *Agent) record(f File) (_ spool.Record, known bool, err error) {
	path, err := filepath.Abs(f.Path)
	if err != nil {
		return spool.Record{}, false, err
	}
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = &os.PathError{Op: "open", Path: path, Err: errNotRegular}
	}
	if err != nil {
		return spool.Record{}, false, err
	}
	if r, ok := a.spool.Find(path); ok && r.State != spool.Done && r.State != spool.Failed && r.Same(info.Size(), info.ModTime()) {
		return r, true, nil
	}
	r := spool.Record{
		ID: newID(), Path: path, Name: cmp.Or(f.Name, filepath.Base(path)), Size: info.Size(), ModTime: info.ModTime(),
		Accepted: a.Now(), State: spool.Pending, Bucket: a.settings.Bucket, Delete: f.Delete, Keep: f.Keep,
	}
	if !utf8.ValidString(r.Path) {
		return r, false, notUTF8(path)
	}
	if r.Key, err = a.settings.key(&r); err != nil {
		return r, false, fmt.Errorf("%s: %w", path, err)
	}
	return r, false, nil
}

func newID() string {
	id := make([]byte, 16)
	_, _ = rand.Read(id)
	return hex.EncodeToString(id)
}

// Run uploads what is in the spool, and what comes from more, until there is
// nothing left and more is closed or nil. It returns how many files failed.
func (a *Agent) Run(ctx context.Context, more <-chan spool.Record) (failed int, err error) {
	w := &work{a: a, finished: make(chan result), known: map[string]bool{}}
	w.lanes[messages].limit, w.lanes[objects].limit = messagesAtOnce, a.settings.Concurrency
	for _, r := range a.spool.Records() {
		w.add(&r)
	}
	defer w.drain()
	for {
		w.start(ctx)
		if more == nil && w.idle() {
			return w.failed, nil
		}
		timer := time.NewTimer(w.untilNext(a.Now()))
		select {
		case r, ok := <-more:
			if ok {
				w.add(&r)
			} else {
				more = nil
			}
		case res := <-w.finished:
			w.lanes[res.lane].running--
			w.judge(ctx, res)
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return w.failed, ctx.Err()
		}
		timer.Stop()
	}
}

type result struct {
	t    *transfer
	lane int
	err  error
}

// The lanes: what takes a message alone does not wait for large files, nor the
// other way round.
const (
	messages = iota
	objects
)

// lane is transfers of one kind.
type lane struct {
	ready          []*transfer
	running, limit int
}

// work is what Run has to do. Its goroutine alone touches it.
type work struct {
	a        *Agent
	lanes    [2]lane
	waiting  []waiting
	finished chan result
	known    map[string]bool // IDs
	failed   int
}

type waiting struct {
	t     *transfer
	until time.Time
}

func (w *work) add(r *spool.Record) {
	if w.known[r.ID] {
		return
	}
	w.known[r.ID] = true
	t := &transfer{a: w.a, record: *r}
	if !w.a.settings.Persist {
		t.record.FailingSince = time.Time{} // each run has a budget of its own
	}
	l := &w.lanes[t.lane()]
	at, _ := slices.BinarySearchFunc(l.ready, t, func(a, b *transfer) int {
		c := a.record.ModTime.Compare(b.record.ModTime)
		if w.a.settings.NewestFirst {
			c = -c
		}
		return cmp.Or(c, cmp.Compare(a.record.Path, b.record.Path))
	})
	l.ready = slices.Insert(l.ready, at, t)
}

func (w *work) idle() bool {
	n := len(w.waiting)
	for _, l := range w.lanes {
		n += len(l.ready) + l.running
	}
	return n == 0
}

// lane is where a transfer belongs as it is now.
func (t *transfer) lane() int {
	if t.record.State == spool.Pending && t.record.Size > t.a.settings.InlineMax {
		return objects
	}
	return messages
}

// start begins what may be: first what waited for another attempt and is due.
func (w *work) start(ctx context.Context) {
	now := w.a.Now()
	w.waiting = slices.DeleteFunc(w.waiting, func(x waiting) bool {
		l := &w.lanes[x.t.lane()]
		due := !x.until.After(now) && l.running < l.limit
		if due {
			w.begin(ctx, x.t)
		}
		return due
	})
	for i := range w.lanes {
		l := &w.lanes[i]
		for l.running < l.limit && len(l.ready) > 0 {
			t := l.ready[0]
			l.ready = l.ready[1:]
			w.begin(ctx, t)
		}
	}
}

func (w *work) begin(ctx context.Context, t *transfer) {
	lane := t.lane()
	w.lanes[lane].running++
	go func() {
		var err error
		if t.record.State == spool.Failed {
			err = t.tellFailure(ctx)
		} else {
			err = t.attempt(ctx)
		}
		w.finished <- result{t, lane, err}
	}()
}

// drain waits for what still runs.
func (w *work) drain() {
	for running := w.lanes[messages].running + w.lanes[objects].running; running > 0; running-- {
		res := <-w.finished
		res.t.drop()
	}
	for _, x := range w.waiting {
		x.t.drop()
	}
}

// untilNext is the time until one that waits may begin. Where a lane is full, it
// is the end of another that makes room.
func (w *work) untilNext(now time.Time) time.Duration {
	next := time.Hour
	for _, x := range w.waiting {
		if l := &w.lanes[x.t.lane()]; l.running < l.limit {
			next = min(next, x.until.Sub(now))
		}
	}
	return max(0, next)
}

// judge decides what follows an attempt.
func (w *work) judge(ctx context.Context, res result) {
	t, err := res.t, res.err
	w.known[t.record.ID] = true // another one, where the file has changed
	switch {
	case err == nil && t.record.State == spool.Done:
		delete(w.known, t.record.ID)
		w.a.tell(Event{Kind: Finished, Record: t.record, Sent: t.record.Size, Total: t.record.Size})
		return
	case err == nil:
		l := &w.lanes[t.lane()]
		l.ready = slices.Insert(l.ready, 0, t)
		return
	case ctx.Err() != nil:
		t.drop()
		return
	case errors.Is(err, errAgain):
		t.failures = 0
	}
	err = t.explain(err)
	if t.progress.Swap(false) {
		t.failures, t.record.FailingSince = 0, time.Time{}
	}
	t.failures++
	now := w.a.Now()
	if t.record.FailingSince.IsZero() {
		t.record.FailingSince = now
	}
	if errors.Is(err, errChanged) {
		if t.changingSince.IsZero() {
			t.changingSince = now
		}
		t.record.FailingSince = t.changingSince
	}
	wait := backoff(t.failures)
	if w.a.final(t, err) || now.Add(wait).Sub(t.record.FailingSince) > w.a.budget(t) {
		w.giveUp(t, err, now)
		return
	}
	if t.failures == 1 && w.a.settings.Persist {
		_ = t.save(false, func(*spool.Record) {}) // since when; without it the budget is longer, no more
	}
	w.a.tell(Event{Kind: Retry, Record: t.record, Sent: min(t.sent.Load(), t.record.Size), Total: t.record.Size, Wait: wait, Err: err})
	if len(w.waiting) >= heldMax {
		t.drop()
	}
	w.waiting = append(w.waiting, waiting{t, now.Add(wait)})
}

// budget is for how long a record may fail. A user does not wait as long again
// only for the failure to be told.
func (a *Agent) budget(t *transfer) time.Duration {
	if t.record.State == spool.Failed && !a.settings.Persist {
		return min(noticeTimeout, a.settings.GiveUpAfter)
	}
	return a.settings.GiveUpAfter
}

// giveUp makes a failure of a file, which is then told; or, where that fails too,
// leaves it to another run to tell.
func (w *work) giveUp(t *transfer, err error, now time.Time) {
	t.drop()
	if t.record.State == spool.Failed {
		w.a.tell(Event{Kind: Trouble, Record: t.record, Err: fmt.Errorf("the failure of %s could not be told and stays in the spool: %w", t.record.Path, err)})
		return
	}
	if t.record.State == spool.Noticed {
		w.keep(t, err)
		return
	}
	w.failed++
	w.a.tell(Event{Kind: Failed, Record: t.record, Err: err})
	if serr := t.save(true, func(r *spool.Record) { r.State, r.Reason, r.FailingSince = spool.Failed, err.Error(), time.Time{} }); serr != nil {
		w.a.tell(Event{Kind: Trouble, Record: t.record, Err: serr})
		return
	}
	t.failures = 0
	_, refused := errors.AsType[*notify.RefusedError](err)
	if refused && !w.a.settings.Persist {
		return // by the same connection there is nobody to tell
	}
	w.waiting = append(w.waiting, waiting{t, now})
}

// keep leaves a file where it is that has arrived and cannot be deleted, which is
// no failure to tell others of. It is remembered, so as not to be sent again.
func (w *work) keep(t *transfer, err error) {
	w.a.tell(Event{Kind: Trouble, Record: t.record, Err: fmt.Errorf("%s: %w", t.record.Path, err)})
	if err := t.save(true, func(r *spool.Record) { r.State, r.Keep = spool.Done, true }); err != nil {
		w.a.tell(Event{Kind: Trouble, Record: t.record, Err: err})
	}
}

// tellFailure says that a file was given up.
func (t *transfer) tellFailure(ctx context.Context) error {
	m, err := t.a.settings.failedMessage(&t.record)
	if err != nil {
		return err
	}
	t.abort(ctx)
	if err := t.a.publish(ctx, t.a.settings.FailedTopic, m); err != nil {
		return err
	}
	return t.save(false, func(r *spool.Record) { r.State = spool.Done })
}

// final reports whether trying again cannot help.
func (a *Agent) final(t *transfer, err error) bool {
	if localProblem(err) {
		return true
	}
	if status, _ := answer(err); status != 0 {
		if staleCredentials(err) && a.Invalidate != nil {
			a.Invalidate()
			t.refusals++
		}
		// Once, refused credentials may have been old ones.
		return !a.settings.Persist && permanentAnswer(status, err) && (!staleCredentials(err) || t.refusals > 1)
	}
	if a.settings.Persist {
		return false
	}
	_, refused := errors.AsType[*notify.RefusedError](err)
	return refused || a.Permanent != nil && a.Permanent(err)
}

// permanentAnswer reports whether S3 will say the same again.
func permanentAnswer(status int, err error) bool {
	_, code := answer(err)
	switch code {
	case "RequestTimeTooSkewed", "RequestTimeout", "OperationAborted", "SlowDown", "NoSuchUpload", "InvalidPart":
		return false
	case "ExpiredToken":
		return false // however often they run out
	}
	if wrongBytes(err) {
		return false
	}
	return status >= 400 && status < 500 && status != http.StatusRequestTimeout && status != http.StatusTooManyRequests && status != http.StatusConflict
}

// localProblem reports whether the device itself cannot send the file.
func localProblem(err error) bool {
	if errors.Is(err, errNotRegular) || errors.Is(err, errLocal) {
		return true
	}
	_, file := errors.AsType[*fs.PathError](err) // what networks say has another type
	return file && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission))
}

// backoff is the wait after so many failures: half of it fixed, half by chance,
// so that a fleet does not come back as one.
func backoff(failures int) time.Duration {
	d := min(firstWait<<min(failures-1, 16), longestWait)
	n, err := rand.Int(rand.Reader, big.NewInt(int64(d/2)+1))
	if err != nil {
		return d
	}
	return d/2 + time.Duration(n.Int64())
}
