package api_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
)

func TestIoTThingTypes(t *testing.T) {
	t.Parallel()
	s := newIoTServer(t)
	c, ctx := s.client(t, "root", ""), t.Context()
	in := &iot.CreateThingTypeInput{
		ThingTypeName:       aws.String("pump"),
		ThingTypeProperties: &types.ThingTypeProperties{ThingTypeDescription: aws.String("d"), SearchableAttributes: []string{"site"}},
		Tags:                []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}},
	}
	made := must[*iot.CreateThingTypeOutput](t)(c.CreateThingType(ctx, in))
	if *made.ThingTypeArn != iotARN+"thingtype/pump" || *made.ThingTypeName != "pump" || *made.ThingTypeId == "" {
		t.Errorf("%+v", made)
	}
	_, err := c.CreateThingType(ctx, &iot.CreateThingTypeInput{ThingTypeName: aws.String("pump")})
	wantError(t, "other properties", err, 409, "ResourceAlreadyExistsException")
	_, err = c.CreateThingType(ctx, &iot.CreateThingTypeInput{ThingTypeName: aws.String("x"), ThingTypeProperties: &types.ThingTypeProperties{
		Mqtt5Configuration: &types.Mqtt5Configuration{PropagatingAttributes: []types.PropagatingAttribute{{UserPropertyKey: aws.String("k"), ThingAttribute: aws.String("a")}}},
	}})
	wantError(t, "propagating attributes", err, 501, "NotImplemented")
	if l := must[*iot.ListTagsForResourceOutput](t)(c.ListTagsForResource(ctx, &iot.ListTagsForResourceInput{ResourceArn: made.ThingTypeArn})); len(l.Tags) != 1 {
		t.Errorf("%+v", l.Tags)
	}
	must[*iot.CreateThingOutput](t)(c.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String("a"), ThingTypeName: aws.String("pump")}))
	must[*iot.UpdateThingTypeOutput](t)(c.UpdateThingType(ctx, &iot.UpdateThingTypeInput{ThingTypeName: aws.String("pump"), ThingTypeProperties: &types.ThingTypeProperties{SearchableAttributes: []string{"line"}}}))
	must[*iot.DeprecateThingTypeOutput](t)(c.DeprecateThingType(ctx, &iot.DeprecateThingTypeInput{ThingTypeName: aws.String("pump")}))
	got := must[*iot.DescribeThingTypeOutput](t)(c.DescribeThingType(ctx, &iot.DescribeThingTypeInput{ThingTypeName: aws.String("pump")}))
	if !got.ThingTypeMetadata.Deprecated || got.ThingTypeMetadata.DeprecationDate == nil || *got.ThingTypeProperties.ThingTypeDescription != "d" || !slices.Equal(got.ThingTypeProperties.SearchableAttributes, []string{"line"}) {
		t.Errorf("%+v", got)
	}
	_, err = c.DeleteThingType(ctx, &iot.DeleteThingTypeInput{ThingTypeName: aws.String("pump")})
	wantError(t, "right after", err, 400, "InvalidRequestException")
	_, err = c.UpdateThing(ctx, &iot.UpdateThingInput{ThingName: aws.String("b"), ThingTypeName: aws.String("pump")})
	wantError(t, "no thing", err, 404, "ResourceNotFoundException")
	if l := must[*iot.ListThingsOutput](t)(c.ListThings(ctx, &iot.ListThingsInput{ThingTypeName: aws.String("pump")})); len(l.Things) != 1 || *l.Things[0].ThingTypeName != "pump" {
		t.Errorf("%+v", l)
	}
	must[*iot.UpdateThingOutput](t)(c.UpdateThing(ctx, &iot.UpdateThingInput{ThingName: aws.String("a"), RemoveThingType: true}))
	if l := must[*iot.ListThingTypesOutput](t)(c.ListThingTypes(ctx, &iot.ListThingTypesInput{})); len(l.ThingTypes) != 1 || !l.ThingTypes[0].ThingTypeMetadata.Deprecated {
		t.Errorf("%+v", l)
	}
	_, err = c.DescribeThingType(ctx, &iot.DescribeThingTypeInput{ThingTypeName: aws.String("none")})
	wantError(t, "none", err, 404, "ResourceNotFoundException")
}

func TestIoTThingGroups(t *testing.T) {
	t.Parallel()
	s := newIoTServer(t)
	c, ctx := s.client(t, "root", ""), t.Context()
	for _, g := range [][2]string{{"root", ""}, {"mid", "root"}, {"leaf", "mid"}} {
		in := &iot.CreateThingGroupInput{ThingGroupName: &g[0], ThingGroupProperties: &types.ThingGroupProperties{
			ThingGroupDescription: aws.String("d"), AttributePayload: &types.AttributePayload{Attributes: map[string]string{"a": "1"}},
		}}
		if g[1] != "" {
			in.ParentGroupName = &g[1]
		}
		if made := must[*iot.CreateThingGroupOutput](t)(c.CreateThingGroup(ctx, in)); *made.ThingGroupArn != iotARN+"thinggroup/"+g[0] || *made.ThingGroupId == "" {
			t.Errorf("%+v", made)
		}
	}
	up := must[*iot.UpdateThingGroupOutput](t)(c.UpdateThingGroup(ctx, &iot.UpdateThingGroupInput{
		ThingGroupName: aws.String("leaf"), ExpectedVersion: aws.Int64(1),
		ThingGroupProperties: &types.ThingGroupProperties{AttributePayload: &types.AttributePayload{Merge: true, Attributes: map[string]string{"b": "2"}}},
	}))
	got := must[*iot.DescribeThingGroupOutput](t)(c.DescribeThingGroup(ctx, &iot.DescribeThingGroupInput{ThingGroupName: aws.String("leaf")}))
	above := got.ThingGroupMetadata.RootToParentThingGroups
	if up.Version != 2 || got.Version != 2 || *got.ThingGroupMetadata.ParentGroupName != "mid" || len(above) != 2 || *above[0].GroupName != "root" || *above[1].GroupArn != iotARN+"thinggroup/mid" ||
		got.ThingGroupProperties.AttributePayload.Attributes["a"] != "1" || *got.ThingGroupProperties.ThingGroupDescription != "d" {
		t.Errorf("%+v", got)
	}
	must[*iot.CreateThingGroupOutput](t)(c.CreateThingGroup(ctx, &iot.CreateThingGroupInput{ThingGroupName: aws.String("bare")}))
	if p := must[*iot.DescribeThingGroupOutput](t)(c.DescribeThingGroup(ctx, &iot.DescribeThingGroupInput{ThingGroupName: aws.String("bare")})).ThingGroupProperties; p.AttributePayload != nil || p.ThingGroupDescription != nil {
		t.Errorf("a group without properties has %+v", p)
	}
	must[*iot.DeleteThingGroupOutput](t)(c.DeleteThingGroup(ctx, &iot.DeleteThingGroupInput{ThingGroupName: aws.String("bare")}))
	_, err := c.UpdateThingGroup(ctx, &iot.UpdateThingGroupInput{ThingGroupName: aws.String("leaf"), ExpectedVersion: aws.Int64(1), ThingGroupProperties: &types.ThingGroupProperties{}})
	wantError(t, "version", err, 409, "VersionConflictException")
	names := func(in *iot.ListThingGroupsInput) string {
		var s []string
		for p := iot.NewListThingGroupsPaginator(c, in); p.HasMorePages(); {
			for _, g := range must[*iot.ListThingGroupsOutput](t)(p.NextPage(ctx)).ThingGroups {
				s = append(s, *g.GroupName)
			}
		}
		return strings.Join(s, " ")
	}
	for want, in := range map[string]*iot.ListThingGroupsInput{
		"leaf mid root": {MaxResults: aws.Int32(2)},
		"root":          {Recursive: aws.Bool(false)},
		"leaf mid":      {ParentGroup: aws.String("root")},
		"mid":           {ParentGroup: aws.String("root"), Recursive: aws.Bool(false)},
		"leaf":          {NamePrefixFilter: aws.String("le")},
	} {
		if l := names(in); l != want {
			t.Errorf("%+v: %s, want %s", in, l, want)
		}
	}
	for _, n := range []string{"t1", "t2"} {
		must[*iot.CreateThingOutput](t)(c.CreateThing(ctx, &iot.CreateThingInput{ThingName: &n}))
	}
	must[*iot.AddThingToThingGroupOutput](t)(c.AddThingToThingGroup(ctx, &iot.AddThingToThingGroupInput{ThingName: aws.String("t1"), ThingGroupName: aws.String("leaf")}))
	must[*iot.AddThingToThingGroupOutput](t)(c.AddThingToThingGroup(ctx, &iot.AddThingToThingGroupInput{ThingArn: aws.String(iotARN + "thing/t2"), ThingGroupArn: aws.String(iotARN + "thinggroup/mid")}))
	_, err = c.AddThingToThingGroup(ctx, &iot.AddThingToThingGroupInput{ThingName: aws.String("t1"), ThingGroupName: aws.String("root")})
	wantError(t, "same hierarchy", err, 400, "InvalidRequestException")
	_, err = c.AddThingToThingGroup(ctx, &iot.AddThingToThingGroupInput{ThingName: aws.String("t1")})
	wantError(t, "no group", err, 400, "InvalidRequestException")
	if l := must[*iot.ListThingsInThingGroupOutput](t)(c.ListThingsInThingGroup(ctx, &iot.ListThingsInThingGroupInput{ThingGroupName: aws.String("root"), Recursive: true})); !slices.Equal(l.Things, []string{"t1", "t2"}) {
		t.Errorf("%v", l.Things)
	}
	must[*iot.UpdateThingGroupsForThingOutput](t)(c.UpdateThingGroupsForThing(ctx, &iot.UpdateThingGroupsForThingInput{ThingName: aws.String("t1"), ThingGroupsToAdd: []string{"root"}, ThingGroupsToRemove: []string{"leaf"}}))
	if l := must[*iot.ListThingGroupsForThingOutput](t)(c.ListThingGroupsForThing(ctx, &iot.ListThingGroupsForThingInput{ThingName: aws.String("t1")})); len(l.ThingGroups) != 1 || *l.ThingGroups[0].GroupName != "root" {
		t.Errorf("%+v", l)
	}
	must[*iot.RemoveThingFromThingGroupOutput](t)(c.RemoveThingFromThingGroup(ctx, &iot.RemoveThingFromThingGroupInput{ThingName: aws.String("t1"), ThingGroupName: aws.String("root")}))
	_, err = c.DeleteThingGroup(ctx, &iot.DeleteThingGroupInput{ThingGroupName: aws.String("mid")})
	wantError(t, "children", err, 400, "InvalidRequestException")
	must[*iot.DeleteThingGroupOutput](t)(c.DeleteThingGroup(ctx, &iot.DeleteThingGroupInput{ThingGroupName: aws.String("leaf")}))
	_, err = c.DescribeThingGroup(ctx, &iot.DescribeThingGroupInput{ThingGroupName: aws.String("leaf")})
	wantError(t, "deleted", err, 404, "ResourceNotFoundException")
	_, err = c.CreateDynamicThingGroup(ctx, &iot.CreateDynamicThingGroupInput{ThingGroupName: aws.String("d"), QueryString: aws.String("thingName:*")})
	wantError(t, "dynamic", err, 501, "NotImplemented")
}

// TestIoTMembershipNeedsBoth asks for the permission on the group and on the thing.
func TestIoTMembershipNeedsBoth(t *testing.T) {
	t.Parallel()
	s := newIoTServer(t)
	root, ctx := s.client(t, "root", ""), t.Context()
	must[*iot.CreateThingGroupOutput](t)(root.CreateThingGroup(ctx, &iot.CreateThingGroupInput{ThingGroupName: aws.String("g")}))
	must[*iot.CreateThingOutput](t)(root.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String("t")}))
	for user, c := range map[string]struct {
		resource string
		allowed  bool
	}{
		"group": {`"` + iotARN + `thinggroup/g"`, false},
		"thing": {`"` + iotARN + `thing/t"`, false},
		"both":  {`["` + iotARN + `thing/t","` + iotARN + `thinggroup/g"]`, true},
	} {
		k := s.client(t, user, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:*","Resource":`+c.resource+`}}`)
		_, add := k.AddThingToThingGroup(ctx, &iot.AddThingToThingGroupInput{ThingName: aws.String("t"), ThingGroupName: aws.String("g")})
		_, update := k.UpdateThingGroupsForThing(ctx, &iot.UpdateThingGroupsForThingInput{ThingName: aws.String("t"), ThingGroupsToRemove: []string{"g"}})
		for _, err := range []error{add, update} {
			if c.allowed && err != nil {
				t.Errorf("%s: %v", user, err)
			}
			if !c.allowed {
				wantError(t, user, err, 403, "AccessDeniedException")
			}
		}
	}
}

func TestIoTGroupPolicies(t *testing.T) {
	t.Parallel()
	s := newIoTServer(t)
	c, ctx := s.client(t, "root", ""), t.Context()
	root := must[*iot.CreateThingGroupOutput](t)(c.CreateThingGroup(ctx, &iot.CreateThingGroupInput{ThingGroupName: aws.String("root")})).ThingGroupArn
	leaf := must[*iot.CreateThingGroupOutput](t)(c.CreateThingGroup(ctx, &iot.CreateThingGroupInput{ThingGroupName: aws.String("leaf"), ParentGroupName: aws.String("root")})).ThingGroupArn
	cert := must[*iot.CreateKeysAndCertificateOutput](t)(c.CreateKeysAndCertificate(ctx, &iot.CreateKeysAndCertificateInput{})).CertificateArn
	for _, n := range []string{"p", "q"} {
		must[*iot.CreatePolicyOutput](t)(c.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: &n, PolicyDocument: aws.String(iotAllow)}))
	}
	must[*iot.AttachPolicyOutput](t)(c.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: aws.String("p"), Target: root}))
	must[*iot.AttachPolicyOutput](t)(c.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: aws.String("p"), Target: cert}))
	must[*iot.AttachPolicyOutput](t)(c.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: aws.String("q"), Target: leaf}))
	_, err := c.AttachPrincipalPolicy(ctx, &iot.AttachPrincipalPolicyInput{PolicyName: aws.String("p"), Principal: root}) //nolint:staticcheck // old, and still in use
	wantError(t, "a group as principal", err, 400, "InvalidRequestException")
	for recursive, want := range map[bool]int{false: 1, true: 2} {
		l := must[*iot.ListAttachedPoliciesOutput](t)(c.ListAttachedPolicies(ctx, &iot.ListAttachedPoliciesInput{Target: leaf, Recursive: recursive}))
		if len(l.Policies) != want {
			t.Errorf("recursive %t: %+v", recursive, l.Policies)
		}
	}
	if l := must[*iot.ListTargetsForPolicyOutput](t)(c.ListTargetsForPolicy(ctx, &iot.ListTargetsForPolicyInput{PolicyName: aws.String("p")})); !slices.Equal(l.Targets, []string{*cert, *root}) {
		t.Errorf("%v", l.Targets)
	}
	old := must[*iot.ListPolicyPrincipalsOutput](t)(c.ListPolicyPrincipals(ctx, &iot.ListPolicyPrincipalsInput{PolicyName: aws.String("p")})) //nolint:staticcheck // old, and still in use
	if !slices.Equal(old.Principals, []string{*cert}) {
		t.Errorf("%v", old.Principals)
	}
	must[*iot.CreateThingOutput](t)(c.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String("t")}))
	must[*iot.AddThingToThingGroupOutput](t)(c.AddThingToThingGroup(ctx, &iot.AddThingToThingGroupInput{ThingName: aws.String("t"), ThingGroupName: aws.String("leaf")}))
	e := must[*iot.GetEffectivePoliciesOutput](t)(c.GetEffectivePolicies(ctx, &iot.GetEffectivePoliciesInput{Principal: cert, ThingName: aws.String("t")})).EffectivePolicies
	if len(e) != 2 || *e[0].PolicyName != "p" || *e[1].PolicyArn != iotARN+"policy/q" || *e[1].PolicyDocument != iotAllow {
		t.Errorf("%+v", e)
	}
	_, err = c.GetEffectivePolicies(ctx, &iot.GetEffectivePoliciesInput{})
	wantError(t, "nobody", err, 400, "InvalidRequestException")
}

func TestIoTEventConfigurations(t *testing.T) {
	t.Parallel()
	s := newIoTServer(t)
	c, ctx := s.client(t, "root", ""), t.Context()
	before := must[*iot.DescribeEventConfigurationsOutput](t)(c.DescribeEventConfigurations(ctx, &iot.DescribeEventConfigurationsInput{}))
	if len(before.EventConfigurations) != 11 || before.EventConfigurations["THING"].Enabled || before.CreationDate != nil {
		t.Errorf("%+v", before)
	}
	must[*iot.UpdateEventConfigurationsOutput](t)(c.UpdateEventConfigurations(ctx, &iot.UpdateEventConfigurationsInput{EventConfigurations: map[string]types.Configuration{"THING": {Enabled: true}, "JOB": {}}}))
	after := must[*iot.DescribeEventConfigurationsOutput](t)(c.DescribeEventConfigurations(ctx, &iot.DescribeEventConfigurationsInput{}))
	if !after.EventConfigurations["THING"].Enabled || after.EventConfigurations["JOB"].Enabled || after.LastModifiedDate == nil {
		t.Errorf("%+v", after)
	}
	_, err := c.UpdateEventConfigurations(ctx, &iot.UpdateEventConfigurationsInput{EventConfigurations: map[string]types.Configuration{"JOB": {Enabled: true}}})
	wantError(t, "jobs", err, 501, "NotImplemented")
}

func TestIoTTestAuthorization(t *testing.T) {
	t.Parallel()
	s := newIoTServer(t)
	c, ctx := s.client(t, "root", ""), t.Context()
	cert := must[*iot.CreateKeysAndCertificateOutput](t)(c.CreateKeysAndCertificate(ctx, &iot.CreateKeysAndCertificateInput{})).CertificateArn
	group := must[*iot.CreateThingGroupOutput](t)(c.CreateThingGroup(ctx, &iot.CreateThingGroupInput{ThingGroupName: aws.String("g")})).ThingGroupArn
	must[*iot.CreateThingOutput](t)(c.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String("pump"), AttributePayload: &types.AttributePayload{Attributes: map[string]string{"site": "x"}}}))
	must[*iot.AddThingToThingGroupOutput](t)(c.AddThingToThingGroup(ctx, &iot.AddThingToThingGroupInput{ThingName: aws.String("pump"), ThingGroupName: aws.String("g")}))
	must[*iot.AttachThingPrincipalOutput](t)(c.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: aws.String("pump"), Principal: cert}))
	for name, document := range map[string]string{
		"own":   `{"Effect":"Allow","Action":["iot:Connect","iot:Publish"],"Resource":"` + iotARN + `*/${iot:Connection.Thing.ThingName}/${iot:Connection.Thing.Attributes[site]}"},{"Effect":"Allow","Action":"iot:Publish","Resource":"` + iotARN + `topic/free"},{"Effect":"Allow","Action":"iot:Receive","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}}`,
		"group": `{"Effect":"Deny","Action":"iot:Publish","Resource":"` + iotARN + `topic/pump/*"}`,
		"more":  `{"Effect":"Allow","Action":"iot:Subscribe","Resource":"*"}`,
	} {
		must[*iot.CreatePolicyOutput](t)(c.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: &name, PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[` + document + `]}`)}))
	}
	must[*iot.AttachPolicyOutput](t)(c.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: aws.String("own"), Target: cert}))
	must[*iot.AttachPolicyOutput](t)(c.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: aws.String("group"), Target: group}))
	names := func(list []types.Policy) string {
		var s []string
		for _, p := range list {
			if *p.PolicyArn != iotARN+"policy/"+*p.PolicyName {
				t.Errorf("%s has the ARN %s", *p.PolicyName, *p.PolicyArn)
			}
			s = append(s, *p.PolicyName)
		}
		return strings.Join(s, " ")
	}
	for what, x := range map[string]struct {
		client    string
		action    types.ActionType
		resources []string
		add, skip []string
		// decision: allowed by / denied by / without a say by; missing
		want string
	}{
		"allowed, with the group's say": {"pump", "CONNECT", []string{"client/pump/x"}, nil, nil, "ALLOWED: own//group; "},
		"denied by the group":           {"pump", "PUBLISH", []string{"topic/pump/x"}, nil, nil, "EXPLICIT_DENY: own/group/; "},
		"the group skipped":             {"pump", "PUBLISH", []string{"topic/pump/x"}, nil, []string{"group", "unknown"}, "ALLOWED: own//; "},
		"another client":                {"else", "PUBLISH", []string{"topic/pump/x"}, nil, nil, "IMPLICIT_DENY: //own; iot:Connection.Thing.ThingName"},
		"no client":                     {"", "PUBLISH", []string{"topic/free"}, nil, nil, "ALLOWED: own//; iot:Connection.Thing.ThingName"},
		"two resources":                 {"pump", "PUBLISH", []string{"topic/free", "topic/other"}, nil, nil, "IMPLICIT_DENY: own//group; "},
		"one denied":                    {"pump", "PUBLISH", []string{"topic/pump/x", "topic/other"}, nil, nil, "EXPLICIT_DENY: own/group/; "},
		"missing address":               {"pump", "RECEIVE", []string{"topic/free"}, nil, nil, "IMPLICIT_DENY: //own group; aws:SourceIp"},
		"a policy more":                 {"pump", "SUBSCRIBE", []string{"topicfilter/#"}, []string{"more", "own"}, nil, "ALLOWED: more//own group; "},
	} {
		in := &iot.TestAuthorizationInput{Principal: cert, PolicyNamesToAdd: x.add, PolicyNamesToSkip: x.skip, AuthInfos: []types.AuthInfo{{ActionType: x.action}}}
		if x.client != "" {
			in.ClientId = &x.client
		}
		for _, r := range x.resources {
			in.AuthInfos[0].Resources = append(in.AuthInfos[0].Resources, iotARN+r)
		}
		out := must[*iot.TestAuthorizationOutput](t)(c.TestAuthorization(ctx, in))
		if len(out.AuthResults) != 1 {
			t.Fatalf("%s: %+v", what, out)
		}
		r := out.AuthResults[0]
		got := string(r.AuthDecision) + ": " + names(r.Allowed.Policies) + "/" + names(r.Denied.ExplicitDeny.Policies) + "/" + names(r.Denied.ImplicitDeny.Policies) +
			"; " + strings.Join(r.MissingContextValues, " ")
		if got != x.want || r.AuthInfo.ActionType != x.action {
			t.Errorf("%s: %s, want %s", what, got, x.want)
		}
	}
	one := []types.AuthInfo{{ActionType: "PUBLISH", Resources: []string{iotARN + "topic/free"}}}
	out := must[*iot.TestAuthorizationOutput](t)(c.TestAuthorization(ctx, &iot.TestAuthorizationInput{PolicyNamesToAdd: []string{"own"}, AuthInfos: one}))
	if out.AuthResults[0].AuthDecision != "ALLOWED" {
		t.Errorf("without a principal: %+v", out)
	}
	for what, x := range map[string]struct {
		in     *iot.TestAuthorizationInput
		status int
		code   string
	}{
		"nothing":        {&iot.TestAuthorizationInput{AuthInfos: []types.AuthInfo{}}, 400, "InvalidRequestException"},
		"eleven":         {&iot.TestAuthorizationInput{AuthInfos: slices.Repeat(one, 11)}, 400, "InvalidRequestException"},
		"action":         {&iot.TestAuthorizationInput{AuthInfos: []types.AuthInfo{{ActionType: "X", Resources: one[0].Resources}}}, 400, "InvalidRequestException"},
		"resource":       {&iot.TestAuthorizationInput{AuthInfos: []types.AuthInfo{{ActionType: "PUBLISH", Resources: []string{"topic/x"}}}}, 400, "InvalidRequestException"},
		"no resources":   {&iot.TestAuthorizationInput{AuthInfos: []types.AuthInfo{{ActionType: "PUBLISH", Resources: []string{}}}}, 400, "InvalidRequestException"},
		"no certificate": {&iot.TestAuthorizationInput{AuthInfos: one, Principal: aws.String(iotARN + "cert/" + strings.Repeat("a", 64))}, 404, "ResourceNotFoundException"},
		"a group":        {&iot.TestAuthorizationInput{AuthInfos: one, Principal: group}, 400, "InvalidRequestException"},
		"no such policy": {&iot.TestAuthorizationInput{AuthInfos: one, PolicyNamesToAdd: []string{"none"}}, 404, "ResourceNotFoundException"},
		"a Cognito pool": {&iot.TestAuthorizationInput{AuthInfos: one, CognitoIdentityPoolId: aws.String("us-east-1:x")}, 501, "NotImplemented"},
	} {
		_, err := c.TestAuthorization(ctx, x.in)
		wantError(t, what, err, x.status, x.code)
	}
}

func TestIoTSearchIndex(t *testing.T) {
	t.Parallel()
	s := newIoTServer(t)
	c, ctx := s.client(t, "root", ""), t.Context()
	for i := range 5 {
		must[*iot.CreateThingOutput](t)(c.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String("t" + string(rune('0'+i))), AttributePayload: &types.AttributePayload{Attributes: map[string]string{"n": string(rune('0' + i))}}}))
	}
	search := &iot.SearchIndexInput{QueryString: aws.String("attributes.n:[1 TO 3]"), MaxResults: aws.Int32(2)}
	_, err := c.SearchIndex(ctx, search)
	wantError(t, "off", err, 400, "IndexNotReadyException")
	_, err = c.DescribeIndex(ctx, &iot.DescribeIndexInput{IndexName: aws.String("AWS_Things")})
	wantError(t, "off", err, 404, "ResourceNotFoundException")
	if l := must[*iot.ListIndicesOutput](t)(c.ListIndices(ctx, &iot.ListIndicesInput{})); len(l.IndexNames) != 0 {
		t.Errorf("%v", l.IndexNames)
	}
	index := &iot.UpdateIndexingConfigurationInput{ThingIndexingConfiguration: &types.ThingIndexingConfiguration{
		ThingIndexingMode: types.ThingIndexingModeRegistry, CustomFields: []types.Field{{Name: aws.String("attributes.n"), Type: types.FieldTypeNumber}},
	}}
	must[*iot.UpdateIndexingConfigurationOutput](t)(c.UpdateIndexingConfiguration(ctx, index))
	got := must[*iot.GetIndexingConfigurationOutput](t)(c.GetIndexingConfiguration(ctx, &iot.GetIndexingConfigurationInput{})).ThingIndexingConfiguration
	if got.ThingIndexingMode != "REGISTRY" || got.ThingConnectivityIndexingMode != "OFF" || len(got.CustomFields) != 1 || *got.CustomFields[0].Name != "attributes.n" || len(got.ManagedFields) != 5 {
		t.Errorf("%+v", got)
	}
	d := must[*iot.DescribeIndexOutput](t)(c.DescribeIndex(ctx, &iot.DescribeIndexInput{IndexName: aws.String("AWS_Things")}))
	if d.IndexStatus != "ACTIVE" || *d.Schema != "REGISTRY" {
		t.Errorf("%+v", d)
	}
	var names []string
	for {
		out := must[*iot.SearchIndexOutput](t)(c.SearchIndex(ctx, search))
		for _, x := range out.Things {
			if len(*x.ThingId) != 36 || x.Attributes["n"] == "" {
				t.Errorf("%+v", x)
			}
			names = append(names, *x.ThingName)
		}
		if search.NextToken = out.NextToken; out.NextToken == nil {
			break
		}
	}
	if !slices.Equal(names, []string{"t1", "t2", "t3"}) {
		t.Errorf("%v", names)
	}
	for what, x := range map[string]struct {
		in     *iot.SearchIndexInput
		status int
		code   string
	}{
		"query":        {&iot.SearchIndexInput{QueryString: aws.String("(a")}, 400, "InvalidQueryException"},
		"field":        {&iot.SearchIndexInput{QueryString: aws.String("shadow.reported.x:1")}, 400, "InvalidQueryException"},
		"connectivity": {&iot.SearchIndexInput{QueryString: aws.String("connectivity.connected:true")}, 400, "InvalidQueryException"},
		"version":      {&iot.SearchIndexInput{QueryString: aws.String("a"), QueryVersion: aws.String("1999-01-01")}, 400, "InvalidQueryException"},
		"page size":    {&iot.SearchIndexInput{QueryString: aws.String("a"), MaxResults: aws.Int32(101)}, 400, "InvalidRequestException"},
		"token":        {&iot.SearchIndexInput{QueryString: aws.String("a"), NextToken: aws.String("x")}, 400, "InvalidRequestException"},
		"index":        {&iot.SearchIndexInput{QueryString: aws.String("a"), IndexName: aws.String("x")}, 404, "ResourceNotFoundException"},
		"groups":       {&iot.SearchIndexInput{QueryString: aws.String("a"), IndexName: aws.String("AWS_ThingGroups")}, 501, "NotImplemented"},
	} {
		_, err := c.SearchIndex(ctx, x.in)
		wantError(t, what, err, x.status, x.code)
	}
	for what, x := range map[string]struct {
		in     *types.ThingIndexingConfiguration
		status int
		code   string
	}{
		"shadows":      {&types.ThingIndexingConfiguration{ThingIndexingMode: "REGISTRY_AND_SHADOW"}, 501, "NotImplemented"},
		"violations":   {&types.ThingIndexingConfiguration{ThingIndexingMode: "REGISTRY", DeviceDefenderIndexingMode: "VIOLATIONS"}, 501, "NotImplemented"},
		"mode":         {&types.ThingIndexingConfiguration{ThingIndexingMode: "X"}, 400, "InvalidRequestException"},
		"connectivity": {&types.ThingIndexingConfiguration{ThingIndexingMode: "OFF", ThingConnectivityIndexingMode: "STATUS"}, 400, "InvalidRequestException"},
		"field":        {&types.ThingIndexingConfiguration{ThingIndexingMode: "REGISTRY", CustomFields: []types.Field{{Name: aws.String("shadow.x"), Type: types.FieldTypeNumber}}}, 400, "InvalidRequestException"},
		"six fields":   {&types.ThingIndexingConfiguration{ThingIndexingMode: "REGISTRY", CustomFields: slices.Repeat(index.ThingIndexingConfiguration.CustomFields, 6)}, 410, "LimitExceededException"},
	} {
		_, err := c.UpdateIndexingConfiguration(ctx, &iot.UpdateIndexingConfigurationInput{ThingIndexingConfiguration: x.in})
		wantError(t, what, err, x.status, x.code)
	}
	_, err = c.UpdateIndexingConfiguration(ctx, &iot.UpdateIndexingConfigurationInput{ThingGroupIndexingConfiguration: &types.ThingGroupIndexingConfiguration{ThingGroupIndexingMode: "ON"}})
	wantError(t, "thing groups", err, 501, "NotImplemented")
}
