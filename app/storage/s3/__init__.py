"""Report files in an S3-compatible store: under a prefix of a bucket of ours, or delivered to a bucket of others.

This package alone imports boto3, and is itself imported only where S3 is used: boto3 takes 40 MB and a fifth of a
second, which a worker that writes to its own disk does not pay.
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
        prefix: what every object's name begins with; empty or ending in a slash.
    """

    def __init__(self, store: Store, bucket: str, prefix: str) -> None:
        self._objects = Objects(store, bucket)
        self._prefix = prefix

    def probe(self) -> None:
        """Ask whether the bucket is there and ours to use."""
        self._objects.probe(self._prefix)

    def hurried(self) -> S3Storage:
        """The same, for whoever cannot wait."""
        other = copy(self)
        other._objects = self._objects.hurried()
        return other

    def create(self, key: str, media_type: str | None = None, check: Check = never_stop) -> S3Upload:
        """Begin a file; nothing is sent yet."""
        return self._objects.create(self._name(key), media_type, check, is_ours=True)

    def open(self, key: str, check: Check = never_stop, etag: str | None = None) -> BinaryIO:
        """A whole file, to be read."""
        return self._objects.open(self._name(key), check, etag)

    def size(self, key: str) -> int | None:
        """How many bytes a whole file has, or None where there is none."""
        return self._objects.size(self._name(key))

    def is_same(self, key: str, etag: str) -> bool:
        """Return whether no other object has replaced it under its name."""
        return self._objects.is_same(self._name(key), etag)

    def delete(self, key: str) -> None:
        """Remove a whole file; nothing happens where there is none."""
        self._objects.delete(self._name(key))

    def discard(self, key: str) -> None:
        """Remove a file, and the parts of it that were sent and never joined."""
        self._objects.abandon(self._name(key))
        self._objects.delete(self._name(key))

    def contents(self, begin: str = "") -> Iterator[tuple[str, int]]:
        """The key of each file, and when it was written or, where it is unfinished, begun."""
        for name, moment in self._objects.contents(self._prefix + begin):
            key = name.removeprefix(self._prefix)
            if KEY.fullmatch(key):
                yield key, moment

    def link(self, key: str, name: str, media_type: str, seconds: int, etag: str | None = None) -> str:
        """An address that the store itself answers, without credentials."""
        return self._objects.link(self._name(key), name, media_type, seconds, etag)

    def path(self, key: str) -> Path | None:
        """None: no file stands on this machine."""
        self._name(key)
        return None

    def _name(self, key: str) -> str:
        if not KEY.fullmatch(key):
            raise ValueError(f"{key!r} is not a key of a report file")
        return self._prefix + key


class S3Bucket:
    """A bucket of others, and its objects by any name; see `app.storage.open_bucket`."""

    def __init__(self, store: Store, bucket: str) -> None:
        self._objects = Objects(store, bucket)

    def probe(self) -> None:
        """Ask whether the bucket is there; what may be listed in it is its owner's to say."""
        self._objects.probe("")

    def hurried(self) -> S3Bucket:
        """The same, for whoever cannot wait."""
        other = copy(self)
        other._objects = self._objects.hurried()
        return other

    def create(self, key: str, media_type: str | None = None, check: Check = never_stop) -> S3Upload:
        """Begin an object. One that has this name is replaced when the upload is committed, and not before."""
        return self._objects.create(key, media_type, check, is_ours=False)

    def open(self, key: str, check: Check = never_stop, etag: str | None = None) -> BinaryIO:
        """An object, to be read."""
        return self._objects.open(key, check, etag)

    def size(self, key: str) -> int | None:
        """How many bytes an object has, or None where there is none."""
        return self._objects.size(key)

    def is_same(self, key: str, etag: str) -> bool:
        """Return whether no other object has replaced it under its name."""
        return self._objects.is_same(key, etag)

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens where there is none."""
        self._objects.delete(key)

    def discard(self, key: str) -> None:
        """Remove what was sent and never joined. What has this name stays: it may be older, or another's."""
        self._objects.abandon(key)

    def contents(self, begin: str = "") -> Iterator[tuple[str, int]]:
        """Nothing: what is here is not ours to sweep."""
        return iter(())

    def link(self, key: str, name: str, media_type: str, seconds: int, etag: str | None = None) -> str:
        """An address that the store itself answers, without credentials."""
        return self._objects.link(key, name, media_type, seconds, etag)

    def path(self, key: str) -> Path | None:
        """None: no file stands on this machine."""
        return None
