package sts_test

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iam"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/sts"
)

func TestDeviceSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device()
	c := w.credentials(d)
	if len(c.AccessKeyID) != 20 || !strings.HasPrefix(c.AccessKeyID, "ASIA") || len(c.SecretAccessKey) != 40 || len(c.SessionToken) > 500 {
		t.Errorf("the credentials look like this: %+v (token of %d)", c, len(c.SessionToken))
	}
	if !c.Expiration.Equal(w.clock.Add(time.Hour)) {
		t.Errorf("they expire at %v", c.Expiration)
	}
	i := w.caller(c.AccessKeyID, c.SessionToken)
	if i.SecretAccessKey != c.SecretAccessKey {
		t.Error("the secret is another")
	}
	role, err := w.iam.Role(t.Context(), "uploader")
	ok(t, err)
	wantARN := "arn:aws:sts::" + account + ":assumed-role/uploader/" + string(d.Certificate)
	if i.Principal.ARN != wantARN || i.Principal.RoleARN != role.ARN || i.Principal.UserID != role.ID+":"+string(d.Certificate) {
		t.Errorf("the principal is %+v", i.Principal)
	}
	for key, want := range map[string]string{
		"aws:userid":                       role.ID + ":" + string(d.Certificate),
		"aws:principalarn":                 role.ARN,
		"aws:principalaccount":             account,
		"aws:principaltype":                "AssumedRole",
		"aws:tokenissuetime":               "2026-03-01T12:00:00Z",
		"credentials-iot:awscertificateid": string(d.Certificate),
		"credentials-iot:thingname":        "lamp-1",
		"credentials-iot:thingtypename":    "lamp",
	} {
		if v := i.Lookup(key); !v.Set || v.One != want {
			t.Errorf("%s is %+v, want %s", key, v, want)
		}
	}
	if v := i.Lookup("aws:username"); v.Set || v.Why == "" {
		t.Errorf("aws:username is %+v", v)
	}
	without, err := w.prov.Credentials(t.Context(), d, "", false, "uploads")
	ok(t, err)
	i = w.caller(without.AccessKeyID, without.SessionToken)
	if i.ThingName != "" || i.Lookup("credentials-iot:thingname").Set || i.Lookup("credentials-iot:thingtypename").Set || !i.Lookup("credentials-iot:awscertificateid").Set {
		t.Error("without a thing header the thing variables are set, or the certificate's is not")
	}
}

func TestHotPathAllocations(t *testing.T) { //nolint:paralleltest // AllocsPerRun counts everybody's
	w := newWorld(t)
	c := w.credentials(w.device())
	i := w.caller(c.AccessKeyID, c.SessionToken)
	if n := testing.AllocsPerRun(100, func() { i.Lookup("credentials-iot:thingname"); i.Lookup("aws:principaltag/x") }); n != 0 {
		t.Errorf("a lookup allocates %v times", n)
	}
	if n := testing.AllocsPerRun(100, func() { w.caller(c.AccessKeyID, c.SessionToken) }); n > 2 {
		t.Errorf("authenticating an opened session allocates %v times", n)
	}
}

func TestForgedTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device()
	mine, other := w.credentials(d), w.credentials(d)
	refuse := func(what, key, token string) {
		t.Helper()
		i, err := w.auth.Authenticate(t.Context(), key, token)
		if err == nil || i != nil {
			t.Errorf("accepted: %s", what)
			return
		}
		if !iot.IsKind(err, iot.KindBadToken) && !iot.IsKind(err, iot.KindUnknownKey) {
			t.Errorf("%s: %v", what, err)
		}
		if strings.Contains(err.Error(), mine.SecretAccessKey) || strings.Contains(err.Error(), mine.SessionToken) {
			t.Errorf("%s: the error holds a secret", what)
		}
	}
	for range 2 { // cold, then with both sessions opened
		refuse("another session's token", mine.AccessKeyID, other.SessionToken)
		refuse("no token", mine.AccessKeyID, "")
		refuse("a long-term key with a token", adminKey, mine.SessionToken)
		refuse("an empty key", "", mine.SessionToken)
		refuse("a key that nobody has", "AKIANOBODYNOBODYNOBO", "")
		refuse("a line end in the token", mine.AccessKeyID, mine.SessionToken[:8]+"\n"+mine.SessionToken[8:])
		refuse("a long token", mine.AccessKeyID, strings.Repeat("A", 1<<20))
		w.caller(mine.AccessKeyID, mine.SessionToken)
		w.caller(other.AccessKeyID, other.SessionToken)
	}
	for i := range mine.SessionToken {
		b := []byte(mine.SessionToken)
		for _, to := range []byte{'A', 'B', '/', '='} {
			if b[i] != to {
				b[i] = to
				refuse("a changed character", mine.AccessKeyID, string(b))
				break
			}
		}
		if i > 0 {
			refuse("a truncated token", mine.AccessKeyID, mine.SessionToken[:i])
		}
	}
	refuse("an extended token", mine.AccessKeyID, mine.SessionToken+"AAAA")
	foreign := newWorld(t)
	theirs := foreign.credentials(foreign.device())
	refuse("another server's token", theirs.AccessKeyID, theirs.SessionToken)
	w.clock = w.clock.Add(time.Hour - time.Second)
	w.caller(mine.AccessKeyID, mine.SessionToken)
	w.clock = w.clock.Add(time.Second)
	_, err := w.auth.Authenticate(t.Context(), mine.AccessKeyID, mine.SessionToken)
	wantKind(t, err, iot.KindExpired)
	_, err = w.auth.Authenticate(t.Context(), other.AccessKeyID, mine.SessionToken)
	wantKind(t, err, iot.KindBadToken)
}

// Whatever happens to what stands behind a session ends it, and the sessions
// derived from it, at once; nothing that is made anew under the same name
// brings it back.
func TestRevocation(t *testing.T) {
	t.Parallel()
	const thing = "lamp-1"
	recreate := func(w *world, name string) {
		ok(w.tb, w.iam.DeleteInlinePolicy(w.tb.Context(), iam.Holder{Kind: iam.RoleHolder, Name: name}, "inline"))
		ok(w.tb, w.iam.DeleteRole(w.tb.Context(), name))
		w.role(name, trustIoT, allowAll)
	}
	for name, change := range map[string]func(w *world, c *cert, d sts.Device){
		"certificate inactive":    func(_ *world, c *cert, _ sts.Device) { c.active = false },
		"certificate reactivated": func(_ *world, c *cert, _ sts.Device) { c.epoch++ },
		"certificate deleted":     func(w *world, _ *cert, d sts.Device) { delete(w.certs, d.Certificate) },
		"thing detached":          func(_ *world, c *cert, _ sts.Device) { delete(c.things, thing) },
		"thing reattached": func(_ *world, c *cert, _ sts.Device) {
			a := c.things[thing]
			a.Incarnation++
			c.things[thing] = a
		},
		"thing recreated": func(_ *world, c *cert, _ sts.Device) {
			a := c.things[thing]
			a.ThingID = "another"
			c.things[thing] = a
		},
		"role deleted": func(w *world, _ *cert, _ sts.Device) {
			ok(w.tb, w.iam.DeleteInlinePolicy(w.tb.Context(), iam.Holder{Kind: iam.RoleHolder, Name: "uploader"}, "inline"))
			ok(w.tb, w.iam.DeleteRole(w.tb.Context(), "uploader"))
		},
		"role recreated": func(w *world, _ *cert, _ sts.Device) { recreate(w, "uploader") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			d := w.device()
			c := w.credentials(d)
			caller := w.caller(c.AccessKeyID, c.SessionToken)
			w.role("second", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"`+account+`"},"Action":"sts:AssumeRole"}}`, allowAll)
			derived, err := w.sts.AssumeRole(t.Context(), caller, caller, sts.AssumeRoleInput{RoleARN: "arn:aws:iam::" + account + ":role/second", SessionName: "derived"})
			ok(t, err)
			child := w.caller(derived.AccessKeyID, derived.SessionToken)
			if child.CertificateID != d.Certificate || child.Lookup("credentials-iot:thingname").Set {
				t.Error("a derived session must carry the device and not speak for it")
			}
			ok(t, recheck(t, w, caller))
			ok(t, recheck(t, w, child))

			change(w, w.certs[d.Certificate], d)

			for _, k := range []sts.Credentials{c, derived.Credentials} {
				_, err := w.auth.Authenticate(t.Context(), k.AccessKeyID, k.SessionToken)
				wantKind(t, err, iot.KindDenied)
				cold := sts.NewAuthenticator(sts.Config{Account: account, Region: region, Keys: w.ring, Directory: w, Devices: w, Now: func() time.Time { return w.clock }})
				_, err = cold.Authenticate(t.Context(), k.AccessKeyID, k.SessionToken)
				wantKind(t, err, iot.KindDenied)
				_, err = w.auth.Find(t.Context(), k.AccessKeyID)
				wantKind(t, err, iot.KindDenied)
				if !strings.Contains(err.Error(), "(session ") {
					t.Errorf("the operator does not learn whose session it is: %v", err)
				}
			}
			wantKind(t, recheck(t, w, caller), iot.KindDenied)
			wantKind(t, recheck(t, w, child), iot.KindDenied)
		})
	}
}

func TestUserLineage(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(w *world, key string){
		"key deactivated": func(w *world, key string) {
			ok(w.tb, w.iam.UpdateAccessKey(w.tb.Context(), "bob", key, "Inactive"))
		},
		"key deleted": func(w *world, key string) { ok(w.tb, w.iam.DeleteAccessKey(w.tb.Context(), "bob", key)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			_, err := w.iam.CreateUser(t.Context(), iam.CreateUserInput{Name: "bob"})
			ok(t, err)
			k, secret, err := w.iam.CreateAccessKey(t.Context(), "bob")
			ok(t, err)
			bob := w.caller(k.ID, "")
			if bob.SecretAccessKey != secret || bob.Principal.ARN != "arn:aws:iam::"+account+":user/bob" || bob.Lookup("aws:username").One != "bob" {
				t.Errorf("bob is %+v", bob.Principal)
			}
			w.role("ops", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::`+account+`:user/bob"},"Action":"sts:AssumeRole"}}`, allowAll)
			got, err := w.sts.AssumeRole(t.Context(), bob, bob, sts.AssumeRoleInput{RoleARN: "arn:aws:iam::" + account + ":role/ops", SessionName: "work"})
			ok(t, err)
			w.caller(got.AccessKeyID, got.SessionToken)
			end(w, k.ID)
			_, err = w.auth.Authenticate(t.Context(), got.AccessKeyID, got.SessionToken)
			wantKind(t, err, iot.KindDenied)
			_, err = w.auth.Authenticate(t.Context(), k.ID, "")
			wantKind(t, err, iot.KindUnknownKey)
			wantKind(t, recheck(t, w, bob), iot.KindDenied)
		})
	}
}

func TestAdministrator(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	admin := w.caller(adminKey, "")
	if !admin.Grants.Root || admin.Principal.ARN != "arn:aws:iam::"+account+":root" || admin.Principal.UserID != account || admin.Lookup("aws:principaltype").One != "Account" {
		t.Errorf("the administrator is %+v", admin.Principal)
	}
	ok(t, w.iam.EnsureAdmin(t.Context(), adminKey, "another-secret-another-secret"))
	if w.caller(adminKey, "").SecretAccessKey != admin.SecretAccessKey {
		t.Error("a second start changed the administrator's secret")
	}
	found, err := w.auth.Find(t.Context(), adminKey)
	ok(t, err)
	if !found.Grants.Root {
		t.Error("Find does not find the administrator")
	}
	_, err = w.auth.Find(t.Context(), "ASIAAAAAAAAAAAAAAAAA")
	wantKind(t, err, iot.KindNotFound)
}

func TestKeyRingFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys.json")
	first, err := sts.OpenKeyRing(path, rand.Reader, time.Now)
	ok(t, err)
	info, err := os.Stat(path)
	ok(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the mode is %o", info.Mode().Perm())
	}
	left, err := os.ReadDir(filepath.Dir(path))
	ok(t, err)
	if len(left) != 1 {
		t.Errorf("the folder holds %v", left)
	}
	sealed, err := first.Sealer(sts.ForPageTokens).Seal([]byte("x"), nil)
	ok(t, err)
	again, err := sts.OpenKeyRing(path, rand.Reader, time.Now)
	ok(t, err)
	if plain, err := again.Sealer(sts.ForPageTokens).Open(sealed, nil); err != nil || string(plain) != "x" {
		t.Errorf("opened again, the ring is another: %v", err)
	}
	if _, err := again.Sealer(sts.ForAccessKeys).Open(sealed, nil); err == nil {
		t.Error("one purpose opens what another sealed")
	}
	ok(t, os.Chmod(path, 0o640))
	if _, err := sts.OpenKeyRing(path, rand.Reader, time.Now); err == nil {
		t.Error("a key ring that others can read was accepted")
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	w := newWorld(b)
	c := w.credentials(w.device())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.auth.Authenticate(b.Context(), c.AccessKeyID, c.SessionToken); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkProvider(b *testing.B) {
	w := newWorld(b)
	d := w.device()
	b.ReportAllocs()
	for b.Loop() {
		w.credentials(d)
	}
}

func recheck(t *testing.T, w *world, id *sts.Identity) error {
	t.Helper()
	again, err := w.auth.Recheck(t.Context(), id)
	if err == nil && (again == id || again.Principal != id.Principal || again.SecretAccessKey != id.SecretAccessKey) {
		t.Error("another identity came back, or the same one")
	}
	return err
}
