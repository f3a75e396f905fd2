"""One long-lived boto3 client: for each key on standard input an object is put;
the access key id that it was signed with is printed."""
import os
import sys

import boto3

session = boto3.Session()
s3 = session.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
for line in sys.stdin:
    s3.put_object(Bucket=os.environ["BUCKET"], Key=line.strip(), Body=b"x")
    print(session.get_credentials().get_frozen_credentials().access_key, flush=True)
