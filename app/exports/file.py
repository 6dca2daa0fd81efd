"""A report file, or a part of one, on its way to the storage: compressed, hashed and counted as it goes.

A thread does that beside the one that fetches the rows: all three leave the interpreter alone while they work, so a
compressed report takes no longer than a plain one.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from typing import Protocol

WAITING_BLOCKS = 8  # between the two threads: a bound on memory


class Target(Protocol):
    """Where the bytes go."""

    def write(self, data: bytes) -> None:
        """Append bytes."""


class Compressor(Protocol):
    """See `compression`."""

    def compress(self, data: bytes) -> bytes:
        """What can be written so far."""

    def finish(self) -> bytes:
        """The rest."""


class ReportFile:
    """Counts what it writes. Use it as a context: at its end the thread has ended, too.

    Args:
        is_part: whether it is only a part of one: nobody asks for its hash.

    Attributes:
        rows: how many events were handed over.
        bytes: how many bytes were written.
        sha256: of those, in hexadecimal, once `close` has returned; None of a part.
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
        """Hand over some rows.

        Raises:
            Exception: what went wrong with those before.
        """
        self._blocks.put(data)
        self.rows += rows
        if self._failure:
            raise self._failure

    def close(self) -> None:
        """Return when everything is written.

        Raises:
            Exception: what went wrong.
        """
        self._blocks.put(None)
        self._thread.join()
        if self._failure:
            raise self._failure

    @property
    def sha256(self) -> str | None:
        """See the class."""
        return self._hash.hexdigest() if self._hash else None

    def _work(self) -> None:
        """Take blocks to the end, also after a failure, so that nobody waits for room for ever."""
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
