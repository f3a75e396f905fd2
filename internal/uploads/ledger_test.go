package uploads_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/sqlstore"
	"github.com/sekisho-iot/sekisho/internal/uploads"
)

// events are those that were published; failing ones are refused.
type events struct {
	mu     sync.Mutex // guards the fields below
	topics []string
	fail   error
	more   chan struct{}
}

// Publish implements uploads.Events.
func (e *events) Publish(_ context.Context, topic string, payload []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fail != nil {
		return e.fail
	}
	if !json.Valid(payload) {
		return errors.New("not JSON")
	}
	e.topics = append(e.topics, topic)
	e.more <- struct{}{}
	return nil
}

func (e *events) wait(t *testing.T, n int) []string {
	t.Helper()
	for range n {
		select {
		case <-e.more:
		case <-time.After(10 * time.Second):
			t.Fatal("an event is missing")
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.topics)
}

func openDB(t *testing.T, path string, l **uploads.Ledger) *sqlstore.DB {
	t.Helper()
	db, err := sqlstore.Open(t.Context(), sqlstore.Config{Path: path, OnChange: func(c iot.Change) { (*l).Invalidate(c) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func newLedger(db *sqlstore.DB, e *events, log *strings.Builder, now func() time.Time) *uploads.Ledger {
	return uploads.New(uploads.Config{
		Store: db.Uploads(), Events: e, Keep: time.Hour, Max: 3, Now: now, Log: slog.New(slog.NewTextHandler(log, nil)),
	})
}

func message(name string) *uploads.Message {
	return &uploads.Message{
		Topic: "file/upload", Thing: "pump", Certificate: "c",
		Payload: []byte(`{"type":"file_content","content":"aGVsbG8=","name":"` + name + `"}`),
	}
}

// What was heard of is kept when the ledger ends, and its event comes, if late.
func TestLedgerOutlivesItsProcess(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "db")
	var l *uploads.Ledger
	var log strings.Builder
	e := &events{more: make(chan struct{}, 99), fail: errors.New("closed")}
	db := openDB(t, path, &l)
	l = newLedger(db, e, &log, time.Now)
	l.Start(t.Context())
	for i := range 20 {
		l.Message(message(fmt.Sprint(i)))
	}
	l.Failed(uploads.Record{Thing: "", Certificate: "c", Bucket: "b", Key: "k", Started: time.Now()}, errors.New("a secret of the machine"))
	if err := errors.Join(l.Close(), l.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
	l.Message(message("too late")) // and must not panic

	e.fail = nil
	db = openDB(t, path, &l)
	l = newLedger(db, e, &log, time.Now)
	l.Start(t.Context())
	defer l.Close() //nolint:errcheck // it has none
	topics := e.wait(t, 21)
	if topics[0] != "$sekisho/events/uploads/completed/pump" || topics[20] != "$sekisho/events/uploads/failed/-" {
		t.Errorf("events: %v", topics)
	}
	page, next, err := l.List(t.Context(), uploads.Query{Limit: 20}, "")
	if err != nil || len(page) != 20 || next == "" || page[0].Reason != "the server failed" || page[0].Status != uploads.Failed {
		t.Errorf("%+v, %q, %v", page, next, err)
	}
	if page, next, err = l.List(t.Context(), uploads.Query{}, next); err != nil || len(page) != 1 || next != "" || page[0].Name != "0" {
		t.Errorf("%+v, %q, %v", page, next, err)
	}
	if strings.Contains(log.String(), "missing from the ledger") {
		t.Error(log.String())
	}
}

// A ledger grows neither old nor large.
func TestLedgerPrunes(t *testing.T) {
	t.Parallel()
	now := time.Now()
	var l *uploads.Ledger
	var log strings.Builder
	e := &events{more: make(chan struct{}, 99)}
	db := openDB(t, filepath.Join(t.TempDir(), "db"), &l)
	l = newLedger(db, e, &log, func() time.Time { return now })
	l.Start(t.Context())
	defer l.Close() //nolint:errcheck // it has none
	for i := range 5 {
		l.Message(message(fmt.Sprint(i)))
	}
	e.wait(t, 5)
	count := func() int {
		if err := l.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		page, _, err := l.List(t.Context(), uploads.Query{}, "")
		if err != nil {
			t.Fatal(err)
		}
		return len(page)
	}
	if n := count(); n != 3 {
		t.Errorf("%d are left of 5, with 3 to be kept", n)
	}
	now = now.Add(time.Hour + time.Second)
	if n := count(); n != 0 {
		t.Errorf("%d are left after their time", n)
	}
}

// What comes faster than it can be kept is dropped, which is told.
func TestLedgerFloods(t *testing.T) {
	t.Parallel()
	var l *uploads.Ledger
	var log strings.Builder
	db := openDB(t, filepath.Join(t.TempDir(), "db"), &l)
	l = newLedger(db, &events{more: make(chan struct{}, 9999)}, &log, time.Now)
	big := message("big")
	big.Payload = []byte(`{"type":"file_content","content":"` + base64.StdEncoding.EncodeToString(make([]byte, 96<<10)) + `"}`)
	for range 300 { // nothing takes them yet
		l.Message(big)
	}
	l.Start(t.Context())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	page, _, err := l.List(t.Context(), uploads.Query{Limit: 1000}, "")
	if err != nil || len(page) < 200 || len(page) > 270 {
		t.Errorf("%d were kept, %v", len(page), err)
	}
	if !strings.Contains(log.String(), fmt.Sprintf("records=%d", 300-len(page))) {
		t.Errorf("the log does not say that %d are missing: %s", 300-len(page), log.String())
	}
}

// What devices say bounds nothing and breaks nothing.
func FuzzMessage(f *testing.F) {
	f.Add([]byte(`{"type":"file_content","content":"aGVsbG8=","name":"a","size":5,"sha256":"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824","uploadId":"u"}`))
	f.Add([]byte(`{"type":"file_content","content":"*","size":-1}`))
	f.Add([]byte(`{"type":"file_content","name":"\ud800` + strings.Repeat("x", 2000) + `"}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		m := &uploads.Message{Payload: payload}
		r, ok := uploads.RecordOf(m)
		if !ok {
			return
		}
		if len(r.Name) > 1100 || len(r.UploadID) > 128 || r.Size < 0 || r.Status == uploads.Completed && len(r.SHA256) != 64 {
			t.Errorf("%+v", r)
		}
	})
}
