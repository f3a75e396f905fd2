"""Every operation of IoT, IAM, STS and iot-data that is built (BUILT names them),
called with boto3 or, where BY is cli, with the AWS CLI; what was changed is read back."""
import json
import os
import subprocess

import boto3
from botocore import xform_name
from botocore.exceptions import ClientError

BUILT = json.loads(os.environ["BUILT"])
BY = os.environ["BY"]
N = os.environ["PREFIX"]
called = {s: set() for s in BUILT}
clients = {s: boto3.client(s) for s in BUILT}


class Refused(Exception):
    pass


def call(service, operation, **arguments):
    called[service].add(operation)
    if BY == "boto3":
        try:
            return getattr(clients[service], xform_name(operation))(**arguments)
        except ClientError as e:
            raise Refused(e.response["Error"]["Code"]) from e
    run = subprocess.run(["aws", service, xform_name(operation, "-"), "--cli-input-json", json.dumps(arguments)], capture_output=True, text=True)
    if run.returncode:
        raise Refused(run.stderr.split("(")[1].split(")")[0] if "(" in run.stderr else run.stderr)
    return json.loads(run.stdout) if run.stdout.strip() else {}


def iam(operation, **a):
    return call("iam", operation, **a)


def iot(operation, **a):
    return call("iot", operation, **a)


def refused(code, f, operation, **arguments):
    try:
        f(operation, **arguments)
    except Refused as e:
        assert str(e) == code, (operation, e)
        return
    raise AssertionError(f"{operation} was not refused")


def document(**statement):
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", **statement}]})


def tags(out):
    return {t["Key"]: t["Value"] for t in out["Tags"]}


ALLOW, TAG = document(Resource="*"), [{"Key": "team", "Value": "a"}]
TRUST = document(Action="sts:AssumeRole", Principal={"Service": "credentials.iot.amazonaws.com"})

# IAM: policies.
policy = iam("CreatePolicy", PolicyName=N, PolicyDocument=ALLOW)["Policy"]["Arn"]
assert iam("CreatePolicyVersion", PolicyArn=policy, PolicyDocument=ALLOW)["PolicyVersion"]["VersionId"] == "v2"
iam("SetDefaultPolicyVersion", PolicyArn=policy, VersionId="v2")
assert iam("GetPolicy", PolicyArn=policy)["Policy"]["DefaultVersionId"] == "v2"
assert iam("GetPolicyVersion", PolicyArn=policy, VersionId="v1")["PolicyVersion"]["IsDefaultVersion"] is False
assert len(iam("ListPolicyVersions", PolicyArn=policy)["Versions"]) == 2
iam("DeletePolicyVersion", PolicyArn=policy, VersionId="v1")
iam("TagPolicy", PolicyArn=policy, Tags=TAG)
assert tags(iam("ListPolicyTags", PolicyArn=policy)) == {"team": "a"}
iam("UntagPolicy", PolicyArn=policy, TagKeys=["team"])
assert policy in [p["Arn"] for p in iam("ListPolicies", Scope="Local")["Policies"]]

# Users, groups and roles have the same kinds of policies.
user, group, role = N + "-u", N + "-g", N + "-r"
iam("CreateUser", UserName=user)
iam("CreateGroup", GroupName=group)
role_arn = iam("CreateRole", RoleName=role, AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
for kind, name in ("User", user), ("Group", group), ("Role", role):
    who = {kind + "Name": name}
    iam(f"Attach{kind}Policy", PolicyArn=policy, **who)
    assert [p["PolicyArn"] for p in iam(f"ListAttached{kind}Policies", **who)["AttachedPolicies"]] == [policy]
    iam(f"Put{kind}Policy", PolicyName="inline", PolicyDocument=ALLOW, **who)
    assert iam(f"List{kind}Policies", **who)["PolicyNames"] == ["inline"]
    assert iam(f"Get{kind}Policy", PolicyName="inline", **who)["PolicyDocument"]["Statement"][0]["Action"] == "s3:GetObject"
    assert iam(f"Get{kind}", **who)[kind][kind + "Name"] == name
    if kind != "Group":
        iam(f"Put{kind}PermissionsBoundary", PermissionsBoundary=policy, **who)
        assert iam(f"Get{kind}", **who)[kind]["PermissionsBoundary"]["PermissionsBoundaryArn"] == policy
        iam(f"Delete{kind}PermissionsBoundary", **who)
        iam(f"Tag{kind}", Tags=TAG, **who)
        assert tags(iam(f"List{kind}Tags", **who)) == {"team": "a"}
        iam(f"Untag{kind}", TagKeys=["team"], **who)
entities = iam("ListEntitiesForPolicy", PolicyArn=policy)
assert [len(entities["Policy" + k]) for k in ("Users", "Groups", "Roles")] == [1, 1, 1]
assert user in [u["UserName"] for u in iam("ListUsers")["Users"]]
assert group in [g["GroupName"] for g in iam("ListGroups")["Groups"]]
assert role in [r["RoleName"] for r in iam("ListRoles")["Roles"]]

key = iam("CreateAccessKey", UserName=user)["AccessKey"]["AccessKeyId"]
iam("UpdateAccessKey", UserName=user, AccessKeyId=key, Status="Inactive")
assert iam("ListAccessKeys", UserName=user)["AccessKeyMetadata"][0]["Status"] == "Inactive"
assert iam("GetAccessKeyLastUsed", AccessKeyId=key)["UserName"] == user
assert call("sts", "GetAccessKeyInfo", AccessKeyId=key)["Account"]
iam("DeleteAccessKey", UserName=user, AccessKeyId=key)

iam("AddUserToGroup", UserName=user, GroupName=group)
assert [u["UserName"] for u in iam("GetGroup", GroupName=group)["Users"]] == [user]
assert [g["GroupName"] for g in iam("ListGroupsForUser", UserName=user)["Groups"]] == [group]
iam("UpdateGroup", GroupName=group, NewGroupName=group + "2")
iam("UpdateUser", UserName=user, NewUserName=user + "2")
user, group = user + "2", group + "2"
iam("RemoveUserFromGroup", UserName=user, GroupName=group)

iam("UpdateAssumeRolePolicy", RoleName=role, PolicyDocument=TRUST)
iam("UpdateRole", RoleName=role, Description="one", MaxSessionDuration=7200)
assert iam("UpdateRoleDescription", RoleName=role, Description="two")["Role"]["Description"] == "two"
profile = N + "-p"
iam("CreateInstanceProfile", InstanceProfileName=profile)
iam("AddRoleToInstanceProfile", InstanceProfileName=profile, RoleName=role)
assert iam("GetInstanceProfile", InstanceProfileName=profile)["InstanceProfile"]["Roles"][0]["RoleName"] == role
assert iam("ListInstanceProfilesForRole", RoleName=role)["InstanceProfiles"][0]["InstanceProfileName"] == profile
assert profile in [p["InstanceProfileName"] for p in iam("ListInstanceProfiles")["InstanceProfiles"]]
iam("TagInstanceProfile", InstanceProfileName=profile, Tags=TAG)
assert tags(iam("ListInstanceProfileTags", InstanceProfileName=profile)) == {"team": "a"}
iam("UntagInstanceProfile", InstanceProfileName=profile, TagKeys=["team"])
iam("RemoveRoleFromInstanceProfile", InstanceProfileName=profile, RoleName=role)
iam("DeleteInstanceProfile", InstanceProfileName=profile)

provider = iam("CreateOpenIDConnectProvider", Url=f"https://{N}.example", ClientIDList=["a"], ThumbprintList=["0" * 40])["OpenIDConnectProviderArn"]
iam("AddClientIDToOpenIDConnectProvider", OpenIDConnectProviderArn=provider, ClientID="b")
iam("RemoveClientIDFromOpenIDConnectProvider", OpenIDConnectProviderArn=provider, ClientID="a")
iam("UpdateOpenIDConnectProviderThumbprint", OpenIDConnectProviderArn=provider, ThumbprintList=["1" * 40])
got = iam("GetOpenIDConnectProvider", OpenIDConnectProviderArn=provider)
assert (got["ClientIDList"], got["ThumbprintList"]) == (["b"], ["1" * 40])
iam("TagOpenIDConnectProvider", OpenIDConnectProviderArn=provider, Tags=TAG)
assert tags(iam("ListOpenIDConnectProviderTags", OpenIDConnectProviderArn=provider)) == {"team": "a"}
iam("UntagOpenIDConnectProvider", OpenIDConnectProviderArn=provider, TagKeys=["team"])
assert provider in [p["Arn"] for p in iam("ListOpenIDConnectProviders")["OpenIDConnectProviderList"]]
iam("DeleteOpenIDConnectProvider", OpenIDConnectProviderArn=provider)

iam("CreateAccountAlias", AccountAlias=N)
assert iam("ListAccountAliases")["AccountAliases"] == [N]
iam("DeleteAccountAlias", AccountAlias=N)
assert iam("GetAccountSummary")["SummaryMap"]["Roles"] > 0
assert user in [u["UserName"] for u in iam("GetAccountAuthorizationDetails", Filter=["User"])["UserDetailList"]]
assert iam("GetContextKeysForCustomPolicy", PolicyInputList=[document(Resource="arn:aws:s3:::${aws:username}/*")])["ContextKeyNames"] == ["aws:username"]
iam("GetContextKeysForPrincipalPolicy", PolicySourceArn=role_arn)
for out in (iam("SimulateCustomPolicy", PolicyInputList=[ALLOW], ActionNames=["s3:GetObject"]),
            iam("SimulatePrincipalPolicy", PolicySourceArn=role_arn, ActionNames=["s3:GetObject"])):
    assert out["EvaluationResults"][0]["EvalDecision"] == "allowed"

assert call("sts", "GetCallerIdentity")["Account"]
assert call("sts", "GetSessionToken")["Credentials"]["SessionToken"]
assert call("sts", "GetFederationToken", Name="fed", Policy=ALLOW)["FederatedUser"]["Arn"].endswith(":federated-user/fed")
refused("AccessDenied", lambda o, **a: call("sts", o, **a), "AssumeRole", RoleArn=role_arn, RoleSessionName="x-y")
refused("InvalidAuthorizationMessageException", lambda o, **a: call("sts", o, **a), "DecodeAuthorizationMessage", EncodedMessage="AAAA")

# IoT: things, types, groups.
kind, thing, parent, child = N + "-type", N + "-thing", N + "-parent", N + "-child"
type_arn = iot("CreateThingType", thingTypeName=kind)["thingTypeArn"]
iot("UpdateThingType", thingTypeName=kind, thingTypeProperties={"searchableAttributes": ["site"]})
assert kind in [t["thingTypeName"] for t in iot("ListThingTypes")["thingTypes"]]
iot("CreateThing", thingName=thing, thingTypeName=kind, attributePayload={"attributes": {"site": "a"}})
iot("UpdateThing", thingName=thing, attributePayload={"attributes": {"line": "1"}, "merge": True})
assert iot("DescribeThing", thingName=thing)["attributes"] == {"site": "a", "line": "1"}
assert thing in [t["thingName"] for t in iot("ListThings", attributeName="site", attributeValue="a")["things"]]
iot("CreateThingGroup", thingGroupName=parent)
group_arn = iot("CreateThingGroup", thingGroupName=child, parentGroupName=parent)["thingGroupArn"]
iot("UpdateThingGroup", thingGroupName=child, thingGroupProperties={"thingGroupDescription": "d"})
assert iot("DescribeThingGroup", thingGroupName=child)["thingGroupProperties"]["thingGroupDescription"] == "d"
assert child in [g["groupName"] for g in iot("ListThingGroups", parentGroup=parent)["thingGroups"]]
iot("AddThingToThingGroup", thingName=thing, thingGroupName=child)
assert iot("ListThingsInThingGroup", thingGroupName=parent, recursive=True)["things"] == [thing]
assert [g["groupName"] for g in iot("ListThingGroupsForThing", thingName=thing)["thingGroups"]] == [child]
iot("RemoveThingFromThingGroup", thingName=thing, thingGroupName=child)
iot("UpdateThingGroupsForThing", thingName=thing, thingGroupsToAdd=[child])
iot("TagResource", resourceArn=type_arn, tags=TAG)
assert tags({"Tags": iot("ListTagsForResource", resourceArn=type_arn)["tags"]}) == {"team": "a"}
iot("UntagResource", resourceArn=type_arn, tagKeys=["team"])

# Certificates and policies.
made = iot("CreateKeysAndCertificate", setAsActive=True)
arn = made["certificateArn"]
with open("device.key", "w") as f:
    f.write(made["keyPair"]["PrivateKey"])


def openssl(*args):
    return subprocess.run(["openssl", *args], check=True, capture_output=True, text=True).stdout


csr = openssl("req", "-new", "-key", "device.key", "-subj", "/CN=x")
other = iot("CreateCertificateFromCsr", certificateSigningRequest=csr)
iot("UpdateCertificate", certificateId=other["certificateId"], newStatus="INACTIVE")
assert iot("DescribeCertificate", certificateId=other["certificateId"])["certificateDescription"]["status"] == "INACTIVE"
assert arn in [c["certificateArn"] for c in iot("ListCertificates", pageSize=250)["certificates"]]
iot("DeleteCertificate", certificateId=other["certificateId"])
CONNECT = document(Action="iot:Connect", Resource="*")
iot("CreatePolicy", policyName=N, policyDocument=CONNECT)
assert iot("CreatePolicyVersion", policyName=N, policyDocument=CONNECT)["policyVersionId"] == "2"
iot("SetDefaultPolicyVersion", policyName=N, policyVersionId="2")
assert iot("GetPolicy", policyName=N)["defaultVersionId"] == "2"
assert iot("GetPolicyVersion", policyName=N, policyVersionId="1")["isDefaultVersion"] is False
assert len(iot("ListPolicyVersions", policyName=N)["policyVersions"]) == 2
iot("DeletePolicyVersion", policyName=N, policyVersionId="1")
assert N in [p["policyName"] for p in iot("ListPolicies", pageSize=250)["policies"]]
iot("AttachPolicy", policyName=N, target=arn)
assert iot("ListAttachedPolicies", target=arn)["policies"][0]["policyName"] == N
assert iot("ListTargetsForPolicy", policyName=N)["targets"] == [arn]
iot("DetachPolicy", policyName=N, target=arn)
iot("AttachPrincipalPolicy", policyName=N, principal=arn)
assert iot("ListPrincipalPolicies", principal=arn)["policies"][0]["policyName"] == N
assert iot("ListPolicyPrincipals", policyName=N)["principals"]
iot("AttachThingPrincipal", thingName=thing, principal=arn)
assert iot("ListThingPrincipals", thingName=thing)["principals"] == [arn]
assert iot("ListPrincipalThings", principal=arn)["things"] == [thing]
assert iot("ListThingPrincipalsV2", thingName=thing)["thingPrincipalObjects"][0]["principal"] == arn
assert iot("ListPrincipalThingsV2", principal=arn)["principalThingObjects"][0]["thingName"] == thing
assert iot("GetEffectivePolicies", principal=arn)["effectivePolicies"][0]["policyName"] == N
auth = iot("TestAuthorization", principal=arn, authInfos=[{"actionType": "CONNECT", "resources": [arn.split(":cert/")[0] + ":client/x"]}])
assert auth["authResults"][0]["authDecision"] == "ALLOWED"
iot("DetachThingPrincipal", thingName=thing, principal=arn)
iot("DetachPrincipalPolicy", policyName=N, principal=arn)
iot("DeletePolicy", policyName=N)

# CAs.
openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "9", "-subj", "/CN=" + N, "-keyout", "ca.key", "-out", "ca.pem")
code = iot("GetRegistrationCode")["registrationCode"]
assert len(code) == 64


def signed(subject, name):
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", subject, "-keyout", name + ".key", "-out", name + ".csr")
    return openssl("x509", "-req", "-in", name + ".csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "8")


with open("ca.pem") as f:
    ca_pem = f.read()
proof = signed("/CN=" + code, "proof")
ca = iot("RegisterCACertificate", caCertificate=ca_pem, verificationCertificate=proof, setAsActive=True)["certificateId"]
assert ca in [c["certificateId"] for c in iot("ListCACertificates", pageSize=250)["certificates"]]
mine = iot("RegisterCertificate", certificatePem=signed("/CN=mine", "mine"), caCertificatePem=ca_pem, status="ACTIVE")["certificateId"]
assert [c["certificateId"] for c in iot("ListCertificatesByCA", caCertificateId=ca)["certificates"]] == [mine]
alone = iot("RegisterCertificateWithoutCA", certificatePem=signed("/CN=alone", "alone"), status="INACTIVE")["certificateId"]
iot("UpdateCACertificate", certificateId=ca, newStatus="INACTIVE")
assert iot("DescribeCACertificate", certificateId=ca)["certificateDescription"]["status"] == "INACTIVE"
iot("DeleteCACertificate", certificateId=ca)
for c in mine, alone:
    iot("DeleteCertificate", certificateId=c, forceDelete=True) if c == alone else iot("UpdateCertificate", certificateId=c, newStatus="REVOKED")
iot("DeleteRegistrationCode")
assert iot("GetRegistrationCode")["registrationCode"] != code

# Role aliases, endpoints, settings, searches.
iot("CreateRoleAlias", roleAlias=N, roleArn=role_arn)
iot("UpdateRoleAlias", roleAlias=N, credentialDurationSeconds=900)
assert iot("DescribeRoleAlias", roleAlias=N)["roleAliasDescription"]["credentialDurationSeconds"] == 900
assert N in iot("ListRoleAliases", pageSize=250)["roleAliases"]
iot("DeleteRoleAlias", roleAlias=N)
assert iot("DescribeEndpoint", endpointType="iot:Data-ATS")["endpointAddress"]
iot("UpdateEventConfigurations", eventConfigurations={"THING": {"Enabled": True}})
assert iot("DescribeEventConfigurations")["eventConfigurations"]["THING"]["Enabled"] is True
iot("UpdateIndexingConfiguration", thingIndexingConfiguration={"thingIndexingMode": "REGISTRY"})
assert iot("GetIndexingConfiguration")["thingIndexingConfiguration"]["thingIndexingMode"] == "REGISTRY"
assert iot("DescribeIndex", indexName="AWS_Things")["indexStatus"] == "ACTIVE"
assert "AWS_Things" in iot("ListIndices")["indexNames"]
assert [t["thingName"] for t in iot("SearchIndex", queryString=f"attributes.site:a AND thingName:{thing}")["things"]] == [thing]

call("iot-data", "Publish", topic=N + "/x", payload="hello", retain=True, qos=1)
assert N + "/x" in [t["topic"] for t in call("iot-data", "ListRetainedMessages")["retainedTopics"]]
assert call("iot-data", "GetRetainedMessage", topic=N + "/x")["payload"]
refused("ResourceNotFoundException", lambda o, **a: call("iot-data", o, **a), "DeleteConnection", clientId=N)

# And away with it.
iot("DeleteThing", thingName=thing)
for g in child, parent:
    iot("DeleteThingGroup", thingGroupName=g)
iot("DeprecateThingType", thingTypeName=kind)
assert iot("DescribeThingType", thingTypeName=kind)["thingTypeMetadata"]["deprecated"] is True
refused("InvalidRequestException", iot, "DeleteThingType", thingTypeName=kind)  # five minutes later it may be
for kind, name in ("User", user), ("Group", group), ("Role", role):
    iam(f"Detach{kind}Policy", PolicyArn=policy, **{kind + "Name": name})
    iam(f"Delete{kind}Policy", PolicyName="inline", **{kind + "Name": name})
    iam(f"Delete{kind}", **{kind + "Name": name})
iam("DeletePolicy", PolicyArn=policy)

missing = {s: sorted(set(BUILT[s]) - called[s]) for s in BUILT}
assert not any(missing.values()), f"built and not called: {missing}"
