package servertest_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"

	"github.com/sekisho-iot/sekisho/internal/servertest"
	"github.com/sekisho-iot/sekisho/internal/sts"
)

type ringKey struct {
	ID      uint32     `json:"id"`
	Created time.Time  `json:"created"`
	Retired *time.Time `json:"retired,omitempty"`
	Secret  []byte     `json:"secret"`
}

func editRing(t *testing.T, s *servertest.Server, change func(keys []ringKey) []ringKey) func() {
	t.Helper()
	return func() {
		path := filepath.Join(s.Data, "keys.json")
		raw, err := os.ReadFile(path)
		must(t, err)
		var ring struct {
			Keys []ringKey `json:"keys"`
		}
		must(t, json.Unmarshal(raw, &ring))
		ring.Keys = change(ring.Keys)
		raw, err = json.Marshal(ring)
		must(t, err)
		must(t, os.WriteFile(path, raw, 0o600))
	}
}

// A retired key opens the sessions it sealed, for as long as one can last; a key
// that was taken away opens nothing.
func TestSecurityRule5_Rotation(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	session := s.Enrol("pump").Session()
	fresh := ringKey{ID: 2, Created: s.Clock.Now(), Secret: make([]byte, 32)}
	_, err := rand.Read(fresh.Secret)
	must(t, err)
	retire := func(at time.Time) func([]ringKey) []ringKey {
		return func(keys []ringKey) []ringKey {
			old := keys[len(keys)-1]
			old.Retired = &at
			return []ringKey{fresh, old}
		}
	}
	s.Restart(editRing(t, s, retire(s.Clock.Now())))
	must(t, put(t, s.S3As(session), "pump/x"))
	second := s.Enrol("valve").Session()
	s.Restart(editRing(t, s, retire(s.Clock.Now().Add(-36*time.Hour))))
	wantCode(t, put(t, s.S3As(session), "pump/x"), "InvalidToken")
	must(t, put(t, s.S3As(second), "valve/x"))
	s.Restart(editRing(t, s, func(keys []ringKey) []ringKey { keys[0].ID = 3; return keys[:1] }))
	wantCode(t, put(t, s.S3As(second), "valve/x"), "InvalidToken")
}

// What was sealed for another purpose is no session token.
func TestSecurityRule5_Purposes(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	k := retrieve(t, s.Enrol("pump").Session())
	ring, err := sts.OpenKeyRing(filepath.Join(s.Data, "keys.json"), rand.Reader, s.Clock.Now)
	must(t, err)
	sealed, err := base64.StdEncoding.DecodeString(k.SessionToken)
	must(t, err)
	plain, err := ring.Sealer(sts.ForSessionTokens).Open(sealed, nil)
	must(t, err)
	for _, purpose := range []sts.Purpose{sts.ForAccessKeys, sts.ForPageTokens} {
		if _, err := ring.Sealer(purpose).Open(sealed, nil); err == nil {
			t.Errorf("purpose %d opens a session token", purpose)
		}
		forged, err := ring.Sealer(purpose).Seal(plain, nil)
		must(t, err)
		p := credentials.NewStaticCredentialsProvider(k.AccessKeyID, k.SecretAccessKey, base64.StdEncoding.EncodeToString(forged))
		wantCode(t, put(t, s.S3As(p), "pump/x"), "InvalidToken")
	}
}

// A deleted certificate stays dead, and another one of the same key is another one.
func TestSecurityRule6_Deleted(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	ctx := t.Context()
	d := s.Enrol("pump")
	c := s.S3As(d.Session())
	_, err := s.IoT.DetachThingPrincipal(ctx, &iot.DetachThingPrincipalInput{ThingName: &d.Thing, Principal: &d.CertificateARN})
	must(t, err)
	setStatus(t, s, d, iottypes.CertificateStatusRevoked)
	_, err = s.IoT.DeleteCertificate(ctx, &iot.DeleteCertificateInput{CertificateId: &d.CertificateID, ForceDelete: true})
	must(t, err)
	wantAnswer(t, d.Ask(servertest.Alias), 403, badCertificate)
	wantCode(t, put(t, c, "pump/x"), "AccessDenied")
	again := s.EnrolAgain(d)
	if again.CertificateID == d.CertificateID {
		t.Fatal("the same certificate")
	}
	wantAnswer(t, d.Ask(servertest.Alias), 403, badCertificate)
	wantAnswer(t, again.Ask(servertest.Alias), 200, "")
	wantCode(t, put(t, c, "pump/x"), "AccessDenied")
}
