package storetest

import (
	"errors"
	"slices"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/iam"
	"github.com/sekisho-iot/sekisho/internal/iot"
)

func iamProviders(t *testing.T, open Opener) {
	t.Helper()
	s := open(t, nil).IAM()
	ctx := t.Context()
	p := iam.OIDCProvider{
		ARN: "arn:b", URL: "b.example.com", ClientIDs: []string{"z", "a"}, Thumbprints: []string{"00"}, CreatedAt: day(),
		Tags: []iam.Tag{{Key: "K", Value: "v"}},
	}
	must(t, s.InsertProvider(ctx, p))
	must(t, s.InsertProvider(ctx, iam.OIDCProvider{ARN: "arn:a", URL: "a.example.com", CreatedAt: day()}))
	kind(t, s.InsertProvider(ctx, p), iot.KindExists, "Provider with url https://b.example.com already exists.")
	got, err := s.Provider(ctx, "arn:b")
	must(t, err)
	if got.URL != p.URL || !slices.Equal(got.ClientIDs, p.ClientIDs) || !slices.Equal(got.Thumbprints, p.Thumbprints) || !slices.Equal(got.Tags, p.Tags) || !got.CreatedAt.Equal(day()) {
		t.Errorf("kept %+v", got)
	}
	list, err := s.Providers(ctx)
	must(t, err)
	if len(list) != 2 || list[0].ARN != "arn:a" || list[0].ClientIDs != nil || list[1].ARN != "arn:b" {
		t.Errorf("listed %+v", list)
	}
	must(t, s.UpdateProvider(ctx, "arn:b", func(p *iam.OIDCProvider) error {
		p.ClientIDs, p.Thumbprints = append(p.ClientIDs, "x"), nil
		return nil
	}))
	boom := errors.New("boom")
	if err := s.UpdateProvider(ctx, "arn:b", func(p *iam.OIDCProvider) error { p.ClientIDs = nil; return boom }); !errors.Is(err, boom) {
		t.Errorf("a change that fails: %v", err)
	}
	kind(t, s.UpdateProvider(ctx, "arn:c", func(*iam.OIDCProvider) error { return nil }), iot.KindNotFound, "OpenIDConnect Provider not found for arn arn:c")
	if got, err := s.Provider(ctx, "arn:b"); err != nil || !slices.Equal(got.ClientIDs, []string{"z", "a", "x"}) || got.Thumbprints != nil {
		t.Errorf("changed to %+v, %v", got, err)
	}
	must(t, s.SetTags(ctx, iam.TagOwner{ProviderARN: "arn:b"}, []iam.Tag{{Key: "k", Value: "w"}}, 1))
	kind(t, s.SetTags(ctx, iam.TagOwner{ProviderARN: "arn:c"}, nil, 1), iot.KindNotFound, "")
	for range 2 {
		must(t, s.DeleteProvider(ctx, "arn:b"))
	}
	_, err = s.Provider(ctx, "arn:b")
	kind(t, err, iot.KindNotFound, "")
	p.Tags = nil
	must(t, s.InsertProvider(ctx, p))
	if got, err := s.Provider(ctx, "arn:b"); err != nil || len(got.Tags) != 0 {
		t.Errorf("a new provider has old tags: %+v, %v", got, err)
	}
}

func iamAccount(t *testing.T, open Opener) {
	t.Helper()
	s := open(t, nil).IAM()
	ctx := t.Context()
	for _, alias := range []string{"", "one", "two", ""} {
		must(t, s.SetAccountAlias(ctx, alias))
		if got, err := s.AccountAlias(ctx); err != nil || got != alias {
			t.Errorf("the alias is %q, %v, want %q", got, err, alias)
		}
	}
	must(t, s.InsertUser(ctx, newUser("u")))
	must(t, s.InsertRole(ctx, newRole("r")))
	must(t, s.InsertGroup(ctx, newGroup("g")))
	must(t, s.InsertPolicy(ctx, newManaged("p"), "{}"))
	must(t, s.InsertKey(ctx, iam.AccessKey{ID: "K", Sealed: []byte{1}, CreatedAt: day()}, 0))
	must(t, s.InsertProvider(ctx, iam.OIDCProvider{ARN: "arn:a", CreatedAt: day()}))
	must(t, s.InsertProfile(ctx, iam.InstanceProfile{ID: "AIPA", Name: "i", CreatedAt: day()}))
	want := iam.Counts{Users: 1, Groups: 1, Roles: 1, Policies: 1, Versions: 1, InstanceProfiles: 1, Providers: 1, RootKeys: 1}
	if got, err := s.Count(ctx); err != nil || got != want {
		t.Errorf("counted %+v, %v", got, err)
	}
}
