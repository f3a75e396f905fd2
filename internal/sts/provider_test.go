package sts_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/sts"
)

// The order of the checks and their messages: credential-provider fact sheet, section 2.
func TestProviderOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device()
	narrow := w.enrol(2, "lamp-2", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:AssumeRoleWithCertificate","Resource":"arn:aws:iot:`+region+`:`+account+`:rolealias/uploads"}}`)
	none := w.enrol(3, "lamp-3", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}}`)
	own := w.enrol(4, "lamp-4", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:AssumeRoleWithCertificate","Resource":"arn:aws:iot:*:*:rolealias/of-${iot:Connection.Thing.ThingName}"}}`)
	inactive := w.enrol(5, "lamp-5", allowAll)
	w.certs[inactive.Certificate].active = false
	create := func(alias, role string, seconds int) {
		_, err := w.alias.Create(t.Context(), alias, "arn:aws:iam::"+account+":role/"+role, &seconds, nil)
		ok(t, err)
	}
	create("of-lamp-4", "uploader", 900)
	create("no-role", "missing", 900)
	create("other-path", "path/uploader", 900)
	create("long", "uploader", 3601)
	w.role("untrusting", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"iot.amazonaws.com"},"Action":"sts:AssumeRole"}}`, allowAll)
	create("untrusting", "untrusting", 900)
	w.role("conditional", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"credentials.iot.amazonaws.com"},"Action":"sts:AssumeRole","Condition":{"StringEquals":{"aws:SourceAccount":"`+account+`"},"ArnLike":{"aws:SourceArn":"arn:aws:iot:`+region+`:`+account+`:rolealias/conditional"}}}}`, allowAll)
	create("conditional", "conditional", 900)
	create("conditional-2", "conditional", 900)

	const (
		badThing = "Invalid thing name passed"
		denied   = "Access Denied"
		noAlias  = "Role alias does not exist"
		noRole   = "Unable to assume the role, or the role to assume does not exist"
		tooLong  = "The requested CredentialDurationSeconds exceeds the MaxSessionDuration set for the role"
	)
	for _, c := range []struct {
		name   string
		device sts.Device
		thing  string // "-" for no header
		alias  string
		kind   iot.Kind
		want   string // message, "" for credentials
	}{
		{"all is well", d, "lamp-1", "uploads", 0, ""},
		{"no thing header", d, "-", "uploads", 0, ""},
		{"unknown certificate", sts.Device{Certificate: "00"}, "lamp-1", "uploads", iot.KindDenied, sts.CertificateMessage},
		{"inactive certificate, before the thing", inactive, "nobody", "uploads", iot.KindDenied, sts.CertificateMessage},
		{"a thing that is another's", d, "lamp-2", "uploads", iot.KindDenied, badThing},
		{"an empty thing header", d, "", "uploads", iot.KindDenied, badThing},
		{"a thing out of the grammar", d, "lamp 1", "uploads", iot.KindDenied, badThing},
		{"thing before policy", none, "lamp-1", "uploads", iot.KindDenied, badThing},
		{"the policy denies", none, "lamp-3", "uploads", iot.KindDenied, denied},
		{"policy before alias", narrow, "lamp-2", "unknown", iot.KindDenied, denied},
		{"case of the alias", narrow, "lamp-2", "Uploads", iot.KindDenied, denied},
		{"unknown alias, wide policy", d, "lamp-1", "unknown", iot.KindNotFound, noAlias},
		{"alias out of the grammar", d, "lamp-1", "a b", iot.KindNotFound, noAlias},
		{"thing variable of the IoT policy", own, "lamp-4", "of-lamp-4", 0, ""},
		{"thing variable without a header", own, "-", "of-lamp-4", iot.KindDenied, denied},
		{"missing role", d, "lamp-1", "no-role", iot.KindInvalid, noRole},
		{"role under another path", d, "lamp-1", "other-path", iot.KindInvalid, noRole},
		{"trust of another service", d, "lamp-1", "untrusting", iot.KindInvalid, noRole},
		{"condition on the alias holds", d, "lamp-1", "conditional", 0, ""},
		{"condition on the alias fails", d, "lamp-1", "conditional-2", iot.KindInvalid, noRole},
		{"duration over the role's", d, "lamp-1", "long", iot.KindInvalid, tooLong},
	} {
		t.Run(c.name, func(t *testing.T) {
			cred, err := w.prov.Credentials(t.Context(), c.device, strings.TrimPrefix(c.thing, "-"), c.thing != "-", c.alias)
			if c.want == "" {
				if err != nil || cred.SessionToken == "" {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			e, known := errors.AsType[*iot.Error](err)
			if !known || e.Kind != c.kind || e.Message != c.want {
				t.Errorf("answered %v, want %v %q", err, c.kind, c.want)
			}
		})
	}
	w.mu.Lock()
	log := w.log.String()
	w.mu.Unlock()
	if !strings.Contains(log, "credentials refused") || !strings.Contains(log, "explanation") {
		t.Error("refusals are not explained to the operator")
	}
}

// A change of the control plane is in force with the next request.
func TestProviderSeesChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device()
	w.credentials(d)
	ctx := t.Context()
	ok(t, w.iam.UpdateAssumeRolePolicy(ctx, "uploader", `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Principal":"*","Action":"sts:AssumeRole"}}`))
	_, err := w.prov.Credentials(ctx, d, "lamp-1", true, "uploads")
	wantKind(t, err, iot.KindInvalid)
	ok(t, w.iam.UpdateAssumeRolePolicy(ctx, "uploader", trustIoT))
	w.credentials(d)
	ok(t, w.alias.Delete(ctx, "uploads"))
	_, err = w.prov.Credentials(ctx, d, "lamp-1", true, "uploads")
	wantKind(t, err, iot.KindNotFound)
}

func TestRoleAliases(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	role := "arn:aws:iam::" + account + ":role/r"
	a, err := w.alias.Create(ctx, "a", role, nil, []sts.Tag{{Key: "k", Value: "v"}})
	ok(t, err)
	if a.Duration != 3600 || !a.CreatedAt.Equal(w.clock) || string(w.alias.ARN("a")) != "arn:aws:iot:"+region+":"+account+":rolealias/a" {
		t.Errorf("created %+v", a)
	}
	_, err = w.alias.Create(ctx, "a", role, nil, nil)
	wantKind(t, err, iot.KindExists)
	for _, bad := range []struct {
		name, role string
		seconds    int
	}{
		{"", role, 900},
		{"a/b", role, 900},
		{strings.Repeat("a", 129), role, 900},
		{"b", role, 899},
		{"b", role, 43201},
		{"b", "r", 900},
		{"b", "arn:aws:iam::210987654321:role/r", 900},
		{"b", "arn:aws:iam::" + account + ":user/r", 900},
		{"b", "arn:aws:iam::" + account + ":role/", 900},
		{"b", "arn:aws:iam::" + account + ":role/r r", 900},
	} {
		_, err := w.alias.Create(ctx, bad.name, bad.role, &bad.seconds, nil)
		wantKind(t, err, iot.KindInvalid)
	}
	seconds := 1800
	ok(t, w.alias.Update(ctx, "a", sts.AliasChange{Duration: &seconds}))
	a, err = w.alias.Describe(ctx, "a")
	ok(t, err)
	if a.Duration != 1800 || a.RoleARN != role {
		t.Errorf("updated to %+v", a)
	}
	wantKind(t, w.alias.Update(ctx, "none", sts.AliasChange{}), iot.KindNotFound)
	for _, n := range []string{"b", "c"} {
		_, err := w.alias.Create(ctx, n, role, nil, nil)
		ok(t, err)
	}
	for _, ascending := range []bool{true, false} {
		var names []string
		for marker := ""; ; {
			list, next, err := w.alias.List(ctx, ascending, 2, marker)
			ok(t, err)
			for _, a := range list {
				names = append(names, a.Name)
			}
			if marker = next; next == "" {
				break
			}
		}
		want := "a b c"
		if !ascending {
			want = "c b a"
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("ascending %v: listed %s", ascending, got)
		}
	}
	_, _, err = w.alias.List(ctx, true, 2, "forged")
	wantKind(t, err, iot.KindInvalid)
	ok(t, w.alias.Delete(ctx, "a"))
	wantKind(t, w.alias.Delete(ctx, "a"), iot.KindNotFound)
}
