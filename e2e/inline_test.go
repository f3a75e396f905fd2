//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/e2e/process"
	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

const inlineTopic = "file/upload"

// inlineMessage is a message that holds a file.
func inlineMessage(id string, content []byte) []byte {
	return fmt.Appendf(nil, `{"type":"file_content","name":"f.bin","size":%d,"uploadId":%q,"content":"%s"}`,
		len(content), id, base64.StdEncoding.EncodeToString(content))
}

// sender sends files in messages, and remembers which were acknowledged.
type sender struct {
	device *device
	name   string
	next   int // never sent yet
	acked  []int
}

func (s *sender) id(n int) string { return s.name + "-" + strconv.Itoa(n) }

func (s *sender) file(n int) []byte { return bytes.Repeat([]byte{byte(n)}, 500+n%2000) }

// overMQTT sends with a window until the server is gone.
func (s *sender) overMQTT(ctx context.Context, addr string, acks *atomic.Int64) error {
	l, err := s.device.dial(ctx, addr)
	if err != nil {
		return err
	}
	defer l.Close() //nolint:errcheck // the server may be gone
	if ack, err := l.connect(session{id: s.name}); err != nil || ack.Code != 0 {
		return errors.Join(fmt.Errorf("%s: CONNACK %#x", s.name, byte(ack.Code)), err)
	}
	first := s.next
	for acked := first; ctx.Err() == nil; acked++ {
		for s.next < acked+crashWindow {
			m := mqtt.Publish{QoS: 1, ID: uint16(s.next-first)%60000 + 1, Topic: []byte(inlineTopic), Payload: inlineMessage(s.id(s.next), s.file(s.next))}
			s.next++
			if l.send(&m) != nil {
				return nil
			}
		}
		frame, err := l.read(20 * time.Second)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("%s: no PUBACK in 20 s", s.name)
		}
		if err != nil {
			return nil
		}
		var ack mqtt.Ack
		if err := ack.Decode(&l.decoder, frame); err != nil {
			return err
		}
		if want := uint16(acked-first)%60000 + 1; ack.ID != want || ack.Code != 0 {
			return fmt.Errorf("%s: PUBACK %#x of %d, want %d", s.name, byte(ack.Code), ack.ID, want)
		}
		s.acked = append(s.acked, acked)
		acks.Add(1)
	}
	return nil
}

// overHTTPS sends one after the other until the server is gone.
func (s *sender) overHTTPS(ctx context.Context, addr string, acks *atomic.Int64) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	c := s.device.client()
	defer c.CloseIdleConnections()
	for ctx.Err() == nil {
		n := s.next
		s.next++
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://localhost:"+port+"/topics/"+inlineTopic+"?qos=1", bytes.NewReader(inlineMessage(s.id(n), s.file(n))))
		if err != nil {
			return err
		}
		res, err := c.Do(r)
		if err != nil {
			return nil
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", s.name, res.Status)
		}
		s.acked = append(s.acked, n)
		acks.Add(1)
	}
	return nil
}

// ledger returns how many records there are of each upload id, as the command tells it.
func (s *server) ledger(t *testing.T) map[string]int {
	t.Helper()
	bin, err := process.Binary()
	check(t, err)
	var list struct {
		Uploads []struct{ UploadID, Status, Door, Topic string }
	}
	check(t, json.Unmarshal([]byte(runIn(t, t.TempDir(), s.environ(), bin, "uploads", "list", "--output", "json")), &list))
	ids := map[string]int{}
	for _, u := range list.Uploads {
		if u.Status != "completed" || u.Door != "inline" || u.Topic != inlineTopic {
			t.Errorf("%+v", u)
		}
		ids[u.UploadID]++
	}
	return ids
}

// TestCrashLedger kills the server while devices send files in messages, over
// MQTT and HTTPS, with persistent sessions that get them and the events of them.
// Every one that was acknowledged is in the ledger once, also when it is sent again.
func TestCrashLedger(t *testing.T) {
	t.Parallel()
	s := start(t, "--mqtt-connect-rate", "0")
	d := s.device(t)
	d.grant(t, everything())
	var senders []*sender
	for i := range 5 {
		senders = append(senders, &sender{device: d, name: fmt.Sprintf("sender-%d", i)})
	}
	for _, topic := range []string{inlineTopic, "$sekisho/events/uploads/#"} {
		l := d.open(t, session{id: unique("reader"), keep: true})
		codes, err := l.subscribe(1, topic)
		check(t, err)
		if len(codes) != 1 || codes[0] != 1 {
			t.Fatalf("SUBACK %v", codes)
		}
		check(t, l.Close())
	}
	for round := range 3 {
		var acks atomic.Int64
		var wg sync.WaitGroup
		for i, x := range senders {
			wg.Go(func() {
				send, addr := x.overMQTT, s.mqttAddr(t, "mqtt")
				if i == 0 {
					send, addr = x.overHTTPS, s.mqttAddr(t, "device_https")
				}
				if err := send(t.Context(), addr, &acks); err != nil {
					t.Error(err)
				}
			})
		}
		awaitAcks(t, &acks, int64(200+200*round))
		check(t, s.Kill())
		wg.Wait()
		check(t, s.Restart(t.Context()))
		s.connect()
		ids, lacking := s.ledger(t), 0
		for _, x := range senders {
			for _, n := range x.acked {
				if ids[x.id(n)] != 1 {
					lacking++
				}
			}
		}
		t.Logf("round %d: %d acknowledged, %d in the ledger", round, acks.Load(), len(ids))
		if lacking > 0 {
			t.Fatalf("%d that were acknowledged are not in the ledger once", lacking)
		}
	}
	// What was not acknowledged is sent again, and so may be what was.
	before := len(s.ledger(t))
	l, all := d.open(t, session{id: "again"}), 0
	for _, x := range senders {
		for n := max(0, x.next-2*crashWindow); n < x.next; n++ {
			code, err := l.publish(1, false, inlineTopic, string(inlineMessage(x.id(n), x.file(n))))
			check(t, err)
			if code != 0 {
				t.Errorf("PUBACK %#x", byte(code))
			}
		}
	}
	ids := s.ledger(t)
	for _, x := range senders {
		all += x.next
		for n := max(0, x.next-2*crashWindow); n < x.next; n++ {
			if ids[x.id(n)] != 1 {
				t.Errorf("%s is there %d times", x.id(n), ids[x.id(n)])
			}
		}
	}
	if len(ids) < before || len(ids) > all {
		t.Errorf("%d are in the ledger, before were %d, and %d were sent", len(ids), before, all)
	}
}

// BenchmarkInlineUploads is one connection that sends files of 20 KiB in
// messages, 16 of them under way at a time.
func BenchmarkInlineUploads(b *testing.B) {
	const window = 16
	d := shared.device(b)
	d.grant(b, everything())
	l := d.open(b, session{id: unique("bench")})
	content, run := make([]byte, 20<<10), unique("run")
	_, _ = rand.Read(content)
	b.SetBytes(int64(len(content)))
	sent, acked := 0, 0
	for b.Loop() {
		for ; sent < acked+window; sent++ {
			m := mqtt.Publish{QoS: 1, ID: uint16(sent%60000) + 1, Topic: []byte(inlineTopic), Payload: inlineMessage(fmt.Sprintf("%s-%d", run, sent), content)}
			check(b, l.send(&m))
		}
		frame, err := l.read(20 * time.Second)
		check(b, err)
		var ack mqtt.Ack
		check(b, ack.Decode(&l.decoder, frame))
		if want := uint16(acked%60000) + 1; ack.ID != want || ack.Code != 0 {
			b.Fatalf("PUBACK %#x of %d, want %d", byte(ack.Code), ack.ID, want)
		}
		acked++
	}
	b.ReportMetric(float64(acked)/b.Elapsed().Seconds(), "files/s")
}
