package broker

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
)

// How a WebSocket's bytes are cut into reads changes nothing.
func FuzzUnwrap(f *testing.F) {
	hello := []byte{0x82, 0x85, 1, 2, 3, 4, 'h' ^ 1, 'e' ^ 2, 'l' ^ 3, 'l' ^ 4, 'o' ^ 1}
	f.Add(hello, uint(3))
	f.Add(append(slices.Clone(hello), 0x89, 0x80, 0, 0, 0, 0, 0x88, 0x80, 0, 0, 0, 0, 0x82, 0x80), uint(7))
	f.Add([]byte{0x02, 0xfe, 0, 3, 9, 9, 9, 9, 1, 2, 3, 0x80, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 5, 5, 5, 5, 6}, uint(2))
	f.Fuzz(func(t *testing.T, data []byte, step uint) {
		whole, wholeErr := unwrapped(data, len(data)+1)
		cut, cutErr := unwrapped(data, int(step%64)+1)
		if !bytes.Equal(whole, cut) || (wholeErr == nil) != (cutErr == nil) {
			t.Errorf("whole: %x %v, in pieces: %x %v", whole, wholeErr, cut, cutErr)
		}
	})
}

func unwrapped(data []byte, step int) (out []byte, err error) {
	c := &conn{loop: new(loop), ws: new(websocket)}
	for len(data) > 0 && !c.ws.closed {
		part := slices.Clone(data[:min(step, len(data))])
		data = data[len(part):]
		n, err := c.ws.unwrap(c, part)
		out = append(out, part[:n]...)
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

// matches is section 4.7 as it stands there.
func matches(filter, topic string, parents bool) bool {
	f, t := strings.Split(filter, "/"), strings.Split(topic, "/")
	if topic[0] == '$' && (f[0] == "+" || f[0] == "#") {
		return false
	}
	for i, level := range f {
		switch {
		case level == "#":
			return i < len(t) || i == len(t) && parents
		case i >= len(t) || level != "+" && level != t[i]:
			return false
		}
	}
	return len(f) == len(t)
}

// validFilters are those of the lines that are topic filters.
func validFilters(lines string) (list []string) {
	for line := range strings.SplitSeq(lines, "\n") {
		if f, err := mqtt.ParseFilter([]byte(line), &mqtt.Limits{}); err == nil && f.Share == nil {
			list = append(list, line)
		}
	}
	return list
}

func seeds(f *testing.F) {
	f.Helper()
	f.Add("a/#\n#\n+\na\na/+\n+/+\n$x/#\n/\n//\n+/\na//b\n", "a\na/\na/b\n$x\n$x/a\n/\na//b")
	f.Add("+/+/#\n+/b/+\na/b/c\na/b/#\na/b/c/#", "a/b/c\na/b\nx/b/y/z\n/b/")
}

// The tree finds what a comparison with each filter finds, while filters come and go.
func FuzzTree(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, filters, topics string) {
		for _, p := range []Profile{AWS, Standard} {
			list := validFilters(filters)
			tree := newTree[int](p)
			for i, filter := range list {
				tree.add(filter, i)
			}
			for round := range 2 {
				for topic := range strings.SplitSeq(topics, "\n") {
					checkTree(t, tree, list, topic, p)
				}
				for i := range list {
					if round == 0 && i%2 == 0 || round == 1 && i%2 == 1 {
						tree.remove(list[i], i)
						list[i] = ""
					}
				}
			}
			if tree.wild != 0 || len(tree.exact) != 0 || !tree.root.empty() {
				t.Error("something is left in the tree")
			}
		}
	})
}

func checkTree(t *testing.T, tree *tree[int], filters []string, topic string, p Profile) {
	t.Helper()
	if mqtt.CheckTopicName([]byte(topic), &mqtt.Limits{}) != nil {
		return
	}
	var got, want []int
	tree.match([]byte(topic), func(i int) { got = append(got, i) })
	for i, filter := range filters {
		if filter != "" && matches(filter, topic, p == Standard) {
			want = append(want, i)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%q matches %v, want %v of %q", topic, got, want, filters)
	}
}

// The retained messages of a filter are those whose topics match it.
func FuzzRetained(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, filters, topics string) {
		r := retainedStore{exact: map[string]*retained{}, levels: true}
		var all []string
		for topic := range strings.SplitSeq(topics, "\n") {
			if mqtt.CheckTopicName([]byte(topic), &mqtt.Limits{}) == nil {
				r.set(topic, &retained{m: newMessage([]byte(topic), []byte("x"), nil), modified: time.Unix(0, 0)})
				all = append(all, topic)
			}
		}
		slices.Sort(all)
		all = slices.Compact(all)
		for _, filter := range validFilters(filters) {
			var got, want []string
			for _, m := range r.matching(filter, Standard, 0) {
				got = append(got, string(m.topic))
			}
			for _, topic := range all {
				if matches(filter, topic, true) {
					want = append(want, topic)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%q gets %q, want %q", filter, got, want)
			}
		}
		for _, topic := range all {
			r.remove(topic)
		}
		if len(r.exact) != 0 || len(r.root.children) != 0 {
			t.Error("something is left")
		}
	})
}

// Records of the store are read or refused; what was read is written as it was.
func FuzzRecords(f *testing.F) {
	m := newMessage([]byte("t"), []byte("payload"), nil)
	m.qos, m.retain, m.expires = 2, true, 12345
	f.Add(m.encode(nil))
	f.Add((&entry{m: m, ids: []uint32{1, 2}, seq: 3, id: 4, qos: 2, dup: true}).encode(nil))
	f.Add((&entry{m: &message{stored: 7, topic: []byte("t")}, qos: 1}).encode(nil))
	f.Add((&entry{m: new(message), id: 9, qos: 2, freed: true}).encode(nil))
	record, err := json.Marshal(&sessionRecord{Key: 1, Version: mqtt.V5, Subs: []subRecord{{Filter: "a/#", Options: 1}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(record)
	if record, err = json.Marshal((&will{m: m, timed: true, expiry: 1, delay: 2}).record()); err != nil {
		f.Fatal(err)
	}
	f.Add(record)
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := decodeMessage(b); err == nil {
			again, err := decodeMessage(m.encode(nil))
			if err != nil || !bytes.Equal(again.encode(nil), m.encode(nil)) {
				t.Errorf("message %x: %v", b, err)
			}
		} else if !errors.Is(err, errRecord) {
			t.Error(err)
		}
		for _, whole := range []bool{false, true} {
			x, err := decodeEntry(b, whole)
			if err != nil || !whole || x.m == nil {
				continue
			}
			if _, err := decodeEntry(x.encode(nil), true); err != nil {
				t.Errorf("entry %x: %v", b, err)
			}
		}
		restoresOrRefuses(b)
	})
}

// restoresOrRefuses reads a session record.
func restoresOrRefuses(b []byte) {
	broker := &Broker{groups: newGroups(AWS)}
	l := &loop{b: broker, sessions: map[string]*session{}, subs: newTree[*subscription](AWS)}
	broker.loops = []*loop{l}
	if s, err := broker.restoreSession("id", b, 1_800_000_000); err == nil {
		s.arm()
		for _, sub := range s.subs.list {
			s.unlink(sub)
		}
	}
	var r willRecord
	if json.Unmarshal(b, &r) == nil {
		if w, err := r.will(); err == nil {
			w.record()
		}
	}
}
