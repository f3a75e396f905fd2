package broker_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sekisho-iot/sekisho/internal/broker"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/mqtt"
	"github.com/sekisho-iot/sekisho/internal/queue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func store(tb testing.TB, dir string) *queue.Store {
	tb.Helper()
	s, err := queue.Open(dir, queue.Options{Fast: true})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

func with(s broker.Store) func(*broker.Config) { return func(c *broker.Config) { c.Store = s } }

// What was acknowledged before a restart is there after it: sessions,
// subscriptions, queues in order, retained messages.
func TestRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := store(t, dir)
	h := open(t, with(s))
	sub, _ := h.connect("a", "sub", true)
	if code := sub.subscribe("t/#", 1); code != uint8(mqtt.GrantedQoS1) {
		t.Fatal(code)
	}
	other, _ := h.connect("a", "other", true)
	other.subscribe("t/#", 1)
	sub.send(&mqtt.Disconnect{})
	sub.ended()
	pub, _ := h.connect("b", "pub", false)
	const n = 700
	for i := range n {
		pub.publish("t/x", strconv.Itoa(i))
	}
	pub.publish("kept", "state", func(p *mqtt.Publish) { p.Retain = true })
	for i := range n / 2 { // half of them arrive
		other.wants("t/x", strconv.Itoa(i))
	}
	h.Nudge()
	h.stop()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	h = open(t, with(store(t, dir)))
	for id, first := range map[string]int{"sub": 0, "other": n / 2} {
		c, ack := h.connect("a", id, true)
		if !ack.SessionPresent {
			t.Fatalf("the session of %s is gone", id)
		}
		for i := first; i < n; i++ {
			c.wants("t/x", strconv.Itoa(i))
		}
		c.quiet()
	}
	late, _ := h.connect("a", "late", false)
	late.id++
	late.send(&mqtt.Subscribe{ID: late.id, Subscriptions: []mqtt.Subscription{{Filter: mqtt.Filter{Text: []byte("kept")}, Options: 1}}})
	if _, ok := late.read().(*mqtt.Suback); !ok {
		t.Fatal("no SUBACK")
	}
	if p := late.receive(); string(p.Payload) != "state" || !p.Retain {
		t.Errorf("retained: %+v", p)
	}
}

// A store that is read while it is written gives each message once, in order.
func TestSpilledQueueWhileItGrows(t *testing.T) {
	t.Parallel()
	h := open(t, with(store(t, t.TempDir())))
	sub, _ := h.connect("a", "sub", true)
	sub.subscribe("t", 1)
	_ = sub.conn.Close()
	pub, _ := h.connect("b", "pub", false)
	const n = 3000
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range n {
			pub.publish("t", strconv.Itoa(i))
		}
	})
	seen := 0
	for seen < n { // come and go
		sub, _ = h.connect("a", "sub", true)
		last := min(n, seen+700)
		for seen < last {
			p := sub.receive()
			i, err := strconv.Atoi(string(p.Payload))
			if err != nil || i > seen || i < seen && !p.Dup {
				t.Fatalf("received %s (dup %v), want %d", p.Payload, p.Dup, seen)
			}
			if i == seen {
				seen++
			}
		}
		_ = sub.conn.Close()
	}
	wg.Wait()
}

// A message to several persistent sessions is kept once, and not for ever.
func TestNothingIsLeftInTheStore(t *testing.T) {
	t.Parallel()
	s := store(t, t.TempDir())
	h := open(t, with(s))
	var subs []*client
	for i := range 5 {
		c, _ := h.connect("a", fmt.Sprint("sub", i), true)
		c.subscribe("t", 1)
		subs = append(subs, c)
	}
	_ = subs[0].conn.Close()
	pub, _ := h.connect("b", "pub", false)
	for i := range 10 {
		pub.publish("t", strconv.Itoa(i))
		for _, c := range subs[1:] {
			c.wants("t", strconv.Itoa(i))
		}
	}
	for i := 1; i < 5; i++ {
		subs[i].send(&mqtt.Disconnect{})
		subs[i].ended()
	}
	h.clock.advance(2 * time.Hour) // all sessions expire, the one with a queue too
	for range 20 {
		h.Nudge()
	}
	h.stop()
	left := 0
	err := s.Scan(nil, nil, 0, func(k, _ []byte) error {
		left++
		t.Logf("left: %q", k)
		return nil
	})
	if err != nil || left > 0 {
		t.Errorf("%d entries are left: %v", left, err)
	}
}

// brokenStore fails every commit.
type brokenStore struct{ broker.Store }

func (brokenStore) Commit(_ *queue.Batch, done func(error)) { go done(errors.New("disk full")) }

func TestStoreFailureIsNoPuback(t *testing.T) {
	t.Parallel()
	h := open(t, with(brokenStore{store(t, t.TempDir())}))
	pub, _ := h.connect("b", "pub", false)
	retain := func(p *mqtt.Publish) { p.Retain = true }
	if code := pub.publish("t", "x", retain); code != uint8(mqtt.UnspecifiedError) {
		t.Errorf("PUBACK %#x", code)
	}
	old, _ := h.connect("b", "old", false, func(p *mqtt.Connect) { p.Version = mqtt.V311 })
	old.send(&mqtt.Publish{QoS: 1, ID: 1, Retain: true, Topic: []byte("t"), Payload: []byte("x")})
	if p := old.read(); p != nil {
		t.Errorf("came %+v, want the end", p)
	}
	err := h.Publish(t.Context(), &broker.Message{Topic: "t", Payload: []byte("x"), QoS: 1, Retain: true})
	if err == nil {
		t.Error("Publish claims that the message is safe")
	}
}

func TestAccessChanges(t *testing.T) {
	t.Parallel()
	h := open(t)
	a, _ := h.connect("a", "a", false)
	a.subscribe("t", 1)
	b, _ := h.connect("b", "b", false)
	if code := b.publish("t", "1"); code != 0 {
		t.Fatal(code)
	}
	a.wants("t", "1")

	h.rules.deny("a iot:Receive t")
	h.Invalidate(iot.Change{Kind: iot.ChangeIoTPolicy, ID: "p"})
	b.publish("t", "2")
	a.quiet()

	h.rules.deny("b iot:Publish t")
	h.Invalidate(iot.Change{Kind: iot.ChangePrincipal, ID: "arn:aws:iot:us-east-1:0:cert/b"})
	if code := b.publish("t", "3"); code != uint8(mqtt.NotAuthorized) {
		t.Errorf("PUBACK %#x", code)
	}
	h.rules.deny("a iot:Connect a")
	h.Invalidate(iot.Change{Kind: iot.ChangeAll})
	if code := a.ended(); code != uint8(mqtt.NotAuthorized) {
		t.Errorf("DISCONNECT %#x", code)
	}
	h.rules.revoke("b")
	h.Invalidate(iot.Change{Kind: iot.ChangeCertificate, ID: "b"})
	if code := b.ended(); code != uint8(mqtt.NotAuthorized) {
		t.Errorf("DISCONNECT %#x", code)
	}
}

// Changes that do not concern a connection do not cost it its verdicts.
func TestOtherChangesCostNothing(t *testing.T) {
	t.Parallel()
	h := open(t)
	b, _ := h.connect("b", "b", false)
	b.publish("t", "1")
	h.rules.mu.Lock()
	before := h.rules.asked
	h.rules.mu.Unlock()
	for i := range 50 {
		h.Invalidate(iot.Change{Kind: iot.ChangeThing, ID: fmt.Sprint("thing-", i)})
		h.Invalidate(iot.Change{Kind: iot.ChangeCertificate, ID: fmt.Sprint("cert-", i)})
		h.Invalidate(iot.Change{Kind: iot.ChangeRole, ID: "role"})
		b.publish("t", "1")
	}
	h.rules.mu.Lock()
	defer h.rules.mu.Unlock()
	if h.rules.asked != before {
		t.Errorf("%d questions", h.rules.asked-before)
	}
}

// Whoever comes back as the client of a session gets only what it may receive
// itself, whatever is remembered of who was there before.
func TestSecurityRule4_SessionOfAnother(t *testing.T) {
	t.Parallel()
	h := open(t)
	a, _ := h.connect("a", "x", true)
	a.subscribe("t", 1)
	pub, _ := h.connect("b", "pub", false)
	pub.publish("t", "1")
	a.wants("t", "1")
	_ = a.conn.Close()
	h.Nudge()
	pub.publish("t", "2") // waits
	h.rules.deny("thief iot:Receive t")
	thief, ack := h.connect("thief", "x", true)
	if !ack.SessionPresent {
		t.Fatal("no session")
	}
	pub.publish("t", "3")
	thief.quiet()
}

func TestSecurityRule9_ThingTopics(t *testing.T) {
	t.Parallel()
	h := open(t) // everything is allowed; the thing is the client ID
	a, _ := h.connect("a", "a", false)
	b, _ := h.connect("b", "b", false)
	for _, filter := range []string{
		"$sekisho/things/b/x", "$sekisho/things/+/x", "$sekisho/#", "$sekisho/+/b/x", "$sekisho/things/b/#", "$sekisho/things/#",
		"$share/g/$sekisho/things/b/x", "$sekisho/things/a", "$sekisho/things/ab/x", "$sekisho", "$sekisho/things//x",
	} {
		if code := a.subscribe(filter, 1); code < 0x80 {
			t.Errorf("a subscribed to %s", filter)
		}
	}
	if code := a.subscribe("$sekisho/things/a/#", 1); code >= 0x80 {
		t.Error("a may not subscribe to its own topics")
	}
	for _, topic := range []string{"$sekisho/things/a/x", "$sekisho/things/A/x", "$sekisho/things/", "$sekisho/events/x", "$sekisho/x"} {
		if code := b.publish(topic, "x"); code != uint8(mqtt.NotAuthorized) {
			t.Errorf("b published to %s: %#x", topic, code)
		}
	}
	a.send(&mqtt.Publish{Topic: []byte("$sekisho/things/a/x"), Payload: []byte("mine")})
	a.wants("$sekisho/things/a/x", "mine")
	err := h.Publish(t.Context(), &broker.Message{Topic: "$sekisho/things/a/x"})
	if !iot.IsKind(err, iot.KindDenied) {
		t.Errorf("HTTP: %v", err)
	}
}

func TestSlowReaderHurtsNobodyElse(t *testing.T) {
	t.Parallel()
	h := open(t, func(c *broker.Config) { c.Limits.Output = 256 << 10 })
	slow, _ := h.connect("a", "slow", false)
	slow.subscribe("t", 0)
	good, _ := h.connect("a", "good", false)
	good.subscribe("t", 1)
	pub, _ := h.connect("b", "pub", false)
	payload := string(make([]byte, 64<<10))
	for range 300 { // 19 MB, which no socket takes
		pub.publish("t", payload)
		if p := good.receive(); len(p.Payload) != len(payload) {
			t.Fatal("cut")
		}
	}
	h.clock.advance(time.Minute)
	h.Nudge()
	good.send(&mqtt.Ping{Type: mqtt.TypePingreq})
	if _, ok := good.read().(*mqtt.Ping); !ok {
		t.Error("no PINGRESP")
	}
	_ = slow.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	if n, err := io.Copy(io.Discard, slow.conn); err != nil || n > 16<<20 {
		t.Errorf("the slow reader was sent %d bytes, then: %v", n, err)
	}
}

func TestSharedSubscriptionAcrossLoops(t *testing.T) {
	t.Parallel()
	h := open(t, func(c *broker.Config) { c.Loops = 4 })
	var members []*client
	for i := range 8 {
		m, _ := h.connect("a", fmt.Sprint("m", i), false)
		m.subscribe("$share/g/t", 1)
		members = append(members, m)
	}
	h.rules.deny("deaf iot:Receive t")
	deaf, _ := h.connect("deaf", "deaf", false)
	deaf.subscribe("$share/g/t", 1)
	pub, _ := h.connect("b", "pub", false)
	const n = 400
	for i := range n {
		pub.publish("t", strconv.Itoa(i))
	}
	h.Nudge()
	h.Nudge()
	seen := map[string]int{}
	for _, m := range members {
		mine := 0
		_ = m.conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		for {
			p, err := m.next()
			if err != nil || p == nil {
				break
			}
			seen[string(p.(*mqtt.Publish).Payload)]++
			m.write(mqtt.AppendAck(nil, mqtt.TypePuback, p.(*mqtt.Publish).ID))
			mine++
		}
		if mine == 0 || mine > n/2 {
			t.Errorf("a member got %d of %d", mine, n)
		}
	}
	for i := range n {
		if seen[strconv.Itoa(i)] != 1 {
			t.Fatalf("message %d came %d times", i, seen[strconv.Itoa(i)])
		}
	}
	deaf.quiet()
}

func TestPublishRate(t *testing.T) {
	t.Parallel()
	h := open(t, func(c *broker.Config) { c.Limits.PublishRate = 5 })
	sub, _ := h.connect("a", "sub", false)
	sub.subscribe("t", 0)
	pub, _ := h.connect("b", "pub", false)
	var all []byte
	for i := range 12 {
		p := mqtt.Publish{Topic: []byte("t"), Payload: []byte(strconv.Itoa(i))}
		all, _ = p.Append(all, mqtt.V5)
	}
	pub.write(all)
	h.inBursts(sub, 12, 6, func(got int, p *mqtt.Publish) {
		if want := strconv.Itoa(got); string(p.Payload) != want {
			t.Fatalf("%s, want %s", p.Payload, want)
		}
	})
}

// inBursts takes n messages, of which no second of the clock may bring more
// than most: nothing is lost, all comes in time.
func (h *house) inBursts(c *client, n, most int, take func(got int, p *mqtt.Publish)) {
	h.tb.Helper()
	for got := 0; got < n; {
		_ = c.conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		burst := 0
		for {
			p, err := c.next()
			if err != nil {
				break
			}
			take(got, p.(*mqtt.Publish))
			got++
			burst++
		}
		if burst > most {
			h.tb.Errorf("%d at once", burst)
		}
		h.clock.advance(time.Second)
		h.Nudge()
	}
}

func TestRedeliveryRate(t *testing.T) {
	t.Parallel()
	h := open(t, with(store(t, t.TempDir())), func(c *broker.Config) { c.Limits.RedeliveryRate = 10 })
	sub, _ := h.connect("a", "sub", true)
	sub.subscribe("t", 1)
	_ = sub.conn.Close()
	pub, _ := h.connect("b", "pub", false)
	for i := range 30 {
		pub.publish("t", strconv.Itoa(i))
	}
	sub, _ = h.connect("a", "sub", true)
	h.inBursts(sub, 30, 11, func(_ int, p *mqtt.Publish) {
		sub.write(mqtt.AppendAck(nil, mqtt.TypePuback, p.ID))
	})
}

func TestDisconnectOfTheAPI(t *testing.T) {
	t.Parallel()
	h := open(t)
	will := func(p *mqtt.Connect) {
		p.HasWill, p.Will = true, mqtt.Will{Topic: []byte("gone"), Payload: []byte(p.ClientID)}
	}
	watch, _ := h.connect("a", "watch", false)
	watch.subscribe("gone", 0)
	for _, c := range []struct{ clean, silent bool }{{false, false}, {true, true}, {false, true}, {true, false}} {
		x, _ := h.connect("a", "x", true, will)
		if err := h.Disconnect(t.Context(), "x", c.clean, c.silent); err != nil {
			t.Fatal(err)
		}
		if code := x.ended(); code != uint8(mqtt.AdministrativeAction) {
			t.Errorf("DISCONNECT %#x", code)
		}
		if c.silent {
			watch.quiet()
		} else {
			watch.wants("gone", "x")
		}
		_, ack := h.connect("a", "x", true, func(p *mqtt.Connect) { p.CleanStart = false })
		if ack.SessionPresent == c.clean {
			t.Errorf("%+v: session present is %v", c, ack.SessionPresent)
		}
		if err := h.Disconnect(t.Context(), "x", true, true); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Disconnect(t.Context(), "nobody", false, false); !iot.IsKind(err, iot.KindNotFound) {
		t.Error(err)
	}
}

func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	for _, stored := range []bool{false, true} {
		h := open(t, func(c *broker.Config) {
			c.Limits.QueuedMessages = 10
			if stored {
				c.Store = store(t, t.TempDir())
			}
		})
		sub, _ := h.connect("a", "sub", true)
		sub.subscribe("t", 1)
		_ = sub.conn.Close()
		h.Nudge()
		pub, _ := h.connect("b", "pub", false)
		for i := range 20 {
			pub.publish("t", strconv.Itoa(i))
		}
		sub, _ = h.connect("a", "sub", true)
		for i := range 10 {
			sub.wants("t", strconv.Itoa(i))
		}
		sub.quiet()
		pub.publish("t", "again")
		sub.wants("t", "again")
	}
}

// A packet of many reads, whose bytes come in pieces with pauses between them,
// arrives whole.
func TestLargePacketsInPieces(t *testing.T) {
	t.Parallel()
	for _, streams := range []bool{false, true} {
		h := open(t, func(c *broker.Config) { c.Streams = streams })
		sub, _ := h.connect("a", "sub", false)
		sub.subscribe("t", 0)
		pub, _ := h.connect("b", "pub", false)
		for i, size := range []int{65_535, 65_536, 66_000, 100_000, 131_072} {
			payload := make([]byte, size)
			for j := range payload {
				payload[j] = byte(j * (i + 1) >> 3)
			}
			p := mqtt.Publish{Topic: []byte("t"), Payload: payload}
			all, err := p.Append(nil, mqtt.V5)
			if err != nil {
				t.Fatal(err)
			}
			for len(all) > 0 {
				n := min(len(all), 30_000)
				pub.write(all[:n])
				all = all[n:]
				h.Nudge()
				h.Nudge()
			}
			if got := sub.receive(); string(got.Payload) != string(payload) {
				t.Fatalf("%d bytes arrive as %d others", size, len(got.Payload))
			}
		}
	}
}

// Lifecycle events say what AWS's do
// (https://docs.aws.amazon.com/iot/latest/developerguide/life-cycle-events.html).
func TestLifecycleEvents(t *testing.T) {
	t.Parallel()
	h := open(t)
	watch, _ := h.connect("watcher", "watch", false)
	watch.subscribe("$aws/events/#", 1)
	watch.receive() // of this very subscription
	next := func(topic string) map[string]any {
		t.Helper()
		p := watch.receive()
		if string(p.Topic) != topic {
			t.Fatalf("event on %s, want %s", p.Topic, topic)
		}
		var e map[string]any
		if err := json.Unmarshal(p.Payload, &e); err != nil {
			t.Fatal(err)
		}
		if e["clientId"] != "x" || e["timestamp"] != float64(h.clock.Now().UnixMilli()) {
			t.Errorf("%s: %v", topic, e)
		}
		return e
	}
	check := func(e, want map[string]any) {
		t.Helper()
		for k, v := range want {
			if e[k] != v {
				t.Errorf("%s is %v, want %v, in %v", k, e[k], v, e)
			}
		}
		if len(e) != len(want)+3 { // clientId, timestamp, sessionIdentifier
			t.Errorf("%v", e)
		}
	}
	for n := range 2 {
		x, _ := h.connect("c", "x", false)
		connected := next("$aws/events/presence/connected/x")
		check(connected, map[string]any{
			"eventType": "connected", "principalIdentifier": "c", "ipAddress": "127.0.0.1", "versionNumber": float64(n),
		})
		x.subscribe("a/b", 1)
		e := next("$aws/events/subscriptions/subscribed/x")
		if topics, ok := e["topics"].([]any); !ok || len(topics) != 1 || topics[0] != "a/b" || e["sessionIdentifier"] != connected["sessionIdentifier"] {
			t.Errorf("subscribed: %v", e)
		}
		x.send(&mqtt.Unsubscribe{ID: 9, Filters: []mqtt.Filter{{Text: []byte("a/b")}}})
		x.read()
		next("$aws/events/subscriptions/unsubscribed/x")
		want := map[string]any{
			"eventType": "disconnected", "principalIdentifier": "c", "clientInitiatedDisconnect": true,
			"disconnectReason": "CLIENT_INITIATED_DISCONNECT", "versionNumber": float64(n),
		}
		if n == 0 {
			x.send(&mqtt.Disconnect{})
		} else {
			want["clientInitiatedDisconnect"], want["disconnectReason"] = false, "CONNECTION_LOST"
			_ = x.conn.Close()
		}
		e = next("$aws/events/presence/disconnected/x")
		if check(e, want); e["sessionIdentifier"] != connected["sessionIdentifier"] {
			t.Errorf("another session: %v", e)
		}
	}
	h.rules.deny("c iot:Connect x")
	if _, ack := h.connect("c", "x", false); ack.Code != mqtt.NotAuthorized {
		t.Error(ack.Code)
	}
	e := next("$aws/events/presence/connect_failed/x")
	if e["connectFailureReason"] != "AUTHORIZATION_FAILED" || e["principalIdentifier"] != "c" {
		t.Errorf("connect_failed: %v", e)
	}
	h.rules.mu.Lock()
	clear(h.rules.denied)
	h.rules.mu.Unlock()
	h.clock.advance(2 * time.Hour) // the number begins anew
	h.Nudge()
	watch, _ = h.connect("watcher", "watch", false)
	watch.subscribe("$aws/events/#", 1)
	watch.receive() // of this very subscription
	h.connect("c", "x", false)
	if e := next("$aws/events/presence/connected/x"); e["versionNumber"] != 0.0 {
		t.Errorf("after two hours: %v", e)
	}
	h.connect("c", "a#b", false) // whose topics would have wildcards
	watch.quiet()
}

func TestRetainedMessagesAreBounded(t *testing.T) {
	t.Parallel()
	for _, p := range []broker.Profile{broker.AWS, broker.Standard} {
		h := open(t, with(store(t, t.TempDir())), func(c *broker.Config) {
			c.Profile, c.Limits.Retained = p, 3
		})
		pub, _ := h.connect("a", "pub", false)
		retain := func(p *mqtt.Publish) { p.Retain = true }
		brief := func(p *mqtt.Publish) {
			p.Retain = true
			p.Properties, _ = p.Properties.Add(mqtt.Property{ID: mqtt.MessageExpiryInterval, Number: 30})
		}
		pub.publish("t/1", "x", brief)
		pub.publish("t/2", "x", retain)
		pub.publish("t/3", "x", retain)
		if code := pub.publish("t/4", "x", retain); code != uint8(mqtt.QuotaExceeded) {
			t.Errorf("PUBACK %#x", code)
		}
		err := h.Publish(t.Context(), &broker.Message{Topic: "t/5", Payload: []byte("x"), Retain: true})
		if !iot.IsKind(err, iot.KindLimit) {
			t.Errorf("Publish: %v", err)
		}
		if code := pub.publish("t/3", "y", retain); code >= 0x80 {
			t.Errorf("instead of another: PUBACK %#x", code)
		}
		list := h.ListRetained("", 2)
		if len(list) != 2 || list[0].Topic != "t/1" || list[1].Topic != "t/2" {
			t.Errorf("first page: %+v", list)
		}
		if list = h.ListRetained("t/2", 2); len(list) != 1 || string(list[0].Payload) != "y" {
			t.Errorf("second page: %+v", list)
		}
		h.clock.advance(2 * time.Minute) // t/1 has expired, and makes room
		h.Nudge()
		if code := pub.publish("t/4", "x", retain); code >= 0x80 {
			t.Errorf("when one has expired: PUBACK %#x", code)
		}
	}
}

func TestSessionsAreBounded(t *testing.T) {
	t.Parallel()
	h := open(t, func(c *broker.Config) { c.Limits.Sessions = 2 })
	a, _ := h.connect("a", "a", true)
	h.connect("a", "b", false)
	if _, ack := h.connect("a", "c", false); ack.Code != mqtt.QuotaExceeded {
		t.Errorf("CONNACK %v", ack.Code)
	}
	if _, ack := h.connect("a", "a", false); ack.Code != 0 { // instead of another
		t.Errorf("CONNACK %v", ack.Code)
	}
	a.ended()
}

// A subscription gets all the retained messages that it matches, also where
// they are more than would wait for a slow reader.
func TestManyRetainedMessages(t *testing.T) {
	t.Parallel()
	for _, qos := range []mqtt.QoS{0, 1} {
		h := open(t, func(c *broker.Config) {
			c.Profile, c.Limits = broker.Standard, broker.StandardLimits()
			c.Limits.Output = 256 << 10
		})
		const n = 3000
		payload := make([]byte, 4<<10) // 12 MB in all
		for i := range n {
			err := h.Publish(t.Context(), &broker.Message{Topic: fmt.Sprintf("t/%04d", i), Payload: payload, Retain: true, QoS: 1})
			if err != nil {
				t.Fatal(err)
			}
		}
		sub, _ := h.connect("a", "sub", false)
		sub.subscribe("t/#", qos)
		for i := range n {
			if p := sub.receive(); string(p.Topic) != fmt.Sprintf("t/%04d", i) || !p.Retain {
				t.Fatalf("QoS %d: %s after %d", qos, p.Topic, i)
			}
		}
	}
}
