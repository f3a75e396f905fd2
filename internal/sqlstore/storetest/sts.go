package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/sts"
)

// RunRoleAliases runs the suite of the store of role aliases.
func RunRoleAliases(t *testing.T, open Opener) {
	t.Helper()
	var log []iot.Change
	db := open(t, func(c iot.Change) { log = append(log, c) })
	s := db.STS()
	ctx := t.Context()
	a := sts.RoleAlias{Name: "a", RoleARN: "arn:aws:iam::000000000000:role/r", Duration: 900, CreatedAt: day(), UpdatedAt: day()}
	must(t, s.InsertAlias(ctx, a, []sts.Tag{{Key: "k", Value: "v"}}))
	kind(t, s.InsertAlias(ctx, a, nil), iot.KindExists, "")
	got, err := s.Alias(ctx, "a")
	must(t, err)
	if got != a {
		t.Errorf("kept %+v", got)
	}
	if tags, err := db.Registry().Tags(ctx, "rolealias/a"); err != nil || len(tags) != 1 || tags[0].Value != "v" {
		t.Errorf("tagged %v, %v", tags, err)
	}
	seconds := 1800
	must(t, s.UpdateAlias(ctx, "a", sts.AliasChange{Duration: &seconds}, day().Add(time.Hour)))
	got, err = s.Alias(ctx, "a")
	must(t, err)
	if got.Duration != 1800 || got.RoleARN != a.RoleARN || !got.UpdatedAt.Equal(day().Add(time.Hour)) || !got.CreatedAt.Equal(day()) {
		t.Errorf("changed to %+v", got)
	}
	kind(t, s.UpdateAlias(ctx, "A", sts.AliasChange{}, day()), iot.KindNotFound, "")
	for _, n := range []string{"B", "c"} {
		a.Name = n
		must(t, s.InsertAlias(ctx, a, nil))
	}
	names := func(after string, ascending bool, limit int) []string {
		list, err := s.Aliases(ctx, after, ascending, limit)
		must(t, err)
		var n []string
		for _, a := range list {
			n = append(n, a.Name)
		}
		return n
	}
	if got := names("", true, 2); !slices.Equal(got, []string{"B", "a"}) {
		t.Errorf("listed %v", got)
	}
	if got := names("a", true, 2); !slices.Equal(got, []string{"c"}) {
		t.Errorf("listed %v", got)
	}
	if got := names("", false, 9); !slices.Equal(got, []string{"c", "a", "B"}) {
		t.Errorf("listed %v", got)
	}
	if got := names("a", false, 9); !slices.Equal(got, []string{"B"}) {
		t.Errorf("listed %v", got)
	}
	log = nil
	must(t, s.DeleteAlias(ctx, "a"))
	kind(t, s.DeleteAlias(ctx, "a"), iot.KindNotFound, "")
	if !slices.Equal(log, []iot.Change{{Kind: iot.ChangeRoleAlias, ID: "a"}}) {
		t.Errorf("announced %v", log)
	}
	a.Name = "a"
	must(t, s.InsertAlias(ctx, a, nil))
	if tags, err := db.Registry().Tags(ctx, "rolealias/a"); err != nil || len(tags) != 0 {
		t.Errorf("a new alias of an old name is tagged %v, %v", tags, err)
	}
}
