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
	"github.com/sekisho-iot/sekisho/internal/registry"
)

func caRecord(id, subject string) pki.CARecord {
	return pki.CARecord{
		ID: iot.CertificateID(id), DER: []byte{0, 2, 0xff}, Status: pki.Active, AutoRegistration: true, Mode: pki.ModeSNIOnly, Owner: "000000000000",
		GenerationID: "g", CustomerVersion: 1, CreatedAt: day(), UpdatedAt: day(), NotBefore: day(), NotAfter: day().Add(time.Hour), Subject: subject,
	}
}

func anyCA(int) error { return nil }

func caCertificates(t *testing.T, open Opener) {
	t.Helper()
	changes := map[iot.Change]int{}
	db := open(t, func(c iot.Change) { changes[c]++ })
	s, ctx := db.Certificates(), t.Context()
	boom := errors.New("boom")
	if err := s.InsertCA(ctx, caRecord("a", "s"), nil, func(int) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("forbidden: %v", err)
	}
	if err := s.InsertCA(ctx, caRecord("a", "s"), []pki.Tag{{Key: "k", Value: "v"}}, anyCA); err != nil {
		t.Fatal(err)
	}
	if err := s.InsertCA(ctx, caRecord("a", "s"), nil, anyCA); !iot.IsKind(err, iot.KindExists) {
		t.Errorf("twice: %v", err)
	}
	if tags, err := db.Registry().Tags(ctx, "cacert/a"); err != nil || !slices.Equal(tags, []registry.Tag{{Key: "k", Value: "v"}}) {
		t.Errorf("tags %v, %v", tags, err)
	}
	later := caRecord("b", "s")
	later.CreatedAt, later.AutoRegistration, later.Status = day().Add(time.Second), false, pki.Inactive
	if err := s.InsertCA(ctx, later, nil, func(same int) error {
		if same != 1 {
			t.Errorf("%d with the same subject", same)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	got, err := s.CA(ctx, "a")
	if want := caRecord("a", "s"); err != nil || !bytes.Equal(got.DER, want.DER) || got.Status != want.Status || !got.AutoRegistration || got.Subject != "s" || !got.NotAfter.Equal(want.NotAfter) {
		t.Errorf("%+v, %v", got, err)
	}
	if list, err := s.CAsBySubject(ctx, "s"); err != nil || len(list) != 2 || list[0].ID != "a" || len(list[1].DER) == 0 || list[1].AutoRegistration {
		t.Errorf("by subject: %+v, %v", list, err)
	}
	if list, err := s.CAsBySubject(ctx, "other"); err != nil || len(list) != 0 {
		t.Errorf("by another subject: %+v, %v", list, err)
	}
	if list, err := s.CAs(ctx, time.Time{}, "", false, 9); err != nil || len(list) != 2 || list[0].ID != "b" {
		t.Errorf("newest first: %+v, %v", list, err)
	}
	if list, err := s.CAs(ctx, day(), "a", true, 9); err != nil || len(list) != 1 || list[0].ID != "b" {
		t.Errorf("after a: %+v, %v", list, err)
	}
	change := func(r *pki.CARecord) error {
		r.Status, r.AutoRegistration, r.CustomerVersion = pki.Inactive, false, r.CustomerVersion+1
		return nil
	}
	if err := s.ChangeCA(ctx, "none", change); !iot.IsKind(err, iot.KindNotFound) {
		t.Errorf("changing what is not there: %v", err)
	}
	if err := errors.Join(s.ChangeCA(ctx, "a", change), s.ChangeCA(ctx, "a", func(*pki.CARecord) error { return nil })); err != nil {
		t.Error(err)
	}
	if got, err := s.CA(ctx, "a"); err != nil || got.Status != pki.Inactive || got.AutoRegistration || got.CustomerVersion != 2 {
		t.Errorf("changed: %+v, %v", got, err)
	}
	if err := s.DeleteCA(ctx, "a", func(pki.CARecord) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("a forbidden deletion: %v", err)
	}
	if err := s.DeleteCA(ctx, "a", func(pki.CARecord) error { return nil }); err != nil {
		t.Error(err)
	}
	if n := changes[iot.Change{Kind: iot.ChangeCA, ID: "a"}]; n != 3 {
		t.Errorf("announced %d times, want 3", n)
	}
	if _, err := s.CA(ctx, "a"); !iot.IsKind(err, iot.KindNotFound) {
		t.Errorf("after deletion: %v", err)
	}
	if err := s.DeleteCA(ctx, "a", func(pki.CARecord) error { return nil }); !iot.IsKind(err, iot.KindNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	if tags, err := db.Registry().Tags(ctx, "cacert/a"); err == nil && len(tags) > 0 {
		t.Errorf("tags are left: %v", tags)
	}
}

func registrationCodes(t *testing.T, open Opener) {
	t.Helper()
	s, ctx := open(t, nil).Certificates(), t.Context()
	for _, c := range []struct{ account, fresh, want string }{{"1", "x", "x"}, {"1", "y", "x"}, {"2", "z", "z"}} {
		if code, err := s.RegistrationCode(ctx, iot.AccountID(c.account), c.fresh); err != nil || code != c.want {
			t.Errorf("account %s: %q, %v, want %q", c.account, code, err, c.want)
		}
	}
	if err := s.DeleteRegistrationCode(ctx, "1"); err != nil {
		t.Error(err)
	}
	if err := s.DeleteRegistrationCode(ctx, "1"); !iot.IsKind(err, iot.KindNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	if code, err := s.RegistrationCode(ctx, "2", "n"); err != nil || code != "z" {
		t.Errorf("the other account's: %q, %v", code, err)
	}
}

func certificatesOfCA(t *testing.T, open Opener) {
	t.Helper()
	s, ctx := open(t, nil).Certificates(), t.Context()
	enrol := func(id, serial, key string) error {
		r := record(id)
		r.CAID, r.Status, r.IssuerSerial, r.PublicKey = "ca", pki.PendingActivation, serial, key
		return s.EnrolCertificate(ctx, r)
	}
	wantDenied := func(what string, err error) {
		t.Helper()
		if !iot.IsKind(err, iot.KindDenied) {
			t.Errorf("%s: %v", what, err)
		}
	}
	wantDenied("no CA", enrol("a", "s", "k"))
	if err := s.InsertCA(ctx, caRecord("ca", "s"), nil, anyCA); err != nil {
		t.Fatal(err)
	}
	if err := enrol("a", "s", "k"); err != nil {
		t.Fatal(err)
	}
	if err := enrol("a", "s", "k"); !iot.IsKind(err, iot.KindExists) {
		t.Errorf("twice: %v", err)
	}
	wantDenied("the same serial", enrol("b", "s", "other"))
	if err := enrol("b", "s2", "k"); err != nil {
		t.Errorf("the same key: %v", err)
	}
	if err := s.ChangeCertificate(ctx, "a", func(r *pki.Record) error { r.Status, r.CustomerVersion = pki.Revoked, 2; return nil }); err != nil {
		t.Fatal(err)
	}
	wantDenied("a revoked one's key", enrol("c", "s3", "k"))
	wantDenied("a revoked one's serial", enrol("c", "s", "k3"))
	gone := record("gone")
	gone.Status, gone.IssuerSerial, gone.PublicKey = pki.Revoked, "s4", "k4"
	if err := s.InsertCertificate(ctx, gone); err != nil {
		t.Fatal(err)
	}
	wantDenied("the serial of one registered as revoked", enrol("c", "s4", "k5"))
	for _, change := range []func(*pki.CARecord){
		func(r *pki.CARecord) { r.AutoRegistration = false },
		func(r *pki.CARecord) { r.AutoRegistration, r.Status = true, pki.Inactive },
	} {
		if err := s.ChangeCA(ctx, "ca", func(r *pki.CARecord) error { change(r); r.CustomerVersion++; return nil }); err != nil {
			t.Fatal(err)
		}
		wantDenied("a CA that registers nothing", enrol("d", "s6", "k6"))
	}
	for name, c := range map[string]struct {
		ca        iot.CertificateID
		at        time.Time
		after     iot.CertificateID
		ascending bool
		want      string
	}{
		"all":     {ca: "ca", ascending: true, want: "ab"},
		"newest":  {ca: "ca", want: "ba"},
		"after":   {ca: "ca", at: day(), after: "a", ascending: true, want: "b"},
		"another": {ca: "none", want: ""},
	} {
		list, err := s.CertificatesByCA(ctx, c.ca, c.at, c.after, c.ascending, 9)
		var got strings.Builder
		for _, r := range list {
			got.WriteString(string(r.ID))
		}
		if err != nil || got.String() != c.want {
			t.Errorf("%s: %q, %v, want %q", name, got.String(), err, c.want)
		}
	}
}

func expiring(t *testing.T, open Opener) {
	t.Helper()
	s, ctx := open(t, nil).Certificates(), t.Context()
	for i, id := range []string{"c", "b", "a", "z"} {
		r := record(id)
		r.Status, r.NotAfter = pki.Active, day().Add(time.Duration(i)*time.Hour)
		if id == "z" {
			r.Status = pki.Inactive
		}
		if err := s.InsertCertificate(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	n, first, err := s.Expiring(ctx, day(), day().Add(3*time.Hour), 1)
	if err != nil || n != 2 || len(first) != 1 || first[0].ID != "b" {
		t.Errorf("%d, %+v, %v", n, first, err)
	}
	if n, first, err := s.Expiring(ctx, day().Add(2*time.Hour), day().Add(9*time.Hour), 1); err != nil || n != 0 || len(first) != 0 {
		t.Errorf("later: %d, %+v, %v", n, first, err)
	}
}
