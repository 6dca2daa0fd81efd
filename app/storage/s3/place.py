"""Backups under a prefix of a bucket; see `app.storage.archives.Place`."""

from __future__ import annotations

from typing import BinaryIO

from app.exceptions import FileMissing
from app.storage.s3 import S3Storage
from app.storage.s3.store import Check, Store, never_stop

__all__ = ["S3Place", "Store"]


class S3Place(S3Storage):
    """Prefix of a bucket with backups, whose files have names with slashes."""

    def open(self, key: str, check: Check = never_stop, etag: str | None = None) -> BinaryIO:
        try:
            return super().open(key, check, etag)
        except FileMissing:
            raise FileMissing(key) from None

    def names(self, prefix: str = "") -> list[str]:
        found = {name for name, _ in self._names(self._prefix + prefix)}
        return sorted(name.removeprefix(self._prefix) for name in found)

    def remove(self, prefix: str) -> None:
        names = self.names(prefix.rstrip("/") + "/")  # its manifest first: without it, it is no backup
        for name in sorted(names, key=lambda name: not name.endswith("/manifest.json")):
            self.discard(name)

    def _name(self, key: str) -> str:
        return self._prefix + key
