"""An object on its way into a bucket: a small one in one request, others in parts, sent while more is written."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from app.exceptions import StorageFailed
from app.storage.s3.store import GONE, Client, code, told

MIB = 1024 * 1024
PART_BYTES = 8 * MIB
LATE_PART_BYTES = 32 * MIB
LATE = 2_000  # from this part on they are larger
MAX_PARTS = 10_000  # of one object; together 265 GiB
AT_ONCE = 2  # parts on their way; one more fills up meanwhile

log = structlog.get_logger(__name__)


class S3Upload:
    """See `app.storage.Upload`.

    Args:
        abandon: removes whatever was begun under this name and not finished.
        is_ours: a commit that got no answer is undone by `abort`, as nobody else can have written that object.
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
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._place = {"Bucket": bucket, "Key": name}
        self._about = {"ContentType": media_type} if media_type else {}
        self._abandon = abandon
        self._is_ours = is_ours
        self._buffer = bytearray()
        self._bytes = 0
        self._upload: dict[str, str] = {}  # Bucket, Key and UploadId, once it is more than one request
        self._parts: list[Future[str]] = []
        self._flying: set[Future[str]] = set()
        self._threads: ThreadPoolExecutor | None = None
        self._has_twin = False  # one more was begun, or may have been, of which no answer came
        self._is_in_doubt = False  # whether it was committed
        self._has_ended = False

    def write(self, data: bytes) -> None:
        """Append bytes; waits while AT_ONCE parts are on their way."""
        view = memoryview(data)
        self._bytes += len(view)
        while view:
            taken = view[: self._part_bytes() - len(self._buffer)]
            self._buffer += taken
            view = view[len(taken) :]
            if len(self._buffer) == self._part_bytes():
                self._send()

    def commit(self) -> None:
        """Make the object appear."""
        with told(self._bucket):
            if self._upload:
                if self._buffer:
                    self._send()
                self._wait(0)
                tags = [part.result() for part in self._parts]
                self._is_in_doubt = True
                self._join(tags)
            else:
                self._is_in_doubt = True
                self._client.put_object(**self._place, **self._about, Body=self._buffer)
        self._end()
        if self._has_twin:
            with suppress(StorageFailed):
                self._abandon()

    def abort(self) -> None:
        """Leave nothing behind; parts on their way are waited for, as they would arrive after the end."""
        if self._has_ended:
            return
        self._end()
        try:
            with told(self._bucket):
                self._undo()
        except StorageFailed as error:
            log.warning("an unfinished report file stays for the sweeper", reason=str(error))

    def _part_bytes(self) -> int:
        return PART_BYTES if len(self._parts) < LATE else LATE_PART_BYTES

    def _send(self) -> None:
        """Give the buffer to a thread."""
        if len(self._parts) == MAX_PARTS:
            raise StorageFailed(f"The file is longer than S3 takes: {self._bytes} bytes.")
        with told(self._bucket):
            if not self._upload:
                self._begin()
            self._wait(AT_ONCE - 1)
        part = self._threads.submit(self._send_part, len(self._parts) + 1, self._buffer)
        self._parts.append(part)
        self._flying.add(part)
        self._buffer = bytearray()

    def _begin(self) -> None:
        self._has_twin = True
        begun = self._client.create_multipart_upload(**self._place, **self._about)
        self._has_twin = begun["ResponseMetadata"]["RetryAttempts"] > 0
        self._upload = self._place | {"UploadId": begun["UploadId"]}
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="part")

    def _send_part(self, number: int, data: bytearray) -> str:
        return self._client.upload_part(**self._upload, PartNumber=number, Body=data)["ETag"]

    def _wait(self, most: int) -> None:
        """Return when at most so many parts are on their way; raise what went wrong with any."""
        while True:
            for part in [one for one in self._flying if one.done()]:
                self._flying.remove(part)
                part.result()
            if len(self._flying) <= most:
                return
            wait(self._flying, return_when=FIRST_COMPLETED)

    def _join(self, tags: list[str]) -> None:
        parts = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)]
        try:
            self._client.complete_multipart_upload(**self._upload, MultipartUpload={"Parts": parts})
        except ClientError as error:
            if code(error) != GONE or not self._is_there(len(parts)):
                raise

    def _is_there(self, parts: int) -> bool:
        """Whether the joining was done the first time, and the answer lost: asked again, S3 knows of no such upload."""
        with suppress(ClientError, BotoCoreError):
            found = self._client.head_object(**self._place)
            return found["ContentLength"] == self._bytes and found["ETag"].strip('"').endswith(f"-{parts}")
        return False

    def _undo(self) -> None:
        if self._upload:
            try:
                self._client.abort_multipart_upload(**self._upload)
            except ClientError as error:
                if code(error) != GONE:
                    raise
        if self._has_twin:
            self._abandon()
        if self._is_in_doubt and self._is_ours:
            self._client.delete_object(**self._place)

    def _end(self) -> None:
        self._has_ended = True
        self._buffer = bytearray()
        if self._threads:
            self._threads.shutdown(cancel_futures=True)
