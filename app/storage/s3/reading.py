"""Object as a stream that resumes after a broken connection."""

from __future__ import annotations

import io
from collections.abc import Callable

from botocore.exceptions import BotoCoreError, ClientError

from app.exceptions import FileMissing
from app.storage.s3.calls import Check, Value, start, until_one_ends
from app.storage.s3.store import CHANGED, MISSING, Client, code, told

READ_BYTES = 1024 * 1024
BREAKS = 3  # failures in a row without a byte between them, before the error is raised


class Reader(io.RawIOBase):
    """Stream that reads one object from start to end.

    Args:
        check: called while waiting for the store; raises when the attempt must stop.
        etag: the object's ETag. None means any object with the name.

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
        with told(bucket):
            answer = self._get(**({"IfMatch": etag} if etag else {}))
        self._body = answer["Body"]
        self._bytes = answer["ContentLength"]
        self._etag = answer["ETag"]

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: memoryview) -> int:
        """Read the bytes available at once, and return their number, or 0 at the end."""
        with told(self._bucket):
            while self._at < self._bytes:
                try:
                    data = self._ask(self._body.read, len(buffer))  # raises if it ends too early
                except BotoCoreError as error:
                    self._go_on(error)
                else:
                    buffer[: len(data)] = data
                    self._at += len(data)
                    self._breaks = 0
                    return len(data)
        return 0

    def close(self) -> None:
        """Release the connection; it cannot be closed while a read is in progress."""
        if not self.closed and hasattr(self, "_body") and not self._is_busy:
            self._body.close()
        super().close()

    def _go_on(self, broken: BotoCoreError) -> None:
        """Request the rest of the object, or raise the error after too many failures."""
        self._body.close()
        self._breaks += 1
        if self._breaks > BREAKS:
            raise broken
        self._body = self._get(Range=f"bytes={self._at}-", IfMatch=self._etag)["Body"]

    def _get(self, **more: str) -> dict:
        try:
            return self._ask(self._client.get_object, **self._place, **more)
        except ClientError as error:
            if code(error) in MISSING:
                raise FileMissing("The report's file is not in the S3 store.") from None
            if code(error) in CHANGED and "Range" not in more:
                raise FileMissing("The report's file was replaced by another in the S3 store.") from None
            raise

    def _ask(self, call: Callable[..., Value], *args: object, **given: object) -> Value:
        """Return the result of a call, which gets no buffer of the caller because it may outlive it after a stop."""
        self._is_busy = True
        asked = start(call, *args, **given)
        until_one_ends([asked], self._check)
        self._is_busy = False
        return asked.result()
