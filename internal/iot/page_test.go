package iot

import (
	"bytes"
	"regexp"
	"testing"
)

func TestPageTokens(t *testing.T) {
	t.Parallel()
	marker := regexp.MustCompile(`^[A-Za-z0-9+/]+={0,2}$`)
	for _, key := range []string{"a", "thing-1", "0001\x00x", "ü"} {
		tok := PageToken("things", key)
		if !marker.MatchString(tok) {
			t.Errorf("token %q is no marker", tok)
		}
		if got, err := ParsePageToken("things", tok); err != nil || got != key {
			t.Errorf("ParsePageToken = %q, %v, want %q", got, err, key)
		}
		for _, bad := range []string{tok[:len(tok)-1], "A" + tok, tok + "\n", "!", "abcd"} {
			if got, err := ParsePageToken("things", bad); !IsKind(err, KindInvalid) {
				t.Errorf("token %q gave %q, %v", bad, got, err)
			}
		}
		if _, err := ParsePageToken("policies", tok); !IsKind(err, KindInvalid) {
			t.Errorf("a token of another listing was accepted: %v", err)
		}
	}
}

func FuzzParsePageToken(f *testing.F) {
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, token string) {
		key, err := ParsePageToken("s", token)
		if err == nil && token != "" && PageToken("s", key) != token {
			t.Errorf("token %q stands for %q, whose token is another", token, key)
		}
	})
}

func TestNewUUID(t *testing.T) {
	t.Parallel()
	got, err := NewUUID(bytes.NewReader(bytes.Repeat([]byte{0xff}, 16)))
	if want := "ffffffff-ffff-4fff-bfff-ffffffffffff"; err != nil || got != want {
		t.Errorf("NewUUID = %q, %v, want %q", got, err, want)
	}
	if _, err := NewUUID(bytes.NewReader(nil)); err == nil {
		t.Error("no randomness, yet a UUID")
	}
}
