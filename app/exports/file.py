"""Report file, or a part of it, that is compressed, hashed and counted while it is written to the storage.

This runs in a thread beside the thread that fetches the rows. All three operations release the interpreter lock, so a
compressed report takes no longer than an uncompressed report.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from typing import Protocol

WAITING_BLOCKS = 8  # maximum blocks between the two threads, which limits memory


class Target(Protocol):
    """Destination of the bytes."""

    def write(self, data: bytes) -> None:
        """Append bytes."""


class Compressor(Protocol):
    """Compressor; see `compression`."""

    def compress(self, data: bytes) -> bytes:
        """Return the bytes that can be written so far."""

    def finish(self) -> bytes:
        """Return the remaining bytes."""


class ReportFile:
    """Report file that counts what it writes. Use it as a context manager, which ends its thread.

    Args:
        is_part: whether it is a part of a file, whose hash is not needed.

    Attributes:
        rows: number of events added.
        bytes: number of bytes written.
        sha256: hash of these bytes in hexadecimal, once `close` has returned; None for a part.
    """

    def __init__(self, target: Target, compressor: Compressor, *, is_part: bool = False) -> None:
        self._target = target
        self._compressor = compressor
        self._hash = None if is_part else hashlib.sha256()
        self._blocks: queue.Queue[bytes | None] = queue.Queue(WAITING_BLOCKS)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="file", daemon=True)
        self.rows = 0
        self.bytes = 0

    def __enter__(self) -> ReportFile:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._thread.is_alive():
            self._failure = self._failure or RuntimeError("given up")  # write nothing more
            self._blocks.put(None)
            self._thread.join()

    def add(self, data: bytes, rows: int = 0) -> None:
        """Add some rows.

        Raises:
            Exception: the error that occurred while writing earlier rows.
        """
        self._blocks.put(data)
        self.rows += rows
        if self._failure:
            raise self._failure

    def close(self) -> None:
        """Return when everything is written.

        Raises:
            Exception: the error that occurred while writing.
        """
        self._blocks.put(None)
        self._thread.join()
        if self._failure:
            raise self._failure

    @property
    def sha256(self) -> str | None:
        """Return the hash; see the class."""
        return self._hash.hexdigest() if self._hash else None

    def _work(self) -> None:
        """Process blocks to the end, even after a failure, so that `add` never waits for a full queue forever."""
        while (block := self._blocks.get()) is not None:
            if not self._failure:
                self._try(self._compressor.compress, block)
        if not self._failure:
            self._try(self._compressor.finish)

    def _try(self, step: object, *args: object) -> None:
        try:
            self._write(step(*args))
        except BaseException as error:  # noqa: BLE001 - it is raised where the file is being made
            self._failure = error

    def _write(self, data: bytes) -> None:
        if data:
            self._target.write(data)
            if self._hash:
                self._hash.update(data)
            self.bytes += len(data)
