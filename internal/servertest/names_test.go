package servertest_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"

	"github.com/sekisho-iot/sekisho/internal/mqtt"
	"github.com/sekisho-iot/sekisho/internal/servertest"
)

// Names that policies would read as patterns or variables are no names.
func TestSecurityRule1_NamesThatArePatterns(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	for _, name := range []string{"*", "?", "pump*", "${iot:Connection.Thing.ThingName}", "${*}", "$aws", "a/b", "a b", "", strings.Repeat("x", 129)} {
		_, err := s.IoT.CreateThing(t.Context(), &iot.CreateThingInput{ThingName: &name})
		if err == nil {
			t.Errorf("there is a thing %q", name)
		}
	}
	for name, value := range map[string]string{"site": "*", "a*": "x", "${b}": "x", "c": "${iot:ClientId}", "d": "a?", "e": "a b", "f": "{x}"} {
		_, err := s.IoT.CreateThing(t.Context(), &iot.CreateThingInput{
			ThingName: aws.String("pump"), AttributePayload: &iottypes.AttributePayload{Attributes: map[string]string{name: value}},
		})
		if servertest.Code(err) != "InvalidRequestException" {
			t.Errorf("attribute %q = %q: %v", name, value, err)
		}
	}
}

// A client ID, or a topic, with the text of a pattern or a variable is that text
// and nothing else to a policy.
func TestSecurityRule1_ClientIDsThatArePatterns(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	document := `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:*:*:client/pump"},
		{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:*:*:client/site-${iot:Connection.Thing.Attributes[site]}"},
		{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:*:*:client/x${*}y"},
		{"Effect":"Allow","Action":"iot:Subscribe","Resource":"arn:aws:iot:*:*:topicfilter/${iot:ClientId}/+"}]}`
	_, err := s.IoT.CreatePolicy(t.Context(), &iot.CreatePolicyInput{PolicyName: aws.String(servertest.Policy), PolicyDocument: &document})
	must(t, err)
	d := s.Enrol("pump")
	for _, id := range []string{
		"*", "p*", "pum?", "xzzy", "site-", "site-*", "${iot:ClientId}",
		"${iot:Connection.Thing.ThingName}", "site-${iot:Connection.Thing.Attributes[site]}",
	} {
		if _, code := connect(t, d, id); code != byte(mqtt.NotAuthorized) && code != byte(mqtt.ClientIdentifierNotValid) {
			t.Errorf("CONNACK %#x for client ID %q", code, id)
		}
	}
	// The value of a variable that could be read as a pattern is not put in at all.
	c, code := connect(t, d, "x*y")
	if code != 0 {
		t.Fatalf("CONNACK %#x", code)
	}
	for _, filter := range []string{"x*y/+", "xzzy/+", "x*y/#", "${iot:ClientId}/+"} {
		if code := c.subscribe(filter); code != byte(mqtt.NotAuthorized) && code != byte(mqtt.TopicFilterInvalid) {
			t.Errorf("SUBACK %#x for %q", code, filter)
		}
	}
}

// Ten thousand role aliases slow nobody down and are listed page by page; what is
// not there is said to be so, and is not remembered for each name that is asked for.
func TestSecurityRule14_RoleAliases(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Fleet()
	d := s.Enrol("pump")
	role := s.NewRole("many", servertest.TrustDevices, servertest.OwnPrefix)
	const many = 10_000
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			for i := worker; i < many; i += 8 {
				name := fmt.Sprintf("many-%d", i)
				if _, err := s.IoT.CreateRoleAlias(t.Context(), &iot.CreateRoleAliasInput{RoleAlias: &name, RoleArn: &role}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	var listed int
	pages := iot.NewListRoleAliasesPaginator(s.IoT, &iot.ListRoleAliasesInput{PageSize: aws.Int32(250)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		must(t, err)
		listed += len(page.RoleAliases)
	}
	if listed != many+1 { // and the fleet's own
		t.Errorf("%d of %d are listed", listed, many+1)
	}
	if a := d.Ask(servertest.Alias); a.Status != http.StatusOK {
		t.Errorf("the fleet's alias: %d %s", a.Status, a.Message)
	}
	for i := range 100 {
		if a := d.Ask(fmt.Sprintf("none-%d", i)); a.Status/100 != 4 {
			t.Errorf("an alias that is not there: %d %s", a.Status, a.Message)
		}
	}
	if a := d.Ask("many-77"); a.Status != http.StatusOK { // the fleet's IoT policy allows every alias
		t.Errorf("one of the many: %d %s", a.Status, a.Message)
	}
}
