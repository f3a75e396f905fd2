package uploads

import (
	"context"
	"encoding/json"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// Event is a message of the server.
type Event struct {
	Topic   string
	Payload []byte
}

// Events publishes events of the server, in their order. It returns when those
// who must get them have them, and what it publishes again after an error may
// come twice. An *iot.Error says that one of them will never be taken.
type Events interface {
	Publish(ctx context.Context, list ...Event) error
}

// Config is what a Ledger needs.
type Config struct {
	Store    Store
	Events   Events
	Keep     time.Duration // how long records are kept; 0 means for ever
	PerThing int64         // how many of each thing are kept; 0 means all
	Max      int64         // how many are kept; 0 means all
	Now      func() time.Time
	Log      *slog.Logger
}

// Ledger keeps the records, and publishes an event for each.
type Ledger struct {
	cfg     Config
	inbox   inbox
	wake    chan struct{}      // there are records whose event was not published
	stop    context.CancelFunc // set by Start
	running sync.WaitGroup
}

const (
	pruneEvery = time.Minute
	pruneBatch = 1000 // and so how long other writers wait
	eventBatch = 100
	noteEvery  = time.Second / 2
	retryEvery = 5 * time.Second // what the database or the broker refused

	defaultPage = 100
	maxPage     = 1000
)

// New returns a ledger that is to be started.
func New(cfg Config) *Ledger {
	l := &Ledger{cfg: cfg, wake: make(chan struct{}, 1), stop: func() {}}
	l.inbox.init()
	return l
}

// Start has the ledger run until it is closed.
func (l *Ledger) Start(ctx context.Context) {
	ctx, l.stop = context.WithCancel(context.WithoutCancel(ctx))
	l.running.Go(func() { l.keepInbox(ctx) })
	l.running.Go(func() { l.announce(ctx) })
	l.running.Go(func() { l.prune(ctx) })
}

// Close keeps what it was told of, and returns when nothing runs any more. It is idempotent.
func (l *Ledger) Close() error {
	l.inbox.close()
	l.stop()
	l.running.Wait()
	return nil
}

// Invalidate hears that there are new records.
func (l *Ledger) Invalidate(c iot.Change) {
	if c.Kind != iot.ChangeUpload {
		return
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// List returns a page of records, the newest first, and the token of the next
// one, "" for none. Limit 0 means 100.
func (l *Ledger) List(ctx context.Context, q Query, token string) (page []Record, next string, err error) {
	if token != "" {
		if q.Before, err = strconv.ParseInt(token, 10, 64); err != nil || q.Before <= 0 {
			return nil, "", iot.Errorf(iot.KindInvalid, "token", "the token is not one that was given out")
		}
	}
	switch {
	case q.Status != "" && q.Status != Completed && q.Status != Failed:
		return nil, "", iot.Errorf(iot.KindInvalid, "status", "the status is completed or failed")
	case q.Limit < 0 || q.Limit > maxPage:
		return nil, "", iot.Errorf(iot.KindInvalid, "limit", "the limit is at most %d", maxPage)
	case !q.Since.IsZero() && !q.Until.IsZero() && !q.Since.Before(q.Until):
		return nil, "", iot.Errorf(iot.KindInvalid, "until", "until is not after since")
	case q.Limit == 0:
		q.Limit = defaultPage
	}
	limit := q.Limit
	q.Limit++
	if page, err = l.cfg.Store.List(ctx, q); err != nil {
		return nil, "", err
	}
	if len(page) > limit {
		page = page[:limit]
		next = strconv.FormatInt(page[limit-1].Number, 10)
	}
	return page, next, nil
}

// announce publishes the events of new records, until ctx ends. How far it came
// is noted now and then: each note is a commit, which those who wait for their
// records would wait for too.
func (l *Ledger) announce(ctx context.Context) {
	again := time.NewTimer(0) // there may be some of an earlier process
	defer again.Stop()
	note := time.NewTimer(noteEvery)
	defer note.Stop()
	due := true
	var last, noted int64 // the numbers of records
	for {
		select {
		case <-ctx.Done():
			l.note(context.WithoutCancel(ctx), last, noted)
			return
		case <-l.wake:
		case <-again.C:
		case <-note.C:
			due, noted = false, l.note(ctx, last, noted)
		}
		if err := l.announceNew(ctx, &last); err != nil && ctx.Err() == nil {
			l.cfg.Log.WarnContext(ctx, "events of uploads wait", slog.Any("error", err))
			again.Reset(retryEvery)
		}
		if last > noted && !due {
			due = true
			note.Reset(noteEvery)
		}
	}
}

// note keeps how far events were published, and returns how far that is kept.
func (l *Ledger) note(ctx context.Context, last, noted int64) int64 {
	if last <= noted {
		return noted
	}
	if err := l.cfg.Store.Announced(ctx, last); err != nil {
		l.cfg.Log.WarnContext(ctx, "events of uploads may come again", slog.Any("error", err))
		return noted
	}
	return last
}

// announceNew publishes the events of records after the last one, in their
// order. After a crash the last events come again.
func (l *Ledger) announceNew(ctx context.Context, last *int64) error {
	for {
		list, err := l.cfg.Store.Unannounced(ctx, *last, eventBatch)
		if err != nil || len(list) == 0 {
			return err
		}
		if err := l.publish(ctx, list); err != nil {
			return err
		}
		*last = list[len(list)-1].Number
	}
}

// EventTopics is what the topics of events begin with; status and thing follow.
const EventTopics = "$sekisho/events/uploads/"

// noThing stands in a topic for the thing of a session that has none.
const noThing = "-"

// publish publishes the events of records. All at once, since those who must
// get one may have to write it down.
func (l *Ledger) publish(ctx context.Context, list []Record) error {
	events := make([]Event, len(list))
	for i := range list {
		thing := list[i].Thing
		if thing == "" {
			thing = noThing
		}
		payload, err := json.Marshal(&list[i])
		if err != nil {
			return err
		}
		events[i] = Event{EventTopics + string(list[i].Status) + "/" + thing, payload}
	}
	err := l.cfg.Events.Publish(ctx, events...)
	if _, never := iotError(err); !never {
		return err
	}
	for i := range events {
		err := l.cfg.Events.Publish(ctx, events[i])
		if _, never := iotError(err); never {
			l.cfg.Log.ErrorContext(ctx, "an event of an upload was not published", slog.Int64("number", list[i].Number), slog.Any("error", err))
		} else if err != nil {
			return err
		}
	}
	return nil
}

// prune removes old records, until ctx ends.
func (l *Ledger) prune(ctx context.Context) {
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := l.Prune(ctx); err != nil && ctx.Err() == nil {
			l.cfg.Log.WarnContext(ctx, "old records of uploads stay behind", slog.Any("error", err))
		}
	}
}

// Prune removes the records that are too old or too many.
func (l *Ledger) Prune(ctx context.Context) error {
	r := Retention{PerThing: l.cfg.PerThing, All: l.cfg.Max}
	if l.cfg.Keep > 0 {
		r.Since = l.cfg.Now().Add(-l.cfg.Keep)
	}
	for ctx.Err() == nil {
		n, err := l.cfg.Store.Prune(ctx, r, pruneBatch)
		if err != nil || n == 0 {
			return err
		}
	}
	return ctx.Err()
}
