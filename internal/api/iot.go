package api

import (
	"context"
	"strconv"
	"strings"

	iotmodel "github.com/sekisho-iot/sekisho/internal/api/model/iot"
	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/pki"
	"github.com/sekisho-iot/sekisho/internal/policy"
	"github.com/sekisho-iot/sekisho/internal/registry"
	"github.com/sekisho-iot/sekisho/internal/sts"
)

// DeviceEndpoint is where devices find the server.
type DeviceEndpoint struct {
	Host           string // the first public host
	CredentialPort int    // of the credential provider; 0 where it is not served
}

// IoT is the service iot: things, certificates, IoT policies and role aliases.
// Actions and resources are those of the service authorization reference.
func IoT(reg *registry.Registry, certs *pki.Certificates, aliases *sts.RoleAliases, endpoint func() DeviceEndpoint) Service {
	r := &iotRows{registry: reg, certs: certs, aliases: aliases, endpoint: endpoint}
	s := Service{Name: "iot"}
	for _, rows := range [][]Operation{r.things(), r.thingTypes(), r.thingGroups(), r.groupMembers(), r.events(), r.index(), r.authorizations(), r.principals(), r.principalRows(), r.certificates(), r.caCertificates(), r.policies(), r.policyTargets(), r.roleAliases(), r.others()} {
		s.Operations = append(s.Operations, rows...)
	}
	for i := range s.Operations {
		r.addTagKeys(&s.Operations[i])
	}
	return s
}

type iotRows struct {
	registry *registry.Registry
	certs    *pki.Certificates
	aliases  *sts.RoleAliases
	endpoint func() DeviceEndpoint
}

func (r *iotRows) others() []Operation {
	return []Operation{
		op("DescribeEndpoint", "iot:DescribeEndpoint", nil, r.describeEndpoint),
		op("TagResource", "iot:TagResource", func(_ *Call, in *iotmodel.TagResourceInput) string { return deref(in.ResourceArn) }, r.tagResource),
		op("UntagResource", "iot:UntagResource", func(_ *Call, in *iotmodel.UntagResourceInput) string { return deref(in.ResourceArn) }, r.untagResource),
		op("ListTagsForResource", "iot:ListTagsForResource", func(_ *Call, in *iotmodel.ListTagsForResourceInput) string { return deref(in.ResourceArn) }, r.listTags),
	}
}

func (r *iotRows) describeEndpoint(_ context.Context, _ *Call, in *iotmodel.DescribeEndpointInput) (*iotmodel.DescribeEndpointOutput, error) {
	typ := "iot:Data"
	if in.EndpointType != nil {
		typ = *in.EndpointType
	}
	e := r.endpoint()
	switch typ {
	case "iot:Data", "iot:Data-ATS", "iot:Jobs":
		return &iotmodel.DescribeEndpointOutput{EndpointAddress: &e.Host}, nil
	case "iot:CredentialProvider":
		switch e.CredentialPort {
		case 0:
			return nil, iot.Errorf(iot.KindInvalid, "endpoint", "The credential provider is not served: --device-https-listen is empty.")
		case 443:
			return &iotmodel.DescribeEndpointOutput{EndpointAddress: &e.Host}, nil
		}
		host := e.Host
		if strings.Contains(host, ":") {
			host = "[" + strings.Trim(host, "[]") + "]"
		}
		return &iotmodel.DescribeEndpointOutput{EndpointAddress: new(host + ":" + strconv.Itoa(e.CredentialPort))}, nil
	}
	return nil, iot.Errorf(iot.KindInvalid, "endpoint", "Endpoint type %s is invalid.", clipped(typ))
}

func (r *iotRows) tagResource(ctx context.Context, _ *Call, in *iotmodel.TagResourceInput) (*iotmodel.TagResourceOutput, error) {
	return nil, r.registry.TagResource(ctx, deref(in.ResourceArn), tagsOf(in.Tags))
}

func (r *iotRows) untagResource(ctx context.Context, _ *Call, in *iotmodel.UntagResourceInput) (*iotmodel.UntagResourceOutput, error) {
	return nil, r.registry.UntagResource(ctx, deref(in.ResourceArn), in.TagKeys)
}

func (r *iotRows) listTags(ctx context.Context, _ *Call, in *iotmodel.ListTagsForResourceInput) (*iotmodel.ListTagsForResourceOutput, error) {
	if deref(in.NextToken) != "" { // the answer is never cut
		return nil, iot.Errorf(iot.KindInvalid, "page-token", "Invalid pagination token")
	}
	tags, err := r.registry.Tags(ctx, deref(in.ResourceArn))
	if err != nil {
		return nil, err
	}
	out := &iotmodel.ListTagsForResourceOutput{Tags: make([]iotmodel.Tag, len(tags))}
	for i := range tags {
		out.Tags[i] = iotmodel.Tag{Key: &tags[i].Key, Value: &tags[i].Value}
	}
	return out, nil
}

func tagsOf(in []iotmodel.Tag) []registry.Tag {
	tags := make([]registry.Tag, len(in))
	for i, t := range in {
		tags[i] = registry.Tag{Key: deref(t.Key), Value: deref(t.Value)}
	}
	return tags
}

// addTagKeys gives a row the condition keys that tags answer.
func (r *iotRows) addTagKeys(o *Operation) {
	resource := o.Resource
	if resource == nil || o.Keys != nil {
		return
	}
	o.Keys = func(c *Call, in any) policy.Keys {
		k := &iotTagKeys{call: c, registry: r.registry, resource: resource(c, in)}
		switch in := in.(type) {
		case *iotmodel.CreatePolicyInput:
			k.request = tagsOf(in.Tags)
		case *iotmodel.CreateThingTypeInput:
			k.request = tagsOf(in.Tags)
		case *iotmodel.CreateThingGroupInput:
			k.request = tagsOf(in.Tags)
		case *iotmodel.RegisterCACertificateInput:
			k.request = tagsOf(in.Tags)
		case *iotmodel.CreateRoleAliasInput:
			k.request = tagsOf(in.Tags)
		case *iotmodel.TagResourceInput:
			k.request = tagsOf(in.Tags)
		case *iotmodel.UntagResourceInput:
			for _, name := range in.TagKeys {
				k.request = append(k.request, registry.Tag{Key: name})
			}
			k.keysOnly = true
		}
		return k
	}
}

// iotTagKeys answers aws:ResourceTag/…, aws:RequestTag/… and aws:TagKeys. It
// reads the resource's tags when a policy first asks for them.
type iotTagKeys struct {
	call     *Call
	registry *registry.Registry
	resource string
	request  []registry.Tag
	keysOnly bool // the request names keys without values

	loaded bool
	tags   []registry.Tag
}

// Lookup implements policy.Keys.
func (k *iotTagKeys) Lookup(key string) policy.Values {
	if key == "aws:tagkeys" {
		if len(k.request) == 0 {
			return policy.Absent("the request names no tags")
		}
		names := make([]string, len(k.request))
		for i, t := range k.request {
			names[i] = t.Key
		}
		return policy.Many(names)
	}
	if name, ok := strings.CutPrefix(key, "aws:requesttag/"); ok {
		if k.keysOnly {
			return policy.Absent("the request sets no tags")
		}
		return tagValue(k.request, name, "the request sets no such tag")
	}
	if name, ok := strings.CutPrefix(key, "aws:resourcetag/"); ok {
		if !k.loaded {
			k.loaded = true
			var err error
			k.tags, err = k.registry.Tags(k.call.HTTP.Context(), k.resource) // none where the resource does not exist
			k.call.couldNotRead(err)
		}
		return tagValue(k.tags, name, "the resource has no such tag")
	}
	return policy.Values{}
}

// tagValue is the value of the tag that a condition names. Keys of tags may
// differ by case alone here: the one that is written so goes first.
func tagValue(tags []registry.Tag, name, why string) policy.Values {
	value := policy.Absent(why)
	for i := range tags {
		if tags[i].Key == name {
			return policy.One(tags[i].Value)
		}
		if !value.Set && policy.SameTagKey(tags[i].Key, name) {
			value = policy.One(tags[i].Value)
		}
	}
	return value
}

// iotResource is an ARN of the service: thing/NAME and the like.
func iotResource(c *Call, typ string, name *string) string {
	return string(iot.NewARN("iot", c.Region, c.Account, typ+"/"+deref(name)))
}

func pageOf(limit *int32, token *string) registry.Page {
	if limit != nil && *limit == 0 {
		return registry.Page{Limit: -1} // what was asked for is refused; what was not asked for is the default
	}
	return registry.Page{Limit: int(deref(limit)), Token: deref(token)}
}

// optional is nil for the empty string: an empty token would look like another page.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// clipped keeps what is echoed to the caller short.
func clipped(s string) string {
	if len(s) > 128 {
		return strings.ToValidUTF8(s[:128], "") + "..."
	}
	return s
}
