"""Create the bucket of STORAGE_URL in the store of deploy/compose.yaml, unless it exists."""

import os
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

bucket = urlsplit(os.environ["STORAGE_URL"]).netloc
patient = Config(retries={"mode": "standard", "total_max_attempts": 20})  # the store may still be starting
store = boto3.client(
    "s3", endpoint_url=os.environ["S3_ENDPOINT_URL"], region_name=os.environ["AWS_REGION"], config=patient
)
if bucket not in {found["Name"] for found in store.list_buckets()["Buckets"]}:
    store.create_bucket(Bucket=bucket)
