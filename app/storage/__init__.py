"""Where report files live, and the signed links that lead to them: the only room that touches files of reports.

A file has a key that the service made: `<job's uuid>.<token in hexadecimal>.<ending>`. It is written once, by one
upload, and is there whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from app.exceptions import SettingInvalid
from app.storage.local import KEY, LocalStorage
from app.support.file_urls import unquoted


class Upload(Protocol):
    """A file being written, by one thread. Either `commit` or `abort` ends it.

    `write` and `commit` raise StorageFailed; then the file is not there, and `abort` is still to be called.
    """

    def write(self, data: bytes) -> None:
        """Append bytes."""

    def commit(self) -> str | None:
        """Make the complete file visible, atomically and durably.

        Returns:
            An ETag that identifies this file if others may write under its key, otherwise None.
        """

    def abort(self) -> None:
        """Leave nothing behind; what cannot be removed now is logged and left to the sweeper.

        It may come twice, and after the end. It never raises, as what it follows is the error to be told.
        """


class Storage(Protocol):
    """Files by their keys. Every method but `link` raises StorageFailed where a retry may mend it.

    Any number of threads, processes and machines may use one at a time.
    """

    def probe(self) -> None:
        """Raise StorageFailed where no file could be kept, as far as one short question tells."""

    def hurried(self) -> Storage:
        """The same storage, for whoever cannot wait: where it takes long to answer, it fails sooner."""

    def create(self, key: str, media_type: str | None = None, check: Callable[[], None] = ...) -> Upload:
        """Begin a file. Uploads of different keys do not know of each other.

        Args:
            media_type: for whoever fetches the file from the storage itself, not by a link.
            check: raises when it is time to stop; a storage that waits for a server asks it meanwhile, in any thread.
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
        """How many bytes a whole file has, or None where there is none."""

    def is_same(self, key: str, etag: str) -> bool:
        """Return whether the file under a key is the one for which `commit` returned this value."""

    def delete(self, key: str) -> None:
        """Remove a whole file; nothing happens where there is none."""

    def discard(self, key: str) -> None:
        """Remove a file, and what was written of it and never committed: by a process that died, say."""

    def contents(self, begin: str = "") -> Iterator[tuple[str, int]]:
        """What is here of ours, finished or not: its key, and the time in milliseconds.

        Args:
            begin: only keys that begin so.

        The time is when it was last written to or, of an unfinished one in S3, when it was begun. A file that is
        there both finished and not comes twice. What is not a report's file is not told.
        """

    def link(self, key: str, name: str, media_type: str, seconds: int, etag: str | None = None) -> str | None:
        """Return a URL that grants access to the file, or None if the service itself serves it.

        Args:
            name: the name under which browsers save the file.
            seconds: how long the URL is valid.
            etag: see `open`. A store with versioning returns exactly this version.
        """

    def path(self, key: str) -> Path | None:
        """Where a whole file stands on this machine, or None where it does not."""


def open_storage(url: str, endpoint: str = "", public_endpoint: str = "") -> Storage:
    """The storage of `file:///folder` or `s3://bucket/prefix`; nothing is written or asked yet.

    Args:
        endpoint: the address of the S3-compatible store; empty: Amazon's.
        public_endpoint: the address by which clients reach it; empty: the same.

    Raises:
        SettingInvalid: it is S3, and what speaks to it is not installed.
    """
    place = urlsplit(url)
    if place.scheme == "file":
        return LocalStorage(unquoted(place.path))
    s3 = _s3()
    return s3.S3Storage(s3.Store(endpoint, public_endpoint), place.netloc, _prefix(place.path))


def open_bucket(name: str, endpoint: str = "", public_endpoint: str = "") -> Storage:
    """A bucket of somebody else's, to deliver to; whether that is allowed is decided before.

    A key is an object's whole name there, of whoever started the report. It may be taken, by an older file or by
    another report's: so `discard` leaves a whole object alone, and `contents` tells nothing.

    Raises:
        SettingInvalid: what speaks to S3 is not installed.
    """
    s3 = _s3()
    return s3.S3Bucket(s3.Store(endpoint, public_endpoint), name)


def is_in_storage(url: str, bucket: str, name: str) -> bool:
    """Whether an object would stand among the storage's own, so that nobody may write it but the storage."""
    place = urlsplit(url)
    is_same = place.scheme == "s3" and place.netloc == bucket
    return is_same and bool(KEY.fullmatch(name.removeprefix(_prefix(place.path))))


def _prefix(path: str) -> str:
    """What the names of the storage's objects begin with."""
    inner = unquote(path).strip("/")
    return f"{inner}/" if inner else ""


def _s3() -> ModuleType:
    """Imported only where it is used: see the package."""
    try:
        return import_module("app.storage.s3")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("boto3", "botocore"):
            raise
        raise SettingInvalid("STORAGE_URL and REPORT_BUCKETS: S3 needs boto3. Install the extra: tally[s3].") from None
