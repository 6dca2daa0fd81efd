"""Backups under a prefix of a bucket; see `app.storage.archives.Place`."""

from __future__ import annotations

from typing import BinaryIO

from app.exceptions import FileMissing
from app.storage.s3 import S3Storage
from app.storage.s3.store import Check, never_stop


class S3Place(S3Storage):
    """Prefix of a bucket with backups, whose files have names with slashes."""

    def open(self, key: str, check: Check = never_stop, etag: str | None = None) -> BinaryIO:
        """Open an object for reading."""
        try:
            return super().open(key, check, etag)
        except FileMissing:
            raise FileMissing(key) from None

    def names(self, prefix: str = "") -> list[str]:
        """Return the names of all objects and unfinished uploads that begin with a prefix, in order."""
        found = {name for name, _ in self._names(self._prefix + prefix)}
        return sorted(name.removeprefix(self._prefix) for name in found)

    def remove(self, prefix: str) -> None:
        """Remove the objects of a backup, its manifest first, so that the rest is not taken for a backup."""
        names = self.names(prefix.rstrip("/") + "/")
        for name in sorted(names, key=lambda name: not name.endswith("/manifest.json")):
            self.discard(name)

    def _name(self, key: str) -> str:
        return self._prefix + key
