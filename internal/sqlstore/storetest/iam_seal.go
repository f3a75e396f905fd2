package storetest

import (
	"testing"

	"github.com/sekisho-iot/sekisho/internal/iam"
	"github.com/sekisho-iot/sekisho/internal/iot"
)

func iamSealed(t *testing.T, open Opener) {
	t.Helper()
	var log []iot.Change
	s := open(t, func(c iot.Change) { log = append(log, c) }).IAM()
	ctx := t.Context()
	for _, id := range []string{"AKIAC", "AKIAA", "AKIAB"} {
		must(t, s.InsertKey(ctx, iam.AccessKey{ID: id, Active: true, Sealed: []byte("old " + id), CreatedAt: day()}, 0))
	}
	log = nil
	page, err := s.SealedKeys(ctx, "", 2)
	must(t, err)
	if len(page) != 2 || page[0].ID != "AKIAA" || page[1].ID != "AKIAB" || string(page[1].Sealed) != "old AKIAB" {
		t.Errorf("first page %+v", page)
	}
	page, err = s.SealedKeys(ctx, "AKIAB", 2)
	must(t, err)
	if len(page) != 1 || page[0].ID != "AKIAC" {
		t.Errorf("second page %+v", page)
	}
	must(t, s.ReplaceSealed(ctx, []iam.Resealed{
		{ID: "AKIAA", Was: []byte("old AKIAA"), Is: []byte("new")},
		{ID: "AKIAB", Was: []byte("another"), Is: []byte("new")}, // has changed meanwhile
		{ID: "AKIAX", Was: []byte("gone"), Is: []byte("new")},
	}))
	for id, want := range map[string]string{"AKIAA": "new", "AKIAB": "old AKIAB"} {
		k, err := s.Key(ctx, id)
		must(t, err)
		if string(k.Sealed) != want {
			t.Errorf("%s: %q, want %q", id, k.Sealed, want)
		}
	}
	if len(log) != 0 {
		t.Errorf("announced %v", log)
	}
}
