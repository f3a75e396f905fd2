package sts_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/sts"
)

func TestMessages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := sts.NewMessages(w.ring, func() time.Time { return w.clock })
	sizes := map[int]bool{}
	for n := range 100 {
		plain := []byte(strings.Repeat("why ", n))
		text, fits, err := m.Encode(plain)
		if err != nil || !fits || len(text) > 10240 {
			t.Fatalf("%d bytes: %d characters, %v, %v", len(plain), len(text), fits, err)
		}
		sizes[len(text)] = true
		if got, err := m.Decode(text); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("decoded to %q, %v", got, err)
		}
	}
	if len(sizes) != 1 {
		t.Errorf("the lengths of messages tell what is in them: %v", sizes)
	}
	noise := make([]byte, 8<<10)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	if _, fits, err := m.Encode(noise); err != nil || fits {
		t.Errorf("what is too long fits: %v, %v", fits, err)
	}
	text, fits, err := m.Encode(noise[:7000])
	if err != nil || !fits || len(text) > 10240 {
		t.Errorf("%d characters, %v, %v", len(text), fits, err)
	}
	// Nothing else is a message: not what another purpose sealed, nor an altered one.
	sealed, err := w.ring.Sealer(sts.ForPageTokens).Seal(make([]byte, 1024), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "!", text[1:], text[:len(text)-4], "B" + text[1:], text + "AAAA", strings.Repeat("A", 10241), base64.RawURLEncoding.EncodeToString(sealed)} {
		if _, err := m.Decode(bad); !iot.IsKind(err, iot.KindInvalid) {
			t.Errorf("%.20q… was decoded: %v", bad, err)
		}
	}
}

func FuzzDecodeMessage(f *testing.F) {
	f.Add("AAAA")
	w := newWorld(f)
	m := sts.NewMessages(w.ring, func() time.Time { return w.clock })
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := m.Decode(text); err == nil {
			t.Errorf("%q was decoded", text)
		}
	})
}
