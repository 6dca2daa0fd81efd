"""Destinations of report files: Tally's own storage, or a bucket that the operator allows.

Files delivered to a bucket belong to the bucket's owner, so Tally never removes them.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from app.config import Settings
from app.exceptions import Forbidden
from app.exports.names import extension
from app.storage import Storage, is_in_storage, open_bucket
from app.store.models import Report


class Destinations:
    """Destinations of report files.

    Attributes:
        own: Tally's own storage, which also stores the parts.
    """

    def __init__(self, settings: Settings, own: Storage) -> None:
        self.own = own
        self._settings = settings
        self._buckets: dict[str, Storage] = {}

    def check(self, output: Mapping) -> None:
        """Check that an output's destination is allowed.

        Raises:
            Forbidden: the operator does not allow the bucket, or the key is reserved for Tally's own files.
        """
        bucket, key = output.get("bucketName"), output.get("bucketKey")
        if bucket is None:
            return
        if bucket not in self._settings.report_buckets:
            raise Forbidden(f"output.bucketName: {_allowed(self._settings.report_buckets)}")
        if is_in_storage(self._settings.storage, bucket, key):
            raise Forbidden("output.bucketKey: report files of the service's own stand under such names.")

    def place(self, report: Report) -> Storage:
        """Return the storage of a report's file, whether or not the file exists yet."""
        bucket = (report.output or {}).get("bucketName")
        if bucket is None:
            return self.own
        if bucket not in self._buckets:
            self._buckets[bucket] = open_bucket(bucket, self._settings.s3_endpoint_url, self._settings.s3_public_url)
        return self._buckets[bucket]

    def discard(self, report: Report, key: str) -> None:
        """Remove a file in Tally's own storage. Delivered files stay, because others may write under their names."""
        if self.place(report) is self.own:
            self.own.discard(key)

    def has(self, report: Report) -> bool:
        """Return whether a report's file still exists and was not replaced by another file of the same name.

        Raises:
            StorageFailed: the storage cannot be reached.
        """
        place = self.place(report)
        if place is not self.own and report.etag is None:
            return False  # delivered by a version that did not record the object's ETag
        is_there = place.size(report.file) == report.bytes
        return is_there and (report.etag is None or place.is_same(report.file, report.etag))

    def key(self, report: Report) -> str:
        """Return the name of an attempt's file, which is unique to the attempt in Tally's own storage."""
        output = report.output or {}
        return output.get("bucketKey") or f"{report.job}.{secrets.token_hex(8)}{extension(output)}"


def _allowed(buckets: tuple[str, ...]) -> str:
    if not buckets:
        return "the operator of this service allows no buckets."
    return f"the operator of this service allows only {', '.join(buckets)}."
