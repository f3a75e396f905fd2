"""A device: credentials by mutual TLS with nothing but the standard library,
and a boto3 client that holds them."""
import http.client
import json
import os
import ssl

import boto3
from botocore.config import Config

ROOT_CA = os.environ["SEKISHO_ROOT_CA"]
ENDPOINT = os.environ["S3_ENDPOINT_URL"]
BUCKET = os.environ["BUCKET"]
PREFIX = os.environ["PREFIX"]


def credentials():
    context = ssl.create_default_context(cafile=ROOT_CA)
    context.load_cert_chain(os.environ["DEVICE_CERT"], os.environ["DEVICE_KEY"])
    host, port = os.environ["SEKISHO_CREDENTIAL_ENDPOINT"].rsplit(":", 1)
    connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=30)
    connection.request(
        "GET",
        f"/role-aliases/{os.environ['ROLE_ALIAS']}/credentials",
        headers={"x-amzn-iot-thingname": os.environ["THING"]},
    )
    response = connection.getresponse()
    body = response.read()
    assert response.status == 200, (response.status, body)
    return json.loads(body)["credentials"]


def s3(**config):
    c = credentials()
    return boto3.client(
        "s3",
        region_name="ap-northeast-1",
        endpoint_url=ENDPOINT,
        verify=ROOT_CA,
        aws_access_key_id=c["accessKeyId"],
        aws_secret_access_key=c["secretAccessKey"],
        aws_session_token=c["sessionToken"],
        config=Config(retries={"max_attempts": 0}, **config),
    )


def refused(code, call, **arguments):
    """call must fail with the given error code (or status, for a HEAD)."""
    from botocore.exceptions import ClientError

    try:
        call(**arguments)
    except ClientError as e:
        assert e.response["Error"]["Code"] == code, (e.response["Error"], code)
        return e.response
    raise AssertionError(f"{call.__name__} was not refused with {code}")
