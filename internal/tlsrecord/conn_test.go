package tlsrecord_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/tlsrecord"
)

// The content types of records.
const (
	changeCipherSpec = 20
	alert            = 21
	handshake        = 22
	application      = 23
)

// fresh makes both ends of a connection anew, always with the same keys.
type fresh func() (server, client *tlsrecord.Conn)

// forEach runs a test for each version and size of keys.
func forEach(t *testing.T, f func(t *testing.T, pair fresh, tls13 bool)) {
	t.Helper()
	for _, tls13 := range []bool{false, true} {
		for _, big := range []bool{false, true} {
			t.Run(fmt.Sprintf("13=%t,256=%t", tls13, big), func(t *testing.T) {
				t.Parallel()
				f(t, func() (*tlsrecord.Conn, *tlsrecord.Conn) { return tlsrecord.Pair(t, tls13, big) }, tls13)
			})
		}
	}
}

// receive opens what came in pieces of that size.
func receive(c *tlsrecord.Conn, in []byte, size int) (data, reply []byte, err error) {
	b := make([]byte, 64<<10)
	for len(in) > 0 && err == nil {
		n := c.Pending(b)
		k := copy(b[n:n+min(size, len(b)-n)], in)
		in = in[k:]
		n, reply, err = c.Open(b[:n+k], reply)
		data = append(data, b[:n]...)
	}
	return data, reply, err
}

func seal(tb testing.TB, c *tlsrecord.Conn, data []byte) []byte {
	tb.Helper()
	out, err := c.Seal(nil, data)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// wantAlert checks that the connection ended by an alert, and that the peer was told.
func wantAlert(t *testing.T, client *tlsrecord.Conn, reply []byte, err error, code byte) {
	t.Helper()
	if a, ok := errors.AsType[tlsrecord.AlertError](err); !ok || byte(a) != code {
		t.Errorf("%v, want alert %d", err, code)
		return
	}
	_, _, err = receive(client, reply, len(reply))
	if code == 100 { // no_renegotiation, a warning
		if err != nil {
			t.Error(err)
		}
		return
	}
	if a, ok := errors.AsType[tlsrecord.PeerAlertError](err); !ok || byte(a) != code {
		t.Errorf("the peer was told %v, want alert %d", err, code)
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// TestVector is the client's application data of RFC 8448 section 3.
func TestVector(t *testing.T) {
	t.Parallel()
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	c := tlsrecord.Of13(t, unhex("9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5"))
	record := unhex(`17 03 03 00 43 a2 3f 70 54 b6 2c 94 d0 af fa fe 82 28 ba 55 cb ef ac ea 42 f9 14 aa 66 bc ab 3f 2b 98 19 a8 a5
		b4 6b 39 5b d5 4a 9a 20 44 1e 2b 62 97 4e 1f 5a 62 92 a2 97 70 14 bd 1e 3d ea e6 3a ee bb 21 69 49 15 e4`)
	n, _, err := c.Open(record, nil)
	if err != nil || n != 50 || record[0] != 0 || record[49] != 0x31 {
		t.Errorf("%x, %v", record[:n], err)
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	forEach(t, func(t *testing.T, pair fresh, _ bool) { //nolint:thelper // the test itself
		data := random(40_000)
		for _, size := range []int{1, 2, 3, 5, 7, 1000, 60_000} {
			server, client := pair()
			in := append(seal(t, client, data[:1]), seal(t, client, data[1:300])...)
			in = append(in, seal(t, client, data[300:])...)
			got, reply, err := receive(server, in, size)
			if err != nil || len(reply) > 0 || !bytes.Equal(got, data) {
				t.Fatalf("pieces of %d: %d bytes, %v", size, len(got), err)
			}
			if n := server.Holds(); n != 0 {
				t.Errorf("holds %d bytes while idle", n)
			}
		}
		_, client := pair()
		in := append(seal(t, client, data[:50]), seal(t, client, data[50:100])...)
		for at := range in { // two pieces
			server, _ := pair()
			first, _, err := receive(server, bytes.Clone(in[:at]), len(in))
			if err != nil {
				t.Fatal(at, err)
			}
			second, _, err := receive(server, bytes.Clone(in[at:]), len(in))
			if err != nil || !bytes.Equal(append(first, second...), data[:100]) {
				t.Fatalf("divided at %d: %v", at, err)
			}
		}
	})
}

// TestForged changes every bit of a record.
func TestForged(t *testing.T) {
	t.Parallel()
	forEach(t, func(t *testing.T, pair fresh, tls13 bool) { //nolint:thelper // the test itself
		_, client := pair()
		good := seal(t, client, []byte("first"))
		for bit := range len(good) * 8 {
			server, client := pair()
			in := bytes.Clone(good)
			in[bit/8] ^= 1 << (bit % 8)
			in = append(in, seal(t, client, []byte("more"))...)
			got, reply, err := receive(server, in, len(in))
			if len(got) > 0 {
				t.Fatalf("bit %d: %q was given out", bit, got)
			}
			want := byte(20)
			switch {
			case bit < 8 && tls13:
				want = 10
			case bit >= 8 && bit < 24:
				want = 70
			case bit >= 24 && bit < 40:
				if err == nil { // a longer record that does not come to its end
					continue
				}
				if in[3] > 0x41 {
					want = 22
				}
			}
			_, client = pair()
			wantAlert(t, client, reply, err, want)
			if _, err := server.Seal(nil, []byte("x")); err == nil {
				t.Fatal("a connection that has failed goes on")
			}
			if n, _, again := server.Open(seal(t, client, []byte("x")), nil); n > 0 || !errors.Is(again, err) {
				t.Fatalf("%d bytes, %v, after %v", n, again, err)
			}
		}
	})
}

func TestOrder(t *testing.T) {
	t.Parallel()
	forEach(t, func(t *testing.T, pair fresh, _ bool) { //nolint:thelper // the test itself
		_, client := pair()
		a, b, c := seal(t, client, []byte("a")), seal(t, client, []byte("b")), seal(t, client, []byte("c"))
		for name, in := range map[string][][]byte{
			"replayed": {a, a}, "replayed later": {a, b, a}, "reordered": {b, a, c}, "left out": {a, c},
		} {
			server, client := pair()
			got, reply, err := receive(server, slices.Concat(in...), 1000)
			if bytes.ContainsAny(got[min(len(got), 2):], "abc") || bytes.Contains(got, []byte("aa")) {
				t.Errorf("%s: %q", name, got)
			}
			wantAlert(t, client, reply, err, 20)
		}
	})
}

func TestTruncated(t *testing.T) {
	t.Parallel()
	forEach(t, func(t *testing.T, pair fresh, _ bool) { //nolint:thelper // the test itself
		server, client := pair()
		in := seal(t, client, random(1000))
		got, reply, err := receive(server, in[:len(in)-1], 1000)
		if len(got) > 0 || len(reply) > 0 || err != nil {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if n := server.Holds(); n < len(in)-1 {
			t.Errorf("holds %d bytes", n)
		}
	})
}

func TestSizes(t *testing.T) {
	t.Parallel()
	forEach(t, func(t *testing.T, pair fresh, tls13 bool) { //nolint:thelper // the test itself
		limit := 1<<14 + 2048
		if tls13 {
			limit = 1<<14 + 256
		}
		server, client := pair()
		n := limit + 1
		_, reply, err := receive(server, []byte{application, 3, 3, byte(n >> 8), byte(n)}, 5)
		wantAlert(t, client, reply, err, 22)

		server, client = pair()
		in := client.SealAs(nil, application, make([]byte, 1<<14+1))
		_, reply, err = receive(server, in, len(in))
		wantAlert(t, client, reply, err, 22)

		server, client = pair()
		in = client.SealAs(nil, application, make([]byte, 1<<14))
		if got, _, err := receive(server, in, len(in)); err != nil || len(got) != 1<<14 {
			t.Errorf("a full record: %d bytes, %v", len(got), err)
		}
		out := seal(t, server, make([]byte, 1<<14+1))
		if got, _, err := receive(client, out, len(out)); err != nil || len(got) != 1<<14+1 {
			t.Errorf("more than a record: %d bytes, %v", len(got), err)
		}

		server, client = pair()
		_, reply, err = receive(server, []byte{application, 3, 3, 0, 3, 1, 2, 3}, 8)
		wantAlert(t, client, reply, err, 20)
	})
}

// TestPadding is RFC 8446 section 5.4.
func TestPadding(t *testing.T) {
	t.Parallel()
	server, client := tlsrecord.Pair(t, true, false)
	in := client.SealAs(nil, 0, append([]byte("padded\x17"), make([]byte, 100)...))
	if got, _, err := receive(server, in, len(in)); err != nil || string(got) != "padded" {
		t.Errorf("%q, %v", got, err)
	}
	in = client.SealAs(nil, 0, make([]byte, 100))
	_, reply, err := receive(server, in, len(in))
	wantAlert(t, client, reply, err, 10)
}

func TestAlerts(t *testing.T) {
	t.Parallel()
	forEach(t, func(t *testing.T, pair fresh, tls13 bool) { //nolint:thelper // the test itself
		server, client := pair()
		in := append(seal(t, client, []byte("last")), client.Close(nil)...)
		in = append(in, seal13(client)...)
		got, reply, err := receive(server, in, len(in))
		if string(got) != "last" || !errors.Is(err, io.EOF) || len(reply) > 0 || !server.Ended() {
			t.Errorf("close_notify: %q, %v", got, err)
		}
		if _, err := server.Seal(nil, []byte("half-closed")); err != nil {
			t.Error(err)
		}
		if _, err := client.Seal(nil, []byte("x")); err == nil {
			t.Error("sealed after close_notify")
		}
		if out := client.Close(nil); len(out) > 0 {
			t.Error("close_notify twice")
		}

		for _, tc := range []struct {
			body []byte
			want byte // an alert of ours; 0: none
			err  error
		}{
			{body: []byte{2, 40}, err: tlsrecord.PeerAlertError(40)},
			{body: []byte{1, 90}},
			{body: []byte{2}, want: 50},
			{body: []byte{2, 40, 0}, want: 50},
			{body: nil, want: 50},
		} {
			server, client := pair()
			in := client.SealAs(nil, alert, tc.body)
			_, reply, err := receive(server, in, len(in))
			if tc.want != 0 {
				wantAlert(t, client, reply, err, tc.want)
			} else if !errors.Is(err, tc.err) || len(reply) > 0 {
				t.Errorf("alert %v: %v", tc.body, err)
			}
		}
		server, client = pair()
		in = client.SealAs(nil, alert, []byte{1, 40})
		if _, _, err = receive(server, in, len(in)); (err != nil) != tls13 {
			t.Errorf("a warning: %v", err)
		}
		if !tls13 {
			in = client.SealAs(nil, alert, []byte{3, 40})
			_, reply, err = receive(server, in, len(in))
			wantAlert(t, client, reply, err, 47)
		}
	})
}

// seal13 is one more record of a connection that has said good-bye.
func seal13(c *tlsrecord.Conn) []byte { return c.SealAs(nil, application, []byte("after the end")) }

func TestFloods(t *testing.T) {
	t.Parallel()
	forEach(t, func(t *testing.T, pair fresh, tls13 bool) { //nolint:thelper // the test itself
		kinds := map[string]func(c *tlsrecord.Conn) []byte{
			"empty":    func(c *tlsrecord.Conn) []byte { return c.SealAs(nil, application, nil) },
			"warnings": func(c *tlsrecord.Conn) []byte { return c.SealAs(nil, alert, []byte{1, 90}) },
		}
		if tls13 {
			kinds["key updates"] = func(c *tlsrecord.Conn) []byte { return c.Rekey(nil, keyUpdate(1)) }
		}
		for name, one := range kinds {
			server, client := pair()
			for i := range 16 {
				in := one(client)
				if _, _, err := receive(server, in, len(in)); err != nil {
					t.Fatalf("%s %d: %v", name, i, err)
				}
			}
			in := one(client)
			_, reply, err := receive(server, in, len(in))
			wantAlert(t, client, reply, err, 10)
		}
	})
}

func TestContentTypes(t *testing.T) {
	t.Parallel()
	forEach(t, func(t *testing.T, pair fresh, tls13 bool) { //nolint:thelper // the test itself
		kinds := map[byte]byte{changeCipherSpec: 10, handshake: 100, 24: 10, 99: 10}
		if tls13 {
			kinds[handshake] = 10
		}
		for kind, want := range kinds {
			server, client := pair()
			in := append(client.SealAs(nil, kind, []byte{1, 0, 0, 0}), seal(t, client, []byte("x"))...)
			got, reply, err := receive(server, in, len(in))
			if len(got) > 0 {
				t.Errorf("type %d: %q", kind, got)
			}
			wantAlert(t, client, reply, err, want)
		}
		server, client := pair()
		_, reply, err := receive(server, []byte{changeCipherSpec, 3, 3, 0, 1, 1}, 6)
		want := byte(20)
		if tls13 {
			want = 10
		}
		wantAlert(t, client, reply, err, want)
	})
}

func keyUpdate(asked byte) []byte { return []byte{24, 0, 0, 1, asked} }

// TestKeyUpdate is RFC 8446 section 4.6.3.
func TestKeyUpdate(t *testing.T) {
	t.Parallel()
	for _, big := range []bool{false, true} {
		server, client := tlsrecord.Pair(t, true, big)
		in := append(client.Rekey(nil, keyUpdate(0)), seal(t, client, []byte("new key"))...)
		in = client.Rekey(in, keyUpdate(0)[:1], keyUpdate(0)[1:])
		in = append(in, seal(t, client, []byte(", newer key"))...)
		got, reply, err := receive(server, in, 3)
		if string(got) != "new key, newer key" || err != nil || len(reply) > 0 {
			t.Errorf("%q, %v", got, err)
		}
		out := seal(t, server, []byte("old key"))
		if got, _, err := receive(client, out, len(out)); string(got) != "old key" || err != nil {
			t.Errorf("%q, %v", got, err)
		}

		in = client.Rekey(client.Rekey(nil, keyUpdate(1)), keyUpdate(1))
		if _, reply, err = receive(server, in, len(in)); err != nil || len(reply) > 0 {
			t.Errorf("asked for ours: %v, %x", err, reply)
		}
		plain := len(seal(t, tlsrecord.Peer(client), []byte("x")))
		out = append(seal(t, server, []byte("x")), seal(t, server, []byte("y"))...)
		if got, _, err := receive(client, out, len(out)); string(got) != "xy" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		if n := len(out) - 2*plain; n != plain+4 { // a key update has 5 bytes
			t.Errorf("%d bytes more than the data: one key update is due", n)
		}
	}
}

func TestBadKeyUpdates(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		messages [][]byte
		want     byte
	}{
		"another value":       {[][]byte{keyUpdate(2)}, 47},
		"another length":      {[][]byte{{24, 0, 0, 2, 0, 0}}, 50},
		"two in a record":     {[][]byte{append(keyUpdate(0), keyUpdate(0)...)}, 10},
		"something behind":    {[][]byte{append(keyUpdate(0), 4)}, 10},
		"a ClientHello":       {[][]byte{{1, 0, 0, 2, 3, 3}}, 10},
		"a session ticket":    {[][]byte{{4, 0, 0, 1, 0}}, 10},
		"nothing":             {[][]byte{nil}, 10},
		"a fragment of none":  {[][]byte{keyUpdate(0)[:2], nil}, 10},
		"the first byte else": {[][]byte{{11}}, 10},
	} {
		server, client := tlsrecord.Pair(t, true, false)
		in := client.Rekey(nil, tc.messages...)
		t.Run(name, func(t *testing.T) {
			_, reply, err := receive(server, in, len(in))
			wantAlert(t, client, reply, err, tc.want)
		})
	}

	server, client := tlsrecord.Pair(t, true, false)
	in := client.SealAs(client.SealAs(nil, handshake, keyUpdate(0)[:3]), application, []byte("between"))
	got, reply, err := receive(server, in, len(in))
	if len(got) > 0 {
		t.Errorf("%q", got)
	}
	wantAlert(t, client, reply, err, 10)

	server, client = tlsrecord.Pair(t, true, false)
	in = client.SealAs(client.SealAs(nil, handshake, keyUpdate(0)), application, []byte("old key"))
	_, reply, err = receive(server, in, len(in))
	wantAlert(t, client, reply, err, 20)
}

// TestManyKeyUpdates has a peer change its key with every record.
func TestManyKeyUpdates(t *testing.T) {
	t.Parallel()
	server, client := tlsrecord.Pair(t, true, false)
	for i := range 100 {
		in := append(client.Rekey(nil, keyUpdate(1)), seal(t, client, []byte("x"))...)
		_, reply, err := receive(server, in, len(in))
		if err == nil {
			continue
		}
		if i < 16 {
			t.Errorf("key update %d: %v", i, err)
		}
		wantAlert(t, client, reply, err, 10)
		return
	}
	t.Error("there is no end to key updates")
}

func TestUsedUp(t *testing.T) {
	t.Parallel()
	forEach(t, func(t *testing.T, pair fresh, tls13 bool) { //nolint:thelper // the test itself
		server, client := pair()
		server.Wear()
		out, err := server.Seal(nil, random(40_000))
		if !tls13 {
			if err == nil {
				t.Error("a key of TLS 1.2 is used for ever")
			}
			return
		}
		out = append(out, seal(t, server, []byte("more"))...)
		if got, _, err := receive(client, out, 999); err != nil || !bytes.Equal(got, append(random(40_000), "more"...)) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		server.WearSequence()
		in := seal(t, client, []byte("x"))
		if _, _, err := receive(server, in, len(in)); err == nil {
			t.Error("sequence numbers begin anew")
		}
	})
}

func TestAllocations(t *testing.T) {
	for _, tls13 := range []bool{false, true} {
		server, client := tlsrecord.Pair(t, tls13, false)
		data, out, in, b := random(300), make([]byte, 0, 1000), make([]byte, 0, 1000), make([]byte, 1000)
		allocs := testing.AllocsPerRun(100, func() {
			in, _ = client.Seal(in[:0], data)
			n := server.Pending(b)
			n += copy(b[n:], in)
			n, out, _ = server.Open(b[:n], out[:0])
			if !bytes.Equal(b[:n], data) {
				t.Error("not what was sent")
			}
		})
		if allocs > 0 {
			t.Errorf("13=%t: %v allocations for a record", tls13, allocs)
		}
	}
}

// FuzzOpen has a client send records of any type and size, changed or not, and
// checks that it makes no difference where what it sends is divided.
func FuzzOpen(f *testing.F) {
	f.Add(true, []byte{application, 5, application, 0, alert, 2}, uint16(0), byte(0), uint8(3))
	f.Add(false, []byte{application, 255, handshake, 4, application, 1}, uint16(7), byte(1), uint8(1))
	f.Add(true, []byte{handshake, 5, application, 9}, uint16(60), byte(0), uint8(9))
	f.Fuzz(func(t *testing.T, tls13 bool, script []byte, at uint16, mask byte, size uint8) {
		_, client := tlsrecord.Pair(t, tls13, false)
		var in, sent []byte
		for ; len(script) >= 2; script = script[2:] {
			data := bytes.Repeat(script[:1], int(script[1]))
			switch script[0] {
			case handshake:
				in = client.Rekey(in, keyUpdate(script[1]&1))
				continue
			case application:
				sent = append(sent, data...)
			}
			in = client.SealAs(in, script[0], data)
		}
		if len(in) > 0 {
			in[int(at)%len(in)] ^= mask
		}
		whole, _ := tlsrecord.Pair(t, tls13, false)
		parts, _ := tlsrecord.Pair(t, tls13, false)
		got, reply, err := receive(whole, bytes.Clone(in), max(1, len(in)))
		again, replyAgain, errAgain := receive(parts, in, max(1, int(size)))
		if !bytes.Equal(got, again) || !bytes.Equal(reply, replyAgain) || !errors.Is(err, errAgain) && (err != nil || errAgain != nil) {
			t.Errorf("%x, %x, %v; in pieces %x, %x, %v", got, reply, err, again, replyAgain, errAgain)
		}
		if !bytes.HasPrefix(sent, got) {
			t.Errorf("%x was not sent", got)
		}
	})
}
