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
func (e *events) Publish(_ context.Context, list ...uploads.Event) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fail != nil {
		return e.fail
	}
	for _, x := range list {
		if strings.HasSuffix(x.Topic, "/never") {
			return iot.Errorf(iot.KindInvalid, "topic", "no")
		}
		if !json.Valid(x.Payload) {
			return errors.New("not JSON")
		}
	}
	for _, x := range list {
		e.topics = append(e.topics, x.Topic)
		e.more <- struct{}{}
	}
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

	// One that ends in peace says nothing twice.
	if err := errors.Join(l.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
	db = openDB(t, path, &l)
	l = newLedger(db, e, &log, time.Now)
	l.Message(message("more"))
	l.Start(t.Context())
	defer l.Close() //nolint:errcheck // it has none
	if topics := e.wait(t, 1); len(topics) != 22 {
		t.Errorf("%d events, want 22", len(topics))
	}
}

// An event that nobody takes holds no other up.
func TestLedgerLeavesOut(t *testing.T) {
	t.Parallel()
	var l *uploads.Ledger
	var log strings.Builder
	e := &events{more: make(chan struct{}, 99)}
	db := openDB(t, filepath.Join(t.TempDir(), "db"), &l)
	l = newLedger(db, e, &log, time.Now)
	for _, thing := range []string{"a", "never", "b"} {
		m := message(thing)
		m.Thing = thing
		l.Message(m)
	}
	l.Start(t.Context())
	topics := e.wait(t, 2)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if want := []string{"$sekisho/events/uploads/completed/a", "$sekisho/events/uploads/completed/b"}; !slices.Equal(topics, want) {
		t.Errorf("published %q", topics)
	}
	if !strings.Contains(log.String(), "was not published") {
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

// What comes faster than it can be kept is refused where somebody waits, and
// else dropped, which is told; one device does not use up the room of others.
func TestLedgerFloods(t *testing.T) {
	t.Parallel()
	var l *uploads.Ledger
	var log strings.Builder
	db := openDB(t, filepath.Join(t.TempDir(), "db"), &l)
	l = newLedger(db, &events{more: make(chan struct{}, 9999)}, &log, time.Now)
	answers := make(chan error, 9999)
	flood := func(certificate string, n int, done func(error)) {
		for range n { // nothing takes them yet
			big := message("big")
			big.Certificate, big.Done = iot.CertificateID(certificate), done
			big.Payload = []byte(`{"type":"file_content","content":"` + base64.StdEncoding.EncodeToString(make([]byte, 96<<10)) + `"}`)
			l.Message(big)
		}
	}
	flood("a", 100, func(err error) { answers <- err })
	refused := len(answers)
	if refused < 30 || refused > 50 {
		t.Errorf("%d of 100 of one device were refused", refused)
	}
	for range refused {
		if err := <-answers; !iot.IsKind(err, iot.KindBusy) {
			t.Errorf("refused by %v", err)
		}
	}
	flood("b", 60, func(err error) { answers <- err })
	if len(answers) > 0 {
		t.Errorf("%d of another were refused", len(answers))
	}
	flood("c", 100, nil)
	for i := range 100 {
		flood(fmt.Sprint(i), 10, nil)
	}
	l.Start(t.Context())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	page, _, err := l.List(t.Context(), uploads.Query{Limit: 1000}, "")
	if err != nil || len(page) < 200 || len(page) > 270 {
		t.Errorf("%d were kept, %v", len(page), err)
	}
	if len(answers) != 160-refused {
		t.Errorf("%d were answered, want %d", len(answers), 160-refused)
	}
	for range len(answers) {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	for _, want := range []string{fmt.Sprintf("records=%d", 1260-refused-len(page)), fmt.Sprintf("messages=%d", refused)} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %s: %s", want, log.String())
		}
	}
}

// faulty is a store that refuses some records.
type faulty struct {
	uploads.Store
	added chan []string // the names of each batch
}

// Add implements uploads.Store.
func (s *faulty) Add(ctx context.Context, list []uploads.Record) error {
	var names []string
	for i := range list {
		names = append(names, list[i].Name)
	}
	s.added <- names
	if slices.Contains(names, "poison") {
		return errors.New("the database does not take it")
	}
	return s.Store.Add(ctx, list)
}

// Who waits is answered when the record is kept, all of a batch at once, and
// one that cannot be kept takes no other with it.
func TestLedgerAnswers(t *testing.T) {
	t.Parallel()
	var l *uploads.Ledger
	var log strings.Builder
	db := openDB(t, filepath.Join(t.TempDir(), "db"), &l)
	s := &faulty{Store: db.Uploads(), added: make(chan []string, 99)}
	l = uploads.New(uploads.Config{Store: s, Events: &events{more: make(chan struct{}, 99)}, Now: time.Now, Log: slog.New(slog.NewTextHandler(&log, nil))})
	answers := make(chan string, 9)
	tell := func(name, payload string) {
		m := message(name)
		if payload != "" {
			m.Payload = []byte(payload)
		}
		m.Done = func(err error) {
			page, _, e := l.List(t.Context(), uploads.Query{}, "")
			kept := slices.ContainsFunc(page, func(r uploads.Record) bool { return r.Name == name })
			answers <- fmt.Sprintf("%s: kept %t, %v", name, kept, errors.Join(err, e))
		}
		l.Message(m)
	}
	wants := func(want ...string) {
		t.Helper()
		var got []string
		for range want {
			select {
			case a := <-answers:
				got = append(got, a)
			case <-time.After(10 * time.Second):
				t.Fatalf("only %q were answered", got)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("answered %q, want %q", got, want)
		}
	}
	tell("no file", `{"type":"s3_url"}`)
	wants("no file: kept false, <nil>") // at once
	tell("good 1", "")
	tell("poison", "")
	tell("nor is this", `{"type":"other","name":"file_content"}`)
	tell("good 2", `{"t\u0079pe":"file\u005fcontent","content":"","name":"good 2"}`)
	l.Start(t.Context())
	wants("good 1: kept true, <nil>", "good 2: kept true, <nil>", "nor is this: kept false, <nil>", "poison: kept false, the database does not take it")
	if first := <-s.added; len(first) != 3 {
		t.Errorf("the first batch is %q", first)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	tell("late", "")
	wants("late: kept false, the ledger is closed")
	if n := strings.Count(log.String(), "could not be kept"); n != 1 || !strings.Contains(log.String(), "records=1") {
		t.Error(log.String())
	}
}

// What is read the short way is what JSON means.
func FuzzContent(f *testing.F) {
	for _, s := range []string{
		`{"type":"file_content","content":"aGVsbG8=","name":"a"}`, `{"content":"aGVsbG8=","Content":""}`, `{"content":"aGVsbG8=","content":null}`,
		`{"content":"aGVsbG8=","content":"aGk="}`, `{"a":{"content":"aGVsbG8="},"content":"aGk="}`, `{"a\"content":"aGVsbG8="}`, `{"a":"\\\"content\":\"aGVsbG8="}`,
		`{"a":"\\","content":"aGVsbG8="}`, `{"content":"aGVs` + "\n" + `bG8="}`, `{"content":"aGVs\nbG8="}`, `{"content":"aGVs\u0062G8="}`, ` { "content" : "aGVsbG8=" } x`,
		`["content":"aGVsbG8="]`, `[{"content":"aGVsbG8="}]`, `{"content":["aGVsbG8="]}`, `{"a":"{","content":"aGVsbG8="}`, `{"a":"content","content":"aGk="}`, `{"content":"*"}`, `{"content":""`,
		`{"a":"content":"aGk="}`, `}{{"content":"aGk="}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		short, long, ok, garbled := uploads.ContentOf(payload)
		if ok && !garbled && string(short) != string(long) {
			t.Errorf("%q, want %q", short, long)
		}
	})
}

// What devices say bounds nothing and breaks nothing.
func FuzzMessage(f *testing.F) {
	f.Add([]byte(`{"type":"file_content","content":"aGVsbG8=","name":"a","size":5,"sha256":"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824","uploadId":"u"}`))
	f.Add([]byte(`{"type":"file_content","content":"*","size":-1}`))
	f.Add([]byte(`{"type":"upload_failed","name":"a\u0000","size":-7,"thing":"t","uploadId":"u\u0000","reason":"` + strings.Repeat("ü", 600) + `"}`))
	f.Add([]byte(`{"type":"file_content","name":"\ud800` + strings.Repeat("x", 2000) + `"}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		m := &uploads.Message{Payload: payload}
		if r, ok := uploads.FailureOf(m); ok {
			if len(r.Name)+len(r.Reason) > 2*maxWords || len(r.UploadID) > 128 || r.Size < -1 || r.Status != uploads.Failed || strings.Contains(r.Name+r.Reason+r.UploadID, "\x00") {
				t.Errorf("%+v", r)
			}
		}
		r, ok := uploads.RecordOf(m)
		if !ok {
			return
		}
		if len(r.Name) > maxWords || len(r.UploadID) > 128 || r.Size < -1 || r.Status == uploads.Completed && len(r.SHA256) != 64 || strings.Contains(r.Name+r.UploadID, "\x00") {
			t.Errorf("%+v", r)
		}
	})
}

// maxWords is how much is kept of what a device says, where what is no UTF-8 was replaced.
const maxWords = 512 * 3

// BenchmarkLedger keeps messages with files of 20 KiB, 16 at a time.
func BenchmarkLedger(b *testing.B) {
	var l *uploads.Ledger
	db, err := sqlstore.Open(b.Context(), sqlstore.Config{Path: filepath.Join(b.TempDir(), "db"), OnChange: func(c iot.Change) { l.Invalidate(c) }})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // nothing is left to do
	l = uploads.New(uploads.Config{Store: db.Uploads(), Events: quiet{}, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	l.Start(b.Context())
	defer l.Close() //nolint:errcheck // it has none
	content := base64.StdEncoding.EncodeToString(make([]byte, 20<<10))
	free := make(chan error, 16)
	for range cap(free) {
		free <- nil
	}
	for n := 0; b.Loop(); n++ {
		if err := <-free; err != nil {
			b.Fatal(err)
		}
		m := message("")
		m.Payload = fmt.Appendf(nil, `{"type":"file_content","content":"%s","name":"f.bin","size":20480,"uploadId":"%d"}`, content, n)
		m.Done = func(err error) { free <- err }
		l.Message(m)
	}
	for range cap(free) {
		if err := <-free; err != nil {
			b.Error(err)
		}
	}
}

// quiet takes every event.
type quiet struct{}

// Publish implements uploads.Events.
func (quiet) Publish(context.Context, ...uploads.Event) error { return nil }
