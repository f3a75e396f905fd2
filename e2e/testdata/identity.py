"""IAM and STS in depth by boto3: groups, keys, sessions of every kind, what
bucket policies give them, trust, the simulator, denials, listings."""
import json
import os

import boto3
from botocore.exceptions import ClientError

BUCKET = os.environ["BUCKET"]
NAME = os.environ["PREFIX"].replace("/", "-")
iam, sts, s3 = boto3.client("iam"), boto3.client("sts"), boto3.client("s3")
ACCOUNT = sts.get_caller_identity()["Account"]


def allow(action, resource="*", **more):
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def document(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as e:
        assert e.response["Error"]["Code"] == code, e
        return e.response["Error"]["Message"]
    raise AssertionError(f"not refused with {code}: {call}")


def clients(c):
    session = boto3.Session(c["AccessKeyId"], c["SecretAccessKey"], c.get("SessionToken"))
    return session.client("iam"), session.client("sts"), session.client("s3")


def user(name, *statements):
    arn = iam.create_user(UserName=name)["User"]["Arn"]
    if statements:
        iam.put_user_policy(UserName=name, PolicyName="main", PolicyDocument=document(*statements))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return arn, key, clients(key)


def trust(principal, action="sts:AssumeRole"):
    statement = allow(action, Principal={"AWS": principal})
    del statement["Resource"]
    return document(statement)


# Groups: what they may, their members may.
bob_arn, key, (bob_iam, bob_sts, bob_s3) = user(NAME + "-bob")
group = NAME + "-ops"
iam.create_group(GroupName=group)
iam.put_group_policy(GroupName=group, PolicyName="p", PolicyDocument=document(allow(["iam:ListUsers", "iam:GetUser", "sts:*"])))
message = refused("AccessDenied", bob_iam.list_users)
iam.add_user_to_group(GroupName=group, UserName=NAME + "-bob")
assert any(u["UserName"] == NAME + "-bob" for page in bob_iam.get_paginator("list_users").paginate(PaginationConfig={"PageSize": 2}) for u in page["Users"])
assert [g["GroupName"] for g in iam.list_groups_for_user(UserName=NAME + "-bob")["Groups"]] == [group]
used = iam.get_access_key_last_used(AccessKeyId=key["AccessKeyId"])
assert used["UserName"] == NAME + "-bob" and used["AccessKeyLastUsed"]["ServiceName"] == "iam", used

# A denial's message opens for who may decode it.
encoded = message.split("Encoded authorization failure message: ")[1]
decoded = json.loads(sts.decode_authorization_message(EncodedMessage=encoded)["DecodedMessage"])
assert decoded["context"]["action"] == "iam:ListUsers" and decoded["context"]["principal"]["arn"] == bob_arn, decoded
assert not decoded["allowed"] and not decoded["explicitDeny"] and decoded["explanation"], decoded
refused("InvalidAuthorizationMessageException", sts.decode_authorization_message, EncodedMessage=encoded[:-8])

# Sessions of a user and of a federated user.
own = bob_sts.get_session_token(DurationSeconds=900)["Credentials"]
own_iam, own_sts, own_s3 = clients(own)
assert own_sts.get_caller_identity()["Arn"] == bob_arn
refused("InvalidClientTokenId", own_iam.list_users)
refused("AccessDenied", own_sts.get_session_token)
assert bob_sts.get_access_key_info(AccessKeyId=own["AccessKeyId"])["Account"] == ACCOUNT
guest = bob_sts.get_federation_token(Name="guest", Policy=document(allow("s3:*")))
_, guest_sts, guest_s3 = clients(guest["Credentials"])
assert guest_sts.get_caller_identity()["Arn"] == guest["FederatedUser"]["Arn"]

# A role with session policies and tags, and what a bucket policy gives by name.
role = NAME + "-role"
role_arn = iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust(bob_arn, ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]))["Role"]["Arn"]
iam.put_role_policy(RoleName=role, PolicyName="p", PolicyDocument=document(
    allow("s3:*", f"arn:aws:s3:::{BUCKET}/${{aws:PrincipalTag/team}}/*"), allow(["sts:*"])))
assumed = own_sts.assume_role(
    RoleArn=role_arn, RoleSessionName="work", SourceIdentity="bob", TransitiveTagKeys=["team"],
    Tags=[{"Key": "team", "Value": NAME}], Policy=document(allow("s3:PutObject"), allow("sts:*")))
assert assumed["PackedPolicySize"] > 0 and assumed["SourceIdentity"] == "bob"
_, role_sts, role_s3 = clients(assumed["Credentials"])
role_s3.put_object(Bucket=BUCKET, Key=f"{NAME}/x", Body=b"x")
refused("AccessDenied", role_s3.get_object, Bucket=BUCKET, Key=f"{NAME}/x")  # the role may, the session may not
refused("AccessDenied", role_s3.put_object, Bucket=BUCKET, Key="other/x", Body=b"x")
next_arn = iam.create_role(
    RoleName=role + "-next", MaxSessionDuration=43200,
    AssumeRolePolicyDocument=trust(role_arn, ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]))["Role"]["Arn"]
refused("ValidationError", role_sts.assume_role, RoleArn=next_arn, RoleSessionName="chained", DurationSeconds=7200)
assert role_sts.assume_role(RoleArn=next_arn, RoleSessionName="chained")["SourceIdentity"] == "bob"


def bucket_policy(principal):
    s3.put_bucket_policy(Bucket=BUCKET, Policy=document(
        allow("s3:GetObject", f"arn:aws:s3:::{BUCKET}/{NAME}/*", Principal={"AWS": principal})))


bucket_policy(role_arn)  # within the session policy
refused("AccessDenied", role_s3.get_object, Bucket=BUCKET, Key=f"{NAME}/x")
bucket_policy(assumed["AssumedRoleUser"]["Arn"])  # beyond it
assert role_s3.get_object(Bucket=BUCKET, Key=f"{NAME}/x")["Body"].read() == b"x"
refused("AccessDenied", guest_s3.get_object, Bucket=BUCKET, Key=f"{NAME}/x")
bucket_policy(bob_arn)
assert own_s3.get_object(Bucket=BUCKET, Key=f"{NAME}/x")["Body"].read() == b"x"
assert guest_s3.get_object(Bucket=BUCKET, Key=f"{NAME}/x")["Body"].read() == b"x"  # its session policy allows
s3.delete_bucket_policy(Bucket=BUCKET)
refused("AccessDenied", bob_s3.get_object, Bucket=BUCKET, Key=f"{NAME}/x")

# The simulator says what is decided, and why.
results = iam.simulate_principal_policy(
    PolicySourceArn=role_arn, ActionNames=["s3:GetObject", "iot:Publish"], ResourceArns=[f"arn:aws:s3:::{BUCKET}/{NAME}/x"],
    ContextEntries=[{"ContextKeyName": "aws:PrincipalTag/team", "ContextKeyType": "string", "ContextKeyValues": [NAME]}])["EvaluationResults"]
assert [r["EvalDecision"] for r in results] == ["allowed", "implicitDeny"], results
assert results[0]["MatchedStatements"][0]["SourcePolicyId"] == f"role_{role}_p" and results[0]["MatchedStatements"][0]["StartPosition"]["Line"] == 1, results
results = iam.simulate_custom_policy(
    PolicyInputList=[document(allow("s3:*", Condition={"Bool": {"aws:SecureTransport": "true"}}))],
    PermissionsBoundaryPolicyInputList=[document(allow("iot:*"))], ActionNames=["s3:GetObject"])["EvaluationResults"]
assert results[0]["MissingContextValues"] == ["aws:SecureTransport"] and not results[0]["PermissionsBoundaryDecisionDetail"]["AllowedByPermissionsBoundary"], results
assert iam.get_context_keys_for_principal_policy(PolicySourceArn=role_arn)["ContextKeyNames"] == ["aws:PrincipalTag/team"]

# A trust policy means this bob: not the next one, nor one who never was.
assert "Invalid principal in policy" in refused(
    "MalformedPolicyDocument", iam.create_role, RoleName=role + "-2", AssumeRolePolicyDocument=trust(bob_arn + "-none"))
iam.update_user(UserName=NAME + "-bob", NewUserName=NAME + "-rob")
assert bob_sts.get_caller_identity()["Arn"].endswith("-rob")
bob_sts.assume_role(RoleArn=role_arn, RoleSessionName="work")
assert iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]["Statement"][0]["Principal"]["AWS"].endswith("-rob")
assert iam.get_role(RoleName=role)["Role"]["RoleLastUsed"]["LastUsedDate"]
rob_id = iam.get_user(UserName=NAME + "-rob")["User"]["UserId"]
iam.remove_user_from_group(GroupName=group, UserName=NAME + "-rob")
iam.delete_access_key(UserName=NAME + "-rob", AccessKeyId=key["AccessKeyId"])
for c in (own_s3, guest_s3, role_s3):  # all of the lineage ends with the key
    refused("AccessDenied", c.put_object, Bucket=BUCKET, Key=f"{NAME}/x", Body=b"x")
iam.delete_user(UserName=NAME + "-rob")
_, _, (_, again_sts, _) = user(NAME + "-bob", allow("sts:*"))
refused("AccessDenied", again_sts.assume_role, RoleArn=role_arn, RoleSessionName="work")
assert iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]["Statement"][0]["Principal"]["AWS"] == rob_id

# What is handed over to machines needs iam:PassRole.
profile = NAME + "-profile"
iam.create_instance_profile(InstanceProfileName=profile)
_, _, (eve_iam, _, _) = user(NAME + "-eve", allow("iam:AddRoleToInstanceProfile"))
refused("AccessDenied", eve_iam.add_role_to_instance_profile, InstanceProfileName=profile, RoleName=role)
iam.add_role_to_instance_profile(InstanceProfileName=profile, RoleName=role)
assert iam.list_instance_profiles_for_role(RoleName=role)["InstanceProfiles"][0]["Roles"][0]["RoleName"] == role

# Providers, and all of it in pages.
provider = iam.create_open_id_connect_provider(Url=f"https://{NAME}.example.com", ClientIDList=["app"])["OpenIDConnectProviderArn"]
iam.add_client_id_to_open_id_connect_provider(OpenIDConnectProviderArn=provider, ClientID="other")
assert iam.get_open_id_connect_provider(OpenIDConnectProviderArn=provider)["ClientIDList"] == ["app", "other"]
iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=provider)
refused("NotImplemented", boto3.client("sts").assume_role_with_web_identity, RoleArn=role_arn, RoleSessionName="work", WebIdentityToken="x.y.z")
details = {}
for page in iam.get_paginator("get_account_authorization_details").paginate(PaginationConfig={"PageSize": 3}):
    for kind in ("UserDetailList", "GroupDetailList", "RoleDetailList", "Policies"):
        details.setdefault(kind, []).extend(page[kind])
mine = next(r for r in details["RoleDetailList"] if r["RoleName"] == role)
assert mine["RolePolicyList"][0]["PolicyName"] == "p" and mine["InstanceProfileList"][0]["InstanceProfileName"] == profile
assert any(g["GroupName"] == group for g in details["GroupDetailList"]) and any(p["PolicyName"] == "AdministratorAccess" for p in details["Policies"])
assert iam.get_account_summary()["SummaryMap"]["Groups"] >= 1
