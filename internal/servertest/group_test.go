package servertest_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
	"github.com/sekisho-iot/sekisho/internal/servertest"
)

const (
	allowAll = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}`
	denyUp   = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"iot:Publish","Resource":"arn:aws:iot:*:*:topic/*/up"},{"Effect":"Deny","Action":"iot:AssumeRoleWithCertificate","Resource":"*"}]}`
)

// grouped is a server with a group "site" below "fleet", a policy "deny", and
// devices that may do everything.
func grouped(t *testing.T) *servertest.Server {
	t.Helper()
	s := servertest.Start(t)
	ctx := t.Context()
	s.Fleet()
	_, err := s.IoT.CreatePolicyVersion(ctx, &iot.CreatePolicyVersionInput{PolicyName: aws.String(servertest.Policy), PolicyDocument: aws.String(allowAll), SetAsDefault: true})
	must(t, err)
	_, err = s.IoT.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: aws.String("deny"), PolicyDocument: aws.String(denyUp)})
	must(t, err)
	_, err = s.IoT.CreateThingGroup(ctx, &iot.CreateThingGroupInput{ThingGroupName: aws.String("fleet")})
	must(t, err)
	_, err = s.IoT.CreateThingGroup(ctx, &iot.CreateThingGroupInput{ThingGroupName: aws.String("site"), ParentGroupName: aws.String("fleet")})
	must(t, err)
	return s
}

func denyFleet(t *testing.T, s *servertest.Server) {
	t.Helper()
	g, err := s.IoT.DescribeThingGroup(t.Context(), &iot.DescribeThingGroupInput{ThingGroupName: aws.String("fleet")})
	must(t, err)
	_, err = s.IoT.AttachPolicy(t.Context(), &iot.AttachPolicyInput{PolicyName: aws.String("deny"), Target: g.ThingGroupArn})
	must(t, err)
}

func join(t *testing.T, s *servertest.Server, thing string) {
	t.Helper()
	_, err := s.IoT.AddThingToThingGroup(t.Context(), &iot.AddThingToThingGroupInput{ThingName: &thing, ThingGroupName: aws.String("site")})
	must(t, err)
}

// TestGroupPoliciesAreJudged: what a group above denies is denied to a live
// connection, and by the credential endpoint, once the call has returned.
func TestGroupPoliciesAreJudged(t *testing.T) {
	t.Parallel()
	s := grouped(t)
	d := s.Enrol("pump")
	join(t, s, "pump")
	c, code := connect(t, d, "pump")
	if code != 0 || c.subscribe("pump/#") != 1 {
		t.Fatalf("CONNACK %x", code)
	}
	c.publish("pump/up", "before")
	if first, _ := c.packet(); first>>4 != byte(mqtt.TypePublish) {
		t.Fatalf("%x instead of the message", first)
	}
	if a := d.Ask(servertest.Alias); a.Credentials == nil {
		t.Fatalf("%d %s", a.Status, a.Message)
	}
	denyFleet(t, s)
	if a := d.Ask(servertest.Alias); a.Status != http.StatusForbidden {
		t.Errorf("credentials after the denial: %d %s", a.Status, a.Message)
	}
	c.publish("pump/up", "after")
	if first, _ := c.packet(); first>>4 == byte(mqtt.TypePublish) {
		t.Error("the group's denial did not reach the connection")
	}
	// A client that names no thing is judged by the certificate alone, as in AWS.
	if a := d.Ask(servertest.Alias, "x-none", "x"); a.Credentials == nil {
		t.Errorf("without a thing: %d %s", a.Status, a.Message)
	}
}

// TestSecurityRule1_ExclusiveThing: the certificate of an exclusive attachment is
// its thing by every door, whatever it calls itself.
func TestSecurityRule1_ExclusiveThing(t *testing.T) {
	t.Parallel()
	s := grouped(t)
	d := s.Enrol("pump")
	join(t, s, "pump")
	denyFleet(t, s)
	if status, _ := postTopic(t, s, d.TLS(), "pump/up"); status != http.StatusOK {
		t.Errorf("HTTPS of an attachment that is not exclusive: %d", status)
	}
	_, err := s.IoT.AttachThingPrincipal(t.Context(), &iot.AttachThingPrincipalInput{
		ThingName: aws.String("pump"), Principal: &d.CertificateARN, ThingPrincipalType: types.ThingPrincipalTypeExclusiveThing,
	})
	must(t, err)
	if status, _ := postTopic(t, s, d.TLS(), "pump/up"); status != http.StatusForbidden {
		t.Errorf("HTTPS: %d", status)
	}
	if a := d.Ask(servertest.Alias, "x-none", "x"); a.Status != http.StatusForbidden {
		t.Errorf("credentials without a thing's name: %d %s", a.Status, a.Message)
	}
	if a := d.Ask(servertest.Alias, "x-amzn-iot-thingname", "other"); a.Status != http.StatusForbidden {
		t.Errorf("credentials for another thing: %d %s", a.Status, a.Message)
	}
	c, code := connect(t, d, "some-other-id")
	if code != 0 || c.subscribe("pump/#") != 1 {
		t.Fatalf("CONNACK %x", code)
	}
	c.publish("pump/up", "x")
	if first, _ := c.packet(); first>>4 == byte(mqtt.TypePublish) {
		t.Error("another client ID escaped the group's denial")
	}
}

// TestRegistryEvents are published on MQTT.
func TestRegistryEvents(t *testing.T) {
	t.Parallel()
	s := grouped(t)
	d := s.Enrol("watcher")
	c, code := connect(t, d, "watcher")
	if code != 0 || c.subscribe("$aws/events/thing/#") != 1 {
		t.Fatalf("CONNACK %x", code)
	}
	_, err := s.IoT.UpdateEventConfigurations(t.Context(), &iot.UpdateEventConfigurationsInput{EventConfigurations: map[string]types.Configuration{"THING": {Enabled: true}}})
	must(t, err)
	_, err = s.IoT.CreateThing(t.Context(), &iot.CreateThingInput{ThingName: aws.String("new")})
	must(t, err)
	first, body := c.packet()
	if first>>4 != byte(mqtt.TypePublish) {
		t.Fatalf("%x instead of the event", first)
	}
	var e struct{ EventType, Operation, ThingName string }
	for i := range body {
		if body[i] == '{' {
			must(t, json.Unmarshal(body[i:], &e))
			break
		}
	}
	if e.EventType != "THING_EVENT" || e.Operation != "CREATED" || e.ThingName != "new" {
		t.Errorf("%+v", e)
	}
}

// TestSearchByConnectivity: a search finds who is connected, those too that came
// before it was to know.
func TestSearchByConnectivity(t *testing.T) {
	t.Parallel()
	s := grouped(t)
	ctx := t.Context()
	found := func(query, want string) {
		t.Helper()
		got := "?"
		for deadline := time.Now().Add(10 * time.Second); got != want && time.Now().Before(deadline); {
			out, err := s.IoT.SearchIndex(ctx, &iot.SearchIndexInput{QueryString: &query})
			must(t, err)
			got = ""
			for _, d := range out.Things {
				got += *d.ThingName + " "
			}
		}
		if got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	before, _ := connect(t, s.Enrol("before"), "before")
	_, err := s.IoT.UpdateIndexingConfiguration(ctx, &iot.UpdateIndexingConfigurationInput{ThingIndexingConfiguration: &types.ThingIndexingConfiguration{
		ThingIndexingMode: types.ThingIndexingModeRegistry, ThingConnectivityIndexingMode: types.ThingConnectivityIndexingModeStatus,
	}})
	must(t, err)
	found("connectivity.connected:true", "before ")
	connect(t, s.Enrol("after"), "after")
	s.Enrol("never")
	found("connectivity.connected:true", "after before ")
	must(t, before.Close())
	found("connectivity.connected:false", "before ")
	found("connectivity.connected:true", "after ")
	found("NOT connectivity.connected:*", "never ")
}
