"""A real S3 API over HTTP (moto's server in a process of its own), and what tests look at in it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cached_property
from urllib.request import Request, urlopen

import boto3

from tests.support.running import ROOT, free_port
from tests.support.s3_server import SECRET

STORAGE, DELIVERED = "tally", "analysts"  # the existing buckets
PAGE = 50  # objects per page of a listing
PART_MIN_BYTES = 1024 * 1024  # of an upload; Amazon's is five times as long
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}


class S3:
    """The store, with two empty buckets.

    Attributes:
        endpoint: its address.
        url: the URL of the report files.
        environment: the settings and AWS variables of a service that stores its report files there.
    """

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.url = f"s3://{STORAGE}/reports"
        self.environment = CREDENTIALS | {
            "S3_ENDPOINT_URL": endpoint,
            "STORAGE_URL": self.url,
            "REPORT_BUCKETS": DELIVERED,
        }

    @property
    def settings(self) -> dict[str, object]:
        """Return the same settings for an application in this process."""
        return {"storage_url": self.url, "s3_endpoint_url": self.endpoint, "report_buckets": (DELIVERED,)}

    @cached_property
    def client(self) -> object:
        """Return a client for the tests."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="tests",
            aws_secret_access_key=SECRET,
        )

    def reset(self) -> None:
        """Delete everything, and create the buckets."""
        with urlopen(Request(f"{self.endpoint}/moto-api/reset", method="POST")):
            pass
        for name in (STORAGE, DELIVERED):
            self.client.create_bucket(Bucket=name)

    def objects(self, bucket: str = STORAGE) -> dict[str, bytes]:
        """Return the objects of a bucket by name, without those that are deleted meanwhile."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        objects = {}
        for name in [one["Key"] for page in pages for one in page.get("Contents", ())]:
            with contextlib.suppress(self.client.exceptions.NoSuchKey):
                objects[name] = self.client.get_object(Bucket=bucket, Key=name)["Body"].read()
        return objects

    def unfinished(self, bucket: str = STORAGE) -> list[str]:
        """Return the names of multipart uploads that are neither completed nor aborted."""
        return [one["Key"] for one in self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", ())]


@contextlib.contextmanager
def server(host: str = "127.0.0.1") -> Iterator[str]:
    """Run the server on an address of this machine, and yield its URL."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.s3_server", host, str(port)],
        cwd=ROOT,
        env=os.environ | {"MOTO_S3_DEFAULT_MAX_KEYS": str(PAGE), "S3_UPLOAD_PART_MIN_SIZE": str(PART_MIN_BYTES)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://{host}:{port}"
    try:
        wait_for(url)
        yield url
    finally:
        process.kill()
        process.wait()


def wait_for(url: str, seconds: float = 60) -> None:
    """Wait until the server answers."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urlopen(f"{url}/moto-api/data.json"):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
