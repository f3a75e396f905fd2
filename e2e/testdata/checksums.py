"""Checksums of every algorithm that boto3 computes by itself, in one PUT and in
parts; a wrong one leaves nothing behind."""
import base64
import hashlib
import os
import zlib

from device import BUCKET, PREFIX, refused, s3

client = s3()
body = os.urandom(300_000)
known = {
    "CRC32": base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode(),
    "SHA1": base64.b64encode(hashlib.sha1(body).digest()).decode(),
    "SHA256": base64.b64encode(hashlib.sha256(body).digest()).decode(),
}
algorithms = ["CRC32", "SHA1", "SHA256"]
try:
    import awscrt.checksums as crt

    known["CRC32C"] = base64.b64encode(crt.crc32c(body).to_bytes(4, "big")).decode()
    known["CRC64NVME"] = base64.b64encode(crt.crc64nvme(body).to_bytes(8, "big")).decode()
    algorithms += ["CRC32C", "CRC64NVME"]
except ImportError:
    pass

for algorithm in algorithms:
    key, member = f"{PREFIX}/{algorithm}", f"Checksum{algorithm}"
    put = client.put_object(Bucket=BUCKET, Key=key, Body=body, ChecksumAlgorithm=algorithm)
    assert put[member] == known[algorithm], (algorithm, put)
    head = client.head_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
    assert head[member] == known[algorithm] and head["ChecksumType"] == "FULL_OBJECT", head
    assert member not in client.head_object(Bucket=BUCKET, Key=key)
    got = client.get_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
    assert got["Body"].read() == body and got[member] == known[algorithm]
    listed = client.list_objects_v2(Bucket=BUCKET, Prefix=key)["Contents"][0]
    assert listed["ChecksumAlgorithm"] == [algorithm], listed

    wrong = {member: base64.b64encode(b"\0" * len(base64.b64decode(known[algorithm]))).decode()}
    refused("BadDigest", client.put_object, Bucket=BUCKET, Key=f"{key}-wrong", Body=body, **wrong)
    refused("NoSuchKey", client.get_object, Bucket=BUCKET, Key=f"{key}-wrong")

    upload = client.create_multipart_upload(Bucket=BUCKET, Key=f"{key}-parts", ChecksumAlgorithm=algorithm)["UploadId"]
    parts = []
    for n, piece in ((1, os.urandom(5 << 20)), (2, body)):
        part = client.upload_part(
            Bucket=BUCKET, Key=f"{key}-parts", UploadId=upload, PartNumber=n, Body=piece, ChecksumAlgorithm=algorithm
        )
        parts.append({"PartNumber": n, "ETag": part["ETag"], member: part[member]})
    assert parts[1][member] == known[algorithm]
    done = client.complete_multipart_upload(
        Bucket=BUCKET, Key=f"{key}-parts", UploadId=upload, MultipartUpload={"Parts": parts}
    )
    kind = "FULL_OBJECT" if algorithm == "CRC64NVME" else "COMPOSITE"
    assert done["ChecksumType"] == kind, done
    assert done[member].endswith("-2") == (kind == "COMPOSITE"), done

md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
client.put_object(Bucket=BUCKET, Key=f"{PREFIX}/md5", Body=body, ContentMD5=md5)
refused("BadDigest", client.put_object, Bucket=BUCKET, Key=f"{PREFIX}/md5-wrong", Body=b"other", ContentMD5=md5)
refused("InvalidDigest", client.put_object, Bucket=BUCKET, Key=f"{PREFIX}/md5-wrong", Body=b"other", ContentMD5="bm90IG1kNQ==")
