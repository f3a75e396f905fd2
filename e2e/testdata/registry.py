"""Thing types, thing groups and exclusive attachments with boto3."""
import boto3
import os

from botocore.exceptions import ClientError

iot = boto3.client("iot")
n = os.environ["PREFIX"]


def refused(code, call, **kwargs):
    try:
        call(**kwargs)
    except ClientError as e:
        assert e.response["Error"]["Code"] == code, e
        assert e.response["Error"]["Message"], e
        return
    raise AssertionError(f"not refused with {code}: {kwargs}")


def pages(operation, member, **kwargs):
    return [x for p in iot.get_paginator(operation).paginate(PaginationConfig={"PageSize": 2}, **kwargs) for x in p[member]]


# Thing types.
typ = n + "-type"
made = iot.create_thing_type(thingTypeName=typ, tags=[{"Key": "team", "Value": "blue"}], thingTypeProperties={
    "thingTypeDescription": "a pump", "searchableAttributes": ["site", "line"]})
assert made["thingTypeArn"].endswith(":thingtype/" + typ) and made["thingTypeId"], made
assert iot.create_thing_type(thingTypeName=typ, thingTypeProperties={
    "thingTypeDescription": "a pump", "searchableAttributes": ["line", "site"]})["thingTypeId"] == made["thingTypeId"]
refused("ResourceAlreadyExistsException", iot.create_thing_type, thingTypeName=typ)
assert iot.list_tags_for_resource(resourceArn=made["thingTypeArn"])["tags"] == [{"Key": "team", "Value": "blue"}]
many = {f"a{i}": str(i) for i in range(48)} | {"site": n, "hidden": n}
iot.create_thing(thingName=n + "-1", thingTypeName=typ, attributePayload={"attributes": many})
refused("InvalidRequestException", iot.create_thing, thingName=n + "-2", attributePayload={"attributes": {f"a{i}": "1" for i in range(4)}})
refused("InvalidRequestException", iot.create_thing, thingName=n + "-2", thingTypeName=typ, attributePayload={"attributes": many | {"more": "1"}})
refused("ResourceNotFoundException", iot.create_thing, thingName=n + "-2", thingTypeName="none-" + n)
assert [t["thingName"] for t in iot.list_things(thingTypeName=typ)["things"]] == [n + "-1"]
assert [t["thingName"] for t in iot.list_things(attributeName="site", attributeValue=n)["things"]] == [n + "-1"]
assert iot.list_things(attributeName="hidden", attributeValue=n)["things"] == []  # not searchable
iot.update_thing_type(thingTypeName=typ, thingTypeProperties={"searchableAttributes": ["hidden"]})
assert [t["thingName"] for t in iot.list_things(attributeName="hidden", attributeValue=n)["things"]] == [n + "-1"]
iot.deprecate_thing_type(thingTypeName=typ)
metadata = iot.describe_thing_type(thingTypeName=typ)["thingTypeMetadata"]
assert metadata["deprecated"] and metadata["deprecationDate"] >= metadata["creationDate"], metadata
refused("InvalidRequestException", iot.create_thing, thingName=n + "-2", thingTypeName=typ)
refused("InvalidRequestException", iot.delete_thing_type, thingTypeName=typ)
iot.deprecate_thing_type(thingTypeName=typ, undoDeprecate=True)
assert not iot.describe_thing_type(thingTypeName=typ)["thingTypeMetadata"]["deprecated"]
iot.create_thing(thingName=n + "-2", thingTypeName=typ)
iot.update_thing(thingName=n + "-2", removeThingType=True)
assert "thingTypeName" not in iot.describe_thing(thingName=n + "-2")
assert typ in [t["thingTypeName"] for t in pages("list_thing_types", "thingTypes")]
assert [t["thingTypeName"] for t in iot.list_thing_types(thingTypeName=typ)["thingTypes"]] == [typ]

# Thing groups.
root, mid, leaf = (f"{n}-{g}" for g in ("root", "mid", "leaf"))
iot.create_thing_group(thingGroupName=root, thingGroupProperties={"thingGroupDescription": "all", "attributePayload": {"attributes": {"a": "1"}}})
iot.create_thing_group(thingGroupName=mid, parentGroupName=root)
arn = iot.create_thing_group(thingGroupName=leaf, parentGroupName=mid, tags=[{"Key": "k", "Value": "v"}])["thingGroupArn"]
group = iot.describe_thing_group(thingGroupName=leaf)
assert [g["groupName"] for g in group["thingGroupMetadata"]["rootToParentThingGroups"]] == [root, mid], group
assert group["version"] == 1 and group["thingGroupArn"] == arn
refused("VersionConflictException", iot.update_thing_group, thingGroupName=leaf, thingGroupProperties={}, expectedVersion=7)
assert iot.update_thing_group(thingGroupName=leaf, expectedVersion=1, thingGroupProperties={
    "attributePayload": {"attributes": {"b": "2"}, "merge": True}})["version"] == 2
assert [g["groupName"] for g in pages("list_thing_groups", "thingGroups", namePrefixFilter=n)] == [leaf, mid, root]
assert [g["groupName"] for g in iot.list_thing_groups(parentGroup=root, recursive=False)["thingGroups"]] == [mid]
iot.add_thing_to_thing_group(thingName=n + "-1", thingGroupName=leaf)
iot.add_thing_to_thing_group(thingName=n + "-2", thingGroupArn=arn)
refused("InvalidRequestException", iot.add_thing_to_thing_group, thingName=n + "-1", thingGroupName=root)
assert pages("list_things_in_thing_group", "things", thingGroupName=root) == []
assert pages("list_things_in_thing_group", "things", thingGroupName=root, recursive=True) == [n + "-1", n + "-2"]
iot.update_thing_groups_for_thing(thingName=n + "-2", thingGroupsToAdd=[root], thingGroupsToRemove=[leaf])
assert [g["groupName"] for g in pages("list_thing_groups_for_thing", "thingGroups", thingName=n + "-2")] == [root]
iot.remove_thing_from_thing_group(thingName=n + "-2", thingGroupName=root)
refused("InvalidRequestException", iot.delete_thing_group, thingGroupName=root)

# Policies of groups.
document = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}}'
for p in (n + "-a", n + "-b"):
    iot.create_policy(policyName=p, policyDocument=document)
root_arn = iot.describe_thing_group(thingGroupName=root)["thingGroupArn"]
cert = iot.create_keys_and_certificate(setAsActive=True)
iot.attach_policy(policyName=n + "-a", target=root_arn)
iot.attach_policy(policyName=n + "-b", target=arn)
iot.attach_principal_policy(policyName=n + "-b", principal=cert["certificateArn"])
assert [p["policyName"] for p in iot.list_attached_policies(target=arn)["policies"]] == [n + "-b"]
assert [p["policyName"] for p in iot.list_attached_policies(target=arn, recursive=True)["policies"]] == [n + "-a", n + "-b"]
assert iot.list_targets_for_policy(policyName=n + "-b")["targets"] == [cert["certificateArn"], arn]
assert iot.list_policy_principals(policyName=n + "-b")["principals"] == [cert["certificateArn"]]
effective = iot.get_effective_policies(principal=cert["certificateArn"], thingName=n + "-1")["effectivePolicies"]
assert [p["policyName"] for p in effective] == [n + "-a", n + "-b"] and effective[0]["policyDocument"] == document

# Exclusive attachments.
iot.attach_thing_principal(thingName=n + "-1", principal=cert["certificateArn"], thingPrincipalType="EXCLUSIVE_THING")
refused("InvalidRequestException", iot.attach_thing_principal, thingName=n + "-2", principal=cert["certificateArn"])
assert iot.list_thing_principals_v2(thingName=n + "-1")["thingPrincipalObjects"] == [
    {"principal": cert["certificateArn"], "thingPrincipalType": "EXCLUSIVE_THING"}]
assert iot.list_principal_things_v2(principal=cert["certificateArn"], thingPrincipalType="NON_EXCLUSIVE_THING")["principalThingObjects"] == []
iot.detach_thing_principal(thingName=n + "-1", principal=cert["certificateArn"])
iot.attach_thing_principal(thingName=n + "-2", principal=cert["certificateArn"])
refused("InvalidRequestException", iot.attach_thing_principal, thingName=n + "-1", principal=cert["certificateArn"], thingPrincipalType="EXCLUSIVE_THING")

# A group goes with its memberships and its policies.
iot.delete_thing_group(thingGroupName=leaf)
iot.delete_thing_group(thingGroupName=leaf)
assert iot.list_thing_groups_for_thing(thingName=n + "-1")["thingGroups"] == []
assert iot.list_targets_for_policy(policyName=n + "-b")["targets"] == [cert["certificateArn"]]
refused("NotImplemented", iot.create_dynamic_thing_group, thingGroupName=n + "-d", queryString="thingName:*")

# Events.
before = iot.describe_event_configurations()["eventConfigurations"]
assert len(before) == 11, before
iot.update_event_configurations(eventConfigurations={"THING_TYPE": {"Enabled": True}})
assert iot.describe_event_configurations()["eventConfigurations"]["THING_TYPE"]["Enabled"]
iot.update_event_configurations(eventConfigurations={"THING_TYPE": {"Enabled": False}})
refused("NotImplemented", iot.update_event_configurations, eventConfigurations={"JOB": {"Enabled": True}})

# TestAuthorization.
region_account = cert["certificateArn"].split(":cert/")[0]
answer = iot.test_authorization(principal=cert["certificateArn"], clientId=n + "-2", authInfos=[
    {"actionType": "CONNECT", "resources": [f"{region_account}:client/{n}-2"]},
    {"actionType": "PUBLISH", "resources": [f"{region_account}:topic/x"]},
])["authResults"]
assert [a["authDecision"] for a in answer] == ["ALLOWED", "IMPLICIT_DENY"], answer
assert [p["policyName"] for p in answer[0]["allowed"]["policies"]] == [n + "-b"], answer
assert [p["policyName"] for p in answer[1]["denied"]["implicitDeny"]["policies"]] == [n + "-b"], answer
refused("InvalidRequestException", iot.test_authorization, principal=cert["certificateArn"], authInfos=[{"actionType": "PUBLISH", "resources": ["topic"]}])

# Fleet indexing.
refused("ResourceNotFoundException", iot.search_index, indexName="none", queryString="a")
iot.update_indexing_configuration(thingIndexingConfiguration={"thingIndexingMode": "REGISTRY", "thingConnectivityIndexingMode": "STATUS"})
assert iot.get_indexing_configuration()["thingIndexingConfiguration"]["thingIndexingMode"] == "REGISTRY"
assert iot.describe_index(indexName="AWS_Things")["schema"] == "REGISTRY_AND_CONNECTIVITY_STATUS"
for i in range(7):
    iot.create_thing(thingName=f"{n}-S{i}", attributePayload={"attributes": {"batch": n, "n": str(i - 2), "kind": "AbC"}})
iot.add_thing_to_thing_group(thingName=f"{n}-S1", thingGroupName=root)


def search(query):
    names, token = [], {}
    while True:
        page = iot.search_index(queryString=query, maxResults=3, **token)
        names += [t["thingName"].rsplit("-", 1)[1] for t in page["things"]]
        if "nextToken" not in page:
            return names
        token = {"nextToken": page["nextToken"]}


for query, want in {
    f"attributes.batch:{n}": ["S0", "S1", "S2", "S3", "S4", "S5", "S6"],
    f"thingName:{n}-s*": ["S0", "S1", "S2", "S3", "S4", "S5", "S6"],  # no case
    f"attributes.batch:{n} AND attributes.n>=3": ["S5", "S6"],
    f"attributes.batch:{n} attributes.n:{{-2 TO 0]": ["S1", "S2"],
    f"attributes.batch:{n} attributes.kind:abc NOT attributes.n<3": ["S5", "S6"],
    f'thingName:"{n}-S3" OR thingName:{n}-S4': ["S3", "S4"],
    f"thingGroupNames:{root}": ["S1"],
    f"thingTypeName:{typ}": ["1"],
    f"attributes.batch:{n} -thingName:(*S0 OR {n}-S1)": ["S2", "S3", "S4", "S5", "S6"],
    f"attributes.batch:{n} connectivity.connected:true": [],
}.items():
    assert search(query) == want, (query, search(query))
refused("InvalidQueryException", iot.search_index, queryString="attributes.n:[1 TO")
refused("InvalidQueryException", iot.search_index, queryString="shadow.reported.x:1")
