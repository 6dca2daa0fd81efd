"""Upload of an object: a small object in a single request, others in parts, which are sent while more is written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import Any

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from app.exceptions import StorageFailed
from app.storage.s3.store import GONE, Check, Client, error_code, storage_errors, until_one_ends
from app.support.timed_call import start_call

MIB = 1024 * 1024
PART_BYTES = 8 * MIB
LATE_PART_BYTES = 32 * MIB
EARLY_PARTS = 2_000  # after these, parts are larger
MAX_PARTS = 10_000  # of an object; together 265 GiB
MAX_IN_TRANSIT = 2  # parts in transit; another is filled meanwhile
UNDO_SECONDS = 10.0  # after that, what was sent is left to cleanup
HURRIED_UNDO_SECONDS = 0.6  # the same if the attempt must stop

log = structlog.get_logger(__name__)


class S3Upload:
    """See `app.storage.Upload`.

    Args:
        abandon: removes unfinished uploads under this name.
        is_ours: whether only Tally writes under this name. If so, `abort` undoes a commit without a response, and
            duplicate uploads are abandoned.
        check: called while waiting for the store; raises when the attempt must stop.
    """

    def __init__(
        self,
        client: Client,
        bucket: str,
        name: str,
        media_type: str | None,
        *,
        abandon: Callable[[], None],
        is_ours: bool,
        check: Check,
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._place = {"Bucket": bucket, "Key": name}
        self._about = {"ContentType": media_type} if media_type else {}
        self._abandon = abandon
        self._is_ours = is_ours
        self._check = check
        self._buffer = bytearray()
        self._bytes = 0
        self._upload: dict[str, str] = {}  # Bucket, Key and UploadId, for an upload in parts
        self._parts: list[Future[str]] = []
        self._in_transit: set[Future[Any]] = set()
        self._has_twin = False  # another upload was begun, or may have been, because a response was lost
        self._is_in_doubt = False  # whether a commit was sent whose outcome is unknown
        self._has_ended = False

    def write(self, data: bytes) -> None:
        """Append bytes, and wait while MAX_IN_TRANSIT parts are in transit."""
        view = memoryview(data)
        self._bytes += len(view)
        while view:
            taken = view[: self._part_bytes() - len(self._buffer)]
            self._buffer += taken
            view = view[len(taken) :]
            if len(self._buffer) == self._part_bytes():
                self._send()

    def commit(self) -> str:
        """Complete the object, and return its ETag and, after a space, its version if the bucket has versioning."""
        with storage_errors(self._bucket):
            if self._upload:
                if self._buffer:
                    self._send()
                self.wait_for(0)
                tags = [part.result() for part in self._parts]
                self._is_in_doubt = True
                made = self._join(tags)
            else:
                self._is_in_doubt = True
                made = self._call(self._client.put_object, **self._place, **self._about, Body=self._buffer)
        self._end()
        if self._has_twin and self._is_ours:
            with suppress(StorageFailed):
                self._abandon()
        return f"{made['ETag']} {made.get('VersionId', '')}".strip()

    def abort(self) -> None:
        """Remove everything that was sent. If the store is slow, this continues in a thread until the process ends."""
        if self._has_ended:
            return
        self._end()
        undoing, seconds = start_call(self._undo), UNDO_SECONDS
        try:
            self._check()
        except Exception:  # noqa: BLE001 - any error of the check means that the attempt must stop
            seconds = HURRIED_UNDO_SECONDS
        try:
            with storage_errors(self._bucket):
                undoing.result(seconds)
        except TimeoutError:
            log.warning("an unfinished report file stays for the scheduler", reason="The S3 store does not answer.")
        except StorageFailed as error:
            log.warning("an unfinished report file stays for the scheduler", reason=str(error))

    def _part_bytes(self) -> int:
        return PART_BYTES if len(self._parts) < EARLY_PARTS else LATE_PART_BYTES

    def _send(self) -> None:
        """Send the buffer as a part in a thread."""
        if len(self._parts) == MAX_PARTS:
            raise StorageFailed(f"The file is longer than S3 takes: {self._bytes} bytes.")
        with storage_errors(self._bucket):
            if not self._upload:
                self._has_twin = True
                begun = self._call(self._client.create_multipart_upload, **self._place, **self._about)
                self._has_twin = begun["ResponseMetadata"]["RetryAttempts"] > 0
                self._upload = self._place | {"UploadId": begun["UploadId"]}
            self.wait_for(MAX_IN_TRANSIT - 1)
        part = start_call(self._send_part, len(self._parts) + 1, self._buffer)
        self._parts.append(part)
        self._in_transit.add(part)
        self._buffer = bytearray()

    def _call(self, call: Callable[..., dict[str, Any]], **given: object) -> dict[str, Any]:
        """Return the store's response. If the attempt must stop before that, the call continues in its thread."""
        asked = start_call(call, **given)
        self._in_transit.add(asked)
        until_one_ends([asked], self._check)
        self._in_transit.remove(asked)
        return asked.result()

    def _send_part(self, number: int, data: bytearray) -> str:
        etag: str = self._client.upload_part(**self._upload, PartNumber=number, Body=data)["ETag"]
        return etag

    def wait_for(self, most: int) -> None:
        """Return when at most `most` parts are in transit; raise the error of any that failed."""
        while True:
            for part in [one for one in self._in_transit if one.done()]:
                self._in_transit.remove(part)
                part.result()
            if len(self._in_transit) <= most:
                return
            until_one_ends(self._in_transit, self._check)

    def _join(self, tags: list[str]) -> dict[str, Any]:
        parts = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)]
        try:
            return self._call(self._client.complete_multipart_upload, **self._upload, MultipartUpload={"Parts": parts})
        except ClientError as error:
            if error_code(error) != GONE:
                raise
            # The first completion may have succeeded, and its response was lost. If others also write under the name,
            # only an ETag computed from those of the parts proves that the object is this one.
            with suppress(ClientError, BotoCoreError):
                found = self._call(self._client.head_object, **self._place)
                etag = found["ETag"].strip('"')
                is_like = found["ContentLength"] == self._bytes and etag.endswith(f"-{len(tags)}")
                if is_like and (self._is_ours or etag == _joint(tags)):
                    return found
            raise

    def _undo(self) -> None:
        """Wait for calls in transit, because they could arrive after the removal, then remove what was sent."""
        wait(self._in_transit)
        if self._upload:
            try:
                self._client.abort_multipart_upload(**self._upload)
            except ClientError as error:
                if error_code(error) != GONE:
                    raise
        if self._has_twin and self._is_ours:
            self._abandon()
        if self._is_in_doubt and self._is_ours:
            self._client.delete_object(**self._place)

    def _end(self) -> None:
        self._has_ended = True
        self._buffer = bytearray()


def _joint(tags: list[str]) -> str | None:
    """Return the ETag of the completed parts, or None if their ETags are not MD5, as with encryption."""
    with suppress(ValueError):
        digests = b"".join(bytes.fromhex(tag.strip('"')) for tag in tags)
        return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(tags)}"
    return None
