package registry_test

import (
	"testing"
	"time"

	"github.com/sekisho-iot/sekisho/internal/policy"
	"github.com/sekisho-iot/sekisho/internal/registry"
)

type certificateKeys struct{}

func (certificateKeys) Lookup(key string) policy.Values { return policy.One("fact " + key) }

func TestKeys(t *testing.T) {
	t.Parallel()
	thing := &registry.AttachedThing{Thing: &registry.Thing{Name: "pump", TypeName: "", Attributes: map[string]string{"Site": "x"}}}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))
	full := &registry.Keys{
		Thing: thing, Certificate: certificateKeys{}, ClientID: "pump", SourceIP: "10.0.0.1", Now: now,
		ConnectAttributes: []string{"LastWill"},
	}
	bare := &registry.Keys{NoThing: "no thing was named", SourceVPCE: "vpce-1", Now: now}
	for _, c := range []struct {
		k        *registry.Keys
		key      string
		one, why string
	}{
		{full, "iot:connection.thing.thingname", "pump", ""},
		{full, "iot:thing.thingname", "pump", ""},
		{full, "iot:connection.thing.isattached", "true", ""},
		{full, "iot:connection.thing.thingtypename", "", "the thing has no type"},
		{full, "iot:connection.thing.attributes[Site]", "x", ""},
		{full, "iot:connection.thing.attributes[site]", "", "the thing has no such attribute"},
		{full, "iot:connection.thing.nonsense", "", ""},
		{full, "iot:certificate.subject.commonname", "fact iot:certificate.subject.commonname", ""},
		{full, "iot:certificateid", "fact iot:certificateid", ""},
		{full, "iot:clientid", "pump", ""},
		{full, "aws:sourceip", "10.0.0.1", ""},
		{full, "aws:sourcevpce", "", "the request did not come through the closed network"},
		{full, "aws:currenttime", "2026-01-02T02:04:05Z", ""},
		{full, "aws:epochtime", "1767319445", ""},
		{full, "aws:securetransport", "true", ""},
		{full, "aws:userid", "", ""},
		{bare, "iot:connection.thing.thingname", "", "no thing was named"},
		{bare, "iot:connection.thing.isattached", "false", ""},
		{bare, "iot:connection.thing.attributes[Site]", "", "no thing was named"},
		{bare, "iot:clientid", "", "the request has no MQTT client ID"},
		{bare, "iot:certificateid", "", "the principal is not a certificate"},
		{bare, "iot:connectattributes", "", "the connection asks for neither persistence nor a will, or the request is no Connect"},
		{bare, "iot:domainname", "", "the connection named no host"},
		{bare, "aws:sourceip", "", "the request did not come through a public listener"},
		{bare, "aws:sourcevpce", "vpce-1", ""},
	} {
		if got := c.k.Lookup(c.key); got.One != c.one || got.Set != (c.one != "") || got.Why != c.why {
			t.Errorf("%s: %+v, want %q, %q", c.key, got, c.one, c.why)
		}
	}
	if got := full.Lookup("iot:connectattributes"); len(got.Many) != 1 || got.Many[0] != "LastWill" {
		t.Errorf("connect attributes %+v", got)
	}
}

func TestKeysAllocateNothing(t *testing.T) {
	k := &registry.Keys{Thing: &registry.AttachedThing{Thing: &registry.Thing{Attributes: map[string]string{"a": "x"}}}}
	n := testing.AllocsPerRun(100, func() {
		k.Lookup("iot:connection.thing.attributes[a]")
		k.Lookup("aws:currenttime")
		k.Lookup("iot:clientid")
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
