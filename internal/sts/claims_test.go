package sts

import (
	"crypto/rand"
	"encoding/base64"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

func manyClaims() []*claims {
	id := keyIDText(make([]byte, keyIDBytes))
	return []*claims{
		{AccessKeyID: id, RoleID: "AROAABCDEFGHIJKLMNOPQ", SessionName: "s", Issued: 1, Expires: 2},
		{AccessKeyID: id, Federated: true, SessionName: "guest", Issued: 1, Expires: 2, KeyID: "AKIA1", KeyEpoch: 4, UserID: "AIDA1"},
		{
			AccessKeyID: id, RoleID: "AROAABCDEFGHIJKLMNOPQ", SessionName: "s", Issued: 1_800_000_000, Expires: 1_800_003_600,
			Certificate: iot.CertificateID(strings.Repeat("ab", 32)), Epoch: 3, ThingName: "t", ThingID: "x-y", ThingType: "lamp",
			Incarnation: 1<<61 - 1, Subscriber: "440101234567890", NetworkPath: "vpce-1",
			Derived: true, Parents: []string{"AROA1", "AROA2"}, KeyID: "AKIA1", UserID: "AIDA1", SourceIdentity: "bob",
			Tags:   []Tag{{Key: "k", Value: "v", Transitive: true}, {Key: "k2"}},
			Policy: `{"Statement":[]}`, Managed: []string{"ANPAIWMBCKSKIEE64ZLYK arn:aws:iam::aws:policy/AdministratorAccess"},
		},
	}
}

func TestClaimsRoundTrip(t *testing.T) {
	t.Parallel()
	for _, c := range manyClaims() {
		b, err := c.encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeClaims(b)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, c) {
			t.Errorf("decoded %+v\nwant %+v", got, c)
		}
		for i := range b {
			if _, err := decodeClaims(b[:i]); err == nil {
				t.Errorf("%d of %d bytes were decoded", i, len(b))
			}
		}
		if _, err := decodeClaims(append(b, 0)); err == nil {
			t.Error("a byte too many was decoded")
		}
	}
}

func FuzzDecodeClaims(f *testing.F) {
	for _, c := range manyClaims() {
		b, err := c.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeClaims(b)
		if err != nil || c.Policy != "" { // a document has more than one deflated form
			return
		}
		again, err := c.encode()
		if err != nil || string(again) != string(b) {
			t.Errorf("%x decodes to %+v, which encodes to %x, %v", b, c, again, err)
		}
	})
}

func FuzzOpenToken(f *testing.F) {
	now := func() time.Time { return time.Unix(1_800_000_000, 0) }
	ring, err := OpenKeyRing(filepath.Join(f.TempDir(), "keys"), rand.Reader, now)
	if err != nil {
		f.Fatal(err)
	}
	issued := map[string]bool{}
	for _, c := range manyClaims() {
		cred, _, err := ring.issue(c)
		if err != nil {
			f.Fatal(err)
		}
		issued[cred.SessionToken] = true
		f.Add(cred.SessionToken)
	}
	f.Fuzz(func(t *testing.T, token string) {
		_, _, err := ring.openToken(token, now())
		if err == nil && !issued[token] {
			t.Errorf("a forged token was opened: %q", token)
		}
		if err != nil && !iot.IsKind(err, iot.KindBadToken) {
			t.Errorf("%q: %v", token, err)
		}
	})
}

func TestUnpackIsBounded(t *testing.T) {
	t.Parallel()
	doc := `{"Sid":"` + strings.Repeat("a", 2*maxPolicyBytes) + `"}`
	packed, deflated, err := pack(doc)
	if err != nil || !deflated || len(packed) > 200 {
		t.Fatal(len(packed), deflated, err)
	}
	if _, err := unpack(packed, true); err == nil {
		t.Error("a document over the limit was inflated")
	}
}

func TestRetiredKeys(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	secret := base64.StdEncoding.EncodeToString(make([]byte, keySize))
	other := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", keySize)))
	old, err := parseKeyRing([]byte(`{"keys":[{"id":1,"secret":"`+secret+`"}]}`), rand.Reader, clock)
	if err != nil {
		t.Fatal(err)
	}
	c := manyClaims()[0]
	cred, _, err := old.issue(c)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := old.Sealer(ForAccessKeys).Seal([]byte("secret"), []byte("AKIA"))
	if err != nil {
		t.Fatal(err)
	}
	rotated, err := parseKeyRing([]byte(`{"keys":[{"id":2,"secret":"`+other+`"},{"id":1,"retired":"2026-01-01T00:00:00Z","secret":"`+secret+`"}]}`), rand.Reader, clock)
	if err != nil {
		t.Fatal(err)
	}
	if _, k, err := rotated.openToken(cred.SessionToken, now.Add(maxSession-time.Second)); err != nil || k.secret(cred.AccessKeyID) != cred.SecretAccessKey {
		t.Errorf("a retired key does not open within the longest session: %v", err)
	}
	if _, _, err := rotated.openToken(cred.SessionToken, now.Add(maxSession)); !iot.IsKind(err, iot.KindBadToken) {
		t.Errorf("a retired key still opens after the longest session: %v", err)
	}
	if plain, err := rotated.Sealer(ForAccessKeys).Open(sealed, []byte("AKIA")); err != nil || string(plain) != "secret" {
		t.Errorf("what a retired key sealed at rest does not open: %v", err)
	}
	compromised, err := parseKeyRing([]byte(`{"keys":[{"id":2,"secret":"`+other+`"}]}`), rand.Reader, clock)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := compromised.openToken(cred.SessionToken, now); !iot.IsKind(err, iot.KindBadToken) {
		t.Errorf("a dropped key still opens: %v", err)
	}
	for _, damaged := range []string{
		`{}`, `{"keys":[]}`, `[`, `{"keys":[{"id":1,"secret":"AAAA"}]}`, `{"keys":[{"id":0,"secret":"` + secret + `"}]}`,
		`{"keys":[{"id":1,"secret":"` + secret + `"},{"id":1,"secret":"` + other + `"}]}`,
		`{"keys":[{"id":1,"retired":"2026-01-01T00:00:00Z","secret":"` + secret + `"}]}`,
	} {
		if _, err := parseKeyRing([]byte(damaged), rand.Reader, clock); err == nil {
			t.Errorf("this key ring was accepted: %s", damaged)
		}
	}
}

func BenchmarkOpenToken(b *testing.B) {
	now := func() time.Time { return time.Unix(1_800_000_000, 0) }
	ring, err := OpenKeyRing(filepath.Join(b.TempDir(), "keys"), rand.Reader, now)
	if err != nil {
		b.Fatal(err)
	}
	c := manyClaims()[1]
	c.Policy, c.Managed, c.Tags, c.Parents = "", nil, nil, nil
	cred, _, err := ring.issue(c)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		_, k, err := ring.openToken(cred.SessionToken, now())
		if err != nil || k.secret(cred.AccessKeyID) != cred.SecretAccessKey {
			b.Fatal(err)
		}
	}
}

func BenchmarkIssue(b *testing.B) {
	now := func() time.Time { return time.Unix(1_800_000_000, 0) }
	ring, err := OpenKeyRing(filepath.Join(b.TempDir(), "keys"), rand.Reader, now)
	if err != nil {
		b.Fatal(err)
	}
	c := manyClaims()[1]
	c.Policy, c.Managed, c.Tags, c.Parents = "", nil, nil, nil
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := ring.issue(c); err != nil {
			b.Fatal(err)
		}
	}
}
