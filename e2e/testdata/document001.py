"""Document 001's upload by boto3: a file of 20 MB with the device's credentials."""
import hashlib
import os

from device import BUCKET, PREFIX, s3

client = s3()
with open("file_y", "wb") as f:
    f.write(os.urandom(20 << 20))
client.upload_file("file_y", BUCKET, f"{PREFIX}/file_y")
client.download_file(BUCKET, f"{PREFIX}/file_y", "back")


def digest(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


assert digest("file_y") == digest("back")
