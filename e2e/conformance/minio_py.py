"""minio-py: signed chunks over HTTP, unsigned payloads over HTTPS, parts, compose, presigned."""
import io
import os
import sys
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.commonconfig import ComposeSource, CopySource
from minio.deleteobjects import DeleteObject

url = urlsplit(sys.argv[1])
bucket = "minio-py-" + url.scheme
pool = urllib3.PoolManager(ca_certs=os.environ["SEKISHO_ROOT_CA"])
client = Minio(
    url.netloc, access_key=os.environ["AWS_ACCESS_KEY_ID"], secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
    secure=url.scheme == "https", http_client=pool,
)
body, odd = os.urandom(11 << 20), "a b/é+%&?.bin"

client.make_bucket(bucket)
assert client.bucket_exists(bucket) and not client.bucket_exists("no-such-bucket")
client.put_object(bucket, odd, io.BytesIO(body), len(body), part_size=5 << 20, metadata={"Thing": "x"})
client.put_object(bucket, "of-no-known-length", io.BytesIO(body), -1, part_size=5 << 20)
assert client.get_object(bucket, odd).read() == body
assert client.get_object(bucket, odd, offset=5, length=7).read() == body[5:12]
assert client.stat_object(bucket, odd).metadata["x-amz-meta-thing"] == "x"
for v1 in (False, True):
    assert [o.object_name for o in client.list_objects(bucket, recursive=True, use_api_v1=v1)] == [odd, "of-no-known-length"]
client.copy_object(bucket, "copy", CopySource(bucket, odd))
client.compose_object(bucket, "both", [ComposeSource(bucket, odd), ComposeSource(bucket, "copy")])
assert client.get_object(bucket, "both").read() == body + body
assert pool.request("PUT", client.presigned_put_object(bucket, "presigned"), body=b"1").status == 200
assert pool.request("GET", client.presigned_get_object(bucket, "presigned")).data == b"1"
names = [DeleteObject(o.object_name) for o in client.list_objects(bucket, recursive=True)]
assert not list(client.remove_objects(bucket, names))
client.remove_bucket(bucket)
