"""Where a report's file goes, and under which name: the storage of ours, or a bucket that the operator allows.

What is delivered to a bucket belongs to whoever owns the bucket: it is never removed by us.
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
    """The places of report files.

    Attributes:
        own: the storage of ours, where parts go, too.
    """

    def __init__(self, settings: Settings, own: Storage) -> None:
        self.own = own
        self._settings = settings
        self._buckets: dict[str, Storage] = {}

    def check(self, output: Mapping) -> None:
        """Let an output pass that goes where it may.

        Raises:
            Forbidden: the operator does not allow the bucket, or the object would stand among our own files.
        """
        bucket, key = output.get("bucketName"), output.get("bucketKey")
        if bucket is None:
            return
        if bucket not in self._settings.report_buckets:
            raise Forbidden(f"output.bucketName: {_allowed(self._settings.report_buckets)}")
        if is_in_storage(self._settings.storage, bucket, key):
            raise Forbidden("output.bucketKey: report files of the service's own stand under such names.")

    def place(self, report: Report) -> Storage:
        """Where a report's file stands, or will."""
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
        """A name for the file of an attempt: in our own storage no two attempts have one."""
        output = report.output or {}
        return output.get("bucketKey") or f"{report.job}.{secrets.token_hex(8)}{extension(output)}"


def _allowed(buckets: tuple[str, ...]) -> str:
    if not buckets:
        return "the operator of this service allows no buckets."
    return f"the operator of this service allows only {', '.join(buckets)}."
