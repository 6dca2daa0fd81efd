"""Object as a stream that resumes after a broken connection."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from app.exceptions import FileMissing
from app.storage.s3.store import CHANGED, MISSING, Check, Client, error_code, storage_errors, until_one_ends
from app.support.timed_call import Value, start_call

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

READ_BYTES = 1024 * 1024
MAX_BREAKS = 3  # failures in a row without a byte between them, before the error is raised


class Reader(io.RawIOBase):
    """Stream that reads one object from start to end, with a given ETag or (None) any.

    Raises:
        FileMissing: there is no such object.
        StorageFailed: the store does not return the object, or another one has replaced it in the meantime.
    """

    def __init__(self, client: Client, bucket: str, name: str, check: Check, etag: str | None = None) -> None:
        super().__init__()
        self._check = check
        self._client = client
        self._bucket = bucket
        self._place = {"Bucket": bucket, "Key": name}
        self._at = 0
        self._breaks = 0
        self._is_busy = False
        with storage_errors(bucket):
            answer = self._get(**({"IfMatch": etag} if etag else {}))
        self._body = answer["Body"]
        self._bytes = answer["ContentLength"]
        self._etag = answer["ETag"]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read the bytes available at once, and return their number, or 0 at the end."""
        view = memoryview(buffer)
        with storage_errors(self._bucket):
            while self._at < self._bytes:
                try:
                    data = self._call(self._body.read, len(view))  # raises if it ends too early
                except BotoCoreError:
                    self._body.close()
                    self._breaks += 1
                    if self._breaks > MAX_BREAKS:
                        raise
                    self._body = self._get(Range=f"bytes={self._at}-", IfMatch=self._etag)["Body"]
                else:
                    view[: len(data)] = data
                    self._at += len(data)
                    self._breaks = 0
                    return len(data)
        return 0

    def close(self) -> None:
        """Release the connection; it cannot be closed while a read is in progress."""
        if not self.closed and hasattr(self, "_body") and not self._is_busy:
            self._body.close()
        super().close()

    def _get(self, **more: str) -> dict[str, Any]:
        try:
            return self._call(self._client.get_object, **self._place, **more)
        except ClientError as error:
            if error_code(error) in MISSING:
                raise FileMissing("The report's file is not in the S3 store.") from None
            if error_code(error) in CHANGED and "Range" not in more:
                raise FileMissing("The report's file was replaced by another in the S3 store.") from None
            raise

    def _call(self, call: Callable[..., Value], *args: object, **given: object) -> Value:
        """Return the result of a call, which gets no buffer of the caller because it may outlive it after a stop."""
        self._is_busy = True
        asked = start_call(call, *args, **given)
        until_one_ends([asked], self._check)
        self._is_busy = False
        return asked.result()
