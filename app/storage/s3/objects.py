"""The objects of a bucket in an S3-compatible store, by their full names."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import BinaryIO
from urllib.parse import quote

from botocore.exceptions import ClientError

from app.storage.s3.calls import Check
from app.storage.s3.reading import READ_BYTES, Reader
from app.storage.s3.store import GONE, MISSING, Store, code, told
from app.storage.s3.upload import S3Upload


class Objects:
    """Objects of a bucket.

    Every method except `create` and `link` sends a request to the store, and raises StorageFailed if it fails.
    """

    def __init__(self, store: Store, bucket: str) -> None:
        self._store = store
        self._bucket = bucket

    def hurried(self) -> Objects:
        """Return the same objects with short timeouts."""
        return Objects(self._store.hurried(), self._bucket)

    def probe(self, prefix: str) -> None:
        """List the first name under a prefix, which fails if the bucket is missing or the credentials are invalid."""
        with told(self._bucket):
            self._store.ask.list_objects_v2(Bucket=self._bucket, Prefix=prefix, MaxKeys=1)

    def create(self, name: str, media_type: str | None, check: Check, *, is_ours: bool) -> S3Upload:
        """Begin an object without sending anything yet.

        Args:
            is_ours: whether only Tally writes an object of this name, so a commit without a response may be undone.
        """
        abandon = partial(self.abandon, name)
        client = self._store.work
        return S3Upload(client, self._bucket, name, media_type, abandon=abandon, is_ours=is_ours, check=check)

    def open(self, name: str, check: Check, etag: str | None) -> BinaryIO:
        """Open an object as a stream.

        Raises:
            FileMissing: there is no such object, or another one replaced it.
        """
        reader = Reader(self._store.work, self._bucket, name, check, _parts(etag)[0])
        return io.BufferedReader(reader, READ_BYTES)

    def size(self, name: str) -> int | None:
        """Return the number of bytes of an object, or None if there is none."""
        found = self._head(name)
        return found and found["ContentLength"]

    def is_same(self, name: str, etag: str) -> bool:
        """Return whether an object is the one that was committed."""
        found = self._head(name)
        return found is not None and found["ETag"] == _parts(etag)[0]

    def _head(self, name: str) -> dict | None:
        with told(self._bucket):
            try:
                return self._store.ask.head_object(Bucket=self._bucket, Key=name)
            except ClientError as error:
                if code(error) in MISSING:
                    return None
                raise

    def delete(self, name: str) -> None:
        """Remove an object, if there is one."""
        with told(self._bucket):
            self._store.ask.delete_object(Bucket=self._bucket, Key=name)

    def abandon(self, name: str) -> None:
        """Remove the parts of unfinished uploads of an object."""
        for found, upload, _ in list(self._unfinished(Prefix=name)):
            if found == name:
                self._abort(name, upload)

    def contents(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield the name of each object and unfinished upload under a prefix, and when it was written or begun."""
        pages = self._store.ask.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
        with told(self._bucket):
            for page in pages:
                for one in page.get("Contents", ()):
                    yield one["Key"], _milliseconds(one["LastModified"])
        for name, _, begun in self._unfinished():  # without the prefix, because MinIO treats it as a full name
            if name.startswith(prefix):
                yield name, begun

    def link(self, name: str, file_name: str, media_type: str, seconds: int, etag: str | None) -> str:
        """Return a URL that is valid without credentials for some time."""
        _, version = _parts(etag)
        given = {"VersionId": version} if version else {}
        given |= {
            "Bucket": self._bucket,
            "Key": name,
            "ResponseContentDisposition": _disposition(file_name),
            "ResponseContentType": media_type,
            "ResponseCacheControl": "private, no-store",
        }
        with told(self._bucket):
            return self._store.sign.generate_presigned_url("get_object", Params=given, ExpiresIn=seconds)

    def _unfinished(self, **which: str) -> Iterator[tuple[str, str, int]]:
        pages = self._store.ask.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, **which)
        with told(self._bucket):
            for page in pages:
                for one in page.get("Uploads", ()):
                    yield one["Key"], one["UploadId"], _milliseconds(one["Initiated"])

    def _abort(self, name: str, upload: str) -> None:
        with told(self._bucket):
            try:
                self._store.ask.abort_multipart_upload(Bucket=self._bucket, Key=name, UploadId=upload)
            except ClientError as error:
                if code(error) != GONE:  # its own process, or another cleanup, was faster
                    raise


def _parts(etag: str | None) -> tuple[str | None, str | None]:
    """Split the result of `S3Upload.commit` into the ETag and, for a bucket with versioning, the version."""
    tag, _, version = (etag or "").partition(" ")
    return tag or None, version or None


def _disposition(name: str) -> str:
    """Return the header that makes a browser save a file under a name."""
    is_plain = name.isascii() and name.isprintable() and not set(name) & set('"\\')
    return f'attachment; filename="{name}"' if is_plain else f"attachment; filename*=UTF-8''{quote(name, safe='')}"


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
