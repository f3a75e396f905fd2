"""s3fs: files that are written and read in blocks."""
import os
import sys

import s3fs

bucket = "s3fs-" + sys.argv[1].split(":")[0]
fs = s3fs.S3FileSystem(endpoint_url=sys.argv[1])
body = os.urandom(60 << 20)

fs.mkdir(bucket)
with fs.open(f"{bucket}/d/large", "wb") as f:
    f.write(body)
with fs.open(f"{bucket}/d/large", "rb") as f:
    f.seek(30_000_000)
    assert f.read(100) == body[30_000_000:30_000_100]
assert fs.cat(f"{bucket}/d/large") == body
fs.pipe(f"{bucket}/d/small", b"abc")
fs.cp(f"{bucket}/d/large", f"{bucket}/d/copy")
fs.mv(f"{bucket}/d/small", f"{bucket}/moved")
assert fs.find(bucket) == [f"{bucket}/d/copy", f"{bucket}/d/large", f"{bucket}/moved"], fs.find(bucket)
assert not fs.exists(f"{bucket}/d/small")
fs.rm(bucket, recursive=True)
assert not fs.exists(bucket)
