"""Certificates from elsewhere by boto3 and openssl: a CA in both modes, device
certificates with every kind of key, and just-in-time registration."""
import hashlib
import http.client
import os
import ssl
import subprocess
import time

import boto3
from botocore.exceptions import ClientError

iot = boto3.client("iot")
NAME = os.environ["PREFIX"]


def openssl(*args, text=None):
    return subprocess.run(["openssl", *args], input=text, check=True, capture_output=True, text=True).stdout


def key(name, *options):
    openssl("genpkey", "-out", name + ".key", *options)


def certificate(name, subject, ca, days=30):
    """A certificate for NAME.key that the CA has signed."""
    openssl("req", "-new", "-key", name + ".key", "-subj", subject, "-out", name + ".csr")
    openssl("x509", "-req", "-in", name + ".csr", "-CA", ca + ".pem", "-CAkey", ca + ".key", "-CAcreateserial",
            "-days", str(days), "-sha256", "-out", name + ".pem")
    with open(name + ".pem") as f:
        return f.read()


def authority(name, subject):
    key(name, "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
    openssl("req", "-x509", "-new", "-key", name + ".key", "-sha256", "-days", "365", "-subj", subject, "-out", name + ".pem")
    with open(name + ".pem") as f:
        return f.read()


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as e:
        assert e.response["Error"]["Code"] == code, e
        return e.response
    raise AssertionError(f"{call.__name__} was not refused")


def ask(name, alias="none", thing=None, version=ssl.TLSVersion.TLSv1_3):
    """What the credential endpoint answers to a certificate."""
    context = ssl.create_default_context(cafile=os.environ["SEKISHO_ROOT_CA"])
    context.load_cert_chain(name + ".pem", name + ".key")
    context.maximum_version = version
    host, port = os.environ["SEKISHO_CREDENTIAL_ENDPOINT"].rsplit(":", 1)
    c = http.client.HTTPSConnection(host, int(port), context=context, timeout=30)
    c.request("GET", f"/role-aliases/{alias}/credentials", headers={"x-amzn-iot-thingname": thing} if thing else {})
    r = c.getresponse()
    r.read()
    c.close()
    return r.status


def fingerprint(pem):
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def eventually_active(certificate_id, thing):
    iot.create_thing(thingName=thing)
    arn = iot.describe_certificate(certificateId=certificate_id)["certificateDescription"]["certificateArn"]
    iot.attach_thing_principal(thingName=thing, principal=arn)
    iot.attach_policy(policyName=os.environ["IOT_POLICY"], target=arn)
    iot.update_certificate(certificateId=certificate_id, newStatus="ACTIVE")


# A CA in mode DEFAULT: who registers it proves that its key is theirs.
ca = authority("ca", f"/O=Plant/CN={NAME} CA")
code = iot.get_registration_code()["registrationCode"]
assert len(code) == 64 and code == iot.get_registration_code()["registrationCode"]
key("proof", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
refused("InvalidRequestException", iot.register_ca_certificate, caCertificate=ca)
refused("RegistrationCodeValidationException", iot.register_ca_certificate,
        caCertificate=ca, verificationCertificate=certificate("proof", "/CN=wrong", "ca"))
proof = certificate("proof", f"/CN={code}", "ca")
made = iot.register_ca_certificate(caCertificate=ca, verificationCertificate=proof, tags=[{"Key": "site", "Value": "north"}])
ca_id = made["certificateId"]
assert ca_id == fingerprint(ca)
assert iot.list_tags_for_resource(resourceArn=made["certificateArn"])["tags"] == [{"Key": "site", "Value": "north"}]
e = refused("ResourceAlreadyExistsException", iot.register_ca_certificate, caCertificate=ca, verificationCertificate=proof)
assert e["resourceId"] == ca_id and e["resourceArn"] == made["certificateArn"], e
refused("CertificateValidationException", iot.register_ca_certificate, caCertificate=proof, certificateMode="SNI_ONLY")
d = iot.describe_ca_certificate(certificateId=ca_id)["certificateDescription"]
assert (d["status"], d["autoRegistrationStatus"], d["certificateMode"]) == ("INACTIVE", "DISABLE", "DEFAULT"), d
assert ca_id in [c["certificateId"] for p in iot.get_paginator("list_ca_certificates").paginate(PaginationConfig={"PageSize": 1}) for c in p["certificates"]]

# Keys of every kind, registered with the CA.
registered = []
for name, options in {
    "p256": ("EC", "ec_paramgen_curve:P-256"), "p384": ("EC", "ec_paramgen_curve:P-384"), "p521": ("EC", "ec_paramgen_curve:P-521"),
    "rsa2048": ("RSA", "rsa_keygen_bits:2048"), "rsa4096": ("RSA", "rsa_keygen_bits:4096"),
}.items():
    key(name, "-algorithm", options[0], "-pkeyopt", options[1])
    pem = certificate(name, f"/CN={name}", "ca")
    if not registered:
        refused("CertificateStateException", iot.register_certificate, certificatePem=pem)
        iot.update_ca_certificate(certificateId=ca_id, newStatus="ACTIVE")
    assert ask(name) == 403
    out = iot.register_certificate(certificatePem=pem, caCertificatePem=ca)
    assert out["certificateId"] == fingerprint(pem)
    registered.append(out["certificateId"])
    eventually_active(out["certificateId"], f"{NAME}-{name}")
    for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
        assert ask(name, os.environ["ROLE_ALIAS"], f"{NAME}-{name}", version) == 200, (name, version)
listed = [c["certificateId"] for p in iot.get_paginator("list_certificates_by_ca").paginate(caCertificateId=ca_id, PaginationConfig={"PageSize": 2}) for c in p["certificates"]]
assert sorted(listed) == sorted(registered), listed

# Without a CA.
stranger = authority("stranger", f"/CN={NAME} stranger")
key("alone", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
alone = certificate("alone", "/CN=alone", "stranger")
refused("CertificateValidationException", iot.register_certificate, certificatePem=alone)
refused("CertificateValidationException", iot.register_certificate, certificatePem=alone, caCertificatePem=ca)
out = iot.register_certificate_without_ca(certificatePem=alone, status="ACTIVE")
d = iot.describe_certificate(certificateId=out["certificateId"])["certificateDescription"]
assert (d["status"], d["certificateMode"], "caCertificateId" in d, d["certificatePem"]) == ("ACTIVE", "SNI_ONLY", False, alone), d
e = refused("ResourceAlreadyExistsException", iot.register_certificate_without_ca, certificatePem=alone)
assert e["resourceId"] == out["certificateId"], e

# Just-in-time registration, and its end.
try:
    iot.update_ca_certificate(certificateId=ca_id, registrationConfig={"templateName": "t", "roleArn": "arn:aws:iam::000000000000:role/some-role"})
    raise AssertionError("a provisioning template was accepted")
except ClientError as err:
    assert err.response["ResponseMetadata"]["HTTPStatusCode"] == 501, err
iot.update_ca_certificate(certificateId=ca_id, newAutoRegistrationStatus="ENABLE")
key("late", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384")
late = certificate("late", "/CN=late", "ca")
assert ask("late") == 403
for _ in range(50):
    try:
        d = iot.describe_certificate(certificateId=fingerprint(late))["certificateDescription"]
        break
    except iot.exceptions.ResourceNotFoundException:
        time.sleep(0.1)
assert (d["status"], d["caCertificateId"]) == ("PENDING_ACTIVATION", ca_id), d
eventually_active(fingerprint(late), f"{NAME}-late")
assert ask("late", os.environ["ROLE_ALIAS"], f"{NAME}-late") == 200
refused("CertificateStateException", iot.delete_ca_certificate, certificateId=ca_id)
iot.update_ca_certificate(certificateId=ca_id, newStatus="INACTIVE", removeAutoRegistration=True)
assert ask("late", os.environ["ROLE_ALIAS"], f"{NAME}-late") == 200
iot.delete_ca_certificate(certificateId=ca_id)
refused("ResourceNotFoundException", iot.describe_ca_certificate, certificateId=ca_id)
refused("NotImplemented", iot.transfer_certificate, certificateId=fingerprint(late), targetAwsAccount="111111111111")
