"""Storage of report files, and the signed links to them. Only this package accesses the files of reports.

A file's key is created by the service: `<job's uuid>.<token in hexadecimal>.<ending>`. A file is written once, by a
single upload, and becomes visible only when it is complete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from app.exceptions import SettingInvalid
from app.storage.local import KEY, LocalStorage
from app.support.file_urls import unquoted


class Upload(Protocol):
    """File being written by a single thread. Either `commit` or `abort` ends it.

    If `write` or `commit` raises StorageFailed, the file is not stored, and the caller must still call `abort`.
    """

    def write(self, data: bytes) -> None:
        """Append bytes."""

    def commit(self) -> str | None:
        """Make the complete file visible, atomically and durably.

        Return an ETag that identifies this file if others may write under its key, otherwise None.
        """

    def abort(self) -> None:
        """Remove everything that was written; what cannot be removed now is logged and left to cleanup.

        It may be called repeatedly, and after the end. It never raises, because the caller already handles an error.
        """


class Storage(Protocol):
    """Files by key. Every method except `link` raises StorageFailed if a retry may succeed.

    Any number of threads, processes and machines may use a storage at the same time.
    """

    def probe(self) -> None:
        """Raise StorageFailed if a short request shows that no file could be stored."""

    def hurried(self) -> Storage:
        """Return the same storage with short timeouts, for callers that cannot wait."""

    def create(self, key: str, media_type: str | None = None, check: Callable[[], None] = ...) -> Upload:
        """Begin a file. Uploads of different keys are independent.

        Args:
            media_type: for clients that fetch the file from the storage itself, not by a link.
            check: raises when the attempt must stop; a storage that waits for a server calls it, in any thread.
        """

    def open(self, key: str, check: Callable[[], None] = ..., etag: str | None = None) -> BinaryIO:
        """Open a file as a stream that the caller must close. Only one block at a time is in memory.

        Args:
            check: see `create`.
            etag: the value that `commit` returned. None means any file with the key.

        Raises:
            FileMissing: there is no such file, or another one replaced it.
        """

    def size(self, key: str) -> int | None:
        """Return the number of bytes of a complete file, or None if there is none."""

    def is_same(self, key: str, etag: str) -> bool:
        """Return whether the file under a key is the one for which `commit` returned this value."""

    def discard(self, key: str) -> None:
        """Remove a file, and what was written of it but never committed, for example by a process that died."""

    def contents(self, begin: str = "") -> Iterator[tuple[str, int]]:
        """Yield the key and the time in milliseconds of each report file whose key has a prefix, complete or not.

        The time is that of the last write or, for an unfinished file in S3, of its beginning. A key that has both a
        complete and an unfinished file occurs twice. Other files are ignored.
        """

    def link(self, key: str, name: str, media_type: str, seconds: int, etag: str | None = None) -> str | None:
        """Return a URL that grants access to the file, or None if the service itself serves it.

        Args:
            name: the name under which browsers save the file.
            seconds: how long the URL is valid.
            etag: see `open`. A store with versioning returns exactly this version.
        """

    def path(self, key: str) -> Path | None:
        """Return the path of a complete file on this machine, or None if there is none."""


def open_storage(url: str, endpoint: str = "", public_endpoint: str = "") -> Storage:
    """Return the storage of `file:///folder` or `s3://bucket/prefix`, without connecting or writing.

    Args:
        endpoint: the address of the S3-compatible store; empty means Amazon's.
        public_endpoint: the address by which clients reach it; empty means the same.
    """
    place = urlsplit(url)
    if place.scheme == "file":
        return LocalStorage(unquoted(place.path))
    s3 = import_s3("app.storage.s3", "STORAGE_URL and REPORT_BUCKETS: S3 needs")
    storage: Storage = s3.S3Storage(s3.Store(endpoint, public_endpoint), place.netloc, prefix_of(place.path))
    return storage


def open_bucket(name: str, endpoint: str = "", public_endpoint: str = "") -> Storage:
    """Return another owner's bucket as a destination; the caller has checked that it is allowed.

    A key is the full name of an object, chosen by the user who started the report. An older file or another report's
    may already have that name. Therefore `discard` keeps complete objects, and `contents` yields nothing.
    """
    s3 = import_s3("app.storage.s3", "STORAGE_URL and REPORT_BUCKETS: S3 needs")
    bucket: Storage = s3.S3Bucket(s3.Store(endpoint, public_endpoint), name)
    return bucket


def is_in_storage(url: str, bucket: str, name: str) -> bool:
    """Return whether an object's name belongs to the storage, so that nothing else may write it."""
    place = urlsplit(url)
    is_same = place.scheme == "s3" and place.netloc == bucket
    return is_same and bool(KEY.fullmatch(name.removeprefix(prefix_of(place.path))))


def write_all(upload: Upload, blocks: Iterable[bytes]) -> None:
    """Write a whole file, or nothing if there is an error."""
    try:
        for block in blocks:
            upload.write(block)
        upload.commit()
    except BaseException:
        upload.abort()
        raise


def prefix_of(path: str) -> str:
    """Return the common prefix of the names of all objects below the path of an S3 URL."""
    inner = unquote(path).strip("/")
    return f"{inner}/" if inner else ""


def import_s3(module: str, who_needs: str) -> ModuleType:
    """Import a module of the S3 package, only when it is used; `who_needs` begins the message if boto3 is missing."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("boto3", "botocore"):
            raise
        raise SettingInvalid(f"{who_needs} boto3. Install the extra: tally-events[s3].") from None
