package awsimport_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/sekisho-iot/sekisho/internal/awsimport"
)

// fake answers what it was told to, by method and path, for what no server here
// does in the same way for ever: what is not built, and errors.
type fake struct {
	answers map[string]any // a body, or the int of a status

	mu     sync.Mutex // guards writes
	writes []string
}

// ServeHTTP answers; what it was not told of is not found, or done.
func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/" && r.Method == http.MethodPost { // STS
		_, _ = io.WriteString(w, `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>`+
			`<Arn>arn:aws:iam::000000000000:root</Arn><Account>000000000000</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`)
		return
	}
	if r.Method != http.MethodGet && !strings.HasPrefix(r.URL.Path, "/policy-targets/") {
		f.mu.Lock()
		f.writes = append(f.writes, r.Method+" "+r.URL.Path)
		f.mu.Unlock()
	}
	key := r.Method + " " + r.URL.Path
	if p := r.URL.Query().Get("parentGroup"); p != "" {
		key += " of " + p
	}
	status, body := http.StatusOK, f.answers[key]
	if body == nil && r.Method == http.MethodGet && strings.Count(r.URL.Path, "/") > 1 {
		body = http.StatusNotFound
	}
	if n, ok := body.(int); ok {
		status = n
		w.Header().Set("x-amzn-errortype", map[int]string{404: "ResourceNotFoundException", 501: "NotImplemented", 403: "AccessDeniedException"}[n])
		body = map[string]string{"message": "told to"}
	}
	if body == nil {
		body = map[string]string{}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func (f *fake) config(t *testing.T) aws.Config {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return aws.Config{
		Region: "us-east-1", BaseEndpoint: &s.URL, HTTPClient: s.Client(), Credentials: credentials.NewStaticCredentialsProvider("AKIA", "secret", ""),
		Retryer: func() aws.Retryer { return aws.NopRetryer{} },
	}
}

type object = map[string]any

// plant is a source with thing types and groups.
func plant() *fake {
	group := func(name string) object { return object{"groupName": name} }
	return &fake{answers: map[string]any{
		"GET /thing-types": object{"thingTypes": []object{
			{"thingTypeName": "pump", "thingTypeProperties": object{"thingTypeDescription": "pumps", "searchableAttributes": []string{"site"}}, "thingTypeMetadata": object{"deprecated": true}},
		}},
		"GET /thing-groups":              object{"thingGroups": []object{group("north"), group("warm")}},
		"GET /thing-groups of north":     object{"thingGroups": []object{group("hall")}},
		"GET /thing-groups/north":        object{"thingGroupName": "north", "thingGroupProperties": object{"thingGroupDescription": "n"}},
		"GET /thing-groups/warm":         object{"thingGroupName": "warm", "queryString": "attributes.t:hot"},
		"GET /thing-groups/hall":         object{"thingGroupName": "hall", "thingGroupMetadata": object{"parentGroupName": "north"}},
		"GET /thing-groups/hall/things":  object{"things": []string{"p1", "p2"}},
		"GET /things":                    object{"things": []object{{"thingName": "p1", "thingTypeName": "pump"}, {"thingName": "p2", "attributes": object{"a": "b"}}}},
		"GET /policies":                  object{"policies": []object{{"policyName": "p"}}},
		"GET /policies/p/version":        object{"policyVersions": []object{{"versionId": "1", "isDefaultVersion": true}}},
		"GET /policies/p/version/1":      object{"policyDocument": "{}"},
		"POST /policy-targets/p":         object{"targets": []string{"arn:aws:iot:us-east-1:000000000000:thinggroup/hall", "arn:aws:iot:us-east-1:000000000000:thinggroup/warm", "us-east-1:cognito"}},
		"GET /thing-groups/north/things": object{},
		"GET /certificates":              object{"certificates": []object{{"certificateId": "c"}}},
		"GET /certificates/c":            object{"certificateDescription": object{"certificateId": "c", "certificatePem": "PEM", "status": "PENDING_TRANSFER"}},
		"GET /principals/things-v2":      object{"principalThingObjects": []object{{"thingName": "p1", "thingPrincipalType": "EXCLUSIVE_THING"}}},
		"GET /role-aliases":              object{"roleAliases": []string{"gone"}},
		"GET /role-aliases/gone":         object{"roleAliasDescription": object{"roleAlias": "gone", "roleArn": "arn:aws:iam::999999999999:role/x"}},
		"GET /cacertificates":            object{},
		"GET /thing-groups/warm/things":  object{"things": []string{"p1"}},
		"GET /thing-groups of hall":      object{},
		"GET /thing-groups of warm":      object{},
	}}
}

func run(t *testing.T, src, dst *fake, dryRun bool) (*awsimport.Report, string) {
	t.Helper()
	var out bytes.Buffer
	report, err := awsimport.Run(t.Context(), awsimport.Config{Source: src.config(t), Target: dst.config(t), DryRun: dryRun, Out: &out})
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	return report, out.String()
}

func want(t *testing.T, out string, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if !strings.Contains(out, l+"\n") {
			t.Errorf("%q is missing in\n%s", l, out)
		}
	}
}

// A target that has not built something leaves it out, and what hangs on it.
func TestTargetWithoutTypesAndGroups(t *testing.T) {
	t.Parallel()
	dst := &fake{answers: map[string]any{
		"GET /thing-types/pump": 501, "GET /thing-groups/north": 501, "GET /thing-groups/hall": 501, "PUT /things/p1/principals": 501, "GET /policies/p/version": 404,
	}}
	report, out := run(t, plant(), dst, false)
	want(t, out,
		"skip      thing type pump: the target: NotImplemented: told to",
		"skip      thing group north: the target: NotImplemented: told to",
		"skip      thing group hall: its parent north is not at the target",
		"skip      thing group warm: it is a dynamic thing group",
		"skip      thing p1: its thing type pump is not at the target",
		"create    thing p2",
		"create    certificate c: as INACTIVE, since it is PENDING_TRANSFER at the source",
		"skip      attachment cert/c to thing p1: the thing is not at the target",
		"skip      attachment policy p to thinggroup/hall: the thing group is not at the target",
		"skip      attachment policy p to us-east-1:cognito: it is neither a certificate nor a thing group of the source",
		"skip      deprecation pump: the thing type is not at the target",
		"skip      role x: it is not of the source's account: arn:aws:iam::999999999999:role/x",
		"skip      role alias gone: its role x is not at the target",
	)
	if report.Complete() || report.Count("", awsimport.Failed) != 0 || report.Count("thing", awsimport.Created) != 1 {
		t.Errorf("%+v", report)
	}
	var table bytes.Buffer
	if err := report.Write(&table, true); err != nil || !strings.Contains(table.String(), "to create") {
		t.Errorf("%s, %v", table.String(), err)
	}
}

// Parents come before their groups, types before their things, and what ends a
// type is the last.
func TestOrder(t *testing.T) {
	t.Parallel()
	dst := &fake{answers: map[string]any{}}
	report, out := run(t, plant(), dst, false)
	if n := report.Count("", awsimport.Failed); n != 0 {
		t.Errorf("%d failed:\n%s", n, out)
	}
	at := -1
	for _, call := range []string{
		"POST /policies/p", "POST /thing-types/pump", "POST /thing-groups/north", "POST /thing-groups/hall", "POST /things/p1", "PUT /thing-groups/addThingToThingGroup",
		"POST /certificate/register-no-ca", "PUT /things/p1/principals", "PUT /target-policies/p", "POST /thing-types/pump/deprecate",
	} {
		n := slices.Index(dst.writes, call)
		if n <= at {
			t.Errorf("%s is number %d, after %d, of %v", call, n, at, dst.writes)
		}
		at = n
	}
	src, dst := plant(), &fake{answers: map[string]any{}}
	if _, out := run(t, src, dst, true); len(dst.writes)+len(src.writes) > 0 {
		t.Errorf("a dry run wrote %v %v\n%s", src.writes, dst.writes, out)
	}
}

// What was deleted at the target does not come back.
func TestDeletedCertificate(t *testing.T) {
	t.Parallel()
	dst := &fake{answers: map[string]any{}}
	var out bytes.Buffer
	_, err := awsimport.Run(t.Context(), awsimport.Config{
		Source: plant().config(t), Target: dst.config(t), Out: &out,
		Deleted: func(_ context.Context, pem string) (bool, error) { return pem == "PEM", nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	want(t, out.String(), "skip      certificate c: it was deleted at the target; register it by hand if it is to come back")
	if slices.Contains(dst.writes, "POST /certificate/register-no-ca") || slices.Contains(dst.writes, "PUT /things/p1/principals") {
		t.Errorf("%v", dst.writes)
	}
}

// What does not work for one item does not end the rest; what cannot be listed does.
func TestFailures(t *testing.T) {
	t.Parallel()
	report, out := run(t, plant(), &fake{answers: map[string]any{"POST /things/p2": 403, "POST /policies/p": 403}}, false)
	want(t, out,
		"fail      thing p2: the target: AccessDeniedException: told to",
		"fail      IoT policy p: the target: AccessDeniedException: told to",
		"skip      attachment policy p: the policy is not at the target",
		"skip      member p2 of hall: the thing is not at the target",
		"create    member p1 of hall",
	)
	if report.Complete() || report.Count("", awsimport.Failed) != 2 {
		t.Errorf("%+v", report)
	}
	src := plant()
	src.answers["GET /certificates"] = 403
	var b bytes.Buffer
	if _, err := awsimport.Run(t.Context(), awsimport.Config{Source: src.config(t), Target: (&fake{}).config(t), Out: &b}); err == nil || !strings.Contains(err.Error(), "certificates: ") {
		t.Errorf("%v", err)
	}
	src.answers["GET /certificates"] = 501
	if _, out := run(t, src, &fake{}, false); !strings.Contains(out, "certificates: the source has none: NotImplemented") {
		t.Error(out)
	}
}
