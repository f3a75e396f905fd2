package sts

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// The vectors of https://c2sp.org/XAES-256-GCM.
func TestXAESVectors(t *testing.T) {
	t.Parallel()
	for _, v := range []struct {
		key           byte
		context, want string
	}{
		{1, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{3, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		x, err := newXAES(bytes.Repeat([]byte{v.key}, 32))
		if err != nil {
			t.Fatal(err)
		}
		nonce := "ABCDEFGHIJKLMNOPQRSTUVWX"
		sealed, err := x.seal(nil, bytes.NewReader([]byte(nonce)), []byte("XAES-256-GCM"), []byte(v.context))
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(sealed[xaesNonce:]); got != v.want {
			t.Errorf("key %d: sealed to %s, want %s", v.key, got, v.want)
		}
		plain, err := x.open(sealed, []byte(v.context))
		if err != nil || string(plain) != "XAES-256-GCM" {
			t.Errorf("key %d: opened to %q, %v", v.key, plain, err)
		}
		if _, err := x.open(sealed, []byte("another context")); err == nil {
			t.Errorf("key %d: opened in another context", v.key)
		}
	}
}
