package broker_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/broker"
	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// panics collects what the broker says of its own mistakes.
type panics struct {
	mu  sync.Mutex // guards all
	all bytes.Buffer
}

func (p *panics) watch(c *broker.Config) {
	c.Logger = slog.New(slog.NewTextHandler(p, &slog.HandlerOptions{Level: slog.LevelError}))
}

func (p *panics) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all.Write(b)
}

func (p *panics) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all.String()
}

// script is what three clients do, by the bytes of a fuzzer.
type script struct {
	*house
	data    []byte
	clients [3]*client
}

func (s *script) byte() byte {
	if len(s.data) == 0 {
		return 0
	}
	b := s.data[0]
	s.data = s.data[1:]
	return b
}

func (s *script) topic() []byte {
	list := []string{"t", "t/a", "t/b/c", "$aws/rules/r/x", "$sekisho/things/c0/x", "#", "t/+", "+/#", "$share/g/t", "$share/g/t/#", "", "/"}
	return []byte(list[int(s.byte())%len(list)])
}

func (s *script) properties(ids ...mqtt.PropertyID) (p mqtt.Properties) {
	for _, id := range ids {
		if s.byte()%3 == 0 {
			p, _ = p.Add(mqtt.Property{ID: id, Number: uint32(s.byte() % 12)})
		}
	}
	return p
}

// packet is one that may be right.
func (s *script) packet(who int) mqtt.Packet {
	id := uint16(s.byte()%8) + 1
	switch s.byte() % 12 {
	case 0:
		b := s.byte()
		p := &mqtt.Connect{Version: mqtt.V5, ClientID: fmt.Append(nil, "c", who), CleanStart: b&1 == 0, KeepAlive: 600}
		if p.HasWill = b&2 != 0; p.HasWill {
			p.Will = mqtt.Will{Topic: s.topic(), QoS: mqtt.QoS(s.byte() % 3), Retain: b&4 != 0, Properties: s.properties(mqtt.WillDelayInterval)}
		}
		p.Properties = s.properties(mqtt.SessionExpiryInterval, mqtt.ReceiveMaximum, mqtt.TopicAliasMaximum, mqtt.MaximumPacketSize)
		return p
	case 1, 2, 3:
		b := s.byte()
		p := &mqtt.Publish{Topic: s.topic(), QoS: mqtt.QoS(b % 3), Retain: b&8 != 0, Payload: bytes.Repeat([]byte{b}, int(b)*int(s.byte()))}
		if p.QoS > 0 {
			p.ID, p.Dup = id, b&16 != 0
		}
		p.Properties = s.properties(mqtt.TopicAlias, mqtt.MessageExpiryInterval)
		return p
	case 4, 5:
		p := &mqtt.Subscribe{ID: id}
		for range s.byte()%3 + 1 {
			p.Subscriptions = append(p.Subscriptions, mqtt.Subscription{
				Filter: mqtt.Filter{Text: s.topic()}, Options: mqtt.SubscribeOptions(s.byte() & 0x2f % 0x2f),
			})
		}
		return p
	case 6:
		return &mqtt.Unsubscribe{ID: id, Filters: []mqtt.Filter{{Text: s.topic()}}}
	case 7, 8, 9:
		types := []mqtt.PacketType{mqtt.TypePuback, mqtt.TypePubrec, mqtt.TypePubrel, mqtt.TypePubcomp}
		return &mqtt.Ack{Type: types[s.byte()%4], ID: id}
	case 10:
		return &mqtt.Disconnect{Code: mqtt.ReasonCode(s.byte() % 2 * 4), Properties: s.properties(mqtt.SessionExpiryInterval)}
	}
	return &mqtt.Ping{Type: mqtt.TypePingreq}
}

// step has one client do something.
func (s *script) step() {
	who := int(s.byte()) % len(s.clients)
	c := s.clients[who]
	if c == nil {
		c = s.dial("a")
		s.clients[who] = c
		hello := mqtt.Connect{Version: mqtt.V5, ClientID: fmt.Append(nil, "c", who), KeepAlive: 600, CleanStart: s.byte()%2 == 0}
		hello.Properties = s.properties(mqtt.SessionExpiryInterval)
		b, _ := hello.Append(nil, mqtt.V5)
		s.say(who, b)
		return
	}
	switch b := s.byte(); {
	case b < 8:
		_ = c.conn.Close()
		s.clients[who] = nil
	case b < 16:
		raw := s.data[:min(len(s.data), int(s.byte()))]
		s.say(who, raw)
	case b < 24:
		s.clock.advance(time.Duration(s.byte()) * 100 * time.Millisecond)
		s.Nudge()
	case b < 32:
		_ = s.Disconnect(s.tb.Context(), fmt.Sprint("c", who), b&1 == 0, b&2 == 0)
	case b < 64: // it reads what there is
		_ = c.conn.SetReadDeadline(time.Now().Add(time.Millisecond))
		if p, err := c.next(); p == nil && err == nil {
			_ = c.conn.Close()
			s.clients[who] = nil
		}
	default:
		if raw, err := s.packet(who).Append(nil, mqtt.V5); err == nil {
			s.say(who, raw)
		}
	}
}

// say writes; a client that cannot is gone.
func (s *script) say(who int, b []byte) {
	c := s.clients[who]
	_ = c.conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	if _, err := c.conn.Write(b); err != nil {
		_ = c.conn.Close()
		s.clients[who] = nil
	}
}

// Whatever three clients do, a fourth is served, and the broker closes and opens again.
// Longer runs need -fuzzminimizetime 1x: what covers what varies with the time.
func FuzzBroker(f *testing.F) {
	f.Add([]byte("three clients that do one thing and another, again and again, until there is no more"))
	for i := range 24 { // a generator of bytes that is the same every time
		x := uint64(i)*2654435761 + 12345
		var b []byte
		for range 250 {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			b = binary.LittleEndian.AppendUint64(b, x)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4096 {
			return
		}
		kept := store(t, t.TempDir())
		profile := func(c *broker.Config) {
			if len(data)%2 == 0 {
				c.Profile, c.Limits = broker.Standard, broker.StandardLimits()
			}
			c.Limits.Inflight, c.Limits.QueuedMessages = 4, 20
			c.Streams = len(data)%3 == 0
		}
		log := new(panics)
		s := &script{house: open(t, with(kept), profile, log.watch), data: data}
		good, _ := s.connect("good", "good", false)
		good.subscribe("good", 1)
		for i := 0; len(s.data) > 0 && i < 2000; i++ {
			s.step()
			if i%50 == 0 {
				good.send(&mqtt.Publish{Topic: []byte("good"), Payload: []byte("x")})
				good.wants("good", "x")
			}
		}
		within(t, "Close", s.stop)
		h := open(t, with(kept), profile, log.watch)
		good, _ = h.connect("good", "good", false)
		good.subscribe("good", 1)
		within(t, "Close", h.stop)
		if s := log.text(); s != "" {
			t.Error(s)
		}
	})
}
