package storetest

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/pki"
)

// RunCertificates runs the suite of the certificates' store.
func RunCertificates(t *testing.T, open Opener) {
	t.Helper()
	t.Run("certificates", func(t *testing.T) { t.Parallel(); certificates(t, open) })
	t.Run("deletion", func(t *testing.T) { t.Parallel(); certificateDeletion(t, open) })
	t.Run("listings", func(t *testing.T) { t.Parallel(); certificateListings(t, open) })
	t.Run("CA certificates", func(t *testing.T) { t.Parallel(); caCertificates(t, open) })
	t.Run("registration codes", func(t *testing.T) { t.Parallel(); registrationCodes(t, open) })
	t.Run("certificates of a CA", func(t *testing.T) { t.Parallel(); certificatesOfCA(t, open) })
	t.Run("expiring", func(t *testing.T) { t.Parallel(); expiring(t, open) })
}

func record(id string) pki.Record {
	return pki.Record{
		ID: iot.CertificateID(id), DER: []byte{0, 1, 0xff}, Status: pki.Inactive, Epoch: 1, Mode: pki.ModeDefault, Owner: "000000000000",
		GenerationID: "g", CustomerVersion: 1, CreatedAt: day(), UpdatedAt: day(), NotBefore: day(), NotAfter: day().Add(time.Hour),
		IssuerSerial: "serial-" + id, PublicKey: "key-" + id,
	}
}

func certificates(t *testing.T, open Opener) {
	t.Helper()
	changes := map[iot.Change]int{}
	s := open(t, func(c iot.Change) { changes[c]++ }).Certificates()
	ctx := t.Context()
	if err := s.InsertCertificate(ctx, record("a")); err != nil {
		t.Fatal(err)
	}
	if err := s.InsertCertificate(ctx, record("a")); !iot.IsKind(err, iot.KindExists) {
		t.Errorf("inserted twice: %v", err)
	}
	got, err := s.Certificate(ctx, "a")
	if err != nil || !bytes.Equal(got.DER, []byte{0, 1, 0xff}) || got.Status != pki.Inactive || !got.NotAfter.Equal(day().Add(time.Hour)) {
		t.Errorf("kept %+v, %v", got, err)
	}
	if _, err := s.Certificate(ctx, "none"); !iot.IsKind(err, iot.KindNotFound) {
		t.Errorf("what is not there: %v", err)
	}
	revoke := func(r *pki.Record) error {
		r.Status, r.Epoch, r.CustomerVersion = pki.Revoked, 7, r.CustomerVersion+1
		return nil
	}
	if err := s.ChangeCertificate(ctx, "none", revoke); !iot.IsKind(err, iot.KindNotFound) {
		t.Errorf("changing what is not there: %v", err)
	}
	if err := s.ChangeCertificate(ctx, "a", func(*pki.Record) error { return nil }); err != nil {
		t.Error(err)
	}
	buried := func(serial, key string) bool {
		t.Helper()
		is, err := s.Buried(ctx, serial, key)
		if err != nil {
			t.Fatal(err)
		}
		return is
	}
	if buried("serial-a", "key-a") {
		t.Error("buried alive")
	}
	if err := s.ChangeCertificate(ctx, "a", revoke); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Certificate(ctx, "a"); err != nil || got.Status != pki.Revoked || got.Epoch != 7 || got.CustomerVersion != 2 {
		t.Errorf("revoked: %+v, %v", got, err)
	}
	if !buried("serial-a", "other") || !buried("other", "key-a") || buried("other", "other") {
		t.Error("a revoked certificate is known by its serial and by its key")
	}
	if n := changes[iot.Change{Kind: iot.ChangeCertificate, ID: "a"}]; n != 2 {
		t.Errorf("announced %d times, want 2", n)
	}
}

func certificateDeletion(t *testing.T, open Opener) {
	t.Helper()
	var log []iot.Change
	db := open(t, func(c iot.Change) { log = append(log, c) })
	s, ctx := db.Certificates(), t.Context()
	withCertificates(t, db)
	if _, err := db.Registry().CreateThing(ctx, newThing("a", nil)); err != nil {
		t.Fatal(err)
	}
	if err := db.Registry().CreatePolicy(ctx, newPolicy("p", day()), "d", nil); err != nil {
		t.Fatal(err)
	}
	if err := db.Registry().AttachPolicy(ctx, "p", certA, 9, day()); err != nil {
		t.Fatal(err)
	}
	if err := db.Registry().AttachThing(ctx, attach("a", certB, 1)); err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	err := s.DeleteCertificate(ctx, "bbbb", certB, day(), func(r pki.Record, things, policies int) error {
		if r.ID != "bbbb" || things != 1 || policies != 0 {
			t.Errorf("check was given %s, %d, %d", r.ID, things, policies)
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Errorf("a forbidden deletion answered %v", err)
	}
	log = nil
	err = s.DeleteCertificate(ctx, "aaaa", certA, day(), func(_ pki.Record, things, policies int) error {
		if things != 0 || policies != 1 {
			t.Errorf("check was given %d, %d", things, policies)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []iot.Change{{Kind: iot.ChangePrincipal, ID: certA}, {Kind: iot.ChangeCertificate, ID: "aaaa"}}
	if !slices.Equal(log, want) {
		t.Errorf("announced %v, want %v", log, want)
	}
	if targets, err := db.Registry().PolicyTargets(ctx, "p", "", 9); err != nil || len(targets) != 0 {
		t.Errorf("the policy is still attached to %v, %v", targets, err)
	}
	if is, err := s.Buried(ctx, "", "key-aaaa"); err != nil || !is {
		t.Errorf("buried: %v, %v", is, err)
	}
	err = s.DeleteCertificate(ctx, "aaaa", certA, day(), func(pki.Record, int, int) error { return nil })
	if !iot.IsKind(err, iot.KindNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	if err := s.InsertCertificate(ctx, record("aaaa")); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Certificate(ctx, "aaaa"); err != nil || r.Epoch != 2 {
		t.Errorf("the epoch after a return is %d, %v, want 2", r.Epoch, err)
	}
}

func certificateListings(t *testing.T, open Opener) {
	t.Helper()
	s, ctx := open(t, nil).Certificates(), t.Context()
	for i, id := range []string{"c", "a", "b"} {
		r := record(id)
		r.CreatedAt = day().Add(time.Duration((i+1)/2) * time.Second)
		if err := s.InsertCertificate(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		at        time.Time
		after     iot.CertificateID
		ascending bool
		want      string
	}{
		"oldest first":  {ascending: true, want: "cab"},
		"newest first":  {want: "bac"},
		"after, oldest": {at: day().Add(time.Second), after: "a", ascending: true, want: "b"},
		"after, newest": {at: day().Add(time.Second), after: "a", want: "c"},
	} {
		list, err := s.Certificates(ctx, c.at, c.after, c.ascending, 9)
		var got strings.Builder
		for _, r := range list {
			got.WriteString(string(r.ID))
		}
		if err != nil || got.String() != c.want {
			t.Errorf("%s: %q, %v, want %q", name, got.String(), err, c.want)
		}
	}
}
