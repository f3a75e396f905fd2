package sqlstore

import (
	"errors"
	"slices"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/iam"
)

// Roles from before trusted principals were kept: whoever is there is meant.
func TestPinOldRoles(t *testing.T) {
	t.Parallel()
	onEach(t, pinOldRoles)
}

func pinOldRoles(t *testing.T, cfg Config) {
	t.Helper()
	db := openWith(t, cfg)
	s, ctx := db.IAM(), t.Context()
	bob := iam.User{ID: "AIDABOB", Name: "bob", Path: "/", ARN: "arn:aws:iam::000000000000:user/bob"}
	role := iam.Role{ID: "AROAR", Name: "r", Path: "/", ARN: "arn:aws:iam::000000000000:role/r", Trust: "{}"}
	unpin := func(t *tx) error {
		_, err := t.exec("UPDATE iam_roles SET pinned = 0")
		return err
	}
	if err := errors.Join(s.InsertUser(ctx, bob), s.InsertRole(ctx, role), db.write(ctx, unpin)); err != nil {
		t.Fatal(err)
	}
	old, err := s.Unpinned(ctx)
	if err != nil || len(old) != 1 || old[0].Name != "r" {
		t.Fatalf("unpinned are %v, %v", old, err)
	}
	if err := s.PinRole(ctx, "r", []iam.TrustedPrincipal{{Name: bob.ARN}, {Name: bob.ARN + "x"}}); err != nil {
		t.Fatal(err)
	}
	got, err := s.Role(ctx, "r")
	want := []iam.TrustedPrincipal{{Name: bob.ARN, ID: bob.ID, ARN: bob.ARN}, {Name: bob.ARN + "x"}}
	if err != nil || !slices.Equal(got.Trusted, want) {
		t.Errorf("it trusts %+v, %v", got.Trusted, err)
	}
	if old, err := s.Unpinned(ctx); err != nil || len(old) != 0 {
		t.Errorf("unpinned are %v, %v", old, err)
	}
}
