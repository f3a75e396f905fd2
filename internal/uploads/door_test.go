package uploads_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/uploads"
)

// Whatever a name is, its key stays below the thing's prefix, and is what it looks like.
func FuzzDoorRequest(f *testing.F) {
	sum := strings.Repeat("ab", 32)
	for _, name := range []string{"a.jpg", "a/b c/ü.jpg", "../x", "a\\u0000b", "a//b", "/a", "..."} {
		f.Add([]byte(`{"name":"`+name+`","size":1,"sha256":"`+sum+`","parts":[{"number":1,"sha256":"`+sum+`"}]}`), "request")
	}
	f.Add([]byte(`{"name":"n","multipartId":"m","size":9}`), "complete")
	f.Fuzz(func(t *testing.T, payload []byte, verb string) {
		name, err := uploads.ReadRequest(payload, verb)
		if err != nil {
			if !iot.IsKind(err, iot.KindInvalid) && !iot.IsKind(err, iot.KindTooLarge) {
				t.Errorf("%v", err)
			}
			return
		}
		if path.Clean("pump/"+name) != "pump/"+name || !utf8.ValidString(name) || strings.ContainsAny(name, "\x00\n\r\x1b\\") {
			t.Errorf("taken: %q", name)
		}
	})
}

// slowGate keeps who enters until it is opened.
type slowGate struct{ open chan struct{} }

// Enter implements uploads.Gate.
func (g slowGate) Enter(context.Context, *uploads.Device, string) (uploads.Session, error) {
	<-g.open
	return nil, iot.Errorf(iot.KindDenied, "", "no")
}

type anyDoor struct{ uploads.DoorSetting }

// Door implements uploads.DoorStore.
func (d anyDoor) Door(context.Context) (uploads.DoorSetting, error) { return d.DoorSetting, nil }

// SetDoor implements uploads.DoorStore.
func (anyDoor) SetDoor(context.Context, uploads.DoorSetting) error { return errors.ErrUnsupported }

// One device that asks without end is told so, and others are served all the same.
func TestDeskIsFair(t *testing.T) {
	t.Parallel()
	g := slowGate{make(chan struct{})}
	var log strings.Builder
	e := &events{more: make(chan struct{}, 999)}
	d := uploads.NewDesk(uploads.DeskConfig{
		Store: anyDoor{uploads.DoorSetting{RoleAlias: "a", Bucket: "b"}}, Gate: g, Messages: e, Now: time.Now, Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	defer d.Close() //nolint:errcheck // it has none
	done := make(chan error, 999)
	ask := func(thing string) {
		d.Take(&uploads.Ask{
			Device: uploads.Device{Certificate: iot.CertificateID(thing), Thing: thing}, Topic: "$sekisho/things/" + thing + "/uploads/request",
			Payload: []byte(`{"name":"n","size":1,"sha256":"` + strings.Repeat("ab", 32) + `"}`), Done: func(err error) { done <- err },
		})
	}
	for range 50 {
		ask("greedy")
	}
	ask("modest")
	busy := len(done)
	if busy != 34 || !iot.IsKind(<-done, iot.KindBusy) {
		t.Errorf("%d of 50 were turned away", busy)
	}
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("the log says it %d times", n)
	}
	close(g.open)
	topics := e.wait(t, 17)
	if !strings.Contains(strings.Join(topics, " "), "$sekisho/things/modest/uploads/rejected") {
		t.Errorf("answered %v", topics)
	}
	for range busy - 1 + 17 {
		select {
		case err := <-done:
			if err != nil && !iot.IsKind(err, iot.KindBusy) {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("a message waits for ever")
		}
	}
	ask("greedy") // who was served may ask again
	e.wait(t, 1)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// wordyGate lets everybody in, and its URLs are long.
type wordyGate struct{ uploads.Session }

// Enter implements uploads.Gate.
func (g wordyGate) Enter(context.Context, *uploads.Device, string) (uploads.Session, error) {
	return g, nil
}

// Create implements uploads.Session.
func (wordyGate) Create(context.Context, *uploads.Object, map[string]string) (string, error) {
	return "m", nil
}

// URL implements uploads.Session.
func (wordyGate) URL(context.Context, *uploads.Put) (string, map[string]string, error) {
	return "https://x/?" + strings.Repeat("&a=b", 1200), nil, nil
}

// replies are those that were published.
type replies chan string

// Publish implements uploads.Events.
func (r replies) Publish(_ context.Context, list ...uploads.Event) error {
	for _, e := range list {
		r <- e.Topic + " " + string(e.Payload)
	}
	return nil
}

// An answer fits into a message, with as many parts as it may have.
func TestDeskFits(t *testing.T) {
	t.Parallel()
	sum := strings.Repeat("ab", 32)
	var parts []string
	for i := range 32 {
		parts = append(parts, fmt.Sprintf(`{"number":%d,"sha256":%q}`, i+1, sum))
	}
	for _, c := range []struct {
		limit, parts int
		topic        string
	}{{0, 32, "accepted"}, {128 << 10, 16, "accepted"}, {12_000, 2, "accepted"}, {6_000, 1, "accepted"}, {1000, 0, "rejected"}} {
		e := make(replies, 1)
		d := uploads.NewDesk(uploads.DeskConfig{
			Store: anyDoor{uploads.DoorSetting{RoleAlias: "a", Bucket: "b"}}, Gate: wordyGate{}, Messages: e, MaxReply: c.limit,
			Now: time.Now, Log: slog.New(slog.DiscardHandler),
		})
		d.Take(&uploads.Ask{
			Device: uploads.Device{Certificate: "c", Thing: "pump"}, Topic: "$sekisho/things/pump/uploads/request",
			Payload: []byte(`{"name":"n","size":9999999999,"sha256":"` + sum + `","parts":[` + strings.Join(parts, ",") + `]}`),
		})
		topic, payload, _ := strings.Cut(<-e, " ")
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(payload, `"number"`); n != c.parts || !strings.HasSuffix(topic, "/"+c.topic) || c.limit > 0 && len(payload) > c.limit {
			t.Errorf("of %d: %d bytes with %d parts on %s", c.limit, len(payload), n, topic)
		}
		if c.parts == 0 && !strings.Contains(payload, `"code":"TooLarge"`) {
			t.Error(payload)
		}
	}
}
