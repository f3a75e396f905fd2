"""Presigned GET and PUT, used by a client that knows nothing of AWS."""
import ssl
import time
import urllib.error
import urllib.request

from device import BUCKET, PREFIX, ROOT_CA, s3

# With an endpoint of its own boto3 presigns by SigV2 unless told otherwise.
client = s3(signature_version="s3v4")
context = ssl.create_default_context(cafile=ROOT_CA)


def call(url, method="GET", body=None, headers=None):
    request = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, context=context if url.startswith("https") else None, timeout=30) as r:
            return r.status, r.read()
    except urllib.error.HTTPError as e:
        return e.code, e.read()


def url(operation, expires=60, **parameters):
    return client.generate_presigned_url(operation, Params={"Bucket": BUCKET, "Key": key, **parameters}, ExpiresIn=expires)


key = f"{PREFIX}/presigned (1)"
old = s3().generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": key})
status, body = call(old)
assert status == 400 and b"s3v4" in body, (status, body)
assert call(url("put_object"), "PUT", b"by url", {"Content-Type": ""})[0] == 200
assert call(url("get_object")) == (200, b"by url")
assert call(url("get_object", Range="bytes=3-5"), headers={"Range": "bytes=3-5"}) == (206, b"url")
response = client.generate_presigned_url(
    "get_object", Params={"Bucket": BUCKET, "Key": key, "ResponseContentType": "text/x-test"}
)
with urllib.request.urlopen(response, context=context if response.startswith("https") else None, timeout=30) as r:
    assert r.headers["Content-Type"] == "text/x-test"

# The signature covers method, key and headers.
status, body = call(url("get_object"), "PUT", b"other")
assert status == 403 and b"SignatureDoesNotMatch" in body, body
status, body = call(url("get_object").replace("presigned", "presigneD"))
assert status == 403 and b"SignatureDoesNotMatch" in body, body
assert call(url("get_object")) == (200, b"by url")

# After its expiry a URL is refused, and so is its replay.
short = url("get_object", expires=1)
assert call(short)[0] == 200
time.sleep(2.1)
for _ in range(2):
    status, body = call(short)
    assert status == 403 and b"<Code>AccessDenied</Code>" in body and b"Request has expired" in body, body
status, body = call(url("get_object", expires=604801))
assert status == 400 and b"AuthorizationQueryParametersError" in body, body
