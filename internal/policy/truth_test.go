package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/policy"
)

// The state of one layer of a caller's grants.
const (
	absent = iota // no policy of the kind
	allows
	silent
	denies
	states
)

func layerOf(tb testing.TB, state int) (policy.Set, bool) {
	tb.Helper()
	docs := [states]string{
		allows: `{"Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}}`,
		silent: `{"Statement":{"Effect":"Allow","Action":"s3:PutObject","Resource":"*"}}`,
		denies: `{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"s3:GetObject","Resource":"*"}]}`,
	}
	if state == absent {
		return nil, false
	}
	return policy.Set{compile(tb, policy.Identity, docs[state])}, true
}

// TestTruthTable is the evaluation of one account (IAM user guide,
// reference_policies_evaluation-logic), all of it: a row says what else must
// allow once the resource policy has allowed, or has not, for a caller of a
// kind; every state of every layer is tried with it.
//
// An explicit Deny decides anywhere. Of what a row asks for, an absent
// permissions boundary or session policy limits nothing, but for a federated
// user, who without a session policy has nothing.
func TestTruthTable(t *testing.T) {
	t.Parallel()
	const (
		account = "123456789012"
		user    = "arn:aws:iam::" + account + ":user/bob"
		role    = "arn:aws:iam::" + account + ":role/r"
		session = "arn:aws:sts::" + account + ":assumed-role/r/work"
		guest   = "arn:aws:sts::" + account + ":federated-user/guest"
	)
	callers := map[string]policy.Principal{
		"user":      {Account: account, ARN: user, UserID: "AIDAAAAAAAAAAAAAAAAAA"},
		"session":   {Account: account, ARN: session, RoleARN: role, UserID: "AROAAAAAAAAAAAAAAAAAA:work"},
		"federated": {Account: account, ARN: guest, RoleARN: user, UserID: account + ":guest"},
		"root":      {Account: account, ARN: "arn:aws:iam::" + account + ":root", UserID: account},
	}
	const i, b, s = "identity", "boundary", "session"
	for _, row := range []truthRow{
		{"user", "", []string{i, b, s}},
		{"user", "arn:aws:iam::" + account + ":user/other", []string{i, b, s}},
		{"user", account, []string{i, b, s}},
		{"user", "arn:aws:iam::" + account + ":root", []string{i, b, s}},
		{"user", "*", []string{b, s}},
		{"user", user, nil},
		{"user", "AIDAAAAAAAAAAAAAAAAAA", nil},

		{"session", "", []string{i, b, s}},
		{"session", account, []string{i, b, s}},
		{"session", "*", []string{b, s}},
		{"session", role, []string{b, s}},
		{"session", "AROAAAAAAAAAAAAAAAAAA", []string{b, s}},
		{"session", "arn:aws:iam::" + account + ":role/other", []string{i, b, s}},
		{"session", session, nil},
		{"session", "arn:aws:sts::" + account + ":assumed-role/r/other", []string{i, b, s}},

		{"federated", "", []string{i, b, s}},
		{"federated", account, []string{i, b, s}},
		{"federated", "*", []string{b, s}},
		{"federated", user, []string{b, s}},
		{"federated", guest, nil},

		{"root", "", []string{s}},
		{"root", account, []string{s}},
		{"root", "*", []string{s}},
	} {
		t.Run(row.caller+" named "+row.named, func(t *testing.T) {
			t.Parallel()
			for n := range states * states * states * 2 {
				state := map[string]int{i: n % states, b: n / states % states, s: n / states / states % states}
				resourceDenies := n/(states*states*states) == 1
				g := policy.Grants{Root: row.caller == "root"}
				g.Identity, _ = layerOf(t, state[i])
				g.Boundary, g.HasBoundary = layerOf(t, state[b])
				g.Session, g.HasSession = layerOf(t, state[s])
				g.Resource = resourceOf(t, row.named, resourceDenies)
				want := policy.ImplicitDeny
				if row.met(state) {
					want = policy.Allow
				}
				limits := []string{i, b, s}
				if g.Root { // neither is looked at
					limits = []string{s}
				}
				for _, layer := range limits {
					if state[layer] == denies {
						want = policy.ExplicitDeny
					}
				}
				if resourceDenies {
					want = policy.ExplicitDeny
				}
				r := &policy.Request{Action: "s3:GetObject", Resource: "arn:aws:s3:::b/k", Principal: callers[row.caller]}
				if d := g.Authorize(r); d.Effect != want {
					t.Errorf("%v, resource denies %v: %v, want %v\n%s", state, resourceDenies, d.Effect, want, g.Explain(r))
				}
			}
		})
	}
}

// truthRow is a caller, whom an Allow of the resource policy names ("" for
// nobody), and the layers that have to allow as well.
type truthRow struct {
	caller, named string
	needs         []string
}

func (row *truthRow) met(state map[string]int) bool {
	for _, layer := range row.needs {
		ok := state[layer] == allows || state[layer] == absent && (layer == "boundary" || layer == "session" && row.caller != "federated")
		if !ok {
			return false
		}
	}
	return true
}

// resourceOf is a resource policy that allows the one who is named, if anybody
// is, and nobody else; or that denies everybody too.
func resourceOf(tb testing.TB, named string, denies bool) *policy.Policy {
	tb.Helper()
	var statements []string
	if named != "" {
		statements = append(statements, fmt.Sprintf(`{"Effect":"Allow","Principal":{"AWS":%q},"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}`, named))
	}
	if denies {
		statements = append(statements, `{"Effect":"Deny","Principal":"*","Action":"s3:Get*","Resource":"arn:aws:s3:::b/*"}`)
	}
	if len(statements) == 0 {
		return nil
	}
	return compile(tb, policy.Resource, `{"Version":"2012-10-17","Statement":[`+strings.Join(statements, ",")+`]}`)
}
