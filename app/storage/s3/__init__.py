"""Report files in an S3-compatible store: under a prefix of Tally's bucket, or delivered to another owner's bucket.

Only this package imports boto3, and it is imported only where S3 is used. boto3 takes 40 MB and a fifth of a second,
which a worker that writes to its own disk avoids.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import BinaryIO

from app.storage.local import KEY
from app.storage.s3.calls import Check, never_stop
from app.storage.s3.objects import Objects
from app.storage.s3.store import Store
from app.storage.s3.upload import S3Upload


class S3Storage:
    """Objects under a prefix; see `app.storage.Storage`.

    Args:
        prefix: the prefix of every object's name; empty or ending in a slash.
    """

    def __init__(self, store: Store, bucket: str, prefix: str) -> None:
        self._objects = Objects(store, bucket)
        self._prefix = prefix

    def probe(self) -> None:
        """Check that the bucket exists and that Tally may use it."""
        self._objects.probe(self._prefix)

    def hurried(self) -> S3Storage:
        """Return the same storage with short timeouts, for callers that cannot wait."""
        other = copy(self)
        other._objects = self._objects.hurried()
        return other

    def create(self, key: str, media_type: str | None = None, check: Check = never_stop) -> S3Upload:
        """Begin a file without sending anything yet."""
        return self._objects.create(self._name(key), media_type, check, is_ours=True)

    def open(self, key: str, check: Check = never_stop, etag: str | None = None) -> BinaryIO:
        """Open a complete file for reading."""
        return self._objects.open(self._name(key), check, etag)

    def size(self, key: str) -> int | None:
        """Return the number of bytes of a complete file, or None if there is none."""
        return self._objects.size(self._name(key))

    def is_same(self, key: str, etag: str) -> bool:
        """Return whether no other object has replaced it under its name."""
        return self._objects.is_same(self._name(key), etag)

    def delete(self, key: str) -> None:
        """Remove a complete file, if there is one."""
        self._objects.delete(self._name(key))

    def discard(self, key: str) -> None:
        """Remove a file, and its parts that were sent but never joined."""
        self._objects.abandon(self._name(key))
        self._objects.delete(self._name(key))

    def contents(self, begin: str = "") -> Iterator[tuple[str, int]]:
        """Yield the key of each file, and the time when it was written or, if it is unfinished, begun."""
        for name, moment in self._objects.contents(self._prefix + begin):
            key = name.removeprefix(self._prefix)
            if KEY.fullmatch(key):
                yield key, moment

    def link(self, key: str, name: str, media_type: str, seconds: int, etag: str | None = None) -> str:
        """Return a URL that the store itself serves without credentials."""
        return self._objects.link(self._name(key), name, media_type, seconds, etag)

    def path(self, key: str) -> Path | None:
        """Return None, because no file is on this machine."""
        self._name(key)
        return None

    def _name(self, key: str) -> str:
        if not KEY.fullmatch(key):
            raise ValueError(f"{key!r} is not a key of a report file")
        return self._prefix + key


class S3Bucket:
    """Another owner's bucket, and its objects by any name; see `app.storage.open_bucket`."""

    def __init__(self, store: Store, bucket: str) -> None:
        self._objects = Objects(store, bucket)

    def probe(self) -> None:
        """Check that the bucket exists; its owner decides what may be listed in it."""
        self._objects.probe("")

    def hurried(self) -> S3Bucket:
        """Return the same bucket with short timeouts, for callers that cannot wait."""
        other = copy(self)
        other._objects = self._objects.hurried()
        return other

    def create(self, key: str, media_type: str | None = None, check: Check = never_stop) -> S3Upload:
        """Begin an object. An existing object of this name is replaced only when the upload is committed."""
        return self._objects.create(key, media_type, check, is_ours=False)

    def open(self, key: str, check: Check = never_stop, etag: str | None = None) -> BinaryIO:
        """Open an object for reading."""
        return self._objects.open(key, check, etag)

    def size(self, key: str) -> int | None:
        """Return the number of bytes of an object, or None if there is none."""
        return self._objects.size(key)

    def is_same(self, key: str, etag: str) -> bool:
        """Return whether no other object has replaced it under its name."""
        return self._objects.is_same(key, etag)

    def delete(self, key: str) -> None:
        """Remove an object, if there is one."""
        self._objects.delete(key)

    def discard(self, key: str) -> None:
        """Remove unjoined parts. A complete object stays, because it may be older, or another report's."""
        self._objects.abandon(key)

    def contents(self, begin: str = "") -> Iterator[tuple[str, int]]:
        """Yield nothing, because cleanup must not remove another owner's objects."""
        return iter(())

    def link(self, key: str, name: str, media_type: str, seconds: int, etag: str | None = None) -> str:
        """Return a URL that the store itself serves without credentials."""
        return self._objects.link(key, name, media_type, seconds, etag)

    def path(self, key: str) -> Path | None:
        """Return None, because no file is on this machine."""
        return None
