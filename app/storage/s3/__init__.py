"""Report files in an S3-compatible store: under a prefix of Tally's bucket, or delivered to another owner's bucket.

Only this package imports boto3, and it is imported only where S3 is used. boto3 takes 40 MB and a fifth of a second,
which a worker that writes to its own disk avoids.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from copy import copy
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from botocore.exceptions import ClientError

from app.storage.local import KEY
from app.storage.s3.reading import READ_BYTES, Reader
from app.storage.s3.store import GONE, MISSING, Check, Store, error_code, never_stop, storage_errors
from app.storage.s3.upload import S3Upload


class S3Storage:
    """Objects under a prefix of Tally's bucket, which is empty or ends in a slash; see `app.storage.Storage`.

    Every method except `create` and `link` sends a request to the store.
    """

    is_ours = True  # whether only Tally writes objects of these names, so a commit without a response may be undone

    def __init__(self, store: Store, bucket: str, prefix: str) -> None:
        self._store = store
        self._bucket = bucket
        self._prefix = prefix

    def probe(self) -> None:
        with storage_errors(self._bucket):
            self._store.ask.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)

    def hurried(self) -> S3Storage:
        other = copy(self)
        other._store = self._store.hurried()
        return other

    def create(self, key: str, media_type: str | None = None, check: Check = never_stop) -> S3Upload:
        name = self._name(key)
        abandon = partial(self._abandon, name)
        client = self._store.work
        return S3Upload(client, self._bucket, name, media_type, abandon=abandon, is_ours=self.is_ours, check=check)

    def open(self, key: str, check: Check = never_stop, etag: str | None = None) -> BinaryIO:
        reader = Reader(self._store.work, self._bucket, self._name(key), check, _split_etag(etag)[0])
        return io.BufferedReader(reader, READ_BYTES)

    def size(self, key: str) -> int | None:
        found = self._head(key)
        return None if found is None else int(found["ContentLength"])

    def is_same(self, key: str, etag: str) -> bool:
        found = self._head(key)
        return found is not None and found["ETag"] == _split_etag(etag)[0]

    def discard(self, key: str) -> None:
        name = self._name(key)
        self._abandon(name)
        with storage_errors(self._bucket):
            self._store.ask.delete_object(Bucket=self._bucket, Key=name)

    def contents(self, begin: str = "") -> Iterator[tuple[str, int]]:
        for name, written_at in self._names(self._prefix + begin):
            key = name.removeprefix(self._prefix)
            if KEY.fullmatch(key):
                yield key, int(written_at.timestamp() * 1000)

    def link(self, key: str, name: str, media_type: str, seconds: int, etag: str | None = None) -> str:
        is_plain = name.isascii() and name.isprintable() and not set(name) & set('"\\')
        save_as = f'filename="{name}"' if is_plain else f"filename*=UTF-8''{quote(name, safe='')}"
        parameters = {
            "Bucket": self._bucket,
            "Key": self._name(key),
            "ResponseContentDisposition": f"attachment; {save_as}",
            "ResponseContentType": media_type,
            "ResponseCacheControl": "private, no-store",
        }
        _, version = _split_etag(etag)
        if version:
            parameters = {"VersionId": version} | parameters
        with storage_errors(self._bucket):
            url: str = self._store.sign.generate_presigned_url("get_object", Params=parameters, ExpiresIn=seconds)
        return url

    def path(self, key: str) -> Path | None:
        self._name(key)
        return None  # no file is on this machine

    def _name(self, key: str) -> str:
        if not KEY.fullmatch(key):
            raise ValueError(f"{key!r} is not a key of a report file")
        return self._prefix + key

    def _head(self, key: str) -> dict[str, Any] | None:
        name = self._name(key)
        with storage_errors(self._bucket):
            try:
                found: dict[str, Any] = self._store.ask.head_object(Bucket=self._bucket, Key=name)
            except ClientError as error:
                if error_code(error) in MISSING:
                    return None
                raise
        return found

    def _names(self, prefix: str) -> Iterator[tuple[str, datetime]]:
        pages = self._store.ask.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
        with storage_errors(self._bucket):
            for page in pages:
                for found in page.get("Contents", ()):
                    yield found["Key"], found["LastModified"]
        for found in self._unfinished():  # without the prefix, because MinIO treats it as a full name
            if found["Key"].startswith(prefix):
                yield found["Key"], found["Initiated"]

    def _unfinished(self, **which: str) -> Iterator[dict[str, Any]]:
        pages = self._store.ask.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, **which)
        with storage_errors(self._bucket):
            for page in pages:
                yield from page.get("Uploads", ())

    def _abandon(self, name: str) -> None:
        """Remove the parts of unfinished uploads of an object."""
        for found in list(self._unfinished(Prefix=name)):
            if found["Key"] != name:
                continue
            with storage_errors(self._bucket):
                try:
                    self._store.ask.abort_multipart_upload(Bucket=self._bucket, Key=name, UploadId=found["UploadId"])
                except ClientError as error:
                    if error_code(error) != GONE:  # its own process, or another cleanup, was faster
                        raise


class S3Bucket(S3Storage):
    """Another owner's bucket, and its objects by any name; see `app.storage.open_bucket`."""

    is_ours = False

    def __init__(self, store: Store, bucket: str) -> None:
        super().__init__(store, bucket, "")

    def discard(self, key: str) -> None:
        self._abandon(key)  # a complete object stays, because it may be older, or another report's

    def contents(self, begin: str = "") -> Iterator[tuple[str, int]]:
        return iter(())  # cleanup must not remove another owner's objects

    def _name(self, key: str) -> str:
        return key


def _split_etag(etag: str | None) -> tuple[str | None, str | None]:
    """Split the result of `S3Upload.commit` into the ETag and, for a bucket with versioning, the version."""
    tag, _, version = (etag or "").partition(" ")
    return tag or None, version or None
