"""A report file on its way to the storage: buffered, counted and hashed as it goes."""

from __future__ import annotations

import hashlib
from typing import Protocol

BUFFER_BYTES = 256 * 1024


class Target(Protocol):
    """Where the bytes go."""

    def write(self, data: bytes) -> None:
        """Append bytes."""


class ReportFile:
    """Counts what it writes.

    Attributes:
        rows: events written so far.
        bytes: the file's size so far, what is still buffered included.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._hash = hashlib.sha256()
        self._buffer = bytearray()
        self.rows = 0
        self.bytes = 0

    def head(self, line: bytes) -> None:
        """Write a line that is no event."""
        self._buffer += line

    def row(self, line: bytes) -> None:
        """Write one event."""
        self._buffer += line
        self.rows += 1
        if len(self._buffer) >= BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Send on what is buffered."""
        data = bytes(self._buffer)
        self._buffer.clear()
        self._hash.update(data)
        self.bytes += len(data)
        self._target.write(data)

    @property
    def sha256(self) -> str:
        """The hash of all that was flushed, in hexadecimal."""
        return self._hash.hexdigest()
