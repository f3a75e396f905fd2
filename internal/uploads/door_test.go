package uploads_test

import (
	"context"
	"errors"
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
	e := &events{more: make(chan struct{}, 999)}
	d := uploads.NewDesk(uploads.DeskConfig{
		Store: anyDoor{uploads.DoorSetting{RoleAlias: "a", Bucket: "b"}}, Gate: g, Messages: e, Now: time.Now, Log: slog.New(slog.DiscardHandler),
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
