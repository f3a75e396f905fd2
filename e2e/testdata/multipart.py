"""64 MiB in parts of 8 MiB, concurrent; then by hand: out of order, a repeated
part, a list of parts, an abort, and the refusals of CompleteMultipartUpload."""
import hashlib
import os

from device import BUCKET, PREFIX, refused, s3

client = s3()
MIB = 1 << 20

data = os.urandom(64 * MIB)
with open("big", "wb") as f:
    f.write(data)
key = f"{PREFIX}/big"
client.upload_file("big", BUCKET, key, ExtraArgs={"Metadata": {"kind": "log"}, "ContentType": "application/x-log"})
head = client.head_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
assert head["ContentLength"] == len(data)
assert head["Metadata"] == {"kind": "log"} and head["ContentType"] == "application/x-log", head
md5s = b"".join(hashlib.md5(data[i : i + 8 * MIB]).digest() for i in range(0, len(data), 8 * MIB))
assert head["ETag"] == f'"{hashlib.md5(md5s).hexdigest()}-8"', head["ETag"]
client.download_file(BUCKET, key, "back")
with open("back", "rb") as f:
    assert f.read() == data
part = client.get_object(Bucket=BUCKET, Key=key, PartNumber=3)
assert part["PartsCount"] == 8 and part["ContentLength"] == 8 * MIB
assert part["ContentRange"] == f"bytes {16 * MIB}-{24 * MIB - 1}/{64 * MIB}", part["ContentRange"]
assert part["Body"].read() == data[16 * MIB : 24 * MIB]
across = client.get_object(Bucket=BUCKET, Key=key, Range=f"bytes={8 * MIB - 3}-{8 * MIB + 2}")
assert across["Body"].read() == data[8 * MIB - 3 : 8 * MIB + 3]

key = f"{PREFIX}/by-hand"
upload = client.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
parts = {n: os.urandom(5 * MIB if n < 3 else 100) for n in (3, 1, 2)}
etags = {}
for n, body in parts.items():
    etags[n] = client.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=n, Body=body)["ETag"]
parts[2] = os.urandom(5 * MIB)  # the last upload of a part wins
etags[2] = client.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=2, Body=parts[2])["ETag"]
listed = client.list_parts(Bucket=BUCKET, Key=key, UploadId=upload, MaxParts=2)
assert [p["PartNumber"] for p in listed["Parts"]] == [1, 2] and listed["IsTruncated"], listed
rest = client.list_parts(Bucket=BUCKET, Key=key, UploadId=upload, PartNumberMarker=listed["NextPartNumberMarker"])
assert [p["PartNumber"] for p in rest["Parts"]] == [3]
uploads = client.list_multipart_uploads(Bucket=BUCKET, Prefix=f"{PREFIX}/")["Uploads"]
assert [(u["Key"], u["UploadId"]) for u in uploads] == [(key, upload)], uploads


def complete(numbers, **changed):
    return dict(
        Bucket=BUCKET,
        Key=key,
        UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": n, "ETag": changed.get("etag", etags[n])} for n in numbers]},
    )


refused("InvalidPartOrder", client.complete_multipart_upload, **complete([2, 1]))
refused("InvalidPart", client.complete_multipart_upload, **complete([1, 2], etag='"' + "0" * 32 + '"'))
refused("EntityTooSmall", client.complete_multipart_upload, **(lambda: (
    etags.__setitem__(4, client.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=4, Body=b"x")["ETag"]),
    complete([1, 3, 4]))[1])())
refused("NoSuchKey", client.get_object, Bucket=BUCKET, Key=key)
done = client.complete_multipart_upload(**complete([1, 2, 3]))
assert done["ETag"].strip('"').endswith("-3")
assert client.get_object(Bucket=BUCKET, Key=key)["Body"].read() == parts[1] + parts[2] + parts[3]
refused("NoSuchUpload", client.upload_part, Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=1, Body=b"late")

copy = client.create_multipart_upload(Bucket=BUCKET, Key=f"{PREFIX}/copied")["UploadId"]
part = client.upload_part_copy(
    Bucket=BUCKET, Key=f"{PREFIX}/copied", UploadId=copy, PartNumber=1,
    CopySource={"Bucket": BUCKET, "Key": f"{PREFIX}/big"}, CopySourceRange=f"bytes=1-{6 * MIB}",
)["CopyPartResult"]["ETag"]
client.complete_multipart_upload(
    Bucket=BUCKET, Key=f"{PREFIX}/copied", UploadId=copy, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part}]}
)
assert client.get_object(Bucket=BUCKET, Key=f"{PREFIX}/copied")["Body"].read() == data[1 : 6 * MIB + 1]

upload = client.create_multipart_upload(Bucket=BUCKET, Key=f"{PREFIX}/given-up")["UploadId"]
client.upload_part(Bucket=BUCKET, Key=f"{PREFIX}/given-up", UploadId=upload, PartNumber=1, Body=b"x")
client.abort_multipart_upload(Bucket=BUCKET, Key=f"{PREFIX}/given-up", UploadId=upload)
refused("NoSuchUpload", client.list_parts, Bucket=BUCKET, Key=f"{PREFIX}/given-up", UploadId=upload)
assert not client.list_multipart_uploads(Bucket=BUCKET, Prefix=f"{PREFIX}/").get("Uploads")
