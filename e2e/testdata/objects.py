"""Objects: ranges, conditions, metadata, odd keys, lists, copies, deletes."""
import datetime

from device import BUCKET, PREFIX, refused, s3

client = s3(s3={"addressing_style": "path"})


def key(name):
    return f"{PREFIX}/{name}"


body = bytes(range(256)) * 40
put = client.put_object(
    Bucket=BUCKET, Key=key("a"), Body=body, ContentType="text/plain; charset=utf-8", CacheControl="max-age=3",
    ContentDisposition='attachment; filename="a.txt"', ContentEncoding="identity", ContentLanguage="ja",
    Metadata={"thing": "x", "note": "two words"},
)
got = client.get_object(Bucket=BUCKET, Key=key("a"))
assert got["Body"].read() == body and got["ETag"] == put["ETag"]
assert got["Metadata"] == {"thing": "x", "note": "two words"}, got["Metadata"]
assert (got["ContentType"], got["CacheControl"], got["ContentLanguage"], got["ContentDisposition"]) == (
    "text/plain; charset=utf-8", "max-age=3", "ja", 'attachment; filename="a.txt"',
), got

# Ranges.
for spec, want in {
    "bytes=0-0": body[:1], "bytes=5-9": body[5:10], "bytes=10000-": body[10000:], "bytes=-7": body[-7:],
    "bytes=10230-99999": body[10230:],
}.items():
    part = client.get_object(Bucket=BUCKET, Key=key("a"), Range=spec)
    assert part["ResponseMetadata"]["HTTPStatusCode"] == 206 and part["Body"].read() == want, spec
refused("InvalidRange", client.get_object, Bucket=BUCKET, Key=key("a"), Range="bytes=99999-")

# Conditional reads.
past = got["LastModified"] - datetime.timedelta(hours=1)
assert client.get_object(Bucket=BUCKET, Key=key("a"), IfMatch=put["ETag"])["ContentLength"] == len(body)
refused("PreconditionFailed", client.get_object, Bucket=BUCKET, Key=key("a"), IfMatch='"0"')
refused("304", client.get_object, Bucket=BUCKET, Key=key("a"), IfNoneMatch=put["ETag"])
refused("304", client.head_object, Bucket=BUCKET, Key=key("a"), IfNoneMatch=put["ETag"])
refused("304", client.get_object, Bucket=BUCKET, Key=key("a"), IfModifiedSince=got["LastModified"])
refused("PreconditionFailed", client.get_object, Bucket=BUCKET, Key=key("a"), IfUnmodifiedSince=past)
client.get_object(Bucket=BUCKET, Key=key("a"), IfMatch=put["ETag"], IfUnmodifiedSince=past)

# Conditional writes.
client.put_object(Bucket=BUCKET, Key=key("once"), Body=b"1", IfNoneMatch="*")
refused("PreconditionFailed", client.put_object, Bucket=BUCKET, Key=key("once"), Body=b"2", IfNoneMatch="*")
refused("PreconditionFailed", client.put_object, Bucket=BUCKET, Key=key("once"), Body=b"2", IfMatch='"0"')
assert client.get_object(Bucket=BUCKET, Key=key("once"))["Body"].read() == b"1"

# A flat key space, bytes kept as they are.
odd = ["x", "x/y", "dir/", "a//b", "a/../b", "./c", "sp ace", "plus+", "per%2Fcent", "quote'(!*)", "日本語", "emoji-😀", "amp&<>\"", "q?x=1#f", "tab\t"]
for k in odd:
    client.put_object(Bucket=BUCKET, Key=key("odd/" + k), Body=k.encode())
for k in odd:
    assert client.get_object(Bucket=BUCKET, Key=key("odd/" + k))["Body"].read() == k.encode(), k
long = key("l" * (1024 - len(PREFIX) - 1))
client.put_object(Bucket=BUCKET, Key=long, Body=b"long")
assert client.head_object(Bucket=BUCKET, Key=long)["ContentLength"] == 4
refused("KeyTooLongError", client.put_object, Bucket=BUCKET, Key=long + "l", Body=b"")
client.put_object(Bucket=BUCKET, Key=key("empty"), Body=b"")
assert client.get_object(Bucket=BUCKET, Key=key("empty"))["Body"].read() == b""

# Lists.
paginator = client.get_paginator("list_objects_v2")
pages = list(paginator.paginate(Bucket=BUCKET, Prefix=key("odd/"), PaginationConfig={"PageSize": 4}))
listed = [o["Key"] for p in pages for o in p.get("Contents", [])]
assert listed == sorted((key("odd/" + k) for k in odd), key=lambda s: s.encode()), listed
assert len(pages) == 4 and all(p["KeyCount"] <= 4 for p in pages)
first = [o["Key"] for p in client.get_paginator("list_objects").paginate(Bucket=BUCKET, Prefix=key("odd/"), PaginationConfig={"PageSize": 4}) for o in p.get("Contents", [])]
assert first == listed
level = client.list_objects_v2(Bucket=BUCKET, Prefix=key("odd/"), Delimiter="/")
assert [c["Prefix"] for c in level["CommonPrefixes"]] == [key("odd/" + p) for p in ("./", "a/", "dir/", "x/")], level["CommonPrefixes"]
after = client.list_objects_v2(Bucket=BUCKET, Prefix=key("odd/"), StartAfter=key("odd/x"), MaxKeys=1)
assert after["Contents"][0]["Key"] == key("odd/x/y")
common = [c["Prefix"] for p in paginator.paginate(Bucket=BUCKET, Prefix=key("odd/"), Delimiter="/", PaginationConfig={"PageSize": 1}) for c in p.get("CommonPrefixes", [])]
assert len(common) == 4, common
assert client.list_objects_v2(Bucket=BUCKET, Prefix=key("nothing"))["KeyCount"] == 0

# Copies.
client.copy_object(Bucket=BUCKET, Key=key("copy"), CopySource={"Bucket": BUCKET, "Key": key("a")})
same = client.get_object(Bucket=BUCKET, Key=key("copy"))
assert same["Body"].read() == body and same["Metadata"] == got["Metadata"] and same["ContentType"] == got["ContentType"]
client.copy_object(
    Bucket=BUCKET, Key=key("copy"), CopySource={"Bucket": BUCKET, "Key": key("odd/日本語")},
    MetadataDirective="REPLACE", Metadata={"new": "1"},
)
new = client.get_object(Bucket=BUCKET, Key=key("copy"))
assert new["Body"].read() == "日本語".encode() and new["Metadata"] == {"new": "1"}
refused("InvalidRequest", client.copy_object, Bucket=BUCKET, Key=key("a"), CopySource={"Bucket": BUCKET, "Key": key("a")})
refused("NoSuchKey", client.copy_object, Bucket=BUCKET, Key=key("z"), CopySource={"Bucket": BUCKET, "Key": key("none")})

# Deletes.
refused("NoSuchKey", client.get_object, Bucket=BUCKET, Key=key("none"))
refused("404", client.head_object, Bucket=BUCKET, Key=key("none"))
client.delete_object(Bucket=BUCKET, Key=key("none"))
answer = client.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": k} for k in [*listed, key("none")]]})
assert sorted(d["Key"] for d in answer["Deleted"]) == sorted([*listed, key("none")]) and "Errors" not in answer, answer
answer = client.delete_objects(Bucket=BUCKET, Delete={"Quiet": True, "Objects": [{"Key": key("a")}]})
assert "Deleted" not in answer and "Errors" not in answer, answer
assert client.list_objects_v2(Bucket=BUCKET, Prefix=key("odd/"))["KeyCount"] == 0

# Buckets.
other = f"{PREFIX}-other"
client.create_bucket(Bucket=other, CreateBucketConfiguration={"LocationConstraint": "ap-northeast-1"})
assert client.get_bucket_location(Bucket=other)["LocationConstraint"] == "ap-northeast-1"
assert other in [b["Name"] for b in client.list_buckets()["Buckets"]]
assert client.head_bucket(Bucket=other)["ResponseMetadata"]["HTTPHeaders"]["x-amz-bucket-region"] == "ap-northeast-1"
refused("BucketAlreadyOwnedByYou", client.create_bucket, Bucket=other, CreateBucketConfiguration={"LocationConstraint": "ap-northeast-1"})
client.put_object(Bucket=other, Key="k", Body=b"")
refused("BucketNotEmpty", client.delete_bucket, Bucket=other)
client.delete_object(Bucket=other, Key="k")
client.delete_bucket(Bucket=other)
refused("404", client.head_bucket, Bucket=other)
refused("NoSuchBucket", client.list_objects_v2, Bucket=other)
refused("InvalidBucketName", client.create_bucket, Bucket="Not_A_Bucket")
